"""Reads the log of blocks for watchers: whose samples they are, and what they are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from streamgauge_server.services.frame_output import FrameOutput
from streamgauge_server.services.off_loop import off_loop
from streamgauge_server.storage.change_log import ChangeLog, LoggedBlock, LogPosition
from streamgauge_server.storage.damage_log import Damage, DamageLog
from streamgauge_server.storage.subjects import SubjectKey
from streamgauge_server.timeseries.block import decode_each
from streamgauge_server.timeseries.damage import DamagedPart, is_readable
from streamgauge_server.timeseries.envelope import BlockCorrupt
from streamgauge_server.timeseries.frame import Frame, merge

_MAX_KNOWN = 100_000
"""Subjects whose names are kept."""
_OFF_LOOP_BYTES = 1 << 14
"""Blocks of more bytes than this are decoded in a thread."""
_CELL_BYTES = 9

Wanted = Callable[[str, SubjectKey], bool]
"""Tells by tenant and subject whether anybody wants its samples."""


@dataclass(slots=True, eq=False)
class News:
    """What was written of one subject or part in a batch of commits: of a moment and metric the sample that stands.

    `whole` is what is sent to those who want every metric, once somebody has made it.
    """

    tenant: str
    key: SubjectKey
    frame: Frame
    whole: Sequence[FrameOutput] | None = None

    @property
    def size(self) -> int:
        """About what it weighs in memory, in bytes; texts are counted as a number."""
        return _CELL_BYTES * len(self.frame.times) * (1 + len(self.frame.columns))


@dataclass(frozen=True, slots=True)
class NewsBatch:
    """What was committed up to a place in the log, as far as anybody wants it. `more` can be read at once."""

    news: Sequence[News]
    through: LogPosition
    more: bool


class WatchReader:
    """Reads the log in batches. Names of subjects are looked up once: an id is never given twice."""

    def __init__(self, log: ChangeLog, damage: DamageLog) -> None:
        self._log = log
        self._damage = damage
        self._known: dict[int, tuple[str, SubjectKey]] = {}

    async def read(self, wanted: Wanted, after: LogPosition, until: LogPosition | None = None) -> NewsBatch:
        """Returns what was committed after a place, up to another or the newest.

        Raises:
            LogExpired: some of it may have been folded.
            DomainError: STORE_UNAVAILABLE.
        """
        batch = await self._log.read(after, until)
        await self._learn({block.subject_id for block in batch.blocks})
        # A subject without a name was deleted since.
        blocks = [b for b in batch.blocks if (known := self._known.get(b.subject_id)) is not None and wanted(*known)]
        size = sum(len(block.data) for block in blocks)
        frames, damaged = await off_loop(lambda: _merged(blocks), heavy=size > _OFF_LOOP_BYTES)
        if damaged:
            await self._damage.note([Damage(DamagedPart.SAMPLES, b.subject_id, b.day, b.seq) for b in damaged])
        news = [News(*self._known[subject_id], frame) for subject_id, frame in frames.items()]
        return NewsBatch(news, batch.through, batch.more)

    async def _learn(self, ids: set[int]) -> None:
        unknown = ids - self._known.keys()
        if unknown:
            if len(self._known) + len(unknown) > _MAX_KNOWN:
                self._known.clear()
                unknown = ids
            self._known |= await self._log.subjects(unknown)


def _merged(blocks: Sequence[LoggedBlock]) -> tuple[dict[int, Frame], Sequence[LoggedBlock]]:
    """Returns the merged samples of each subject, and the blocks that cannot be read, which are left out."""
    damaged: Sequence[LoggedBlock] = ()
    try:
        frames = decode_each([block.data for block in blocks])
    except BlockCorrupt:
        damaged = [block for block in blocks if not is_readable(block.data)]
        blocks = [block for block in blocks if block not in damaged]
        frames = decode_each([block.data for block in blocks])
    by_subject: dict[int, list[Frame]] = {}
    for block, frame in zip(blocks, frames, strict=True):
        by_subject.setdefault(block.subject_id, []).append(frame)
    return {subject_id: merge(held) for subject_id, held in by_subject.items()}, damaged
