"""torchvision's VGG-16, AlexNet and GoogLeNet: a state dict becomes a deploy prototxt and a caffemodel.

A layer is added to the Caffe net and computed with PyTorch's own function in one step, so that the net is compared
with what torchvision's forward gives (evaluation mode). Widths come from the shapes in the file.
"""

from __future__ import annotations

import math
import os
import pickle
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from .. import memory
from ..errors import CaffeError, ShapeError, WeightsError
from ..layers.pooling import pooled_size
from ..net_spec import NetSpec
from ..net_spec import layers as L
from ..net_spec import params as P
from .check import first_line, need
from .imported import SEED, Imported

State = dict[str, torch.Tensor]
At = tuple[Any, torch.Tensor]   # a blob of the Caffe net, and its value

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)   # RGB, of torchvision's ImageNet weights
HALF = (0.5, 0.5, 0.5)   # GoogLeNet's, which undoes the above (transform_input)

VGG16 = {f"conv{block}_{i}": f"features.{at}" for (block, i), at in zip(
    ((block, i) for block in range(1, 6) for i in range(1, 3 + (block > 2))),
    (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28), strict=True)}
VGG16_FC = {"fc6": "classifier.0", "fc7": "classifier.3", "fc8": "classifier.6"}
ALEXNET = {f"conv{i}": f"features.{at}" for i, at in zip(range(1, 6), (0, 3, 6, 8, 10), strict=True)}
ALEXNET_FC = {"fc6": "classifier.1", "fc7": "classifier.4", "fc8": "classifier.6"}
INCEPTIONS = ("3a", "3b", "4a", "4b", "4c", "4d", "4e", "5a", "5b")
BRANCHES = {"1x1": "branch1", "3x3_reduce": "branch2.0", "3x3": "branch2.1", "5x5_reduce": "branch3.0",
            "5x5": "branch3.1", "pool_proj": "branch4.1"}
GOOGLENET = {"conv1/7x7_s2": "conv1", "conv2/3x3_reduce": "conv2", "conv2/3x3": "conv3",
             **{f"inception_{name}/{branch}": f"inception{name}.{key}"
                for name in INCEPTIONS for branch, key in BRANCHES.items()}}


def import_torchvision(path: str | os.PathLike[str], bgr: bool = False,
                       input_shape: Sequence[int] | None = None) -> Imported:
    """The net of a state dict in a .pth, .pt or .safetensors file, compared with PyTorch's result.

    The architecture is the one whose keys the file has. `input_shape` (N, 3, H, W) is by default the size at which
    VGG-16's and AlexNet's adaptive average pooling does nothing: 1, 3, 224, 224. With `bgr` the net takes BGR in
    0..255 minus torchvision's own mean: conv1 gets the scale, which is exact, as zero padding stays the mean colour.
    Raises WeightsError for a file that is no such state dict, ShapeError for an input size that does not fit.
    """
    state = read_state(path)
    known: dict[str, tuple[set[str], Callable[[_Builder], At]]] = {
        "vgg16": (_keys(*VGG16.values(), *VGG16_FC.values()), _vgg16),
        "alexnet": (_keys(*ALEXNET.values(), *ALEXNET_FC.values()), _alexnet),
        "googlenet": ({f"{key}.conv.weight" for key in GOOGLENET.values()} | _keys("fc") | {
            f"{key}.bn.{part}" for key in GOOGLENET.values()
            for part in ("weight", "bias", "running_mean", "running_var")}, _googlenet)}
    present = {key for key in state if not key.endswith(".num_batches_tracked") and not key.startswith("aux")}
    name = min(known, key=lambda one: len(known[one][0] ^ present))
    keys, forward = known[name]
    if keys != present:
        lacks, has = sorted(keys - present), sorted(present - keys)
        raise WeightsError(
            "is no state dict of torchvision's vgg16, alexnet or googlenet", file=path,
            found=f"{len(present)} keys: {', '.join(has[:3]) or 'all known'}" + (" ..." if len(has) > 3 else ""),
            expected=f"those of {name}; {len(lacks)} are missing: {', '.join(lacks[:3])}" if lacks
            else f"those of {name} alone", help="save model.state_dict() of one of these; others go by ONNX")
    if empty := [key for key in sorted(keys) if not state[key].dim() or not state[key].numel()]:
        raise WeightsError("a tensor holds no weights", file=path, layer=empty[0], found=tuple(state[empty[0]].shape),
                           help="check where the file comes from")
    try:
        shape = tuple(input_shape or (1, 3, *[_native_size(name, state)] * 2))
        if len(shape) != 4 or shape[1] != 3 or min(shape) < 1:
            raise ShapeError("the input is a batch of colour images", found=shape, expected="N,3,H,W",
                             help="correct -input_shape")
        builder = _Builder(state, shape)
        with torch.inference_mode():
            top, result = forward(builder)
    except CaffeError as problem:
        problem.file = problem.file or os.fspath(path)
        raise
    except RuntimeError as problem:
        raise ShapeError(f"PyTorch cannot run this net: {problem}", file=path, found=f"input {shape}",
                         help="use a larger -input_shape") from problem
    definition = builder.n.to_proto()
    definition.name = name
    mean, std = (HALF, HALF) if name == "googlenet" else (MEAN, STD)
    data, notes = builder.data, [f"input: RGB in 0..1 minus mean {_list(mean)}, divided by {_list(std)}"]
    if bgr:
        scale = 255 * np.array(std)
        data = np.ascontiguousarray((data * scale[:, None, None])[:, ::-1], np.float32)
        weight = builder.params[next(iter(builder.params))]
        weight[0] = np.ascontiguousarray((weight[0] / scale[:, None, None])[:, ::-1], np.float32)
        notes = [f"input: BGR in 0..255 minus mean {_list(255 * np.array(mean)[::-1])} (torchvision's, not Caffe's)"]
    if name == "googlenet":
        notes.append("this is the preprocessing of torchvision's own GoogLeNet weights (transform_input)")
    if ignored := len(state) - len(present):
        notes.append(f"left out: {ignored} entries that evaluation does not use (auxiliary classifiers, counters)")
    output = next(key for key, value in builder.n.tops.items() if value is top)
    return Imported(definition, builder.params, {"data": data}, {output: result.numpy()}, [output], notes).check()


def read_state(path: str | os.PathLike[str]) -> State:
    """The tensors in a .pth or .pt (read with weights_only: no code of the file runs) or .safetensors file, by name.

    Raises WeightsError when the file is not there, damaged, or no dict of dense numbers.
    """
    name = os.fspath(path)
    try:
        if name.endswith(".safetensors"):
            state: Any = need("safetensors.torch").load_file(name)
        else:
            state = torch.load(name, map_location="cpu", weights_only=True)
    except FileNotFoundError as problem:
        raise WeightsError("is not there", file=name, help="check the path and the working folder") from problem
    except pickle.UnpicklingError as problem:
        raise WeightsError("holds more than tensors, or is no PyTorch file; nothing of it was run", file=name,
                           help="torch.save(model.state_dict(), file) writes tensors alone") from problem
    except CaffeError:
        raise
    except Exception as problem:   # the readers raise almost anything for damaged bytes
        raise WeightsError(f"cannot be read: {first_line(problem)}", file=name,
                           help="download or copy the file again and compare its checksum") from problem
    if not isinstance(state, dict) or not all(
            isinstance(key, str) and isinstance(value, torch.Tensor) for key, value in state.items()):
        found = ", ".join(map(str, list(state)[:5])) if isinstance(state, dict) else type(state).__name__
        raise WeightsError("holds no state dict", file=name, found=found, expected="a dict of tensors",
                           help="torch.save(model.state_dict(), file)")
    # a tensor of stride 0 may claim any size: look before copying (here, into the net, into the file)
    if 12 * sum(value.numel() for value in state.values()) > memory.available():
        raise WeightsError("claims more numbers than fit into memory", file=name, help="check where it comes from")
    for key, value in state.items():
        if value.layout != torch.strided or value.is_quantized or value.is_complex():
            raise WeightsError("a tensor is not dense real numbers", file=name, layer=key,
                               found=f"{value.dtype}, {value.layout}", help="save an ordinary float model")
    return {key: value.float().contiguous() for key, value in state.items()}


class _Builder:
    """Adds layers to a NetSpec and computes each with PyTorch at once, on a seeded input."""

    def __init__(self, state: State, shape: Sequence[int]) -> None:
        self.state, self.n = state, NetSpec()
        self.params: dict[str, list[np.ndarray]] = {}
        self.n.data = L.Input(shape=dict(dim=list(shape)))
        value = torch.randn(*shape, generator=torch.Generator().manual_seed(SEED))
        self.data, self.start = value.numpy(), (self.n.data, value)

    def _take(self, name: str, *keys: str) -> list[torch.Tensor]:
        self.params[name] = [self.state[key].numpy() for key in keys]
        return [self.state[key] for key in keys]

    def _check(self, key: str, x: torch.Tensor, shape: Sequence[int | None]) -> None:
        """Whether the layer that takes x fits the architecture (None: any width), itself and memory."""
        weight = self.state[key]
        if len(weight.shape) != len(shape) or any(b not in (a, None) for a, b in zip(weight.shape, shape, strict=True)):
            raise WeightsError("a tensor has another shape than in this architecture", layer=key,
                               found=tuple(weight.shape), expected=tuple("any" if b is None else b for b in shape),
                               help="only the widths may differ from torchvision's net")
        for part in set(self.state) & {key.replace("weight", "bias"), *(
                key.replace("conv.weight", f"bn.{p}") for p in ("weight", "bias", "running_mean", "running_var"))}:
            if part != key and tuple(self.state[part].shape) != weight.shape[:1]:
                raise WeightsError("a tensor has another shape than its weights ask for", layer=part,
                                   found=tuple(self.state[part].shape), expected=tuple(weight.shape[:1]),
                                   help="check where the file comes from")
        if 12 * len(weight) * x[:, :1].numel() > memory.available():   # the result here, in the net, and room to work
            raise ShapeError("the net would not fit into memory", found=f"{len(weight)} maps for {tuple(x.shape)}",
                             help="use a smaller -input_shape")

    def conv(self, at: At, name: str, key: str, kernel: int, relu: str, stride: int = 1, pad: int = 0) -> At:
        """Convolution and ReLU."""
        (top, x), n = at, self.n
        self._check(f"{key}.weight", x, (None, x.shape[1], kernel, kernel))
        weight, bias = self._take(name, f"{key}.weight", f"{key}.bias")
        n[name] = L.Convolution(top, num_output=len(weight), kernel_size=kernel, stride=stride, pad=pad)
        n[relu] = L.ReLU(n[name], in_place=True)
        return n[relu], F.relu(F.conv2d(x, weight, bias, stride, pad))

    def conv_norm(self, at: At, name: str, stride: int = 1) -> At:
        """GoogLeNet's Convolution without bias, BatchNorm, Scale, ReLU. The kernel is what the file has (torchvision's
        inception_*/5x5 are 3x3), padded to keep the size."""
        (top, x), n, key, folder = at, self.n, GOOGLENET[name], name.rpartition("/")[0]
        kernel = self.state[f"{key}.conv.weight"].shape[-1] | 1   # odd
        self._check(f"{key}.conv.weight", x, (None, x.shape[1], kernel, kernel))
        weight, = self._take(name, f"{key}.conv.weight")
        options = dict(num_output=len(weight), kernel_size=kernel, stride=stride, pad=kernel // 2, bias_term=False)
        mean, var = self._take(f"{name}/bn", f"{key}.bn.running_mean", f"{key}.bn.running_var")
        self.params[f"{name}/bn"].append(np.ones(1, np.float32))
        scale, shift = self._take(f"{name}/scale", f"{key}.bn.weight", f"{key}.bn.bias")
        n[name] = L.Convolution(top, **options)
        n[f"{name}/bn"] = L.BatchNorm(n[name], eps=1e-3, in_place=True)
        n[f"{name}/scale"] = L.Scale(n[f"{name}/bn"], bias_term=True, in_place=True)
        relu = f"{folder}/relu_{name.rpartition('/')[2].removesuffix('_s2')}"
        n[relu] = L.ReLU(n[f"{name}/scale"], in_place=True)
        y = F.conv2d(x, weight, None, stride, kernel // 2)
        return n[relu], F.relu(F.batch_norm(y, mean, var, scale, shift, False, 0, 1e-3))

    def pool(self, at: At, name: str, kernel: int, stride: int, pad: int = 0, ceil: bool = False) -> At:
        """Max pooling; round_mode: FLOOR only where Caffe's rounding up would give another size."""
        top, x = at
        y = F.max_pool2d(x, kernel, stride, pad, ceil_mode=ceil)
        options = dict(pool=P.Pooling.MAX, kernel_size=kernel, stride=stride, **({"pad": pad} if pad else {}))
        if tuple(y.shape[2:]) != tuple(pooled_size(size, kernel, stride, pad) for size in x.shape[2:]):
            options["round_mode"] = P.Pooling.FLOOR
        self.n[name] = L.Pooling(top, **options)
        return self.n[name], y

    def fc(self, at: At, name: str, key: str) -> At:
        top, x = at
        self._check(f"{key}.weight", x, (None, x[0].numel()))
        weight, bias = self._take(name, f"{key}.weight", f"{key}.bias")
        self.n[name] = L.InnerProduct(top, num_output=len(weight))
        return self.n[name], F.linear(x.flatten(1), weight, bias)

    def relu(self, at: At, name: str) -> At:
        self.n[name] = L.ReLU(at[0], in_place=True)
        return self.n[name], F.relu(at[1])

    def dropout(self, at: At, name: str, ratio: float) -> At:
        """In evaluation, the identity."""
        self.n[name] = L.Dropout(at[0], dropout_ratio=ratio, in_place=True)
        return self.n[name], at[1]


def _vgg16(b: _Builder) -> At:
    at = b.start
    for name, key in VGG16.items():
        at = b.conv(at, name, key, 3, name.replace("conv", "relu"), pad=1)
        block = int(name[4])
        if name == f"conv{block}_{2 + (block > 2)}":
            at = b.pool(at, f"pool{block}", 2, 2)
    at = _at_native_size(b, at, VGG16_FC["fc6"])
    for i in (6, 7):
        at = b.relu(b.fc(at, f"fc{i}", VGG16_FC[f"fc{i}"]), f"relu{i}")
        at = b.dropout(at, f"drop{i}", 0.5)
    return b.fc(at, "fc8", VGG16_FC["fc8"])


def _alexnet(b: _Builder) -> At:
    at = b.start
    for i, (name, key) in enumerate(ALEXNET.items(), start=1):
        kernel, stride, pad = {1: (11, 4, 2), 2: (5, 1, 2)}.get(i, (3, 1, 1))
        at = b.conv(at, name, key, kernel, f"relu{i}", stride, pad)
        if i in (1, 2, 5):
            at = b.pool(at, f"pool{i}", 3, 2)
    at = _at_native_size(b, at, ALEXNET_FC["fc6"])
    for i in (6, 7):   # torchvision drops out before each of these
        at = b.dropout(at, f"drop{i - 1}", 0.5)
        at = b.relu(b.fc(at, f"fc{i}", ALEXNET_FC[f"fc{i}"]), f"relu{i}")
    return b.fc(at, "fc8", ALEXNET_FC["fc8"])


def _googlenet(b: _Builder) -> At:
    at = b.pool(b.conv_norm(b.start, "conv1/7x7_s2", stride=2), "pool1/3x3_s2", 3, 2, ceil=True)
    at = b.conv_norm(b.conv_norm(at, "conv2/3x3_reduce"), "conv2/3x3")
    at = b.pool(at, "pool2/3x3_s2", 3, 2, ceil=True)
    for name in INCEPTIONS:
        if name in ("4a", "5a"):   # the second is 2x2 in torchvision
            kernel = 3 if name == "4a" else 2
            at = b.pool(at, f"pool{int(name[0]) - 1}/{kernel}x{kernel}_s2", kernel, 2, ceil=True)
        of = f"inception_{name}"
        branches = [b.conv_norm(at, f"{of}/1x1")]
        branches += [b.conv_norm(b.conv_norm(at, f"{of}/{k}_reduce"), f"{of}/{k}") for k in ("3x3", "5x5")]
        pooled = b.pool(at, f"{of}/pool", 3, 1, 1, ceil=True)
        branches.append(b.conv_norm(pooled, f"{of}/pool_proj"))
        b.n[f"{of}/output"] = L.Concat(*(top for top, _ in branches))
        at = b.n[f"{of}/output"], torch.cat([x for _, x in branches], 1)
    b.n["pool5"] = L.Pooling(at[0], pool=P.Pooling.AVE, global_pooling=True)
    at = b.dropout((b.n["pool5"], at[1].mean((2, 3))), "pool5/drop", 0.2)
    return b.fc(at, "loss3/classifier", "fc")


def _native_size(name: str, state: State) -> int:
    """Height and width at which the features have as many places as the first fully connected layer reads."""
    if name == "googlenet":
        return 224
    last, first = ("features.28", "classifier.0") if name == "vgg16" else ("features.10", "classifier.1")
    shapes = [tuple(state[f"{key}.weight"].shape) for key in (last, first)]
    places = math.isqrt(shapes[1][1] // max(1, shapes[0][0])) if all(len(shape) > 1 for shape in shapes) else 0
    return 32 * places if name == "vgg16" else 32 * (places + 1)


def _at_native_size(b: _Builder, at: At, key: str) -> At:
    """torchvision pools the features to a fixed size here, which is the identity for one input size alone."""
    channels, *size = at[1].shape[1:]
    inputs = b.state[f"{key}.weight"].shape[-1]
    if channels * size[0] * size[1] != inputs or size[0] != size[1]:
        raise ShapeError("at this input size torchvision resamples the features, which no Caffe layer does",
                         found=f"{size[0]}x{size[1]} features", expected=f"{inputs // channels} places in a square",
                         help="leave out -input_shape; surgery.convolutionalize makes the net take any size")
    return at


def _keys(*layers: str) -> set[str]:
    return {f"{layer}.{part}" for layer in layers for part in ("weight", "bias")}


def _list(values: Sequence[float] | np.ndarray) -> str:
    return ", ".join(f"{value:g}" for value in values)

