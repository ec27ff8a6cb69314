"""What a record counts, and where: facts of runs, executions and ingests."""

from __future__ import annotations

from typing import NamedTuple

from streamgauge_server.model.clock import MICROS_PER_HOUR
from streamgauge_server.model.ingests import Ingest, IngestStatus
from streamgauge_server.model.job_errors import ErrorInfo
from streamgauge_server.model.jobs import OUTCOMES, Execution, ExecutionTask, JobOutcome, JobRun, TaskKind
from streamgauge_server.model.metric_types import COUNTS, MEASURES, FigureType

HOURS_PER_DAY = 24


class Fact(NamedTuple):
    """What a record adds to the figures of a choice and an hour (hours since 1970).

    The positions of the counts that it raises, and its values by position of the measure.
    """

    type: FigureType
    choice: int
    hour: int
    counts: tuple[int, ...]
    lengths: tuple[tuple[int, int], ...] = ()


_jobs = {name: place for place, name in enumerate(COUNTS[FigureType.JOB_TYPES])}
_BY_OUTCOME = {
    JobOutcome.COMPLETED: _jobs["completed_count"],
    JobOutcome.FAILED: _jobs["failed_count"],
    JobOutcome.CANCELED: _jobs["canceled_count"],
}
_FIRST_CATEGORY = _jobs["error_system_count"] - 1
"""The counts by category follow each other in the order of the categories."""
_QUEUE, _PRE, _JOB, _POST, _RUN, _STAGE = range(len(MEASURES[FigureType.JOB_TYPES]))
_SIZE, _TRANSFER, _INGEST = range(len(MEASURES[FigureType.INGESTS]))


def hour_of(time: int) -> int:
    """Returns the hour (UTC, since 1970) of a moment in microseconds."""
    return time // MICROS_PER_HOUR


def end_hour(run: JobRun) -> int | None:
    """Returns the hour in which a run counts, None while it does not: it has not ended, or nobody knows when."""
    return hour_of(run.end_time) if run.ended and run.end_time is not None else None


def run_facts(run: JobRun | None, job_type: int | None, error: ErrorInfo | None) -> tuple[Fact, ...]:
    """Returns what a run counts; `error` is the one that it names.

    A run without executions of its own stands for one execution, of which no tasks are known.
    """
    hour = None if run is None else end_hour(run)
    if run is None or hour is None or run.end_time is None:
        return ()
    outcome = OUTCOMES[run.state]
    facts: list[Fact] = []
    if job_type is not None:
        counts = [_BY_OUTCOME[outcome]]
        if error is not None:
            counts.append(_FIRST_CATEGORY + error.category)
        lengths: tuple[tuple[int, int], ...] = ()
        if not run.executions and outcome == JobOutcome.COMPLETED and run.start_time is not None:
            lengths = ((_RUN, max(0, run.end_time - run.start_time)),)
            if run.queue_time is not None:
                lengths = ((_QUEUE, max(0, run.start_time - run.queue_time)), *lengths)
        facts.append(Fact(FigureType.JOB_TYPES, job_type, hour, tuple(counts), lengths))
    if not run.executions and outcome == JobOutcome.FAILED and error is not None and error.built_in:
        facts.append(Fact(FigureType.ERRORS, error.number, hour, (0,)))
    return tuple(facts)


def execution_facts(execution: Execution, job_type: int | None, error: ErrorInfo | None) -> tuple[Fact, ...]:
    """Returns what an execution counts; `error` is the one that it names."""
    hour = hour_of(execution.end_time)
    facts: list[Fact] = []
    if job_type is not None and execution.outcome == JobOutcome.COMPLETED:
        lengths = tuple(_execution_lengths(execution).items())
        if lengths:
            facts.append(Fact(FigureType.JOB_TYPES, job_type, hour, (), lengths))
    if error is not None and error.built_in:
        facts.append(Fact(FigureType.ERRORS, error.number, hour, (0,)))
    return tuple(facts)


def ingest_facts(ingest: Ingest) -> tuple[Fact, ...]:
    """Returns what an ingest counts."""
    lengths: list[tuple[int, int]] = []
    if ingest.file_size is not None:
        lengths.append((_SIZE, ingest.file_size))
    if ingest.transfer_start_time is not None and ingest.transfer_end_time is not None:
        lengths.append((_TRANSFER, max(0, ingest.transfer_end_time - ingest.transfer_start_time)))
    if ingest.status == IngestStatus.INGESTED and ingest.ingest_start_time is not None:
        lengths.append((_INGEST, max(0, ingest.end_time - ingest.ingest_start_time)))
    counts = (ingest.status - 1,)
    return (Fact(FigureType.INGESTS, ingest.source, hour_of(ingest.end_time), counts, tuple(lengths)),)


def _execution_lengths(execution: Execution) -> dict[int, int]:
    """Returns the lengths of time of an execution, by position of the measure."""
    lengths: dict[int, int] = {}
    start_time = execution.start_time
    if start_time is not None and execution.queue_time is not None:
        lengths[_QUEUE] = max(0, start_time - execution.queue_time)
    first: dict[TaskKind, ExecutionTask] = {}
    for task in execution.tasks:
        first.setdefault(task.kind, task)
    known = {
        kind: max(0, task.end_time - task.start_time)
        for kind, task in first.items()
        if task.start_time is not None and task.end_time is not None
    }
    for kind, place in ((TaskKind.PRE, _PRE), (TaskKind.MAIN, _JOB), (TaskKind.POST, _POST)):
        if kind in known:
            lengths[place] = known[kind]
    if start_time is not None:
        lengths[_RUN] = max(0, execution.end_time - start_time)
        lengths[_STAGE] = max(0, lengths[_RUN] - sum(known.values()))
    return lengths
