"""The two steps that watch calls: the access log and the server's own metrics."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Iterable
from typing import Any, Literal

import grpc
import structlog
from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from streamgauge_server.rpc.context import Call, Method
from streamgauge_server.rpc.errors import ServicerContext
from streamgauge_server.rpc.scopes import METHOD_SCOPES, OPEN
from streamgauge_server.rpc.steps import Handler

AccessLog = Literal["all", "failures", "off"]

BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper bounds of the latency histogram, in seconds."""

SLOW_SECONDS = 1.0
"""From here on a unary call is worth a line although it ended well."""

_LABELS = ("grpc_type", "grpc_service", "grpc_method")
_FAULTS = frozenset({grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.DATA_LOSS})
_TROUBLE = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED})

_log = structlog.stdlib.get_logger("streamgauge.access")


class AccessLogStep:
    """Writes a line per call, or only for those that failed or were slow.

    A line costs as much as everything else around a call, and writers make thousands of calls a second. Health checks
    and reflection that end well are debug lines: probes call all day.
    """

    name = "access_log"

    def __init__(self, mode: AccessLog) -> None:
        self._mode = mode

    def wrap(self, method: Method, call_next: Handler) -> Handler:
        """Returns the handler that logs the call when it has ended, however it has."""
        if self._mode == "off":
            return call_next
        failures_only = self._mode == "failures"
        background = METHOD_SCOPES.get(method.name) == OPEN
        # What `get_logger` returns looks up the configuration with every line. It is settled by now.
        log = _log.bind()

        async def logged(call: Call, request: Any, context: ServicerContext) -> Any:
            try:
                return await call_next(call, request, context)
            finally:
                code = call.code
                seconds = time.perf_counter() - call.started
                fine = code is grpc.StatusCode.OK
                if not failures_only or not fine or (seconds > SLOW_SECONDS and not method.streaming):
                    if code in _FAULTS:
                        write = log.error
                    elif code in _TROUBLE:
                        write = log.warning
                    else:
                        write = log.debug if background and fine else log.info
                    write("call", **_fields(call, context, seconds))

        return logged


def _fields(call: Call, context: ServicerContext, seconds: float) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "method": call.method.name,
        "code": call.code.name,
        "ms": round(seconds * 1000, 3),
        "request_id": call.request_id,
        "peer": context.peer(),
    }
    if call.reason:
        fields["reason"] = call.reason
    if call.caller is not None:
        fields["tenant"] = call.caller.tenant
        if call.caller.token_id:
            fields["token"] = call.caller.token_id
    if not call.method.request_streaming:
        fields["request_bytes"] = call.request_bytes
    if not call.method.response_streaming:
        fields["response_bytes"] = call.response_bytes
    return fields


class _MethodMetrics:
    """Plain numbers of one method, written by the event loop alone."""

    __slots__ = ("buckets", "handled", "labels", "seconds", "started")

    def __init__(self, method: Method) -> None:
        _, service, name = method.name.split("/")
        self.labels = (method.kind, service, name)
        self.started = 0
        self.handled = dict.fromkeys(grpc.StatusCode, 0)
        self.buckets = [0] * (len(BUCKETS) + 1)
        self.seconds = 0.0


class ServerMetricsStep(Collector):
    """Counts calls by method and code, and measures their time; a collector for `prometheus_client`.

    The names are those of the gRPC middleware that dashboards know. Labels are the methods served and the status
    codes, so their number is bounded. Counting in plain numbers and making metrics of them when they are scraped costs
    a call under a microsecond; the library's own counters and histogram cost eight.
    """

    name = "server_metrics"

    def __init__(self) -> None:
        self._methods: list[_MethodMetrics] = []

    def wrap(self, method: Method, call_next: Handler) -> Handler:
        """Returns the handler that counts; the method's metrics exist from now on, at zero."""
        metrics = _MethodMetrics(method)
        self._methods.append(metrics)

        async def measured(call: Call, request: Any, context: ServicerContext) -> Any:
            metrics.started += 1
            try:
                return await call_next(call, request, context)
            finally:
                seconds = time.perf_counter() - call.started
                metrics.handled[call.code] += 1
                metrics.buckets[bisect_left(BUCKETS, seconds)] += 1
                metrics.seconds += seconds

        return measured

    def collect(self) -> Iterable[Metric]:
        """Returns what has been counted. May run in any thread: each number is read whole."""
        started = CounterMetricFamily("grpc_server_started", "Calls that began.", labels=_LABELS)
        handled = CounterMetricFamily(
            "grpc_server_handled", "Calls that ended, by status code.", labels=(*_LABELS, "grpc_code")
        )
        in_flight = GaugeMetricFamily("grpc_server_in_flight", "Calls under way.", labels=_LABELS)
        seconds = HistogramMetricFamily("grpc_server_handling_seconds", "Time of a call.", labels=_LABELS)
        for method in self._methods:
            counts = list(method.handled.items())
            begun = method.started
            started.add_metric(method.labels, begun)
            in_flight.add_metric(method.labels, max(0, begun - sum(count for _, count in counts)))
            for code, count in counts:
                if count or code is grpc.StatusCode.OK:
                    handled.add_metric((*method.labels, code.name), count)
            seconds.add_metric(method.labels, _cumulative(method.buckets), method.seconds)
        return (started, handled, in_flight, seconds)


def _cumulative(counts: list[int]) -> list[tuple[str, float]]:
    total = 0
    buckets: list[tuple[str, float]] = []
    for bound, count in zip([*map(str, BUCKETS), "+Inf"], counts, strict=True):
        total += count
        buckets.append((bound, total))
    return buckets
