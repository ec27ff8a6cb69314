"""Migrations: what they build is what the code expects, however often and by however many they are run."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, inspect, text
from streamgauge_server.model.assets import asset_id
from streamgauge_server.model.clock import FixedClock
from streamgauge_server.model.jobs import JobState, RunUpdate
from streamgauge_server.model.limits import Limits
from streamgauge_server.model.metric_types import FigureType, Span
from streamgauge_server.model.values import Direction, MetricKind, SubjectKind, ValueType
from streamgauge_server.storage import tables
from streamgauge_server.storage.assets import NewAsset
from streamgauge_server.storage.database import run_once
from streamgauge_server.storage.figures import Recalculated
from streamgauge_server.storage.jobs import JobFilter
from streamgauge_server.storage.migrate import _config, head_revision, migrate, schema_state
from streamgauge_server.storage.store import SchemaOutdated, Store
from streamgauge_server.storage.urls import parse_url
from streamgauge_server.timeseries.block import encode_row
from streamgauge_server.timeseries.latest import advance_row, encode_latest

from tests.conformance.conftest import START, Observer, load_figures, source_key
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
                    for key in sorted(inspector.get_foreign_keys(table), key=lambda key: key["constrained_columns"])
                ],
            )
            for table in sorted(inspector.get_table_names())
            if table != "alembic_version"
        }

    to_subject = [(["subject_id"], "subjects", "CASCADE")]
    assert await store._database.read(keys) == {
        "assets": (["subject_id"], to_subject),
        "block_log": (["id"], []),
        "blocks": (["seq"] if store.engine == "sqlite" else [], to_subject),
        "collector_leases": (["tenant", "cluster"], []),
        "compactions": (["subject_id", "day"], to_subject),
        "figures": (["tenant", "type", "choice", "span", "start"], []),
        "ingests": (["subject_id", "ingest_id"], to_subject),
        "job_changes": (["tenant", "seq"], to_subject),
        "job_errors": (["id"], []),
        "job_exceptions": (["subject_id", "run", "fingerprint"], to_subject),
        "job_executions": (["subject_id", "run", "execution_id"], to_subject),
        "job_runs": (["id"] if store.engine == "sqlite" else [], to_subject),
        "job_stops": (["subject_id", "run", "trigger_id"], to_subject),
        "job_types": (["id"], []),
        "jobs": (["subject_id"], [(["job_type_id"], "job_types", None), *to_subject]),
        "latest": (["subject_id"], to_subject),
        "metric_type_choices": (["subject_id"], [(["metric_type_id"], "metric_types", None), *to_subject]),
        "metric_types": (["id"], []),
        "metrics": (["id"], []),
        "positions": (["age"], []),
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


async def in_transaction(url: str, work: Callable[[Connection], object]) -> object:
    return await run_once(parse_url(url), work, migrating=True)


def fill_first_revision(connection: Connection) -> None:
    """Stores a source with a part, a block, latest values and a descriptor as revision 0001 has them."""
    block = encode_row(START, -1, {1: 7})
    samples = encode_latest(advance_row({}, START, -1, {1: 7}))
    for statement in (
        "INSERT INTO tenants VALUES ('t', 1, 1, 0)",
        "INSERT INTO subjects (tenant, kind, name, part) VALUES ('t', 1, 's', ''), ('t', 1, 's', 'p')",
        "INSERT INTO sources SELECT id, tenant, name, 'Orders', '', '{}', 1, 5, 6 FROM subjects WHERE part = ''",
        "INSERT INTO latest (subject_id, version, samples) SELECT id, 1, :samples FROM subjects",
        """
        INSERT INTO blocks (subject_id, day, rows, first_time, last_time, hours, data)
        SELECT id, :day, 1, :time, :time, :hours, :data FROM subjects
        """,
        """
        INSERT INTO metrics (
          tenant, kind, name, display_name, description, unit, metric_kind, value_type, window_aggregate,
          summary_aggregate, part_combination, state_order, built_in, revision, create_time, update_time
        ) VALUES ('t', 1, 'm', 'M', '', 's', 1, 2, 7, 7, 1, '[]', false, 3, 5, 6)
        """,
    ):
        values = {"samples": samples, "day": block.day, "time": START, "hours": block.hours, "data": block.data}
        used = {name: value for name, value in values.items() if f":{name}" in statement}
        connection.execute(text(statement), used)


async def check_filled(store: Store) -> None:
    observer = Observer(store)
    ids = await store.subjects.resolve("t", [source_key("s"), source_key("s", "p")])
    assert len(ids) == 2
    for id_ in ids.values():
        assert await observer.samples(id_) == {START: {1: 7}}
    assert await observer.latest_values("s", "p") == {1: 7}
    source = await store.sources.get("t", "s")
    assert (source.display_name, source.create_time, source.update_time) == ("Orders", 5, 6)
    descriptor = await store.metrics.get("t", SubjectKind.SOURCE, "m")
    assert (descriptor.unit, descriptor.value_type, descriptor.update_time) == ("s", ValueType.INT64, 6)
    assert (descriptor.min_value, descriptor.max_value, descriptor.direction) == (None, None, Direction.UNSPECIFIED)
    await observer.write(ids[source_key("s")], START + 1, {1: 8})
    assert await observer.latest_values() == {1: 8}


async def test_a_store_of_the_first_revision_keeps_everything_when_it_is_migrated(
    empty_url: str, clock: FixedClock
) -> None:
    await migrate(empty_url, "0001")
    await in_transaction(empty_url, fill_first_revision)
    await migrate(empty_url)
    store = await Store.open(empty_url, clock=clock)
    try:
        await check_filled(store)
        asset = NewAsset(asset_id("urn:li:x"), "urn:li:x", "")
        await store.assets.create("t", asset, limits=Limits())
        assert (await store.assets.get("t", asset.id)).urn == "urn:li:x"
    finally:
        await store.close()


async def test_a_store_that_goes_back_to_the_first_revision_loses_its_assets_only(
    empty_url: str, clock: FixedClock
) -> None:
    await migrate(empty_url, "0001")
    await in_transaction(empty_url, fill_first_revision)
    await migrate(empty_url)
    store = await Store.open(empty_url, clock=clock)
    await store.assets.create("t", NewAsset(asset_id("urn:li:x"), "urn:li:x", ""), limits=Limits())
    await store.metrics.ensure("t", SubjectKind.ASSET, [("a", MetricKind.GAUGE, ValueType.ANY)], limits=Limits())
    await store.close()

    await in_transaction(empty_url, lambda connection: downgrade_connection(connection, "0001"))
    assert await schema_state(empty_url) == ("0001", head_revision())
    counts = "SELECT subjects, metrics FROM tenants WHERE tenant = 't'"
    assert await in_transaction(empty_url, lambda connection: tuple(connection.execute(text(counts)).one())) == (1, 1)

    await migrate(empty_url)
    store = await Store.open(empty_url, clock=clock)
    await check_filled(store)
    await store.close()


async def test_jobs_that_were_measured_before_there_was_a_catalog_are_in_it(empty_url: str, clock: FixedClock) -> None:
    await migrate(empty_url, "0002")
    await in_transaction(
        empty_url,
        lambda connection: connection.execute(
            text("INSERT INTO subjects (tenant, kind, name, part) VALUES ('t', 2, 'j', ''), ('t', 2, 'j', 'p')")
        ),
    )
    await migrate(empty_url)
    store = await Store.open(empty_url, clock=clock)
    job = await store.jobs.get("t", "j")
    assert (job.job_name, job.cluster, job.labels, job.run) == ("j", "", {}, None)
    assert await store.jobs.state_counts("t", JobFilter()) == {None: 1}
    await store.close()


def fill_third_revision(connection: Connection) -> None:
    """Stores runs of a job with a type and of one without, as revision 0003 has them."""
    for statement in (
        "INSERT INTO tenants (tenant, subjects, metrics, catalog_version) VALUES ('t', 2, 0, 0)",
        "INSERT INTO subjects (tenant, kind, name, part) VALUES ('t', 2, 'typed', ''), ('t', 2, 'plain', '')",
        """
        INSERT INTO job_types (
          tenant, name, type_name, version, title, category, author_name, author_url, is_active, is_system, is_paused,
          is_published, is_long_running, is_operational, icon_code, unmet_resources, revision, create_time, update_time,
          description
        ) VALUES ('t', 'k', 'k', '', '', '', '', '', true, false, false, false, false, true, '', '', 1, 5, 6, '')
        """,
        """
        INSERT INTO jobs (
          subject_id, tenant, name, job_name, cluster, job_type_id, run_active, start_order, revision, create_time,
          update_time, labels
        ) SELECT id, 't', name, name, '', CASE name WHEN 'typed' THEN (SELECT id FROM job_types) END, false, 0, 1, 5, 6,
          '{}' FROM subjects
        """,
    ):
        connection.execute(text(statement))
    # State, queued, started, ended: the first ends before 1970, the last but one exactly on an hour.
    runs = [
        (9, None, -7_000_000, -1_000_000),
        (9, 1_000_000, 3_000_000, 3_600_000_000),
        (6, 1_000_000, 3_000_000, 3_600_000_001),
        (8, None, None, 90_000_000_000),
        (4, None, 3_000_000, None),
        (9, None, 3_000_000, None),
    ]
    for ordinal, (state, queue, start, end) in enumerate(runs):
        connection.execute(
            text(
                """
                INSERT INTO job_runs (
                  subject_id, ordinal, tenant, run_id, cluster, state, state_text, lost, queue_time, start_time,
                  end_time, duration, restarts, observe_time, final_figures, history_truncated, error, recent_restarts,
                  vertices
                ) SELECT id, :ordinal, 't', :run_id, '', :state, 'S', false, :queue, :start, :end, 0, 0, 5, false,
                  false, '', '[]', '[]' FROM subjects
                """
            ),
            {"ordinal": ordinal, "run_id": f"r{ordinal}", "state": state, "queue": queue, "start": start, "end": end},
        )


async def test_runs_that_ended_before_there_were_figures_are_in_them(empty_url: str, clock: FixedClock) -> None:
    await migrate(empty_url, "0003")
    await in_transaction(empty_url, fill_third_revision)
    await migrate(empty_url)
    store = await Store.open(empty_url, clock=clock)
    job_type = (await store.job_types.get("t", "k")).number
    for choices in (None, [job_type]):
        hours = await load_figures(store, "t", FigureType.JOB_TYPES, choices, Span.HOUR)
        assert [(row.start, row.figures.counts[:3]) for row in hours] == [
            (-1, [1, 0, 0]),
            (1, [1, 1, 0]),
            (25, [0, 0, 1]),
        ]
        days = await load_figures(store, "t", FigureType.JOB_TYPES, choices, Span.DAY)
        assert [(row.start, row.figures.counts[:3]) for row in days] == [
            (-1, [1, 0, 0]),
            (0, [1, 1, 0]),
            (1, [0, 0, 1]),
        ]
        queue, run = days[1].figures.measures[0], days[1].figures.measures[4]
        assert ((queue.n, queue.sum), (run.n, run.sum)) == ((1, 2_000_000), (1, 3_597_000_000))
    assert await store.figures.recalculate("t", FigureType.JOB_TYPES, -30, 60) == Recalculated(3, 0)
    job = await store.jobs.get("t", "typed")
    [told] = await store.job_runs.apply(
        "t", [RunUpdate(job.number, "r4", 6, state=JobState.FINISHED, end_time=90_000_000_000)]
    )
    assert (told.executions, told.error_number) == (0, None)
    await store.jobs.update("t", "plain", {"job_type": "k"})
    assert await store.figures.recalculate("t", FigureType.JOB_TYPES, -30, 60) == Recalculated(3, 0)
    [_, last] = await load_figures(store, "t", FigureType.JOB_TYPES, None, Span.DAY, 0)
    assert last.figures.counts[:3] == [1, 0, 2]
    await store.close()


async def test_what_was_stored_before_there_were_positions_counts_as_old(empty_url: str, clock: FixedClock) -> None:
    await migrate(empty_url, "0001")
    await in_transaction(empty_url, fill_first_revision)
    await migrate(empty_url)

    def state(connection: Connection) -> tuple[object, ...]:
        places = connection.execute(text("SELECT seq, transaction_id, reduced FROM blocks ORDER BY seq")).all()
        log = connection.execute(text("SELECT folded_position, discovered_position FROM block_log")).one()
        return [tuple(row) for row in places], tuple(log)

    if empty_url.startswith("sqlite"):
        assert await in_transaction(empty_url, state) == ([(1, None, 0), (2, None, 0)], (2, 0))
    else:
        assert await in_transaction(empty_url, state) == ([(1, 0, False), (2, 0, False)], (0, 0))
    store = await Store.open(empty_url, clock=clock)
    await check_filled(store)
    newer = "SELECT count(*) FROM blocks WHERE transaction_id > 0 AND transaction_id IS NOT NULL"
    count = await store._database.read(lambda connection: connection.scalar(text(newer)))
    assert count == (1 if store.engine == "postgresql" else 0)
    await store.close()


async def test_every_store_has_an_id_of_its_own(clock: FixedClock) -> None:
    ids = set()
    for _ in range(3):
        store = await Store.open("sqlite://:memory:", clock=clock)
        ids.add(
            await store._database.read(lambda connection: connection.scalar(text("SELECT store_id FROM block_log")))
        )
        await store.close()
    assert len(ids) == 3


async def test_every_migration_can_be_taken_back(empty_url: str) -> None:
    await migrate(empty_url)
    await in_transaction(empty_url, lambda connection: downgrade_connection(connection, "base"))
    assert await schema_state(empty_url) == (None, head_revision())
    tables_left = await in_transaction(empty_url, lambda connection: inspect(connection).get_table_names())
    assert tables_left == ["alembic_version"]
    await migrate(empty_url)


def downgrade_connection(connection: Connection, revision: str) -> None:
    config = _config()
    config.attributes["connection"] = connection
    command.downgrade(config, revision)


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
            *("assets.name", "assets.platform", "assets.tenant", "assets.urn", "assets.urn_head", "blocks.run_id"),
            "block_log.store_id",
            *("collector_leases.cluster", "collector_leases.owner", "collector_leases.tenant"),
            *("figures.tenant", "ingests.ingest_id", "job_errors.name", "job_errors.tenant"),
            *("job_executions.execution_id", "metric_type_choices.name", "metric_types.name", "metric_types.tenant"),
            *("job_changes.run_id", "job_changes.tenant", "job_exceptions.fingerprint", "job_stops.trigger_id"),
            *("job_runs.cluster", "job_runs.followed_cluster", "job_runs.run_id", "job_runs.tenant"),
            *("job_types.name", "job_types.tenant", "job_types.type_name", "job_types.version"),
            *("jobs.cluster", "jobs.job_name", "jobs.name", "jobs.tenant"),
            *("metrics.name", "metrics.tenant", "requests.request_id", "requests.tenant"),
            *("sources.connector_class", "sources.name", "sources.tenant"),
            *("subjects.name", "subjects.part", "subjects.tenant", "tenants.tenant", "tokens.id", "tokens.tenant"),
        }
