"""`client.metric_types`: figures over time, of jobs, files and errors, and your own.

`aio_metric_types` has its asyncio twin.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, TypedDict, Unpack

from streamgauge import _metric_type_codec as codec
from streamgauge.enums import WindowUnit
from streamgauge.metric_type_results import (
    FieldValue,
    MetricType,
    MetricTypeChoice,
    MetricTypeColumn,
    MetricTypeFilter,
    MetricTypeGroup,
    MetricTypeValues,
    Plot,
    Recalculated,
)
from streamgauge.names import metric_type_name
from streamgauge.observations import Window
from streamgauge.paging import Page, Pager
from streamgauge.v1 import metric_type_service_pb2 as pb

if TYPE_CHECKING:
    from streamgauge.v1.metric_type_service_pb2_grpc import MetricTypeServiceStub


class MetricTypeTexts(TypedDict, total=False):
    """What may be told of a metric type: texts for people, filters of choices, groups of columns."""

    title: str
    description: str
    filters: Iterable[MetricTypeFilter]
    groups: Iterable[MetricTypeGroup]


class MetricTypeChanges(MetricTypeTexts, total=False):
    """What may be changed of a metric type. `etag`: only if it has not changed since this was read."""

    columns: Iterable[MetricTypeColumn]


class MetricTypes:
    """`client.metric_types`. A metric type is named by its id (`errors`) or its resource name (`metricTypes/errors`).

    Built in are `job-types`, `ingests` and `errors`, whose figures are kept from what jobs and sources report. Every
    method takes `timeout` in seconds, over all attempts, and raises a `StreamgaugeError`.
    """

    def __init__(self, stub: MetricTypeServiceStub) -> None:
        self._stub = stub

    def list(self, *, page_size: int = 0, page_token: str = "", timeout: float | None = None) -> Pager[MetricType]:
        """Returns the metric types: the built-in ones, then custom ones by name. Nothing is sent before use.

        `page_size` 0 is the server's default (100); `timeout` counts for each page.
        """

        def fetch(token: str) -> Page[MetricType]:
            request = pb.ListMetricTypesRequest(page_size=page_size, page_token=token)
            return codec.metric_types_page(self._stub.ListMetricTypes(request, timeout=timeout))

        return Pager(fetch, page_token)

    def get(self, metric_type: str, *, timeout: float | None = None) -> MetricType:
        """Returns a metric type. MetricTypeNotFoundError when there is none."""
        request = codec.get(metric_type, None, page_size=1, page_token="")
        return codec.metric_type(self._stub.GetMetricType(request, timeout=timeout).metric_type)

    def choices(
        self,
        metric_type: str,
        *,
        filters: Mapping[str, object] | None = None,
        page_size: int = 0,
        page_token: str = "",
        timeout: float | None = None,
    ) -> Pager[MetricTypeChoice]:
        """Returns the choices of a metric type that have these values of its filters, by number.

        Values are compared exactly, as text. Nothing is sent before use. MetricTypeNotFoundError, and
        InvalidArgumentError for what is no filter of the type; `timeout` counts for each page.

        Example:
            >>> [choice.number for choice in client.metric_types.choices("job-types", filters={"name": "load"})]
        """

        def fetch(token: str) -> Page[MetricTypeChoice]:
            request = codec.get(metric_type, filters, page_size, token)
            return codec.choices_page(self._stub.GetMetricType(request, timeout=timeout))

        return Pager(fetch, page_token)

    def plot(
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
        """Returns figures over windows of hours, days, weeks or months.

        The columns are those named, then those of the `groups`; nothing named is every column that is not derived.
        `choices` are numbers: each is answered by itself; without any all are taken together. The range is half-open,
        by default from the beginning until now, and is compared with the beginnings of hours. Columns come in pages
        of `page_size` (0 is the server's default, 100), which are put together: fewer of them where an answer would
        be too large. MetricTypeNotFoundError, InvalidTimeRangeError, TooManyWindowsError.

        Example:
            >>> plot = client.metric_types.plot("job-types", columns=["run_time_avg", "failed_rate"], window="day")
            >>> plot["run_time_avg"].total
            132
            >>> plot.to_dataframe()
        """
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
        pages = [self._stub.GetPlotData(request, timeout=timeout)]
        while pages[-1].next_page_token:
            request.page_token = pages[-1].next_page_token
            pages.append(self._stub.GetPlotData(request, timeout=timeout))
        return codec.plot(request, pages)

    def create(
        self,
        metric_type_id: str,
        columns: Iterable[MetricTypeColumn],
        *,
        timeout: float | None = None,
        **texts: Unpack[MetricTypeTexts],
    ) -> MetricType:
        """Creates a metric type of your own. MetricTypeAlreadyExistsError when the name is taken.

        Example:
            >>> columns = [MetricTypeColumn("kwh", "sum", units="kWh"), MetricTypeColumn("load", "avg", units="kW")]
            >>> client.metric_types.create("power", columns, title="Power", filters=[MetricTypeFilter("site")])
        """
        request = codec.create(metric_type_id, columns=columns, **texts)
        return codec.metric_type(self._stub.CreateMetricType(request, timeout=timeout).metric_type)

    def update(
        self,
        metric_type: str,
        *,
        etag: str = "",
        timeout: float | None = None,
        **changes: Unpack[MetricTypeChanges],
    ) -> MetricType:
        """Changes what is given of a custom metric type; columns, groups and filters are replaced as a whole.

        MetricTypeInUseError when a column that has values would go or get another aggregate; MetricTypeNotFoundError,
        EtagMismatchError.
        """
        request = codec.update(metric_type, etag, **changes)
        return codec.metric_type(self._stub.UpdateMetricType(request, timeout=timeout).metric_type)

    def delete(self, metric_type: str, *, force: bool = False, etag: str = "", timeout: float | None = None) -> None:
        """Deletes a custom metric type with its choices; with `force` also if it has values.

        MetricTypeInUseError, MetricTypeNotFoundError, EtagMismatchError.
        """
        request = pb.DeleteMetricTypeRequest(name=metric_type_name(metric_type), force=force, etag=etag)
        self._stub.DeleteMetricType(request, timeout=timeout)

    def create_choice(
        self,
        metric_type: str,
        choice_id: str,
        *,
        title: str = "",
        fields: Mapping[str, FieldValue] | None = None,
        timeout: float | None = None,
    ) -> MetricTypeChoice:
        """Creates a choice of a custom metric type. MetricTypeAlreadyExistsError when the id is taken.

        Example:
            >>> client.metric_types.create_choice("power", "hall", title="Hall", fields={"site": "north"})
        """
        request = codec.create_choice(metric_type, choice_id, title, fields)
        return codec.choice(self._stub.CreateMetricTypeChoice(request, timeout=timeout).choice)

    def delete_choice(
        self, metric_type: str, choice_id: str, *, force: bool = False, timeout: float | None = None
    ) -> None:
        """Deletes a choice; with `force` also if it has values. MetricTypeInUseError, MetricTypeNotFoundError."""
        request = codec.delete_choice(metric_type, choice_id, force)
        self._stub.DeleteMetricTypeChoice(request, timeout=timeout)

    def write_values(
        self, metric_type: str, values: Iterable[MetricTypeValues], *, timeout: float | None = None
    ) -> int:
        """Writes values of a custom metric type, in one request: all or, if anything is wrong, none. Returns how many.

        A value written again for the same choice, column and moment replaces the one before. At most 5,000 moments;
        InvalidArgumentError lists every wrong one, MetricTypeNotFoundError also for an unknown choice.

        Example:
            >>> client.metric_types.write_values("power", [MetricTypeValues("hall", {"kwh": 12}, time=noon)])
            1
        """
        request = codec.write_values(metric_type, values)
        return self._stub.WriteMetricTypeValues(request, timeout=timeout).value_count

    def recalculate(
        self,
        metric_type: str,
        start: datetime,
        end: datetime,
        *,
        validate_only: bool = False,
        timeout: float | None = None,
    ) -> Recalculated:
        """Computes the figures of a range of a built-in metric type anew from the records, and repairs them.

        With `validate_only` it only tells what differs. The range is widened to whole hours, at most 366 days.
        """
        request = codec.recalculate(metric_type, start, end, validate_only)
        return codec.recalculated(self._stub.RecalculateMetricType(request, timeout=timeout))
