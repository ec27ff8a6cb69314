"""How a batch is delivered: in frames where that is cheaper, then the rest as rows. Pure: no calls of its own."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Generic

from streamgauge._batches import Batch
from streamgauge._failures import FailureKind, FailureT
from streamgauge._wires import Wire


class Delivery(Generic[FailureT]):
    """One batch on its way, in one request or two.

    What the server refuses of the frames, as it does with a whole frame for one bad observation, goes again as rows,
    where each observation has its own outcome. Frames that are sent twice change nothing.
    """

    def __init__(self, wire: Wire[FailureT], batch: Batch, *, in_frames: bool) -> None:
        """`in_frames` tells whether frames may be sent."""
        self._wire = wire
        self._batch = batch
        self._framed = wire.framed(batch.items) if in_frames and wire.framed is not None else None
        self._rows = tuple(range(len(batch.items))) if self._framed is None else tuple(self._framed.others)
        self.done = False
        self.failure: FailureT | None = None
        """What is to be reported, once it is done."""
        self._body = self._framed.message if self._framed is not None else wire.body(batch)

    @property
    def in_frames(self) -> bool:
        """Tells whether the next request is one of frames."""
        return self._framed is not None

    @property
    def body(self) -> bytes:
        """The next request, encoded; the same until it is answered."""
        return self._body

    def answered(self, response: Any) -> None:
        """Takes the response to the request."""
        if self._framed is None:
            self.done = True
            found = self._wire.rejected(self._part(), response)
            if found is not None and len(self._rows) < len(self._batch.items):
                found = replace(found, errors=tuple(map(self._of_batch, found.errors)))
            self.failure = found
            return
        refused = {error.index for error in response.errors}
        left = [
            index
            for place, items in enumerate(self._framed.frames)
            if response.errors_truncated or place in refused
            for index in items
        ]
        self._go_on_with_rows(left)

    def failed(self, error: Exception) -> None:
        """Takes the failure of the request for good: of frames, which are sent as rows then, or of the rest."""
        if self._framed is not None:
            self._go_on_with_rows([index for items in self._framed.frames for index in items])
            return
        self.done = True
        items = self._part().items
        self.failure = self._wire.failure(FailureKind.FAILED, len(items), (), error, items)

    def _go_on_with_rows(self, more: list[int]) -> None:
        self._rows = tuple(sorted([*self._rows, *more]))
        self._framed = None
        self.done = not self._rows
        if not self.done:
            self._body = self._wire.body(self._part())

    def _part(self) -> Batch:
        """Returns what goes as rows."""
        if len(self._rows) == len(self._batch.items):
            return self._batch
        return replace(self._batch, items=tuple(self._batch.items[index] for index in self._rows))

    def _of_batch(self, error: Any) -> Any:
        """Returns an error with the place of its item in the batch."""
        return replace(error, index=self._rows[error.index]) if 0 <= error.index < len(self._rows) else error
