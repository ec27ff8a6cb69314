"""Metrics of assets into messages and back."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from streamgauge import resources
from streamgauge._decode import moment, reason, scalar
from streamgauge._encode import INT64_MAX, INT64_MIN, enum_number, plain_scalar, put_time, put_value
from streamgauge.asset_metrics import (
    AssetLatest,
    AssetLatestResult,
    AssetLatestValue,
    AssetMetric,
    AssetMoment,
    AssetValue,
    BatchEmitResult,
    DeletedMetrics,
    Emit,
    EmitError,
    EmitResult,
    MetricValues,
)
from streamgauge.enums import AssetValueType
from streamgauge.errors import Violation
from streamgauge.v1 import asset_metric_service_pb2 as pb

MAX_EMITS = 5_000
"""Emits in one request: the server's default bound."""
MAX_METRICS = 100_000
"""Metrics in one request, over all emits: the server's default bound."""
MAX_REQUEST_BYTES = 1024 * 1024
"""Emits in one request, encoded: their answers stay below the server's bound of an answer."""

_STRING = pb.ASSET_VALUE_TYPE_STRING
_NUMBER = pb.ASSET_VALUE_TYPE_NUMBER
_BOOLEAN = pb.ASSET_VALUE_TYPE_BOOLEAN
_TYPES = {_STRING: AssetValueType.STRING, _NUMBER: AssetValueType.NUMBER, _BOOLEAN: AssetValueType.BOOLEAN}


def emit(
    asset: str, metrics: MetricValues, time: datetime | None, run_id: str, guess: bool
) -> pb.EmitAssetMetricsRequest:
    """Returns the message of one emit. The hot path of every emit: exact types first.

    A Python value is sent with the type it has, so that nothing is guessed, unless `guess`.
    """
    message = pb.EmitAssetMetricsRequest(asset=asset, run_id=run_id)
    if time is not None:
        put_time(message.time, time, "time")
    add = message.metrics.add
    value: Any
    for name, value in metrics.items():
        kind = type(value)
        entry = add(name=name)
        if kind is float:
            entry.value.double_value = value
            known = _NUMBER
        elif kind is bool:
            entry.value.bool_value = value
            known = _BOOLEAN
        elif kind is int and INT64_MIN <= value <= INT64_MAX:
            entry.value.int64_value = value
            known = _NUMBER
        elif kind is str:
            entry.value.string_value = value
            known = _STRING
        else:
            _put_other(entry, value, f"metrics[{name!r}]", guess)
            continue
        if not guess:
            entry.value_type = known
    return message


def _put_other(entry: pb.AssetMetric, value: Any, field: str, guess: bool) -> None:
    """Sets an `AssetValue`, or a value of a type that stands for one of Python's, such as numpy's."""
    if isinstance(value, AssetValue):
        put_value(entry.value, value.value, field)
        entry.value_type = enum_number(AssetValueType, value.type)
        return
    plain = plain_scalar(value, field)
    put_value(entry.value, plain, field)
    if not guess:
        entry.value_type = _BOOLEAN if isinstance(plain, bool) else _STRING if isinstance(plain, str) else _NUMBER


def emit_of(message: pb.EmitAssetMetricsRequest) -> Emit:
    """Returns the emit of a message; values whose type says more than they do are `AssetValue`s."""
    return Emit(
        message.asset,
        {entry.name: _value_of(entry) for entry in message.metrics},
        moment(message.time) if message.HasField("time") else None,
        message.run_id,
    )


def _value_of(entry: pb.AssetMetric) -> Any:
    value = scalar(entry.value)
    if isinstance(value, str) and entry.value_type != _STRING:
        return AssetValue(value, _TYPES.get(entry.value_type))
    return value


@dataclass(frozen=True, slots=True)
class Chunk:
    """The emits of one request, and the index of its first among those given."""

    first: int
    emits: Sequence[pb.EmitAssetMetricsRequest]


class Chunks:
    """Cuts emits into requests that the server takes, by count, metrics and bytes."""

    def __init__(self, guess: bool) -> None:
        self._guess = guess
        self._first = 0
        self._emits: list[pb.EmitAssetMetricsRequest] = []
        self._metrics = 0
        self._bytes = 0

    def add(self, given: Emit) -> Iterator[Chunk]:
        """Takes an emit and yields the request that is full before it, if any."""
        message = emit(given.asset, given.metrics, given.time, given.run_id, self._guess)
        metrics, size = len(message.metrics), message.ByteSize()
        if self._emits and (
            len(self._emits) == MAX_EMITS
            or self._metrics + metrics > MAX_METRICS
            or self._bytes + size > MAX_REQUEST_BYTES
        ):
            yield self._take()
        self._emits.append(message)
        self._metrics += metrics
        self._bytes += size

    def rest(self) -> Iterator[Chunk]:
        """Yields the last request, if there is anything in it."""
        if self._emits:
            yield self._take()

    def _take(self) -> Chunk:
        chunk = Chunk(self._first, self._emits)
        self._first += len(self._emits)
        self._emits, self._metrics, self._bytes = [], 0, 0
        return chunk


class Outcome:
    """The answers to the requests of one batch, added up."""

    def __init__(self) -> None:
        self._accepted = 0
        self._rejected = 0
        self._emitted: dict[int, EmitResult] = {}
        self._errors: list[EmitError] = []

    def add(self, chunk: Chunk, response: pb.BatchEmitAssetMetricsResponse) -> None:
        """Takes the answer to one request."""
        self._accepted += response.accepted_count
        self._rejected += response.rejected_count
        for outcome in response.outcomes:
            if outcome.WhichOneof("result") == "emitted":
                self._emitted[chunk.first + outcome.index] = emit_result(outcome.emitted)
        assets = [message.asset for message in chunk.emits]
        self._errors += [
            replace(error, index=chunk.first + error.index, asset=_named(assets, error.index))
            for error in emit_errors(response)
        ]

    def result(self) -> BatchEmitResult:
        """Returns the sum."""
        return BatchEmitResult(self._accepted, self._rejected, self._emitted, tuple(self._errors))


def _named(assets: Sequence[str], index: int) -> str:
    return assets[index] if 0 <= index < len(assets) else ""


def emit_errors(response: pb.BatchEmitAssetMetricsResponse) -> tuple[EmitError, ...]:
    """Returns the refused emits of one request. The answer does not say of which asset they are."""
    return tuple(
        EmitError(
            outcome.index,
            "",
            reason(outcome.error.reason),
            outcome.error.message,
            tuple(Violation(v.field, v.message, reason(v.reason)) for v in outcome.error.violations),
        )
        for outcome in response.outcomes
        if outcome.WhichOneof("result") == "error"
    )


def emit_result(message: pb.EmitAssetMetricsResponse) -> EmitResult:
    """Returns the answer to one emit."""
    return EmitResult(
        message.asset, message.urn, moment(message.time), _metrics(message.metrics), tuple(message.warnings)
    )


def _metrics(messages: Iterable[pb.AssetMetricValue]) -> dict[str, AssetMetric]:
    return {
        m.name: AssetMetric(m.name, scalar(m.value), _TYPES.get(m.value_type, AssetValueType.UNKNOWN), m.guessed)
        for m in messages
    }


def asset_name(given: str) -> str:
    """Returns the resource name of an asset: as given, or derived from its URN."""
    if given.startswith("assets/"):
        return given
    return f"assets/{hashlib.sha256(given.encode()).hexdigest()[:40]}"


def asset(message: pb.Asset) -> resources.Asset:
    """Returns an asset."""
    return resources.Asset(
        name=message.name,
        urn=message.urn,
        platform=message.platform,
        labels=dict(message.labels),
        etag=message.etag,
        create_time=moment(message.create_time),
        update_time=moment(message.update_time),
    )


def asset_moment(message: pb.AssetMoment) -> AssetMoment:
    """Returns the metrics of one moment."""
    return AssetMoment(moment(message.time), _metrics(message.metrics))


def latest_result(message: pb.GetLatestAssetMetricsResponse) -> AssetLatestResult:
    """Returns the newest values of many assets."""
    return AssetLatestResult(
        assets={one.asset: AssetLatest(one.asset, one.name, _latest(one.metrics)) for one in message.assets},
        unknown_assets=tuple(message.unknown_assets),
        read_time=moment(message.read_time),
    )


def _latest(messages: Iterable[pb.LatestAssetMetric]) -> dict[str, AssetLatestValue]:
    return {
        m.name: AssetLatestValue(
            m.name,
            scalar(m.value),
            _TYPES.get(m.value_type, AssetValueType.UNKNOWN),
            moment(m.time),
            timedelta(seconds=m.age.seconds, microseconds=m.age.nanos // 1_000),
        )
        for m in messages
    }


def deleted(message: pb.DeleteAssetMetricsResponse) -> DeletedMetrics:
    """Returns what a deletion took."""
    by_metric: Mapping[str, int] = message.deleted_values_by_metric
    return DeletedMetrics(message.deleted_value_count, message.asset_count, dict(by_metric))
