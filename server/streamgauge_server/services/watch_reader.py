"""Reads the log of blocks for watchers: whose samples they are, and what they are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from streamgauge_server.services.off_loop import off_loop
from streamgauge_server.storage.change_log import ChangeLog, LogPosition
from streamgauge_server.storage.subjects import SubjectKey
from streamgauge_server.timeseries.block import decode_many
from streamgauge_server.timeseries.envelope import BlockCorrupt
from streamgauge_server.timeseries.frame import Frame

_MAX_KNOWN = 100_000
"""Subjects whose names are kept."""
_OFF_LOOP_BYTES = 1 << 14
"""Blocks of more bytes than this are decoded in a thread."""
_CELL_BYTES = 9

_log = structlog.stdlib.get_logger("streamgauge.watch")

Wanted = Callable[[str, SubjectKey], bool]
"""Tells by tenant and subject whether anybody wants its samples."""


@dataclass(frozen=True, slots=True, eq=False)
class News:
    """What was written of one subject or part in a batch of commits: of a moment and metric the sample that stands."""

    tenant: str
    key: SubjectKey
    frame: Frame

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

    def __init__(self, log: ChangeLog) -> None:
        self._log = log
        self._known: dict[int, tuple[str, SubjectKey]] = {}

    async def read(self, wanted: Wanted, after: LogPosition, until: LogPosition | None = None) -> NewsBatch:
        """Returns what was committed after a place, up to another or the newest.

        Raises:
            LogExpired: some of it may have been folded.
            DomainError: STORE_UNAVAILABLE.
        """
        batch = await self._log.read(after, until)
        await self._learn({block.subject_id for block in batch.blocks})
        by_subject: dict[int, dict[int, bytes]] = {}
        for block in batch.blocks:
            known = self._known.get(block.subject_id)  # without a name it was deleted since
            if known is not None and wanted(*known):
                by_subject.setdefault(block.subject_id, {})[block.seq] = block.data
        owners = {subject_id: self._known[subject_id] for subject_id in by_subject}
        size = sum(len(data) for held in by_subject.values() for data in held.values())

        def decoded() -> list[News]:
            return [News(*owners[subject_id], _frame(subject_id, held)) for subject_id, held in by_subject.items()]

        return NewsBatch(await off_loop(decoded, heavy=size > _OFF_LOOP_BYTES), batch.through, batch.more)

    async def _learn(self, ids: set[int]) -> None:
        unknown = ids - self._known.keys()
        if unknown:
            if len(self._known) + len(unknown) > _MAX_KNOWN:
                self._known.clear()
                unknown = ids
            self._known |= await self._log.subjects(unknown)


def _frame(subject_id: int, held: dict[int, bytes]) -> Frame:
    """Returns the merged samples of blocks, those that cannot be read left out."""
    try:
        return decode_many(list(held.values()))
    except BlockCorrupt:
        readable: list[bytes] = []
        for seq, data in held.items():
            try:
                decode_many([data])
            except BlockCorrupt as error:
                _log.error("damaged block", subject_id=subject_id, seq=seq, error=str(error))
            else:
                readable.append(data)
        return decode_many(readable)
