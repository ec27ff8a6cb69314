"""Example values of JSON Schemas, and of requests as curl commands."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode

_DEPTH = 6
"""How deep an example goes into a schema that refers to itself."""

_BY_FORMAT = {"date-time": "2026-11-01T12:00:00Z", "int64": "42", "uint64": "42", "date": "2026-11-01"}
_BY_TYPE: dict[str, Any] = {"string": "text", "integer": 1, "number": 0.5, "boolean": True, "null": None}


class Examples:
    """Examples of the schemas of one document."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._schemas = document["components"]["schemas"]

    def value(self, schema: Mapping[str, Any], depth: int = 0) -> Any:
        """Returns a value: what the schema has for an example, else one with the members that are required.

        Without any that are, it has the first. Values of enums that stand for nothing are passed over.
        """
        if "$ref" in schema:
            schema = self._schemas[schema["$ref"].rpartition("/")[2]]
        if given := schema.get("examples"):
            return given[0]
        for key in ("example", "const", "default"):
            if key in schema:
                return schema[key]
        if "enum" in schema:
            return next((one for one in schema["enum"] if not str(one).endswith("_UNSPECIFIED")), schema["enum"][0])
        for key in ("anyOf", "oneOf"):
            if key in schema:
                return self.value(schema[key][0], depth)
        kind = schema.get("type", "string")
        kind = kind[0] if isinstance(kind, list) else kind
        if kind == "object":
            return self._object(schema, depth)
        if kind == "array":
            return [self.value(schema.get("items", {}), depth + 1)] if depth < _DEPTH else []
        return _BY_FORMAT.get(schema.get("format", ""), _BY_TYPE[kind])

    def _object(self, schema: Mapping[str, Any], depth: int) -> dict[str, Any]:
        if depth >= _DEPTH:
            return {}
        members: Mapping[str, Any] = schema.get("properties", {})
        # What a resource is called is in the path of a request that changes it.
        free = [name for name, one in members.items() if name != "name" and not one.get("readOnly")]
        wanted = schema.get("required") or free[:1]
        if "not" in schema:  # one member of a choice, beside those that are required
            wanted = [*wanted, *schema["not"]["anyOf"][0]["required"][:1]]
        told = {name: self.value(members[name], depth + 1) for name in wanted if name in members}
        values = schema.get("additionalProperties")
        if isinstance(values, Mapping):
            told["name"] = self.value(values, depth + 1)
        return told

    def curl(self, verb: str, path: str, operation: Mapping[str, Any]) -> str:
        """Returns a command that calls an operation with what it requires."""
        parameters = operation.get("parameters", ())
        for parameter in parameters:
            if parameter["in"] == "path":
                given = parameter["schema"].get("examples", [parameter["name"].upper()])[0]
                path = path.replace(f"{{{parameter['name']}}}", quote(str(given), safe="/"))
        query = [
            (parameter["name"], self._in_query(parameter))
            for parameter in parameters
            if parameter["in"] == "query" and parameter.get("required")
        ]
        address = f'"$GATEWAY{path}{"?" if query else ""}{urlencode(query)}"'
        parts = ["curl"] if verb == "GET" else [f"curl -X {verb}"]
        parts[0] += f' {address} -H "Authorization: Bearer $TOKEN"'
        if "requestBody" in operation:
            form, content = next(iter(operation["requestBody"]["content"].items()))
            body = content.get("example", self.value(content["schema"]))
            text = body if isinstance(body, str) else json.dumps(body, ensure_ascii=False)
            parts += [f"-H 'Content-Type: {form}'", f"-d {shlex.quote(text)}"]
        return " \\\n  ".join(parts)

    def _in_query(self, parameter: Mapping[str, Any]) -> str:
        value = self.value(parameter["schema"])
        value = value[0] if isinstance(value, list) else value
        return value if isinstance(value, str) else json.dumps(value)
