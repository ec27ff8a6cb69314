"""Texts of a path and of a query into fields of a request."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_to_bytes

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from streamgauge_server.gateway.rest.contract import WHOLE_BODY, Binding
from streamgauge_server.gateway.rest.scalars import Converter, text_converter
from streamgauge_server.gateway.rest.violations import Unreadable, Violations, shown
from streamgauge_server.gateway.rest.wellknown import FROM_JSON, FROM_TEXT

MAX_NAMES = 8
"""How many names a parameter may have, as `a.b` has two."""
_STRAY_PERCENT = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_MAX_NAME = 64


@dataclass(frozen=True, slots=True)
class _Target:
    """The field that a parameter sets: the names on the way to it, and how its text is read, unless it is a message."""

    names: tuple[str, ...]
    field: FieldDescriptor
    convert: Converter

    @property
    def path(self) -> str:
        return ".".join((*self.names, self.field.name))

    def parent_in(self, message: Any) -> Any:
        for name in self.names:
            message = getattr(message, name)
        return message


def target(descriptor: Descriptor, parameter: str) -> _Target:
    """Returns the field that a parameter names, by names of the proto or of JSON.

    Raises:
        Unreadable: there is none, or it cannot be given as text.
    """
    *way, last = parameter.split(".")
    if len(way) >= MAX_NAMES:
        raise Unreadable(f"names a field deeper than {MAX_NAMES}")
    names = []
    for name in way:
        field = _field(descriptor, name)
        if field.message_type is None or field.message_type.full_name in FROM_JSON:
            raise Unreadable(f"is no field: {field.name} has none")
        if field.is_repeated:
            raise Unreadable(f"cannot be given in a query: {field.name} is {_kind(field)}")
        names.append(field.name)
        descriptor = field.message_type
    field = _field(descriptor, last)
    if field.message_type is not None and (_is_map(field) or field.message_type.full_name not in FROM_TEXT):
        hint = "" if _is_map(field) or field.is_repeated else f"; give its fields, as {parameter}.name=value"
        raise Unreadable(f"cannot be given in a query: it is {_kind(field)}{hint}")
    return _Target(tuple(names), field, _no_scalar if field.message_type is not None else text_converter(field))


def _no_scalar(text: str) -> Any:
    raise TypeError("a message is filled, not converted")


def _field(descriptor: Descriptor, name: str) -> FieldDescriptor:
    field = descriptor.fields_by_name.get(name)
    if field is None:
        field = next((field for field in descriptor.fields if field.json_name == name), None)
    if field is None:
        raise Unreadable(f"is no field of {descriptor.name}")
    return field


def _is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and bool(field.message_type.GetOptions().map_entry)


def _kind(field: FieldDescriptor) -> str:
    if _is_map(field):
        return "a map"
    return "a list of messages" if field.is_repeated else "a message"


class Parameters:
    """Sets the fields of a binding's requests that its path and a query give."""

    def __init__(self, binding: Binding) -> None:
        self._descriptor: Descriptor = binding.method.input_type
        self._body = binding.body
        self._targets: dict[str, _Target] = {}
        """Parameters that were seen and are right. Names are the contract's, so there are only so many."""

    def set_path(self, message: Any, variables: Mapping[str, str], violations: Violations) -> None:
        """Sets what the path gives. A body that says something else of the same field is refused."""
        for field, text in variables.items():
            found = self._target(field)
            parent = found.parent_in(message)
            given = getattr(parent, found.field.name)
            try:
                value = found.convert(text)
            except Unreadable as error:
                violations.add(found.path, str(error))
                continue
            if given and given != value:
                violations.add(found.path, f"is {shown(given)} in the body and {shown(value)} in the path")
            setattr(parent, found.field.name, value)

    def set_query(self, message: Any, query: bytes, variables: Mapping[str, str], violations: Violations) -> None:
        """Sets what a raw query string gives. What path or body give is not taken from it."""
        seen: set[str] = set()
        for name, text in _pairs(query, violations):
            try:
                found = self._target(name)
                self._check(found, variables, seen)
                _set_text(found, message, text)
            except Unreadable as error:
                violations.add(name[:_MAX_NAME], str(error))

    def _target(self, name: str) -> _Target:
        found = self._targets.get(name)
        if found is None:
            found = self._targets[name] = target(self._descriptor, name)
        return found

    def _check(self, found: _Target, variables: Mapping[str, str], seen: set[str]) -> None:
        path = found.path
        if path in variables:
            raise Unreadable("is given by the path; leave it out of the query")
        if self._body == WHOLE_BODY:
            raise Unreadable("is not taken from the query: the body is the whole request")
        if self._body and path.split(".")[0] == self._body:
            raise Unreadable(f"is not taken from the query: the body is {self._body}")
        if path in seen and not found.field.is_repeated:
            raise Unreadable("is given twice, and takes one value")
        seen.add(path)


def _set_text(found: _Target, message: Any, text: str) -> None:
    parent, field = found.parent_in(message), found.field
    if field.containing_oneof is not None:
        other = parent.WhichOneof(field.containing_oneof.name)
        if other not in (None, field.name):
            raise Unreadable(f"is given together with {other}; give one of them")
    if field.message_type is None:
        if field.is_repeated:
            getattr(parent, field.name).append(found.convert(text))
        else:
            setattr(parent, field.name, found.convert(text))
    else:
        inner = getattr(parent, field.name)
        FROM_TEXT[field.message_type.full_name](inner.add() if field.is_repeated else inner, text)


def _pairs(query: bytes, violations: Violations) -> list[tuple[str, str]]:
    pairs = []
    for piece in query.split(b"&"):
        if piece:
            name, _, text = piece.partition(b"=")
            shown_name = name[:_MAX_NAME].decode("ascii", "replace")
            try:
                pairs.append((_decoded(name), _decoded(text)))
            except Unreadable as error:
                violations.add(shown_name, str(error))
    return pairs


def _decoded(raw: bytes) -> str:
    if _STRAY_PERCENT.search(raw):
        raise Unreadable("is not percent-encoded: a % stands for nothing; % itself is %25")
    try:
        return unquote_to_bytes(raw.replace(b"+", b" ")).decode("utf-8")
    except UnicodeDecodeError as error:
        raise Unreadable("is not percent-encoded UTF-8") from error
