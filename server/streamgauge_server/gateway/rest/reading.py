"""JSON values into messages, strictly, by readers that are compiled once per message type.

The rules are those of proto3 JSON; what it leaves open is refused: members that are no field, a field given by both of
its names, two members of a oneof. Everything that is wrong is collected, with its path in the names of the proto.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from streamgauge_server.gateway.rest.scalars import Converter, json_converter, text_converter
from streamgauge_server.gateway.rest.violations import Unreadable, Violations, shown
from streamgauge_server.gateway.rest.wellknown import FROM_JSON, MAX_DEPTH, TAKES_NULL, Filler

_Read = Callable[[Any, Any, str, Violations, int], None]
"""Fills a message, or sets a field of one: the message, the JSON value, its path in the request, where violations go,
and how deep it stands."""

_fillers: dict[str, _Read] = {}
_MAX_NAME = 64


def read_message(message: Any, value: Any, path: str, violations: Violations) -> None:
    """Fills a message from a JSON value that stands at `path` of the request; empty is the request itself."""
    _filler_of(message.DESCRIPTOR)(message, value, path, violations, 0)


def read_field(message: Any, field: FieldDescriptor, value: Any, violations: Violations) -> None:
    """Sets one field of the request from a JSON value."""
    _set(_Field(field), message, value, field.name, violations, 0)


class _Field:
    """A field with how it is set."""

    def __init__(self, field: FieldDescriptor) -> None:
        self.name = field.name
        self.oneof = field.containing_oneof.name if field.containing_oneof is not None else None
        kind = field.message_type or field.enum_type
        self.takes_null = not field.is_repeated and kind is not None and kind.full_name in TAKES_NULL
        self.assign = _assign(field)


def _filler_of(descriptor: Any) -> _Read:
    fill = _fillers.get(descriptor.full_name)
    if fill is None:
        special = FROM_JSON.get(descriptor.full_name)
        fill = _compile(descriptor) if special is None else _from_json(special)
        _fillers[descriptor.full_name] = fill
    return fill


def _from_json(special: Filler) -> _Read:
    def fill(message: Any, value: Any, path: str, violations: Violations, depth: int) -> None:
        try:
            special(message, value)
        except Unreadable as error:
            violations.add(path, str(error))

    return fill


def _compile(descriptor: Descriptor) -> _Read:
    fields: dict[str, _Field] = {}
    type_name = descriptor.name

    def fill(message: Any, value: Any, path: str, violations: Violations, depth: int) -> None:
        if type(value) is not dict:
            violations.add(path, f"must be an object, is {shown(value)}")
            return
        if depth > MAX_DEPTH:
            violations.add(path, f"is nested deeper than {MAX_DEPTH}")
            return
        prefix = path + "." if path else ""
        given: set[str] = set()
        members: dict[str, str] = {}
        for name, item in value.items():
            field = fields.get(name)
            if field is None:
                violations.add(prefix + name[:_MAX_NAME], f"is no field of {type_name}")
            elif field.name in given:
                violations.add(prefix + field.name, "is given twice, by both of its names")
            elif item is None and not field.takes_null:
                given.add(field.name)
            elif field.oneof is not None and members.setdefault(field.oneof, field.name) != field.name:
                violations.add(prefix + field.name, f"is given together with {members[field.oneof]}; give one of them")
            else:
                given.add(field.name)
                _set(field, message, item, prefix + field.name, violations, depth)

    # Known before its fields are compiled: a message may hold messages of its own type.
    _fillers[descriptor.full_name] = fill
    for field in descriptor.fields:
        fields[field.name] = fields[field.json_name] = _Field(field)
    return fill


def _set(field: _Field, message: Any, value: Any, path: str, violations: Violations, depth: int) -> None:
    try:
        field.assign(message, value, path, violations, depth)
    except Unreadable as error:
        violations.add(path, str(error))


def _assign(field: FieldDescriptor) -> _Read:
    if field.message_type is None:
        convert = json_converter(field)
        return _assign_elements(field.name, convert) if field.is_repeated else _assign_scalar(field.name, convert)
    if field.message_type.GetOptions().map_entry:
        return _assign_map(field.name, field.message_type)
    fill = _filler_of(field.message_type)
    return _assign_messages(field.name, fill) if field.is_repeated else _assign_message(field.name, fill)


def _assign_scalar(name: str, convert: Converter) -> _Read:
    def assign(message: Any, value: Any, path: str, violations: Violations, depth: int) -> None:
        setattr(message, name, convert(value))

    return assign


def _assign_message(name: str, fill: _Read) -> _Read:
    def assign(message: Any, value: Any, path: str, violations: Violations, depth: int) -> None:
        inner = getattr(message, name)
        inner.SetInParent()
        fill(inner, value, path, violations, depth + 1)

    return assign


def _assign_elements(name: str, convert: Converter) -> _Read:
    def assign(message: Any, value: Any, path: str, violations: Violations, depth: int) -> None:
        elements = getattr(message, name)
        for position, item in enumerate(_array(value)):
            try:
                elements.append(convert(item))
            except Unreadable as error:
                violations.add(f"{path}[{position}]", str(error))

    return assign


def _assign_messages(name: str, fill: _Read) -> _Read:
    def assign(message: Any, value: Any, path: str, violations: Violations, depth: int) -> None:
        elements = getattr(message, name)
        for position, item in enumerate(_array(value)):
            fill(elements.add(), item, f"{path}[{position}]", violations, depth + 1)

    return assign


def _assign_map(name: str, entry: Descriptor) -> _Read:
    key_field, value_field = entry.fields_by_name["key"], entry.fields_by_name["value"]
    read_key = text_converter(key_field)
    fill = _filler_of(value_field.message_type) if value_field.message_type is not None else None
    convert = json_converter(value_field) if fill is None else None

    def assign(message: Any, value: Any, path: str, violations: Violations, depth: int) -> None:
        if type(value) is not dict:
            raise Unreadable(f"must be an object, is {shown(value)}")
        entries = getattr(message, name)
        for text, item in value.items():
            at = f'{path}["{text}"]'
            try:
                key = read_key(text)
                if convert is not None:
                    entries[key] = convert(item)
            except Unreadable as error:
                violations.add(at, str(error))
            else:
                if fill is not None:
                    fill(entries[key], item, at, violations, depth + 1)

    return assign


def _array(value: Any) -> list[Any]:
    if type(value) is not list:
        raise Unreadable(f"must be an array, is {shown(value)}")
    return value
