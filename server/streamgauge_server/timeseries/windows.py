"""The answer of a query: statistics per metric and window, as arrays over the windows."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import accumulate, pairwise

import numpy as np

from streamgauge_server.model.values import ValueType
from streamgauge_server.timeseries.frame import Bools, Ints, Values
from streamgauge_server.timeseries.number_table import (
    Cell,
    NumberTable,
    Previous,
    chain,
    promoted,
    totals_of,
    values_of,
)
from streamgauge_server.timeseries.samples import changes
from streamgauge_server.timeseries.text_table import TextTable


class WindowStats:
    """The statistics of one metric over all windows of a query: of its numbers, of its booleans or of its texts.

    Every property is an array with one entry per window; entries of windows without samples are filler (0, False or
    an empty text), `present` tells which windows have samples. Times are microseconds. Texts have no `sum`, `min`,
    `max`, `increase` and `resets`: asking for them raises TypeError.

    `first`, `last`, `min` and `max` are of the type `type`: DOUBLE, INT64, BOOL or STRING. `sum` and `increase` are
    float64 for doubles, otherwise int64, or Python ints in an object array where 64 bits are too few.
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
    def windows(self) -> Ints:
        """The windows that have samples, rising."""
        return self._windows

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

    def dense(self) -> WindowStats:
        """Returns the statistics over those windows alone that have samples."""
        size = len(self._windows)
        table = self._texts if self._texts is not None else self._cells
        return WindowStats(self.type, size, np.arange(size), table)

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
        if base is None:
            base = next(iter(values_of(self._cells, Cell.FIRST, self.type).tolist()), 0)
        totals = list(accumulate(growth.tolist(), initial=base))  # totals[k] after k windows with samples
        exact = growth.dtype != np.float64
        reached: Values = np.array(totals, np.object_ if exact else np.float64)[
            np.searchsorted(self._windows, np.arange(self._size), side="right")
        ]
        return _narrow(reached) if exact else reached

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
    """The statistics of one subject or part over windows.

    `size` is how many windows there are, `metrics` which metrics have samples (rising), `unchained` which of them have
    no known sample before their first one, so that it adds nothing to their increase.

    Numbers, booleans and texts of one metric have statistics of their own. Numbers are INT64 where all of them are,
    otherwise DOUBLE. An increase takes its steps between samples of the same kind, whatever lies between them.
    """

    def __init__(
        self,
        size: int,
        tables: Sequence[tuple[NumberTable | TextTable, Ints]],
        chained: Collection[int] = (),
    ) -> None:
        """Takes tables by metric, type and window, each with the window of every entry, texts last.

        Of a metric no two tables have numbers.
        """
        self.size = size
        self._tables = tables
        self._places: dict[int, list[tuple[ValueType, NumberTable | TextTable, Ints, slice]]] = {}
        for table, windows in tables:
            if isinstance(table, TextTable):
                ids, types, heads = table.metrics, None, changes(table.metrics)
            else:
                ids, types = table[Cell.METRIC], table[Cell.TYPE]
                heads = changes(ids, types)
            for head, tail in pairwise([*np.flatnonzero(heads).tolist(), len(ids)]):
                value_type = ValueType.STRING if types is None else _TYPES[int(types[head])]
                place = (value_type, table, windows, slice(head, tail))
                self._places.setdefault(int(ids[head]), []).append(place)
        self.metrics: tuple[int, ...] = tuple(sorted(self._places))
        self.unchained: frozenset[int] = frozenset(self._places.keys() - chained)

    def stats(self, metric: int) -> WindowStats | None:
        """Returns the statistics of a metric, None when it has no sample.

        Of a metric whose samples are of several kinds these are the first of `all_stats`.
        """
        stats = self.all_stats(metric)
        return stats[0] if stats else None

    def all_stats(self, metric: int) -> list[WindowStats]:
        """Returns the statistics of a metric's numbers, booleans and texts, in this order, those there are."""
        found: list[WindowStats] = []
        for value_type, table, windows, here in self._places.get(metric, ()):
            entries = table.take(here) if isinstance(table, TextTable) else table[:, here]
            found.append(WindowStats(value_type, self.size, windows[here], entries))
        return found

    def chained(self, baseline: Mapping[int, Previous]) -> WindowTable:
        """Returns the table in which the first increase of unchained metrics is taken from a sample before the range.

        `baseline` holds these samples by metric (`query.baseline`). A step is taken from a sample of the same kind
        only; one from a double to integers makes these doubles.
        """
        found = {metric: sample for metric, sample in baseline.items() if metric in self.unchained}
        doubles = {metric for metric, sample in found.items() if isinstance(sample.value, float)}
        tables = [
            (table if isinstance(table, TextTable) else chain(table, found), windows)
            for table, windows in _promoted(self._tables, doubles)
        ]
        return WindowTable(self.size, tables, (self._places.keys() - self.unchained) | found.keys())

    def after_first(self) -> WindowTable:
        """Returns the table without the first window; metrics with samples in it are chained."""
        tables: list[tuple[NumberTable | TextTable, Ints]] = []
        chained: set[int] = set()
        for table, windows in self._tables:
            kept = windows > 0
            if isinstance(table, TextTable):
                chained.update(table.metrics[~kept].tolist())
                table = table.take(kept)
            else:
                chained.update(table[Cell.METRIC, ~kept].tolist())
                table = table[:, kept]
            if kept.any():
                tables.append((table, windows[kept] - 1))
        return WindowTable(self.size - 1, tables, chained)


def _promoted(
    tables: Sequence[tuple[NumberTable | TextTable, Ints]], metrics: Collection[int]
) -> Sequence[tuple[NumberTable | TextTable, Ints]]:
    """Returns tables in which the integers of some metrics are doubles."""
    if not metrics:
        return tables
    wanted = np.array(sorted(metrics), np.int64)
    kept: list[tuple[NumberTable | TextTable, Ints]] = []
    for table, windows in tables:
        if isinstance(table, TextTable):
            kept.append((table, windows))
            continue
        mixed = (table[Cell.TYPE] == ValueType.INT64.value) & np.isin(table[Cell.METRIC], wanted)
        if mixed.any():
            kept.append((promoted(table[:, mixed]), windows[mixed]))
        if not mixed.all():
            kept.append((table[:, ~mixed], windows[~mixed]))
    return kept


_TYPES = {value_type.value: value_type for value_type in ValueType}
