"""Ways in which a store fails, made alike for every engine; each lasts as long as its context."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import asyncpg
import pytest
from sqlalchemy.engine import make_url
from streamgauge_server.storage.dialects import sqlite
from streamgauge_server.storage.dialects.sqlite import SqliteDatabase
from streamgauge_server.storage.store import Store
from streamgauge_server.storage.urls import parse_url

if TYPE_CHECKING:
    from tests.conftest import Postgres


class Faults(Protocol):
    """The faults of one engine, on one store."""

    outage_causes: frozenset[str]
    """What the error of an outage may name as its cause."""

    def outage(self) -> AbstractAsyncContextManager[None]:
        """The store cannot be reached at all."""
        ...

    def locked(self) -> AbstractAsyncContextManager[None]:
        """Somebody else holds what a writer needs, for longer than it waits."""
        ...

    def full_disk(self) -> AbstractAsyncContextManager[None]:
        """There is no room for anything new."""
        ...

    def read_only(self) -> AbstractAsyncContextManager[None]:
        """The store can be read but not written."""
        ...


class SqliteFaults:
    outage_causes = frozenset({"cannot_open", "file_moved"})

    def __init__(self, store: Store, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        assert isinstance(store._database, SqliteDatabase)
        self._database = store._database
        self._path = Path(parse_url(url).path or "")
        self._monkeypatch = monkeypatch

    @asynccontextmanager
    async def outage(self) -> AsyncIterator[None]:
        elsewhere = self._path.with_suffix(".elsewhere")
        self._path.rename(elsewhere)
        yield
        elsewhere.rename(self._path)

    @asynccontextmanager
    async def locked(self) -> AsyncIterator[None]:
        await self._tell_writer("PRAGMA busy_timeout = 20")
        other = sqlite3.connect(self._path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")
        other.close()
        await self._tell_writer("PRAGMA busy_timeout = 5000")

    @asynccontextmanager
    async def full_disk(self) -> AsyncIterator[None]:
        await self._tell_writer("PRAGMA max_page_count = 1")  # no less than there are, so: not one more
        yield
        await self._tell_writer("PRAGMA max_page_count = 1073741823")

    @asynccontextmanager
    async def read_only(self) -> AsyncIterator[None]:
        connect = sqlite.connect

        def connect_read_only(*arguments: object, **options: object) -> sqlite3.Connection:
            connection = connect(*arguments, **options)  # type: ignore[arg-type]
            connection.execute("PRAGMA query_only = ON")
            return connection

        with self._monkeypatch.context() as patch:
            patch.setattr(sqlite, "connect", connect_read_only)
            await self._tell_writer("PRAGMA query_only = ON")
            yield
        await self._tell_writer("PRAGMA query_only = OFF")

    async def _tell_writer(self, pragma: str) -> None:
        await self._database._writer.run(lambda link: link.driver.execute(pragma).fetchall())


class PostgresqlFaults:
    outage_causes = frozenset({"unreachable", "connection_lost", "shutting_down"})

    def __init__(self, url: str, cluster: Postgres) -> None:
        self._url = url
        self._name = make_url(url).database
        self._cluster = cluster

    @asynccontextmanager
    async def outage(self) -> AsyncIterator[None]:
        if not self._cluster.can_restart:
            pytest.skip("this PostgreSQL server is not ours to stop")
        await asyncio.to_thread(self._cluster.stop)
        try:
            yield
        finally:
            await asyncio.to_thread(self._cluster.start)

    @asynccontextmanager
    async def locked(self) -> AsyncIterator[None]:
        dsn = make_url(self._url).render_as_string(hide_password=False)
        other = await asyncpg.connect(dsn)
        async with other.transaction():
            await other.execute("LOCK TABLE latest, tenants IN ACCESS EXCLUSIVE MODE")
            yield
        await other.close()

    @asynccontextmanager
    async def full_disk(self) -> AsyncIterator[None]:
        for statement in raising("53100", "blocks", "subjects"):
            self._cluster.execute(statement, self._url)
        yield
        self._cluster.execute("DROP FUNCTION fail CASCADE", self._url)

    @asynccontextmanager
    async def read_only(self) -> AsyncIterator[None]:
        self._cluster.execute(f'ALTER DATABASE "{self._name}" SET default_transaction_read_only = on')
        self.terminate()
        yield
        self._cluster.execute(f'ALTER DATABASE "{self._name}" RESET default_transaction_read_only')
        self.terminate()

    def terminate(self) -> int:
        """Ends every session in the database, as a failover would; returns how many there were."""
        query = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{self._name}'"
        return len(self._cluster.execute(query))


def raising(code: str, *tables: str, times: int | None = None, deferred: bool = False) -> list[str]:
    """Returns statements that make PostgreSQL refuse new rows in tables with an SQLSTATE.

    The first `times` times (always without it), at the commit if `deferred`. The code `kill` ends the session instead.
    """
    action = "PERFORM pg_terminate_backend(pg_backend_pid())"
    if code != "kill":
        action = f"RAISE EXCEPTION 'injected' USING ERRCODE = '{code}'"
    condition = "true" if times is None else f"nextval('failures') <= {times}"  # a sequence survives rollbacks
    body = f"BEGIN IF {condition} THEN {action}; END IF; RETURN NEW; END"
    kind, when = ("CONSTRAINT TRIGGER", "DEFERRABLE INITIALLY DEFERRED") if deferred else ("TRIGGER", "")
    return [
        "CREATE SEQUENCE failures",
        f"CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ {body} $$",
        *(
            f"CREATE {kind} fail AFTER INSERT ON {table} {when} FOR EACH ROW EXECUTE FUNCTION fail()"
            for table in tables
        ),
    ]
