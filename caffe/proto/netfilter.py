"""The layers of a net that one phase has, without building it."""
from __future__ import annotations

from typing import Any

from . import caffe_pb2

PHASES = {"TRAIN": caffe_pb2.TRAIN, "TEST": caffe_pb2.TEST}


def of_phase(net: Any, phase: str) -> tuple[Any, list[int]]:
    """A copy of a NetParameter with the layers that `phase` ("TRAIN" or "TEST") includes, and their indices in it.

    Level and stages are those of `net.state`. Raises NetError for a layer with include and exclude rules.
    """
    from ..wiring import filter_net

    copy = type(net)()
    copy.CopyFrom(net)
    copy.state.phase = PHASES[phase]
    return filter_net(copy)
