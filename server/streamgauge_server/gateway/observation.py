"""What is seen of requests from outside of them: the access log and the metrics of HTTP."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Iterable
from typing import Any, Literal

import structlog
from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

AccessLog = Literal["all", "failures", "off"]

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper bounds of the latency histogram, in seconds."""

CLIENT_GONE = 499
"""What stands for the status where the client did not wait for one."""

SLOW_SECONDS = 1.0
_VERBS = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})
_MAX_LOGGED_PATH = 256
_LABELS = ("api", "route", "method")

_log = structlog.stdlib.get_logger("streamgauge.access")


class HttpMetrics(Collector):
    """Counts requests by API, route template, verb and status, and measures their time, for `prometheus_client`.

    The names are those of OpenTelemetry. Paths that are no route count together, and so do verbs that nobody uses, so
    that the number of labels is bounded whatever is sent.
    """

    def __init__(self) -> None:
        self.active = 0
        self._requests: dict[tuple[str, str, str, str], int] = {}
        self._durations: dict[tuple[str, str, str], tuple[list[int], list[float]]] = {}

    def count(self, api: str, template: str, verb: str, status: int, seconds: float) -> None:
        """Counts a request that has ended."""
        labels = (api, template, verb if verb in _VERBS else "other")
        by_status = (*labels, str(status))
        self._requests[by_status] = self._requests.get(by_status, 0) + 1
        buckets, total = self._durations.setdefault(labels, ([0] * (len(BUCKETS) + 1), [0.0]))
        buckets[bisect_left(BUCKETS, seconds)] += 1
        total[0] += seconds

    def collect(self) -> Iterable[Metric]:
        """Returns what has been counted. May run in any thread: each number is read whole."""
        requests = CounterMetricFamily("http_server_requests", "Requests that ended.", labels=(*_LABELS, "status"))
        active = GaugeMetricFamily("http_server_active_requests", "Requests under way.")
        durations = HistogramMetricFamily("http_server_request_duration_seconds", "Time of a request.", labels=_LABELS)
        active.add_metric((), self.active)
        for by_status, count in list(self._requests.items()):
            requests.add_metric(by_status, count)
        for labels, (buckets, total) in list(self._durations.items()):
            durations.add_metric(labels, _cumulative(buckets), total[0])
        return (requests, active, durations)


class Observation:
    """Counts every request, and writes a line for each, or only for those that failed or were slow."""

    def __init__(self, app: ASGIApp, metrics: HttpMetrics, access_log: AccessLog) -> None:
        self._app = app
        self._metrics = metrics
        self._mode = access_log
        # What `get_logger` returns looks up the configuration with every line. It is settled by now.
        self._line = _log.bind()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Lets a request pass, and looks at it."""
        started = time.perf_counter()
        status, streamed, sent = CLIENT_GONE, False, 0

        async def noting(message: Message) -> None:
            nonlocal status, streamed, sent
            if message["type"] == "http.response.start":
                status = message["status"]
                streamed = (b"content-type", b"application/x-ndjson") in message["headers"]
            elif message["type"] == "http.response.body":
                sent += len(message.get("body", b""))
            await send(message)

        self._metrics.active += 1
        try:
            await self._app(scope, receive, noting)
        finally:
            seconds = time.perf_counter() - started
            state = scope["state"]
            api, template = state.get("api", ""), state.get("template", "")
            self._metrics.active -= 1
            self._metrics.count(api, template, scope["method"], status, seconds)
            slow = seconds > SLOW_SECONDS and not streamed
            if self._mode == "all" or (self._mode == "failures" and (status >= 400 or slow)):
                self._write(scope, status, seconds, sent)

    def _write(self, scope: Scope, status: int, seconds: float, sent: int) -> None:
        state = scope["state"]
        if status == 500:
            write = self._line.error
        elif status > 500:
            write = self._line.warning
        else:
            write = self._line.debug if state.get("api") == "operations" and status < 400 else self._line.info
        fields: dict[str, Any] = {
            "method": scope["method"],
            # Without its query: what people put there is not for logs.
            "path": scope["raw_path"][:_MAX_LOGGED_PATH].decode("ascii", "backslashreplace"),
            "route": state.get("template", ""),
            "api": state.get("api", ""),
            "status": status,
            "ms": round(seconds * 1000, 3),
            "request_id": state["request_id"],
            "peer": _peer(scope),
            "response_bytes": sent,
        }
        write("request", **fields)


def _peer(scope: Scope) -> str:
    client = scope.get("client")
    return f"{client[0]}:{client[1]}" if client else ""


def _cumulative(counts: list[int]) -> list[tuple[str, float]]:
    total = 0
    buckets: list[tuple[str, float]] = []
    for bound, count in zip([*map(str, BUCKETS), "+Inf"], counts, strict=True):
        total += count
        buckets.append((bound, total))
    return buckets
