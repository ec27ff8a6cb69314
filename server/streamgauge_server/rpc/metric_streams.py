"""The streams of `MetricsService`: samples in, samples out, samples as they are written."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import grpc
import grpc.aio
from streamgauge.v1 import metrics_service_pb2 as pb

from streamgauge_server.model.clock import MIN_MICROS
from streamgauge_server.model.values import SubjectKind
from streamgauge_server.rpc import convert
from streamgauge_server.rpc.context import current_caller
from streamgauge_server.rpc.convert_jobs import duration
from streamgauge_server.rpc.frame_messages import frame_message
from streamgauge_server.services.metrics_export import ExportAsked, MetricsExport
from streamgauge_server.services.metrics_import import MetricsImporter
from streamgauge_server.services.metrics_watch import MetricsWatch, WatchAsked

_Context = grpc.aio.ServicerContext[Any, Any]


class MetricStreams:
    """The streaming methods of `streamgauge.v1.MetricsService`."""

    def __init__(self, importer: MetricsImporter, export: MetricsExport, watch: MetricsWatch) -> None:
        self._importer = importer
        self._export = export
        self._watch = watch

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
        """Streams samples out."""
        violations = convert.Violations()
        asked = ExportAsked(
            subjects=tuple(request.subjects),
            kind=violations.enum(request, "subject_kind", SubjectKind, None),
            metrics=tuple(request.metrics),
            start=violations.moment(request.time_range, "start_time", "time_range.", earliest=MIN_MICROS),
            end=violations.moment(request.time_range, "end_time", "time_range.", earliest=MIN_MICROS),
            cursor=request.cursor,
        )
        async with aclosing(self._export.export(current_caller(), asked, violations.found)) as parts:
            async for part in parts:
                yield pb.ExportMetricsResponse(
                    frames=[frame_message(frame) for frame in part.frames],
                    cursor=part.cursor,
                    subject_count=part.subject_count,
                    subjects_done=part.subjects_done,
                    unknown_subjects=part.unknown,
                    damaged=part.damaged,
                )

    async def WatchMetrics(  # noqa: N802
        self, request: pb.WatchMetricsRequest, context: _Context
    ) -> AsyncIterator[pb.WatchMetricsResponse]:
        """Streams samples as they are committed."""
        violations = convert.Violations()
        asked = WatchAsked(
            subjects=tuple(request.subjects),
            kinds=violations.enums(request, "subject_kinds", SubjectKind),
            metrics=tuple(request.metrics),
            cursor=request.cursor,
            heartbeat=duration(violations, request, "heartbeat"),
        )
        async with aclosing(self._watch.watch(current_caller(), asked, violations.found)) as parts:
            async for part in parts:
                yield pb.WatchMetricsResponse(
                    frames=[frame_message(frame) for frame in part.frames], cursor=part.cursor
                )
