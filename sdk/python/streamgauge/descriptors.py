"""`client.metrics.descriptors`: what metrics there are, and how they are read."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from enum import Enum, StrEnum
from typing import TYPE_CHECKING, Any, Final, Literal, TypedDict, Unpack

from google.protobuf.field_mask_pb2 import FieldMask

from streamgauge import _decode
from streamgauge._encode import duration, enum_number
from streamgauge.enums import Aggregate, MetricDirection, MetricKind, PartCombination, SubjectKind, ValueType
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


class DescriptorChanges(TypedDict, total=False):
    """What `update` and `declare` may be told of a metric. What is not given stays, or is the server's default.

    `display_name`, `description`, `unit`: for people. `kind`: how the readings behave over time. `window_aggregate`,
    `summary_aggregate`: what a query computes when it names no aggregate. `part_combination`: how the values of parts
    become the subject's. `state_order`: texts from best to worst. `no_value`: the number that means "no value".
    `min_value`, `max_value`: bounds of what may be written. `direction`: which way the metric gets better.
    `sample_retention`, `summary_retention`: after how many whole days samples go and summaries by hour stay, and after
    how many these go too. Each of the last six is taken away by None. With the `etag` of a descriptor read before,
    EtagMismatchError when somebody has changed it since.
    """

    display_name: str | None
    description: str | None
    unit: str | None
    kind: MetricKind | str | None
    window_aggregate: Aggregate | str | None
    summary_aggregate: Aggregate | str | None
    part_combination: PartCombination | str | None
    state_order: Iterable[str] | None
    no_value: float | Literal[Keep.KEEP] | None
    min_value: float | Literal[Keep.KEEP] | None
    max_value: float | Literal[Keep.KEEP] | None
    direction: MetricDirection | str | Literal[Keep.KEEP] | None
    sample_retention: timedelta | Literal[Keep.KEEP] | None
    summary_retention: timedelta | Literal[Keep.KEEP] | None
    etag: str


_ENUMS: dict[str, type[StrEnum]] = {
    "kind": MetricKind,
    "value_type": ValueType,
    "window_aggregate": Aggregate,
    "summary_aggregate": Aggregate,
    "part_combination": PartCombination,
    "direction": MetricDirection,
}
_DURATIONS = ("sample_retention", "summary_retention")
_CLEARABLE = ("no_value", "min_value", "max_value", "direction", *_DURATIONS)
"""Fields that may be without a value."""


def _update(
    name: str, value_type: ValueType | str | None, changes: DescriptorChanges, *, declare: bool = False
) -> metrics_service_pb2.UpdateMetricDescriptorRequest:
    if unknown := changes.keys() - DescriptorChanges.__annotations__.keys():
        raise TypeError(f"a metric descriptor has no {', '.join(sorted(unknown))}")
    given: dict[str, Any] = {"value_type": value_type, **changes}
    message = common_pb2.MetricDescriptor(name=name, etag=given.pop("etag", ""))
    paths: list[str] = []
    for field, value in given.items():
        if value is KEEP or (value is None and field not in _CLEARABLE):
            continue
        paths.append(field)
        if field == "state_order":
            message.state_order.extend(value)
        elif field in _DURATIONS:
            if (given_length := duration(value, field)) is not None:
                getattr(message, field).CopyFrom(given_length)
        elif value is not None:
            setattr(message, field, enum_number(_ENUMS[field], value) if field in _ENUMS else value)
    if not paths:  # an empty mask would mean: everything
        raise ValueError("nothing to update: give at least one field")
    return metrics_service_pb2.UpdateMetricDescriptorRequest(
        metric_descriptor=message, update_mask=FieldMask(paths=paths), allow_missing=declare
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
        value_type: ValueType | str | None = None,
        timeout: float | None = None,
        **changes: Unpack[DescriptorChanges],
    ) -> MetricDescriptor:
        """Changes what is given and leaves the rest; see `DescriptorChanges`.

        Stored samples stay as they are; what changes is how they are read and what may be written. Only metrics of
        assets may get another `value_type`. MetricNotFoundError, EtagMismatchError.

        Example:
            >>> client.metrics.descriptors.update("queueDepth", unit="messages", window_aggregate="max")
        """
        request = _update(descriptor_name(metric, subject_kind), value_type, changes)
        return _decode.descriptor(self._stub.UpdateMetricDescriptor(request, timeout=timeout).metric_descriptor)

    def declare(
        self,
        metric: str,
        value_type: ValueType | str,
        *,
        subject_kind: SubjectKind | str,
        timeout: float | None = None,
        **changes: Unpack[DescriptorChanges],
    ) -> MetricDescriptor:
        """Says what a metric is, whether or not it was written before; see `DescriptorChanges`.

        What is written to a declared metric of assets must be of its type, and is not guessed any more.

        Example:
            >>> client.metrics.descriptors.declare(
            ...     "nullFraction", "number", subject_kind="assets", max_value=1, direction="lower_is_better"
            ... )
        """
        request = _update(descriptor_name(metric, subject_kind), value_type, changes, declare=True)
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
        value_type: ValueType | str | None = None,
        timeout: float | None = None,
        **changes: Unpack[DescriptorChanges],
    ) -> MetricDescriptor:
        """Changes what is given and leaves the rest. See `Descriptors.update`."""
        request = _update(descriptor_name(metric, subject_kind), value_type, changes)
        response = await self._stub.UpdateMetricDescriptor(request, timeout=timeout)
        return _decode.descriptor(response.metric_descriptor)

    async def declare(
        self,
        metric: str,
        value_type: ValueType | str,
        *,
        subject_kind: SubjectKind | str,
        timeout: float | None = None,
        **changes: Unpack[DescriptorChanges],
    ) -> MetricDescriptor:
        """Says what a metric is, whether or not it was written before. See `Descriptors.declare`."""
        request = _update(descriptor_name(metric, subject_kind), value_type, changes, declare=True)
        response = await self._stub.UpdateMetricDescriptor(request, timeout=timeout)
        return _decode.descriptor(response.metric_descriptor)
