"""What the columnar engine must equal, in plain Python: samples in dicts, one loop per question, no cleverness."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from itertools import pairwise
from typing import Any, TypeAlias

from streamgauge_server.model.values import Scalar
from streamgauge_server.timeseries.frame import UNKNOWN_START, Frame

Sample: TypeAlias = tuple[Scalar, int]
"""Value and start time."""
Samples: TypeAlias = dict[int, dict[int, Sample]]
"""By metric and moment."""


def samples_of(frame: Frame) -> Samples:
    """Returns the samples of a frame; doubles with the sign of zero, see `exact`."""
    samples: Samples = {}
    for metric, column in frame.columns.items():
        values, starts = column.values.tolist(), frame.starts_of(metric).tolist()
        for row, time in enumerate(frame.times.tolist()):
            if column.present is None or column.present[row]:
                samples.setdefault(metric, {})[time] = (values[row], starts[row])
    return samples


def write(samples: Samples, time: int, start: int, values: Mapping[int, Scalar]) -> None:
    """Adds one observation: it wins over what is there, but does not make a known start time unknown."""
    for metric, value in values.items():
        of_metric = samples.setdefault(metric, {})
        known = start
        if start == UNKNOWN_START and time in of_metric:
            known = of_metric[time][1]
        of_metric[time] = (value, known)


def merged(frames: Iterable[Frame]) -> Samples:
    """Returns the samples of frames written one after the other."""
    merged: Samples = {}
    for frame in frames:
        for metric, of_metric in samples_of(frame).items():
            for time, (value, start) in of_metric.items():
                write(merged, time, start, {metric: value})
    return merged


def exact(samples: Samples) -> list[tuple[int, int, str, int]]:
    """Returns samples in a form that compares without loss: -0.0 differs from 0.0, True from 1, 1.0 from 1."""
    return sorted(
        (metric, time, repr(value), start)
        for metric, of_metric in samples.items()
        for time, (value, start) in of_metric.items()
    )


class Kind(IntEnum):
    """What may be aggregated together."""

    NUMBER = 1
    BOOLEAN = 2
    TEXT = 3


def kind_of(value: Scalar) -> Kind:
    """Returns the kind of a value."""
    return Kind.BOOLEAN if isinstance(value, bool) else Kind.TEXT if isinstance(value, str) else Kind.NUMBER


def by_kind(of_metric: Mapping[int, Sample]) -> dict[Kind, dict[int, Sample]]:
    """Returns the numbers, booleans and texts of a metric apart."""
    kinds: dict[Kind, dict[int, Sample]] = {}
    for time, sample in sorted(of_metric.items()):
        kinds.setdefault(kind_of(sample[0]), {})[time] = sample
    return kinds


@dataclass
class Stats:
    """The statistics of one metric's values of one kind in one window."""

    count: int = 0
    sum: Any = 0
    min: Any = None
    max: Any = None
    first: Any = None
    last: Any = None
    first_time: int = 0
    last_time: int = 0
    increase: Any = 0
    resets: int = 0


Answer: TypeAlias = dict[tuple[int, Kind], dict[int, Stats]]
"""Statistics by metric, kind and window."""


def is_reset(before: Sample, after: Sample) -> bool:
    """The rule: both start times known and different, or a fall."""
    unknown = UNKNOWN_START in (before[1], after[1])
    return (before[1] != after[1] and not unknown) or after[0] < before[0]  # type: ignore[operator]


def windows(samples: Samples, start: int, end: int, bounds: Sequence[int], *, chained: bool) -> Answer:
    """Returns statistics by metric, kind and window.

    `chained` takes the first step of a kind from the last sample of that kind before the range.
    """
    answer: Answer = {}
    for metric, of_metric in samples.items():
        for kind, of_kind in by_kind(of_metric).items():
            before: Sample | None = None
            for time, sample in of_kind.items():
                if time >= end:
                    break
                if start <= time and bounds[0] <= time < bounds[-1]:
                    window = max(i for i, bound in enumerate(bounds) if bound <= time)
                    stats = answer.setdefault((metric, kind), {}).setdefault(window, Stats())
                    _count(stats, time, sample, before)
                elif not chained:
                    continue
                before = sample
    return answer


def _count(stats: Stats, time: int, sample: Sample, before: Sample | None) -> None:
    value = sample[0]
    if not stats.count:
        stats.first, stats.first_time, stats.min, stats.max = value, time, value, value
    stats.count += 1
    stats.last, stats.last_time = value, time
    if isinstance(value, str):
        return
    stats.sum += value
    stats.min, stats.max = min(stats.min, value), max(stats.max, value)
    if before is None:
        return
    if is_reset(before, sample):
        stats.resets += 1
        stats.increase += value
    else:
        stats.increase += value - before[0]  # type: ignore[operator]


def lifetimes(samples: Samples, before: int) -> dict[int, int | float]:
    """Returns the lifetime total of each metric that has a sample before a moment: of its newest sample's kind."""
    totals: dict[int, int | float] = {}
    for metric, of_metric in samples.items():
        history = [sample for time, sample in sorted(of_metric.items()) if time < before]
        if not history:
            continue
        ordered = [sample for sample in history if kind_of(sample[0]) == kind_of(history[-1][0])]
        first = ordered[0][0]
        if isinstance(first, str):
            totals[metric] = 0
        elif isinstance(first, bool):
            totals[metric] = int(any(value for value, _ in ordered))
        else:
            total: Any = first
            for one, other in pairwise(ordered):
                total += other[0] if is_reset(one, other) else other[0] - one[0]  # type: ignore[operator]
            totals[metric] = total
    return totals
