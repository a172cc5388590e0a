"""ImageData: lists, colours, sizes, shuffled rounds, and what cannot be read."""
import json

import numpy as np
import pytest
from PIL import Image

import caffe

pytestmark = pytest.mark.unit
RGB = np.random.default_rng(6).integers(0, 256, (6, 5, 4, 3), dtype=np.uint8)
BGR = RGB[..., ::-1].transpose(0, 3, 1, 2)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Images 0.png to 5.png of 5 x 4 pixels and list.txt, whose labels are 10 x the numbers."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "images").mkdir()
    for i, image in enumerate(RGB):
        Image.fromarray(image).save(tmp_path / f"images/{i}.png")
    (tmp_path / "list.txt").write_text("".join(f"{i}.png {10 * i}\n" for i in range(6)))
    return tmp_path


def setting(image_data="", transform="", source="list.txt") -> str:
    return (f'type: "ImageData" top: "d" top: "l" transform_param {{ {transform} }} '
            f'image_data_param {{ source: "{source}" root_folder: "images/" {image_data} }}')


def test_batches_in_the_order_of_the_list(bench, folder):
    it = bench(setting("batch_size: 4", "mean_value: 3 scale: 2"))
    assert [t.shape for t in it.top] == [(4, 3, 5, 4), (4,)]
    for want in ([0, 1, 2, 3], [4, 5, 0, 1]):
        d, label = it.forward()
        assert label.tolist() == [10 * i for i in want]
        np.testing.assert_array_equal(d, (BGR[want].astype(np.float32) - 3) * 2)


def test_gray_and_resized(bench, folder):
    assert bench(setting("is_color: false")).forward()[0].shape == (1, 1, 5, 4)
    d, _ = bench(setting("new_height: 10 new_width: 8")).forward()
    want = caffe.data.images.resize_linear(RGB[0, :, :, ::-1], 10, 8)
    np.testing.assert_array_equal(d[0], want.transpose(2, 0, 1))


def test_batch_one_takes_the_size_of_each_image(bench, folder):
    Image.fromarray(RGB[1, :3]).save(folder / "images/1.png")
    it = bench(setting())
    assert [it.forward()[0].shape[2:] for _ in range(3)] == [(5, 4), (3, 4), (5, 4)]
    with pytest.raises(caffe.DataError, match="differ in shape"):
        bench(setting("batch_size: 2")).forward()
    assert bench(setting("batch_size: 2", "crop_size: 3")).forward()[0].shape == (2, 3, 3, 3)


def test_each_shuffled_round_has_each_image_once(bench, folder):
    def run():
        caffe.set_random_seed(3)
        it = bench(setting("batch_size: 4 shuffle: true"))
        return np.concatenate([it.forward()[1] for _ in range(9)]).reshape(6, 6)

    rounds = run()
    assert all(sorted(r) == [0, 10, 20, 30, 40, 50] for r in rounds.tolist())
    assert len({tuple(r) for r in rounds.tolist()}) > 1
    np.testing.assert_array_equal(run(), rounds)


def test_rand_skip(bench, folder):
    first = set()
    for seed in range(30):
        caffe.set_random_seed(seed)
        first.add(bench(setting("rand_skip: 3")).forward()[1].item())
    assert first == {0, 10, 20}


def test_it_goes_on_from_a_snapshot(bench, folder):
    text = setting("batch_size: 4 shuffle: true rand_skip: 5", "crop_size: 3 mirror: true")
    it = bench(text)
    for _ in range(5):
        it.forward()
    saved = json.loads(json.dumps(it.layer.get_state()))
    want = [it.forward() for _ in range(4)]
    caffe.set_random_seed(99)
    other = bench(text)
    other.forward()
    other.layer.set_state(saved)
    for d, label in want:
        got = other.forward()
        np.testing.assert_array_equal(got[0], d)
        np.testing.assert_array_equal(got[1], label)


def test_forms_of_lists(bench, folder):
    Image.fromarray(RGB[5]).save(folder / "images/a b.png")
    (folder / "images/é.png").write_bytes((folder / "images/4.png").read_bytes())
    (folder / "list.txt").write_bytes("a b.png 7\r\n\r\né.png\t-1".encode())
    it = bench(setting("batch_size: 2"))
    d, label = it.forward()
    assert label.tolist() == [7, -1]
    np.testing.assert_array_equal(d, BGR[[5, 4]])


@pytest.mark.parametrize("content, says", [
    ("", "lists no images"), ("\n\n", "lists no images"), ("0.png 1\n1.png\n", "line 2 does not end in a label"),
    ("0.png x\n", "line 1 does not end in a label"), ("gone.png 3\n", "gone.png.*cannot be read"),
])
def test_lists_that_cannot_be_used(bench, folder, content, says):
    (folder / "list.txt").write_text(content)
    with pytest.raises(caffe.DataError, match=says) as e:
        bench(setting())
    assert e.value.layer == "it" and e.value.help


def test_an_image_that_cannot_be_read(bench, folder):
    (folder / "images/3.png").write_bytes(b"\x89PNG")
    it = bench(setting("batch_size: 2"))
    it.forward()
    with pytest.raises(caffe.DataError, match="3.png.*no readable image") as e:
        it.forward()
    assert e.value.layer == "it"


@pytest.mark.parametrize("image_data, error, says", [
    ("new_height: 3", caffe.LayerError, "go together"), ("batch_size: 0", caffe.LayerError, "batch_size"),
    ("rand_skip: 100000", caffe.DataError, "not enough images"),
])
def test_settings_that_cannot_work(bench, folder, image_data, error, says):
    with pytest.raises(error, match=says):
        bench(setting(image_data))


def test_a_list_that_is_not_there(bench, folder):
    with pytest.raises(caffe.DataError, match="gone.txt.*cannot read the list"):
        bench(setting(source="gone.txt"))
