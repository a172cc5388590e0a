"""Net: the layers of a prototxt, run forward and backward, with pycaffe's API."""
from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Any

import numpy as np

from . import weights
from .blob import Blob, BlobVec
from .errors import NetError, ShapeError
from .glog import logger
from .layer import Layer
from .proto import text, upgrade
from .wiring import Wiring, guarded, perhaps, seed_loss_diffs

Hook = Callable[[int], object]


class Net:
    """A net built from a prototxt.

    `Net(prototxt, phase, level=0, stages=None, weights=None)`, or pycaffe's older `Net(prototxt, weights, phase)`.
    `phase` is caffe.TRAIN or caffe.TEST. Raises ParseError, NetError, LayerError, ShapeError or WeightsError, each
    saying where.
    """

    def __init__(self, network_file: str | os.PathLike[str], *args: Any, phase: int | None = None, level: int = 0,
                 stages: Sequence[str] | None = None, weights: str | os.PathLike[str] | None = None) -> None:
        if args and isinstance(args[0], str | os.PathLike):
            weights, *rest = args
        else:
            rest = list(args)
        for value in rest[:3]:   # positional phase, level, stages in pycaffe's order
            if phase is None:
                phase = value
            elif isinstance(value, int):
                level = value
            else:
                stages = value
        if phase is None:
            raise NetError("a net needs a phase", file=os.fspath(network_file),
                           help="caffe.Net(file, caffe.TEST) or caffe.Net(file, caffe.TRAIN)")
        parsed = text.load_net(network_file)
        param = parsed.param
        param.state.phase = phase
        param.state.level = level
        param.state.stage.extend(stages or [])
        self._build(param, parsed.file or "", parsed.lines)
        if weights is not None:
            self.copy_from(weights)

    @classmethod
    def from_param(cls, param: Any, file: str = "", lines: Sequence[int | None] = ()) -> Net:
        """A net from a NetParameter whose `state` says phase, level and stages."""
        net = cls.__new__(cls)
        copy = type(param)()
        copy.CopyFrom(param)
        where: list[int | None] = list(lines)
        upgrade.upgrade_net(copy, file=file, lines=where)
        net._build(copy, file, where)
        return net

    def _build(self, param: Any, file: str, lines: Sequence[int | None]) -> None:
        self.file = file
        self.name: str = param.name
        self.debug_info: bool = param.debug_info
        # True lets intermediate blobs go as backward passes them, to save memory; reading one is then an error
        self.release_blobs = False
        wired = Wiring(param, file, lines)
        self._wired = wired
        self.layers: list[Layer] = wired.layers
        self._layer_names = [layer.layer_param.name for layer in wired.layers]
        self._blobs = wired.blobs
        self._blob_names = wired.blob_names
        self._blob_loss_weights = wired.loss_weights
        self._inputs, self._outputs = wired.inputs, wired.outputs
        self.learnable_params: list[Blob] = wired.learnable
        self.params_lr: list[float] = wired.lr_mult
        self.params_weight_decay: list[float] = wired.decay_mult
        self.blobs: OrderedDict[str, Blob] = OrderedDict(zip(self._blob_names, self._blobs, strict=True))
        self.layer_dict: OrderedDict[str, Layer] = OrderedDict(zip(self._layer_names, self.layers, strict=True))
        self.params: OrderedDict[str, BlobVec] = OrderedDict(
            (layer.layer_param.name, layer.blobs) for layer in self.layers if layer.blobs)
        self.blob_loss_weights: OrderedDict[str, float] = OrderedDict(
            zip(self._blob_names, self._blob_loss_weights, strict=True))
        self.inputs = [self._blob_names[i] for i in self._inputs]
        self.outputs = [self._blob_names[i] for i in self._outputs]
        self.top_names = OrderedDict(
            (n, [self._blob_names[t] for t in ids]) for n, ids in zip(self._layer_names, wired.top_ids, strict=True))
        self.bottom_names = OrderedDict(
            (n, [self._blob_names[b] for b in ids])
            for n, ids in zip(self._layer_names, wired.bottom_ids, strict=True))
        self._hooks: dict[str, list[Hook]] = {
            "before_forward": [], "after_forward": [], "before_backward": [], "after_backward": []}
        logger.info("Network initialization done.")

    def __repr__(self) -> str:
        return f"<caffe.Net {self.name!r} of {self.file}: {len(self.layers)} layers>"

    # ------------------------------------------------------------------ the two passes
    def _forward(self, start: int, end: int) -> float:
        """Run layers start..end (inclusive); returns the weighted loss of these layers."""
        losses = []   # read together at the end: each reading waits for a GPU
        for i in range(start, end + 1):
            layer, bottom, top = self.layers[i], self._wired.bottom(i), self._wired.top(i)
            self._call("before_forward", i)
            for blob in top:
                blob.revive()
            guarded(layer, layer.reshape, bottom, top)
            seed_loss_diffs(layer, top)
            guarded(layer, layer.forward, bottom, top)
            for blob, weight in zip(top, layer.top_loss_weights, strict=True):
                if weight:
                    losses.append((blob.tensor() * blob.diff_tensor()).sum())
            if self.debug_info:
                self._forward_debug(layer, top)
            self._call("after_forward", i)
        return sum((loss.item() for loss in losses), 0.0)

    def forward_loss(self) -> float:
        """A whole forward pass; returns the total weighted loss."""
        return self._forward(0, len(self.layers) - 1)

    def backward_loss(self) -> None:
        """A whole backward pass from the losses' weights, as the solver runs it: no diffs are handed out."""
        self._backward(len(self.layers) - 1, 0)

    def _backward(self, start: int, end: int) -> None:
        """Run layers start..end (inclusive, downwards) backward, those that need it; hooks are called for all."""
        for i in range(start, end - 1, -1):
            layer, need = self.layers[i], self._wired.layer_need[i]
            self._call("before_backward", i)
            if need:
                guarded(layer, layer.backward, self._wired.top(i), self._wired.bottom_need[i], self._wired.bottom(i))
                if self.debug_info:
                    self._backward_debug(i)
            self._call("after_backward", i)
            if need and self.release_blobs:
                self._release(i)
        if self.debug_info:
            self._norms_debug()

    def _release(self, i: int) -> None:
        """After backward of layer i nobody needs what it produced, except outputs and losses."""
        forget = getattr(self.layers[i], "forget", None)
        if forget is not None:
            forget()
        keep = set(self._outputs) | set(self._wired.bottom_ids[i])
        for t in self._wired.top_ids[i]:
            if t not in keep and not self._blob_loss_weights[t]:
                self._blobs[t].release()

    def _call(self, when: str, i: int) -> None:
        for hook in self._hooks[when]:
            hook(i)

    def before_forward(self, hook: Hook) -> None:
        """Call `hook(layer_index)` before each layer's forward; likewise the other three."""
        self._hooks["before_forward"].append(hook)

    def after_forward(self, hook: Hook) -> None:
        self._hooks["after_forward"].append(hook)

    def before_backward(self, hook: Hook) -> None:
        self._hooks["before_backward"].append(hook)

    def after_backward(self, hook: Hook) -> None:
        self._hooks["after_backward"].append(hook)

    # ------------------------------------------------------------------ pycaffe's passes
    def forward(self, blobs: Sequence[str] | None = None, start: str | None = None, end: str | None = None,
                **kwargs: np.ndarray) -> dict[str, np.ndarray]:
        """Set inputs from keyword arguments, run the net, return {output: live array}.

        `blobs` names further blobs to return; `start` and `end` are layer names, `end` inclusive.
        """
        first = self._layer_id(start) if start is not None else 0
        last = self._layer_id(end) if end is not None else len(self.layers) - 1
        wanted = list(self.top_names[end]) if end is not None else list(self.outputs)
        self._assign(kwargs, self.inputs, "input", lambda b: b.data)
        self._forward(first, last)
        return {name: self._blob(name).data for name in dict.fromkeys([*wanted, *(blobs or [])])}

    def backward(self, diffs: Sequence[str] | None = None, start: str | None = None, end: str | None = None,
                 **kwargs: np.ndarray) -> dict[str, np.ndarray]:
        """Set diffs of outputs from keyword arguments, run backward, return {input: live diff}.

        `diffs` names further blobs whose diff to return; `start` and `end` are layer names, `end` inclusive.
        """
        first = self._layer_id(start) if start is not None else len(self.layers) - 1
        last = self._layer_id(end) if end is not None else 0
        wanted = list(self.bottom_names[end]) if end is not None else list(self.inputs)
        self._assign(kwargs, self.outputs, "output", lambda b: b.diff)
        self._backward(first, last)
        return {name: self._blob(name).diff for name in dict.fromkeys([*wanted, *(diffs or [])])}

    def _assign(self, arrays: Mapping[str, np.ndarray], names: list[str], what: str,
                where: Callable[[Blob], np.ndarray]) -> None:
        if arrays and set(arrays) != set(names):
            raise NetError(f"the keyword arguments do not match the net's {what}s", file=self.file,
                           found=sorted(arrays), expected=names, help=f"give each {what} once, by name")
        for name, value in arrays.items():
            blob, value = self.blobs[name], np.asarray(value)
            if value.ndim == 0 or not blob.shape or value.shape[0] != blob.shape[0]:
                if value.shape != blob.shape:
                    raise ShapeError(f"{what} '{name}' is not batch sized", file=self.file, found=value.shape,
                                     expected=blob.shape, help="blob.reshape(...) and net.reshape() first")
            try:
                where(blob)[...] = value
            except ValueError as e:
                raise ShapeError(f"{what} '{name}' has another shape", file=self.file, found=value.shape,
                                 expected=blob.shape, help="blob.reshape(...) and net.reshape() first") from e

    def _layer_id(self, name: str) -> int:
        if name not in self.layer_dict:
            raise NetError(f"there is no layer '{name}'", file=self.file,
                           expected=perhaps(name, self._layer_names), help="see net.layer_dict for the names")
        return self._layer_names.index(name)

    def _blob(self, name: str) -> Blob:
        if name not in self.blobs:
            raise NetError(f"there is no blob '{name}'", file=self.file, expected=perhaps(name, self._blob_names),
                           help="see net.blobs for the names")
        return self.blobs[name]

    def forward_all(self, blobs: Sequence[str] | None = None, **kwargs: np.ndarray) -> dict[str, np.ndarray]:
        """Run any number of inputs in batches (the last one padded); {output: array of all results}."""
        count = len(next(iter(kwargs.values())))
        collected: dict[str, list[np.ndarray]] = {n: [] for n in [*self.outputs, *(blobs or [])]}
        for batch in self._batch(kwargs):
            for name, value in self.forward(blobs, None, None, **batch).items():
                collected[name].extend(np.atleast_1d(value.copy()))
        return {name: np.asarray(values[:count]) for name, values in collected.items()}

    def forward_backward_all(self, blobs: Sequence[str] | None = None, diffs: Sequence[str] | None = None,
                             **kwargs: np.ndarray) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """forward_all and backward: keyword arguments are inputs and, for outputs, diffs."""
        count = len(next(iter(kwargs.values())))
        outs: dict[str, list[np.ndarray]] = {n: [] for n in [*self.outputs, *(blobs or [])]}
        grads: dict[str, list[np.ndarray]] = {n: [] for n in [*self.inputs, *(diffs or [])]}
        ahead = self._batch({n: kwargs[n] for n in self.inputs if n in kwargs})
        back = self._batch({n: kwargs[n] for n in self.outputs if n in kwargs})
        none: dict[str, np.ndarray] = {}
        for fb, bb in zip_longest(ahead, back, fillvalue=none):
            for name, value in self.forward(blobs, None, None, **fb).items():
                outs[name].extend(np.atleast_1d(value.copy()))
            for name, value in self.backward(diffs, None, None, **bb).items():
                grads[name].extend(np.atleast_1d(value.copy()))
        return ({n: np.asarray(v[:count]) for n, v in outs.items()},
                {n: np.asarray(v[:count]) for n, v in grads.items()})

    def _batch(self, arrays: Mapping[str, np.ndarray]) -> Iterator[dict[str, np.ndarray]]:
        if not arrays:
            return
        count, size = len(next(iter(arrays.values()))), self._blobs[0].shape[0]
        for i in range(0, count, size):
            batch = {n: np.asarray(a[i:i + size]) for n, a in arrays.items()}
            short = size - min(size, count - i)
            yield {n: np.concatenate([a, np.zeros((short, *a.shape[1:]), a.dtype)]) if short else a
                   for n, a in batch.items()}

    def reshape(self) -> None:
        """Give every blob the shape that follows from the inputs' shapes."""
        for i, layer in enumerate(self.layers):
            top = self._wired.top(i)
            guarded(layer, layer.reshape, self._wired.bottom(i), top)
            seed_loss_diffs(layer, top)

    def set_input_arrays(self, data: np.ndarray, labels: np.ndarray) -> None:
        """Give the net's MemoryData layer its images (n, channels, height, width) and labels (n).

        Raises NetError when the first layer is no MemoryData layer, ShapeError for arrays that do not fit it.
        """
        first = self.layers[0]
        reset = getattr(first, "reset", None)
        if first.type != "MemoryData" or reset is None:
            raise NetError("set_input_arrays needs a net whose first layer is MemoryData", file=self.file,
                           found=first.type, help="for Input layers write net.blobs[name].data[...]")
        reset(data, labels)

    # ------------------------------------------------------------------ parameters
    def clear_param_diffs(self) -> None:
        for blob in self.learnable_params:
            blob.zero_diff()

    def copy_from(self, path: str | os.PathLike[str]) -> weights.Copied:
        """Copy parameters of equally named layers from a .caffemodel or .caffemodel.h5; returns which these were."""
        return weights.copy_from(self, path)

    def share_with(self, other: Net) -> None:
        """Use the other net's parameter memory in equally named layers."""
        weights.share_with(self, other)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a .caffemodel that BVLC Caffe 1.0 reads, whole or not at all."""
        weights.save(self, path)

    def save_hdf5(self, path: str | os.PathLike[str], write_diff: bool = False) -> None:
        weights.save_hdf5(self, path, write_diff)

    def load_hdf5(self, path: str | os.PathLike[str]) -> None:
        weights.load_hdf5(self, path)

    def is_shared(self, layer: int, param: int) -> bool:
        """Whether parameter `param` of layer `layer` (indices) is another layer's, shared by name."""
        return (layer, param) in self._wired.owner

    def _bottom_ids(self, i: int) -> list[int]:
        return list(self._wired.bottom_ids[i])

    def _top_ids(self, i: int) -> list[int]:
        return list(self._wired.top_ids[i])

    # ------------------------------------------------------------------ debug_info, in Caffe's words
    def _forward_debug(self, layer: Layer, top: Iterable[Blob]) -> None:
        for blob in top:
            logger.info(f"    [Forward] Layer {layer.name}, top blob {blob.name} data: {_mean_abs(blob.tensor()):g}")
        for j, blob in enumerate(layer.blobs):
            logger.info(f"    [Forward] Layer {layer.name}, param blob {j} data: {_mean_abs(blob.tensor()):g}")

    def _backward_debug(self, i: int) -> None:
        layer = self.layers[i]
        for blob, need in zip(self._wired.bottom(i), self._wired.bottom_need[i], strict=True):
            if need:
                logger.info(f"    [Backward] Layer {layer.name}, bottom blob {blob.name} diff: "
                            f"{_mean_abs(blob.diff_tensor()):g}")
        for j, (blob, need) in enumerate(zip(layer.blobs, layer.param_propagate_down, strict=True)):
            if need:
                logger.info(f"    [Backward] Layer {layer.name}, param blob {j} diff: "
                            f"{_mean_abs(blob.diff_tensor()):g}")

    def _norms_debug(self) -> None:
        sums = [0.0] * 4
        for blob in self.learnable_params:
            data, diff = blob.tensor(), blob.diff_tensor()
            for k, value in enumerate((data.abs(), diff.abs(), data * data, diff * diff)):
                sums[k] += float(value.sum())
        logger.info(f"    [Backward] All net params (data, diff): L1 norm = ({sums[0]:g}, {sums[1]:g}); "
                    f"L2 norm = ({sums[2] ** 0.5:g}, {sums[3] ** 0.5:g})")


def _mean_abs(tensor: Any) -> float:
    return float(tensor.abs().mean()) if tensor.numel() else 0.0
