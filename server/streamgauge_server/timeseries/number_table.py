"""Aggregates of numbers per metric and bucket of time, as one matrix of int64 cells.

A line per field (`Cell`), a column per (metric, type, bucket), sorted by metric, type and time. Taking, joining and
storing are single numpy calls however many metrics there are, and aggregation runs over all metrics at once.

Sums and increases of integers are exact beyond 64 bits: they are kept as `high * 2**32 + low`. Sums of doubles depend
on the order of addition. They are added pairwise inside a bucket and then over buckets, so that two ways to the same
sum differ by less than 1e-12 of the sum of the absolute values. A sum beyond the range of doubles is infinite or NaN.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from streamgauge_server.model.values import INT64_MAX, Scalar, ValueType
from streamgauge_server.timeseries.frame import UNKNOWN_START, Bools, Ints, Values
from streamgauge_server.timeseries.samples import Samples, changes, in_order

NumberTable: TypeAlias = NDArray[np.int64]
"""Shape (LINES, entries)."""


class Cell:
    """The lines of a table. FIRST to MAX, and SUM and INCREASE, of a double metric are the bits of a double."""

    METRIC: Final = 0
    TYPE: Final = 1
    """A `ValueType`: DOUBLE, INT64, or BOOL, whose values are 0 and 1."""
    COUNT: Final = 2
    RESETS: Final = 3
    """How many samples were counter resets against the sample before."""
    FIRST_TIME: Final = 4
    LAST_TIME: Final = 5
    FIRST_START: Final = 6
    LAST_START: Final = 7
    FIRST: Final = 8
    LAST: Final = 9
    MIN: Final = 10
    MAX: Final = 11
    SUM: Final = 12
    """With SUM_LOW in the line after, as INCREASE with INCREASE_LOW."""
    SUM_LOW: Final = 13
    INCREASE: Final = 14
    """The increase across resets. In a stored summary without the step from the sample before the bucket."""
    INCREASE_LOW: Final = 15


LINES: Final = 16
"""How many lines a table has."""

EMPTY: NumberTable = np.empty((LINES, 0), np.int64)

_LOW_BITS = 32
_LOW = (1 << _LOW_BITS) - 1
_HALF = 1 << (63 - _LOW_BITS)  # totals whose high half is smaller fit into int64

_DOUBLE = np.dtype(np.float64)
_INTEGER = np.dtype(np.int64)


class Previous(Protocol):
    """The sample before the first one of a metric: what its first step is taken from."""

    @property
    def value(self) -> Scalar:
        """The value."""
        ...

    @property
    def start(self) -> int:
        """The start time, UNKNOWN_START where it was not told."""
        ...


@np.errstate(over="ignore", invalid="ignore")
def reduce_samples(samples: Samples) -> NumberTable:
    """Returns the table of samples of one numpy type (float64 or int64), an entry per group."""
    values, heads, tails = samples.values, samples.heads, samples.tails
    table = np.empty((LINES, len(heads)), np.int64)
    numbers = table.view(values.dtype)
    table[Cell.METRIC] = samples.metrics
    table[Cell.TYPE] = samples.types
    table[Cell.COUNT] = tails - heads + 1
    table[Cell.FIRST_TIME] = samples.first_times
    table[Cell.LAST_TIME] = samples.last_times
    table[Cell.FIRST_START] = samples.first_starts
    table[Cell.LAST_START] = samples.last_starts
    numbers[Cell.FIRST] = values[heads]
    numbers[Cell.LAST] = values[tails]
    np.minimum.reduceat(values, heads, out=numbers[Cell.MIN])
    np.maximum.reduceat(values, heads, out=numbers[Cell.MAX])
    is_reset = values[1:] < values[:-1]
    if samples.restarts is not None:
        is_reset |= samples.restarts
    is_reset[heads[1:] - 1] = False  # the step into a group is none of its own
    resets = np.flatnonzero(is_reset) + 1
    group = np.searchsorted(heads, resets, side="right") - 1
    table[Cell.RESETS] = np.bincount(group, minlength=len(heads))
    _put_total(table, Cell.SUM, _sums(table, values, heads))
    # Steps add up to last - first; at a reset the whole new value counts, so the value before it is added again.
    grown = [last - first for first, last in zip(_split(values[heads]), _split(values[tails]), strict=True)]
    for total, lost in zip(grown, _split(values[resets - 1]), strict=True):
        np.add.at(total, group, lost)
    _put_total(table, Cell.INCREASE, grown)
    return table


def combine_all(table: NumberTable, windows: Ints) -> list[tuple[NumberTable, Ints]]:
    """Combines entries, disjoint in time, to one per metric, type and window.

    `windows` tells each entry's window. Doubles come apart from integers and booleans, as far as there are any, each
    with the window of every entry, see `combine`. Integers of a metric that has doubles as well become doubles.
    """
    is_double = table[Cell.TYPE] == ValueType.DOUBLE.value
    doubles = int(np.count_nonzero(is_double))
    if doubles in (0, table.shape[1]):
        return [combine(table, windows)] if table.shape[1] else []
    parts = [combine(table[:, here], windows[here]) for here in (is_double, ~is_double)]
    of_doubles, of_others = (set(part[Cell.METRIC, changes(part[Cell.METRIC])].tolist()) for part, _ in parts)
    if of_doubles.isdisjoint(of_others):
        return parts
    mixed = (table[Cell.TYPE] == ValueType.INT64.value) & np.isin(table[Cell.METRIC], list(of_doubles & of_others))
    if not mixed.any():
        return parts
    table = table.copy()
    table[:, mixed] = promoted(table[:, mixed])
    is_double |= mixed
    return [combine(table[:, here], windows[here]) for here in (is_double, ~is_double) if here.any()]


@np.errstate(over="ignore", invalid="ignore")
def combine(table: NumberTable, windows: Ints) -> tuple[NumberTable, Ints]:
    """Combines entries, disjoint in time and of one numpy type, to one per metric, type and window.

    `windows` tells each entry's window. RESETS and INCREASE of the result include the steps between entries, also over
    the border of two windows, where they belong to the later one. The first entry of a metric and type has no step.
    Returns the table and the window of each of its entries.
    """
    dtype = _dtype(table)
    order = in_order(table[Cell.METRIC], table[Cell.FIRST_TIME], None if dtype == _DOUBLE else table[Cell.TYPE])
    if order is not None:
        table, windows = table[:, order], windows[order]
    opens = changes(table[Cell.METRIC]) if dtype == _DOUBLE else changes(table[Cell.METRIC], table[Cell.TYPE])
    heads = np.flatnonzero(opens | changes(windows))
    before, before_start = _shifted(table.view(dtype)[Cell.LAST]), _shifted(table[Cell.LAST_START])
    is_reset, steps = _steps(table, dtype, before, before_start, opens)
    if len(heads) == len(windows):  # every entry is a window by itself: only the steps are to be added
        combined = table.copy()
        _grow(combined, dtype, is_reset, steps)
        return combined, windows
    combined = table[:, heads]
    tails = np.append(heads[1:], len(windows)) - 1
    for cell in (Cell.LAST_TIME, Cell.LAST_START, Cell.LAST):
        combined[cell] = table[cell, tails]
    old, new = table.view(dtype), combined.view(dtype)
    np.add.reduceat(table[Cell.COUNT], heads, out=combined[Cell.COUNT])
    np.add.reduceat(table[Cell.RESETS] + is_reset, heads, out=combined[Cell.RESETS])
    np.minimum.reduceat(old[Cell.MIN], heads, out=new[Cell.MIN])
    np.maximum.reduceat(old[Cell.MAX], heads, out=new[Cell.MAX])
    _put_total(combined, Cell.SUM, _reduced(_parts(table, Cell.SUM, dtype), heads))
    grown = _added(_parts(table, Cell.INCREASE, dtype), steps)
    _put_total(combined, Cell.INCREASE, _reduced(grown, heads))
    return combined, windows[heads]


@np.errstate(over="ignore", invalid="ignore")
def chain(table: NumberTable, previous: Mapping[int, Previous]) -> NumberTable:
    """Returns a table of one numpy type in which the first entry of each metric has its step from a sample before.

    `previous` holds these samples by metric; metrics without one keep what they have. Steps are taken from samples of
    the entry's own kind only: of numbers from a number, of booleans from a boolean.
    """
    dtype = _dtype(table)
    found = [
        (position, sample)
        for position in np.flatnonzero(changes(table[Cell.METRIC], table[Cell.TYPE])).tolist()
        if (sample := previous.get(int(table[Cell.METRIC, position]))) is not None
        and isinstance(sample.value, bool) == (table[Cell.TYPE, position] == ValueType.BOOL.value)
        and not isinstance(sample.value, str)
    ]
    if not found:
        return table
    chained = table.copy()
    positions = np.array([position for position, _ in found])
    firsts = table[:, positions]
    values = np.array([sample.value for _, sample in found], dtype)
    starts = np.array([sample.start for _, sample in found], np.int64)
    _grow(firsts, dtype, *_steps(firsts, dtype, values, starts, None))
    chained[:, positions] = firsts
    return chained


def join(tables: Sequence[NumberTable]) -> NumberTable:
    """Returns the entries of several tables one after the other."""
    if len(tables) == 1:
        return tables[0]
    return np.concatenate(tables, axis=1) if tables else EMPTY


def promoted(table: NumberTable) -> NumberTable:
    """Returns entries of integers as entries of doubles, each number rounded to the nearest one."""
    doubles = table.copy()
    numbers = doubles.view(_DOUBLE)
    doubles[Cell.TYPE] = ValueType.DOUBLE.value
    for cell in (Cell.FIRST, Cell.LAST, Cell.MIN, Cell.MAX):
        numbers[cell] = table[cell]
    for cell in (Cell.SUM, Cell.INCREASE):
        numbers[cell] = totals_of(table, cell, ValueType.INT64)
        doubles[cell + 1] = 0
    return doubles


def values_of(table: NumberTable, cell: int, value_type: ValueType) -> Values:
    """Returns FIRST, LAST, MIN or MAX of entries of one value type, as that type."""
    if value_type == ValueType.BOOL:
        values: Values = table[cell] != 0
        return values
    values = table[cell]
    return values.view(np.float64) if value_type == ValueType.DOUBLE else values


def totals_of(table: NumberTable, cell: int, value_type: ValueType) -> Values:
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
    return _DOUBLE if int(table[Cell.TYPE, 0]) == ValueType.DOUBLE.value else _INTEGER


def _steps(
    table: NumberTable, dtype: np.dtype[Any], before: Values, before_start: Ints, opens: Bools | None
) -> tuple[Bools, list[Values]]:
    """Returns for each entry whether its first sample is a reset, and its step from the sample before, in parts.

    Entries that `opens` marks have no sample before: no reset, no step.
    """
    first, first_start = table.view(dtype)[Cell.FIRST], table[Cell.FIRST_START]
    known = (before_start != UNKNOWN_START) & (first_start != UNKNOWN_START)
    is_reset = (first < before) | (known & (first_start != before_start))
    old = np.where(is_reset, dtype.type(0), before)
    if opens is not None:
        is_reset[opens] = False
        old[opens] = first[opens]
    return is_reset, [new - base for new, base in zip(_split(first), _split(old), strict=True)]


def _shifted(entries: Values) -> Values:
    """Returns for each entry the one before; the first stays."""
    shifted = np.empty_like(entries)
    shifted[:1] = entries[:1]
    shifted[1:] = entries[:-1]
    return shifted


def _grow(table: NumberTable, dtype: np.dtype[Any], is_reset: Bools, steps: Sequence[Values]) -> None:
    """Adds steps to the entries of a table, in place."""
    table[Cell.RESETS] += is_reset
    _put_total(table, Cell.INCREASE, _added(_parts(table, Cell.INCREASE, dtype), steps))


def _sums(table: NumberTable, values: Values, heads: Ints) -> list[Values]:
    """Returns the sum of each group, in parts."""
    if values.dtype == _INTEGER:
        largest = max(-int(table[Cell.MIN].min()), int(table[Cell.MAX].max()))
        if largest * int(table[Cell.COUNT].max()) <= INT64_MAX:
            return _split(np.add.reduceat(values, heads))
    return _reduced(_split(values), heads)


def _split(values: Values) -> list[Values]:
    """Returns numbers as parts whose sums cannot overflow: doubles as they are, integers as high and low half."""
    if values.dtype == _DOUBLE:
        return [values]
    return [values >> _LOW_BITS, values & _LOW]


def _parts(table: NumberTable, cell: int, dtype: np.dtype[Any]) -> list[Values]:
    """Returns a total in parts."""
    return [table[cell].view(_DOUBLE)] if dtype == _DOUBLE else [table[cell], table[cell + 1]]


def _added(parts: Sequence[Values], more: Sequence[Values]) -> list[Values]:
    return [part + other for part, other in zip(parts, more, strict=True)]


def _reduced(parts: Sequence[Values], heads: Ints) -> list[Values]:
    return [np.add.reduceat(part, heads) for part in parts]


def _put_total(table: NumberTable, cell: int, parts: Sequence[Values]) -> None:
    """Writes a total given in parts, carrying what the low half exceeds 32 bits by."""
    if len(parts) == 1:
        table[cell] = parts[0].view(_INTEGER)
        table[cell + 1] = 0
    else:
        high, low = parts
        table[cell] = high + (low >> _LOW_BITS)
        table[cell + 1] = low & _LOW
