"""Builds protobuf message classes from `caffe.proto` at import, in descriptor pools of our own.

No generated code: nothing here depends on the release of protoc or on the protobuf runtime (4.25 and later,
C or Python), and a second module that registers Caffe's schema in protobuf's default pool (OpenCV, another
`caffe_pb2`) can be loaded beside this one.

Two schemas of the same wire format are offered:

* `MESSAGES`, the ordinary one, what `caffe_pb2` exposes;
* `raw_messages()`, in which the packed arrays of `BlobProto` are `repeated bytes`, each element holding
  packed
  little-endian numbers.  A packed field and a bytes field have one wire form, so a caffemodel is read and
  written with no work per number.  `blobs.py` turns them into arrays.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

PROTO_FILE = Path(__file__).with_name("caffe.proto")

# Not "caffe.proto": a name of our own cannot be mistaken for the file another package registers.
_FILE_NAME = "caffe/proto/caffe.proto"

_Field = descriptor_pb2.FieldDescriptorProto
_LABELS = {
    "optional": _Field.LABEL_OPTIONAL,
    "required": _Field.LABEL_REQUIRED,
    "repeated": _Field.LABEL_REPEATED,
}
_SCALARS = {
    "bool": _Field.TYPE_BOOL,
    "bytes": _Field.TYPE_BYTES,
    "double": _Field.TYPE_DOUBLE,
    "float": _Field.TYPE_FLOAT,
    "int32": _Field.TYPE_INT32,
    "int64": _Field.TYPE_INT64,
    "string": _Field.TYPE_STRING,
    "uint32": _Field.TYPE_UINT32,
    "uint64": _Field.TYPE_UINT64,
}
_TOKEN = re.compile(r'//[^\n]*|\s+|(?P<token>"[^"]*"|[\w.+-]+|[{}\[\]=;,])')

RAW_FIELDS = ("data", "diff", "double_data", "double_diff", "raw_data", "raw_diff")
"""Fields of `BlobProto` that are bytes in `raw_messages()`."""


def _tokens(text: str) -> Iterator[str]:
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise SyntaxError(f"{PROTO_FILE}: cannot read {text[position:position + 20]!r}")
        position = match.end()
        if match["token"] is not None:
            yield match["token"]


class _Parser:
    """Recursive descent over the subset of proto2 that `caffe.proto` uses."""

    def __init__(self, text: str) -> None:
        self._tokens = list(_tokens(text))
        self._next = 0

    def _take(self, expected: str | None = None) -> str:
        token = self._tokens[self._next]
        if expected is not None and token != expected:
            raise SyntaxError(f"{PROTO_FILE}: found {token!r}, expected {expected!r}")
        self._next += 1
        return token

    def file(self) -> descriptor_pb2.FileDescriptorProto:
        result = descriptor_pb2.FileDescriptorProto(name=_FILE_NAME)
        while self._next < len(self._tokens):
            keyword = self._take()
            if keyword == "syntax":
                self._take("=")
                result.syntax = self._take().strip('"')
                self._take(";")
            elif keyword == "package":
                result.package = self._take()
                self._take(";")
            elif keyword == "enum":
                self._enum(result.enum_type.add())
            elif keyword == "message":
                self._message(result.message_type.add())
            else:
                raise SyntaxError(f"{PROTO_FILE}: unexpected {keyword!r}")
        return result

    def _enum(self, enum: descriptor_pb2.EnumDescriptorProto) -> None:
        enum.name = self._take()
        self._take("{")
        while (name := self._take()) != "}":
            self._take("=")
            enum.value.add(name=name, number=int(self._take()))
            self._take(";")

    def _message(self, message: descriptor_pb2.DescriptorProto) -> None:
        message.name = self._take()
        self._take("{")
        while (keyword := self._take()) != "}":
            if keyword == "enum":
                self._enum(message.enum_type.add())
            else:
                self._field(keyword, message.field.add())

    def _field(self, label: str, field: Any) -> None:
        field.label = _LABELS[label]
        type_name = self._take()
        field.name = self._take()
        self._take("=")
        field.number = int(self._take())
        if type_name in _SCALARS:
            field.type = _SCALARS[type_name]
        else:
            field.type_name = type_name  # relative: `_resolve` makes it absolute and finds its kind
        if (separator := self._take()) == "[":
            while separator != "]":
                option = self._take()
                self._take("=")
                value = self._take()
                if option == "default":
                    field.default_value = value.strip('"')
                elif option == "packed":
                    field.options.packed = value == "true"
                else:
                    raise SyntaxError(f"{PROTO_FILE}: unexpected option {option!r}")
                separator = self._take()
            self._take(";")


def _resolve(file: descriptor_pb2.FileDescriptorProto) -> None:
    """Give every field of message or enum type its absolute type name and its kind."""
    messages = {message.name for message in file.message_type}
    for message in file.message_type:
        nested = {enum.name for enum in message.enum_type}
        for field in message.field:
            if not field.type_name:
                continue
            is_message = field.type_name in messages
            field.type = _Field.TYPE_MESSAGE if is_message else _Field.TYPE_ENUM
            scope = f".{file.package}.{message.name}" if field.type_name in nested else f".{file.package}"
            field.type_name = f"{scope}.{field.type_name}"


def _with_raw_arrays(file: descriptor_pb2.FileDescriptorProto) -> descriptor_pb2.FileDescriptorProto:
    raw = descriptor_pb2.FileDescriptorProto()
    raw.CopyFrom(file)
    blob = next(message for message in raw.message_type if message.name == "BlobProto")
    for field in blob.field:
        if field.name in RAW_FIELDS:
            field.type = _Field.TYPE_BYTES
            field.ClearField("options")
    return raw


def _classes(file: descriptor_pb2.FileDescriptorProto) -> tuple[Any, dict[str, Any]]:
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    descriptor = pool.FindFileByName(file.name)
    classes = {
        name: message_factory.GetMessageClass(message)
        for name, message in descriptor.message_types_by_name.items()
    }
    return descriptor, classes


def _file() -> descriptor_pb2.FileDescriptorProto:
    file = _Parser(PROTO_FILE.read_text(encoding="utf-8")).file()
    _resolve(file)
    return file


@functools.cache
def raw_messages() -> dict[str, Any]:
    """Message classes by name, with the arrays of `BlobProto` as bytes.  Built on first use."""
    return _classes(_with_raw_arrays(_file()))[1]


DESCRIPTOR, MESSAGES = _classes(_file())
