"""Bringing a database to a schema revision. Safe to run from several processes at once."""

from __future__ import annotations

import secrets
import threading
from functools import lru_cache
from importlib import resources

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, insert

from streamgauge_server.storage import tables
from streamgauge_server.storage.database import run_once
from streamgauge_server.storage.urls import parse_url

_alembic = threading.Lock()
"""Alembic keeps the migration that runs in module variables, so a process runs one at a time."""


_schema: list[str] = []
"""The statements that make the newest schema, once the migrations have run in memory."""


COPYING = "copying"
"""In place of a revision: the database holds a copy of a store that is not finished."""


class CopyUnfinished(Exception):
    """The database holds a copy of a store that is not finished: it can be gone on with, and nothing else."""

    def __init__(self) -> None:
        super().__init__(
            "the database holds a copy that is not finished: run streamgauge-server copy again, or drop the database"
        )


def _config() -> Config:
    config = Config()
    # `%` begins an interpolation in Alembic's configuration.
    location = str(resources.files("streamgauge_server.storage") / "migrations")
    config.set_main_option("script_location", location.replace("%", "%%"))
    return config


@lru_cache(maxsize=1)
def head_revision() -> str:
    """Returns the revision that this version of the software works with."""
    head = ScriptDirectory.from_config(_config()).get_current_head()
    if head is None:
        raise RuntimeError("the package holds no migrations")
    return head


def current_revision(connection: Connection) -> str | None:
    """Returns the revision that the database of a connection has, None for an empty database."""
    return MigrationContext.configure(connection).get_current_revision()


def upgrade_connection(connection: Connection, revision: str = "head") -> None:
    """Migrates the database of a connection inside the transaction that is open on it.

    Raises:
        CopyUnfinished: the database is none that could be migrated.
    """
    if current_revision(connection) == COPYING:
        raise CopyUnfinished
    config = _config()
    config.attributes["connection"] = connection
    with _alembic:
        command.upgrade(config, revision)


def create_in_memory(connection: Connection) -> None:
    """Makes the newest schema in an empty SQLite database.

    The migrations are run once in a process; what they made is made again by its own statements, in a twentieth of the
    time. Every test of a program that uses a server in its process opens such a database.
    """
    if not _schema:
        upgrade_connection(connection)
        made = "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%' ORDER BY rowid"
        _schema.extend(connection.exec_driver_sql(made).scalars())
        return
    for statement in _schema:
        connection.exec_driver_sql(statement)
    connection.exec_driver_sql("INSERT INTO alembic_version (version_num) VALUES (?)", (head_revision(),))
    connection.execute(
        insert(tables.block_log).values(
            id=1, store_id=secrets.token_hex(16), folded_position=0, discovered_position=0, discovered_seq=0
        )
    )


async def migrate(url: str, revision: str = "head") -> None:
    """Brings the database at `url` to a revision, by default the newest; creates the file of an SQLite store.

    Idempotent. Runs in one transaction, so that a failed migration changes nothing, and under a lock, so that of
    several servers that start at once the first migrates and the others find it done.

    Raises:
        DomainError: STORE_UNAVAILABLE.
        CopyUnfinished: the database holds a copy that is not finished.
        ValueError: the URL is malformed, or names a database in memory, which `Store.open` migrates itself.
    """
    store_url = parse_url(url)
    if store_url.in_memory:
        raise ValueError("a database in memory is migrated when it is opened")
    await run_once(store_url, lambda connection: upgrade_connection(connection, revision), migrating=True)


async def schema_state(url: str) -> tuple[str | None, str]:
    """Returns the revision that the database at `url` has, None for an empty or missing one, and the newest there is.

    Raises:
        DomainError: STORE_UNAVAILABLE.
        ValueError: the URL is malformed.
    """
    store_url = parse_url(url)
    head = head_revision()
    if store_url.in_memory:
        return None, head
    return await run_once(store_url, current_revision, migrating=False), head
