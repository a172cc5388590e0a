"""Scores for more classes than before: the old classes keep their weights."""

from __future__ import annotations

from typing import Any

from .errors import LayerError, ShapeError


def expand_score(new_net: Any, new_layer: str, net: Any, layer: str) -> None:
    """Copy the k scores of `layer` of `net` to the first k classes of `new_layer` of `new_net`.

    The other classes keep what they have.  Biases may have one axis or, in old files, four.  Raises
    `LayerError` when a layer is missing and `ShapeError` when the new one has fewer classes or other inputs.
    """
    for which, name in ((net, layer), (new_net, new_layer)):
        if name not in which.params:
            raise LayerError(
                "there is no such layer with weights", layer=name, expected=f"one of {list(which.params)}",
                help="name the layers that score classes",
            )
    old, new = net.params[layer], new_net.params[new_layer]
    for index in range(min(len(old), len(new))):
        source, target = old[index].data, new[index].data
        if index:
            source, target = source.reshape(-1), target.reshape(-1)
        if source.shape[1:] != target.shape[1:] or len(source) > len(target):
            raise ShapeError(
                f"the scores of layer {layer!r} do not fit", layer=new_layer, found=source.shape,
                expected=f"at most {target.shape}", help="expand to more classes on the same features",
            )
        target[: len(source)] = source
