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

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

from streamgauge.enums import Scalar
from streamgauge.sample_frames import SampleFrame

KEYS = ("subject", "part", "time", "start_time", "metric", "type")
TYPES = ("double", "int64", "bool", "string")
VALUES = tuple(f"{kind}_value" for kind in TYPES)
FIELDS = (*KEYS, *VALUES)
"""The columns of a file, in order."""
REQUIRED = ("subject", "time", "metric", "type")
"""Those that a file must have; beside them the columns of the values that there are."""


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


def stretches(keys: Iterable[tuple[object, ...]]) -> Iterator[tuple[tuple[object, ...], int, int]]:
    """Yields the stretches of equal keys: the key, and from which place to which, the last one not included."""
    begin = 0
    for key, same in groupby(keys):
        end = begin + sum(1 for _ in same)
        yield key, begin, end
        begin = end
