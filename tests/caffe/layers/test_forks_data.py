"""SegNet's DenseImageData: pairs of images and label images, cut and mirrored alike."""
import json

import numpy as np
import pytest
from PIL import Image

import caffe
from caffe.errors import DataError, LayerError

pytestmark = pytest.mark.unit
RNG = np.random.default_rng(8)
RGB = RNG.integers(0, 256, (4, 6, 5, 3), dtype=np.uint8)
RGB[..., 0] = np.arange(120).reshape(4, 6, 5)          # red counts the pixels of all images ...
LABELS = RGB[..., 0]                                   # ... and is the label, so that top 1 must follow top 0


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sets").mkdir()
    for i in range(4):
        Image.fromarray(RGB[i]).save(tmp_path / f"sets/{i}.png")
        Image.fromarray(LABELS[i]).save(tmp_path / f"sets/{i}_labels.png")
    (tmp_path / "list.txt").write_text("".join(f"{i}.png {i}_labels.png\n" for i in range(4)))
    return tmp_path


def setting(dense="", transform=""):
    return (f'type: "DenseImageData" top: "d" top: "l" transform_param {{ {transform} }} '
            f'dense_image_data_param {{ source: "list.txt" root_folder: "sets/" {dense} }}')


def test_pairs_in_the_order_of_the_list(bench, folder):
    it = bench(setting("batch_size: 3", "mean_value: 3 scale: 2"))
    assert [t.shape for t in it.top] == [(3, 3, 6, 5), (3, 1, 6, 5)]
    for want in ([0, 1, 2], [3, 0, 1]):
        d, label = it.forward()
        np.testing.assert_array_equal(d, (RGB[want][..., ::-1].transpose(0, 3, 1, 2).astype(np.float32) - 3) * 2)
        np.testing.assert_array_equal(label[:, 0], LABELS[want])   # no mean, no scale


@pytest.mark.parametrize("phase", [caffe.TRAIN, caffe.TEST])
def test_labels_follow_the_image(bench, folder, phase):
    it = bench(setting("batch_size: 4 shuffle: true mirror: true crop_height: 3 crop_width: 2"), phase=phase)
    assert [t.shape for t in it.top] == [(4, 3, 3, 2), (4, 1, 3, 2)]
    seen, turned = set(), set()
    for _ in range(10):
        d, label = it.forward()
        np.testing.assert_array_equal(d[:, 2:], label)   # BGR: red is the last
        seen |= set(label[:, 0, 0, 0].tolist())
        turned |= set((label[:, 0, 0, 1] - label[:, 0, 0, 0]).tolist())
        assert set((label[:, 0, 1] - label[:, 0, 0]).ravel().tolist()) == {5}
    assert turned == {1, -1} and len(seen) > 20


def test_resumes(bench, folder):
    caffe.set_random_seed(2)
    it = bench(setting("batch_size: 2 shuffle: true mirror: true"))
    it.forward()
    state = json.loads(json.dumps(it.layer.get_state()))
    want = [it.forward() for _ in range(3)]
    other = bench(setting("batch_size: 2 shuffle: true mirror: true"))
    other.layer.set_state(state)
    for batch in want:
        for a, b in zip(batch, other.forward(), strict=True):
            np.testing.assert_array_equal(a, b)


def test_labels_are_resized_to_the_nearest_pixel(bench, folder):
    d, label = bench(setting("batch_size: 1 new_height: 12 new_width: 10")).forward()
    np.testing.assert_array_equal(label[0, 0], LABELS[0].repeat(2, 0).repeat(2, 1))
    assert d.shape == (1, 3, 12, 10)
    cv2 = pytest.importorskip("cv2")
    for size in ((4, 3), (7, 8), (5, 11)):
        label = bench(setting(f"batch_size: 1 new_height: {size[0]} new_width: {size[1]}")).forward()[1]
        np.testing.assert_array_equal(label[0, 0], cv2.resize(LABELS[0], size[::-1], interpolation=cv2.INTER_NEAREST))


@pytest.mark.parametrize("dense, transform, message", [
    ("batch_size: 1 crop_height: 2", "", "go together"),
    ("batch_size: 1", "mirror: true", "alike"),
    ("batch_size: 1", "crop_size: 2", "alike"),
    ("", "", "batch_size must be positive"),
])
def test_refusals(bench, folder, dense, transform, message):
    with pytest.raises(LayerError, match=message):
        bench(setting(dense, transform))


@pytest.mark.parametrize("dense, line, message", [
    ("batch_size: 4", "0.png", "does not end in a label"),
    ("batch_size: 4", "0.png absent.png", "cannot be read"),
    ("batch_size: 4", "0.png small.png", "another size"),
    ("batch_size: 4 crop_height: 7 crop_width: 2", "0.png 0_labels.png", "smaller than the crop"),
])
def test_bad_lists(bench, folder, dense, line, message):
    Image.fromarray(LABELS[0, :3]).save(folder / "sets/small.png")
    (folder / "list.txt").write_text(f"1.png 1_labels.png\n{line}\n")
    with pytest.raises(DataError, match=message):
        bench(setting(dense)).forward()
