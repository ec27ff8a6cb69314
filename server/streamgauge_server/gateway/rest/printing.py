"""Messages as proto3 JSON, by printers that are compiled once per message type.

`json_format` asks the descriptor of every field of every message anew: rendering the latest values of a source took
longer than the call that brings them. The result here is the same, which a test holds for every type of the contract;
maps have their keys in order, so that equal answers are equal bytes.
"""

from __future__ import annotations

import base64
import json
import math
import struct
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message

from streamgauge_server.gateway.rest.moments import duration_text, timestamp_text

Printer = Callable[[Any], Any]
"""Value of a field or message in, what `json.dumps` takes out."""

WRAPPED = ("Double", "Float", "Int64", "UInt64", "Int32", "UInt32", "Bool", "String", "Bytes")
"""What `google.protobuf.{}Value` wraps: in JSON these messages are what is in them."""
_INT64 = frozenset(
    {
        FieldDescriptor.TYPE_INT64,
        FieldDescriptor.TYPE_UINT64,
        FieldDescriptor.TYPE_FIXED64,
        FieldDescriptor.TYPE_SFIXED64,
        FieldDescriptor.TYPE_SINT64,
    }
)
_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode
_printers: dict[str, Printer] = {}


def json_bytes(message: Message) -> bytes:
    """Returns a message as JSON."""
    return _encode(json_object(message)).encode()


def json_object(message: Message) -> Any:
    """Returns a message as what `json.dumps` takes: an object, unless the type has a JSON form of its own."""
    return _printer_of(message.DESCRIPTOR)(message)


def _printer_of(descriptor: Any) -> Printer:
    printer = _printers.get(descriptor.full_name)
    if printer is None:
        printer = _printers[descriptor.full_name] = _SPECIAL.get(descriptor.full_name) or _compile(descriptor)
    return printer


def _compile(descriptor: Descriptor) -> Printer:
    fields: dict[FieldDescriptor, tuple[str, Printer]] = {}

    def print_fields(message: Any) -> dict[str, Any]:
        printed = {}
        for field, value in message.ListFields():
            name, printer = fields[field]
            printed[name] = printer(value)
        return printed

    # Known before its fields are compiled: a message may hold messages of its own type.
    _printers[descriptor.full_name] = print_fields
    for field in descriptor.fields:
        fields[field] = (field.json_name, _field_printer(field))
    return print_fields


def _field_printer(field: FieldDescriptor) -> Printer:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        return _map_printer(field.message_type)
    if not field.is_repeated:
        return _value_printer(field)
    if field.type == FieldDescriptor.TYPE_DOUBLE:
        return _doubles
    printer = _value_printer(field)
    return lambda values: [printer(value) for value in values]


def _map_printer(entry: Descriptor) -> Printer:
    print_value = _value_printer(entry.fields_by_name["value"])
    is_bool = entry.fields_by_name["key"].type == FieldDescriptor.TYPE_BOOL

    def print_map(values: Mapping[Any, Any]) -> dict[str, Any]:
        # `items()` of a map field is written in Python.
        return {(str(key).lower() if is_bool else str(key)): print_value(values[key]) for key in sorted(values)}

    return print_map


def _value_printer(field: FieldDescriptor) -> Printer:
    if field.message_type is not None:
        return _printer_of(field.message_type)
    if field.enum_type is not None:
        return _enum_printer(field.enum_type)
    if field.type in _INT64:
        return str
    return _SCALARS.get(field.type, _as_it_is)


def _enum_printer(enum: EnumDescriptor) -> Printer:
    if enum.full_name == "google.protobuf.NullValue":
        return lambda number: None
    names = {number: value.name for number, value in enum.values_by_number.items()}
    return lambda number: names.get(number, number)


def _as_it_is(value: Any) -> Any:
    return value


def _double(value: float) -> float | str:
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _doubles(values: Iterable[float]) -> list[Any]:
    found = list(values)
    # A sum is finite only if all of it is.
    return found if math.isfinite(sum(found)) else [_double(value) for value in found]


def _float(value: float) -> float | str:
    """The shortest number that reads back as the same binary32."""
    if not math.isfinite(value):
        return _double(value)
    candidates = (float(f"{value:.{digits}g}") for digits in (6, 7, 8))
    return next((number for number in candidates if struct.unpack("f", struct.pack("f", number))[0] == value), value)


def _bytes(value: bytes) -> str:
    return base64.b64encode(value).decode()


def _wrapped(message: Any) -> Any:
    return _value_printer(message.DESCRIPTOR.fields_by_name["value"])(message.value)


def _struct(message: Any) -> dict[str, Any]:
    return {key: _json_value(message.fields[key]) for key in sorted(message.fields)}


def _list(message: Any) -> list[Any]:
    return [_json_value(value) for value in message.values]


def _json_value(message: Any) -> Any:
    kind = message.WhichOneof("kind")
    if kind == "struct_value":
        return _struct(message.struct_value)
    if kind == "list_value":
        return _list(message.list_value)
    return None if kind in (None, "null_value") else getattr(message, kind)


def _mask(message: FieldMask) -> str:
    return message.ToJsonString()


_SCALARS: dict[int, Printer] = {
    FieldDescriptor.TYPE_DOUBLE: _double,
    FieldDescriptor.TYPE_FLOAT: _float,
    FieldDescriptor.TYPE_BYTES: _bytes,
}
_SPECIAL: dict[str, Printer] = {
    "google.protobuf.Timestamp": timestamp_text,
    "google.protobuf.Duration": duration_text,
    "google.protobuf.FieldMask": _mask,
    "google.protobuf.Struct": _struct,
    "google.protobuf.ListValue": _list,
    "google.protobuf.Value": _json_value,
    "google.protobuf.Any": json_format.MessageToDict,
    **{f"google.protobuf.{name}Value": _wrapped for name in WRAPPED},
}
"""Types that have a form of their own, by full name."""
