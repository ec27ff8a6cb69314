"""Executions of runs as rows of `job_executions`."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from sqlalchemy import Connection

from streamgauge_server.model.jobs import Execution, ExecutionTask, JobOutcome, TaskKind
from streamgauge_server.storage import tables
from streamgauge_server.storage.key_lists import select_by_keys
from streamgauge_server.storage.upserts import upsert
from streamgauge_server.timeseries.counting import hour_of

_t = tables.job_executions.c

ExecutionKey = tuple[int, int, str]
"""Number of the job, number of the run, id of the execution."""

EXECUTION_COLUMNS = (
    *(_t.subject_id, _t.run, _t.execution_id, _t.outcome, _t.queue_time, _t.start_time, _t.end_time),
    *(_t.error_id, _t.job_type_id, _t.tasks),
)
"""What `read_execution` reads."""


class StoredExecution(NamedTuple):
    """An execution as it is stored: the name of its error is "", and its number beside it."""

    execution: Execution
    error: int | None
    job_type: int | None


def read_execution(row: tables.AnyRow) -> StoredExecution:
    """Returns the execution of a row."""
    execution = Execution(
        row.execution_id,
        JobOutcome(row.outcome),
        row.end_time,
        row.queue_time,
        row.start_time,
        tuple(ExecutionTask(TaskKind(kind), start_time, end_time) for kind, start_time, end_time in row.tasks),
    )
    return StoredExecution(execution, row.error_id, row.job_type_id)


def find_executions(connection: Connection, keys: Collection[ExecutionKey]) -> dict[ExecutionKey, StoredExecution]:
    """Returns those of the executions that are stored."""
    if not keys:
        return {}
    rows = select_by_keys(connection, EXECUTION_COLUMNS, (_t.subject_id, _t.run, _t.execution_id), keys)
    return {(row.subject_id, row.run, row.execution_id): read_execution(row) for row in rows}


def write_executions(connection: Connection, executions: Mapping[ExecutionKey, StoredExecution]) -> None:
    """Stores executions, in place of those with the same keys."""
    upsert(connection, tables.job_executions, [_row(key, stored) for key, stored in executions.items()])


def _row(key: ExecutionKey, stored: StoredExecution) -> dict[str, Any]:
    job, run, id_ = key
    execution = stored.execution
    return {
        "subject_id": job,
        "run": run,
        "execution_id": id_,
        "outcome": int(execution.outcome),
        "queue_time": execution.queue_time,
        "start_time": execution.start_time,
        "end_time": execution.end_time,
        "error_id": stored.error,
        "job_type_id": stored.job_type,
        "end_hour": hour_of(execution.end_time),
        "tasks": [[int(task.kind), task.start_time, task.end_time] for task in execution.tasks],
    }
