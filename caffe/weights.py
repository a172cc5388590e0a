"""A net's parameters in files: caffemodel and HDF5, in and out, and copied or shared by layer name."""
from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from .data import hdf5_reader
from .errors import WeightsError
from .files import atomic_write
from .proto import blobs as proto_blobs
from .proto import upgrade

if TYPE_CHECKING:
    from .blob import Blob
    from .net import Net


def copy_from(net: Net, path: str | os.PathLike[str]) -> None:
    """Copy parameters of equally named layers from a .caffemodel or HDF5 file.

    Layers that the net lacks are ignored, as in Caffe. Raises WeightsError when a layer has another number of
    parameters or another shape, or when the file is not what it should be.
    """
    path = os.fspath(path)
    if _is_hdf5(path):
        load_hdf5(net, path)
    else:
        source = proto_blobs.read_net(path)
        upgrade.upgrade_net(source, file=path)
        copy_from_proto(net, source, path)


def _is_hdf5(path: str) -> bool:
    try:
        with open(path, "rb") as f:
            return f.read(8) == b"\x89HDF\r\n\x1a\n"
    except (OSError, ValueError):
        return False   # the reader says it in words


def copy_from_proto(net: Net, source: Any, path: str = "") -> None:
    """Copy parameters from a NetParameter (either schema) by layer name."""
    for layer in source.layer:
        if layer.name not in net.layer_dict:
            net.log(f"Ignoring source layer {layer.name}")
            continue
        target = net.layer_dict[layer.name].blobs
        if len(target) != len(layer.blobs):
            raise WeightsError("the file has another number of parameters", file=path, layer=layer.name,
                               found=len(layer.blobs), expected=len(target),
                               help="these are weights of another net; rename the layer to learn it from scratch")
        for j, (blob, saved) in enumerate(zip(target, layer.blobs, strict=True)):
            value = proto_blobs.blob_array(saved)
            if not _same_shape(blob.shape, value.shape):
                raise WeightsError(f"parameter {j} has another shape", file=path, layer=layer.name,
                                   found=tuple(value.shape), expected=blob.shape,
                                   help="to learn this layer from scratch rename it; to reshape fully connected "
                                        "weights into convolutions use surgery.transplant")
            _put(blob, value)


def _same_shape(target: tuple[int, ...], saved: tuple[int, ...]) -> bool:
    # files from before N-d blobs have exactly four axes: leading ones do not count
    def strip(shape: tuple[int, ...]) -> tuple[int, ...]:
        while len(shape) > 0 and shape[0] == 1:
            shape = shape[1:]
        return shape
    return target == saved or (len(saved) == 4 and len(target) <= 4 and strip(target) == strip(saved))


def _put(blob: Blob, value: np.ndarray) -> None:
    # in place into the blob's own memory: sharing nets and optimisers keep seeing it
    array = np.ascontiguousarray(value, dtype=np.float32)
    blob.tensor(write=True).copy_(torch.from_numpy(array if array.flags.writeable else array.copy())
                                  .view(blob.shape))


def to_proto(net: Net, write_diff: bool = False) -> Any:
    """The net as a NetParameter with its parameters in it: what `save` writes (`proto.blobs`' raw schema)."""
    out = proto_blobs.NetParameter(name=net.name)
    for layer in net.layers:
        saved = out.layer.add()
        saved.MergeFromString(layer.layer_param.SerializeToString())
        del saved.blobs[:]
        for blob in layer.blobs:
            diff = blob.diff_tensor().cpu().numpy() if write_diff else None
            saved.blobs.append(proto_blobs.array_blob(blob.tensor().cpu().numpy(), diff))
    return out


def save(net: Net, path: str | os.PathLike[str], write_diff: bool = False) -> None:
    """Write a .caffemodel, whole or not at all."""
    proto_blobs.write_net(to_proto(net, write_diff), path)


def _h5py() -> Any:
    try:
        import h5py
    except ImportError as e:
        raise WeightsError("HDF5 files need the package h5py", help="pip install 'caffe-lungo[hdf5]'") from e
    return h5py


def save_hdf5(net: Net, path: str | os.PathLike[str], write_diff: bool = False) -> None:
    """Write a .caffemodel.h5: /data/<layer>/<i>, shared parameters once (and /diff likewise)."""
    h5py = _h5py()
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as f:
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
    atomic_write(path, buffer.getvalue())


def load_hdf5(net: Net, path: str | os.PathLike[str]) -> None:
    """Copy parameters by layer name from a .caffemodel.h5."""
    _h5py()
    with hdf5_reader.reading(path, WeightsError) as f:
        if "data" not in f:
            raise WeightsError("holds no weights", file=os.fspath(path), found=sorted(f), expected="a group 'data'",
                               help="pass a .caffemodel.h5, not a .solverstate.h5")
        index = {name: i for i, name in enumerate(net._layer_names)}
        for name, group in f["data"].items():
            if name not in index:
                net.log(f"Ignoring source layer {name}")
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
