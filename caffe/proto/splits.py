"""Insert Split layers where a blob has several readers, with Caffe's names, so that diffs are summed there."""
from __future__ import annotations

from collections import Counter
from typing import Any

from ..errors import NetError


def insert_splits(net_param: Any) -> tuple[Any, list[int]]:
    """A copy of the net with splits, and for each of its layers the index of the layer it comes from.

    Raises NetError for a bottom that no earlier layer produces. A top that is a loss counts as one more reader.
    """
    source: dict[str, tuple[int, int]] = {}             # blob name -> (layer, top) that wrote it last
    read: dict[tuple[int, int], tuple[int, int]] = {}   # (layer, bottom) -> its source
    readers: Counter[tuple[int, int]] = Counter()
    loss: dict[tuple[int, int], float] = {}
    for i, layer in enumerate(net_param.layer):
        for j, name in enumerate(layer.bottom):
            if name not in source:
                raise NetError(f"unknown bottom blob '{name}'", layer=layer.name,
                               found="no layer before this one has such a top",
                               expected=f"one of: {', '.join(source) or 'none yet'}",
                               help="correct the name, or move the layer behind the one that produces it")
            read[i, j] = source[name]
            readers[source[name]] += 1
        for j, name in enumerate(layer.top):
            source[name] = (i, j)
        for j, weight in enumerate(list(layer.loss_weight)[: len(layer.top)]):
            if weight:
                loss[source[layer.top[j]]] = weight
                readers[source[layer.top[j]]] += 1

    out = type(net_param)()
    out.CopyFrom(net_param)
    del out.layer[:]
    origin: list[int] = []
    next_branch: Counter[tuple[int, int]] = Counter()
    for i, layer in enumerate(net_param.layer):
        new = out.layer.add()
        new.CopyFrom(layer)
        origin.append(i)
        for j, name in enumerate(layer.bottom):
            at = read[i, j]
            if readers[at] > 1:
                stem = _split_name(net_param.layer[at[0]].name, name, at[1])
                new.bottom[j] = f"{stem}_{next_branch[at]}"
                next_branch[at] += 1
        for j, name in enumerate(layer.top):
            at = (i, j)
            if readers[at] > 1:
                split = out.layer.add(name=_split_name(layer.name, name, j), type="Split", bottom=[name])
                origin.append(i)
                split.top.extend(f"{split.name}_{k}" for k in range(readers[at]))
                if loss.get(at):  # the loss moves to the split's first branch
                    split.loss_weight.extend([loss[at]] + [0.0] * (readers[at] - 1))
                    del new.loss_weight[:]
                    next_branch[at] += 1
    return out, origin


def _split_name(layer: str, blob: str, top: int) -> str:
    return f"{blob}_{layer}_{top}_split"
