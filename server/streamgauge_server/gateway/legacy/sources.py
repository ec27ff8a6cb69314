"""The legacy API of sources: `GET /sources/{source_id}/metrics`, as Streamkap has it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from typing import Any

import grpc
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from streamgauge.v1 import source_service_pb2 as pb

from streamgauge_server.gateway.api import Api, HttpFailure, Route, http_status
from streamgauge_server.gateway.legacy.headers import refusal_headers
from streamgauge_server.gateway.legacy.off_loop import off_loop
from streamgauge_server.gateway.legacy.sources_openapi import OPERATION, SCHEMAS
from streamgauge_server.gateway.legacy.sources_parameters import Unprocessable, parse
from streamgauge_server.gateway.legacy.sources_rendering import is_empty, render
from streamgauge_server.gateway.upstream import Passage, Refused, Upstream
from streamgauge_server.http_settings import LegacySettings

PATH = "/sources/{source_id}/metrics"

_MANY_ENTRIES = 20_000
"""Entries of a time series that are rendered in a thread: they take some tens of milliseconds."""

_OF_RANGE = frozenset({"INVALID_TIME_RANGE", "TOO_MANY_WINDOWS"})
"""Reasons that are about parameters together, each of which is right by itself: 400 rather than 422."""

_ELEMENT = re.compile(r"(?P<name>\w+)\[(?P<index>\d+)\]")


def api(upstream: Upstream, settings: LegacySettings) -> Api:
    """Returns the API, which asks `upstream`."""
    route = Route("GET", PATH, _Sources(upstream).metrics, operation=OPERATION)
    return Api("sources", (route,), ("sources",), tell, settings.prefix, SCHEMAS)


class _Sources:
    """The handler of the API's one route."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream

    async def metrics(self, request: Request, variables: Mapping[str, str]) -> Response:
        """Answers the metrics of a source."""
        source_id, passage = variables["source_id"], request.state.passage
        try:
            parameters = parse(request.query_params)
        except Unprocessable:
            await self._check_permission(source_id, passage)
            raise
        answer = await self._ask(parameters.request(source_id), source_id, passage)
        heavy = len(answer.window_bounds) * len(answer.timeseries) > _MANY_ENTRIES
        document = await off_loop(partial(render, answer, named=frozenset(parameters.metrics)), heavy=heavy)
        if parameters.strict and is_empty(document):
            raise HttpFailure(404, f"there are no metrics of source {source_id}")
        return await off_loop(partial(JSONResponse, document), heavy=heavy)

    async def _ask(
        self, asked: pb.GetSourceMetricsRequest, source_id: str, passage: Passage
    ) -> pb.GetSourceMetricsResponse:
        try:
            return await self._upstream.call(self._upstream.sources.GetSourceMetrics, asked, passage)
        except Refused as refused:
            # No source can have an id that is wrong in itself, so that none has it.
            if refused.reason == "SOURCE_NOT_FOUND" or any(field == "source" for field, _ in refused.violations):
                raise HttpFailure(404, f"there is no source {source_id}") from refused
            raise

    async def _check_permission(self, source_id: str, passage: Passage) -> None:
        """Lets nobody know what is wrong with a query who may not ask it: the permission is checked first.

        The interval makes sure that the server finds nothing to answer.

        Raises:
            Refused: the caller may not read metrics of sources.
        """
        asked = pb.GetSourceMetricsRequest(source=f"sources/{source_id}", time_interval=0)
        try:
            await self._upstream.call(self._upstream.sources.GetSourceMetrics, asked, passage)
        except Refused as refused:
            if refused.code in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED):
                raise


def tell(request: Request, error: Exception) -> Response:
    """Returns the answer to a request that failed, as FastAPI has it: `{"detail": text}`, or a list with 422."""
    if isinstance(error, Unprocessable):
        return _detail(422, error.errors)
    if isinstance(error, HttpFailure):
        return _detail(error.status, error.message, error.headers)
    if isinstance(error, Refused):
        return _refusal(request, error)
    return _detail(500, "Internal Server Error")


def _refusal(request: Request, refused: Refused) -> Response:
    violations = refused.violations
    if violations and refused.reason not in _OF_RANGE:
        return _detail(422, [_violation(request, field, description) for field, description in violations])
    text = "; ".join(f"{field}: {description}" for field, description in violations) or refused.message
    # An answer that is too large comes of what was asked, whose range has too many windows for all the metrics.
    status = 400 if refused.reason == "MESSAGE_TOO_LARGE" else http_status(refused)
    return _detail(status, text, refusal_headers(refused))


def _violation(request: Request, field: str, description: str) -> dict[str, Any]:
    """Returns a field that the server found wrong, as FastAPI tells of a value that a validator refused."""
    element = _ELEMENT.fullmatch(field)
    if element is None:
        location: list[str | int] = ["query", field]
        given: Any = request.query_params.get(field)
    else:
        index = int(element["index"])
        location = ["query", element["name"], index]
        given = request.query_params.getlist(element["name"])[index]
    return {
        "type": "value_error",
        "loc": location,
        "msg": f"Value error, {description}",
        "input": given,
        "ctx": {"error": {}},
    }


def _detail(status: int, detail: Any, headers: Mapping[str, str] | None = None) -> Response:
    return JSONResponse({"detail": detail}, status, headers)
