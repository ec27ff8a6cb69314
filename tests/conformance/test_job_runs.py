"""What is learnt of runs: stored once, in order, whole or not at all."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from streamgauge_server.model.jobs import (
    JobRun,
    JobState,
    NewJob,
    RunException,
    RunUpdate,
    TaskCounts,
    Vertex,
    run_of_status,
)
from streamgauge_server.model.limits import Limits
from streamgauge_server.model.names import SubjectName
from streamgauge_server.model.values import SubjectKind
from streamgauge_server.storage import job_exceptions, run_updating
from streamgauge_server.storage.blocks import SubjectGone
from streamgauge_server.storage.jobs import JobFilter
from streamgauge_server.storage.store import Store

from tests.conformance.conftest import START, Observer, OpenStore, row_write
from tests.conformance.test_names import HOSTILE

VERTICES = (
    Vertex("v1", "Source: a → b", 2, "RUNNING", 0, 2**63 - 1, None, 7),
    Vertex("v2", "Sink 🚰", 1, "SCHEDULED"),
)


async def register(store: Store, *ids: str, tenant: str = "t", cluster: str = "c") -> list[int]:
    """Returns the numbers of new jobs."""
    numbers = await store.jobs.register(tenant, [NewJob(id_, cluster=cluster) for id_ in ids], limits=Limits())
    return [numbers[id_] for id_ in ids]


def told(job: int, run_id: str = "r", state: JobState | None = JobState.RUNNING, **fields: object) -> RunUpdate:
    settings: dict[str, object] = {"observe_time": START, "cluster": "c", **fields}
    return RunUpdate(job=job, run_id=run_id, state=state, **settings)  # type: ignore[arg-type]


def exception(fingerprint: str, time: int, **fields: object) -> RunException:
    return RunException(fingerprint, time, "java.lang.E", f"summary {fingerprint}", "at x", **fields)  # type: ignore[arg-type]


async def status_run(store: Store, id: str) -> JobRun | None:
    """Returns the run that a job's status tells of, after looking whether it is the right one."""
    job = await store.jobs.get("t", id)
    runs = await store.job_runs.of_job(job.number, limit=2_000)
    assert job.run == run_of_status(runs)
    listed = await store.jobs.list("t", JobFilter(active_only=True), limit=10)
    assert (job in listed) == (job.run is not None and job.run.active)
    return job.run


async def test_a_run_is_read_as_it_was_told(store: Store) -> None:
    [job] = await register(store, "j")
    update = told(
        job,
        state=JobState.OTHER,
        state_text="MELTING",
        queue_time=1,
        start_time=2,
        duration=7,
        restarts=3,
        tasks=TaskCounts(1, 2, 4),
        vertices=VERTICES,
        details=True,
        history_truncated=True,
    )
    [run] = await store.job_runs.apply("t", [update])
    assert run == JobRun(
        number=run.number,
        run_id="r",
        ordinal=1,
        cluster="c",
        state=JobState.OTHER,
        state_text="MELTING",
        queue_time=1,
        start_time=2,
        duration=7,
        restarts=3,
        tasks=TaskCounts(1, 2, 4),
        observe_time=START,
        details_time=START,
        history_truncated=True,
    )
    assert await store.job_runs.get(job, "r") == replace(run, vertices=VERTICES)
    assert await store.job_runs.of_job(job, limit=10) == [run]
    assert await store.job_runs.get(job, "R") is None
    assert (await store.jobs.get("t", "j")).run == run


async def test_runs_are_numbered_as_they_become_known(store: Store) -> None:
    [job] = await register(store, "j")
    runs = await store.job_runs.apply("t", [told(job, run_id) for run_id in ("b", "a", "b")])
    assert [run.ordinal for run in runs] == [1, 2, 1]
    assert runs[0] == runs[2]
    [third] = await store.job_runs.apply("t", [told(job, "c")])
    assert third.ordinal == 3
    assert [run.run_id for run in await store.job_runs.of_job(job, limit=2)] == ["c", "a"]
    assert [run.run_id for run in await store.job_runs.of_job(job, after_ordinal=2, limit=2)] == ["b"]


async def test_one_run_id_in_two_jobs_is_two_runs(store: Store) -> None:
    first, second = await register(store, "j", "k")
    runs = await store.job_runs.apply("t", [told(first), told(second, state=JobState.FAILED)])
    assert [run.ordinal for run in runs] == [1, 1]
    assert [run.state for run in runs] == [JobState.RUNNING, JobState.FAILED]


async def test_what_is_told_again_changes_nothing(store: Store) -> None:
    [job] = await register(store, "j")
    updates = [told(job, vertices=VERTICES, details=True, exceptions=[exception("a", 5)])]
    first = await store.job_runs.apply("t", updates)
    assert await store.job_runs.apply("t", updates) == first
    assert await store.job_runs.last_seq("t") == 1
    assert len(await store.job_runs.exceptions(first[0].number, limit=10)) == 1


async def test_a_final_state_stays_and_is_completed(store: Store) -> None:
    [job] = await register(store, "j")
    await store.job_runs.apply("t", [told(job, start_time=START - 10)])
    await store.job_runs.apply("t", [told(job, state=JobState.FINISHED, observe_time=START + 1)])
    for state in (JobState.RUNNING, JobState.FAILED, JobState.CANCELED):
        [run] = await store.job_runs.apply("t", [told(job, state=state, observe_time=START + 2)])
        assert run.state == JobState.FINISHED
    final = told(
        job, state=None, observe_time=START + 3, end_time=START, vertices=VERTICES, details=True, final_figures=True
    )
    [run] = await store.job_runs.apply("t", [replace(final, exceptions=[exception("a", 5)])])
    assert (run.end_time, run.duration, run.final_figures, run.error) == (START, 10, True, "summary a")
    late = told(job, state=None, observe_time=START + 4, vertices=(), details=True)
    await store.job_runs.apply("t", [late])
    stored = await store.job_runs.get(job, "r")
    assert stored is not None
    assert stored.vertices == VERTICES
    assert await store.job_runs.last_seq("t") == 2


async def test_of_a_stale_update_only_exceptions_are_kept(store: Store) -> None:
    [job] = await register(store, "j")
    [before] = await store.job_runs.apply("t", [told(job, vertices=VERTICES, details=True, duration=5)])
    stale = told(job, state=JobState.FAILED, observe_time=START - 1, vertices=(), details=True, duration=9)
    [run] = await store.job_runs.apply("t", [replace(stale, exceptions=[exception("a", 5)])])
    assert run == replace(before, error="summary a")
    assert await store.job_runs.get(job, "r") == replace(run, vertices=VERTICES)


async def test_vertices_that_are_not_told_stay_and_that_are_gone_go(store: Store) -> None:
    [job] = await register(store, "j")
    await store.job_runs.apply("t", [told(job, vertices=VERTICES, details=True)])
    [run] = await store.job_runs.apply("t", [told(job, observe_time=START + 1)])
    assert await store.job_runs.get(job, "r") == replace(run, vertices=VERTICES)
    [run] = await store.job_runs.apply("t", [told(job, observe_time=START + 2, vertices=(), details=True)])
    assert await store.job_runs.get(job, "r") == run


async def test_the_status_tells_of_the_run_that_goes_on_and_started_last(store: Store) -> None:
    [job] = await register(store, "j")

    async def after(*updates: RunUpdate) -> str:
        await store.job_runs.apply("t", updates)
        run = await status_run(store, "j")
        assert run is not None
        return run.run_id

    assert await status_run(store, "j") is None
    assert await after(told(job, "a", start_time=10)) == "a"
    assert await after(told(job, "b", start_time=30, state=JobState.FINISHED)) == "a"
    assert await after(told(job, "c", start_time=20)) == "c"
    assert await after(told(job, "d", start_time=20)) == "d"
    assert await after(told(job, "d", JobState.CANCELLING, observe_time=START + 1)) == "c"
    assert await after(told(job, "c", None, observe_time=START + 1, lost=True)) == "a"
    assert await after(told(job, "c", observe_time=START + 2)) == "c"
    assert await after(told(job, "c", JobState.FAILED, observe_time=START + 3)) == "a"
    assert await after(told(job, "a", JobState.FAILED, observe_time=START + 1)) == "d"
    assert await after(told(job, "d", JobState.CANCELED, observe_time=START + 2)) == "b"
    assert await after(told(job, "e", JobState.QUEUED)) == "e"
    assert await after(told(job, "e", JobState.CANCELED, observe_time=START + 1)) == "b"
    assert await after(told(job, "e", None, observe_time=START + 2, start_time=40)) == "e"


async def test_a_collector_follows_what_goes_on_and_what_has_no_final_figures(store: Store) -> None:
    [job, other] = await register(store, "j", "k")
    await register(store, "x", tenant="other")
    updates = [told(job, run_id) for run_id in ("runs", "lost", "ended", "done")]
    await store.job_runs.apply("t", [*updates, told(other, "elsewhere", cluster="d"), told(other, "own", cluster="")])
    await store.job_runs.apply(
        "t",
        [
            told(job, "lost", None, observe_time=START + 1, lost=True),
            told(job, "ended", JobState.FAILED, observe_time=START + 1),
            told(job, "done", JobState.FAILED, observe_time=START + 1, final_figures=True),
        ],
    )

    async def followed(cluster: str, tenant: str = "t") -> list[tuple[int, str]]:
        return [(number, run.run_id) for number, run in await store.job_runs.active(tenant, cluster)]

    assert await followed("c") == [(job, "runs"), (job, "ended")]
    assert await followed("d") == [(other, "elsewhere")]
    assert await followed("") == [(other, "own")]
    assert await followed("c", "other") == []
    await store.job_runs.apply("t", [told(job, "lost", observe_time=START + 2)])
    await store.job_runs.apply("t", [told(job, "ended", None, observe_time=START + 2, final_figures=True)])
    assert await followed("c") == [(job, "runs"), (job, "lost")]


async def test_runs_of_a_cluster_are_found_by_their_ids(store: Store) -> None:
    first, second = await register(store, "a", "b")
    (elsewhere,) = await register(store, "e", cluster="other")
    await store.job_runs.apply(
        "t",
        [
            told(first, "x"),
            told(first, "twice"),
            told(second, "twice"),
            told(second, "ended", state=JobState.FINISHED, final_figures=True),
            told(elsewhere, "there", cluster="other"),
        ],
    )
    found = await store.job_runs.find("t", "c", ["x", "twice", "ended", "there", *(f"none-{n}" for n in range(600))])
    assert {run_id: job for run_id, (job, _) in found.items()} == {"x": first, "twice": second, "ended": second}
    assert found["ended"][1] == await store.job_runs.get(second, "ended")
    assert await store.job_runs.find("u", "c", ["x"]) == {}
    assert await store.job_runs.find("t", "c", []) == {}


async def test_exceptions_are_kept_once_and_listed_the_newest_first(store: Store) -> None:
    [job, other] = await register(store, "j", "k")
    cause = exception("c", 7, truncated=True, task="map", endpoint="h:1", cause_class="C", cause_summary="why")
    reported = [exception("a", 5), exception("b", 9), cause, exception("a", 5)]
    runs = await store.job_runs.apply(
        "t", [told(job, exceptions=reported), told(job, exceptions=reported), told(other, exceptions=reported[:1])]
    )
    run = runs[0].number
    listed = await store.job_runs.exceptions(run, limit=10)
    assert listed == [reported[1], cause, reported[0]]
    assert await store.job_runs.exceptions(run, after=(9, "b"), limit=1) == [cause]
    assert await store.job_runs.exceptions(runs[2].number, limit=10) == reported[:1]
    assert (runs[0].error, runs[2].error) == ("summary b", "summary a")


async def test_any_characters_travel_unharmed(store: Store) -> None:
    [job] = await register(store, "j")
    for text in HOSTILE:
        thrown = RunException(text, 1, text, text, text, False, text, text, text, text, text)
        vertices = [Vertex(text, text, 1, text, -(2**63))]
        update = told(job, text, JobState.OTHER, state_text=text, vertices=vertices, details=True, exceptions=[thrown])
        for _ in range(2):
            [run] = await store.job_runs.apply("t", [update])
            assert (run.run_id, run.error) == (text, text)
            assert await store.job_runs.get(job, text) == replace(run, vertices=tuple(vertices))
            assert await store.job_runs.exceptions(run.number, limit=10) == [thrown]
    assert len(await store.job_runs.of_job(job, limit=100)) == len(HOSTILE)


async def test_the_error_is_that_of_the_newest_exception_its_cause_if_there_is_one(store: Store) -> None:
    [job] = await register(store, "j")

    async def after(*exceptions: RunException) -> str:
        [run] = await store.job_runs.apply("t", [told(job, exceptions=exceptions)])
        assert (await store.job_runs.get(job, "r")) == run
        return run.error

    assert await after() == ""
    assert await after(exception("a", 5)) == "summary a"
    assert await after(exception("b", 3)) == "summary a"
    assert await after(exception("c", 6, cause_summary="why")) == "why"


async def test_beyond_the_bound_the_oldest_exceptions_go(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_exceptions, "MAX_EXCEPTIONS", 3)
    [job] = await register(store, "j")
    [run] = await store.job_runs.apply("t", [told(job, exceptions=[exception(f"{n}", n) for n in range(3)])])
    assert not run.history_truncated
    [run] = await store.job_runs.apply("t", [told(job, exceptions=[exception(f"{n}", n) for n in (0, 1, 4, 5)])])
    assert (run.history_truncated, run.error) == (True, "summary 5")
    again = [exception(f"{n}", n) for n in range(6)]
    assert (await store.job_runs.apply("t", [told(job, exceptions=again)]))[0] == run
    assert [found.time for found in await store.job_runs.exceptions(run.number, limit=10)] == [5, 4, 3]


async def test_beyond_the_bound_the_runs_that_ended_first_go(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_updating, "MAX_RUNS", 3)
    [job, other] = await register(store, "j", "k")
    await store.job_runs.apply("t", [told(other, "r")])

    def run(number: int, state: JobState = JobState.FINISHED) -> RunUpdate:
        return told(job, f"r{number}", state, start_time=number, exceptions=[exception("a", 1)])

    async def kept() -> list[str]:
        return [found.run_id for found in await store.job_runs.of_job(job, limit=10)]

    stored = await store.job_runs.apply("t", [run(1, JobState.RUNNING), run(2), run(3)])
    [newest] = await store.job_runs.apply("t", [run(4)])
    assert await kept() == ["r4", "r3", "r1"]
    assert await store.job_runs.exceptions(stored[1].number, limit=10) == []
    assert len(await store.job_runs.exceptions(newest.number, limit=10)) == 1

    seq = await store.job_runs.last_seq("t")
    [refused] = await store.job_runs.apply("t", [run(2)])
    assert (refused.number, refused.state) == (0, JobState.FINISHED)
    assert await kept() == ["r4", "r3", "r1"]
    assert await store.job_runs.last_seq("t") == seq

    await store.job_runs.apply("t", [run(n, JobState.RUNNING) for n in (5, 6, 7, 8)])
    assert await kept() == ["r8", "r7", "r6"]
    current = await status_run(store, "j")
    assert current is not None
    assert (current.run_id, current.ordinal) == ("r8", 8)
    assert len(await store.job_runs.of_job(other, limit=10)) == 1


async def test_metrics_are_stored_with_the_report(observer: Observer) -> None:
    store = observer.store
    [job] = await register(store, "j")
    await store.job_runs.apply("t", [told(job)], [row_write(job, START, {1: 7, 2: "x"})])
    await store.job_runs.apply(
        "t", [told(job)], [row_write(job, START + 1, {1: 9}), row_write(job, START + 2, {1: 12})]
    )
    assert await observer.samples(job) == {START: {1: 7, 2: "x"}, START + 1: {1: 9}, START + 2: {1: 12}}
    name = SubjectName(SubjectKind.JOB, "j")
    row = (await store.blocks.latest("t", [name]))[name][""]
    assert {metric: (sample.value, sample.lifetime) for metric, sample in row.samples.items()} == {
        1: (12, 12),
        2: ("x", 0),
    }
    await store.job_runs.apply("t", [], [row_write(job, START + 3, {1: 13})])
    assert len(await observer.samples(job)) == 4
    assert await store.job_runs.apply("t", []) == []


async def test_a_report_about_a_job_that_is_gone_is_refused_as_a_whole(observer: Observer) -> None:
    store = observer.store
    job, gone = await register(store, "j", "gone")
    [theirs] = await register(store, "j", tenant="other")
    await store.jobs.delete("t", "gone")
    for updates, writes in (
        ([told(job), told(gone)], [row_write(job, START, {1: 7})]),
        ([told(job)], [row_write(job, START, {1: 7}), row_write(gone, START, {1: 7})]),
        ([told(job), told(theirs)], [row_write(job, START, {1: 7})]),
    ):
        with pytest.raises(SubjectGone) as refused:
            await store.job_runs.apply("t", updates, writes)
        assert refused.value.subject_ids <= {gone, theirs}
    assert await store.job_runs.of_job(job, limit=10) == []
    assert await observer.samples(job) == {}
    assert await store.job_runs.last_seq("t") == 0


async def test_thousands_of_runs_are_taken_in_at_once(observer: Observer) -> None:
    store = observer.store
    jobs = await register(store, *(f"j{n}" for n in range(2_000)))
    for state, later in ((JobState.RUNNING, 0), (JobState.RESTARTING, 1), (JobState.RESTARTING, 1)):
        updates = [told(job, f"r{job}", state, observe_time=START + later, start_time=5) for job in jobs]
        runs = await store.job_runs.apply("t", updates, [row_write(job, START + later, {1: later}) for job in jobs])
        assert [(run.run_id, run.state) for run in runs] == [(f"r{job}", state) for job in jobs]
    assert [number for number, _ in await store.job_runs.active("t", "c")] == jobs
    assert await store.jobs.state_counts("t", JobFilter()) == {JobState.RESTARTING: 2_000}
    assert await store.job_runs.last_seq("t") == 4_000
    assert await observer.samples(jobs[-1]) == {START: {1: 0}, START + 1: {1: 1}}


async def test_two_servers_that_tell_of_the_same_runs_do_not_disturb_each_other(open_store: OpenStore) -> None:
    stores = [await open_store() for _ in range(2)]
    jobs = await register(stores[0], *(f"j{n}" for n in range(20)))
    states = [JobState.CREATED, JobState.RUNNING, JobState.FAILING, JobState.FAILED]

    def report(turn: int, reverse: bool) -> list[RunUpdate]:
        exceptions = [exception(f"e{n}", n) for n in range(turn + 1)]
        updates = [
            told(job, "r", states[turn], observe_time=START + turn, restarts=turn, exceptions=exceptions)
            for job in jobs
        ]
        return updates[::-1] if reverse else updates

    async def collect(store: Store, reverse: bool) -> None:
        for turn in range(len(states)):
            order = jobs[::-1] if reverse else jobs
            writes = [row_write(job, START + turn, {1: turn}) for job in order]
            await store.job_runs.apply("t", report(turn, reverse), writes)

    async def write(store: Store) -> None:
        for turn in range(len(states)):
            await store.blocks.append([row_write(job, START + turn, {2: turn}) for job in jobs])

    await asyncio.gather(*(collect(stores[n % 2], n >= 2) for n in range(4)), *(write(store) for store in stores))
    observer = Observer(stores[0])
    for job in jobs:
        [run] = await stores[0].job_runs.of_job(job, limit=10)
        assert (run.ordinal, run.state, run.error) == (1, JobState.FAILED, "summary e3")
        assert len(await stores[1].job_runs.exceptions(run.number, limit=10)) == 4
        assert await observer.samples(job) == {START + turn: {1: turn, 2: turn} for turn in range(4)}
    changes = await stores[1].job_runs.changes("t", 0, 1_000)
    assert [change.seq for change in changes] == list(range(1, len(changes) + 1))
    for n in range(20):
        told_of = [change for change in changes if change.job_id == f"j{n}"]
        assert [change.previous for change in told_of] == [None, *(change.state for change in told_of[:-1])]
        assert len(told_of) == 4


async def test_reports_and_deletions_at_once_leave_nothing_behind(open_store: OpenStore) -> None:
    stores = [await open_store() for _ in range(2)]
    for turn in range(5):
        [job] = await register(stores[0], "j")
        reports = (
            stores[n % 2].job_runs.apply("t", [told(job, f"r{n}")], [row_write(job, START, {1: n})]) for n in range(4)
        )
        answers = await asyncio.gather(stores[1].jobs.delete("t", "j"), *reports, return_exceptions=True)
        assert {type(answer) for answer in answers} <= {type(None), list, SubjectGone}, (turn, answers)
        assert await stores[0].job_runs.of_job(job, limit=10) == []
        assert await stores[0].job_runs.active("t", "c") == []
