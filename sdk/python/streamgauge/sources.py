"""`client.sources`: streaming sources and what they are doing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Literal, TypeAlias, TypedDict, Unpack, overload

from google.protobuf.field_mask_pb2 import FieldMask

from streamgauge import _decode
from streamgauge import ingests as _ingests
from streamgauge._encode import enum_number, names, put_time
from streamgauge.enums import CounterMode, TimeType, WindowUnit
from streamgauge.ingests import Ingest, ReportedIngests
from streamgauge.names import source_name
from streamgauge.paging import AsyncPager, Page, Pager
from streamgauge.resources import Source
from streamgauge.results import Latest, TimeSeries, TimeSummary
from streamgauge.v1 import source_service_pb2

if TYPE_CHECKING:
    from streamgauge.v1.source_service_pb2_grpc import SourceServiceAsyncStub, SourceServiceStub

SourceMetrics: TypeAlias = TimeSeries | TimeSummary | Latest


class Question(TypedDict, total=False):
    """What `metrics` may be told beside the time type; each is optional, with the server's default.

    `interval` and `unit`: the windows of a time series, 1 hour. `start`, `end`: the range, from 24 hours ago until now,
    half-open. `metrics`: only these; `*` for every metric of the source. `counter_mode`: how counters are read.
    """

    interval: int | None
    unit: WindowUnit | str | None
    start: datetime | None
    end: datetime | None
    metrics: Iterable[str]
    counter_mode: CounterMode | str | None


def _create(
    source_id: str, display_name: str, connector_class: str, labels: Mapping[str, str] | None
) -> source_service_pb2.CreateSourceRequest:
    return source_service_pb2.CreateSourceRequest(
        source_id=source_id,
        source=source_service_pb2.Source(
            display_name=display_name, connector_class=connector_class, labels=dict(labels or {})
        ),
    )


def _list(
    page_size: int, page_token: str, labels: Mapping[str, str] | None, connector_class: str
) -> source_service_pb2.ListSourcesRequest:
    return source_service_pb2.ListSourcesRequest(
        page_size=page_size,
        page_token=page_token,
        labels=[f"{key}={value}" for key, value in (labels or {}).items()],
        connector_class=connector_class,
    )


def _page(response: source_service_pb2.ListSourcesResponse) -> Page[Source]:
    return Page(tuple(map(_decode.source, response.sources)), response.next_page_token, response.total_size)


def _update(
    source: str,
    display_name: str | None,
    connector_class: str | None,
    labels: Mapping[str, str] | None,
    etag: str,
) -> source_service_pb2.UpdateSourceRequest:
    message = source_service_pb2.Source(name=source_name(source), etag=etag)
    paths = []
    if display_name is not None:
        message.display_name = display_name
        paths.append("display_name")
    if connector_class is not None:
        message.connector_class = connector_class
        paths.append("connector_class")
    if labels is not None:
        message.labels.update(labels)
        paths.append("labels")
    if not paths:  # an empty mask would mean: everything
        raise ValueError("nothing to update: give display_name, connector_class or labels")
    return source_service_pb2.UpdateSourceRequest(source=message, update_mask=FieldMask(paths=paths))


def _metrics(
    source: str,
    time_type: TimeType | str,
    *,
    interval: int | None = None,
    unit: WindowUnit | str | None = None,
    start: datetime | None = None,
    end: datetime | None = None,
    metrics: Iterable[str] = (),
    counter_mode: CounterMode | str | None = None,
) -> source_service_pb2.GetSourceMetricsRequest:
    request = source_service_pb2.GetSourceMetricsRequest(
        source=source_name(source),
        time_type=enum_number(TimeType, time_type),
        time_interval=interval,
        time_unit=enum_number(WindowUnit, unit),
        metrics=names(metrics),
        counter_mode=enum_number(CounterMode, counter_mode),
    )
    if start is not None:
        put_time(request.timestamp_from, start, "start")
    if end is not None:
        put_time(request.timestamp_to, end, "end")
    return request


class Sources:
    """`client.sources`. A source is named by its id (`orders`) or its full name (`sources/orders`).

    Every method takes `timeout` in seconds, over all attempts, and raises a `StreamgaugeError`. What only reads is
    tried again when the server cannot be reached; what changes something is not.
    """

    def __init__(self, stub: SourceServiceStub) -> None:
        self._stub = stub

    def create(
        self,
        source_id: str,
        *,
        display_name: str = "",
        connector_class: str = "",
        labels: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> Source:
        """Registers a source. SourceAlreadyExistsError when the id is taken.

        Example:
            >>> client.sources.create("orders", display_name="Orders", labels={"team": "shop"})
        """
        request = _create(source_id, display_name, connector_class, labels)
        return _decode.source(self._stub.CreateSource(request, timeout=timeout).source)

    def get(self, source: str, *, timeout: float | None = None) -> Source:
        """Returns a source. SourceNotFoundError when there is none."""
        request = source_service_pb2.GetSourceRequest(name=source_name(source))
        return _decode.source(self._stub.GetSource(request, timeout=timeout).source)

    def list(
        self,
        *,
        labels: Mapping[str, str] | None = None,
        connector_class: str = "",
        page_size: int = 0,
        page_token: str = "",
        timeout: float | None = None,
    ) -> Pager[Source]:
        """Returns the sources that have all the labels and the connector class, by name. Nothing is sent before use.

        `page_size` 0 is the server's default (100); `timeout` counts for each page.
        """

        def fetch(token: str) -> Page[Source]:
            return _page(self._stub.ListSources(_list(page_size, token, labels, connector_class), timeout=timeout))

        return Pager(fetch, page_token)

    def update(
        self,
        source: str,
        *,
        display_name: str | None = None,
        connector_class: str | None = None,
        labels: Mapping[str, str] | None = None,
        etag: str = "",
        timeout: float | None = None,
    ) -> Source:
        """Changes what is given and leaves the rest; `labels` replaces all labels.

        With the `etag` of a source read before, EtagMismatchError when somebody has changed it since.
        """
        request = _update(source, display_name, connector_class, labels, etag)
        return _decode.source(self._stub.UpdateSource(request, timeout=timeout).source)

    def delete(self, source: str, *, etag: str = "", timeout: float | None = None) -> None:
        """Deletes a source with every metric of it. SourceNotFoundError, EtagMismatchError."""
        request = source_service_pb2.DeleteSourceRequest(name=source_name(source), etag=etag)
        self._stub.DeleteSource(request, timeout=timeout)

    @overload
    def metrics(
        self,
        source: str,
        *,
        time_type: Literal[TimeType.TIMESERIES, "timeseries"] = ...,
        timeout: float | None = ...,
        **question: Unpack[Question],
    ) -> TimeSeries: ...
    @overload
    def metrics(
        self,
        source: str,
        *,
        time_type: Literal[TimeType.TIMESUMMARY, "timesummary"],
        timeout: float | None = ...,
        **question: Unpack[Question],
    ) -> TimeSummary: ...
    @overload
    def metrics(
        self,
        source: str,
        *,
        time_type: Literal[TimeType.LATEST, "latest"],
        timeout: float | None = ...,
        **question: Unpack[Question],
    ) -> Latest: ...
    @overload
    def metrics(
        self, source: str, *, time_type: TimeType | str, timeout: float | None = ..., **question: Unpack[Question]
    ) -> SourceMetrics: ...
    def metrics(
        self,
        source: str,
        *,
        time_type: TimeType | str = TimeType.TIMESERIES,
        timeout: float | None = None,
        **question: Unpack[Question],
    ) -> SourceMetrics:
        """Returns the metrics of a source in the form that `time_type` asks for; see `Question` for what else there is.

        By default a time series and a summary answer the twelve numeric built-in metrics, `latest` all of them and all
        others of the source, counters as increases. SourceNotFoundError, InvalidTimeRangeError, TooManyWindowsError.
        """
        request = _metrics(source, time_type, **question)
        return _decode.source_metrics(self._stub.GetSourceMetrics(request, timeout=timeout))

    def timeseries(self, source: str, *, timeout: float | None = None, **question: Unpack[Question]) -> TimeSeries:
        """Returns one value per metric and window. See `Question`.

        Example:
            >>> series = client.sources.timeseries("orders", unit="hour", metrics=["byteTotal"])
            >>> for start, value in series.points("byteTotal"):
            ...     print(start, value)
        """
        return self.metrics(source, time_type=TimeType.TIMESERIES, timeout=timeout, **question)

    def timesummary(self, source: str, *, timeout: float | None = None, **question: Unpack[Question]) -> TimeSummary:
        """Returns one value per metric over the whole range. See `Question`."""
        return self.metrics(source, time_type=TimeType.TIMESUMMARY, timeout=timeout, **question)

    def latest(self, source: str, *, timeout: float | None = None, **question: Unpack[Question]) -> Latest:
        """Returns the newest value of every metric, whatever its age. See `Question`.

        Example:
            >>> client.sources.latest("orders")["sourceRecordWriteTotal"].value
            100340
        """
        return self.metrics(source, time_type=TimeType.LATEST, timeout=timeout, **question)

    def report_ingests(self, ingests: Iterable[Ingest], *, timeout: float | None = None) -> ReportedIngests:
        """Reports files on their way into sources, in as many requests as it takes; `timeout` counts for each.

        Each request is stored whole or not at all, and tried again when the server cannot be reached; reported again
        with equal content, an ingest changes nothing. When a request fails its error is raised; what was sent before
        it stays. Unknown sources are registered, as by a write. InvalidArgumentError lists every wrong field.

        Example:
            >>> file = Ingest("landing", "orders-0001.csv", "ingested", end_time=datetime.now(UTC), file_size=120_400)
            >>> client.sources.report_ingests([file]).created
            1
        """
        done = ReportedIngests()
        for request in _ingests.requests(ingests):
            done = done.plus(self._stub.ReportIngests(request, timeout=timeout))
        return done


class AsyncSources:
    """`client.sources` of the asyncio client: the twin of `Sources`, with `await` and `async for`."""

    def __init__(self, stub: SourceServiceAsyncStub) -> None:
        self._stub = stub

    async def create(
        self,
        source_id: str,
        *,
        display_name: str = "",
        connector_class: str = "",
        labels: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> Source:
        """Registers a source. SourceAlreadyExistsError when the id is taken."""
        request = _create(source_id, display_name, connector_class, labels)
        return _decode.source((await self._stub.CreateSource(request, timeout=timeout)).source)

    async def get(self, source: str, *, timeout: float | None = None) -> Source:
        """Returns a source. SourceNotFoundError when there is none."""
        request = source_service_pb2.GetSourceRequest(name=source_name(source))
        return _decode.source((await self._stub.GetSource(request, timeout=timeout)).source)

    def list(
        self,
        *,
        labels: Mapping[str, str] | None = None,
        connector_class: str = "",
        page_size: int = 0,
        page_token: str = "",
        timeout: float | None = None,
    ) -> AsyncPager[Source]:
        """Returns the sources that have all the labels and the connector class, by name. Nothing is sent before use.

        `page_size` 0 is the server's default (100); `timeout` counts for each page.
        """

        async def fetch(token: str) -> Page[Source]:
            return _page(
                await self._stub.ListSources(_list(page_size, token, labels, connector_class), timeout=timeout)
            )

        return AsyncPager(fetch, page_token)

    async def update(
        self,
        source: str,
        *,
        display_name: str | None = None,
        connector_class: str | None = None,
        labels: Mapping[str, str] | None = None,
        etag: str = "",
        timeout: float | None = None,
    ) -> Source:
        """Changes what is given and leaves the rest; `labels` replaces all labels.

        With the `etag` of a source read before, EtagMismatchError when somebody has changed it since.
        """
        request = _update(source, display_name, connector_class, labels, etag)
        return _decode.source((await self._stub.UpdateSource(request, timeout=timeout)).source)

    async def delete(self, source: str, *, etag: str = "", timeout: float | None = None) -> None:
        """Deletes a source with every metric of it. SourceNotFoundError, EtagMismatchError."""
        request = source_service_pb2.DeleteSourceRequest(name=source_name(source), etag=etag)
        await self._stub.DeleteSource(request, timeout=timeout)

    @overload
    async def metrics(
        self,
        source: str,
        *,
        time_type: Literal[TimeType.TIMESERIES, "timeseries"] = ...,
        timeout: float | None = ...,
        **question: Unpack[Question],
    ) -> TimeSeries: ...
    @overload
    async def metrics(
        self,
        source: str,
        *,
        time_type: Literal[TimeType.TIMESUMMARY, "timesummary"],
        timeout: float | None = ...,
        **question: Unpack[Question],
    ) -> TimeSummary: ...
    @overload
    async def metrics(
        self,
        source: str,
        *,
        time_type: Literal[TimeType.LATEST, "latest"],
        timeout: float | None = ...,
        **question: Unpack[Question],
    ) -> Latest: ...
    @overload
    async def metrics(
        self, source: str, *, time_type: TimeType | str, timeout: float | None = ..., **question: Unpack[Question]
    ) -> SourceMetrics: ...
    async def metrics(
        self,
        source: str,
        *,
        time_type: TimeType | str = TimeType.TIMESERIES,
        timeout: float | None = None,
        **question: Unpack[Question],
    ) -> SourceMetrics:
        """Returns the metrics of a source in the form that `time_type` asks for; see `Question` for what else there is.

        By default a time series and a summary answer the twelve numeric built-in metrics, `latest` all of them and all
        others of the source, counters as increases. SourceNotFoundError, InvalidTimeRangeError, TooManyWindowsError.
        """
        request = _metrics(source, time_type, **question)
        return _decode.source_metrics(await self._stub.GetSourceMetrics(request, timeout=timeout))

    async def timeseries(
        self, source: str, *, timeout: float | None = None, **question: Unpack[Question]
    ) -> TimeSeries:
        """Returns one value per metric and window. See `Question`."""
        return await self.metrics(source, time_type=TimeType.TIMESERIES, timeout=timeout, **question)

    async def timesummary(
        self, source: str, *, timeout: float | None = None, **question: Unpack[Question]
    ) -> TimeSummary:
        """Returns one value per metric over the whole range. See `Question`."""
        return await self.metrics(source, time_type=TimeType.TIMESUMMARY, timeout=timeout, **question)

    async def latest(self, source: str, *, timeout: float | None = None, **question: Unpack[Question]) -> Latest:
        """Returns the newest value of every metric, whatever its age. See `Question`."""
        return await self.metrics(source, time_type=TimeType.LATEST, timeout=timeout, **question)

    async def report_ingests(self, ingests: Iterable[Ingest], *, timeout: float | None = None) -> ReportedIngests:
        """Reports files on their way into sources. See `Sources.report_ingests`."""
        done = ReportedIngests()
        for request in _ingests.requests(ingests):
            done = done.plus(await self._stub.ReportIngests(request, timeout=timeout))
        return done
