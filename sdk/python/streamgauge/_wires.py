"""How a writer's items travel: the method, the request as it is put together, and what its answer says of each item.

A writer encodes an item when it takes it. A repeated message field is tag, length and bytes, in a row, so a request is
made of encoded items without decoding them, and is always the same bytes: a repeat counts once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic

from streamgauge import _asset_codec, _decode
from streamgauge._batches import Batch
from streamgauge._failures import EmitFailure, FailureKind, FailureT, WriteFailure
from streamgauge._row_frames import FramedItems, framed
from streamgauge._service_config import BATCH_EMIT, WRITE_METRICS
from streamgauge.asset_metrics import EmitError
from streamgauge.observations import WriteError
from streamgauge.v1 import asset_metric_service_pb2, metrics_service_pb2

_FIRST_FIELD = b"\x0a"  # field 1, length-delimited


@dataclass(frozen=True, slots=True)
class Wire(Generic[FailureT]):
    """What the writers of observations and of emits differ in.

    `items_tag` and `request_id_tag` are the tags of the request's fields, `rest` is what else it says, encoded.
    `framed` makes frames of items, if they may go as frames at all.
    """

    method: str
    decode: Callable[[bytes], Any]
    failure: type[FailureT]
    errors: Callable[[Batch, Any], tuple[Any, ...]]
    request_id_tag: bytes
    rest: bytes = b""
    framed: Callable[[Sequence[bytes]], FramedItems | None] | None = None
    items_tag: bytes = _FIRST_FIELD

    @property
    def noun(self) -> str:
        """What the items are called."""
        return self.failure.noun

    def body(self, batch: Batch) -> bytes:
        """Returns the request of a batch."""
        pieces: list[bytes] = []
        for item in batch.items:
            pieces += (self.items_tag, _varint(len(item)), item)
        request_id = batch.request_id.encode("ascii")
        pieces += (self.request_id_tag, _varint(len(request_id)), request_id, self.rest)
        return b"".join(pieces)

    def rejected(self, batch: Batch, response: Any) -> FailureT | None:
        """Returns the report on what the server refused of a batch, None when it took everything."""
        if not response.rejected_count:
            return None
        errors = self.errors(batch, response)
        named = dict.fromkeys(error.index for error in errors)
        encoded = tuple(batch.items[index] for index in named if 0 <= index < len(batch.items))
        return self.failure(FailureKind.REJECTED, response.rejected_count, errors, None, encoded)


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _write_errors(batch: Batch, response: metrics_service_pb2.WriteMetricsResponse) -> tuple[WriteError, ...]:
    return _decode.write_errors(response.errors)


def _emit_errors(
    batch: Batch, response: asset_metric_service_pb2.BatchEmitAssetMetricsResponse
) -> tuple[EmitError, ...]:
    """Returns the errors with their assets, which the answer does not repeat."""
    decode = asset_metric_service_pb2.EmitAssetMetricsRequest.FromString
    return tuple(
        replace(error, asset=decode(batch.items[error.index]).asset) if 0 <= error.index < len(batch.items) else error
        for error in _asset_codec.emit_errors(response)
    )


OBSERVATIONS = Wire(
    WRITE_METRICS,
    metrics_service_pb2.WriteMetricsResponse.FromString,
    WriteFailure,
    _write_errors,
    request_id_tag=b"\x22",  # field 4, length-delimited
    framed=framed,
)
EMITS = Wire(
    BATCH_EMIT,
    asset_metric_service_pb2.BatchEmitAssetMetricsResponse.FromString,
    EmitFailure,
    _emit_errors,
    request_id_tag=b"\x1a",  # field 3, length-delimited
    rest=asset_metric_service_pb2.BatchEmitAssetMetricsRequest(errors_only=True).SerializeToString(),
)
