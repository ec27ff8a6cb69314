"""The frame: a small table of observations in memory, moments by metrics, in typed columns.

A column whose values are of several types is of type ANY, see `mixed`.

All merging of observations happens here. Of two writes to the same moment and metric the later one stands; values of
other metrics at the same moment stay. Merging is associative and idempotent, so blocks may be folded in any grouping.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from streamgauge_server.model.clock import MICROS_PER_DAY
from streamgauge_server.model.values import ValueType

UNKNOWN_START = -1
"""The start time of a sample whose writer told none."""

Ints: TypeAlias = NDArray[np.int64]
Bools: TypeAlias = NDArray[np.bool_]
Values: TypeAlias = NDArray[Any]

DTYPES: dict[ValueType, Any] = {
    ValueType.DOUBLE: np.float64,
    ValueType.INT64: np.int64,
    ValueType.BOOL: np.bool_,
    ValueType.STRING: np.object_,
    ValueType.ANY: np.object_,
}
"""The numpy type of a column's values, by value type. Texts are arrays of Python strings, ANY is one of Python scalars.
"""

FILLERS: dict[ValueType, Any] = {
    ValueType.DOUBLE: 0.0,
    ValueType.INT64: 0,
    ValueType.BOOL: False,
    ValueType.STRING: "",
    ValueType.ANY: "",
}
"""What stands where a column has no value."""


@dataclass(frozen=True, slots=True, eq=False)
class Column:
    """The values of one metric, one entry per row of its frame.

    `values` holds arbitrary filler where `present` is False; `present` None means that every row has a value. `starts`
    is given only where a sample's writer told another start time than the row's (two writers at the same moment); None
    means that the frame's `starts` hold. `type` is that of every value (DOUBLE, INT64, BOOL, STRING), or ANY: then each
    value is a Python scalar with a type of its own.
    """

    type: ValueType
    values: Values
    present: Bools | None = None
    starts: Ints | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """Observations of one subject or part.

    `times` rise strictly. `starts` tells for each row since when its counters count, UNKNOWN_START where that was not
    told. `columns` are by metric id, each with at least one value.
    """

    times: Ints
    starts: Ints
    columns: Mapping[int, Column]

    def starts_of(self, metric: int) -> Ints:
        """Returns the start times of a metric's samples, one per row."""
        starts = self.columns[metric].starts
        return self.starts if starts is None else starts


def build_frame(times: Ints, starts: Ints, columns: Mapping[int, Column], ranks: Ints | None = None) -> Frame:
    """Returns the frame of rows in any order in which moments may repeat.

    For each moment and metric the last row with a value stands, and of the start times told for it the last one. The
    last is the one with the highest rank, where `ranks` are given, and else the one that comes last.
    """
    rows = len(times)
    if rows < 2 or bool((times[1:] > times[:-1]).all()):
        return Frame(times, starts, {metric: column for metric, column in columns.items() if _has_value(column)})
    order = np.argsort(times, kind="stable") if ranks is None else np.lexsort((ranks, times))
    ordered = times[order]
    heads = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
    if len(heads) == rows:
        return take(Frame(times, starts, columns), order)
    row_starts = starts[order]
    frame_starts = _last_where(row_starts, row_starts != UNKNOWN_START, heads, UNKNOWN_START)
    merged: dict[int, Column] = {}
    for metric, column in columns.items():
        present = np.ones(rows, np.bool_) if column.present is None else column.present[order]
        last = _last_index(present, heads)
        has_value = last >= 0
        if not has_value.any():
            continue
        own = row_starts if column.starts is None else column.starts[order]
        sample_starts = _last_where(own, present & (own != UNKNOWN_START), heads, UNKNOWN_START)
        same_starts = bool((sample_starts == frame_starts)[has_value].all())
        merged[metric] = Column(
            column.type,
            column.values[order][last],  # a row without a value takes the array's last entry as filler
            None if has_value.all() else has_value,
            None if same_starts else sample_starts,
        )
    return Frame(ordered[heads], frame_starts, merged)


def spread(value_type: ValueType, values: Values, rows: Values | Sequence[int] | None, count: int) -> Column:
    """Returns a column of `count` rows out of the values of some, in the order of `rows`; None means all of them."""
    if rows is None or len(rows) == count:
        return Column(value_type, values)
    full, present = np.full(count, FILLERS[value_type], DTYPES[value_type]), np.zeros(count, np.bool_)
    full[rows] = values
    present[rows] = True
    return Column(value_type, full, present)


def merge(frames: Sequence[Frame]) -> Frame:
    """Returns one frame of all samples; where a moment and metric repeat, the later frame wins.

    The start time of a sample is the last one told for it. A metric of which the frames hold several types is of type
    ANY.
    """
    return frames[0] if len(frames) == 1 else build_frame(*lay_end_to_end(frames))


def lay_end_to_end(frames: Sequence[Frame]) -> tuple[Ints, Ints, dict[int, Column]]:
    """Returns moments, start times and columns of the rows of several frames, one frame after the other."""
    if len(frames) == 1:
        return frames[0].times, frames[0].starts, dict(frames[0].columns)
    rows = sum(len(frame.times) for frame in frames)
    times = np.concatenate([frame.times for frame in frames]) if frames else np.empty(0, np.int64)
    starts = np.concatenate([frame.starts for frame in frames]) if frames else np.empty(0, np.int64)
    holders: dict[int, list[tuple[int, Frame]]] = {}
    offset = 0
    for frame in frames:
        for metric in frame.columns:
            holders.setdefault(metric, []).append((offset, frame))
        offset += len(frame.times)
    return times, starts, {metric: _stack(metric, held, rows, starts) for metric, held in holders.items()}


def split_days(frame: Frame) -> list[tuple[int, Frame]]:
    """Returns the frame's parts by UTC day, as (days since 1970-01-01, frame), in order. No part without samples."""
    if not len(frame.times):
        return []
    first, last = int(frame.times[0]) // MICROS_PER_DAY, int(frame.times[-1]) // MICROS_PER_DAY
    if first == last:
        return [(first, frame)] if frame.columns else []
    days = frame.times // MICROS_PER_DAY
    heads = np.flatnonzero(np.concatenate(([True], days[1:] != days[:-1])))
    tails = np.concatenate((heads[1:], [len(days)]))
    parts = [
        (int(days[head]), _slice(frame, slice(int(head), int(tail)), None))
        for head, tail in zip(heads, tails, strict=True)
    ]
    return [(day, part) for day, part in parts if part.columns]


def cut(frame: Frame, start: int, end: int, metrics: Collection[int] | None = None) -> Frame | None:
    """Returns the rows in [start, end), of some metrics or all; None when no sample is left."""
    low, high = np.searchsorted(frame.times, (start, end))
    part = _slice(frame, slice(int(low), int(high)), metrics)
    return part if part.columns else None


def within(frame: Frame, spans: Sequence[tuple[int, int]]) -> Frame:
    """Returns the rows in some spans of time [start, end), which rise and are disjoint."""
    edges = np.searchsorted(frame.times, np.array(spans, np.int64).ravel()).tolist()
    stretches = [(low, high) for low, high in zip(edges[::2], edges[1::2], strict=True) if low < high]
    if stretches == [(0, len(frame.times))]:
        return frame
    if len(stretches) == 1:
        return take(frame, slice(*stretches[0]))
    rows = [np.arange(low, high) for low, high in stretches]
    return take(frame, np.concatenate(rows) if rows else slice(0, 0))


def take(frame: Frame, rows: Ints | slice) -> Frame:
    """Returns chosen rows in that order; columns without a value are left out."""
    columns: dict[int, Column] = {}
    for metric, column in frame.columns.items():
        present = None if column.present is None else column.present[rows]
        taken = Column(
            column.type, column.values[rows], present, None if column.starts is None else column.starts[rows]
        )
        if _has_value(taken):
            columns[metric] = taken
    return Frame(frame.times[rows], frame.starts[rows], columns)


def _has_value(column: Column) -> bool:
    return bool(len(column.values)) if column.present is None else bool(column.present.any())


def _slice(frame: Frame, rows: slice, metrics: Collection[int] | None) -> Frame:
    if metrics is not None:
        wanted = {metric: column for metric, column in frame.columns.items() if metric in metrics}
        frame = Frame(frame.times, frame.starts, wanted)
    return take(frame, rows)


def _last_index(flags: Bools, heads: Ints) -> Ints:
    """Returns per group the position of its last True, or -1; group `g` begins at `heads[g]`."""
    positions = np.where(flags, np.arange(len(flags)), -1)
    last: Ints = np.maximum.reduceat(positions, heads)
    return last


def _last_where(values: Ints, flags: Bools, heads: Ints, otherwise: int) -> Ints:
    last = _last_index(flags, heads)
    return np.where(last >= 0, values[last], otherwise)


def _stack(metric: int, held: Sequence[tuple[int, Frame]], rows: int, starts: Ints) -> Column:
    """Returns a metric's column over the rows of several frames laid end to end."""
    parts = [frame.columns[metric] for _, frame in held]
    value_type = parts[0].type
    if any(part.type != value_type for part in parts):
        value_type = ValueType.ANY  # numpy turns numbers and booleans into Python scalars as it casts them to objects
    complete = sum(len(part.values) for part in parts) == rows
    if complete and all(part.present is None for part in parts):
        values, present = np.concatenate([part.values for part in parts], dtype=DTYPES[value_type]), None
    else:
        values, present = np.full(rows, FILLERS[value_type], DTYPES[value_type]), np.zeros(rows, np.bool_)
        for (offset, frame), part in zip(held, parts, strict=True):
            here = slice(offset, offset + len(frame.times))
            values[here] = part.values
            present[here] = True if part.present is None else part.present
    if all(part.starts is None for part in parts):
        return Column(value_type, values, present)
    own = starts.copy()
    for (offset, frame), part in zip(held, parts, strict=True):
        if part.starts is not None:
            own[offset : offset + len(frame.times)] = part.starts
    return Column(value_type, values, present, own)
