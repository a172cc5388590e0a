"""Protobuf's wire form by hand, so that large arrays go between a file and a net without a copy of them all.

Writing: the pieces of a message, arrays among them as they are. Reading: the message with 16 bytes in the place of each
array, which say where in the file it lies.
"""
from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from . import schema

Piece = bytes | np.ndarray
_RAW = schema.raw_messages()
_WAY = ("LayerParameter", "V1LayerParameter", "V0LayerParameter", "BlobProto")   # what holds blobs, and blobs
ARRAYS = {_RAW["BlobProto"].DESCRIPTOR.fields_by_name[name].number for name in schema.RAW_FIELDS}
_MOST_FIELDS = 200_000   # of a file: with more the parser in C is faster than looking here
_HANDLE = struct.Struct("<QQ")


class Unusual(Exception):
    """Damaged, or a form that is legal but that nobody writes: the ordinary reader knows what to do."""


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def field(number: int, pieces: Sequence[Piece]) -> list[Piece]:
    """A field of bytes, text or a message whose content is `pieces`."""
    return [varint(number << 3 | 2) + varint(sum(map(len, pieces))), *pieces]


def blob(array: np.ndarray, diff: np.ndarray | None = None) -> list[Piece]:
    """The content of a `BlobProto` with the array's shape and values (as float32), and optionally its diff."""
    pieces = [piece for number, values in ((5, array), (6, diff)) if values is not None
              for piece in field(number, [np.ascontiguousarray(values, "<f4").reshape(-1).view(np.uint8)])]
    return pieces + field(7, [_RAW["BlobShape"](dim=array.shape).SerializeToString()])


def fields(data: bytes, position: int, end: int) -> Iterator[tuple[int, int, int, int, int]]:
    """Of each field in data[position:end]: number, wire type, where it begins, where its content begins, where it ends.

    One that is cut short ends behind `end`, and is the last. Raises Unusual for what is no field.
    """
    while position < end:
        begun = position
        tag, start = _number(data, begun, end, 35)   # neither a tag nor a length has more than five bytes
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            _, position = _number(data, start, end, 70)
        elif wire == 2:
            length, start = _number(data, start, end, 35)
            position = start + length
        else:
            position = start + (8 if wire == 1 else 4)
        if number == 0 or wire not in (0, 1, 2, 5):
            raise Unusual
        yield number, wire, begun, start, position


def _number(data: bytes, position: int, end: int, bits: int) -> tuple[int, int]:
    """The varint at `position` and where it ends: behind `end` when it is cut short."""
    value = 0
    for shift in range(0, bits, 7):
        if position >= end:
            return value, end + 1
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise Unusual


def outline(data: bytes, name: str) -> bytes | None:
    """The message `name` in `data` with a handle for each array of each blob; None when it is an unusual one."""
    try:
        return bytes(_outline(data, 0, len(data), _RAW[name].DESCRIPTOR, iter(range(_MOST_FIELDS))))
    except Unusual:
        return None


def follow(handle: bytes, data: bytes) -> memoryview:
    """The bytes of the array that `outline(data)` has put `handle` for."""
    start, stop = _HANDLE.unpack(handle)
    return memoryview(data)[start:stop]


def _outline(data: bytes, position: int, end: int, kind: Any, left: Iterator[int]) -> bytearray:
    """data[position:end], a message of `kind`, as `outline` has it; `left` counts the fields that may still come."""
    out = bytearray()
    inside = {f.number: f.message_type for f in kind.fields
              if f.message_type is not None and f.message_type.name in _WAY}
    seen = set()
    for number, wire, begun, start, stop in fields(data, position, end):
        is_array = kind.name == "BlobProto" and number in ARRAYS
        if stop > end or next(left, None) is None or is_array and (wire != 2 or number in seen):
            raise Unusual
        seen.add(number)
        if is_array:
            content: bytes | bytearray = _HANDLE.pack(start, stop)
        elif wire == 2 and number in inside:
            content = _outline(data, start, stop, inside[number], left)
        else:
            out += data[begun:stop]
            continue
        out += varint(number << 3 | 2) + varint(len(content)) + content
    return out
