"""Damage: which stored bytes cannot be read, and what is left of an answer without them. The one place for that rule.

Every stored message has a checksum (`envelope`), so damage is found when it is read and never believed. Then

- samples are answered without the block; of two blocks that hold the same moment the older one stands in again;
- statistics of a block whose summaries are damaged come from its samples, which are what summaries are made of;
- statistics of a block whose samples are damaged come from its summaries: hours that no other block holds, as a whole.
  Each counts to the window, and the range, that holds its first sample. An hour that others hold too is answered by the
  others, because which samples repeat cannot be told any more.

Nothing here changes what is stored.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from streamgauge_server.timeseries.block import decode, decode_many
from streamgauge_server.timeseries.envelope import BlockCorrupt, unseal
from streamgauge_server.timeseries.frame import Frame
from streamgauge_server.timeseries.query import StoredBlock
from streamgauge_server.timeseries.summary import decode_summary, encode_summary, whole


class DamagedPart(StrEnum):
    """What of something stored cannot be read."""

    SAMPLES = "samples"
    SUMMARIES = "summaries"
    LATEST = "latest"
    FIGURES = "figures"
    METRICS = "metrics"
    """Samples of a metric that has no descriptor, so that nobody can tell what they are of."""


@dataclass(frozen=True, slots=True)
class BlockDamage:
    """What of one block cannot be read, as far as it was loaded.

    `reduced` tells that retention has left the summaries of it alone.
    """

    day: int
    seq: int
    samples: bool
    hour_summary: bool
    day_summary: bool
    reduced: bool

    @property
    def part(self) -> DamagedPart:
        """The samples where they are damaged, which is what an answer lacks, and the summaries otherwise."""
        return DamagedPart.SAMPLES if self.samples else DamagedPart.SUMMARIES

    @property
    def is_loss(self) -> bool:
        """Tells whether an answer may lack something: summaries can be made of samples again."""
        return self.samples or self.reduced


def is_readable(data: bytes) -> bool:
    """Tells whether the samples of a block can be read. Empty bytes, which retention leaves, can."""
    return not data or _fine(decode, data)


def damage_of(block: StoredBlock) -> BlockDamage | None:
    """Returns what of a block is damaged of that which is loaded of it, None for nothing."""
    damage = BlockDamage(
        block.day,
        block.seq,
        block.data is not None and not is_readable(block.data),
        block.hour_summary is not None and not _fine(decode_summary, block.hour_summary),
        block.day_summary is not None and not _fine(decode_summary, block.day_summary),
        not block.rows,
    )
    return damage if damage.samples or damage.hour_summary or damage.day_summary else None


def decode_readable(
    held: Mapping[int, bytes],
    metrics: Collection[int] | None = None,
    spans: Sequence[tuple[int, int]] | None = None,
) -> tuple[Frame, list[int]]:
    """Returns the merged frame of blocks given by seq, and the seqs of those that cannot be read: they are left out.

    Otherwise as `block.decode_many`; of blocks that retention has emptied there is nothing to read. Raises BlockCorrupt
    when something cannot be read although each block alone can.
    """
    held = {seq: data for seq, data in held.items() if data}
    try:
        return decode_many(list(held.values()), metrics, spans), []
    except BlockCorrupt:
        damaged = [seq for seq, data in held.items() if not is_readable(data)]
        if not damaged:
            raise
    return decode_many([data for seq, data in held.items() if seq not in damaged], metrics, spans), damaged


def parted(held: Mapping[int, bytes]) -> tuple[dict[int, bytes], list[int]]:
    """Returns those blocks, given by seq, whose checksum holds, and the seqs of the others; empty ones are left out."""
    intact = {seq: data for seq, data in held.items() if data and _fine(unseal, data)}
    return intact, [seq for seq, data in held.items() if data and seq not in intact]


def set_aside(blocks: Sequence[StoredBlock], damage: Iterable[BlockDamage]) -> list[StoredBlock]:
    """Returns the blocks of a subject as far as they can be answered; `damage` is of some of them.

    A block whose samples are damaged comes with empty data, and with those of its hours that no other block of the day
    holds. Of a block that is answered by summaries alone, those by hour must have been loaded.
    """
    by_seq = {one.seq: one for one in damage}
    of_day: dict[int, list[StoredBlock]] = {}
    for block in blocks:
        of_day.setdefault(block.day, []).append(block)
    left: list[StoredBlock] = []
    for block in blocks:
        found = by_seq.get(block.seq)
        kept: StoredBlock | None = block
        if found is not None and found.samples:
            kept = _by_hours(block, found, of_day[block.day])
        elif found is not None and not block.rows:
            kept = _mended(block, found)
        elif found is not None:
            kept = replace(block, hour_summary=None, day_summary=None)
        if kept is not None:
            left.append(kept)
    return left


def _by_hours(block: StoredBlock, found: BlockDamage, of_day: Iterable[StoredBlock]) -> StoredBlock | None:
    """Returns a block without its samples, None when its summaries cannot be read or no hour is its own."""
    hours = block.hours
    for other in of_day:
        if other.seq != block.seq and other.rows:  # what retention has left is of other metrics
            hours &= ~other.hours
    if not hours or found.hour_summary or block.hour_summary is None:
        return None
    whole_day = hours == block.hours and not found.day_summary
    return replace(block, hours=hours, day_summary=block.day_summary if whole_day else None, data=b"")


def _mended(block: StoredBlock, found: BlockDamage) -> StoredBlock | None:
    """Returns a block that retention has left the summaries of, None when those by hour cannot be read."""
    if found.hour_summary or block.hour_summary is None:
        return None
    return replace(block, day_summary=encode_summary(whole(decode_summary(block.hour_summary))))


def _fine(read: Callable[[bytes], object], data: bytes) -> bool:
    try:
        read(data)
    except BlockCorrupt:
        return False
    return True
