"""What is written: observations in row form, the window of a question, and the outcome of a write."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from streamgauge.enums import Scalar, WindowUnit

if TYPE_CHECKING:
    from streamgauge.asset_metrics import BatchEmitResult


@dataclass(frozen=True, slots=True)
class Observation:
    """The values of one subject, or one part of it, at one moment.

    `subject` is a resource name such as `sources/orders`. `time` and `start_time` (when the counters began to count
    from zero) are timezone-aware; without a `time` the server's clock is taken. `values` holds numbers, booleans and
    texts by metric name; the type of each Python value is the type that is stored.

    Example:
        >>> from streamgauge import Observation
        >>> Observation("sources/orders", {"byteTotal": 1_024, "StreamingConnected": True}, part="task=0")
    """

    subject: str
    values: Mapping[str, Scalar]
    time: datetime | None = None
    part: str = ""
    start_time: datetime | None = None


@dataclass(frozen=True, slots=True)
class Window:
    """`count` units of calendar time, UTC. Counts above one are aligned to 1970-01-01, weeks to Monday 1969-12-29."""

    unit: WindowUnit | str
    count: int = 1


@dataclass(frozen=True, slots=True)
class WriteError:
    """Why one item of a write was refused.

    `index` counts the observations of the request, or the frames given to `import_frames`, from 0. `metric` is empty
    when the item as a whole is bad. `reason` is a name of `Reason`.
    """

    index: int
    subject: str
    metric: str
    reason: str
    message: str


class RejectedItemsError(Exception):
    """Raised by `raise_for_rejected`. `result` is the write's result; what it counts as accepted is stored."""

    def __init__(self, result: WriteResult | ImportResult | BatchEmitResult) -> None:
        first = result.errors[0].message if result.errors else "no detail given"
        super().__init__(f"{result.rejected} items were refused; the first: {first}")
        self.result = result

    def __reduce__(self) -> tuple[type[RejectedItemsError], tuple[WriteResult | ImportResult | BatchEmitResult]]:
        return type(self), (self.result,)


@dataclass(frozen=True, slots=True)
class WriteResult:
    """The outcome of `client.metrics.write`. Accepted observations are durable.

    `errors` has at most 100 entries; `errors_truncated` counts the rest. `request_id` identifies the write.
    """

    accepted: int
    rejected: int
    errors: tuple[WriteError, ...] = ()
    errors_truncated: int = 0
    request_id: str = ""

    def raise_for_rejected(self) -> None:
        """Raises `RejectedItemsError` if any observation was refused."""
        if self.rejected:
            raise RejectedItemsError(self)


@dataclass(frozen=True, slots=True)
class ImportResult:
    """The outcome of `client.metrics.import_frames`. Accepted frames are durable.

    Frames over the server's bound are sent in pieces, and each piece is counted. `accepted_samples` counts values.
    """

    accepted: int
    rejected: int
    accepted_samples: int
    errors: tuple[WriteError, ...] = ()
    errors_truncated: int = 0

    def raise_for_rejected(self) -> None:
        """Raises `RejectedItemsError` if any frame was refused."""
        if self.rejected:
            raise RejectedItemsError(self)
