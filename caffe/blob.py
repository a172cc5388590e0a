"""Blob: an array and its diff, each on the host, on a device, or on both in step (Caffe's SyncedMemory)."""
from __future__ import annotations

import math
import weakref
from collections.abc import Iterable, Sequence

import numpy as np
import torch

from . import memory, state
from .errors import CaffeError, ShapeError

# Caffe counts with an int: a blob of more elements is refused before anything is allocated.
MAX_COUNT = 2**31 - 1
_SMALL = 2**26   # elements for which nobody has to look how much memory there is


class Memory:
    """One array of a blob, as flat float32 tensors: all zeros (nothing allocated), on the host, on a device or on both.

    NumPy arrays handed out by `numpy()` are views of the host tensor. As long as one of them is alive the host
    tensor is kept and results are copied into it; otherwise a result is adopted as it is, without a copy.
    """

    __slots__ = ("count", "host", "device", "host_fresh", "device_fresh", "released", "_view")

    def __init__(self, count: int) -> None:
        self.count = count
        self.host: torch.Tensor | None = None
        self.device: torch.Tensor | None = None
        self.host_fresh = False
        self.device_fresh = False  # neither fresh: all zeros
        self.released = False
        self._view: weakref.ref[np.ndarray] | None = None

    @property
    def viewed(self) -> bool:
        """Whether a NumPy view of the host memory is alive."""
        return self._view is not None and self._view() is not None

    @property
    def is_zero(self) -> bool:
        """Whether this was never written since it was made or zeroed."""
        return not (self.host_fresh or self.device_fresh)

    def _check(self) -> None:
        if self.released:
            raise CaffeError("this blob was let go to save memory after its last use in the pass",
                             help="set net.release_blobs = False before the pass to keep every blob")

    def _on_host(self) -> torch.Tensor:
        self._check()
        if not self.host_fresh:
            if self.device_fresh:
                assert self.device is not None
                self.host = self.device.cpu() if self.host is None else self.host.copy_(self.device)
            else:
                self.host = torch.zeros(self.count) if self.host is None else self.host.zero_()
            self.host_fresh = True
        assert self.host is not None
        return self.host

    def _on_device(self, where: torch.device) -> torch.Tensor:
        self._check()
        if self.device is not None and self.device.device != where:
            self._on_host()
            self.device, self.device_fresh = None, False
        if not self.device_fresh:
            if self.host_fresh:
                assert self.host is not None
                self.device = self.host.to(where) if self.device is None else self.device.copy_(self.host)
            else:
                self.device = torch.zeros(self.count, device=where) if self.device is None else self.device.zero_()
            self.device_fresh = True
        assert self.device is not None
        return self.device

    def tensor(self, write: bool = False) -> torch.Tensor:
        """The newest content, flat, where the engine computes now; `write` says that it will be changed in place."""
        where = state.device()
        if where.type == "cpu":
            host = self._on_host()
            self.device_fresh = self.device_fresh and not write
            return host
        device = self._on_device(where)
        self.host_fresh = self.host_fresh and not write
        return device

    def assign(self, value: torch.Tensor) -> None:
        """Make `value` (any shape, `count` elements) the content."""
        flat = value.detach().to(torch.float32).contiguous().view(-1)
        self.released = False
        if flat.device.type == "cpu":
            if self.viewed and self.host is not None:
                if self.host.data_ptr() != flat.data_ptr():
                    self.host.copy_(flat)
            else:
                self.host = flat
            self.host_fresh, self.device_fresh = True, False
        else:
            self.device = flat
            self.host_fresh, self.device_fresh = False, True

    def add(self, value: torch.Tensor) -> None:
        """Add `value` to the content; onto zeros this is an `assign`."""
        if self.is_zero and not self.viewed:
            self.assign(value)
        else:
            self.tensor(write=True).add_(value.detach().reshape(-1))

    def zero(self) -> None:
        """All zeros, written only where somebody looks."""
        self.released = False
        if self.viewed and self.host is not None:
            self.host.zero_()
            self.host_fresh, self.device_fresh = True, False
        else:   # let the memory go: a new gradient will be adopted, and two of fc6's would be 800 MB
            self.host = self.device = None
            self.host_fresh = self.device_fresh = False

    def numpy(self) -> np.ndarray:
        """A flat NumPy view of the host memory, which counts as the newest from now on (mutable, as in pycaffe)."""
        root = self._view() if self._view is not None else None
        host = self._on_host()
        self.device_fresh = False
        if root is None:
            root = host.numpy()
            self._view = weakref.ref(root)
        return root

    def release(self) -> None:
        """Free the memory; reading before the next write is an error. Nothing happens while a view is alive."""
        if not self.viewed:
            self.host = self.device = None
            self.host_fresh = self.device_fresh = False
            self.released = True


class Blob:
    """Data and diff of one shape.

    `data` and `diff` are NumPy arrays of the blob's own memory: what is written through them is seen by the next
    pass. Engine code uses `tensor`, `put` and friends, which stay on the current device.
    """

    __slots__ = ("_shape", "_data", "_diff", "name", "held_by_graph", "__weakref__")

    def __init__(self, shape: Iterable[int] = (0,), name: str = "") -> None:
        self.name = name
        self._shape: tuple[int, ...] = _checked(shape, name)
        count = math.prod(self._shape)
        self._data, self._diff = Memory(count), Memory(count)
        # True while a recorded graph needs the data as it is: an in-place layer then must not overwrite it
        self.held_by_graph = True

    # ------------------------------------------------------------------ pycaffe
    @property
    def shape(self) -> tuple[int, ...]:
        return self._shape

    @property
    def count(self) -> int:
        return self._data.count

    def _legacy(self, axis: int) -> int:
        if len(self._shape) > 4:
            raise ShapeError(f"blob '{self.name}' has no num/channels/height/width", found=f"{len(self._shape)} axes",
                             expected="at most 4", help="use blob.shape[i]")
        return self._shape[axis] if axis < len(self._shape) else 1

    num = property(lambda self: self._legacy(0))
    channels = property(lambda self: self._legacy(1))
    height = property(lambda self: self._legacy(2))
    width = property(lambda self: self._legacy(3))

    def reshape(self, *shape: int) -> None:
        """Change the shape. The content is kept when the count stays the same, zeroed otherwise."""
        dims = shape[0] if len(shape) == 1 and isinstance(shape[0], Sequence) else shape
        new = _checked(dims, self.name)
        count = math.prod(new)
        if count != self.count:
            self._data, self._diff = Memory(count), Memory(count)
        self._shape = new

    @property
    def data(self) -> np.ndarray:
        return self._data.numpy().reshape(self._shape)

    @property
    def diff(self) -> np.ndarray:
        return self._diff.numpy().reshape(self._shape)

    # ------------------------------------------------------------------ the engine's side
    def tensor(self, write: bool = False) -> torch.Tensor:
        """The data on the current device, in shape; `write=True` when it will be changed in place."""
        return self._data.tensor(write).view(self._shape)

    def diff_tensor(self, write: bool = False) -> torch.Tensor:
        """The diff on the current device, in shape."""
        return self._diff.tensor(write).view(self._shape)

    @property
    def viewed(self) -> bool:
        """Whether somebody holds a NumPy view of the data, so that `put` copies instead of adopting."""
        return self._data.viewed

    def put(self, value: torch.Tensor) -> None:
        """Make `value` the data; adopted without a copy unless a NumPy view of the data is alive."""
        self._fits(value, "data")
        self._data.assign(value)

    def put_diff(self, value: torch.Tensor) -> None:
        """Make `value` the diff."""
        self._fits(value, "diff")
        self._diff.assign(value)

    def add_diff(self, value: torch.Tensor) -> None:
        """Add to the diff, as gradients of parameters accumulate."""
        self._fits(value, "diff")
        self._diff.add(value)

    def zero_diff(self) -> None:
        self._diff.zero()

    def diff_is_zero(self) -> bool:
        """Whether the diff was not written since it was zeroed (cheap: the values are not read)."""
        return self._diff.is_zero

    def _fits(self, value: torch.Tensor, what: str) -> None:
        if value.numel() != self.count:
            raise ShapeError(f"{what} of blob '{self.name}' has another size", found=tuple(value.shape),
                             expected=self._shape, help="reshape the blob first")

    def share_data(self, other: Blob) -> None:
        """Use the other blob's data memory (the counts must agree)."""
        self._same_count(other)
        self._data = other._data

    def share_diff(self, other: Blob) -> None:
        self._same_count(other)
        self._diff = other._diff

    def _same_count(self, other: Blob) -> None:
        if other.count != self.count:
            raise ShapeError(f"blob '{self.name}' cannot share memory", found=other.shape, expected=self.shape,
                             help="blobs that share memory must hold equally many numbers")

    def release(self) -> None:
        """Free memory that nobody looks at; see `Net.release_blobs`."""
        self._data.release()
        self._diff.release()

    def revive(self) -> None:
        """Let a released blob be written again, in place too, as a Python layer does; until then it is zero."""
        self._data.released = self._diff.released = False

    # Device arrays without a copy: both have __cuda_array_interface__ and __dlpack__ in GPU mode.
    @property
    def gpu_data(self) -> torch.Tensor:
        return self._gpu(self._data)

    @property
    def gpu_diff(self) -> torch.Tensor:
        return self._gpu(self._diff)

    _gpu_data_ptr = property(lambda self: self.gpu_data.data_ptr())
    _gpu_diff_ptr = property(lambda self: self.gpu_diff.data_ptr())

    def _gpu(self, memory: Memory) -> torch.Tensor:
        if state.mode() != "GPU":
            raise CaffeError(f"blob '{self.name}' has no device array in CPU mode", help="call caffe.set_mode_gpu()")
        return memory.tensor(write=True).view(self._shape)

    def __repr__(self) -> str:
        return f"<caffe.Blob {self.name!r} {self._shape}>"


def _checked(shape: Iterable[int], name: str) -> tuple[int, ...]:
    dims = tuple(int(d) for d in shape)
    if len(dims) > 32 or any(d < 0 for d in dims) or math.prod(dims) > MAX_COUNT:
        raise ShapeError(f"blob '{name}' cannot have this shape", found=dims,
                         expected=f"at most 32 axes, none negative, at most {MAX_COUNT} elements",
                         help="check the dims in the prototxt or in reshape(...)")
    if math.prod(dims) > _SMALL and 4 * math.prod(dims) > memory.total():
        raise ShapeError(f"blob '{name}' is larger than this machine's memory", found=dims,
                         expected=f"at most {memory.total() // 4} elements",
                         help="check the dims in the prototxt, use a smaller batch or smaller images")
    return dims


class BlobVec(list):
    """The parameter blobs of a layer: a list with pycaffe's `add_blob`."""

    def add_blob(self, *shape: int) -> None:
        self.append(Blob(shape))
