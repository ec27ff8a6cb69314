"""`AssetMetricService` at the gRPC edge: convert, call, convert."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import grpc
import grpc.aio
from streamgauge.v1 import asset_metric_service_pb2 as pb
from streamgauge.v1 import asset_metric_service_pb2_grpc as pb_grpc

from streamgauge_server.model.clock import MIN_MICROS
from streamgauge_server.model.entities import ASSET_CHANGEABLE, Asset
from streamgauge_server.model.errors import DomainError, Reason, Violation
from streamgauge_server.model.names import SubjectName
from streamgauge_server.model.values import Scalar, SubjectKind
from streamgauge_server.rpc import convert
from streamgauge_server.rpc.context import current_call, current_caller
from streamgauge_server.rpc.deprecation import DeprecatedCalls
from streamgauge_server.services.asset_corrections import AssetCorrections, Correction
from streamgauge_server.services.asset_emit import AssetEmitter
from streamgauge_server.services.asset_reads import AssetReader, HistoryQuestion, LatestAssetSample
from streamgauge_server.services.asset_values import asset_type_of
from streamgauge_server.services.assets import AssetCatalog, AssetFilter
from streamgauge_server.services.emit_answers import EmitOutcomes, Emitted, Refused
from streamgauge_server.services.emit_checks import EmitInput, MetricInput
from streamgauge_server.services.idempotency import Idempotency
from streamgauge_server.services.off_loop import MANY_VALUES, off_loop

_Context = grpc.aio.ServicerContext[Any, Any]

_BELONGS_TO_BATCH = "belongs to the batch, not to one of its emits"


class AssetMetricServicer(pb_grpc.AssetMetricServiceServicer):
    """Serves `streamgauge.v1.AssetMetricService`."""

    def __init__(
        self,
        emitter: AssetEmitter,
        catalog: AssetCatalog,
        reader: AssetReader,
        corrections: AssetCorrections,
        deprecated: DeprecatedCalls,
        *,
        single_emit: bool,
    ) -> None:
        """`deprecated` counts calls of the deprecated form, which is refused without `single_emit`."""
        self._emitter = emitter
        self._catalog = catalog
        self._reader = reader
        self._corrections = corrections
        self._deprecated = deprecated
        self._single_emit = single_emit

    async def EmitAssetMetrics(  # noqa: N802
        self, request: pb.EmitAssetMetricsRequest, context: _Context
    ) -> pb.EmitAssetMetricsResponse:
        """Emits metrics on one asset."""
        problems = []
        if request.return_merged and request.validate_only:
            problems.append(Violation("return_merged", "does not go together with validate_only"))
        answer = await self._emitter.emit(
            current_caller(),
            _emit(request, problems),
            validate_only=request.validate_only,
            merged=request.return_merged,
            idempotency=_idempotency(request),
        )
        message = pb.EmitAssetMetricsResponse()
        _fill_emitted(message, answer)
        return message

    async def BatchEmitAssetMetrics(  # noqa: N802
        self, request: pb.BatchEmitAssetMetricsRequest, context: _Context
    ) -> pb.BatchEmitAssetMetricsResponse:
        """Emits metrics on many assets."""
        # A value weighs more than 8 bytes on the wire.
        heavy = current_call().request_bytes > 8 * MANY_VALUES
        emits = await off_loop(lambda: [*map(_emit_of_batch, request.requests)], heavy=heavy)
        answer = await self._emitter.emit_batch(
            current_caller(),
            emits,
            validate_only=request.validate_only,
            errors_only=request.errors_only,
            idempotency=_idempotency(request),
        )
        return await off_loop(lambda: outcomes_message(answer), heavy=heavy)

    async def EmitAssetMetric(  # noqa: N802
        self, request: pb.EmitAssetMetricRequest, context: _Context
    ) -> pb.EmitAssetMetricResponse:
        """Emits one metric whose value is text; deprecated."""
        self._deprecated.note(current_call(), "EmitAssetMetrics")
        if not self._single_emit:
            raise DomainError(
                Reason.FEATURE_NOT_SUPPORTED,
                "EmitAssetMetric is switched off on this server (single_emit); use EmitAssetMetrics",
                metadata={"feature": "single_emit"},
            )
        answer = await self._emitter.emit_one(
            current_caller(), request.asset, convert.optional_micros(request, "time"), request.metric, request.value
        )
        return pb.EmitAssetMetricResponse(
            asset=answer.asset, time=convert.timestamp(answer.time), metric=request.metric, value=request.value
        )

    async def ListAssetMetrics(  # noqa: N802
        self, request: pb.ListAssetMetricsRequest, context: _Context
    ) -> pb.ListAssetMetricsResponse:
        """Returns the metrics of an asset over a range."""
        start, end, problems = _range(request)
        page = await self._reader.history(
            current_caller(),
            HistoryQuestion(
                request.asset, start, end, request.metrics, request.page_size, request.page_token, problems
            ),
        )
        message = pb.ListAssetMetricsResponse(next_page_token=page.next_page_token)
        for moment in page.moments:
            entry = message.moments.add()
            convert.fill_timestamp(entry.time, moment.time)
            for name, value in moment.samples:
                _fill_metric(entry.metrics.add(), name, value)
        return message

    async def GetLatestAssetMetrics(  # noqa: N802
        self, request: pb.GetLatestAssetMetricsRequest, context: _Context
    ) -> pb.GetLatestAssetMetricsResponse:
        """Returns the newest metrics of many assets."""
        answer = await self._reader.latest(current_caller(), request.assets, request.metrics)
        message = pb.GetLatestAssetMetricsResponse(
            unknown_assets=answer.unknown, read_time=convert.timestamp(answer.read_time)
        )
        # Most assets have the same metrics, often of the same moment. So a message of each metric and type is kept,
        # what differs is changed in it, and the whole is copied: half the work of a new message each time.
        kept: dict[tuple[str, type], _LatestMessage] = {}
        for asset in answer.assets:
            append = message.assets.add(asset=asset.asset, name=str(asset.name)).metrics.append
            for sample in asset.samples:
                key = (sample[0], type(sample[1]))
                metric = kept.get(key)
                if metric is None:
                    metric = kept[key] = _LatestMessage(sample)
                append(metric.of(sample))
        return message

    async def DeleteAssetMetrics(  # noqa: N802
        self, request: pb.DeleteAssetMetricsRequest, context: _Context
    ) -> pb.DeleteAssetMetricsResponse:
        """Deletes metrics of an asset."""
        start, end, problems = _range(request)
        corrected = await self._corrections.delete(
            current_caller(),
            Correction(
                asset=request.asset,
                start=start,
                end=end,
                metrics=request.metrics,
                run_id=request.run_id,
                all=request.all,
                validate_only=request.validate_only,
                problems=problems,
            ),
        )
        return pb.DeleteAssetMetricsResponse(
            deleted_value_count=corrected.values,
            asset_count=corrected.assets,
            deleted_values_by_metric=corrected.by_metric,
        )

    async def CreateAsset(self, request: pb.CreateAssetRequest, context: _Context) -> pb.CreateAssetResponse:  # noqa: N802
        """Registers an asset."""
        asset = await self._catalog.create(current_caller(), request.asset.urn, dict(request.asset.labels))
        return pb.CreateAssetResponse(asset=_asset_message(asset))

    async def GetAsset(self, request: pb.GetAssetRequest, context: _Context) -> pb.GetAssetResponse:  # noqa: N802
        """Returns one asset."""
        asset = await self._catalog.get(current_caller(), request.asset)
        return pb.GetAssetResponse(asset=_asset_message(asset))

    async def ListAssets(self, request: pb.ListAssetsRequest, context: _Context) -> pb.ListAssetsResponse:  # noqa: N802
        """Lists assets by URN."""
        page = await self._catalog.list(
            current_caller(),
            AssetFilter(request.platform, request.urn_prefix, request.labels),
            page_size=request.page_size,
            page_token=request.page_token,
        )
        return pb.ListAssetsResponse(
            assets=[_asset_message(asset) for asset in page.assets],
            next_page_token=page.next_page_token,
            total_size=page.total,
        )

    async def UpdateAsset(self, request: pb.UpdateAssetRequest, context: _Context) -> pb.UpdateAssetResponse:  # noqa: N802
        """Changes an asset."""
        violations = convert.Violations()
        changes = convert.fields_of(request.asset, violations.masked(request.update_mask, ASSET_CHANGEABLE))
        asset = await self._catalog.update(
            current_caller(), request.asset.name, changes, request.asset.etag, violations.found
        )
        return pb.UpdateAssetResponse(asset=_asset_message(asset))

    async def DeleteAsset(self, request: pb.DeleteAssetRequest, context: _Context) -> pb.DeleteAssetResponse:  # noqa: N802
        """Deletes an asset."""
        await self._catalog.delete(current_caller(), request.asset, request.etag)
        return pb.DeleteAssetResponse()


def _emit(message: pb.EmitAssetMetricsRequest, problems: Sequence[Violation] = ()) -> EmitInput:
    sample = convert.sample
    return EmitInput(
        message.asset,
        convert.optional_micros(message, "time"),
        [MetricInput(metric.name, sample(metric.value), metric.value_type) for metric in message.metrics],
        message.run_id,
        problems,
    )


def _emit_of_batch(message: pb.EmitAssetMetricsRequest) -> EmitInput:
    if not (message.validate_only or message.request_id or message.return_merged):
        return _emit(message)
    fields = ("validate_only", "request_id", "return_merged")
    return _emit(message, [Violation(field, _BELONGS_TO_BATCH) for field in fields if getattr(message, field)])


def _idempotency(request: pb.EmitAssetMetricsRequest | pb.BatchEmitAssetMetricsRequest) -> Idempotency | None:
    if not request.request_id:
        return None
    # Methods share their callers' ids: the same bytes may be requests of two.
    body = request.DESCRIPTOR.full_name.encode() + b"\0" + request.SerializeToString(deterministic=True)
    return Idempotency(request.request_id, hashlib.sha256(body).digest())


def _fill_emitted(message: pb.EmitAssetMetricsResponse, answer: Emitted) -> None:
    message.asset = answer.asset
    message.urn = answer.urn
    convert.fill_timestamp(message.time, answer.time)
    add = message.metrics.add
    for name, value, asset_type, guessed in answer.metrics:
        metric = add()
        metric.name = name
        convert.fill_sample(metric.value, value)
        metric.value_type = asset_type.value  # type: ignore[assignment]
        metric.guessed = guessed
    message.warnings.extend(answer.warnings)


def outcomes_message(answer: EmitOutcomes) -> pb.BatchEmitAssetMetricsResponse:
    """Returns the answer to a batch."""
    message = pb.BatchEmitAssetMetricsResponse(accepted_count=answer.accepted, rejected_count=answer.rejected)
    for index, one in answer.outcomes:
        outcome = message.outcomes.add(index=index)
        if isinstance(one, Refused):
            _fill_refused(outcome.error, one)
        else:
            _fill_emitted(outcome.emitted, one)
    return message


def _fill_refused(message: pb.EmitError, refused: Refused) -> None:
    message.reason = refused.violations[0].reason.value  # type: ignore[assignment]
    message.message = refused.message
    for violation in refused.violations:
        message.violations.add(
            field=violation.field,
            reason=violation.reason.value,
            message=violation.description,
        )


class _LatestMessage:
    """The message of a metric's newest value, used for one sample of the same type after the other."""

    __slots__ = ("_message", "_time", "_value")

    def __init__(self, sample: LatestAssetSample) -> None:
        self._message = pb.LatestAssetMetric(
            name=sample.metric,
            value_type=asset_type_of(sample.value).value,  # type: ignore[arg-type]
        )
        self._value = self._message.value
        self._time: int | None = None

    def of(self, sample: LatestAssetSample) -> pb.LatestAssetMetric:
        """Returns the message of a sample; copy it before the next one."""
        _, value, time, age = sample
        convert.fill_sample(self._value, value)
        if time != self._time:  # all ages are counted to the same moment
            self._time = time
            convert.fill_timestamp(self._message.time, time)
            convert.fill_duration(self._message.age, age)
        return self._message


def _fill_metric(message: pb.AssetMetricValue, name: str, value: Scalar) -> None:
    message.name = name
    convert.fill_sample(message.value, value)
    message.value_type = asset_type_of(value).value  # type: ignore[assignment]


def _range(
    request: pb.ListAssetMetricsRequest | pb.DeleteAssetMetricsRequest,
) -> tuple[int | None, int | None, Sequence[Violation]]:
    """Returns the range of a request, and what is wrong with its ends: then without any, which has no order."""
    violations = convert.Violations()
    start = violations.moment(request.time_range, "start_time", "time_range.", earliest=MIN_MICROS)
    end = violations.moment(request.time_range, "end_time", "time_range.", earliest=MIN_MICROS)
    return (None, None, violations.found) if violations.found else (start, end, ())


def _asset_message(asset: Asset) -> pb.Asset:
    return pb.Asset(
        name=str(SubjectName(SubjectKind.ASSET, asset.id)),
        urn=asset.urn,
        platform=asset.platform,
        labels=asset.labels,
        etag=asset.etag,
        create_time=convert.timestamp(asset.create_time),
        update_time=convert.timestamp(asset.update_time),
    )
