"""Latest values: the newest sample of every metric, parts combined, counters as lifetime totals across resets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from streamgauge_server.model.entities import READ_SCOPE, Caller, MetricDescriptor
from streamgauge_server.model.errors import Violation, invalid
from streamgauge_server.model.limits import Limits
from streamgauge_server.model.names import SubjectName, metric_list_problems, parse_subject, subject_list_problems
from streamgauge_server.model.values import (
    CounterMode,
    MetricKind,
    PartCombination,
    Scalar,
    SubjectKind,
    ValueType,
    combination_of,
    sample_class,
    type_of,
)
from streamgauge_server.services.auth import require_scope
from streamgauge_server.services.block_reader import BlockReader
from streamgauge_server.services.descriptors import Descriptors
from streamgauge_server.storage.blocks import LatestRow
from streamgauge_server.storage.damage_log import Damage
from streamgauge_server.storage.store import Store
from streamgauge_server.timeseries.damage import DamagedPart
from streamgauge_server.timeseries.frame import UNKNOWN_START
from streamgauge_server.timeseries.latest import LatestSample


class LatestMetric(NamedTuple):
    """The newest value of one metric. `raw` is the sample as written, None where several parts made the value."""

    descriptor: MetricDescriptor
    value: Scalar
    raw: Scalar | None
    time: int
    start: int | None


SamplesByMetric: TypeAlias = Mapping[str, tuple[MetricDescriptor, Mapping[str, LatestSample]]]
"""The newest samples of a subject by metric name, then by part."""


@dataclass(frozen=True, slots=True)
class SubjectLatest:
    """The newest values of one subject or part, by metric name."""

    subject: SubjectName
    part: str
    metrics: Mapping[str, LatestMetric]


class LatestReader:
    """Reads the latest values of many subjects; one instance serves all callers."""

    def __init__(self, store: Store, limits: Limits, descriptors: Descriptors, blocks: BlockReader) -> None:
        self._store = store
        self._limits = limits
        self._descriptors = descriptors
        self._blocks = blocks

    async def read(
        self,
        caller: Caller,
        subjects: Sequence[str],
        *,
        metrics: Sequence[str] = (),
        mode: CounterMode = CounterMode.INCREASE,
        by_part: bool = False,
    ) -> tuple[list[SubjectLatest], list[SubjectName]]:
        """Returns the latest values in the order of `subjects`, and those subjects that do not exist.

        Without `metrics` the answer has every metric of the subjects.

        Raises:
            DomainError: SCOPE_MISSING, INVALID_FIELD, STORE_UNAVAILABLE.
        """
        names = [name for subject in subjects if (name := parse_subject(subject)) is not None]
        for kind in {name.kind for name in names}:
            require_scope(caller, READ_SCOPE[kind])
        if problems := self.problems(subjects, metrics):
            raise invalid(problems)
        rows = await self._store.blocks.latest(caller.tenant, names)
        only = frozenset(metrics)
        answers: list[SubjectLatest] = []
        for subject in names:
            parts = rows.get(subject)
            if parts is None:
                continue
            samples = await self.samples(caller.tenant, subject.kind, parts, mode=mode)
            wanted = [pair for metric, pair in sorted(samples.items()) if not only or metric in only]
            if by_part:
                answers.extend(
                    SubjectLatest(
                        subject,
                        part,
                        {
                            d.metric: combined
                            for d, by in wanted
                            if part in by and (combined := combine(d, {part: by[part]}, mode, union=True)) is not None
                        },
                    )
                    for part in sorted(parts)
                    if part or len(parts) == 1 or parts[part].samples
                )
            else:
                combined_by_name = {
                    d.metric: combined for d, by in wanted if (combined := combine(d, by, mode)) is not None
                }
                answers.append(SubjectLatest(subject, "", combined_by_name))
        return answers, [subject for subject in names if subject not in rows]

    def problems(self, subjects: Sequence[str], metrics: Sequence[str]) -> list[Violation]:
        """Returns what is wrong with the subjects and metrics that a read names."""
        return [
            *subject_list_problems(subjects, self._limits.max_subjects_per_query),
            *metric_list_problems(metrics),
        ]

    async def samples(
        self, tenant: str, kind: SubjectKind, parts: Mapping[str, LatestRow], *, mode: CounterMode
    ) -> SamplesByMetric:
        """Returns the samples of a subject with known lifetimes, unless the mode needs none."""
        by_metric: dict[int, dict[str, LatestSample]] = {}
        for part, row in parts.items():
            for metric_id, sample in row.samples.items():
                by_metric.setdefault(metric_id, {})[part] = sample
        descriptors = await self._descriptors.by_id(tenant, kind, by_metric)
        if lacking := by_metric.keys() - descriptors.keys():
            ids = [row.subject_id for row in parts.values() if lacking & row.samples.keys()]
            await self._store.damage.note([Damage(DamagedPart.METRICS, id_) for id_ in ids])
            by_metric = {metric: by_metric[metric] for metric in by_metric.keys() - lacking}
        if mode != CounterMode.RAW:
            await self._complete(parts, by_metric, descriptors)
        return {(descriptor := descriptors[i]).metric: (descriptor, by) for i, by in by_metric.items()}

    async def _complete(
        self,
        parts: Mapping[str, LatestRow],
        by_metric: Mapping[int, dict[str, LatestSample]],
        descriptors: Mapping[int, MetricDescriptor],
    ) -> None:
        """Computes the lifetimes that late or overwritten samples have made unknown, and stores them."""
        for part, row in parts.items():
            unknown = [
                metric_id
                for metric_id, sample in row.samples.items()
                if sample.lifetime is None
                and metric_id in descriptors
                and _needs_lifetime(descriptors[metric_id], sample)
            ]
            if not unknown:
                continue
            lifetimes, complete = await self._blocks.lifetimes(row.subject_id, unknown)
            for metric_id, lifetime in lifetimes.items():
                sample = row.samples[metric_id]
                by_metric[metric_id][part] = sample._replace(lifetime=lifetime)
            if complete:  # otherwise every reader is to be told what it lacks
                await self._store.blocks.set_lifetimes(row.subject_id, row.version, lifetimes)


def _needs_lifetime(descriptor: MetricDescriptor, sample: LatestSample) -> bool:
    """Tells whether a lifetime means something: the total of a counter, or whether a boolean metric was ever true."""
    if descriptor.kind == MetricKind.COUNTER:
        return _is_number(sample.value)
    return descriptor.value_type == ValueType.BOOL


def _is_number(value: Scalar) -> bool:
    return type(value) is int or type(value) is float


def combine(
    descriptor: MetricDescriptor, by_part: Mapping[str, LatestSample], mode: CounterMode, *, union: bool = False
) -> LatestMetric | None:
    """Returns the value of a subject from the samples of its parts, None for UNION, which has no single value.

    Of parts that hold a number, a boolean and a text the one with the newest sample stands, whatever the combination.
    """
    counter = descriptor.kind == MetricKind.COUNTER and mode != CounterMode.RAW
    union_of_parts = descriptor.part_combination == PartCombination.UNION
    if len(by_part) == 1:
        (newest,) = by_part.values()
        if union_of_parts and not union:
            return None
        return LatestMetric(descriptor, _value(newest, counter), newest.value, newest.time, _known(newest.start))
    if union_of_parts:
        return None
    # Of several newest ones the last part by name stands, as in windows.
    newest = by_part[max(by_part, key=lambda part: (by_part[part].time, part))]
    combination = combination_of(descriptor.part_combination, type_of(newest.value))
    if combination == PartCombination.LAST or _differ(by_part.values()):
        return LatestMetric(descriptor, _value(newest, counter), newest.value, newest.time, _known(newest.start))
    # In the order of their names, so that of equal words the same one stands every time.
    values = [_value(by_part[part], counter) for part in sorted(by_part)]
    return LatestMetric(descriptor, combine_values(descriptor, values), None, newest.time, _known(newest.start))


def _value(sample: LatestSample, counter: bool) -> Scalar:
    return sample.lifetime if counter and sample.lifetime is not None and _is_number(sample.value) else sample.value


def _differ(samples: Iterable[LatestSample]) -> bool:
    return len({sample_class(type_of(sample.value)) for sample in samples}) > 1


def _known(start: int) -> int | None:
    return None if start == UNKNOWN_START else start


def combine_values(descriptor: MetricDescriptor, values: Iterable[Scalar]) -> Scalar:
    """Combines the values of several parts by the descriptor's SUM, MAX, MIN or WORST."""
    combination = descriptor.part_combination
    if combination == PartCombination.WORST:
        rank = {state: position for position, state in enumerate(descriptor.state_order)}
        return max(values, key=lambda value: rank.get(str(value), -1))
    numbers = [value for value in values if not isinstance(value, str)]
    if combination == PartCombination.MAX:
        return max(numbers)
    if combination == PartCombination.MIN:
        return min(numbers)
    return sum(numbers)
