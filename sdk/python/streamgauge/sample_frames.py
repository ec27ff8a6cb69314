"""Samples as a server sends them, in column form: what exports and watches hand on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from streamgauge import _decode
from streamgauge.enums import Scalar, ValueType
from streamgauge.frames import Frame
from streamgauge.v1 import common_pb2, metrics_service_pb2

if TYPE_CHECKING:
    import pandas

_MEMBERS = {
    "doubles": ValueType.DOUBLE,
    "ints": ValueType.INT64,
    "bools": ValueType.BOOL,
    "strings": ValueType.STRING,
}
_SIGN = 1 << 63


@dataclass(frozen=True, slots=True)
class SampleColumn:
    """The values of one metric, all of one type; `rows` are those of the frame that have one."""

    metric: str
    value_type: ValueType
    values: Sequence[Scalar]
    rows: Sequence[int]


class SampleFrame:
    """Samples of one subject, or one part of it, with one start time: rows by time, columns by metric name.

    Nothing is copied before it is asked for. `message` is what the server sent.
    """

    __slots__ = ("message",)

    def __init__(self, message: common_pb2.Frame) -> None:
        self.message = message

    @property
    def subject(self) -> str:
        """The subject's resource name."""
        return self.message.subject

    @property
    def part(self) -> str:
        """The part that was measured, empty for the subject as a whole."""
        return self.message.part

    @property
    def start_time(self) -> datetime | None:
        """Since when the counters count, None where that was not told."""
        return _decode.maybe(self.message, "start_time")

    @property
    def times(self) -> list[int]:
        """The moments, rising, in microseconds since 1970."""
        return [time - (time >= _SIGN) * 2 * _SIGN for time in self.message.time_unix_micros]

    @property
    def columns(self) -> dict[str, SampleColumn]:
        """The columns by metric name."""
        return {column.metric: _column(column, len(self.message.time_unix_micros)) for column in self.message.columns}

    @property
    def sample_count(self) -> int:
        """How many samples there are."""
        return sum(len(column.values) for column in self.columns.values())

    def to_frame(self) -> Frame:
        """Returns the samples as `client.metrics.import_frames` takes them; None marks gaps."""
        rows = len(self.message.time_unix_micros)
        return Frame(
            self.subject,
            self.times,
            {name: spread(column, rows) for name, column in self.columns.items()},
            self.part,
            self.start_time,
        )

    def to_dataframe(self) -> pandas.DataFrame:
        """Returns a row per moment, a column per metric. Needs `streamgauge[pandas]`."""
        from streamgauge import dataframes

        return dataframes.from_samples(self)

    def __repr__(self) -> str:
        part = f" part {self.part!r}" if self.part else ""
        metrics = ", ".join(column.metric for column in self.message.columns)
        return f"<SampleFrame {self.subject}{part}, {len(self.message.time_unix_micros)} rows: {metrics}>"


@dataclass(frozen=True, slots=True)
class ExportPart:
    """What an export has whole at a time: frames, and the cursor behind them.

    `subject_count` is how many subjects and parts there are in all, `subjects_done` how many are whole with this.
    `unknown_subjects` do not exist; `damaged` are days of which something could not be read, as
    `{subject} {yyyy-mm-dd}`.
    """

    frames: tuple[SampleFrame, ...]
    cursor: str
    subject_count: int
    subjects_done: int
    unknown_subjects: tuple[str, ...]
    damaged: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class WatchedSamples:
    """One message of a watch: frames, none in a heartbeat, and the cursor from which a later watch goes on."""

    frames: tuple[SampleFrame, ...]
    cursor: str


def spread(column: SampleColumn, rows: int) -> list[Scalar | None]:
    """Returns one value per row, None in the gaps."""
    if len(column.values) == rows:
        return list(column.values)
    values: list[Scalar | None] = [None] * rows
    for row, value in zip(column.rows, column.values, strict=True):
        values[row] = value
    return values


def export_part(message: metrics_service_pb2.ExportMetricsResponse) -> ExportPart:
    """Returns a message of an export."""
    return ExportPart(
        tuple(map(SampleFrame, message.frames)),
        message.cursor,
        message.subject_count,
        message.subjects_done,
        tuple(message.unknown_subjects),
        tuple(message.damaged),
    )


def watched_samples(message: metrics_service_pb2.WatchMetricsResponse) -> WatchedSamples:
    """Returns a message of a watch."""
    return WatchedSamples(tuple(map(SampleFrame, message.frames)), message.cursor)


def _column(message: common_pb2.Column, rows: int) -> SampleColumn:
    member = message.WhichOneof("values")
    values: Sequence[Scalar] = () if member is None else getattr(message, member).values
    value_type = ValueType.UNKNOWN if member is None else _MEMBERS[member]
    return SampleColumn(message.metric, value_type, values, message.rows or range(rows))
