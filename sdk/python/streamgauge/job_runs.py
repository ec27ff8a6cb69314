"""Runs that report themselves: a `with` block around the work."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import Self

from streamgauge._run_reports import OnRunError, RunReports, final_state
from streamgauge.enums import JobState, Scalar
from streamgauge.errors import UnavailableError
from streamgauge.job_reports import JobReport
from streamgauge.job_results import TaskCounts
from streamgauge.v1 import job_service_pb2 as pb

REPORT_SECONDS = 5.0
"""How long the work waits for a report at most."""
END_SECONDS = 10.0
"""How long the end of the work waits for its report at most."""
_END_PAUSE = 1.0
"""Seconds between the tries of the last report, each of which is several attempts."""


class ReportedRun:
    """One run of a job that reports itself, made by `client.jobs.run`. Safe to share between threads.

    Entering reports RUNNING. Leaving reports FINISHED, or FAILED with the traceback of the exception, which goes on its
    way: nothing is swallowed. Ctrl-C ends the run as CANCELED, `sys.exit(0)` as FINISHED.

    **The work does not fail for the sake of its report.** What cannot be reported is told to `on_error` (by default a
    warning in the log) and the work goes on: a server that is away, a token that is wrong, a metric that is refused, a
    value that cannot be sent. While the server is away metrics are kept, the newest value of each, and go with the next
    report that arrives; the last report tells the whole run, also when none before it arrived. A report holds up the
    work for at most 5 seconds, once in 30 seconds while the server is away, and at the end for at most 10. Should the
    work fail rather than run unseen, raise in `on_error`.
    """

    def __init__(
        self,
        send: Callable[[pb.ReportJobRequest, float], pb.ReportJobResponse],
        first: JobReport,
        on_error: OnRunError | None,
    ) -> None:
        self._send = send
        self._reports = RunReports(first, on_error)
        self._lock = threading.Lock()
        self._job = ""

    @property
    def run_id(self) -> str:
        """The run's id."""
        return self._reports.run_id

    @property
    def job(self) -> str:
        """The job's resource name; empty until a report has arrived."""
        return self._job

    def metrics(self, values: Mapping[str, Scalar] | None = None, /, **named: Scalar) -> None:
        """Reports metrics of this moment: `run.metrics(rows=5)`, `run.metrics({"rows.read": 5})`."""
        with self._lock:
            self._reports.add_metrics({**(values or {}), **named})
            self._report(JobState.RUNNING)

    def exception(self, error: BaseException, *, task: str = "") -> None:
        """Reports an exception that the work survives."""
        with self._lock:
            self._reports.add_exception(error, task)
            self._report(JobState.RUNNING)

    def tasks(self, *, running: int, finished: int, total: int) -> None:
        """Reports how far the work is, in tasks."""
        with self._lock:
            self._reports.set_tasks(TaskCounts(running, finished, total))
            self._report(JobState.RUNNING)

    def __enter__(self) -> Self:
        with self._lock:
            self._report(JobState.RUNNING)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        state = final_state(error)
        with self._lock:
            if error is not None and state is JobState.FAILED:
                self._reports.add_exception(error)
            self._report(state)

    def _report(self, state: JobState) -> None:
        if not state.is_final and not self._reports.due:
            return
        if self._is_refused(self._reports.take(state)):
            self._is_refused(self._reports.bare(state))

    def _is_refused(self, report: pb.JobReport) -> bool:
        """Sends a report and tells whether it was refused and may be sent again without its news."""
        try:
            response = self._sent(pb.ReportJobRequest(reports=[report]), last=report.HasField("end_time"))
        except Exception as error:  # whatever it is, it is not the work's
            return self._reports.failed(report, error)
        self._reports.arrived()
        self._job = response.jobs[0].job if response.jobs else ""
        return False

    def _sent(self, request: pb.ReportJobRequest, *, last: bool) -> pb.ReportJobResponse:
        """Sends a request; the last one of the run for as long as there is time, for it is the one that counts."""
        end = time.monotonic() + (END_SECONDS if last else REPORT_SECONDS)
        while True:
            try:
                return self._send(request, max(end - time.monotonic(), 0))
            except UnavailableError:
                if not last or end - time.monotonic() <= _END_PAUSE:
                    raise
            time.sleep(_END_PAUSE)


class AsyncReportedRun:
    """One run of a job that reports itself: `async with client.jobs.run("nightly-load") as run`. See `ReportedRun`.

    A cancelled task ends the run as CANCELED.
    """

    def __init__(
        self,
        send: Callable[[pb.ReportJobRequest, float], Awaitable[pb.ReportJobResponse]],
        first: JobReport,
        on_error: OnRunError | None,
    ) -> None:
        self._send = send
        self._reports = RunReports(first, on_error)
        self._lock = asyncio.Lock()
        self._job = ""

    @property
    def run_id(self) -> str:
        """The run's id."""
        return self._reports.run_id

    @property
    def job(self) -> str:
        """The job's resource name; empty until a report has arrived."""
        return self._job

    async def metrics(self, values: Mapping[str, Scalar] | None = None, /, **named: Scalar) -> None:
        """Reports metrics of this moment. See `ReportedRun.metrics`."""
        self._reports.add_metrics({**(values or {}), **named})
        await self._report(JobState.RUNNING)

    async def exception(self, error: BaseException, *, task: str = "") -> None:
        """Reports an exception that the work survives."""
        self._reports.add_exception(error, task)
        await self._report(JobState.RUNNING)

    async def tasks(self, *, running: int, finished: int, total: int) -> None:
        """Reports how far the work is, in tasks."""
        self._reports.set_tasks(TaskCounts(running, finished, total))
        await self._report(JobState.RUNNING)

    async def __aenter__(self) -> Self:
        await self._report(JobState.RUNNING)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        state = final_state(error)
        if error is not None and state is JobState.FAILED:
            self._reports.add_exception(error)
        await self._report(state)

    async def _report(self, state: JobState) -> None:
        async with self._lock:
            if not state.is_final and not self._reports.due:
                return
            if await self._is_refused(self._reports.take(state)):
                await self._is_refused(self._reports.bare(state))

    async def _is_refused(self, report: pb.JobReport) -> bool:
        """Sends a report and tells whether it was refused and may be sent again without its news."""
        try:
            response = await self._sent(pb.ReportJobRequest(reports=[report]), last=report.HasField("end_time"))
        except Exception as error:  # whatever it is, it is not the work's
            return self._reports.failed(report, error)
        except asyncio.CancelledError:
            self._reports.put_back(report)
            raise
        self._reports.arrived()
        self._job = response.jobs[0].job if response.jobs else ""
        return False

    async def _sent(self, request: pb.ReportJobRequest, *, last: bool) -> pb.ReportJobResponse:
        """Sends a request; the last one of the run for as long as there is time, for it is the one that counts."""
        end = time.monotonic() + (END_SECONDS if last else REPORT_SECONDS)
        while True:
            try:
                return await self._send(request, max(end - time.monotonic(), 0))
            except UnavailableError:
                if not last or end - time.monotonic() <= _END_PAUSE:
                    raise
            await asyncio.sleep(_END_PAUSE)
