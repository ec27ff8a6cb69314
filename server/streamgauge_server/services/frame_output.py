"""Frames as they go out: by start time, with a type per column, and in pieces that fit into messages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from streamgauge_server.model.limits import Limits
from streamgauge_server.model.values import ValueType
from streamgauge_server.storage.subjects import SubjectKey
from streamgauge_server.timeseries.frame import UNKNOWN_START, Column, Frame, Ints, Values, take
from streamgauge_server.timeseries.mixed import typed
from streamgauge_server.timeseries.start_times import only_sampled, split_starts

_MAX_BYTES = 1 << 20
"""Size of a frame, about: messages of a MiB cost nothing beside what is in them, and larger ones wait for memory."""
_OVERHEAD = 64
"""Bytes of a frame or column beside its names and arrays, at most."""


@dataclass(frozen=True, slots=True, eq=False)
class ColumnOutput:
    """One metric of a frame; `rows` is None where every row has a value."""

    metric: str
    type: ValueType
    values: Values
    rows: NDArray[np.uint32] | None


@dataclass(frozen=True, slots=True, eq=False)
class FrameOutput:
    """A frame as it is sent: the samples of one start time, None where it is unknown. `times` in microseconds, rising.

    `size` is what it weighs as a message, at most, in bytes.
    """

    subject: str
    part: str
    start_time: int | None
    times: Ints
    columns: Sequence[ColumnOutput]
    size: int

    @property
    def samples(self) -> int:
        """How many values the frame holds."""
        return sum(len(column.values) for column in self.columns)


@dataclass(frozen=True, slots=True)
class FrameBounds:
    """How large a frame may be. What goes out is within the bounds of what may come in, so that it can come back."""

    samples: int
    columns: int
    size: int

    @classmethod
    def of(cls, limits: Limits) -> FrameBounds:
        """Returns the bounds of a server with some limits."""
        # Half of a response is left for what a message has beside frames.
        size = min(_MAX_BYTES, limits.max_response_bytes // 2, limits.max_request_bytes // 2)
        return cls(limits.max_samples_per_frame, limits.max_metrics_per_observation, size)


def output_frames(key: SubjectKey, frame: Frame, names: Mapping[int, str], bounds: FrameBounds) -> list[FrameOutput]:
    """Returns the samples of a subject or part as frames to send.

    By start time, rising, unknown ones first; then by time, columns by name. A metric with samples of several types
    has a frame for each further type. `names` are those of metrics by id; a metric without one is left out.
    """
    known = {
        metric: frame.columns[metric] for metric in sorted(frame.columns.keys() & names.keys(), key=names.__getitem__)
    }
    return [
        _output(key, start, piece, names)
        for start, part in split_starts(Frame(frame.times, frame.starts, known))
        for layer in _layers(part)
        for piece in _pieces(layer, bounds)
    ]


def _layers(frame: Frame) -> Iterator[Frame]:
    """Yields the frame as ones with typed columns: the first types of all metrics, then the second ones, and so on."""
    columns = {metric: typed(column) for metric, column in frame.columns.items()}
    for place in range(max(map(len, columns.values()))):
        layer = {metric: types[place] for metric, types in columns.items() if place < len(types)}
        yield only_sampled(Frame(frame.times, frame.starts, layer))


def _pieces(frame: Frame, bounds: FrameBounds) -> Iterator[Frame]:
    """Yields a typed frame in pieces within the bounds: cut between rows; where a row is too large, between columns."""
    rows, columns = len(frame.times), frame.columns
    samples, size = sum(map(_count, columns.values())), _size(frame)
    if len(columns) <= bounds.columns and samples <= bounds.samples and size <= bounds.size:
        yield frame
    elif len(columns) > bounds.columns or rows == 1:
        if len(columns) == 1:
            yield frame  # a single value
            return
        metrics = list(columns)
        middle = len(metrics) // 2
        for half in (metrics[:middle], metrics[middle:]):
            part = Frame(frame.times, frame.starts, {metric: columns[metric] for metric in half})
            yield from _pieces(only_sampled(part), bounds)
    else:
        count = min(rows, max(-(-samples // bounds.samples), -(-size // bounds.size)))
        edges = [rows * place // count for place in range(count + 1)]
        for low, high in pairwise(edges):
            yield from _pieces(take(frame, slice(low, high)), bounds)


def _count(column: Column) -> int:
    return len(column.values) if column.present is None else int(np.count_nonzero(column.present))


def _size(frame: Frame) -> int:
    """Returns the most bytes that moments and values take."""
    return 8 * len(frame.times) + sum(_column_size(column) for column in frame.columns.values())


def _column_size(column: Column) -> int:
    count = _count(column)
    rows = 0 if column.present is None else 5 * count
    if column.type != ValueType.STRING:
        return rows + count * column.values.itemsize
    texts = column.values if column.present is None else column.values[column.present]
    return rows + sum(3 + (len(text) if text.isascii() else 4 * len(text)) for text in texts.tolist())


def _output(key: SubjectKey, start: int, frame: Frame, names: Mapping[int, str]) -> FrameOutput:
    columns = [_column(names[metric], column) for metric, column in frame.columns.items()]
    heads = sum(_OVERHEAD + 4 * len(column.metric) for column in columns)
    size = _OVERHEAD + len(str(key.name)) + 4 * len(key.part) + heads + _size(frame)
    return FrameOutput(str(key.name), key.part, None if start == UNKNOWN_START else start, frame.times, columns, size)


def _column(metric: str, column: Column) -> ColumnOutput:
    if column.present is None or column.present.all():
        return ColumnOutput(metric, column.type, column.values, None)
    rows = np.flatnonzero(column.present)
    return ColumnOutput(metric, column.type, column.values[rows], rows.astype(np.uint32))
