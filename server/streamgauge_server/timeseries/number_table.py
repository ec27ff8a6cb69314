"""Aggregates of numbers per metric and bucket of time, as one matrix of int64 cells.

A line per field (`Cell`), a column per (metric, bucket), sorted by metric and time. Taking, joining and storing are
single numpy calls however many metrics there are, and aggregation runs over all metrics at once.

Sums and increases of integers are exact beyond 64 bits: they are kept as `high * 2**32 + low`. Sums of doubles depend
on the order of addition. They are added pairwise inside a bucket and then over buckets, so that two ways to the same
sum differ by less than 1e-12 of the sum of the absolute values. A sum beyond the range of doubles is infinite or NaN.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from streamgauge_server.model.values import INT64_MAX, Scalar, ValueType
from streamgauge_server.timeseries.frame import UNKNOWN_START, Bools, Ints, Values
from streamgauge_server.timeseries.samples import Samples, changes

NumberTable: TypeAlias = NDArray[np.int64]
"""Shape (len(Cell), entries)."""


class Cell(IntEnum):
    """The lines of a table. FIRST to MAX, and SUM and INCREASE, of a double metric are the bits of a double."""

    METRIC = 0
    TYPE = 1
    """A `ValueType`: DOUBLE, INT64, or BOOL, whose values are 0 and 1."""
    COUNT = 2
    RESETS = 3
    """How many samples were counter resets against the sample before."""
    FIRST_TIME = 4
    LAST_TIME = 5
    FIRST_START = 6
    LAST_START = 7
    FIRST = 8
    LAST = 9
    MIN = 10
    MAX = 11
    SUM = 12
    SUM_LOW = 13
    INCREASE = 14
    """The increase across resets. In a stored summary without the step from the sample before the bucket."""
    INCREASE_LOW = 15


EMPTY: NumberTable = np.empty((len(Cell), 0), np.int64)

_LOW_BITS = 32
_LOW = (1 << _LOW_BITS) - 1
_HALF = 1 << (63 - _LOW_BITS)  # totals whose high half is smaller fit into int64


class Previous(Protocol):
    """The sample before the first one of a metric: what its first step is taken from."""

    @property
    def value(self) -> Scalar:
        """The value; a number or boolean."""
        ...

    @property
    def start(self) -> int:
        """The start time, UNKNOWN_START where it was not told."""
        ...


def reduce_samples(samples: Samples) -> NumberTable:
    """Returns the table of samples of one numpy type (float64 or int64), an entry per group."""
    values, heads, tails = samples.values, samples.heads, samples.tails
    table = np.empty((len(Cell), len(heads)), np.int64)
    numbers = table.view(values.dtype)
    table[Cell.METRIC] = samples.metrics
    table[Cell.TYPE] = samples.types
    table[Cell.COUNT] = tails - heads + 1
    table[Cell.FIRST_TIME] = samples.times[heads]
    table[Cell.LAST_TIME] = samples.times[tails]
    table[Cell.FIRST_START] = samples.starts[heads]
    table[Cell.LAST_START] = samples.starts[tails]
    numbers[Cell.FIRST] = values[heads]
    numbers[Cell.LAST] = values[tails]
    np.minimum.reduceat(values, heads, out=numbers[Cell.MIN])
    np.maximum.reduceat(values, heads, out=numbers[Cell.MAX])
    is_reset = values[1:] < values[:-1]
    if not samples.steady:
        is_reset |= _restarted(samples.starts[:-1], samples.starts[1:])
    is_reset[heads[1:] - 1] = False  # the step into a group is none of its own
    resets = np.flatnonzero(is_reset) + 1
    group = np.searchsorted(heads, resets, side="right") - 1
    table[Cell.RESETS] = np.bincount(group, minlength=len(heads))
    with np.errstate(over="ignore", invalid="ignore"):
        _put_total(table, Cell.SUM, _sums(table, values, heads))
        # Steps add up to last - first; at a reset the whole new value counts, so the value before it is added again.
        grown = [last - first for first, last in zip(_split(values[heads]), _split(values[tails]), strict=True)]
        for total, lost in zip(grown, _split(values[resets - 1]), strict=True):
            np.add.at(total, group, lost)
        _put_total(table, Cell.INCREASE, grown)
    return table


def combine(table: NumberTable, windows: Ints, previous: Mapping[int, Previous]) -> tuple[NumberTable, Ints]:
    """Combines entries, disjoint in time and of one numpy type, to one per metric and window.

    `windows` tells each entry's window. RESETS and INCREASE of the result include the steps between entries, also over
    the border of two windows, where they belong to the later one. A metric's first step is taken from its `previous`
    sample; without one it adds nothing. Returns the table and the window of each of its entries.
    """
    order = np.lexsort((table[Cell.FIRST_TIME], table[Cell.METRIC]))
    table, windows = table[:, order], windows[order]
    opens = changes(table[Cell.METRIC])
    heads = np.flatnonzero(opens | changes(windows))
    tails = np.append(heads[1:], len(windows)) - 1
    combined = table[:, heads]
    for cell in (Cell.LAST_TIME, Cell.LAST_START, Cell.LAST):
        combined[cell] = table[cell, tails]
    dtype = _dtype(table)
    old, new = table.view(dtype), combined.view(dtype)
    with np.errstate(over="ignore", invalid="ignore"):
        is_reset, steps = _steps(table, np.flatnonzero(opens), previous)
        combined[Cell.COUNT] = np.add.reduceat(table[Cell.COUNT], heads)
        combined[Cell.RESETS] = np.add.reduceat(table[Cell.RESETS] + is_reset, heads)
        np.minimum.reduceat(old[Cell.MIN], heads, out=new[Cell.MIN])
        np.maximum.reduceat(old[Cell.MAX], heads, out=new[Cell.MAX])
        _put_total(combined, Cell.SUM, [np.add.reduceat(part, heads) for part in _parts(table, Cell.SUM)])
        grown = [part + step for part, step in zip(_parts(table, Cell.INCREASE), steps, strict=True)]
        _put_total(combined, Cell.INCREASE, [np.add.reduceat(part, heads) for part in grown])
    return combined, windows[heads]


def by_type(table: NumberTable) -> list[NumberTable]:
    """Returns the entries of doubles and those of integers and booleans apart, as far as there are any."""
    is_double = table[Cell.TYPE] == ValueType.DOUBLE
    doubles = int(np.count_nonzero(is_double))
    if doubles in (0, table.shape[1]):
        return [table] if table.shape[1] else []
    return [table[:, is_double], table[:, ~is_double]]


def values_of(table: NumberTable, cell: Cell, value_type: ValueType) -> Values:
    """Returns FIRST, LAST, MIN or MAX of entries of one value type, as that type."""
    if value_type == ValueType.BOOL:
        values: Values = table[cell] != 0
        return values
    values = table[cell]
    return values.view(np.float64) if value_type == ValueType.DOUBLE else values


def totals_of(table: NumberTable, cell: Cell, value_type: ValueType) -> Values:
    """Returns SUM or INCREASE of entries of one value type: float64, int64, or Python ints beyond 64 bits."""
    high: Ints = table[cell]
    low: Ints = table[cell + 1]
    if value_type == ValueType.DOUBLE:
        return high.view(np.float64)
    if ((high >= -_HALF) & (high < _HALF)).all():
        return (high << _LOW_BITS) + low
    exact: Values = high.astype(np.object_) * (_LOW + 1) + low.astype(np.object_)
    return exact


def _dtype(table: NumberTable) -> np.dtype[Any]:
    return np.dtype(np.float64 if table[Cell.TYPE, 0] == ValueType.DOUBLE else np.int64)


def _restarted(before: Ints, after: Ints) -> Bools:
    restarted: Bools = (before != after) & (before != UNKNOWN_START) & (after != UNKNOWN_START)
    return restarted


def _steps(table: NumberTable, opens: Ints, previous: Mapping[int, Previous]) -> tuple[Bools, list[Values]]:
    """Returns for each entry whether its first sample is a reset, and its step from the sample before, in parts."""
    numbers = table.view(_dtype(table))
    first = numbers[Cell.FIRST]
    before = np.concatenate((first[:1], numbers[Cell.LAST][:-1]))
    before_start = np.concatenate((table[Cell.FIRST_START, :1], table[Cell.LAST_START, :-1]))
    before[opens] = first[opens]
    before_start[opens] = table[Cell.FIRST_START, opens]
    if previous:
        for position, metric in zip(opens.tolist(), table[Cell.METRIC, opens].tolist(), strict=True):
            sample = previous.get(metric)
            if sample is not None:
                before[position] = sample.value
                before_start[position] = sample.start
    is_reset = (first < before) | _restarted(before_start, table[Cell.FIRST_START])
    before[is_reset] = 0
    return is_reset, [new - old for new, old in zip(_split(first), _split(before), strict=True)]


def _sums(table: NumberTable, values: Values, heads: Ints) -> list[Values]:
    """Returns the sum of each group, in parts."""
    if values.dtype == np.int64:
        largest = max(-int(table[Cell.MIN].min()), int(table[Cell.MAX].max()))
        if largest * int(table[Cell.COUNT].max()) <= INT64_MAX:
            return _split(np.add.reduceat(values, heads))
    return [np.add.reduceat(part, heads) for part in _split(values)]


def _split(values: Values) -> list[Values]:
    """Returns numbers as parts whose sums cannot overflow: doubles as they are, integers as high and low half."""
    if values.dtype == np.float64:
        return [values]
    return [values >> _LOW_BITS, values & _LOW]


def _parts(table: NumberTable, cell: Cell) -> list[Values]:
    if _dtype(table) == np.float64:
        return [table[cell].view(np.float64)]
    return [table[cell], table[cell + 1]]


def _put_total(table: NumberTable, cell: Cell, parts: Sequence[Values]) -> None:
    """Writes a total given in parts, carrying what the low half exceeds 32 bits by."""
    if len(parts) == 1:
        table.view(np.float64)[cell] = parts[0]
        table[cell + 1] = 0
    else:
        high, low = parts
        table[cell] = high + (low >> _LOW_BITS)
        table[cell + 1] = low & _LOW
