"""Reading everything that is stored, to see whether it can be read, and making whole what can be made again.

Writers may go on meanwhile: what is found is looked at once more, under the lock of its subject, before it is mended.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, Row, exists, func, literal, select, text, tuple_, union_all, update

from streamgauge_server.model.metric_types import FigureType, Span
from streamgauge_server.model.names import SubjectName
from streamgauge_server.model.values import SubjectKind
from streamgauge_server.storage import correction_statements as statements
from streamgauge_server.storage import tables
from streamgauge_server.storage.batches import batches
from streamgauge_server.storage.database import Database
from streamgauge_server.storage.figures import FigureStore, StoredFigures
from streamgauge_server.storage.latest_rebuilding import LatestRebuilding, is_damaged
from streamgauge_server.timeseries.envelope import SEAL_BYTES, BlockCorrupt
from streamgauge_server.timeseries.figures import decode_figures
from streamgauge_server.timeseries.latest import decode_latest
from streamgauge_server.timeseries.mending import BlockFinding, examine
from streamgauge_server.timeseries.query import StoredBlock

BLOCKS_AT_ONCE = 200
LATEST_AT_ONCE = 1_000
FIGURES_AT_ONCE = 2_000

_b, _s, _l, _f = tables.blocks.c, tables.subjects.c, tables.latest.c, tables.figures.c
_BLOCK = (_b.seq, _b.day, _b.rows, _b.first_time, _b.last_time, _b.hours, _b.hour_summary, _b.day_summary, _b.data)
_OWNER = (_s.tenant, _s.kind, _s.name, _s.part)


@dataclass(frozen=True, slots=True)
class Finding:
    """Something stored that cannot be read, or that contradicts itself.

    `what` is `block`, `latest`, `figures`, or `database`. `subject` is a resource name, or tells which figures; empty
    where there is none. `lost` counts samples by metric, None where nothing is lost or it is not known. `repairable`
    tells that it can be made again out of what is there; `repaired` that this was done.
    """

    what: str
    tenant: str
    subject: str
    part: str
    day: int | None
    seq: int | None
    problem: str
    lost: Mapping[str, int] | None = None
    repairable: bool = False
    repaired: bool = False


@dataclass(frozen=True, slots=True)
class Examined:
    """What was gone through in one go: how many rows, and what was found."""

    rows: int
    findings: Sequence[Finding] = ()


class Integrity:
    """Goes through every block, every row of latest values and of figures, a batch at a time."""

    def __init__(self, database: Database, rebuilding: LatestRebuilding, figures: FigureStore) -> None:
        self._database = database
        self._rebuilding = rebuilding
        self._figures = figures

    async def counts(self) -> dict[str, int]:
        """Returns how many blocks, rows of latest values and rows of figures there are, by table.

        Raises:
            DomainError: STORE_UNAVAILABLE.
        """

        def work(connection: Connection) -> dict[str, int]:
            return {
                table.name: connection.execute(select(func.count()).select_from(table)).scalar_one()
                for table in (tables.blocks, tables.latest, tables.figures)
            }

        return await self._database.read(work)

    async def scan(self, *, deep: bool = False, repair: bool = False) -> AsyncIterator[Examined]:
        """Yields what was found, batch by batch.

        With `deep` summaries are compared with samples, latest values with blocks, figures with records, and SQLite
        checks its file. With `repair` everything is made whole that can be made again without a loss: summaries out of
        samples, latest values out of blocks, figures out of records. Everything else stays as it is.

        Raises:
            DomainError: STORE_UNAVAILABLE.
        """
        if deep and self._database.engine == "sqlite":
            yield Examined(0, await self._file())
        yield Examined(0, await self._orphans())
        async for examined in self._blocks(deep=deep, repair=repair):
            yield examined
        async for examined in self._latest(deep=deep, repair=repair):
            yield examined
        async for examined in self._all_figures(repair=repair):
            yield examined
        if deep:
            yield Examined(0, await self._recalculated(repair=repair))

    async def _file(self) -> list[Finding]:
        """Has SQLite check its pages and indexes."""

        def work(connection: Connection) -> Sequence[str]:
            return connection.execute(text("PRAGMA integrity_check")).scalars().all()

        return [_bare("database", line) for line in await self._database.read(work) if line != "ok"]

    async def _orphans(self) -> list[Finding]:
        """Finds rows of subjects that do not exist, and subjects that lack their row of latest values."""
        missing = select(literal("latest").label("what"), _s.id).where(~exists().where(_l.subject_id == _s.id))
        orphaned = (
            select(literal(table.name), table.c.subject_id)
            .where(~exists().where(_s.id == table.c.subject_id))
            .distinct()
            for table in (tables.blocks, tables.latest)
        )
        rows = await self._rows(union_all(missing, *orphaned).order_by("what", "id"))
        ids = {row.id for row in rows}
        owners = {row.id: row for batch in batches(ids) for row in await self._rows(_owners(batch))}
        found: list[Finding] = []
        for row in rows:
            owner = owners.get(row.id)
            if owner is None:
                found.append(_bare(row.what.removesuffix("s"), f"rows of a subject that does not exist, {row.id}"))
            else:
                found.append(_of(owner, "latest", "there is no row of latest values"))
        return found

    async def _blocks(self, *, deep: bool, repair: bool) -> AsyncIterator[Examined]:
        query = select(_b.subject_id, *_BLOCK, *_OWNER).join(tables.subjects, _s.id == _b.subject_id)
        query = query.order_by(_b.subject_id, _b.day, _b.seq).limit(BLOCKS_AT_ONCE)
        last: tuple[int, int, int] | None = None
        while True:
            rows = await self._rows(
                query if last is None else query.where(tuple_(_b.subject_id, _b.day, _b.seq) > last)
            )
            if not rows:
                return
            met = [(row, found) for row in rows if (found := examine(_stored(row), deep=deep)) is not None]
            names = await self._metric_names({metric for _, found in met for metric in found.lost or ()})
            findings: list[Finding] = []
            for row, found in met:
                finding = _of_block(row, found, names)
                if repair and found.repair:
                    finding = replace(finding, repaired=await self._mend(row, deep=deep))
                findings.append(finding)
            yield Examined(len(rows), findings)
            last = (rows[-1].subject_id, rows[-1].day, rows[-1].seq)

    async def _mend(self, row: Row[Any], *, deep: bool) -> bool:
        """Makes a block whole again out of its samples; returns whether it is."""
        here = (_b.subject_id == row.subject_id, _b.day == row.day, _b.seq == row.seq)

        def work(connection: Connection) -> bool:
            connection.execute(statements.LOCKED, {"subjects": [row.subject_id]}).all()
            current = connection.execute(select(*_BLOCK).where(*here)).one_or_none()
            if current is None or bytes(current.data)[:SEAL_BYTES] != bytes(row.data)[:SEAL_BYTES]:
                return True  # folded, corrected or deleted meanwhile: what was wrong is gone
            found = examine(_stored(current), deep=deep)
            if found is not None and found.repair:
                connection.execute(update(tables.blocks).where(*here).values(dict(found.repair)))
            return True

        return await self._database.write(work)

    async def _latest(self, *, deep: bool, repair: bool) -> AsyncIterator[Examined]:
        query = select(_l.subject_id, _l.samples, *_OWNER).join(tables.subjects, _s.id == _l.subject_id)
        query = query.order_by(_l.subject_id).limit(LATEST_AT_ONCE)
        after = 0
        while rows := await self._rows(query.where(_l.subject_id > after)):
            after = rows[-1].subject_id
            damaged = {row.subject_id: _problem(row.samples) for row in rows if is_damaged(row.samples)}
            if repair and damaged:
                await self._rebuilding.rebuild(damaged)
            findings = [
                replace(_of(row, "latest", damaged[row.subject_id]), repairable=True, repaired=repair)
                for row in rows
                if row.subject_id in damaged
            ]
            if deep:
                findings += await self._behind([row for row in rows if row.subject_id not in damaged])
            yield Examined(len(rows), findings)

    async def _behind(self, rows: Sequence[Row[Any]]) -> list[Finding]:
        """Finds rows of latest values that are older than samples of their subjects."""
        newest: dict[int, int] = {}
        for ids in batches(row.subject_id for row in rows):
            query = select(_b.subject_id, func.max(_b.last_time).label("last")).where(_b.subject_id.in_(ids))
            newest.update((row.subject_id, row.last) for row in await self._rows(query.group_by(_b.subject_id)))
        found: list[Finding] = []
        for row in rows:
            told = max((sample.time for sample in decode_latest(row.samples).values()), default=None)
            last = newest.get(row.subject_id)
            if last is not None and (told is None or told < last):
                # Appends that came between the two statements are no contradiction.
                current = await self._rows(select(_l.samples).where(_l.subject_id == row.subject_id))
                samples = decode_latest(current[0].samples) if current else {}
                if all(sample.time < last for sample in samples.values()):
                    found.append(_of(row, "latest", f"the newest value is of {told}, the newest sample of {last}"))
        return found

    async def _all_figures(self, *, repair: bool) -> AsyncIterator[Examined]:
        key = (_f.tenant, _f.type, _f.choice, _f.span, _f.start)
        query = select(*key, _f.data).order_by(*key).limit(FIGURES_AT_ONCE)
        last: tuple[object, ...] | None = None
        while rows := await self._rows(query if last is None else query.where(tuple_(*key) > last)):
            last = tuple(rows[-1][:5])
            findings: list[Finding] = []
            damaged: dict[tuple[str, FigureType], list[StoredFigures]] = {}
            for row in rows:
                try:
                    decode_figures(FigureType(row.type), bytes(row.data))
                except BlockCorrupt as error:
                    gone = row.span == int(Span.GONE)
                    kept = StoredFigures(row.choice, Span(row.span), row.start, bytes(row.data))
                    if not gone:
                        damaged.setdefault((row.tenant, FigureType(row.type)), []).append(kept)
                    findings.append(
                        Finding(
                            "figures",
                            row.tenant,
                            f"{FigureType(row.type).name}/{row.choice}/{Span(row.span).name}/{row.start}",
                            "",
                            None,
                            None,
                            f"{error}" + (", of records that were let go" if gone else ""),
                            repairable=not gone,
                            repaired=repair and not gone,
                        )
                    )
            if repair:
                for (tenant, type_), broken in damaged.items():
                    await self._figures.mend(tenant, type_, broken)
            yield Examined(len(rows), findings)

    async def _recalculated(self, *, repair: bool) -> list[Finding]:
        """Compares figures with the records that they are of."""
        query = select(_f.tenant, _f.type, func.min(_f.start).label("first"), func.max(_f.start).label("last"))
        found: list[Finding] = []
        for row in await self._rows(query.where(_f.span == int(Span.HOUR)).group_by(_f.tenant, _f.type)):
            type_ = FigureType(row.type)
            done = await self._figures.recalculate(row.tenant, type_, row.first, row.last, repair=repair)
            if done.changed:
                problem = f"{done.changed} figures are not those of their records"
                found.append(
                    Finding("figures", row.tenant, type_.name, "", None, None, problem, None, True, repaired=repair)
                )
        return found

    async def _metric_names(self, ids: Collection[int]) -> dict[int, str]:
        m = tables.metrics.c
        names: dict[int, str] = {}
        for batch in batches(ids):
            names.update((row.id, row.name) for row in await self._rows(select(m.id, m.name).where(m.id.in_(batch))))
        return names

    async def _rows(self, query: Any) -> list[Row[Any]]:
        return await self._database.read(lambda connection: list(connection.execute(query)))


def _owners(ids: Iterable[int]) -> Any:
    return select(_s.id, *_OWNER).where(_s.id.in_(list(ids)))


def _stored(row: tables.AnyRow) -> StoredBlock:
    """Returns a block out of a row of the columns _BLOCK."""
    return StoredBlock(
        row.seq,
        row.day,
        row.rows,
        row.first_time,
        row.last_time,
        row.hours,
        row.hour_summary,
        row.day_summary,
        row.data,
    )


def _problem(samples: bytes) -> str:
    try:
        decode_latest(samples)
    except BlockCorrupt as error:
        return str(error)
    return ""


def _bare(what: str, problem: str) -> Finding:
    return Finding(what, "", "", "", None, None, problem)


def _of(row: Row[Any], what: str, problem: str) -> Finding:
    return Finding(what, row.tenant, str(SubjectName(SubjectKind(row.kind), row.name)), row.part, None, None, problem)


def _of_block(row: Row[Any], found: BlockFinding, names: Mapping[int, str]) -> Finding:
    lost = None
    if found.is_loss and found.lost is not None:
        lost = {names.get(metric, str(metric)): count for metric, count in sorted(found.lost.items())}
    finding = _of(row, "block", "; ".join(found.problems))
    return replace(finding, day=row.day, seq=row.seq, lost=lost, repairable=bool(found.repair))
