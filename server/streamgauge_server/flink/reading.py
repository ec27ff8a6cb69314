"""Reads all figures of a job in as few requests as Flink allows."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from streamgauge_server.flink import catalog
from streamgauge_server.flink.client import FlinkClient
from streamgauge_server.flink.figures import Questions, Readings, compute, questions
from streamgauge_server.flink.job_details import JobDetails, Vertex

SETTLING_MS = 60_000
"""How long after the start of an attempt metrics still appear: those of tasks first, those of operators later."""
NAMES_FRESH_MS = 300_000
"""How long a list of metrics is used; operators may add some at any time, as at the first record of a kind."""


@dataclass(frozen=True, slots=True)
class JobReading:
    """A job's details, and its figures by metric name (`catalog.JOB_METRICS`), those that are known."""

    details: JobDetails
    figures: Mapping[str, int]


@dataclass(slots=True)
class _Names:
    """Names of a vertex's metrics and when they were listed, by Flink's clock."""

    names: frozenset[str]
    listed_ms: int

    def usable(self, vertex: Vertex, now_ms: int) -> bool:
        settled = self.listed_ms - (vertex.start_ms or self.listed_ms) > SETTLING_MS
        return settled and now_ms - self.listed_ms < NAMES_FRESH_MS


class FigureReader:
    """Reads jobs of one cluster. Remembers which metrics their vertices have, until `forget`.

    A running job costs two requests, one more for each vertex, and another where a vertex reports event times. In the
    first minute of an attempt, and then every five minutes, it costs one more for each vertex. An ended job costs one.
    """

    def __init__(self, client: FlinkClient) -> None:
        self._client = client
        self._names: dict[str, dict[str, _Names]] = {}

    async def read(self, jid: str) -> JobReading:
        """Returns details and figures of a job.

        The first reading of a job, and of an attempt, knows little: Flink fetches what it was asked for afterwards.

        Raises:
            Unreachable, NotFound, TooLarge, ValueError: see `FlinkClient`.
        """
        details = await self._client.job(jid)
        if details.state.terminal:
            self.forget(jid)
            return JobReading(details, compute(details, {}, {}))
        job_metrics = await self._client.job_metrics(jid, catalog.JOB_METRIC_IDS)
        names = await self._list_names(details)
        asked = questions(details, names)
        answered = await asyncio.gather(
            *(self._ask(jid, vertex, names[vertex], question) for vertex, question in asked.items())
        )
        readings = dict(zip(asked, answered, strict=True))
        return JobReading(details, compute(details, job_metrics, readings))

    def forget(self, jid: str) -> None:
        """Drops what is remembered of a job."""
        self._names.pop(jid, None)

    async def _list_names(self, details: JobDetails) -> dict[str, frozenset[str]]:
        known = self._names.setdefault(details.jid, {})
        now = details.now_ms or 0
        old = [v.id for v in details.vertices if v.id not in known or not known[v.id].usable(v, now)]
        listed = await asyncio.gather(*(self._client.subtask_metric_names(details.jid, id) for id in old))
        known.update((id, _Names(names, now)) for id, names in zip(old, listed, strict=True))
        return {id: known[id].names for id in known}

    async def _ask(self, jid: str, vertex: str, names: frozenset[str], question: Questions) -> Readings:
        aggregates = await self._client.subtask_aggregates(jid, vertex, question.aggregates)
        if question.aggregates and not aggregates:
            # One of the names is gone.
            self._names.get(jid, {}).pop(vertex, None)
        values = await self._client.vertex_metrics(jid, vertex, question.values)
        return Readings(names, aggregates, values)
