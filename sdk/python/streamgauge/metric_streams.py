"""Exporting and watching metrics: iterators that go on by themselves when the connection breaks."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta

from streamgauge._aio_calls import AsyncAnswers
from streamgauge._calls import Answers
from streamgauge._resuming import AsyncReceiver, Course, Items, Receiver
from streamgauge.sample_frames import ExportPart, SampleFrame, WatchedSamples, export_part, watched_samples
from streamgauge.v1 import metrics_service_pb2 as pb


def export_course(
    request: pb.ExportMetricsRequest, give_up_after: timedelta | None
) -> Course[pb.ExportMetricsRequest, ExportPart]:
    """Returns the course of an export."""
    return Course(request, export_part, "the export of metrics", give_up_after, time.monotonic())


def watch_course(
    request: pb.WatchMetricsRequest, heartbeat: timedelta, give_up_after: timedelta | None
) -> Course[pb.WatchMetricsRequest, WatchedSamples]:
    """Returns the course of a watch."""
    request.heartbeat.FromTimedelta(heartbeat)
    return Course(request, watched_samples, "the watch of metrics", give_up_after, time.monotonic(), heartbeat)


class _Progress:
    """As far as an export has come, and what of it is not whole yet."""

    def __init__(self, cursor: str) -> None:
        self.cursor = cursor
        self.subject_count = 0
        self.subjects_done = 0
        self.unknown_subjects: list[str] = []
        self.damaged: list[str] = []
        self._begun: list[ExportPart] = []

    def add(self, part: ExportPart) -> ExportPart | None:
        """Takes a message, and returns what is whole with it.

        A day that is cut into several messages is whole with the one that brings a new cursor.
        """
        self._begun.append(part)
        if part.frames and part.cursor == self.cursor:
            return None
        begun, self._begun = self._begun, []
        last = begun[-1]
        self.cursor, self.subject_count, self.subjects_done = last.cursor, last.subject_count, last.subjects_done
        self.unknown_subjects += [name for one in begun for name in one.unknown_subjects]
        self.damaged += [day for one in begun for day in one.damaged]
        return ExportPart(
            tuple(frame for one in begun for frame in one.frames),
            last.cursor,
            last.subject_count,
            last.subjects_done,
            tuple(name for one in begun for name in one.unknown_subjects),
            tuple(day for one in begun for day in one.damaged),
        )

    def restart(self) -> None:
        """Drops what is not whole: it comes again."""
        self._begun.clear()


class MetricsExport(Receiver[pb.ExportMetricsRequest, ExportPart], Iterator[SampleFrame]):
    """Samples out of the store, frame by frame, a day of a subject or part at a time; made by `client.metrics.export`.

    When the connection breaks, or the server restarts, it goes on where it was: no sample is lost, none comes twice.
    `cursor` is behind the frames that were taken: store it to go on in another process. `parts()` hands on what is
    whole at a time, with the cursor behind it.

    Close it, or use it as a `with` block, if it is not taken to its end.
    """

    def __init__(
        self,
        open_: Callable[[pb.ExportMetricsRequest], Answers],
        course: Course[pb.ExportMetricsRequest, ExportPart],
    ) -> None:
        super().__init__(open_, course)
        self._progress = _Progress(course.request.cursor)
        self._frames: Items[SampleFrame] = Items(course.request.cursor)

    @property
    def cursor(self) -> str:
        """Where a later export of the same would go on; empty while nothing is whole."""
        return self._frames.cursor

    @property
    def subject_count(self) -> int:
        """How many subjects and parts there are in all; 0 before the first message."""
        return self._progress.subject_count

    @property
    def subjects_done(self) -> int:
        """How many subjects and parts have come whole."""
        return self._progress.subjects_done

    @property
    def unknown_subjects(self) -> tuple[str, ...]:
        """Subjects asked for that do not exist."""
        return tuple(dict.fromkeys(self._progress.unknown_subjects))

    @property
    def damaged(self) -> tuple[str, ...]:
        """Days that have come without what could not be read, as `{subject} {yyyy-mm-dd}`."""
        return tuple(dict.fromkeys(self._progress.damaged))

    def __next__(self) -> SampleFrame:
        while (frame := self._frames.take()) is None:
            part = self._part()
            if part is None:
                raise StopIteration
            self._frames.add(part.frames, part.cursor)
        return frame

    def parts(self) -> Iterator[ExportPart]:
        """Yields what is whole at a time: the frames of some days, and the cursor behind them."""
        while (part := self._part()) is not None:
            self._frames.cursor = part.cursor
            yield part

    def _part(self) -> ExportPart | None:
        while (message := self._receive()) is not None:
            if (part := self._progress.add(message)) is not None:
                return part
        return None

    def _hang_up(self) -> None:
        super()._hang_up()
        self._progress.restart()


class AsyncMetricsExport(AsyncReceiver[pb.ExportMetricsRequest, ExportPart], AsyncIterator[SampleFrame]):
    """Samples out of the store, frame by frame: `async for`. See `MetricsExport`."""

    def __init__(
        self,
        open_: Callable[[pb.ExportMetricsRequest], AsyncAnswers],
        course: Course[pb.ExportMetricsRequest, ExportPart],
    ) -> None:
        super().__init__(open_, course)
        self._progress = _Progress(course.request.cursor)
        self._frames: Items[SampleFrame] = Items(course.request.cursor)

    @property
    def cursor(self) -> str:
        """Where a later export of the same would go on; empty while nothing is whole."""
        return self._frames.cursor

    @property
    def subject_count(self) -> int:
        """How many subjects and parts there are in all; 0 before the first message."""
        return self._progress.subject_count

    @property
    def subjects_done(self) -> int:
        """How many subjects and parts have come whole."""
        return self._progress.subjects_done

    @property
    def unknown_subjects(self) -> tuple[str, ...]:
        """Subjects asked for that do not exist."""
        return tuple(dict.fromkeys(self._progress.unknown_subjects))

    @property
    def damaged(self) -> tuple[str, ...]:
        """Days that have come without what could not be read, as `{subject} {yyyy-mm-dd}`."""
        return tuple(dict.fromkeys(self._progress.damaged))

    async def __anext__(self) -> SampleFrame:
        while (frame := self._frames.take()) is None:
            part = await self._part()
            if part is None:
                raise StopAsyncIteration
            self._frames.add(part.frames, part.cursor)
        return frame

    async def parts(self) -> AsyncIterator[ExportPart]:
        """Yields what is whole at a time: the frames of some days, and the cursor behind them."""
        while (part := await self._part()) is not None:
            self._frames.cursor = part.cursor
            yield part

    async def _part(self) -> ExportPart | None:
        while (message := await self._receive()) is not None:
            if (part := self._progress.add(message)) is not None:
                return part
        return None

    def _hang_up(self) -> None:
        super()._hang_up()
        self._progress.restart()


class MetricsWatch(Receiver[pb.WatchMetricsRequest, WatchedSamples], Iterator[SampleFrame]):
    """Samples as they are committed, frame by frame, for as long as it is iterated; made by `client.metrics.watch`.

    When the connection breaks, or the server restarts, it connects again and goes on where it was: no sample is lost,
    and one may come again. Of each subject later frames stand over earlier ones. `cursor` is behind the frames that
    were taken: store it to go on in another process. `messages()` tells of heartbeats, too.

    Close it, or use it as a `with` block, also from another thread, which ends the iteration. It belongs to the process
    that made it.
    """

    def __init__(
        self,
        open_: Callable[[pb.WatchMetricsRequest], Answers],
        course: Course[pb.WatchMetricsRequest, WatchedSamples],
    ) -> None:
        super().__init__(open_, course)
        self._frames: Items[SampleFrame] = Items(course.request.cursor)

    @property
    def cursor(self) -> str:
        """Where a later watch would go on; empty before the first message."""
        return self._frames.cursor

    def __next__(self) -> SampleFrame:
        while (frame := self._frames.take()) is None:
            message = self._receive()
            if message is None:
                raise StopIteration
            self._frames.add(message.frames, message.cursor)
        return frame

    def messages(self) -> Iterator[WatchedSamples]:
        """Yields whole messages, also those without a frame: a heartbeat says that nothing was written."""
        while (message := self._receive()) is not None:
            self._frames.cursor = message.cursor
            yield message


class AsyncMetricsWatch(AsyncReceiver[pb.WatchMetricsRequest, WatchedSamples], AsyncIterator[SampleFrame]):
    """Samples as they are committed: `async for`. See `MetricsWatch`."""

    def __init__(
        self,
        open_: Callable[[pb.WatchMetricsRequest], AsyncAnswers],
        course: Course[pb.WatchMetricsRequest, WatchedSamples],
    ) -> None:
        super().__init__(open_, course)
        self._frames: Items[SampleFrame] = Items(course.request.cursor)

    @property
    def cursor(self) -> str:
        """Where a later watch would go on; empty before the first message."""
        return self._frames.cursor

    async def __anext__(self) -> SampleFrame:
        while (frame := self._frames.take()) is None:
            message = await self._receive()
            if message is None:
                raise StopAsyncIteration
            self._frames.add(message.frames, message.cursor)
        return frame

    async def messages(self) -> AsyncIterator[WatchedSamples]:
        """Yields whole messages, also those without a frame: a heartbeat says that nothing was written."""
        while (message := await self._receive()) is not None:
            self._frames.cursor = message.cursor
            yield message
