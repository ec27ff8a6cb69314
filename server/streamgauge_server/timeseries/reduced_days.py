"""Answers of days whose samples are gone, out of the summaries that are left.

The rule: an hour of a metric counts wholly to the window, and the range, that holds the moment of its first sample. So
every hour counts once in windows and ranges that follow each other, and windows of whole hours are answered as they
were when there were samples.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from streamgauge_server.model.clock import MICROS_PER_DAY
from streamgauge_server.timeseries.frame import Bools, Ints
from streamgauge_server.timeseries.number_table import Cell
from streamgauge_server.timeseries.summary import Summary, decode_summaries

_DAY_BITS = 23
"""Bits in which a day since the year 1 fits; the metric is in those above."""


class Summaries(Protocol):
    """What is read of a stored block."""

    @property
    def rows(self) -> int:
        """How many moments its data hold, 0 where there are none."""
        ...

    @property
    def day(self) -> int:
        """The day, since 1970."""
        ...

    @property
    def first_time(self) -> int:
        """The first moment that its summaries tell of."""
        ...

    @property
    def last_time(self) -> int:
        """The last one."""
        ...

    @property
    def hour_summary(self) -> bytes | None:
        """The summaries by hour, None where they are not loaded."""
        ...

    @property
    def day_summary(self) -> bytes | None:
        """The summary of the day, None where it is not loaded."""
        ...


@dataclass(frozen=True, slots=True)
class ReducedDays:
    """What reduced blocks say: `pieces` are part of the answer; `closed` days of metrics have no other part in it."""

    pieces: Sequence[Summary]
    closed: Ints
    metrics: frozenset[int]
    """Metrics of which any day is closed that also has blocks with samples."""

    def without_closed(self, pieces: Iterable[Summary]) -> list[Summary]:
        """Returns summaries of samples without what was written to closed days; no entry may reach over a day."""
        if not self.metrics:
            return list(pieces)
        return [
            Summary(
                piece.numbers[:, ~self._is_closed(piece.numbers[Cell.METRIC], piece.numbers[Cell.FIRST_TIME])],
                piece.texts.take(~self._is_closed(piece.texts.metrics, piece.texts.first_times)),
            )
            for piece in pieces
        ]

    def _is_closed(self, metrics: Ints, times: Ints) -> Bools:
        found: Bools = np.isin(_keys(metrics, times), self.closed)
        return found


def read_reduced(
    blocks: Iterable[Summaries],
    days_held: Collection[int],
    low: int,
    high: int,
    bounds: Sequence[int],
    metrics: Collection[int] | None,
) -> ReducedDays | None:
    """Reads the reduced ones among blocks of a subject for an answer over windows in [low, high); None without any.

    `days_held` are the days that also have blocks with samples.

    Raises ValueError where an edge cuts a block whose summaries by hour are not loaded, BlockCorrupt.
    """
    by_day: list[bytes] = []
    by_hour: list[bytes] = []
    for block in blocks:
        if block.rows or not (block.day in days_held or (block.first_time < high and block.last_time >= low)):
            continue
        whole = low <= block.first_time and block.last_time < high
        whole = whole and bisect_right(bounds, block.first_time) == bisect_right(bounds, block.last_time)
        stored = block.day_summary if whole else block.hour_summary
        if stored is None:
            raise ValueError("summaries are needed of a block without samples, and are not loaded")
        (by_day if whole else by_hour).append(stored)
    if not by_day and not by_hour:
        return None
    pieces = [decode_summaries(stored, metrics) for stored in (by_day, by_hour) if stored]
    closed = np.concatenate([keys for piece in pieces for keys in _closed_by(piece)])
    days = np.array(sorted(days_held), np.int64)
    closed = np.unique(closed[np.isin(_days_of(closed), days)])
    return ReducedDays(
        [begun_within(piece, low, high) for piece in pieces], closed, frozenset((closed >> _DAY_BITS).tolist())
    )


def begun_within(piece: Summary, low: int, high: int) -> Summary:
    """Returns the entries whose first sample is in [low, high)."""
    numbers, texts = piece.numbers, piece.texts
    here = (numbers[Cell.FIRST_TIME] >= low) & (numbers[Cell.FIRST_TIME] < high)
    return Summary(numbers[:, here], texts.take((texts.first_times >= low) & (texts.first_times < high)))


def _closed_by(piece: Summary) -> tuple[Ints, Ints]:
    numbers, texts = piece.numbers, piece.texts
    return _keys(numbers[Cell.METRIC], numbers[Cell.FIRST_TIME]), _keys(texts.metrics, texts.first_times)


def _keys(metrics: Ints, times: Ints) -> Ints:
    """Returns a number for each metric and day."""
    return (metrics << _DAY_BITS) + (times // MICROS_PER_DAY + _HALF)


def _days_of(keys: Ints) -> Ints:
    days: Ints = (keys & ((1 << _DAY_BITS) - 1)) - _HALF
    return days


_HALF = 1 << (_DAY_BITS - 1)
