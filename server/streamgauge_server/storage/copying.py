"""Copying a whole store into an empty database of any engine.

The source is read as of one moment, table by table, and written in batches; how far each table has come stands in the
target, in the same transaction as its rows. So a copy that was killed goes on where it was. Until it is finished the
target has no schema that a server would open. Then what is there is read back and compared with what was read, and
after an interruption the source is read again for that: should it have been written to meanwhile, the copy is refused.

Ids and sequence numbers are kept, and given out from where the source was. The target is another store: positions in
its log begin anew, so cursors of watchers of the source are not taken for its own.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Protocol

from streamgauge_server.model.errors import DomainError, Reason
from streamgauge_server.storage.copy_ends import (
    BATCH_BYTES,
    BATCH_ROWS,
    CopyEnd,
    LostTurn,
    Parameters,
    open_end,
    rows_query,
    size_of,
)
from streamgauge_server.storage.copy_tables import Batch, CopiedTable, DamagedRow, RowReader, Tally, copied_tables
from streamgauge_server.storage.migrate import COPYING, head_revision, migrate, schema_state
from streamgauge_server.storage.urls import StoreUrl, parse_url

MAX_DAMAGED = 1_000
"""How many damaged rows a report names."""

_CREATE = (
    "CREATE TABLE copy_source (store_id TEXT NOT NULL)",
    """CREATE TABLE copy_progress (
         name TEXT PRIMARY KEY, last_key TEXT, row_count BIGINT NOT NULL, checksum TEXT NOT NULL, size BIGINT NOT NULL
       )""",
)
_NOTE = """
UPDATE copy_progress SET last_key = $1, row_count = $2, checksum = $3, size = $4 WHERE name = $5 AND row_count = $6
"""


class CopyRefused(Exception):
    """The copy cannot begin, go on or be finished; the message says why and what helps."""


class CopyProgress(Protocol):
    """Is told how a copy comes along."""

    def begin(self, step: str, table: str, rows: int) -> None:
        """A step (`copy` or `verify`) begins with a table of so many rows."""
        ...

    def advance(self, rows: int) -> None:
        """So many rows are done."""
        ...


@dataclass(frozen=True, slots=True)
class CopiedRows:
    """How much of a table was copied, or was there already."""

    table: str
    rows: int
    bytes: int


@dataclass(slots=True)
class CopyReport:
    """What a copy did.

    `resumed` tells that an earlier one had begun it. `damaged` names up to 1,000 rows of `damaged_count` that were
    copied as they are. `written_since` tells that the source is no longer what it was when the copy began.
    """

    tables: list[CopiedRows] = field(default_factory=list)
    resumed: bool = False
    damaged: list[DamagedRow] = field(default_factory=list)
    damaged_count: int = 0
    written_since: bool = False


@dataclass(slots=True)
class _Progress:
    last_key: tuple[Any, ...] | None
    tally: Tally


async def copy_store(source_url: str, target_url: str, progress: CopyProgress) -> CopyReport:
    """Copies a store; goes on with a copy of the same source that was interrupted.

    Raises:
        CopyRefused: the schemas do not fit, the target is not empty, or the source was written to between two runs.
        DomainError: STORE_UNAVAILABLE.
        ValueError: a URL is malformed.
    """
    source_store, target_store = parse_url(source_url), parse_url(target_url)
    await _check_schemas(source_store, target_store, source_url, target_url)
    source = await open_end(source_store)
    try:
        target = await open_end(target_store)
        try:
            return await _Copy(source, target, progress).run()
        except LostTurn as error:
            raise CopyRefused("another copy into the same database is under way") from error
        finally:
            await target.close()
    finally:
        await source.close()


async def _check_schemas(source: StoreUrl, target: StoreUrl, source_url: str, target_url: str) -> None:
    if source.in_memory or target.in_memory:
        raise CopyRefused("a store in memory cannot be copied: it belongs to its process")
    if source.sqlalchemy == target.sqlalchemy:
        raise CopyRefused("the source and the target are the same database")
    current, head = await schema_state(source_url)
    if current == COPYING:
        raise CopyRefused(f"{source} holds a copy that is not finished")
    if current != head:
        raise CopyRefused(f"{source} has schema {current or 'none'}, this version copies {head}: migrate it first")
    current, _ = await schema_state(target_url)
    if current is None:
        await migrate(target_url)
    elif current not in (head, COPYING):
        raise CopyRefused(f"{target} has schema {current}, this version copies {head}: name an empty database")


class _Copy:
    def __init__(self, source: CopyEnd, target: CopyEnd, progress: CopyProgress) -> None:
        self._source = source
        self._target = target
        self._progress = progress
        self._tables = copied_tables(source.engine)
        self._report = CopyReport()
        self._done: dict[str, _Progress] = {}

    async def run(self) -> CopyReport:
        await self._source.begin_reading()
        await self._begin()
        for copied in self._tables:
            await self._copy(copied)
        counters = [(copied, await self._counter(copied)) for copied in self._tables if copied.counter]
        pulse = await self._pulse()
        await self._verify()
        await self._source.end_reading()
        self._report.written_since = await self._pulse() != pulse
        await self._finish(counters)
        for copied in self._tables:
            tally = self._done[copied.name].tally
            self._report.tables.append(CopiedRows(copied.name, tally.rows, tally.bytes))
        return self._report

    async def _begin(self) -> None:
        """Makes the target's state of the copy, or reads how far it has come."""
        [[source_id]] = await self._source.fetch("SELECT store_id FROM block_log")
        [[revision]] = await self._target.fetch("SELECT version_num FROM alembic_version")
        if revision == COPYING:
            self._report.resumed = True
            [[copied_id]] = await self._target.fetch("SELECT store_id FROM copy_source")
            if copied_id != source_id:
                raise CopyRefused("the target holds a copy of another store that is not finished: name an empty one")
            rows = await self._target.fetch("SELECT name, last_key, row_count, checksum, size FROM copy_progress")
            for name, key, count, checksum, size in rows:
                after = None if key is None else tuple(json.loads(key))
                self._done[name] = _Progress(after, Tally(count, int(checksum), size))
            return
        for copied in self._tables:
            if await self._target.fetch(f"SELECT 1 FROM {copied.name} LIMIT 1"):
                raise CopyRefused(f"the target is not empty: there are rows in its table {copied.name}")
        statements: list[tuple[str, Parameters]] = [(statement, ()) for statement in _CREATE]
        statements.append(("INSERT INTO copy_source (store_id) VALUES ($1)", (source_id,)))
        for copied in self._tables:
            new = "INSERT INTO copy_progress (name, row_count, checksum, size) VALUES ($1, 0, '0', 0)"
            statements.append((new, (copied.name,)))
            self._done[copied.name] = _Progress(None, Tally())
        statements.append(("DELETE FROM block_log", ()))
        statements.append(("UPDATE alembic_version SET version_num = $1", (COPYING,)))
        await self._target.write(None, (), statements)

    async def _copy(self, copied: CopiedTable) -> None:
        """Copies what is missing of a table. A batch is read while the one before it is written."""
        done = self._done[copied.name]
        [[count]] = await self._source.fetch(f"SELECT count(*) FROM {copied.name}")
        self._progress.begin("copy", copied.name, count)
        self._progress.advance(done.tally.rows)
        async with aclosing(_batches(self._source, copied, done.last_key)) as batches:
            batch = await anext(batches, None)
            while batch is not None:
                self._note_damage(batch)
                coming = asyncio.create_task(_next(batches))
                try:
                    await self._write(copied, batch, done)
                finally:
                    await asyncio.wait([coming])
                batch = coming.result()

    async def _write(self, copied: CopiedTable, batch: Batch, done: _Progress) -> None:
        before = done.tally.rows
        done.tally.add(batch.tally)
        done.last_key = batch.last_key
        tally = done.tally
        parameters = (json.dumps(batch.last_key), tally.rows, str(tally.checksum), tally.bytes, copied.name, before)
        try:
            await self._target.write(copied, batch.rows, [(_NOTE, parameters)])
        except DomainError as error:
            if error.reason == Reason.INVALID_FIELD:
                raise CopyRefused(_unfit(copied, batch)) from error
            raise
        self._progress.advance(len(batch.rows))

    def _note_damage(self, batch: Batch) -> None:
        self._report.damaged_count += len(batch.damaged)
        self._report.damaged += batch.damaged[: MAX_DAMAGED - len(self._report.damaged)]

    async def _verify(self) -> None:
        """Reads back what was written, and compares it with what was read.

        Raises:
            CopyRefused: a table differs.
        """
        await self._target.begin_reading()
        for copied in self._tables:
            read = self._done[copied.name].tally
            self._progress.begin("verify", copied.name, read.rows * (2 if self._report.resumed else 1))
            written = await self._tally(self._target, copied)
            if self._report.resumed:
                read = await self._tally(self._source, copied)
            if not read.same_rows(written):
                raise CopyRefused(
                    f"the table {copied.name} has {read.rows} rows at the source and {written.rows} in the copy, or "
                    "they differ: something has written to the source or to the copy meanwhile. Stop it and copy "
                    "once more into an empty database"
                )
        await self._target.end_reading()

    async def _tally(self, end: CopyEnd, copied: CopiedTable) -> Tally:
        tally = Tally()
        async with aclosing(_batches(end, copied, None)) as batches:
            async for batch in batches:
                tally.add(batch.tally)
                self._progress.advance(len(batch.rows))
        return tally

    async def _counter(self, copied: CopiedTable) -> int:
        """Returns the last number that a table has given out, though its row may be gone."""
        [[last]] = await self._source.fetch(self._source.counter(copied))
        return int(last)

    async def _pulse(self) -> list[int]:
        """Returns numbers of the source that change with nearly every write."""
        numbers = [await self._counter(copied) for copied in self._tables if copied.counter]
        for copied in self._tables:
            [[count]] = await self._source.fetch(f"SELECT count(*) FROM {copied.name}")
            numbers.append(int(count))
        for summed in ("version) FROM latest", "revision) FROM jobs", "last_job_change) FROM tenants"):
            [[total]] = await self._source.fetch(f"SELECT sum({summed}")
            numbers.append(int(total or 0))
        return numbers

    async def _finish(self, counters: Sequence[tuple[CopiedTable, int]]) -> None:
        """Makes the target a store: numbers go on after the source's, and nobody has watched its blocks."""
        statements: list[tuple[str, Parameters]] = []
        newest = 0
        for copied, last in counters:
            statements += self._target.set_counter(copied, last)
            if copied.name == "blocks" and self._target.engine == "sqlite":
                newest = last
        log = (
            "INSERT INTO block_log (id, store_id, folded_position, discovered_position, discovered_seq) "
            "VALUES (1, $1, $2, 0, 0)"
        )
        statements.append((log, (secrets.token_hex(16), newest)))
        statements += [("DROP TABLE copy_progress", ()), ("DROP TABLE copy_source", ())]
        statements.append(("UPDATE alembic_version SET version_num = $1", (head_revision(),)))
        await self._target.write(None, (), statements)


def _unfit(copied: CopiedTable, batch: Batch) -> str:
    """Returns what is wrong with a batch that PostgreSQL does not take."""
    places = [copied.columns.index(name) for name in copied.key]
    keys = [
        tuple(row[place] for place in places)
        for row in batch.rows
        if any(isinstance(value, str) and ("\0" in value or "\\u0000" in value) for value in row)
    ]
    return (
        f"the table {copied.name} has texts with the character U+0000, which PostgreSQL cannot hold: the first is in "
        f"the row {keys[0] if keys else batch.last_key!r}. Rename or delete what they belong to"
    )


async def _batches(end: CopyEnd, copied: CopiedTable, after: Sequence[object] | None) -> AsyncGenerator[Batch, None]:
    """Yields the rows of a table after the one with a key, in batches."""
    reader = RowReader(copied)
    statement, parameters = rows_query(end.engine, copied, after)
    held: list[Sequence[Any]] = []
    size = 0
    async with aclosing(end.stream(statement, *parameters)) as stream:
        async for rows in stream:
            held += rows
            size += sum(map(size_of, rows))
            if size >= BATCH_BYTES or len(held) >= BATCH_ROWS:
                yield await asyncio.to_thread(reader.batch, held)
                held, size = [], 0
    if held:
        yield await asyncio.to_thread(reader.batch, held)


async def _next(batches: AsyncGenerator[Batch, None]) -> Batch | None:
    return await anext(batches, None)
