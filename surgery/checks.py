"""Words for what goes wrong when weights are loaded: why all outputs are zero, or a net learns slowly."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Any

from .errors import WeightsError
from .transplant import Report

ZERO_INIT = ("score*",)
"""Layers that start at 0 on purpose: the class scores (thesis 3.3.5)."""

_WEIGHTED = ("Convolution", "Deconvolution", "InnerProduct")


def check_weights(net: Any, report: Report | None = None, zero_init: Iterable[str] = ZERO_INIT) -> list[str]:
    """Look at a `caffe.Net` that is about to train or predict; `report` is what `transplant` returned.

    Returns a sentence for each layer that the transplant left at its filler, apart from deconvolutions and
    from layers that match a pattern of `zero_init`.  Raises `WeightsError` when the transplant moved nothing,
    and when the weights of a layer that matches none are all 0: nothing passes through it, forward or
    backward.
    """
    patterns = tuple(zero_init)
    if report is not None and not report.copied and not report.coerced:
        raise WeightsError(
            "these weights belong to another net: nothing was copied",
            found=f"layers {_some({entry.layer for entry in report.dropped})}",
            expected=f"some of {_some({entry.layer for entry in report.left_at_filler})}",
            help="give the weights of the classifier or the stage that this net starts from",
        )
    types = {name: net.layer_dict[name].type for name in net.params}
    expected_zero = {name for name in net.params if any(fnmatchcase(name, pattern) for pattern in patterns)}
    zero = [
        name for name, blobs in net.params.items()
        if types[name] in _WEIGHTED and name not in expected_zero and not blobs[0].data.any()
    ]
    if zero:
        upsampling = [name for name in zero if types[name] == "Deconvolution"]
        if upsampling == zero:
            help = f"call surgery.interp(net, {upsampling})"
        else:
            help = "transplant the classifier's weights, or give the layer a weight_filler"
        raise WeightsError("all weights are 0, so nothing passes through", layer=zero[0],
                           found=f"{len(zero)} such layers: {_some(zero)}", help=help)
    if report is None:
        return []
    left = dict.fromkeys(
        entry.layer for entry in report.left_at_filler
        if entry.layer not in expected_zero and types[entry.layer] != "Deconvolution"
    )
    return [f"layer '{name}' got no weights and starts from its filler" for name in left]


def _some(names: Iterable[str]) -> str:
    names = sorted(names)
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "") or "none"
