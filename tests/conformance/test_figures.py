"""Figures: after any history of reports they are what the records say, in the same transaction."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select, update
from streamgauge_server.model.errors import DomainError, Reason
from streamgauge_server.model.ingests import Ingest, IngestStatus
from streamgauge_server.model.job_errors import ErrorCategory, ErrorInfo
from streamgauge_server.model.jobs import (
    Execution,
    ExecutionTask,
    JobOutcome,
    JobState,
    NewJob,
    RunUpdate,
    TaskKind,
)
from streamgauge_server.model.limits import Limits
from streamgauge_server.model.metric_types import COUNTS, MEASURES, FigureType, Span
from streamgauge_server.storage import run_updating, tables
from streamgauge_server.storage.figures import Recalculated
from streamgauge_server.storage.records import SubjectGone
from streamgauge_server.storage.store import Store

from tests.conformance.conftest import FigureRow, Observer, OpenStore, load_figures

SECOND = 1_000_000
HOUR = 3600 * SECOND
DAY = 24 * HOUR
LEAP = int(datetime(2024, 2, 28, 22, tzinfo=UTC).timestamp()) * SECOND
"""Two hours before the leap day, and 26 before the end of the month."""
LATER = LEAP + 400 * DAY
"""When everything here is observed."""


class Figured:
    """A store with two types of jobs, a job of each and one of none, a second of the first type, and two sources."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.types: list[int] = []
        self.jobs: list[int] = []
        self.sources: list[int] = []
        self.tenant = ""

    async def fill(self, tenant: str = "t") -> Figured:
        self.tenant = tenant
        for name in ("a", "b"):
            self.types.append((await self.store.job_types.create(tenant, name, {"type_name": name})).number)
        new = [NewJob("j0", job_type="a"), NewJob("j1", job_type="b"), NewJob("j2"), NewJob("j3", job_type="a")]
        numbers = await self.store.jobs.register(tenant, new, limits=Limits())
        self.jobs = [numbers[job.id] for job in new]
        self.sources = [await Observer(self.store).subject(name, tenant=tenant) for name in ("s0", "s1")]
        return self

    async def tell(self, *updates: RunUpdate) -> None:
        await self.store.job_runs.apply(self.tenant, updates)

    async def rows(self, type: FigureType, choices: list[int] | None = None, span: Span = Span.HOUR) -> list[FigureRow]:
        return await load_figures(self.store, self.tenant, type, choices, span)

    async def counts(self, choice: int | None, span: Span = Span.HOUR) -> dict[int, dict[str, int]]:
        """Returns what was counted for a type of jobs, by start; without zeros."""
        rows = await self.rows(FigureType.JOB_TYPES, None if choice is None else [choice], span)
        names = COUNTS[FigureType.JOB_TYPES]
        return {row.start: {n: c for n, c in zip(names, row.figures.counts, strict=True) if c} for row in rows}

    async def measures(self, choice: int | None, span: Span = Span.HOUR) -> dict[int, dict[str, tuple[int, ...]]]:
        """Returns n, sum, min and max in seconds of what was measured for a type of jobs, by start."""
        rows = await self.rows(FigureType.JOB_TYPES, None if choice is None else [choice], span)
        return {
            row.start: {
                name: (m.n, m.sum // SECOND, m.min // SECOND, m.max // SECOND)
                for name, m in zip(MEASURES[FigureType.JOB_TYPES], row.figures.measures, strict=True)
                if m.n
            }
            for row in rows
        }

    async def check(self) -> None:
        """Looks whether all figures are what the records say, and the days and sums what the hours say."""
        for type_ in FigureType:
            first, last = LEAP // HOUR - 1, (LEAP + 2 * DAY) // HOUR
            told = await self.store.figures.recalculate(self.tenant, type_, first, last, repair=False)
            assert told.changed == 0, type_
            # No row is outside of the range either.
            starts = {row.start for row in await self.rows(type_)}
            assert all(first <= start <= last for start in starts)


@pytest.fixture
async def figured(store: Store) -> Figured:
    return await Figured(store).fill()


def ended(job: int, run_id: str = "r", *, end: int = LEAP, seconds: int = 10, **fields: object) -> RunUpdate:
    """A run that took some seconds and has ended."""
    settings_: dict[str, object] = {"state": JobState.FINISHED, "start_time": end - seconds * SECOND, **fields}
    return RunUpdate(job, run_id, LATER, end_time=end, **settings_)  # type: ignore[arg-type]


def execution(id: str, *, end: int = LEAP, seconds: int = 10, **fields: object) -> Execution:
    settings_: dict[str, object] = {"outcome": JobOutcome.COMPLETED, "start_time": end - seconds * SECOND, **fields}
    return Execution(id, end_time=end, **settings_)  # type: ignore[arg-type]


def hour(time: int) -> int:
    return time // HOUR


async def test_a_run_that_ends_is_in_the_four_figures_that_it_is_part_of(figured: Figured) -> None:
    await figured.tell(ended(figured.jobs[0], queue_time=LEAP - 12 * SECOND))
    for choice in (figured.types[0], None):
        for span, start in ((Span.HOUR, LEAP // HOUR), (Span.DAY, LEAP // DAY)):
            assert await figured.counts(choice, span) == {start: {"completed_count": 1}}
            assert await figured.measures(choice, span) == {
                start: {"queue_time": (1, 2, 2, 2), "run_time": (1, 10, 10, 10)}
            }
    assert await figured.counts(figured.types[1]) == {}
    await figured.check()


async def test_types_of_other_tenants_are_apart(figured: Figured) -> None:
    other = await Figured(figured.store).fill("u")
    await figured.tell(ended(figured.jobs[0]))
    assert await other.rows(FigureType.JOB_TYPES) == []
    await other.tell(ended(other.jobs[0], state=JobState.FAILED))
    assert await figured.counts(None) == {hour(LEAP): {"completed_count": 1}}
    assert await other.counts(None) == {hour(LEAP): {"failed_count": 1}}


async def test_a_mean_of_all_choices_is_of_all_that_was_measured(figured: Figured) -> None:
    a, b, none, _ = figured.jobs
    await figured.tell(
        ended(a, "1", seconds=0),
        ended(a, "2", seconds=7),
        ended(b, "1", seconds=100),
        ended(a, "3", start_time=None),
        ended(none, "1", seconds=1_000),
    )
    assert await figured.measures(figured.types[0]) == {hour(LEAP): {"run_time": (2, 7, 0, 7)}}
    assert await figured.measures(None) == {hour(LEAP): {"run_time": (3, 107, 0, 100)}}
    assert await figured.counts(None) == {hour(LEAP): {"completed_count": 4}}


async def test_reported_twice_changes_nothing(figured: Figured) -> None:
    run = ended(figured.jobs[0], executions=[execution("e", error="timeout")], error="timeout", state=JobState.FAILED)
    ingest = Ingest(figured.sources[0], "i", IngestStatus.INGESTED, LEAP, 5)
    assert (await figured.store.ingests.report("t", [ingest])).created == 1
    await figured.tell(run)
    before = [await figured.rows(type_) for type_ in FigureType]
    assert [len(rows) for rows in before] == [1, 1, 1]
    await figured.tell(run, run)
    again = await figured.store.ingests.report("t", [ingest, ingest])
    assert (again.created, again.changed) == (0, 0)
    assert [await figured.rows(type_) for type_ in FigureType] == before
    [stored] = await figured.store.job_runs.of_job(figured.jobs[0], limit=5)
    assert stored.executions == 1


async def test_a_run_that_is_corrected_moves_to_its_other_hour_and_day(figured: Figured) -> None:
    await figured.tell(ended(figured.jobs[0], "1", seconds=3), ended(figured.jobs[0], "2", seconds=30))
    moved = LEAP + 3 * HOUR
    await figured.tell(ended(figured.jobs[0], "2", end=moved, seconds=60))
    assert await figured.counts(None) == {hour(LEAP): {"completed_count": 2}}
    await figured.tell(ended(figured.jobs[0], "2", end=moved, seconds=60, corrects=True))
    assert await figured.measures(None, Span.DAY) == {
        LEAP // DAY: {"run_time": (1, 3, 3, 3)},
        moved // DAY: {"run_time": (1, 60, 60, 60)},
    }
    await figured.tell(ended(figured.jobs[0], "1", end=moved, seconds=3, corrects=True))
    assert await figured.measures(None) == {hour(moved): {"run_time": (2, 63, 3, 60)}}
    await figured.check()


async def test_another_outcome_and_another_error_move_the_counts(figured: Figured) -> None:
    job = figured.jobs[0]
    await figured.tell(ended(job, state=JobState.FAILED, error="node-lost"))
    catalog = await figured.store.job_errors.get_many("t", ["node-lost", "timeout"])
    errors = [catalog[name].number for name in ("node-lost", "timeout")]
    assert await figured.counts(None) == {hour(LEAP): {"failed_count": 1, "error_system_count": 1}}
    assert [row.choice for row in await figured.rows(FigureType.ERRORS, errors)] == errors[:1]
    await figured.tell(ended(job, state=JobState.FAILED, error="timeout"))
    assert await figured.counts(None) == {hour(LEAP): {"failed_count": 1, "error_algorithm_count": 1}}
    assert [row.choice for row in await figured.rows(FigureType.ERRORS, errors)] == errors[1:]
    await figured.tell(ended(job, state=JobState.FAILED, error=""))
    assert await figured.counts(None) == {hour(LEAP): {"failed_count": 1}}
    assert await figured.rows(FigureType.ERRORS) == []
    await figured.tell(ended(job, state=JobState.CANCELED))
    assert await figured.counts(None) == {hour(LEAP): {"failed_count": 1}}
    await figured.tell(ended(job, state=JobState.CANCELED, corrects=True))
    assert await figured.counts(None) == {hour(LEAP): {"canceled_count": 1}}
    await figured.check()


async def test_errors_of_the_own_catalog_count_by_category_only(figured: Figured) -> None:
    await figured.store.job_errors.create("t", ErrorInfo(0, "own", ErrorCategory.DATA))
    await figured.tell(ended(figured.jobs[0], state=JobState.FAILED, error="own"))
    assert await figured.counts(None) == {hour(LEAP): {"failed_count": 1, "error_data_count": 1}}
    assert await figured.rows(FigureType.ERRORS) == []
    await figured.check()


async def test_executions_take_the_place_of_what_the_run_stood_for(figured: Figured) -> None:
    job = figured.jobs[0]
    await figured.tell(ended(job, seconds=100, error="node-lost", state=JobState.FAILED))
    late = [
        execution("1", seconds=20, outcome=JobOutcome.FAILED, error="timeout"),
        execution("2", seconds=30, end=LEAP + HOUR),
        execution("3", seconds=50, tasks=(ExecutionTask(TaskKind.MAIN, LEAP - 40 * SECOND, LEAP),)),
    ]
    await figured.tell(RunUpdate(job, "r", LATER, executions=late[:2]), RunUpdate(job, "r", LATER, executions=late[2:]))
    assert await figured.counts(None, Span.DAY) == {LEAP // DAY: {"failed_count": 1, "error_system_count": 1}}
    assert await figured.measures(None) == {
        hour(LEAP): {"job_time": (1, 40, 40, 40), "run_time": (1, 50, 50, 50), "stage_time": (1, 10, 10, 10)},
        hour(LEAP) + 1: {"run_time": (1, 30, 30, 30), "stage_time": (1, 30, 30, 30)},
    }
    timeout = (await figured.store.job_errors.get_many("t", ["timeout"]))["timeout"].number
    assert [row.choice for row in await figured.rows(FigureType.ERRORS, [timeout])] == [timeout]
    await figured.tell(RunUpdate(job, "r", LATER, executions=[replace(late[1], end_time=LEAP, error="timeout")]))
    assert (await figured.measures(None))[hour(LEAP)]["run_time"] == (2, 50, 0, 50)
    await figured.check()


async def test_an_execution_counts_before_its_run_has_ended(figured: Figured) -> None:
    job = figured.jobs[0]
    running = RunUpdate(job, "r", LATER, state=JobState.RUNNING, executions=[execution("1")])
    await figured.tell(running)
    assert await figured.counts(None) == {hour(LEAP): {}}
    await figured.tell(ended(job, end=LEAP + HOUR))
    assert await figured.counts(None) == {hour(LEAP): {}, hour(LEAP) + 1: {"completed_count": 1}}
    assert (await figured.measures(None))[hour(LEAP) + 1] == {}
    await figured.check()


async def test_a_job_that_is_given_another_type_takes_its_runs_along(figured: Figured) -> None:
    job = figured.jobs[2]
    await figured.tell(ended(job), ended(job, "2", executions=[execution("1", seconds=99)]), ended(figured.jobs[0]))
    await figured.store.jobs.update("t", "j2", {"job_type": "b"})
    await figured.check()
    assert await figured.measures(figured.types[1]) == {
        hour(LEAP): {"run_time": (2, 109, 10, 99), "stage_time": (1, 99, 99, 99)}
    }
    await figured.store.jobs.update("t", "j2", {"job_type": "a", "labels": {"k": "v"}})
    assert await figured.counts(figured.types[0]) == {hour(LEAP): {"completed_count": 3}}
    assert await figured.counts(figured.types[1]) == {}
    await figured.tell(RunUpdate(job, "2", LATER, executions=[execution("2")]))
    await figured.check()
    await figured.store.jobs.update("t", "j2", {"job_type": ""})
    assert await figured.counts(None) == {hour(LEAP): {"completed_count": 1}}
    await figured.check()


async def test_what_a_deleted_job_counted_is_gone(figured: Figured) -> None:
    for job in figured.jobs[:2]:
        failed = ended(job, state=JobState.FAILED, error="timeout", executions=[execution("1", error="pull")])
        await figured.tell(failed, ended(job, "2", state=JobState.FAILED, error="timeout"))
    await figured.store.jobs.delete("t", "j0")
    await figured.check()
    assert await figured.counts(figured.types[0]) == {}
    assert await figured.counts(None) == {hour(LEAP): {"failed_count": 2, "error_algorithm_count": 2}}
    await figured.store.jobs.delete("t", "j1")
    assert [await figured.rows(type_, span=span) for type_ in FigureType for span in (Span.HOUR, Span.DAY)] == [[]] * 6


async def test_what_a_deleted_source_ingested_is_gone(figured: Figured) -> None:
    first, second = figured.sources
    await figured.store.ingests.report(
        "t",
        [
            *(Ingest(first, f"i{n}", IngestStatus.INGESTED, LEAP + n * HOUR, n) for n in range(30)),
            Ingest(second, "i", IngestStatus.ERRORED, LEAP + HOUR, 7),
        ],
    )
    t = tables.figures.c
    spoil = update(tables.figures).where(t.choice == first, t.start == hour(LEAP)).values(data=b"spoilt")
    await figured.store._database.write(lambda connection: connection.execute(spoil))
    await figured.store.sources.delete("t", "s0")
    await figured.check()
    assert [row.start for row in await figured.rows(FigureType.INGESTS)] == [hour(LEAP) + 1]
    with pytest.raises(SubjectGone):
        await figured.store.ingests.report("t", [Ingest(first, "i", IngestStatus.ERRORED, LEAP)])


async def test_an_ingest_that_is_reported_otherwise_is_replaced(figured: Figured) -> None:
    ingest = Ingest(figured.sources[0], "i", IngestStatus.DEFERRED, LEAP, 5, LEAP - 9, LEAP - 2, LEAP - 1)
    await figured.store.ingests.report("t", [ingest])
    later = replace(ingest, status=IngestStatus.INGESTED, end_time=LEAP + 2 * HOUR, file_size=None)
    told = await figured.store.ingests.report(
        "t", [ingest, later, Ingest(ingest.source, "k", IngestStatus.ERRORED, LEAP)]
    )
    assert (told.created, told.changed) == (1, 1)
    first, second = await figured.rows(FigureType.INGESTS)
    assert (first.figures.counts, second.figures.counts) == ([0, 0, 1, 0], [0, 1, 0, 0])
    assert [measure.n for measure in second.figures.measures] == [0, 1, 1]
    await figured.check()


async def test_runs_that_are_let_go_stay_in_the_figures(figured: Figured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_updating, "MAX_RUNS", 3)
    job = figured.jobs[0]
    for number in range(6):
        end = LEAP + number * SECOND
        whole = ended(job, str(number), end=end, seconds=number, executions=[execution("1", end=end, seconds=number)])
        await figured.tell(whole if number < 2 else replace(whole, executions=()))
    assert len(await figured.store.job_runs.of_job(job, limit=10)) == 3
    whole_hour = {"run_time": (6, 15, 0, 5), "stage_time": (2, 1, 0, 1)}
    assert await figured.measures(None) == {hour(LEAP): whole_hour}
    await figured.check()
    # The largest goes, so that the hour is computed anew.
    await figured.tell(ended(job, "5", end=LEAP + 5 * SECOND, seconds=1, corrects=True))
    assert (await figured.measures(None))[hour(LEAP)]["run_time"] == (6, 11, 0, 4)
    # Too old to be kept: nobody could tell whether it is told twice.
    await figured.tell(ended(job, "old", end=LEAP - SECOND))
    assert (await figured.counts(None))[hour(LEAP)] == {"completed_count": 6}
    assert len(await figured.rows(FigureType.JOB_TYPES)) == 1
    await figured.check()


async def test_an_error_that_is_not_in_the_catalog_is_refused_and_nothing_is_stored(figured: Figured) -> None:
    for wrong in (
        ended(figured.jobs[0], error="nope"),
        ended(figured.jobs[0], executions=[execution("1", error="no")]),
    ):
        with pytest.raises(DomainError) as refused:
            await figured.tell(ended(figured.jobs[1]), wrong)
        assert refused.value.reason == Reason.INVALID_FIELD
    assert await figured.rows(FigureType.JOB_TYPES) == []


async def test_figures_are_read_by_choices_and_range_in_order(figured: Figured) -> None:
    for number in range(3):
        await figured.tell(*(ended(job, str(number), end=LEAP + number * HOUR) for job in figured.jobs))
    first = hour(LEAP)
    loaded = await load_figures(
        figured.store,
        "t",
        FigureType.JOB_TYPES,
        [figured.types[1], 99, figured.types[0]],
        Span.HOUR,
        first + 1,
        first + 2,
    )
    wanted = [(start, choice) for start in (first + 1, first + 2) for choice in figured.types]
    assert [(row.start, row.choice) for row in loaded] == wanted
    assert await load_figures(figured.store, "t", FigureType.JOB_TYPES, [], Span.HOUR) == []


async def test_a_recalculation_finds_and_repairs_what_differs(figured: Figured) -> None:
    await figured.tell(
        ended(figured.jobs[0]), ended(figured.jobs[1], end=LEAP + HOUR), ended(figured.jobs[3], end=LEAP + DAY)
    )
    before = [await figured.rows(FigureType.JOB_TYPES, choices) for choices in (figured.types, None)]
    t = tables.figures.c
    wrong = (t.choice == figured.types[0], t.span == int(Span.HOUR), t.start == hour(LEAP))

    spoil = update(tables.figures).where(*wrong).values(data=b"spoilt")
    await figured.store._database.write(lambda connection: connection.execute(spoil))
    span = (hour(LEAP), hour(LEAP) + 1)
    recalculate = figured.store.figures.recalculate
    assert await recalculate("t", FigureType.JOB_TYPES, *span, repair=False) == Recalculated(2, 1)
    assert await recalculate("t", FigureType.JOB_TYPES, hour(LEAP) + 1, hour(LEAP) + 1) == Recalculated(1, 0)
    assert await recalculate("t", FigureType.JOB_TYPES, *span) == Recalculated(2, 1)
    assert await recalculate("t", FigureType.JOB_TYPES, *span) == Recalculated(2, 0)
    assert await recalculate("t", FigureType.JOB_TYPES, hour(LEAP) - 50, hour(LEAP) + 50) == Recalculated(3, 0)
    assert [await figured.rows(FigureType.JOB_TYPES, choices) for choices in (figured.types, None)] == before


async def test_figures_that_are_damaged_do_not_keep_reports_away(figured: Figured) -> None:
    await figured.tell(ended(figured.jobs[0]))
    await figured.store._database.write(lambda c: c.execute(update(tables.figures).values(data=b"spoilt")))
    await figured.tell(ended(figured.jobs[0], "2"))
    assert await figured.counts(None) == {hour(LEAP): {"completed_count": 2}}
    await figured.check()


async def test_two_servers_report_at_once(open_store: OpenStore, figured: Figured) -> None:
    other = await open_store()

    async def report(store: Store, name: str) -> None:
        for turn in range(10):
            await store.job_runs.apply(
                "t", [ended(job, f"{name}{turn}", end=LEAP + turn * HOUR, seconds=turn) for job in figured.jobs[:2]]
            )
            await store.job_runs.apply("t", [ended(figured.jobs[0], f"both{turn}", end=LEAP + turn * HOUR)])

    await asyncio.gather(report(figured.store, "x"), report(other, "y"))
    counts = await figured.counts(None)
    assert counts == {hour(LEAP) + turn: {"completed_count": 5} for turn in range(10)}
    await figured.check()


TIMES = st.sampled_from([LEAP, LEAP + 3_599 * SECOND, LEAP + 2 * HOUR, LEAP + 26 * HOUR - 1, LEAP + 26 * HOUR])
LENGTHS = st.sampled_from([-5, 0, 1, 7, 7, 30, 4_000])
NAMES = st.sampled_from(["", "timeout", "node-lost", "own"])
EXECUTIONS = st.builds(
    lambda id_, outcome, end, length, tasks, error: execution(
        id_, outcome=outcome, end=end, seconds=length, tasks=tuple(tasks), error=error, queue_time=end - 40 * SECOND
    ),
    st.sampled_from(["1", "2", "3"]),
    st.sampled_from(JobOutcome),
    TIMES,
    LENGTHS,
    st.lists(
        st.builds(
            lambda kind, start, length: ExecutionTask(kind, start, None if length is None else start + length * SECOND),
            st.sampled_from(TaskKind),
            TIMES,
            st.one_of(st.none(), LENGTHS),
        ),
        max_size=3,
    ),
    NAMES,
)
REPORTS = st.tuples(
    st.just("run"),
    st.integers(0, 3),
    st.sampled_from(["1", "2", "3"]),
    st.sampled_from([JobState.RUNNING, JobState.FINISHED, JobState.FAILED, JobState.CANCELED]),
    TIMES,
    LENGTHS,
    st.one_of(st.none(), NAMES),
    st.lists(EXECUTIONS, max_size=2),
    st.booleans(),
)
INGESTS = st.tuples(
    st.just("ingest"),
    st.integers(0, 1),
    st.sampled_from(["1", "2", "3"]),
    st.sampled_from(IngestStatus),
    TIMES,
    st.one_of(st.none(), st.integers(0, 2**63 - 1)),
    LENGTHS,
)
STEPS = st.one_of(
    st.lists(REPORTS, min_size=1, max_size=6),
    st.lists(REPORTS, min_size=1, max_size=6),
    st.lists(INGESTS, min_size=1, max_size=6),
    st.tuples(st.just("type"), st.integers(0, 3), st.sampled_from(["", "a", "b"])),
    st.tuples(st.just("delete job"), st.integers(0, 3)),
    st.tuples(st.just("delete source"), st.integers(0, 1)),
)

history_number = 0


@pytest.mark.timeout(300)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(STEPS, min_size=1, max_size=8))
async def test_after_any_history_the_figures_are_what_the_records_say(store: Store, history: list[object]) -> None:
    global history_number
    history_number += 1
    figured = await Figured(store).fill(f"t{history_number}")
    await store.job_errors.create(figured.tenant, ErrorInfo(0, "own", ErrorCategory.DATA))
    for step in history:
        await take(figured, step)
        await figured.check()


async def take(figured: Figured, step: object) -> None:
    """Does one step of a history; those about what was deleted before do nothing."""
    store, tenant = figured.store, figured.tenant
    if isinstance(step, list):
        if step[0][0] == "run":
            await figured.tell(*(run for run in (report(figured, *each[1:]) for each in step) if run is not None))
            return
        ingests = [ingest(figured, *each[1:]) for each in step if figured.sources[each[1]]]
        if ingests:
            await store.ingests.report(tenant, ingests)
        return
    assert isinstance(step, tuple)
    what, place, *rest = step
    if what == "type" and figured.jobs[place]:
        await store.jobs.update(tenant, f"j{place}", {"job_type": rest[0]})
    elif what == "delete job" and figured.jobs[place]:
        await store.jobs.delete(tenant, f"j{place}")
        figured.jobs[place] = 0
    elif what == "delete source" and figured.sources[place]:
        await store.sources.delete(tenant, f"s{place}")
        figured.sources[place] = 0


def report(
    figured: Figured,
    place: int,
    run_id: str,
    state: JobState,
    end: int,
    length: int,
    error: str | None,
    executions: list[Execution],
    corrects: bool,
) -> RunUpdate | None:
    job = figured.jobs[place]
    return (
        None
        if not job
        else ended(
            job,
            run_id,
            state=state,
            end=end,
            seconds=length,
            queue_time=end - 20 * SECOND,
            error=error,
            executions=executions,
            corrects=corrects,
        )
    )


def ingest(
    figured: Figured, place: int, id: str, status: IngestStatus, end: int, size: int | None, length: int
) -> Ingest:
    began = end - length * SECOND
    return Ingest(figured.sources[place], id, status, end, size, began - 3 * SECOND, began, began)


REPORTER = """
import asyncio, itertools, os, sys
from streamgauge_server.model.clock import SystemClock
from streamgauge_server.model.jobs import Execution, JobOutcome, JobState, RunUpdate
from streamgauge_server.storage.store import Store

async def main(url, leap, jobs):
    store = await Store.open(url, clock=SystemClock())
    for turn in itertools.count(1):
        end = leap + turn * 600_000_000
        updates = [
            RunUpdate(
                job, f"r{turn}", end, state=JobState.FAILED, start_time=end - turn, end_time=end, error="timeout",
                executions=[Execution("1", JobOutcome.COMPLETED, end, None, end - turn)] if turn % 2 else [],
            )
            for job in jobs
        ]
        await store.job_runs.apply("t", updates)
        os.write(1, b"%d\\n" % turn)

asyncio.run(main(sys.argv[1], int(sys.argv[2]), [int(job) for job in sys.argv[3:]]))
"""


async def test_a_server_that_is_killed_leaves_figures_that_the_records_say(
    open_store: OpenStore, store_url: str, figured: Figured
) -> None:
    jobs = figured.jobs[:2]
    reporter = await asyncio.create_subprocess_exec(
        sys.executable, "-c", REPORTER, store_url, str(LEAP), *map(str, jobs), stdout=asyncio.subprocess.PIPE
    )
    assert reporter.stdout is not None
    for _ in range(30):
        acknowledged = int(await reporter.stdout.readline())
    reporter.kill()
    await reporter.wait()
    figured.store = await open_store()
    await figured.check()
    days = await figured.counts(None, Span.DAY)
    assert sum(counts["failed_count"] for counts in days.values()) >= 2 * acknowledged
    executions = await figured.store._database.read(lambda c: len(c.execute(select(tables.job_executions.c.run)).all()))
    assert executions >= 2 * (acknowledged // 2)
