"""A writer for programs that measure all the time: it collects observations and sends them in batches, in a thread."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from streamgauge import _encode
from streamgauge._batches import Overflow, WriterOptions
from streamgauge._failures import OnError, WriteFailure, log_failure
from streamgauge._wires import OBSERVATIONS
from streamgauge._worker import Writer
from streamgauge.client import Client
from streamgauge.enums import Scalar
from streamgauge.observations import Observation


class MetricWriter(Writer[WriteFailure]):
    """Collects observations and writes them in batches from a background thread. Safe to share between threads.

    A batch goes out when it has `max_batch_items` observations or `max_batch_bytes`, or when its oldest observation is
    `max_batch_age` seconds old. One batch is under way at a time, so for one subject the order of writes is kept. While
    the server is away a batch is tried again, with growing pauses and for as long as the writer is open, under one
    request id, so that it counts once; meanwhile observations wait in the queue. When the queue is full `overflow`
    says what happens (see `Overflow`).

    Nothing is lost silently: what is not stored is counted in `stats` and reported to `on_error` (by default a warning
    in the log), called in the background thread; it must be quick and must not call `flush` or `close`.

    Leaving the `with` block, or `close`, sends what is left, for at most `close_timeout` seconds; so does the end of
    the program for writers that were not closed. A forked child begins with an empty writer of its own; the parent
    keeps what it had collected.

    Example:
        >>> with Client.from_env() as client, MetricWriter(client, max_batch_age=5) as writer:
        ...     writer.write("sources/orders", {"sourceRecordWriteTotal": 20, "StreamingConnected": True})
        ...     writer.flush()
        ...     print(writer.stats.accepted)

    Args:
        client: Sends the batches. It must stay open for as long as the writer.
        max_batch_items: Observations in one request; the server takes at most 5,000.
        max_batch_bytes: Encoded size of one request.
        max_batch_age: Seconds that an observation waits for company.
        max_queue_items: Observations that wait at most, beside the batch under way.
        max_queue_bytes: Encoded size of what waits.
        overflow: What to do when the queue is full: `block`, `drop_oldest` or `raise`.
        block_timeout: Seconds that `write` waits for room with `block`; None waits for ever.
        close_timeout: Seconds that closing may take.
        on_error: Is told what was not stored.
    """

    def __init__(
        self,
        client: Client,
        *,
        max_batch_items: int = 500,
        max_batch_bytes: int = 1024 * 1024,
        max_batch_age: float = 1.0,
        max_queue_items: int = 50_000,
        max_queue_bytes: int = 64 * 1024 * 1024,
        overflow: Overflow | str = Overflow.BLOCK,
        block_timeout: float | None = 30.0,
        close_timeout: float = 10.0,
        on_error: OnError = log_failure,
    ) -> None:
        options = WriterOptions(
            max_batch_items,
            max_batch_bytes,
            max_batch_age,
            max_queue_items,
            max_queue_bytes,
            overflow,
            block_timeout,
            close_timeout,
        )
        super().__init__(OBSERVATIONS, client._channel, options, on_error)

    def write(
        self,
        subject: str,
        values: Mapping[str, Scalar],
        time: datetime | None = None,
        part: str = "",
        start_time: datetime | None = None,
    ) -> None:
        """Takes one observation; see `Observation`. Without a `time` it is now, by this machine's clock.

        ValueError, TypeError for values that cannot be sent; QueueFullError as `overflow` says; WriterClosedError.
        """
        message = _encode.observation(subject, values, time or datetime.now(UTC), part, start_time)
        self._worker.put(message.SerializeToString())

    def write_observation(self, observation: Observation) -> None:
        """Takes one observation; see `write`."""
        o = observation
        self.write(o.subject, o.values, o.time, o.part, o.start_time)
