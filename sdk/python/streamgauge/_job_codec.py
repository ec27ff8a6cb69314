"""Jobs into messages and back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from datetime import timedelta
from typing import Any

from google.protobuf import duration_pb2
from google.protobuf.field_mask_pb2 import FieldMask

from streamgauge import job_results as results
from streamgauge._decode import by_number, latest_value, maybe, moment
from streamgauge._encode import duration, enum_number, names, put_time, put_value
from streamgauge.enums import ErrorCategory, JobOutcome, JobState, StatusOrigin, StopMode, TaskKind
from streamgauge.job_reports import JobExecution, JobReport, ReportedException, ReportedJob
from streamgauge.names import job_name, job_type_name
from streamgauge.paging import Page
from streamgauge.v1 import common_pb2
from streamgauge.v1 import job_service_pb2 as pb

MAX_REPORTS = 1_000
"""Reports in one request: the server's bound."""
MAX_REQUEST_BYTES = 1024 * 1024
"""Reports in one request, encoded."""

_STATES = by_number(JobState, pb.JobState, "JOB_STATE_")
_OUTCOMES = by_number(JobOutcome, pb.JobOutcome, "JOB_OUTCOME_")
_CATEGORIES = by_number(ErrorCategory, pb.ErrorCategory, "ERROR_CATEGORY_")
_ORIGINS = by_number(StatusOrigin, pb.StatusOrigin, "STATUS_ORIGIN_")


# --- Answers ---------------------------------------------------------------------------------------------------------


def _state(number: int) -> JobState | None:
    return _STATES.get(number, JobState.UNKNOWN) if number else None


def _some_state(number: int) -> JobState:
    return _STATES.get(number, JobState.UNKNOWN)


def _length(message: duration_pb2.Duration) -> timedelta:
    return timedelta(seconds=message.seconds, microseconds=message.nanos // 1_000)


def _optional(message: Any, field: str) -> int | None:
    return getattr(message, field) if message.HasField(field) else None


def _tasks(message: pb.TaskCounts) -> results.TaskCounts:
    return results.TaskCounts(message.running, message.finished, message.total)


def _vertex(message: pb.JobVertex) -> results.JobVertex:
    return results.JobVertex(
        message.id,
        message.name,
        message.parallelism,
        message.state,
        _optional(message, "read_records"),
        _optional(message, "write_records"),
        _optional(message, "read_bytes"),
        _optional(message, "write_bytes"),
    )


def run(message: pb.JobRun) -> results.JobRun:
    """Returns a run."""
    return results.JobRun(
        run_id=message.run_id,
        ordinal=message.ordinal,
        state=_some_state(message.state),
        state_text=message.state_text,
        outcome=_OUTCOMES.get(message.outcome, JobOutcome.UNKNOWN) if message.outcome else None,
        lost=message.lost,
        degraded=message.degraded,
        flapping=message.flapping,
        queue_time=maybe(message, "queue_time"),
        start_time=maybe(message, "start_time"),
        end_time=maybe(message, "end_time"),
        duration=_length(message.duration) if message.HasField("duration") else None,
        restart_count=message.restart_count,
        tasks=_tasks(message.tasks) if message.HasField("tasks") else None,
        vertices=tuple(map(_vertex, message.vertices)),
        observe_time=maybe(message, "observe_time"),
        final_figures=message.final_figures,
        error=message.error,
    )


def job(message: pb.Job) -> results.Job:
    """Returns a job."""
    return results.Job(
        name=message.name,
        job_name=message.job_name,
        cluster=message.cluster,
        job_type=message.job_type,
        labels=dict(message.labels),
        run=run(message.run) if message.HasField("run") else None,
        etag=message.etag,
        create_time=moment(message.create_time),
        update_time=moment(message.update_time),
    )


def _cluster(message: common_pb2.ClusterStatus) -> results.ClusterStatus:
    return results.ClusterStatus(
        message.cluster,
        message.reachable,
        maybe(message, "last_success_time"),
        maybe(message, "last_attempt_time"),
        message.problem,
        message.version,
        _length(message.last_poll_duration),
        message.active_runs,
    )


def jobs_page(message: pb.ListJobsResponse) -> Page[results.Job]:
    """Returns a page of jobs."""
    return Page(tuple(map(job, message.jobs)), message.next_page_token, message.total_size)


def overview(message: pb.ListJobsResponse) -> results.JobOverview:
    """Returns the overview."""
    return results.JobOverview(
        tuple(map(job, message.jobs)),
        message.total_size,
        {_state(count.state): count.count for count in message.state_counts},
        tuple(map(_cluster, message.clusters)),
    )


def runs_page(message: pb.ListJobRunsResponse) -> Page[results.JobRun]:
    """Returns a page of runs."""
    return Page(tuple(map(run, message.runs)), message.next_page_token)


def status(message: pb.GetJobStatusResponse) -> results.JobStatus:
    """Returns a status."""
    return results.JobStatus(
        job(message.job),
        _ORIGINS.get(message.origin, StatusOrigin.UNKNOWN),
        message.stale,
        tuple(message.messages),
        tuple(message.active_run_ids),
    )


def status_and_metrics(message: pb.GetJobStatusAndMetricsResponse) -> results.JobStatusAndMetrics:
    """Returns a status with metrics."""
    return results.JobStatusAndMetrics(status(message.status), {m.metric: latest_value(m) for m in message.metrics})


def _exception(message: pb.JobException) -> results.JobException:
    cause = message.cause
    return results.JobException(
        maybe(message, "time"),
        message.exception_class,
        message.summary,
        message.stacktrace,
        message.truncated,
        message.task,
        message.endpoint,
        results.JobExceptionCause(cause.exception_class, cause.summary, cause.task)
        if message.HasField("cause")
        else None,
    )


def exceptions_page(message: pb.ListJobExceptionsResponse) -> results.ExceptionPage:
    """Returns a page of exceptions."""
    return results.ExceptionPage(
        tuple(map(_exception, message.exceptions)),
        message.next_page_token,
        run_id=message.run_id,
        history_truncated=message.history_truncated,
        stale=message.stale,
        messages=tuple(message.messages),
    )


def stopped(message: pb.StopJobResponse) -> results.StopResult:
    """Returns what became of the wish to stop a run."""
    return results.StopResult(
        run(message.run),
        message.accepted,
        message.already_stopped,
        message.ended,
        message.savepoint_location,
        tuple(message.messages),
    )


def watch_message(message: pb.WatchJobsResponse) -> results.WatchMessage:
    """Returns a message of a watch."""
    return results.WatchMessage(tuple(map(_change, message.changes)), message.cursor)


def _change(message: pb.JobStateChange) -> results.JobChange:
    return results.JobChange(
        message.job,
        message.run_id,
        _state(message.previous_state),
        _some_state(message.state),
        message.state_text,
        message.lost,
        message.restart_count,
        moment(message.observe_time),
    )


def reported(message: pb.ReportJobResponse) -> tuple[ReportedJob, ...]:
    """Returns what became of reports."""
    return tuple(ReportedJob(entry.job, entry.run_id, _some_state(entry.state)) for entry in message.jobs)


def job_type(message: pb.JobType) -> results.JobType:
    """Returns a job type."""
    values = {field.name: getattr(message, field.name) for field in fields(results.JobType)}
    times = {name: moment(values[name]) for name in ("create_time", "update_time")}
    return results.JobType(**(values | times))


def job_types_page(message: pb.ListJobTypesResponse) -> Page[results.JobType]:
    """Returns a page of job types."""
    return Page(tuple(map(job_type, message.job_types)), message.next_page_token, message.total_size)


def catalog_error(message: pb.CatalogError) -> results.CatalogError:
    """Returns an error of the catalog."""
    return results.CatalogError(
        number=message.number,
        error=message.error,
        category=_CATEGORIES.get(message.category, ErrorCategory.UNKNOWN),
        title=message.title,
        description=message.description,
        job_type_name=message.job_type_name,
        should_be_retried=message.should_be_retried,
        built_in=message.built_in,
    )


def errors_page(message: pb.ListErrorsResponse) -> Page[results.CatalogError]:
    """Returns a page of the catalog of errors."""
    return Page(tuple(map(catalog_error, message.errors)), message.next_page_token, message.total_size)


# --- Requests --------------------------------------------------------------------------------------------------------


def create(
    job_id: str, job_name: str, cluster: str, job_type: str, labels: Mapping[str, str] | None
) -> pb.CreateJobRequest:
    """Returns the request that registers a job."""
    given = pb.Job(job_name=job_name, cluster=cluster, job_type=job_type_name(job_type), labels=dict(labels or {}))
    return pb.CreateJobRequest(job_id=job_id, job=given)


def list_jobs(
    *,
    active_only: bool = False,
    states: Iterable[JobState | str] = (),
    cluster: str = "",
    job_type: str = "",
    labels: Mapping[str, str] | None = None,
    page_size: int,
    page_token: str,
) -> pb.ListJobsRequest:
    """Returns the request for a page of jobs."""
    return pb.ListJobsRequest(
        active_only=active_only,
        states=[enum_number(JobState, state) for state in names(states)],
        cluster=cluster,
        job_type=job_type_name(job_type),
        labels=[f"{key}={value}" for key, value in (labels or {}).items()],
        page_size=page_size,
        page_token=page_token,
    )


def update(
    name: str, new_job_name: str | None, new_type: str | None, labels: Mapping[str, str] | None, etag: str
) -> pb.UpdateJobRequest:
    """Returns the request that changes a job; None leaves a field as it is. ValueError when nothing is to change."""
    message = pb.Job(name=job_name(name), etag=etag)
    paths: list[str] = []
    if new_job_name is not None:
        message.job_name = new_job_name
        paths.append("job_name")
    if new_type is not None:
        message.job_type = job_type_name(new_type)
        paths.append("job_type")
    if labels is not None:
        message.labels.update(labels)
        paths.append("labels")
    if not paths:  # an empty mask would mean every field
        raise ValueError("give a field to change: job_name, job_type or labels")
    return pb.UpdateJobRequest(job=message, update_mask=FieldMask(paths=paths))


def stop(
    job: str,
    mode: StopMode | str,
    *,
    drain: bool,
    savepoint_directory: str,
    run_id: str,
    wait: timedelta | None,
) -> pb.StopJobRequest:
    """Returns the request to stop a run."""
    return pb.StopJobRequest(
        job=job,
        run_id=run_id,
        mode=enum_number(StopMode, mode),
        drain=drain,
        savepoint_directory=savepoint_directory,
        wait=duration(wait, "wait"),
    )


def report(given: JobReport) -> pb.JobReport:
    """Returns the message of a report. ValueError, TypeError for what cannot be sent, with its place."""
    message = pb.JobReport(
        job=given.job,
        run_id=given.run_id,
        state=enum_number(JobState, given.state),
        restart_count=given.restart_count,
        job_type=job_type_name(given.job_type),
        error=given.error,
        executions=map(_execution, given.executions),
    )
    _put_times(message, given, "queue_time", "start_time", "end_time")
    for error in given.exceptions:
        message.exceptions.append(
            exception(error if isinstance(error, ReportedException) else ReportedException.of(error))
        )
    for metric, value in given.metrics.items():
        put_value(message.metrics[metric], value, f"metrics[{metric!r}]")
    if given.tasks is not None:
        message.tasks.CopyFrom(task_counts(given.tasks))
    return message


def _execution(given: JobExecution) -> pb.JobExecution:
    message = pb.JobExecution(
        execution_id=given.execution_id, outcome=enum_number(JobOutcome, given.outcome), error=given.error
    )
    _put_times(message, given, "queue_time", "start_time", "end_time")
    for task in given.tasks:
        _put_times(message.tasks.add(kind=enum_number(TaskKind, task.kind)), task, "start_time", "end_time")
    return message


def _put_times(message: Any, given: Any, *fields: str) -> None:
    for field in fields:
        time = getattr(given, field)
        if time is not None:
            put_time(getattr(message, field), time, field)


def task_counts(given: results.TaskCounts) -> pb.TaskCounts:
    """Returns the message of counts of tasks."""
    return pb.TaskCounts(running=given.running, finished=given.finished, total=given.total)


def exception(given: ReportedException) -> pb.ReportedException:
    """Returns the message of an exception."""
    message = pb.ReportedException(exception_class=given.exception_class, stacktrace=given.stacktrace, task=given.task)
    if given.time is not None:
        put_time(message.time, given.time, "time")
    return message


def report_requests(reports: Iterable[JobReport]) -> Iterator[pb.ReportJobRequest]:
    """Cuts reports into requests that the server takes, by count and bytes."""
    waiting: list[pb.JobReport] = []
    size = 0
    for given in reports:
        message = report(given)
        length = message.ByteSize()
        if waiting and (len(waiting) == MAX_REPORTS or size + length > MAX_REQUEST_BYTES):
            yield pb.ReportJobRequest(reports=waiting)
            waiting, size = [], 0
        waiting.append(message)
        size += length
    if waiting:
        yield pb.ReportJobRequest(reports=waiting)
