"""`SourceService` at the gRPC edge: convert, call, convert."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import grpc
import grpc.aio
from streamgauge.v1 import source_service_pb2 as pb
from streamgauge.v1 import source_service_pb2_grpc as pb_grpc

from streamgauge_server.model.entities import SOURCE_CHANGEABLE, MetricDescriptor
from streamgauge_server.model.names import id_problem, parse_subject
from streamgauge_server.model.values import CounterMode, SubjectKind, TimeType
from streamgauge_server.model.windows import WindowUnit
from streamgauge_server.rpc import convert
from streamgauge_server.rpc.context import current_caller
from streamgauge_server.services.ingests import Ingests, ReportedIngest
from streamgauge_server.services.metrics_query import RangeSummary
from streamgauge_server.services.page_tokens import (
    damaged_token,
    page_size_of,
    page_size_problems,
    request_digest,
    token_after,
    token_for,
)
from streamgauge_server.services.source_metrics import SourceMetrics, SourceMetricsAnswer, SourceMetricsQuestion
from streamgauge_server.services.sources import Sources, filter_problems, source_problems
from streamgauge_server.services.window_values import WindowValues

_Context = grpc.aio.ServicerContext[Any, Any]


class SourceServicer(pb_grpc.SourceServiceServicer):
    """Serves `streamgauge.v1.SourceService`."""

    def __init__(self, sources: Sources, metrics: SourceMetrics, ingests: Ingests) -> None:
        self._sources = sources
        self._metrics = metrics
        self._ingests = ingests
        self._labels = _Labels()

    async def CreateSource(self, request: pb.CreateSourceRequest, context: _Context) -> pb.CreateSourceResponse:  # noqa: N802
        """Registers a source."""
        fields = convert.fields_of(request.source, SOURCE_CHANGEABLE)
        source = await self._sources.create(current_caller(), request.source_id, fields)
        return pb.CreateSourceResponse(source=convert.source_message(source))

    async def GetSource(self, request: pb.GetSourceRequest, context: _Context) -> pb.GetSourceResponse:  # noqa: N802
        """Returns one source."""
        violations = convert.Violations()
        source_id = _source_id(request.name, "name", violations)
        violations.raise_if_any()
        source = await self._sources.get(current_caller(), source_id)
        return pb.GetSourceResponse(source=convert.source_message(source))

    async def ListSources(self, request: pb.ListSourcesRequest, context: _Context) -> pb.ListSourcesResponse:  # noqa: N802
        """Lists sources by name."""
        violations = convert.Violations()
        violations.extend(page_size_problems(request.page_size))
        violations.extend(filter_problems(request.labels, request.connector_class))
        violations.raise_if_any()
        page_size = page_size_of(request.page_size)
        digest = request_digest("ListSources", *request.labels, "", request.connector_class)
        after = token_after(request.page_token, digest, keys=1)
        if after and id_problem(after[0]):
            raise damaged_token()
        page = await self._sources.list(
            current_caller(),
            labels=request.labels,
            connector_class=request.connector_class,
            after=after[0] if after else "",
            page_size=page_size,
        )
        return pb.ListSourcesResponse(
            sources=[convert.source_message(source) for source in page.sources],
            next_page_token=token_for(digest, [page.sources[-1].id]) if page.more else "",
            total_size=page.total,
        )

    async def UpdateSource(self, request: pb.UpdateSourceRequest, context: _Context) -> pb.UpdateSourceResponse:  # noqa: N802
        """Changes a source."""
        violations = convert.Violations()
        source_id = _source_id(request.source.name, "source.name", violations)
        changes = convert.fields_of(request.source, violations.masked(request.update_mask, SOURCE_CHANGEABLE))
        violations.extend(source_problems(changes))
        violations.raise_if_any()
        source = await self._sources.update(current_caller(), source_id, changes, request.source.etag)
        return pb.UpdateSourceResponse(source=convert.source_message(source))

    async def DeleteSource(self, request: pb.DeleteSourceRequest, context: _Context) -> pb.DeleteSourceResponse:  # noqa: N802
        """Deletes a source."""
        violations = convert.Violations()
        source_id = _source_id(request.name, "name", violations)
        violations.raise_if_any()
        await self._sources.delete(current_caller(), source_id, request.etag)
        return pb.DeleteSourceResponse()

    async def ReportIngests(self, request: pb.ReportIngestsRequest, context: _Context) -> pb.ReportIngestsResponse:  # noqa: N802
        """Takes in files that sources ingested."""
        reported = await self._ingests.report(current_caller(), [_ingest(one) for one in request.ingests])
        return pb.ReportIngestsResponse(created_count=reported.created, changed_count=reported.changed)

    async def GetSourceMetrics(  # noqa: N802
        self, request: pb.GetSourceMetricsRequest, context: _Context
    ) -> pb.GetSourceMetricsResponse:
        """Returns the metrics of one source."""
        violations = convert.Violations()
        question = _question(request, violations)
        violations.extend(self._metrics.problems(question))
        violations.raise_if_any()
        answer = await self._metrics.get(current_caller(), question)
        return self._answer(request, answer)

    def _answer(self, request: pb.GetSourceMetricsRequest, answer: SourceMetricsAnswer) -> pb.GetSourceMetricsResponse:
        message = pb.GetSourceMetricsResponse.FromString(self._labels.of(answer.descriptors))
        message.source = request.source
        message.time_type = int(answer.time_type)  # type: ignore[assignment]
        if answer.time_type == TimeType.LATEST:
            _add_latest(message, answer)
        else:
            _add_range(message, answer)
        return message


class _Labels:
    """The metadata of answers, serialised. They change with a descriptor, so most answers share one of a few."""

    MAX_ENTRIES = 1_000

    def __init__(self) -> None:
        self._known: dict[tuple[tuple[int, str], ...], bytes] = {}

    def of(self, descriptors: Sequence[MetricDescriptor]) -> bytes:
        """Returns an answer that holds the metadata of the descriptors and nothing else."""
        key = tuple([(descriptor.id, descriptor.etag) for descriptor in descriptors])
        labels = self._known.get(key)
        if labels is None:
            if len(self._known) >= self.MAX_ENTRIES:
                self._known.clear()
            message = pb.GetSourceMetricsResponse()
            for descriptor in descriptors:
                message.metadata[descriptor.metric].CopyFrom(convert.metadata_message(descriptor))
            labels = self._known[key] = message.SerializeToString()
        return labels


def _source_id(name: str, field: str, violations: convert.Violations) -> str:
    subject = parse_subject(name)
    if subject is None or subject.kind != SubjectKind.SOURCE:
        violations.add(field, "must be the resource name of a source, 'sources/{source}'")
        return ""
    return subject.id


def _ingest(message: pb.Ingest) -> ReportedIngest:
    """Decodes an ingest; what is wrong with it is for the service to say."""
    return ReportedIngest(
        source=message.source,
        ingest_id=message.ingest_id,
        status=message.status,
        end_time=convert.optional_micros(message, "end_time"),
        file_size=message.file_size if message.HasField("file_size") else None,
        transfer_start_time=convert.optional_micros(message, "transfer_start_time"),
        transfer_end_time=convert.optional_micros(message, "transfer_end_time"),
        ingest_start_time=convert.optional_micros(message, "ingest_start_time"),
    )


def _question(request: pb.GetSourceMetricsRequest, violations: convert.Violations) -> SourceMetricsQuestion:
    return SourceMetricsQuestion(
        source_id=_source_id(request.source, "source", violations),
        time_type=violations.enum(request, "time_type", TimeType, TimeType.TIMESERIES),
        interval=request.time_interval if request.HasField("time_interval") else 1,
        unit=violations.enum(request, "time_unit", WindowUnit, WindowUnit.HOUR),
        start=violations.moment(request, "timestamp_from"),
        end=violations.moment(request, "timestamp_to"),
        metrics=tuple(request.metrics),
        mode=violations.enum(request, "counter_mode", CounterMode, CounterMode.INCREASE),
    )


def _add_latest(message: pb.GetSourceMetricsResponse, answer: SourceMetricsAnswer) -> None:
    add = message.latest.add
    for descriptor, latest in answer.latest:
        entry = add()
        if latest is None:
            entry.metric = descriptor.metric
        else:
            convert.fill_latest(entry, latest)
    for status in answer.snapshot_status:
        topic = message.snapshot_status.add(
            status=status.status, topic_id=status.topic_id, time=convert.timestamp(status.time)
        )
        if status.submit_time is not None:
            topic.submit_time.CopyFrom(convert.timestamp(status.submit_time))


def _add_range(message: pb.GetSourceMetricsResponse, answer: SourceMetricsAnswer) -> None:
    message.time_range.start_time.CopyFrom(convert.timestamp(answer.start))
    message.time_range.end_time.CopyFrom(convert.timestamp(answer.end))
    if answer.time_type == TimeType.TIMESERIES:
        message.window.count = answer.window.count
        message.window.unit = int(answer.window.unit)  # type: ignore[assignment]
        message.window_bounds.extend(convert.timestamp(bound) for bound in answer.bounds)
        message.timeseries.extend(convert.window_column(column) for column in answer.timeseries)
    message.timesummary.extend(_summary_message(column, summary) for column, summary in answer.timesummary)


def _summary_message(column: WindowValues, summary: RangeSummary) -> pb.SourceMetricSummary:
    message = pb.SourceMetricSummary(
        metric=column.descriptor.metric,
        aggregate=int(column.aggregate),  # type: ignore[arg-type]
        sample_count=summary.sample_count,
        reset_count=summary.reset_count,
    )
    if len(column.values):
        message.value.CopyFrom(convert.value_message(column.values.tolist()[0]))
    if summary.first_time is not None and summary.last_time is not None:
        message.first_time.CopyFrom(convert.timestamp(summary.first_time))
        message.last_time.CopyFrom(convert.timestamp(summary.last_time))
    return message
