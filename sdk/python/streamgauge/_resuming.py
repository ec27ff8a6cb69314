"""Streams from the server that go on by a cursor, across broken connections and restarts of the server."""

from __future__ import annotations

import asyncio
import logging
import random
import threading
import time
from collections import deque
from collections.abc import Callable
from datetime import timedelta
from types import TracebackType
from typing import Any, Generic, Protocol, Self, TypeVar

import grpc

from streamgauge import _retry
from streamgauge._aio_calls import AsyncAnswers
from streamgauge._calls import Answers
from streamgauge._service_config import RetryPolicy
from streamgauge.errors import StreamgaugeError, UnavailableError

logger = logging.getLogger("streamgauge")

DEFAULT_HEARTBEAT = timedelta(seconds=15)

_SILENT_HEARTBEATS = 3
_MIN_SILENCE = 10.0
"""Seconds. A call that is silent for this long, and for three heartbeats, has lost its connection."""
_POLICY = RetryPolicy(5, 0.2, 5.0, 2.0, frozenset({grpc.StatusCode.UNAVAILABLE}))
"""The attempts are those of the first connection."""
_BROKEN = (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN)
"""What a stream ends with that a proxy cut off; our server names a reason."""


class Request(Protocol):
    """A request that has a cursor."""

    cursor: str


Q = TypeVar("Q", bound=Request)
M = TypeVar("M")
T = TypeVar("T")


class Course(Generic[Q, M]):
    """Where a stream is, and whether and when it connects again. No calls of its own."""

    def __init__(
        self,
        request: Q,
        decode: Callable[[Any], M],
        what: str,
        give_up_after: timedelta | None,
        now: float,
        heartbeat: timedelta | None = None,
    ) -> None:
        """`decode` turns answers, which have a cursor, into what is handed on; `what` names the stream in logs.

        With a `heartbeat` the stream has no end, and three of them that stay out are a lost connection.
        """
        self.silence: float | None = None
        if heartbeat is not None:
            self.silence = max(_SILENT_HEARTBEATS * heartbeat.total_seconds(), _MIN_SILENCE)
        self.endless = heartbeat is not None
        self.request = request
        self._decode = decode
        self._what = what
        self._patience = None if give_up_after is None else give_up_after.total_seconds()
        self._connected = False
        self._attempt = 0
        self._last = now

    def received(self, message: Any, now: float) -> M:
        """Takes a message: a new connection would go on after it."""
        self.request.cursor = message.cursor
        self._connected, self._attempt, self._last = True, 0, now
        return self._decode(message)

    def pause(self, error: StreamgaugeError | None, now: float) -> float:
        """Returns the seconds to wait before connecting again; raises the error when that makes no sense.

        None is an endless stream that the server ended without one, as it does when it stops.
        """
        self._attempt += 1
        ended = error or UnavailableError(f"the server ended {self._what}", code=grpc.StatusCode.UNAVAILABLE)
        passes = _retry.is_retryable(_POLICY, ended) or (self._connected and ended.code in _BROKEN and not ended.reason)
        if not passes or (not self._connected and self._attempt >= _POLICY.max_attempts):
            raise ended
        if self._patience is not None and now - self._last >= self._patience:
            raise ended
        seconds = max(_retry.backoff(_POLICY, self._attempt, random.uniform), ended.retry_after or 0.0)
        level = logging.WARNING if self._attempt == 1 else logging.DEBUG
        logger.log(level, "%s broke off (%s), connecting again in %.1f s", self._what, ended, seconds)
        return seconds

    def silent(self) -> StreamgaugeError:
        """Returns the error of a call that was silent for too long."""
        return UnavailableError(f"nothing came for {self.silence or 0:g} s", code=grpc.StatusCode.UNAVAILABLE)


class Items(Generic[T]):
    """The items of messages one by one, and the cursor that is behind those that were taken."""

    def __init__(self, cursor: str) -> None:
        self.cursor = cursor
        self._waiting: deque[T] = deque()
        self._after = cursor

    def add(self, items: tuple[T, ...], cursor: str) -> None:
        """Takes the items of a message, once there is nothing left of the one before."""
        self._waiting.extend(items)
        self._after = cursor
        if not self._waiting:
            self.cursor = cursor

    def take(self) -> T | None:
        """Returns the next item, None when there is none."""
        if not self._waiting:
            return None
        item = self._waiting.popleft()
        if not self._waiting:
            self.cursor = self._after
        return item


class Watchdog:
    """Cancels a call for whose next message somebody has waited too long: its connection is gone and nobody said so."""

    def __init__(self, cancel: Callable[[], None], limit: float | None) -> None:
        """Without a `limit` it watches nothing."""
        self.barked = False
        self._cancel = cancel
        self._since: float | None = None
        self._done = threading.Event()
        if limit is not None:
            threading.Thread(target=self._run, args=(limit,), name="streamgauge-stream", daemon=True).start()

    def __enter__(self) -> None:
        self._since = time.monotonic()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._since = None

    def stop(self) -> None:
        """Ends its thread."""
        self._done.set()

    def _run(self, limit: float) -> None:
        while not self._done.wait(limit / 10):
            since = self._since
            if since is not None and time.monotonic() - since > limit:
                self.barked = True
                self._cancel()
                return


class Receiver(Generic[Q, M]):
    """Receives the messages of a stream, and connects again when it breaks off.

    Close it, or use it as a `with` block, also from another thread, which ends the iteration. It belongs to the process
    that made it.
    """

    def __init__(self, open_: Callable[[Q], Answers], course: Course[Q, M]) -> None:
        self._open = open_
        self._course = course
        self._closed = threading.Event()
        self._call: Answers | None = None
        self._watchdog: Watchdog | None = None

    def close(self) -> None:
        """Ends the stream. Closing twice is fine."""
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

    def _receive(self) -> M | None:
        """Returns the next message, None when the stream is closed or at its end."""
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
                if not self._course.endless:
                    self.close()
                    return None
                error = None
            self._hang_up()
            if not self._closed.is_set():
                self._closed.wait(self._course.pause(error, time.monotonic()))
        return None

    def _connection(self) -> tuple[Answers, Watchdog]:
        if self._call is None or self._watchdog is None:
            self._call = self._open(self._course.request)
            self._watchdog = Watchdog(self._call.cancel, self._course.silence)
        return self._call, self._watchdog

    def _hang_up(self) -> None:
        call, self._call = self._call, None
        watchdog, self._watchdog = self._watchdog, None
        if watchdog is not None:
            watchdog.stop()
        if call is not None:
            call.cancel()


class AsyncReceiver(Generic[Q, M]):
    """The twin of `Receiver` for asyncio."""

    def __init__(self, open_: Callable[[Q], AsyncAnswers], course: Course[Q, M]) -> None:
        self._open = open_
        self._course = course
        self._closed = asyncio.Event()
        self._call: AsyncAnswers | None = None

    async def close(self) -> None:
        """Ends the stream. Closing twice is fine."""
        self._closed.set()
        self._hang_up()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _receive(self) -> M | None:
        """Returns the next message, None when the stream is closed or at its end."""
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
                if not self._course.endless:
                    await self.close()
                    return None
                error = None
            self._hang_up()
            if not self._closed.is_set():
                await self._rest(self._course.pause(error, loop.time()))
        return None

    async def _rest(self, seconds: float) -> None:
        """Waits, or until the stream is closed."""
        try:
            async with asyncio.timeout(seconds):
                await self._closed.wait()
        except TimeoutError:
            return

    def _hang_up(self) -> None:
        call, self._call = self._call, None
        if call is not None:
            call.cancel()
