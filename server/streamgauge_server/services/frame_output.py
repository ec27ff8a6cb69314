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
    ordered = sorted(frame.columns.keys() & names.keys(), key=names.__getitem__)
    known = Frame(frame.times, frame.starts, {metric: frame.columns[metric] for metric in ordered})
    return [
        _output(key, start, piece, size, names)
        for start, layer in _alike(known)
        for piece, size in _pieces(layer, bounds)
    ]


def _alike(frame: Frame) -> Iterator[tuple[int, Frame]]:
    """Yields the samples by start time as frames with typed columns: first types of all metrics, then the others."""
    if len(frame.times) == 1 and all(map(_is_plain, frame.columns.values())):
        if frame.columns:  # a single observation, as most watchers are told
            yield int(frame.starts[0]), frame
        return
    for start, part in split_starts(frame):
        columns = {metric: typed(column) for metric, column in part.columns.items()}
        for place in range(max(map(len, columns.values()))):
            layer = {metric: types[place] for metric, types in columns.items() if place < len(types)}
            yield start, only_sampled(Frame(part.times, part.starts, layer))


def _is_plain(column: Column) -> bool:
    return column.present is None and column.starts is None and column.type != ValueType.ANY


def _pieces(frame: Frame, bounds: FrameBounds) -> Iterator[tuple[Frame, int]]:
    """Yields a typed frame in pieces within the bounds, each with its size.

    It is cut between rows, and where a row is too large, between columns.
    """
    rows, columns = len(frame.times), frame.columns
    counts = [_count(column) for column in columns.values()]
    samples = sum(counts)
    size = 8 * rows + sum(map(_column_size, columns.values(), counts))
    if len(columns) <= bounds.columns and samples <= bounds.samples and size <= bounds.size:
        yield frame, size
    elif len(columns) > bounds.columns or rows == 1:
        if len(columns) == 1:
            yield frame, size  # a single value
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
            yield from _pieces(only_sampled(take(frame, slice(low, high))), bounds)


def _count(column: Column) -> int:
    return len(column.values) if column.present is None else int(np.count_nonzero(column.present))


def _column_size(column: Column, count: int) -> int:
    """Returns the most bytes that the values of a column take."""
    rows = 0 if column.present is None else 5 * count
    if column.type != ValueType.STRING:
        return rows + count * column.values.itemsize
    texts = column.values if column.present is None else column.values[column.present]
    return rows + sum(3 + (len(text) if text.isascii() else 4 * len(text)) for text in texts.tolist())


def _output(key: SubjectKey, start: int, frame: Frame, size: int, names: Mapping[int, str]) -> FrameOutput:
    subject = str(key.name)
    columns = [_column(names[metric], column) for metric, column in frame.columns.items()]
    size += _OVERHEAD + len(subject) + 4 * len(key.part)
    size += _OVERHEAD * len(columns) + 4 * sum([len(column.metric) for column in columns])
    start_time = None if start == UNKNOWN_START else start
    return FrameOutput(subject, key.part, start_time, frame.times, columns, size)


def _column(metric: str, column: Column) -> ColumnOutput:
    if column.present is None or column.present.all():
        return ColumnOutput(metric, column.type, column.values, None)
    rows = np.flatnonzero(column.present)
    return ColumnOutput(metric, column.type, column.values[rows], rows.astype(np.uint32))
