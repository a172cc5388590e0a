"""Arrays in Caffe's binary files: caffemodels, solver states and mean images, without work per number.

Messages here are of the raw schema (`schema.raw_messages`): `BlobProto.data` is bytes.  They have the wire
form of `caffe_pb2`'s messages and the same fields, but the two families cannot be copied into one another
except through `SerializeToString` / `ParseFromString`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError, EncodeError, Message
from google.protobuf.unknown_fields import UnknownFieldSet

from ..errors import CaffeError, WeightsError
from ..files import atomic_write, describe_file
from . import caffe_pb2, schema, wire

_RAW = schema.raw_messages()
NetParameter = _RAW["NetParameter"]
LayerParameter = _RAW["LayerParameter"]
BlobProto = _RAW["BlobProto"]
SolverState = _RAW["SolverState"]

_PROTO_LIMIT = 2**31 - 1  # protobuf's own limit on one message
_FETCH_AGAIN = "download or copy the file again and compare its size or checksum"
_ADVICE = {   # what a file looks like -> what to do
    "HTML": "the download saved a web page: download the file itself again and compare its size",
    "LFS": "run `git lfs pull` in the repository it came from",
    "text file": "weights come from a .caffemodel; the prototxt is the other argument",
    "HDF5": "load HDF5 weights by a file name that ends in .h5",
    "solver state": "resume from it as a snapshot, or give the .caffemodel beside it as weights",
}
_MAX_AXES = 32  # Caffe's own limit
_NO_MESSAGE = (DecodeError, UnicodeDecodeError, RecursionError)  # the last two from protobuf's Python runtime
_RAW_TYPES = {caffe_pb2.DOUBLE: "<f8", caffe_pb2.FLOAT: "<f4", caffe_pb2.FLOAT16: "<f2"}
_LEGACY_DIMS = ("num", "channels", "height", "width")


def read_net(path: str | os.PathLike[str]) -> Any:
    """The net in a caffemodel, as stored (not upgraded): a raw `NetParameter`.

    Raises `WeightsError` naming the file, what it looks like and what to do: not there, an HTML page, a Git
    LFS pointer, HDF5, a prototxt, a solver state, cut short, or without layers.
    """
    return _net(path, _read_bytes(path))


def open_net(path: str | os.PathLike[str]) -> tuple[Any, bytes | None]:
    """`read_net` without a copy of the arrays: the net, and what `blob_array` takes as `store` for its blobs."""
    data = _read_bytes(path)
    if (light := wire.outline(data, "NetParameter")) is not None:
        try:
            return _net(path, light), data
        except WeightsError:   # which describes the outline, not the file
            pass
    return _net(path, data), None


def _net(path: str | os.PathLike[str], data: bytes) -> Any:
    net = _parse(path, data, "NetParameter")
    if not net.layer and not net.layers:
        raise _not_weights(path, data, "holds no layers")
    # protobuf's C runtime hands a string that is not UTF-8 over as bytes; its Python one refuses to parse it.
    if any(isinstance(layer.name, bytes) for layer in (*net.layer, *net.layers)):
        raise _not_weights(path, data, "has a layer name that is not text")
    return net


def read_solver_state(path: str | os.PathLike[str]) -> Any:
    """The raw `SolverState` in a .solverstate file.  Raises `WeightsError` as `read_net` does."""
    data = _read_bytes(path)
    state = _parse(path, data, "SolverState")
    if not state.HasField("iter"):
        raise WeightsError("holds no solver state", file=path, found=_looks_like(data),
                           help="a snapshot is two files: give the .solverstate one, not the .caffemodel")
    return state


def read_blob(path: str | os.PathLike[str]) -> np.ndarray:
    """The float32 array in a .binaryproto (a mean image: 1 x channels x height x width).

    Raises `WeightsError` when the file is not one.
    """
    blob = _parse(path, _read_bytes(path), "BlobProto")
    try:
        return blob_array(blob)
    except WeightsError as problem:
        raise WeightsError(problem.message, file=path, found=problem.found, expected=problem.expected,
                           help="give a .binaryproto as compute_image_mean writes it") from problem


def blob_array(blob: Any, diff: bool = False, store: bytes | None = None) -> np.ndarray:
    """The values of a `BlobProto` of either schema as a float32 array in the blob's shape.

    `store` is what `open_net` gave with the blob's net.
    The array is read-only when it shares the message's bytes: copy it to change it.  The shape comes from the
    four legacy fields when one of them is set (as in Caffe), else from `shape`; doubles are converted, and
    NVCaffe's raw_data of any precision.
    Raises `WeightsError` when the number of values does not fit the shape.
    """
    shape = blob_shape(blob)
    kind = "diff" if diff else "data"
    doubles, floats = getattr(blob, f"double_{kind}"), getattr(blob, kind)
    source, dtype = (doubles, "<f8") if len(doubles) else (floats, "<f4")
    if not len(source) and blob.HasField(f"raw_{kind}"):   # NVCaffe's
        number = getattr(blob, f"raw_{kind}_type") if blob.HasField(f"raw_{kind}_type") else None
        if number not in _RAW_TYPES:
            raise WeightsError(f"raw_{kind} of a blob has no type that blobs have", found=f"raw_{kind}_type {number}",
                               expected="DOUBLE (0), FLOAT (1) or FLOAT16 (2)", help=_FETCH_AGAIN)
        source, dtype = [getattr(blob, f"raw_{kind}")], _RAW_TYPES[number]
    if len(source) and isinstance(source[0], bytes):
        joined: bytes | memoryview = source[0] if len(source) == 1 else b"".join(source)
        if store is not None:
            joined = wire.follow(bytes(joined), store)
        if len(joined) % np.dtype(dtype).itemsize:
            raise WeightsError(f"{kind} of a blob is garbled", found=f"{len(joined)} bytes")
        values = np.frombuffer(joined, dtype)
    else:
        values = np.array(source, dtype)
    if len(shape) > _MAX_AXES or any(not 0 <= size <= _PROTO_LIMIT for size in shape):
        raise WeightsError(
            "a blob has a shape that no blob can have", found=f"{len(shape)} axes, beginning with {shape[:4]}",
            expected=f"at most {_MAX_AXES} axes, none negative, none above {_PROTO_LIMIT}", help=_FETCH_AGAIN,
        )
    if values.size != prod(shape):
        raise WeightsError(f"a blob's {kind} does not fit its shape", found=f"{values.size} values",
                           expected=f"{prod(shape)} for shape {shape}")
    return values.astype(np.float32, copy=False).reshape(shape)


def blob_shape(blob: Any) -> tuple[int, ...]:
    """The shape of a `BlobProto`: four axes when a legacy field is set, else its `shape` (() when absent)."""
    if any(blob.HasField(name) for name in _LEGACY_DIMS):
        return tuple(getattr(blob, name) for name in _LEGACY_DIMS)
    return tuple(blob.shape.dim)


def array_blob(array: np.ndarray, diff: np.ndarray | None = None, fast: bool = True) -> Any:
    """A `BlobProto` of the array's shape and values (as float32), and optionally its gradient.

    `fast` chooses the raw schema (to be put into raw messages), otherwise `caffe_pb2`'s.
    """
    raw = BlobProto()
    raw.shape.dim.extend(array.shape)
    raw.data.append(np.ascontiguousarray(array, "<f4").tobytes())
    if diff is not None:
        raw.diff.append(np.ascontiguousarray(diff, "<f4").tobytes())
    return raw if fast else caffe_pb2.BlobProto.FromString(raw.SerializeToString())


def write_message(message: Message, path: str | os.PathLike[str]) -> None:
    """Write any message in binary form, whole or not at all.  Raises `WeightsError` when that is impossible."""
    try:
        data = message.SerializeToString()
    except (EncodeError, ValueError) as problem:
        raise WeightsError(f"cannot encode: {problem}", file=path,
                           help="a protobuf file holds at most 2 GiB: save larger nets as HDF5") from problem
    atomic_write(path, data, error=WeightsError)


def write_pieces(
    pieces: Sequence[Any], path: str | os.PathLike[str], *, error: type[CaffeError] = WeightsError
) -> None:
    """Write the pieces of a message (`proto.wire`), whole or not at all.  Raises `error` when that is impossible."""
    if (size := sum(map(len, pieces))) > _PROTO_LIMIT:
        raise error("cannot encode: larger than protobuf's limit of 2 GiB", file=path, found=f"{size} bytes",
                    help="save larger nets as HDF5 (in a solver prototxt: snapshot_format: HDF5)")
    atomic_write(path, lambda file: file.writelines(pieces), error=error)


@contextmanager
def reading(path: str | os.PathLike[str], error: type[CaffeError]) -> Iterator[None]:
    """Failures of the file system in the body become `error`."""
    try:
        yield
    except OSError as problem:
        absent = isinstance(problem, FileNotFoundError)
        raise error("is not there" if absent else f"cannot be read: {problem.strerror}", file=path,
                    help=f"check the path; relative paths start at the working folder {os.getcwd()}") from problem
    except ValueError as problem:  # a null character
        raise error("this is no path", file=repr(str(path)), help="correct it") from problem


def _read_bytes(path: str | os.PathLike[str]) -> bytes:
    with reading(path, WeightsError):
        data = Path(path).read_bytes()
    if _kind(data) is not None:
        raise _not_weights(path, data, "is not a Caffe binary file")
    if len(data) > _PROTO_LIMIT:
        raise _not_weights(path, data, "is larger than protobuf's limit of 2 GiB")
    return data


def _parse(path: str | os.PathLike[str], data: bytes, name: str) -> Any:
    message = _RAW[name]()
    try:
        message.ParseFromString(data)
    except _NO_MESSAGE as problem:
        if reason := _truncation(data):
            raise WeightsError(reason, file=path, found=f"{len(data)} bytes", help=_FETCH_AGAIN) from problem
        raise _not_weights(path, data, "is damaged, or not a Caffe file") from problem
    if any(_has_unpacked_array(blob) for blob in _blobs(message)):
        # Numbers written one by one, which protobuf allows: the ordinary schema reads them and writes them
        # packed.
        message = _RAW[name].FromString(schema.MESSAGES[name].FromString(data).SerializeToString())
    return message


def _blobs(message: Any) -> Iterator[Any]:
    kind = message.DESCRIPTOR.name
    if kind == "BlobProto":
        yield message
    elif kind == "SolverState":
        yield from message.history
    else:
        for layer in (*message.layer, *message.layers, *(old.layer for old in message.layers)):
            yield from layer.blobs


def _has_unpacked_array(blob: Any) -> bool:
    return any(field.field_number in wire.ARRAYS for field in UnknownFieldSet(blob))


def _truncation(data: bytes) -> str | None:
    """If the top-level fields are sound but the last one runs past the end: how far; else None."""
    count = end = 0
    try:
        for *_, stop in wire.fields(data, 0, len(data)):
            count, end = count + 1, stop
    except wire.Unusual:
        return None
    return f"is cut short, it should have at least {end} bytes" if count > 1 and end > len(data) else None


def _is_text(head: bytes) -> bool:
    try:
        text = head.decode("utf-8", errors="strict" if len(head) < 4096 else "ignore")
    except UnicodeDecodeError:
        return False
    return all(character.isprintable() or character in "\t\r\n" for character in text)


def _kind(data: bytes) -> str | None:
    """What a file looks like that is no message; None for one that may be."""
    return describe_file(data[:512]) or ("a text file (a prototxt?)" if _is_text(data[:4096]) else None)


def _looks_like(data: bytes) -> str:
    looks = _kind(data)
    for name, field, kind in (("SolverState", "learned_net", "a solver state"),
                              ("NetParameter", "layer", "a caffemodel")):
        if looks is None:
            with suppress(*_NO_MESSAGE):
                looks = kind if getattr(_RAW[name].FromString(data), field) else None
    return f"{len(data)} bytes that look like {looks or 'unknown binary data'}"


def _not_weights(path: str | os.PathLike[str], data: bytes, reason: str) -> WeightsError:
    looks = _looks_like(data)
    help = next((advice for kind, advice in _ADVICE.items() if kind in looks), _FETCH_AGAIN)
    return WeightsError(reason, file=path, found=looks, help=help)
