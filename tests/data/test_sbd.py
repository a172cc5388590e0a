"""The reader of SBD, on a tiny copy with MATLAB files as SBD's."""

import numpy as np
import pytest
import scipy.io

from data import DataError, open_dataset
from data.sbd import SBD

pytestmark = pytest.mark.unit


@pytest.mark.tiny
@pytest.mark.parametrize("nest", ["benchmark_RELEASE/dataset", "dataset", ""])
def test_reads_labels_and_lists(tmp_path, make_sbd, nest):
    made = make_sbd(tmp_path / nest, {"val": ["v"], "train": ["p", "q"]})
    (tmp_path / nest / "readme.txt").write_text("about")
    sbd = SBD(tmp_path)
    assert sbd.root == tmp_path / nest
    assert sbd.splits() == ("train", "val") and sbd.ids("train") == ["p", "q"]
    assert len(sbd.classes) == 21
    for i, label in made.items():
        got = sbd.label(i)
        assert got.dtype == np.uint8 and sbd.image(i).shape == (*got.shape, 3)
        np.testing.assert_array_equal(got, label)


def test_opens_by_folder(tmp_path, make_sbd):
    make_sbd(tmp_path / "mine", {"train": ["p"]})
    assert isinstance(open_dataset(tmp_path / "mine"), SBD)


def test_missing_set_says_how_to_prepare_it(tmp_path):
    with pytest.raises(DataError, match="(?s)'sbd' is not here.*python -m data.prepare sbd --from-local"):
        open_dataset("sbd")
    (tmp_path / "img").mkdir()
    with pytest.raises(DataError, match="both img/ and cls/"):
        SBD(tmp_path)


def test_damaged_labels_are_named(tmp_path, make_sbd):
    make_sbd(tmp_path, {"train": ["p"]})
    sbd, path = SBD(tmp_path), tmp_path / "cls" / "p.mat"
    whole = path.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", b"<html></html>", b"MATLAB 7.3 MAT-file" + bytes(600)):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=r"p\.mat: the labels cannot be read"):
            sbd.label("p")
    scipy.io.savemat(path, {"GTinst": {"Segmentation": np.zeros((2, 2))}})
    with pytest.raises(DataError, match=r"p\.mat"):
        sbd.label("p")
    scipy.io.savemat(path, {"GTcls": {"Segmentation": np.zeros((2, 2, 3), np.uint8)}})
    with pytest.raises(DataError, match="not one class index per pixel"):
        sbd.label("p")
    path.unlink()
    with pytest.raises(DataError, match=r"p\.mat: no file with GTcls"):
        sbd.label("p")


def test_unknown_split(tmp_path, make_sbd):
    make_sbd(tmp_path, {"train": ["p"]})
    with pytest.raises(DataError, match=r"no split 'test'.*found train"):
        SBD(tmp_path).ids("test")
