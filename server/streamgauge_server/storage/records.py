"""What goes into the append transaction and what comes back from it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from streamgauge_server.model.values import Scalar
from streamgauge_server.timeseries.block import Block
from streamgauge_server.timeseries.frame import Frame
from streamgauge_server.timeseries.latest import LatestSample

REQUEST_LIFETIME = 24 * 3_600 * 1_000_000
"""How long an idempotency key is known, in microseconds."""


@dataclass(slots=True)
class SubjectWrite:
    """New blocks of one subject part, and the samples in them once more in the form that advances `latest`.

    `row` is (time, start, values by metric id) of a single observation; `frame` is used when there is no `row`. With
    neither, `latest` stays as it is. `run_id` is the run that wrote them, empty for none.
    """

    subject_id: int
    blocks: list[Block]
    frame: Frame | None = None
    row: tuple[int, int, Mapping[int, Scalar]] | None = None
    run_id: str = ""


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """An idempotency key with the digest of its request's body and the answer, serialised by whoever reads it."""

    tenant: str
    request_id: str
    body_digest: bytes
    response: bytes


class LatestRow(NamedTuple):
    """The newest samples of one subject part by metric id.

    `version` changes with every change of the row. Rows may be shared between callers: do not modify `samples`.
    """

    subject_id: int
    version: int
    samples: Mapping[int, LatestSample]


class SubjectGone(Exception):
    """Subjects that an append names do not exist, most likely deleted meanwhile. Nothing of the append was stored."""

    def __init__(self, subject_ids: Collection[int]) -> None:
        super().__init__(f"no subjects {sorted(subject_ids)}")
        self.subject_ids = frozenset(subject_ids)


class LatestDamaged(Exception):
    """Rows of latest values that an append moves on cannot be read. Nothing was stored."""

    def __init__(self, subject_ids: Collection[int]) -> None:
        super().__init__(f"damaged rows of latest values of {sorted(subject_ids)}")
        self.subject_ids = frozenset(subject_ids)


@dataclass(slots=True)
class Append:
    """One caller's append: all of it is stored or nothing."""

    writes: Sequence[SubjectWrite]
    request: RequestRecord | None = None
    block_count: int = field(init=False)
    size: int = field(init=False)

    def __post_init__(self) -> None:
        self.block_count = sum(len(write.blocks) for write in self.writes)
        self.size = sum(len(block.data) for write in self.writes for block in write.blocks)


Outcome = RequestRecord | SubjectGone | None
"""What became of an append: stored (None), refused because a subject is gone, or not needed because its idempotency key
is known, with the record of the first request."""
