"""Which weights a run starts from: the file asked for, or the classifier its net needs, or none."""

from __future__ import annotations

import os
from pathlib import Path

from data.downloads import manifest
from tools.errors import RunError

NONE = "none"


def find_weights(given: str | None, wanted: str | None, stage: str, source: str | None = None) -> Path | None:
    """The weights file to start `stage` from, or None to train from fillers.

    `given` is what the user said (a path, "none", or None for the usual), `wanted` the name of the file that
    the stage usually starts from (None: it needs none), `source` where to get it, if it is no file of the manifest.
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


def download_of(name: str) -> str | None:
    """How to get a weights file, in words, or None where the manifest does not have it."""
    return next((f"get it with `python tools/download.py {item.name}`" for item in manifest().values()
                 if item.file == name), None)


def _advice(name: str, source: str | None) -> str:
    origin = f"get it from {source}" if source else download_of(name)
    return (f"{origin}, and " if origin else "") + (
        f"give its path with --weights, or train from random weights with --weights {NONE}")
