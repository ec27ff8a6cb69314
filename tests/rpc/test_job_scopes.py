"""Who may call JobService: each method asks for a scope, and a tenant sees its own jobs only."""

from __future__ import annotations

from typing import Any

import pytest
from grpc import StatusCode
from streamgauge.v1 import job_service_pb2 as pb
from streamgauge_server.model.clock import FixedClock

from tests.rpc.job_messages import changes_of, report
from tests.rpc.serving import Start, refused
from tests.rpc.test_asset_scopes import token

READ, WRITE, STOP = "read:jobs", "write:jobs", "stop:jobs"

CALLS: dict[str, tuple[str, Any]] = {
    "GetJob": (READ, pb.GetJobRequest(job="jobs/a")),
    "ListJobs": (READ, pb.ListJobsRequest()),
    "ListJobRuns": (READ, pb.ListJobRunsRequest(job="jobs/a")),
    "GetJobStatus": (READ, pb.GetJobStatusRequest(job="jobs/a")),
    "GetJobStatusAndMetrics": (READ, pb.GetJobStatusAndMetricsRequest(job="jobs/a")),
    "ListJobExceptions": (READ, pb.ListJobExceptionsRequest(job="jobs/a")),
    "GetJobType": (READ, pb.GetJobTypeRequest(name="jobTypes/t")),
    "ListJobTypes": (READ, pb.ListJobTypesRequest()),
    "ListErrors": (READ, pb.ListErrorsRequest()),
    "CreateError": (
        WRITE,
        pb.CreateErrorRequest(error=pb.CatalogError(error="e", category=pb.ERROR_CATEGORY_DATA)),
    ),
    "CreateJob": (WRITE, pb.CreateJobRequest(job_id="b")),
    "UpdateJob": (WRITE, pb.UpdateJobRequest(job=pb.Job(name="jobs/a", labels={"a": "b"}))),
    "DeleteJob": (WRITE, pb.DeleteJobRequest(job="jobs/a")),
    "ReportJob": (WRITE, pb.ReportJobRequest(reports=[report()])),
    "CreateJobType": (WRITE, pb.CreateJobTypeRequest(job_type_id="u", job_type=pb.JobType(type_name="u"))),
    "UpdateJobType": (WRITE, pb.UpdateJobTypeRequest(job_type=pb.JobType(name="jobTypes/t", type_name="x"))),
    "StopJob": (STOP, pb.StopJobRequest(job="jobs/a", run_id="old")),
}
TYPE = pb.CreateJobTypeRequest(job_type_id="t", job_type=pb.JobType(type_name="t"))
ENDED = pb.ReportJobRequest(reports=[report(state="FINISHED", run_id="old")])


def test_every_method_has_its_scope() -> None:
    service = pb.DESCRIPTOR.services_by_name["JobService"]
    assert {method.name for method in service.methods} == CALLS.keys() | {"WatchJobs"}


@pytest.mark.parametrize("method", CALLS)
async def test_a_method_needs_its_scope_and_no_other(start: Start, clock: FixedClock, method: str) -> None:
    stubs = await start(auth="required")
    writer = await token(stubs, clock, WRITE)
    await stubs.jobs.ReportJob(ENDED, metadata=writer)
    await stubs.jobs.CreateJobType(TYPE, metadata=writer)
    needed, message = CALLS[method]
    call = getattr(stubs.jobs, method)
    with refused(StatusCode.UNAUTHENTICATED, "TOKEN_MISSING"):
        await call(message)
    lacking = {READ, WRITE, STOP, "write:source_metrics", "write:asset_metrics"} - {needed}
    with refused(StatusCode.PERMISSION_DENIED, "SCOPE_MISSING") as refusal:
        await call(message, metadata=await token(stubs, clock, *lacking))
    assert refusal.metadata["scope"] == needed
    await call(message, metadata=await token(stubs, clock, needed))


async def test_watching_needs_the_scope_of_reading(start: Start, clock: FixedClock) -> None:
    stubs = await start(auth="required")
    with refused(StatusCode.PERMISSION_DENIED, "SCOPE_MISSING") as refusal:
        await stubs.jobs.WatchJobs(pb.WatchJobsRequest(), metadata=await token(stubs, clock, WRITE, STOP)).read()
    assert refusal.metadata["scope"] == READ
    stream = stubs.jobs.WatchJobs(pb.WatchJobsRequest(), metadata=await token(stubs, clock, READ))
    assert await changes_of(stream) == []
    stream.cancel()


async def test_another_tenants_job_is_not_there_and_one_of_the_same_id_is_another(
    start: Start, clock: FixedClock
) -> None:
    stubs = await start(auth="required")
    scopes = (READ, WRITE, STOP)
    ours = await token(stubs, clock, *scopes)
    theirs = await token(stubs, clock, *scopes, tenant="other")
    await stubs.jobs.ReportJob(ENDED, metadata=ours)
    await stubs.jobs.CreateJobType(TYPE, metadata=ours)
    for method in ("GetJob", "GetJobStatus", "ListJobRuns", "ListJobExceptions", "StopJob", "UpdateJob", "DeleteJob"):
        with refused(StatusCode.NOT_FOUND, "JOB_NOT_FOUND"):
            await getattr(stubs.jobs, method)(CALLS[method][1], metadata=theirs)
    with refused(StatusCode.NOT_FOUND, "JOB_TYPE_NOT_FOUND"):
        await stubs.jobs.GetJobType(pb.GetJobTypeRequest(name="jobTypes/t"), metadata=theirs)
    assert (await stubs.jobs.ListJobs(pb.ListJobsRequest(), metadata=theirs)).total_size == 0
    await stubs.jobs.CreateJob(pb.CreateJobRequest(job_id="a"), metadata=theirs)
    job = (await stubs.jobs.GetJob(pb.GetJobRequest(job="jobs/a"), metadata=theirs)).job
    assert not job.HasField("run")
    stream = stubs.jobs.WatchJobs(pb.WatchJobsRequest(include_current=True), metadata=theirs)
    assert await changes_of(stream) == []
    stream.cancel()
