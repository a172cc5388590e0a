"""What experiments of chapter 2 share: the classifier whose features are studied, and photographs to study them on."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from correspondence.grids import FeatureNet
from data.dataset import IMAGE_ENDINGS
from prototxt import alexnet, build, squeezenet
from prototxt.errors import NetError
from tools.experiments.registry import Context, Need
from tools.run_folder import sha256

CAFFENET, SQUEEZENET = Need("weights", alexnet.WEIGHTS), Need("weights", squeezenet.WEIGHTS)


@dataclass(frozen=True)
class Classifier:
    """A net trained for classification: its definition, weights and mean; the layers that are compared, first to last.

    `top`: the last of these that has a grid, for part detectors; `whole`: the layer that describes a whole image, of
    `side` x `side` pixels; `scaled`: whether features need SIFT's length first (correspondence.classify.same_length).
    """

    name: str
    definition: Any
    weights: Path
    mean: Sequence[float]
    layers: tuple[str, ...]
    top: str
    whole: str
    scaled: bool
    side: int = 227

    def net(self, *layers: str) -> FeatureNet:
        """It, cut off after these layers (by default all that are compared)."""
        return FeatureNet(self.definition, self.weights, layers or self.layers, self.mean)

    def hashes(self) -> dict[str, str]:
        """The weights' file and its SHA-256."""
        return {self.weights.name: sha256(self.weights)}


def classifier(context: Context) -> Classifier:
    """CaffeNet as in the thesis, or SqueezeNet v1.1, whose last stride of 16 is that of CaffeNet's conv3 to conv5.

    CaffeNet's features are taken as they are.  SqueezeNet's fire modules have larger receptive fields for their
    stride; those up to fire9 are compared, and fire7 (143 pixels, as conv4's 131) stands where the thesis has conv5.
    """
    if context.small:
        layers = ("conv1", *(f"fire{i}/concat" for i in (3, 5, 7, 9)))
        return Classifier("SqueezeNet v1.1", build("squeezenet-fcn16s"), context.weights_file(squeezenet.WEIGHTS),
                          squeezenet.MEAN, layers, "fire7/concat", "fire9/concat", True)
    return Classifier("CaffeNet", _caffenet(), context.weights_file(alexnet.WEIGHTS), alexnet.MEAN,
                      tuple(f"conv{i}" for i in range(1, 6)), "conv5", "pool5", False)


def _caffenet() -> Any:
    """CaffeNet's convolutional layers on unpadded images."""
    import caffe
    from caffe import layers as L

    n = caffe.NetSpec()
    n.data = L.Input(input_param=dict(shape=dict(dim=[1, 3, 227, 227])))
    alexnet.trunk(n, 1.0, pad=0)
    return n.to_proto()


def photographs(context: Context, name: str = "camvid") -> list[Path]:
    """Pictures to study features on: all below $CAFFE_LUNGO_PHOTOS where that is set, else those of a data set."""
    given = os.environ.get("CAFFE_LUNGO_PHOTOS")
    if given:
        found = sorted(path for path in Path(given).rglob("*") if path.suffix in IMAGE_ENDINGS)
        if not found:
            raise NetError("no photographs", file=given, help="CAFFE_LUNGO_PHOTOS names a folder of .jpg or .png files")
        return found
    dataset = context.dataset(name)
    split = "trainval" if "trainval" in dataset.splits() else "train"
    return [dataset.image_path(picture) for picture in dataset.ids(split)]


def bar(what: str) -> partial[Iterable[Any]]:
    """A progress bar on a terminal."""
    from tqdm import tqdm

    return partial(tqdm, desc=what, disable=not sys.stderr.isatty())
