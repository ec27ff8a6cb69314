"""Runs of a file put together into the frames of an import, and taken apart again where the server refuses one."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from streamgauge.enums import Scalar
from streamgauge.files.runs import Run
from streamgauge.v1 import common_pb2

MAX_SAMPLES = 100_000
"""Samples in one frame: the server's default bound."""
MAX_COLUMNS = 10_000
MAX_TEXT = 2 * 1024 * 1024
"""Characters of texts in one frame."""
_DAY = 86_400_000_000


@dataclass(frozen=True, slots=True)
class PieceColumn:
    """Samples of one metric and type, moments rising strictly; `runs` are the rows of the file that they are from."""

    metric: str
    type: str
    times: Sequence[int]
    values: Sequence[Scalar]
    runs: Sequence[Run]

    def within(self, low: int, high: int) -> PieceColumn:
        """Returns the samples in [low, high)."""
        first, last = bisect_left(self.times, low), bisect_left(self.times, high)
        return PieceColumn(self.metric, self.type, self.times[first:last], self.values[first:last], self.runs)

    def rows(self) -> tuple[int, int]:
        """Returns the first and the last row of the file that these samples are from."""
        wanted = set(self.times)
        found = [run.row + place for run in self.runs for place, time in enumerate(run.times) if time in wanted]
        return min(found), max(found)


@dataclass(frozen=True, slots=True)
class Piece:
    """Samples that are sent as one frame."""

    subject: str
    part: str
    start: int | None
    columns: Sequence[PieceColumn]

    @property
    def samples(self) -> int:
        """How many samples there are."""
        return sum(len(column.times) for column in self.columns)

    def message(self) -> common_pb2.Frame:
        """Returns the frame."""
        first = self.columns[0].times
        shared = all(column.times == first for column in self.columns)
        times = first if shared else sorted(set().union(*(column.times for column in self.columns)))
        frame = common_pb2.Frame(subject=self.subject, part=self.part, time_unix_micros=[t & _UNSIGNED for t in times])
        if self.start is not None:
            frame.start_time.seconds, micros = divmod(self.start, 1_000_000)
            frame.start_time.nanos = micros * 1_000
        places = {} if shared else {time: place for place, time in enumerate(times)}
        for column in self.columns:
            to = frame.columns.add(metric=column.metric)
            getattr(to, _MEMBERS[column.type]).values.extend(column.values)
            if len(column.times) < len(times):
                to.rows.extend([places[time] for time in column.times])
        return frame

    def split(self) -> list[Piece]:
        """Returns the piece as smaller ones: a metric each, or the halves of one metric; itself when it is a sample."""
        if len(self.columns) > 1:
            return [Piece(self.subject, self.part, self.start, [column]) for column in self.columns]
        (column,) = self.columns
        if len(column.times) == 1:
            return [self]
        middle = column.times[len(column.times) // 2]
        halves = (column.within(column.times[0], middle), column.within(middle, column.times[-1] + 1))
        return [Piece(self.subject, self.part, self.start, [half]) for half in halves]

    def rows(self) -> tuple[int, int]:
        """Returns the first and the last row of the file that it is from."""
        found = [column.rows() for column in self.columns]
        return min(first for first, _ in found), max(last for _, last in found)


_UNSIGNED = (1 << 64) - 1
_MEMBERS = {"double": "doubles", "int64": "ints", "bool": "bools", "string": "strings"}


class Assembly:
    """Collects runs; those of one subject, part and start time become frames, cut at midnight where they are large."""

    def __init__(self) -> None:
        self._groups: dict[tuple[str, str, int | None], dict[tuple[str, str], list[Run]]] = {}
        self.samples = 0
        self.last_row = 0
        """The last row that was taken."""

    def add(self, run: Run) -> None:
        """Takes a run."""
        key = run.key
        group = self._groups.setdefault((key.subject, key.part, key.start), {})
        group.setdefault((key.metric, key.type), []).append(run)
        self.samples += len(run.times)
        self.last_row = run.row + len(run.times) - 1

    def pieces(self) -> Iterator[Piece]:
        """Yields everything as frames, in the order of first sight; a metric of several types has one for each."""
        for (subject, part, start), group in self._groups.items():
            layers: list[dict[str, PieceColumn]] = []
            for (metric, kind), runs in group.items():
                layer = next((layer for layer in layers if metric not in layer), None)
                if layer is None:
                    layer = {}
                    layers.append(layer)
                layer[metric] = _column(metric, kind, runs)
            for layer in layers:
                yield from _cut(Piece(subject, part, start, list(layer.values())))


def _column(metric: str, kind: str, runs: Sequence[Run]) -> PieceColumn:
    if len(runs) == 1:
        times, values = runs[0].times, runs[0].values
    else:
        times = [time for run in runs for time in run.times]
        values = [value for run in runs for value in run.values]
    if any(one >= other for one, other in pairwise(times)):
        stands = dict(zip(times, values, strict=True))  # of rows of the same moment the last one
        times = sorted(stands)
        values = [stands[time] for time in times]
    return PieceColumn(metric, kind, times, values, runs)


def _cut(piece: Piece) -> Iterator[Piece]:
    """Yields a piece in parts that the server takes."""
    columns = piece.columns
    texts = sum(len(str(text)) for column in columns if column.type == "string" for text in column.values)
    if piece.samples <= MAX_SAMPLES and len(columns) <= MAX_COLUMNS and texts <= MAX_TEXT:
        yield piece
        return
    low, high = min(column.times[0] for column in columns), max(column.times[-1] for column in columns)
    if low == high:
        if len(columns) == 1:
            yield piece
            return
        middle_of = len(columns) // 2
        parts = [list(columns[:middle_of]), list(columns[middle_of:])]
    else:
        middle = (low + high) // 2 + 1
        midnight = middle // _DAY * _DAY
        cut_at = midnight if midnight > low else middle
        parts = [
            [some for column in columns if (some := column.within(first, last)).times]
            for first, last in ((low, cut_at), (cut_at, high + 1))
        ]
    for part in parts:
        yield from _cut(Piece(piece.subject, piece.part, piece.start, part))
