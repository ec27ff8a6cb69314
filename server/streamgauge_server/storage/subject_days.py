"""What is stored of which subject on which day: for those who read everything, a day of a subject at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import func, select, tuple_

from streamgauge_server.model.names import SubjectName
from streamgauge_server.model.values import SubjectKind
from streamgauge_server.storage import tables
from streamgauge_server.storage.database import Database, DayBlockTuple, SubjectDay
from streamgauge_server.storage.subjects import SubjectKey

_s, _b = tables.subjects.c, tables.blocks.c


@dataclass(frozen=True, slots=True)
class DayExtent:
    """How much there is of one subject or part on one day: rows in all blocks together, and bytes of their samples."""

    subject_id: int
    day: int
    rows: int
    size: int


class SubjectDays:
    """Goes through the subjects of a kind, and through the days of subjects."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def count(self, tenant: str, kind: SubjectKind, before: SubjectKey | None = None) -> int:
        """Returns how many subjects and parts of a kind there are, in all or before one, by name and part.

        Raises:
            DomainError: STORE_UNAVAILABLE.
        """
        query = select(func.count()).where(_s.tenant == tenant, _s.kind == int(kind))
        if before is not None:
            query = query.where(tuple_(_s.name, _s.part) < (before.name.id, before.part))
        return await self._database.read(lambda connection: connection.execute(query).scalar_one())

    async def page(
        self, tenant: str, kind: SubjectKind, first: SubjectKey | None, limit: int
    ) -> list[tuple[SubjectKey, int]]:
        """Returns up to `limit` subjects and parts of a kind with their ids, by name and part, from `first` on.

        Raises:
            DomainError: STORE_UNAVAILABLE.
        """
        query = select(_s.name, _s.part, _s.id).where(_s.tenant == tenant, _s.kind == int(kind))
        if first is not None:
            query = query.where(tuple_(_s.name, _s.part) >= (first.name.id, first.part))
        query = query.order_by(_s.name, _s.part).limit(limit)
        rows = await self._database.read(lambda connection: connection.execute(query).all())
        return [(SubjectKey(SubjectName(kind, name), part), id_) for name, part, id_ in rows]

    async def extents(self, subject_ids: Sequence[int], first_day: int, last_day: int) -> list[DayExtent]:
        """Returns the days with samples of subjects from one day to another, both included, by (subject, day).

        Days of which summaries alone are left are not among them.

        Raises:
            DomainError: STORE_UNAVAILABLE.
        """
        size = func.sum(func.length(_b.data))
        query = (
            select(_b.subject_id, _b.day, func.sum(_b.rows), size)
            .where(_b.subject_id.in_(subject_ids), _b.day.between(first_day, last_day))
            .group_by(_b.subject_id, _b.day)
            .having(size > 0)
            .order_by(_b.subject_id, _b.day)
        )
        rows = await self._database.read(lambda connection: connection.execute(query).all())
        return [DayExtent(subject_id, day, int(rows), int(size)) for subject_id, day, rows, size in rows]

    async def blocks(self, days: Sequence[SubjectDay], start: int, end: int) -> Sequence[DayBlockTuple]:
        """Returns the blocks of days of subjects that reach into [start, end), by (subject, day, seq): one statement.

        Raises:
            DomainError: STORE_UNAVAILABLE.
        """
        return await self._database.read(lambda connection: self._database.blocks_of_days(connection, days, start, end))
