"""The jobs API of TSP's monitoring: what a job is doing, what went wrong, and how to stop it."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace

from starlette.requests import Request
from starlette.responses import Response
from streamgauge.v1 import job_service_pb2 as pb
from streamgauge.v1 import server_service_pb2

from streamgauge_server.gateway.api import Api, HttpFailure, Route
from streamgauge_server.gateway.legacy import jobs_documents as documents
from streamgauge_server.gateway.legacy import jobs_rendering as rendering
from streamgauge_server.gateway.legacy.jobs_answers import answer, encoded, streamed
from streamgauge_server.gateway.legacy.jobs_failures import malformed_query, no_such_job, tell, unreachable
from streamgauge_server.gateway.upstream import Passage, Upstream
from streamgauge_server.http_settings import LegacySettings

PAGE_SIZE = 1_000
"""How many jobs the overview fetches at once: as many as a page may have."""

_SECONDS = re.compile(r"[0-9]{1,6}(\.[0-9]{1,6})?")


def api(upstream: Upstream, settings: LegacySettings) -> Api:
    """Returns the routes `/job/...`, `/jobs/...` and `/metainfo/...` below the prefix."""
    jobs = _Jobs(upstream)
    return Api(
        name="jobs",
        routes=(
            Route("GET", "/job/{uuid}/status", jobs.status, operation=documents.STATUS),
            Route(
                "GET", "/job/{uuid}/statusAndMetrics", jobs.status_and_metrics, operation=documents.STATUS_AND_METRICS
            ),
            Route("GET", "/job/{uuid}/exceptions", jobs.exceptions, operation=documents.EXCEPTIONS),
            Route("GET", "/jobs/{uuid}/exceptions", jobs.exceptions, operation=documents.EXCEPTIONS_OF_JOBS),
            Route("GET", "/job/{uuid}/stop", jobs.stop, operation=documents.STOP_BY_GET),
            Route("POST", "/job/{uuid}/stop", jobs.stop, operation=documents.STOP),
            Route("GET", "/jobs/overview", jobs.overview, operation=documents.OVERVIEW),
            Route("GET", "/metainfo/getVersion", jobs.version, operation=documents.VERSION),
        ),
        roots=("job", "jobs", "metainfo"),
        tell=tell,
        prefix=settings.prefix,
        schemas=documents.SCHEMAS,
    )


class _Jobs:
    """The handlers."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream

    async def status(self, request: Request, variables: Mapping[str, str]) -> Response:
        """`/job/{uuid}/status`."""
        job = _job(variables)
        told = await self._upstream.call(
            self._upstream.jobs.GetJobStatus, pb.GetJobStatusRequest(job=job), request.state.passage
        )
        _must_have_run(told.job)
        return answer(rendering.status(told))

    async def status_and_metrics(self, request: Request, variables: Mapping[str, str]) -> Response:
        """`/job/{uuid}/statusAndMetrics`."""
        asked = pb.GetJobStatusAndMetricsRequest(job=_job(variables), metrics=rendering.METRICS)
        told = await self._upstream.call(self._upstream.jobs.GetJobStatusAndMetrics, asked, request.state.passage)
        _must_have_run(told.status.job)
        return answer(rendering.status_and_metrics(told))

    async def exceptions(self, request: Request, variables: Mapping[str, str]) -> Response:
        """`/job/{uuid}/exceptions` and `/jobs/{uuid}/exceptions`."""
        asked = pb.ListJobExceptionsRequest(job=_job(variables), page_size=1)
        told = await self._upstream.call(self._upstream.jobs.ListJobExceptions, asked, request.state.passage)
        if not told.run_id:
            raise _without_run()
        return answer(rendering.exceptions(told))

    async def stop(self, request: Request, variables: Mapping[str, str]) -> Response:
        """`/job/{uuid}/stop`."""
        if request.method == "HEAD":
            raise HttpFailure(405, "HEAD changes nothing, so it does not stop jobs", {"Allow": "GET, POST"})
        asked = pb.StopJobRequest(job=_job(variables), run_id=_parameter(request, "jid") or "")
        passage: Passage = request.state.passage
        if (wait := _wait(request)) is not None:
            asked.wait.FromMicroseconds(wait)
            if "grpc-timeout" not in request.headers:  # the caller has not bounded the time itself
                passage = replace(passage, timeout=passage.timeout + wait / 1e6)
        told = await self._upstream.call(self._upstream.jobs.StopJob, asked, passage)
        return answer(rendering.stopped(told))

    async def overview(self, request: Request, variables: Mapping[str, str]) -> Response:
        """`/jobs/overview`, in one piece where the jobs are one page, otherwise as the pages come."""
        passage: Passage = request.state.passage
        first = await self._page("", passage)
        warnings = rendering.cluster_warnings(first.clusters)
        if not first.jobs and warnings and len(warnings) == len(first.clusters):
            return unreachable(warnings)  # an empty list would say that there are no jobs
        if not first.next_page_token:
            return answer(rendering.success(rendering.overview_entries(first.jobs), warnings))
        return streamed(self._pages(first, warnings, passage))

    async def version(self, request: Request, variables: Mapping[str, str]) -> Response:
        """`/metainfo/getVersion`."""
        told = await self._upstream.call(
            self._upstream.server.GetServerInfo, server_service_pb2.GetServerInfoRequest(), request.state.passage
        )
        return answer(rendering.version(told))

    async def _page(self, token: str, passage: Passage) -> pb.ListJobsResponse:
        asked = pb.ListJobsRequest(page_size=PAGE_SIZE, page_token=token)
        return await self._upstream.call(self._upstream.jobs.ListJobs, asked, passage)

    async def _pages(self, page: pb.ListJobsResponse, messages: list[str], passage: Passage) -> AsyncIterator[bytes]:
        """Yields the overview that begins with a page, piece by piece."""
        opening, closing = encoded(rendering.success([], messages)).split(b"[]", 1)
        yield opening + b"["
        separator = b""
        while True:
            if entries := rendering.overview_entries(page.jobs):
                yield separator + encoded(entries)[1:-1]
                separator = b","
            if not page.next_page_token:
                break
            page = await self._page(page.next_page_token, passage)
        yield b"]" + closing


def _job(variables: Mapping[str, str]) -> str:
    """Returns what the path calls the job.

    Raises:
        Failure: it is a resource name to `JobService`, so that it would mean another job than the one of this name.
    """
    uuid = variables["uuid"]
    if uuid.startswith("jobs/"):
        raise no_such_job("uuid: a name that begins with 'jobs/' cannot be looked up; give the job's id")
    return uuid


def _must_have_run(job: pb.Job) -> None:
    if not job.HasField("run"):
        raise _without_run()


def _without_run() -> Exception:
    return no_such_job("the job is registered, but no run of it is known")


def _parameter(request: Request, name: str) -> str | None:
    """Returns a query parameter, None where it is not given.

    Raises:
        Failure: it is given more than once, or is empty: nobody knows then which run to stop, or how long to wait.
    """
    given = request.query_params.getlist(name)
    if not given:
        return None
    if len(given) > 1:
        raise malformed_query(f"{name}: must be given once, is given {len(given)} times")
    if not given[0]:
        raise malformed_query(f"{name}: must not be empty")
    return given[0]


def _wait(request: Request) -> int | None:
    """Returns how many microseconds `stop` is to wait for the end of the run, None for not at all."""
    given = _parameter(request, "wait")
    if given is None:
        return None
    if not _SECONDS.fullmatch(given):
        raise malformed_query(f"wait: must be a number of seconds such as 30 or 0.5, is {given!r}")
    seconds, _, fraction = given.partition(".")
    return int(seconds) * 1_000_000 + int(fraction.ljust(6, "0"))
