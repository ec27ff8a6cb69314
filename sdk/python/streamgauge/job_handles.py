"""One job: the methods of `client.jobs` without naming it each time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Unpack

from streamgauge._job_requests import ReportFields, RunArguments
from streamgauge._run_reports import OnRunError
from streamgauge.enums import JobState, StopMode
from streamgauge.job_reports import ReportedJob
from streamgauge.job_results import (
    AsyncJobExceptions,
    Job,
    JobExceptions,
    JobRun,
    JobStatus,
    StopResult,
)
from streamgauge.job_runs import AsyncReportedRun, ReportedRun
from streamgauge.paging import AsyncPager, Pager
from streamgauge.results import LatestValue

if TYPE_CHECKING:
    from streamgauge.aio_jobs import AsyncJobs
    from streamgauge.jobs import Jobs


class JobHandle:
    """One job, made by `client.jobs.job`. Each method is that of `client.jobs` and says there what it does."""

    def __init__(self, jobs: Jobs, job: str) -> None:
        self._jobs = jobs
        self.job = job
        """The job as it was named."""

    def get(self, *, timeout: float | None = None) -> Job:
        """Returns the job with its newest run, as stored."""
        return self._jobs.get(self.job, timeout=timeout)

    def status(self, *, max_age: timedelta | None = None, timeout: float | None = None) -> JobStatus:
        """Returns what the job is doing."""
        return self._jobs.status(self.job, max_age=max_age, timeout=timeout)

    def metrics(
        self, metrics: Iterable[str] = (), *, max_age: timedelta | None = None, timeout: float | None = None
    ) -> Mapping[str, LatestValue]:
        """Returns the newest metrics of the job, all or those named: `job.metrics()["numRecordsRead"].value`."""
        return self._jobs.status_and_metrics(self.job, metrics=metrics, max_age=max_age, timeout=timeout).metrics

    def exceptions(
        self, *, run_id: str = "", max_age: timedelta | None = None, timeout: float | None = None
    ) -> JobExceptions:
        """Returns the exceptions of a run, the newest first."""
        return self._jobs.exceptions(self.job, run_id=run_id, max_age=max_age, timeout=timeout)

    def runs(self, *, timeout: float | None = None) -> Pager[JobRun]:
        """Returns the runs, the newest first."""
        return self._jobs.runs(self.job, timeout=timeout)

    def stop(
        self,
        mode: StopMode | str = StopMode.CANCEL,
        *,
        drain: bool = False,
        savepoint_directory: str = "",
        run_id: str = "",
        wait: timedelta | None = None,
        timeout: float | None = None,
    ) -> StopResult:
        """Stops the active run."""
        return self._jobs.stop(
            self.job,
            mode,
            drain=drain,
            savepoint_directory=savepoint_directory,
            run_id=run_id,
            wait=wait,
            timeout=timeout,
        )

    def report(
        self, state: JobState | str, *, timeout: float | None = None, **fields: Unpack[ReportFields]
    ) -> ReportedJob:
        """Reports a run."""
        return self._jobs.report(self.job, state, timeout=timeout, **fields)

    def run(self, *, on_error: OnRunError | None = None, **arguments: Unpack[RunArguments]) -> ReportedRun:
        """Returns a `with` block around the work of a run."""
        return self._jobs.run(self.job, on_error=on_error, **arguments)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.job!r})"


class AsyncJobHandle:
    """One job of the asyncio client. See `JobHandle`."""

    def __init__(self, jobs: AsyncJobs, job: str) -> None:
        self._jobs = jobs
        self.job = job
        """The job as it was named."""

    async def get(self, *, timeout: float | None = None) -> Job:
        """Returns the job with its newest run, as stored."""
        return await self._jobs.get(self.job, timeout=timeout)

    async def status(self, *, max_age: timedelta | None = None, timeout: float | None = None) -> JobStatus:
        """Returns what the job is doing."""
        return await self._jobs.status(self.job, max_age=max_age, timeout=timeout)

    async def metrics(
        self, metrics: Iterable[str] = (), *, max_age: timedelta | None = None, timeout: float | None = None
    ) -> Mapping[str, LatestValue]:
        """Returns the newest metrics of the job, all or those named."""
        answer = await self._jobs.status_and_metrics(self.job, metrics=metrics, max_age=max_age, timeout=timeout)
        return answer.metrics

    def exceptions(
        self, *, run_id: str = "", max_age: timedelta | None = None, timeout: float | None = None
    ) -> AsyncJobExceptions:
        """Returns the exceptions of a run, the newest first."""
        return self._jobs.exceptions(self.job, run_id=run_id, max_age=max_age, timeout=timeout)

    def runs(self, *, timeout: float | None = None) -> AsyncPager[JobRun]:
        """Returns the runs, the newest first."""
        return self._jobs.runs(self.job, timeout=timeout)

    async def stop(
        self,
        mode: StopMode | str = StopMode.CANCEL,
        *,
        drain: bool = False,
        savepoint_directory: str = "",
        run_id: str = "",
        wait: timedelta | None = None,
        timeout: float | None = None,
    ) -> StopResult:
        """Stops the active run."""
        return await self._jobs.stop(
            self.job,
            mode,
            drain=drain,
            savepoint_directory=savepoint_directory,
            run_id=run_id,
            wait=wait,
            timeout=timeout,
        )

    async def report(
        self, state: JobState | str, *, timeout: float | None = None, **fields: Unpack[ReportFields]
    ) -> ReportedJob:
        """Reports a run."""
        return await self._jobs.report(self.job, state, timeout=timeout, **fields)

    def run(self, *, on_error: OnRunError | None = None, **arguments: Unpack[RunArguments]) -> AsyncReportedRun:
        """Returns an `async with` block around the work of a run."""
        return self._jobs.run(self.job, on_error=on_error, **arguments)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.job!r})"
