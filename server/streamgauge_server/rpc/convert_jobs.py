"""Between the messages of `JobService` and dataclasses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from google.protobuf.duration_pb2 import Duration
from streamgauge.v1 import common_pb2
from streamgauge.v1 import job_service_pb2 as pb

from streamgauge_server.model.clock import MICROS_PER_SECOND
from streamgauge_server.model.job_errors import ErrorCategory, ErrorInfo
from streamgauge_server.model.jobs import (
    JOB_TYPE_CHANGEABLE,
    OUTCOMES,
    ClusterStatus,
    Job,
    JobRun,
    JobState,
    JobType,
    RunException,
    StateChange,
    TaskCounts,
)
from streamgauge_server.model.names import SubjectName
from streamgauge_server.model.values import SubjectKind
from streamgauge_server.rpc import convert
from streamgauge_server.services.execution_checks import ReportedExecution, ReportedTask
from streamgauge_server.services.job_status import JobStatus
from streamgauge_server.services.report_checks import JobReport, ReportedException

_MAX_NANOS = 999_999_999
_MAX_SECONDS = 315_576_000_000
"""The bound of `google.protobuf.Duration`, about 10,000 years."""

_TYPE_DEFAULTS = JobType("", 0, "")


def job_message(job: Job, now: int) -> pb.Job:
    """Returns a job with its run as it is at the moment `now`."""
    message = pb.Job()
    fill_job(message, job, now)
    return message


def fill_job(message: pb.Job, job: Job, now: int) -> None:
    """Fills an empty message with a job with its run as it is at the moment `now`."""
    message.name = _job_name(job.id)
    message.job_name = job.job_name
    message.cluster = job.cluster
    if job.job_type:
        message.job_type = f"jobTypes/{job.job_type}"
    if job.labels:
        message.labels.update(job.labels)
    message.etag = job.etag
    convert.fill_timestamp(message.create_time, job.create_time)
    convert.fill_timestamp(message.update_time, job.update_time)
    if job.run is not None:
        fill_run(message.run, job.run, now)


def fill_run(message: pb.JobRun, run: JobRun, now: int) -> None:
    """Fills an empty message with a run as it is at the moment `now`."""
    message.run_id = run.run_id
    message.ordinal = run.ordinal
    message.state = run.state.value  # type: ignore[assignment]  # the numbers are equal, held by a test
    message.state_text = run.state_text
    if run.ended:
        message.outcome = OUTCOMES[run.state].value  # type: ignore[assignment]
    message.lost = run.lost
    message.degraded = run.degraded
    message.flapping = run.flapping(now)
    for field, time in (
        ("queue_time", run.queue_time),
        ("start_time", run.start_time),
        ("end_time", run.end_time),
        ("observe_time", run.observe_time),
    ):
        if time is not None:
            convert.fill_timestamp(getattr(message, field), time)
    if run.start_time is not None:
        convert.fill_duration(message.duration, run.duration)
    message.restart_count = run.restarts
    if run.tasks is not None:
        message.tasks.SetInParent()  # counts of zero are told too
        message.tasks.running = run.tasks.running
        message.tasks.finished = run.tasks.finished
        message.tasks.total = run.tasks.total
    for vertex in run.vertices:
        message.vertices.add(
            id=vertex.id,
            name=vertex.name,
            parallelism=vertex.parallelism,
            state=vertex.state,
            read_records=vertex.read_records,
            write_records=vertex.write_records,
            read_bytes=vertex.read_bytes,
            write_bytes=vertex.write_bytes,
        )
    message.final_figures = run.final_figures
    message.error = run.error


def run_message(run: JobRun, now: int) -> pb.JobRun:
    """Returns a run as it is at the moment `now`."""
    message = pb.JobRun()
    fill_run(message, run, now)
    return message


def status_message(status: JobStatus, now: int) -> pb.GetJobStatusResponse:
    """Returns the status of a job."""
    message = pb.GetJobStatusResponse()
    fill_status(message, status, now)
    return message


def fill_status(message: pb.GetJobStatusResponse, status: JobStatus, now: int) -> None:
    """Fills an empty message with the status of a job."""
    fill_job(message.job, status.job, now)
    message.origin = status.origin.value  # type: ignore[assignment]
    message.stale = status.stale
    message.messages.extend(status.messages)
    message.active_run_ids.extend(status.active_run_ids)


def exception_message(exception: RunException) -> pb.JobException:
    """Returns an exception of a run."""
    message = pb.JobException(
        time=convert.timestamp(exception.time),
        exception_class=exception.exception_class,
        summary=exception.summary,
        stacktrace=exception.stacktrace,
        truncated=exception.truncated,
        task=exception.task,
        endpoint=exception.endpoint,
    )
    if exception.cause_class or exception.cause_summary:
        message.cause.exception_class = exception.cause_class
        message.cause.summary = exception.cause_summary
        message.cause.task = exception.cause_task
    return message


def change_message(change: StateChange) -> pb.JobStateChange:
    """Returns a change of state."""
    return pb.JobStateChange(
        job=_job_name(change.job_id),
        run_id=change.run_id,
        previous_state=change.previous.value if change.previous is not None else 0,  # type: ignore[arg-type]
        state=change.state.value,  # type: ignore[arg-type]
        state_text=change.state_text,
        lost=change.lost,
        restart_count=change.restarts,
        observe_time=convert.timestamp(change.observe_time),
    )


def count_messages(counts: Mapping[JobState | None, int]) -> list[pb.JobStateCount]:
    """Returns how many jobs are in which state, in the order of the states."""
    by_number = {0 if state is None else state.value: count for state, count in counts.items()}
    return [
        pb.JobStateCount(state=number, count=count)  # type: ignore[arg-type]
        for number, count in sorted(by_number.items())
    ]


def cluster_message(status: ClusterStatus) -> common_pb2.ClusterStatus:
    """Returns what the collector of a cluster knows of it."""
    message = common_pb2.ClusterStatus(
        cluster=status.cluster,
        reachable=status.reachable,
        problem=status.problem,
        version=status.version,
        active_runs=status.active_runs,
    )
    if status.last_success_time is not None:
        convert.fill_timestamp(message.last_success_time, status.last_success_time)
    if status.last_attempt_time is not None:
        convert.fill_timestamp(message.last_attempt_time, status.last_attempt_time)
        convert.fill_duration(message.last_poll_duration, status.last_poll_duration)
    return message


def job_type_message(job_type: JobType) -> pb.JobType:
    """Returns a job type."""
    return pb.JobType(
        name=f"jobTypes/{job_type.id}",
        number=job_type.number,
        **{name: getattr(job_type, name) for name in JOB_TYPE_CHANGEABLE},
        etag=job_type.etag,
        create_time=convert.timestamp(job_type.create_time),
        update_time=convert.timestamp(job_type.update_time),
    )


def job_type_fields(message: pb.JobType, names: Sequence[str]) -> dict[str, Any]:
    """Returns named fields of a job type; those that are not set have their defaults."""
    found = convert.fields_of(message, names)
    return {name: getattr(_TYPE_DEFAULTS, name) if value is None else value for name, value in found.items()}


def report(message: pb.JobReport) -> JobReport:
    """Decodes a report; what is wrong with it is for the service to say."""
    sample = convert.sample
    return JobReport(
        job=message.job,
        run_id=message.run_id,
        state=message.state,
        queue_time=convert.optional_micros(message, "queue_time"),
        start_time=convert.optional_micros(message, "start_time"),
        end_time=convert.optional_micros(message, "end_time"),
        exceptions=[
            ReportedException(convert.optional_micros(one, "time"), one.exception_class, one.stacktrace, one.task)
            for one in message.exceptions
        ],
        metrics={name: sample(message.metrics[name]) for name in message.metrics},
        restarts=message.restart_count if message.HasField("restart_count") else None,
        tasks=(
            TaskCounts(message.tasks.running, message.tasks.finished, message.tasks.total)
            if message.HasField("tasks")
            else None
        ),
        job_type=message.job_type,
        error=message.error if message.HasField("error") else None,
        executions=[_execution(one) for one in message.executions],
    )


def error_message(error: ErrorInfo) -> pb.CatalogError:
    """Returns an error of the catalog."""
    return pb.CatalogError(
        number=error.number,
        error=error.error,
        title=error.title,
        description=error.description,
        category=int(error.category),  # type: ignore[arg-type]
        job_type_name=error.job_type_name,
        built_in=error.built_in,
        should_be_retried=error.should_be_retried,
    )


def error_info(message: pb.CatalogError, category: ErrorCategory) -> ErrorInfo:
    """Returns an error that is to be added; what is wrong with it is for the service to say."""
    return ErrorInfo(
        number=0,
        error=message.error,
        category=category,
        title=message.title,
        description=message.description,
        job_type_name=message.job_type_name,
        should_be_retried=message.should_be_retried,
    )


def _execution(message: pb.JobExecution) -> ReportedExecution:
    times = convert.optional_micros
    return ReportedExecution(
        execution_id=message.execution_id,
        outcome=message.outcome,
        queue_time=times(message, "queue_time"),
        start_time=times(message, "start_time"),
        end_time=times(message, "end_time"),
        tasks=[ReportedTask(one.kind, times(one, "start_time"), times(one, "end_time")) for one in message.tasks],
        error=message.error,
    )


def duration(violations: convert.Violations, message: Any, field: str, prefix: str = "") -> int | None:
    """Returns a duration field in microseconds, None when it is not set or no duration, which is then a violation.

    `prefix` is what stands before the field in its path.
    """
    if not message.HasField(field):
        return None
    told: Duration = getattr(message, field)
    seconds, nanos = told.seconds, told.nanos
    if abs(seconds) > _MAX_SECONDS or abs(nanos) > _MAX_NANOS or seconds * nanos < 0:
        violations.add(
            f"{prefix}{field}",
            "is not a valid duration: seconds and nanos must have one sign and be within their bounds",
        )
        return None
    # Cut towards zero, as times are; what is negative stays so.
    micros = abs(seconds) * MICROS_PER_SECOND + abs(nanos) // 1000
    return -max(micros, 1) if seconds < 0 or nanos < 0 else micros


def _job_name(id: str) -> str:
    return str(SubjectName(SubjectKind.JOB, id))
