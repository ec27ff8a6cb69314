"""`MetricsService` at the gRPC edge: convert, call, convert."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio
from streamgauge.v1 import metrics_service_pb2 as pb
from streamgauge.v1 import metrics_service_pb2_grpc as pb_grpc

from streamgauge_server.model.clock import Clock
from streamgauge_server.model.entities import MetricDescriptor
from streamgauge_server.model.names import (
    descriptor_name,
)
from streamgauge_server.model.values import (
    Aggregate,
    CounterMode,
)
from streamgauge_server.model.windows import Window, WindowUnit
from streamgauge_server.rpc import convert
from streamgauge_server.rpc.context import current_call, current_caller
from streamgauge_server.rpc.metric_descriptors import DescriptorMethods
from streamgauge_server.rpc.metric_streams import MetricStreams
from streamgauge_server.services.descriptors import Descriptors
from streamgauge_server.services.idempotency import Idempotency
from streamgauge_server.services.latest import LatestReader
from streamgauge_server.services.metrics_export import MetricsExport
from streamgauge_server.services.metrics_import import MetricsImporter
from streamgauge_server.services.metrics_query import MetricsQuery, Question
from streamgauge_server.services.metrics_watch import MetricsWatch
from streamgauge_server.services.metrics_write import MetricsWriter
from streamgauge_server.services.off_loop import MANY_VALUES, off_loop
from streamgauge_server.services.retention import RetentionService

_Context = grpc.aio.ServicerContext[Any, Any]


@dataclass(frozen=True, slots=True)
class MetricParts:
    """The services behind `MetricsService`."""

    writer: MetricsWriter
    importer: MetricsImporter
    export: MetricsExport
    watch: MetricsWatch
    query: MetricsQuery
    latest: LatestReader
    descriptors: Descriptors
    retention: RetentionService


class MetricsServicer(MetricStreams, DescriptorMethods, pb_grpc.MetricsServiceServicer):
    """Serves `streamgauge.v1.MetricsService`."""

    def __init__(self, parts: MetricParts, clock: Clock) -> None:
        MetricStreams.__init__(self, parts.importer, parts.export, parts.watch)
        DescriptorMethods.__init__(self, parts.descriptors)
        self._writer = parts.writer
        self._query = parts.query
        self._latest = parts.latest
        self._retention = parts.retention
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

    async def ApplyRetention(  # noqa: N802
        self, request: pb.ApplyRetentionRequest, context: _Context
    ) -> pb.ApplyRetentionResponse:
        """Lets samples and summaries go that are past their limits, or tells what would go."""
        applied = await self._retention.apply_for(current_caller(), validate_only=request.validate_only)
        message = pb.ApplyRetentionResponse()
        for kind, counts in sorted(applied.counts.items()):
            message.counts.add(
                subject_kind=int(kind),
                sample_count=counts.samples,
                summary_count=counts.hours,
                subject_count=counts.subjects,
                day_count=counts.days,
                byte_count=max(0, counts.bytes),
            )
        return message

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


def _add_metadata(
    message: pb.QueryMetricsResponse | pb.GetLatestMetricsResponse, descriptors: Sequence[MetricDescriptor]
) -> None:
    for descriptor in {descriptor.id: descriptor for descriptor in descriptors}.values():
        name = descriptor_name(descriptor.kind_of_subject, descriptor.metric).removeprefix("metricDescriptors/")
        message.metadata[name].CopyFrom(convert.metadata_message(descriptor))
