"""`GET /jobs/{jid}`: the vertices of a job, how they are connected, what they have read and written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from streamgauge_server.flink import fields
from streamgauge_server.flink.cluster import TaskCounts, parse_tasks
from streamgauge_server.flink.ids import is_flink_id
from streamgauge_server.flink.states import FlinkState


@dataclass(frozen=True, slots=True)
class VertexMetrics:
    """Sums over the subtasks of the current attempt, of data that crossed the borders of tasks alone.

    None is what Flink has not fetched yet from every subtask. Sources read nothing here, sinks write nothing, and where
    source and sink are one vertex everything is zero.
    """

    read_records: int | None
    write_records: int | None
    read_bytes: int | None
    write_bytes: int | None
    back_pressured_ms: int | None
    idle_ms: int | None
    busy_ms: int | None

    @property
    def complete(self) -> bool:
        """All subtasks have reported."""
        return None not in (self.read_records, self.write_records, self.read_bytes, self.write_bytes)


@dataclass(frozen=True, slots=True)
class Vertex:
    """A vertex: one operator, or several chained ones. `inputs` are ids of vertices, None without a plan."""

    id: str
    name: str
    parallelism: int
    status: str
    start_ms: int | None
    end_ms: int | None
    duration_ms: int | None
    tasks: TaskCounts
    metrics: VertexMetrics
    inputs: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class JobDetails:
    """A job with its vertices, sources first. It may be as old as the cluster's refresh interval, `now_ms` is not.

    `timestamps` (ms since 1970) has the last entry into every state that the job was in, by the state's text.
    """

    jid: str
    name: str
    state: FlinkState
    state_text: str
    start_ms: int | None
    end_ms: int | None
    duration_ms: int | None
    now_ms: int | None
    timestamps: Mapping[str, int]
    vertices: tuple[Vertex, ...]

    @property
    def tasks(self) -> TaskCounts:
        """Subtasks of all vertices."""
        counts = [vertex.tasks for vertex in self.vertices]
        return TaskCounts(
            total=sum(c.total for c in counts),
            running=sum(c.running for c in counts),
            finished=sum(c.finished for c in counts),
        )

    @property
    def attempt_ms(self) -> int:
        """When the job last began to run: what tells one attempt from the next. Counts start from zero with it.

        Vertices of a batch job start one after another within one attempt. Before the job runs, its submission.
        """
        return self.timestamps.get(FlinkState.RUNNING.value) or self.start_ms or 0

    @property
    def degraded(self) -> bool:
        """The job is running, though not with all of its subtasks: Flink calls that RUNNING too."""
        return self.state is FlinkState.RUNNING and self.tasks.at_work < self.tasks.total

    @property
    def complete(self) -> bool:
        """All subtasks of all vertices have reported: what the details of an ended job must be to be final."""
        return all(vertex.metrics.complete for vertex in self.vertices)

    @classmethod
    def parse(cls, answer: object) -> JobDetails:
        """Reads the answer.

        Raises:
            MalformedAnswer: there is no id, no state, or no list of vertices.
        """
        told = fields.object_of(answer, "the job")
        jid, state = fields.text(told, "jid"), fields.text(told, "state")
        if not is_flink_id(jid) or not state:
            raise fields.MalformedAnswer("the job has no id or no state")
        fields.list_of(told.get("vertices"), "the job's list of vertices")
        inputs = _inputs(fields.member(told, "plan"))
        timestamps = fields.member(told, "timestamps")
        return cls(
            jid=jid.lower(),
            name=fields.text(told, "name"),
            state=FlinkState.of(state),
            state_text=state,
            start_ms=fields.moment(told, "start-time"),
            end_ms=fields.moment(told, "end-time"),
            duration_ms=fields.duration(told, "duration"),
            now_ms=fields.moment(told, "now"),
            timestamps={key: at for key in timestamps if (at := fields.moment(timestamps, key)) is not None},
            vertices=tuple(_vertex(entry, inputs) for entry in fields.members(told, "vertices")),
        )


def _inputs(plan: fields.JsonObject) -> dict[str, tuple[str, ...]]:
    return {
        fields.text(node, "id"): tuple(fields.text(source, "id") for source in fields.members(node, "inputs"))
        for node in fields.members(plan, "nodes")
    }


def _vertex(told: fields.JsonObject, inputs: Mapping[str, tuple[str, ...]]) -> Vertex:
    id = fields.text(told, "id")
    return Vertex(
        id=id,
        name=fields.text(told, "name"),
        parallelism=fields.integer(told, "parallelism") or 0,
        status=fields.text(told, "status"),
        start_ms=fields.moment(told, "start-time"),
        end_ms=fields.moment(told, "end-time"),
        duration_ms=fields.duration(told, "duration"),
        tasks=parse_tasks(fields.member(told, "tasks")),
        metrics=_metrics(fields.member(told, "metrics")),
        inputs=inputs.get(id),
    )


def _metrics(told: fields.JsonObject) -> VertexMetrics:
    def counted(key: str) -> int | None:
        return fields.duration(told, key) if told.get(f"{key}-complete") is True else None

    # The times have no flag of their own; they are fetched with the counts.
    fetched = told.get("read-records-complete") is True and told.get("write-records-complete") is True

    def time(key: str) -> int | None:
        return fields.duration(told, key) if fetched else None

    return VertexMetrics(
        read_records=counted("read-records"),
        write_records=counted("write-records"),
        read_bytes=counted("read-bytes"),
        write_bytes=counted("write-bytes"),
        back_pressured_ms=time("accumulated-backpressured-time"),
        idle_ms=time("accumulated-idle-time"),
        busy_ms=time("accumulated-busy-time"),
    )
