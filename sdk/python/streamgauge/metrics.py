"""`client.metrics`: writing and reading metrics of any subject."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from streamgauge import _decode, _encode, dataframes, frames
from streamgauge._aio_calls import AsyncAnswers
from streamgauge._calls import Answers
from streamgauge._encode import enum_number, names
from streamgauge._resuming import DEFAULT_HEARTBEAT
from streamgauge.descriptors import AsyncDescriptors, Descriptors
from streamgauge.enums import Aggregate, CounterMode, SubjectKind, WindowUnit
from streamgauge.frames import Frame
from streamgauge.metric_streams import (
    AsyncMetricsExport,
    AsyncMetricsWatch,
    MetricsExport,
    MetricsWatch,
    export_course,
    watch_course,
)
from streamgauge.observations import ImportResult, Observation, Window, WriteResult
from streamgauge.results import LatestResult, QueryResult
from streamgauge.v1 import metrics_service_pb2

if TYPE_CHECKING:
    import pandas

    from streamgauge.v1.metrics_service_pb2_grpc import MetricsServiceAsyncStub, MetricsServiceStub


def new_request_id() -> str:
    """Returns an id that makes a repeated write count once."""
    return uuid.uuid4().hex


def _write(
    observations: Iterable[Observation], atomic: bool, validate_only: bool, request_id: str | None
) -> metrics_service_pb2.WriteMetricsRequest:
    if request_id is None:
        request_id = "" if validate_only else new_request_id()
    return metrics_service_pb2.WriteMetricsRequest(
        observations=_encode.observations(observations),
        atomic=atomic,
        validate_only=validate_only,
        request_id=request_id,
    )


def _query(
    subjects: Iterable[str],
    metrics: Iterable[str],
    start: datetime | None,
    end: datetime | None,
    window: Window | WindowUnit | str | None,
    aggregates: Iterable[Aggregate | str],
    counter_mode: CounterMode | str | None,
    by_part: bool,
) -> metrics_service_pb2.QueryMetricsRequest:
    if isinstance(aggregates, str):
        aggregates = [aggregates]
    return metrics_service_pb2.QueryMetricsRequest(
        subjects=names(subjects),
        metrics=names(metrics),
        time_range=_encode.time_range(start, end),
        window=None if window is None else _encode.window(window),
        aggregates=[enum_number(Aggregate, aggregate) for aggregate in aggregates],
        counter_mode=enum_number(CounterMode, counter_mode),
        by_part=by_part,
    )


def _export(
    subjects: Iterable[str],
    subject_kind: SubjectKind | str | None,
    metrics: Iterable[str],
    start: datetime | None,
    end: datetime | None,
    cursor: str,
) -> metrics_service_pb2.ExportMetricsRequest:
    return metrics_service_pb2.ExportMetricsRequest(
        subjects=names(subjects),
        subject_kind=enum_number(SubjectKind, subject_kind),
        metrics=names(metrics),
        time_range=_encode.time_range(start, end),
        cursor=cursor,
    )


def _watch(
    subjects: Iterable[str], kinds: Iterable[SubjectKind | str], metrics: Iterable[str], cursor: str
) -> metrics_service_pb2.WatchMetricsRequest:
    return metrics_service_pb2.WatchMetricsRequest(
        subjects=names(subjects),
        subject_kinds=[enum_number(SubjectKind, kind) for kind in names(kinds)],
        metrics=names(metrics),
        cursor=cursor,
    )


def _latest(
    subjects: Iterable[str], metrics: Iterable[str], counter_mode: CounterMode | str | None, by_part: bool
) -> metrics_service_pb2.GetLatestMetricsRequest:
    return metrics_service_pb2.GetLatestMetricsRequest(
        subjects=names(subjects),
        metrics=names(metrics),
        counter_mode=enum_number(CounterMode, counter_mode),
        by_part=by_part,
    )


class Metrics:
    """`client.metrics`. Subjects are named in full, such as `sources/orders`.

    Every method takes `timeout` in seconds, over all attempts, and raises a `StreamgaugeError`. `descriptors` tells
    what metrics there are.
    """

    def __init__(self, stub: MetricsServiceStub) -> None:
        self._stub = stub
        self.descriptors = Descriptors(stub)

    def write(
        self,
        observations: Iterable[Observation],
        *,
        atomic: bool = False,
        validate_only: bool = False,
        request_id: str | None = None,
        timeout: float | None = None,
    ) -> WriteResult:
        """Writes observations, at most 5,000. What the result counts as accepted is durable when this returns.

        Bad observations are refused one by one and listed in the result: look at `result.rejected`, or call
        `result.raise_for_rejected()`. With `atomic` any bad one refuses all (InvalidArgumentError); with
        `validate_only` nothing is stored. The call is tried again when the server cannot be reached, which is safe:
        each call carries a `request_id`, new unless it is given, and the server answers a repeat with the first answer.

        Example:
            >>> client.metrics.write([Observation("sources/orders", {"byteTotal": 1024})]).accepted
            1
        """
        request = _write(observations, atomic, validate_only, request_id)
        return _decode.write_result(self._stub.WriteMetrics(request, timeout=timeout), request.request_id)

    def import_frames(self, given: Iterable[Frame], *, timeout: float | None = None) -> ImportResult:
        """Writes frames in one stream, for volume. What the result counts as accepted is durable when this returns.

        The frames are taken from the iterable as they are sent. Bad frames are refused one by one and listed in the
        result. A stream that breaks off may have been stored in part and is not tried again; writing the same frames
        once more changes nothing.
        """
        origin: dict[int, int] = {}
        response = self._stub.ImportMetrics(frames.requests(given, origin), timeout=timeout)
        return _decode.import_result(response, origin)

    def import_dataframe(
        self,
        frame: pandas.DataFrame,
        subject: str | None = None,
        *,
        part: str = "",
        start_time: datetime | None = None,
        time: str | None = None,
        subject_column: str | None = None,
        part_column: str | None = None,
        timeout: float | None = None,
    ) -> ImportResult:
        """Writes a DataFrame: a column per metric, the moments (timezone-aware) in the index or in the column `time`.

        All rows are of one `subject`, or each row names its own in `subject_column`; likewise `part` and
        `part_column`. NaN, None and NaT mark gaps. Needs `streamgauge[pandas]`; ImportError says so otherwise.
        """
        split = dataframes.to_frames(
            frame,
            subject,
            part=part,
            start_time=start_time,
            time=time,
            subject_column=subject_column,
            part_column=part_column,
        )
        return self.import_frames(split, timeout=timeout)

    def query(
        self,
        subjects: Iterable[str],
        *,
        metrics: Iterable[str] = (),
        start: datetime | None = None,
        end: datetime | None = None,
        window: Window | WindowUnit | str | None = None,
        aggregates: Iterable[Aggregate | str] = (),
        counter_mode: CounterMode | str | None = None,
        by_part: bool = False,
        timeout: float | None = None,
    ) -> QueryResult:
        """Aggregates metrics of many subjects over calendar windows.

        The range is `[start, end)`, by default the last 24 hours; without a `window` it is one window. Without
        `metrics` every metric is answered, without `aggregates` each metric's own default. `by_part` answers each part
        of a subject by itself.

        Example:
            >>> client.metrics.query(["sources/orders"], metrics=["byteTotal"], window="day", aggregates=["increase"])
        """
        request = _query(subjects, metrics, start, end, window, aggregates, counter_mode, by_part)
        return _decode.query_result(self._stub.QueryMetrics(request, timeout=timeout))

    def latest(
        self,
        subjects: Iterable[str],
        *,
        metrics: Iterable[str] = (),
        counter_mode: CounterMode | str | None = None,
        by_part: bool = False,
        timeout: float | None = None,
    ) -> LatestResult:
        """Returns the newest values of up to 1,000 subjects in one call."""
        request = _latest(subjects, metrics, counter_mode, by_part)
        return _decode.latest_result(self._stub.GetLatestMetrics(request, timeout=timeout))

    def export(
        self,
        subjects: Iterable[str] = (),
        *,
        subject_kind: SubjectKind | str | None = None,
        metrics: Iterable[str] = (),
        start: datetime | None = None,
        end: datetime | None = None,
        cursor: str = "",
        give_up_after: timedelta | None = None,
    ) -> MetricsExport:
        """Returns the samples of some subjects, or of all of a kind, in column form. Nothing is sent before use.

        A day of a subject or part at a time, each with its type, moment and start time as written: `import_frames` of
        these frames makes the same samples again. `metrics`, `start` and `end` choose among them. When the connection
        breaks it goes on, for ever or, with `give_up_after`, until the server was away for so long (UnavailableError).
        `cursor` goes on with an export of before, of which the other arguments were the same.

        Example:
            >>> with client.metrics.export(subject_kind="sources") as export:
            ...     for frame in export:
            ...         print(frame.subject, frame.to_dataframe())
        """

        def open_(request: metrics_service_pb2.ExportMetricsRequest) -> Answers:
            answers: Answers = self._stub.ExportMetrics(request)  # type: ignore[assignment]  # our channel's own kind
            return answers

        request = _export(subjects, subject_kind, metrics, start, end, cursor)
        return MetricsExport(open_, export_course(request, give_up_after))

    def watch(
        self,
        subjects: Iterable[str] = (),
        *,
        subject_kinds: Iterable[SubjectKind | str] = (),
        metrics: Iterable[str] = (),
        cursor: str = "",
        heartbeat: timedelta = DEFAULT_HEARTBEAT,
        give_up_after: timedelta | None = None,
    ) -> MetricsWatch:
        """Returns samples of some subjects, or of all of some kinds, as they are committed. Nothing is sent before use.

        It begins now, or after a `cursor` of before. The subjects need not exist yet. When the connection breaks it
        connects again and goes on, for ever or, with `give_up_after`, until the server was away for so long
        (UnavailableError). CursorExpiredError when the cursor is older than what is told one by one, or one of another
        store, such as the one that this is a copy of: export, and watch from the error's `oldest_cursor`.
        SlowConsumerError when the frames are not taken as fast as they are written: a new watch may go on from
        `cursor`. `heartbeat` is how long a silence may last.

        Example:
            >>> with client.metrics.watch(["sources/orders"]) as watch:
            ...     for frame in watch:
            ...         print(frame.to_dataframe())
        """

        def open_(request: metrics_service_pb2.WatchMetricsRequest) -> Answers:
            answers: Answers = self._stub.WatchMetrics(request)  # type: ignore[assignment]  # our channel's own kind
            return answers

        request = _watch(subjects, subject_kinds, metrics, cursor)
        return MetricsWatch(open_, watch_course(request, heartbeat, give_up_after))


class AsyncMetrics:
    """`client.metrics` of the asyncio client: the twin of `Metrics`, with `await`."""

    def __init__(self, stub: MetricsServiceAsyncStub) -> None:
        self._stub = stub
        self.descriptors = AsyncDescriptors(stub)

    async def write(
        self,
        observations: Iterable[Observation],
        *,
        atomic: bool = False,
        validate_only: bool = False,
        request_id: str | None = None,
        timeout: float | None = None,
    ) -> WriteResult:
        """Writes observations, at most 5,000. See `Metrics.write`."""
        request = _write(observations, atomic, validate_only, request_id)
        return _decode.write_result(await self._stub.WriteMetrics(request, timeout=timeout), request.request_id)

    async def import_frames(
        self, given: Iterable[Frame] | AsyncIterable[Frame], *, timeout: float | None = None
    ) -> ImportResult:
        """Writes frames, out of any iterable, sync or async, in one stream. See `Metrics.import_frames`."""
        origin: dict[int, int] = {}
        response = await self._stub.ImportMetrics(_requests(given, origin), timeout=timeout)
        return _decode.import_result(response, origin)

    async def import_dataframe(
        self,
        frame: pandas.DataFrame,
        subject: str | None = None,
        *,
        part: str = "",
        start_time: datetime | None = None,
        time: str | None = None,
        subject_column: str | None = None,
        part_column: str | None = None,
        timeout: float | None = None,
    ) -> ImportResult:
        """Writes a DataFrame. See `Metrics.import_dataframe`."""
        split = dataframes.to_frames(
            frame,
            subject,
            part=part,
            start_time=start_time,
            time=time,
            subject_column=subject_column,
            part_column=part_column,
        )
        return await self.import_frames(split, timeout=timeout)

    async def query(
        self,
        subjects: Iterable[str],
        *,
        metrics: Iterable[str] = (),
        start: datetime | None = None,
        end: datetime | None = None,
        window: Window | WindowUnit | str | None = None,
        aggregates: Iterable[Aggregate | str] = (),
        counter_mode: CounterMode | str | None = None,
        by_part: bool = False,
        timeout: float | None = None,
    ) -> QueryResult:
        """Aggregates metrics of many subjects over calendar windows. See `Metrics.query`."""
        request = _query(subjects, metrics, start, end, window, aggregates, counter_mode, by_part)
        return _decode.query_result(await self._stub.QueryMetrics(request, timeout=timeout))

    async def latest(
        self,
        subjects: Iterable[str],
        *,
        metrics: Iterable[str] = (),
        counter_mode: CounterMode | str | None = None,
        by_part: bool = False,
        timeout: float | None = None,
    ) -> LatestResult:
        """Returns the newest values of up to 1,000 subjects in one call."""
        request = _latest(subjects, metrics, counter_mode, by_part)
        return _decode.latest_result(await self._stub.GetLatestMetrics(request, timeout=timeout))

    def export(
        self,
        subjects: Iterable[str] = (),
        *,
        subject_kind: SubjectKind | str | None = None,
        metrics: Iterable[str] = (),
        start: datetime | None = None,
        end: datetime | None = None,
        cursor: str = "",
        give_up_after: timedelta | None = None,
    ) -> AsyncMetricsExport:
        """Returns the samples of some subjects, or of all of a kind, in column form. See `Metrics.export`."""

        def open_(request: metrics_service_pb2.ExportMetricsRequest) -> AsyncAnswers:
            answers: AsyncAnswers = self._stub.ExportMetrics(request)  # type: ignore[assignment]  # our channel's own kind
            return answers

        request = _export(subjects, subject_kind, metrics, start, end, cursor)
        return AsyncMetricsExport(open_, export_course(request, give_up_after))

    def watch(
        self,
        subjects: Iterable[str] = (),
        *,
        subject_kinds: Iterable[SubjectKind | str] = (),
        metrics: Iterable[str] = (),
        cursor: str = "",
        heartbeat: timedelta = DEFAULT_HEARTBEAT,
        give_up_after: timedelta | None = None,
    ) -> AsyncMetricsWatch:
        """Returns samples as they are committed. See `Metrics.watch`."""

        def open_(request: metrics_service_pb2.WatchMetricsRequest) -> AsyncAnswers:
            answers: AsyncAnswers = self._stub.WatchMetrics(request)  # type: ignore[assignment]  # our channel's own kind
            return answers

        request = _watch(subjects, subject_kinds, metrics, cursor)
        return AsyncMetricsWatch(open_, watch_course(request, heartbeat, give_up_after))


async def _requests(
    given: Iterable[Frame] | AsyncIterable[Frame], origin: dict[int, int]
) -> AsyncIterator[metrics_service_pb2.ImportMetricsRequest]:
    packer = frames.Packer(origin)
    if isinstance(given, AsyncIterable):
        async for frame in given:
            for request in packer.add(frame):
                yield request
    else:
        for frame in given:
            for request in packer.add(frame):
                yield request
    for request in packer.rest():
        yield request
