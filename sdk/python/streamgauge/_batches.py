"""What both writers share: the bounded queue, the batches cut from it, and the books. Pure: no threads, no clock."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from enum import StrEnum
from itertools import islice
from typing import TypeAlias

import grpc

from streamgauge import _decode, _retry
from streamgauge._service_config import RetryPolicy
from streamgauge.errors import StreamgaugeError
from streamgauge.metrics import new_request_id
from streamgauge.observations import Observation, WriteError
from streamgauge.v1 import common_pb2, metrics_service_pb2

logger = logging.getLogger("streamgauge")

_OBSERVATIONS_TAG = b"\x0a"  # WriteMetricsRequest.observations: field 1, length-delimited
_REQUEST_ID_TAG = b"\x22"  # WriteMetricsRequest.request_id: field 4, length-delimited
_RETRYABLE = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED})


class Overflow(StrEnum):
    """What a writer does when its queue is full.

    `BLOCK`: `write` waits for room, then raises QueueFullError. `DROP_OLDEST`: the oldest observations make room; they
    are counted and reported. `RAISE`: `write` raises QueueFullError at once.
    """

    BLOCK = "block"
    DROP_OLDEST = "drop_oldest"
    RAISE = "raise"


class FailureKind(StrEnum):
    """Why observations that a writer had taken are not stored.

    `REJECTED`: the server refused them one by one. `FAILED`: a whole batch was refused, or failed in a way that another
    try does not mend. `DROPPED`: they made room for newer ones. `UNSENT`: the writer was closed before they were
    answered; those under way at that moment may be stored all the same.
    """

    REJECTED = "rejected"
    FAILED = "failed"
    DROPPED = "dropped"
    UNSENT = "unsent"


@dataclass(frozen=True, slots=True)
class WriteFailure:
    """What a writer reports to `on_error`: why (`kind`) how many (`count`) observations are not stored.

    `errors` are the server's words on refused ones, at most 100; `error` is what a whole batch failed with.
    """

    kind: FailureKind
    count: int
    errors: tuple[WriteError, ...] = ()
    error: Exception | None = None
    encoded: tuple[bytes, ...] = field(default=(), repr=False)

    def observations(self) -> Iterator[Observation]:
        """Yields the observations, to keep or to write them elsewhere.

        Of refused ones those that `errors` names, of the other kinds all of them; dropped ones are gone.
        """
        for data in self.encoded:
            yield _decode.observation(common_pb2.Observation.FromString(data))

    def __str__(self) -> str:
        text = f"{self.count} observations were not stored ({self.kind})"
        if self.errors:
            first = "; ".join(f"{e.subject} {e.metric}: {e.reason}: {e.message}" for e in self.errors[:3])
            return f"{text}: {first}" + ("; ..." if self.count > 3 else "")
        return f"{text}: {self.error}" if self.error is not None else text


OnError: TypeAlias = Callable[[WriteFailure], None]


def log_failure(failure: WriteFailure) -> None:
    """Logs a warning: what a writer does that has no `on_error`."""
    logger.warning("%s", failure)


@dataclass(frozen=True, slots=True)
class WriterStats:
    """The books of a writer since it began: every observation it took is in exactly one of these counts.

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
    """The writer's queue is full; the observation was not taken."""


class WriterClosedError(RuntimeError):
    """The writer is closed; the observation was not taken."""


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
    """Observations, encoded, that go to the server as one request: always the same bytes, so a repeat counts once."""

    items: tuple[bytes, ...]
    first: int
    request_id: str = field(default_factory=new_request_id)

    def body(self) -> bytes:
        """Returns the WriteMetricsRequest on the wire: a repeated message field is tag, length and bytes, in a row."""
        pieces: list[bytes] = []
        for item in self.items:
            pieces += (_OBSERVATIONS_TAG, _varint(len(item)), item)
        request_id = self.request_id.encode("ascii")
        pieces += (_REQUEST_ID_TAG, _varint(len(request_id)), request_id)
        return b"".join(pieces)


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


class BatchQueue:
    """A bounded queue of encoded observations. Every one has a number, counted from 0 in the order of arrival."""

    def __init__(self, options: WriterOptions) -> None:
        self._options = options
        self._items: deque[tuple[bytes, float]] = deque()
        self._bytes = 0
        self._head = 0

    def __len__(self) -> int:
        return len(self._items)

    @property
    def head(self) -> int:
        """The number of the oldest observation, or of the next to come."""
        return self._head

    @property
    def next(self) -> int:
        """The number of the next observation to come."""
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
        """Removes and returns the oldest observations, as many as make a batch, at least one."""
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


def rejected(batch: Batch, response: metrics_service_pb2.WriteMetricsResponse) -> WriteFailure | None:
    """Returns the report on what the server refused of a batch, None when it took everything."""
    if not response.rejected_count:
        return None
    errors = _decode.write_errors(response.errors)
    named: Iterable[int] = dict.fromkeys(error.index for error in errors)
    encoded = tuple(batch.items[index] for index in named if 0 <= index < len(batch.items))
    return WriteFailure(FailureKind.REJECTED, response.rejected_count, errors, None, encoded)


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


def settled(books: WriterStats, batch: Batch, failure: WriteFailure | None) -> WriterStats:
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
