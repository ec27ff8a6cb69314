"""The OpenAPI 3.1 document of everything that the gateway serves: the routes of its APIs, each with its operation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib import metadata, resources
from typing import Any

from google.protobuf.descriptor_pb2 import FileDescriptorSet

from streamgauge_server.gateway.api import Api, Route, Slash
from streamgauge_server.gateway.openapi.contract import Contract
from streamgauge_server.gateway.openapi.operations import PACKAGE, RestOperations
from streamgauge_server.gateway.openapi.paths import by_field, openapi_path
from streamgauge_server.gateway.openapi.refusals import HEAD_TOO_LARGE
from streamgauge_server.gateway.openapi.schemas import Schemas

DESCRIPTION = """\
Metrics of data pipelines: sources, jobs, metric types and assets.

Every operation below `/v1/` is a method of the gRPC contract in its JSON form. An int64 is a string, in requests a \
number will do; times are RFC 3339; members that are not set or zero are left out of answers, unless a schema says \
otherwise; names are lowerCamel, in requests also as the contract has them. An unknown member or parameter is refused.

Errors are a `google.rpc.Status` whose details have an `ErrorInfo` with the reason for programs. A request may carry \
an `X-Request-Id`; every answer has one, and the server's log too. An answer that lacks something because stored bytes \
are damaged says so in a header `Streamgauge-Damaged`.

The other operations are APIs of other systems that this server answers for; their errors and forms are theirs."""

_BEARER = {
    "type": "http",
    "scheme": "bearer",
    "description": "A token of this server or of its OpenID provider. Without authentication no token is needed.",
}
_REQUEST_ID = {
    "description": "The id of the request, the caller's if it sent one: it finds the request in the server's log.",
    "schema": {"type": "string"},
}
_REQUEST_ID_HEADER = {"$ref": "#/components/headers/X-Request-Id"}


def contract() -> Contract:
    """Reads the contract that ships with the gateway, with its comments."""
    packed = resources.files("streamgauge_server.gateway").joinpath("streamgauge.binpb").read_bytes()
    return Contract(FileDescriptorSet.FromString(packed))


def document(apis: Iterable[Api], described: Contract) -> dict[str, Any]:
    """Returns the document of the routes of some APIs, under their prefixes.

    A route of the contract's HTTP rules gets its operation from the contract, any other one has its own or is left out.

    Raises:
        ValueError: two APIs have schemas of the same name.
    """
    schemas = Schemas(described, PACKAGE)
    rest = RestOperations(described, schemas)
    rules = rest.by_rule()
    tags: list[Mapping[str, Any]] = list(rest.tags())
    paths: dict[str, dict[str, Any]] = {}
    components: dict[str, Any] = {}
    for api in apis:
        for route in api.routes:
            bound = rules.get((route.verb, route.template))
            if bound is not None:
                paths.setdefault(api.prefix + bound.path, {})[route.verb.lower()] = bound.operation
            elif route.operation is not None:
                path, operation = _own(api, route, route.operation)
                paths.setdefault(path, {})[route.verb.lower()] = operation
                if not any(tag["name"] == _tag(api) for tag in tags):
                    tags.append({"name": _tag(api)})
        for name, schema in api.schemas.items():
            if components.setdefault(name, schema) is not schema:
                raise ValueError(f"two APIs have a schema {name}")
    if taken := components.keys() & schemas.components.keys():
        raise ValueError(f"schemas of the contract and of an API have the same names: {sorted(taken)}")
    used = {tag for item in paths.values() for operation in item.values() for tag in operation["tags"]}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "streamgauge",
            "version": metadata.version("streamgauge"),
            "description": DESCRIPTION,
            "license": {"name": "Apache License 2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{"bearer": []}],
        "tags": [tag for tag in tags if tag["name"] in used],
        "paths": paths,
        "components": {
            "securitySchemes": {"bearer": _BEARER},
            "headers": {"X-Request-Id": _REQUEST_ID},
            "responses": rest.refusals.components,
            "schemas": dict(sorted({**schemas.components, **components}.items())),
        },
    }


def _own(api: Api, route: Route, given: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Returns the path and the operation of a route that brings its own.

    It need not tell parameters of the path, nor what all answers have; its tag is the API.
    """
    path, in_path = openapi_path(route.template, by_field)
    if route.slash is Slash.REDIRECT and not path.endswith("/"):
        path += "/"
    operation = {**given, "tags": [_tag(api)]}
    parameters = list(given.get("parameters", ()))
    told = {parameter["name"] for parameter in parameters if parameter.get("in") == "path"}
    operation["parameters"] = [
        {"name": one.name, "in": "path", "required": True, "schema": {"type": "string"}}
        for one in in_path
        if one.name not in told
    ] + parameters
    responses = {
        status: {**response, "headers": {**response.get("headers", {}), "X-Request-Id": _REQUEST_ID_HEADER}}
        for status, response in given["responses"].items()
    }
    operation["responses"] = dict(sorted({**HEAD_TOO_LARGE, **responses}.items()))
    return api.prefix + path, operation


def _tag(api: Api) -> str:
    return f"Legacy: {api.name}"
