"""Runs of jobs as rows of `job_runs`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from streamgauge_server.model.jobs import JobRun, JobState, TaskCounts, Vertex
from streamgauge_server.storage import tables
from streamgauge_server.timeseries.counting import end_hour

RUN_COLUMNS = tuple(
    tables.job_runs.c[name]
    for name in (
        *("id", "run_id", "ordinal", "cluster", "state", "state_text", "lost"),
        *("queue_time", "start_time", "end_time", "duration", "observe_time", "details_time"),
        *("restarts", "recent_restarts", "tasks_running", "tasks_finished", "tasks_total"),
        *("final_figures", "history_truncated", "error", "error_id", "executions"),
    )
)
"""What `read_run` reads: all of a run but its vertices."""


def read_run(row: tables.AnyRow, *, prefix: str = "", vertices: tuple[Vertex, ...] = ()) -> JobRun:
    """Returns the run in those columns of a row that are called like `RUN_COLUMNS`, after a prefix."""
    cell = row._mapping
    total = cell[f"{prefix}tasks_total"]
    tasks = None
    if total is not None:
        tasks = TaskCounts(cell[f"{prefix}tasks_running"], cell[f"{prefix}tasks_finished"], total)
    return JobRun(
        number=cell[f"{prefix}id"],
        run_id=cell[f"{prefix}run_id"],
        ordinal=cell[f"{prefix}ordinal"],
        cluster=cell[f"{prefix}cluster"],
        state=JobState(cell[f"{prefix}state"]),
        state_text=cell[f"{prefix}state_text"],
        lost=cell[f"{prefix}lost"],
        queue_time=cell[f"{prefix}queue_time"],
        start_time=cell[f"{prefix}start_time"],
        end_time=cell[f"{prefix}end_time"],
        duration=cell[f"{prefix}duration"],
        restarts=cell[f"{prefix}restarts"],
        recent_restarts=tuple(cell[f"{prefix}recent_restarts"]),
        tasks=tasks,
        vertices=vertices,
        observe_time=cell[f"{prefix}observe_time"],
        details_time=cell[f"{prefix}details_time"],
        final_figures=cell[f"{prefix}final_figures"],
        history_truncated=cell[f"{prefix}history_truncated"],
        error=cell[f"{prefix}error"],
        error_number=cell[f"{prefix}error_id"],
        executions=cell[f"{prefix}executions"],
    )


def run_values(run: JobRun, job_type: int | None) -> dict[str, Any]:
    """Returns the values of a run's row that an update may change: all but number, ordinal, job and vertices.

    `job_type` is the number of its job's type.
    """
    tasks = run.tasks
    is_followed = run.active or (run.ended and not run.final_figures)
    return {
        "cluster": run.cluster,
        "followed_cluster": run.cluster if is_followed else None,
        "state": int(run.state),
        "state_text": run.state_text,
        "lost": run.lost,
        "queue_time": run.queue_time,
        "start_time": run.start_time,
        "end_time": run.end_time,
        "duration": run.duration,
        "restarts": run.restarts,
        "recent_restarts": list(run.recent_restarts),
        "tasks_running": None if tasks is None else tasks.running,
        "tasks_finished": None if tasks is None else tasks.finished,
        "tasks_total": None if tasks is None else tasks.total,
        "observe_time": run.observe_time,
        "details_time": run.details_time,
        "final_figures": run.final_figures,
        "history_truncated": run.history_truncated,
        "error": run.error,
        "error_id": run.error_number,
        "executions": run.executions,
        "job_type_id": job_type,
        "end_hour": end_hour(run),
    }


def status_values(run: JobRun) -> dict[str, Any]:
    """Returns what the row of a job repeats of the run that its status tells of."""
    return {
        "run_ordinal": run.ordinal,
        "run_state": int(run.state),
        "run_active": run.active,
        "start_order": -(run.start_time or 0),
    }


def vertex_rows(vertices: Sequence[Vertex]) -> list[list[Any]]:
    """Returns vertices as the column `vertices` has them."""
    return [
        [v.id, v.name, v.parallelism, v.state, v.read_records, v.write_records, v.read_bytes, v.write_bytes]
        for v in vertices
    ]


def read_vertices(rows: Sequence[Sequence[Any]]) -> tuple[Vertex, ...]:
    """Returns the vertices of the column `vertices`."""
    return tuple(Vertex(*row) for row in rows)
