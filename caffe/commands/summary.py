"""caffe summary NET: shapes, parameters, multiplications, memory, receptive field and stride of every layer."""
from __future__ import annotations

import argparse
import dataclasses
import json
import math
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .. import memory
from ..errors import CaffeError, NetError
from ..inspect import geometry
from ..proto import caffe_pb2, proto_fields, text
from ..proto.netfilter import PHASES, of_phase
from ._flags import python_layers

if TYPE_CHECKING:
    from ..net import Net

_BYTES = 4   # of a float32
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


@dataclasses.dataclass(frozen=True)
class Row:
    """One layer. `shapes` of its tops; `parameters` that are its own (`shared` ones are counted where they are first),
    of which `fixed` have lr_mult 0; `macs`: multiplications with weights in one forward pass; `forward_bytes`: data of
    the tops it makes (0 in place); `training_bytes`: their diffs too, and the diffs of its learned parameters; `field`
    and `stride` of top 0 in pixels, per spatial axis (None where the layer has no rule or the top no place on the
    image)."""

    name: str
    type: str
    tops: list[str]
    shapes: list[list[int]]
    parameters: int
    fixed: int
    shared: int
    macs: int
    forward_bytes: int
    training_bytes: int
    field: list[float] | None
    stride: list[float] | None


@dataclasses.dataclass(frozen=True)
class Summary:
    """All rows of a net, and their sums. Bytes are those of float32 blobs, as Caffe holds them; an update rule's
    history (as much again as the parameters for SGD) and a layer's scratch memory are not in them."""

    name: str
    phase: str
    layers: list[Row]

    @property
    def totals(self) -> dict[str, int]:
        sums = {key: sum(getattr(row, key) for row in self.layers)
                for key in ("parameters", "fixed", "macs", "forward_bytes", "training_bytes")}
        return {**sums, "parameter_bytes": _BYTES * sums["parameters"],
                "history_bytes": _BYTES * (sums["parameters"] - sums["fixed"])}

    @property
    def needed(self) -> int:
        """Bytes for a pass in this phase: parameters and blobs, for TRAIN with all diffs and the history of SGD."""
        sums = self.totals
        return sums["parameter_bytes"] + (sums["training_bytes"] + sums["history_bytes"] if self.phase == "TRAIN"
                                          else sums["forward_bytes"])


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("net", help="a net's prototxt")
    parser.add_argument("--phase", choices=list(PHASES), default="TEST", help="the layers of this phase (TEST)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    python_layers(parser)
    parser.add_argument("--fit", metavar="SIZE", help="say only the largest batch that fits into, say, 8GiB")


def run(options: argparse.Namespace) -> int:
    if options.fit:
        limit = _bytes(options.fit)
        batch, needed = largest_batch(options.net, limit, options.phase)
        print(f"batch {batch}: {_size(needed)} of {_size(limit)} in phase {options.phase}, the scratch memory of "
              "algorithms not counted")
        return 0
    made = summarize(options.net, options.phase)
    if options.json:
        print(json.dumps({**dataclasses.asdict(made), "totals": made.totals}, indent=1))
    else:
        print(table(made))
    return 0


def summarize(net: str, phase: str = "TEST", batch: int | None = None) -> Summary:
    """Measure a net prototxt, with another `batch` than it says if that is given.

    The net is wired up, but its weights and blobs are never filled, so that it takes next to no memory. Raises
    ParseError, NetError, LayerError, and DataError when a data layer cannot open its source.
    """
    parsed = text.load_net(net)
    param, kept = of_phase(parsed.param, phase)
    if batch is not None:
        _set_batch(param, batch, net)
    unfilled = _unfilled(param, [parsed.lines[i] if i < len(parsed.lines) else None for i in kept], parsed.file or "")
    names = {layer.name: layer for layer in param.layer}
    shapes = {name: blob.shape for name, blob in unfilled.blobs.items()}
    fields = dict(zip((layer.name for layer in param.layer), geometry.receptive_fields(param, shapes), strict=True))
    owned = {id(blob): rate for blob, rate in zip(unfilled.learnable_params, unfilled.params_lr, strict=True)}
    return Summary(param.name, phase, [
        _row(unfilled, layer, name, fields[name], owned)
        for name, layer in zip(unfilled.layer_dict, unfilled.layers, strict=True) if name in names])


def largest_batch(net: str, limit: int, phase: str = "TEST") -> tuple[int, int]:
    """The largest batch for which `Summary.needed` is at most `limit` bytes, and what it needs. Blobs grow in step with
    the batch, so two sizes tell. Raises NetError when one image does not fit or no data layer has a batch to change."""
    from ..blob import MAX_COUNT

    one, two = (summarize(net, phase, batch) for batch in (1, 2))
    each = two.needed - one.needed
    most = MAX_COUNT // max(math.prod(shape) for row in one.layers for shape in row.shapes)
    batch = min((limit - one.needed) // each + 1 if each else most, most)
    if batch < 1:
        raise NetError("a batch of 1 does not fit", file=net, found=f"{_size(one.needed)} needed",
                       expected=f"at most {_size(limit)}", help="use smaller images; `caffe summary` says which "
                       "layers need how much")
    return batch, one.needed + (batch - 1) * each


def _set_batch(param: Any, batch: int, file: str) -> None:
    """Set the first axis of what data layers make, where it is the batch now."""
    before = None
    for layer in (layer for layer in param.layer if not layer.bottom):
        own = proto_fields.own_param(layer)
        for shape in own.shape if layer.type in ("Input", "DummyData") else ():
            before = shape.dim[0] if before is None else before
            shape.dim[0] = batch if shape.dim[0] == before else shape.dim[0]
        if hasattr(own, "batch_size"):
            own.batch_size = before = batch
    if before is None:
        raise NetError("has no data layer whose batch can be set from outside", file=file,
                       help="measure the deploy net, or change the batch in the layer's param_str")


def _bytes(text: str) -> int:
    match = re.fullmatch(r"(\d+(?:\.\d+)?) ?([KMG]?)(?:iB|B)?", text, re.IGNORECASE)
    if not match:
        raise CaffeError("-fit takes an amount of memory", found=text, help="for example -fit 8GiB or -fit 500MiB")
    return int(float(match[1]) * _UNITS[match[2].upper()])


def _unfilled(param: Any, lines: Sequence[int | None], file: str) -> Net:
    """The net with all fillers set to 0: parameters that have shapes, but no memory until somebody writes them."""
    from ..net import Net

    param = type(param).FromString(param.SerializeToString())
    for layer in param.layer:
        own = proto_fields.own_param(layer) if layer.bottom else None
        for field in own.DESCRIPTOR.fields if own is not None else ():
            if field.message_type is caffe_pb2.FillerParameter.DESCRIPTOR:
                getattr(own, field.name).CopyFrom(caffe_pb2.FillerParameter())   # constant 0
    return Net.from_param(param, file, lines)


def _row(net: Net, layer: Any, name: str, fields: list[geometry.Field | None], owned: dict[int, float]) -> Row:
    tops = net.top_names[name]
    mine = [blob for blob in layer.blobs if id(blob) in owned]
    parameters, every = sum(blob.count for blob in mine), sum(blob.count for blob in layer.blobs)
    fixed = sum(blob.count for blob in mine if not owned[id(blob)])
    new = [t for t in tops if t not in net.bottom_names[name]]
    made = 0 if getattr(layer, "shares_data", False) else _BYTES * sum(net.blobs[t].count for t in new)
    # nobody asks a data layer for diffs
    diffs = made if net.bottom_names[name] else 0
    first = fields[0] if fields else None
    return Row(
        name, layer.type, tops, [list(net.blobs[t].shape) for t in tops], parameters, fixed,
        every - parameters, _macs(net, layer, name), made, made + diffs + _BYTES * (parameters - fixed),
        None if first is None else list(first.field), None if first is None else list(first.stride))


def _macs(net: Net, layer: Any, name: str) -> int:
    """Each weight times how often it is used. Layers without a weight matrix count as 0, as is usual."""
    if not layer.blobs:
        return 0
    weight = layer.blobs[0].count
    if layer.type in ("LSTM", "RNN"):   # once for each step and sequence: the first two axes
        steps, sequences = net.blobs[net.bottom_names[name][0]].shape[:2]
        return steps * sequences * sum(blob.count for blob in layer.blobs if len(blob.shape) > 1)
    if layer.type == "InnerProduct":
        return net.blobs[net.top_names[name][0]].count * (weight // layer.p.num_output)
    if hasattr(layer, "channel_axis"):
        # a convolution uses its kernel at each place of the top, a deconvolution at each place of the bottom
        ends = net.bottom_names[name] if layer.type == "Deconvolution" else net.top_names[name]
        axis = layer.channel_axis
        shapes = [net.blobs[end].shape for end in ends]
        return sum(weight * math.prod(s[:axis]) * math.prod(s[axis + 1:]) for s in shapes)
    return 0


def table(made: Summary) -> str:
    """The summary as text, one line for each layer and the totals."""
    head = ("layer", "type", "output", "parameters", "MACs", "forward", "training", "field", "stride")
    rows = [head]
    for row in made.layers:
        rows.append((
            row.name, row.type, ", ".join("x".join(map(str, s)) or "scalar" for s in row.shapes),
            f"{row.parameters:,}" if row.parameters else "shared" if row.shared else "", _count(row.macs),
            _size(row.forward_bytes), _size(row.training_bytes), _axes(row.field), _axes(row.stride)))
    sums = made.totals
    rows.append(("total", "", "", f"{sums['parameters']:,}", _count(sums["macs"]), _size(sums["forward_bytes"]),
                 _size(sums["training_bytes"]), "", ""))
    width = [max(len(row[i]) for row in rows) for i in range(len(head))]
    lines = ["  ".join(f"{cell:{'<' if i < 3 else '>'}{width[i]}}" for i, cell in enumerate(row)).rstrip()
             for row in rows]
    lines.insert(1, "-" * max(map(len, lines)))
    lines.insert(-1, lines[1])
    return "\n".join([
        f"{made.name or 'net'}, phase {made.phase}", *lines,
        f"parameters: {sums['parameters'] - sums['fixed']:,} learned, {sums['fixed']:,} fixed (lr_mult 0)",
        f"weights {_size(sums['parameter_bytes'])}; with the blobs of a forward pass "
        f"{_size(sums['parameter_bytes'] + sums['forward_bytes'])}; of training "
        f"{_size(sums['parameter_bytes'] + sums['training_bytes'])}, and {_size(sums['history_bytes'])} of history "
        f"for SGD; this machine has {_size(memory.available())} free"])


def _axes(values: list[float] | None) -> str:
    if not values:
        return ""
    return "x".join(f"{v:g}" for v in (values[:1] if len(set(values)) == 1 else values))


def _count(number: int) -> str:
    for unit, size in (("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if number >= size:
            return f"{number / size:.2f} {unit}"
    return str(number) if number else ""


def _size(number: int) -> str:
    for unit in "GMK":
        if number >= _UNITS[unit]:
            return f"{number / _UNITS[unit]:.1f} {unit}iB"
    return f"{number} B" if number else ""
