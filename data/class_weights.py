"""Weights for classes of unequal size, from label images: median frequency balancing and inverse frequency.

A loss takes them in one of two ways, with the same result: `InfogainLoss` as the diagonal matrix H that
`write_infogain` writes (BVLC Caffe), `SoftmaxWithLoss` as the lines of `loss_param` (SegNet's fork, and this engine).
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data.dataset import Dataset
from data.errors import DataError

Weights = NDArray[np.float64]


@dataclass(frozen=True)
class Counts:
    """Per class: its labelled `pixels`, and the labelled pixels of the images in which it occurs (`around`)."""

    pixels: NDArray[np.int64]
    around: NDArray[np.int64]


def count(dataset: Dataset, pictures: Iterable[str]) -> Counts:
    """Count the labels of those pictures, void left out. DataError names a file with a value that is no class."""
    classes = len(dataset.classes)
    pixels, around = np.zeros((2, classes), np.int64)
    for picture in pictures:
        here = np.bincount(dataset.label(picture).ravel(), minlength=256)
        here[dataset.ignore] = 0
        if here[classes:].any():
            raise DataError("a label is no class", file=dataset.label_path(picture),
                            found=int(np.flatnonzero(here[classes:])[0]) + classes, expected=f"0 to {classes - 1}",
                            help="`python tools/check_data.py DIR` lists all such files")
        here = here[:classes]
        pixels += here
        around[here > 0] += here.sum()
    if not pixels.any():
        raise DataError("there is no labelled pixel", file=dataset.root, help="choose another split")
    return Counts(pixels, around)


def median_frequency(counts: Counts) -> Weights:
    """median(f) / f[c], with f[c] the part of class c in the pixels of the images in which it occurs (SegNet, after
    Eigen and Fergus, ICCV 2015). A class that never occurs gets 0 and has no part in the median."""
    there = counts.pixels > 0
    frequency = counts.pixels[there] / counts.around[there]
    weights = np.zeros(len(there))
    weights[there] = np.median(frequency) / frequency
    return weights


def inverse_frequency(counts: Counts) -> Weights:
    """N / (K n[c]) for N pixels of K classes that occur: each class has the same sum of weights, and the mean weight
    of a pixel is 1, so that the loss keeps its size. A class that never occurs gets 0."""
    there = counts.pixels > 0
    weights = np.zeros(len(there))
    weights[there] = counts.pixels.sum() / (there.sum() * counts.pixels[there])
    return weights


METHODS = {"median": median_frequency, "inverse": inverse_frequency}


def write_infogain(path: str | os.PathLike, weights: Weights) -> None:
    """Write diag(weights) as the binaryproto that InfogainLoss reads as `infogain_loss_param { source: ... }`."""
    import caffe

    Path(path).write_bytes(caffe.io.array_to_blobproto(np.diag(weights)).SerializeToString())


def loss_lines(dataset: Dataset, weights: Weights) -> str:
    """The weights as `loss_param` of SoftmaxWithLoss, each with the name of its class."""
    head = f"loss_param {{\n  weight_by_label_freqs: true\n  ignore_label: {dataset.ignore}\n"
    lines = [f"  class_weighting: {w:.6g}   # {name}\n" for w, name in zip(weights, dataset.classes, strict=True)]
    return head + "".join(lines) + "}"
