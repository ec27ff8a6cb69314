"""What emits are compared with: a table with one row per asset, moment and metric, upserted in the same engine."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Sequence

import asyncpg
from sqlalchemy.engine import make_url

MetricRow = tuple[str, int, str, float | int | str]
"""URN, milliseconds, name, value."""

ROWS_PER_COMMIT = 1_500
"""As many metrics as a batch of the writer has."""

_TABLE = """
CREATE TABLE metrics (
    asset text NOT NULL, moment bigint NOT NULL, name text NOT NULL, value {value} NOT NULL,
    PRIMARY KEY (asset, moment, name)
) {options}
"""


class SqliteMetricRows:
    """The table in a SQLite file: write-ahead log, every commit synced, as the server's store."""

    def __init__(self, path: str) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = FULL")
        self._connection.execute(_TABLE.format(value="ANY", options="WITHOUT ROWID"))

    def upsert(self, rows: Sequence[MetricRow]) -> None:
        """Upserts rows with `executemany`, a batch a transaction; returns when they are durable."""
        for at in range(0, len(rows), ROWS_PER_COMMIT):
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.executemany(
                "INSERT INTO metrics VALUES (?, ?, ?, ?) "
                "ON CONFLICT (asset, moment, name) DO UPDATE SET value = excluded.value",
                rows[at : at + ROWS_PER_COMMIT],
            )
            self._connection.execute("COMMIT")

    def close(self) -> None:
        """Closes the file."""
        self._connection.close()


class PostgresMetricRows:
    """The table in a PostgreSQL database, with values as text: it has no column for any type."""

    def __init__(self, url: str) -> None:
        self._loop = asyncio.new_event_loop()
        dsn = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
        self._connection = self._loop.run_until_complete(asyncpg.connect(dsn))
        self._loop.run_until_complete(self._connection.execute(_TABLE.format(value="text", options="")))

    def upsert(self, rows: Sequence[MetricRow]) -> None:
        """Upserts rows with one statement over arrays a batch; returns when they are durable."""
        for at in range(0, len(rows), ROWS_PER_COMMIT):
            assets, moments, names, values = zip(*rows[at : at + ROWS_PER_COMMIT], strict=True)
            self._loop.run_until_complete(
                self._connection.execute(
                    "INSERT INTO metrics SELECT * FROM unnest($1::text[], $2::bigint[], $3::text[], $4::text[]) "
                    "ON CONFLICT (asset, moment, name) DO UPDATE SET value = excluded.value",
                    assets,
                    moments,
                    names,
                    [str(value) for value in values],
                )
            )

    def close(self) -> None:
        """Closes the connection."""
        self._loop.run_until_complete(self._connection.close())
        self._loop.close()
