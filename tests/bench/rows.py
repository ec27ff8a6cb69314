"""What the import is compared with: the same samples as one row each in a table of the same engine."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Sequence

import asyncpg
from sqlalchemy.engine import make_url

from tests.bench.workload import Readings

Row = tuple[int, int, int, float]
"""Subject, metric, microseconds, value."""

ROWS_PER_COMMIT = 100_000

_TABLE = """
CREATE TABLE samples (
    subject_id bigint NOT NULL, metric_id integer NOT NULL, time bigint NOT NULL, value {value} NOT NULL,
    PRIMARY KEY (subject_id, metric_id, time)
) {options}
"""


def rows_of(subject_id: int, readings: Readings) -> list[Row]:
    """Returns readings as rows in the order of the table's key, which is the order that costs least."""
    times = readings.times.tolist()
    return [
        (subject_id, metric_id, time, value)
        for metric_id, values in enumerate(readings.columns.values())
        for time, value in zip(times, values.tolist(), strict=True)
    ]


class SqliteRows:
    """The table in a SQLite file: write-ahead log, every commit synced, as the server's store."""

    def __init__(self, path: str) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = FULL")
        self._connection.execute(_TABLE.format(value="NUMERIC", options="WITHOUT ROWID"))

    def insert(self, rows: Sequence[Row]) -> None:
        """Inserts rows with `executemany`; returns when they are durable."""
        for at in range(0, len(rows), ROWS_PER_COMMIT):
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.executemany("INSERT INTO samples VALUES (?, ?, ?, ?)", rows[at : at + ROWS_PER_COMMIT])
            self._connection.execute("COMMIT")

    def close(self) -> None:
        """Closes the file."""
        self._connection.close()


class PostgresRows:
    """The table in a PostgreSQL database."""

    def __init__(self, url: str) -> None:
        self._loop = asyncio.new_event_loop()
        dsn = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
        self._connection = self._loop.run_until_complete(asyncpg.connect(dsn))
        self._loop.run_until_complete(self._connection.execute(_TABLE.format(value="double precision", options="")))

    def insert(self, rows: Sequence[Row]) -> None:
        """Inserts rows with `COPY` in its binary form; returns when they are durable."""
        for at in range(0, len(rows), ROWS_PER_COMMIT):
            self._loop.run_until_complete(
                self._connection.copy_records_to_table("samples", records=rows[at : at + ROWS_PER_COMMIT])
            )

    def close(self) -> None:
        """Closes the connection."""
        self._loop.run_until_complete(self._connection.close())
        self._loop.close()
