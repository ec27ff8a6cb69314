"""Compaction: small blocks of closed hours and days become one, a few at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from time import monotonic
from typing import NamedTuple

from streamgauge_server.model.clock import MICROS_PER_MINUTE, Clock
from streamgauge_server.services.off_loop import off_loop
from streamgauge_server.services.pacing import Pace, at_once
from streamgauge_server.storage.compaction import Claim, Fold, Next
from streamgauge_server.storage.damage_log import Damage
from streamgauge_server.storage.store import Store
from streamgauge_server.timeseries.damage import DamagedPart, is_readable
from streamgauge_server.timeseries.envelope import BlockCorrupt
from streamgauge_server.timeseries.folding import Foldable, FoldPlan, fold, plan_folds

GRACE = 2 * MICROS_PER_MINUTE
"""How much longer than the watch horizon an hour stays open after its end, for data that take their time."""
DAYS_AT_ONCE = 32
"""Days of subjects that are taken off the queue at once."""
BLOCKS_AT_ONCE = 1_000
BYTES_AT_ONCE = 1 << 20
"""What is read, folded and stored in one go: in one transaction, which appends may have to wait for."""


@dataclass(slots=True)
class Compacted:
    """What was done: days looked at, blocks folded and what became of them, rows and bytes of data, seconds of work."""

    days: int = 0
    blocks: int = 0
    folded: int = 0
    rows: int = 0
    bytes_before: int = 0
    bytes_after: int = 0
    conflicts: int = 0
    seconds: float = 0.0

    def add(self, other: Compacted) -> None:
        """Adds what was done at another time."""
        for each in fields(self):
            setattr(self, each.name, getattr(self, each.name) + getattr(other, each.name))

    def count(self, made: Sequence[Fold], planned: int) -> None:
        """Counts folds that were made, out of those that were planned."""
        self.blocks += sum(len(each.blocks) for each in made)
        self.folded += len(made)
        self.rows += sum(each.block.rows for each in made)
        self.bytes_before += sum(len(data) for each in made for data in each.data)
        self.bytes_after += sum(len(each.block.data) for each in made)
        self.conflicts += planned - len(made)


@dataclass(frozen=True, slots=True)
class _Group:
    claim: Claim
    blocks: Sequence[Foldable]


class _Block(NamedTuple):
    claim: Claim
    seq: int


@dataclass(slots=True)
class _Round:
    """Groups of blocks that are folded in one go, and days that are done with it."""

    groups: list[_Group] = field(default_factory=list)
    settled: list[Next] = field(default_factory=list)


class Compactor:
    """Folds what is old enough. One instance is used by one task; several processes may have one each."""

    def __init__(self, store: Store, clock: Clock, *, horizon: int) -> None:
        """`horizon` is how long blocks have to be final before they are folded, in microseconds."""
        self._store = store
        self._clock = clock
        self._horizon = horizon
        self._damaged: set[tuple[int, int, int]] = set()

    @property
    def damaged(self) -> int:
        """How many damaged blocks this compactor has come across; they stay where they are."""
        return len(self._damaged)

    async def run(self, pace: Pace) -> Compacted:
        """Looks through what is new, then folds some of what is due; `days` is 0 when nothing was.

        Raises:
            DomainError: STORE_UNAVAILABLE.
        """
        await self.discover(pace)
        return await self.fold(pace)

    async def discover(self, pace: Pace = at_once) -> int:
        """Looks through new blocks for days to compact; returns how many blocks these were.

        Raises:
            DomainError: STORE_UNAVAILABLE.
        """
        position = await self._store.positions.old(self._horizon)
        total = 0
        while True:
            began = monotonic()
            looked_at = await self._store.compactions.discover(position, self._horizon + GRACE)
            await pace(monotonic() - began)
            if not looked_at:
                return total
            total += looked_at

    async def fold(self, pace: Pace = at_once) -> Compacted:
        """Folds what is due of up to 32 days of subjects; `days` is 0 when nothing was.

        Raises:
            DomainError: STORE_UNAVAILABLE.
        """
        done = Compacted()
        began = monotonic()
        claims = await self._store.compactions.claim(DAYS_AT_ONCE)
        if not claims:
            return done
        done.days = len(claims)
        # Asked for after the days were taken: what another server has found in them until then is old enough.
        position = await self._store.positions.old(self._horizon)
        of_days = await self._store.compactions.blocks(claims, position)
        now, lateness = self._clock.now(), self._horizon + GRACE
        plans = {
            claim: plan_folds(
                claim.day, self._usable(claim, blocks), now=now, lateness=lateness, collected=claim.collected
            )
            for claim, blocks in of_days.items()
        }
        for part in _rounds(plans):
            await self._fold(part, done)
            seconds = monotonic() - began
            done.seconds += seconds
            await pace(seconds)
            began = monotonic()
        return done

    def _usable(self, claim: Claim, blocks: Sequence[Foldable]) -> list[Foldable]:
        """Leaves damaged blocks where they are, and those around them in their order."""
        if not self._damaged:
            return list(blocks)
        return [
            block.unsettled() if (claim.subject_id, claim.day, block.seq) in self._damaged else block
            for block in blocks
        ]

    async def _fold(self, part: _Round, done: Compacted) -> None:
        keys = [(*group.claim[:2], block.seq) for group in part.groups for block in group.blocks]
        data = await self._store.blocks.load_data(keys) if keys else {}
        # Blocks that have gone meanwhile were somebody else's work.
        there = [group for group in part.groups if all(block.seq in data for block in group.blocks)]
        again = {group.claim for group in part.groups} - {group.claim for group in there}

        def compute() -> tuple[list[Fold], list[_Block]]:
            folds: list[Fold] = []
            damaged: list[_Block] = []
            for group in there:
                of_group = [data[block.seq] for block in group.blocks]
                try:
                    folds.append(Fold(group.claim, group.blocks, of_group, fold(of_group)))
                except BlockCorrupt:
                    found = [block.seq for block in group.blocks if not is_readable(data[block.seq])]
                    damaged += [_Block(group.claim, seq) for seq in found]
            return folds, damaged

        folds, damaged = await off_loop(compute, heavy=bool(there))
        again |= {block.claim for block in damaged}
        self._damaged.update((*block.claim[:2], block.seq) for block in damaged)
        await self._store.damage.note([Damage(DamagedPart.SAMPLES, *block.claim[:2], block.seq) for block in damaged])
        made = await self._store.compactions.apply(folds, part.settled, again)
        done.count(made, len(part.groups))


def _rounds(plans: dict[Claim, FoldPlan]) -> Iterator[_Round]:
    """Yields the groups of all plans in rounds of bounded size; a day is settled in the round of its last group."""
    part = _Round()
    blocks = size = 0
    for claim, plan in plans.items():
        for group in plan.groups:
            of_group = sum(block.size for block in group)
            if part.groups and (blocks + len(group) > BLOCKS_AT_ONCE or size + of_group > BYTES_AT_ONCE):
                yield part
                part, blocks, size = _Round(), 0, 0
            part.groups.append(_Group(claim, group))
            blocks += len(group)
            size += of_group
        part.settled.append(Next(claim, plan.due_time, plan.late))
    yield part
