"""Tiny data sets in the true layouts."""

import io
import tarfile

import numpy as np
import pytest
import scipy.io
from hypothesis import HealthCheck, settings
from PIL import Image

from data.palette import write_indexed_png
from data.sources import SOURCES

# a busy machine is no failure
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


def picture(seed, height=9, width=12, classes=3):
    """A random image and labels (with some void) of that size."""
    draw = np.random.default_rng(seed)
    image = draw.integers(0, 256, (height, width, 3), dtype=np.uint8)
    label = draw.integers(0, classes, (height, width)).astype(np.uint8)
    label[0, 0] = 255
    return image, label


def write_voc(root, splits, classes=None, ending=".png", size=(9, 12)):
    """A data set in VOC layout; `splits` maps names to id lists. Returns {id: (image, label)}."""
    lists = root / "ImageSets" / "Segmentation"
    for folder in (root / "JPEGImages", root / "SegmentationClass", lists):
        folder.mkdir(parents=True, exist_ok=True)
    made = {}
    for split, ids in splits.items():
        (lists / f"{split}.txt").write_text("".join(f"{i}\n" for i in ids))
        for i in ids:
            made[i] = image, label = picture(list(i.encode()), *size)
            Image.fromarray(image).save(root / "JPEGImages" / f"{i}{ending}")
            write_indexed_png(root / "SegmentationClass" / f"{i}.png", label)
    if classes:
        (root / "classes.txt").write_text("\n".join(classes) + "\n")
    return made


def write_sbd(root, splits):
    """SBD's layout with MATLAB structs as SBD has them. Returns {id: label}."""
    for folder in (root / "img", root / "cls"):
        folder.mkdir(parents=True, exist_ok=True)
    made = {}
    for split, ids in splits.items():
        (root / f"{split}.txt").write_text("".join(f"{i}\n" for i in ids))
        for i in ids:
            image, label = picture(list(i.encode()))
            made[i] = label = np.where(label == 255, 0, label).astype(np.uint8)
            Image.fromarray(image).save(root / "img" / f"{i}.jpg")
            struct = {
                "Boundaries": np.zeros((20, 1)),
                "Segmentation": label,
                "CategoriesPresent": np.unique(label[label > 0])[:, None],
            }
            scipy.io.savemat(root / "cls" / f"{i}.mat", {"GTcls": struct}, do_compression=True)
    return made


def tar_of(folder, path, mode="w"):
    with tarfile.open(path, mode) as tar:
        tar.add(folder, arcname=folder.name)
    return path


def tar_with(name, path):
    """A tar with one member of that name."""
    with tarfile.open(path, "w") as tar:
        member = tarfile.TarInfo(name)
        member.size = 3
        tar.addfile(member, io.BytesIO(b"bad"))
    return path


@pytest.fixture
def voc(tmp_path):
    """A VOC tree with train a, b, c and val d; as (root, pictures)."""
    root = tmp_path / "VOC2012"
    return root, write_voc(root, {"train": ["a", "b", "c"], "val": ["d"]}, classes=["ground", "tree", "car"])


@pytest.fixture
def make_voc():
    return write_voc


@pytest.fixture
def make_sbd():
    return write_sbd


@pytest.fixture
def make_tar():
    return tar_of


@pytest.fixture
def make_bad_tar():
    return tar_with


@pytest.fixture(autouse=True)
def no_data_elsewhere(tmp_path, monkeypatch):
    """Named data sets are looked for in an empty folder."""
    for name in SOURCES:
        if name != "camvid":   # which one test reads, where it is
            monkeypatch.delenv(f"CAFFE_LUNGO_{name.upper()}", raising=False)
    monkeypatch.setenv("CAFFE_LUNGO_DATA", str(tmp_path / "named"))
