"""Data layers as a net drives them: contents, order, resuming, and every error in words."""

import json
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from PIL import Image

import caffe
from data import DataError, Dataset
from data.palette import write_indexed_png
from layers.errors import LayerError
from layers.segdata import ILSVRC_MEAN, SBDDSegDataLayer, SegDataLayer, VOCSegDataLayer

pytestmark = pytest.mark.unit


def preprocessed(image, mean=ILSVRC_MEAN):
    """The definition, channel by channel: blue, green, red, each minus its mean."""
    return np.stack([image[:, :, 2 - c].astype(np.float32) - np.float32(mean[c]) for c in range(3)])


def which(data, pictures):
    """The id of the picture in each item of a batch without augmentation."""
    return [
        next(i for i, (image, _) in pictures.items() if np.array_equal(preprocessed(image), item))
        for item in data
    ]


@pytest.mark.tiny
def test_tops_hold_the_pictures_in_the_lists_order(six, driver):
    root, pictures = six
    net = driver(SegDataLayer, {"data": str(root), "split": "val"}, phase=1)
    for picture in ("v0", "v1", "v0"):  # the sizes differ: the tops follow
        data, label = net.forward()
        np.testing.assert_array_equal(data[0], preprocessed(pictures[picture][0]))
        np.testing.assert_array_equal(label[0, 0], pictures[picture][1])


def test_json_and_an_own_mean(six, driver):
    root, pictures = six
    text = json.dumps({"data": str(root), "split": "val", "mean": [1, 2, 3]})
    data, _ = driver(SegDataLayer, text).forward()
    np.testing.assert_array_equal(data[0], preprocessed(pictures["v0"][0], (1, 2, 3)))


def test_reshape_alone_does_not_advance(six, driver):
    root, pictures = six
    net = driver(SegDataLayer, {"data": str(root), "split": "train", "random": False})
    for _ in range(3):
        net.layer.reshape([], net.top)
    assert which(net.forward()[0], pictures) == ["t0"]


def test_batches_run_over_the_end_of_an_epoch(six, driver):
    root, pictures = six
    net = driver(SegDataLayer, {"data": str(root), "split": "train", "random": False, "batch": 4})
    seen = [which(net.forward()[0], pictures) for _ in range(3)]
    assert seen == [["t0", "t1", "t2", "t3"], ["t4", "t5", "t0", "t1"], ["t2", "t3", "t4", "t5"]]


def test_training_is_shuffled_anew_each_epoch_and_repeatable(six, driver):
    root, pictures = six

    def epochs(seed, cls=SegDataLayer):
        net = driver(cls, {"data": str(root), "split": "train", "seed": seed})
        return [[which(net.forward()[0], pictures)[0] for _ in range(6)] for _ in range(4)]

    one = epochs(1)
    assert all(sorted(epoch) == [f"t{i}" for i in range(6)] for epoch in one)
    assert len({tuple(epoch) for epoch in one}) > 1
    assert one == epochs(1) and one != epochs(2)


AUGMENTED = {
    "split": "train",
    "seed": 3,
    "batch": 2,
    "mirror": True,
    "jitter": 4,
    "crop": [8, 9],
    "scale": [0.75, 1.5],
}


@pytest.mark.parametrize("stop", [0, 1, 5])
def test_resuming_gives_the_same_batches(six, driver, stop):
    params = {"data": str(six[0]), **AUGMENTED}
    unbroken = driver(SegDataLayer, params)
    before = [unbroken.forward() for _ in range(stop)]
    state = json.loads(
        json.dumps(unbroken.layer.get_state())
    )  # a snapshot is taken here, with a batch in flight
    after = [unbroken.forward() for _ in range(6)]
    resumed = driver(SegDataLayer, params)
    resumed.forward()
    resumed.layer.set_state(state)
    for expected in after:
        for a, b in zip(expected, resumed.forward(), strict=True):
            np.testing.assert_array_equal(a, b)
    assert len(before) == stop and resumed.layer.get_state() == unbroken.layer.get_state()


def test_a_seed_from_outside_is_kept_in_the_state(six, driver):
    params = {"data": str(six[0]), "split": "train", "seed": None, "mirror": True}
    one, two = driver(SegDataLayer, params), driver(SegDataLayer, params)
    two.layer.set_state(one.layer.get_state())
    for _ in range(8):
        np.testing.assert_array_equal(one.forward()[0], two.forward()[0])


def test_state_of_another_set_is_refused(six, driver):
    train = driver(SegDataLayer, {"data": str(six[0]), "split": "train"})
    val = driver(SegDataLayer, {"data": str(six[0]), "split": "val"})
    with pytest.raises(LayerError, match="found 6 pictures, expected 2 pictures"):
        val.layer.set_state(train.layer.get_state())


def test_crops_make_batches_of_different_sizes_possible(six, driver):
    net = driver(SegDataLayer, {"data": str(six[0]), "split": "val", "batch": 2, "crop": 6}, phase=1)
    data, label = net.forward()
    assert data.shape == (2, 3, 6, 6) and label.shape == (2, 1, 6, 6)
    np.testing.assert_array_equal(
        label[0, 0], six[1]["v0"][1][2:8, 4:10]
    )  # the centre: this is the TEST phase


def test_augmented_labels_stay_with_their_pixels(six, driver):
    root, pictures = six
    net = driver(SegDataLayer, {"data": str(root), "split": "train", "mirror": True, "jitter": 32, "seed": 5})
    values = {
        tuple(pixel): c
        for image, marks in pictures.values()
        for pixel, c in zip(image.reshape(-1, 3).tolist(), marks.ravel(), strict=True)
    }
    mean = np.array(ILSVRC_MEAN, np.float32)
    for _ in range(12):
        data, label = net.forward()
        rgb = np.rint(data[0].transpose(1, 2, 0) + mean)[:, :, ::-1].astype(int)
        for pixel, image, c in zip(
            rgb.reshape(-1, 3).tolist(), data[0].reshape(3, -1).T, label.ravel(), strict=True
        ):
            assert c == (255 if not image.any() else values[tuple(pixel)])


@pytest.mark.parametrize("cache", [0, 512])
def test_memory_limit(six, driver, cache):
    root, pictures = six
    net = driver(SegDataLayer, {"data": str(root), "split": "train", "random": False, "cache": cache})
    first = [net.forward() for _ in range(6)]
    net.layer.reshape([], net.top)  # the seventh has been loaded, too
    for path in (root / "JPEGImages").iterdir():
        path.unlink()
    if cache:
        for expected in first:
            np.testing.assert_array_equal(net.forward()[0], expected[0])
    else:
        net.forward()
        with pytest.raises(DataError, match="no image file"):
            net.forward()


def test_several_solvers_share_the_pictures_out(six, driver, monkeypatch):
    root, pictures = six
    seen = []
    monkeypatch.setattr(caffe, "solver_count", lambda: 3)
    for rank in range(3):
        monkeypatch.setattr(caffe, "solver_rank", lambda rank=rank: rank)
        net = driver(SegDataLayer, {"data": str(root), "split": "train", "random": False})
        seen.append([which(net.forward()[0], pictures)[0] for _ in range(3)])
    assert seen == [["t0", "t3", "t0"], ["t1", "t4", "t1"], ["t2", "t5", "t2"]]


# errors


def test_label_out_of_range_names_file_value_and_classes(six, driver):
    root, _ = six
    label = np.zeros((10, 14))
    label[2, 3:5] = 7
    write_indexed_png(root / "SegmentationClass/t2.png", label)
    net = driver(SegDataLayer, {"data": str(root), "split": "train", "random": False})
    net.forward(), net.forward()
    with pytest.raises(DataError) as caught:
        net.forward()
    text = str(caught.value)
    assert str(root / "SegmentationClass/t2.png") in text
    assert "value 7 (2 pixels" in text and "0..2 for 3 classes" in text


def test_fewer_classes_than_the_set_has(six, driver):
    with pytest.raises(DataError, match="value 2 .*0..1 for 2 classes"):
        driver(SegDataLayer, {"data": str(six[0]), "split": "train", "classes": 2})


def test_damaged_picture_is_named_in_forward(six, driver):
    root, _ = six
    net = driver(SegDataLayer, {"data": str(root), "split": "train", "random": False})
    (root / "JPEGImages/t3.png").write_text("<html>")
    for _ in range(3):
        net.forward()
    with pytest.raises(DataError, match=r"t3\.png: the image is not a readable image"):
        net.forward()


def test_size_mismatch_is_named(six, driver):
    root, _ = six
    Image.new("RGB", (5, 5)).save(root / "JPEGImages/v0.png")
    with pytest.raises(DataError, match=r"v0\.png: .*label 10x14, data 5x5"):
        driver(SegDataLayer, {"data": str(root), "split": "val"})


def test_different_sizes_in_a_batch(six, driver):
    with pytest.raises(DataError, match=r"(?s)v1\.png.*8x9 beside 10x14.*'crop'"):
        driver(SegDataLayer, {"data": str(six[0]), "split": "val", "batch": 2})


def test_empty_split(six, driver):
    (six[0] / "ImageSets/Segmentation/val.txt").write_text("\n")
    with pytest.raises(DataError, match="the split 'val' of 'six' is empty"):
        driver(SegDataLayer, {"data": str(six[0]), "split": "val"})


def test_wrong_bottoms_tops_keys(six, driver):
    params = {"data": str(six[0]), "split": "val"}
    with pytest.raises(LayerError, match="no bottom .*found 1 bottoms"):
        driver(SegDataLayer, params, bottoms=1)
    with pytest.raises(LayerError, match="gives 2 tops.*found 1 tops"):
        driver(SegDataLayer, params, tops=1)
    with pytest.raises(LayerError, match="did you mean 'mirror'"):
        driver(SegDataLayer, {**params, "miror": True})
    with pytest.raises(LayerError, match="lacks 'data'"):
        driver(SegDataLayer, "{'split': 'val'}")
    with pytest.raises(DataError, match="did you mean 'shapes'"):
        driver(SegDataLayer, {"data": "shape", "split": "val"})


# the public FCN code's layers


def test_voc_layer_has_the_public_keys(six, driver):
    root, pictures = six
    text = f"{{'voc_dir': '{root}', 'seed': 1337, 'split': 'val', 'mean': (104.00699, 116.66877, 122.67892)}}"
    data, label = driver(VOCSegDataLayer, text, phase=1).forward()
    np.testing.assert_array_equal(data[0], preprocessed(pictures["v0"][0]))
    assert label.shape == (1, 1, 10, 14)


def test_public_layers_never_shuffle_an_evaluation_split(six, driver):
    root, pictures = six
    net = driver(VOCSegDataLayer, {"voc_dir": str(root), "split": "val", "randomize": True})
    assert [which(net.forward()[0], pictures)[0] for _ in range(4)] == ["v0", "v1"] * 2
    net = driver(VOCSegDataLayer, {"voc_dir": str(root), "split": "train", "randomize": False})
    assert [which(net.forward()[0], pictures)[0] for _ in range(3)] == ["t0", "t1", "t2"]


def write_sbd(folder, image, label):
    (folder / "img").mkdir(parents=True)
    (folder / "cls").mkdir()
    (folder / "train.txt").write_text("v0\n")
    Image.fromarray(image).save(folder / "img/v0.png")
    scipy.io.savemat(folder / "cls/v0.mat", {"GTcls": {"Segmentation": label}})


def test_sbd_layer(six, driver, tmp_path):
    image, label = six[1]["v0"]
    write_sbd(tmp_path / "sbdd/dataset", image, label)
    data, got = driver(
        SBDDSegDataLayer, {"sbdd_dir": str(tmp_path / "sbdd/dataset"), "split": "train"}
    ).forward()
    np.testing.assert_array_equal(data[0], preprocessed(image))
    np.testing.assert_array_equal(got[0, 0], label)


def test_seg11valid_is_derived_where_its_list_is_missing(six, driver, tmp_path, monkeypatch):
    root, pictures = six
    write_sbd(tmp_path / "sbd", *pictures["v0"])
    monkeypatch.setenv("CAFFE_LUNGO_SBD", str(tmp_path / "sbd"))
    net = driver(VOCSegDataLayer, {"voc_dir": str(root), "split": "seg11valid"}, phase=1)
    assert [which(net.forward()[0], pictures)[0] for _ in range(2)] == ["v1", "v1"]


def test_public_module_name_is_found(monkeypatch):
    import importlib

    import layers

    monkeypatch.syspath_prepend(str(Path(layers.__file__).parent))
    assert importlib.import_module("voc_layers").VOCSegDataLayer is VOCSegDataLayer


class TwoTasks(Dataset):
    """Colour, depth and two kinds of labels, each a function of the position, in memory."""

    image_tops, label_tops = ("color", "depth"), ("sem", "geo")

    def __init__(self):
        super().__init__("two", "two", ("a", "b", "c"))

    def splits(self):
        return ("train",)

    def ids(self, split):
        return ["p"]

    def image_path(self, picture):
        return self.root / picture

    label_path = image_path

    def top(self, picture, name):
        rows, columns = np.mgrid[:6, :8].astype(np.uint8)
        return {"color": np.stack([rows, columns, rows + columns], 2), "depth": (rows * 2.0)[..., None],
                "sem": columns % 3, "geo": rows % 2}[name]

    def classes_of(self, label):
        return self.classes if label == "sem" else ("up", "down")


def test_depth_and_two_kinds_of_labels_move_together(driver, monkeypatch):
    monkeypatch.setattr("layers.segdata.open_dataset", lambda name: TwoTasks())
    params = {"data": "two", "split": "train", "tops": ["color", "depth", "sem", "geo"], "mirror": True, "jitter": 2,
              "seed": 3, "mean": {"color": (1, 2, 3), "depth": (5,)}}
    layer = driver(SegDataLayer, params, tops=4)
    mirrored = set()
    for _ in range(12):
        color, depth, sem, geo = (np.array(top) for top in layer.forward())
        assert [x.shape for x in (color, depth, sem, geo)] == [(1, n, 6, 8) for n in (3, 1, 1, 1)]
        seen = sem[0, 0] != 255
        assert np.array_equal(seen, geo[0, 0] != 255)
        rows, columns = color[0, 0][seen] + 1, color[0, 1][seen] + 2
        assert np.array_equal(depth[0, 0][seen] + 5, 2 * rows) and np.array_equal(sem[0, 0][seen], columns % 3)
        assert np.array_equal(geo[0, 0][seen], rows % 2)
        assert not color[0][:, ~seen].any() and not depth[0][:, ~seen].any()
        inside = np.argwhere(seen)
        mirrored.add(bool(columns[0] > columns[-1]) if len(set(inside[:, 0])) == 1 else bool(
            color[0, 1][tuple(inside[0])] > color[0, 1][tuple(inside[0] + (0, 1))]))
    assert mirrored == {False, True}


@pytest.mark.parametrize(("more", "words"), [
    ({"tops": ["color", "nothing"]}, "no top 'nothing'"),
    ({"tops": ["color", "depth", "sem"], "mean": (1, 2, 3)}, "'mean' has a wrong value|gives 3 tops"),
    ({"tops": "color"}, "'tops' has a wrong value"),
])
def test_tops_that_are_not_there(driver, monkeypatch, more, words):
    monkeypatch.setattr("layers.segdata.open_dataset", lambda name: TwoTasks())
    with pytest.raises(LayerError, match=words):
        driver(SegDataLayer, {"data": "two", "split": "train", **more}, tops=2)
