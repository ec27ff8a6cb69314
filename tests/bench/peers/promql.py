"""The questions in PromQL, for the two systems that understand it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any
from urllib.parse import urlencode

from tests.bench.peers.encodings import SERIES
from tests.bench.peers.http import asked, latencies
from tests.bench.peers.peer import HttpPeer
from tests.bench.peers.questions import Latest, LatestAnswer, Question, WindowAnswer, Windows
from tests.bench.workload import MICROS

_BEFORE = 0.001
"""Seconds. `[1h]` at a moment is the hour up to it, the moment included; windows end before their end."""


class PromQlPeer(HttpPeer):
    """A system with Prometheus' API of queries."""

    query_options: Mapping[str, str] = MappingProxyType({})
    """Parameters of every query beside those of the API."""

    def windows(self, question: Windows) -> WindowAnswer:
        told = asked(self.port, "/api/v1/query_range", self._range(question))
        first = question.start / MICROS + question.width / MICROS - _BEFORE
        return {
            series["metric"]["metric"]: {
                round((moment - first) / (question.width / MICROS)): float(value) for moment, value in series["values"]
            }
            for series in told["data"]["result"]
        }

    def latest(self, question: Latest) -> LatestAnswer:
        told = asked(self.port, "/api/v1/query", self._instant(question))
        return {
            (series["metric"]["source"], series["metric"]["metric"]): float(series["value"][1])
            for series in told["data"]["result"]
        }

    def latencies(self, question: Question, calls: int) -> list[float]:
        if isinstance(question, Windows):
            path, parameters = "/api/v1/query_range", self._range(question)
        else:
            path, parameters = "/api/v1/query", self._instant(question)
        return latencies(self.url(f"{path}?{urlencode(parameters)}"), calls)

    def _range(self, question: Windows) -> dict[str, str]:
        width = question.width // MICROS
        source = f'{{source="{question.source}"}}[{width}s]'
        query = f"increase(counters{source}) or max_over_time(gauges{source}) or last_over_time(rates{source})"
        start, end = (f"{moment / MICROS - _BEFORE:.3f}" for moment in (question.start + question.width, question.end))
        return {"query": query, "start": start, "end": end, "step": str(width)} | dict(self.query_options)

    def _instant(self, question: Latest) -> dict[str, Any]:
        query = f'{{__name__=~"{"|".join(SERIES)}"}}'
        return {"query": query, "time": f"{question.moment / MICROS:.3f}"} | dict(self.query_options)
