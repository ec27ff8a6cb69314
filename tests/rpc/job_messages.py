"""Short ways to ask about jobs and to report them, and a server with a fake Flink cluster."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from streamgauge.v1 import job_service_pb2 as pb
from streamgauge_server.model.jobs import JobState, RunUpdate
from streamgauge_server.services.clusters import ClusterConfig, Clusters

from tests.flink.fake import FakeFlink
from tests.flink.fake_jobs import FakeJob, FakeJobs
from tests.rpc.messages import NOW, Scalar, scalar, stamp, value
from tests.rpc.serving import Start, Stubs

CLUSTER = "prod"
JID = "0123456789abcdef0123456789abcdef"
DASHED = "01234567-89ab-cdef-0123-456789abcdef"
OTHER_JID = "fedcba9876543210fedcba9876543210"


def report(job: str = "jobs/a", state: str = "RUNNING", **fields: Any) -> pb.JobReport:
    """A report. Times are microseconds, metrics plain values, exceptions their texts or messages."""
    metrics: Mapping[str, Scalar] = fields.pop("metrics", {})
    exceptions: Sequence[str | pb.ReportedException] = fields.pop("exceptions", ())
    times: dict[str, int] = {
        name: fields.pop(name) for name in ("queue_time", "start_time", "end_time") if name in fields
    }
    message = pb.JobReport(job=job, state=state_of(state), **fields)
    for name, time in times.items():
        getattr(message, name).CopyFrom(stamp(time))
    for name, item in metrics.items():
        message.metrics[name].CopyFrom(value(item))
    for one in exceptions:
        message.exceptions.append(pb.ReportedException(stacktrace=one) if isinstance(one, str) else one)
    return message


def state_of(name: str) -> pb.JobState.ValueType:
    return pb.JobState.Value(f"JOB_STATE_{name}")


def state_name(number: int) -> str:
    return pb.JobState.Name(number).removeprefix("JOB_STATE_")  # type: ignore[arg-type]


async def tell(stubs: Stubs, *reports: pb.JobReport) -> list[pb.ReportedJob]:
    return list((await stubs.jobs.ReportJob(pb.ReportJobRequest(reports=reports))).jobs)


async def create(stubs: Stubs, job_id: str = "a", **fields: Any) -> pb.Job:
    return (await stubs.jobs.CreateJob(pb.CreateJobRequest(job_id=job_id, job=pb.Job(**fields)))).job


async def get(stubs: Stubs, job: str = "jobs/a") -> pb.Job:
    return (await stubs.jobs.GetJob(pb.GetJobRequest(job=job))).job


async def status(
    stubs: Stubs, job: str = "jobs/a", max_age: float | None = None, **call: Any
) -> pb.GetJobStatusResponse:
    request = pb.GetJobStatusRequest(job=job)
    if max_age is not None:
        request.max_age.FromNanoseconds(round(max_age * 1e9))
    return await stubs.jobs.GetJobStatus(request, **call)


async def metrics_of(stubs: Stubs, job: str = "jobs/a", *names: str) -> dict[str, Scalar | None]:
    request = pb.GetJobStatusAndMetricsRequest(job=job, metrics=names)
    return {one.metric: scalar(one.value) for one in (await stubs.jobs.GetJobStatusAndMetrics(request)).metrics}


async def exceptions_of(stubs: Stubs, job: str = "jobs/a", **fields: Any) -> pb.ListJobExceptionsResponse:
    return await stubs.jobs.ListJobExceptions(pb.ListJobExceptionsRequest(job=job, **fields))


async def runs_of(stubs: Stubs, job: str = "jobs/a", **fields: Any) -> list[tuple[str, str]]:
    """Returns run ids and states, the newest first."""
    answer = await stubs.jobs.ListJobRuns(pb.ListJobRunsRequest(job=job, **fields))
    return [(run.run_id, state_name(run.state)) for run in answer.runs]


async def changes_of(stream: Any) -> list[pb.JobStateChange]:
    """Returns the changes of the next message of a watch."""
    message: pb.WatchJobsResponse = await stream.read()
    return list(message.changes)


async def stop(stubs: Stubs, job: str = "jobs/a", *, wait: float | None = None, **fields: Any) -> pb.StopJobResponse:
    call = {name: fields.pop(name) for name in ("timeout",) if name in fields}
    request = pb.StopJobRequest(job=job, **fields)
    if wait is not None:
        request.wait.FromNanoseconds(round(wait * 1e9))
    return await stubs.jobs.StopJob(request, **call)


@dataclass
class OnCluster:
    """A server, and the fake cluster that it can ask."""

    stubs: Stubs
    flink: FakeFlink
    jobs: FakeJobs

    async def store(
        self, job: str = "a", jid: str = JID, state: JobState = JobState.RUNNING, *, cluster: str = CLUSTER
    ) -> None:
        """Stores a run as a collector would have."""
        app = self.stubs.app
        assert app is not None
        assert app.store is not None
        number = (await app.store.jobs.get("default", job)).number
        update = RunUpdate(number, jid, NOW, cluster=cluster, state=state, state_text=state.name, start_time=NOW)
        await app.store.job_runs.apply("default", [update])

    def requests(self, method: str = "GET") -> list[str]:
        return self.flink.targets(method)


@asynccontextmanager
async def on_cluster(start: Start, *jobs: FakeJob, **settings: Any) -> AsyncIterator[OnCluster]:
    """Starts a server that can ask a fake cluster with these jobs; no collector polls it."""
    async with FakeFlink() as flink:
        fakes = FakeJobs(jobs)
        flink.respond = fakes.respond
        clusters = Clusters([ClusterConfig(CLUSTER, "default", [flink.base_url])])
        yield OnCluster(await start.with_clusters(clusters, collect=False, **settings), flink, fakes)
