"""Profiles tables of a database and emits what it finds as metrics of data assets.

For each table: `rowCount`, `columnCount`, and with --freshness-column `freshnessSeconds` and `lastRowTime`, on the
table's DataHub URN. For each column: `nullFraction` and `distinctCount`, on the URN of the column:

    urn:li:dataset:(urn:li:dataPlatform:postgres,shop.public.orders,PROD)
    urn:li:schemaField:(urn:li:dataset:(urn:li:dataPlatform:postgres,shop.public.orders,PROD),amount)

All metrics of a run have its moment and its run id, so that they can be taken back together:

    streamgauge assets delete-metrics assets/- --run-id RUN_ID

Every table is read in full, once for its rows and nulls and once more for each column: on a large database begin with
--table. Nothing is written to the database.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from streamgauge import Client, Emit, RejectedItemsError, Scalar, StreamgaugeError

try:
    import sqlalchemy as sa
    from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError
    from sqlalchemy.ext.asyncio import create_async_engine
except ImportError as error:
    raise SystemExit(f"This example needs {error.name}: pip install 'sqlalchemy[asyncio]' asyncpg") from None

PLATFORMS = {"postgresql": "postgres", "sqlite": "sqlite"}
"""DataHub's names of the databases that this program reads."""

READ_ONLY = {
    "postgresql": {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True},
    "sqlite": {},
}
"""Options of the transaction, in which all figures of a run are of one state of the database."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Naming:
    """How tables and columns become URNs."""

    platform: str
    database: str
    environment: str

    def table(self, table: sa.Table) -> str:
        """Returns the URN of a table. DataHub reserves commas and parentheses inside a name."""
        parts = (self.database, table.schema, table.name)
        name = ".".join(quote(part, safe="/ :-_") for part in parts if part)
        return f"urn:li:dataset:(urn:li:dataPlatform:{self.platform},{name},{self.environment})"

    def column(self, column: sa.Column[Any]) -> str:
        """Returns the URN of a column."""
        return f"urn:li:schemaField:({self.table(column.table)},{quote(column.name, safe='/ :-_')})"


@dataclass(frozen=True, slots=True)
class Profile:
    """What was found of a table, and what could not be: a distinct count needs values that can be compared."""

    table: str
    rows: int
    emits: Sequence[Emit]
    skipped: Sequence[str]


class Profiler:
    """Reads the figures of tables through one connection, in one read-only transaction."""

    def __init__(
        self, connection: sa.Connection, naming: Naming, run_id: str, now: datetime, freshness_column: str | None
    ) -> None:
        self._connection = connection
        self._naming = naming
        self._run_id = run_id
        self._now = now
        self._freshness_column = freshness_column

    def profile(self, table: sa.Table) -> Profile:
        """Returns the figures of one table, an emit for it and one for each of its columns."""
        columns = list(table.columns)
        counts = [sa.func.count(), *(sa.func.count(column) for column in columns)]
        rows, *present = self._connection.execute(sa.select(*counts).select_from(table)).one()
        emits = [
            self._emit(
                self._naming.table(table), {"rowCount": rows, "columnCount": len(columns)} | self._freshness(table)
            )
        ]
        skipped = []
        for column, filled in zip(columns, present, strict=True):
            metrics: dict[str, Scalar] = {}
            if rows:  # a share of nothing is no number
                metrics["nullFraction"] = (rows - filled) / rows
            distinct = self._distinct(column)
            if distinct is None:
                skipped.append(column.name)
            else:
                metrics["distinctCount"] = distinct
            if metrics:
                emits.append(self._emit(self._naming.column(column), metrics))
        return Profile(table.fullname, rows, emits, skipped)

    def _emit(self, urn: str, metrics: dict[str, Scalar]) -> Emit:
        return Emit(urn, metrics, self._now, self._run_id)

    def _distinct(self, column: sa.Column[Any]) -> int | None:
        """Returns how many values a column has, null not counted; None for a type without equality, such as JSON."""
        try:
            with self._connection.begin_nested():
                return int(self._connection.execute(sa.select(sa.func.count(column.distinct()))).scalar_one())
        except DBAPIError as error:
            if error.connection_invalidated:
                raise
            return None

    def _freshness(self, table: sa.Table) -> dict[str, Scalar]:
        """Returns the age of the newest row by its timestamp, nothing for a table without that column or any value."""
        if self._freshness_column is None or self._freshness_column not in table.columns:
            return {}
        newest = self._connection.execute(sa.select(sa.func.max(table.columns[self._freshness_column]))).scalar_one()
        if newest is None:
            return {}
        moment = _moment(newest)
        return {"freshnessSeconds": (self._now - moment).total_seconds(), "lastRowTime": moment.isoformat()}


def _moment(value: object) -> datetime:
    """Returns a timestamp or a date as a moment; without an offset it is UTC. ValueError for anything else."""
    if isinstance(value, datetime):
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day, tzinfo=UTC)
    raise ValueError(f"the freshness column holds {type(value).__name__}, not timestamps")


def tables_of(connection: sa.Connection, schema: str | None, wanted: Sequence[str]) -> list[sa.Table]:
    """Returns the tables of a schema, or those wanted. ValueError when one does not exist."""
    metadata = sa.MetaData()
    names = sa.inspect(connection).get_table_names(schema=schema)
    if missing := sorted(set(wanted) - set(names)):
        raise ValueError(f"no such table: {', '.join(missing)}; there are {', '.join(sorted(names)) or 'none'}")
    return [
        sa.Table(name, metadata, schema=schema, autoload_with=connection, resolve_fks=False)
        for name in sorted(wanted or names)
    ]


def with_connection(url: sa.URL, work: Callable[[sa.Connection], T]) -> T:
    """Runs work in a read-only transaction, with a driver of either kind."""
    options = READ_ONLY[url.get_backend_name()]
    if not url.get_dialect().is_async:
        engine = sa.create_engine(url)
        try:
            with engine.connect().execution_options(**options) as connection, connection.begin():
                return work(connection)
        finally:
            engine.dispose()

    async def run() -> T:
        engine = create_async_engine(url)
        try:
            async with engine.connect() as connection:
                await connection.execution_options(**options)
                async with connection.begin():
                    return await connection.run_sync(work)
        finally:
            await engine.dispose()

    return asyncio.run(run())


def profiles(
    connection: sa.Connection, naming: Naming, run_id: str, arguments: argparse.Namespace
) -> Iterator[Profile]:
    """Yields the profile of each table that was asked for, as it is found."""
    if connection.dialect.name == "sqlite":  # whose driver would begin with the first write, and so never
        connection.exec_driver_sql("BEGIN")
    profiler = Profiler(connection, naming, run_id, datetime.now(UTC), arguments.freshness_column)
    for table in tables_of(connection, arguments.schema, arguments.table):
        yield profiler.profile(table)


def emit_all(client: Client, found: Iterator[Profile]) -> int:
    """Emits profiles as they come, tells how far it is, and returns how many assets have new metrics."""
    emitted, began = 0, time.monotonic()
    for profile in found:
        client.assets.emit_many(profile.emits, errors_only=True).raise_for_rejected()
        emitted += len(profile.emits)
        note = f", no distinct count of {', '.join(profile.skipped)}" if profile.skipped else ""
        print(f"{profile.table}: {profile.rows:,} rows, {time.monotonic() - began:.1f} s{note}", file=sys.stderr)
        began = time.monotonic()
    return emitted


def database_url(text: str) -> sa.URL:
    """Returns the URL of a database that this program reads. ArgumentTypeError for any other."""
    try:
        url = sa.make_url(text)
        if url.drivername == "postgresql":
            url = url.set(drivername="postgresql+asyncpg")
        url.get_dialect()
    except (ArgumentError, NoSuchModuleError) as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    if url.get_backend_name() not in PLATFORMS:
        raise argparse.ArgumentTypeError(f"{url.drivername} is not one of {', '.join(PLATFORMS)}")
    return url


def parse(words: Sequence[str] | None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, epilog=EXAMPLES
    )
    parser.add_argument("database", type=database_url, help="its URL: postgresql://user@host/shop or sqlite:///shop.db")
    parser.add_argument("--table", action="append", default=[], metavar="NAME", help="only this table; may be repeated")
    parser.add_argument("--schema", metavar="NAME", help="the tables' schema (default: public, on PostgreSQL)")
    parser.add_argument("--freshness-column", metavar="NAME", help="the column that says when a row was last written")
    parser.add_argument("--database-name", metavar="NAME", help="its name in URNs (default: that of the URL)")
    parser.add_argument("--environment", default="PROD", metavar="NAME", help="DataHub's fabric (default: PROD)")
    parser.add_argument("--run-id", metavar="ID", help="the id of this run (default: a new one)")
    parser.add_argument("--target", metavar="HOST:PORT", help="the streamgauge server (default: STREAMGAUGE_TARGET)")
    return parser.parse_args(words)


EXAMPLES = """examples:
  python profile_table.py postgresql://reader@db.example/shop --table orders --freshness-column updated_at
  python profile_table.py sqlite:///shop.db --target metrics.example:50051
  streamgauge assets list --platform postgres
"""


def main(words: Sequence[str] | None = None) -> int:
    """Profiles and emits. Returns the exit code: 0 done, 1 something failed, 2 wrong usage."""
    arguments = parse(words)
    url: sa.URL = arguments.database
    backend = url.get_backend_name()
    if backend == "postgresql" and arguments.schema is None:
        arguments.schema = "public"
    if backend == "sqlite" and not Path(url.database or "").is_file():  # which SQLite would create
        print(f"Error: there is no file {url.database}", file=sys.stderr)
        return 1
    name = arguments.database_name or (Path(url.database or "").stem if backend == "sqlite" else url.database or "")
    naming = Naming(PLATFORMS[backend], name, arguments.environment)
    run_id = arguments.run_id or f"profile-{uuid.uuid4().hex}"
    overrides = {"target": arguments.target} if arguments.target else {}
    try:
        with Client.from_env(**overrides) as client:
            emitted = with_connection(
                url, lambda connection: emit_all(client, profiles(connection, naming, run_id, arguments))
            )
    except (SQLAlchemyError, OSError) as error:
        print(f"Error: cannot read {url.render_as_string()}: {error}", file=sys.stderr)
        return 1
    except (StreamgaugeError, RejectedItemsError) as error:
        print(f"Error: cannot emit: {error}", file=sys.stderr)
        return 1
    except ValueError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    print(f"{emitted} assets have new metrics; run id {run_id}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
