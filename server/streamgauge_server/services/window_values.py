"""From the statistics of parts to the value of a subject: aggregates are picked per part, then parts are combined."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamgauge_server.model.clock import MICROS_PER_SECOND
from streamgauge_server.model.entities import MetricDescriptor
from streamgauge_server.model.values import (
    INT64_MAX,
    INT64_MIN,
    Aggregate,
    CounterMode,
    MetricKind,
    PartCombination,
    Scalar,
    ValueType,
    combination_of,
    computable,
    sample_class,
)
from streamgauge_server.timeseries.frame import Bools
from streamgauge_server.timeseries.query import WindowStats


@dataclass(frozen=True, slots=True)
class Reading:
    """One column to make of a metric.

    With `cumulative` the values are the counter's total since its first sample ever; `aggregate` then is LAST.
    """

    aggregate: Aggregate
    cumulative: bool = False


@dataclass(frozen=True, slots=True)
class WindowValues:
    """One aggregate of one metric over windows.

    `windows` are the indexes of the windows that have a value, rising, as many as `values`; empty where every window
    has one. `type` is the type of the values, `sample_type` that of the samples that they are made of: they differ for
    counts, means and rates. Without samples both are what the metric may hold. `of_value` is the value whose time a
    column of TIME_IN_VALUE tells.
    """

    descriptor: MetricDescriptor
    aggregate: Aggregate
    type: ValueType
    windows: NDArray[np.int64]
    values: NDArray[Any]
    sample_type: ValueType
    of_value: Scalar | None = None


@dataclass(frozen=True, slots=True)
class _Part:
    """One part's values: arrays over the windows; fillers where `present` is false."""

    values: NDArray[Any]
    present: NDArray[np.bool_]
    newest: NDArray[np.int64]


def readings_of(
    descriptor: MetricDescriptor, aggregates: Sequence[Aggregate], mode: CounterMode, default: Aggregate
) -> list[Reading]:
    """Returns the columns to make of a metric: the aggregates asked for, or the default as the mode reads it."""
    if aggregates:
        return [Reading(aggregate) for aggregate in aggregates]
    if descriptor.kind == MetricKind.COUNTER and default in (Aggregate.INCREASE, Aggregate.RATE):
        if mode == CounterMode.CUMULATIVE:
            return [Reading(Aggregate.LAST, cumulative=True)]
        if mode == CounterMode.RAW:
            return [Reading(Aggregate.LAST)]
    return [Reading(default)]


def window_columns(
    descriptor: MetricDescriptor,
    reading: Reading,
    parts: Sequence[Sequence[WindowStats]],
    seconds: NDArray[np.float64],
) -> list[WindowValues]:
    """Returns the columns of a subject: one for its numbers, one for its booleans, one for its texts, as it has them.

    `parts` are the statistics of its parts, each at most one of numbers, one of booleans and one of texts
    (`WindowTable.all_stats`); `seconds` is the length of each window within the range. With a cumulative reading the
    statistics begin with one window more, which holds all history before the range. A subject without samples has one
    empty column, one whose parts have no single value has none.
    """
    parts = [part for part in parts if part]
    if len(parts) > 1 and descriptor.part_combination == PartCombination.UNION:
        return []
    if not parts:
        value_type = _type_of(descriptor.value_type, reading.aggregate)
        return [
            WindowValues(
                descriptor, reading.aggregate, value_type, _NO_WINDOWS, np.empty(0), sample_type=descriptor.value_type
            )
        ]
    by_class: dict[ValueType, list[tuple[WindowStats, Bools | None]]] = {}
    standing = _standing(parts, reading.aggregate) if _one_sample(reading) else None
    for number, part in enumerate(parts):
        for position, stats in enumerate(part):
            stands = None if standing is None else standing[number][position]
            by_class.setdefault(sample_class(stats.type), []).append((stats, stands))
    columns = [
        _column(descriptor, reading, of_class, seconds)
        for of_class in by_class.values()
        if _fits(reading, of_class[0][0].type)
    ]
    return columns if len(by_class) == 1 else [column for column in columns if len(column.values)]


def _one_sample(reading: Reading) -> bool:
    """Tells whether the value of a window is a sample of it."""
    return reading.aggregate in (Aggregate.FIRST, Aggregate.LAST) and not reading.cumulative


def _fits(reading: Reading, sample_type: ValueType) -> bool:
    return computable(Aggregate.INCREASE if reading.cumulative else reading.aggregate, sample_type)


def _standing(parts: Sequence[Sequence[WindowStats]], aggregate: Aggregate) -> list[list[Bools]] | None:
    """Returns the windows in which the first or last sample is of these statistics, by part and then as they come.

    Of parts whose samples are of different classes in a window only the one with the newest sample stands. None where
    all statistics are of one class.
    """
    classes = sorted({sample_class(stats.type) for part in parts for stats in part})
    if len(classes) == 1:
        return None
    of_sample: list[list[Bools]] = []
    newest: list[NDArray[np.int64]] = []
    for part in parts:
        last_times = np.stack([np.where(stats.present, stats.last_time, INT64_MIN) for stats in part])
        if aggregate == Aggregate.LAST:
            chosen = last_times.argmax(axis=0)
        else:
            chosen = np.stack([np.where(stats.present, stats.first_time, INT64_MAX) for stats in part]).argmin(axis=0)
        of_sample.append([stats.present & (chosen == position) for position, stats in enumerate(part)])
        newest.append(last_times.max(axis=0))
    held = [
        np.logical_or.reduce(
            [
                stands
                for part, of_part in zip(parts, of_sample, strict=True)
                for stats, stands in zip(part, of_part, strict=True)
                if sample_class(stats.type) == one
            ]
        )
        for one in classes
    ]
    differ = np.sum(held, axis=0) > 1
    stack = np.stack(newest)
    winner = len(parts) - 1 - stack[::-1].argmax(axis=0)  # of equally new parts the later one
    return [[stands & (~differ | (winner == number)) for stands in of_part] for number, of_part in enumerate(of_sample)]


def _column(
    descriptor: MetricDescriptor,
    reading: Reading,
    parts: Sequence[tuple[WindowStats, Bools | None]],
    seconds: NDArray[np.float64],
) -> WindowValues:
    """Returns one column out of the statistics of parts of one class, each with the windows where it stands."""
    several = len({stats.type for stats, _ in parts}) > 1
    sample_type = ValueType.DOUBLE if several else parts[0][0].type
    value_type = _type_of(sample_type, reading.aggregate)
    stats, stands = parts[0]
    if len(parts) == 1 and stands is None and not reading.cumulative:  # nothing to line up with
        windows = stats.windows
        values = _values(reading, stats.dense(), seconds[windows])
    else:
        windows, values = _over_parts(descriptor, reading, parts, seconds, sample_type)
    if value_type == ValueType.INT64 and values.dtype != np.int64:
        fits = all(INT64_MIN <= value <= INT64_MAX for value in values.tolist())
        value_type = ValueType.INT64 if fits else ValueType.DOUBLE
        values = values.astype(np.int64 if fits else np.float64)
    return WindowValues(
        descriptor,
        reading.aggregate,
        value_type,
        _NO_WINDOWS if len(windows) == len(seconds) else windows,
        values,
        sample_type,
    )


def _over_parts(
    descriptor: MetricDescriptor,
    reading: Reading,
    parts: Sequence[tuple[WindowStats, Bools | None]],
    seconds: NDArray[np.float64],
    sample_type: ValueType,
) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """Returns the windows that have a value, and the values, combined over parts."""
    read = [_read(reading, stats, stands, seconds) for stats, stands in parts]
    if _type_of(sample_type, reading.aggregate) == ValueType.DOUBLE:
        read = [replace(part, values=part.values.astype(np.float64, copy=False)) for part in read]
    combined = read[0]
    if len(read) > 1:
        counts = reading.aggregate == Aggregate.COUNT
        own = combination_of(descriptor.part_combination, sample_type)
        combined = _combine(PartCombination.SUM if counts else own, read, descriptor)
    present = combined.present
    if reading.cumulative:  # a total that merely lasts is no reading: only windows with a sample answer
        present = present & np.logical_or.reduce([stats.present[1:] for stats, _ in parts])
    return np.flatnonzero(present), combined.values[present]


_NO_WINDOWS = np.empty(0, dtype=np.int64)


def _type_of(sample_type: ValueType, aggregate: Aggregate) -> ValueType:
    if aggregate == Aggregate.COUNT:
        return ValueType.INT64
    if aggregate in (Aggregate.AVG, Aggregate.RATE) or sample_type == ValueType.NUMBER:
        return ValueType.DOUBLE
    if aggregate == Aggregate.SUM and sample_type == ValueType.BOOL:
        return ValueType.INT64
    return sample_type


def _read(reading: Reading, stats: WindowStats, stands: Bools | None, seconds: NDArray[np.float64]) -> _Part:
    if reading.cumulative:
        return _cumulative(stats)
    return _Part(_values(reading, stats, seconds), stats.present if stands is None else stands, stats.last_time)


def _values(reading: Reading, stats: WindowStats, seconds: NDArray[np.float64]) -> NDArray[Any]:
    if reading.aggregate == Aggregate.AVG:
        return np.asarray(stats.sum.astype(np.float64) / np.maximum(stats.count, 1))
    if reading.aggregate == Aggregate.RATE:
        return np.asarray(stats.increase.astype(np.float64) / seconds)
    return np.asarray(getattr(stats, reading.aggregate.name.lower()))


def _cumulative(stats: WindowStats) -> _Part:
    """Returns the total at the end of each window; a part without new samples keeps its total."""
    seen = np.logical_or.accumulate(stats.present)
    return _Part(stats.cumulative()[1:], seen[1:], stats.last_time[1:])


def _combine(combination: PartCombination, parts: Sequence[_Part], descriptor: MetricDescriptor) -> _Part:
    present = np.logical_or.reduce([part.present for part in parts])
    newest = np.maximum.reduce([np.where(part.present, part.newest, INT64_MIN) for part in parts])
    if combination == PartCombination.LAST:
        values = parts[0].values.copy()
        for part in parts:
            stands = part.present & (part.newest == newest)
            values[stands] = part.values[stands]
        return _Part(values, present, newest)
    if combination == PartCombination.WORST:
        return _Part(_worst(parts, descriptor), present, newest)
    masks = np.stack([part.present for part in parts])
    stack = np.stack([part.values for part in parts])
    if combination == PartCombination.SUM:
        if stack.dtype == np.int64 and np.abs(stack.astype(np.float64)).max(initial=0.0) > INT64_MAX // len(parts):
            stack = stack.astype(object)
        if stack.dtype == np.bool_:
            stack = stack.astype(np.int64)
        return _Part(np.where(masks, stack, 0).sum(axis=0), present, newest)
    # An absent part takes the value of a present one, which changes neither the smallest nor the largest.
    some = stack[np.argmax(masks, axis=0), np.arange(stack.shape[1])]
    filled = np.where(masks, stack, some)
    largest = combination == PartCombination.MAX
    return _Part(filled.max(axis=0) if largest else filled.min(axis=0), present, newest)


def _worst(parts: Sequence[_Part], descriptor: MetricDescriptor) -> NDArray[Any]:
    rank = {state: position for position, state in enumerate(descriptor.state_order)}
    worst = np.empty(len(parts[0].values), dtype=object)
    for window in range(len(worst)):
        states = [part.values[window] for part in parts if part.present[window]]
        worst[window] = max(states, key=lambda state: rank.get(state, -1)) if states else ""
    return worst


def window_seconds(bounds: Sequence[int], start: int, end: int) -> NDArray[np.float64]:
    """Returns the length of each window within the range, in seconds."""
    edges = np.clip(np.array(bounds, dtype=np.int64), start, end)
    return np.diff(edges) / MICROS_PER_SECOND
