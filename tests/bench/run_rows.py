"""Runs of jobs loaded in bulk into a SQLite store, and what plots of them are compared with: SQL over the runs."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from random import Random

from streamgauge_server.model.clock import SystemClock
from streamgauge_server.model.metric_types import FigureType
from streamgauge_server.storage import tables
from streamgauge_server.storage.store import Store

from tests.bench.workload import DAY, MICROS

HOUR = 3_600 * MICROS
EXECUTION_SHARE = 10
"""One run in so many has an execution of its own, with three tasks; the others stand for one."""
CHUNK = 100_000
FINISHED, FAILED, CANCELED = 9, 6, 8
COMPLETED = 1
PRE, MAIN, POST = 2, 3, 4

Row = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class LoadedJob:
    """A job of the store, by its numbers."""

    subject: int
    job_type: int


def load(path: str, runs: int, now: int) -> str:
    """Adds runs that ended in the year before `now`, evenly over the jobs that are there, without figures.

    Returns the tenant.
    """
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA cache_size = -1000000")
        (tenant,) = connection.execute("SELECT tenant FROM jobs").fetchone()
        jobs = [LoadedJob(*row) for row in connection.execute("SELECT subject_id, job_type_id FROM jobs ORDER BY 1")]
        errors = [number for (number,) in connection.execute("SELECT id FROM job_errors WHERE built_in ORDER BY id")]
        begun = time.monotonic()
        rows: list[Row] = []
        executions: list[Row] = []
        for done, (run, execution) in enumerate(_records(tenant, jobs, errors, runs, now), 1):
            rows.append(run)
            if execution is not None:
                executions.append(execution)
            if len(rows) == CHUNK or done == runs:
                connection.execute("BEGIN IMMEDIATE")
                connection.executemany(_insert(tables.job_runs.name, _RUN_COLUMNS), rows)
                connection.executemany(_insert(tables.job_executions.name, _EXECUTION_COLUMNS), executions)
                connection.execute("COMMIT")
                rows.clear()
                executions.clear()
                if done % (10 * CHUNK) == 0 or done == runs:
                    print(f"  {done:,} runs loaded, {time.monotonic() - begun:.0f} s", flush=True)
        connection.execute("ANALYZE")
        return str(tenant)
    finally:
        connection.close()


_RUN_COLUMNS = (
    *("id", "subject_id", "ordinal", "tenant", "run_id", "cluster", "followed_cluster", "state", "state_text", "lost"),
    *("queue_time", "start_time", "end_time", "duration", "restarts", "observe_time", "final_figures"),
    *("history_truncated", "error", "recent_restarts", "vertices", "error_id", "executions", "job_type_id", "end_hour"),
)
_EXECUTION_COLUMNS = (
    *("subject_id", "run", "execution_id", "outcome", "queue_time", "start_time", "end_time", "error_id"),
    *("job_type_id", "end_hour", "tasks"),
)


def _insert(table: str, columns: Sequence[str]) -> str:
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"


def _records(
    tenant: str, jobs: Sequence[LoadedJob], errors: Sequence[int], runs: int, now: int
) -> Iterator[tuple[Row, Row | None]]:
    """Yields runs, job by job in the order of their ends, each with its execution if it has one."""
    random = Random(5).random
    of_job = runs // len(jobs)
    step = 365 * DAY // of_job
    number = 0
    for place, job in enumerate(jobs):
        for ordinal in range(1, of_job + 1):
            number += 1
            chance, length = random(), int((1 + place % 60) * MICROS * (0.5 + 10 * random() ** 3))
            end = now - (of_job - ordinal) * step - int(random() * step)
            start = end - length
            queued = start - int(random() * 60 * MICROS)
            state, error = (FINISHED, None)
            if chance < 0.05:
                state, error = FAILED, errors[number % len(errors)]
            elif chance < 0.07:
                state = CANCELED
            has_execution = (place + ordinal) % EXECUTION_SHARE == 0
            hour = end // HOUR
            run = (
                *(number, job.subject, ordinal, tenant, f"{place:04}-{ordinal:07}", "", None, state, "", False),
                *(queued, start, end, length, 0, end, True, False, "", "[]", "[]", error, int(has_execution)),
                *(job.job_type, hour),
            )
            if not has_execution:
                yield run, None
                continue
            first, last = start + length // 8, end - length // 8
            tasks = f"[[{PRE}, {start}, {first}], [{MAIN}, {first}, {last}], [{POST}, {last}, {end}]]"
            outcome = {FINISHED: COMPLETED, FAILED: 2, CANCELED: 3}[state]
            yield (
                run,
                (job.subject, number, "1", outcome, queued, start, end, error, job.job_type, hour, tasks),
            )


def count(url: str, tenant: str, first_day: int, last_day: int) -> None:
    """Computes the figures of days (since 1970, both included) from the runs, as `RecalculateMetricType` does."""

    async def work() -> None:
        store = await Store.open(url, clock=SystemClock())
        try:
            begun = time.monotonic()
            for day in range(first_day, last_day + 1):
                done = await store.figures.recalculate(tenant, FigureType.JOB_TYPES, 24 * day, 24 * day + 23)
                if (last_day - day) % 10 == 0:
                    of_day = datetime.fromtimestamp(day * DAY / MICROS, UTC).date()
                    seconds = time.monotonic() - begun
                    print(f"  {of_day}: {done.checked:,} figures of hours, {seconds:.0f} s", flush=True)
        finally:
            await store.close()

    asyncio.run(work())


_WITHIN = """job_type_id IN ({types}) AND end_hour >= :first AND end_hour < :end"""
_COUNTS = (
    """
SELECT end_hour / 24 AS day, {choice} AS choice,
    sum(state = 9), sum(state = 6), sum(state = 8), count(*),
    sum(category IS 1), sum(category IS 2), sum(category IS 3)
FROM job_runs LEFT JOIN job_errors ON job_errors.id = error_id
WHERE """
    + _WITHIN
    + " GROUP BY 1, 2"
)
_TASK = """(SELECT max(0, json_extract(value, '$[2]') - json_extract(value, '$[1]')) FROM json_each(tasks)
        WHERE json_extract(value, '$[0]') = {kind} LIMIT 1)"""
_LENGTHS = (
    """
WITH lengths AS (
    SELECT end_hour / 24 AS day, {choice} AS choice,
        max(0, start_time - queue_time) AS queue, NULL AS pre, NULL AS main, NULL AS post,
        max(0, end_time - start_time) AS run, NULL AS stage
    FROM job_runs WHERE state = 9 AND executions = 0 AND """
    + _WITHIN
    + """
    UNION ALL
    SELECT day, choice, queue, pre, main, post, run, max(0, run - pre - main - post) FROM (
        SELECT end_hour / 24 AS day, {choice} AS choice, max(0, start_time - queue_time) AS queue,
            """
    + ", ".join(f"{_TASK.format(kind=kind)} AS {name}" for kind, name in ((PRE, "pre"), (MAIN, "main"), (POST, "post")))
    + """,
            max(0, end_time - start_time) AS run
        FROM job_executions WHERE outcome = 1 AND """
    + _WITHIN
    + """
    )
)
SELECT day, choice, """
    + ", ".join(
        f"sum({name}) / 1000000, min({name}) / 1000000, max({name}) / 1000000, sum({name}) / (count({name}) * 1000000)"
        for name in ("queue", "pre", "main", "post", "run", "stage")
    )
    + " FROM lengths GROUP BY 1, 2"
)
COUNT_COLUMNS = (
    *("completed_count", "failed_count", "canceled_count", "total_count"),
    *("error_system_count", "error_data_count", "error_algorithm_count"),
)
LENGTH_COLUMNS = tuple(
    f"{measure}_time_{part}"
    for measure in ("queue", "pre", "job", "post", "run", "stage")
    for part in ("sum", "min", "max", "avg")
)

Plot = dict[tuple[str, int, int], int]
"""Values by column, day and choice."""


class SqlPlots:
    """The same answers by SQL, in the same file, by the index on type and hour that the store has."""

    def __init__(self, path: str) -> None:
        self._connection = sqlite3.connect(path)
        self._connection.execute("PRAGMA query_only = ON")

    def plot(self, choices: Sequence[int], first_day: int, end_day: int) -> Plot:
        """Returns all columns by day, of each choice, or without any of all together (0)."""
        types = ", ".join(map(str, choices)) if choices else "SELECT id FROM job_types"
        choice = "job_type_id" if choices else "0"
        hours = {"first": 24 * first_day, "end": 24 * end_day}
        found: Plot = {}
        for statement, columns in ((_COUNTS, COUNT_COLUMNS), (_LENGTHS, LENGTH_COLUMNS)):
            for day, chosen, *values in self._connection.execute(statement.format(types=types, choice=choice), hours):
                for column, value in zip(columns, values, strict=True):
                    if value is not None:
                        found[column, day, chosen] = value
        return found

    def close(self) -> None:
        """Closes the file."""
        self._connection.close()


class SqliteRuns:
    """A plain table of runs: a row each, write-ahead log, every commit synced, as the server's store."""

    def __init__(self, path: str) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = FULL")
        self._connection.execute(
            "CREATE TABLE runs (job text NOT NULL, run_id text NOT NULL, state integer NOT NULL, "
            "job_type text NOT NULL, queue_time integer, start_time integer, end_time integer, "
            "PRIMARY KEY (job, run_id)) WITHOUT ROWID"
        )
        self._connection.execute("CREATE INDEX runs_by_type ON runs (job_type, end_time)")

    def insert(self, rows: Sequence[Row]) -> None:
        """Inserts rows in one transaction; returns when they are durable."""
        self._connection.execute("BEGIN IMMEDIATE")
        self._connection.executemany("INSERT INTO runs VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
        self._connection.execute("COMMIT")

    def close(self) -> None:
        """Closes the file."""
        self._connection.close()
