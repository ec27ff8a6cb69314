"""Compaction as the store sees it: which days have blocks to fold, and folded blocks in the place of others."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, NamedTuple

from sqlalchemy import Connection

from streamgauge_server.model.clock import MICROS_PER_DAY, MICROS_PER_HOUR, MICROS_PER_MINUTE, Clock
from streamgauge_server.storage import compaction_statements as statements
from streamgauge_server.storage import correction_statements, tables
from streamgauge_server.storage.batches import batches
from streamgauge_server.storage.database import Database
from streamgauge_server.storage.key_lists import select_by_keys
from streamgauge_server.storage.positions import raise_folded
from streamgauge_server.timeseries.block import Block
from streamgauge_server.timeseries.envelope import SEAL_BYTES
from streamgauge_server.timeseries.folding import Foldable, closing_time

DISCOVERED_AT_ONCE = 10_000
"""Blocks that one look for days to compact goes through."""
LEASE = 10 * MICROS_PER_MINUTE
"""How long a day is left to whoever took it, in microseconds. It may take longer: then two may fold it at a time, and
the one who comes later finds other blocks than it has read."""


class Claim(NamedTuple):
    """A day of a subject that this process is to look at.

    `collected` tells that late data have been collected for it; `lease` until when no other server takes it.
    """

    subject_id: int
    day: int
    collected: bool
    lease: int


@dataclass(frozen=True, slots=True, eq=False)
class Fold:
    """A folded block, and the blocks in whose place it comes: in rising order of seq, with the data that were read."""

    claim: Claim
    blocks: Sequence[Foldable]
    data: Sequence[bytes]
    block: Block


@dataclass(frozen=True, slots=True)
class Next:
    """When a claimed day is to be looked at again, None for not before something is written to it."""

    claim: Claim
    due_time: int | None
    late: bool


@dataclass(frozen=True, slots=True)
class Queue:
    """How many days are due to be compacted, and since when the first of them."""

    days: int
    oldest: int | None


class Compactions:
    """Finds and applies what compaction does. Any number of processes may do so at a time."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def discover(self, position: int, lateness: int) -> int:
        """Looks through blocks up to a position for days to compact; returns how many blocks it went through.

        Goes on where the last look ended, whoever made it. 0 tells that there are no more. Days are due once they, or
        an hour of them, have been closed for `lateness` microseconds.

        Raises:
            DomainError: STORE_UNAVAILABLE.
        """
        now = self._clock.now()

        def look(connection: Connection) -> tuple[tuple[int, int], Sequence[tuple[int, int, int, int]]]:
            after = connection.execute(statements.DISCOVERED).one()
            parameters = {
                "after_position": after.discovered_position,
                "after_seq": after.discovered_seq,
                "position": position,
                "limit": DISCOVERED_AT_ONCE,
            }
            rows = connection.execute(statements.NEW_BLOCKS[connection.dialect.name], parameters).all()
            return (after[0], after[1]), [(row[0], row[1], row[2], row[3]) for row in rows]

        began, rows = await self._database.read(look)
        if not rows:
            return 0
        days = sorted({(subject_id, day) for _, _, subject_id, day in rows})

        def enqueue(connection: Connection) -> None:
            if tuple(connection.execute(statements.LOCKED_DISCOVERED).one()) != began:
                return  # another server went through them
            several = _several(connection, days)
            present: set[int] = set()
            for subjects in batches(sorted({subject_id for subject_id, _ in several})):
                present.update(connection.scalars(statements.PRESENT, {"subjects": subjects}))
            found = [
                {
                    "subject_id": subject_id,
                    "day": day,
                    "due_time": _first_look(day, now, lateness),
                    "late": False,
                }
                for subject_id, day in several
                if subject_id in present
            ]
            if found:
                connection.execute(statements.ENQUEUE[connection.dialect.name], found)
            connection.execute(statements.SET_DISCOVERED, {"position": rows[-1][0], "seq": rows[-1][1]})

        await self._database.write(enqueue)
        return len(rows)

    async def claim(self, limit: int) -> list[Claim]:
        """Takes up to `limit` days that are due, those first that have been for longest; no other server takes them.

        Raises:
            DomainError: STORE_UNAVAILABLE.
        """
        now = self._clock.now()
        lease = now + LEASE

        def work(connection: Connection) -> list[Claim]:
            rows = connection.execute(statements.DUE, {"now": now, "limit": limit}).all()
            claims = [Claim(row.subject_id, row.day, row.late, lease) for row in rows]
            if claims:
                taken = [{"of_subject": claim.subject_id, "of_day": claim.day, "until": lease} for claim in claims]
                connection.execute(statements.CLAIM, taken)
            return claims

        if not (await self.queue()).days:
            return []
        return await self._database.write(work)

    async def blocks(self, claims: Collection[Claim], position: int) -> dict[Claim, list[Foldable]]:
        """Returns the blocks of claimed days in rising order of seq; those up to the position may be folded.

        Raises:
            DomainError: STORE_UNAVAILABLE.
        """
        by_day = {(claim.subject_id, claim.day): claim for claim in claims}
        key = (tables.blocks.c.subject_id, tables.blocks.c.day)

        def work(connection: Connection) -> dict[Claim, list[Foldable]]:
            found: dict[Claim, list[Foldable]] = {claim: [] for claim in claims}
            rows: Iterable[Any] = select_by_keys(connection, statements.BLOCKS, key, by_day)
            for subject_id, day, seq, count, last_time, hours, size, run_id, at, reduced in rows:
                if reduced:  # without samples it stands between no others
                    continue
                foldable = Foldable(seq, count, last_time, hours, size, run_id, at, at <= position)
                found[by_day[subject_id, day]].append(foldable)
            for blocks in found.values():
                blocks.sort(key=lambda block: block.seq)
            return found

        return await self._database.read(work)

    async def apply(self, folds: Sequence[Fold], settled: Sequence[Next], again: Collection[Claim]) -> list[Fold]:
        """Puts folded blocks in the place of those that they were made of, and settles when days are looked at again.

        Returns the folds that were made: none whose blocks have changed or gone since they were read. Days of which a
        fold was not made, and those in `again`, are due at once. Holds up appends to the subjects for the time of the
        transaction, which is short: nothing is computed in it.

        Raises:
            DomainError: STORE_UNAVAILABLE.
        """
        now = self._clock.now()

        def work(connection: Connection) -> list[Fold]:
            made: list[Fold] = []
            if folds:
                subjects = sorted({fold.claim.subject_id for fold in folds})
                connection.execute(statements.LOCKED_SUBJECTS, {"subjects": subjects}).all()
                made = self._unchanged(connection, folds)
            if made:
                self._replace(connection, made)
            failed = {*again, *(fold.claim for fold in folds if fold not in made)}
            _settle(connection, [Next(claim, now, claim.collected) for claim in sorted(failed)])
            _settle(connection, settled)
            return made

        return await self._database.write(work)

    async def queue(self) -> Queue:
        """Returns which days are due.

        Raises:
            DomainError: STORE_UNAVAILABLE.
        """
        now = self._clock.now()

        def work(connection: Connection) -> Queue:
            days, oldest = connection.execute(statements.WAITING, {"now": now}).one()
            return Queue(days, oldest)

        return await self._database.read(work)

    def _unchanged(self, connection: Connection, folds: Sequence[Fold]) -> list[Fold]:
        keys = [(*fold.claim[:2], block.seq) for fold in folds for block in fold.blocks]
        seals = dict(self._database.block_seals(connection, keys))
        return [
            fold
            for fold in folds
            if all(
                seals.get(block.seq) == data[:SEAL_BYTES] for block, data in zip(fold.blocks, fold.data, strict=True)
            )
        ]

    def _replace(self, connection: Connection, folds: Sequence[Fold]) -> None:
        gone = [(*fold.claim[:2], block.seq) for fold in folds for block in fold.blocks[:-1]]
        self._database.remove_blocks(connection, gone)
        connection.execute(
            correction_statements.REWRITE,
            [
                {"of_subject": fold.claim.subject_id, "of_day": fold.claim.day, "of_seq": fold.blocks[-1].seq}
                | {f"new_{name}": getattr(fold.block, name) for name in correction_statements.REWRITTEN}
                for fold in folds
            ],
        )
        raise_folded(connection, max(block.position for fold in folds for block in fold.blocks))


def _first_look(day: int, now: int, lateness: int) -> int:
    """Returns when to look at a day of which new blocks were found: now if it is closed, or when the hour is."""
    if closing_time(day * MICROS_PER_DAY, MICROS_PER_DAY, lateness) <= now:
        return now
    return closing_time(now - lateness, MICROS_PER_HOUR, lateness)


def _several(connection: Connection, days: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Returns those days of subjects that have more than one block."""
    parameters = {"subjects": [subject_id for subject_id, _ in days], "days": [day for _, day in days]}
    rows = connection.execute(statements.SEVERAL[connection.dialect.name], parameters)
    return [(subject_id, day) for subject_id, day in rows]


def _settle(connection: Connection, settled: Sequence[Next]) -> None:
    for done, of_kind in groupby(settled, lambda item: item.due_time is None):
        rows: list[Mapping[str, object]] = [
            {"of_subject": item.claim.subject_id, "of_day": item.claim.day, "lease": item.claim.lease}
            | ({} if done else {"next_time": item.due_time, "is_late": item.late})
            for item in of_kind
        ]
        connection.execute(statements.DONE if done else statements.LATER, rows)
