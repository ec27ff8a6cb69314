"""The legacy metric types API: `/v6/metrics/`, its details and its plots, and the same under `/v7`.

It is that of NGA Scale. What it answers, and where that differs, stands in docs/legacy/metric-types.md.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from urllib.parse import quote

import grpc
from starlette.requests import Request
from starlette.responses import Response
from streamgauge.v1 import metric_type_service_pb2 as pb

from streamgauge_server.gateway.api import Api, HttpFailure, Route, Slash
from streamgauge_server.gateway.legacy import metric_type_rendering as rendering
from streamgauge_server.gateway.legacy import rest_framework as framework
from streamgauge_server.gateway.legacy.metric_type_documents import SCHEMAS, operation
from streamgauge_server.gateway.legacy.metric_type_parsing import PlotQuery
from streamgauge_server.gateway.legacy.off_loop import off_loop
from streamgauge_server.gateway.upstream import Refused, Upstream
from streamgauge_server.http_settings import LegacySettings

VERSIONS = ("v6", "v7")
"""They are the same."""

MAX_VALUES = 500_000
"""Values of one answer; all columns of all choices together in as many bins as there may be are 341,000."""

_MANY_VALUES = 5_000
"""Values whose JSON is some fifteen milliseconds of work."""
_PARAMETERS = {"columns": "column", "groups": "group", "choices": "choice_id", "window": "bin", "time_range": "started"}
"""Parameters by the fields of `GetPlotDataRequest` that they become."""


def api(upstream: Upstream, settings: LegacySettings, *, clock: Callable[[], int]) -> Api:
    """Returns the API. `clock` is what durations in `started` and `ended` count back from, in microseconds."""
    routes = []
    for version in VERSIONS:
        handlers = _Handlers(upstream, f"{settings.prefix}/{version}/metrics/", clock)
        for path, handler, name in (
            ("", handlers.list, "list"),
            ("/{name}", handlers.details, "details"),
            ("/{name}/plot-data", handlers.plot, "plot"),
        ):
            documented = operation(name, version)
            routes.append(Route("GET", f"/{version}/metrics{path}", handler, Slash.REDIRECT, documented))
    return Api("metric-types", routes, VERSIONS, tell, settings.prefix, SCHEMAS)


class _Handlers:
    """The three routes of one version; `path` is that of the list."""

    def __init__(self, upstream: Upstream, path: str, clock: Callable[[], int]) -> None:
        self._upstream = upstream
        self._stub = upstream.metric_types
        self._path = path
        self._clock = clock

    async def list(self, request: Request, variables: Mapping[str, str]) -> Response:
        """Answers with a page of metric types."""
        framework.negotiate(request)

        async def fetch(size: int, token: str) -> tuple[Sequence[pb.MetricType], str, int]:
            asked = pb.ListMetricTypesRequest(page_size=size, page_token=token)
            answer = await self._upstream.call(self._stub.ListMetricTypes, asked, request.state.passage)
            return answer.metric_types, answer.next_page_token, answer.total_size

        page = await framework.numbered(fetch, framework.Paging.of(request.query_params))
        results = [rendering.metric_type(one) for one in page.items]
        return framework.answer(framework.page_body(request, self._path, page, results))

    async def details(self, request: Request, variables: Mapping[str, str]) -> Response:
        """Answers with a metric type and all its choices."""
        framework.negotiate(request)
        metric_type = pb.MetricType()

        async def fetch(size: int, token: str) -> tuple[Sequence[pb.MetricTypeChoice], str, int]:
            answer = await self._type(request, variables["name"], size, token)
            metric_type.CopyFrom(answer.metric_type)
            return answer.choices, answer.next_page_token, answer.total_choices

        choices = await framework.numbered(fetch, framework.EVERYTHING)
        return framework.answer(rendering.details(metric_type, choices.items))

    async def plot(self, request: Request, variables: Mapping[str, str]) -> Response:
        """Answers with a page of series."""
        framework.negotiate(request)
        name, query = variables["name"], PlotQuery.of(request.query_params, self._clock)
        groups: Sequence[str] = ()
        if query.groups or query.bad_choice is not None:
            metric_type = (await self._type(request, name, 1)).metric_type
            known = {group.group for group in metric_type.groups}
            groups = [group for group in query.groups if group in known]
        asked = query.request(f"metricTypes/{name}", groups)
        count = 0

        async def fetch(size: int, token: str) -> tuple[Sequence[pb.PlotSeries], str, int]:
            asked.page_size, asked.page_token = size, token
            nonlocal count
            answer = await self._upstream.call(self._stub.GetPlotData, asked, request.state.passage)
            count += sum(len(series.values) for series in answer.series)
            if count > MAX_VALUES:
                raise HttpFailure(
                    400, f"more than {MAX_VALUES:,} values: ask for fewer columns, choices or bins at once"
                )
            return answer.series, answer.next_page_token, answer.total_size

        page = await framework.numbered(fetch, framework.Paging.of(request.query_params))
        path = f"{self._path}{quote(name, safe='')}/plot-data/"
        render = partial(_plot, request, path, page, apart=bool(query.choices))
        return await off_loop(render, heavy=count > _MANY_VALUES)

    async def _type(self, request: Request, name: str, size: int, token: str = "") -> pb.GetMetricTypeResponse:
        """Returns a metric type with some of its choices."""
        asked = pb.GetMetricTypeRequest(name=f"metricTypes/{name}", page_size=size, page_token=token)
        return await self._upstream.call(self._stub.GetMetricType, asked, request.state.passage)


def _plot(request: Request, path: str, page: framework.Numbered[pb.PlotSeries], *, apart: bool) -> Response:
    results = rendering.plot(page.items, apart=apart)
    return framework.answer(framework.page_body(request, path, page, results))


def tell(request: Request, error: Exception) -> Response:
    """Answers a request that failed, as Django REST framework does: a `detail` for people."""
    if isinstance(error, Refused):
        fields = {field for field, _ in error.violations}
        if error.code is not grpc.StatusCode.NOT_FOUND and "name" not in fields:
            return framework.tell_refusal(error, _detail(error))
        error = HttpFailure(404, framework.NOT_FOUND)
    if isinstance(error, HttpFailure):
        return framework.tell_failure(request, error)
    return framework.answer({"detail": framework.SERVER_ERROR}, 500)


def _detail(refused: Refused) -> str:
    """Returns what is wrong with the parameters, by their own names, otherwise what the server says."""
    told = [
        f"{_PARAMETERS.get(re.split(r'[.[]', field)[0], field)}: {description}"
        for field, description in refused.violations
    ]
    return "; ".join(told) or refused.message
