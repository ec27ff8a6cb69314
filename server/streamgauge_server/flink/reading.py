"""Reads all figures of a job in as few requests as Flink allows."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from streamgauge_server.flink import catalog
from streamgauge_server.flink.client import FlinkClient
from streamgauge_server.flink.figures import Questions, Readings, compute, questions
from streamgauge_server.flink.job_details import JobDetails


@dataclass(frozen=True, slots=True)
class JobReading:
    """A job's details, and its figures by metric name (`catalog.JOB_METRICS`), those that are known."""

    details: JobDetails
    figures: Mapping[str, int]


@dataclass(slots=True)
class _Names:
    """Names of metrics by vertex, as they were listed in one attempt of a job."""

    attempt: int
    by_vertex: dict[str, frozenset[str]]


class FigureReader:
    """Reads jobs of one cluster. Remembers which metrics their vertices have, until `forget`.

    A running job costs two requests, one more for each vertex, and another where a vertex reports event times; for each
    vertex one more after every restart. An ended job costs one.
    """

    def __init__(self, client: FlinkClient) -> None:
        self._client = client
        self._names: dict[str, _Names] = {}

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
        asked = questions(details, names.by_vertex)
        answered = await asyncio.gather(
            *(self._ask(jid, vertex, names, question) for vertex, question in asked.items())
        )
        readings = dict(zip(asked, answered, strict=True))
        return JobReading(details, compute(details, job_metrics, readings))

    def forget(self, jid: str) -> None:
        """Drops what is remembered of a job."""
        self._names.pop(jid, None)

    async def _list_names(self, details: JobDetails) -> _Names:
        known = self._names.get(details.jid)
        if known is None or known.attempt != details.attempt_ms:
            known = self._names[details.jid] = _Names(details.attempt_ms, {})
        missing = [vertex.id for vertex in details.vertices if vertex.id not in known.by_vertex]
        listed = await asyncio.gather(*(self._client.subtask_metric_names(details.jid, id) for id in missing))
        # Names that are not there yet are asked for again.
        known.by_vertex.update((id, names) for id, names in zip(missing, listed, strict=True) if names)
        return known

    async def _ask(self, jid: str, vertex: str, names: _Names, question: Questions) -> Readings:
        aggregates = await self._client.subtask_aggregates(jid, vertex, question.aggregates)
        listed = names.by_vertex[vertex]
        if question.aggregates and not aggregates:
            # One of the names is gone.
            del names.by_vertex[vertex]
        values = await self._client.vertex_metrics(jid, vertex, question.values)
        return Readings(listed, aggregates, values)
