"""The asyncio writer of emits, the twin of `asset_writer`: it sends them in batches, in a task."""

from __future__ import annotations

from datetime import UTC, datetime

from streamgauge import _asset_codec
from streamgauge._aio_calls import AsyncCallingChannel
from streamgauge._aio_worker import AsyncWriter
from streamgauge._batches import WriterOptions
from streamgauge._failures import EmitFailure, OnEmitError
from streamgauge._wires import EMITS
from streamgauge.asset_metrics import Emit, MetricValues


class AsyncAssetWriter(AsyncWriter[EmitFailure]):
    """Collects emits and sends them in batches from a task of the running event loop.

    `client.assets.writer()` of the asyncio client makes one. Its arguments and guarantees are those of
    `AsyncMetricWriter`, for emits instead of observations: `on_error` is told with an `EmitFailure`.

    Example:
        >>> async with AsyncClient.from_env() as client, client.assets.writer() as writer:
        ...     await writer.emit("urn:li:dashboard:(looker,sales)", {"views": 12})
    """

    def __init__(
        self, channel: AsyncCallingChannel, guess: bool, on_error: OnEmitError, options: WriterOptions
    ) -> None:
        super().__init__(EMITS, channel, options, on_error)
        self._guess = guess

    async def emit(self, asset: str, metrics: MetricValues, time: datetime | None = None, run_id: str = "") -> None:
        """Takes metrics of one asset at one moment; see `Emit`. Without a `time` it is now, by this machine's clock.

        ValueError, TypeError for values that cannot be sent; QueueFullError as `overflow` says; WriterClosedError.
        """
        message = _asset_codec.emit(asset, metrics, time or datetime.now(UTC), run_id, self._guess)
        await self._worker.put(message.SerializeToString())

    async def put(self, emit: Emit) -> None:
        """Takes one emit; see `emit`."""
        await self.emit(emit.asset, emit.metrics, emit.time, emit.run_id)
