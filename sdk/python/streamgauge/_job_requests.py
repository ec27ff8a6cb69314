"""What `client.jobs` of both clients takes, and what becomes of it before it is a call."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TypedDict
from uuid import uuid4

from streamgauge._encode import names
from streamgauge.enums import JobState, Scalar
from streamgauge.job_reports import ExceptionLike, JobExecution, JobReport
from streamgauge.job_results import TaskCounts
from streamgauge.names import job_name
from streamgauge.v1 import job_service_pb2 as pb

STOP_MARGIN = 30.0
"""Seconds that a call to stop has beyond what it waits for the run's end."""


class JobFilters(TypedDict, total=False):
    """Which jobs a list holds: those that every filter lets through."""

    active_only: bool
    states: Iterable[JobState | str]
    cluster: str
    job_type: str
    labels: Mapping[str, str] | None


class ReportFields(TypedDict, total=False):
    """What a report may say beside job and state: the fields of `JobReport`."""

    run_id: str
    queue_time: datetime | None
    start_time: datetime | None
    end_time: datetime | None
    exceptions: Sequence[ExceptionLike]
    metrics: Mapping[str, Scalar]
    restart_count: int | None
    tasks: TaskCounts | None
    job_type: str
    error: str | None
    executions: Sequence[JobExecution]


class RunArguments(TypedDict, total=False):
    """What a run that reports itself may be told."""

    run_id: str
    job_type: str
    queue_time: datetime | None


def first_report(job: str, arguments: RunArguments) -> JobReport:
    """Returns the report that a run begins with, which the later ones repeat."""
    now = datetime.now(UTC)
    return JobReport(
        job,
        JobState.RUNNING,
        run_id=arguments.get("run_id") or uuid4().hex,
        queue_time=arguments.get("queue_time"),
        start_time=now,
        job_type=arguments.get("job_type", ""),
    )


def watched(jobs: Iterable[str], cursor: str, include_current: bool) -> pb.WatchJobsRequest:
    """Returns the request of a watch."""
    return pb.WatchJobsRequest(
        jobs=[job_name(job) for job in names(jobs)], cursor=cursor, include_current=include_current
    )


def patience(wait: timedelta | None, timeout: float | None) -> float | None:
    """Returns the deadline of a call to stop: as the caller says, else long enough for what it waits for."""
    if timeout is not None or wait is None:
        return timeout
    return wait.total_seconds() + STOP_MARGIN
