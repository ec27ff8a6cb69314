"""Python values into messages. Wrong types and naive datetimes are refused here, with the place named."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, TypeVar

from google.protobuf import duration_pb2, timestamp_pb2

from streamgauge.enums import Scalar, WindowUnit
from streamgauge.observations import Observation, Window
from streamgauge.v1 import (
    asset_metric_service_pb2,
    common_pb2,
    job_service_pb2,
    metric_type_service_pb2,
    source_service_pb2,
)

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1

_E = TypeVar("_E", bound=StrEnum)

_PREFIXES: dict[str, tuple[Any, str]] = {
    "SubjectKind": (common_pb2.SubjectKind, "SUBJECT_KIND_"),
    "MetricKind": (common_pb2.MetricKind, "METRIC_KIND_"),
    "ValueType": (common_pb2.ValueType, "VALUE_TYPE_"),
    "AssetValueType": (asset_metric_service_pb2.AssetValueType, "ASSET_VALUE_TYPE_"),
    "MetricDirection": (common_pb2.MetricDirection, "METRIC_DIRECTION_"),
    "Aggregate": (common_pb2.Aggregate, "AGGREGATE_"),
    "PartCombination": (common_pb2.PartCombination, "PART_COMBINATION_"),
    "CounterMode": (common_pb2.CounterMode, "COUNTER_MODE_"),
    "WindowUnit": (common_pb2.WindowUnit, "WINDOW_UNIT_"),
    "JobState": (job_service_pb2.JobState, "JOB_STATE_"),
    "JobOutcome": (job_service_pb2.JobOutcome, "JOB_OUTCOME_"),
    "TaskKind": (job_service_pb2.TaskKind, "TASK_KIND_"),
    "ErrorCategory": (job_service_pb2.ErrorCategory, "ERROR_CATEGORY_"),
    "IngestStatus": (source_service_pb2.IngestStatus, "INGEST_STATUS_"),
    "ColumnAggregate": (metric_type_service_pb2.ColumnAggregate, "COLUMN_AGGREGATE_"),
    "StopMode": (job_service_pb2.StopMode, "STOP_MODE_"),
    "TimeType": (source_service_pb2.TimeType, "TIME_TYPE_"),
}


def enum_number(kind: type[_E], member: _E | str | None) -> Any:
    """Returns the contract's number of a member, 0 for None. ValueError for what is not a member, and for UNKNOWN."""
    if member is None:
        return 0
    known = kind(member)
    if known.name == "UNKNOWN":
        raise ValueError(f"{kind.__name__}.UNKNOWN stands for answers of newer servers and cannot be sent")
    wrapper, prefix = _PREFIXES[kind.__name__]
    return wrapper.Value(prefix + known.name)


def micros(moment: datetime, field: str) -> int:
    """Returns microseconds since 1970. ValueError for a naive datetime."""
    if moment.tzinfo is None:
        raise ValueError(f"{field} must be timezone-aware, for example datetime.now(UTC); got {moment!r}")
    return (moment - EPOCH) // _MICROSECOND


def put_time(target: timestamp_pb2.Timestamp, moment: datetime, field: str) -> None:
    """Sets a timestamp, in microseconds. ValueError for a naive datetime."""
    if moment.tzinfo is None:
        raise ValueError(f"{field} must be timezone-aware, for example datetime.now(UTC); got {moment!r}")
    since = moment - EPOCH
    target.seconds = since.days * 86_400 + since.seconds
    target.nanos = since.microseconds * 1_000


def timestamp(moment: datetime, field: str) -> timestamp_pb2.Timestamp:
    """Returns a timestamp, in microseconds. ValueError for a naive datetime."""
    message = timestamp_pb2.Timestamp()
    put_time(message, moment, field)
    return message


def duration(length: timedelta | None, field: str) -> duration_pb2.Duration | None:
    """Returns a duration, None for None. TypeError for a number: it does not say whether it is seconds."""
    if length is None:
        return None
    if not isinstance(length, timedelta):
        raise TypeError(f"{field} must be a timedelta, for example timedelta(seconds=30); got {length!r}")
    message = duration_pb2.Duration()
    message.FromTimedelta(length)
    return message


def plain_scalar(value: Any, field: str) -> Scalar:
    """Returns the Python scalar behind a value, such as a numpy scalar. TypeError for what is not one."""
    if isinstance(value, (bool, float, str)):
        return value
    # numpy's scalars tell what they are by `item`; its booleans pass for integers in older versions.
    item = getattr(value, "item", None)
    plain = item() if callable(item) else value
    if isinstance(plain, (bool, float, str)):
        return plain
    try:
        number = operator.index(plain)
    except TypeError:
        raise TypeError(f"{field} must be a float, int, bool or str; got {type(value).__name__}") from None
    if not INT64_MIN <= number <= INT64_MAX:
        raise ValueError(f"{field} does not fit into 64 bits: {number}")
    return number


def put_value(target: common_pb2.Value, value: Any, field: str) -> None:
    """Sets a value by its Python type."""
    plain = plain_scalar(value, field)
    if isinstance(plain, bool):
        target.bool_value = plain
    elif isinstance(plain, float):
        target.double_value = plain
    elif isinstance(plain, int):
        target.int64_value = plain
    else:
        target.string_value = plain


def observation(
    subject: str, values: Mapping[str, Any], time: datetime | None, part: str, start_time: datetime | None
) -> common_pb2.Observation:
    """Returns the message of one observation. The hot path of every write: exact types first."""
    message = common_pb2.Observation(subject=subject, part=part)
    if time is not None:
        put_time(message.time, time, "time")
    if start_time is not None:
        put_time(message.start_time, start_time, "start_time")
    entries = message.values
    for metric, value in values.items():
        kind = type(value)
        if kind is float:
            entries[metric].double_value = value
        elif kind is bool:
            entries[metric].bool_value = value
        elif kind is int and INT64_MIN <= value <= INT64_MAX:
            entries[metric].int64_value = value
        else:
            put_value(entries[metric], value, f"values[{metric!r}]")
    return message


def observations(items: Iterable[Observation]) -> list[common_pb2.Observation]:
    """Returns the messages of observations."""
    return [observation(o.subject, o.values, o.time, o.part, o.start_time) for o in items]


def window(value: Window | WindowUnit | str) -> common_pb2.Window:
    """Returns the message of a window; a unit alone is a window of one."""
    given = value if isinstance(value, Window) else Window(value)
    return common_pb2.Window(count=given.count, unit=enum_number(WindowUnit, given.unit))


def time_range(start: datetime | None, end: datetime | None) -> common_pb2.TimeRange | None:
    """Returns the message of a range, None when both ends are the server's default."""
    if start is None and end is None:
        return None
    message = common_pb2.TimeRange()
    if start is not None:
        put_time(message.start_time, start, "start")
    if end is not None:
        put_time(message.end_time, end, "end")
    return message


def names(given: Iterable[str]) -> list[str]:
    """Returns a list of names; a single string is a list of one, not of its letters."""
    return [given] if isinstance(given, str) else list(given)
