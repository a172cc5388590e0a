"""The engine's layers, one module per family; as an attribute namespace, pycaffe's layer functions.

`from caffe import layers as L; L.Convolution(bottom, kernel_size=3)` specifies a layer of a net
(see `caffe.net_spec`).  Any name that is not a module of this folder is taken for a layer type.
"""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

__all__: list[str] = []


def __getattr__(name: str) -> Any:
    if name.startswith("_"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # `from caffe.layers import pooling` asks here first: a module of that name comes before a layer type.
    if importlib.util.find_spec(f"{__name__}.{name}") is not None:
        return importlib.import_module(f"{__name__}.{name}")
    from .. import net_spec

    return getattr(net_spec.layers, name)
