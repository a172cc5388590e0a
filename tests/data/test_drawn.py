"""The drawn sets with depth and with two kinds of labels: what is in them, and that they stay what they are."""

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data import drawn, landscapes, open_dataset, solids
from data.check import check
from data.nyud import NYUD
from data.siftflow import SIFTFlow

pytestmark = pytest.mark.unit

# of the first 12 pictures with everything: whoever changes a drawing must raise VERSION and record it anew
SOLIDS = "c3aef59ee508038b4def5933f83cb9dc9e61db719d62972c104298d719b15b6e"
LANDSCAPES = "6b14ca19b86ea8ad6e375b52aa4910db7a8692f28f2545bb53450e695eee5a03"


def digest(module):
    found = hashlib.sha256()
    for index in range(12):
        for array in module.render(module.SEED, index):
            found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()


@pytest.mark.tiny
def test_the_drawings_have_not_changed():
    assert (solids.VERSION, digest(solids)) == (1, SOLIDS)
    assert (landscapes.VERSION, digest(landscapes)) == (1, LANDSCAPES)


def inside(label, kind):
    """The pixels of a class that are not at a border of it."""
    mask = np.pad(label == kind, 1)
    return mask[1:-1, 1:-1] & mask[:-2, 1:-1] & mask[2:, 1:-1] & mask[1:-1, :-2] & mask[1:-1, 2:]


def test_boxes_and_pits_differ_in_depth_alone_and_mats_in_colour_alone():
    colours, heights = {k: [] for k in range(4)}, {k: [] for k in range(4)}
    for index in range(150):
        image, depth, _, label = solids.render(solids.SEED, index)
        level = np.median(depth[label == 0].astype(int))
        for kind in range(4):
            mask = inside(label, kind)
            if mask.any():
                colours[kind].append(image[mask].mean(axis=0))
                heights[kind].append(level - depth[mask].mean())
    colour = {k: np.mean(v, axis=0) for k, v in colours.items()}
    spread = np.std(colours[1], axis=0) / np.sqrt(len(colours[1]))
    assert (np.abs(colour[1] - colour[2]) < 6 * spread).all()          # one colour
    assert np.abs(colour[1] - colour[3]).max() > 80 and np.abs(colour[0] - colour[3]).max() > 40
    assert min(heights[1]) > 100 and max(heights[2]) < -100            # millimetres above and below the ground
    assert np.abs(heights[3]).max() < 160 and abs(np.mean(heights[3])) < 15


def test_hha_is_that_of_the_depth():
    _, depth, hha, _ = solids.render(7, 3)
    centimetres = depth / 10.0
    assert np.abs(hha[:, :, 0] - 31000 / centimetres).max() <= 1
    assert np.abs(hha[:, :, 1] - (centimetres.max() - centimetres)).max() <= 1 and (hha[:, :, 2] == 38).all()


@given(st.integers(0, 2**32), st.integers(0, 1000), st.sampled_from([32, 48, 64, 100]))
def test_labels_are_classes(seed, index, size):
    image, depth, hha, label = solids.render(seed, index, size)
    assert image.shape == hha.shape == (size, size, 3) and depth.shape == label.shape == (size, size)
    assert depth.min() > 0 and set(np.unique(label)) <= {0, 1, 2, 3, 255}
    image, label = landscapes.render(seed, index, size)
    assert image.shape == (size, size, 3) and set(np.unique(label)) <= set(range(5))
    assert (label[0] != 1).all() and (label[-1] != 0).all()   # sky above, ground below


def test_written_in_the_layouts_of_the_real_sets(tmp_path):
    solids.write(tmp_path / "solids", seed=3, counts={"trainval": 3, "test": 2}, size=32)
    found = open_dataset("solids", root=tmp_path)
    assert isinstance(found, NYUD) and found.classes == solids.CLASSES
    assert [len(found.ids(split)) for split in ("trainval", "test")] == [3, 2] and not check(found).problems
    image, depth, hha, label = solids.render(3, 3, 32)
    first = found.ids("test")[0]
    for top, array in (("color", image[:, :, ::-1]), ("hha", hha), ("label", label)):
        np.testing.assert_array_equal(found.top(first, top), array)
    np.testing.assert_allclose(found.top(first, "depth")[:, :, 0], np.log(depth.astype(float)), rtol=1e-6)

    assert landscapes.main(["--out", str(tmp_path / "landscapes"), "--train", "2", "--val", "1", "--size", "40"]) == 0
    found = open_dataset("landscapes", root=tmp_path)
    assert isinstance(found, SIFTFlow) and not check(found).problems
    label = landscapes.render(landscapes.SEED, 2, 40)[1]
    np.testing.assert_array_equal(found.top("landscapes_000002", "sem"), drawn.void_rim(label))
    geo = found.top("landscapes_000002", "geo")
    known = geo != 255
    assert (geo[known] == np.array([0, 1, 1, 2, 2])[label[known]]).all() and known.mean() > 0.8


def test_drawn_on_first_use_and_again_when_the_drawing_changes(tmp_path, monkeypatch):
    monkeypatch.setattr(solids, "write", lambda folder: drawn.write(
        folder, {"drawn_by": "data.solids", "version": solids.VERSION}, lambda work: (work / "x").touch()))
    assert solids.ensure(tmp_path / "s") == tmp_path / "s" and (tmp_path / "s/x").is_file()
    (tmp_path / "s/x").unlink()
    solids.ensure(tmp_path / "s")
    assert not (tmp_path / "s/x").exists()
    monkeypatch.setattr(solids, "VERSION", 2)
    solids.ensure(tmp_path / "s")
    assert (tmp_path / "s/x").exists()
