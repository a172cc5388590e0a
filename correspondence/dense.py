"""A layer's features around a point at every pixel, not only at its stride (thesis 2.3, localisation)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from correspondence.errors import DataError, NetError
from correspondence.grids import FeatureNet, sized
from surgery.dilate import dilate


class DenseFeatures:
    """One layer of a net at a single-pixel stride: its filters, dilated in place of subsampling (surgery/dilate.py).

    Arguments as FeatureNet's.  A feature is the one that the net would compute with its receptive field's centre on
    that pixel and the field within the image, so that padding plays no part; beyond the image there is the mean
    colour.  A field of an even size has no middle pixel: its centre lies half a pixel before the point.
    """

    def __init__(
        self, net: str | os.PathLike[str] | Any, weights: str | os.PathLike[str] | None, layer: str,
        mean: Sequence[float] = (104.0, 117.0, 123.0), scale: float = 1.0,
    ) -> None:
        strided = FeatureNet(net, None, [layer], mean, scale)
        blob = strided.blobs[layer]
        self.field = int(strided.place(layer, 1024, 1024).field)
        self.mean = np.asarray(mean, np.float32)[::-1]
        dilated = dilate(sized(strided.definition, self.field, self.field), blob, keep_padding=True)
        self.net = FeatureNet(without_padding(dilated), weights, [blob], mean, scale)

    def around(self, image: ArrayLike, point: ArrayLike, reach: int) -> NDArray[np.float32]:
        """The features at all pixels up to `reach` away from the pixel at a point (x, y) of an image (H x W x 3 RGB).

        (2 reach + 1) x (2 reach + 1) x channels, from the upper left.  Raises DataError for a point outside the image.
        """
        pixels = np.asarray(image, np.float32)
        x, y = (int(v) for v in np.rint(point))
        if not (0 <= x < pixels.shape[1] and 0 <= y < pixels.shape[0]):
            raise DataError("the point lies outside the image", found=(x, y), expected=pixels.shape[:2])
        low = -reach - self.field // 2
        cut = self._cut(pixels, x + low, y + low, self.field + 2 * reach)
        (made,) = self.net.forward(cut[None]).values()
        return np.ascontiguousarray(made[0].transpose(1, 2, 0))

    def _cut(self, pixels: NDArray[np.float32], left: int, top: int, size: int) -> NDArray[np.float32]:
        """A square of an image that may hang over its edges."""
        cut = np.tile(self.mean, (size, size, 1))
        rows, columns = (slice(max(0, low), max(0, min(length, low + size)))
                         for low, length in ((top, pixels.shape[0]), (left, pixels.shape[1])))
        cut[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left] = pixels[rows, columns]
        return cut


def without_padding(net: Any) -> Any:
    """A net without strides that computes only what no padding touches: blobs shrink, and are cropped where they meet.

    So a crop of the size of a receptive field gives one feature.  Raises NetError for a stride or a Deconvolution.
    """
    bare = type(net)()
    bare.CopyFrom(net)
    del bare.layer[:]
    inset: dict[str, tuple[int, int]] = {}   # samples that are missing at the top and left of each blob
    for given in net.layer:
        layer = type(given)()
        layer.CopyFrom(given)
        lost = [inset.get(blob, (0, 0)) for blob in layer.bottom] or [(0, 0)]
        most = max(lost)
        for i, blob in enumerate(list(layer.bottom)):
            if lost[i] != most:
                crop = bare.layer.add(name=f"{layer.name}/crop{i}", type="Crop", top=[f"{layer.name}/crop{i}"],
                                      bottom=[blob, layer.bottom[lost.index(most)]])
                crop.crop_param.axis = 2
                crop.crop_param.offset.extend(most[axis] - lost[i][axis] for axis in (0, 1))
                layer.bottom[i] = crop.top[0]
        pad = _take_padding(layer)
        inset.update(dict.fromkeys(layer.top, (most[0] + pad[0], most[1] + pad[1])))
        bare.layer.append(layer)
    return bare


def _take_padding(layer: Any) -> tuple[int, int]:
    """Take a layer's padding away, and say how much it was along rows and columns."""
    if layer.type == "Deconvolution":
        raise NetError(f"layer {layer.name!r} upsamples", help="take a layer before it")
    if layer.type in ("Convolution", "Im2col"):
        p = layer.convolution_param
        pad = tuple(p.pad) or (0,)
        del p.pad[:]
    elif layer.type == "Pooling":
        p, pad = layer.pooling_param, (layer.pooling_param.pad,)
        p.ClearField("pad")
    else:
        return 0, 0
    strides = p.stride if layer.type != "Pooling" else [p.stride]
    if any(stride != 1 for stride in strides):
        raise NetError(f"layer {layer.name!r} has a stride", help="dilate the net first (surgery/dilate.py)")
    return pad[0], pad[-1]
