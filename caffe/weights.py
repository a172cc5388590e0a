"""A net's parameters in files: caffemodel and HDF5, in and out, and copied or shared by layer name."""
from __future__ import annotations

import io
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from .data import hdf5_reader
from .errors import WeightsError
from .files import atomic_write, package
from .glog import logger
from .proto import blobs as proto_blobs
from .proto import caffe_pb2, upgrade, wire

if TYPE_CHECKING:
    from .blob import Blob
    from .net import Net


@dataclass
class Copied:
    """Names of layers: `copied` from the file; of these `coerced` ones had four axes there, as all blobs of old files;
    `dropped` have parameters in the file and no layer in the net; `left_at_filler` of the net got nothing from it."""

    copied: list[str] = field(default_factory=list)
    coerced: list[str] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    left_at_filler: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return "\n".join(f"{word.replace('_', ' ')}: {', '.join(names) or 'none'}"
                         for word, names in vars(self).items())


def copy_from(net: Net, path: str | os.PathLike[str]) -> Copied:
    """Copy parameters of equally named layers from a .caffemodel, HDF5 or .safetensors file; returns and logs
    which.

    Layers that the net lacks are ignored, as in Caffe. A warning says when nothing was copied, and which layers of a
    net in phase TEST got nothing and are all zero. Raises WeightsError when a layer has another number of parameters
    or another shape, or when the file is not what it should be.
    """
    path = os.fspath(path)
    if is_hdf5(path):
        report = load_hdf5(net, path)
    elif path.endswith(".safetensors"):
        from .convert.safetensors_file import load_safetensors  # the package is optional

        report = load_safetensors(net, path)
    else:
        source, store = proto_blobs.open_net(path)
        upgrade.upgrade_net(source, file=path)
        report = copy_from_proto(net, source, path, store)
    filled = {id(blob._data) for name in report.copied for blob in net.layer_dict[name].blobs}   # shared ones too
    report.left_at_filler = [name for name, blobs in net.params.items() if id(blobs[0]._data) not in filled]
    for line in str(report).splitlines():
        logger.info(f"{path}: {line}")
    zero = [name for name in report.left_at_filler
            if len(net.params[name][0].shape) > 1 and not net.params[name][0].tensor().any()]   # no biases, statistics
    if net.params and not report.copied:
        logger.warning("%s: nothing was copied: no layer of the net has the name of one in the file (%s, ...)", path,
                       ", ".join(report.dropped[:3]) or "no parameters")
    elif zero and net._wired.param.state.phase == caffe_pb2.TEST:
        logger.warning("%s: these layers got no weights and are all zero, so that nothing passes through them: %s",
                       path, ", ".join(zero))
    return report


def is_hdf5(path: str) -> bool:
    try:
        with open(path, "rb") as f:
            return f.read(8) == b"\x89HDF\r\n\x1a\n"
    except (OSError, ValueError):
        return False   # the reader says it in words


def copy_from_proto(net: Net, source: Any, path: str = "", store: bytes | None = None) -> Copied:
    """Copy parameters from a NetParameter (either schema; `store`: see `proto.blobs.open_net`) by layer name."""
    report = Copied()
    for layer in source.layer:
        if layer.name not in net.layer_dict:
            logger.info(f"Ignoring source layer {layer.name}")
            report.dropped += [layer.name] if layer.blobs else []
            continue
        target = net.layer_dict[layer.name].blobs
        report.coerced += [layer.name] if copy_blobs(target, layer, path, store) else []
        report.copied += [layer.name] if target else []
    return report


def copy_blobs(target: Sequence[Blob], layer: Any, path: str, store: bytes | None = None) -> bool:
    """Copy the `blobs` of a LayerParameter; returns whether one of them had four axes instead of its own."""
    coerced = False
    if len(target) != len(layer.blobs):
        raise WeightsError("the file has another number of parameters", file=path, layer=layer.name,
                           found=len(layer.blobs), expected=len(target),
                           help="these are weights of another net; rename the layer to learn it from scratch")
    for j, (blob, saved) in enumerate(zip(target, layer.blobs, strict=True)):
        try:
            value = proto_blobs.blob_array(saved, store=store)
        except WeightsError as problem:
            problem.file, problem.layer = path or None, layer.name
            raise
        if not same_shape(blob.shape, value.shape):
            raise WeightsError(f"parameter {j} has another shape", file=path, layer=layer.name,
                               found=tuple(value.shape), expected=blob.shape,
                               help="to learn this layer from scratch rename it; to reshape fully connected "
                                    "weights into convolutions use surgery.transplant")
        _put(blob, value)
        coerced |= value.shape != blob.shape
    return coerced


def same_shape(target: tuple[int, ...], saved: tuple[int, ...]) -> bool:
    """Whether a file's array fits: those from before N-d blobs have exactly four axes, leading ones do not count."""
    def strip(shape: tuple[int, ...]) -> tuple[int, ...]:
        while len(shape) > 0 and shape[0] == 1:
            shape = shape[1:]
        return shape
    return target == saved or (len(saved) == 4 and len(target) <= 4 and strip(target) == strip(saved))


def _put(blob: Blob, value: np.ndarray) -> None:
    # in place into the blob's own memory: sharing nets and optimisers keep seeing it
    target = blob.tensor(write=True)
    if target.device.type == "cpu":
        np.copyto(target.numpy(), value.reshape(blob.shape))
    else:   # torch warns of arrays that it could write to and must not
        target.copy_(torch.from_numpy(np.array(value, np.float32).reshape(blob.shape)))


def save(net: Net, path: str | os.PathLike[str], write_diff: bool = False) -> None:
    """Write a .caffemodel, whole or not at all, from the parameters' own memory."""
    pieces: list[wire.Piece] = [proto_blobs.NetParameter(name=net.name).SerializeToString()]
    for layer in net.layers:
        param = caffe_pb2.LayerParameter()
        param.CopyFrom(layer.layer_param)
        del param.blobs[:]
        content: list[wire.Piece] = [param.SerializeToString()]
        for blob in layer.blobs:
            diff = blob.diff_tensor().cpu().numpy() if write_diff else None
            content += wire.field(7, wire.blob(blob.tensor().cpu().numpy(), diff))
        pieces += wire.field(100, content)
    proto_blobs.write_pieces(pieces, path)


def save_hdf5(net: Net, path: str | os.PathLike[str], write_diff: bool = False) -> None:
    """Write a .caffemodel.h5: /data/<layer>/<i>, shared parameters once (and /diff likewise)."""
    buffer = io.BytesIO()
    with package("h5py", WeightsError, file=path).File(buffer, "w") as f:
        data = f.create_group("data")
        diff = f.create_group("diff") if write_diff else None
        for i, layer in enumerate(net.layers):
            group = data.create_group(layer.name)
            diff_group = diff.create_group(layer.name) if diff is not None else None
            for j, blob in enumerate(layer.blobs):
                if not net.is_shared(i, j):
                    group[str(j)] = blob.tensor().cpu().numpy()
                if diff_group is not None:
                    diff_group[str(j)] = blob.diff_tensor().cpu().numpy()
    atomic_write(path, buffer.getvalue(), error=WeightsError)


def load_hdf5(net: Net, path: str | os.PathLike[str]) -> Copied:
    """Copy parameters by layer name from a .caffemodel.h5."""
    report = Copied()
    with hdf5_reader.reading(path, WeightsError) as f:
        if "data" not in f:
            raise WeightsError("holds no weights", file=os.fspath(path), found=sorted(f), expected="a group 'data'",
                               help="pass a .caffemodel.h5, not a .solverstate.h5")
        index = {name: i for i, name in enumerate(net._layer_names)}
        for name, group in f["data"].items():
            if name not in index:
                logger.info(f"Ignoring source layer {name}")
                report.dropped += [name] if len(group) else []
                continue
            target = net.layers[index[name]].blobs
            missing = [j for j in range(len(target)) if str(j) not in group and not net.is_shared(index[name], j)]
            if len(group) > len(target) or missing:
                raise WeightsError("the file has another number of parameters", file=os.fspath(path), layer=name,
                                   found=len(group), expected=len(target), help="these are weights of another net")
            for j, blob in enumerate(target):
                if str(j) in group:
                    shape = getattr(group[str(j)], "shape", None)
                    if shape != blob.shape:
                        raise WeightsError(f"parameter {j} has another shape", file=os.fspath(path), layer=name,
                                           found=shape, expected=blob.shape,
                                           help="these are weights of another net")
                    _put(blob, hdf5_reader.array(group, str(j), WeightsError, blob.shape))
            report.copied += [name] if target else []
    return report


def share_with(net: Net, other: Net) -> None:
    """Make equally named layers use the other net's parameter memory (as test nets do)."""
    for layer in other.layers:
        if layer.name not in net.layer_dict:
            continue
        target = net.layer_dict[layer.name].blobs
        if len(target) != len(layer.blobs):
            raise WeightsError("the other net's layer has another number of parameters", layer=layer.name,
                               found=len(layer.blobs), expected=len(target))
        for j, (mine, theirs) in enumerate(zip(target, layer.blobs, strict=True)):
            if mine.shape != theirs.shape:
                raise WeightsError(f"parameter {j} has another shape and cannot be shared", layer=layer.name,
                                   found=theirs.shape, expected=mine.shape,
                                   help="make both nets' layers agree, or rename one")
            mine.share_data(theirs)
