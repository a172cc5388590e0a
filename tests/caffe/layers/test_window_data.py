"""WindowData: which windows it draws, where they land in the crop, and lists that cannot be used."""
import json

import numpy as np
import pytest
from PIL import Image

import caffe
from caffe.data.images import resize_linear

pytestmark = pytest.mark.unit
RGB = np.random.default_rng(8).integers(0, 256, (2, 20, 30, 3), dtype=np.uint8)
BGR = RGB[..., ::-1]
WINDOWS = ["5 0.9 3 4 12 15\n1 0.1 0 0 9 9\n2 0.45 1 1 2 2\n", "7 0.5 20 2 29 11\n3 0.2 10 5 19 14\n"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for i, image in enumerate(RGB):
        Image.fromarray(image).save(tmp_path / f"{i}.png")
    write_list(*WINDOWS)
    return tmp_path


def write_list(*windows):
    with open("windows.txt", "w") as file:
        for i, lines in enumerate(windows):
            file.write(f"# {i}\n{i}.png\n3\n20\n30\n{lines.count(chr(10))}\n{lines}")


def setting(window_data="", transform="crop_size: 10", source="windows.txt") -> str:
    return (f'type: "WindowData" top: "d" top: "l" transform_param {{ {transform} }} '
            f'window_data_param {{ source: "{source}" bg_threshold: 0.4 {window_data} }}')


def cut(image, x1, y1, x2, y2, height=10, width=10):
    return resize_linear(BGR[image, y1 : y2 + 1, x1 : x2 + 1], height, width).transpose(2, 0, 1)


@pytest.mark.parametrize("cached", ["", "cache_images: true"])
def test_background_first_then_objects_in_the_ratio_asked_for(bench, folder, cached):
    it = bench(setting(f"batch_size: 8 fg_fraction: 0.4 scale: 0.5 {cached}", "crop_size: 10 mean_value: 9"))
    background = [cut(0, 0, 0, 9, 9), cut(1, 10, 5, 19, 14)]          # the window of overlap 0.45 is neither
    objects = {5: cut(0, 3, 4, 12, 15), 7: cut(1, 20, 2, 29, 11)}
    seen = set()
    for _ in range(8):
        d, label = it.forward()
        assert d.shape == (8, 3, 10, 10) and label[:5].tolist() == [0] * 5
        for image in d[:5]:
            which = [(image == (b.astype(np.float32) - 9) * np.float32(0.5)).all() for b in background]
            assert sum(which) == 1
            seen.add(which[0])
        for image, value in zip(d[5:], label[5:].tolist(), strict=True):
            np.testing.assert_array_equal(image, (objects[value].astype(np.float32) - 9) * np.float32(0.5))
            seen.add(value)
    assert seen == {True, False, 5, 7}


def test_context_is_taken_from_the_image_and_zero_outside(bench, folder):
    # 10 x 10 windows in a crop of 10 with 2 pixels around: they grow by 10/6 to 16.7, -> 17 or 18 pixels
    write_list("1 1 10 5 19 14\n1 0 10 5 19 14\n")
    d, _ = bench(setting("batch_size: 2 context_pad: 2")).forward()
    # centre (15, 10), half 5 * 10/6 = 8.33: x 7..23, y 2..18
    np.testing.assert_array_equal(d[0], cut(0, 7, 2, 23, 18))
    write_list("1 1 0 0 9 9\n1 0 0 0 9 9\n")
    d, _ = bench(setting("batch_size: 2 context_pad: 2")).forward()
    # -3..13: 3 of 17 pixels outside, 3 * 10/17 = 1.76 -> 2 rows and columns of zeros, 14 pixels become 8
    assert not d[:, :, :2].any() and not d[:, :, :, :2].any()
    np.testing.assert_array_equal(d[0, :, 2:, 2:], cut(0, 0, 0, 13, 13, 8, 8))


def test_mirrored_padding_is_on_the_other_side(bench, folder):
    write_list("1 1 0 0 9 9\n1 0 0 0 9 9\n")
    it = bench(setting("batch_size: 2 context_pad: 2", "crop_size: 10 mirror: true"))
    plain = np.zeros((3, 10, 10), np.float32)
    plain[:, 2:, 2:] = cut(0, 0, 0, 13, 13, 8, 8)
    seen = [(image == plain[:, :, ::-1]).all() for _ in range(10) for image in it.forward()[0]
            if (image == plain).all() or (image == plain[:, :, ::-1]).all()]
    assert len(seen) == 20 and 0 < sum(seen) < 20


def test_square_windows(bench, folder):
    write_list("1 1 10 8 19 11\n1 0 10 8 19 11\n")     # 10 x 4, centre (15, 10): square of 10
    d, _ = bench(setting('batch_size: 2 crop_mode: "square"')).forward()
    np.testing.assert_array_equal(d[0], cut(0, 10, 5, 20, 15))


def test_the_middle_of_the_mean_image(bench, folder):
    mean = np.random.default_rng(1).uniform(0, 255, (1, 3, 14, 14)).astype(np.float32)
    (folder / "mean").write_bytes(caffe.io.array_to_blobproto(mean).SerializeToString())
    write_list("1 1 0 0 9 9\n1 0 0 0 9 9\n")
    d, _ = bench(setting("batch_size: 1 fg_fraction: 1", 'crop_size: 10 mean_file: "mean"')).forward()
    np.testing.assert_array_equal(d[0], cut(0, 0, 0, 9, 9) - mean[0, :, 2:12, 2:12])
    with pytest.raises(caffe.DataError, match="does not cover"):
        bench(setting("batch_size: 1", 'crop_size: 15 mean_file: "mean"'))


def test_it_goes_on_from_a_snapshot(bench, folder):
    text = setting("batch_size: 4", "crop_size: 10 mirror: true")
    it = bench(text)
    it.forward()
    saved = json.loads(json.dumps(it.layer.get_state()))
    want = [it.forward() for _ in range(3)]
    caffe.set_random_seed(99)
    other = bench(text)
    other.forward()
    other.layer.set_state(saved)
    for d, label in want:
        got = other.forward()
        np.testing.assert_array_equal(got[0], d)
        np.testing.assert_array_equal(got[1], label)


@pytest.mark.parametrize("windows, says", [
    (["1 0.9 0 0 9\n"], "image 0 of the list"), (["1 0.9 0 0 9 9\n"], "no background"),
    (["1 0.1 0 0 9 9\n"], "no object"),
    (["0 0.9 0 0 9 9\n"], "no label above 0"), (["a b c d e f\n"], "image 0 of the list"), ([], "no background"),
])
def test_lists_that_cannot_be_used(bench, folder, windows, says):
    write_list(*windows)
    with pytest.raises(caffe.DataError, match=says) as e:
        bench(setting("batch_size: 2"))
    assert e.value.layer == "it" and e.value.help


@pytest.mark.parametrize("change", [("# 1", "# 2"), ("\n3\n", "\n1\n"), ("# 1", "1.png"), ("\n20\n", "\nx\n")])
def test_lists_of_another_form(bench, folder, change):
    text = (folder / "windows.txt").read_text()
    (folder / "windows.txt").write_text(text.replace(*change))
    with pytest.raises(caffe.DataError, match="of the list"):
        bench(setting("batch_size: 2"))


@pytest.mark.parametrize("box", ["25 5 35 9", "-3 0 4 4", "9 9 3 3", "40 40 45 45"])
def test_windows_outside_of_the_image(bench, folder, box):
    for extra in ("", "context_pad: 1") if box == "40 40 45 45" else ("",):
        write_list(f"1 0.9 {box}\n1 0.1 {box}\n")
        with pytest.raises(caffe.DataError, match="outside of its image") as e:
            bench(setting(f"batch_size: 2 {extra}")).forward()
        assert e.value.layer == "it"


@pytest.mark.parametrize("window_data, transform, says", [
    ("batch_size: 2", "", "needs crop_size"), ("batch_size: 2 context_pad: 5", "crop_size: 10", "context_pad"),
    ('batch_size: 2 crop_mode: "round"', "crop_size: 10", "crop_mode"), ("", "crop_size: 10", "batch_size"),
])
def test_settings_that_cannot_work(bench, folder, window_data, transform, says):
    with pytest.raises(caffe.LayerError, match=says):
        bench(setting(window_data, transform))


def test_settings_without_effect_are_said(bench, folder, caplog):
    bench(setting("batch_size: 2", "crop_size: 10 force_gray: true scale: 2"))
    assert "force_color and force_gray have no effect" in caplog.text and "the scale of transform_param" in caplog.text


def test_files_that_are_not_there(bench, folder):
    with pytest.raises(caffe.DataError, match="gone.txt.*cannot read the list"):
        bench(setting("batch_size: 2", source="gone.txt"))
    (folder / "0.png").unlink()
    with pytest.raises(caffe.DataError, match="0.png"):
        bench(setting("batch_size: 2 cache_images: true"))
