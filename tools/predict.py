"""Class scores and labels of images by a net with an input blob `data`: preprocessing, reshaping, batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from tools.errors import RunError

Key = TypeVar("Key")

PIXELS = 250_000  # of one batch: about one image of PASCAL VOC, whose activations in VGG-16 are gigabytes


def to_blob(image: NDArray, mean: Sequence[float]) -> NDArray[np.float32]:
    """An H x W x 3 RGB image as Caffe's 3 x H x W: BGR, float32, minus `mean` (per channel, BGR)."""
    bgr = np.asarray(image, dtype=np.float32)[:, :, ::-1] - np.asarray(mean, dtype=np.float32)
    return np.ascontiguousarray(bgr.transpose(2, 0, 1))


def check_net(net: Any, name: str) -> None:
    """Raise RunError unless the net takes images in an input `data` and gives a blob `score`."""
    lacking = [blob for blob in ("data", "score") if blob not in net.blobs]
    if lacking or "data" not in net.inputs:
        found = f"no blob {' or '.join(lacking)}" if lacking else f"inputs {list(net.inputs)}"
        raise RunError("this net cannot segment images", file=name, found=found,
                       expected="an input blob 'data' and a blob 'score'",
                       help="give the deploy prototxt of the net, not its train or val prototxt")


def batches(
    images: Iterable[tuple[Key, NDArray]], size: int, pixels: int = PIXELS
) -> Iterator[tuple[list[Key], list[NDArray]]]:
    """Consecutive images of equal shape, in order: up to `size` and `pixels` together, else alone."""
    keys: list[Key] = []
    group: list[NDArray] = []
    for key, image in images:
        if group:
            full = len(group) == size or (len(group) + 1) * image.shape[0] * image.shape[1] > pixels
            if full or image.shape != group[0].shape:
                yield keys, group
                keys, group = [], []
        keys.append(key)
        group.append(image)
    if group:
        yield keys, group


def scores(net: Any, images: Sequence[NDArray], mean: Sequence[float]) -> NDArray[np.float32]:
    """The `score` blob for images of one size (H x W x 3 RGB): N x classes x H x W.

    The array is the net's own memory, valid until its next forward pass.  Raises RunError when the net's
    scores are not at the size of its images.
    """
    shape = (len(images), 3, *images[0].shape[:2])
    blob = net.blobs["data"]
    if tuple(blob.shape) != shape:
        blob.reshape(*shape)
        net.reshape()
    for i, image in enumerate(images):
        blob.data[i] = to_blob(image, mean)
    net.forward()
    found = net.blobs["score"].data
    if found.ndim != 4 or found.shape[0] != shape[0] or found.shape[2:] != shape[2:]:
        raise RunError("the net's scores are not at the size of its images", found=found.shape,
                       expected=f"{shape[0]} x classes x {shape[2]} x {shape[3]}",
                       help="crop the upsampled scores to the blob 'data', as the nets of prototxt/ do")
    return found


def labels(score: NDArray) -> NDArray[np.int64]:
    """The class of the highest score, N x H x W, from N x classes x H x W; the lowest of equal ones."""
    return score.argmax(axis=1)
