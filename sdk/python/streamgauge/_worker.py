"""The queue and the thread behind a writer. `_aio_worker` is its twin."""

from __future__ import annotations

import atexit
import logging
import sys
import threading
import weakref
from collections.abc import Callable
from dataclasses import replace
from types import TracebackType
from typing import Any, Generic, Self

from streamgauge import _forks
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
from streamgauge._calls import CallingChannel, Clock, raw_frames, raw_writes
from streamgauge._deliveries import Delivery
from streamgauge._failures import FailureKind, FailureT
from streamgauge._service_config import RetryPolicy
from streamgauge._wires import Wire

logger = logging.getLogger("streamgauge")

_IDLE = 60.0  # seconds after which a thread with nothing to do looks whether it is still wanted

Send = Callable[[bytes], Any]


class Worker(Generic[FailureT]):
    """The queue and the thread behind a writer, apart from it so that the thread does not keep it alive."""

    def __init__(
        self,
        wire: Wire[FailureT],
        send: Send,
        policy: RetryPolicy,
        options: WriterOptions,
        on_error: Callable[[FailureT], None],
        clock: Clock | None = None,
        send_frames: Send | None = None,
    ) -> None:
        self._wire = wire
        self._send = send
        self._send_frames = send_frames
        self._policy = policy
        self._options = options
        self._on_error = on_error
        self._clock = clock or Clock()
        self._closed = False
        self._begin()
        _workers.add(self)
        _forks.register(self)

    def _begin(self) -> None:
        self._changed = threading.Condition()
        self._queue = BatchQueue(self._options)
        self._under_way: Batch | None = None
        self._flush_before = 0  # items of a lower number are to be sent now
        self._dropped = 0  # not reported yet
        self._abandoned = False
        self._books = WriterStats()
        self._thread: threading.Thread | None = None

    def reset_after_fork(self) -> None:
        """Begins anew in the child: what was taken belongs to the parent, which sends it."""
        self._begin()

    @property
    def stats(self) -> WriterStats:
        """The books."""
        with self._changed:
            return replace(self._books, queued=self._waiting())

    def put(self, encoded: bytes) -> None:
        """Takes one encoded item. QueueFullError, WriterClosedError."""
        if len(encoded) > self._options.max_queue_bytes:
            raise ValueError(f"one of {len(encoded)} bytes among the {self._wire.noun} does not fit into the queue")
        with self._changed:
            self._check_open()
            self._start()
            if not self._queue.fits(len(encoded)):
                self._make_room(len(encoded))
            self._queue.push(encoded, self._clock.now())
            if len(self._queue) == 1 or self._queue.full_batch():
                self._changed.notify_all()

    def flush(self, timeout: float | None) -> None:
        """Waits until everything taken so far is answered. TimeoutError."""
        with self._changed:
            target = self._queue.next
            self._flush_before = max(self._flush_before, target)
            self._changed.notify_all()
            if not self._changed.wait_for(lambda: self._answered(target), timeout):
                raise TimeoutError(f"{self._waiting()} {self._wire.noun} are not answered after {timeout} s")

    def stop(self) -> None:
        """Takes no more and lets the thread end when everything is sent. Does not wait."""
        self._closed = True
        thread = self._thread
        if thread is not None and thread.is_alive() and self._changed.acquire(blocking=False):
            # Called by the garbage collector, perhaps amid any other code: so never wait for the lock. A thread that is
            # not told looks by itself, when its oldest item is due or `_IDLE` is over.
            self._changed.notify_all()
            self._changed.release()

    def close(self, timeout: float | None) -> None:
        """Takes no more, sends what is left, reports what could not be sent in time."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            seconds = self._options.close_timeout if timeout is None else timeout
            self._changed.wait_for(lambda: not self._waiting(), seconds)
            unsent = (self._under_way.items if self._under_way is not None else ()) + self._queue.clear()
            self._under_way, self._abandoned = None, True
            self._books = replace(self._books, unsent=self._books.unsent + len(unsent))
            self._changed.notify_all()
        self._report_dropped()
        if unsent:
            self._report(self._wire.failure(FailureKind.UNSENT, len(unsent), encoded=unsent))
        _workers.discard(self)

    # --- With the lock held -------------------------------------------------------------------------------------------

    def _waiting(self) -> int:
        return len(self._queue) + (len(self._under_way.items) if self._under_way is not None else 0)

    def _answered(self, target: int) -> bool:
        first = self._under_way.first if self._under_way is not None else self._queue.head
        return first >= target

    def _check_open(self) -> None:
        if self._closed:
            raise WriterClosedError("the writer is closed")

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="streamgauge-writer", daemon=True)
            self._thread.start()
            _flush_at_exit()

    def _make_room(self, size: int) -> None:
        policy = Overflow(self._options.overflow)
        if policy is Overflow.DROP_OLDEST:
            dropped = self._queue.make_room(size)
            self._dropped += dropped
            self._books = replace(self._books, dropped=self._books.dropped + dropped)
            return
        if policy is Overflow.BLOCK and threading.current_thread() is not self._thread:
            room = self._changed.wait_for(lambda: self._closed or self._queue.fits(size), self._options.block_timeout)
            self._check_open()
            if room:
                return
        raise QueueFullError(f"the writer's queue is full: {len(self._queue)} {self._wire.noun} wait")

    def _next_batch(self) -> Batch | None:
        """Waits for a batch to be due. None when the thread has nothing more to do."""
        while not self._abandoned:
            due = self._queue.due_in(self._clock.now())
            if due is not None and (due == 0 or self._closed or self._queue.head < self._flush_before):
                self._under_way = self._queue.take()
                self._changed.notify_all()  # there is room now
                return self._under_way
            if due is None and self._closed:
                return None
            self._changed.wait(_IDLE if due is None else due)
        return None

    # --- In the thread ------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            with self._changed:
                batch = self._next_batch()
            if batch is None:
                self._report_dropped()
                return
            outcome = self._deliver(batch)
            self._report_dropped()
            if outcome is not None:
                self._report(outcome)
            with self._changed:
                if not self._abandoned:
                    self._under_way = None
                self._changed.notify_all()

    def _deliver(self, batch: Batch) -> FailureT | None:
        """Sends a batch, as often as needed, enters the outcome into the books, and returns what is to be reported."""
        delivery = Delivery(self._wire, batch, in_frames=self._send_frames is not None)
        attempt = 1
        while not delivery.done:
            send = self._send_frames if delivery.in_frames and self._send_frames is not None else self._send
            try:
                response = send(delivery.body)
            except Exception as error:
                if not may_pass(error):
                    delivery.failed(error)
                    continue
                if not self._pause(attempt, error):
                    return None
                attempt += 1
            else:
                delivery.answered(response)
        return self._settle(batch, delivery.failure)

    def _settle(self, batch: Batch, failure: FailureT | None) -> FailureT | None:
        with self._changed:
            if self._abandoned:  # reported as unsent already
                return None
            self._books = settled(self._books, batch, failure)
        return failure

    def _pause(self, attempt: int, error: Exception) -> bool:
        """Waits before the next attempt. False when the batch has been given up meanwhile."""
        wait = pause(self._policy, attempt, error, self._clock.jitter)
        with self._changed:
            self._books = replace(self._books, retries=self._books.retries + 1)
            until = self._clock.now() + wait
            while not self._abandoned and (left := until - self._clock.now()) > 0:
                self._changed.wait(left)
            return not self._abandoned

    def _report_dropped(self) -> None:
        with self._changed:
            count, self._dropped = self._dropped, 0
        if count:
            self._report(self._wire.failure(FailureKind.DROPPED, count))

    def _report(self, failure: FailureT) -> None:
        try:
            self._on_error(failure)
        except Exception:
            logger.exception("on_error failed; it was to be told: %s", failure)


class Writer(Generic[FailureT]):
    """What writers have in common: flushing, closing, the books. See `MetricWriter` and `AssetWriter`."""

    def __init__(
        self,
        wire: Wire[FailureT],
        channel: CallingChannel,
        options: WriterOptions,
        on_error: Callable[[FailureT], None],
    ) -> None:
        send, policy = raw_writes(channel, wire.method, wire.decode)
        self._worker = Worker(
            wire, send, policy, options, on_error, send_frames=raw_frames(channel) if wire.framed is not None else None
        )
        # A writer that nobody holds any more ends its thread once everything is sent.
        weakref.finalize(self, self._worker.stop).atexit = False

    def flush(self, timeout: float | None = None) -> None:
        """Sends everything taken so far and returns when it is answered. TimeoutError when `timeout` seconds pass.

        An answer may be a refusal: see `stats` and `on_error`.
        """
        self._worker.flush(timeout)

    def close(self, timeout: float | None = None) -> None:
        """Takes no more, sends what is left within `timeout` seconds (default `close_timeout`), reports the rest.

        Closing twice is fine.
        """
        self._worker.close(timeout)

    @property
    def stats(self) -> WriterStats:
        """The books of this writer, consistent in themselves."""
        return self._worker.stats

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


_workers: weakref.WeakSet[Worker[Any]] = weakref.WeakSet()
"""Those that may have something to send. A running thread keeps its worker alive, also when the writer is gone."""


@atexit.register
def _close_all() -> None:
    for worker in list(_workers):
        worker.close(None)


def _flush_at_exit() -> None:
    """Has the rest sent at the end of a child of `multiprocessing`, which ends without the functions of `atexit`."""
    process = sys.modules.get("multiprocessing.process")
    if process is not None and process.parent_process() is not None:
        from multiprocessing import util

        util.Finalize(None, _close_all, exitpriority=100)
