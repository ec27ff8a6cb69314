"""Watching jobs: changes of state as they become known, across broken connections and restarts of the server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta

from streamgauge import _job_codec as codec
from streamgauge import _resuming
from streamgauge._aio_calls import AsyncAnswers
from streamgauge._calls import Answers
from streamgauge._resuming import DEFAULT_HEARTBEAT as DEFAULT_HEARTBEAT
from streamgauge._resuming import AsyncReceiver, Items, Receiver
from streamgauge.job_results import JobChange, WatchMessage
from streamgauge.v1 import job_service_pb2 as pb


class Course(_resuming.Course[pb.WatchJobsRequest, WatchMessage]):
    """Where a watch is, and whether and when it connects again."""

    def __init__(
        self, request: pb.WatchJobsRequest, heartbeat: timedelta, give_up_after: timedelta | None, now: float
    ) -> None:
        request.heartbeat.FromTimedelta(heartbeat)
        super().__init__(request, codec.watch_message, "the watch of jobs", give_up_after, now, heartbeat)


class JobWatch(Receiver[pb.WatchJobsRequest, WatchMessage], Iterator[JobChange]):
    """Changes of jobs as they become known, for as long as it is iterated; made by `client.jobs.watch`.

    When the connection breaks, or the server restarts, it connects again and goes on where it was: no change is lost,
    none comes twice. `cursor` is behind the changes that were taken: store it to go on in another process, where a
    change may then come again if it was taken with others. `messages()` tells of heartbeats, too.

    Close it, or use it as a `with` block, also from another thread, which ends the iteration. It belongs to the process
    that made it.
    """

    def __init__(self, open_: Callable[[pb.WatchJobsRequest], Answers], course: Course) -> None:
        super().__init__(open_, course)
        self._changes: Items[JobChange] = Items(course.request.cursor)

    @property
    def cursor(self) -> str:
        """Where a later watch would go on; empty before the first message."""
        return self._changes.cursor

    def __next__(self) -> JobChange:
        while (change := self._changes.take()) is None:
            message = self._receive()
            if message is None:
                raise StopIteration
            self._changes.add(message.changes, message.cursor)
        return change

    def messages(self) -> Iterator[WatchMessage]:
        """Yields whole messages, also those without a change: a heartbeat says that nothing happened."""
        while (message := self._receive()) is not None:
            self._changes.cursor = message.cursor
            yield message


class AsyncJobWatch(AsyncReceiver[pb.WatchJobsRequest, WatchMessage], AsyncIterator[JobChange]):
    """Changes of jobs as they become known: `async for`. See `JobWatch`."""

    def __init__(self, open_: Callable[[pb.WatchJobsRequest], AsyncAnswers], course: Course) -> None:
        super().__init__(open_, course)
        self._changes: Items[JobChange] = Items(course.request.cursor)

    @property
    def cursor(self) -> str:
        """Where a later watch would go on; empty before the first message."""
        return self._changes.cursor

    async def __anext__(self) -> JobChange:
        while (change := self._changes.take()) is None:
            message = await self._receive()
            if message is None:
                raise StopAsyncIteration
            self._changes.add(message.changes, message.cursor)
        return change

    async def messages(self) -> AsyncIterator[WatchMessage]:
        """Yields whole messages, also those without a change: a heartbeat says that nothing happened."""
        while (message := await self._receive()) is not None:
            self._changes.cursor = message.cursor
            yield message
