"""`MetricsService` at the gRPC edge: convert, call, convert."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Sequence
from typing import Any

import grpc
import grpc.aio
from streamgauge.v1 import metrics_service_pb2 as pb
from streamgauge.v1 import metrics_service_pb2_grpc as pb_grpc

from streamgauge_server.model.clock import Clock
from streamgauge_server.model.entities import DESCRIPTOR_CHANGEABLE, MetricDescriptor
from streamgauge_server.model.errors import invalid_field
from streamgauge_server.model.names import (
    COLLECTIONS,
    descriptor_name,
    metric_name_problem,
    parse_descriptor,
)
from streamgauge_server.model.values import (
    Aggregate,
    CounterMode,
    Direction,
    MetricKind,
    PartCombination,
    SubjectKind,
    ValueType,
)
from streamgauge_server.model.windows import Window, WindowUnit
from streamgauge_server.rpc import convert
from streamgauge_server.rpc.context import current_call, current_caller
from streamgauge_server.services.descriptors import Descriptors
from streamgauge_server.services.idempotency import Idempotency
from streamgauge_server.services.latest import LatestReader
from streamgauge_server.services.metrics_import import MetricsImporter
from streamgauge_server.services.metrics_query import MetricsQuery, Question
from streamgauge_server.services.metrics_write import MetricsWriter
from streamgauge_server.services.off_loop import MANY_VALUES, off_loop
from streamgauge_server.services.page_tokens import (
    cut_page,
    damaged_token,
    page_size_of,
    page_size_problems,
    request_digest,
    token_after,
)

_Context = grpc.aio.ServicerContext[Any, Any]
_DESCRIPTOR_ENUMS = {
    "kind": MetricKind,
    "value_type": ValueType,
    "window_aggregate": Aggregate,
    "summary_aggregate": Aggregate,
    "part_combination": PartCombination,
    "direction": Direction,
}


class MetricsServicer(pb_grpc.MetricsServiceServicer):
    """Serves `streamgauge.v1.MetricsService`."""

    def __init__(
        self,
        writer: MetricsWriter,
        importer: MetricsImporter,
        query: MetricsQuery,
        latest: LatestReader,
        descriptors: Descriptors,
        clock: Clock,
    ) -> None:
        self._writer = writer
        self._importer = importer
        self._query = query
        self._latest = latest
        self._descriptors = descriptors
        self._clock = clock

    async def WriteMetrics(self, request: pb.WriteMetricsRequest, context: _Context) -> pb.WriteMetricsResponse:  # noqa: N802
        """Writes observations."""
        idempotency = None
        if request.request_id:
            body = hashlib.sha256(request.SerializeToString(deterministic=True)).digest()
            idempotency = Idempotency(request.request_id, body)
        # A value weighs more than 8 bytes on the wire.
        heavy = current_call().request_bytes > 8 * MANY_VALUES
        observations = await off_loop(lambda: [convert.observation(m) for m in request.observations], heavy=heavy)
        outcome = await self._writer.write(
            current_caller(),
            observations,
            atomic=request.atomic,
            validate_only=request.validate_only,
            idempotency=idempotency,
        )
        return pb.WriteMetricsResponse(
            accepted_count=outcome.accepted,
            rejected_count=outcome.rejected,
            errors=convert.write_errors(outcome.errors),
            errors_truncated=outcome.errors_truncated,
        )

    async def ImportMetrics(  # noqa: N802
        self, request_iterator: AsyncIterator[pb.ImportMetricsRequest], context: _Context
    ) -> pb.ImportMetricsResponse:
        """Writes a stream of frames."""
        async with self._importer.session(current_caller()) as session:
            async for request in request_iterator:
                await session.add([convert.frame(message) for message in request.frames])
            outcome = await session.finish()
        return pb.ImportMetricsResponse(
            accepted_frame_count=outcome.accepted,
            rejected_frame_count=outcome.rejected,
            accepted_sample_count=outcome.samples,
            errors=convert.write_errors(outcome.errors),
            errors_truncated=outcome.errors_truncated,
        )

    async def ExportMetrics(  # noqa: N802
        self, request: pb.ExportMetricsRequest, context: _Context
    ) -> AsyncIterator[pb.ExportMetricsResponse]:
        """Not yet there."""
        await context.abort(grpc.StatusCode.UNIMPLEMENTED)
        yield pb.ExportMetricsResponse()

    async def WatchMetrics(  # noqa: N802
        self, request: pb.WatchMetricsRequest, context: _Context
    ) -> AsyncIterator[pb.WatchMetricsResponse]:
        """Not yet there."""
        await context.abort(grpc.StatusCode.UNIMPLEMENTED)
        yield pb.WatchMetricsResponse()

    async def ApplyRetention(  # noqa: N802
        self, request: pb.ApplyRetentionRequest, context: _Context
    ) -> pb.ApplyRetentionResponse:
        """Not yet there."""
        await context.abort(grpc.StatusCode.UNIMPLEMENTED)
        return pb.ApplyRetentionResponse()

    async def QueryMetrics(self, request: pb.QueryMetricsRequest, context: _Context) -> pb.QueryMetricsResponse:  # noqa: N802
        """Aggregates metrics over windows."""
        violations = convert.Violations()
        window = None
        if request.HasField("window"):
            unit = violations.required_enum(request.window, "unit", WindowUnit, "window.")
            window = Window(unit or WindowUnit.HOUR, request.window.count if request.window.count else 1)
        question = Question(
            subjects=request.subjects,
            metrics=tuple(request.metrics),
            start=violations.moment(request.time_range, "start_time", "time_range."),
            end=violations.moment(request.time_range, "end_time", "time_range."),
            window=window,
            aggregates=violations.enums(request, "aggregates", Aggregate),
            mode=violations.enum(request, "counter_mode", CounterMode, CounterMode.INCREASE),
            by_part=request.by_part,
        )
        violations.extend(self._query.problems(question))
        violations.raise_if_any()
        answer = await self._query.query(current_caller(), question)
        message = pb.QueryMetricsResponse(
            window_bounds=[convert.timestamp(bound) for bound in answer.bounds],
            unknown_subjects=[str(subject) for subject in answer.unknown],
        )
        message.time_range.start_time.CopyFrom(convert.timestamp(answer.start))
        message.time_range.end_time.CopyFrom(convert.timestamp(answer.end))
        for series in answer.series:
            message.series.add(
                subject=str(series.subject),
                part=series.part,
                columns=[convert.window_column(column) for column in series.columns],
            )
        _add_metadata(message, [column.descriptor for series in answer.series for column in series.columns])
        return message

    async def GetLatestMetrics(  # noqa: N802
        self, request: pb.GetLatestMetricsRequest, context: _Context
    ) -> pb.GetLatestMetricsResponse:
        """Returns the newest values of many subjects."""
        violations = convert.Violations()
        mode = violations.enum(request, "counter_mode", CounterMode, CounterMode.INCREASE)
        violations.extend(self._latest.problems(request.subjects, request.metrics))
        violations.raise_if_any()
        answers, unknown = await self._latest.read(
            current_caller(),
            request.subjects,
            metrics=request.metrics,
            mode=mode,
            by_part=request.by_part,
        )
        message = pb.GetLatestMetricsResponse(
            unknown_subjects=[str(subject) for subject in unknown], read_time=convert.timestamp(self._clock.now())
        )
        for answer in answers:
            entry = message.subjects.add(subject=str(answer.subject), part=answer.part)
            for latest in answer.metrics.values():
                convert.fill_latest(entry.values.add(), latest)
        _add_metadata(message, [metric.descriptor for answer in answers for metric in answer.metrics.values()])
        return message

    async def ListMetricDescriptors(  # noqa: N802
        self, request: pb.ListMetricDescriptorsRequest, context: _Context
    ) -> pb.ListMetricDescriptorsResponse:
        """Lists descriptors."""
        violations = convert.Violations()
        kind = violations.enum(request, "subject_kind", SubjectKind, None)
        violations.extend(page_size_problems(request.page_size))
        violations.raise_if_any()
        page_size = page_size_of(request.page_size)
        digest = request_digest("ListMetricDescriptors", str(request.subject_kind))
        after = token_after(request.page_token, digest, keys=2)
        found = await self._descriptors.list(current_caller(), kind, _after(after), page_size + 1)
        page, token = cut_page(found, page_size, digest, lambda last: [str(int(last.kind_of_subject)), last.metric])
        return pb.ListMetricDescriptorsResponse(
            metric_descriptors=[convert.descriptor_message(descriptor) for descriptor in page],
            next_page_token=token,
        )

    async def GetMetricDescriptor(  # noqa: N802
        self, request: pb.GetMetricDescriptorRequest, context: _Context
    ) -> pb.GetMetricDescriptorResponse:
        """Returns one descriptor."""
        kind, metric = _descriptor(request.name, "name")
        descriptor = await self._descriptors.get(current_caller(), kind, metric)
        return pb.GetMetricDescriptorResponse(metric_descriptor=convert.descriptor_message(descriptor))

    async def UpdateMetricDescriptor(  # noqa: N802
        self, request: pb.UpdateMetricDescriptorRequest, context: _Context
    ) -> pb.UpdateMetricDescriptorResponse:
        """Changes a descriptor, or declares a metric."""
        violations = convert.Violations()
        given = request.metric_descriptor
        kind, metric = _descriptor(given.name, "metric_descriptor.name")
        names = violations.masked(request.update_mask, DESCRIPTOR_CHANGEABLE)
        changes = violations.fields(given, names, _DESCRIPTOR_ENUMS, "metric_descriptor.")
        descriptor = await self._descriptors.update(
            current_caller(),
            kind,
            metric,
            changes,
            given.etag,
            violations.found,
            allow_missing=request.allow_missing,
        )
        return pb.UpdateMetricDescriptorResponse(metric_descriptor=convert.descriptor_message(descriptor))


def _descriptor(name: str, field: str) -> tuple[SubjectKind, str]:
    parsed = parse_descriptor(name)
    if parsed is None:
        collections = ", ".join(COLLECTIONS.values())
        raise invalid_field(field, f"must be 'metricDescriptors/{{kind}}/{{metric}}' with a kind out of {collections}")
    return parsed


def _after(key: Sequence[str]) -> tuple[SubjectKind, str] | None:
    """Returns the sort key of a page token."""
    if not key:
        return None
    kinds = {str(int(kind)): kind for kind in SubjectKind}
    number, metric = key
    if number not in kinds or metric_name_problem(metric):
        raise damaged_token()
    return kinds[number], metric


def _add_metadata(
    message: pb.QueryMetricsResponse | pb.GetLatestMetricsResponse, descriptors: Sequence[MetricDescriptor]
) -> None:
    for descriptor in {descriptor.id: descriptor for descriptor in descriptors}.values():
        name = descriptor_name(descriptor.kind_of_subject, descriptor.metric).removeprefix("metricDescriptors/")
        message.metadata[name].CopyFrom(convert.metadata_message(descriptor))
