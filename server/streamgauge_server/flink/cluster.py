"""Answers about the cluster: what it is, and its jobs at a glance."""

from __future__ import annotations

from dataclasses import dataclass

from streamgauge_server.flink import fields
from streamgauge_server.flink.ids import is_flink_id
from streamgauge_server.flink.states import FlinkState


@dataclass(frozen=True, slots=True)
class ClusterOverview:
    """`GET /overview`. Numbers of ended jobs count what the cluster still remembers."""

    version: str
    task_managers: int
    slots_total: int
    slots_available: int
    jobs_running: int
    jobs_finished: int
    jobs_cancelled: int
    jobs_failed: int

    @classmethod
    def parse(cls, answer: object) -> ClusterOverview:
        """Reads the answer.

        Raises:
            MalformedAnswer: it tells no version.
        """
        told = fields.object_of(answer, "the overview")
        version = fields.text(told, "flink-version")
        if not version:
            raise fields.MalformedAnswer("the overview tells no version")

        def count(key: str) -> int:
            return fields.integer(told, key) or 0

        return cls(
            version=version,
            task_managers=count("taskmanagers"),
            slots_total=count("slots-total"),
            slots_available=count("slots-available"),
            jobs_running=count("jobs-running"),
            jobs_finished=count("jobs-finished"),
            jobs_cancelled=count("jobs-cancelled"),
            jobs_failed=count("jobs-failed"),
        )


@dataclass(frozen=True, slots=True)
class ClusterConfig:
    """`GET /config`. Details of a job may be as old as the refresh interval (ms)."""

    version: str
    refresh_interval_ms: int

    @classmethod
    def parse(cls, answer: object) -> ClusterConfig:
        """Reads the answer.

        Raises:
            MalformedAnswer: it tells no refresh interval.
        """
        told = fields.object_of(answer, "the configuration")
        interval = fields.duration(told, "refresh-interval")
        if interval is None:
            raise fields.MalformedAnswer("the configuration tells no refresh interval")
        return cls(version=fields.text(told, "flink-version"), refresh_interval_ms=interval)


@dataclass(frozen=True, slots=True)
class TaskCounts:
    """Subtasks by what they are doing."""

    total: int
    running: int
    finished: int

    @property
    def at_work(self) -> int:
        """Subtasks that do what they should, or have done it."""
        return self.running + self.finished


def parse_tasks(told: fields.JsonObject) -> TaskCounts:
    """Reads counts by task state: in lower case with a total in an overview, in upper case without one in details."""
    counts = {key.lower(): number for key, value in told.items() if (number := fields.as_integer(value)) is not None}
    total = counts.pop("total", None)
    if total is None:
        total = sum(counts.values())
    return TaskCounts(total=total, running=counts.get("running", 0), finished=counts.get("finished", 0))


@dataclass(frozen=True, slots=True)
class JobSummary:
    """One job of `GET /jobs/overview`, which is never cached. Times are milliseconds since 1970."""

    jid: str
    name: str
    state: FlinkState
    state_text: str
    start_ms: int | None
    end_ms: int | None
    duration_ms: int | None
    last_modification_ms: int | None
    tasks: TaskCounts

    @property
    def degraded(self) -> bool:
        """The job is running, though not with all of its subtasks: Flink calls that RUNNING too."""
        return self.state is FlinkState.RUNNING and self.tasks.at_work < self.tasks.total


def parse_jobs(answer: object) -> tuple[JobSummary, ...]:
    """Reads `GET /jobs/overview`, in Flink's order, which means nothing.

    Raises:
        MalformedAnswer: there is no list of jobs, or a job without an id. To take either for an empty cluster would
            make every job a lost one.
    """
    told = fields.object_of(answer, "the overview of jobs")
    return tuple(_parse_job(entry) for entry in fields.list_of(told.get("jobs"), "the overview's list of jobs"))


def parse_status(answer: object) -> str:
    """Reads `GET /jobs/{jid}/status`: the state's text.

    Raises:
        MalformedAnswer: there is none.
    """
    status = fields.text(fields.object_of(answer, "the status"), "status")
    if not status:
        raise fields.MalformedAnswer("the status is empty")
    return status


def _parse_job(entry: object) -> JobSummary:
    told = fields.object_of(entry, "a job of the overview")
    jid, state = fields.text(told, "jid"), fields.text(told, "state")
    if not is_flink_id(jid) or not state:
        raise fields.MalformedAnswer("a job of the overview has no id or no state")
    return JobSummary(
        jid=jid.lower(),
        name=fields.text(told, "name"),
        state=FlinkState.of(state),
        state_text=state,
        start_ms=fields.moment(told, "start-time"),
        end_ms=fields.moment(told, "end-time"),
        duration_ms=fields.duration(told, "duration"),
        last_modification_ms=fields.moment(told, "last-modification"),
        tasks=parse_tasks(fields.member(told, "tasks")),
    )
