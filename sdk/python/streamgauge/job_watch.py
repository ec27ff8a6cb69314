"""Watching jobs: changes of state as they become known, across broken connections and restarts of the server."""

from __future__ import annotations

import asyncio
import logging
import random
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from types import TracebackType
from typing import Self

import grpc

from streamgauge import _job_codec as codec
from streamgauge import _retry
from streamgauge._aio_calls import AsyncAnswers
from streamgauge._calls import Answers
from streamgauge._service_config import RetryPolicy
from streamgauge.errors import StreamgaugeError, UnavailableError
from streamgauge.job_results import JobChange, WatchMessage
from streamgauge.v1 import job_service_pb2 as pb

logger = logging.getLogger("streamgauge")

DEFAULT_HEARTBEAT = timedelta(seconds=15)

_SILENT_HEARTBEATS = 3
_MIN_SILENCE = 10.0
"""Seconds. A call that is silent for this long, and for three heartbeats, has lost its connection."""
_POLICY = RetryPolicy(5, 0.2, 5.0, 2.0, frozenset({grpc.StatusCode.UNAVAILABLE}))
"""The attempts are those of the first connection."""
_BROKEN = (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN)
"""What a stream ends with that a proxy cut off; our server names a reason."""


class Course:
    """Where a watch is, and whether and when it connects again. No calls of its own."""

    def __init__(
        self, request: pb.WatchJobsRequest, heartbeat: timedelta, give_up_after: timedelta | None, now: float
    ) -> None:
        request.heartbeat.FromTimedelta(heartbeat)
        self.silence = max(_SILENT_HEARTBEATS * heartbeat.total_seconds(), _MIN_SILENCE)
        self.request = request
        self._patience = None if give_up_after is None else give_up_after.total_seconds()
        self._connected = False
        self._attempt = 0
        self._last = now

    def received(self, message: pb.WatchJobsResponse, now: float) -> WatchMessage:
        """Takes a message: a new connection would go on after it."""
        self.request.cursor = message.cursor
        self._connected, self._attempt, self._last = True, 0, now
        return codec.watch_message(message)

    def pause(self, error: StreamgaugeError | None, now: float) -> float:
        """Returns the seconds to wait before connecting again; raises the error when that makes no sense.

        None is a watch that the server ended without one, as it does when it stops.
        """
        self._attempt += 1
        ended = error or UnavailableError("the server ended the watch", code=grpc.StatusCode.UNAVAILABLE)
        passes = _retry.is_retryable(_POLICY, ended) or (self._connected and ended.code in _BROKEN and not ended.reason)
        if not passes or (not self._connected and self._attempt >= _POLICY.max_attempts):
            raise ended
        if self._patience is not None and now - self._last >= self._patience:
            raise ended
        seconds = max(_retry.backoff(_POLICY, self._attempt, random.uniform), ended.retry_after or 0.0)
        level = logging.WARNING if self._attempt == 1 else logging.DEBUG
        logger.log(level, "the watch of jobs broke off (%s), connecting again in %.1f s", ended, seconds)
        return seconds

    def silent(self) -> StreamgaugeError:
        """Returns the error of a call that was silent for too long."""
        return UnavailableError(f"nothing came for {self.silence:g} s", code=grpc.StatusCode.UNAVAILABLE)


class _Changes:
    """The changes of a message one by one, and the cursor that is behind those that were taken."""

    def __init__(self, cursor: str) -> None:
        self.cursor = cursor
        self._waiting: deque[JobChange] = deque()
        self._after = cursor

    def add(self, message: WatchMessage) -> None:
        """Takes a message, once there is nothing left of the one before."""
        self._waiting.extend(message.changes)
        self._after = message.cursor
        if not self._waiting:
            self.cursor = message.cursor

    def take(self) -> JobChange | None:
        """Returns the next change, None when there is none."""
        if not self._waiting:
            return None
        change = self._waiting.popleft()
        if not self._waiting:
            self.cursor = self._after
        return change


class _Watchdog:
    """Cancels a call for whose next message somebody has waited too long: its connection is gone and nobody said so."""

    def __init__(self, cancel: Callable[[], None], limit: float) -> None:
        self.barked = False
        self._cancel = cancel
        self._limit = limit
        self._since: float | None = None
        self._done = threading.Event()
        threading.Thread(target=self._run, name="streamgauge-watch", daemon=True).start()

    def __enter__(self) -> None:
        self._since = time.monotonic()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._since = None

    def stop(self) -> None:
        """Ends its thread."""
        self._done.set()

    def _run(self) -> None:
        while not self._done.wait(self._limit / 10):
            since = self._since
            if since is not None and time.monotonic() - since > self._limit:
                self.barked = True
                self._cancel()
                return


class JobWatch(Iterator[JobChange]):
    """Changes of jobs as they become known, for as long as it is iterated; made by `client.jobs.watch`.

    When the connection breaks, or the server restarts, it connects again and goes on where it was: no change is lost,
    none comes twice. `cursor` is behind the changes that were taken: store it to go on in another process, where a
    change may then come again if it was taken with others. `messages()` tells of heartbeats, too.

    Close it, or use it as a `with` block, also from another thread, which ends the iteration. It belongs to the process
    that made it.
    """

    def __init__(self, open_: Callable[[pb.WatchJobsRequest], Answers], course: Course) -> None:
        self._open = open_
        self._course = course
        self._changes = _Changes(course.request.cursor)
        self._closed = threading.Event()
        self._call: Answers | None = None
        self._watchdog: _Watchdog | None = None

    @property
    def cursor(self) -> str:
        """Where a later watch would go on; empty before the first message."""
        return self._changes.cursor

    def __next__(self) -> JobChange:
        while (change := self._changes.take()) is None:
            message = self._receive()
            if message is None:
                raise StopIteration
            self._changes.add(message)
        return change

    def messages(self) -> Iterator[WatchMessage]:
        """Yields whole messages, also those without a change: a heartbeat says that nothing happened."""
        while (message := self._receive()) is not None:
            self._changes.cursor = message.cursor
            yield message

    def close(self) -> None:
        """Ends the watch. Closing twice is fine."""
        self._closed.set()
        self._hang_up()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def _receive(self) -> WatchMessage | None:
        """Returns the next message, None when the watch is closed."""
        while not self._closed.is_set():
            try:
                call, watchdog = self._connection()
                with watchdog:
                    response = next(call, None)
            except StreamgaugeError as failure:
                error: StreamgaugeError | None = failure
                if self._watchdog is not None and self._watchdog.barked:
                    error = self._course.silent()
            else:
                if response is not None:
                    return self._course.received(response, time.monotonic())
                error = None
            self._hang_up()
            if not self._closed.is_set():
                self._closed.wait(self._course.pause(error, time.monotonic()))
        return None

    def _connection(self) -> tuple[Answers, _Watchdog]:
        if self._call is None or self._watchdog is None:
            self._call = self._open(self._course.request)
            self._watchdog = _Watchdog(self._call.cancel, self._course.silence)
        return self._call, self._watchdog

    def _hang_up(self) -> None:
        call, self._call = self._call, None
        watchdog, self._watchdog = self._watchdog, None
        if watchdog is not None:
            watchdog.stop()
        if call is not None:
            call.cancel()


class AsyncJobWatch(AsyncIterator[JobChange]):
    """Changes of jobs as they become known: `async for`. See `JobWatch`."""

    def __init__(self, open_: Callable[[pb.WatchJobsRequest], AsyncAnswers], course: Course) -> None:
        self._open = open_
        self._course = course
        self._changes = _Changes(course.request.cursor)
        self._closed = asyncio.Event()
        self._call: AsyncAnswers | None = None

    @property
    def cursor(self) -> str:
        """Where a later watch would go on; empty before the first message."""
        return self._changes.cursor

    async def __anext__(self) -> JobChange:
        while (change := self._changes.take()) is None:
            message = await self._receive()
            if message is None:
                raise StopAsyncIteration
            self._changes.add(message)
        return change

    async def messages(self) -> AsyncIterator[WatchMessage]:
        """Yields whole messages, also those without a change: a heartbeat says that nothing happened."""
        while (message := await self._receive()) is not None:
            self._changes.cursor = message.cursor
            yield message

    async def close(self) -> None:
        """Ends the watch. Closing twice is fine."""
        self._closed.set()
        self._hang_up()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _receive(self) -> WatchMessage | None:
        """Returns the next message, None when the watch is closed."""
        loop = asyncio.get_running_loop()
        while not self._closed.is_set():
            try:
                if self._call is None:
                    self._call = self._open(self._course.request)
                async with asyncio.timeout(self._course.silence):
                    response = await anext(self._call, None)
            except StreamgaugeError as failure:
                error: StreamgaugeError | None = failure
            except TimeoutError:
                error = self._course.silent()
            else:
                if response is not None:
                    return self._course.received(response, loop.time())
                error = None
            self._hang_up()
            if not self._closed.is_set():
                await self._rest(self._course.pause(error, loop.time()))
        return None

    async def _rest(self, seconds: float) -> None:
        """Waits, or until the watch is closed."""
        try:
            async with asyncio.timeout(seconds):
                await self._closed.wait()
        except TimeoutError:
            return

    def _hang_up(self) -> None:
        call, self._call = self._call, None
        if call is not None:
            call.cancel()
