"""JobService in front of a real Flink cluster, without a collector: every status is a look at the cluster."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

import grpc.aio
import pytest
from streamgauge.v1 import job_service_pb2 as pb
from streamgauge.v1 import job_service_pb2_grpc, metric_type_service_pb2_grpc
from streamgauge.v1 import metric_type_service_pb2 as types_pb
from streamgauge_server.app import App
from streamgauge_server.services.clusters import ClusterConfig, Clusters
from streamgauge_server.settings import Settings

from tests.flink.cluster import FlinkCluster

if TYPE_CHECKING:
    from streamgauge.v1.job_service_pb2_grpc import JobServiceAsyncStub as Jobs

pytestmark = pytest.mark.flink

T = TypeVar("T")
SECONDS = 60.0


@pytest.fixture
async def channel(flink_cluster: FlinkCluster) -> AsyncIterator[grpc.aio.Channel]:
    settings = Settings(listen="127.0.0.1:0", database="sqlite://:memory:", collect=False)
    clusters = Clusters([ClusterConfig("real", "default", [flink_cluster.base_url])])
    async with App(settings, clusters=clusters) as app, grpc.aio.insecure_channel(app.address) as channel:
        yield channel


@pytest.fixture
def jobs(channel: grpc.aio.Channel) -> Jobs:
    return job_service_pb2_grpc.JobServiceStub(channel)


async def status(jobs: Jobs, name: str) -> pb.GetJobStatusResponse:
    request = pb.GetJobStatusRequest(job=name)
    request.max_age.SetInParent()
    return await jobs.GetJobStatus(request)


async def until(ask: Callable[[], Awaitable[T]], met: Callable[[T], bool]) -> T:
    deadline = time.monotonic() + SECONDS
    while not met(answer := await ask()):
        assert time.monotonic() < deadline, answer
        await asyncio.sleep(0.1)
    return answer


async def at_work(jobs: Jobs, cluster: FlinkCluster, name: str) -> str:
    """Submits a job, registers it, and returns its id when all of its tasks run."""
    jid = await cluster.submit(name, rate=50)
    await jobs.CreateJob(pb.CreateJobRequest(job_id=name, job=pb.Job(cluster="real")))
    await until(lambda: status(jobs, name), lambda answer: answer.job.run.tasks.running == 3)
    return jid


async def test_a_running_job_is_cancelled(flink_cluster: FlinkCluster, jobs: Jobs) -> None:
    jid = await at_work(jobs, flink_cluster, "service-cancel")
    answer = await status(jobs, "service-cancel")
    assert (answer.origin, answer.stale) == (pb.STATUS_ORIGIN_LIVE, False)
    assert (answer.job.run.run_id, answer.job.run.state) == (jid, pb.JOB_STATE_RUNNING)
    assert len(answer.job.run.vertices) == 3
    request = pb.StopJobRequest(job=jid)
    request.wait.seconds = 30
    stopped = await jobs.StopJob(request)
    assert (stopped.accepted, stopped.ended, stopped.run.state) == (True, True, pb.JOB_STATE_CANCELED)
    again = await jobs.StopJob(request)
    assert (again.accepted, again.already_stopped) == (False, True)


@pytest.mark.parametrize("drain", [False, True])
async def test_a_running_job_is_stopped_with_a_savepoint(flink_cluster: FlinkCluster, jobs: Jobs, drain: bool) -> None:
    name = f"service-stop-{drain}"
    await at_work(jobs, flink_cluster, name)
    request = pb.StopJobRequest(job=name, mode=pb.STOP_MODE_SAVEPOINT, drain=drain)
    request.wait.seconds = 60
    stopped = await jobs.StopJob(request)
    assert (stopped.accepted, stopped.ended, stopped.run.state) == (True, True, pb.JOB_STATE_FINISHED)
    assert await asyncio.to_thread(Path(urlsplit(stopped.savepoint_location).path).is_dir)
    again = await jobs.StopJob(request)
    assert (again.already_stopped, again.savepoint_location) == (True, stopped.savepoint_location)


async def test_a_savepoint_that_cannot_be_written_leaves_the_job_running(
    flink_cluster: FlinkCluster, jobs: Jobs
) -> None:
    await at_work(jobs, flink_cluster, "service-unwritable")
    request = pb.StopJobRequest(
        job="service-unwritable", mode=pb.STOP_MODE_SAVEPOINT, savepoint_directory="file:///proc/nowhere"
    )
    request.wait.seconds = 60
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await jobs.StopJob(request)
    assert raised.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    told = raised.value.details() or ""
    assert "the savepoint failed, and the run goes on: " in told
    assert "\n" not in told
    assert (await status(jobs, "service-unwritable")).job.run.state == pb.JOB_STATE_RUNNING


async def test_a_failed_job_tells_why(flink_cluster: FlinkCluster, jobs: Jobs) -> None:
    await flink_cluster.submit("service-fail", rate=200, failAt=20)
    await jobs.CreateJob(pb.CreateJobRequest(job_id="service-fail", job=pb.Job(cluster="real")))
    answer = await until(lambda: status(jobs, "service-fail"), lambda answer: answer.job.run.final_figures)
    assert answer.job.run.state == pb.JOB_STATE_FAILED
    assert answer.job.run.outcome == pb.JOB_OUTCOME_FAILED
    assert "demo failure at record 20" in answer.job.run.error
    request = pb.ListJobExceptionsRequest(job="service-fail")
    request.max_age.SetInParent()
    listed = await jobs.ListJobExceptions(request)
    assert "demo failure at record 20" in listed.exceptions[0].cause.summary
    assert listed.exceptions[0].stacktrace


async def test_of_two_runs_of_a_name_one_must_be_named(flink_cluster: FlinkCluster, jobs: Jobs) -> None:
    jids = {await flink_cluster.submit("service-twins", rate=5) for _ in range(2)}
    await jobs.CreateJob(pb.CreateJobRequest(job_id="service-twins", job=pb.Job(cluster="real")))
    answer = await status(jobs, "service-twins")
    assert set(answer.active_run_ids) == jids
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await jobs.StopJob(pb.StopJobRequest(job="service-twins"))
    assert raised.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    for jid in sorted(jids):
        request = pb.StopJobRequest(job="service-twins", run_id=jid)
        request.wait.seconds = 30
        assert (await jobs.StopJob(request)).ended


async def test_an_unknown_run_of_a_cluster_that_was_restarted(flink_cluster: FlinkCluster, jobs: Jobs) -> None:
    jid = await at_work(jobs, flink_cluster, "service-forgotten")
    await asyncio.to_thread(flink_cluster.stop)
    away = await status(jobs, "service-forgotten")
    assert (away.stale, away.job.run.run_id) == (True, jid)
    await asyncio.to_thread(flink_cluster.revive)
    forgotten = await status(jobs, "service-forgotten")
    assert (forgotten.stale, forgotten.job.run.state) == (True, pb.JOB_STATE_RUNNING)
    assert forgotten.messages == [f"cluster 'real' does not know run {jid} any more"]
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await jobs.StopJob(pb.StopJobRequest(job="service-forgotten"))
    assert raised.value.code() is grpc.StatusCode.NOT_FOUND


async def test_runs_that_end_count_in_the_figures_of_their_job_type(
    flink_cluster: FlinkCluster, channel: grpc.aio.Channel, jobs: Jobs
) -> None:
    await jobs.CreateJobType(pb.CreateJobTypeRequest(job_type_id="real", job_type=pb.JobType(type_name="real")))
    lasted: list[int] = []
    await flink_cluster.submit("figures-ends", rate=200, records=20)
    await flink_cluster.submit("figures-fails", rate=200, failAt=20)
    for name in ("figures-ends", "figures-fails"):
        job = pb.Job(cluster="real", job_type="jobTypes/real")
        await jobs.CreateJob(pb.CreateJobRequest(job_id=name, job=job))
        answer = await until(lambda name=name: status(jobs, name), lambda answer: answer.job.run.final_figures)  # type: ignore[misc]
        run = answer.job.run
        lasted.append((run.end_time.ToMicroseconds() - run.start_time.ToMicroseconds()) // 1_000_000)
    columns = ["completed_count", "failed_count", "total_count", "run_time_sum", "run_time_max", "queue_time_sum"]
    request = types_pb.GetPlotDataRequest(name="metricTypes/job-types", columns=columns)
    plot = await metric_type_service_pb2_grpc.MetricTypeServiceStub(channel).GetPlotData(request)
    totals = {series.column.column: series.total.int64_value for series in plot.series if series.values}
    assert totals == {
        "completed_count": 1,
        "failed_count": 1,
        "total_count": 2,
        "run_time_sum": lasted[0],  # of completed runs alone
        "run_time_max": lasted[0],
    }
