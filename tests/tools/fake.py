"""A data set in memory and a net that answers by rule: for the tools' own logic, with no engine."""

from pathlib import Path

import numpy as np

from data.palette import voc_palette


class FakeBlob:
    def __init__(self, *shape):
        self.reshape(*shape)

    def reshape(self, *shape):
        self.data = np.zeros(shape, np.float32)

    @property
    def shape(self):
        return self.data.shape


class FakeSet:
    """Pictures of given sizes; the label of a pixel is its red value, the blue channel tells the picture."""

    name, root, ignore = "fake", Path("fake"), 255
    classes = ("a", "b", "c")
    image_tops, label_tops = ("data",), ("label",)
    palette = voc_palette()

    def __init__(self, sizes):
        random = np.random.default_rng(0)
        self.pictures = {}
        for k, (h, w) in enumerate(sizes):
            image = np.zeros((h, w, 3), np.uint8)
            image[:, :, 0] = random.integers(0, 3, (h, w))
            image[:, :, 2] = k
            self.pictures[f"p{k}"] = image

    def ids(self, split):
        return list(self.pictures)

    def image(self, picture):
        return self.pictures[picture]

    def label(self, picture):
        return self.pictures[picture][:, :, 0]

    def top(self, picture, name):
        return self.label(picture) if name == "label" else self.image(picture)[:, :, ::-1]

    def classes_of(self, label):
        return self.classes

    def label_path(self, picture):
        return self.root / f"{picture}.png"


class FakeNet:
    """Predicts class (red value + 1) mod 3 where the column is 0, and the red value elsewhere."""

    name = "fake-net"

    def __init__(self):
        self.blobs = {"data": FakeBlob(1, 3, 4, 4), "score": FakeBlob(1, 3, 4, 4)}
        self.inputs = ["data"]
        self.batches = []

    def reshape(self):
        n, _, h, w = self.blobs["data"].shape
        self.blobs["score"].reshape(n, 3, h, w)

    def forward(self):
        red = self.blobs["data"].data[:, 2].round().astype(int)  # BGR
        self.batches.append(len(red))
        red[:, :, 0] = (red[:, :, 0] + 1) % 3
        self.blobs["score"].data[:] = red[:, None] == np.arange(3)[None, :, None, None]
        return {}


class SelfFedNet:
    """A net with its own data layer: gives label and score of a FakeSet's pictures in turn."""

    def __init__(self, dataset):
        self.inputs = []
        self.dataset, self.at = dataset, 0
        self.blobs = {name: FakeBlob(1, 1, 1, 1) for name in ("data", "label", "score", "loss")}

    def forward(self):
        ids = self.dataset.ids("val")
        label = self.dataset.label(ids[self.at % len(ids)])
        self.at += 1
        self.blobs["data"].reshape(1, 3, *label.shape)
        self.blobs["label"].data = label[None, None].astype(np.float32)
        self.blobs["score"].data = (label[None, None] == np.arange(3)[None, :, None, None]).astype(np.float32)
        self.blobs["loss"].data = np.array(float(self.at), np.float32)
        return {}
