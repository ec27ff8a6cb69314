"""`JobService` at the gRPC edge: convert, call, convert."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio
from streamgauge.v1 import job_service_pb2 as pb
from streamgauge.v1 import job_service_pb2_grpc as pb_grpc

from streamgauge_server.model.clock import Clock
from streamgauge_server.model.job_errors import ErrorCategory
from streamgauge_server.model.jobs import JOB_CHANGEABLE, JOB_TYPE_CHANGEABLE, JobState, StopMode
from streamgauge_server.model.names import SubjectName
from streamgauge_server.model.values import SubjectKind
from streamgauge_server.rpc import convert
from streamgauge_server.rpc import convert_jobs as jobs
from streamgauge_server.rpc.context import current_caller
from streamgauge_server.services.job_errors import JobErrors
from streamgauge_server.services.job_reports import JobReports
from streamgauge_server.services.job_status import JobStatusReader, StatusAsked
from streamgauge_server.services.job_stop import JobStopper, StopAsked
from streamgauge_server.services.job_types import JobTypes
from streamgauge_server.services.job_watch import JobWatch
from streamgauge_server.services.jobs import JobCatalog, JobsAsked

_Context = grpc.aio.ServicerContext[Any, Any]
_CREATABLE = ("job_name", "cluster", "job_type", "labels")


@dataclass(frozen=True, slots=True)
class JobParts:
    """The services behind `JobService`."""

    catalog: JobCatalog
    types: JobTypes
    status: JobStatusReader
    stopper: JobStopper
    reports: JobReports
    watch: JobWatch
    errors: JobErrors


class JobServicer(pb_grpc.JobServiceServicer):
    """Serves `streamgauge.v1.JobService`."""

    def __init__(self, parts: JobParts, clock: Clock, max_call_seconds: float) -> None:
        """`max_call_seconds` is the server's bound on calls, by which a status is told at the latest."""
        self._parts = parts
        self._clock = clock
        self._max_call_seconds = max_call_seconds

    async def CreateJob(self, request: pb.CreateJobRequest, context: _Context) -> pb.CreateJobResponse:  # noqa: N802
        """Registers a job."""
        fields = convert.fields_of(request.job, _CREATABLE)
        job = await self._parts.catalog.create(current_caller(), request.job_id, fields)
        return pb.CreateJobResponse(job=jobs.job_message(job, self._clock.now()))

    async def GetJob(self, request: pb.GetJobRequest, context: _Context) -> pb.GetJobResponse:  # noqa: N802
        """Returns one job."""
        job = await self._parts.catalog.get(current_caller(), request.job)
        return pb.GetJobResponse(job=jobs.job_message(job, self._clock.now()))

    async def ListJobs(self, request: pb.ListJobsRequest, context: _Context) -> pb.ListJobsResponse:  # noqa: N802
        """Lists jobs with counts by state."""
        violations = convert.Violations()
        asked = JobsAsked(
            active_only=request.active_only,
            states=violations.enums(request, "states", JobState),
            cluster=request.cluster,
            job_type=request.job_type,
            labels=tuple(request.labels),
        )
        overview = await self._parts.catalog.overview(
            current_caller(),
            asked,
            page_size=request.page_size,
            page_token=request.page_token,
            problems=violations.found,
        )
        now = self._clock.now()
        return pb.ListJobsResponse(
            jobs=[jobs.job_message(job, now) for job in overview.jobs],
            next_page_token=overview.next_page_token,
            total_size=sum(overview.counts.values()),
            state_counts=jobs.count_messages(overview.counts),
            clusters=[jobs.cluster_message(cluster) for cluster in overview.clusters],
        )

    async def UpdateJob(self, request: pb.UpdateJobRequest, context: _Context) -> pb.UpdateJobResponse:  # noqa: N802
        """Changes a job."""
        violations = convert.Violations()
        changes = convert.fields_of(request.job, violations.masked(request.update_mask, JOB_CHANGEABLE))
        job = await self._parts.catalog.update(
            current_caller(), request.job.name, changes, request.job.etag, violations.found
        )
        return pb.UpdateJobResponse(job=jobs.job_message(job, self._clock.now()))

    async def DeleteJob(self, request: pb.DeleteJobRequest, context: _Context) -> pb.DeleteJobResponse:  # noqa: N802
        """Deletes a job."""
        await self._parts.catalog.delete(current_caller(), request.job, request.etag)
        return pb.DeleteJobResponse()

    async def ListJobRuns(self, request: pb.ListJobRunsRequest, context: _Context) -> pb.ListJobRunsResponse:  # noqa: N802
        """Lists the runs of a job."""
        runs, token = await self._parts.catalog.runs(
            current_caller(), request.job, page_size=request.page_size, page_token=request.page_token
        )
        now = self._clock.now()
        return pb.ListJobRunsResponse(runs=[jobs.run_message(run, now) for run in runs], next_page_token=token)

    async def GetJobStatus(self, request: pb.GetJobStatusRequest, context: _Context) -> pb.GetJobStatusResponse:  # noqa: N802
        """Returns the status of a job."""
        status = await self._parts.status.status(current_caller(), self._asked(request, context))
        return jobs.status_message(status, self._clock.now())

    async def GetJobStatusAndMetrics(  # noqa: N802
        self, request: pb.GetJobStatusAndMetricsRequest, context: _Context
    ) -> pb.GetJobStatusAndMetricsResponse:
        """Returns the status and the newest metrics of a job."""
        status, metrics = await self._parts.status.status_and_metrics(
            current_caller(), self._asked(request, context), request.metrics
        )
        message = pb.GetJobStatusAndMetricsResponse()
        jobs.fill_status(message.status, status, self._clock.now())
        for latest in metrics:
            convert.fill_latest(message.metrics.add(), latest)
        return message

    async def ListJobExceptions(  # noqa: N802
        self, request: pb.ListJobExceptionsRequest, context: _Context
    ) -> pb.ListJobExceptionsResponse:
        """Lists the exceptions of a run."""
        page = await self._parts.status.exceptions(
            current_caller(),
            self._asked(request, context),
            request.run_id,
            page_size=request.page_size,
            page_token=request.page_token,
        )
        return pb.ListJobExceptionsResponse(
            exceptions=[jobs.exception_message(one) for one in page.exceptions],
            next_page_token=page.next_page_token,
            history_truncated=page.run is not None and page.run.history_truncated,
            run_id="" if page.run is None else page.run.run_id,
            stale=page.stale,
            messages=page.messages,
        )

    async def StopJob(self, request: pb.StopJobRequest, context: _Context) -> pb.StopJobResponse:  # noqa: N802
        """Stops a run of a job."""
        violations = convert.Violations()
        asked = StopAsked(
            job=request.job,
            run_id=request.run_id,
            mode=violations.enum(request, "mode", StopMode, StopMode.CANCEL),
            drain=request.drain,
            directory=request.savepoint_directory,
            wait=jobs.duration(violations, request, "wait"),
            remaining=context.time_remaining(),
            problems=violations.found,
        )
        stopped = await self._parts.stopper.stop(current_caller(), asked)
        return pb.StopJobResponse(
            run=jobs.run_message(stopped.run, self._clock.now()),
            accepted=stopped.accepted,
            already_stopped=stopped.already_stopped,
            ended=stopped.run.ended,
            savepoint_location=stopped.location,
            messages=stopped.messages,
        )

    async def WatchJobs(  # noqa: N802
        self, request: pb.WatchJobsRequest, context: _Context
    ) -> AsyncIterator[pb.WatchJobsResponse]:
        """Streams changes of state."""
        violations = convert.Violations()
        heartbeat = jobs.duration(violations, request, "heartbeat")
        watched = self._parts.watch.watch(
            current_caller(),
            jobs=tuple(request.jobs),
            cursor=request.cursor,
            include_current=request.include_current,
            heartbeat=heartbeat,
            problems=violations.found,
        )
        async with aclosing(watched) as messages:
            async for told in messages:
                yield pb.WatchJobsResponse(
                    changes=[jobs.change_message(change) for change in told.changes], cursor=told.cursor
                )

    async def ReportJob(self, request: pb.ReportJobRequest, context: _Context) -> pb.ReportJobResponse:  # noqa: N802
        """Takes in reports of jobs."""
        reported = await self._parts.reports.report(current_caller(), [jobs.report(one) for one in request.reports])
        return pb.ReportJobResponse(
            jobs=[
                pb.ReportedJob(
                    job=str(SubjectName(SubjectKind.JOB, one.job_id)),
                    run_id=one.run_id,
                    state=one.state.value,  # type: ignore[arg-type]
                )
                for one in reported
            ]
        )

    async def CreateJobType(self, request: pb.CreateJobTypeRequest, context: _Context) -> pb.CreateJobTypeResponse:  # noqa: N802
        """Registers a job type."""
        fields = jobs.job_type_fields(request.job_type, JOB_TYPE_CHANGEABLE)
        job_type = await self._parts.types.create(current_caller(), request.job_type_id, fields)
        return pb.CreateJobTypeResponse(job_type=jobs.job_type_message(job_type))

    async def GetJobType(self, request: pb.GetJobTypeRequest, context: _Context) -> pb.GetJobTypeResponse:  # noqa: N802
        """Returns one job type."""
        job_type = await self._parts.types.get(current_caller(), request.name)
        return pb.GetJobTypeResponse(job_type=jobs.job_type_message(job_type))

    async def ListJobTypes(self, request: pb.ListJobTypesRequest, context: _Context) -> pb.ListJobTypesResponse:  # noqa: N802
        """Lists job types by id."""
        page = await self._parts.types.list(
            current_caller(),
            type_name=request.type_name,
            version=request.version,
            active_only=request.active_only,
            page_size=request.page_size,
            page_token=request.page_token,
        )
        return pb.ListJobTypesResponse(
            job_types=[jobs.job_type_message(job_type) for job_type in page.job_types],
            next_page_token=page.next_page_token,
            total_size=page.total,
        )

    async def UpdateJobType(self, request: pb.UpdateJobTypeRequest, context: _Context) -> pb.UpdateJobTypeResponse:  # noqa: N802
        """Changes a job type."""
        violations = convert.Violations()
        changes = jobs.job_type_fields(request.job_type, violations.masked(request.update_mask, JOB_TYPE_CHANGEABLE))
        job_type = await self._parts.types.update(
            current_caller(), request.job_type.name, changes, request.job_type.etag, violations.found
        )
        return pb.UpdateJobTypeResponse(job_type=jobs.job_type_message(job_type))

    async def CreateError(self, request: pb.CreateErrorRequest, context: _Context) -> pb.CreateErrorResponse:  # noqa: N802
        """Adds an error to the catalog."""
        violations = convert.Violations()
        category = violations.required_enum(request.error, "category", ErrorCategory, "error.")
        error = jobs.error_info(request.error, category or ErrorCategory.SYSTEM)
        stored = await self._parts.errors.create(current_caller(), error, violations.found)
        return pb.CreateErrorResponse(error=jobs.error_message(stored))

    async def ListErrors(self, request: pb.ListErrorsRequest, context: _Context) -> pb.ListErrorsResponse:  # noqa: N802
        """Lists the catalog of errors."""
        violations = convert.Violations()
        page = await self._parts.errors.list(
            current_caller(),
            category=violations.enum(request, "category", ErrorCategory, None),
            built_in_only=request.built_in_only,
            page_size=request.page_size,
            page_token=request.page_token,
            problems=violations.found,
        )
        return pb.ListErrorsResponse(
            errors=[jobs.error_message(error) for error in page.errors],
            next_page_token=page.next_page_token,
            total_size=page.total,
        )

    def _asked(
        self,
        request: pb.GetJobStatusRequest | pb.GetJobStatusAndMetricsRequest | pb.ListJobExceptionsRequest,
        context: _Context,
    ) -> StatusAsked:
        violations = convert.Violations()
        max_age = jobs.duration(violations, request, "max_age")
        told = context.time_remaining()
        remaining = self._max_call_seconds if told is None else min(told, self._max_call_seconds)
        return StatusAsked(request.job, max_age, remaining, violations.found)
