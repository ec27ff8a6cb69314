"""`client.jobs`: what jobs are doing, what went wrong, how to stop them, and how runners report their own.

`aio_jobs` has its asyncio twin.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Unpack

from streamgauge import _job_codec as codec
from streamgauge._calls import Answers
from streamgauge._encode import duration, names
from streamgauge._job_requests import JobFilters, ReportFields, RunArguments, first_report, patience, watched
from streamgauge._run_reports import OnRunError
from streamgauge.enums import JobState, StopMode
from streamgauge.job_handles import JobHandle
from streamgauge.job_reports import JobReport, ReportedJob
from streamgauge.job_results import (
    ExceptionPage,
    Job,
    JobExceptions,
    JobList,
    JobOverview,
    JobRun,
    JobStatus,
    JobStatusAndMetrics,
    StopResult,
)
from streamgauge.job_runs import ReportedRun
from streamgauge.job_watch import DEFAULT_HEARTBEAT, Course, JobWatch
from streamgauge.names import job_name as resource_name
from streamgauge.paging import Page, Pager
from streamgauge.v1 import job_service_pb2 as pb

if TYPE_CHECKING:
    from streamgauge.v1.job_service_pb2_grpc import JobServiceStub


class Jobs:
    """`client.jobs`. `client.jobs.job("orders")` has the same for one job.

    A `job` is named by its resource name (`jobs/orders`); what does not begin with `jobs/` is looked up as an id, as a
    Flink job id and as what its runner calls it, in this order. JobAmbiguousError when a name fits several.

    Every method takes `timeout` in seconds, over all attempts, and raises a `StreamgaugeError`.
    """

    def __init__(self, stub: JobServiceStub) -> None:
        self._stub = stub

    def job(self, job: str) -> JobHandle:
        """Returns a handle of one job. Nothing is sent.

        Example:
            >>> orders = client.jobs.job("orders")
            >>> orders.status().state
            <JobState.RUNNING: 'running'>
            >>> orders.stop(wait=timedelta(seconds=30)).ended
            True
        """
        return JobHandle(self, job)

    def create(
        self,
        job_id: str = "",
        *,
        job_name: str = "",
        cluster: str = "",
        job_type: str = "",
        labels: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> Job:
        """Registers a job; without an id the server gives it a UUID. Again with equal fields it returns the job.

        A collector binds the runs that its `cluster` has under `job_name` to it. JobAlreadyExistsError when the id is
        taken by another, JobTypeNotFoundError.
        """
        request = codec.create(job_id, job_name, cluster, job_type, labels)
        return codec.job(self._stub.CreateJob(request, timeout=timeout).job)

    def get(self, job: str, *, timeout: float | None = None) -> Job:
        """Returns a job with its newest run, as stored. JobNotFoundError when there is none."""
        return codec.job(self._stub.GetJob(pb.GetJobRequest(job=job), timeout=timeout).job)

    def list(
        self,
        *,
        page_size: int = 0,
        page_token: str = "",
        timeout: float | None = None,
        **filters: Unpack[JobFilters],
    ) -> JobList:
        """Returns the jobs that all filters let through, those that started last first. Nothing is sent before use.

        Filters: `active_only` (whose run has not ended), `states`, `cluster`, `job_type`, `labels`. `page_size` 0 is
        the server's default (100); `timeout` counts for each page. `overview()` of the answer counts them by state.

        Example:
            >>> client.jobs.list(states=["failed", "restarting"]).to_dataframe()
        """

        def ask(token: str) -> pb.ListJobsResponse:
            request = codec.list_jobs(**filters, page_size=page_size, page_token=token)
            return self._stub.ListJobs(request, timeout=timeout)

        def fetch(token: str) -> Page[Job]:
            return codec.jobs_page(ask(token))

        def overview() -> JobOverview:
            return codec.overview(ask(page_token))

        return JobList(fetch, overview, page_token)

    def update(
        self,
        job: str,
        *,
        job_name: str | None = None,
        job_type: str | None = None,
        labels: Mapping[str, str] | None = None,
        etag: str = "",
        timeout: float | None = None,
    ) -> Job:
        """Changes what is given of a job, named by its id; labels are replaced as a whole, an empty type is none.

        With the `etag` of a job read before, EtagMismatchError when somebody has changed it since. JobNotFoundError,
        JobTypeNotFoundError.
        """
        request = codec.update(job, job_name, job_type, labels, etag)
        return codec.job(self._stub.UpdateJob(request, timeout=timeout).job)

    def delete(self, job: str, *, etag: str = "", timeout: float | None = None) -> None:
        """Deletes a job, named by its id, with its runs, exceptions and metrics. Where it runs it goes on.

        JobNotFoundError, EtagMismatchError.
        """
        self._stub.DeleteJob(pb.DeleteJobRequest(job=resource_name(job), etag=etag), timeout=timeout)

    def runs(
        self, job: str, *, page_size: int = 0, page_token: str = "", timeout: float | None = None
    ) -> Pager[JobRun]:
        """Returns the runs of a job, the newest first. Nothing is sent before use; `timeout` counts for each page."""

        def fetch(token: str) -> Page[JobRun]:
            request = pb.ListJobRunsRequest(job=job, page_size=page_size, page_token=token)
            return codec.runs_page(self._stub.ListJobRuns(request, timeout=timeout))

        return Pager(fetch, page_token)

    def status(self, job: str, *, max_age: timedelta | None = None, timeout: float | None = None) -> JobStatus:
        """Returns what a job is doing. The cluster is asked when what is stored is older than `max_age` (15 s).

        When the cluster does not answer it is what is stored, marked `stale`; ClusterUnreachableError only when nothing
        is. `max_age=timedelta()` always asks.
        """
        request = pb.GetJobStatusRequest(job=job, max_age=duration(max_age, "max_age"))
        return codec.status(self._stub.GetJobStatus(request, timeout=timeout))

    def status_and_metrics(
        self,
        job: str,
        *,
        metrics: Iterable[str] = (),
        max_age: timedelta | None = None,
        timeout: float | None = None,
    ) -> JobStatusAndMetrics:
        """Returns what a job is doing, and its newest metrics: all, or those named. See `status`.

        Metrics over time: `client.metrics.query(["jobs/orders"], ...)`.
        """
        request = pb.GetJobStatusAndMetricsRequest(
            job=job, max_age=duration(max_age, "max_age"), metrics=names(metrics)
        )
        return codec.status_and_metrics(self._stub.GetJobStatusAndMetrics(request, timeout=timeout))

    def exceptions(
        self,
        job: str,
        *,
        run_id: str = "",
        max_age: timedelta | None = None,
        page_size: int = 0,
        page_token: str = "",
        timeout: float | None = None,
    ) -> JobExceptions:
        """Returns the exceptions of a run (by default the one of the status), the newest first; a healthy one has none.

        Nothing is sent before use. `page_size` 0 is the server's default (20); `timeout` counts for each page.
        """

        def fetch(token: str) -> ExceptionPage:
            request = pb.ListJobExceptionsRequest(
                job=job,
                run_id=run_id,
                max_age=duration(max_age, "max_age"),
                page_size=page_size,
                page_token=token,
            )
            return codec.exceptions_page(self._stub.ListJobExceptions(request, timeout=timeout))

        return JobExceptions(fetch, page_token)

    def stop(
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
        """Stops the active run of a job: cancels it, or ends it with a savepoint. A run that has ended is no error.

        Without `wait` it returns when the cluster has accepted; with it when the run has ended, or after that time
        (`result.ended` tells; at most 300 s). With a savepoint, `drain` lets event time run to its end first, which
        cannot be undone, and `savepoint_directory` stands over the cluster's own. JobAmbiguousError when several runs
        are active and no `run_id` is given; JobNotStoppableError when it runs where this server cannot stop it, or the
        savepoint failed, and then it goes on. Not tried again by itself; doing so by hand is safe.

        Example:
            >>> client.jobs.stop("orders", "savepoint", wait=timedelta(minutes=2)).savepoint_location
            'file:/savepoints/savepoint-5f2e1c-9a3b'
        """
        request = codec.stop(job, mode, drain=drain, savepoint_directory=savepoint_directory, run_id=run_id, wait=wait)
        return codec.stopped(self._stub.StopJob(request, timeout=patience(wait, timeout)))

    def watch(
        self,
        jobs: Iterable[str] = (),
        *,
        cursor: str = "",
        include_current: bool = False,
        heartbeat: timedelta = DEFAULT_HEARTBEAT,
        give_up_after: timedelta | None = None,
    ) -> JobWatch:
        """Returns the changes of some jobs, by their ids, or of all, as they become known. Nothing is sent before use.

        It begins now, or after a `cursor` of before, or with `include_current` with the present state of each job.
        When the connection breaks it connects again and goes on, for ever or, with `give_up_after`, until the server
        was away for so long (UnavailableError). The first connection must come about within the usual five tries.
        CursorExpiredError when the cursor is older than what is kept. `heartbeat` is how long a silence may last.

        Example:
            >>> with client.jobs.watch(include_current=True) as watch:
            ...     for change in watch:
            ...         print(change.job, change.state)
        """

        def open_(request: pb.WatchJobsRequest) -> Answers:
            answers: Answers = self._stub.WatchJobs(request)  # type: ignore[assignment]  # our channel's own kind
            return answers

        course = Course(watched(jobs, cursor, include_current), heartbeat, give_up_after, time.monotonic())
        return JobWatch(open_, course)

    def report(
        self, job: str, state: JobState | str, *, timeout: float | None = None, **fields: Unpack[ReportFields]
    ) -> ReportedJob:
        """Reports a run of a job that no collector knows; see `JobReport` for the fields. `run()` does it by itself.

        It is stored whole or not at all, and tried again when the server cannot be reached: with a `run_id` that
        changes nothing. A run that has ended stays ended. InvalidArgumentError lists every wrong field.

        Example:
            >>> client.jobs.report("nightly-load", "running", run_id="2026-11-22", metrics={"rows": 5})
        """
        return self.report_many([JobReport(job, state, **fields)], timeout=timeout)[0]

    def report_many(self, reports: Iterable[JobReport], *, timeout: float | None = None) -> tuple[ReportedJob, ...]:
        """Reports many runs, in as many requests as it takes; `timeout` counts for each.

        When a request fails its error is raised; what was sent before it stays, and may be sent again.
        """
        done: tuple[ReportedJob, ...] = ()
        for request in codec.report_requests(reports):
            done += codec.reported(self._stub.ReportJob(request, timeout=timeout))
        return done

    def run(self, job: str, *, on_error: OnRunError | None = None, **arguments: Unpack[RunArguments]) -> ReportedRun:
        """Returns a `with` block around the work of a run: it reports RUNNING, then FINISHED, or FAILED with traceback.

        The work never fails for the sake of its report; see `ReportedRun`. `run_id` is new unless it is given;
        `job_type` is that of a job which this registers; `queue_time` is when the run was queued.

        Example:
            >>> with client.jobs.run("nightly-load", job_type="load") as run:
            ...     for batch in batches:
            ...         run.metrics(rows=load(batch))
        """

        def send(request: pb.ReportJobRequest, seconds: float) -> pb.ReportJobResponse:
            return self._stub.ReportJob(request, timeout=seconds)

        return ReportedRun(send, first_report(job, arguments), on_error)
