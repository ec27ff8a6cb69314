"""JSON Schemas of the contract's messages and enums: what proto3 JSON makes of them.

int64 is a string, a Timestamp is RFC 3339, an enum its name, a map an object; names are lowerCamel. Requests may be
laxer than that (a number for an int64, a field's name as the proto has it), answers never are.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from itertools import combinations
from typing import Any

from google.api import field_behavior_pb2
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto

from streamgauge_server.gateway.openapi.contract import Contract

Schema = dict[str, Any]

_BEHAVIOUR: Any = field_behavior_pb2.field_behavior

_INT32: Schema = {"type": "integer", "format": "int32", "minimum": -(2**31), "maximum": 2**31 - 1}
_UINT32: Schema = {"type": "integer", "format": "uint32", "minimum": 0, "maximum": 2**32 - 1}
_INT64: Schema = {"type": "string", "format": "int64", "pattern": r"^-?[0-9]{1,19}$"}
_UINT64: Schema = {"type": "string", "format": "uint64", "pattern": r"^[0-9]{1,20}$"}
_DOUBLE: Schema = {"type": "number", "format": "double"}
_FLOAT: Schema = {"type": "number", "format": "float"}
_BOOL: Schema = {"type": "boolean"}
_STRING: Schema = {"type": "string"}
_BYTES: Schema = {"type": "string", "contentEncoding": "base64"}

_SCALARS: dict[int, Schema] = {
    FieldDescriptorProto.TYPE_DOUBLE: _DOUBLE,
    FieldDescriptorProto.TYPE_FLOAT: _FLOAT,
    FieldDescriptorProto.TYPE_INT64: _INT64,
    FieldDescriptorProto.TYPE_SINT64: _INT64,
    FieldDescriptorProto.TYPE_SFIXED64: _INT64,
    FieldDescriptorProto.TYPE_UINT64: _UINT64,
    FieldDescriptorProto.TYPE_FIXED64: _UINT64,
    FieldDescriptorProto.TYPE_INT32: _INT32,
    FieldDescriptorProto.TYPE_SINT32: _INT32,
    FieldDescriptorProto.TYPE_SFIXED32: _INT32,
    FieldDescriptorProto.TYPE_UINT32: _UINT32,
    FieldDescriptorProto.TYPE_FIXED32: _UINT32,
    FieldDescriptorProto.TYPE_BOOL: _BOOL,
    FieldDescriptorProto.TYPE_STRING: _STRING,
    FieldDescriptorProto.TYPE_BYTES: _BYTES,
}

_WELL_KNOWN: dict[str, Schema] = {
    "google.protobuf.Timestamp": {"type": "string", "format": "date-time"},
    "google.protobuf.Duration": {"type": "string", "pattern": r"^-?[0-9]{1,12}(\.[0-9]{1,9})?s$", "examples": ["30s"]},
    "google.protobuf.FieldMask": {"type": "string", "pattern": r"^(\*|[a-zA-Z0-9_.]+(,[a-zA-Z0-9_.]+)*)?$"},
    "google.protobuf.Struct": {"type": "object", "additionalProperties": True},
    "google.protobuf.Value": {},
    "google.protobuf.ListValue": {"type": "array", "items": {}},
    "google.protobuf.Empty": {"type": "object"},
    "google.protobuf.Any": {
        "type": "object",
        "properties": {
            "@type": {"type": "string", "description": "The URL of the type that the other members are of."}
        },
        "required": ["@type"],
        "additionalProperties": True,
    },
    "google.protobuf.DoubleValue": _DOUBLE,
    "google.protobuf.FloatValue": _FLOAT,
    "google.protobuf.Int64Value": _INT64,
    "google.protobuf.UInt64Value": _UINT64,
    "google.protobuf.Int32Value": _INT32,
    "google.protobuf.UInt32Value": _UINT32,
    "google.protobuf.BoolValue": _BOOL,
    "google.protobuf.StringValue": _STRING,
    "google.protobuf.BytesValue": _BYTES,
}
"""Messages that JSON has a form of its own for."""

_EXAMPLE = re.compile(r"for example `([^`]+)`")


class Schemas:
    """Schemas by name, `components`, each made when it is first referred to.

    A name is that of the message or enum, without the package where it is ours.
    """

    def __init__(self, contract: Contract, package: str) -> None:
        self._contract = contract
        self._package = package
        self.components: dict[str, Schema] = {}

    def message(self, name: str) -> Schema:
        """Returns a schema of a message: a reference, or in place the form that JSON has for it."""
        if name in _WELL_KNOWN:
            return dict(_WELL_KNOWN[name])
        return self._reference(name, lambda: self.object(name))

    def changes(self, name: str) -> Schema:
        """Returns a schema of a message of which any part may be given, as an update takes it."""
        if not any(is_required(field) for field in self._contract.messages[name].field):
            return self.message(name)
        return self._reference(f"{name}Changes", lambda: self.object(name, partial=True))

    def object(self, name: str, *, partial: bool = False, without: Collection[str] = ()) -> Schema:
        """Returns a schema of a message in place: with no member required if `partial`, without some of its fields."""
        message = self._contract.messages[name]
        fields = [field for field in message.field if field.name not in without]
        schema: Schema = {"type": "object"}
        if comment := self._contract.comment(name):
            schema["description"] = comment
        schema["properties"] = {field.json_name: self.field(name, field) for field in fields}
        required = [field.json_name for field in fields if is_required(field)]
        if required and not partial:
            schema["required"] = required
        choices = list(_choices(message))
        if len(choices) == 1 and len(choices[0]) == len(fields):
            schema["maxProperties"] = 1
        elif choices:
            pairs = [list(pair) for members in choices for pair in combinations(members, 2)]
            schema["not"] = {"anyOf": [{"required": pair} for pair in pairs]}
        return schema

    def field(self, message: str, field: FieldDescriptorProto) -> Schema:
        """Returns a schema of a field with what its comment tells."""
        schema = self.type_of(field)
        if comment := self._contract.comment(f"{message}.{field.name}"):
            schema["description"] = comment
            example = _EXAMPLE.search(comment)
            if example and schema.get("type") == "string" and "format" not in schema:
                schema["examples"] = [example[1]]
        if field_behavior_pb2.OUTPUT_ONLY in field.options.Extensions[_BEHAVIOUR]:
            schema["readOnly"] = True
        if field.options.deprecated:
            schema["deprecated"] = True
        return schema

    def type_of(self, field: FieldDescriptorProto) -> Schema:
        """Returns a schema of a field's values: an array of a repeated one, an object of a map."""
        entry = self._contract.messages.get(field.type_name.lstrip("."))
        if entry is not None and entry.options.map_entry:
            return {"type": "object", "additionalProperties": self._one(entry.field[1])}
        one = self._one(field)
        return {"type": "array", "items": one} if field.label == FieldDescriptorProto.LABEL_REPEATED else one

    def enum(self, name: str) -> Schema:
        """Returns a reference to the schema of an enum."""
        return self._reference(name, lambda: self._enum(name))

    def _one(self, field: FieldDescriptorProto) -> Schema:
        name = field.type_name.lstrip(".")
        if field.type == FieldDescriptorProto.TYPE_MESSAGE:
            return self.message(name)
        if field.type == FieldDescriptorProto.TYPE_ENUM:
            return self.enum(name)
        return dict(_SCALARS[field.type])

    def _enum(self, name: str) -> Schema:
        values = [value.name for value in self._contract.enums[name].value]
        told = [f"- `{value}`: {self._contract.comment(f'{name}.{value}')}" for value in values]
        return {"type": "string", "description": "\n".join([self._contract.comment(name), "", *told]), "enum": values}

    def _reference(self, name: str, make: Callable[[], Schema]) -> Schema:
        short = name.removeprefix(f"{self._package}.")
        if short not in self.components:
            self.components[short] = {}  # a message that refers to itself finds its name taken
            self.components[short] = make()
        return {"$ref": f"#/components/schemas/{short}"}


def is_required(field: FieldDescriptorProto) -> bool:
    """Tells whether a request must have the field."""
    return field_behavior_pb2.REQUIRED in field.options.Extensions[_BEHAVIOUR]


def _choices(message: DescriptorProto) -> Iterator[list[str]]:
    """Yields the members of each oneof; an optional field is none."""
    for i in range(len(message.oneof_decl)):
        members = [
            field.json_name
            for field in message.field
            if field.HasField("oneof_index") and field.oneof_index == i and not field.proto3_optional
        ]
        if members:
            yield members
