"""Aggregating metrics of many subjects over calendar windows."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from streamgauge_server.model.clock import MIN_MICROS, Clock
from streamgauge_server.model.entities import READ_SCOPE, Caller, MetricDescriptor
from streamgauge_server.model.errors import Violation, invalid
from streamgauge_server.model.limits import Limits
from streamgauge_server.model.names import SubjectName, metric_list_problems, parse_subject, subject_list_problems
from streamgauge_server.model.values import NUMERIC, Aggregate, CounterMode, MetricKind, SubjectKind
from streamgauge_server.model.windows import Window
from streamgauge_server.services.auth import require_scope
from streamgauge_server.services.block_reader import BlockReader, compute
from streamgauge_server.services.descriptor_rules import aggregate_problem, allowed_of
from streamgauge_server.services.descriptors import Descriptors
from streamgauge_server.services.time_ranges import range_problem, resolve_range, window_problem
from streamgauge_server.services.value_times import ValueTimes, time_columns
from streamgauge_server.services.window_values import WindowValues, readings_of, window_columns, window_seconds
from streamgauge_server.storage.damage_log import Damage
from streamgauge_server.storage.store import Store
from streamgauge_server.timeseries.damage import DamagedPart
from streamgauge_server.timeseries.durations import ValueTime
from streamgauge_server.timeseries.query import WindowStats, WindowTable

MAX_WINDOW_COUNT = 10_000


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked. Times in microseconds, None for the default; without a window the range is one.

    `start_field`, `end_field` and `window_field` are what the caller's request calls range and window, for errors.
    """

    subjects: Sequence[str]
    metrics: Sequence[str] = ()
    start: int | None = None
    end: int | None = None
    window: Window | None = None
    aggregates: Sequence[Aggregate] = ()
    mode: CounterMode = CounterMode.INCREASE
    by_part: bool = False
    start_field: str = "time_range.start_time"
    end_field: str = "time_range.end_time"
    window_field: str = "window"


@dataclass(frozen=True, slots=True)
class RangeSummary:
    """What a whole range says of one metric beside its value: samples, their first and last moment, resets bridged."""

    sample_count: int = 0
    first_time: int | None = None
    last_time: int | None = None
    reset_count: int = 0


@dataclass(frozen=True, slots=True)
class Series:
    """The answer for one subject or part; `summaries` by metric name, only where the range is one window."""

    subject: SubjectName
    part: str
    columns: Sequence[WindowValues]
    summaries: Mapping[str, RangeSummary]


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a question: the range and the bounds of the windows as resolved, and one series per subject."""

    start: int
    end: int
    bounds: Sequence[int]
    series: Sequence[Series]
    unknown: Sequence[SubjectName]


class MetricsQuery:
    """Answers questions; one instance serves all callers."""

    def __init__(
        self, store: Store, clock: Clock, limits: Limits, descriptors: Descriptors, blocks: BlockReader
    ) -> None:
        self._store = store
        self._clock = clock
        self._limits = limits
        self._descriptors = descriptors
        self._blocks = blocks
        self._times = ValueTimes(store, blocks)

    async def query(self, caller: Caller, question: Question) -> Answer:
        """Answers a question.

        Raises:
            DomainError: SCOPE_MISSING, INVALID_FIELD, INVALID_TIME_RANGE, TOO_MANY_WINDOWS, AGGREGATE_NOT_ALLOWED,
                STORE_UNAVAILABLE.
        """
        subjects = [name for subject in question.subjects if (name := parse_subject(subject)) is not None]
        for kind in {subject.kind for subject in subjects}:
            require_scope(caller, READ_SCOPE[kind])
        if problems := self.problems(question):
            raise invalid(problems)
        start, end = resolve_range(self._clock, question.start, question.end)
        bounds = [start, end] if question.window is None else question.window.bounds(start, end)
        named = await self._named(caller, question, subjects)
        parts = await self._store.subjects.parts(caller.tenant, subjects)
        kinds = {subject.kind for subject in parts}

        async def counters_among(metrics: Collection[int]) -> list[int]:
            known = [await self._descriptors.by_id(caller.tenant, kind, metrics) for kind in kinds]
            return [i for i in metrics if any(i in by_id and by_id[i].kind == MetricKind.COUNTER for by_id in known)]

        cumulative = question.mode == CounterMode.CUMULATIVE and not question.aggregates
        tables = await self._blocks.tables(
            [subject_id for by_part in parts.values() for subject_id in by_part.values()],
            MIN_MICROS if cumulative else start,
            end,
            [MIN_MICROS, start, *bounds[1:]] if cumulative else bounds,
            metrics=None if named is None else [d.id for by_name in named.values() for d in by_name.values()],
            counters_among=None if cumulative else counters_among,
        )
        times: Mapping[int, ValueTimesByMetric] = {}
        if Aggregate.TIME_IN_VALUE in question.aggregates:
            until = min(end, self._clock.now())
            times = await self._value_times(caller.tenant, parts, named, bounds, start, until)
        seconds = window_seconds(bounds, start, end)
        groups: list[_Group] = []
        for subject in subjects:
            if subject in parts:
                of_subject = {
                    part: _PartData(i, tables[i], times.get(i, {})) for part, i in sorted(parts[subject].items())
                }
                descriptors = await self._descriptors_of(caller.tenant, subject.kind, of_subject.values(), named)
                by_part = _by_part(of_subject) if question.by_part else {"": of_subject}
                groups.extend(_Group(subject, part, data, descriptors) for part, data in by_part.items())

        def combine() -> list[Series]:
            return [_series(group, question, seconds, shifted=cumulative) for group in groups]

        series = await compute(combine, windows=len(bounds) * len(groups))
        unknown = [subject for subject in subjects if subject not in parts]
        return Answer(start, end, bounds, series, unknown)

    def problems(self, question: Question) -> list[Violation]:
        """Returns what is wrong with a question, as far as that can be told without its metrics."""
        found = subject_list_problems(question.subjects, self._limits.max_subjects_per_query)
        found.extend(metric_list_problems(question.metrics))
        window, field = question.window, question.window_field
        if window is not None and not 1 <= window.count <= MAX_WINDOW_COUNT:
            found.append(Violation(f"{field}.count", f"must be 1 to {MAX_WINDOW_COUNT}, is {window.count}"))
            window = None
        start, end = resolve_range(self._clock, question.start, question.end)
        problem = range_problem(start, end, question.start_field, question.end_field)
        if problem is None and window is not None:
            problem = window_problem(window, start, end, field, self._limits.max_windows)
        if problem is not None:
            found.append(problem)
        return found

    async def _named(
        self, caller: Caller, question: Question, subjects: Sequence[SubjectName]
    ) -> dict[SubjectKind, dict[str, MetricDescriptor]] | None:
        """Returns the descriptors of the metrics that the question names, None when it names none."""
        if not question.metrics:
            return None
        named: dict[SubjectKind, dict[str, MetricDescriptor]] = {}
        for kind in {subject.kind for subject in subjects}:
            known = await self._descriptors.by_name(caller.tenant, kind, question.metrics)
            named[kind] = {metric: known[metric] for metric in question.metrics if metric in known}
        problems = [
            problem
            for by_name in named.values()
            for descriptor in by_name.values()
            for position, aggregate in enumerate(question.aggregates)
            if (problem := aggregate_problem(f"aggregates[{position}]", aggregate, descriptor)) is not None
        ]
        if problems:
            raise invalid(problems)
        return named

    async def _value_times(
        self,
        tenant: str,
        parts: Mapping[SubjectName, Mapping[str, int]],
        named: Mapping[SubjectKind, Mapping[str, MetricDescriptor]] | None,
        bounds: Sequence[int],
        start: int,
        end: int,
    ) -> Mapping[int, ValueTimesByMetric]:
        """Returns how long the values of metrics stood that have TIME_IN_VALUE, of each part by subject id.

        Of the metrics named, or of all that a part ever had: one without a sample in the range stands all the same.
        """
        wanted: dict[int, set[int]] = {}
        for subject, rows in (await self._store.blocks.latest(tenant, list(parts))).items():
            ids = {metric for row in rows.values() for metric in row.samples}
            known = await self._descriptors.by_id(tenant, subject.kind, ids)
            told = {metric for metric in ids & known.keys() if Aggregate.TIME_IN_VALUE in allowed_of(known[metric])}
            if named is not None:
                told &= {descriptor.id for descriptor in named[subject.kind].values()}
            wanted |= {row.subject_id: told & row.samples.keys() for row in rows.values()}
        return await self._times.read(wanted, bounds, start, end)

    async def _descriptors_of(
        self,
        tenant: str,
        kind: SubjectKind,
        parts: Collection[_PartData],
        named: Mapping[SubjectKind, Mapping[str, MetricDescriptor]] | None,
    ) -> list[MetricDescriptor]:
        """Returns what the answer for a subject holds: the metrics named, or all that it has in the range."""
        if named is not None:
            return list(named[kind].values())
        ids = {metric for part in parts for metric in (*part.table.metrics, *part.times)}
        known = await self._descriptors.by_id(tenant, kind, ids)
        if ids - known.keys():
            lacking = [part.id for part in parts if not known.keys() >= {*part.table.metrics, *part.times}]
            await self._store.damage.note([Damage(DamagedPart.METRICS, id_) for id_ in lacking])
        return sorted((known[i] for i in ids & known.keys()), key=lambda descriptor: descriptor.metric)


ValueTimesByMetric: TypeAlias = Mapping[int, Sequence[ValueTime]]


@dataclass(frozen=True, slots=True)
class _PartData:
    """What was read of one part, by id: statistics over windows, and how long values stood where that was asked for."""

    id: int
    table: WindowTable
    times: ValueTimesByMetric

    def has_samples(self) -> bool:
        """Tells whether there is anything to answer."""
        return bool(self.table.metrics or self.times)


def _by_part(parts: Mapping[str, _PartData]) -> dict[str, dict[str, _PartData]]:
    """Groups parts so that each is answered by itself; the subject as a whole is no part if it has no samples."""
    return {part: {part: data} for part, data in parts.items() if part or data.has_samples() or len(parts) == 1}


@dataclass(frozen=True, slots=True)
class _Group:
    """What one series is made of: the data of a subject's parts, or of one of them, and the metrics to answer."""

    subject: SubjectName
    part: str
    parts: Mapping[str, _PartData]
    descriptors: Sequence[MetricDescriptor]


def _series(
    group: _Group,
    question: Question,
    seconds: np.ndarray[tuple[int], np.dtype[np.float64]],
    *,
    shifted: bool,
) -> Series:
    """Makes the columns of one subject or part.

    `shifted` tables have one window more in front, the history that cumulative readings begin with.
    """
    columns: list[WindowValues] = []
    summaries: dict[str, RangeSummary] = {}
    for descriptor in group.descriptors:
        stats = [part.table.all_stats(descriptor.id) for part in group.parts.values()]
        of_range = [[s.after_first() for s in part] for part in stats] if shifted else stats
        default = descriptor.summary_aggregate if question.window is None else descriptor.window_aggregate
        for reading in readings_of(descriptor, question.aggregates, question.mode, default):
            if reading.aggregate not in allowed_of(descriptor):
                continue
            if reading.aggregate == Aggregate.TIME_IN_VALUE:
                times = [part.times.get(descriptor.id, ()) for part in group.parts.values()]
                columns.extend(time_columns(descriptor, times, len(seconds)))
            else:
                of_reading = stats if reading.cumulative else of_range
                columns.extend(window_columns(descriptor, reading, of_reading, seconds))
        if question.window is None:
            flat = [s for part in of_range for s in part]
            summaries[descriptor.metric] = _summary(flat, counter=descriptor.kind == MetricKind.COUNTER)
    return Series(group.subject, group.part, columns, summaries)


def _summary(stats: Sequence[WindowStats], *, counter: bool) -> RangeSummary:
    present = [s for s in stats if s.present[0]]
    if not present:
        return RangeSummary()
    return RangeSummary(
        sum(int(s.count[0]) for s in present),
        min(int(s.first_time[0]) for s in present),
        max(int(s.last_time[0]) for s in present),
        sum(int(s.resets[0]) for s in present if s.type in NUMERIC) if counter else 0,
    )
