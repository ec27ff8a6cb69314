"""Days of subjects out of their blocks: decoded as far as they fit into memory, damaged blocks left out."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from streamgauge_server.storage.subjects import SubjectKey
from streamgauge_server.timeseries.block import metrics_of
from streamgauge_server.timeseries.damage import decode_readable
from streamgauge_server.timeseries.envelope import BlockCorrupt
from streamgauge_server.timeseries.frame import Frame

_CELLS_AT_ONCE = 4_000_000
"""Rows by metrics of a day that are decoded at once; of a larger day one group of metrics after the other."""
_MANY_ROWS = 4_096
"""The metrics of days with fewer rows are not looked at beforehand."""


@dataclass(frozen=True, slots=True)
class StoredDay:
    """A day of a subject or part as stored: the data of its blocks by seq, rising, and how many rows they have."""

    key: SubjectKey
    day: int
    rows: int
    blocks: Mapping[int, bytes]


@dataclass(frozen=True, slots=True)
class DayPart:
    """Samples of a day of a subject or part.

    `last` tells that there are no more of the day, `damaged` are the seqs of those blocks that could not be read.
    """

    key: SubjectKey
    day: int
    frame: Frame
    last: bool
    damaged: Sequence[int]


def decode_day(stored: StoredDay, metrics: Collection[int] | None, start: int, end: int) -> Iterator[DayPart]:
    """Yields the merged samples of a day in [start, end), of some metrics or all, in at least one part.

    Blocks that cannot be read are left out.
    """
    # Of some blocks retention has left the summaries alone.
    held = {seq: data for seq, data in stored.blocks.items() if data}
    groups: Sequence[Collection[int] | None] = [metrics]
    if stored.rows > _MANY_ROWS:
        groups = _groups(held, metrics, stored.rows) or groups
    damaged: list[int] = []
    for place, group in enumerate(groups, start=1):
        frame, unreadable = decode_readable(held, group, [(start, end)])
        damaged.extend(unreadable)
        for seq in unreadable:
            del held[seq]
        yield DayPart(stored.key, stored.day, frame, place == len(groups), damaged)


def _groups(held: Mapping[int, bytes], metrics: Collection[int] | None, rows: int) -> list[list[int]]:
    """Returns the metrics of a day in groups whose cells fit into memory; none where no block can be read."""
    found: set[int] = set()
    for data in held.values():
        try:
            found.update(metrics_of(data))
        except BlockCorrupt:
            continue  # as decoding will find out and tell
    wanted = sorted(found if metrics is None else found.intersection(metrics))
    size = max(1, _CELLS_AT_ONCE // rows)
    return [wanted[first : first + size] for first in range(0, len(wanted), size)]
