"""The end of a copy that is a PostgreSQL database: rows come by a cursor and go by COPY, both in binary."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from streamgauge_server.storage.copy_ends import ROWS_AT_ONCE, LostTurn, Parameters, insert_constants
from streamgauge_server.storage.copy_tables import CopiedRow, CopiedTable
from streamgauge_server.storage.dialects.postgresql import copying_options
from streamgauge_server.storage.dialects.postgresql_errors import translate
from streamgauge_server.storage.urls import Engine, StoreUrl


class PostgresqlEnd:
    """See `copy_ends.CopyEnd`."""

    engine: Engine = "postgresql"

    def __init__(self, engine: AsyncEngine, connection: AsyncConnection, driver: Any) -> None:
        self._engine = engine
        self._connection = connection
        self._driver = driver
        self._reading: Any = None

    @classmethod
    async def open(cls, url: StoreUrl) -> PostgresqlEnd:
        """Connects to the database."""
        engine = create_async_engine(url.sqlalchemy, poolclass=NullPool, connect_args=copying_options())
        try:
            with _told():
                connection = await engine.connect()
        except BaseException:
            await engine.dispose()
            raise
        return cls(engine, connection, (await connection.get_raw_connection()).driver_connection)

    async def begin_reading(self) -> None:
        """See `CopyEnd.begin_reading`. The snapshot is taken by the first read."""
        with _told():
            self._reading = self._driver.transaction(isolation="repeatable_read", readonly=True)
            await self._reading.start()
            await self._driver.fetch("SELECT 1")

    async def end_reading(self) -> None:
        """See `CopyEnd.end_reading`."""
        with _told():
            await self._reading.commit()

    async def fetch(self, statement: str, *parameters: object) -> list[Sequence[Any]]:
        """See `CopyEnd.fetch`."""
        with _told():
            rows: list[Sequence[Any]] = await self._driver.fetch(statement, *parameters)
        return rows

    async def stream(self, statement: str, *parameters: object) -> AsyncGenerator[list[Sequence[Any]], None]:
        """See `CopyEnd.stream`."""
        with _told():
            cursor = await self._driver.cursor(statement, *parameters)
        while True:
            with _told():
                rows = await cursor.fetch(ROWS_AT_ONCE)
            if not rows:
                return
            yield rows

    async def write(
        self,
        copied: CopiedTable | None,
        rows: Sequence[CopiedRow],
        statements: Sequence[tuple[str, Parameters]],
    ) -> None:
        """See `CopyEnd.write`."""
        with _told():
            async with self._driver.transaction():
                if copied is not None and rows:
                    constants = insert_constants(copied.table)
                    values = tuple(constants.values())
                    await self._driver.copy_records_to_table(
                        copied.name,
                        columns=[*copied.columns, *constants],
                        records=[(*row, *values) for row in rows] if values else rows,
                    )
                done = "UPDATE 1"
                for statement, parameters in statements:
                    done = await self._driver.execute(statement, *parameters)
                if done.endswith(" 0"):
                    raise LostTurn

    def counter(self, copied: CopiedTable) -> str:
        """See `CopyEnd.counter`. The sequence itself: what it gave out may have been deleted."""
        return f"SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM {copied.name}_{copied.counter}_seq"

    def set_counter(self, copied: CopiedTable, last: int) -> list[tuple[str, Parameters]]:
        """See `CopyEnd.set_counter`."""
        name = f"{copied.name}_{copied.counter}_seq"
        return [(f"SELECT setval('{name}', $1::bigint, $2::boolean)", (max(last, 1), last > 0))]

    async def close(self) -> None:
        """See `CopyEnd.close`."""
        await self._connection.close()
        await self._engine.dispose()


@contextmanager
def _told() -> Iterator[None]:
    """Makes errors of the driver STORE_UNAVAILABLE where the store is to blame."""
    try:
        yield
    except Exception as error:
        translated = translate(error)
        if translated is None:
            raise
        raise translated from error
