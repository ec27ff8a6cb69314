"""A page of an asset's moments out of frames: what fits into one answer, and where the next page begins."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np

from streamgauge_server.model.values import Scalar
from streamgauge_server.timeseries.frame import Column, Frame, Ints

_METRIC_BYTES = 24
"""The most that a metric takes in an answer beside its name and text; a number takes no more either."""
_MOMENT_BYTES = 24
_VALUES_AT_ONCE = 200_000
"""Cells of a frame that are looked at together: it bounds what is in memory of a wide frame beside the page itself."""


class AssetSample(NamedTuple):
    """A metric of an asset by name, and its value as it is stored: int, float, bool or str."""

    metric: str
    value: Scalar


@dataclass(frozen=True, slots=True)
class AssetMoment:
    """Metrics of an asset at one moment (microseconds), in the order in which the asset first reported them."""

    time: int
    samples: list[AssetSample]


class Position(NamedTuple):
    """Where a page begins: at a moment, after one of its metrics (its id) where the page before ended within it."""

    time: int
    after: int | None = None

    def left(self, metrics: Sequence[int]) -> Sequence[int]:
        """Returns those of an asset's metrics, in their order, that the page before does not have of the moment.

        All of them if the last one that it has was deleted since: repeating a metric is better than hiding one.
        """
        return metrics[metrics.index(self.after) + 1 :] if self.after in metrics else metrics


class ReportedMetric(NamedTuple):
    """A metric of an asset: its id and name, and the bytes of the name in UTF-8."""

    id: int
    name: str
    size: int

    @classmethod
    def of(cls, id: int, name: str) -> ReportedMetric:
        """Returns the metric with an id and a name."""
        return cls(id, name, len(name.encode("utf-8")))


_Cell: TypeAlias = tuple[ReportedMetric, Scalar]


class MomentPage:
    """Collects moments in rising order until there are enough of them or the answer would get too large.

    A moment is never divided unless it is too large for a page of its own: then it begins a page and is continued on
    the next one. A page begins right after the last moment of the one before and not at the moment that would have been
    its next, so that a reader finds what is written there in between.
    """

    def __init__(self, size: int, max_bytes: int) -> None:
        self.moments: list[AssetMoment] = []
        self.next: Position | None = None
        """Where the next page begins; None as long as nothing follows."""
        self.size = size
        """How many moments the page has at most."""
        self._max_bytes = max_bytes
        self._room = max_bytes

    def add(self, frame: Frame, metrics: Sequence[ReportedMetric]) -> bool:
        """Adds the moments of a frame, later than all before; returns whether the page has ended.

        `metrics` are the metrics of the asset in their order; columns of others are left out.
        """
        columns = [(metric, frame.columns[metric.id]) for metric in metrics if metric.id in frame.columns]
        if not columns:
            return False
        rows = _reporting(frame, [column for _, column in columns])
        at_once = max(1, min(self.size + 1, _VALUES_AT_ONCE // len(columns)))
        for first in range(0, len(rows), at_once):
            some = rows[first : first + at_once]
            for time, cells in zip(frame.times[some].tolist(), _cells(columns, some), strict=True):
                if self._add_moment(time, cells):
                    return True
        return False

    def _add_moment(self, time: int, cells: Sequence[_Cell]) -> bool:
        if len(self.moments) == self.size:
            return self._end(Position(self.moments[-1].time + 1))
        sizes = [_METRIC_BYTES + metric.size + _text_bytes(value) for metric, value in cells]
        whole = _MOMENT_BYTES + sum(sizes)
        if whole <= self._room:
            self._room -= whole
            self.moments.append(AssetMoment(time, _samples(cells)))
            return False
        if self.moments:
            return self._end(Position(self.moments[-1].time + 1))
        # At least one metric, so that every page gets somewhere.
        fitting = max(1, int(np.searchsorted(np.cumsum(sizes), self._max_bytes - _MOMENT_BYTES, side="right")))
        self.moments.append(AssetMoment(time, _samples(cells[:fitting])))
        return self._end(Position(time, cells[fitting - 1][0].id) if fitting < len(cells) else Position(time + 1))

    def _end(self, following: Position) -> bool:
        self.next = following
        return True


def _reporting(frame: Frame, columns: Iterable[Column]) -> Ints:
    """Returns the rows in which at least one of some columns has a value."""
    reporting = np.zeros(len(frame.times), np.bool_)
    for column in columns:
        if column.present is None:
            return np.arange(len(frame.times))
        reporting |= column.present
    return np.flatnonzero(reporting)


def _cells(columns: Iterable[tuple[ReportedMetric, Column]], rows: Ints) -> list[list[_Cell]]:
    """Returns for each of some rows the metrics that have a value there, in the order of the columns."""
    cells: list[list[_Cell]] = [[] for _ in rows]
    for metric, column in columns:
        there = np.arange(len(rows)) if column.present is None else np.flatnonzero(column.present[rows])
        for position, value in zip(there.tolist(), column.values[rows[there]].tolist(), strict=True):
            cells[position].append((metric, value))
    return cells


def _samples(cells: Iterable[_Cell]) -> list[AssetSample]:
    return [AssetSample(metric.name, value) for metric, value in cells]


def _text_bytes(value: Scalar) -> int:
    if not isinstance(value, str):
        return 0
    return len(value) if value.isascii() else len(value.encode("utf-8"))
