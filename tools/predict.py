"""Class scores and labels of images: what a net's inputs are fed, preprocessing, reshaping, batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from tools.errors import RunError

Key = TypeVar("Key")

PIXELS = 250_000  # of one batch: about one image of PASCAL VOC, whose activations in VGG-16 are gigabytes


@dataclass(frozen=True)
class Feed:
    """What an input blob takes: a top of the data set (`data`: its images), minus `mean`, per channel."""

    top: str = "data"
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)

    def blob(self, values: NDArray) -> NDArray[np.float32]:
        """H x W x C values of the top as C x H x W, minus the mean."""
        return np.ascontiguousarray((values.astype(np.float32) - np.array(self.mean, np.float32)).transpose(2, 0, 1))


Planes = Mapping[str, NDArray]   # input blob -> C x H x W
"""One picture as a net takes it."""


def to_blob(image: NDArray, mean: Sequence[float]) -> NDArray[np.float32]:
    """An H x W x 3 RGB image as Caffe's 3 x H x W: BGR, float32, minus `mean` (per channel, BGR)."""
    return Feed("data", tuple(mean)).blob(np.asarray(image)[:, :, ::-1])


def check_net(net: Any, name: str, inputs: Iterable[str] = ("data",), outputs: Iterable[str] = ("score",)) -> None:
    """Raise RunError unless the net takes pictures in the blobs `inputs`, and no others, and gives `outputs`."""
    lacking = [blob for blob in (*inputs, *outputs) if blob not in net.blobs]
    if lacking or sorted(inputs) != sorted(net.inputs):
        found = f"no blob {' or '.join(lacking)}" if lacking else f"inputs {list(net.inputs)}"
        raise RunError("this net cannot segment images", file=name, found=found,
                       expected=f"input {' and '.join(map(repr, inputs))}, output {' and '.join(map(repr, outputs))}",
                       help="give the deploy prototxt of the net, not its train or val prototxt")


def batches(
    pictures: Iterable[tuple[Key, Planes]], size: int, pixels: int = PIXELS
) -> Iterator[tuple[list[Key], list[Planes]]]:
    """Consecutive pictures of equal shape, in order: up to `size` and `pixels` together, else alone."""
    keys: list[Key] = []
    group: list[Planes] = []
    for key, planes in pictures:
        shape = next(iter(planes.values())).shape
        if group:
            full = len(group) == size or (len(group) + 1) * shape[-2] * shape[-1] > pixels
            if full or shape != next(iter(group[0].values())).shape:
                yield keys, group
                keys, group = [], []
        keys.append(key)
        group.append(planes)
    if group:
        yield keys, group


def scores(net: Any, images: Sequence[NDArray], mean: Sequence[float]) -> NDArray[np.float32]:
    """The `score` blob for images of one size (H x W x 3 RGB) in the input `data`: N x classes x H x W.

    The array is the net's own memory, valid until its next forward pass.  Raises RunError when the net's
    scores are not at the size of its images.
    """
    return scores_of(net, [{"data": to_blob(image, mean)} for image in images])[0]


def scores_of(
    net: Any, pictures: Sequence[Planes], outputs: Sequence[str] = ("score",)
) -> list[NDArray[np.float32]]:
    """The blobs `outputs` for pictures of one size; see `scores`."""
    changed = False
    for name, plane in pictures[0].items():
        shape = (len(pictures), *plane.shape)
        if tuple(net.blobs[name].shape) != shape:
            net.blobs[name].reshape(*shape)
            changed = True
    if changed:
        net.reshape()
    for i, planes in enumerate(pictures):
        for name, plane in planes.items():
            net.blobs[name].data[i] = plane
    net.forward()
    height, width = next(iter(pictures[0].values())).shape[-2:]
    found = [net.blobs[output].data for output in outputs]
    for output, score in zip(outputs, found, strict=True):
        if score.ndim != 4 or score.shape[0] != len(pictures) or score.shape[2:] != (height, width):
            raise RunError(f"the net's blob '{output}' is not at the size of its images", found=score.shape,
                           expected=f"{len(pictures)} x classes x {height} x {width}",
                           help="crop the upsampled scores to the blob 'data', as the nets of prototxt/ do")
    return found


def labels(score: NDArray) -> NDArray[np.int64]:
    """The class of the highest score, N x H x W, from N x classes x H x W; the lowest of equal ones."""
    return score.argmax(axis=1)
