"""Reading everything that is stored, to see whether it can be read."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, func, select, tuple_

from streamgauge_server.model.names import SubjectName
from streamgauge_server.model.values import SubjectKind
from streamgauge_server.storage import tables
from streamgauge_server.storage.database import Database
from streamgauge_server.timeseries.block import decode
from streamgauge_server.timeseries.envelope import BlockCorrupt
from streamgauge_server.timeseries.latest import decode_latest
from streamgauge_server.timeseries.summary import decode_summary

BLOCKS_AT_ONCE = 200
LATEST_AT_ONCE = 1_000


@dataclass(frozen=True, slots=True)
class Damage:
    """Something stored that cannot be read, or that contradicts its own index. `what` is `blocks` or `latest`."""

    tenant: str
    subject: SubjectName
    part: str
    what: str
    day: int | None
    seq: int | None
    problem: str


class Integrity:
    """Decodes every block and every row of latest values, a batch at a time. Writers may go on meanwhile."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def counts(self) -> tuple[int, int]:
        """Returns how many blocks and how many rows of latest values there are."""

        def work(connection: Connection) -> tuple[int, int]:
            return tuple(  # type: ignore[return-value]
                connection.execute(select(func.count()).select_from(table)).scalar_one()
                for table in (tables.blocks, tables.latest)
            )

        return await self._database.read(work)

    async def scan(self) -> AsyncIterator[tuple[int, list[Damage]]]:
        """Yields for each batch how many blocks and rows were read, and what is wrong with some of them.

        Raises:
            DomainError: STORE_UNAVAILABLE.
        """
        b, s = tables.blocks.c, tables.subjects.c
        query = (
            select(tables.blocks, s.tenant, s.kind, s.name, s.part)
            .join(tables.subjects, s.id == b.subject_id)
            .order_by(b.subject_id, b.day, b.seq)
            .limit(BLOCKS_AT_ONCE)
        )
        last: tuple[int, int, int] | None = None
        while True:
            page = query if last is None else query.where(tuple_(b.subject_id, b.day, b.seq) > last)
            rows = await self._rows(page)
            if not rows:
                break
            yield len(rows), [damage for row in rows if (damage := _block_damage(row))]
            last = (rows[-1].subject_id, rows[-1].day, rows[-1].seq)

        entry = tables.latest.c
        latest = (
            select(tables.latest, s.tenant, s.kind, s.name, s.part)
            .join(tables.subjects, s.id == entry.subject_id)
            .order_by(entry.subject_id)
            .limit(LATEST_AT_ONCE)
        )
        after = 0
        while rows := await self._rows(latest.where(entry.subject_id > after)):
            yield len(rows), [damage for row in rows if (damage := _latest_damage(row))]
            after = rows[-1].subject_id

    async def _rows(self, query: Any) -> list[Row[Any]]:
        return await self._database.read(lambda connection: list(connection.execute(query)))


def _block_damage(row: Row[Any]) -> Damage | None:
    try:
        frame = decode(row.data)
        for summary in (row.hour_summary, row.day_summary):
            if summary is not None:
                decode_summary(summary)
    except BlockCorrupt as error:
        return _damage(row, "blocks", str(error), row.day, row.seq)
    times = frame.times
    index = (row.rows, row.first_time, row.last_time)
    actual = (len(times), int(times[0]), int(times[-1]))
    if index != actual:
        problem = f"rows, first and last time are {actual} in the block and {index} in its row"
        return _damage(row, "blocks", problem, row.day, row.seq)
    return None


def _latest_damage(row: Row[Any]) -> Damage | None:
    try:
        decode_latest(row.samples)
    except BlockCorrupt as error:
        return _damage(row, "latest", str(error), None, None)
    return None


def _damage(row: Row[Any], what: str, problem: str, day: int | None, seq: int | None) -> Damage:
    return Damage(row.tenant, SubjectName(SubjectKind(row.kind), row.name), row.part, what, day, seq, problem)
