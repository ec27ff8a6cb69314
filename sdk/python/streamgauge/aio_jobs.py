"""`client.jobs` of the asyncio client, the twin of `jobs`."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Unpack

from streamgauge import _job_codec as codec
from streamgauge._aio_calls import AsyncAnswers
from streamgauge._encode import duration, names
from streamgauge._job_requests import JobFilters, ReportFields, RunArguments, first_report, patience, watched
from streamgauge._run_reports import OnRunError
from streamgauge.enums import JobState, StopMode
from streamgauge.job_handles import AsyncJobHandle
from streamgauge.job_reports import JobReport, ReportedJob
from streamgauge.job_results import (
    AsyncJobExceptions,
    AsyncJobList,
    ExceptionPage,
    Job,
    JobOverview,
    JobRun,
    JobStatus,
    JobStatusAndMetrics,
    StopResult,
)
from streamgauge.job_runs import AsyncReportedRun
from streamgauge.job_watch import DEFAULT_HEARTBEAT, AsyncJobWatch, Course
from streamgauge.names import job_name as resource_name
from streamgauge.paging import AsyncPager, Page
from streamgauge.v1 import job_service_pb2 as pb

if TYPE_CHECKING:
    from streamgauge.v1.job_service_pb2_grpc import JobServiceAsyncStub


class AsyncJobs:
    """`client.jobs` of the asyncio client: the twin of `Jobs`, with `await` and `async for`."""

    def __init__(self, stub: JobServiceAsyncStub) -> None:
        self._stub = stub

    def job(self, job: str) -> AsyncJobHandle:
        """Returns a handle of one job. Nothing is sent. See `Jobs.job`."""
        return AsyncJobHandle(self, job)

    async def create(
        self,
        job_id: str = "",
        *,
        job_name: str = "",
        cluster: str = "",
        job_type: str = "",
        labels: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> Job:
        """Registers a job. See `Jobs.create`."""
        request = codec.create(job_id, job_name, cluster, job_type, labels)
        return codec.job((await self._stub.CreateJob(request, timeout=timeout)).job)

    async def get(self, job: str, *, timeout: float | None = None) -> Job:
        """Returns a job with its newest run, as stored. JobNotFoundError when there is none."""
        return codec.job((await self._stub.GetJob(pb.GetJobRequest(job=job), timeout=timeout)).job)

    def list(
        self,
        *,
        page_size: int = 0,
        page_token: str = "",
        timeout: float | None = None,
        **filters: Unpack[JobFilters],
    ) -> AsyncJobList:
        """Returns the jobs that all filters let through, those that started last first. See `Jobs.list`."""

        async def ask(token: str) -> pb.ListJobsResponse:
            request = codec.list_jobs(**filters, page_size=page_size, page_token=token)
            return await self._stub.ListJobs(request, timeout=timeout)

        async def fetch(token: str) -> Page[Job]:
            return codec.jobs_page(await ask(token))

        async def overview() -> JobOverview:
            return codec.overview(await ask(page_token))

        return AsyncJobList(fetch, overview, page_token)

    async def update(
        self,
        job: str,
        *,
        job_name: str | None = None,
        job_type: str | None = None,
        labels: Mapping[str, str] | None = None,
        etag: str = "",
        timeout: float | None = None,
    ) -> Job:
        """Changes what is given of a job, named by its id. See `Jobs.update`."""
        request = codec.update(job, job_name, job_type, labels, etag)
        return codec.job((await self._stub.UpdateJob(request, timeout=timeout)).job)

    async def delete(self, job: str, *, etag: str = "", timeout: float | None = None) -> None:
        """Deletes a job, named by its id, with its runs, exceptions and metrics. See `Jobs.delete`."""
        await self._stub.DeleteJob(pb.DeleteJobRequest(job=resource_name(job), etag=etag), timeout=timeout)

    def runs(
        self, job: str, *, page_size: int = 0, page_token: str = "", timeout: float | None = None
    ) -> AsyncPager[JobRun]:
        """Returns the runs of a job, the newest first. See `Jobs.runs`."""

        async def fetch(token: str) -> Page[JobRun]:
            request = pb.ListJobRunsRequest(job=job, page_size=page_size, page_token=token)
            return codec.runs_page(await self._stub.ListJobRuns(request, timeout=timeout))

        return AsyncPager(fetch, page_token)

    async def status(self, job: str, *, max_age: timedelta | None = None, timeout: float | None = None) -> JobStatus:
        """Returns what a job is doing. See `Jobs.status`."""
        request = pb.GetJobStatusRequest(job=job, max_age=duration(max_age, "max_age"))
        return codec.status(await self._stub.GetJobStatus(request, timeout=timeout))

    async def status_and_metrics(
        self,
        job: str,
        *,
        metrics: Iterable[str] = (),
        max_age: timedelta | None = None,
        timeout: float | None = None,
    ) -> JobStatusAndMetrics:
        """Returns what a job is doing, and its newest metrics. See `Jobs.status_and_metrics`."""
        request = pb.GetJobStatusAndMetricsRequest(
            job=job, max_age=duration(max_age, "max_age"), metrics=names(metrics)
        )
        return codec.status_and_metrics(await self._stub.GetJobStatusAndMetrics(request, timeout=timeout))

    def exceptions(
        self,
        job: str,
        *,
        run_id: str = "",
        max_age: timedelta | None = None,
        page_size: int = 0,
        page_token: str = "",
        timeout: float | None = None,
    ) -> AsyncJobExceptions:
        """Returns the exceptions of a run, the newest first. See `Jobs.exceptions`."""

        async def fetch(token: str) -> ExceptionPage:
            request = pb.ListJobExceptionsRequest(
                job=job,
                run_id=run_id,
                max_age=duration(max_age, "max_age"),
                page_size=page_size,
                page_token=token,
            )
            return codec.exceptions_page(await self._stub.ListJobExceptions(request, timeout=timeout))

        return AsyncJobExceptions(fetch, page_token)

    async def stop(
        self,
        job: str,
        mode: StopMode | str = StopMode.CANCEL,
        *,
        drain: bool = False,
        savepoint_directory: str = "",
        run_id: str = "",
        wait: timedelta | None = None,
        timeout: float | None = None,
    ) -> StopResult:
        """Stops the active run of a job. See `Jobs.stop`."""
        request = codec.stop(job, mode, drain=drain, savepoint_directory=savepoint_directory, run_id=run_id, wait=wait)
        return codec.stopped(await self._stub.StopJob(request, timeout=patience(wait, timeout)))

    def watch(
        self,
        jobs: Iterable[str] = (),
        *,
        cursor: str = "",
        include_current: bool = False,
        heartbeat: timedelta = DEFAULT_HEARTBEAT,
        give_up_after: timedelta | None = None,
    ) -> AsyncJobWatch:
        """Returns the changes of some jobs, by their ids, or of all, as they become known. See `Jobs.watch`."""

        def open_(request: pb.WatchJobsRequest) -> AsyncAnswers:
            answers: AsyncAnswers = self._stub.WatchJobs(request)  # type: ignore[assignment]  # our channel's own kind
            return answers

        course = Course(watched(jobs, cursor, include_current), heartbeat, give_up_after, time.monotonic())
        return AsyncJobWatch(open_, course)

    async def report(
        self, job: str, state: JobState | str, *, timeout: float | None = None, **fields: Unpack[ReportFields]
    ) -> ReportedJob:
        """Reports a run of a job that no collector knows. See `Jobs.report`."""
        return (await self.report_many([JobReport(job, state, **fields)], timeout=timeout))[0]

    async def report_many(
        self, reports: Iterable[JobReport], *, timeout: float | None = None
    ) -> tuple[ReportedJob, ...]:
        """Reports many runs, in as many requests as it takes. See `Jobs.report_many`."""
        done: tuple[ReportedJob, ...] = ()
        for request in codec.report_requests(reports):
            done += codec.reported(await self._stub.ReportJob(request, timeout=timeout))
        return done

    def run(
        self, job: str, *, on_error: OnRunError | None = None, **arguments: Unpack[RunArguments]
    ) -> AsyncReportedRun:
        """Returns an `async with` block around the work of a run. See `Jobs.run`."""

        async def send(request: pb.ReportJobRequest, seconds: float) -> pb.ReportJobResponse:
            return await self._stub.ReportJob(request, timeout=seconds)

        return AsyncReportedRun(send, first_report(job, arguments), on_error)
