"""Loads the samples of a subject in the order of time, a stretch at a time, for answers that come in pages."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Sequence

from streamgauge_server.services.off_loop import off_loop
from streamgauge_server.storage.blocks import BlockExtent
from streamgauge_server.storage.damage_log import Damage
from streamgauge_server.storage.store import Store
from streamgauge_server.timeseries.damage import DamagedPart, decode_readable
from streamgauge_server.timeseries.frame import Frame

_STRETCH_BYTES = 4 << 20
"""How many bytes of blocks are loaded at once, unless those of a single moment are more."""
_STRETCH_BLOCKS = 8_192
_OFF_LOOP_BLOCKS = 400
_OFF_LOOP_BYTES = 1 << 18
"""More blocks than this, or more bytes of them, are decoded in a thread."""


class AssetHistory:
    """Reads the merged samples of a subject over a range without ever holding all of them."""

    def __init__(self, store: Store) -> None:
        self._blocks = store.blocks
        self._damage = store.damage

    async def stretches(
        self, subject_id: int, start: int, end: int, metrics: Collection[int] | None, *, first_blocks: int
    ) -> AsyncGenerator[Frame, None]:
        """Yields the samples in [start, end), of some metrics or all, as frames that follow each other in time.

        The first frame is made of up to `first_blocks` blocks, most often as many moments; each further one of twice
        as many, within bounds. Frames may be empty. Blocks that cannot be read are left out and noted.

        Raises:
            DomainError: STORE_UNAVAILABLE.
        """
        limit = first_blocks
        while start < end:
            extents = await self._blocks.extents(subject_id, start, end, limit=limit)
            if not extents:
                return
            chosen, until = _stretch(extents, start, end, complete=len(extents) < limit)
            if chosen:
                frame = await self._load(subject_id, chosen, start, until, metrics)
                if frame is None:
                    continue
                yield frame
                start = until
                limit = max(limit, min(2 * limit, _STRETCH_BLOCKS))
            else:
                # All of these blocks begin with the same moment, or before the start: there are more of them.
                limit *= 2

    async def _load(
        self, subject_id: int, chosen: Sequence[BlockExtent], start: int, end: int, metrics: Collection[int] | None
    ) -> Frame | None:
        """Returns the merged samples of blocks; None when one has gone, and what it held may be in another."""
        found = await self._blocks.load_data([(subject_id, extent.day, extent.seq) for extent in chosen])
        if len(found) < len(chosen):
            return None
        data = {seq: found[seq] for seq in sorted(found)}  # of blocks that overlap the later one wins
        heavy = len(data) > _OFF_LOOP_BLOCKS or sum(map(len, data.values())) > _OFF_LOOP_BYTES
        frame, damaged = await off_loop(lambda: decode_readable(data, metrics, [(start, end)]), heavy=heavy)
        if damaged:
            days = {extent.seq: extent.day for extent in chosen}
            await self._damage.note([Damage(DamagedPart.SAMPLES, subject_id, days[seq], seq) for seq in damaged])
        return frame


def _stretch(
    extents: Sequence[BlockExtent], start: int, end: int, *, complete: bool
) -> tuple[Sequence[BlockExtent], int]:
    """Returns the blocks that hold all samples in [start, until), and `until`: out of all blocks, or the first ones.

    `extents` come in the order of their first moments; no sample before that of a block can be in it. There are none
    where the first blocks do not reach beyond a single moment.
    """
    size, count, until = 0, 0, start
    for position, extent in enumerate(extents):
        if extent.first_time > until:
            if count and size > _STRETCH_BYTES:
                return extents[:count], until
            count, until = position, extent.first_time
        size += extent.size
    if complete and not (count and size > _STRETCH_BYTES):
        return extents, end
    return extents[:count], until
