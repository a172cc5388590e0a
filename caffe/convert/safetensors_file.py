"""A net's parameters as .safetensors, with the prototxt in the file's metadata; out and in."""
from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
from google.protobuf import text_format

from .. import weights
from ..errors import CaffeError, WeightsError
from ..files import atomic_path
from ..proto import caffe_pb2
from .check import first_line, need
from .module import parameter_blobs

if TYPE_CHECKING:
    from ..net import Net


def save_safetensors(net: Net, path: str | os.PathLike[str]) -> int:
    """Write all parameters, named as in `torch_module(net).state_dict()`; returns how many numbers.

    Metadata: `net`, its name, and `prototxt`, its layers as text. The file is read back, and stands only if it holds
    the same bits. Raises CaffeError when it does not, or when the package safetensors is missing.
    """
    numpy = need("safetensors.numpy")
    arrays = {name: blob.tensor().cpu().numpy().copy() for name, blob in parameter_blobs(net).items()}
    with atomic_path(path) as temporary:
        numpy.save_file(arrays, temporary, {"net": net.name, "prototxt": prototxt(net)})
        back = numpy.load_file(temporary)
        wrong = [name for name, array in arrays.items()
                 if name not in back or back[name].shape != array.shape or back[name].tobytes() != array.tobytes()]
        if wrong or len(back) != len(arrays):
            raise CaffeError("the file read back differs from the net, so nothing was written", file=path,
                             found=f"first {wrong[0]}" if wrong else f"{len(back)} tensors",
                             help="check the disk and memory of this machine")
    return sum(array.size for array in arrays.values())


def load_safetensors(net: Net, path: str | os.PathLike[str]) -> weights.Copied:
    """Copy parameters of equal names and shapes from a file of `save_safetensors`; what `net.copy_from` does for one.

    Raises WeightsError when the file is damaged or a shape differs.
    """
    numpy = need("safetensors.numpy")
    try:
        arrays: dict[str, np.ndarray] = numpy.load_file(path)
    except Exception as e:   # the package's own error, or that of a type NumPy lacks
        raise WeightsError("is no safetensors file of numbers", file=path, found=first_line(e),
                           help="pass a file that `caffe export` wrote") from e
    report, copied = weights.Copied(), set()
    for name, blob in parameter_blobs(net).items():
        layer, array = blob.name.rpartition("[")[0], arrays.pop(name, None)
        if array is None:
            continue
        if array.shape != blob.shape:
            raise WeightsError(f"{name} has another shape", file=path, layer=layer, found=array.shape,
                               expected=blob.shape, help="these are weights of another net")
        weights._put(blob, array)
        copied.add(layer)
    report.copied = [name for name in net.params if name in copied]
    report.dropped = list(dict.fromkeys(name.rpartition(".")[0] for name in arrays))
    return report


def prototxt(net: Net) -> str:
    """The layers that the net has (those of its phase), as text, without the Splits that were inserted."""
    param = caffe_pb2.NetParameter(name=net.name)
    source: dict[str, str] = {}
    for layer in net.layers:
        own: Any = layer.layer_param
        if own.type == "Split" and list(own.top) == [f"{own.name}_{i}" for i in range(len(own.top))]:
            source.update(dict.fromkeys(own.top, own.bottom[0]))
            continue
        written = param.layer.add()
        written.MergeFromString(own.SerializeToString())
        written.bottom[:] = [source.get(name, name) for name in own.bottom]
        del written.blobs[:]
    text: str = text_format.MessageToString(param)
    return text
