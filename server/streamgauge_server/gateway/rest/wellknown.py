"""Messages with a JSON form of their own that is a text or any JSON value: times, masks, wrappers, structs."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

from google.protobuf import json_format
from google.protobuf.message import Message

from streamgauge_server.gateway.rest.moments import read_duration, read_timestamp
from streamgauge_server.gateway.rest.printing import WRAPPED
from streamgauge_server.gateway.rest.scalars import json_converter, text_converter
from streamgauge_server.gateway.rest.violations import Unreadable, shown

Filler = Callable[[Any, Any], None]
"""Fills a message from a value; raises Unreadable."""

MAX_DEPTH = 30
"""How deep a JSON value may be nested. A level of a struct is three messages, and protobuf reads at most 100 levels."""
_PATH = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*")
_CAPITAL = re.compile(r"[A-Z]")


def _fill_timestamp(message: Any, value: Any) -> None:
    message.seconds, message.nanos = read_timestamp(_text(value, "a time such as 2026-01-01T12:00:00Z"))
    message.SetInParent()


def _fill_duration(message: Any, value: Any) -> None:
    message.seconds, message.nanos = read_duration(_text(value, "a duration in seconds such as 1.5s"))
    message.SetInParent()


def _fill_mask(message: Any, value: Any) -> None:
    text = _text(value, "the names of fields with commas between them")
    for path in text.split(",") if text else ():
        # `*` is what AIP-134 has for all fields. Paths are camelCase in JSON; those of the proto are as clear.
        if path != "*" and not _PATH.fullmatch(path):
            raise Unreadable(f"must be the names of fields with commas between them, is {shown(text)}")
        message.paths.append(_CAPITAL.sub(lambda found: "_" + found[0].lower(), path))
    message.SetInParent()


def _fill_wrapper(message: Any, value: Any) -> None:
    message.value = json_converter(message.DESCRIPTOR.fields_by_name["value"])(value)
    message.SetInParent()


def _fill_wrapper_from_text(message: Any, text: str) -> None:
    message.value = text_converter(message.DESCRIPTOR.fields_by_name["value"])(text)
    message.SetInParent()


def _fill_any(message: Message, value: Any) -> None:
    try:
        json_format.ParseDict(value, message, max_recursion_depth=MAX_DEPTH)
    except (json_format.ParseError, TypeError) as error:
        raise Unreadable(str(error)) from error


def _fill_struct(message: Any, value: Any, depth: int = 0) -> None:
    if type(value) is not dict:
        raise Unreadable(f"must be an object, is {shown(value)}")
    for key, item in value.items():
        _fill_value(message.fields[_well_formed(key)], item, depth + 1)
    message.SetInParent()


def _fill_list(message: Any, value: Any, depth: int = 0) -> None:
    if type(value) is not list:
        raise Unreadable(f"must be an array, is {shown(value)}")
    for item in value:
        _fill_value(message.values.add(), item, depth + 1)
    message.SetInParent()


def _fill_value(message: Any, value: Any, depth: int = 0) -> None:
    if depth > MAX_DEPTH:
        raise Unreadable(f"is nested deeper than {MAX_DEPTH}")
    if value is None:
        message.null_value = 0
    elif type(value) is bool:
        message.bool_value = value
    elif type(value) is str:
        message.string_value = _well_formed(value)
    elif type(value) is dict:
        message.struct_value.SetInParent()
        _fill_struct(message.struct_value, value, depth)
    elif type(value) is list:
        message.list_value.SetInParent()
        _fill_list(message.list_value, value, depth)
    else:
        message.number_value = _exact_double(value)


def _exact_double(value: float) -> float:
    try:
        number = float(value)
    except OverflowError as error:
        raise Unreadable("has a number that no double can hold") from error
    if math.isinf(number):
        raise Unreadable("has a number that no double can hold")
    return number


def _well_formed(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise Unreadable("has text with half of a surrogate pair") from error
    return text


def _text(value: Any, what: str) -> str:
    if type(value) is not str:
        raise Unreadable(f"must be {what}, is {shown(value)}")
    return value


_WRAPPERS = [f"google.protobuf.{name}Value" for name in WRAPPED]
_TEXTS: dict[str, Filler] = {
    "google.protobuf.Timestamp": _fill_timestamp,
    "google.protobuf.Duration": _fill_duration,
    "google.protobuf.FieldMask": _fill_mask,
}
FROM_TEXT: dict[str, Filler] = {**_TEXTS, **dict.fromkeys(_WRAPPERS, _fill_wrapper_from_text)}
"""How a text of a path or a query fills a message, by its full name; other messages have no form as text."""
FROM_JSON: dict[str, Filler] = {
    **_TEXTS,
    **dict.fromkeys(_WRAPPERS, _fill_wrapper),
    "google.protobuf.Any": _fill_any,
    "google.protobuf.Struct": _fill_struct,
    "google.protobuf.ListValue": _fill_list,
    "google.protobuf.Value": _fill_value,
}
"""How a JSON value fills a message, by its full name; all others are objects with a member for each field."""
TAKES_NULL = frozenset({"google.protobuf.Value", "google.protobuf.NullValue"})
"""Types of which null is a value. Elsewhere a null is as if the field were not there."""
