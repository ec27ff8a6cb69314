"""The collector and the store against a real Flink: what a demo job did is what is stored of it."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TypeVar

import pytest
from streamgauge_server.collectors.flink import FlinkCollector
from streamgauge_server.flink.client import FlinkClient
from streamgauge_server.model.clock import SystemClock
from streamgauge_server.model.jobs import JobRun, JobState
from streamgauge_server.services.clusters import ClusterConfig, Clusters
from streamgauge_server.storage.migrate import migrate
from streamgauge_server.storage.store import Store

from tests.collectors.conftest import CLUSTER, TENANT, Collected, collector_of
from tests.flink.cluster import FlinkCluster
from tests.flink.package import version

pytestmark = pytest.mark.flink

SECONDS = 60.0
POLL_SECONDS = 0.25
FIRST_EVENT_MS = 1_538_572_801_000
T = TypeVar("T")


class Live(Collected):
    """A running collector in front of the real cluster."""

    def __init__(self, store: Store, collector: FlinkCollector, client: FlinkClient, cluster: FlinkCluster) -> None:
        super().__init__(store)
        self.collector = collector
        self.client = client
        self.cluster = cluster

    async def until(self, run_id: str, wanted: Callable[[JobRun], bool]) -> JobRun:
        """Waits until the store says of a run what is wanted."""
        run = await until(lambda: self._run(run_id), lambda run: run is not None and wanted(run))
        assert run is not None
        return run

    async def _run(self, run_id: str) -> JobRun | None:
        found = await self.store.job_runs.find(TENANT, CLUSTER, [run_id])
        return found[run_id][1] if run_id in found else None


async def until(ask: Callable[[], Awaitable[T]], wanted: Callable[[T], bool]) -> T:
    """Asks again and again until the answer is a wanted one."""
    deadline = time.monotonic() + SECONDS
    while not wanted(answer := await ask()):
        assert time.monotonic() < deadline, f"still {answer!r}"
        await asyncio.sleep(0.05)
    return answer


def ended(run: JobRun) -> bool:
    return run.ended and run.final_figures


@pytest.fixture
async def live(flink_cluster: FlinkCluster, tmp_path: Path) -> AsyncIterator[Live]:
    url = f"sqlite:///{tmp_path}/store.db"
    await migrate(url)
    clock = SystemClock()
    config = ClusterConfig(
        CLUSTER, TENANT, [flink_cluster.base_url], poll_seconds=POLL_SECONDS, requests_per_second=1_000
    )
    async with AsyncExitStack() as stack:
        store = await Store.open(url, clock=clock)
        stack.push_async_callback(store.close)
        clusters = Clusters([config])
        stack.push_async_callback(clusters.close)
        collector = collector_of(store, clock, clusters)
        stack.push_async_callback(collector.stop)
        collector.start()
        yield Live(store, collector, clusters[config.key], flink_cluster)


def name_of(what: str) -> str:
    """Returns a name of the test's own: the cluster remembers the jobs of others."""
    return f"{what}-{uuid.uuid4().hex[:8]}"


async def test_a_running_job_is_followed(live: Live) -> None:
    name = name_of("running")
    jid = await live.cluster.submit(name, parallelism=2, rate=100, checkpointMs=300)
    run = await live.until(
        jid, lambda run: run.state == JobState.RUNNING and run.tasks is not None and not run.degraded
    )
    assert run.tasks is not None
    assert (run.tasks.running, run.tasks.total) == (6, 6)

    found = await until(
        lambda: live.values(name),
        lambda told: told.get("numRecordsProcessed", 0) > 50 and told.get("numberOfCompletedCheckpoints", 0) > 1,
    )
    assert found["numRecordsRead"] > found["numRecordsProcessed"]
    assert found["numRestarts"] == 0
    assert found["currentEventTs"] > FIRST_EVENT_MS
    told = await live.status()
    assert (told.reachable, told.version, told.problem) == (True, version(), "")
    assert told.active_runs >= 1
    whole = await live.run(jid)
    assert [vertex.parallelism for vertex in whole.vertices] == [2, 2, 2]
    assert await live.exceptions(jid) == []


async def test_a_finite_job_leaves_exact_final_figures(live: Live) -> None:
    name = name_of("finite")
    jid = await live.cluster.submit(name, records=300, rate=300)
    run = await live.until(jid, ended)
    assert (run.state, run.lost) == (JobState.FINISHED, False)
    assert run.start_time is not None
    assert run.end_time is not None
    assert run.duration == run.end_time - run.start_time
    values = await live.values(name)
    assert (values["numRecordsRead"], values["numRecordsProcessed"]) == (300, 150)
    assert await live.total(name, "numRecordsRead") == 300


async def test_a_failing_job_says_why(live: Live) -> None:
    jid = await live.cluster.submit(name_of("failing"), rate=200, failAt=20)
    run = await live.until(jid, ended)
    assert run.state == JobState.FAILED
    assert run.error == "java.lang.IllegalStateException: demo failure at record 20"
    (exception,) = await live.exceptions(jid)
    assert exception.cause_task.startswith("Flat Map (1/1)")
    assert "demo failure at record 20" in exception.stacktrace


async def test_totals_of_a_restarting_job_never_fall_and_count_every_attempt(live: Live) -> None:
    name = name_of("restarting")
    jid = await live.cluster.submit(name, rate=100, failAt=150, restarts=2, delayMs=500)
    totals: list[float] = []
    highest: dict[int, int] = {}

    async def watch() -> bool:
        if any(job.job_name == name for job in await live.jobs()) and (
            sample := (await live.samples(name)).get("numRecordsRead")
        ):
            totals.append(sample.lifetime or 0)
            assert isinstance(sample.value, int)
            highest[sample.start] = max(sample.value, highest.get(sample.start, 0))
        found = await live.store.job_runs.find(TENANT, CLUSTER, [jid])
        return jid in found and ended(found[jid][1])

    await until(watch, bool)
    assert totals == sorted(totals)
    run = await live.run(jid)
    assert (run.state, run.restarts) == (JobState.FAILED, 2)
    assert len(run.recent_restarts) <= 2
    # On a busy machine an attempt may be over before Flink has gathered its counts.
    assert len(highest) > 1
    assert max(highest.values()) < sum(highest.values()) <= totals[-1] < 3_000
    assert len(await live.exceptions(jid)) == 3
    states = [change.state.name for change in await live.changes() if change.run_id == jid]
    assert "RESTARTING" in states
    assert states[-1] == "FAILED"


async def test_a_job_that_is_stopped_with_a_savepoint_has_finished(live: Live) -> None:
    jid = await live.cluster.submit(name_of("stopped"), rate=50)
    await live.until(jid, lambda run: run.state == JobState.RUNNING and not run.degraded and run.tasks is not None)
    trigger = await live.client.stop(jid, trigger_id=uuid.uuid4().hex)
    await until(lambda: live.client.savepoint(jid, trigger), lambda status: status.completed)
    assert (await live.until(jid, ended)).state == JobState.FINISHED


async def test_a_cancelled_job_and_its_resubmission_are_two_runs(live: Live) -> None:
    name = name_of("cancelled")
    first = await live.cluster.submit(name, records=100, rate=1_000)
    await live.until(first, ended)
    second = await live.cluster.submit(name, rate=50)
    await live.until(second, lambda run: run.state == JobState.RUNNING)
    await live.client.cancel(second)
    run = await live.until(second, ended)
    assert (run.state, run.ordinal) == (JobState.CANCELED, 2)
    job = await live.job(name)
    runs = await live.store.job_runs.of_job(job.number, limit=10)
    assert [(run.run_id, run.state.name) for run in runs] == [(second, "CANCELED"), (first, "FINISHED")]
    total = await live.total(name, "numRecordsRead")
    assert total is not None
    assert total >= 100


@pytest.mark.parametrize("name", ["a/b?c#d% &=+", "заказы 🚀"])
async def test_two_jobs_of_one_name_are_two_runs_of_one_job(live: Live, name: str) -> None:
    name = name_of(name)
    jids = [await live.cluster.submit(name, rate=50) for _ in range(2)]
    for jid in jids:
        await live.until(jid, lambda run: run.state == JobState.RUNNING and run.details_time is not None)
    job = await live.job(name)
    runs = await live.store.job_runs.of_job(job.number, limit=10)
    assert {run.run_id for run in runs if run.active} == set(jids)
    assert job.run is not None
    assert job.run.run_id == max(runs, key=lambda run: (run.start_time or 0, run.run_id)).run_id


async def test_a_huge_exception_is_stored_cut(live: Live) -> None:
    jid = await live.cluster.submit(name_of("huge"), rate=200, failAt=5, messageLength=2_000_000)
    await live.until(jid, ended)
    (exception,) = await live.exceptions(jid)
    assert exception.truncated
    assert len(exception.stacktrace.encode()) <= 65_536
    assert "Caused by: java.lang.IllegalStateException: demo failure at record 5" in exception.stacktrace
    assert len((await live.run(jid)).error) <= 300


async def test_a_job_goes_on_after_its_task_manager_was_killed(live: Live) -> None:
    jid = await live.cluster.submit(name_of("survivor"), rate=50, restarts=1_000, delayMs=200)
    await live.until(jid, lambda run: run.state == JobState.RUNNING and run.tasks is not None and not run.degraded)
    live.cluster.kill_task_manager()
    await live.until(jid, lambda run: run.state == JobState.RESTARTING or run.restarts > 0)
    assert await until(lambda: live.exceptions(jid), bool)
    await asyncio.to_thread(live.cluster.revive)
    run = await live.until(
        jid,
        lambda run: run.state == JobState.RUNNING and run.restarts > 0 and run.tasks is not None and not run.degraded,
    )
    assert (run.ordinal, run.lost) == (1, False)


async def test_a_cluster_that_is_down_leaves_its_runs_alone_and_one_that_forgot_them_loses_them(live: Live) -> None:
    jid = await live.cluster.submit(name_of("forgotten"), rate=50)
    await live.until(jid, lambda run: run.state == JobState.RUNNING)
    await asyncio.to_thread(live.cluster.stop)
    status = await until(live.status, lambda status: not status.reachable)
    assert status.problem
    assert status.last_success_time is not None
    before = await live.run(jid)
    assert (before.state, before.lost) == (JobState.RUNNING, False)
    await asyncio.to_thread(live.cluster.revive)
    run = await live.until(jid, lambda run: run.lost)
    assert run.state == JobState.RUNNING
    assert (await live.status()).reachable
