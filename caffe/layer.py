"""What every layer is: Caffe's setup / reshape / forward / backward on blobs, and the registry of layer types."""
from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from .errors import CaffeError, LayerError, nearest
from .proto import forks

if TYPE_CHECKING:
    from .blob import Blob

_registry: dict[str, type[Layer]] = {}
_families_loaded = False
L = TypeVar("L", bound="type[Layer]")

Count = int | tuple[int, int | None]   # how many bottoms or tops: exactly, or (least, most)
ErrorClass = type[CaffeError]
ANY: Count = (0, None)  # any number of them


class Layer:
    """A layer, as pycaffe programs subclass it: `setup`, `reshape`, `forward`, `backward`.

    Python layers override these four and read `self.param_str` and `self.phase`. They may also define
    `get_state() -> dict` and `set_state(dict)` (JSON values only), which snapshots store and restore, so that a
    resumed run goes on where it was. Built-in layers subclass `FunctionLayer` instead wherever they can.
    """

    # What a layer type says about itself; Net reads these.
    bottoms: Count = ANY
    tops: Count = ANY
    auto_tops = False           # make missing tops up (loss layers)
    is_loss = False             # top 0 has loss weight 1 unless the prototxt says otherwise
    no_diff_to: tuple[int, ...] = ()   # bottoms that never get a diff, not even with force_backward
    share_in_parallel = False   # pycaffe's: one instance of a Python layer for all solvers

    param_str = ""

    def __init__(self, layer_param: Any) -> None:
        from .blob import BlobVec

        self.layer_param = layer_param
        self.phase: int = layer_param.phase
        self.blobs: BlobVec = BlobVec()
        self.defined_at = ""                  # "net.prototxt:12", for messages
        self.records_graph = False            # whether forward must remember what backward will need
        self.param_propagate_down: list[bool] = []
        self.top_loss_weights: list[float] = []

    @classmethod
    def create(cls, layer_param: Any, where: str = "") -> Layer:
        """The layer that a LayerParameter at `where` asks for (type Python makes an object of the user's class)."""
        layer = cls(layer_param)
        layer.defined_at = where
        return layer

    @property
    def type(self) -> str:
        return self.layer_param.type

    @property
    def name(self) -> str:
        return self.layer_param.name

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        """Once, when the net is built: read parameters, make `self.blobs`."""

    def reshape(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        """Before every forward: give the tops their shapes."""

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        """Fill the tops' data."""

    def backward(self, top: Sequence[Blob], propagate_down: Sequence[bool], bottom: Sequence[Blob]) -> None:
        """Fill the diff of bottoms whose `propagate_down` is true; add to the diffs of `self.blobs`."""

    def fail(self, message: str, *, found: object = None, expected: object = None, help: str | None = None,
             error: ErrorClass = LayerError, file: str = "") -> NoReturn:
        """Raise an error that names this layer, and `file` or where the layer stands."""
        raise error(f"{self.type}: {message}", file=file or self.defined_at or None, layer=self.name, found=found,
                    expected=expected, help=help)


def register(type_name: str) -> Callable[[L], L]:
    """Class decorator: make a Layer subclass the meaning of `type: "type_name"` in prototxts."""
    def add(cls: L) -> L:
        _registry[type_name] = cls
        return cls
    return add


def _load_families() -> None:
    """Import every module of caffe/layers once; each registers its types."""
    global _families_loaded
    if not _families_loaded:
        from . import layers

        for module in pkgutil.iter_modules(layers.__path__):
            importlib.import_module(f"{layers.__name__}.{module.name}")
        _families_loaded = True


def layer_type_list() -> list[str]:
    """Every registered layer type, sorted."""
    _load_families()
    return sorted(_registry)


def layer_class(type_name: str, layer_name: str = "", where: str = "") -> type[Layer]:
    """The class of a layer type; LayerError with the nearest known types when there is none."""
    _load_families()
    if type_name not in _registry and type_name in forks.ABSENT_TYPES:
        what, instead = forks.ABSENT_TYPES[type_name]
        raise LayerError(f"layer type '{type_name}' is not implemented: {what}", file=where or None,
                         layer=layer_name or None, help=instead)
    if type_name not in _registry:
        near = nearest(type_name, _registry)
        raise LayerError(f"unknown layer type '{type_name}'", file=where or None, layer=layer_name or None,
                         expected=f"perhaps {' or '.join(near)}" if near else "a type of caffe.layer_type_list()",
                         help=f"register your own with @caffe.register(\"{type_name}\") on a caffe.Layer subclass, "
                              "or use type: \"Python\"")
    return _registry[type_name]
