"""Operations of the REST surface: what `google.api.http` rules make of the contract's methods."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from google.api import annotations_pb2, http_pb2
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, MethodDescriptorProto

from streamgauge_server.gateway.openapi.contract import Contract, first_sentence
from streamgauge_server.gateway.openapi.paths import PathParameter, by_resource, openapi_path, singular
from streamgauge_server.gateway.openapi.refusals import Refusals
from streamgauge_server.gateway.openapi.schemas import Schema, Schemas, is_required
from streamgauge_server.gateway.templates import Variable

_HTTP: Any = annotations_pb2.http
PACKAGE = "streamgauge.v1"
STATUS = "google.rpc.Status"
NDJSON = "application/x-ndjson"

Operation = dict[str, Any]

_IN_QUERY = frozenset(
    f"google.protobuf.{name}"
    for name in (
        *("Timestamp", "Duration", "FieldMask", "DoubleValue", "FloatValue", "Int64Value", "UInt64Value", "Int32Value"),
        *("UInt32Value", "BoolValue", "StringValue", "BytesValue"),
    )
)
"""Messages whose JSON is a scalar, so that a query can have them."""


_RESOURCE_NAME = re.compile(r"^Resource name `[^`]*`\.\s*|\s*\bRequired\.")
"""What a comment says of a name as a whole, which a path's parameter is only a part of."""


@dataclass(frozen=True, slots=True)
class Bound:
    """An operation, and the path that it stands under."""

    path: str
    operation: Operation


@dataclass(frozen=True, slots=True)
class _Binding:
    """One rule of a method."""

    service: str
    method: MethodDescriptorProto
    number: int
    verb: str
    template: str
    body: str
    """The field that the body is, `*` for the request as a whole, empty for none."""

    @property
    def name(self) -> str:
        """The method's full name."""
        return f"{self.service}.{self.method.name}"

    @property
    def request(self) -> str:
        """The full name of the request."""
        return self.method.input_type.lstrip(".")

    @property
    def operation_id(self) -> str:
        """Service and method, with a number where the method has several rules."""
        base = f"{self.service.rpartition('.')[2]}_{self.method.name}"
        return base if self.number == 1 else f"{base}_{self.number}"


class RestOperations:
    """The operations of every rule of the contract. What they refer to is in `schemas` and `refusals`."""

    def __init__(self, contract: Contract, schemas: Schemas) -> None:
        self._contract = contract
        self._schemas = schemas
        self.refusals = Refusals(contract, schemas.message(STATUS))

    def tags(self) -> list[dict[str, str]]:
        """Returns a tag for each service."""
        services = sorted(name for name in self._contract.services if name.startswith(f"{PACKAGE}."))
        return [
            {"name": name.rpartition(".")[2], "description": self._contract.comment(name)}
            for name in services
            if any(self._rules(name))
        ]

    def by_rule(self) -> dict[tuple[str, str], Bound]:
        """Returns the operations by the verb (`GET`) and the template of their rules."""
        return {
            (binding.verb, binding.template): self._bound(binding)
            for service in self._contract.services
            for binding in self._rules(service)
        }

    def _rules(self, service: str) -> Iterator[_Binding]:
        for method in self._contract.services[service].method:
            if method.options.HasExtension(_HTTP):
                rule: http_pb2.HttpRule = method.options.Extensions[_HTTP]
                for number, one in enumerate((rule, *rule.additional_bindings), 1):
                    pattern = str(one.WhichOneof("pattern"))
                    verb, template = (
                        (one.custom.kind, one.custom.path)
                        if pattern == "custom"
                        else (pattern.upper(), getattr(one, pattern))
                    )
                    yield _Binding(service, method, number, verb, template, one.body)

    def _bound(self, binding: _Binding) -> Bound:
        def naming(variable: Variable, pattern: str) -> list[str]:
            return by_resource(pattern, self._field_comment(binding.request, variable.field))

        path, in_path = openapi_path(binding.template, naming)
        fields = {parameter.field for parameter in in_path}
        comment = self._contract.comment(binding.name)
        operation: Operation = {
            "operationId": binding.operation_id,
            "tags": [binding.service.rpartition(".")[2]],
            "summary": first_sentence(comment),
            "description": f"{comment}\n\ngRPC: `{binding.name}`",
        }
        if parameters := [*self._path_parameters(binding, in_path), *self._query(binding, fields)]:
            operation["parameters"] = parameters
        if binding.body:
            operation["requestBody"] = self._body(binding, fields)
        comments = [comment, *self._comments_of_fields(binding.request)]
        operation["responses"] = {
            "200": self._answer(binding),
            **self.refusals.responses(comments, _resource(path), writes=binding.verb != "GET", body=bool(binding.body)),
        }
        if binding.method.options.deprecated:
            operation["deprecated"] = True
        return Bound(path, operation)

    def _path_parameters(self, binding: _Binding, in_path: list[PathParameter]) -> Iterator[Operation]:
        for parameter in in_path:
            comment = _RESOURCE_NAME.sub("", self._field_comment(binding.request, parameter.field))
            description = f"The `{{{parameter.name}}}` of `{parameter.within}`. {comment}"
            if parameter.rest:
                description += " May have slashes."
            yield {
                "name": parameter.name,
                "in": "path",
                "required": True,
                "description": description.strip(),
                "schema": {"type": "string", "minLength": 1},
            }

    def _query(self, binding: _Binding, in_path: set[str]) -> Iterator[Operation]:
        if binding.body == "*":
            return
        for field in self._contract.messages[binding.request].field:
            if field.name != binding.body and field.name not in in_path:
                yield from self._in_query(binding.request, field, "", (binding.request,))

    def _in_query(
        self, message: str, field: FieldDescriptorProto, prefix: str, within: tuple[str, ...]
    ) -> Iterator[Operation]:
        name, inner = f"{prefix}{field.json_name}", field.type_name.lstrip(".")
        if field.type == FieldDescriptorProto.TYPE_MESSAGE and inner not in _IN_QUERY:
            # A query has no form for messages in a list or map, nor for one inside of itself.
            if field.label != FieldDescriptorProto.LABEL_REPEATED and inner not in within:
                for member in self._contract.messages[inner].field:
                    yield from self._in_query(inner, member, f"{name}.", (*within, inner))
            return
        schema = self._schemas.field(message, field)
        parameter: Operation = {"name": name, "in": "query"}
        if description := schema.pop("description", ""):
            parameter["description"] = description
        if is_required(field) and not prefix:
            parameter["required"] = True
        if schema.pop("deprecated", False):
            parameter["deprecated"] = True
        yield {**parameter, "schema": schema}

    def _body(self, binding: _Binding, in_path: set[str]) -> Operation:
        message = self._contract.messages[binding.request]
        if binding.body != "*":
            field = next(field for field in message.field if field.name == binding.body)
            name = field.type_name.lstrip(".")
            schema = self._schemas.changes(name) if binding.verb == "PATCH" else self._schemas.message(name)
            return {"required": is_required(field), "content": {"application/json": {"schema": schema}}}
        schema = (
            self._schemas.object(binding.request, without=in_path)
            if in_path
            else self._schemas.message(binding.request)
        )
        required = any(is_required(field) and field.name not in in_path for field in message.field)
        return {"required": required, "content": _content(schema, stream=binding.method.client_streaming)}

    def _answer(self, binding: _Binding) -> Operation:
        name = binding.method.output_type.lstrip(".")
        schema = self._schemas.message(name)
        answer: Operation = {
            "description": self._contract.comment(name) or "The answer.",
            "headers": {"X-Request-Id": {"$ref": "#/components/headers/X-Request-Id"}},
        }
        if binding.method.server_streaming:
            failure = {"type": "object", "properties": {"error": self._schemas.message(STATUS)}, "required": ["error"]}
            answer["description"] += (
                " One message a line, as long as the stream goes on. When it fails after the first line, the last line "
                "is an object with an `error`."
            )
            answer["content"] = {NDJSON: {"schema": {"anyOf": [schema, failure]}}}
        else:
            answer["content"] = {"application/json": {"schema": schema}}
        return answer

    def _field_comment(self, request: str, path: str) -> str:
        message, _, rest = request, "", path
        while "." in rest:
            name, _, rest = rest.partition(".")
            field = next(field for field in self._contract.messages[message].field if field.name == name)
            message = field.type_name.lstrip(".")
        return self._contract.comment(f"{message}.{rest}")

    def _comments_of_fields(self, message: str, within: tuple[str, ...] = ()) -> Iterator[str]:
        if message in within or not message.startswith(f"{PACKAGE}."):
            return
        for field in self._contract.messages[message].field:
            yield self._contract.comment(f"{message}.{field.name}")
            if field.type == FieldDescriptorProto.TYPE_MESSAGE:
                yield from self._comments_of_fields(field.type_name.lstrip("."), (*within, message))


def _resource(path: str) -> str:
    """Returns what one of the collection is called that a path is about, unless it is about the collection itself."""
    collection = re.match(r"/v1/(\w+)[/:]", path)
    return singular(collection[1]) if collection else ""


def _content(schema: Schema, *, stream: bool) -> dict[str, Any]:
    """Returns the forms of a body: of a stream of messages one, a list, or one a line."""
    if not stream:
        return {"application/json": {"schema": schema}}
    return {
        "application/json": {"schema": {"anyOf": [schema, {"type": "array", "items": schema}]}},
        NDJSON: {"schema": schema},
    }
