"""Stand-ins for blobs and nets, so that data layers are tested without a net; a tiny data set for them."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from PIL import Image

from data.palette import write_indexed_png

# a busy machine is no failure
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


class FakeBlob:
    """The part of pycaffe's Blob that a data layer uses."""

    def __init__(self):
        self.data = np.zeros((0,), np.float32)

    def reshape(self, *shape):
        if shape != self.data.shape:
            self.data = np.zeros(shape, np.float32)


class Driver:
    """Calls a Python layer as a net does: setup and reshape once, then reshape and forward for each pass."""

    def __init__(self, cls, param_str, phase=0, bottoms=0, tops=2):
        self.layer = cls(SimpleNamespace(phase=phase, name="data", type="Python"))
        self.layer.param_str = param_str if isinstance(param_str, str) else repr(param_str)
        self.layer.phase = phase
        self.bottom = [FakeBlob() for _ in range(bottoms)]
        self.top = [FakeBlob() for _ in range(tops)]
        self.layer.setup(self.bottom, self.top)
        self.layer.reshape(self.bottom, self.top)

    def forward(self):
        self.layer.reshape(self.bottom, self.top)
        self.layer.forward(self.bottom, self.top)
        return tuple(blob.data.copy() for blob in self.top)


@pytest.fixture
def driver():
    return Driver


@pytest.fixture
def write_pictures():
    """write(root, {split: {id: (height, width)}}, classes) makes a VOC tree; returns {id: (image, label)}."""

    def write(root, splits, classes=("ground", "tree", "car")):
        lists = root / "ImageSets" / "Segmentation"
        for folder in (root / "JPEGImages", root / "SegmentationClass", lists):
            folder.mkdir(parents=True, exist_ok=True)
        made = {}
        for split, sizes in splits.items():
            (lists / f"{split}.txt").write_text("".join(f"{i}\n" for i in sizes))
            for i, size in sizes.items():
                draw = np.random.default_rng(list(i.encode()))
                image = draw.integers(0, 256, (*size, 3), dtype=np.uint8)
                label = draw.integers(0, len(classes), size).astype(np.uint8)
                label[0, 0] = 255
                Image.fromarray(image).save(root / "JPEGImages" / f"{i}.png")
                write_indexed_png(root / "SegmentationClass" / f"{i}.png", label)
                made[i] = image, label
        (root / "classes.txt").write_text("\n".join(classes) + "\n")
        return made

    return write


@pytest.fixture
def six(tmp_path, write_pictures):
    """Six training pictures of one size and two validation pictures; (root, {id: (image, label)})."""
    root = tmp_path / "six"
    train = {f"t{i}": (10, 14) for i in range(6)}
    return root, write_pictures(root, {"train": train, "val": {"v0": (10, 14), "v1": (8, 9)}})
