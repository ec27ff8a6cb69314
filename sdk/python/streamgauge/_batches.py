"""What all writers share: the bounded queue, the batches cut from it, and the books. Pure: no threads, no clock."""

from __future__ import annotations

import logging
from collections import deque
from dataclasses import dataclass, field, replace
from enum import StrEnum
from itertools import islice
from typing import Any, TypedDict

import grpc

from streamgauge import _retry
from streamgauge._failures import Failure, FailureKind
from streamgauge._service_config import RetryPolicy
from streamgauge.errors import StreamgaugeError
from streamgauge.metrics import new_request_id

logger = logging.getLogger("streamgauge")

_RETRYABLE = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED})


class Overflow(StrEnum):
    """What a writer does when its queue is full.

    `BLOCK`: the call waits for room, then raises QueueFullError. `DROP_OLDEST`: the oldest items make room; they are
    counted and reported. `RAISE`: the call raises QueueFullError at once.
    """

    BLOCK = "block"
    DROP_OLDEST = "drop_oldest"
    RAISE = "raise"


@dataclass(frozen=True, slots=True)
class WriterStats:
    """The books of a writer since it began: every observation, or emit, it took is in exactly one of these counts.

    `queued` wait or are under way, `accepted` are durable, and for the others see `FailureKind`. Beside them `batches`
    counts requests answered, `retries` attempts that were repeated.
    """

    queued: int = 0
    accepted: int = 0
    rejected: int = 0
    failed: int = 0
    dropped: int = 0
    unsent: int = 0
    batches: int = 0
    retries: int = 0


class QueueFullError(RuntimeError):
    """The writer's queue is full; the observation, or emit, was not taken."""


class WriterClosedError(RuntimeError):
    """The writer is closed; the observation, or emit, was not taken."""


class WriterArguments(TypedDict, total=False):
    """How a writer collects: the arguments of `MetricWriter`, which explains them, beside `on_error`."""

    max_batch_items: int
    max_batch_bytes: int
    max_batch_age: float
    max_queue_items: int
    max_queue_bytes: int
    overflow: Overflow | str
    block_timeout: float | None
    close_timeout: float


@dataclass(frozen=True, slots=True)
class WriterOptions:
    """The checked arguments of a writer. Times in seconds."""

    max_batch_items: int = 500
    max_batch_bytes: int = 1024 * 1024
    max_batch_age: float = 1.0
    max_queue_items: int = 50_000
    max_queue_bytes: int = 64 * 1024 * 1024
    overflow: Overflow | str = Overflow.BLOCK
    block_timeout: float | None = 30.0
    close_timeout: float = 10.0

    def __post_init__(self) -> None:
        for name in ("max_batch_items", "max_batch_bytes", "max_queue_items", "max_queue_bytes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1; got {getattr(self, name)}")
        for name in ("max_batch_age", "block_timeout", "close_timeout"):
            if (getattr(self, name) or 0) < 0:
                raise ValueError(f"{name} must not be negative; got {getattr(self, name)}")
        Overflow(self.overflow)


@dataclass(frozen=True, slots=True)
class Batch:
    """Items, encoded, that go to the server as one request."""

    items: tuple[bytes, ...]
    first: int
    request_id: str = field(default_factory=new_request_id)


class BatchQueue:
    """A bounded queue of encoded items. Every one has a number, counted from 0 in the order of arrival."""

    def __init__(self, options: WriterOptions) -> None:
        self._options = options
        self._items: deque[tuple[bytes, float]] = deque()
        self._bytes = 0
        self._head = 0

    def __len__(self) -> int:
        return len(self._items)

    @property
    def head(self) -> int:
        """The number of the oldest item, or of the next to come."""
        return self._head

    @property
    def next(self) -> int:
        """The number of the next item to come."""
        return self._head + len(self._items)

    def fits(self, size: int) -> bool:
        """Tells whether there is room for one more of `size` bytes."""
        return len(self._items) < self._options.max_queue_items and self._bytes + size <= self._options.max_queue_bytes

    def push(self, encoded: bytes, now: float) -> None:
        """Takes one more."""
        self._items.append((encoded, now))
        self._bytes += len(encoded)

    def make_room(self, size: int) -> int:
        """Drops the oldest until `size` bytes fit. Returns how many."""
        dropped = 0
        while self._items and not self.fits(size):
            self._pop()
            dropped += 1
        return dropped

    def full_batch(self) -> bool:
        """Tells whether a batch is full."""
        return len(self._items) >= self._options.max_batch_items or self._bytes >= self._options.max_batch_bytes

    def due_in(self, now: float) -> float | None:
        """Returns the seconds until a batch is due; 0 when it is, None when there is nothing to send."""
        if not self._items:
            return None
        if self.full_batch():
            return 0.0
        return max(0.0, self._items[0][1] + self._options.max_batch_age - now)

    def take(self) -> Batch:
        """Removes and returns the oldest items, as many as make a batch, at least one."""
        first, count, size = self._head, 0, 0
        for encoded, _ in islice(self._items, self._options.max_batch_items):
            if count and size + len(encoded) > self._options.max_batch_bytes:
                break
            count, size = count + 1, size + len(encoded)
        return Batch(tuple(self._pop() for _ in range(count)), first)

    def clear(self) -> tuple[bytes, ...]:
        """Removes and returns everything."""
        return tuple(self._pop() for _ in range(len(self._items)))

    def _pop(self) -> bytes:
        encoded, _ = self._items.popleft()
        self._bytes -= len(encoded)
        self._head += 1
        return encoded


def may_pass(error: Exception) -> bool:
    """Tells whether the same request may succeed later.

    UNAVAILABLE, whatever the server says waiting helps with (RetryInfo), and DEADLINE_EXCEEDED: it leaves open whether
    the batch was stored, but its request id makes the repeat count once.
    """
    return isinstance(error, StreamgaugeError) and (error.code in _RETRYABLE or error.retry_after is not None)


def pause(policy: RetryPolicy, attempt: int, error: Exception, jitter: _retry.Jitter) -> float:
    """Returns the seconds to wait after failed attempt `attempt`, at least as long as the server says, and logs it."""
    wait = max(_retry.backoff(policy, attempt, jitter), getattr(error, "retry_after", None) or 0.0)
    if attempt & (attempt - 1) == 0:  # the 1st, 2nd, 4th, 8th ...: known, but not a flood
        logger.warning("cannot write metrics (%s), attempt %d; trying again in %.1f s", error, attempt, wait)
    return wait


def settled(books: WriterStats, batch: Batch, failure: Failure[Any] | None) -> WriterStats:
    """Returns the books after a batch was answered, or failed for good."""
    lost = failure.count if failure is not None else 0
    failed = lost if failure is not None and failure.kind is FailureKind.FAILED else 0
    return replace(
        books,
        accepted=books.accepted + len(batch.items) - lost,
        rejected=books.rejected + lost - failed,
        failed=books.failed + failed,
        batches=books.batches + 1,
    )
