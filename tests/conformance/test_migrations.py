"""Migrations: what they build is what the code expects, however often and by however many they are run."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, inspect, text
from streamgauge_server.model.clock import FixedClock
from streamgauge_server.storage import tables
from streamgauge_server.storage.migrate import head_revision, migrate, schema_state
from streamgauge_server.storage.store import SchemaOutdated, Store

from tests.conformance.conftest import START, Observer
from tests.conftest import Postgres


@pytest.fixture
def empty_url(engine: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of a database without any table; of SQLite, of an empty file."""
    if engine == "sqlite":
        (tmp_path / "new.db").touch()
        yield f"sqlite:///{tmp_path}/new.db"
        return
    cluster: Postgres = request.getfixturevalue("pg_cluster")
    url = cluster.create_database(migrated=False)
    yield url
    cluster.drop_database(url)


async def test_migrating_brings_an_empty_database_to_the_head_and_again_changes_nothing(empty_url: str) -> None:
    assert await schema_state(empty_url) == (None, head_revision())
    for _ in range(2):
        await migrate(empty_url)
        assert await schema_state(empty_url) == (head_revision(), head_revision())


async def test_several_servers_that_start_at_once_migrate_once(empty_url: str) -> None:
    code = f"import asyncio; from streamgauge_server.storage import migrate as m; asyncio.run(m.migrate({empty_url!r}))"
    servers = [
        await asyncio.create_subprocess_exec(sys.executable, "-W", "error", "-c", code, stderr=asyncio.subprocess.PIPE)
        for _ in range(3)
    ]
    ends = await asyncio.gather(*(server.communicate() for server in servers))
    assert [(server.returncode, end[1]) for server, end in zip(servers, ends, strict=True)] == [(0, b"")] * 3
    assert await schema_state(empty_url) == (head_revision(), head_revision())


async def test_a_store_that_was_not_migrated_is_not_opened(empty_url: str, clock: FixedClock) -> None:
    with pytest.raises(SchemaOutdated) as refused:
        await Store.open(empty_url, clock=clock)
    assert (refused.value.current, refused.value.head) == (None, head_revision())


async def test_the_migrations_build_what_the_tables_say(store: Store) -> None:
    def differences(connection: Connection) -> list[object]:
        # SQLite gives out ids without saying so in the column's default.
        options = {"compare_type": True, "compare_server_default": store.engine == "postgresql"}
        context = MigrationContext.configure(connection, opts=options)
        return list(compare_metadata(context, tables.metadata))

    assert await store._database.read(differences) == []


async def test_foreign_keys_cascade_and_primary_keys_are_as_declared(store: Store) -> None:
    def keys(connection: Connection) -> dict[str, object]:
        inspector = inspect(connection)
        return {
            table: (
                inspector.get_pk_constraint(table)["constrained_columns"],
                [
                    (key["constrained_columns"], key["referred_table"], key["options"].get("ondelete"))
                    for key in inspector.get_foreign_keys(table)
                ],
            )
            for table in sorted(inspector.get_table_names())
            if table != "alembic_version"
        }

    to_subject = [(["subject_id"], "subjects", "CASCADE")]
    assert await store._database.read(keys) == {
        "blocks": (["seq"] if store.engine == "sqlite" else [], to_subject),
        "latest": (["subject_id"], to_subject),
        "metrics": (["id"], []),
        "requests": (["tenant", "request_id"], []),
        "sources": (["subject_id"], to_subject),
        "subjects": (["id"], []),
        "tenants": (["tenant"], []),
        "tokens": (["id"], []),
    }


async def test_migrating_keeps_what_is_stored(observer: Observer, store_url: str) -> None:
    subject = await observer.subject()
    await observer.write(subject, START, {1: 1})
    await migrate(store_url)
    assert await observer.samples(subject) == {START: {1: 1}}


async def test_the_store_tells_its_engine_version_and_revision(engine: str, store: Store) -> None:
    info = await store.info()
    assert (info.engine, info.schema_revision) == (engine, head_revision())
    assert int(info.version.split(".")[0]) >= 3


async def test_names_sort_by_bytes_whatever_the_database_prefers(store: Store) -> None:
    def collations(connection: Connection) -> set[str]:
        query = """
            SELECT table_name || '.' || column_name FROM information_schema.columns
            WHERE table_schema = 'public' AND table_name <> 'alembic_version' AND collation_name = 'C'
        """
        return set(connection.scalars(text(query)))

    if store.engine == "postgresql":
        assert await store._database.read(collations) == {
            *("metrics.name", "metrics.tenant", "requests.request_id", "requests.tenant"),
            *("sources.connector_class", "sources.name", "sources.tenant"),
            *("subjects.name", "subjects.part", "subjects.tenant", "tenants.tenant", "tokens.id", "tokens.tenant"),
        }
