"""The client, the parsers and the figures against a real Flink."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import pytest
from streamgauge_server.flink import catalog
from streamgauge_server.flink.client import FlinkClient
from streamgauge_server.flink.errors import NotFound, Refused, Unreachable
from streamgauge_server.flink.failures import MAX_STACK_BYTES
from streamgauge_server.flink.job_details import JobDetails
from streamgauge_server.flink.reading import FigureReader, JobReading
from streamgauge_server.flink.savepoints import SavepointStatus
from streamgauge_server.flink.states import FlinkState

from tests.flink.cluster import FlinkCluster
from tests.flink.package import version

pytestmark = pytest.mark.flink

SECONDS = 60.0
FIRST_EVENT_MS = 1_538_572_801_000
T = TypeVar("T")


async def until(ask: Callable[[], Awaitable[T]], wanted: Callable[[T], bool]) -> T:
    """Asks again and again until the answer is a wanted one."""
    deadline = time.monotonic() + SECONDS
    while not wanted(answer := await ask()):
        assert time.monotonic() < deadline, f"still {answer!r}"
        await asyncio.sleep(0.1)
    return answer


async def reach(client: FlinkClient, jid: str, state: FlinkState) -> JobDetails:
    """Waits for a state, and for details that are as new and complete if it is the last one."""
    await until(lambda: client.status(jid), lambda status: status == state.value)
    return await until(lambda: client.job(jid), lambda job: job.state is state and (job.complete or not state.terminal))


def list_directory(path: Path) -> list[Path]:
    return list(path.iterdir())


async def read_until(client: FlinkClient, jid: str, wanted: Callable[[JobReading], bool]) -> JobReading:
    reader = FigureReader(client)
    return await until(lambda: reader.read(jid), wanted)


async def test_the_cluster_tells_what_it_is(flink_client: FlinkClient) -> None:
    overview = await flink_client.overview()
    assert (overview.version, overview.task_managers, overview.slots_total) == (version(), 1, 8)
    config = await flink_client.config()
    assert (config.version, config.refresh_interval_ms) == (version(), 500)


async def test_a_running_job_tells_all_its_figures(flink_cluster: FlinkCluster, flink_client: FlinkClient) -> None:
    jid = await flink_cluster.submit("orders-1", parallelism=2, rate=100, checkpointMs=300, watermarks=True)
    expected = {metric.metric for metric in catalog.JOB_METRICS} - {
        "pendingRecords",  # the generator has no backlog
        "numLateRecordsDropped",  # the job has no windows
        "currentEmitEventTimeLag",  # its records have no time before the watermarks' assigner
    }
    if version().startswith("1."):
        expected.remove("lastCheckpointCompletedTimestamp")
    reading = await read_until(
        flink_client, jid, lambda told: told.figures.keys() >= expected and told.figures["numRecordsProcessed"] > 50
    )
    figures = reading.figures
    assert figures["numRecordsRead"] > figures["numRecordsProcessed"]
    assert figures["currentEventTs"] > FIRST_EVENT_MS
    assert 0 <= figures["watermarkLag"] < 60_000
    assert (figures["tasksRunning"], figures["tasksTotal"], figures["numRestarts"]) == (6, 6, 0)
    assert figures["numberOfCompletedCheckpoints"] > 0
    assert figures["lastCheckpointDuration"] >= 0
    (summary,) = [job for job in await flink_client.jobs() if job.jid == jid]
    assert (summary.name, summary.state, summary.degraded) == ("orders-1", FlinkState.RUNNING, False)
    assert (await flink_client.exceptions(jid)).root is None


async def test_a_chained_job_is_counted_at_its_operators(
    flink_cluster: FlinkCluster, flink_client: FlinkClient
) -> None:
    jid = await flink_cluster.submit("chained", parallelism=2, rate=100, chain=True, watermarks=True)
    reading = await read_until(
        flink_client,
        jid,
        lambda told: told.figures.get("numRecordsProcessed", 0) > 20 and "watermarkLag" in told.figures,
    )
    assert len(reading.details.vertices) == 1
    assert reading.figures["numRecordsRead"] > reading.figures["numRecordsProcessed"]


async def test_a_finite_job_finishes_with_its_final_figures(
    flink_cluster: FlinkCluster, flink_client: FlinkClient
) -> None:
    jid = await flink_cluster.submit("finite", records=300, rate=300)
    details = await reach(flink_client, jid, FlinkState.FINISHED)
    assert details.end_ms is not None
    assert details.start_ms is not None
    assert details.duration_ms == details.end_ms - details.start_ms
    figures = (await FigureReader(flink_client).read(jid)).figures
    assert (figures["numRecordsRead"], figures["numRecordsProcessed"]) == (300, 150)
    assert await flink_client.job_metrics(jid, ["numRestarts", "uptime"]) == {}
    with pytest.raises(Refused, match=r"another terminal state \(FINISHED\)"):
        await flink_client.cancel(jid)


async def test_a_failing_job_tells_why(flink_cluster: FlinkCluster, flink_client: FlinkClient) -> None:
    jid = await flink_cluster.submit("failing", rate=200, failAt=20)
    await reach(flink_client, jid, FlinkState.FAILED)
    failures = await flink_client.exceptions(jid)
    assert failures.root is not None
    assert failures.root.summary == "java.lang.IllegalStateException: demo failure at record 20"
    assert failures.root.cause is not None
    assert failures.root.cause.task.startswith("Flat Map (1/1)")
    assert not failures.truncated


async def test_a_restarting_job_keeps_its_id_and_counts_from_zero_in_every_attempt(
    flink_cluster: FlinkCluster, flink_client: FlinkClient
) -> None:
    jid = await flink_cluster.submit("restarting", rate=100, failAt=150, restarts=1_000, delayMs=200)
    reader, highest = FigureReader(flink_client), dict[int, int]()

    async def count() -> int:
        reading = await reader.read(jid)
        if "numRecordsRead" in reading.figures:
            attempt, read = reading.details.attempt_ms, reading.figures["numRecordsRead"]
            assert attempt >= max(highest, default=0)
            highest[attempt] = max(read, highest.get(attempt, 0))
        return len(highest)

    await until(count, lambda seen: seen == 3)
    # The generator starts from zero in every attempt, and no attempt gets much further than its failure.
    assert max(highest.values()) < 1_000
    failures = await flink_client.exceptions(jid)
    assert len(failures.entries) >= 2
    assert len({entry.fingerprint(jid) for entry in failures.entries}) == len(failures.entries)
    assert {entry.summary for entry in failures.entries} == {
        "java.lang.IllegalStateException: demo failure at record 150"
    }
    newest = await flink_client.exceptions(jid, 1)
    assert len(newest.entries) == 1
    assert newest.truncated
    restarts = await read_until(flink_client, jid, lambda told: told.figures.get("numRestarts", 0) >= 2)
    assert restarts.details.jid == jid


async def test_a_job_is_stopped_with_a_savepoint_once(flink_cluster: FlinkCluster, flink_client: FlinkClient) -> None:
    jid = await flink_cluster.submit("stopped", rate=50)
    await until(lambda: flink_client.job(jid), lambda job: job.tasks.running == 3)
    trigger = uuid.uuid4().hex
    assert await flink_client.stop(jid, trigger_id=trigger) == trigger
    assert await flink_client.stop(jid, trigger_id=trigger) == trigger
    saved = await until(lambda: flink_client.savepoint(jid, trigger), lambda status: status.completed)
    savepoint = Path(urlsplit(saved.location).path)
    assert savepoint in list_directory(flink_cluster.work / "savepoints")
    await reach(flink_client, jid, FlinkState.FINISHED)
    late = await flink_client.stop(jid, trigger_id=uuid.uuid4().hex)
    refused = await until(lambda: flink_client.savepoint(jid, late), lambda status: status.completed)
    assert refused.job_unknown


async def test_a_stop_that_cannot_write_leaves_the_job_running(
    flink_cluster: FlinkCluster, flink_client: FlinkClient
) -> None:
    jid = await flink_cluster.submit("unstoppable", rate=50)
    await until(lambda: flink_client.job(jid), lambda job: job.tasks.running == 3)
    trigger = await flink_client.stop(jid, trigger_id=uuid.uuid4().hex, target_directory="file:///proc/nowhere")

    async def ask() -> SavepointStatus:
        return await flink_client.savepoint(jid, trigger)

    told = await until(ask, lambda status: status.completed)
    assert "\n" not in told.failure
    assert told.failure
    assert not told.job_unknown
    assert await flink_client.status(jid) == "RUNNING"


async def test_a_job_is_cancelled_and_may_be_cancelled_again(
    flink_cluster: FlinkCluster, flink_client: FlinkClient
) -> None:
    jid = await flink_cluster.submit("cancelled", rate=50)
    await flink_client.cancel(jid)
    await reach(flink_client, jid, FlinkState.CANCELED)
    await flink_client.cancel(jid)
    assert (await flink_client.exceptions(jid)).root is None


@pytest.mark.parametrize("name", ["a/b?c#d% &=+", "заказы 🚀", " "])
async def test_two_jobs_may_have_one_name_and_any(
    flink_cluster: FlinkCluster, flink_client: FlinkClient, name: str
) -> None:
    chosen = uuid.uuid4().hex
    jids = {await flink_cluster.submit(name, jid=chosen), await flink_cluster.submit(name)}
    assert chosen in jids
    assert len(jids) == 2
    assert {job.jid for job in await flink_client.jobs() if job.name == name} == jids
    assert (await flink_client.job(chosen)).name == name


async def test_an_exception_of_two_megabytes_is_cut(flink_cluster: FlinkCluster, flink_client: FlinkClient) -> None:
    jid = await flink_cluster.submit("huge", rate=200, failAt=5, messageLength=2_000_000)
    await reach(flink_client, jid, FlinkState.FAILED)
    root = (await flink_client.exceptions(jid)).root
    assert root is not None
    assert root.truncated
    assert len(root.stack.encode()) <= MAX_STACK_BYTES
    assert root.stack.startswith("org.apache.flink.runtime.JobException: Recovery is suppressed")
    assert "Caused by: java.lang.IllegalStateException: demo failure at record 5 padding" in root.stack


async def test_a_job_without_enough_slots_is_degraded(flink_cluster: FlinkCluster, flink_client: FlinkClient) -> None:
    jid = await flink_cluster.submit("large", parallelism=20, rate=100)
    details = await until(lambda: flink_client.job(jid), lambda job: job.tasks.running == 24)
    assert (details.state, details.tasks.total, details.degraded) == (FlinkState.RUNNING, 60, True)
    trigger = await flink_client.stop(jid, trigger_id=uuid.uuid4().hex)
    told = await until(lambda: flink_client.savepoint(jid, trigger), lambda status: status.completed)
    assert told.failure.endswith("Not all required tasks are currently running.")


async def test_an_unknown_job_and_an_unknown_savepoint_are_not_found(flink_client: FlinkClient) -> None:
    unknown = "deadbeef" * 4
    with pytest.raises(NotFound, match=f"Job {unknown} not found"):
        await flink_client.job(unknown)
    calls: list[Callable[[], Awaitable[object]]] = [
        lambda: flink_client.status(unknown),
        lambda: flink_client.exceptions(unknown),
        lambda: flink_client.cancel(unknown),
        lambda: flink_client.savepoint(unknown, unknown),
    ]
    for call in calls:
        with pytest.raises(NotFound):
            await call()
    assert await flink_client.job_metrics(unknown, ["uptime"]) == {}


async def test_a_wrong_prefix_is_not_an_unknown_job(flink_cluster: FlinkCluster) -> None:
    async with FlinkClient([f"{flink_cluster.base_url}/elsewhere"]) as client:
        with pytest.raises(Unreachable):
            await client.job("deadbeef" * 4)
    async with FlinkClient([f"{flink_cluster.base_url}/v1"]) as client:
        assert (await client.overview()).version == version()


async def test_a_job_goes_on_under_its_id_after_its_task_manager_was_killed(
    flink_cluster: FlinkCluster, flink_client: FlinkClient
) -> None:
    jid = await flink_cluster.submit("survivor", rate=50, restarts=1_000, delayMs=200)
    before = await until(lambda: flink_client.job(jid), lambda job: job.tasks.running == 3)
    flink_cluster.kill_task_manager()
    await until(lambda: flink_client.exceptions(jid), lambda told: told.root is not None)
    await asyncio.to_thread(flink_cluster.revive)
    after = await until(
        lambda: flink_client.job(jid), lambda job: job.tasks.running == 3 and job.attempt_ms > before.attempt_ms
    )
    assert after.jid == jid


async def test_a_cluster_that_was_restarted_does_not_know_its_jobs(
    flink_cluster: FlinkCluster, flink_client: FlinkClient
) -> None:
    jid = await flink_cluster.submit("forgotten", rate=50)
    await until(lambda: flink_client.status(jid), lambda status: status == "RUNNING")
    await asyncio.to_thread(flink_cluster.stop)
    with pytest.raises(Unreachable):
        await flink_client.job(jid)
    await asyncio.to_thread(flink_cluster.revive)
    assert await flink_client.jobs() == ()
    with pytest.raises(NotFound):
        await flink_client.job(jid)
