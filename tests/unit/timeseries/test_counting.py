"""What records count: lengths that are known and no others, in the hour of their own end."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from streamgauge_server.model.ingests import Ingest, IngestStatus
from streamgauge_server.model.job_errors import ErrorCategory, ErrorInfo
from streamgauge_server.model.jobs import Execution, ExecutionTask, JobOutcome, JobRun, JobState, TaskKind
from streamgauge_server.model.metric_types import COUNTS, MEASURES, FigureType
from streamgauge_server.timeseries.counting import Fact, execution_facts, hour_of, ingest_facts, run_facts

SECOND = 1_000_000
END = 1_700_000_000 * SECOND
HOUR = 1_700_000_000 // 3600
NODE_LOST = ErrorInfo(9, "node-lost", ErrorCategory.SYSTEM, built_in=True)
OWN = ErrorInfo(40, "own", ErrorCategory.DATA)


def run(state: JobState = JobState.FINISHED, /, **fields: int | None) -> JobRun:
    return JobRun(1, "r", 1, "", state, "", **{"end_time": END, **fields})  # type: ignore[arg-type]


def execution(outcome: JobOutcome = JobOutcome.COMPLETED, **fields: object) -> Execution:
    return Execution("e", outcome, END, **fields)  # type: ignore[arg-type]


def task(kind: TaskKind, start: int | None, end: int | None) -> ExecutionTask:
    at = [None if second is None else END + second * SECOND for second in (start, end)]
    return ExecutionTask(kind, at[0], at[1])


def named(fact: Fact) -> tuple[set[str], dict[str, float]]:
    """Returns the names of the counts, and the lengths in seconds (sizes in millions of bytes) by name."""
    counts = {COUNTS[fact.type][place] for place in fact.counts}
    return counts, {MEASURES[fact.type][place]: value / SECOND for place, value in fact.lengths}


@pytest.mark.parametrize(
    ("state", "error", "counts"),
    [
        (JobState.FINISHED, None, {"completed_count"}),
        (JobState.FAILED, None, {"failed_count"}),
        (JobState.CANCELED, None, {"canceled_count"}),
        (JobState.FAILED, NODE_LOST, {"failed_count", "error_system_count"}),
        (JobState.CANCELED, OWN, {"canceled_count", "error_data_count"}),
        (JobState.FINISHED, OWN, {"completed_count", "error_data_count"}),
    ],
)
def test_a_run_counts_by_how_it_ended_and_by_its_error_whatever_that_was(
    state: JobState, error: ErrorInfo | None, counts: set[str]
) -> None:
    fact = run_facts(run(state), 7, error)[0]
    assert (fact.type, fact.choice, fact.hour, named(fact)) == (FigureType.JOB_TYPES, 7, HOUR, (counts, {}))


def test_a_run_counts_once_it_has_ended_and_its_end_is_known() -> None:
    assert run_facts(None, 7, None) == ()
    assert run_facts(run(JobState.RUNNING), 7, None) == ()
    assert run_facts(run(end_time=None), 7, None) == ()
    assert run_facts(run(), None, None) == ()


def test_a_completed_run_without_executions_stands_for_one() -> None:
    times: dict[str, int | None] = {"queue_time": END - 9 * SECOND, "start_time": END - 7 * SECOND}
    assert named(run_facts(run(**times), 7, None)[0])[1] == {"queue_time": 2, "run_time": 7}
    assert named(run_facts(run(start_time=END + SECOND), 7, None)[0])[1] == {"run_time": 0}
    assert named(run_facts(run(**times, executions=1), 7, None)[0])[1] == {}
    assert named(run_facts(run(JobState.FAILED, **times), 7, None)[0])[1] == {}


def test_a_failed_run_without_executions_counts_its_built_in_error() -> None:
    assert run_facts(run(JobState.FAILED), None, NODE_LOST) == (Fact(FigureType.ERRORS, 9, HOUR, (0,)),)
    assert run_facts(run(JobState.FAILED, executions=1), None, NODE_LOST) == ()
    assert run_facts(run(JobState.CANCELED), None, NODE_LOST) == ()
    assert run_facts(run(JobState.FAILED), None, OWN) == ()


def test_an_execution_has_the_lengths_that_are_known() -> None:
    whole = execution(
        queue_time=END - 100 * SECOND,
        start_time=END - 90 * SECOND,
        tasks=(
            task(TaskKind.PULL, -90, -85),
            task(TaskKind.PRE, -84, -80),
            task(TaskKind.MAIN, -79, -20),
            task(TaskKind.POST, -19, -16),
        ),
    )
    assert named(execution_facts(whole, 7, None)[0]) == (
        set(),
        {"queue_time": 10, "pre_time": 4, "job_time": 59, "post_time": 3, "run_time": 90, "stage_time": 19},
    )


def test_missing_tasks_and_times_are_missing_and_not_zero() -> None:
    partly = execution(start_time=END - 10 * SECOND, tasks=(task(TaskKind.MAIN, -8, None), task(TaskKind.POST, -2, -2)))
    assert named(execution_facts(partly, 7, None)[0])[1] == {"post_time": 0, "run_time": 10, "stage_time": 10}
    unstarted = execution(queue_time=END, tasks=(task(TaskKind.PRE, -8, -7),))
    assert named(execution_facts(unstarted, 7, None)[0])[1] == {"pre_time": 1}
    assert execution_facts(execution(), 7, None) == ()


def test_of_several_tasks_of_a_kind_the_first_counts_also_if_its_length_is_unknown() -> None:
    tasks = (task(TaskKind.PRE, -9, -7), task(TaskKind.PRE, -6, -1))
    assert named(execution_facts(execution(tasks=tasks), 7, None)[0])[1] == {"pre_time": 2}
    assert execution_facts(execution(tasks=(task(TaskKind.PRE, None, -7), *tasks)), 7, None) == ()


def test_negative_lengths_are_zero() -> None:
    backwards = execution(queue_time=END + 9 * SECOND, start_time=END + 5 * SECOND, tasks=(task(TaskKind.MAIN, 3, 1),))
    zero = {"queue_time": 0, "job_time": 0, "run_time": 0, "stage_time": 0}
    assert named(execution_facts(backwards, 7, None)[0])[1] == zero
    longer = execution(start_time=END - SECOND, tasks=(task(TaskKind.MAIN, -5, 0),))
    assert named(execution_facts(longer, 7, None)[0])[1] == {"job_time": 5, "run_time": 1, "stage_time": 0}


@pytest.mark.parametrize("outcome", JobOutcome)
def test_executions_count_their_errors_however_they_ended_and_times_only_if_they_completed(outcome: JobOutcome) -> None:
    facts = execution_facts(execution(outcome, start_time=END - SECOND), 7, NODE_LOST)
    assert facts[-1] == Fact(FigureType.ERRORS, 9, HOUR, (0,))
    assert (len(facts) == 2) == (outcome == JobOutcome.COMPLETED)
    assert len(execution_facts(execution(outcome), None, NODE_LOST)) == 1
    assert execution_facts(execution(JobOutcome.FAILED), 7, OWN) == ()


def test_an_ingest_counts_by_its_status_with_what_is_known() -> None:
    known: dict[str, int] = {
        "file_size": 0,
        "transfer_start_time": END - 9 * SECOND,
        "transfer_end_time": END - 6 * SECOND,
        "ingest_start_time": END - 5 * SECOND,
    }
    for status, count in zip(IngestStatus, COUNTS[FigureType.INGESTS], strict=True):
        [fact] = ingest_facts(Ingest(3, "i", status, END, **known))
        ingest_time = {"ingest_time": 5.0} if status == IngestStatus.INGESTED else {}
        assert (fact.choice, fact.hour) == (3, HOUR)
        assert named(fact) == ({count}, {"file_size": 0, "transfer_time": 3, **ingest_time})
    bare = Ingest(3, "i", IngestStatus.INGESTED, END, transfer_end_time=END)
    assert named(ingest_facts(bare)[0])[1] == {}
    backwards = Ingest(3, "i", IngestStatus.INGESTED, END, None, END, END - 1, END + 1)
    assert named(ingest_facts(backwards)[0])[1] == {"transfer_time": 0, "ingest_time": 0}


@pytest.mark.parametrize(
    ("moment", "hour"),
    [
        (datetime(2024, 2, 29, 23, 59, 59, 999_999, UTC), datetime(2024, 2, 29, 23, tzinfo=UTC)),
        (datetime(2024, 3, 1, tzinfo=UTC), datetime(2024, 3, 1, tzinfo=UTC)),
        (datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC), datetime(1969, 12, 31, 23, tzinfo=UTC)),
    ],
)
def test_the_hour_is_that_of_the_calendar_in_utc(moment: datetime, hour: datetime) -> None:
    assert hour_of(int(moment.timestamp()) * SECOND + moment.microsecond) == hour.timestamp() // 3600
