"""What is odd in a net prototxt although Caffe takes it: settings nobody reads, crop offsets that misalign, ..."""
from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ..proto import proto_fields, text
from ..proto.netfilter import PHASES, of_phase
from . import geometry


@dataclass(frozen=True, order=True)
class Finding:
    """`what` is wrong at `file`:`line` (None: no one line), and `why` it matters; `rule` names the check."""

    file: str
    line: int | None
    rule: str
    what: str
    why: str

    def __str__(self) -> str:
        where = self.file if self.line is None else f"{self.file}:{self.line}"
        return f"{where}: {self.rule}: {self.what}\n    {self.why}"


# How many parameter blobs a type has: a number, or a rule. Types that are not here have none; None is "not known".
_WEIGHTS: dict[str, Any] = {
    "Convolution": lambda p: 1 + p.bias_term, "Deconvolution": lambda p: 1 + p.bias_term,
    "InnerProduct": lambda p: 1 + p.bias_term, "Embed": lambda p: 1 + p.bias_term,
    "ConvolutionDepthwise": lambda p: 1 + p.bias_term, "DepthwiseConvolution": lambda p: 1 + p.bias_term,
    "Scale": lambda p: 1 + p.bias_term, "Bias": 1, "PReLU": 1, "Parameter": 1,
    "BatchNorm": lambda p: 5 if p.scale_bias or p.HasField("scale_filler") or p.HasField("bias_filler") else 3,
    "LSTM": None, "RNN": None, "Python": None, "BN": None, "Normalize": None,
}
# What a type reads beside its own message.
_TRANSFORMED = {"Data", "ImageData", "DenseImageData", "MemoryData", "WindowData"}
_ALSO = {
    "SoftmaxWithLoss": {"loss_param"}, "MultiBoxLoss": {"loss_param"}, "InfogainLoss": {"loss_param", "softmax_param"},
    "SigmoidCrossEntropyLoss": {"loss_param", "sigmoid_param"}, "Im2col": {"convolution_param"},
    "LSTM": {"recurrent_param"}, "RNN": {"recurrent_param"}, "SPP": {"pooling_param"},
    **dict.fromkeys(_TRANSFORMED, {"transform_param"}),
}
_METRICS = ("Loss", "Accuracy", "Silence", "Output", "Python", "ArgMax")


class Lines:
    """Where the layers and words of a net's text are."""

    def __init__(self, net: str | os.PathLike[str]) -> None:
        self.parsed = text.load_net(net)
        self.file = self.parsed.file or "net"
        self._text = text._source(net)[0].splitlines()

    def of(self, index: int, *words: str) -> int | None:
        """The line of the first of `words` in layer `index`, or else the layer's own."""
        lines = self.parsed.lines
        start = lines[index] if index < len(lines) else None
        if start is None:
            return None
        end = min((n for n in lines if n is not None and n > start), default=len(self._text) + 1)
        for word in words:
            for number in range(start, end):
                if re.search(rf"\b{re.escape(word)}\b", self._text[number - 1].split("#")[0]):
                    return number
        return start


def lint_net(net: str | os.PathLike[str], phases: tuple[str, ...] = ("TRAIN", "TEST")) -> list[Finding]:
    """The findings in a net prototxt, over its layers of each phase. Raises ParseError or NetError for a file that is
    no net."""
    lines = Lines(net)
    found: dict[Finding, None] = {}
    for phase in phases:
        param, kept = of_phase(lines.parsed.param, phase)
        for check in (_names, _parameters, _messages, _crops, _unread):
            found.update(dict.fromkeys(check(param, kept, lines)))
    return sorted(found, key=lambda f: (f.file, f.line or 0, f.rule, f.what))


def _names(net: Any, kept: list[int], lines: Lines) -> Iterator[Finding]:
    seen: dict[str, int] = {}
    for i, layer in zip(kept, net.layer, strict=True):
        if layer.name in seen:
            yield Finding(lines.file, lines.of(i, "name"), "duplicate-name",
                          f"layer '{layer.name}' has the name of the layer at line {lines.of(seen[layer.name])}",
                          "weights are loaded and saved by layer name: one of the two gets the other's")
        seen.setdefault(layer.name, i)


def _parameters(net: Any, kept: list[int], lines: Lines) -> Iterator[Finding]:
    from ..layer import layer_type_list

    known = set(layer_type_list())
    for i, layer in zip(kept, net.layer, strict=True):
        count = _WEIGHTS.get(layer.type, 0) if layer.type in known else None
        if callable(count):
            count = count(proto_fields.own_param(layer))
        if count is not None and layer.type in ("Scale", "Bias") and len(layer.bottom) > 1:
            count -= 1   # the second bottom stands for the weights
        if count is None or len(layer.param) <= count:
            continue
        what = "no parameters" if not count else f"{count} parameter{'s' * (count > 1)}"
        yield Finding(lines.file, lines.of(i, "param"), "unused-param",
                      f"layer '{layer.name}' has {len(layer.param)} param block(s), its type {layer.type} {what}",
                      "lr_mult and decay_mult there act on nothing, and the net is refused when it is built")


def _messages(net: Any, kept: list[int], lines: Lines) -> Iterator[Finding]:
    from ..layer import layer_type_list

    known = set(layer_type_list())
    for i, layer in zip(kept, net.layer, strict=True):
        if layer.type not in known or layer.type == "Python":
            continue   # a layer of somebody's own may read any message
        own = proto_fields.own_param(layer)
        reads = _ALSO.get(layer.type, set())
        for field, value in layer.ListFields():
            if not field.name.endswith("_param") or field.message_type is None:
                continue
            if value is own or (own is not None and field.message_type is own.DESCRIPTOR) or field.name in reads:
                continue
            yield Finding(lines.file, lines.of(i, field.name), "unread-message",
                          f"layer '{layer.name}' is a {layer.type}, which does not read {field.name}",
                          "the settings in it have no effect" if own is None or own.ByteSize() else
                          "the settings in it have no effect, and the layer's own message is empty")


def _crops(net: Any, kept: list[int], lines: Lines) -> Iterator[Finding]:
    for one in geometry.derive_crops(net):
        line = lines.of(kept[one.index], "offset")
        if one.problem and one.common and len(set(one.scale)) and "crops from axis" not in one.problem:
            yield Finding(lines.file, line, "crop-offset", f"layer '{one.layer}' cannot align '{one.bottoms[0]}' with "
                          f"'{one.bottoms[1]}'", one.problem + " (see `caffe explain-crop`)")
        elif not one.problem and not one.agrees:
            yield Finding(lines.file, line, "crop-offset", f"layer '{one.layer}' crops at offset "
                          f"{_numbers(one.written)}, the coordinate maps give {_numbers(one.offset)}",
                          f"'{one.bottoms[0]}' is shifted against '{one.bottoms[1]}' by the difference, in samples "
                          f"of '{one.bottoms[1]}' (see `caffe explain-crop`)")


def _numbers(values: list[int]) -> str:
    return str(values[0]) if len(set(values)) == 1 else ", ".join(map(str, values))


def _unread(net: Any, kept: list[int], lines: Lines) -> Iterator[Finding]:
    if not any(layer.type.endswith("Loss") for layer in net.layer):
        return   # a net for use: its last blobs are what it is for
    readers: dict[str, bool] = {}
    maker: dict[str, int] = {}
    for i, layer in enumerate(net.layer):
        readers.update(dict.fromkeys(layer.bottom, True))
        for top in layer.top:
            maker[top] = i
            readers[top] = top in layer.bottom and readers.get(top, False) if top in readers else False
    training = net.state.phase == PHASES["TRAIN"]
    for top, i in maker.items():
        layer = net.layer[i]
        weighted = any(layer.loss_weight)
        if readers[top] or weighted or (any(word in layer.type for word in _METRICS) and layer.bottom):
            continue
        if training or not layer.bottom:   # a net under test may give out predictions beside its loss
            yield Finding(lines.file, lines.of(kept[i], top), "unread-top",
                          f"blob '{top}' of layer '{layer.name}' is read by no layer",
                          "it is computed for nothing and becomes an output that is logged at each display; "
                          "remove it, or end it in a Silence layer")
