"""Which `*_param` message belongs to a layer type, derived from the schema (no layer is named here)."""
from __future__ import annotations

import functools
from typing import Any

# Types whose message has another name than their own: loss types and the like share one.
_SHARED = {
    "Deconvolution": "convolution_param",
    "SoftmaxWithLoss": "softmax_param",
    "ConvolutionDepthwise": "convolution_param",
    "DepthwiseConvolution": "convolution_param",
    "Normalize": "norm_param",
}


@functools.cache
def _by_type(descriptor: Any) -> dict[str, str]:
    """'convolution' -> 'convolution_param' for every message field of LayerParameter; underscores left out."""
    return {f.name[: -len("_param")].replace("_", ""): f.name for f in descriptor.fields
            if f.name.endswith("_param") and f.message_type is not None}


def own_param(layer_param: Any) -> Any:
    """The parameter message of a layer's own type with defaults filled in, None for types that have none."""
    field = _SHARED.get(layer_param.type) or _by_type(layer_param.DESCRIPTOR).get(layer_param.type.lower())
    return getattr(layer_param, field) if field else None
