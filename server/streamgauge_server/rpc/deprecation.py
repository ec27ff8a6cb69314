"""Who still calls methods that are deprecated: counted for dashboards, and told in the log now and then."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

import structlog
from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from streamgauge_server.model.clock import MICROS_PER_HOUR, Clock
from streamgauge_server.rpc.context import Call

MAX_COUNTED = 1_000
"""Callers that are counted apart, for each method; calls of further ones are counted together, without labels."""
MAX_REMEMBERED = 10_000
"""Callers of whom it is remembered when they were last told of; one that is forgotten may be told of too early."""
QUIET = MICROS_PER_HOUR
"""How long a caller is not told of again, in microseconds."""

_log = structlog.stdlib.get_logger("streamgauge.deprecation")

_Key = tuple[str, str, str]


class DeprecatedCalls(Collector):
    """Counts calls of deprecated methods by tenant and token; a collector for `prometheus_client`.

    A caller's first call of a method, and one an hour after that, leaves a line in the log. Memory and the number of
    labels are bounded, whoever calls.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._counts: dict[_Key, int] = {}
        self._told: OrderedDict[_Key, int] = OrderedDict()

    def note(self, call: Call, instead: str) -> None:
        """Counts a call of a deprecated method; `instead` is the method to call in its place."""
        method = call.method.name
        tenant, token = ("", "") if call.caller is None else (call.caller.tenant, call.caller.token_id)
        key = (method, tenant, token)
        counted = key if key in self._counts or len(self._counts) < MAX_COUNTED else (method, "", "")
        self._counts[counted] = self._counts.get(counted, 0) + 1
        now = self._clock.now()
        told = self._told.get(key)
        if told is not None and 0 <= now - told < QUIET:
            return
        self._told[key] = now
        self._told.move_to_end(key)
        if len(self._told) > MAX_REMEMBERED:
            self._told.popitem(last=False)
        _log.warning(
            "deprecated method called",
            method=method,
            instead=instead,
            tenant=tenant,
            token=token,
            request_id=call.request_id,
        )

    def collect(self) -> Iterable[Metric]:
        """Returns what has been counted. May run in any thread: each number is read whole."""
        calls = CounterMetricFamily(
            "streamgauge_deprecated_calls",
            "Calls of deprecated methods.",
            labels=("grpc_service", "grpc_method", "tenant", "token"),
        )
        for (method, tenant, token), count in list(self._counts.items()):
            _, service, name = method.split("/")
            calls.add_metric((service, name, tenant, token), count)
        return (calls,)
