"""Fixtures for every test: a throwaway PostgreSQL.

`pg_cluster` is a cluster of its own, started once per session, with a `stop` and a `start`. With
`STREAMGAUGE_TEST_PG_DSN` (postgresql://user:password@host:port/database, a role that may create databases) the tests
use that server instead and skip what has to stop it. Without either they skip, except where the variable `CI` is set:
there a missing PostgreSQL is a failure.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable, Coroutine, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from sqlalchemy.engine import URL, make_url
from streamgauge_server.storage.migrate import migrate

DSN_VARIABLE = "STREAMGAUGE_TEST_PG_DSN"
BIN_PATTERNS = (
    "usr/lib/postgresql/*/bin",
    "usr/pgsql-*/bin",
    "usr/local/pgsql/bin",
    "opt/homebrew/opt/postgresql*/bin",
)
FAST = "-c fsync=off -c full_page_writes=off"
"""Settings for speed. What is committed survives the server's crash, though not the machine's."""


class Postgres:
    """A PostgreSQL server for tests. Databases come from a migrated template, so that each test has its own."""

    def __init__(self, admin: URL) -> None:
        self.admin = admin
        self._numbers = count(1)
        self._template: str | None = None

    can_restart = False

    def stop(self) -> None:
        """Stops the server without ceremony, as a crash would."""
        raise NotImplementedError

    def start(self) -> None:
        """Starts the server again."""
        raise NotImplementedError

    def url(self, database: str) -> str:
        """Returns the store URL of a database."""
        return self.admin.set(database=database).render_as_string(hide_password=False)

    def create_database(self, *, migrated: bool = True) -> str:
        """Creates a database and returns its store URL."""
        if migrated and self._template is None:
            template = self._create(None)
            _run(lambda: migrate(self.url(template)))
            self._template = template
        return self.url(self._create(self._template if migrated else None))

    def drop_database(self, url: str) -> None:
        """Drops a database, whoever is connected to it."""
        self.execute(f'DROP DATABASE IF EXISTS "{make_url(url).database}" WITH (FORCE)')

    def execute(self, statement: str, url: str | None = None) -> list[Any]:
        """Runs a statement in the database of `url`, by default in the one for administration; returns the rows."""
        dsn = make_url(url or self.url(str(self.admin.database))).set(drivername="postgresql")

        async def run() -> list[Any]:
            connection = await asyncpg.connect(dsn.render_as_string(hide_password=False))
            try:
                return list(await connection.fetch(statement))
            finally:
                await connection.close()

        rows: list[Any] = _run(run)
        return rows

    def _create(self, template: str | None) -> str:
        name = f"streamgauge_test_{os.getpid()}_{next(self._numbers)}"
        self.execute(f'CREATE DATABASE "{name}"' + (f' TEMPLATE "{template}"' if template else ""))
        return name


class PostgresCluster(Postgres):
    """A cluster in a temporary directory, reached by a socket there."""

    can_restart = True
    settings = FAST

    def __init__(self, binaries: Path) -> None:
        # Not below pytest's directories: they are closed to the user that the server runs as, and their paths may be
        # longer than that of a socket can be.
        self.directory = Path(tempfile.mkdtemp(prefix="sg-pg-"))
        self._binaries = binaries
        self._prefix: list[str] = []
        if os.geteuid() == 0:  # the server refuses to run as root
            user = next(entry for entry in pwd.getpwall() if entry.pw_name in ("postgres", "nobody"))
            os.chown(self.directory, user.pw_uid, user.pw_gid)
            self._prefix = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
        self.directory.chmod(0o755)
        self._call("initdb", "-D", "data", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
        query = {"host": str(self.directory)}
        super().__init__(URL.create("postgresql", username="postgres", database="postgres", query=query))

    def stop(self) -> None:
        self._call("pg_ctl", "-D", "data", "-m", "immediate", "-w", "stop")

    def start(self) -> None:
        options = f"-c listen_addresses='' -c unix_socket_directories='{self.directory}' {self.settings}"
        self._call("pg_ctl", "-D", "data", "-w", "-t", "60", "-l", "log", "-o", options, "start")

    def remove(self) -> None:
        """Stops the cluster and deletes it."""
        subprocess.run(
            [*self._prefix, str(self._binaries / "pg_ctl"), "-D", "data", "-m", "immediate", "-w", "stop"],
            cwd=self.directory,
            capture_output=True,
            check=False,  # a test may have left it stopped
        )
        shutil.rmtree(self.directory)

    def _call(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [*self._prefix, str(self._binaries / program), *arguments],
            cwd=self.directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if program == "initdb" else subprocess.DEVNULL,  # a server would keep a pipe open
            stderr=subprocess.STDOUT,
            text=True,
            timeout=90,
        )
        if done.returncode:
            log = self.directory / "log"
            raise RuntimeError(f"{program} failed: {done.stdout or ''}{log.read_text() if log.exists() else ''}")


def find_binaries() -> Path | None:
    """Returns where the programs of a PostgreSQL server are, the newest ones, or None."""
    found = shutil.which("initdb")
    if found:
        return Path(found).resolve().parent
    directories = [path for pattern in BIN_PATTERNS for path in Path("/").glob(pattern)]
    usable = [path for path in directories if (path / "initdb").exists() and (path / "postgres").exists()]
    return max(usable, key=_version) if usable else None


def _version(binaries: Path) -> int:
    told = subprocess.run([str(binaries / "postgres"), "--version"], capture_output=True, text=True, check=True).stdout
    return int(told.split()[2].split(".")[0])


def _run(work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    """Runs a coroutine in a thread of its own, where no event loop of a test is in the way."""
    results: list[Any] = []
    errors: list[BaseException] = []

    def target() -> None:
        try:
            results.append(asyncio.run(work()))
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=target)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


@pytest.fixture(scope="session")
def pg_cluster() -> Iterator[Postgres]:
    """A PostgreSQL server for the whole session."""
    if dsn := os.environ.get(DSN_VARIABLE):
        yield Postgres(make_url(dsn).set(drivername="postgresql"))
        return
    binaries = find_binaries()
    if binaries is None:
        reason = f"no PostgreSQL server programs found, and {DSN_VARIABLE} is not set"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    cluster = PostgresCluster(binaries)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.remove()


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty, migrated SQLite store, for others to be copied from."""
    path = tmp_path_factory.mktemp("migrated") / "store.db"
    _run(lambda: migrate(f"sqlite:///{path}"))
    return path


@pytest.fixture
def sqlite_url(migrated_file: Path, tmp_path: Path) -> str:
    """The store URL of a migrated SQLite file of the test's own."""
    return f"sqlite:///{shutil.copy(migrated_file, tmp_path / 'store.db')}"


@pytest.fixture
def pg_url(pg_cluster: Postgres) -> Iterator[str]:
    """The store URL of a migrated PostgreSQL database of the test's own."""
    url = pg_cluster.create_database()
    yield url
    pg_cluster.drop_database(url)
