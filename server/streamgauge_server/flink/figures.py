"""The figures of a job out of what Flink tells: pure functions. What is not known yet is absent, never zero."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field

from streamgauge_server.flink import catalog, operators
from streamgauge_server.flink.catalog import JobMetric, Origin, Reduction
from streamgauge_server.flink.fields import MAX_INT64, MIN_INT64
from streamgauge_server.flink.job_details import JobDetails, Vertex
from streamgauge_server.flink.metric_values import Aggregate, whole
from streamgauge_server.model import job_catalog

_NO_VALUE = -1
"""What gauges of a job report while there is nothing to report: no checkpoint yet, a job that has ended."""

_PICK: Mapping[Reduction, Callable[[Aggregate], float | None]] = {
    Reduction.MIN: lambda aggregate: aggregate.min,
    Reduction.MAX: lambda aggregate: aggregate.max,
    Reduction.SUM: lambda aggregate: aggregate.sum,
}
_REDUCE: Mapping[Reduction, Callable[[Iterable[float]], float]] = {
    Reduction.MIN: min,
    Reduction.MAX: max,
    Reduction.SUM: sum,
}


@dataclass(frozen=True, slots=True)
class Questions:
    """What to ask about one vertex: `aggregates` by metric names, `values` by ids (`<subtask>.<metric name>`)."""

    aggregates: tuple[str, ...]
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Readings:
    """What Flink answered about one vertex: `names` of its metrics, and the answers to the questions."""

    names: frozenset[str] = frozenset()
    aggregates: Mapping[str, Aggregate] = field(default_factory=dict)
    values: Mapping[str, str] = field(default_factory=dict)


def questions(details: JobDetails, names: Mapping[str, Collection[str]]) -> dict[str, Questions]:
    """Returns what to ask about which vertices, given the names of their metrics. Asks for none that is not listed.

    Flink answers nothing at all about aggregates when it does not know one of the names.
    """
    asked: dict[str, Questions] = {}
    ends = _ends(details)
    for vertex in details.vertices:
        known = frozenset(names.get(vertex.id, ()))
        wanted = {metric.flink_id for metric in catalog.OF_TASKS if metric.metric != job_catalog.WATERMARK_LAG}
        for metric in catalog.OF_OPERATORS:
            if metric.metric != job_catalog.EVENT_TIME:
                wanted.update(operators.of_operators(metric.flink_id, known))
        if ends is not None and vertex in ends.sinks:
            wanted.update(_watermarks(vertex, known, chained=vertex in ends.sources))
            if vertex in ends.sources:
                wanted.update(operators.source_counts(vertex.name, known), operators.sink_counts(vertex.name, known))
        aggregates = tuple(sorted(wanted & known))
        values = tuple(_subtask_ids(vertex, known))
        if aggregates or values:
            asked[vertex.id] = Questions(aggregates, values)
    return asked


def compute(details: JobDetails, job_metrics: Mapping[str, str], readings: Mapping[str, Readings]) -> dict[str, int]:
    """Returns values by metric name (`catalog.JOB_METRICS`), those that are known.

    Args:
        details: of the job.
        job_metrics: values of `catalog.JOB_METRIC_IDS`, as Flink sends them; empty once the job has ended.
        readings: by vertex id, the answers to `questions`; vertices may be missing.
    """
    found: dict[str, int | None] = {
        job_catalog.RECORDS_READ: _records_read(details, readings),
        job_catalog.RECORDS_PROCESSED: _records_processed(details, readings),
        job_catalog.TASKS_RUNNING: details.tasks.running,
        job_catalog.TASKS_TOTAL: details.tasks.total,
        job_catalog.BACK_PRESSURED_TIME: _total(v.metrics.back_pressured_ms for v in details.vertices),
        job_catalog.BUSY_TIME: _total(v.metrics.busy_ms for v in details.vertices),
        job_catalog.IDLE_TIME: _total(v.metrics.idle_ms for v in details.vertices),
        job_catalog.WATERMARK_LAG: _watermark_lag(details, readings),
        job_catalog.EVENT_TIME: _event_time(details, readings),
    }
    for metric in catalog.OF_JOB:
        value = whole(job_metrics.get(metric.flink_id, ""))
        found[metric.metric] = None if value == _NO_VALUE else value
    for metric in (*catalog.OF_TASKS, *catalog.OF_OPERATORS):
        if metric.metric not in found:
            found[metric.metric] = _reduced(metric, details, readings)
    return {name: value for name, value in found.items() if value is not None}


@dataclass(frozen=True, slots=True)
class _Ends:
    sources: tuple[Vertex, ...]
    sinks: tuple[Vertex, ...]


def _ends(details: JobDetails) -> _Ends | None:
    """Returns the vertices without inputs and those that are nobody's input; None without a plan."""
    if not details.vertices or any(vertex.inputs is None for vertex in details.vertices):
        return None
    used = {id for vertex in details.vertices for id in vertex.inputs or ()}
    return _Ends(
        sources=tuple(vertex for vertex in details.vertices if not vertex.inputs),
        sinks=tuple(vertex for vertex in details.vertices if vertex.id not in used),
    )


def _records_read(details: JobDetails, readings: Mapping[str, Readings]) -> int | None:
    # What crosses the border of the source vertices. Nothing does where a source is chained to its sink: there the
    # source operator's own count is taken.
    ends = _ends(details)
    if ends is None:
        return None

    def of(vertex: Vertex) -> int | None:
        if vertex not in ends.sinks:
            return vertex.metrics.write_records
        answered = readings.get(vertex.id, Readings())
        return _operator_sum(vertex, operators.source_counts(vertex.name, answered.names), answered)

    return _total(of(vertex) for vertex in ends.sources)


def _records_processed(details: JobDetails, readings: Mapping[str, Readings]) -> int | None:
    ends = _ends(details)
    if ends is None:
        return None

    def of(vertex: Vertex) -> int | None:
        if vertex not in ends.sources:
            return vertex.metrics.read_records
        answered = readings.get(vertex.id, Readings())
        return _operator_sum(vertex, operators.sink_counts(vertex.name, answered.names), answered)

    return _total(of(vertex) for vertex in ends.sinks)


def _operator_sum(vertex: Vertex, names: Iterable[str], answered: Readings) -> int | None:
    # An aggregate leaves out subtasks that have not reported, and does not say so. The vertex's own counts, which are
    # fetched with them, do.
    if not vertex.metrics.complete:
        return None
    sums = [answered.aggregates[name].sum if name in answered.aggregates else None for name in names]
    return _total(None if value is None else int(value) for value in sums) if sums else None


def _watermarks(vertex: Vertex, names: frozenset[str], *, chained: bool) -> tuple[str, ...]:
    """Returns the names of the watermarks that the sinks in a vertex see."""
    if not chained:
        return (catalog.INPUT_WATERMARK,) if catalog.INPUT_WATERMARK in names else ()
    counts = operators.sink_counts(vertex.name, names)
    found = (f"{name.rpartition('.')[0]}.{catalog.INPUT_WATERMARK}" for name in counts)
    return tuple(name for name in found if name in names)


def _watermark_lag(details: JobDetails, readings: Mapping[str, Readings]) -> int | None:
    ends = _ends(details)
    if ends is None or details.now_ms is None:
        return None
    seen: list[int] = []
    for vertex in ends.sinks:
        answered = readings.get(vertex.id, Readings())
        for name in _watermarks(vertex, answered.names, chained=vertex in ends.sources):
            aggregate = answered.aggregates.get(name)
            # The extremes stand for no watermark yet, and for the end of the stream.
            if aggregate is None or aggregate.min is None or not MIN_INT64 < aggregate.min < MAX_INT64:
                return None
            seen.append(int(aggregate.min))
    return details.now_ms - min(seen) if seen else None


def _subtask_ids(vertex: Vertex, names: frozenset[str]) -> Iterable[str]:
    for name in operators.of_operators(job_catalog.EVENT_TIME, names):
        for subtask in range(vertex.parallelism):
            yield f"{subtask}.{name}"


def _event_time(details: JobDetails, readings: Mapping[str, Readings]) -> int | None:
    ending = f".{job_catalog.EVENT_TIME}"
    told = (
        whole(value)
        for vertex in details.vertices
        for id, value in readings.get(vertex.id, Readings()).values.items()
        if id.endswith(ending)
    )
    # A gauge that has seen no event reports 0, -1 or the smallest long.
    seen = [value for value in told if value is not None and value > 0]
    return max(seen) if seen else None


def _reduced(metric: JobMetric, details: JobDetails, readings: Mapping[str, Readings]) -> int | None:
    """Returns a metric over all subtasks of all vertices, leaving out those that report no number."""
    found: list[float] = []
    for vertex in details.vertices:
        for name, aggregate in readings.get(vertex.id, Readings()).aggregates.items():
            if not _is(metric, name):
                continue
            if metric.reduction is Reduction.SUM and not vertex.metrics.complete:
                return None
            value = _PICK[metric.reduction](aggregate)
            if value is not None and MIN_INT64 < value < MAX_INT64 and value != _NO_VALUE:
                found.append(value)
    if not found:
        return None
    return round(_REDUCE[metric.reduction](found))


def _is(metric: JobMetric, name: str) -> bool:
    if metric.origin is Origin.TASK:
        return name == metric.flink_id
    return name.endswith("." + metric.flink_id)


def _total(values: Iterable[int | None]) -> int | None:
    """Returns a sum, None if a summand is missing or there are none."""
    counted = list(values)
    known = [value for value in counted if value is not None]
    return sum(known) if counted and len(known) == len(counted) else None
