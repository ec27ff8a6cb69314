"""The queue and the task behind an asyncio writer, the twin of `_worker`."""

from __future__ import annotations

import asyncio
import atexit
import logging
import weakref
from collections.abc import Awaitable, Callable
from dataclasses import replace
from types import TracebackType
from typing import Any, Generic, Self

from streamgauge import _forks
from streamgauge._aio_calls import AsyncCallingChannel, AsyncClock, raw_frames, raw_writes
from streamgauge._batches import (
    Batch,
    BatchQueue,
    Overflow,
    QueueFullError,
    WriterClosedError,
    WriterOptions,
    WriterStats,
    may_pass,
    pause,
    settled,
)
from streamgauge._deliveries import Delivery
from streamgauge._failures import FailureKind, FailureT
from streamgauge._service_config import RetryPolicy
from streamgauge._wires import Wire

logger = logging.getLogger("streamgauge")

Send = Callable[[bytes], Awaitable[Any]]


class AsyncWorker(Generic[FailureT]):
    """The queue and the task behind an asyncio writer, apart from it so that the task does not keep it alive.

    Everything happens in one event loop, so between two awaits nothing else does and no lock is needed.
    """

    def __init__(
        self,
        wire: Wire[FailureT],
        send: Send,
        policy: RetryPolicy,
        options: WriterOptions,
        on_error: Callable[[FailureT], None],
        clock: AsyncClock | None = None,
        send_frames: Send | None = None,
    ) -> None:
        self._wire = wire
        self._send = send
        self._send_frames = send_frames
        self._policy = policy
        self._options = options
        self._on_error = on_error
        self._clock = clock or AsyncClock()
        self._closed = False
        self._begin()
        _workers.add(self)
        _forks.register(self)

    def _begin(self) -> None:
        self._change = asyncio.Event()
        self._queue = BatchQueue(self._options)
        self._under_way: Batch | None = None
        self._flush_before = 0  # items of a lower number are to be sent now
        self._dropped = 0  # not reported yet
        self._abandoned = False
        self._books = WriterStats()
        self._task: asyncio.Task[None] | None = None

    def reset_after_fork(self) -> None:
        """Begins anew in the child: what was taken belongs to the parent, which sends it."""
        self._begin()

    @property
    def stats(self) -> WriterStats:
        """The books."""
        return replace(self._books, queued=self._waiting())

    async def put(self, encoded: bytes) -> None:
        """Takes one encoded item. QueueFullError, WriterClosedError."""
        if len(encoded) > self._options.max_queue_bytes:
            raise ValueError(f"one of {len(encoded)} bytes among the {self._wire.noun} does not fit into the queue")
        self._check_open()
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run(), name="streamgauge-writer")
        if not self._queue.fits(len(encoded)):
            await self._make_room(len(encoded))
        self._queue.push(encoded, self._clock.now())
        if len(self._queue) == 1 or self._queue.full_batch():
            self._changed()

    async def flush(self, timeout: float | None) -> None:
        """Waits until everything taken so far is answered. TimeoutError."""
        target = self._queue.next
        self._flush_before = max(self._flush_before, target)
        self._changed()
        if not await self._wait_for(lambda: self._answered(target), timeout):
            raise TimeoutError(f"{self._waiting()} {self._wire.noun} are not answered after {timeout} s")

    def stop(self) -> None:
        """Takes no more and lets the task end when everything is sent. Called by the garbage collector."""
        self._closed = True
        loop = self._task.get_loop() if self._task is not None else None
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(self._changed)

    async def close(self, timeout: float | None) -> None:
        """Takes no more, sends what is left, reports what could not be sent in time."""
        self._closed = True
        self._changed()
        seconds = self._options.close_timeout if timeout is None else timeout
        if not await self._wait_for(lambda: not self._waiting(), seconds) and self._task is not None:
            self.give_up()
            self._task.cancel()
        if self._task is not None:
            await asyncio.wait([self._task])
        self.give_up()

    def give_up(self) -> None:
        """Takes no more and reports what is left as unsent."""
        unsent = (self._under_way.items if self._under_way is not None else ()) + self._queue.clear()
        self._under_way, self._abandoned, self._closed = None, True, True
        self._books = replace(self._books, unsent=self._books.unsent + len(unsent))
        self._changed()
        self._report_dropped()
        if unsent:
            self._report(self._wire.failure(FailureKind.UNSENT, len(unsent), encoded=unsent))

    def _changed(self) -> None:
        """Wakes whoever waits for something to change."""
        happened, self._change = self._change, asyncio.Event()
        happened.set()

    async def _wait(self, seconds: float | None) -> None:
        """Waits for a change, or until the time is over."""
        change = self._change
        try:
            async with asyncio.timeout(seconds):
                await change.wait()
        except TimeoutError:
            return

    async def _wait_for(self, predicate: Callable[[], bool], timeout: float | None) -> bool:
        """Waits until the predicate holds. False when the time is over before."""
        until = None if timeout is None else self._clock.now() + timeout
        while not predicate():
            left = None if until is None else until - self._clock.now()
            if left is not None and left <= 0:
                return False
            await self._wait(left)
        return True

    def _waiting(self) -> int:
        return len(self._queue) + (len(self._under_way.items) if self._under_way is not None else 0)

    def _answered(self, target: int) -> bool:
        first = self._under_way.first if self._under_way is not None else self._queue.head
        return first >= target

    def _check_open(self) -> None:
        if self._closed:
            raise WriterClosedError("the writer is closed")

    async def _make_room(self, size: int) -> None:
        policy = Overflow(self._options.overflow)
        if policy is Overflow.DROP_OLDEST:
            dropped = self._queue.make_room(size)
            self._dropped += dropped
            self._books = replace(self._books, dropped=self._books.dropped + dropped)
            return
        if policy is Overflow.BLOCK:
            room = await self._wait_for(lambda: self._closed or self._queue.fits(size), self._options.block_timeout)
            self._check_open()
            if room:
                return
        raise QueueFullError(f"the writer's queue is full: {len(self._queue)} {self._wire.noun} wait")

    async def _next_batch(self) -> Batch | None:
        """Waits for a batch to be due. None when the task has nothing more to do."""
        while not self._abandoned:
            due = self._queue.due_in(self._clock.now())
            if due is not None and (due == 0 or self._closed or self._queue.head < self._flush_before):
                self._under_way = self._queue.take()
                self._changed()  # there is room now
                return self._under_way
            if due is None and self._closed:
                return None
            await self._wait(due)
        return None

    async def _run(self) -> None:
        try:
            while (batch := await self._next_batch()) is not None:
                outcome = await self._deliver(batch)
                self._report_dropped()
                if outcome is not None:
                    self._report(outcome)
                if not self._abandoned:
                    self._under_way = None
                self._changed()
        except (asyncio.CancelledError, GeneratorExit):  # the loop ends, or was left behind
            self.give_up()
            raise
        self._report_dropped()

    async def _deliver(self, batch: Batch) -> FailureT | None:
        """Sends a batch, as often as needed, enters the outcome into the books, and returns what is to be reported."""
        delivery = Delivery(self._wire, batch, in_frames=self._send_frames is not None)
        attempt = 1
        while not delivery.done:
            send = self._send_frames if delivery.in_frames and self._send_frames is not None else self._send
            try:
                response = await send(delivery.body)
            except Exception as error:
                if not may_pass(error):
                    delivery.failed(error)
                    continue
                await self._pause(attempt, error)
                if self._abandoned:
                    return None
                attempt += 1
            else:
                delivery.answered(response)
        return self._settle(batch, delivery.failure)

    def _settle(self, batch: Batch, failure: FailureT | None) -> FailureT | None:
        if self._abandoned:  # reported as unsent already
            return None
        self._books = settled(self._books, batch, failure)
        return failure

    async def _pause(self, attempt: int, error: Exception) -> None:
        """Waits before the next attempt, or until the batch is given up."""
        wait = pause(self._policy, attempt, error, self._clock.jitter)
        self._books = replace(self._books, retries=self._books.retries + 1)
        await self._wait_for(lambda: self._abandoned, wait)

    def _report_dropped(self) -> None:
        count, self._dropped = self._dropped, 0
        if count:
            self._report(self._wire.failure(FailureKind.DROPPED, count))

    def _report(self, failure: FailureT) -> None:
        try:
            self._on_error(failure)
        except Exception:
            logger.exception("on_error failed; it was to be told: %s", failure)


class AsyncWriter(Generic[FailureT]):
    """What asyncio writers have in common: flushing, closing, the books. The twin of `Writer`."""

    def __init__(
        self,
        wire: Wire[FailureT],
        channel: AsyncCallingChannel,
        options: WriterOptions,
        on_error: Callable[[FailureT], None],
    ) -> None:
        send, policy = raw_writes(channel, wire.method, wire.decode)
        self._worker = AsyncWorker(
            wire, send, policy, options, on_error, send_frames=raw_frames(channel) if wire.framed is not None else None
        )
        # A writer that nobody holds any more ends its task once everything is sent.
        weakref.finalize(self, self._worker.stop).atexit = False

    async def flush(self, timeout: float | None = None) -> None:
        """Sends everything taken so far and returns when it is answered. TimeoutError when `timeout` seconds pass."""
        await self._worker.flush(timeout)

    async def close(self, timeout: float | None = None) -> None:
        """Takes no more, sends what is left within `timeout` seconds (default `close_timeout`), reports the rest."""
        await self._worker.close(timeout)

    @property
    def stats(self) -> WriterStats:
        """The books of this writer."""
        return self._worker.stats

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


_workers: weakref.WeakSet[AsyncWorker[Any]] = weakref.WeakSet()


@atexit.register
def _report_all() -> None:
    for worker in list(_workers):
        worker.give_up()
