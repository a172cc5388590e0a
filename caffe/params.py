"""Constants of layer parameters as pycaffe spells them: `from caffe import params as P; P.Pooling.MAX`."""

from __future__ import annotations

from typing import Any

__all__: list[str] = []


def __getattr__(name: str) -> Any:
    if name.startswith("_"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import net_spec

    return getattr(net_spec.params, name)
