"""Nets written in Python: pycaffe's `NetSpec`, `layers as L`, `params as P`, `to_proto`.

    n = caffe.NetSpec()
    n.data = L.Input(shape=dict(dim=[1, 3, 224, 224]))
    n.conv1 = L.Convolution(n.data, num_output=64, kernel_size=3, weight_filler=dict(type="xavier"))
    n.relu1 = L.ReLU(n.conv1, in_place=True)
    text = str(n.to_proto())

Everything known about layers' parameters here comes from the schema; no layer is named.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from .errors import LayerError, nearest
from .proto import caffe_pb2

_LAYER = caffe_pb2.LayerParameter.DESCRIPTOR

@functools.cache
def param_name_dict() -> dict[str, str]:
    """For each parameter message the layer type it belongs to and the stem of its field in `LayerParameter`.

    {"Convolution": "convolution", "InnerProduct": "inner_product", ...}
    """
    return {field.message_type.name.removesuffix("Parameter"): field.name.removesuffix("_param")
            for field in _LAYER.fields if field.name.endswith("_param")}


def to_proto(*tops: Top | Function) -> Any:
    """A `NetParameter` of all layers needed to compute the given tops; blobs and layers are named by type
    and count.

    Raises `LayerError` for parameters that the layers do not have.
    """
    return _net(tops, {})


def assign_proto(proto: Any, name: str, val: Any) -> None:
    """Set a field of a message from Python values.

    A list (or tuple, or array) fills a repeated field, a dict fills a message, an enum may be given by
    name, and a single value for a repeated field is a list of one.  Raises `LayerError` for a name or enum
    value that the message does not have, `TypeError` for a value of the wrong type.
    """
    field = proto.DESCRIPTOR.fields_by_name.get(name)
    if field is None:
        raise LayerError(f"{proto.DESCRIPTOR.name} has no field '{name}'",
                         help=_suggest(name, proto.DESCRIPTOR.fields_by_name))
    val = _plain(val)
    target = getattr(proto, name)
    repeated = hasattr(target, "extend")
    if isinstance(val, list) and not repeated:
        raise TypeError(f"'{name}' takes one value, not a list of {len(val)}")
    for item in val if isinstance(val, list) else [val]:
        if field.message_type is not None:
            _fill(target.add() if repeated else target, name, item)
            continue
        if isinstance(item, str) and field.enum_type is not None:
            item = _enum_number(field, item)
        try:
            if repeated:
                target.append(item)
            else:
                setattr(proto, name, item)
        except (TypeError, ValueError) as problem:
            raise TypeError(f"'{name}': {problem}") from None


class Top:
    """One output blob of a layer: `fn` is the layer (`Function`), `n` which of its tops."""

    def __init__(self, fn: Function, n: int) -> None:
        self.fn = fn
        self.n = n

    def to_proto(self) -> Any:
        """A `NetParameter` of all layers needed to compute this top."""
        return to_proto(self)


class Function:
    """A layer: its type, its parameters as written, and its inputs (tops of other layers).

    `ntop` (1 by default) is the number of `tops`; `in_place=True` gives the tops the bottoms' names.
    Raises `TypeError` for an input that is not a `Top`, `LayerError` for an unknown parameter.
    """

    def __init__(self, type_name: str, inputs: Iterable[Any], params: dict[str, Any]) -> None:
        self.type_name = type_name
        self.inputs = tuple(inputs)
        for index, item in enumerate(self.inputs):
            if not isinstance(item, Top):
                raise TypeError(f"{type_name} input {index} is not a Top (type is {type(item)})")
        self.params = dict(params)
        self.ntop = self.params.pop("ntop", 1)
        self.in_place = self.params.pop("in_place", False)
        if not isinstance(self.ntop, int) or self.ntop < 0:
            raise TypeError(f"{type_name}: ntop must be a number of tops, not {self.ntop!r}")
        for name in self.params:
            self._check_name(name)
        self.tops = tuple(Top(self, n) for n in range(self.ntop))

    def to_proto(self) -> Any:
        """A `NetParameter` of this layer and all layers it needs."""
        return to_proto(self)

    def _check_name(self, name: str) -> None:
        """Refuse a name that no message has, where the call is; one of another layer's message waits for
        `to_proto`, as pycaffe programs map coordinates through such layers without ever writing them."""
        if name not in _LAYER.fields_by_name and not self._homes(name):
            raise self._unknown(name)

    def _homes(self, name: str) -> list[str]:
        """The messages of a layer with a field `name`: this type's own, or any where the type is not known."""
        own = self._own_field()
        return [f.name for f in _LAYER.fields if f.name.endswith("_param") and own in (None, f.name)
                and name in f.message_type.fields_by_name]

    def _own_field(self) -> str | None:
        stem = param_name_dict().get(self.type_name)
        return None if stem is None else stem + "_param"

    def _unknown(self, name: str) -> LayerError:
        if homes := self._homes(name):
            help = "write " + " or ".join(f"{message}=dict({name}=...)" for message in homes)
        else:
            own = self._own_field()
            known = _LAYER.fields_by_name[own].message_type.fields_by_name if own else []
            help = _suggest(name, [*known, *_LAYER.fields_by_name, "ntop", "in_place"])
        return LayerError(f"L.{self.type_name} has no parameter '{name}'", help=help)

    def _layer(self, name: str, bottoms: list[str], tops: list[str]) -> Any:
        layer = caffe_pb2.LayerParameter(type=self.type_name, name=name)
        layer.bottom.extend(bottoms)
        layer.top.extend(tops)
        own = self._own_field()
        try:
            for key, value in self.params.items():
                # As in pycaffe: a name that ends in param is a field of the layer, whatever its message has.
                if not key.endswith("param") and own and key in getattr(layer, own).DESCRIPTOR.fields_by_name:
                    assign_proto(getattr(layer, own), key, value)
                elif key in layer.DESCRIPTOR.fields_by_name:
                    assign_proto(layer, key, value)
                else:
                    raise self._unknown(key)
        except LayerError as problem:
            problem.layer = problem.layer or layer.name
            raise
        except TypeError as problem:
            raise TypeError(f"layer '{layer.name}' (L.{self.type_name}): {problem}") from None
        return layer


class NetSpec:
    """A net under construction: tops assigned as attributes (or items) give their blobs and layers their
    names.

    `to_proto()` gives the `NetParameter`; `tops` the assigned tops by name, in order.
    """

    tops: dict[str, Top | Function]

    def __init__(self) -> None:
        super().__setattr__("tops", {})

    def __setattr__(self, name: str, value: Any) -> None:
        if not isinstance(value, (Top, Function)):
            hint = ": unpack it, as in n.a, n.b = ..." if isinstance(value, tuple) else ""
            raise TypeError(f"'{name}' must be a Top or a layer without tops, not {type(value)}{hint}")
        self.tops[name] = value

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "tops":  # asked for by copy and pickle before `__init__` has run
            raise AttributeError(name)
        try:
            return self.tops[name]
        except KeyError:
            raise AttributeError(f"the net has no top '{name}'; {_suggest(name, self.tops)}") from None

    def __setitem__(self, key: str, value: Any) -> None:
        self.__setattr__(key, value)

    def __getitem__(self, item: str) -> Any:
        if item not in self.tops:
            raise KeyError(f"the net has no top '{item}'; {_suggest(item, self.tops)}")
        return self.tops[item]

    def __contains__(self, item: object) -> bool:
        return item in self.tops

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self.tops})

    def to_proto(self) -> Any:
        """A `NetParameter` of all layers needed to compute the assigned tops, under their names.

        Raises `LayerError` for parameters that the layers do not have.
        """
        return _net(self.tops.values(), {top: name for name, top in self.tops.items()})


class Layers:
    """Pseudo-module of layer functions: `Layers().Convolution(bottom, kernel_size=3)` gives the `Top` of a
    new layer (a tuple of them when `ntop` > 1, the `Function` when it is 0).  Any name is a layer type."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)

        def layer_fn(*args: Any, **kwargs: Any) -> Any:
            fn = Function(name, args, kwargs)
            if fn.ntop == 0:
                return fn
            return fn.tops[0] if fn.ntop == 1 else fn.tops

        layer_fn.__name__ = layer_fn.__qualname__ = name
        return layer_fn


class Parameters:
    """Pseudo-module of constants: `Parameters().Pooling.MAX` is `PoolingParameter.MAX`."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        message = getattr(caffe_pb2, name + "Parameter", None)
        if message is None:
            known = [key.removesuffix("Parameter") for key in dir(caffe_pb2) if key.endswith("Parameter")]
            raise AttributeError(f"there is no {name}Parameter; {_suggest(name, known)}")
        return message


def _net(tops: Iterable[Top | Function], names: dict[Any, str]) -> Any:
    """The net of `tops`: every layer after the layers it needs, those in the order of its inputs.

    `names` holds the given names of tops (and layers without tops) and gets the made-up ones: the layer's
    type and a running number per type.
    """
    counts: Counter[str] = Counter()
    layers: dict[Function, Any] = {}

    def name_of(thing: Top | Function, type_name: str) -> str:
        if thing not in names:
            counts[type_name] += 1
            names[thing] = type_name + str(counts[type_name])
        return names[thing]

    for top in tops:
        for fn in _needed(top.fn if isinstance(top, Top) else top, layers):
            bottoms = [layers[item.fn].top[item.n] for item in fn.inputs]
            outputs = bottoms if fn.in_place else [name_of(item, fn.type_name) for item in fn.tops]
            name = name_of(fn.tops[0] if fn.tops else fn, fn.type_name)
            layers[fn] = fn._layer(name, bottoms, list(outputs))
    net = caffe_pb2.NetParameter()
    net.layer.extend(layers.values())
    return net


def _needed(fn: Function, done: dict[Function, Any]) -> Iterator[Function]:
    """`fn` and the layers under it that are not done, inputs first; with a stack, as nets are deeper than
    Python's."""
    stack: list[tuple[Function, Iterator[Top]]] = [] if fn in done else [(fn, iter(fn.inputs))]
    while stack:
        current, inputs = stack[-1]
        waiting = next((item.fn for item in inputs if item.fn not in done), None)
        if waiting is not None:
            stack.append((waiting, iter(waiting.inputs)))
        else:
            stack.pop()
            yield current


def _plain(value: Any) -> Any:
    """Tuples and arrays as lists, NumPy scalars as Python numbers."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    return list(value) if isinstance(value, tuple) else value


def _fill(message: Any, name: str, value: Any) -> None:
    if isinstance(value, dict):
        for key, item in value.items():
            assign_proto(message, key, item)
    elif isinstance(value, type(message)):
        message.CopyFrom(value)
    else:
        raise TypeError(f"'{name}' takes a dict (or a {type(message).__name__}), not {type(value).__name__}")


def _enum_number(field: Any, name: str) -> int:
    values = field.enum_type.values_by_name
    if name not in values:
        raise LayerError(f"'{field.name}' has no value '{name}'", expected=" or ".join(values),
                         help=_suggest(name, values))
    return values[name].number


def _suggest(name: str, known: Iterable[str]) -> str:
    known = list(known)
    if close := nearest(name, known):
        return "did you mean " + " or ".join(close) + "?"
    return "known are " + ", ".join(known[:40]) if known else "nothing is defined yet"


layers = Layers()
params = Parameters()
