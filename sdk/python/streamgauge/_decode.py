"""Messages into the SDK's dataclasses."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, TypeVar

from google.protobuf import duration_pb2, timestamp_pb2

from streamgauge import resources, results
from streamgauge._encode import EPOCH
from streamgauge.enums import (
    Aggregate,
    MetricDirection,
    MetricKind,
    PartCombination,
    Scalar,
    SubjectKind,
    TimeType,
    ValueType,
    WindowUnit,
)
from streamgauge.observations import ImportResult, Observation, Window, WriteError, WriteResult
from streamgauge.v1 import (
    common_pb2,
    errors_pb2,
    metrics_service_pb2,
    server_service_pb2,
    source_service_pb2,
    token_service_pb2,
)

_E = TypeVar("_E", bound=StrEnum)
_LAST_SECOND = 253_402_300_799  # of year 9999, where datetime ends


def by_number(kind: type[_E], wrapper: Any, prefix: str) -> dict[int, _E]:
    """Returns the members of an enum by the contract's numbers."""
    return {wrapper.Value(prefix + member.name): member for member in kind if member.name != "UNKNOWN"}


_SUBJECT_KINDS = by_number(SubjectKind, common_pb2.SubjectKind, "SUBJECT_KIND_")
_METRIC_KINDS = by_number(MetricKind, common_pb2.MetricKind, "METRIC_KIND_")
_DIRECTIONS = by_number(MetricDirection, common_pb2.MetricDirection, "METRIC_DIRECTION_")
_VALUE_TYPES = by_number(ValueType, common_pb2.ValueType, "VALUE_TYPE_")
_AGGREGATES = by_number(Aggregate, common_pb2.Aggregate, "AGGREGATE_")
_PARTS = by_number(PartCombination, common_pb2.PartCombination, "PART_COMBINATION_")
_UNITS = by_number(WindowUnit, common_pb2.WindowUnit, "WINDOW_UNIT_")
_TIME_TYPES = by_number(TimeType, source_service_pb2.TimeType, "TIME_TYPE_")
_ARRAYS = {
    "doubles": ValueType.DOUBLE,
    "ints": ValueType.INT64,
    "bools": ValueType.BOOL,
    "strings": ValueType.STRING,
}


def moment(message: timestamp_pb2.Timestamp) -> datetime:
    """Returns the moment of a timestamp, UTC, cut to microseconds, and to the end of year 9999."""
    if message.seconds > _LAST_SECOND:
        return datetime.max.replace(tzinfo=UTC)
    return EPOCH + timedelta(seconds=message.seconds, microseconds=message.nanos // 1_000)


def maybe(message: Any, field: str) -> datetime | None:
    """Returns the moment of a timestamp field, None when it is not set."""
    return moment(getattr(message, field)) if message.HasField(field) else None


def scalar(message: common_pb2.Value) -> Scalar | None:
    """Returns the value, None when it is not set."""
    kind = message.WhichOneof("kind")
    return None if kind is None else getattr(message, kind)


def observation(message: common_pb2.Observation) -> Observation:
    """Returns the observation of a message."""
    return Observation(
        subject=message.subject,
        values={metric: value for metric, v in message.values.items() if (value := scalar(v)) is not None},
        time=maybe(message, "time"),
        part=message.part,
        start_time=maybe(message, "start_time"),
    )


def source(message: source_service_pb2.Source) -> resources.Source:
    """Returns a source."""
    return resources.Source(
        name=message.name,
        number=message.number,
        display_name=message.display_name,
        connector_class=message.connector_class,
        labels=dict(message.labels),
        etag=message.etag,
        create_time=moment(message.create_time),
        update_time=moment(message.update_time),
    )


def descriptor(message: common_pb2.MetricDescriptor) -> resources.MetricDescriptor:
    """Returns a metric descriptor."""
    return resources.MetricDescriptor(
        name=message.name,
        metric=message.metric,
        subject_kind=_SUBJECT_KINDS.get(message.subject_kind, SubjectKind.UNKNOWN),
        display_name=message.display_name,
        description=message.description,
        unit=message.unit,
        kind=_METRIC_KINDS.get(message.kind, MetricKind.UNKNOWN),
        value_type=_VALUE_TYPES.get(message.value_type, ValueType.UNKNOWN),
        window_aggregate=_AGGREGATES.get(message.window_aggregate, Aggregate.UNKNOWN),
        summary_aggregate=_AGGREGATES.get(message.summary_aggregate, Aggregate.UNKNOWN),
        part_combination=_PARTS.get(message.part_combination, PartCombination.UNKNOWN),
        state_order=tuple(message.state_order),
        no_value=message.no_value if message.HasField("no_value") else None,
        built_in=message.built_in,
        etag=message.etag,
        create_time=maybe(message, "create_time"),
        update_time=maybe(message, "update_time"),
        min_value=message.min_value if message.HasField("min_value") else None,
        max_value=message.max_value if message.HasField("max_value") else None,
        direction=_DIRECTIONS.get(message.direction, MetricDirection.UNKNOWN) if message.direction else None,
        sample_retention=length(message.sample_retention) if message.HasField("sample_retention") else None,
        summary_retention=length(message.summary_retention) if message.HasField("summary_retention") else None,
    )


def length(message: duration_pb2.Duration) -> timedelta:
    """Returns a duration."""
    return timedelta(seconds=message.seconds, microseconds=message.nanos // 1_000)


def token(message: token_service_pb2.Token) -> resources.Token:
    """Returns a token."""
    return resources.Token(
        name=message.name,
        display_name=message.display_name,
        scopes=tuple(message.scopes),
        tenant=message.tenant,
        expire_time=maybe(message, "expire_time"),
        create_time=moment(message.create_time),
        revoke_time=maybe(message, "revoke_time"),
    )


def server_info(message: server_service_pb2.GetServerInfoResponse) -> resources.ServerInfo:
    """Returns what the server says of itself."""
    return resources.ServerInfo(
        version=message.version,
        limits={limit.name: resources.Limit(limit.name, limit.value, limit.unit) for limit in message.limits},
        store=resources.StoreInfo(message.store.engine, message.store.version, message.store.schema_revision),
        features=tuple(message.features),
        tenant=message.tenant,
        scopes=tuple(message.scopes),
        server_time=moment(message.server_time),
        start_time=moment(message.start_time),
    )


def write_errors(messages: Iterable[metrics_service_pb2.WriteError]) -> tuple[WriteError, ...]:
    """Returns the refused items of a write."""
    return tuple(
        WriteError(m.index, m.subject, m.metric, reason(m.reason), m.message)  # index as the server counts
        for m in messages
    )


def reason(number: int) -> str:
    """Returns the name of an error reason, without its prefix; the number of one that this version does not know."""
    value = errors_pb2.ErrorReason.DESCRIPTOR.values_by_number.get(number)
    return value.name.removeprefix("ERROR_REASON_") if value is not None else str(number)


def write_result(message: metrics_service_pb2.WriteMetricsResponse, request_id: str) -> WriteResult:
    """Returns the outcome of a write."""
    return WriteResult(
        accepted=message.accepted_count,
        rejected=message.rejected_count,
        errors=write_errors(message.errors),
        errors_truncated=message.errors_truncated,
        request_id=request_id,
    )


def import_result(message: metrics_service_pb2.ImportMetricsResponse, origin: Mapping[int, int]) -> ImportResult:
    """Returns the outcome of an import. `origin` maps the index of a frame as sent to that of the frame as given."""
    errors = write_errors(message.errors)
    return ImportResult(
        accepted=message.accepted_frame_count,
        rejected=message.rejected_frame_count,
        accepted_samples=message.accepted_sample_count,
        errors=tuple(
            WriteError(origin.get(e.index, e.index), e.subject, e.metric, e.reason, e.message) for e in errors
        ),
        errors_truncated=message.errors_truncated,
    )


def _metadata(entries: Mapping[str, common_pb2.MetricMetadata]) -> dict[str, results.MetricMetadata]:
    return {
        name: results.MetricMetadata(
            m.display_name,
            m.unit,
            _METRIC_KINDS.get(m.kind, MetricKind.UNKNOWN),
            _VALUE_TYPES.get(m.value_type, ValueType.UNKNOWN),
        )
        for name, m in entries.items()
    }


def _column(message: common_pb2.WindowColumn, windows: int) -> results.Column:
    member = message.WhichOneof("values")
    present: list[Scalar] = list(getattr(message, member).values) if member else []
    values: list[Scalar | None]
    if len(present) == windows and not message.windows:
        values = list(present)
    else:
        values = [None] * windows
        for index, value in zip(message.windows, present, strict=True):
            values[index] = value
    return results.Column(
        message.metric,
        _AGGREGATES.get(message.aggregate, Aggregate.UNKNOWN),
        _ARRAYS[member] if member else ValueType.UNKNOWN,
        tuple(values),
        _VALUE_TYPES.get(message.sample_type, ValueType.UNKNOWN),
        scalar(message.of_value),
    )


def latest_value(message: common_pb2.LatestValue) -> results.LatestValue:
    """Returns the newest value of one metric."""
    return results.LatestValue(
        message.metric,
        scalar(message.value),
        scalar(message.raw_value),
        maybe(message, "time"),
        maybe(message, "start_time"),
    )


def time_series(message: source_service_pb2.GetSourceMetricsResponse) -> results.TimeSeries:
    """Returns the time series of a source."""
    bounds = tuple(moment(t) for t in message.window_bounds)
    columns = (_column(c, max(len(bounds) - 1, 0)) for c in message.timeseries)
    return results.TimeSeries(
        source=message.source,
        start=moment(message.time_range.start_time),
        end=moment(message.time_range.end_time),
        window=Window(_UNITS.get(message.window.unit, WindowUnit.UNKNOWN), message.window.count),
        bounds=bounds,
        columns={c.metric: c for c in columns},
        metadata=_metadata(message.metadata),
    )


def time_summary(message: source_service_pb2.GetSourceMetricsResponse) -> results.TimeSummary:
    """Returns the summary of a range of a source."""
    values = (
        results.MetricSummary(
            metric=m.metric,
            aggregate=_AGGREGATES.get(m.aggregate, Aggregate.UNKNOWN),
            value=scalar(m.value),
            sample_count=m.sample_count,
            first_time=maybe(m, "first_time"),
            last_time=maybe(m, "last_time"),
            reset_count=m.reset_count,
        )
        for m in message.timesummary
    )
    return results.TimeSummary(
        source=message.source,
        start=moment(message.time_range.start_time),
        end=moment(message.time_range.end_time),
        values={v.metric: v for v in values},
        metadata=_metadata(message.metadata),
    )


def latest(message: source_service_pb2.GetSourceMetricsResponse) -> results.Latest:
    """Returns the latest values of a source."""
    return results.Latest(
        source=message.source,
        values={m.metric: latest_value(m) for m in message.latest},
        snapshot_status=tuple(
            results.SnapshotStatus(s.status, s.topic_id, maybe(s, "submit_time"), maybe(s, "time"))
            for s in message.snapshot_status
        ),
        metadata=_metadata(message.metadata),
    )


def source_metrics(
    message: source_service_pb2.GetSourceMetricsResponse,
) -> results.TimeSeries | results.TimeSummary | results.Latest:
    """Returns the answer of whichever time type it is. ValueError for one that this version does not know."""
    match _TIME_TYPES.get(message.time_type):
        case TimeType.TIMESERIES:
            return time_series(message)
        case TimeType.TIMESUMMARY:
            return time_summary(message)
        case TimeType.LATEST:
            return latest(message)
        case _:
            raise ValueError(f"the server answered with the unknown time type {message.time_type}")


def query_result(message: metrics_service_pb2.QueryMetricsResponse) -> results.QueryResult:
    """Returns the answer of a query."""
    bounds = tuple(moment(t) for t in message.window_bounds)
    windows = max(len(bounds) - 1, 0)
    return results.QueryResult(
        start=moment(message.time_range.start_time),
        end=moment(message.time_range.end_time),
        bounds=bounds,
        series=tuple(
            results.Series(s.subject, s.part, tuple(_column(c, windows) for c in s.columns)) for s in message.series
        ),
        metadata=_metadata(message.metadata),
        unknown_subjects=tuple(message.unknown_subjects),
    )


def latest_result(message: metrics_service_pb2.GetLatestMetricsResponse) -> results.LatestResult:
    """Returns the latest values of many subjects."""
    return results.LatestResult(
        subjects=tuple(
            results.SubjectLatest(s.subject, s.part, {v.metric: latest_value(v) for v in s.values})
            for s in message.subjects
        ),
        metadata=_metadata(message.metadata),
        unknown_subjects=tuple(message.unknown_subjects),
        read_time=moment(message.read_time),
    )
