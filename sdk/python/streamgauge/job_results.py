"""Jobs, their runs and what went wrong in them, as they are answered. Times are timezone-aware, UTC."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from streamgauge.enums import ErrorCategory, JobOutcome, JobState, StatusOrigin
from streamgauge.paging import AsyncPager, Page, Pager
from streamgauge.results import LatestValue

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True, slots=True)
class TaskCounts:
    """The tasks of a run: how many are running, how many have finished, and how many there are."""

    running: int = 0
    finished: int = 0
    total: int = 0


@dataclass(frozen=True, slots=True)
class JobVertex:
    """One vertex of a job's graph: operators that run in the same tasks.

    Counts are of the current attempt, and None while the cluster has not gathered them. A source reads 0 records, a
    sink writes 0: they are counted at the network.
    """

    id: str
    name: str
    parallelism: int
    state: str
    read_records: int | None
    write_records: int | None
    read_bytes: int | None
    write_bytes: int | None


@dataclass(frozen=True, slots=True)
class JobRun:
    """One run of a job.

    `state` is the last one known, `state_text` as its runner wrote it. `lost`: its cluster does not know it any more
    though it had not ended. `degraded`: it is running and some of its tasks are not. `flapping`: it restarted several
    times within minutes. `duration` is as last observed, at `observe_time`. `error` is one line about what went wrong
    last, empty when nothing did. `vertices` are only there in a status.
    """

    run_id: str
    ordinal: int
    state: JobState
    state_text: str
    outcome: JobOutcome | None
    lost: bool
    degraded: bool
    flapping: bool
    queue_time: datetime | None
    start_time: datetime | None
    end_time: datetime | None
    duration: timedelta | None
    restart_count: int
    tasks: TaskCounts | None
    vertices: tuple[JobVertex, ...]
    observe_time: datetime | None
    final_figures: bool
    error: str

    @property
    def ended(self) -> bool:
        """Whether it has ended."""
        return self.state.is_final


@dataclass(frozen=True, slots=True)
class Job:
    """A job. `run` is the run that its status tells of, None when there is none.

    `name` is the resource name (`jobs/orders`), `job_name` what its runner calls it, `cluster` where it runs (empty
    when its runner reports it), `job_type` the resource name of its type (or empty). `etag` changes with every update,
    not with runs.
    """

    name: str
    job_name: str
    cluster: str
    job_type: str
    labels: Mapping[str, str]
    run: JobRun | None
    etag: str
    create_time: datetime
    update_time: datetime

    @property
    def id(self) -> str:
        """The last part of the name."""
        return self.name.partition("/")[2]

    @property
    def state(self) -> JobState | None:
        """The state of its run, None when there is none."""
        return None if self.run is None else self.run.state


@dataclass(frozen=True, slots=True)
class JobType:
    """A kind of job, by which runs are counted. `type_name` is shared by its versions; `number` stays the same."""

    name: str
    number: int
    type_name: str
    version: str
    title: str
    description: str
    category: str
    author_name: str
    author_url: str
    is_active: bool
    is_system: bool
    is_paused: bool
    is_published: bool
    is_long_running: bool
    is_operational: bool
    icon_code: str
    unmet_resources: str
    etag: str
    create_time: datetime
    update_time: datetime

    @property
    def id(self) -> str:
        """The last part of the name."""
        return self.name.partition("/")[2]


@dataclass(frozen=True, slots=True)
class CatalogError:
    """An error by which failures are counted; reports name it (`error`). `number` stays the same.

    `job_type_name` is that of the job types that have it, empty for all. `should_be_retried`: another try may help.
    """

    number: int
    error: str
    category: ErrorCategory
    title: str
    description: str
    job_type_name: str
    should_be_retried: bool
    built_in: bool


@dataclass(frozen=True, slots=True)
class ClusterStatus:
    """What a collector knows of a cluster. `problem` says in a few words why it did not answer."""

    cluster: str
    reachable: bool
    last_success_time: datetime | None
    last_attempt_time: datetime | None
    problem: str
    version: str
    last_poll_duration: timedelta
    active_runs: int


@dataclass(frozen=True, slots=True)
class JobOverview:
    """How many jobs there are, in which states, and the clusters that they may run on.

    The key None of `state_counts` is for jobs without a run. `jobs` are those of the first page, the last started
    first. An empty list with a cluster that is not `reachable` is not the same as an empty cluster.
    """

    jobs: tuple[Job, ...]
    total: int
    state_counts: Mapping[JobState | None, int]
    clusters: tuple[ClusterStatus, ...]


@dataclass(frozen=True, slots=True)
class JobStatus:
    """What a job is doing. `stale`: it is older than was asked for, because the cluster could not be asked.

    `messages` are for people: why it is stale, that several runs are active (`active_run_ids`).
    """

    job: Job
    origin: StatusOrigin
    stale: bool
    messages: tuple[str, ...]
    active_run_ids: tuple[str, ...]

    @property
    def run(self) -> JobRun | None:
        """The run that it tells of, None when there is none."""
        return self.job.run

    @property
    def state(self) -> JobState | None:
        """The state of the run, None when there is none."""
        return self.job.state


@dataclass(frozen=True, slots=True)
class JobStatusAndMetrics:
    """What a job is doing, and its newest metrics: `answer["numRecordsRead"].value`.

    Of counters `value` is the total over all restarts and runs, `raw_value` that of the current attempt. What nobody
    has measured yet is not there.
    """

    status: JobStatus
    metrics: Mapping[str, LatestValue]

    def __getitem__(self, metric: str) -> LatestValue:
        return self.metrics[metric]


@dataclass(frozen=True, slots=True)
class JobExceptionCause:
    """What caused an exception, in short."""

    exception_class: str
    summary: str
    task: str


@dataclass(frozen=True, slots=True)
class JobException:
    """One exception of a run. `summary` is its first line; of a long `stacktrace` head and end, then `truncated`.

    `task` is empty for a failure of the job as a whole, whose `cause` then is what a task threw.
    """

    time: datetime | None
    exception_class: str
    summary: str
    stacktrace: str
    truncated: bool
    task: str
    endpoint: str
    cause: JobExceptionCause | None


@dataclass(frozen=True, slots=True)
class ExceptionPage(Page[JobException]):
    """One page of the exceptions of run `run_id`.

    `history_truncated`: the cluster had forgotten older ones before they could be stored. `stale`: the newest may be
    missing, because the cluster could not be asked; `messages` say why.
    """

    run_id: str = ""
    history_truncated: bool = False
    stale: bool = False
    messages: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StopResult:
    """What became of the wish to stop a run. A run that had ended before is `already_stopped`, which is no error.

    `ended` tells whether it has ended by now; `savepoint_location` is empty while the savepoint is not complete.
    """

    run: JobRun
    accepted: bool
    already_stopped: bool
    ended: bool
    savepoint_location: str
    messages: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class JobChange:
    """A change of a run's state. `previous_state` is None for a new run; `lost`: its cluster lost it."""

    job: str
    run_id: str
    previous_state: JobState | None
    state: JobState
    state_text: str
    lost: bool
    restart_count: int
    observe_time: datetime


@dataclass(frozen=True, slots=True)
class WatchMessage:
    """One message of a watch: changes, none in a heartbeat, and the cursor from which a later watch goes on."""

    changes: tuple[JobChange, ...]
    cursor: str


class JobList(Pager[Job]):
    """Jobs, those that started last first, fetched as they are needed. Every iteration asks the server anew.

    Example:
        >>> for job in client.jobs.list(active_only=True):
        ...     print(job.id, job.state)
        >>> client.jobs.list(cluster="main").overview().state_counts
    """

    def __init__(self, fetch: Callable[[str], Page[Job]], overview: Callable[[], JobOverview], page_token: str) -> None:
        super().__init__(fetch, page_token)
        self._overview = overview

    def overview(self) -> JobOverview:
        """Returns the counts by state, over all pages, and the clusters, in one call."""
        return self._overview()

    def to_dataframe(self) -> pandas.DataFrame:
        """Returns a DataFrame with a row per job. Needs `streamgauge[pandas]`; ImportError says so otherwise."""
        from streamgauge import dataframes

        return dataframes.from_jobs(list(self))


class AsyncJobList(AsyncPager[Job]):
    """Jobs, those that started last first: `async for`. See `JobList`."""

    def __init__(
        self,
        fetch: Callable[[str], Awaitable[Page[Job]]],
        overview: Callable[[], Awaitable[JobOverview]],
        page_token: str,
    ) -> None:
        super().__init__(fetch, page_token)
        self._overview = overview

    async def overview(self) -> JobOverview:
        """Returns the counts by state, over all pages, and the clusters, in one call."""
        return await self._overview()

    async def to_dataframe(self) -> pandas.DataFrame:
        """Returns a DataFrame with a row per job. See `JobList.to_dataframe`."""
        from streamgauge import dataframes

        return dataframes.from_jobs([job async for job in self])


class JobExceptions(Pager[JobException]):
    """The exceptions of a run, the newest first; a healthy run has none. `pages()` tell more, see `ExceptionPage`."""

    def __init__(self, fetch: Callable[[str], ExceptionPage], page_token: str) -> None:
        super().__init__(fetch, page_token)
        self._fetch_page = fetch

    def pages(self) -> Iterator[ExceptionPage]:
        """Yields the pages."""
        page = self._fetch_page(self._first)
        yield page
        while page.next_page_token:
            page = self._fetch_page(page.next_page_token)
            yield page

    def to_dataframe(self) -> pandas.DataFrame:
        """Returns a DataFrame with a row per exception. Needs `streamgauge[pandas]`; ImportError says so otherwise."""
        from streamgauge import dataframes

        return dataframes.from_job_exceptions(list(self))


class AsyncJobExceptions(AsyncPager[JobException]):
    """The exceptions of a run, the newest first: `async for`. See `JobExceptions`."""

    def __init__(self, fetch: Callable[[str], Awaitable[ExceptionPage]], page_token: str) -> None:
        super().__init__(fetch, page_token)
        self._fetch_page = fetch

    async def pages(self) -> AsyncIterator[ExceptionPage]:
        """Yields the pages."""
        page = await self._fetch_page(self._first)
        yield page
        while page.next_page_token:
            page = await self._fetch_page(page.next_page_token)
            yield page

    async def to_dataframe(self) -> pandas.DataFrame:
        """Returns a DataFrame with a row per exception. See `JobExceptions.to_dataframe`."""
        from streamgauge import dataframes

        return dataframes.from_job_exceptions([exception async for exception in self])
