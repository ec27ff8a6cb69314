"""Samples as files have them: one row per sample, in runs of rows that share all but moment and value.

The columns are the same in every format:

| column | holds |
|---|---|
| `subject` | the resource name, such as `sources/orders` |
| `part` | the part that was measured, empty for the subject as a whole |
| `time` | the moment, UTC, in microseconds |
| `start_time` | since when the counters count, empty where that was not told |
| `metric` | the metric's name |
| `type` | `double`, `int64`, `bool` or `string`: which of the four that follow holds the value |
| `double_value`, `int64_value`, `bool_value`, `string_value` | the value, in the column of its type |
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from streamgauge.enums import Scalar
from streamgauge.sample_frames import SampleFrame

KEYS = ("subject", "part", "time", "start_time", "metric", "type")
TYPES = ("double", "int64", "bool", "string")
VALUES = tuple(f"{kind}_value" for kind in TYPES)
FIELDS = (*KEYS, *VALUES)
"""The columns of a file, in order."""

MAX_RUN = 50_000
"""Rows of a run as it is read: what is longer comes in several."""


class RunKey(NamedTuple):
    """What the rows of a run share. `start` is in microseconds since 1970, None where it is not known."""

    subject: str
    part: str
    start: int | None
    metric: str
    type: str


@dataclass(frozen=True, slots=True)
class Run:
    """Rows that follow one another, of one metric and type: moments in microseconds since 1970, and values.

    `row` is the number of the first one, from 1.
    """

    key: RunKey
    times: Sequence[int]
    values: Sequence[Scalar]
    row: int = 0


class FileError(ValueError):
    """A file is not of the layout, or cannot be written as asked. It says where and what."""


def runs_of(frame: SampleFrame) -> Iterator[Run]:
    """Yields the samples of a frame, a run per metric."""
    times = frame.times
    start = None
    if frame.message.HasField("start_time"):
        began = frame.message.start_time
        start = began.seconds * 1_000_000 + began.nanos // 1_000
    for column in frame.columns.values():
        moments = times if len(column.values) == len(times) else [times[row] for row in column.rows]
        key = RunKey(frame.subject, frame.part, start, column.metric, column.value_type.value)
        yield Run(key, moments, column.values)


class RunReader:
    """Puts rows that follow one another and share a key together."""

    def __init__(self, first_row: int = 1) -> None:
        self.row = first_row
        """The number of the next row."""
        self._key: RunKey | None = None
        self._times: list[int] = []
        self._values: list[Scalar] = []

    def add(self, key: RunKey, time: int, value: Scalar) -> Run | None:
        """Takes a row, and returns the run before it if that has ended."""
        done = None
        if key != self._key or len(self._times) >= MAX_RUN:
            done = self.rest()
            self._key, self._times, self._values = key, [], []
        self._times.append(time)
        self._values.append(value)
        self.row += 1
        return done

    def rest(self) -> Run | None:
        """Returns the last run, None if there is none."""
        if self._key is None or not self._times:
            return None
        run = Run(self._key, self._times, self._values, self.row - len(self._times))
        self._times, self._values = [], []
        return run
