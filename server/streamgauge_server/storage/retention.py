"""Retention as the store sees it: which days hold what, and what is left in the place of samples that go."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import NamedTuple

from sqlalchemy import Connection, LargeBinary, case, func, insert, or_, select

from streamgauge_server.model.values import MetricKind, SubjectKind
from streamgauge_server.storage import compaction_statements, correction_statements, tables
from streamgauge_server.storage.database import Database
from streamgauge_server.storage.key_lists import select_by_keys
from streamgauge_server.storage.positions import raise_folded
from streamgauge_server.timeseries.envelope import SEAL_BYTES
from streamgauge_server.timeseries.reduction import Reduction

_b, _m = tables.blocks.c, tables.metrics.c
_KEY = (_b.subject_id, _b.day)
_SIZE = (
    func.length(_b.data)
    + func.coalesce(func.length(_b.day_summary), 0)
    + func.coalesce(func.length(_b.hour_summary), 0)
)
_HELD = (
    _b.subject_id,
    _b.day,
    _b.seq,
    case((_b.transaction_id.is_(None), _b.seq), else_=_b.transaction_id).label("position"),
    _SIZE.label("size"),
    _b.reduced,
    _b.day_summary,
    case((_b.reduced, _b.hour_summary), else_=None).label("hour_summary"),
    case((_b.day_summary.is_(None), _b.data), else_=None).label("data"),
)
_SEALS = (
    _b.subject_id,
    _b.day,
    _b.seq,
    func.substr(case((_b.reduced, _b.hour_summary), else_=_b.data), 1, SEAL_BYTES, type_=LargeBinary).label("seal"),
)


class MetricLimits(NamedTuple):
    """The limits that a metric has of its own, in days, None where those of its kind hold."""

    id: int
    subject_kind: SubjectKind
    kind: MetricKind
    sample_days: int | None
    summary_days: int | None


@dataclass(frozen=True, slots=True)
class HeldBlock:
    """A block with samples. `data` are loaded where it has no summary of the day; `size` are the bytes of it all."""

    seq: int
    position: int
    size: int
    day_summary: bytes | None
    data: bytes | None


@dataclass(frozen=True, slots=True)
class ReducedBlock:
    """The block of a day that has summaries alone, with those by hour."""

    seq: int
    size: int
    hour_summary: bytes


@dataclass(slots=True)
class HeldDay:
    """What there is of a subject or part on a day; `blocks` in rising order of seq."""

    subject_id: int
    day: int
    blocks: list[HeldBlock] = field(default_factory=list)
    reduced: ReducedBlock | None = None

    @property
    def seqs(self) -> frozenset[int]:
        """The seqs of all blocks."""
        reduced = () if self.reduced is None else (self.reduced.seq,)
        return frozenset([*reduced, *(block.seq for block in self.blocks)])


@dataclass(frozen=True, slots=True, eq=False)
class DayChange:
    """What becomes of a day. `data` are the samples of the blocks concerned by seq, as they were read."""

    held: HeldDay
    data: Mapping[int, bytes]
    reduction: Reduction

    @property
    def freed(self) -> int:
        """How many bytes it takes less; negative where summaries take more than the samples did."""
        reduced = self.held.reduced
        before = sum(block.size for block in self.held.blocks if block.seq in self.data)
        after = [*self.reduction.rewritten.values()]
        if self.reduction.summaries is not None:
            after.append(self.reduction.summaries)
        return (
            before
            + (0 if reduced is None else reduced.size)
            - sum(len(block.data) + len(block.day_summary or b"") + len(block.hour_summary or b"") for block in after)
        )


class RetentionStore:
    """Finds and applies what retention does. Any number of processes may do so at a time."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def tenants(self) -> list[str]:
        """Returns all tenants by name.

        Raises:
            DomainError: STORE_UNAVAILABLE.
        """
        query = select(tables.tenants.c.tenant).order_by(tables.tenants.c.tenant)
        return await self._database.read(lambda connection: list(connection.scalars(query)))

    async def limits(self, tenant: str) -> list[MetricLimits]:
        """Returns the limits of all metrics of a tenant.

        Raises:
            DomainError: STORE_UNAVAILABLE.
        """
        query = select(_m.id, _m.kind, _m.metric_kind, _m.sample_days, _m.summary_days).where(_m.tenant == tenant)

        def work(connection: Connection) -> list[MetricLimits]:
            return [
                MetricLimits(id_, SubjectKind(kind), MetricKind(metric_kind), sample_days, summary_days)
                for id_, kind, metric_kind, sample_days, summary_days in connection.execute(query)
            ]

        return await self._database.read(work)

    async def days(self, subject_ids: Collection[int], spans: Sequence[tuple[int, int]]) -> list[tuple[int, int, int]]:
        """Returns the days of subjects that have blocks, out of some spans with both ends: (subject, day, bytes).

        Raises:
            DomainError: STORE_UNAVAILABLE.
        """
        query = (
            select(_b.subject_id, _b.day, func.sum(func.length(_b.data)))
            .where(_b.subject_id.in_(subject_ids), or_(*(_b.day.between(first, last) for first, last in spans)))
            .group_by(_b.subject_id, _b.day)
            .order_by(_b.subject_id, _b.day)
        )
        rows = await self._database.read(lambda connection: connection.execute(query).all())
        return [(subject_id, day, int(size)) for subject_id, day, size in rows]

    async def load(self, days: Collection[tuple[int, int]]) -> list[HeldDay]:
        """Returns what there is of subjects on days.

        Raises:
            DomainError: STORE_UNAVAILABLE.
        """

        def work(connection: Connection) -> list[HeldDay]:
            unordered = select_by_keys(connection, _HELD, _KEY, days)
            rows = sorted(unordered, key=lambda row: (row.subject_id, row.day, row.seq))
            found: list[HeldDay] = []
            for (subject_id, day), of_day in groupby(rows, key=lambda row: (row.subject_id, row.day)):
                held = HeldDay(subject_id, day)
                for row in of_day:
                    if row.reduced:
                        held.reduced = ReducedBlock(row.seq, row.size, row.hour_summary)
                    else:
                        held.blocks.append(HeldBlock(row.seq, row.position, row.size, row.day_summary, row.data))
                found.append(held)
            return found

        return await self._database.read(work)

    async def apply(self, changes: Sequence[DayChange]) -> list[DayChange]:
        """Makes changes and returns those that were made: none of days that have changed since they were read.

        Holds up appends to the subjects for the time of the transaction, which is short: nothing is computed in it.

        Raises:
            DomainError: STORE_UNAVAILABLE.
        """
        subjects = sorted({change.held.subject_id for change in changes})

        def work(connection: Connection) -> list[DayChange]:
            statement = compaction_statements.LOCKED_SUBJECTS
            there = set(connection.scalars(statement, {"subjects": subjects}))
            made = [change for change in _unchanged(connection, changes) if change.held.subject_id in there]
            if made:
                self._change(connection, made)
            return made

        return await self._database.write(work)

    def _change(self, connection: Connection, changes: Sequence[DayChange]) -> None:
        removed: list[tuple[int, int, int]] = []
        rewritten: list[dict[str, object]] = []
        added: list[dict[str, object]] = []
        for change in changes:
            held, reduction = change.held, change.reduction
            place = (held.subject_id, held.day)
            removed += [(*place, seq) for seq in reduction.removed]
            blocks = dict(reduction.rewritten)
            summaries = reduction.summaries
            if held.reduced is not None and summaries is None:
                removed.append((*place, held.reduced.seq))
            elif held.reduced is not None and summaries is not None:
                blocks[held.reduced.seq] = summaries
            elif summaries is not None:
                columns = {name: getattr(summaries, name) for name in correction_statements.REWRITTEN}
                added.append({"subject_id": held.subject_id, "day": held.day, "reduced": True, **columns})
            rewritten += [
                {"of_subject": held.subject_id, "of_day": held.day, "of_seq": seq}
                | {f"new_{name}": getattr(block, name) for name in correction_statements.REWRITTEN}
                for seq, block in blocks.items()
            ]
        if removed:
            self._database.remove_blocks(connection, removed)
        if rewritten:
            connection.execute(correction_statements.REWRITE, rewritten)
        if added:
            connection.execute(insert(tables.blocks), added)
        # A watcher who has not come so far would miss what was in the blocks.
        positions = [block.position for change in changes for block in change.held.blocks if block.seq in change.data]
        if positions:
            raise_folded(connection, max(positions))


def _unchanged(connection: Connection, changes: Sequence[DayChange]) -> list[DayChange]:
    """Returns the changes of days that have the very blocks that were read."""
    seals: dict[tuple[int, int], dict[int, bytes]] = {}
    keys = [(change.held.subject_id, change.held.day) for change in changes]
    for row in select_by_keys(connection, _SEALS, _KEY, keys):
        seals.setdefault((row.subject_id, row.day), {})[row.seq] = row.seal
    unchanged: list[DayChange] = []
    for change in changes:
        held = change.held
        of_day = seals.get((held.subject_id, held.day), {})
        read = {seq: data[:SEAL_BYTES] for seq, data in change.data.items()}
        if held.reduced is not None:
            read[held.reduced.seq] = held.reduced.hour_summary[:SEAL_BYTES]
        if of_day.keys() == held.seqs and all(of_day[seq] == seal for seq, seal in read.items()):
            unchanged.append(change)
    return unchanged
