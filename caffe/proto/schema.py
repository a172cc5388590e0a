"""Builds protobuf message classes from `caffe.proto` at import, in descriptor pools of our own.

No generated code: nothing here depends on the release of protoc or on the protobuf runtime (4.25 and later,
C or Python), and a second module that registers Caffe's schema in protobuf's default pool (OpenCV, another
`caffe_pb2`) can be loaded beside this one.

Two schemas of the same wire format are offered:

* `MESSAGES`, the ordinary one, what `caffe_pb2` exposes;
* `raw_messages()`, in which the packed arrays of `BlobProto` are `repeated bytes`, each element holding packed
  little-endian numbers.  A packed field and a bytes field have one wire form, so a caffemodel is read and
  written with no work per number.  `blobs.py` turns them into arrays.
"""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

PROTO_FILE = Path(__file__).with_name("caffe.proto")

# Not "caffe.proto": a name of our own cannot be mistaken for the file another package registers.
_FILE_NAME = "caffe/proto/caffe.proto"

_Field: Any = descriptor_pb2.FieldDescriptorProto
_ITEM = re.compile(r"""
    //[^\n]* | \s+ | syntax\ =\ "(?P<syntax>\w+)"; | package\ (?P<package>\w+);
    | (?P<kind>message|enum)\ (?P<name>\w+)\ \{ | (?P<end>\})
    | (?P<label>optional|required|repeated)\ (?P<type>[\w.]+)\ (?P<field>\w+)\ =\ (?P<number>\d+)
      (?:\ \[(?P<option>default|packed)\ =\ "?(?P<value>[^]"]*)"?\])?;
    | (?P<value_name>\w+)\ =\ (?P<value_number>-?\d+);
""", re.VERBOSE)

RAW_FIELDS = ("data", "diff", "double_data", "double_diff", "raw_data", "raw_diff")
"""Fields of `BlobProto` that are bytes in `raw_messages()`."""


def _parse(text: str) -> descriptor_pb2.FileDescriptorProto:
    """The descriptor of text in the subset of proto2 that `caffe.proto` is written in."""
    file = descriptor_pb2.FileDescriptorProto(name=_FILE_NAME)
    opened: list[Any] = [file]   # the file, and the message and enum that an item is in
    position = 0
    while position < len(text):
        item = _ITEM.match(text, position)
        if item is None:
            raise SyntaxError(f"{PROTO_FILE}: cannot read {text[position:position + 20]!r}")
        position, inside = item.end(), opened[-1]
        if item["syntax"]:
            file.syntax = item["syntax"]
        elif item["package"]:
            file.package = item["package"]
        elif item["kind"]:
            opened.append((inside.enum_type if item["kind"] == "enum" else file.message_type).add(name=item["name"]))
        elif item["end"]:
            opened.pop()
        elif item["field"]:
            field = inside.field.add(name=item["field"], number=int(item["number"]),
                                     label=_Field.Label.Value(f"LABEL_{item['label'].upper()}"))
            if (scalar := f"TYPE_{item['type'].upper()}") in _Field.Type.keys():
                field.type = _Field.Type.Value(scalar)
            else:
                field.type_name = item["type"]   # the pool finds out whether a message or an enum has this name
            if item["option"] == "default":
                field.default_value = item["value"]
            elif item["option"]:
                field.options.packed = item["value"] == "true"
        elif item["value_name"]:
            inside.value.add(name=item["value_name"], number=int(item["value_number"]))
    return file


def _classes(file: descriptor_pb2.FileDescriptorProto) -> tuple[Any, dict[str, Any]]:
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    descriptor = pool.FindFileByName(file.name)
    return descriptor, {name: message_factory.GetMessageClass(message)
                        for name, message in descriptor.message_types_by_name.items()}


@functools.cache
def raw_messages() -> dict[str, Any]:
    """Message classes by name, with the arrays of `BlobProto` as bytes.  Built on first use."""
    file = _parse(PROTO_FILE.read_text(encoding="utf-8"))
    blob = next(message for message in file.message_type if message.name == "BlobProto")
    for field in blob.field:
        if field.name in RAW_FIELDS:
            field.type = _Field.TYPE_BYTES
            field.ClearField("options")
    return _classes(file)[1]


DESCRIPTOR, MESSAGES = _classes(_parse(PROTO_FILE.read_text(encoding="utf-8")))
