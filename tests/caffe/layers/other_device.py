"""A device apart from the host, for machines without CUDA: real numbers, but host tensors do not mix with its own.

While `OtherDevice` is entered, tensors made on torch's `meta` device hold their numbers in a hidden host tensor. What
CUDA refuses is refused (operands on two devices); what makes CUDA copy or wait is counted (`crossed`, `waits`).
"""
from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

META = torch.device("meta")
_COPIES = {"aten::copy_", "aten::_to_copy"}
# CUDA tells the host how many elements come out, or a value: the host waits
_WAITS = {"aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select", "aten::equal", "aten::_unique2",
          "aten::unique_dim", "aten::is_nonzero", "aten::bincount"}


class Mixed(RuntimeError):
    """An operation met tensors of the host and of the device."""


class DeviceTensor(torch.Tensor):
    """What the engine sees: shape, strides and device; `there` holds the numbers."""

    there: torch.Tensor

    @staticmethod
    def __new__(cls, there: torch.Tensor) -> "DeviceTensor":
        it = torch.Tensor._make_wrapper_subclass(cls, there.shape, strides=there.stride(), dtype=there.dtype,
                                                 storage_offset=there.storage_offset(), device=META)
        it.there = there
        return it

    def __repr__(self, **_: Any) -> str:
        return f"DeviceTensor({self.there})"

    def untyped_storage(self) -> Any:
        return self.there.untyped_storage()

    def tolist(self) -> Any:
        return self.cpu().tolist()

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        raise Mixed(f"{func}: device tensors used outside OtherDevice")


class OtherDevice(TorchDispatchMode):
    """Computes for `DeviceTensor`s; `crossed` lists the sizes of copies between the devices, `waits` other waits."""

    def __init__(self) -> None:
        super().__init__()
        self.crossed: list[int] = []
        self.waits: list[str] = []

    def __torch_dispatch__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = func._schema.name
        flat = [t for t in tree_flatten((args, kwargs))[0] if isinstance(t, torch.Tensor)]
        there = [t for t in flat if isinstance(t, DeviceTensor)]
        here = [t for t in flat if not isinstance(t, DeviceTensor)]
        if any(t.device == META for t in here):
            raise Mixed(f"{name} of a tensor made by torch.tensor(..., device=...), a copy that CUDA waits for: "
                        "use torch.full or new_full for a number")
        to = kwargs.get("device")
        if to is not None:
            kwargs = {**kwargs, "device": torch.device("cpu")}
        made_there = torch.device(to).type == "meta" if to is not None else bool(there)
        if name in _COPIES:
            if name == "aten::copy_":
                made_there = isinstance(args[0], DeviceTensor)
            crosses = bool(here) if made_there else bool(there)
            if crosses:
                self.crossed.append(flat[-1].numel())
        elif there and any(t.dim() for t in here):
            raise Mixed(f"{name} of shapes {[tuple(t.shape) for t in there]} on the device and "
                        f"{[tuple(t.shape) for t in here]} on the host")
        if there and (name in _WAITS or name.startswith("aten::index") and _has_mask(args)):
            self.waits.append(name)
        unwrapped = tree_map(lambda t: t.there if isinstance(t, DeviceTensor) else t, (args, kwargs))
        out = func(*unwrapped[0], **unwrapped[1])
        known = {id(t.there): t for t in there}         # in-place results are the operand itself
        if not made_there:
            return out
        return tree_map(lambda t: (known[id(t)] if id(t) in known else DeviceTensor(t))
                        if isinstance(t, torch.Tensor) else t, out)


def _has_mask(args: Any) -> bool:
    return any(isinstance(t, torch.Tensor) and t.dtype in (torch.bool, torch.uint8) for t in tree_flatten(args[1])[0])
