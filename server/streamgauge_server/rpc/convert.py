"""Between messages and dataclasses: the only place where a proto field meets a domain field."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import IntEnum
from typing import Any, TypeVar

import numpy as np
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp
from streamgauge.v1 import common_pb2, metrics_service_pb2, source_service_pb2

from streamgauge_server.model.clock import MAX_MICROS, MICROS_PER_SECOND, isoformat
from streamgauge_server.model.entities import MetricDescriptor, Observation, Source
from streamgauge_server.model.errors import Reason, Violation, invalid
from streamgauge_server.model.names import descriptor_name
from streamgauge_server.model.values import INT64_MAX, INT64_MIN, Scalar, ValueType
from streamgauge_server.services.frame_input import COLUMN_MEMBERS, ColumnInput, FrameInput
from streamgauge_server.services.latest import LatestMetric
from streamgauge_server.services.window_values import WindowValues
from streamgauge_server.services.write_checks import INVALID_TIME, ItemError

_MAX_NANOS = 999_999_999
_E = TypeVar("_E", bound=IntEnum)
_D = TypeVar("_D")


def micros(timestamp: Timestamp) -> int:
    """Returns a timestamp in microseconds, finer digits cut; INVALID_TIME when its nanoseconds are out of range."""
    if not 0 <= timestamp.nanos <= _MAX_NANOS:
        return INVALID_TIME
    return timestamp.seconds * MICROS_PER_SECOND + timestamp.nanos // 1000


def optional_micros(message: Any, field: str) -> int | None:
    """Returns a timestamp field in microseconds, or None when it is not set."""
    return micros(getattr(message, field)) if message.HasField(field) else None


class Violations:
    """Collects what is wrong with a request while it is decoded, so that all of it is told at once."""

    def __init__(self) -> None:
        self.found: list[Violation] = []
        self._bad_moments = False

    def add(self, field: str, description: str) -> None:
        """Adds a wrong field."""
        self.found.append(Violation(field, description))

    def extend(self, found: Iterable[Violation]) -> None:
        """Adds what a service finds wrong; not with a range of which a bad moment was left out."""
        about_ranges = (Reason.INVALID_TIME_RANGE, Reason.TOO_MANY_WINDOWS)
        self.found.extend(v for v in found if not (self._bad_moments and v.reason in about_ranges))

    def raise_if_any(self) -> None:
        """Raises INVALID_ARGUMENT with everything that was found."""
        if self.found:
            raise invalid(self.found)

    def enum(self, message: Any, field: str, enum: type[_E], default: _D, prefix: str = "") -> _E | _D:
        """Returns an enum field as a domain enum; `default` when it is not set or unknown."""
        number = getattr(message, field)
        return self._member(number, enum, prefix + field) or default if number else default

    def required_enum(self, message: Any, field: str, enum: type[_E], prefix: str = "") -> _E | None:
        """Returns an enum field as a domain enum, None when it is not set or unknown, which is wrong either way."""
        return self._member(getattr(message, field), enum, prefix + field)

    def enums(self, message: Any, field: str, enum: type[_E]) -> tuple[_E, ...]:
        """Returns a repeated enum field, each member at most once."""
        members: list[_E] = []
        for position, number in enumerate(getattr(message, field)):
            member = self._member(number, enum, f"{field}[{position}]")
            if member in members:
                self.add(f"{field}[{position}]", f"names {member.name} twice")
            elif member is not None:
                members.append(member)
        return tuple(members)

    def _member(self, number: int, enum: type[_E], path: str) -> _E | None:
        for member in enum:
            if member.value == number:
                return member
        self.add(path, f"must be one of {', '.join(member.name for member in enum)}, is {number}")
        return None

    def moment(self, message: Any, field: str, prefix: str = "", *, earliest: int = 0) -> int | None:
        """Returns a timestamp field of a range in microseconds, or None when it is not set or wrong."""
        if not message.HasField(field):
            return None
        time = micros(getattr(message, field))
        if earliest <= time < MAX_MICROS:
            return time
        self._bad_moments = True
        if time == INVALID_TIME:
            self.add(prefix + field, "is not a valid timestamp: nanos must be between 0 and 999,999,999")
        else:
            self.add(prefix + field, f"must be between {isoformat(earliest)} and the end of the year 9999")
        return None

    def masked(self, mask: FieldMask, changeable: Sequence[str]) -> list[str]:
        """Returns the fields that `update_mask` names, all changeable ones when it is empty or `*`."""
        if not mask.paths or list(mask.paths) == ["*"]:
            return list(changeable)
        for position, name in enumerate(mask.paths):
            if name not in changeable:
                allowed = ", ".join(changeable)
                self.add(f"update_mask.paths[{position}]", f"must be one of {allowed}, is {name[:64]!r}")
        return [name for name in changeable if name in mask.paths]

    def fields(
        self, message: Any, names: Iterable[str], enums: Mapping[str, type[IntEnum]], prefix: str
    ) -> dict[str, Any]:
        """Returns named fields as plain Python values; enums as domain enums, None where they are not set."""
        found = fields_of(message, [name for name in names if name not in enums])
        found.update({name: self.enum(message, name, enums[name], None, prefix) for name in names if name in enums})
        return found


def timestamp(time: int) -> Timestamp:
    """Returns microseconds as a timestamp."""
    seconds, rest = _seconds(time)
    return Timestamp(seconds=seconds, nanos=rest * 1000)


def value_message(value: Scalar) -> common_pb2.Value:
    """Returns a value by its Python type; an integer beyond 64 bits becomes a double."""
    message = common_pb2.Value()
    fill_value(message, value)
    return message


def observation(message: common_pb2.Observation) -> Observation:
    """Decodes an observation; what is wrong with it is for the service to say."""
    values: dict[str, Any] = {}
    by_metric = message.values
    for metric in by_metric:  # `items()` of a map field is written in Python
        value = by_metric[metric]
        kind = value.WhichOneof("kind")
        values[metric] = None if kind is None else getattr(value, kind)
    return Observation(
        message.subject,
        message.part,
        micros(message.time) if message.HasField("time") else None,
        micros(message.start_time) if message.HasField("start_time") else None,
        values,
    )


_COLUMN_TYPES = {
    "doubles": (ValueType.DOUBLE, np.float64),
    "ints": (ValueType.INT64, np.int64),
    "bools": (ValueType.BOOL, np.bool_),
    "strings": (ValueType.STRING, object),
}


def frame(message: common_pb2.Frame) -> FrameInput:
    """Decodes a frame into arrays; what is wrong with it is for the service to say."""
    return FrameInput(
        message.subject,
        message.part,
        optional_micros(message, "start_time"),
        np.array(message.time_unix_micros, dtype=np.uint64).view(np.int64),  # before 1970 in two's complement
        [_column(column) for column in message.columns],
    )


def _column(message: common_pb2.Column) -> ColumnInput:
    rows = np.array(message.rows, dtype=np.uint32) if message.rows else None
    member = message.WhichOneof("values")
    if member is None:
        return ColumnInput(message.metric, None, np.empty(0), rows)
    value_type, dtype = _COLUMN_TYPES[member]
    return ColumnInput(message.metric, value_type, np.array(getattr(message, member).values, dtype=dtype), rows)


def write_errors(errors: Iterable[ItemError]) -> list[metrics_service_pb2.WriteError]:
    """Returns the errors of refused items."""
    return [
        metrics_service_pb2.WriteError(
            index=error.index,
            subject=error.subject,
            metric=error.metric,
            reason=error.reason.value,  # type: ignore[arg-type]  # the numbers are equal, held by a test
            message=f"{error.path}: {error.message}",
        )
        for error in errors
    ]


def source_message(source: Source) -> source_service_pb2.Source:
    """Returns a source."""
    return source_service_pb2.Source(
        name=f"sources/{source.id}",
        number=source.number,
        display_name=source.display_name,
        connector_class=source.connector_class,
        labels=source.labels,
        etag=source.etag,
        create_time=timestamp(source.create_time),
        update_time=timestamp(source.update_time),
    )


def metadata_message(descriptor: MetricDescriptor) -> common_pb2.MetricMetadata:
    """Returns what labels a metric's values."""
    return common_pb2.MetricMetadata(
        display_name=descriptor.display_name,
        unit=descriptor.unit,
        kind=int(descriptor.kind),  # type: ignore[arg-type]
        value_type=int(descriptor.value_type),  # type: ignore[arg-type]
    )


def descriptor_message(descriptor: MetricDescriptor) -> common_pb2.MetricDescriptor:
    """Returns a descriptor."""
    message = common_pb2.MetricDescriptor(
        name=descriptor_name(descriptor.kind_of_subject, descriptor.metric),
        metric=descriptor.metric,
        subject_kind=int(descriptor.kind_of_subject),  # type: ignore[arg-type]
        display_name=descriptor.display_name,
        description=descriptor.description,
        unit=descriptor.unit,
        kind=int(descriptor.kind),  # type: ignore[arg-type]
        value_type=int(descriptor.value_type),  # type: ignore[arg-type]
        window_aggregate=int(descriptor.window_aggregate),  # type: ignore[arg-type]
        summary_aggregate=int(descriptor.summary_aggregate),  # type: ignore[arg-type]
        part_combination=int(descriptor.part_combination),  # type: ignore[arg-type]
        state_order=descriptor.state_order,
        no_value=descriptor.no_value,
        min_value=descriptor.min_value,
        max_value=descriptor.max_value,
        direction=int(descriptor.direction),  # type: ignore[arg-type]
        built_in=descriptor.built_in,
        etag=descriptor.etag,
        create_time=timestamp(descriptor.create_time),
        update_time=timestamp(descriptor.update_time),
    )
    if descriptor.sample_retention is not None:
        message.sample_retention.FromMicroseconds(descriptor.sample_retention)
    if descriptor.summary_retention is not None:
        message.summary_retention.FromMicroseconds(descriptor.summary_retention)
    return message


def fill_latest(message: common_pb2.LatestValue, latest: LatestMetric) -> None:
    """Fills an empty message with the newest value of a metric.

    Members are set in place: that costs half of what messages cost that are made first and copied.
    """
    descriptor = latest.descriptor
    message.metric = descriptor.metric
    fill_value(message.value, latest.value)
    fill_timestamp(message.time, latest.time)
    if latest.raw is not None:
        fill_value(message.raw_value, latest.raw)
    if latest.start is not None:
        fill_timestamp(message.start_time, latest.start)


def fill_sample(message: common_pb2.Value, value: Scalar) -> None:
    """Fills a message with a sample: the Python type tells the member."""
    if isinstance(value, bool):
        message.bool_value = value
    elif isinstance(value, int):
        message.int64_value = value
    elif isinstance(value, float):
        message.double_value = value
    else:
        message.string_value = value


def sample(message: common_pb2.Value) -> Scalar | None:
    """Returns what a value holds, None if nothing."""
    kind = message.WhichOneof("kind")
    value: Scalar | None = None if kind is None else getattr(message, kind)
    return value


def fill_value(message: common_pb2.Value, value: Scalar) -> None:
    """Fills an empty message with a value; an integer beyond 64 bits becomes a double."""
    if isinstance(value, bool):
        message.bool_value = value
    elif isinstance(value, int):
        if not INT64_MIN <= value <= INT64_MAX:
            message.double_value = float(value)
        else:
            message.int64_value = value
    elif isinstance(value, float):
        message.double_value = value
    else:
        message.string_value = value


def fill_timestamp(message: Timestamp, time: int) -> None:
    """Fills a timestamp with microseconds."""
    message.seconds, rest = _seconds(time)
    message.nanos = rest * 1000


def _seconds(time: int) -> tuple[int, int]:
    # Windows may end after the last moment that there is: it stands for them.
    return divmod(time if time < MAX_MICROS else MAX_MICROS - 1, MICROS_PER_SECOND)


def fill_duration(message: Duration, micros: int) -> None:
    """Fills a duration; both of its members have the sign of the whole."""
    seconds, rest = divmod(abs(micros), MICROS_PER_SECOND)
    sign = -1 if micros < 0 else 1
    message.SetInParent()
    message.seconds = sign * seconds
    message.nanos = sign * rest * 1000


def fields_of(message: Any, names: Iterable[str]) -> dict[str, Any]:
    """Returns named fields of a message: maps as dicts, repeated fields as tuples, absent optional fields as None."""
    found: dict[str, Any] = {}
    for name in names:
        value = getattr(message, name)
        descriptor = message.DESCRIPTOR.fields_by_name[name]
        if descriptor.is_repeated:
            value = dict(value) if descriptor.message_type is not None else tuple(value)
        elif descriptor.has_presence and not message.HasField(name):
            value = None
        found[name] = value
    return found


def window_column(column: WindowValues) -> common_pb2.WindowColumn:
    """Returns the values of a metric over windows."""
    message = common_pb2.WindowColumn(
        metric=column.descriptor.metric,
        aggregate=int(column.aggregate),  # type: ignore[arg-type]
        windows=column.windows.tolist(),  # three times as fast as handing over numpy's own numbers
        sample_type=int(column.sample_type),  # type: ignore[arg-type]
    )
    if column.type in COLUMN_MEMBERS:  # without samples a metric of any type has no values of any
        values = getattr(message, COLUMN_MEMBERS[column.type])
        values.SetInParent()  # the type is told also where there is no value
        values.values.extend(column.values.tolist())
    if column.of_value is not None:
        fill_value(message.of_value, column.of_value)
    return message
