"""A writer for programs that emit on many assets: it collects emits and sends them in batches, in a thread."""

from __future__ import annotations

from datetime import UTC, datetime

from streamgauge import _asset_codec
from streamgauge._batches import WriterOptions
from streamgauge._calls import CallingChannel
from streamgauge._failures import EmitFailure, OnEmitError
from streamgauge._wires import EMITS
from streamgauge._worker import Writer
from streamgauge.asset_metrics import Emit, MetricValues


class AssetWriter(Writer[EmitFailure]):
    """Collects emits and sends them in batches from a background thread. `client.assets.writer()` makes one.

    Its arguments and guarantees are those of `MetricWriter`, for emits instead of observations: `on_error` is told
    with an `EmitFailure`. `guess` is that of `client.assets.emit`.

    Example:
        >>> with Client.from_env() as client, client.assets.writer(max_batch_age=5) as writer:
        ...     for urn, rows in counts.items():
        ...         writer.emit(urn, {"rowCount": rows}, run_id="nightly-42")
    """

    def __init__(self, channel: CallingChannel, guess: bool, on_error: OnEmitError, options: WriterOptions) -> None:
        super().__init__(EMITS, channel, options, on_error)
        self._guess = guess

    def emit(self, asset: str, metrics: MetricValues, time: datetime | None = None, run_id: str = "") -> None:
        """Takes metrics of one asset at one moment; see `Emit`. Without a `time` it is now, by this machine's clock.

        ValueError, TypeError for values that cannot be sent; QueueFullError as `overflow` says; WriterClosedError.
        """
        message = _asset_codec.emit(asset, metrics, time or datetime.now(UTC), run_id, self._guess)
        self._worker.put(message.SerializeToString())

    def put(self, emit: Emit) -> None:
        """Takes one emit; see `emit`."""
        self.emit(emit.asset, emit.metrics, emit.time, emit.run_id)
