"""The outputs of a net as Caffe's log shows them, and their sums over test batches."""
from __future__ import annotations

import torch

from .glog import solver_logger as log
from .net import Net

# An output with more values than this (a score map, say) is named in the log, not printed.
MAX_PRINTED = 1000


def values(net: Net) -> list[torch.Tensor]:
    """The data of every output, in the order of `net.outputs`."""
    return [net.blobs[name].tensor() for name in net.outputs]


def add(net: Net, sums: list[torch.Tensor]) -> list[torch.Tensor]:
    """The sums (in double precision) with the outputs of this batch added; an empty list starts them."""
    if not sums:
        return [v.double() if v.numel() <= MAX_PRINTED else v for v in values(net)]
    # outputs too large to print are not summed: their shape may change from image to image
    return [s + v if s.numel() == v.numel() <= MAX_PRINTED else s
            for s, v in zip(sums, values(net), strict=True)]


def loss_note(net: Net, name: str, value: float) -> str:
    """What follows the value of an output that is a loss: ` (* 1 = 0.7 loss)`."""
    weight = net.blob_loss_weights[name]
    return f" (* {weight:g} = {weight * value:g} loss)" if weight else ""


def show(net: Net, kind: str, tensors: list[torch.Tensor]) -> None:
    """Log `Train net output #0: loss = 0.7 (* 1 = 0.7 loss)` (`kind` Train or Test), counting values."""
    index = 0
    for name, tensor in zip(net.outputs, tensors, strict=True):
        if tensor.numel() > MAX_PRINTED:
            log.info("    %s net output '%s': %d values, not printed", kind, name, tensor.numel())
            index += tensor.numel()
            continue
        for number in tensor.flatten().tolist():
            log.info("    %s net output #%d: %s = %g%s", kind, index, name, number,
                     loss_note(net, name, number))
            index += 1
