"""Caffe's protobuf messages and enums, under the module name pycaffe programs import.

Every message of `caffe.proto` is a class here (`NetParameter`, `LayerParameter`, ...) with its enums inside
(`PoolingParameter.MAX`, `PoolingParameter.PoolMethod`); top-level enum values (`TRAIN`, `TEST`) and enums
(`Phase`, with `Phase.Value("TEST")` and `Phase.Name(1)`) are attributes of the module.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper

from . import schema

if TYPE_CHECKING:

    def __getattr__(name: str) -> Any: ...


DESCRIPTOR = schema.DESCRIPTOR

for _name, _class in schema.MESSAGES.items():
    _class.__module__ = __name__  # so that messages can be pickled and copied by reference to this module
    globals()[_name] = _class

for _name, _enum in DESCRIPTOR.enum_types_by_name.items():
    globals()[_name] = EnumTypeWrapper(_enum)
    for _value in _enum.values:
        globals()[_value.name] = _value.number

__all__ = [
    "DESCRIPTOR",
    *schema.MESSAGES,
    *DESCRIPTOR.enum_types_by_name,
    *(_value.name for _enum in DESCRIPTOR.enum_types_by_name.values() for _value in _enum.values),
]
