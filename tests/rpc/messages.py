"""Short ways to write requests and to read answers. Moments are microseconds, as everywhere in the server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from google.protobuf.timestamp_pb2 import Timestamp
from streamgauge.v1 import common_pb2, metrics_service_pb2, source_service_pb2

Scalar: TypeAlias = float | int | bool | str

SECOND = 1_000_000
MINUTE, HOUR, DAY = 60 * SECOND, 3_600 * SECOND, 86_400 * SECOND
NOW = 1_767_268_800 * SECOND
"""2026-01-01T12:00:00Z, a Thursday: what the fixture `clock` says."""
TODAY = NOW - NOW % DAY
"""Midnight before NOW."""


def stamp(micros: int) -> Timestamp:
    seconds, rest = divmod(micros, SECOND)
    return Timestamp(seconds=seconds, nanos=rest * 1000)


def micros(timestamp: Timestamp) -> int:
    assert timestamp.nanos % 1000 == 0
    return timestamp.seconds * SECOND + timestamp.nanos // 1000


def value(scalar: Scalar) -> common_pb2.Value:
    if isinstance(scalar, bool):
        return common_pb2.Value(bool_value=scalar)
    if isinstance(scalar, int):
        return common_pb2.Value(int64_value=scalar)
    if isinstance(scalar, float):
        return common_pb2.Value(double_value=scalar)
    return common_pb2.Value(string_value=scalar)


def scalar(message: common_pb2.Value) -> Scalar | None:
    """Returns what a value holds; the Python type tells the member."""
    kind = message.WhichOneof("kind")
    result: Scalar | None = None if kind is None else getattr(message, kind)
    return result


def row(
    values: Mapping[str, Scalar] | None = None,
    *,
    subject: str = "sources/a",
    part: str = "",
    at: int | None = NOW,
    start: int | None = None,
) -> common_pb2.Observation:
    """An observation of `sources/a` at NOW, unless said otherwise."""
    message = common_pb2.Observation(
        subject=subject, part=part, values={name: value(item) for name, item in (values or {}).items()}
    )
    if at is not None:
        message.time.CopyFrom(stamp(at))
    if start is not None:
        message.start_time.CopyFrom(stamp(start))
    return message


def write(*rows: common_pb2.Observation, **options: Any) -> metrics_service_pb2.WriteMetricsRequest:
    return metrics_service_pb2.WriteMetricsRequest(observations=rows, **options)


def column(metric: str, values: Sequence[Any], rows: Sequence[int] = ()) -> common_pb2.Column:
    """A column of the type of its first value."""
    column = common_pb2.Column(metric=metric, rows=rows)
    first = values[0]
    if isinstance(first, bool):
        column.bools.values.extend(values)
    elif isinstance(first, int):
        column.ints.values.extend(values)
    elif isinstance(first, float):
        column.doubles.values.extend(values)
    else:
        column.strings.values.extend(values)
    return column


def frame(
    times: Sequence[int],
    *columns: common_pb2.Column,
    subject: str = "sources/a",
    part: str = "",
    start: int | None = None,
) -> common_pb2.Frame:
    message = common_pb2.Frame(subject=subject, part=part, time_unix_micros=times, columns=columns)
    if start is not None:
        message.start_time.CopyFrom(stamp(start))
    return message


def batch(*frames: common_pb2.Frame) -> metrics_service_pb2.ImportMetricsRequest:
    """One message of an import."""
    return metrics_service_pb2.ImportMetricsRequest(frames=frames)


def ask(
    time_type: str = "TIMESERIES",
    *,
    source: str = "sources/a",
    start: int | None = None,
    end: int | None = None,
    every: tuple[int, str] | None = None,
    metrics: Sequence[str] = (),
    mode: str | None = None,
) -> source_service_pb2.GetSourceMetricsRequest:
    """A `GetSourceMetrics` request; `every` is interval and unit."""
    request = source_service_pb2.GetSourceMetricsRequest(
        source=source, time_type=source_service_pb2.TimeType.Value(f"TIME_TYPE_{time_type}"), metrics=metrics
    )
    if start is not None:
        request.timestamp_from.CopyFrom(stamp(start))
    if end is not None:
        request.timestamp_to.CopyFrom(stamp(end))
    if every is not None:
        request.time_interval = every[0]
        request.time_unit = common_pb2.WindowUnit.Value(f"WINDOW_UNIT_{every[1]}")
    if mode is not None:
        request.counter_mode = common_pb2.CounterMode.Value(f"COUNTER_MODE_{mode}")
    return request


def query(
    *subjects: str,
    metrics: Sequence[str] = (),
    start: int | None = None,
    end: int | None = None,
    window: tuple[int, str] | None = None,
    aggregates: Sequence[str] = (),
    mode: str | None = None,
    by_part: bool = False,
) -> metrics_service_pb2.QueryMetricsRequest:
    request = metrics_service_pb2.QueryMetricsRequest(
        subjects=subjects or ["sources/a"],
        metrics=metrics,
        aggregates=[common_pb2.Aggregate.Value(f"AGGREGATE_{name}") for name in aggregates],
        by_part=by_part,
    )
    if start is not None:
        request.time_range.start_time.CopyFrom(stamp(start))
    if end is not None:
        request.time_range.end_time.CopyFrom(stamp(end))
    if window is not None:
        request.window.count = window[0]
        request.window.unit = common_pb2.WindowUnit.Value(f"WINDOW_UNIT_{window[1]}")
    if mode is not None:
        request.counter_mode = common_pb2.CounterMode.Value(f"COUNTER_MODE_{mode}")
    return request


def values_of(column: common_pb2.WindowColumn) -> list[Scalar]:
    """Returns the values of a column without their windows."""
    member = column.WhichOneof("values")
    return [] if member is None else list(getattr(column, member).values)


def windows_of(column: common_pb2.WindowColumn, count: int) -> list[Scalar | None]:
    """Returns the values of a column by window, None where a window has none."""
    values = values_of(column)
    spread: list[Scalar | None] = [None] * count
    indexes = list(column.windows) or (list(range(count)) if values else [])
    assert len(indexes) == len(values)
    assert indexes == sorted(set(indexes))
    for index, item in zip(indexes, values, strict=True):
        spread[index] = item
    return spread


def series_of(answer: source_service_pb2.GetSourceMetricsResponse) -> dict[str, list[Scalar | None]]:
    """Returns the time series of an answer by metric."""
    count = len(answer.window_bounds) - 1
    return {column.metric: windows_of(column, count) for column in answer.timeseries}


def summary_of(answer: source_service_pb2.GetSourceMetricsResponse) -> dict[str, Scalar | None]:
    """Returns the values of a summary by metric."""
    return {entry.metric: scalar(entry.value) for entry in answer.timesummary}


def latest_of(
    answer: source_service_pb2.GetSourceMetricsResponse | metrics_service_pb2.SubjectLatest,
) -> dict[str, Scalar | None]:
    """Returns latest values by metric."""
    entries = answer.values if isinstance(answer, metrics_service_pb2.SubjectLatest) else answer.latest
    return {entry.metric: scalar(entry.value) for entry in entries}


def columns_of(
    answer: metrics_service_pb2.QueryMetricsResponse,
) -> dict[tuple[str, str, str, str], list[Scalar | None]]:
    """Returns the values of all series by subject, part, metric and aggregate."""
    count = len(answer.window_bounds) - 1
    return {
        (
            series.subject,
            series.part,
            column.metric,
            common_pb2.Aggregate.Name(column.aggregate).removeprefix("AGGREGATE_"),
        ): windows_of(column, count)
        for series in answer.series
        for column in series.columns
    }
