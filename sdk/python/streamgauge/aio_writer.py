"""The asyncio writer, the twin of `writer`: it collects observations and sends them in batches, in a task."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from streamgauge import _encode
from streamgauge._aio_worker import AsyncWriter
from streamgauge._batches import Overflow, WriterOptions
from streamgauge._failures import OnError, WriteFailure, log_failure
from streamgauge._wires import OBSERVATIONS
from streamgauge.aio_client import AsyncClient
from streamgauge.enums import Scalar
from streamgauge.observations import Observation


class AsyncMetricWriter(AsyncWriter[WriteFailure]):
    """Collects observations and writes them in batches from a task of the running event loop.

    Arguments and behaviour are those of `MetricWriter`, with these differences: `write`, `flush` and `close` are
    awaited; `on_error` is called in the event loop; and as a loop cannot be run at the end of a program, a writer that
    was not closed by then reports what it still has (`FailureKind.UNSENT`) when its loop or its process ends.

    Example:
        >>> async with AsyncClient.from_env() as client, AsyncMetricWriter(client) as writer:
        ...     await writer.write("sources/orders", {"sourceRecordWriteTotal": 20})
    """

    def __init__(
        self,
        client: AsyncClient,
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

    async def write(
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
        await self._worker.put(message.SerializeToString())

    async def write_observation(self, observation: Observation) -> None:
        """Takes one observation; see `write`."""
        o = observation
        await self.write(o.subject, o.values, o.time, o.part, o.start_time)
