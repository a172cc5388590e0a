"""Features on grids: what a net computes around each receptive-field centre of an image (thesis, chapter 2).

Where the centres lie, how far apart, and how much of the image each feature sees, comes from the net's definition
(prototxt/measure.py).  Points are (x, y) in pixels; (0, 0) is the middle of the first pixel.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf import text_format
from numpy.typing import ArrayLike, NDArray

import caffe
from caffe.proto import caffe_pb2
from correspondence.errors import DataError, NetError
from prototxt.measure import Trace, trace
from surgery import transplant_weights

BATCH_PIXELS = 4_000_000   # of the images that go through a net at once


@dataclass(frozen=True)
class Grid:
    """The features of an image, H x W x channels.

    Feature (i, j) has its receptive field's centre at x = start + j * stride, y = start + i * stride; the field is
    `size` pixels wide and high, and may hang over the image's edge.
    """

    features: NDArray[np.float32]
    start: float
    stride: float
    size: float

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.features.shape[0], self.features.shape[1]

    def rows(self) -> NDArray[np.float64]:
        """The y of each row of centres."""
        return np.asarray(self.start + self.stride * np.arange(self.shape[0]), np.float64)

    def columns(self) -> NDArray[np.float64]:
        """The x of each column of centres."""
        return np.asarray(self.start + self.stride * np.arange(self.shape[1]), np.float64)

    def centres(self) -> NDArray[np.float64]:
        """All centres, H x W x 2, as (x, y)."""
        return np.stack(np.meshgrid(self.columns(), self.rows()), axis=-1)

    def nearest(self, points: ArrayLike) -> NDArray[np.int64]:
        """(row, column) of the feature whose centre is closest to each of N points, N x 2."""
        x, y = np.asarray(points, np.float64).reshape(-1, 2).T
        index = np.rint((np.stack([y, x], axis=1) - self.start) / self.stride).astype(np.int64)
        return np.clip(index, 0, np.array(self.shape) - 1)

    def at(self, points: ArrayLike) -> NDArray[np.float32]:
        """The features closest to N points, N x channels."""
        index = self.nearest(points)
        return self.features[index[:, 0], index[:, 1]]

    def sees(self, point: ArrayLike) -> NDArray[np.bool_]:
        """Which features' fields contain the pixel at a point, H x W."""
        return np.asarray(np.abs(self.centres() - np.rint(point)).max(axis=2) <= (self.size - 1) / 2)


class FeatureNet:
    """A net cut off after the blobs that are wanted, with its weights, for images of any size.

    `net`: a deploy prototxt, as a file or a NetParameter.  `weights`: a caffemodel; None leaves the fillers' values.
    `layers`: names of blobs, or of layers, whose first top is then meant; a blob is taken as the net leaves it, with
    what layers in place (ReLU) have made of it.  `mean`: B, G, R, subtracted from pixels of 0..255; `scale`: what
    the difference is multiplied by.

    Raises NetError for a layer that is not there, a net of several inputs, and weights that are not the net's.
    """

    def __init__(
        self, net: str | os.PathLike[str] | Any, weights: str | os.PathLike[str] | None, layers: Sequence[str],
        mean: Sequence[float] = (104.0, 117.0, 123.0), scale: float = 1.0,
    ) -> None:
        definition = net if hasattr(net, "layer") else read_net(net)
        self.blobs = {name: _blob_named(definition, name) for name in layers}
        self.definition = cut(definition, set(self.blobs.values()))
        inputs = sorted(_sources(self.definition))
        if len(inputs) != 1:
            raise NetError("features are computed by a deploy net of one input", found=", ".join(inputs) or "none",
                           help="give the deploy prototxt, with an Input layer in place of the data layer")
        self.input = inputs[0]
        self.mean, self.scale = np.asarray(mean, np.float32), scale
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "net.prototxt"
            path.write_text(text_format.MessageToString(self.definition), encoding="utf-8")
            self.net = caffe.Net(str(path), caffe.TEST)
        if weights is not None:
            found = transplant_weights(self.net, str(weights), print_report=False)
            if found.left_at_filler:
                raise NetError("these are not the weights of this net", file=weights, expected=found.left_at_filler[0],
                               help="give the caffemodel that belongs to the prototxt")

    def place(self, layer: str, height: int, width: int) -> Trace:
        """Where the features of a layer stand for images of this size.  Raises NetError for too small ones."""
        shaped = sized(self.definition, height, width)
        return trace(shaped, (len(self.mean), height, width))[0][self.blobs[layer]]

    def forward(self, images: ArrayLike) -> dict[str, NDArray[np.float32]]:
        """The wanted blobs for N images of one size (N x H x W x 3 RGB, or N x H x W x channels of a net of others).

        {layer: array as in Caffe, N x channels x h x w, or N x channels}.  Raises DataError for other images.
        """
        pixels = np.asarray(images, np.float32)
        blob = self.net.blobs[self.input]
        if pixels.ndim != 4 or pixels.shape[3] != len(self.mean):
            raise DataError("images do not fit the net", found=pixels.shape, expected=f"N x H x W x {len(self.mean)}")
        prepared = (pixels[..., ::-1] - self.mean) * np.float32(self.scale)
        parts: dict[str, list[NDArray[np.float32]]] = {layer: [] for layer in self.blobs}
        step = max(1, BATCH_PIXELS // (pixels.shape[1] * pixels.shape[2]))
        for first in range(0, len(pixels), step):
            batch = prepared[first : first + step].transpose(0, 3, 1, 2)
            blob.reshape(*batch.shape)
            self.net.reshape()
            blob.data[...] = batch
            self.net.forward()
            for layer, name in self.blobs.items():
                parts[layer].append(np.array(self.net.blobs[name].data, np.float32))
        return {layer: np.concatenate(made) for layer, made in parts.items()}

    def grids(self, image: ArrayLike) -> dict[str, Grid]:
        """The features of one image (H x W x 3 RGB) at every layer, on their grids.

        Raises NetError for a layer that gives one vector for the whole image: that is `whole`'s.
        """
        pixels = np.asarray(image)
        made = self.forward(pixels[None])
        return {layer: self.grid(layer, blob[0], *pixels.shape[:2]) for layer, blob in made.items()}

    def grid(self, layer: str, blob: NDArray[np.float32], height: int, width: int) -> Grid:
        """The Grid of a layer's blob (channels x h x w) of an image of this size."""
        if blob.ndim != 3:
            raise NetError(f"{layer!r} has no grid: it gives one vector for the whole image", found=blob.shape,
                           help="take a convolutional or pooling layer")
        place = self.place(layer, height, width)
        return Grid(np.ascontiguousarray(blob.transpose(1, 2, 0)), float(place.centre), float(place.stride),
                    float(place.field))

    def whole(self, images: ArrayLike, layer: str) -> NDArray[np.float32]:
        """One feature for each of N images of one size: all values of the layer as a row."""
        return self.forward(images)[layer].reshape(len(np.asarray(images)), -1)


def read_net(path: str | os.PathLike[str]) -> Any:
    """The NetParameter in a prototxt file.  Raises NetError that names the file."""
    message = caffe_pb2.NetParameter()
    try:
        text_format.Parse(Path(path).read_text(encoding="utf-8"), message)
    except (OSError, UnicodeDecodeError, text_format.ParseError) as error:
        raise NetError(f"the net cannot be read ({error})", file=path, help="give a deploy prototxt") from error
    return message


def cut(net: Any, blobs: set[str]) -> Any:
    """A copy of a NetParameter with only the layers that these blobs need: later ones may limit the image's size."""
    wanted, kept = set(blobs), []
    for layer in reversed(net.layer):
        if wanted & set(layer.top):
            wanted |= set(layer.bottom)
            kept.append(layer)
    short = type(net)()
    short.CopyFrom(net)
    del short.layer[:]
    short.layer.extend(reversed(kept))
    return short


def _blob_named(net: Any, name: str) -> str:
    tops = {top for layer in net.layer for top in layer.top}
    by_layer = {layer.name: layer.top[0] for layer in net.layer if layer.top}
    if name in tops:
        return name
    if name not in by_layer:
        raise NetError(f"the net has no layer or blob {name!r}", found=", ".join(sorted(tops)),
                       help="names are those of the prototxt")
    return by_layer[name]


def _sources(net: Any) -> set[str]:
    """Blobs that come from outside."""
    return {*net.input, *(top for layer in net.layer if not layer.bottom for top in layer.top)}


def sized(net: Any, height: int, width: int) -> Any:
    """A copy of a NetParameter whose input is one image of this size."""
    made = type(net)()
    made.CopyFrom(net)
    shapes = [shape.dim for layer in made.layer if layer.type == "Input" for shape in layer.input_param.shape]
    shapes += [shape.dim for shape in made.input_shape] + ([made.input_dim] if len(made.input_dim) else [])
    for shape in shapes:
        shape[:] = [1, shape[1], height, width]
    return made
