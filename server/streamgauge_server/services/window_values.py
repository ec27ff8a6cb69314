"""From the statistics of parts to the value of a subject: aggregates are picked per part, then parts are combined."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
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
    ValueType,
)
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
    has one. `type` is the type of the values, which differs from the metric's for counts, means and rates.
    """

    descriptor: MetricDescriptor
    aggregate: Aggregate
    type: ValueType
    windows: NDArray[np.int64]
    values: NDArray[Any]


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


def window_values(
    descriptor: MetricDescriptor,
    reading: Reading,
    parts: Sequence[WindowStats],
    seconds: NDArray[np.float64],
) -> WindowValues | None:
    """Returns one column of a subject out of the statistics of its parts, None where parts have no single value.

    `seconds` is the length of each window within the range. With a cumulative reading the statistics begin with one
    window more, which holds all history before the range.
    """
    if len(parts) > 1 and descriptor.part_combination == PartCombination.UNION:
        return None
    read = [_cumulative(stats) if reading.cumulative else _read(reading.aggregate, stats, seconds) for stats in parts]
    value_type = _type_of(descriptor, reading.aggregate)
    if not read:
        return WindowValues(descriptor, reading.aggregate, value_type, _NO_WINDOWS, np.empty(0))
    combined = read[0]
    if len(read) > 1:
        counts = reading.aggregate == Aggregate.COUNT
        combination = PartCombination.SUM if counts else descriptor.part_combination
        combined = _combine(combination, read, descriptor)
    present = combined.present
    if reading.cumulative:  # a total that merely lasts is no reading: only windows with a sample answer
        present = present & np.logical_or.reduce([stats.present[1:] for stats in parts])
    values = combined.values[present]
    if value_type == ValueType.INT64 and values.dtype != np.int64:
        fits = all(INT64_MIN <= value <= INT64_MAX for value in values.tolist())
        value_type = ValueType.INT64 if fits else ValueType.DOUBLE
        values = values.astype(np.int64 if fits else np.float64)
    windows = np.flatnonzero(present)
    return WindowValues(
        descriptor,
        reading.aggregate,
        value_type,
        _NO_WINDOWS if len(windows) == len(present) else windows,
        values,
    )


_NO_WINDOWS = np.empty(0, dtype=np.int64)


def _type_of(descriptor: MetricDescriptor, aggregate: Aggregate) -> ValueType:
    if aggregate == Aggregate.COUNT:
        return ValueType.INT64
    if aggregate in (Aggregate.AVG, Aggregate.RATE):
        return ValueType.DOUBLE
    if aggregate == Aggregate.SUM and descriptor.value_type == ValueType.BOOL:
        return ValueType.INT64
    return descriptor.value_type


def _read(aggregate: Aggregate, stats: WindowStats, seconds: NDArray[np.float64]) -> _Part:
    present = stats.present
    if aggregate == Aggregate.AVG:
        values = stats.sum.astype(np.float64) / np.maximum(stats.count, 1)
    elif aggregate == Aggregate.RATE:
        values = stats.increase.astype(np.float64) / seconds
    else:
        values = getattr(stats, aggregate.name.lower())
    return _Part(values, present, stats.last_time)


def _cumulative(stats: WindowStats) -> _Part:
    """Returns the total at the end of each window; a part without new samples keeps its total."""
    seen = np.logical_or.accumulate(stats.present)
    return _Part(stats.cumulative()[1:], seen[1:], stats.last_time[1:])


def _combine(combination: PartCombination, parts: Sequence[_Part], descriptor: MetricDescriptor) -> _Part:
    present = np.logical_or.reduce([part.present for part in parts])
    newest = np.maximum.reduce([np.where(part.present, part.newest, -1) for part in parts])
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
