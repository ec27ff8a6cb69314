"""PostgreSQL: SQLAlchemy's asyncpg engine for most work, the driver itself on the hot paths."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Any, TypeVar, cast

from sqlalchemy import ColumnElement, Connection, Table, text, type_coerce
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.engine import AdaptedConnection
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
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
from streamgauge_server.storage.dialects import postgresql_statements as statements
from streamgauge_server.storage.dialects.postgresql_errors import ConnectionLost, is_conflict, is_lost, translate
from streamgauge_server.storage.dialects.postgresql_notices import Notices
from streamgauge_server.storage.dialects.postgresql_statements import Driver
from streamgauge_server.storage.errors import closed
from streamgauge_server.storage.records import Append, Outcome
from streamgauge_server.storage.urls import Engine, StoreUrl
from streamgauge_server.timeseries.query import StoredBlock

T = TypeVar("T")

ATTEMPTS = 5
"""How often a transaction is tried that loses against others."""
SHARED_CONNECTIONS = 5
"""Connections beside the pool: for the append transaction, the two shared look-ups, notices to others and the ping."""
CONNECT_SECONDS = 5.0
RECONNECT_SECONDS = 1.0
"""How long nobody listens to other servers when the connection for it is lost."""
POOL_SECONDS = 10.0
"""How long a read waits for a connection of the pool."""

_SETTINGS = {
    "application_name": "streamgauge",
    "timezone": "UTC",
    "jit": "off",  # statements are small; compiling them costs more than it saves
    "lock_timeout": "10s",
    "idle_in_transaction_session_timeout": "60s",
}
_MIGRATION_LOCK = 0x7374_7267_6167_6501
"""Key of the advisory lock that lets one process migrate at a time."""


def _adapted(connection: Connection) -> AdaptedConnection:
    """Returns the connection that lets a function which `run_sync` runs wait for the driver."""
    return cast(AdaptedConnection, connection.connection.dbapi_connection)


def _options() -> dict[str, Any]:
    return {"timeout": CONNECT_SECONDS, "server_settings": _SETTINGS}


def copying_options() -> dict[str, Any]:
    """Returns the options of connections that copy: they may wait for the other end in the middle of a transaction."""
    return {"timeout": CONNECT_SECONDS, "server_settings": _SETTINGS | {"idle_in_transaction_session_timeout": "0"}}


async def run_once(url: StoreUrl, work: Callable[[Connection], T], *, migrating: bool) -> T:
    """See `database.run_once`."""
    engine = create_async_engine(url.sqlalchemy, poolclass=NullPool, connect_args=_options())
    try:
        async with engine.begin() as connection:
            if migrating:
                await connection.execute(text("SET LOCAL lock_timeout = 0"))
                await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
            return await connection.run_sync(work)
    except Exception as error:
        translated = translate(error)
        if translated is None:
            raise
        raise translated from error
    finally:
        await engine.dispose()


class PostgresqlDatabase:
    """See `database.Database`."""

    engine: Engine = "postgresql"

    def __init__(self, url: StoreUrl, pool_size: int) -> None:
        # After an outage of the server every pooled connection may turn out to be broken, one by one.
        self._most_broken = pool_size + SHARED_CONNECTIONS
        self._pool = self._create_pool(url, pool_size)
        # Single statements need no transaction of their own: that saves two round trips.
        self._readers = self._pool.execution_options(isolation_level="AUTOCOMMIT")
        self._shared = self._create_pool(url, SHARED_CONNECTIONS)
        self._closed = False
        self._notices = Notices(lambda work: self._run_driver(self._shared, work))
        self.committed = CommitSignal()
        self.committed.add(self._notices.send)
        self._listening = create_async_engine(url.sqlalchemy, poolclass=NullPool, connect_args=_options())

    def _create_pool(self, url: StoreUrl, size: int) -> AsyncEngine:
        return create_async_engine(
            url.sqlalchemy, pool_size=size, max_overflow=0, pool_timeout=POOL_SECONDS, connect_args=_options()
        )

    @classmethod
    async def open(cls, url: StoreUrl, *, pool_size: int) -> PostgresqlDatabase:
        """Opens the database.

        Raises:
            DomainError: STORE_UNAVAILABLE.
        """
        database = cls(url, pool_size)
        try:
            await database.version()
        except BaseException:
            await database.close()
            raise
        return database

    async def read(self, work: Callable[[Connection], T]) -> T:
        """See `Database.read`."""

        async def attempt() -> T:
            async with self._readers.connect() as connection:
                return await connection.run_sync(work)

        return await self._run(attempt)

    async def write(self, work: Callable[[Connection], T]) -> T:
        """See `Database.write`."""

        async def attempt() -> T:
            async with self._pool.connect() as connection:
                transaction = await connection.begin()
                result = await connection.run_sync(work)
                try:
                    await transaction.commit()
                except Exception as error:
                    if is_lost(error):
                        raise ConnectionLost(in_doubt=True) from error
                    raise
                return result

        result = await self._run(attempt)
        self.committed.fire()
        return result

    async def append(self, appends: Sequence[Append], now: int) -> list[Outcome]:
        """See `Database.append`.

        Runs again even after a commit in doubt: writing the same blocks twice changes nothing, and an idempotency key
        that did get stored is found.
        """

        async def transaction(connection: Driver) -> list[Outcome]:
            plan = AppendPlan(appends)
            async with connection.transaction():
                await statements.append(connection, plan, now)
            return plan.outcomes

        outcomes = await self._run_driver(self._shared, transaction)
        self.committed.fire()
        return outcomes

    async def latest(self, subjects: Collection[SubjectTuple]) -> Sequence[LatestTuple]:
        """See `Database.latest`."""
        return await self._run_driver(self._shared, lambda connection: statements.latest(connection, subjects))

    async def subject_ids(self, keys: Collection[SubjectPartTuple]) -> dict[SubjectPartTuple, int]:
        """See `Database.subject_ids`."""
        return await self._run_driver(self._shared, lambda connection: statements.subject_ids(connection, keys))

    def subject_ids_within(
        self, connection: Connection, keys: Collection[SubjectPartTuple]
    ) -> dict[SubjectPartTuple, int]:
        """See `Database.subject_ids_within`."""
        return _adapted(connection).run_async(lambda driver: statements.subject_ids(driver, keys))

    def insert_many(self, connection: Connection, table: Table, rows: Collection[tuple[object, ...]]) -> None:
        """See `Database.insert_many`."""
        _adapted(connection).run_async(lambda driver: statements.insert_many(driver, table, rows))

    async def subject_parts(self, subjects: Collection[SubjectTuple]) -> Sequence[tuple[int, str, str, int]]:
        """See `Database.subject_parts`."""
        return await self._run_driver(self._pool, lambda connection: statements.subject_parts(connection, subjects))

    def compute(self, connection: Connection, work: Callable[[], T]) -> T:
        """See `Database.compute`. The function runs on the event loop's thread."""
        return _adapted(connection).run_async(lambda _: asyncio.to_thread(work))

    async def blocks(self, selection: BlockSelection) -> Sequence[tuple[int, StoredBlock]]:
        """See `Database.blocks`."""
        return await self._run_driver(self._pool, lambda connection: statements.blocks(connection, selection))

    async def block_data(self, keys: Collection[BlockKey]) -> Sequence[BlockDataTuple]:
        """See `Database.block_data`."""
        return await self._run_driver(self._pool, lambda connection: statements.block_data(connection, keys))

    def blocks_of_days(
        self, connection: Connection, days: Collection[SubjectDay], start: int, end: int
    ) -> Sequence[DayBlockTuple]:
        """See `Database.blocks_of_days`."""
        return _adapted(connection).run_async(lambda driver: statements.blocks_of_days(driver, days, start, end))

    def days_back(
        self, connection: Connection, last_days: Collection[SubjectDay], days: int
    ) -> Sequence[tuple[int, int, int]]:
        """See `Database.days_back`."""
        return _adapted(connection).run_async(lambda driver: statements.days_back(driver, last_days, days))

    def block_seals(self, connection: Connection, keys: Collection[BlockKey]) -> Sequence[tuple[int, bytes]]:
        """See `Database.block_seals`."""
        return _adapted(connection).run_async(lambda driver: statements.block_seals(driver, keys))

    def remove_blocks(self, connection: Connection, keys: Collection[BlockKey]) -> None:
        """See `Database.remove_blocks`."""
        _adapted(connection).run_async(lambda driver: statements.remove_blocks(driver, keys))

    async def hear(self, listener: Callable[[], None]) -> None:
        """See `Database.hear`."""
        while True:
            try:
                async with self._listening.connect() as connection:
                    driver = cast(Driver, (await connection.get_raw_connection()).driver_connection)
                    await self._notices.hear(driver, listener)
            except Exception as error:
                if translate(error) is None:
                    raise
            await asyncio.sleep(RECONNECT_SECONDS)

    async def version(self) -> str:
        """See `Database.version`."""

        async def show(connection: Driver) -> str:
            return cast(str, await connection.fetchval("SELECT current_setting('server_version')"))

        return await self._run_driver(self._shared, show)

    def has_item(self, document: ColumnElement[Any], key: str, value: str) -> ColumnElement[bool]:
        """See `Database.has_item`."""
        return type_coerce(document, JSONB).contains({key: value})

    async def close(self) -> None:
        """See `Database.close`."""
        self._closed = True
        await self._notices.close()
        await self._listening.dispose()
        await self._shared.dispose()
        await self._pool.dispose()

    async def _run_driver(self, engine: AsyncEngine, work: Callable[[Driver], Awaitable[T]]) -> T:
        async def attempt() -> T:
            async with engine.connect() as connection:
                driver = cast(Driver, (await connection.get_raw_connection()).driver_connection)
                try:
                    return await work(driver)
                except BaseException as error:
                    if not driver.is_closed():
                        raise
                    await connection.invalidate()
                    if isinstance(error, Exception):
                        raise ConnectionLost from error
                    raise

        return await self._run(attempt)

    async def _run(self, attempt: Callable[[], Awaitable[T]]) -> T:
        conflicts = broken = 0
        while True:
            if self._closed:
                raise closed()
            try:
                return await attempt()
            except Exception as error:
                if is_lost(error) and broken < self._most_broken:
                    broken += 1
                elif is_conflict(error) and conflicts < ATTEMPTS - 1:
                    conflicts += 1
                    await asyncio.sleep(random.uniform(0, 0.01 * conflicts))
                else:
                    translated = translate(error)
                    if translated is None:
                        raise
                    raise translated from error
