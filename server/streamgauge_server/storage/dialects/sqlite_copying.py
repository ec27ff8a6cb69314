"""The end of a copy that is an SQLite file. Statements run in threads, one at a time."""

from __future__ import annotations

import asyncio
import re
import sqlite3
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any, TypeVar

from streamgauge_server.storage.copy_ends import ROWS_AT_ONCE, LostTurn, Parameters, quoted
from streamgauge_server.storage.copy_tables import CopiedRow, CopiedTable
from streamgauge_server.storage.dialects.sqlite import connect
from streamgauge_server.storage.dialects.sqlite_errors import translate
from streamgauge_server.storage.urls import Engine, StoreUrl

T = TypeVar("T")

_PARAMETER = re.compile(r"\$(\d+)")


class SqliteEnd:
    """See `copy_ends.CopyEnd`."""

    engine: Engine = "sqlite"

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    @classmethod
    async def open(cls, url: StoreUrl) -> SqliteEnd:
        """Opens the file, which must exist."""

        def opened() -> sqlite3.Connection:
            connection = connect(url)
            # Batches need not survive a crash of the machine: what is lost of them is copied again. What is there when
            # the connection is closed is in the file.
            connection.execute("PRAGMA synchronous = NORMAL")
            return connection

        return cls(await _in_thread(opened))

    async def begin_reading(self) -> None:
        """See `CopyEnd.begin_reading`. The snapshot is taken by the first read."""

        def begin() -> None:
            self._connection.execute("BEGIN")
            self._connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()

        await _in_thread(begin)

    async def end_reading(self) -> None:
        """See `CopyEnd.end_reading`."""
        await _in_thread(lambda: self._connection.execute("COMMIT"))

    async def fetch(self, statement: str, *parameters: object) -> list[Sequence[Any]]:
        """See `CopyEnd.fetch`."""
        return await _in_thread(lambda: self._connection.execute(_numbered(statement), parameters).fetchall())

    async def stream(self, statement: str, *parameters: object) -> AsyncGenerator[list[Sequence[Any]], None]:
        """See `CopyEnd.stream`."""
        cursor = await _in_thread(lambda: self._connection.execute(_numbered(statement), parameters))
        try:
            while rows := await _in_thread(lambda: cursor.fetchmany(ROWS_AT_ONCE)):
                yield rows
        finally:
            cursor.close()

    async def write(
        self,
        copied: CopiedTable | None,
        rows: Sequence[CopiedRow],
        statements: Sequence[tuple[str, Parameters]],
    ) -> None:
        """See `CopyEnd.write`."""

        def transaction() -> None:
            connection = self._connection
            connection.execute("BEGIN IMMEDIATE")
            try:
                if copied is not None:
                    marks = ", ".join("?" * len(copied.columns))
                    insert = f"INSERT INTO {copied.name} ({', '.join(quoted(copied.columns))}) VALUES ({marks})"
                    connection.executemany(insert, rows)
                changed = 1
                for statement, parameters in statements:
                    changed = connection.execute(_numbered(statement), parameters).rowcount
                if not changed:
                    raise LostTurn
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

        await _in_thread(transaction)

    def counter(self, copied: CopiedTable) -> str:
        """See `CopyEnd.counter`."""
        return f"SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = '{copied.name}'), 0)"

    def set_counter(self, copied: CopiedTable, last: int) -> list[tuple[str, Parameters]]:
        """See `CopyEnd.set_counter`."""
        return [
            ("DELETE FROM sqlite_sequence WHERE name = $1", (copied.name,)),
            ("INSERT INTO sqlite_sequence (name, seq) VALUES ($1, $2)", (copied.name, last)),
        ]

    async def close(self) -> None:
        """See `CopyEnd.close`."""
        await _in_thread(self._connection.close)


def _numbered(statement: str) -> str:
    return _PARAMETER.sub(r"?\1", statement)


async def _in_thread(work: Callable[[], T]) -> T:
    try:
        return await asyncio.to_thread(work)
    except Exception as error:
        translated = translate(error)
        if translated is None:
            raise
        raise translated from error
