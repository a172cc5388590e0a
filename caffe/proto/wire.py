"""Protobuf's wire form by hand, so that large arrays go between a file and a net without a copy of them all.

Writing: the pieces of a message, arrays among them as they are. Reading: the message with 16 bytes in the place of each
array, which say where in the file it lies.
"""
from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np

from . import schema

Piece = bytes | np.ndarray
_RAW = schema.raw_messages()
_WAY = ("LayerParameter", "V1LayerParameter", "V0LayerParameter", "BlobProto")   # what holds blobs, and blobs
_ARRAYS = {_RAW["BlobProto"].DESCRIPTOR.fields_by_name[name].number for name in schema.RAW_FIELDS}
_MOST_FIELDS = 200_000   # of a file: with more the parser in C is faster than looking here
_HANDLE = struct.Struct("<QQ")


class _Unusual(Exception):
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


def outline(data: bytes, name: str) -> bytes | None:
    """The message `name` in `data` with a handle for each array of each blob; None when it is an unusual one."""
    try:
        return bytes(_Outline(data).message(0, len(data), _RAW[name].DESCRIPTOR))
    except _Unusual:
        return None


def follow(handle: bytes, data: bytes) -> memoryview:
    """The bytes of the array that `outline(data)` has put `handle` for."""
    start, stop = _HANDLE.unpack(handle)
    return memoryview(data)[start:stop]


class _Outline:
    def __init__(self, data: bytes) -> None:
        self.data, self.fields = data, 0

    def message(self, position: int, end: int, kind: Any) -> bytearray:
        out = bytearray()
        inside = {f.number: f.message_type for f in kind.fields
                  if f.message_type is not None and f.message_type.name in _WAY}
        seen = set()
        while position < end:
            self.fields += 1
            begun = position
            tag, position = self._number(position, end)
            number, wire = tag >> 3, tag & 7
            is_array = kind.name == "BlobProto" and number in _ARRAYS
            if wire == 2:
                length, start = self._number(position, end)
                position = start + length
            elif wire == 0:
                _, position = self._number(position, end)
            else:
                position += {1: 8, 5: 4}.get(wire, end + 1)
            if position > end or self.fields > _MOST_FIELDS or is_array and (wire != 2 or number in seen):
                raise _Unusual
            seen.add(number)
            if is_array:
                content: bytes | bytearray = _HANDLE.pack(start, position)
            elif wire == 2 and number in inside:
                content = self.message(start, position, inside[number])
            else:
                out += self.data[begun:position]
                continue
            out += varint(tag) + varint(len(content)) + content
        return out

    def _number(self, position: int, end: int) -> tuple[int, int]:
        value = shift = 0
        while position < end and shift < 35:   # neither a tag nor a length has more; numbers that have are unusual
            byte = self.data[position]
            position += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value, position
            shift += 7
        raise _Unusual
