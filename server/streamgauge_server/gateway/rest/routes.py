"""REST as an API of the gateway: a route for every binding of the contract, whatever its methods are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message_factory import GetMessageClass
from starlette.requests import Request
from starlette.responses import Response

from streamgauge_server.gateway.api import Api, Handler, Route
from streamgauge_server.gateway.rest.bodies import JSON, NDJSON
from streamgauge_server.gateway.rest.contract import Binding, bindings
from streamgauge_server.gateway.rest.printing import json_bytes
from streamgauge_server.gateway.rest.refusals import tell
from streamgauge_server.gateway.rest.requests import Requests
from streamgauge_server.gateway.rest.streams import NdjsonResponse, upload
from streamgauge_server.gateway.upstream import Upstream

ROOTS = ("v1",)
_DEPRECATED_SINCE = "@1795305600"
"""2026-11-22, when the contract had its first method that is deprecated (RFC 9745)."""


def api(upstream: Upstream) -> Api:
    """Returns the REST API of the contract.

    Raises:
        ValueError: the contract has a rule or a method that HTTP cannot serve.
    """
    routes = [Route(binding.verb, binding.template, _handler(upstream, binding)) for binding in bindings()]
    return Api(name="rest", routes=routes, roots=ROOTS, tell=tell)


def _handler(upstream: Upstream, binding: Binding) -> Handler:
    method = binding.method
    if method.client_streaming and method.server_streaming:
        raise ValueError(f"{method.full_name}: streams in both directions are not served over HTTP")
    requests, headers = Requests(binding), _headers(method)
    if method.client_streaming:
        return _client_stream(upstream, method, requests, headers)
    if method.server_streaming:
        return _server_stream(upstream, method, requests, headers)
    return _unary(upstream, method, requests, headers)


def _unary(upstream: Upstream, method: MethodDescriptor, requests: Requests, headers: Mapping[str, str]) -> Handler:
    stub = upstream.channel.unary_unary(*_stub(method))

    async def handle(request: Request, variables: Mapping[str, str]) -> Response:
        message = await requests.one(request, variables)
        answer = await upstream.call(stub, message, request.state.passage)
        return Response(json_bytes(answer), headers=headers, media_type=JSON)

    return handle


def _server_stream(
    upstream: Upstream, method: MethodDescriptor, requests: Requests, headers: Mapping[str, str]
) -> Handler:
    stub = upstream.channel.unary_stream(*_stub(method))

    async def handle(request: Request, variables: Mapping[str, str]) -> Response:
        message = await requests.one(request, variables)
        if request.method == "HEAD":
            # Of a stream that may never begin there is nothing else to tell.
            return Response(headers=headers, media_type=NDJSON)
        # A stream may last: it has no deadline but the client's patience.
        call = stub(message, metadata=request.state.passage.metadata)
        return await NdjsonResponse.begin(request, upstream, call, headers)

    return handle


def _client_stream(
    upstream: Upstream, method: MethodDescriptor, requests: Requests, headers: Mapping[str, str]
) -> Handler:
    stub = upstream.channel.stream_unary(*_stub(method))

    async def handle(request: Request, variables: Mapping[str, str]) -> Response:
        passage = request.state.passage
        call = stub(metadata=passage.metadata)
        answer = await upload(call, requests.many(request, variables), passage.timeout)
        passage.damage.note(await call.trailing_metadata())
        return Response(json_bytes(answer), headers=headers, media_type=JSON)

    return handle


def _stub(method: MethodDescriptor) -> tuple[str, Any, Any]:
    answer: Any = GetMessageClass(method.output_type)
    return (
        f"/{method.containing_service.full_name}/{method.name}",
        GetMessageClass(method.input_type).SerializeToString,
        answer.FromString,
    )


def _headers(method: MethodDescriptor) -> dict[str, str]:
    return {"Deprecation": _DEPRECATED_SINCE} if method.GetOptions().deprecated else {}
