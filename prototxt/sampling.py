"""Nets that train on samples of their loss (thesis 3.3.8), or with weights for classes (3.3.9)."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from caffe.proto import caffe_pb2

from .errors import NetError

_LOSSES = ("SoftmaxWithLoss", "InfogainLoss")


def sampled(
    net: Any, p: float, cell: int | str = 1, seed: int = 1337,
    class_p: Sequence[float] | Mapping[int, float] | None = None,
) -> Any:
    """A copy of a training NetParameter whose losses count each cell with probability `p`.

    `cell`: its side in pixels, or the blob whose places are the cells (the coarse scores: the "final layer cells" of
    3.3.8). `class_p`: factors of p for the classes. A layers.loss_sampling.LossSampling goes before the first loss of
    each kind of labels; heads of one image drop the same cells. Raises NetError for a net without a loss on labels.
    """
    result = _copy(net)
    losses = _losses(result)
    parameters: dict[str, Any] = {"p": p, "seed": seed}
    if isinstance(cell, int):
        parameters["cell"] = cell
    if class_p is not None:
        parameters["class_p"] = dict(class_p) if isinstance(class_p, Mapping) else list(class_p)
    made: set[str] = set()
    layers: list[Any] = []
    for layer in result.layer:
        if layer in losses:
            label, top = layer.bottom[1], f"{layer.bottom[1]}_sampled"
            if top not in made:
                made.add(top)
                layers.append(caffe_pb2.LayerParameter(
                    name=f"sample_{label}", type="Python", top=[top],
                    bottom=[label] if isinstance(cell, int) else [label, cell],
                    python_param=dict(module="layers.loss_sampling", layer="LossSampling", param_str=str(parameters)),
                ))
            layer.bottom[1] = top
        layers.append(layer)
    return _with(result, layers)


def sampled_solver(solver: Any, p: float) -> Any:
    """A copy of a SolverParameter with `iter_size` raised by 1/p, rounded to a whole number, so that a step counts as
    many cells as without sampling (3.3.8).

    A loss that is a mean over pixels keeps its size; where the loss is a sum, Caffe's division by iter_size makes the
    steps smaller by p. Raises NetError for a p outside (0, 1].
    """
    if not 0 < p <= 1:
        raise NetError("no such probability", found=p, expected="a number in (0, 1]", help="give the part to keep")
    result = caffe_pb2.SolverParameter()
    result.CopyFrom(solver)
    result.iter_size = round(solver.iter_size / p)
    return result


def infogain(net: Any, source: str | os.PathLike[str]) -> Any:
    """A copy of a NetParameter with every SoftmaxWithLoss turned into an InfogainLoss whose matrix is in the file
    `source`: with diag(weights), as `tools/class_weights.py --infogain` writes, the classes are weighted (3.3.9).

    Raises NetError for a net without a SoftmaxWithLoss.
    """
    result = _copy(net)
    for loss in _losses(result, ("SoftmaxWithLoss",)):
        loss.type = "InfogainLoss"
        loss.infogain_loss_param.source = os.fspath(source)
        loss.infogain_loss_param.axis = loss.softmax_param.axis
        loss.ClearField("softmax_param")
        if loss.loss_param.HasField("normalize"):   # the old spelling, which InfogainLoss never had
            if not loss.loss_param.HasField("normalization"):
                usual, whole = loss.loss_param.VALID, loss.loss_param.BATCH_SIZE
                loss.loss_param.normalization = usual if loss.loss_param.normalize else whole
            loss.loss_param.ClearField("normalize")
    return result


def _copy(net: Any) -> Any:
    result = caffe_pb2.NetParameter()
    result.CopyFrom(net)
    return result


def _losses(net: Any, types: Sequence[str] = _LOSSES) -> list[Any]:
    found = [layer for layer in net.layer if layer.type in types and len(layer.bottom) > 1]
    if not found:
        raise NetError("the net has no such loss", expected=" or ".join(types), help="give a net that trains")
    return found


def _with(net: Any, layers: Sequence[Any]) -> Any:
    copies = caffe_pb2.NetParameter(layer=layers)
    del net.layer[:]
    net.layer.extend(copies.layer)
    return net
