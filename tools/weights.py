"""Which weights a run starts from: the file asked for, or the classifier its net needs, or none."""

from __future__ import annotations

import os
from pathlib import Path

from tools.errors import RunError

NONE = "none"
_ZOO = "http://dl.caffe.berkeleyvision.org/"

# where each classifier was published
SOURCES = {
    "VGG_ILSVRC_16_layers.caffemodel":
        "http://www.robots.ox.ac.uk/~vgg/software/very_deep/caffe/VGG_ILSVRC_16_layers.caffemodel",
    "bvlc_reference_caffenet.caffemodel": _ZOO + "bvlc_reference_caffenet.caffemodel",
    "bvlc_googlenet.caffemodel": _ZOO + "bvlc_googlenet.caffemodel",
    "squeezenet_v1.1.caffemodel":
        "https://github.com/forresti/SqueezeNet (SqueezeNet_v1.1/squeezenet_v1.1.caffemodel)",
}


def find_weights(given: str | None, wanted: str | None, stage: str, source: str | None = None) -> Path | None:
    """The weights file to start `stage` from, or None to train from fillers.

    `given` is what the user said (a path, "none", or None for the usual), `wanted` the name of the file that
    the stage usually starts from (None: it needs none), `source` where to get it, if it is no classifier.
    Without a path the file is looked for in $CAFFE_LUNGO_MODELS, in models/ of the repository, and here.
    Raises RunError that says which file is missing and where it comes from.
    """
    if given is not None and given.lower() == NONE:
        return None
    if given is not None:
        path = Path(given)
        if path.is_file():
            return path
        raise RunError("there is no such weights file", file=path, help=_advice(wanted or path.name, source))
    if wanted is None:
        return None
    places = folders()
    for folder in places:
        if (folder / wanted).is_file():
            return folder / wanted
    raise RunError(f"{stage} starts from {wanted}, which is not here",
                   found="nothing in " + ", ".join(str(f) for f in places), help=_advice(wanted, source))


def folders() -> list[Path]:
    """Where classifiers are looked for, in this order."""
    named = os.environ.get("CAFFE_LUNGO_MODELS")
    return [*([Path(named)] if named else []), Path(__file__).resolve().parent.parent / "models", Path.cwd()]


def _advice(name: str, source: str | None) -> str:
    source = source or SOURCES.get(name)
    origin = f"get it from {source}, and " if source else ""
    return f"{origin}give its path with --weights, or train from random weights with --weights {NONE}"
