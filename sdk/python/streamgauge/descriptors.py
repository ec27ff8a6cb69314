"""`client.metrics.descriptors`: what metrics there are, and how they are read."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import TYPE_CHECKING, Final, Literal

from google.protobuf.field_mask_pb2 import FieldMask

from streamgauge import _decode
from streamgauge._encode import enum_number
from streamgauge.enums import Aggregate, MetricKind, PartCombination, SubjectKind
from streamgauge.names import descriptor_name
from streamgauge.paging import AsyncPager, Page, Pager
from streamgauge.resources import MetricDescriptor
from streamgauge.v1 import common_pb2, metrics_service_pb2

if TYPE_CHECKING:
    from streamgauge.v1.metrics_service_pb2_grpc import MetricsServiceAsyncStub, MetricsServiceStub


class Keep(Enum):
    """The type of `KEEP`."""

    KEEP = "keep"


KEEP: Final = Keep.KEEP
"""Leaves a field as it is, where None has a meaning of its own."""


def _list(
    subject_kind: SubjectKind | str | None, page_size: int, page_token: str
) -> metrics_service_pb2.ListMetricDescriptorsRequest:
    return metrics_service_pb2.ListMetricDescriptorsRequest(
        subject_kind=enum_number(SubjectKind, subject_kind), page_size=page_size, page_token=page_token
    )


def _page(response: metrics_service_pb2.ListMetricDescriptorsResponse) -> Page[MetricDescriptor]:
    return Page(tuple(map(_decode.descriptor, response.metric_descriptors)), response.next_page_token)


def _update(
    name: str,
    *,
    display_name: str | None,
    description: str | None,
    unit: str | None,
    kind: MetricKind | str | None,
    window_aggregate: Aggregate | str | None,
    summary_aggregate: Aggregate | str | None,
    part_combination: PartCombination | str | None,
    state_order: Iterable[str] | None,
    no_value: float | Literal[Keep.KEEP] | None,
    etag: str,
) -> metrics_service_pb2.UpdateMetricDescriptorRequest:
    changes: dict[str, object] = {
        "display_name": display_name,
        "description": description,
        "unit": unit,
        "kind": enum_number(MetricKind, kind) or None,
        "window_aggregate": enum_number(Aggregate, window_aggregate) or None,
        "summary_aggregate": enum_number(Aggregate, summary_aggregate) or None,
        "part_combination": enum_number(PartCombination, part_combination) or None,
        "state_order": None if state_order is None else list(state_order),
    }
    changes = {field: value for field, value in changes.items() if value is not None}
    if no_value is not KEEP:
        changes["no_value"] = no_value
    if not changes:  # an empty mask would mean: everything
        raise ValueError("nothing to update: give at least one field")
    message = common_pb2.MetricDescriptor(name=name, etag=etag, **changes)  # type: ignore[arg-type]
    return metrics_service_pb2.UpdateMetricDescriptorRequest(
        metric_descriptor=message, update_mask=FieldMask(paths=list(changes))
    )


class Descriptors:
    """`client.metrics.descriptors`. A descriptor is named by metric and subject kind, or by its full name."""

    def __init__(self, stub: MetricsServiceStub) -> None:
        self._stub = stub

    def get(
        self, metric: str, *, subject_kind: SubjectKind | str = SubjectKind.SOURCE, timeout: float | None = None
    ) -> MetricDescriptor:
        """Returns one descriptor. MetricNotFoundError when the metric was never written or declared."""
        request = metrics_service_pb2.GetMetricDescriptorRequest(name=descriptor_name(metric, subject_kind))
        return _decode.descriptor(self._stub.GetMetricDescriptor(request, timeout=timeout).metric_descriptor)

    def list(
        self,
        *,
        subject_kind: SubjectKind | str | None = None,
        page_size: int = 0,
        page_token: str = "",
        timeout: float | None = None,
    ) -> Pager[MetricDescriptor]:
        """Returns the descriptors by subject kind and metric. `page_size` 0 is the server's default (100)."""

        def fetch(token: str) -> Page[MetricDescriptor]:
            return _page(self._stub.ListMetricDescriptors(_list(subject_kind, page_size, token), timeout=timeout))

        return Pager(fetch, page_token)

    def update(
        self,
        metric: str,
        *,
        subject_kind: SubjectKind | str = SubjectKind.SOURCE,
        display_name: str | None = None,
        description: str | None = None,
        unit: str | None = None,
        kind: MetricKind | str | None = None,
        window_aggregate: Aggregate | str | None = None,
        summary_aggregate: Aggregate | str | None = None,
        part_combination: PartCombination | str | None = None,
        state_order: Iterable[str] | None = None,
        no_value: float | Literal[Keep.KEEP] | None = KEEP,
        etag: str = "",
        timeout: float | None = None,
    ) -> MetricDescriptor:
        """Changes what is given and leaves the rest; `no_value=None` takes the mark of "no value" away.

        Stored samples stay as they are; what changes is how they are read. EtagMismatchError with an old `etag`.

        Example:
            >>> client.metrics.descriptors.update("queueDepth", unit="messages", window_aggregate="max")
        """
        request = _update(
            descriptor_name(metric, subject_kind),
            display_name=display_name,
            description=description,
            unit=unit,
            kind=kind,
            window_aggregate=window_aggregate,
            summary_aggregate=summary_aggregate,
            part_combination=part_combination,
            state_order=state_order,
            no_value=no_value,
            etag=etag,
        )
        return _decode.descriptor(self._stub.UpdateMetricDescriptor(request, timeout=timeout).metric_descriptor)


class AsyncDescriptors:
    """`client.metrics.descriptors` of the asyncio client: the twin of `Descriptors`."""

    def __init__(self, stub: MetricsServiceAsyncStub) -> None:
        self._stub = stub

    async def get(
        self, metric: str, *, subject_kind: SubjectKind | str = SubjectKind.SOURCE, timeout: float | None = None
    ) -> MetricDescriptor:
        """Returns one descriptor. MetricNotFoundError when the metric was never written or declared."""
        request = metrics_service_pb2.GetMetricDescriptorRequest(name=descriptor_name(metric, subject_kind))
        return _decode.descriptor((await self._stub.GetMetricDescriptor(request, timeout=timeout)).metric_descriptor)

    def list(
        self,
        *,
        subject_kind: SubjectKind | str | None = None,
        page_size: int = 0,
        page_token: str = "",
        timeout: float | None = None,
    ) -> AsyncPager[MetricDescriptor]:
        """Returns the descriptors by subject kind and metric. `page_size` 0 is the server's default (100)."""

        async def fetch(token: str) -> Page[MetricDescriptor]:
            request = _list(subject_kind, page_size, token)
            return _page(await self._stub.ListMetricDescriptors(request, timeout=timeout))

        return AsyncPager(fetch, page_token)

    async def update(
        self,
        metric: str,
        *,
        subject_kind: SubjectKind | str = SubjectKind.SOURCE,
        display_name: str | None = None,
        description: str | None = None,
        unit: str | None = None,
        kind: MetricKind | str | None = None,
        window_aggregate: Aggregate | str | None = None,
        summary_aggregate: Aggregate | str | None = None,
        part_combination: PartCombination | str | None = None,
        state_order: Iterable[str] | None = None,
        no_value: float | Literal[Keep.KEEP] | None = KEEP,
        etag: str = "",
        timeout: float | None = None,
    ) -> MetricDescriptor:
        """Changes what is given and leaves the rest. See `Descriptors.update`."""
        request = _update(
            descriptor_name(metric, subject_kind),
            display_name=display_name,
            description=description,
            unit=unit,
            kind=kind,
            window_aggregate=window_aggregate,
            summary_aggregate=summary_aggregate,
            part_combination=part_combination,
            state_order=state_order,
            no_value=no_value,
            etag=etag,
        )
        response = await self._stub.UpdateMetricDescriptor(request, timeout=timeout)
        return _decode.descriptor(response.metric_descriptor)
