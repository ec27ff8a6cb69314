"""SQLite: a file with a thread to write, one to look up and some to read, or a database in memory with one for all."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

from sqlalchemy import ColumnElement, Connection, String, Table, column, create_engine, event, func, select
from sqlalchemy import Engine as SqlEngine
from sqlalchemy.pool import NullPool

from streamgauge_server.storage.append_plan import AppendPlan
from streamgauge_server.storage.block_selection import BlockSelection
from streamgauge_server.storage.commit_signal import CommitSignal
from streamgauge_server.storage.database import (
    BlockDataTuple,
    BlockKey,
    DayBlockTuple,
    LatestTuple,
    SubjectDay,
    SubjectPartTuple,
    SubjectTuple,
)
from streamgauge_server.storage.dialects import sqlite_statements as statements
from streamgauge_server.storage.dialects.sqlite_errors import FileMoved, is_broken, is_passing, translate
from streamgauge_server.storage.dialects.sqlite_thread import ConnectionThreads
from streamgauge_server.storage.records import Append, Outcome
from streamgauge_server.storage.urls import Engine, StoreUrl
from streamgauge_server.timeseries.query import StoredBlock

T = TypeVar("T")

BUSY_SECONDS = 5.0
"""How long a statement waits for another process's lock."""
ATTEMPTS = 2
"""How often a transaction is tried while another process holds the database, or when its file was replaced."""

_BEGIN = "streamgauge_begin"
_PAGE_BYTES = 2_048
"""Of stores that are created. A block of a day fills pages of its own: the larger they are, the more stays empty."""


def connect(url: StoreUrl, *, create: bool = False) -> sqlite3.Connection:
    """Opens a connection in the driver's autocommit mode: transactions begin where the code says so.

    A missing file is an error unless `create` is set: a store whose file has gone away must not come back empty.
    """
    target = ":memory:"
    if url.path:
        target = f"{Path(url.path).absolute().as_uri()}?mode={'rwc' if create else 'rw'}"
    connection = sqlite3.connect(target, uri=True, isolation_level=None, timeout=BUSY_SECONDS, check_same_thread=False)
    try:
        connection.execute("PRAGMA foreign_keys = ON")
        if not url.in_memory:
            connection.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
    except BaseException:
        connection.close()
        raise
    return connection


def create_sql_engine(url: StoreUrl, *, create: bool = False) -> SqlEngine:
    """Returns an engine without a pool: whoever connects keeps the connection.

    A transaction begins with the statement in the connection's execution option `streamgauge_begin`.
    """
    engine = create_engine("sqlite://", creator=lambda: connect(url, create=create), poolclass=NullPool)

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql(connection.get_execution_options().get(_BEGIN, "BEGIN"))

    return engine


def connect_to_write(engine: SqlEngine) -> Connection:
    """Returns a connection whose transactions take the write lock at once, since a later upgrade could fail."""
    return engine.connect().execution_options(**{_BEGIN: "BEGIN IMMEDIATE"})


async def run_once(url: StoreUrl, work: Callable[[Connection], T], *, migrating: bool) -> T | None:
    """See `database.run_once`."""

    def transaction() -> T | None:
        if not migrating and not Path(url.path or "").exists():
            return None
        engine = create_sql_engine(url, create=migrating)
        with connect_to_write(engine) if migrating else engine.connect() as connection, connection.begin():
            return work(connection)

    try:
        return await asyncio.to_thread(transaction)
    except Exception as error:
        translated = translate(error)
        if translated is None:
            raise
        raise translated from error


class _Link:
    """One connection, as SQLAlchemy knows it and as the driver does."""

    def __init__(self, sql: Connection, path: Path | None) -> None:
        self.sql = sql
        self.driver = _driver(sql)
        self._path = path
        self._file = _identity(path)

    def check_in_place(self) -> None:
        """Raises FileMoved if the file was moved or deleted: with a write-ahead log SQLite itself would not notice."""
        if _identity(self._path) != self._file:
            raise FileMoved

    def interrupt(self) -> None:
        self.driver.interrupt()

    def close(self) -> None:
        self.sql.invalidate()
        self.sql.close()


def _driver(connection: Connection) -> sqlite3.Connection:
    return cast(sqlite3.Connection, connection.connection.driver_connection)


def _identity(path: Path | None) -> tuple[int, int] | None:
    """Returns what tells a file from any other, None where there is no file."""
    if path is None:
        return None
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


class SqliteDatabase:
    """See `database.Database`."""

    engine: Engine = "sqlite"

    def __init__(self, url: StoreUrl, pool_size: int) -> None:
        self.committed = CommitSignal()
        self._path = Path(url.path) if url.path else None
        self._sql_engine = create_sql_engine(url)
        self._writer = ConnectionThreads(self._link_to_write, 1, "sqlite-write", is_broken)
        # A database in memory belongs to its connection, so reads and writes take turns on it.
        self._readers = self._lookups = self._writer
        if not url.in_memory:
            self._readers = ConnectionThreads(self._link_to_read, pool_size, "sqlite-read", is_broken)
            # The short look-ups of every call do not wait behind long reads.
            self._lookups = ConnectionThreads(self._link_to_read, 1, "sqlite-look-up", is_broken)

    @classmethod
    async def open(cls, url: StoreUrl, *, pool_size: int) -> SqliteDatabase:
        """Opens the database.

        Raises:
            DomainError: STORE_UNAVAILABLE when there is no file or it cannot be read.
        """
        database = cls(url, pool_size)
        try:
            await database.version()
        except BaseException:
            await database.close()
            raise
        return database

    def _link_to_write(self) -> _Link:
        return _Link(connect_to_write(self._sql_engine), self._path)

    def _link_to_read(self) -> _Link:
        link = _Link(self._sql_engine.connect(), self._path)
        link.driver.execute("PRAGMA query_only = ON")
        return link

    async def read(self, work: Callable[[Connection], T]) -> T:
        """See `Database.read`."""

        def transaction(link: _Link) -> T:
            with link.sql.begin():
                return work(link.sql)

        return await self._select(self._readers, transaction)

    async def write(self, work: Callable[[Connection], T]) -> T:
        """See `Database.write`."""

        def transaction(link: _Link) -> T:
            with link.sql.begin():
                return work(link.sql)

        return await self._commit(transaction)

    async def append(self, appends: Sequence[Append], now: int) -> list[Outcome]:
        """See `Database.append`."""

        def transaction(link: _Link) -> list[Outcome]:
            plan = AppendPlan(appends)
            connection = link.driver
            connection.execute("BEGIN IMMEDIATE")
            try:
                statements.append(connection, plan, now)
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
            return plan.outcomes

        return await self._commit(transaction)

    async def latest(self, subjects: Collection[SubjectTuple]) -> Sequence[LatestTuple]:
        """See `Database.latest`."""
        return await self._select(self._lookups, lambda link: statements.latest(link.driver, subjects))

    async def subject_ids(self, keys: Collection[SubjectPartTuple]) -> dict[SubjectPartTuple, int]:
        """See `Database.subject_ids`."""
        return await self._select(self._lookups, lambda link: statements.subject_ids(link.driver, keys))

    def subject_ids_within(
        self, connection: Connection, keys: Collection[SubjectPartTuple]
    ) -> dict[SubjectPartTuple, int]:
        """See `Database.subject_ids_within`."""
        return statements.subject_ids_one_by_one(_driver(connection), keys)

    def insert_many(self, connection: Connection, table: Table, rows: Collection[tuple[object, ...]]) -> None:
        """See `Database.insert_many`."""
        _driver(connection).executemany(statements.insert_into(table), rows)

    async def subject_parts(self, subjects: Collection[SubjectTuple]) -> Sequence[tuple[int, str, str, int]]:
        """See `Database.subject_parts`."""
        return await self._select(self._lookups, lambda link: statements.subject_parts(link.driver, subjects))

    def compute(self, connection: Connection, work: Callable[[], T]) -> T:
        """See `Database.compute`. The function has a thread of its own already."""
        return work()

    async def blocks(self, selection: BlockSelection) -> Sequence[tuple[int, StoredBlock]]:
        """See `Database.blocks`."""
        return await self._select(self._readers, lambda link: statements.blocks(link.driver, selection))

    async def block_data(self, keys: Collection[BlockKey]) -> Sequence[BlockDataTuple]:
        """See `Database.block_data`."""
        return await self._select(self._readers, lambda link: statements.block_data(link.driver, keys))

    def blocks_of_days(
        self, connection: Connection, days: Collection[SubjectDay], start: int, end: int
    ) -> Sequence[DayBlockTuple]:
        """See `Database.blocks_of_days`."""
        return statements.blocks_of_days(_driver(connection), days, start, end)

    def days_back(
        self, connection: Connection, last_days: Collection[SubjectDay], days: int
    ) -> Sequence[tuple[int, int, int]]:
        """See `Database.days_back`."""
        return statements.days_back(_driver(connection), last_days, days)

    def block_seals(self, connection: Connection, keys: Collection[BlockKey]) -> Sequence[tuple[int, bytes]]:
        """See `Database.block_seals`."""
        return statements.block_seals(_driver(connection), keys)

    def remove_blocks(self, connection: Connection, keys: Collection[BlockKey]) -> None:
        """See `Database.remove_blocks`."""
        statements.remove_blocks(_driver(connection), keys)

    async def hear(self, listener: Callable[[], None]) -> None:
        """See `Database.hear`. Processes that share a file have no way to tell."""

    async def version(self) -> str:
        """See `Database.version`."""

        def read_header(link: _Link) -> str:
            link.driver.execute("PRAGMA schema_version").fetchone()
            return sqlite3.sqlite_version

        return await self._select(self._lookups, read_header)

    def has_item(self, document: ColumnElement[Any], key: str, value: str) -> ColumnElement[bool]:
        """See `Database.has_item`."""
        items = func.json_each(document).table_valued(column("key", String), column("value", String))
        return select(1).select_from(items).where(items.c.key == key, items.c.value == value).exists()

    async def close(self) -> None:
        """See `Database.close`. The writer goes last: it folds the write-ahead log into the file."""
        for threads in (self._readers, self._lookups, self._writer):
            await threads.close()
        self._sql_engine.dispose()

    async def _commit(self, transaction: Callable[[_Link], T]) -> T:
        result = await self._run(self._writer, transaction)
        self.committed.fire()
        return result

    async def _select(self, threads: ConnectionThreads[_Link], work: Callable[[_Link], T]) -> T:
        return await self._run(threads, work, interruptible=True)

    async def _run(
        self, threads: ConnectionThreads[_Link], work: Callable[[_Link], T], *, interruptible: bool = False
    ) -> T:
        def in_place(link: _Link) -> T:
            link.check_in_place()
            return work(link)

        for attempt in range(1, ATTEMPTS + 1):
            try:
                return await threads.run(in_place, interruptible=interruptible)
            except Exception as error:
                if is_passing(error) and attempt < ATTEMPTS:
                    continue
                translated = translate(error)
                if translated is None:
                    raise
                raise translated from error
        raise AssertionError("unreachable")
