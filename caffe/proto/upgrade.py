"""Upgrades older net and solver formats to the current one, by the rules of BVLC Caffe.

In order: layers of 2013 (V0: one flat `layer` inside `layers`), transformation settings inside data layers,
layers of 2014 (V1: `layers` with an enum type), `input` fields, BatchNorm with three `param`s; for solvers
the enum `solver_type`.  All work on messages of both schemas (text, and caffemodels with raw arrays).
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

from ..errors import NetError, SolverError
from . import caffe_pb2

log = logging.getLogger("caffe.upgrade")

_V1 = caffe_pb2.V1LayerParameter

# Type names of today for the enum values of 2014.
V1_TYPES = {
    "NONE": "", "ABSVAL": "AbsVal", "ACCURACY": "Accuracy", "ARGMAX": "ArgMax", "BNLL": "BNLL",
    "CONCAT": "Concat", "CONTRASTIVE_LOSS": "ContrastiveLoss", "CONVOLUTION": "Convolution", "DATA": "Data",
    "DECONVOLUTION": "Deconvolution", "DROPOUT": "Dropout", "DUMMY_DATA": "DummyData", "ELTWISE": "Eltwise",
    "EUCLIDEAN_LOSS": "EuclideanLoss", "EXP": "Exp", "FLATTEN": "Flatten", "HDF5_DATA": "HDF5Data",
    "HDF5_OUTPUT": "HDF5Output", "HINGE_LOSS": "HingeLoss", "IM2COL": "Im2col", "IMAGE_DATA": "ImageData",
    "INFOGAIN_LOSS": "InfogainLoss", "INNER_PRODUCT": "InnerProduct", "LRN": "LRN",
    "MEMORY_DATA": "MemoryData", "MULTINOMIAL_LOGISTIC_LOSS": "MultinomialLogisticLoss", "MVN": "MVN",
    "POOLING": "Pooling", "POWER": "Power", "RELU": "ReLU", "SIGMOID": "Sigmoid",
    "SIGMOID_CROSS_ENTROPY_LOSS": "SigmoidCrossEntropyLoss", "SILENCE": "Silence", "SLICE": "Slice",
    "SOFTMAX": "Softmax", "SOFTMAX_LOSS": "SoftmaxWithLoss", "SPLIT": "Split", "TANH": "TanH",
    "THRESHOLD": "Threshold", "WINDOW_DATA": "WindowData",
}  # fmt: skip

# Enum names of 2014 for the type names of 2013.
V0_TYPES = {
    "accuracy": "ACCURACY", "bnll": "BNLL", "concat": "CONCAT", "conv": "CONVOLUTION", "data": "DATA",
    "dropout": "DROPOUT", "euclidean_loss": "EUCLIDEAN_LOSS", "flatten": "FLATTEN", "hdf5_data": "HDF5_DATA",
    "hdf5_output": "HDF5_OUTPUT", "im2col": "IM2COL", "images": "IMAGE_DATA",
    "infogain_loss": "INFOGAIN_LOSS", "innerproduct": "INNER_PRODUCT", "lrn": "LRN",
    "multinomial_logistic_loss": "MULTINOMIAL_LOGISTIC_LOSS", "pool": "POOLING", "relu": "RELU",
    "sigmoid": "SIGMOID", "softmax": "SOFTMAX", "softmax_loss": "SOFTMAX_LOSS", "split": "SPLIT",
    "tanh": "TANH", "window_data": "WINDOW_DATA",
}  # fmt: skip

# For each V0 type the message its settings move to, and the V0 settings it takes (with their present names).
_DATA_SETTINGS = {"source": "source", "batchsize": "batch_size", "rand_skip": "rand_skip"}
_WEIGHT_SETTINGS = {
    "num_output": "num_output", "biasterm": "bias_term", "weight_filler": "weight_filler",
    "bias_filler": "bias_filler",
}  # fmt: skip
_V0_SETTINGS: dict[str, tuple[str, dict[str, str]]] = {
    "conv": ("convolution_param", _WEIGHT_SETTINGS | {
        "pad": "pad", "kernelsize": "kernel_size", "group": "group", "stride": "stride"}),
    "innerproduct": ("inner_product_param", _WEIGHT_SETTINGS),
    "pool": ("pooling_param", {
        "pad": "pad", "kernelsize": "kernel_size", "stride": "stride", "pool": "pool"}),
    "dropout": ("dropout_param", {"dropout_ratio": "dropout_ratio"}),
    "lrn": ("lrn_param", {"local_size": "local_size", "alpha": "alpha", "beta": "beta", "k": "k"}),
    "concat": ("concat_param", {"concat_dim": "concat_dim"}),
    "data": ("data_param", _DATA_SETTINGS),
    "images": ("image_data_param", _DATA_SETTINGS | {
        "shuffle_images": "shuffle", "new_height": "new_height", "new_width": "new_width"}),
    "hdf5_data": ("hdf5_data_param", {"source": "source", "batchsize": "batch_size"}),
    "window_data": ("window_data_param", {
        "source": "source", "batchsize": "batch_size", "det_fg_threshold": "fg_threshold",
        "det_bg_threshold": "bg_threshold", "det_fg_fraction": "fg_fraction",
        "det_context_pad": "context_pad", "det_crop_mode": "crop_mode"}),
    "infogain_loss": ("infogain_loss_param", {"source": "source"}),
}  # fmt: skip
_V0_TRANSFORM = {"scale": "scale", "meanfile": "mean_file", "cropsize": "crop_size", "mirror": "mirror"}
_V0_LAYER = ("name", "blobs", "blobs_lr", "weight_decay")

_TRANSFORMED = {"DATA": "data_param", "IMAGE_DATA": "image_data_param", "WINDOW_DATA": "window_data_param"}
_TRANSFORM_FIELDS = ("scale", "mean_file", "crop_size", "mirror")

SOLVER_TYPES = {
    "SGD": "SGD", "NESTEROV": "Nesterov", "ADAGRAD": "AdaGrad", "RMSPROP": "RMSProp", "ADADELTA": "AdaDelta",
    "ADAM": "Adam",
}  # fmt: skip


def upgrade_net(net: Any, file: str | None = None, lines: list[int | None] | None = None) -> bool:
    """Bring a `NetParameter` to the current format in place; True when something changed.

    `file` is named in errors.  `lines`, the line of each layer, is kept in step: entries of folded layers go,
    an inserted Input layer gets None.  Raises `NetError` where the old format is inconsistent.
    """
    try:
        return _upgrade_net(net, file, lines)
    except UnicodeDecodeError as problem:  # binary files may hold any bytes where text belongs
        raise NetError("a string in the net is not text", file=file, found=repr(problem.object[:80]),
                       help="the file is damaged: copy it again") from problem


def _upgrade_net(net: Any, file: str | None, lines: list[int | None] | None) -> bool:
    changed = False
    if any(layer.HasField("layer") for layer in net.layers):
        _fold_padding(net, file, lines)
        for layer in net.layers:
            _upgrade_v0_layer(layer, file)
        changed = True
    changed |= _move_transforms(net)
    if net.layers:
        _upgrade_v1(net, file)
        changed = True
    if net.input:
        _upgrade_inputs(net, file, lines)
        changed = True
    changed |= _freeze_batch_norm(net)
    if changed:
        log.info("%s: upgraded from an older format", file or "net")
    return changed


def upgrade_solver(solver: Any, file: str | None = None) -> bool:
    """Bring a `SolverParameter` to the current format in place; True when something changed.

    `solver_type` becomes `type`.  With `file`, a missing `snapshot_prefix` becomes the file's path without
    its suffix, and one that is a folder becomes a path in it named after the file.  Raises `SolverError`
    when both type fields are set.
    """
    changed = False
    if solver.HasField("solver_type"):
        if solver.HasField("type"):
            raise SolverError("both solver_type and type are set", file=file,
                              help="keep `type` and remove `solver_type`")
        solver.type = SOLVER_TYPES[type(solver).SolverType.Name(solver.solver_type)]
        solver.ClearField("solver_type")
        changed = True
    if file is not None:
        prefix = solver.snapshot_prefix
        if not solver.HasField("snapshot_prefix"):
            prefix = str(Path(file).with_suffix(""))
        elif os.path.isdir(prefix):
            prefix = str(Path(prefix) / Path(file).stem)
        if prefix != solver.snapshot_prefix:
            solver.snapshot_prefix = prefix
            changed = True
    return changed


def _fold_padding(net: Any, file: str | None, lines: list[int | None] | None) -> None:
    """Move the pad of each V0 `padding` layer into the convolution or pooling layers that read it."""
    source: dict[str, Any] = dict.fromkeys(net.input)  # which layer made each blob last
    for layer in net.layers:
        for i, name in enumerate(layer.bottom):
            if name not in source:
                raise NetError(f"unknown bottom blob '{name}'", file=file,
                               layer=layer.layer.name or layer.name,
                               help="a layer must come after the layers it reads")
            padding = source[name]
            if padding is None or padding.layer.type != "padding":
                continue
            if (
                layer.layer.type not in ("conv", "pool") or len(layer.bottom) != 1
                or len(padding.bottom) != 1 or len(padding.top) != 1
            ):
                raise NetError("only a conv or pool layer with one bottom can read a padding layer", file=file,
                               layer=layer.layer.name, found=f"{layer.layer.type} with {len(layer.bottom)} bottom(s)",
                               help="give the layers that need it a pad of their own")
            layer.layer.pad = padding.layer.pad
            layer.bottom[i] = padding.bottom[0]
        source.update((top, layer) for top in layer.top)
    for i in reversed(range(len(net.layers))):
        if net.layers[i].layer.type == "padding":
            del net.layers[i]
            if lines is not None:
                del lines[i]


def _upgrade_v0_layer(layer: Any, file: str | None) -> None:
    if not layer.HasField("layer"):
        return
    v0 = layer.layer
    if v0.HasField("type"):
        if v0.type not in V0_TYPES:
            raise NetError(f"unknown layer type '{v0.type}' of the oldest format", file=file, layer=v0.name,
                           expected=" or ".join(V0_TYPES), help="rewrite the layer in the current format")
        layer.type = _V1.LayerType.Value(V0_TYPES[v0.type])
    target, settings = _V0_SETTINGS.get(v0.type, ("", {}))
    for field, value in v0.ListFields():
        name = field.name
        if name == "type":
            continue
        if name in _V0_LAYER:
            _put(layer, name, value)
        elif name in _V0_TRANSFORM:
            _put(layer.transform_param, _V0_TRANSFORM[name], value)
        elif name in settings:
            _put(getattr(layer, target), settings[name], value)
        elif name == "hdf5_output_param" and v0.type == "hdf5_output":
            layer.hdf5_output_param.CopyFrom(value)
        else:  # Caffe says so and goes on: such settings never had an effect
            log.warning("%s: layer '%s': a %s layer has no '%s'; left out",
                        file or "net", v0.name, v0.type, name)
    layer.ClearField("layer")


def _move_transforms(net: Any) -> bool:
    changed = False
    for layer in net.layers:
        param_name = _TRANSFORMED.get(_V1.LayerType.Name(layer.type))
        if param_name is None:
            continue
        param = getattr(layer, param_name)
        for name in _TRANSFORM_FIELDS:
            if param.HasField(name):
                setattr(layer.transform_param, name, getattr(param, name))
                param.ClearField(name)
                changed = True
    return changed


def _upgrade_v1(net: Any, file: str | None) -> None:
    if net.layer:
        raise NetError("the net has both `layer` and `layers`", file=file,
                       help="write every layer as `layer { type: \"Name\" ... }`; `layers` is the format of 2014")
    for old in net.layers:
        new = net.layer.add()
        for field, value in old.ListFields():
            name = field.name
            if name == "type":
                new.type = V1_TYPES[_V1.LayerType.Name(value)]
            elif name in ("param", "blob_share_mode", "blobs_lr", "weight_decay"):
                target = {"param": "name", "blob_share_mode": "share_mode", "blobs_lr": "lr_mult",
                          "weight_decay": "decay_mult"}[name]
                for i, item in enumerate(value):
                    while len(new.param) <= i:
                        new.param.add()
                    setattr(new.param[i], target, item)
            else:
                _put(new, name, value)
    net.ClearField("layers")


def _upgrade_inputs(net: Any, file: str | None, lines: list[int | None] | None) -> None:
    """Turn `input` and its shapes into an Input layer in front; a lone `input` (in caffemodels) just goes."""
    count = len(net.input)
    if net.input_shape:
        if len(net.input_shape) != count:
            raise NetError("`input` and `input_shape` differ in number", file=file,
                           found=f"{len(net.input_shape)} shapes for {count} inputs",
                           help="give one input_shape for each input")
        shapes = [list(shape.dim) for shape in net.input_shape]
    elif net.input_dim:
        dims = list(net.input_dim)
        if len(dims) != 4 * count:
            raise NetError("each `input` needs four `input_dim`", file=file,
                           found=f"{len(dims)} for {count} inputs", expected=4 * count,
                           help="give num, channels, height and width of each input")
        shapes = [dims[4 * i : 4 * i + 4] for i in range(count)]
    else:
        shapes = []
    if shapes:
        layer = type(net)().layer.add(name="input", type="Input", top=list(net.input))
        for shape in shapes:
            layer.input_param.shape.add(dim=shape)
        net.layer.insert(0, layer)
        if lines is not None:
            lines.insert(0, None)
    for name in ("input", "input_shape", "input_dim"):
        net.ClearField(name)


def _freeze_batch_norm(net: Any) -> bool:
    """BatchNorm's three blobs are statistics: three `param`s mean an old file, which must not train them."""
    changed = False
    for layer in net.layer:
        if layer.type == "BatchNorm" and len(layer.param) == 3:
            for param in layer.param:
                param.lr_mult = 0
                param.decay_mult = 0
            changed = True
    return changed


def _put(message: Any, name: str, value: Any) -> None:
    """Set a field from the value of the same kind in another message; a scalar becomes a list where
    needed."""
    target = getattr(message, name)
    if hasattr(target, "extend"):
        target.extend(value if hasattr(value, "extend") else [value])
    elif hasattr(target, "CopyFrom"):
        target.CopyFrom(value)
    else:
        setattr(message, name, value)
