"""The answer of a query: statistics per metric and window, as arrays over the windows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np

from streamgauge_server.model.values import ValueType
from streamgauge_server.timeseries.frame import Bools, Ints, Values
from streamgauge_server.timeseries.number_table import Cell, NumberTable, Previous, chain, totals_of, values_of
from streamgauge_server.timeseries.samples import changes
from streamgauge_server.timeseries.text_table import TextTable


class WindowStats:
    """The statistics of one metric over all windows of a query.

    Every property is an array with one entry per window; entries of windows without samples are filler (0, False or
    an empty text), `present` tells which windows have samples. Times are microseconds. Texts have no `sum`, `min`,
    `max`, `increase` and `resets`: asking for them raises TypeError.

    `first`, `last`, `min` and `max` are of the metric's type. `sum` and `increase` are float64 for doubles, otherwise
    int64, or Python ints in an object array where 64 bits are too few.
    """

    __slots__ = ("_numbers", "_size", "_texts", "_windows", "type")

    def __init__(self, type_: ValueType, size: int, windows: Ints, table: NumberTable | TextTable) -> None:
        self.type = type_
        self._size = size
        self._windows = windows
        self._numbers: NumberTable | None = None if isinstance(table, TextTable) else table
        self._texts: TextTable | None = table if isinstance(table, TextTable) else None

    @property
    def present(self) -> Bools:
        """Which windows have samples."""
        present = np.zeros(self._size, np.bool_)
        present[self._windows] = True
        return present

    @property
    def count(self) -> Ints:
        """How many samples."""
        return self._spread(self._texts.counts if self._texts is not None else self._cells[Cell.COUNT])

    @property
    def first_time(self) -> Ints:
        """The moment of the first sample."""
        return self._spread(self._texts.first_times if self._texts is not None else self._cells[Cell.FIRST_TIME])

    @property
    def last_time(self) -> Ints:
        """The moment of the last sample."""
        return self._spread(self._texts.last_times if self._texts is not None else self._cells[Cell.LAST_TIME])

    @property
    def last_start(self) -> Ints:
        """The start time of the last sample, UNKNOWN_START where it was not told."""
        return self._spread(self._cells[Cell.LAST_START])

    @property
    def first(self) -> Values:
        """The first value."""
        return self._spread(
            self._texts.first if self._texts is not None else values_of(self._cells, Cell.FIRST, self.type)
        )

    @property
    def last(self) -> Values:
        """The last value."""
        return self._spread(
            self._texts.last if self._texts is not None else values_of(self._cells, Cell.LAST, self.type)
        )

    @property
    def min(self) -> Values:
        """The smallest value."""
        return self._spread(values_of(self._cells, Cell.MIN, self.type))

    @property
    def max(self) -> Values:
        """The largest value."""
        return self._spread(values_of(self._cells, Cell.MAX, self.type))

    @property
    def sum(self) -> Values:
        """The sum of the values; of booleans, how many are true."""
        return self._spread(totals_of(self._cells, Cell.SUM, self.type))

    @property
    def increase(self) -> Values:
        """The increase across resets, the step from the sample before the window included."""
        return self._spread(totals_of(self._cells, Cell.INCREASE, self.type))

    @property
    def resets(self) -> Ints:
        """How many resets the increase bridges."""
        return self._spread(self._cells[Cell.RESETS])

    def after_first(self) -> WindowStats:
        """Returns the statistics without the first window."""
        kept = self._windows > 0
        table: NumberTable | TextTable = self._texts.take(kept) if self._texts is not None else self._cells[:, kept]
        return WindowStats(self.type, self._size - 1, self._windows[kept] - 1, table)

    def cumulative(self, base: int | float | None = None) -> Values:
        """Returns the total at the end of each window since the first sample ever.

        `base` is the lifetime total before the first window (`query.lifetime_of` of what lies before); None means that
        nothing lies before, so that the total begins with the first value. A window without samples has the total of
        the window before, or filler where there was none yet.
        """
        growth = totals_of(self._cells, Cell.INCREASE, self.type)
        exact = growth.dtype != np.float64
        begin = values_of(self._cells, Cell.FIRST, self.type)[:1].tolist() or [0] if base is None else [base]
        totals = np.cumsum([*begin, *growth.tolist()], dtype=np.object_ if exact else np.float64)
        # totals[k] is the total after k windows with samples
        lasting: Values = totals[np.searchsorted(self._windows, np.arange(self._size), side="right")]
        return _narrow(lasting) if exact else lasting

    @property
    def _cells(self) -> NumberTable:
        if self._numbers is None:
            raise TypeError("a text metric has no numbers")
        return self._numbers

    def _spread(self, entries: Values) -> Values:
        """Returns entries at their windows, filler elsewhere."""
        if len(entries) == self._size:
            return entries
        filler = "" if self.type == ValueType.STRING and entries.dtype == np.object_ else 0
        spread = np.full(self._size, filler, entries.dtype)
        spread[self._windows] = entries
        return spread


def _narrow(values: Values) -> Values:
    """Returns Python ints as int64 where they all fit."""
    try:
        return values.astype(np.int64)
    except OverflowError:
        return values


class WindowTable:
    """The statistics of one subject or part over windows: `metrics` are those with samples, rising."""

    def __init__(self, size: int, tables: Sequence[tuple[NumberTable | TextTable, Ints]]) -> None:
        """Takes tables by metric and window, each with the window of every entry; `size` is how many windows."""
        self.size = size
        self._tables = tables
        self._places: dict[int, tuple[ValueType, NumberTable | TextTable, Ints, slice]] = {}
        for table, windows in tables:
            ids = table.metrics if isinstance(table, TextTable) else table[Cell.METRIC]
            heads = np.flatnonzero(changes(ids))
            metrics = ids[heads].tolist()
            bounds = pairwise([*heads.tolist(), len(ids)])
            types = (
                [ValueType.STRING] * len(heads)
                if isinstance(table, TextTable)
                else map(_TYPES.__getitem__, table[Cell.TYPE, heads].tolist())
            )
            for metric, value_type, (head, tail) in zip(metrics, types, bounds, strict=True):
                self._places[metric] = (value_type, table, windows, slice(head, tail))
        self.metrics: tuple[int, ...] = tuple(sorted(self._places))

    def stats(self, metric: int) -> WindowStats | None:
        """Returns the statistics of a metric, None when it has no sample."""
        place = self._places.get(metric)
        if place is None:
            return None
        value_type, table, windows, here = place
        entries = table.take(here) if isinstance(table, TextTable) else table[:, here]
        return WindowStats(value_type, self.size, windows[here], entries)

    def chained(self, baseline: Mapping[int, Previous]) -> WindowTable:
        """Returns the table in which the first sample of a metric has its increase from the last one before the range.

        `baseline` holds the samples before the range by metric (`query.baseline`).
        """
        return WindowTable(
            self.size,
            [(t if isinstance(t, TextTable) else chain(t, baseline), windows) for t, windows in self._tables],
        )


_TYPES = {value_type.value: value_type for value_type in ValueType}
