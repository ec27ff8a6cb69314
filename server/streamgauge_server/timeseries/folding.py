"""Folding: which blocks of a day become one, and that one.

Blocks of a subject and day are folded that are neighbours in the order in which later ones win, and that one run wrote,
or none. The folded block takes the place of the last of them, so every sample wins and loses as before. While a day is
open, the blocks of an hour become one once the hour is closed; when the day is closed all blocks become one.

What is folded once is not touched again for a few samples: data that come late to a closed day wait until they are a
quarter of the largest block, or a day has passed. So late data cost at most five times their own size in rewriting, or
one rewriting of the day per day.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

from streamgauge_server.model.clock import MICROS_PER_DAY, MICROS_PER_HOUR
from streamgauge_server.timeseries.block import Block, decode_many, encode

MAX_BLOCKS = 1_000
"""Blocks that are folded at once. More of them become several, which are folded the next time."""
MAX_ROWS = 1 << 18
MAX_BYTES = 4 << 20
"""How large a folded block may get: rows, and bytes of the blocks that it is made of."""
LATE_SHARE = 4
"""Late data are folded in at once when they are one in so many rows of the largest block."""


class Foldable(NamedTuple):
    """What planning needs to know of a stored block.

    `size` are the bytes of its data. `settled` tells that it may be folded: it has been final for long enough, and has
    all its samples. Not a dataclass, because a day of scrapes has thousands and those take three times as long to make.
    """

    seq: int
    rows: int
    last_time: int
    hours: int
    size: int
    run_id: str | None
    position: int
    settled: bool

    def unsettled(self) -> Foldable:
        """Returns the block as one that stays as it is."""
        return self._replace(settled=False)


@dataclass(frozen=True, slots=True)
class FoldPlan:
    """The groups of blocks to be folded, each in rising order of seq, and when to look at the day again.

    `due_time` is None when nothing is left to do, `late` tells that late data are being collected until then.
    """

    groups: Sequence[Sequence[Foldable]]
    due_time: int | None
    late: bool = False


def fold(blocks: Sequence[bytes]) -> Block:
    """Returns one block of the samples of several of a day; where a moment and metric repeat, the later block wins.

    Raises BlockCorrupt.
    """
    return encode(decode_many(blocks))


def closing_time(last_time: int, span: int, lateness: int) -> int:
    """Returns when the hour or day (`span`) of a moment counts as closed, all in microseconds."""
    return (last_time // span + 1) * span + lateness


def plan_folds(day: int, blocks: Sequence[Foldable], *, now: int, lateness: int, collected: bool) -> FoldPlan:
    """Plans what becomes of the blocks of a subject and day, which come in rising order of seq.

    Hours and the day are closed `lateness` microseconds after their end. `collected` tells that late data have waited
    for long enough.
    """
    day_closing = closing_time(day * MICROS_PER_DAY, MICROS_PER_DAY, lateness)
    if now < day_closing:
        return _plan_hours(blocks, now, lateness, day_closing)
    groups: list[Sequence[Foldable]] = []
    late = more = False
    for stretch in _stretches(blocks):
        for pack in _packs(stretch):
            largest = max(range(len(pack)), key=lambda place: pack[place].rows)
            others = sum(block.rows for block in pack) - pack[largest].rows
            if collected or others * LATE_SHARE >= pack[largest].rows:
                parts = [pack]
            else:
                late |= len(pack) > 1
                parts = [pack[:largest], pack[largest + 1 :]]
            groups += [part for part in parts if len(part) > 1]
            more |= len(pack) == MAX_BLOCKS
    if more:
        return FoldPlan(groups, now, late=True)  # what comes of so many blocks becomes one, whatever the sizes
    return FoldPlan(groups, now + MICROS_PER_DAY if late else None, late)


def _plan_hours(blocks: Sequence[Foldable], now: int, lateness: int, day_closing: int) -> FoldPlan:
    groups: list[Sequence[Foldable]] = []
    due_time = day_closing
    more = False
    for stretch in _stretches(blocks):
        for _, of_hours in groupby(stretch, lambda block: block.hours):
            hour = list(of_hours)
            closing = closing_time(max(block.last_time for block in hour), MICROS_PER_HOUR, lateness)
            if now < closing:
                due_time = min(due_time, closing)
                continue
            packs = list(_packs(hour))
            groups += [pack for pack in packs if len(pack) > 1]
            more |= any(len(pack) == MAX_BLOCKS for pack in packs)
    return FoldPlan(groups, now if more else due_time)


def _stretches(blocks: Iterable[Foldable]) -> Iterator[list[Foldable]]:
    """Yields the neighbours that may be folded and that one run wrote, or none."""
    for (settled, _), stretch in groupby(blocks, lambda block: (block.settled, block.run_id)):
        if settled:
            yield list(stretch)


def _packs(blocks: Sequence[Foldable]) -> Iterator[list[Foldable]]:
    """Yields neighbours that fit into one block."""
    pack: list[Foldable] = []
    rows = size = 0
    for block in blocks:
        full = len(pack) == MAX_BLOCKS or rows + block.rows > MAX_ROWS or size + block.size > MAX_BYTES
        if pack and full:
            yield pack
            pack, rows, size = [], 0, 0
        pack.append(block)
        rows += block.rows
        size += block.size
    if pack:
        yield pack
