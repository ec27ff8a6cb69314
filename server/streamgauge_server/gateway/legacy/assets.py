"""The legacy API of assets: `POST` and `GET /api/xdg/v1/asset/{asset_urn}/metric`, as Semarchy xDG has it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from functools import partial
from typing import TypeVar

from google.protobuf.timestamp_pb2 import Timestamp
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from streamgauge.v1 import asset_metric_service_pb2 as pb
from streamgauge.v1 import server_service_pb2

from streamgauge_server.gateway.api import Api, Route
from streamgauge_server.gateway.legacy import assets_body, assets_problems, assets_question, assets_rendering
from streamgauge_server.gateway.legacy.assets_body import Emission
from streamgauge_server.gateway.legacy.assets_openapi import EMIT, READ, SCHEMAS
from streamgauge_server.gateway.legacy.assets_problems import Fault, Problem
from streamgauge_server.gateway.legacy.assets_question import Question
from streamgauge_server.gateway.legacy.assets_times import moment_text
from streamgauge_server.gateway.legacy.headers import warning_header
from streamgauge_server.gateway.legacy.off_loop import off_loop
from streamgauge_server.gateway.upstream import Passage, Refused, UnaryMethod, Upstream
from streamgauge_server.http_settings import LegacySettings

PATH = "/api/xdg/v1/asset/{asset_urn}/metric"

DEPRECATED = {"Deprecation": "@1709337600"}
"""RFC 9745, of the single format: 2024-03-02, the day of the examples in the document that calls it deprecated."""

_JSON = "application/json"
_HEAVY_BODY = 256 * 1024
"""Bytes of a body, or of a page of moments, that are worth a thread."""

_Request = TypeVar("_Request", pb.EmitAssetMetricsRequest, pb.EmitAssetMetricRequest, pb.ListAssetMetricsRequest)
_Response = TypeVar("_Response")

_RESOURCE_NAME = "assets/"


def api(upstream: Upstream, settings: LegacySettings) -> Api:
    """Returns the API, which asks `upstream`."""
    assets = _Assets(upstream)
    routes = (Route("POST", PATH, assets.emit, operation=EMIT), Route("GET", PATH, assets.read, operation=READ))
    return Api("assets", routes, ("api",), tell, settings.prefix, SCHEMAS)


def tell(request: Request, error: Exception) -> Response:
    """Returns the answer to a request that failed: a problem document."""
    return assets_problems.response(error)


class _Assets:
    """The handlers of the API's two routes."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream

    async def emit(self, request: Request, variables: Mapping[str, str]) -> Response:
        """Emits metrics on an asset, in the multiple or the single format."""
        urn, passage = _urn(variables), request.state.passage
        merged = assets_question.parse_return(request.query_params)
        _check_media_type(request.headers.get("content-type", ""))
        body = await request.body()
        emission = await off_loop(partial(assets_body.parse, body), heavy=len(body) > _HEAVY_BODY)
        if emission.faults:
            raise await self._problem(urn, emission, passage)
        if emission.single:
            return await self._emit_single(urn, emission, passage)
        asked = emission.request
        asked.asset, asked.return_merged = urn, merged
        answer = await self._ask(self._upstream.assets.EmitAssetMetrics, asked, passage)
        text = await off_loop(partial(assets_rendering.emitted, answer), heavy=len(body) > _HEAVY_BODY)
        return Response(text, headers=warning_header(answer.warnings), media_type=_JSON)

    async def _emit_single(self, urn: str, emission: Emission, passage: Passage) -> Response:
        asked = pb.EmitAssetMetricRequest(asset=urn, metric=emission.request.metrics[0].name, value=emission.text)
        if emission.request.HasField("time"):
            asked.time.CopyFrom(emission.request.time)
        try:
            answer = await self._ask(self._upstream.assets.EmitAssetMetric, asked, passage)
        except Refused as refused:
            raise assets_problems.problem_of(refused, DEPRECATED) from refused
        except Problem as problem:
            problem.headers |= DEPRECATED
            raise
        text = assets_rendering.emitted_single(answer, emission.echo)
        return Response(text, headers=DEPRECATED | warning_header(emission.warnings), media_type=_JSON)

    async def _problem(self, urn: str, emission: Emission, passage: Passage) -> Problem:
        """Returns everything that is wrong with an emit in which something is: the server says what else.

        Raises:
            Refused: the caller may not emit at all, or the server cannot tell.
        """
        asked, own = emission.request, emission.faults
        asked.asset, asked.validate_only = urn, True
        headers = DEPRECATED if emission.single else {}
        try:
            await self._upstream.call(self._upstream.assets.EmitAssetMetrics, asked, passage)
        except Refused as refused:
            found = assets_problems.faults_of(refused, single=emission.single)
            if not found:
                raise
            faults = assets_problems.merged(own.told, found)
            return Problem(400, faults, headers, own.omitted + assets_problems.omitted_of(refused))
        return Problem(400, own.told, headers, own.omitted)

    async def read(self, request: Request, variables: Mapping[str, str]) -> Response:
        """Answers the metrics of an asset over a range: all of it, or a page where one is asked for."""
        urn, passage = _urn(variables), request.state.passage
        question = assets_question.parse(request.query_params)
        end = await self._now(passage) if question.end is None else question.end
        asked = question.request(urn, end)
        try:
            page = await self._ask(self._upstream.assets.ListAssetMetrics, asked, passage)
        except Refused as refused:
            if refused.reason == "INVALID_TIME_RANGE":
                raise _reversed(question, end) from refused
            raise
        if page.next_page_token and not question.paged:
            return StreamingResponse(self._all(asked, page, passage), media_type=_JSON)
        text = await off_loop(partial(assets_rendering.moments, page.moments), heavy=page.ByteSize() > _HEAVY_BODY)
        headers = {}
        if page.next_page_token:
            headers["Link"] = f'<{question.next_page(end, page.next_page_token)}>; rel="next"'
        return Response(text, headers=headers, media_type=_JSON)

    async def _all(
        self, asked: pb.ListAssetMetricsRequest, page: pb.ListAssetMetricsResponse, passage: Passage
    ) -> AsyncIterator[str]:
        """Yields the list of all moments while it is read. When that fails the answer breaks off, and so is no JSON."""
        writer = assets_rendering.MomentWriter()
        while True:
            yield await off_loop(partial(writer.add, page.moments), heavy=page.ByteSize() > _HEAVY_BODY)
            if not page.next_page_token:
                break
            asked.page_token = page.next_page_token
            page = await self._upstream.call(self._upstream.assets.ListAssetMetrics, asked, passage)
        yield writer.end()

    async def _ask(self, method: UnaryMethod[_Request, _Response], asked: _Request, passage: Passage) -> _Response:
        """Calls a method of the server about one asset.

        Raises:
            Problem: 404, there is no such asset; told by its URN, while the server tells of its resource name.
            Refused: anything else.
        """
        try:
            return await self._upstream.call(method, asked, passage)
        except Refused as refused:
            if refused.reason != "ASSET_NOT_FOUND":
                raise
            message = refused.message.replace(refused.reason_metadata["name"], f"asset {asked.asset}")
            raise Problem(404, [Fault(message, refused.reason, parameter="asset_urn")]) from refused

    async def _now(self, passage: Passage) -> Timestamp:
        """Returns the clock of the server, which gives emits their moments: what was just emitted is not after it."""
        info = await self._upstream.call(
            self._upstream.server.GetServerInfo, server_service_pb2.GetServerInfoRequest(), passage
        )
        return info.server_time


def _urn(variables: Mapping[str, str]) -> str:
    """Returns the URN of a path.

    Raises:
        Problem: 400, it is a resource name of ours, which the server would take for one.
    """
    urn = variables["asset_urn"]
    if urn.startswith(_RESOURCE_NAME):
        raise Problem(400, [Fault("must be a URN, is a resource name", parameter="asset_urn")])
    return urn


def _check_media_type(content_type: str) -> None:
    """Lets JSON in UTF-8 pass.

    Raises:
        Problem: 415, it is said to be something else.
    """
    media_type, _, parameters = content_type.partition(";")
    charset = parameters.replace(" ", "").lower()
    if media_type.strip().lower() != _JSON or charset not in ("", "charset=utf-8", 'charset="utf-8"'):
        message = f"the body must be {_JSON}, and its Content-Type say so"
        raise Problem(415, [Fault(message, "UNSUPPORTED_MEDIA_TYPE")], {"Accept": _JSON})


def _reversed(question: Question, end: Timestamp) -> Problem:
    start = Timestamp() if question.start is None else question.start
    message = f"must not be after to; the range resolves to [{moment_text(start)}, {moment_text(end)}]"
    return Problem(400, [Fault(message, "INVALID_TIME_RANGE", parameter="from")])
