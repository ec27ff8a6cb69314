"""The metrics of one source in three answers: time series, summary of a range, latest values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from streamgauge_server.model.clock import Clock, from_datetime
from streamgauge_server.model.entities import Caller, MetricDescriptor
from streamgauge_server.model.errors import DomainError, Reason, Violation, invalid
from streamgauge_server.model.names import SubjectName, metric_list_problems
from streamgauge_server.model.source_catalog import SOURCE_METRICS
from streamgauge_server.model.values import CounterMode, SubjectKind, TimeType
from streamgauge_server.model.windows import Window, WindowUnit
from streamgauge_server.services.auth import require_scope
from streamgauge_server.services.descriptors import Descriptors
from streamgauge_server.services.latest import LatestMetric, LatestReader, SamplesByMetric, combine
from streamgauge_server.services.metrics_query import MetricsQuery, Question, RangeSummary
from streamgauge_server.services.sources import READ
from streamgauge_server.services.time_ranges import range_problem, resolve_range
from streamgauge_server.services.window_values import WindowValues
from streamgauge_server.storage.store import Store

MAX_INTERVAL = 10_000
EVERY_METRIC = "*"
START_FIELD, END_FIELD = "timestamp_from", "timestamp_to"

BUILT_IN = tuple(metric.metric for metric in SOURCE_METRICS)
_BUILT_IN_NAMES = frozenset(BUILT_IN)
IN_TIMESERIES = tuple(metric.metric for metric in SOURCE_METRICS if metric.in_timeseries)

LATENCY, LAG = "latency", "StreamingMilliSecondsBehindSource"
SNAPSHOT_COMPLETED, SNAPSHOT_STATE, SNAPSHOT_STATUS = "SnapshotCompleted", "snapshotState", "snapshotStatus"
SNAPSHOT_SUBMIT_TIME = "snapshotSubmitTime"
"""Text metric beside `snapshotStatus` in a topic's part: when a user asked for the snapshot, by ISO 8601."""


@dataclass(frozen=True, slots=True)
class SourceMetricsQuestion:
    """What is asked about a source; times in microseconds, None for the default."""

    source_id: str
    time_type: TimeType = TimeType.TIMESERIES
    interval: int = 1
    unit: WindowUnit = WindowUnit.HOUR
    start: int | None = None
    end: int | None = None
    metrics: Sequence[str] = ()
    mode: CounterMode = CounterMode.INCREASE


@dataclass(frozen=True, slots=True)
class TopicSnapshot:
    """Where the snapshot of one topic stands."""

    status: str
    topic_id: str
    submit_time: int | None
    time: int


@dataclass(frozen=True, slots=True)
class SourceMetricsAnswer:
    """The answer; the members of other time types are empty. `descriptors` are of all metrics in the answer."""

    time_type: TimeType
    window: Window
    start: int = 0
    end: int = 0
    descriptors: Sequence[MetricDescriptor] = ()
    bounds: Sequence[int] = ()
    timeseries: Sequence[WindowValues] = ()
    timesummary: Sequence[tuple[WindowValues, RangeSummary]] = ()
    latest: Sequence[tuple[MetricDescriptor, LatestMetric | None]] = ()
    snapshot_status: Sequence[TopicSnapshot] = ()


class SourceMetrics:
    """Answers questions about sources; one instance serves all callers."""

    def __init__(
        self, store: Store, clock: Clock, descriptors: Descriptors, query: MetricsQuery, latest: LatestReader
    ) -> None:
        self._store = store
        self._clock = clock
        self._descriptors = descriptors
        self._query = query
        self._latest = latest

    async def get(self, caller: Caller, question: SourceMetricsQuestion) -> SourceMetricsAnswer:
        """Returns the metrics of one source.

        Raises:
            DomainError: SCOPE_MISSING, INVALID_FIELD, INVALID_TIME_RANGE, TOO_MANY_WINDOWS, SOURCE_NOT_FOUND.
        """
        require_scope(caller, READ)
        if problems := self.problems(question):
            raise invalid(problems)
        if question.time_type == TimeType.LATEST:
            return await self._get_latest(caller, question)
        return await self._get_range(caller, question)

    def problems(self, question: SourceMetricsQuestion) -> list[Violation]:
        """Returns what is wrong with a question. The latest values have no range, so nothing can be wrong with it."""
        found = metric_list_problems(question.metrics)
        if not 1 <= question.interval <= MAX_INTERVAL:
            found.append(Violation("time_interval", f"must be 1 to {MAX_INTERVAL}, is {question.interval}"))
        if question.time_type != TimeType.LATEST:
            start, end = resolve_range(self._clock, question.start, question.end)
            if problem := range_problem(start, end, START_FIELD, END_FIELD):
                found.append(problem)
        return found

    async def _get_range(self, caller: Caller, question: SourceMetricsQuestion) -> SourceMetricsAnswer:
        window = Window(question.unit, question.interval)
        series = question.time_type == TimeType.TIMESERIES
        every = EVERY_METRIC in question.metrics
        wanted = () if every else tuple(dict.fromkeys(question.metrics)) or IN_TIMESERIES
        answer = await self._query.query(
            caller,
            Question(
                subjects=[f"sources/{question.source_id}"],
                metrics=(*wanted, LAG) if LATENCY in wanted and LAG not in wanted else wanted,
                start=question.start,
                end=question.end,
                window=window if series else None,
                mode=question.mode,
                start_field=START_FIELD,
                end_field=END_FIELD,
                window_field="time_interval",
            ),
        )
        if answer.unknown:
            raise source_not_found(question.source_id)
        columns = {column.descriptor.metric: column for one in answer.series for column in one.columns}
        summaries = {metric: summary for one in answer.series for metric, summary in one.summaries.items()}
        names = wanted or sorted(columns, key=_catalog_order)
        descriptors = await self._known(caller, names)
        if LATENCY in columns and LAG in columns and not len(columns[LATENCY].values):
            columns[LATENCY] = replace(columns[LAG], descriptor=descriptors[LATENCY])
            summaries[LATENCY] = summaries.get(LAG, RangeSummary())
        listed = [descriptors[name] for name in names if name in columns]
        return SourceMetricsAnswer(
            question.time_type,
            window,
            answer.start,
            answer.end,
            listed,
            answer.bounds if series else (),
            [columns[d.metric] for d in listed] if series else (),
            () if series else [(columns[d.metric], summaries[d.metric]) for d in listed],
        )

    async def _get_latest(self, caller: Caller, question: SourceMetricsQuestion) -> SourceMetricsAnswer:
        subject = SubjectName(SubjectKind.SOURCE, question.source_id)
        rows = await self._store.blocks.latest(caller.tenant, [subject])
        parts = rows.get(subject)
        if parts is None:
            raise source_not_found(question.source_id)
        samples = await self._latest.samples(caller.tenant, subject.kind, parts, mode=question.mode)
        if question.metrics and EVERY_METRIC not in question.metrics:
            names: Sequence[str] = tuple(dict.fromkeys(question.metrics))
        else:
            names = (*BUILT_IN, *sorted(samples.keys() - _BUILT_IN_NAMES))
        descriptors = await self._known(caller, names)
        latest = [
            (descriptor, _latest_of(descriptor, samples, question.mode))
            for name in names
            if (descriptor := descriptors.get(name)) is not None
        ]
        return SourceMetricsAnswer(
            TimeType.LATEST,
            Window(question.unit, question.interval),
            descriptors=[descriptor for descriptor, _ in latest],
            latest=latest,
            snapshot_status=_snapshot_status(samples) if SNAPSHOT_STATUS in names else (),
        )

    async def _known(self, caller: Caller, names: Sequence[str]) -> Mapping[str, MetricDescriptor]:
        return await self._descriptors.by_name(caller.tenant, SubjectKind.SOURCE, names)


def source_not_found(source_id: str) -> DomainError:
    """The error of a source that does not exist for the tenant."""
    name = f"sources/{source_id}"
    return DomainError(Reason.SOURCE_NOT_FOUND, f"there is no source {name}", metadata={"name": name})


def _catalog_order(metric: str) -> tuple[int, str]:
    return (BUILT_IN.index(metric) if metric in BUILT_IN else len(BUILT_IN), metric)


def _latest_of(descriptor: MetricDescriptor, samples: SamplesByMetric, mode: CounterMode) -> LatestMetric | None:
    """Returns the latest value of a metric with what Debezium forgets put back.

    A completed snapshot stays completed after a restart, where the bean says "not completed, skipped", and `latency`
    is the lag behind the source where it is not written (spec, tables 3.1 and 3.2).
    """
    name = descriptor.metric
    if name == LATENCY and name not in samples and LAG in samples:
        lag = combine(samples[LAG][0], samples[LAG][1], mode)
        return None if lag is None else lag._replace(descriptor=descriptor)
    if name not in samples:
        return None
    by_part = samples[name][1]
    if name == SNAPSHOT_COMPLETED and mode != CounterMode.RAW:
        remembered = {part: sample._replace(value=bool(sample.lifetime)) for part, sample in by_part.items()}
        completed = combine(descriptor, remembered, mode)
        written = combine(descriptor, by_part, mode)
        return completed if completed is None or written is None else completed._replace(raw=written.raw)
    latest = combine(descriptor, by_part, mode)
    if latest is not None and name == SNAPSHOT_STATE and latest.value == "skipped" and mode != CounterMode.RAW:
        completed = _latest_of(samples[SNAPSHOT_COMPLETED][0], samples, mode) if SNAPSHOT_COMPLETED in samples else None
        if completed is not None and completed.value:
            return latest._replace(value="completed")
    return latest


def _snapshot_status(samples: SamplesByMetric) -> list[TopicSnapshot]:
    """Returns the snapshot status of every topic: the union over the parts that name one."""
    if SNAPSHOT_STATUS not in samples:
        return []
    submitted = samples[SNAPSHOT_SUBMIT_TIME][1] if SNAPSHOT_SUBMIT_TIME in samples else {}
    by_topic: dict[str, TopicSnapshot] = {}
    for part, sample in samples[SNAPSHOT_STATUS][1].items():
        topic = topic_of(part)
        known = by_topic.get(topic)
        if known is None or known.time < sample.time:
            asked = submitted.get(part)
            by_topic[topic] = TopicSnapshot(
                str(sample.value), topic, None if asked is None else _parse_time(str(asked.value)), sample.time
            )
    return [by_topic[topic] for topic in sorted(by_topic)]


def topic_of(part: str) -> str:
    """Returns the topic that a part names by `topic=` as its last entry, or the part itself."""
    _, found, topic = f",{part}".partition(",topic=")
    return topic if found else part


def _parse_time(text: str) -> int | None:
    """Returns an ISO 8601 moment in microseconds, None when it is none or has no offset."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return None if moment.tzinfo is None else from_datetime(moment)
