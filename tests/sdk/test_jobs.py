"""`client.jobs` and `client.job_types`, against a real server: reports, reads, DataFrames, and a cluster behind it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from streamgauge import (
    EtagMismatchError,
    InvalidArgumentError,
    Job,
    JobAlreadyExistsError,
    JobAmbiguousError,
    JobNotFoundError,
    JobNotStoppableError,
    JobOutcome,
    JobReport,
    JobState,
    JobTypeAlreadyExistsError,
    JobTypeNotFoundError,
    ReportedException,
    ReportedJob,
    StatusOrigin,
    TaskCounts,
    testing,
)

from tests.flink.fake import FakeFlink
from tests.flink.fake_jobs import FakeJob, FakeJobs
from tests.sdk.conftest import done, everything, pages

NOW = datetime.now(UTC).replace(microsecond=0)
MINUTE, SECOND = timedelta(minutes=1), timedelta(seconds=1)


def ids(jobs: list[Job]) -> list[str]:
    return [job.id for job in jobs]


# --- The catalog -----------------------------------------------------------------------------------------------------


async def test_a_job_is_created_read_changed_listed_and_deleted(api: Any) -> None:
    made = await done(api.jobs.create("orders", job_name="orders / 😀", labels={"team": "shop"}))
    assert (made.name, made.id, made.job_name, made.run) == ("jobs/orders", "orders", "orders / 😀", None)
    assert await done(api.jobs.create("orders", job_name="orders / 😀", labels={"team": "shop"})) == made
    with pytest.raises(JobAlreadyExistsError):
        await done(api.jobs.create("orders"))
    for name in ("orders", "jobs/orders", "orders / 😀"):
        assert await done(api.jobs.get(name)) == made
    changed = await done(api.jobs.update("orders", labels={}, job_name="o", etag=made.etag))
    assert (changed.labels, changed.job_name) == ({}, "o")
    with pytest.raises(EtagMismatchError):
        await done(api.jobs.update("jobs/orders", labels={}, etag=made.etag))
    assert await everything(api.jobs.list()) == [changed]
    await done(api.jobs.delete("orders", etag=changed.etag))
    with pytest.raises(JobNotFoundError):
        await done(api.jobs.job("orders").get())


async def test_a_job_without_an_id_has_a_new_one_and_a_name_of_several_is_ambiguous(api: Any) -> None:
    first, second = [await done(api.jobs.create(job_name="twin")) for _ in range(2)]
    assert first.id != second.id
    with pytest.raises(JobAmbiguousError):
        await done(api.jobs.get("twin"))


async def test_job_types_are_created_read_changed_and_listed(api: Any) -> None:
    made = await done(api.job_types.create("load-v2", "Load", version="2", is_published=True, is_operational=False))
    assert (made.id, made.type_name, made.is_active, made.is_published, made.is_operational) == (
        "load-v2",
        "Load",
        True,
        True,
        False,
    )
    with pytest.raises(JobTypeAlreadyExistsError):
        await done(api.job_types.create("other", "Load", version="2"))
    with pytest.raises(JobTypeNotFoundError):
        await done(api.job_types.get("nobody"))
    changed = await done(api.job_types.update("load-v2", is_active=False, title="Night", etag=made.etag))
    assert (changed.is_active, changed.title, changed.number) == (False, "Night", made.number)
    with pytest.raises(EtagMismatchError):
        await done(api.job_types.update("load-v2", title="x", etag=made.etag))
    with pytest.raises(ValueError, match="give a field"):
        await done(api.job_types.update("load-v2", etag=made.etag))
    assert await done(api.job_types.get("jobTypes/load-v2")) == changed
    assert await everything(api.job_types.list(type_name="Load")) == [changed]
    assert await everything(api.job_types.list(active_only=True)) == []


# --- Reports and reads -----------------------------------------------------------------------------------------------


async def test_a_run_is_reported_and_read_with_its_metrics_and_exceptions(api: Any) -> None:
    await done(api.job_types.create("load", "Load"))
    job = api.jobs.job("nightly")
    told = await done(job.report("running", run_id="1", start_time=NOW - MINUTE, metrics={"rows": 5}, job_type="load"))
    assert told == ReportedJob("jobs/nightly", "1", JobState.RUNNING)
    failure = ReportedException("java.lang.Oops: no\n\tat a.b", "java.lang.Oops", NOW, "map (1/2)")
    for _ in range(2):  # again changes nothing
        await done(
            job.report(
                JobState.FAILED,
                run_id="1",
                end_time=NOW,
                exceptions=[failure, ValueError("mine")] if _ == 0 else [failure],
                metrics={"rows": 7},
                tasks=TaskCounts(0, 1, 2),
                restart_count=3,
            )
        )
    status = await done(job.status())
    assert (status.state, status.origin, status.stale) == (JobState.FAILED, StatusOrigin.STORED, False)
    run = status.run
    assert (run.run_id, run.outcome, run.ended, run.restart_count) == ("1", JobOutcome.FAILED, True, 3)
    assert (run.start_time, run.end_time, run.duration) == (NOW - MINUTE, NOW, MINUTE)
    assert (run.tasks, run.vertices) == (TaskCounts(0, 1, 2), ())
    assert status.job.job_type == "jobTypes/load"
    metrics = await done(job.metrics(["rows"]))
    assert {name: value.value for name, value in metrics.items()} == {"rows": 7}
    both = await done(api.jobs.status_and_metrics("nightly"))
    assert both["rows"].value == 7
    assert both.status.run == run
    found = await everything(job.exceptions())
    assert {e.summary for e in found} == {"java.lang.Oops: no", "ValueError: mine"}
    java = next(e for e in found if e.task)
    assert (java.exception_class, java.task, java.time, java.truncated) == ("java.lang.Oops", "map (1/2)", NOW, False)
    (page,) = await pages(api.jobs.exceptions("nightly", run_id="1"))
    assert (page.run_id, page.history_truncated, page.stale) == ("1", False, False)


async def test_runs_are_listed_in_pages_the_newest_first(api: Any) -> None:
    for number in range(3):
        await done(api.jobs.report("a", "finished", run_id=f"r{number}", start_time=NOW, end_time=NOW))
    assert [run.run_id for run in await everything(api.jobs.job("a").runs())] == ["r2", "r1", "r0"]
    assert [len(page.items) for page in await pages(api.jobs.runs("a", page_size=2))] == [2, 1]


async def test_a_report_is_refused_whole_with_everything_that_is_wrong(api: Any) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        await done(
            api.jobs.report_many([JobReport("a", "running"), JobReport("b", "running", end_time=NOW, restart_count=-1)])
        )
    assert sorted(v.field for v in caught.value.violations) == ["reports[1].end_time", "reports[1].restart_count"]
    assert await everything(api.jobs.list()) == []


async def test_many_reports_go_in_as_many_requests_as_it_takes(api: Any) -> None:
    told = await done(api.jobs.report_many(JobReport(f"jobs/j{n}", "running", run_id="r") for n in range(1_001)))
    assert [one.job for one in told[::1000]] == ["jobs/j0", "jobs/j1000"]
    assert (await done(api.jobs.list().overview())).total == 1_001


async def test_jobs_are_filtered_counted_and_made_a_data_frame(api: Any) -> None:
    await done(api.jobs.create("idle", labels={"team": "shop"}))
    for name, state, start in (("a", "running", NOW - MINUTE), ("b", "failed", NOW), ("c", "queued", None)):
        await done(api.jobs.report(name, state, run_id="r", start_time=start, tasks=TaskCounts(1, 0, 1)))
    listed = api.jobs.list(page_size=2)
    overview = await done(listed.overview())
    assert (overview.total, len(overview.jobs), overview.clusters) == (4, 2, ())
    assert overview.state_counts == {JobState.RUNNING: 1, JobState.FAILED: 1, JobState.QUEUED: 1, None: 1}
    assert ids(await everything(listed))[:2] == ["b", "a"]
    assert ids(await everything(api.jobs.list(states=["failed", JobState.QUEUED]))) == ["b", "c"]
    assert sorted(ids(await everything(api.jobs.list(active_only=True)))) == ["a", "c"]
    assert ids(await everything(api.jobs.list(labels={"team": "shop"}))) == ["idle"]
    frame = await done(listed.to_dataframe())
    assert frame.loc["jobs/a", "state"] == "running"
    assert frame.loc["jobs/b", "start_time"] == NOW
    assert frame["tasks_total"].isna().to_dict()["jobs/idle"]
    assert str(frame.dtypes["restart_count"]) == "Int64"
    await done(api.jobs.report("b", "failed", run_id="r", exceptions=[ValueError("x")]))
    assert (await done(api.jobs.exceptions("b").to_dataframe()))["summary"].tolist() == ["ValueError: x"]


async def test_a_run_that_its_runner_reports_cannot_be_stopped_here_and_an_ended_one_has_stopped(api: Any) -> None:
    await done(api.jobs.report("a", "running"))
    with pytest.raises(JobNotStoppableError):
        await done(api.jobs.job("a").stop())
    await done(api.jobs.report("a", "finished"))
    result = await done(api.jobs.stop("a"))
    assert (result.already_stopped, result.accepted, result.ended) == (True, False, True)


# --- A cluster behind the server -------------------------------------------------------------------------------------


@pytest.fixture
async def flink() -> AsyncIterator[FakeFlink]:
    """A fake cluster with one job, `orders`."""
    async with FakeFlink() as fake:
        jobs = FakeJobs([FakeJob("a" * 32, "orders", read=5, processed=4)])
        fake.respond = jobs.respond
        yield fake


@pytest.fixture(params=["sync", "async"])
async def ask(request: pytest.FixtureRequest, flink: FakeFlink) -> AsyncIterator[Any]:
    """Calls either client of a server that follows the cluster, off the loop in which the cluster runs."""
    settings = f"prod={flink.base_url} poll_seconds=0.2"
    manager = testing.server(clusters=settings)
    server = await asyncio.to_thread(manager.__enter__)
    client = server.client()

    async def sync(call: Any) -> Any:
        return await asyncio.to_thread(lambda: call(client))

    if request.param == "sync":
        yield sync
    else:
        async with server.async_client() as aio:
            yield lambda call: call(aio)
    await asyncio.to_thread(manager.__exit__, None, None, None)


async def followed(ask: Any) -> None:
    """Waits until the collector has found the job and said so of the cluster."""
    while True:
        overview = await ask(lambda c: c.jobs.list(cluster="prod").overview())
        if overview.jobs and overview.clusters:
            assert [(cluster.cluster, cluster.reachable) for cluster in overview.clusters] == [("prod", True)]
            return
        await asyncio.sleep(0.05)


async def test_a_job_of_a_cluster_is_read_stopped_and_waited_for(ask: Any) -> None:
    await followed(ask)
    live = await ask(lambda c: c.jobs.status("orders", max_age=timedelta()))
    assert (live.origin, live.state, live.job.cluster) == (StatusOrigin.LIVE, JobState.RUNNING, "prod")
    assert len(live.run.vertices) == 2
    result = await ask(lambda c: c.jobs.job("orders").stop("savepoint", wait=20 * SECOND))
    assert (result.accepted, result.ended, result.run.state) == (True, True, JobState.FINISHED)
    assert result.savepoint_location == "file:/savepoints/savepoint-aaaaaa"


async def test_a_cluster_that_is_away_leaves_a_stale_status_or_an_error(ask: Any, flink: FakeFlink) -> None:
    await followed(ask)
    await flink.stop()
    stale = await ask(lambda c: c.jobs.status("orders", max_age=timedelta()))
    assert (stale.stale, stale.origin, stale.state) == (True, StatusOrigin.STORED, JobState.RUNNING)
    assert stale.messages
