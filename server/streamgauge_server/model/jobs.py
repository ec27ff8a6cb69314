"""Jobs and their runs: states, what is kept of them, and which of several runs a job's status tells of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from uuid import UUID, uuid5


class JobState(IntEnum):
    """What a run is doing: Flink's eleven states, QUEUED, and OTHER for those unknown here; the contract's numbers."""

    QUEUED = 1
    INITIALIZING = 2
    CREATED = 3
    RUNNING = 4
    FAILING = 5
    FAILED = 6
    CANCELLING = 7
    CANCELED = 8
    FINISHED = 9
    RESTARTING = 10
    SUSPENDED = 11
    RECONCILING = 12
    OTHER = 13


class JobOutcome(IntEnum):
    """How a run ended."""

    COMPLETED = 1
    FAILED = 2
    CANCELED = 3


class StatusOrigin(IntEnum):
    """Where a status comes from; the contract's numbers."""

    LIVE = 1
    """The cluster was asked for this answer."""
    STORED = 2


OUTCOMES = {
    JobState.FINISHED: JobOutcome.COMPLETED,
    JobState.FAILED: JobOutcome.FAILED,
    JobState.CANCELED: JobOutcome.CANCELED,
}
"""The final states. A run that is in one of them never leaves it."""


def job_state(text: str) -> JobState:
    """Returns the state of a name as Flink writes it, OTHER for one that is not known."""
    return JobState.__members__.get(text, JobState.OTHER)


FLAPPING_RESTARTS = 3
FLAPPING_MICROS = 600_000_000


@dataclass(frozen=True, slots=True)
class TaskCounts:
    """The tasks of a run."""

    running: int = 0
    finished: int = 0
    total: int = 0


@dataclass(frozen=True, slots=True)
class Vertex:
    """One vertex of a run's graph; counts are None while the cluster has not gathered them."""

    id: str
    name: str
    parallelism: int
    state: str
    read_records: int | None = None
    write_records: int | None = None
    read_bytes: int | None = None
    write_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class JobRun:
    """One run of a job. Times in microseconds, None where they are not known; `number` is its id in the store.

    `duration` is as last observed, in microseconds. `vertices` are only filled in where a status is asked for.
    """

    number: int
    run_id: str
    ordinal: int
    cluster: str
    state: JobState
    state_text: str
    lost: bool = False
    queue_time: int | None = None
    start_time: int | None = None
    end_time: int | None = None
    duration: int = 0
    restarts: int = 0
    recent_restarts: tuple[int, ...] = ()
    """When it restarted, as observed: the last few times."""
    tasks: TaskCounts | None = None
    vertices: tuple[Vertex, ...] = ()
    observe_time: int = 0
    details_time: int | None = None
    """When its vertices and figures were last read."""
    final_figures: bool = False
    history_truncated: bool = False
    error: str = ""
    error_number: int | None = None
    """The error of the catalog that it failed of; `error` is what its newest exception says."""
    executions: int = 0
    """How many executions of its own were reported."""

    @property
    def ended(self) -> bool:
        """Whether it is in a final state."""
        return self.state in OUTCOMES

    @property
    def active(self) -> bool:
        """Whether it still goes on, as far as is known."""
        return not self.ended and not self.lost

    @property
    def degraded(self) -> bool:
        """Whether it is RUNNING without all of its tasks."""
        tasks = self.tasks
        return self.state == JobState.RUNNING and tasks is not None and tasks.running + tasks.finished < tasks.total

    def flapping(self, now: int) -> bool:
        """Tells whether it restarted at least 3 times in the 10 minutes before a moment."""
        return sum(now - FLAPPING_MICROS < time for time in self.recent_restarts) >= FLAPPING_RESTARTS


def status_order(run: JobRun) -> tuple[bool, bool, int, str]:
    """Sorts the runs of a job: the greatest is the one that its status tells of.

    Active before ended or lost, not CANCELLING before CANCELLING, then the one that started last, then by run id.
    """
    return (run.active, run.active and run.state != JobState.CANCELLING, run.start_time or 0, run.run_id)


def run_of_status(runs: Iterable[JobRun]) -> JobRun | None:
    """Returns the run that a job's status tells of, None when there is none."""
    return max(runs, key=status_order, default=None)


@dataclass(frozen=True, slots=True)
class Job:
    """A job with the run that its status tells of. Times in microseconds; `number` is the subject's id in the store."""

    id: str
    number: int
    job_name: str
    cluster: str
    job_type: str
    labels: dict[str, str]
    etag: str
    create_time: int
    update_time: int
    run: JobRun | None = None


_NAMES = UUID("7a5b7ac6-51c5-4a6d-8a43-5d4f6c1f0c3e")


def derived_id(cluster: str, job_name: str) -> str:
    """Returns the id of a job whose name cannot be one: always the same for a name on a cluster ("" for none)."""
    return str(uuid5(_NAMES, f"{cluster}\n{job_name}"))


JOB_CHANGEABLE = ("job_name", "job_type", "labels")
"""Fields of a job that an update may name."""


@dataclass(frozen=True, slots=True)
class NewJob:
    """A job to register. `job_name` empty is the id."""

    id: str
    job_name: str = ""
    cluster: str = ""
    job_type: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RunException:
    """One exception of a run. `fingerprint` tells whether it is stored already. Without a cause its fields are ""."""

    fingerprint: str
    time: int
    exception_class: str
    summary: str
    stacktrace: str
    truncated: bool = False
    task: str = ""
    endpoint: str = ""
    cause_class: str = ""
    cause_summary: str = ""
    cause_task: str = ""


class TaskKind(IntEnum):
    """What a task of an execution does; the contract's numbers."""

    PULL = 1
    PRE = 2
    MAIN = 3
    POST = 4


@dataclass(frozen=True, slots=True)
class ExecutionTask:
    """One task of an execution. Times in microseconds, None where they are not known."""

    kind: TaskKind
    start_time: int | None = None
    end_time: int | None = None


@dataclass(frozen=True, slots=True)
class Execution:
    """One attempt to carry out a run. Times in microseconds; `error` is the name of an error of the catalog, or ""."""

    execution_id: str
    outcome: JobOutcome
    end_time: int
    queue_time: int | None = None
    start_time: int | None = None
    tasks: tuple[ExecutionTask, ...] = ()
    error: str = ""


@dataclass(frozen=True, slots=True)
class RunUpdate:
    """What was learnt of one run. None, and empty collections, leave what is stored as it is.

    `observe_time` is when it was learnt, by the clock here. `state` None says nothing about the state. With `lost` True
    the cluster was reached and did not know the run. `details` says that `vertices`, `tasks` and `restarts` were read.

    `error` is the name of an error of the catalog, "" takes back the one that was told. Executions replace those of
    their ids. With `corrects` the times that are told, and a final state, replace those that are stored.
    """

    job: int
    """Number of the job."""
    run_id: str
    observe_time: int
    cluster: str = ""
    state: JobState | None = None
    state_text: str = ""
    lost: bool | None = None
    queue_time: int | None = None
    start_time: int | None = None
    end_time: int | None = None
    duration: int | None = None
    restarts: int | None = None
    tasks: TaskCounts | None = None
    vertices: Sequence[Vertex] | None = None
    details: bool = False
    final_figures: bool = False
    history_truncated: bool = False
    exceptions: Sequence[RunException] = ()
    error: str | None = None
    executions: Sequence[Execution] = ()
    corrects: bool = False


@dataclass(frozen=True, slots=True)
class StateChange:
    """One entry of the log of state changes. `seq` rises in the order of commits within a tenant; 0 in a snapshot."""

    seq: int
    job_id: str
    run_id: str
    previous: JobState | None
    state: JobState
    state_text: str
    lost: bool
    restarts: int
    observe_time: int


class StopMode(IntEnum):
    """How to stop; the contract's numbers."""

    CANCEL = 1
    SAVEPOINT = 2


@dataclass(frozen=True, slots=True)
class Stop:
    """A request to stop a run. Times in microseconds; `finish_time` is None while the outcome is not known.

    `location` is where the savepoint is, `failure` why there is none; both are empty otherwise.
    """

    run: int
    trigger_id: str
    mode: StopMode
    drain: bool
    directory: str
    requested_by: str
    request_time: int
    finish_time: int | None = None
    location: str = ""
    failure: str = ""


@dataclass(frozen=True, slots=True)
class ClusterStatus:
    """What the collector of a cluster knows of it. Times in microseconds, None where it has not happened."""

    cluster: str
    reachable: bool
    last_success_time: int | None
    last_attempt_time: int | None
    problem: str
    version: str
    last_poll_duration: int
    active_runs: int


@dataclass(frozen=True, slots=True)
class JobType:
    """A kind of job. Times in microseconds; `number` is stable for as long as it exists."""

    id: str
    number: int
    type_name: str
    version: str = ""
    title: str = ""
    description: str = ""
    category: str = ""
    author_name: str = ""
    author_url: str = ""
    is_active: bool = True
    is_system: bool = False
    is_paused: bool = False
    is_published: bool = False
    is_long_running: bool = False
    is_operational: bool = True
    icon_code: str = ""
    unmet_resources: str = ""
    etag: str = ""
    create_time: int = 0
    update_time: int = 0


JOB_TYPE_CHANGEABLE = (
    "type_name",
    "version",
    "title",
    "description",
    "category",
    "author_name",
    "author_url",
    "is_active",
    "is_system",
    "is_paused",
    "is_published",
    "is_long_running",
    "is_operational",
    "icon_code",
    "unmet_resources",
)
"""Fields of a job type that an update may name."""
