"""Scalars and enums out of JSON values and out of texts of a query, by converters that are made once per field."""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Callable
from typing import Any

from google.protobuf.descriptor import EnumDescriptor, FieldDescriptor

from streamgauge_server.gateway.rest.violations import Unreadable, shown

Converter = Callable[[Any], Any]
"""JSON value in, value of a field out; raises Unreadable."""

_INTEGER = re.compile(r"-?[0-9]{1,20}")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?|NaN|-?Infinity")
_BASE64 = re.compile(r"[A-Za-z0-9+/]*={0,2}")
_EXACT = 2**53
"""Beyond this a number with a point or an exponent may not be the integer that was written."""
_MAX_FLOAT = 3.4028235677973366e38

_SIGNED_32, _SIGNED_64 = (-(2**31), 2**31 - 1), (-(2**63), 2**63 - 1)
_UNSIGNED_32, _UNSIGNED_64 = (0, 2**32 - 1), (0, 2**64 - 1)
_RANGES = {
    FieldDescriptor.TYPE_INT32: _SIGNED_32,
    FieldDescriptor.TYPE_SINT32: _SIGNED_32,
    FieldDescriptor.TYPE_SFIXED32: _SIGNED_32,
    FieldDescriptor.TYPE_INT64: _SIGNED_64,
    FieldDescriptor.TYPE_SINT64: _SIGNED_64,
    FieldDescriptor.TYPE_SFIXED64: _SIGNED_64,
    FieldDescriptor.TYPE_UINT32: _UNSIGNED_32,
    FieldDescriptor.TYPE_FIXED32: _UNSIGNED_32,
    FieldDescriptor.TYPE_UINT64: _UNSIGNED_64,
    FieldDescriptor.TYPE_FIXED64: _UNSIGNED_64,
}


def json_converter(field: FieldDescriptor) -> Converter:
    """Returns how a JSON value becomes a value of a field, or an element of it, that is no message."""
    if field.enum_type is not None:
        return _enum_converter(field.enum_type)
    if field.type in _RANGES:
        return _integer_converter(*_RANGES[field.type])
    return _CONVERTERS[field.type]


def text_converter(field: FieldDescriptor) -> Converter:
    """Returns how a text of a path or a query becomes a value of a field that is no message.

    As in JSON, where numbers may be texts; besides an enum may be a number and a boolean is `true` or `false`.
    """
    if field.type == FieldDescriptor.TYPE_BOOL:
        return _read_bool_text
    convert = json_converter(field)
    if field.enum_type is not None:
        return lambda text: convert(int(text) if _INTEGER.fullmatch(text) else text)
    return convert


def _integer_converter(low: int, high: int) -> Converter:
    def read_integer(value: Any) -> int:
        if type(value) is int:
            number = value
        elif _is_integer(value):
            number = int(value)
        else:
            raise Unreadable(f"must be an integer, is {shown(value)}")
        if not low <= number <= high:
            raise Unreadable(f"must be between {low} and {high}, is {shown(number)}")
        return number

    return read_integer


def _is_integer(value: Any) -> bool:
    if type(value) is float:
        return value.is_integer() and abs(value) <= _EXACT
    return type(value) is str and _INTEGER.fullmatch(value) is not None


def _enum_converter(enum: EnumDescriptor) -> Converter:
    numbers = {name: value.number for name, value in enum.values_by_name.items()}
    read_number = _integer_converter(*_SIGNED_32)

    def read_enum(value: Any) -> int:
        if type(value) is not str:
            return int(read_number(value))
        number = numbers.get(value)
        if number is None:
            raise Unreadable(f"must be one of {', '.join(numbers)}, is {shown(value)}")
        return number

    return read_enum


def _read_double(value: Any) -> float:
    if type(value) is float:
        number = value
    elif type(value) is int:
        number = _float_of(value)
    elif type(value) is str and _NUMBER.fullmatch(value):
        number = float(value)
        if math.isinf(number) and value in ("Infinity", "-Infinity"):
            return number
    else:
        raise Unreadable(f"must be a number, is {shown(value)}")
    if math.isinf(number):
        raise Unreadable("must be a number that a double can hold")
    return number


def _float_of(value: int) -> float:
    try:
        return float(value)
    except OverflowError as error:
        raise Unreadable("must be a number that a double can hold") from error


def _read_float(value: Any) -> float:
    number = _read_double(value)
    if math.isfinite(number) and abs(number) >= _MAX_FLOAT:
        raise Unreadable(f"must be a number that a float can hold, is {shown(number)}")
    return number


def _read_bool(value: Any) -> bool:
    if type(value) is not bool:
        raise Unreadable(f"must be true or false, is {shown(value)}")
    return value


def _read_bool_text(text: str) -> bool:
    if text not in ("true", "false"):
        raise Unreadable(f"must be true or false, is {shown(text)}")
    return text == "true"


def _read_string(value: Any) -> str:
    if type(value) is not str:
        raise Unreadable(f"must be a string, is {shown(value)}")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise Unreadable("must be Unicode text: it has half of a surrogate pair") from error
    return value


def _read_bytes(value: Any) -> bytes:
    if type(value) is not str:
        raise Unreadable(f"must be a string in base64, is {shown(value)}")
    text = value.replace("-", "+").replace("_", "/")
    if not _BASE64.fullmatch(text):
        raise Unreadable(f"must be base64, is {shown(value)}")
    text = text.rstrip("=")
    if len(text) % 4 == 1:
        raise Unreadable(f"must be base64, is {shown(value)}: it has one letter too many")
    return base64.b64decode(text + "=" * (-len(text) % 4))


_CONVERTERS: dict[int, Converter] = {
    FieldDescriptor.TYPE_DOUBLE: _read_double,
    FieldDescriptor.TYPE_FLOAT: _read_float,
    FieldDescriptor.TYPE_BOOL: _read_bool,
    FieldDescriptor.TYPE_STRING: _read_string,
    FieldDescriptor.TYPE_BYTES: _read_bytes,
}
