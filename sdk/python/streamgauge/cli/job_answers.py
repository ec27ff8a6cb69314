"""What the SDK returns about jobs, as answers to print."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from typing import Any

from streamgauge.cli.answers import age_text, plural, record_of
from streamgauge.cli.output import Answer, Table, human
from streamgauge.enums import JobState, StatusOrigin
from streamgauge.job_reports import ReportedJob
from streamgauge.job_results import (
    ClusterStatus,
    ExceptionPage,
    Job,
    JobChange,
    JobException,
    JobOverview,
    JobRun,
    JobStatus,
    JobType,
    StopResult,
    TaskCounts,
)
from streamgauge.results import LatestValue

_RUN_FIELDS = [field.name for field in fields(JobRun) if field.name != "vertices"]
_JOB_FIELDS = [field.name for field in fields(Job) if field.name != "run"]


def of_jobs(jobs: Sequence[Job], overview: JobOverview) -> Answer:
    """A list of jobs, with how many are in which state and the clusters."""
    found = overview.state_counts
    counts = {_state_name(state): found[state] for state in (*JobState, None) if state in found}
    document = {
        "jobs": [_job(job) for job in jobs],
        "total": overview.total,
        "state_counts": counts,
        "clusters": [record_of(cluster) for cluster in overview.clusters],
    }
    names = [*_JOB_FIELDS, "state", "run_id", "start_time", "end_time", "error"]
    records = [_flat(job) for job in jobs]
    headers = ("JOB", "NAME", "STATE", ">FOR", "TASKS", ">RESTARTS", "CLUSTER")
    rows = [_row(job) for job in jobs]
    by_state = ", ".join(f"{human(count)} {state}" for state, count in counts.items())
    notes = [plural(overview.total, "job") + (f": {by_state}" if by_state else "")]
    notes += map(_cluster_text, overview.clusters)
    return Answer(document, names, records, Table(headers, rows, notes))


def of_job(job: Job) -> Answer:
    """One job as it is registered."""
    record = _flat(job)
    rows = [(name, human(value)) for name, value in record.items()]
    return Answer(_job(job), list(record), [record], Table(("FIELD", "VALUE"), rows))


def of_status(status: JobStatus, metrics: Mapping[str, LatestValue] | None) -> Answer:
    """What a job is doing; with its metrics where they were asked for."""
    document: dict[str, Any] = {
        "job": _job(status.job),
        "origin": status.origin,
        "stale": status.stale,
        "messages": list(status.messages),
        "active_run_ids": list(status.active_run_ids),
    }
    record = _flat(status.job) | {"origin": status.origin, "stale": status.stale}
    run = status.run
    tables: list[Table] = []
    if run is not None and run.vertices:
        headers = ("VERTEX", "STATE", ">TASKS", ">RECORDS IN", ">RECORDS OUT", ">BYTES IN", ">BYTES OUT")
        rows = [
            (v.name, v.state.lower(), human(v.parallelism), *map(human, (v.read_records, v.write_records)),
             *map(human, (v.read_bytes, v.write_bytes)))
            for v in run.vertices
        ]  # fmt: skip
        tables.append(Table(headers, rows))
    if metrics is not None:
        document["metrics"] = {name: record_of(value) for name, value in metrics.items()}
        record |= {name: value.value for name, value in metrics.items()}
        values = [(name, human(value.value), human(value.raw_value)) for name, value in metrics.items()]
        tables.append(Table(("METRIC", ">VALUE", ">THIS ATTEMPT"), values))
    below = None
    for table in reversed(tables):
        below = Table(table.headers, table.rows, table.notes, below)
    facts = Table(("JOB", status.job.name), tuple(_facts(status)), status.messages, below)
    return Answer(document, list(record), [record], facts)


def of_runs(runs: Sequence[JobRun]) -> Answer:
    """The runs of a job."""
    records = [_run(run) for run in runs]
    rows = [
        (human(run.ordinal), run.run_id, state_text(run), _moment(run.start_time), _moment(run.end_time),
         _length(run.duration), human(run.restart_count), run.error)
        for run in runs
    ]  # fmt: skip
    headers = (">RUN", "ID", "STATE", "STARTED", "ENDED", ">FOR", ">RESTARTS", "ERROR")
    return Answer(records, _RUN_FIELDS, records, Table(headers, rows))


def of_exceptions(exceptions: Sequence[JobException], about: ExceptionPage, *, stacks: bool) -> Answer:
    """The exceptions of a run; with `stacks` people see them whole."""
    records = [record_of(error) | {"cause": _cause(error)} for error in exceptions]
    document = {
        "run_id": about.run_id,
        "exceptions": records,
        "history_truncated": about.history_truncated,
        "stale": about.stale,
        "messages": list(about.messages),
    }
    notes = [f"{plural(len(exceptions), 'exception')} of run {about.run_id}" if about.run_id else "no run"]
    if about.history_truncated:
        notes.append("the cluster had forgotten older ones before they could be stored")
    notes += about.messages
    names = [field.name for field in fields(JobException)]
    if stacks:
        texts = [f"{_moment(e.time)}  {e.task or 'the job'}\n{e.stacktrace.rstrip()}\n" for e in exceptions]
        return Answer(document, names, records, Table((), (), [*texts, *notes]))
    rows = [(_moment(e.time), e.task or "-", e.summary, e.cause.summary if e.cause else "-") for e in exceptions]
    return Answer(document, names, records, Table(("TIME", "TASK", "EXCEPTION", "CAUSE"), rows, notes))


def of_stop(job: str, result: StopResult) -> Answer:
    """What became of the wish to stop a run."""
    document = record_of(result) | {"run": _run(result.run), "messages": list(result.messages)}
    flat = document | {"run": result.run.run_id, "state": result.run.state}
    run = f"run {result.run.run_id} of {job}"
    if result.already_stopped:
        note = f"{run} had ended already: {state_text(result.run)}"
    elif result.ended:
        note = f"{run} has ended: {state_text(result.run)}"
    else:
        note = f"accepted; {run} is {state_text(result.run)}"
    notes = [note, *result.messages]
    if result.savepoint_location:
        notes.append(f"savepoint: {result.savepoint_location}")
    return Answer(document, list(flat), [flat], Table((), (), notes))


def of_report(reported: ReportedJob) -> Answer:
    """A report as it is stored."""
    record = record_of(reported)
    note = f"{reported.job} reported: run {reported.run_id} is {reported.state.value}"
    return Answer(record, list(record), [record], Table((), (), [note]))


def of_job_types(types: Sequence[JobType]) -> Answer:
    """A list of job types."""
    records = [record_of(one) for one in types]
    rows = [(t.name, t.type_name, t.version, t.title, t.category, _flags(t)) for t in types]
    headers = ("NAME", "TYPE", "VERSION", "TITLE", "CATEGORY", "FLAGS")
    return Answer(records, [field.name for field in fields(JobType)], records, Table(headers, rows))


def of_job_type(job_type: JobType) -> Answer:
    """One job type."""
    record = record_of(job_type)
    rows = [(name, human(value)) for name, value in record.items()]
    return Answer(record, list(record), [record], Table(("FIELD", "VALUE"), rows))


def change_text(change: JobChange) -> str:
    """Returns a change as a line for people."""
    now = "lost" if change.lost else _shown(change.state, change.state_text)
    before = "" if change.previous_state is None else f"{change.previous_state.value} -> "
    restarts = f", {plural(change.restart_count, 'restart')}" if change.restart_count else ""
    return f"{human(change.observe_time)}  {change.job}  {before}{now}  (run {change.run_id}{restarts})"


def state_text(run: JobRun) -> str:
    """Returns the state of a run in words."""
    state = _shown(run.state, run.state_text)
    if run.lost:
        return f"lost (was {state})"
    if run.degraded:
        return f"{state}, degraded"
    return f"{state}, flapping" if run.flapping else state


def _facts(status: JobStatus) -> Iterable[tuple[str, str]]:
    """Yields what a status says, line by line."""
    run = status.run
    yield "name", status.job.job_name
    if run is None:
        yield "state", "no run is known"
        return
    yield "state", _shown(run.state, run.state_text)
    if run.lost:
        yield "lost", "its cluster answers, and does not know this run any more"
    if run.degraded:
        yield "degraded", "some of its tasks are neither running nor finished"
    if run.flapping:
        yield "flapping", "it has restarted several times within ten minutes"
    if run.queue_time is not None:
        yield "queued", human(run.queue_time)
    yield "started", _moment(run.start_time)
    if run.end_time is not None:
        yield "ended", human(run.end_time)
    yield "lasted" if run.ended else "running for", _length(run.duration)
    yield "tasks", _tasks(run.tasks, words=True)
    yield "restarts", human(run.restart_count)
    if run.error:
        yield "error", run.error
    yield "run", f"{run.run_id} (number {run.ordinal})"
    if status.job.cluster:
        yield "cluster", status.job.cluster
    yield "as of", _as_of(run, status)


def _as_of(run: JobRun, status: JobStatus) -> str:
    """Returns how old a status is, and why it may be too old."""
    asked = "the cluster was asked now" if status.origin is StatusOrigin.LIVE else "as stored"
    if run.observe_time is None:
        return asked
    age = age_text(max(datetime.now(UTC) - run.observe_time, timedelta()))
    stale = "; STALE, the cluster could not be asked" if status.stale else ""
    return f"{human(run.observe_time)}, {age} ago ({asked}){stale}"


def _row(job: Job) -> tuple[str, ...]:
    run = job.run
    if run is None:
        return job.name, job.job_name, "no run", "-", "-", "-", job.cluster or "-"
    return (
        job.name,
        job.job_name,
        state_text(run),
        _length(run.duration),
        _tasks(run.tasks),
        human(run.restart_count),
        job.cluster or "-",
    )


def _tasks(tasks: TaskCounts | None, *, words: bool = False) -> str:
    if tasks is None:
        return "-"
    if words:
        return f"{human(tasks.running)} running, {human(tasks.finished)} finished, of {human(tasks.total)}"
    return f"{tasks.running + tasks.finished}/{tasks.total}"


def _cluster_text(cluster: ClusterStatus) -> str:
    if cluster.reachable:
        return f"cluster {cluster.cluster}: reachable, {plural(cluster.active_runs, 'active run')}"
    since = "never was" if cluster.last_success_time is None else f"last was {human(cluster.last_success_time)}"
    return f"cluster {cluster.cluster}: NOT reachable ({since}): {cluster.problem}"


def _flags(job_type: JobType) -> str:
    names = ("is_system", "is_paused", "is_published", "is_long_running", "is_operational")
    flags = [name.removeprefix("is_").replace("_", " ") for name in names if getattr(job_type, name)]
    return ", ".join(flags if job_type.is_active else ["inactive", *flags])


def _shown(state: JobState, text: str) -> str:
    """Returns a state; one that is not known as its runner wrote it."""
    return text or state.value if state in (JobState.OTHER, JobState.UNKNOWN) else state.value


def _state_name(state: JobState | None) -> str:
    return "no run" if state is None else state.value


def _moment(time: datetime | None) -> str:
    return "-" if time is None else human(time)


def _length(length: timedelta | None) -> str:
    return "-" if length is None else age_text(length)


def _job(job: Job) -> dict[str, Any]:
    """Returns a job as a document, its run and the run's vertices within."""
    run = job.run
    inner = None if run is None else _run(run) | {"vertices": [record_of(vertex) for vertex in run.vertices]}
    return record_of(job) | {"run": inner}


def _run(run: JobRun) -> dict[str, Any]:
    record = {name: getattr(run, name) for name in _RUN_FIELDS}
    return record | {"tasks": None if run.tasks is None else record_of(run.tasks)}


def _flat(job: Job) -> dict[str, Any]:
    """Returns a job as a record of plain values."""
    run = job.run
    names = ("state", "run_id", "start_time", "end_time", "error")
    return {name: getattr(job, name) for name in _JOB_FIELDS} | {
        name: None if run is None else getattr(run, name) for name in names
    }


def _cause(error: JobException) -> dict[str, Any] | None:
    return None if error.cause is None else record_of(error.cause)
