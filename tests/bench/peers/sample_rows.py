"""PostgreSQL with one row per sample."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Coroutine, Sequence
from itertools import islice
from typing import Any, TypeVar

import asyncpg

from tests.bench.peers.encodings import copy_rows
from tests.bench.peers.http import CONNECTIONS
from tests.bench.peers.peer import Loaded, Peer, peak_memory
from tests.bench.peers.questions import Latest, LatestAnswer, Question, WindowAnswer, Windows
from tests.bench.postgres import DurableCluster
from tests.bench.workload import COUNTERS, GAUGES, METRICS, Readings

_T = TypeVar("_T")

_SCHEMA = """
CREATE TABLE samples (
    subject_id bigint NOT NULL, metric_id integer NOT NULL, time bigint NOT NULL, value double precision NOT NULL,
    PRIMARY KEY (subject_id, metric_id, time)
)
"""

# The step of a counter is the whole new value after a fall; a window's first step is taken from the sample before it.
_WINDOWS = f"""
SELECT metric_id, (time - $2) / $4 AS at,
    CASE WHEN metric_id < {len(COUNTERS)} THEN sum(CASE WHEN value < before THEN value ELSE value - before END)
        WHEN metric_id < {len(COUNTERS) + len(GAUGES)} THEN max(value)
        ELSE (array_agg(value ORDER BY time DESC))[1] END AS value
FROM (
    SELECT metric_id, time, value, lag(value) OVER (PARTITION BY metric_id ORDER BY time) AS before
    FROM samples WHERE subject_id = $1 AND metric_id < {len(METRICS)} AND time >= $2 - 3600000000 AND time < $3
) AS steps
WHERE time >= $2 GROUP BY 1, 2
"""
_LATEST = f"""
SELECT subject_id, metric_id, newest.value
FROM unnest($1::bigint[]) AS subject_id, generate_series(0, {len(METRICS) - 1}) AS metric_id, LATERAL (
    SELECT value FROM samples s
    WHERE s.subject_id = subject_id.subject_id AND s.metric_id = metric_id.metric_id AND time <= $2
    ORDER BY time DESC LIMIT 1
) AS newest
"""


_PIECE = 1 << 19


async def _pieces(body: bytes) -> AsyncIterator[bytes]:
    for at in range(0, len(body), _PIECE):
        yield body[at : at + _PIECE]


class SampleRows(Peer):
    """A table with the key that such a table needs, filled by `COPY` in its binary form."""

    name = "row_per_sample"
    title = "PostgreSQL, a row per sample"
    note = (
        "PostgreSQL: binary COPY of ready bodies over 2 connections, a transaction for each source, key (subject, "
        "metric, time), settings as they come; bytes of table and key after VACUUM; memory of its largest process"
    )

    def __init__(self, cluster: DurableCluster) -> None:
        """The cluster is for this alone, and not started."""
        self._cluster = cluster
        self._loop = asyncio.new_event_loop()
        self._connections: list[asyncpg.Connection[Any]] = []
        self._ids: dict[str, int] = {}

    def start(self) -> float:
        begun = time.perf_counter()
        self._cluster.start()
        self._connections = [self._run(self._connect()) for _ in range(CONNECTIONS)]
        seconds = time.perf_counter() - begun
        if not self._ids:
            self._run(self._connections[0].execute(_SCHEMA))
        return seconds

    async def _connect(self) -> asyncpg.Connection[Any]:
        return await asyncpg.connect(host=str(self._cluster.directory), user="postgres", database="postgres")

    def stop(self) -> None:
        for connection in self._connections:
            self._run(connection.close())
        self._connections = []
        self._cluster.end()

    def encode(self, parts: Sequence[Readings]) -> list[bytes]:
        return copy_rows([self._ids.setdefault(one.source, len(self._ids)) for one in parts], parts)

    def load(self, encoded: Sequence[bytes]) -> Loaded:
        async def copy(connection: asyncpg.Connection[Any], bodies: Sequence[bytes]) -> None:
            for body in bodies:
                await connection.copy_to_table("samples", source=_pieces(body), format="binary")

        async def all_of_it() -> None:
            shares = [list(islice(encoded, first, None, CONNECTIONS)) for first in range(CONNECTIONS)]
            await asyncio.gather(*map(copy, self._connections, shares))

        begun = time.perf_counter()
        self._run(all_of_it())
        seconds = time.perf_counter() - begun
        return Loaded(seconds, seconds)

    def settle(self) -> None:
        self._run(self._connections[0].execute("VACUUM ANALYZE samples"))
        self._run(self._connections[0].execute("CHECKPOINT"))

    def stored_bytes(self) -> int:
        return int(self._run(self._connections[0].fetchval("SELECT pg_total_relation_size('samples')")))

    def peak_memory(self) -> int:
        return max(peak_memory(connection.get_server_pid()) for connection in self._connections)

    def windows(self, question: Windows) -> WindowAnswer:
        answer: dict[str, dict[int, float]] = {metric: {} for metric in METRICS}
        for row in self._run(self._ask(question)):
            answer[METRICS[row["metric_id"]]][row["at"]] = row["value"]
        return answer

    def latest(self, question: Latest) -> LatestAnswer:
        names = {id_: source for source, id_ in self._ids.items()}
        rows = self._run(self._ask(question))
        return {(names[row["subject_id"]], METRICS[row["metric_id"]]): row["value"] for row in rows}

    def latencies(self, question: Question, calls: int) -> list[float]:
        async def ask_all() -> list[float]:
            seconds = []
            for _ in range(calls):
                begun = time.perf_counter()
                await self._ask(question)
                seconds.append(time.perf_counter() - begun)
            return seconds

        return self._run(ask_all())

    async def _ask(self, question: Question) -> list[Any]:
        connection = self._connections[0]
        if isinstance(question, Windows):
            arguments = (self._ids[question.source], question.start, question.end, question.width)
            return list(await connection.fetch(_WINDOWS, *arguments))
        return list(
            await connection.fetch(_LATEST, [self._ids[source] for source in question.sources], question.moment)
        )

    def _run(self, work: Coroutine[Any, Any, _T]) -> _T:
        return self._loop.run_until_complete(work)
