"""The two ends of a copy: a database that is read as of one moment, and one that is written in batches."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Any, Protocol

from sqlalchemy import JSON, Table

from streamgauge_server.storage.copy_tables import CopiedRow, CopiedTable
from streamgauge_server.storage.urls import Engine, StoreUrl

BATCH_BYTES = 8 << 20
"""What one batch holds, unless a single row has more; it is written in one transaction."""
BATCH_ROWS = 20_000
ROWS_AT_ONCE = 500
"""Rows that are taken from the database at once: how finely batches are cut."""

Parameters = Sequence[object]


class CopyEnd(Protocol):
    """A connection to one database. Statements have their parameters written $1, $2, ...

    Errors of the driver come out as `DomainError` STORE_UNAVAILABLE where the store is to blame.
    """

    engine: Engine

    async def begin_reading(self) -> None:
        """Begins a transaction that only reads: everything until `end_reading` is as of now."""
        ...

    async def end_reading(self) -> None:
        """Ends what `begin_reading` began."""
        ...

    async def fetch(self, statement: str, *parameters: object) -> list[Sequence[Any]]:
        """Runs a query and returns its rows."""
        ...

    def stream(self, statement: str, *parameters: object) -> AsyncGenerator[list[Sequence[Any]], None]:
        """Runs a query within the transaction of `begin_reading` and yields its rows, some at a time."""
        ...

    async def write(
        self,
        copied: CopiedTable | None,
        rows: Sequence[CopiedRow],
        statements: Sequence[tuple[str, Parameters]],
    ) -> None:
        """Inserts rows of a table and runs statements, in one transaction that is durable when it returns.

        Raises:
            LostTurn: the last statement changed no row.
        """
        ...

    def counter(self, copied: CopiedTable) -> str:
        """Returns the query for the last number that a table has given out, 0 for none."""
        ...

    def set_counter(self, copied: CopiedTable, last: int) -> list[tuple[str, Parameters]]:
        """Returns the statements that let the numbers of a table go on after the last one given out."""
        ...

    async def close(self) -> None:
        """Closes the connection."""
        ...


class LostTurn(Exception):
    """What a batch follows on is not what is stored: somebody else writes to the same copy."""


async def open_end(url: StoreUrl) -> CopyEnd:
    """Opens a database that exists.

    Raises:
        DomainError: STORE_UNAVAILABLE.
    """
    if url.engine == "sqlite":
        from streamgauge_server.storage.dialects.sqlite_copying import SqliteEnd

        return await SqliteEnd.open(url)
    from streamgauge_server.storage.dialects.postgresql_copying import PostgresqlEnd

    return await PostgresqlEnd.open(url)


def rows_query(engine: Engine, copied: CopiedTable, after: Sequence[object] | None) -> tuple[str, Parameters]:
    """Returns the query for the rows of a table, in the order of its key, after the row with a key; JSON as text."""
    key = ", ".join(quoted(copied.key))
    where, parameters = "", list(after or ())
    if after is not None:
        where = f" WHERE ({key}) > ({', '.join(f'${number}' for number in range(1, len(after) + 1))})"
    columns = quoted(copied.columns)
    if engine == "postgresql":
        for place in copied.of_type(JSON):
            columns[place] += "::text"
    return f"SELECT {', '.join(columns)} FROM {copied.name}{where} ORDER BY {key}", parameters


def quoted(columns: Sequence[str]) -> list[str]:
    """Returns names of columns as they stand in statements: some are words of SQL."""
    return [f'"{name}"' for name in columns]


def size_of(row: Sequence[Any]) -> int:
    """Returns about how many bytes a row has."""
    return 32 + sum(len(value) if isinstance(value, (bytes, str)) else 8 for value in row)


def insert_constants(table: Table) -> dict[str, object]:
    """Returns the values of columns that are not copied: blocks count as old, as in a store that was migrated."""
    return {"transaction_id": 0} if table.name == "blocks" else {}
