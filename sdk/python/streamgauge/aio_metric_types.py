"""`client.metric_types` of the asyncio client, the twin of `metric_types`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Unpack

from streamgauge import _metric_type_codec as codec
from streamgauge.enums import WindowUnit
from streamgauge.metric_type_results import (
    FieldValue,
    MetricType,
    MetricTypeChoice,
    MetricTypeColumn,
    MetricTypeValues,
    Plot,
    Recalculated,
)
from streamgauge.metric_types import MetricTypeChanges, MetricTypeTexts
from streamgauge.names import metric_type_name
from streamgauge.observations import Window
from streamgauge.paging import AsyncPager, Page
from streamgauge.v1 import metric_type_service_pb2 as pb

if TYPE_CHECKING:
    from streamgauge.v1.metric_type_service_pb2_grpc import MetricTypeServiceAsyncStub


class AsyncMetricTypes:
    """`client.metric_types` of the asyncio client: the twin of `MetricTypes`, with `await` and `async for`."""

    def __init__(self, stub: MetricTypeServiceAsyncStub) -> None:
        self._stub = stub

    def list(self, *, page_size: int = 0, page_token: str = "", timeout: float | None = None) -> AsyncPager[MetricType]:
        """Returns the metric types. See `MetricTypes.list`."""

        async def fetch(token: str) -> Page[MetricType]:
            request = pb.ListMetricTypesRequest(page_size=page_size, page_token=token)
            return codec.metric_types_page(await self._stub.ListMetricTypes(request, timeout=timeout))

        return AsyncPager(fetch, page_token)

    async def get(self, metric_type: str, *, timeout: float | None = None) -> MetricType:
        """Returns a metric type. MetricTypeNotFoundError when there is none."""
        request = codec.get(metric_type, None, page_size=1, page_token="")
        return codec.metric_type((await self._stub.GetMetricType(request, timeout=timeout)).metric_type)

    def choices(
        self,
        metric_type: str,
        *,
        filters: Mapping[str, object] | None = None,
        page_size: int = 0,
        page_token: str = "",
        timeout: float | None = None,
    ) -> AsyncPager[MetricTypeChoice]:
        """Returns the choices of a metric type. See `MetricTypes.choices`."""

        async def fetch(token: str) -> Page[MetricTypeChoice]:
            request = codec.get(metric_type, filters, page_size, token)
            return codec.choices_page(await self._stub.GetMetricType(request, timeout=timeout))

        return AsyncPager(fetch, page_token)

    async def plot(
        self,
        metric_type: str,
        *,
        columns: Iterable[str] = (),
        groups: Iterable[str] = (),
        choices: Iterable[int] = (),
        start: datetime | None = None,
        end: datetime | None = None,
        window: Window | WindowUnit | str = WindowUnit.HOUR,
        page_size: int = 0,
        timeout: float | None = None,
    ) -> Plot:
        """Returns figures over windows. See `MetricTypes.plot`."""
        request = codec.plot_request(
            metric_type,
            columns=columns,
            groups=groups,
            choices=choices,
            start=start,
            end=end,
            window_=window,
            page_size=page_size,
        )
        pages = [await self._stub.GetPlotData(request, timeout=timeout)]
        while pages[-1].next_page_token:
            request.page_token = pages[-1].next_page_token
            pages.append(await self._stub.GetPlotData(request, timeout=timeout))
        return codec.plot(request, pages)

    async def create(
        self,
        metric_type_id: str,
        columns: Iterable[MetricTypeColumn],
        *,
        timeout: float | None = None,
        **texts: Unpack[MetricTypeTexts],
    ) -> MetricType:
        """Creates a metric type of your own. See `MetricTypes.create`."""
        request = codec.create(metric_type_id, columns=columns, **texts)
        return codec.metric_type((await self._stub.CreateMetricType(request, timeout=timeout)).metric_type)

    async def update(
        self,
        metric_type: str,
        *,
        etag: str = "",
        timeout: float | None = None,
        **changes: Unpack[MetricTypeChanges],
    ) -> MetricType:
        """Changes what is given of a custom metric type. See `MetricTypes.update`."""
        request = codec.update(metric_type, etag, **changes)
        return codec.metric_type((await self._stub.UpdateMetricType(request, timeout=timeout)).metric_type)

    async def delete(
        self, metric_type: str, *, force: bool = False, etag: str = "", timeout: float | None = None
    ) -> None:
        """Deletes a custom metric type. See `MetricTypes.delete`."""
        request = pb.DeleteMetricTypeRequest(name=metric_type_name(metric_type), force=force, etag=etag)
        await self._stub.DeleteMetricType(request, timeout=timeout)

    async def create_choice(
        self,
        metric_type: str,
        choice_id: str,
        *,
        title: str = "",
        fields: Mapping[str, FieldValue] | None = None,
        timeout: float | None = None,
    ) -> MetricTypeChoice:
        """Creates a choice of a custom metric type. See `MetricTypes.create_choice`."""
        request = codec.create_choice(metric_type, choice_id, title, fields)
        return codec.choice((await self._stub.CreateMetricTypeChoice(request, timeout=timeout)).choice)

    async def delete_choice(
        self, metric_type: str, choice_id: str, *, force: bool = False, timeout: float | None = None
    ) -> None:
        """Deletes a choice. See `MetricTypes.delete_choice`."""
        request = codec.delete_choice(metric_type, choice_id, force)
        await self._stub.DeleteMetricTypeChoice(request, timeout=timeout)

    async def write_values(
        self, metric_type: str, values: Iterable[MetricTypeValues], *, timeout: float | None = None
    ) -> int:
        """Writes values of a custom metric type. See `MetricTypes.write_values`."""
        request = codec.write_values(metric_type, values)
        return (await self._stub.WriteMetricTypeValues(request, timeout=timeout)).value_count

    async def recalculate(
        self,
        metric_type: str,
        start: datetime,
        end: datetime,
        *,
        validate_only: bool = False,
        timeout: float | None = None,
    ) -> Recalculated:
        """Computes figures anew from the records. See `MetricTypes.recalculate`."""
        request = codec.recalculate(metric_type, start, end, validate_only)
        return codec.recalculated(await self._stub.RecalculateMetricType(request, timeout=timeout))
