"""Plots of custom metric types: their figures come out of the observations of their choices."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from streamgauge_server.model.clock import MICROS_PER_DAY, MICROS_PER_HOUR
from streamgauge_server.model.metric_types import ALL_CHOICES, Column, ColumnAggregate
from streamgauge_server.model.names import SubjectName
from streamgauge_server.model.values import SubjectKind, ValueType
from streamgauge_server.model.windows import Window
from streamgauge_server.services.block_reader import BlockReader
from streamgauge_server.services.descriptors import Descriptors
from streamgauge_server.services.off_loop import off_loop
from streamgauge_server.services.plot_series import Cell, Number, PlotSeries, truncated
from streamgauge_server.storage.store import Store
from streamgauge_server.timeseries.query import StoredBlock, WindowTable

_KIND = SubjectKind.METRIC_TYPE_CHOICE
_CHOICES_AT_ONCE = 100
_MANY_VALUES = 20_000
_HOURS = range(24)


def choice_subject(metric_type: str, choice: str) -> SubjectName:
    """Returns the subject of a choice's observations."""
    return SubjectName(_KIND, f"{metric_type}/{choice}")


@dataclass(slots=True)
class _Stats:
    """Samples of one column put together; exact for integers."""

    count: int
    sum: Number
    min: Number
    max: Number

    def add(self, other: _Stats) -> None:
        self.count += other.count
        self.sum += other.sum
        self.min = min(self.min, other.min)
        self.max = max(self.max, other.max)

    def value(self, aggregate: ColumnAggregate, *, doubles: bool) -> Number:
        """Returns the value that the samples have by a column's aggregate."""
        if aggregate == ColumnAggregate.AVG:
            if doubles or isinstance(self.sum, float):
                return self.sum / self.count
            return truncated(self.sum, self.count)
        value: Number = {
            ColumnAggregate.SUM: self.sum,
            ColumnAggregate.MIN: self.min,
            ColumnAggregate.MAX: self.max,
        }[aggregate]
        return float(value) if doubles else value


@dataclass(frozen=True, slots=True)
class Windows:
    """The windows that a plot reads: those of [start, end) in which there may be samples. Microseconds."""

    start: int
    end: int
    indexes: Sequence[int]

    def bounds(self, window: Window) -> tuple[list[int], list[bool]]:
        """Returns rising bounds, and of the span after each whether it is one of the windows: others are gaps."""
        bounds: list[int] = []
        kept: list[bool] = []
        for index in self.indexes:
            first = window.start(index)
            if not bounds or bounds[-1] != first:
                bounds.append(first)
                kept.append(True)
            else:
                kept[-1] = True
            bounds.append(window.start(index + 1))
            kept.append(False)
        return bounds, kept[:-1]


class PlotValues:
    """Reads the figures of custom metric types; one instance serves all callers."""

    def __init__(self, store: Store, descriptors: Descriptors, blocks: BlockReader) -> None:
        self._store = store
        self._descriptors = descriptors
        self._blocks = blocks

    async def windows(self, subject_ids: Sequence[int], start: int, end: int, window: Window) -> Windows:
        """Returns the windows of [start, end) in which any of the subjects has samples.

        Raises:
            DomainError: STORE_UNAVAILABLE.
        """
        blocks = await self._store.blocks.load(
            subject_ids,
            start // MICROS_PER_DAY,
            (end - 1) // MICROS_PER_DAY,
            summaries=False,
            data_below_rows=0,
        )
        indexes = {
            window.index(moment)
            for moment in _hours(block for held in blocks.values() for block in held)
            if start <= moment < end
        }
        return Windows(start, end, sorted(indexes))

    async def read(
        self,
        tenant: str,
        columns: Sequence[Column],
        choices: Sequence[int],
        windows: Windows,
        window: Window,
        *,
        apart: bool,
    ) -> list[PlotSeries]:
        """Returns the series of columns over windows.

        `choices` are their numbers, which are those of their subjects. Each is answered by itself where they are told
        `apart`, otherwise they are taken together as choice 0.

        Raises:
            DomainError: STORE_UNAVAILABLE.
        """
        names = {column.name for column in columns}
        known = await self._descriptors.by_name(tenant, _KIND, names)
        metrics = {name: known[name].id for name in names if name in known}
        gathered = _Gathered(metrics, apart=apart)
        if windows.indexes and metrics:
            bounds, kept = windows.bounds(window)
            places = [place for place, keep in enumerate(kept) if keep]
            times = [bounds[place] for place in places]
            ids = sorted(choices)
            for first in range(0, len(ids), _CHOICES_AT_ONCE):
                tables = await self._blocks.tables(
                    ids[first : first + _CHOICES_AT_ONCE],
                    max(windows.start, bounds[0]),
                    min(windows.end, bounds[-1]),
                    bounds,
                    metrics=metrics.values(),
                    counters_among=None,
                )
                heavy = len(times) * len(tables) * len(metrics) > _MANY_VALUES
                await off_loop(partial(gathered.add, tables, places, times), heavy=heavy)
        return [gathered.series(column) for column in columns]


def _hours(blocks: Iterable[StoredBlock]) -> set[int]:
    """Returns the beginnings of the hours in which blocks have samples."""
    days: dict[int, int] = {}
    for block in blocks:
        days[block.day] = days.get(block.day, 0) | block.hours
    return {
        day * MICROS_PER_DAY + hour * MICROS_PER_HOUR
        for day, hours in days.items()
        for hour in _HOURS
        if hours >> hour & 1
    }


class _Gathered:
    """The samples of columns by time and choice, put together as they are read."""

    def __init__(self, metrics: Mapping[str, int], *, apart: bool) -> None:
        self._metrics = metrics
        self._apart = apart
        self._stats: dict[str, dict[tuple[int, int], _Stats]] = {name: {} for name in metrics}
        self._doubles: set[str] = set()

    def add(
        self,
        tables: Mapping[int, WindowTable],
        places: Sequence[int],
        times: Sequence[int],
    ) -> None:
        """Adds the samples of some choices: of the windows at `places` of the tables, which begin at `times`."""
        for subject_id, table in tables.items():
            choice = subject_id if self._apart else ALL_CHOICES
            for name, metric in self._metrics.items():
                for stats in table.all_stats(metric):
                    if stats.type not in (ValueType.INT64, ValueType.DOUBLE):
                        continue
                    if stats.type == ValueType.DOUBLE:
                        self._doubles.add(name)
                    present, count = stats.present.tolist(), stats.count.tolist()
                    sums, low, high = stats.sum.tolist(), stats.min.tolist(), stats.max.tolist()
                    of_column = self._stats[name]
                    for place, time in zip(places, times, strict=True):
                        if present[place]:
                            more = _Stats(count[place], sums[place], low[place], high[place])
                            if (known := of_column.get((time, choice))) is None:
                                of_column[time, choice] = more
                            else:
                                known.add(more)

    def series(self, column: Column) -> PlotSeries:
        """Returns the series of a column."""
        stats = self._stats.get(column.name)
        if not stats:
            return PlotSeries(column)
        doubles, total = column.name in self._doubles, _Stats(0, 0, math.inf, -math.inf)
        cells: list[Cell] = sorted(stats)
        values: list[Number] = []
        for cell in cells:
            values.append(stats[cell].value(column.aggregate, doubles=doubles))
            total.add(stats[cell])
        return PlotSeries(column, cells, values, total.value(column.aggregate, doubles=doubles))
