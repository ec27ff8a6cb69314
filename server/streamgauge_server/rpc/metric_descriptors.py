"""The metric descriptors of `MetricsService`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import grpc
import grpc.aio
from streamgauge.v1 import metrics_service_pb2 as pb

from streamgauge_server.model.entities import DESCRIPTOR_CHANGEABLE
from streamgauge_server.model.errors import invalid_field
from streamgauge_server.model.names import COLLECTIONS, metric_name_problem, parse_descriptor
from streamgauge_server.model.values import Aggregate, Direction, MetricKind, PartCombination, SubjectKind, ValueType
from streamgauge_server.rpc import convert
from streamgauge_server.rpc.context import current_caller
from streamgauge_server.rpc.convert_jobs import duration
from streamgauge_server.services.descriptors import Descriptors
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
_DURATIONS = ("sample_retention", "summary_retention")


class DescriptorMethods:
    """The methods of `streamgauge.v1.MetricsService` that are about descriptors."""

    def __init__(self, descriptors: Descriptors) -> None:
        self._descriptors = descriptors

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
        plain = [name for name in names if name not in _DURATIONS]
        changes = violations.fields(given, plain, _DESCRIPTOR_ENUMS, "metric_descriptor.")
        changes |= {
            name: duration(violations, given, name, "metric_descriptor.") for name in names if name in _DURATIONS
        }
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
