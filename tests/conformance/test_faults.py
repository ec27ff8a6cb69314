"""Stores that fail: callers get STORE_UNAVAILABLE with a cause, nothing is stored in part, and it works again after."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager

import pytest
from sqlalchemy import Connection
from sqlalchemy.engine import make_url
from streamgauge_server.model.clock import FixedClock
from streamgauge_server.model.errors import DomainError, Reason
from streamgauge_server.model.limits import Limits
from streamgauge_server.model.values import MetricKind, SubjectKind, ValueType
from streamgauge_server.storage.dialects import postgresql
from streamgauge_server.storage.store import Store

from tests.conformance.conftest import MAX_DAY, START, Observer, OpenStore, row_write, source_key
from tests.conformance.faults import Faults, PostgresqlFaults, SqliteFaults, raising
from tests.conftest import Postgres

BLANK = {1: "x" * 50_000}
"""Values that do not fit into what room may be left."""


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets PostgreSQL give up waiting for a lock soon."""
    monkeypatch.setitem(postgresql._SETTINGS, "lock_timeout", "50ms")


@pytest.fixture
def faults(store: Store, store_url: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Faults:
    if store.engine == "sqlite":
        return SqliteFaults(store, store_url, monkeypatch)
    return PostgresqlFaults(store_url, request.getfixturevalue("pg_cluster"))


def writes(store: Store, subject: int) -> list[Callable[[], Awaitable[object]]]:
    return [
        lambda: store.blocks.append([row_write(subject, START + 1, BLANK)]),
        lambda: store.job_runs.apply("t", [], [row_write(subject, START + 1, BLANK)]),
        lambda: store.subjects.register("t", [source_key("x" * 20_000)], limits=Limits()),
    ]


def changes(store: Store, subject: int) -> list[Callable[[], Awaitable[object]]]:
    """Writes, and what makes no room for anything new."""

    def delete_samples() -> Awaitable[object]:
        return store.corrections.delete_samples(
            subject, start=START, end=START + 1, metrics=None, run_id="", validate_only=False
        )

    return [*writes(store, subject), delete_samples, lambda: store.sources.delete("t", "s")]


def reads(store: Store, subject: int) -> list[Callable[[], Awaitable[object]]]:
    return [
        store.ping,
        store.info,
        lambda: store.blocks.latest("t", [source_key("s").name]),
        lambda: store.blocks.load([subject], 0, MAX_DAY, summaries=True),
        lambda: store.blocks.find_request("t", "r"),
        lambda: store.subjects.resolve("t", [source_key("s")]),
        lambda: store.sources.get("t", "s"),
        lambda: store.jobs.find("t", "s"),
        lambda: store.tokens.by_id("x"),
    ]


async def assert_unavailable(calls: Iterable[Callable[[], Awaitable[object]]], causes: Iterable[str]) -> None:
    for call in calls:
        with pytest.raises(DomainError) as failed:
            await call()
        assert failed.value.reason == Reason.STORE_UNAVAILABLE
        assert failed.value.metadata["cause"] in causes
        assert failed.value.retry_after is not None


async def assert_works(observer: Observer, subject: int) -> None:
    """Everything works, and of what failed before nothing is there."""
    await observer.write(subject, START + 2, {1: 2})
    assert await observer.samples(subject) == {START: {1: 1}, START + 2: {1: 2}}
    assert await observer.latest_values() == {1: 2}
    assert await observer.store.subjects.resolve("t", [source_key("x" * 20_000)]) == {}
    for call in reads(observer.store, subject):
        await call()


@pytest.fixture
async def subject(observer: Observer) -> int:
    subject = await observer.subject()
    await observer.write(subject, START, {1: 1})
    return subject


async def test_an_outage_fails_every_call_and_the_same_store_works_after_it(
    observer: Observer, subject: int, faults: Faults
) -> None:
    for _ in range(2):
        async with faults.outage():
            store = observer.store
            await assert_unavailable(changes(store, subject) + reads(store, subject), faults.outage_causes)
    await assert_works(observer, subject)


async def test_appends_that_wait_when_the_outage_begins_fail_together(
    observer: Observer, subject: int, faults: Faults
) -> None:
    async with faults.outage():
        appends = [observer.store.blocks.append([row_write(subject, START + 1, {1: n})]) for n in range(20)]
        failures = await asyncio.gather(*appends, return_exceptions=True)
    assert {failure.reason for failure in failures if isinstance(failure, DomainError)} == {Reason.STORE_UNAVAILABLE}
    assert len(failures) == 20
    await assert_works(observer, subject)


async def test_a_store_is_not_opened_during_an_outage(
    open_store: OpenStore, observer: Observer, subject: int, faults: Faults
) -> None:
    async with faults.outage():
        await assert_unavailable([open_store], faults.outage_causes)
    assert await Observer(await open_store()).samples(subject) == {START: {1: 1}}


async def test_a_lock_that_is_not_given_up_fails_writes_but_not_reads_of_blocks(
    observer: Observer, subject: int, faults: Faults
) -> None:
    async with faults.locked():
        await assert_unavailable(changes(observer.store, subject), {"locked"})
        assert await observer.samples(subject) == {START: {1: 1}}
    await assert_works(observer, subject)


async def test_a_full_disk_fails_writes_but_not_reads(observer: Observer, subject: int, faults: Faults) -> None:
    async with faults.full_disk():
        await assert_unavailable(writes(observer.store, subject) * 2, {"disk_full"})
        for call in reads(observer.store, subject):
            await call()
    await assert_works(observer, subject)


async def test_a_read_only_store_fails_writes_but_not_reads(observer: Observer, subject: int, faults: Faults) -> None:
    async with faults.read_only():
        await assert_unavailable(changes(observer.store, subject) * 2, {"read_only"})
        for call in reads(observer.store, subject):
            await call()
    await assert_works(observer, subject)


async def test_what_the_engine_cannot_explain_is_not_called_an_outage(store: Store) -> None:
    def broken(connection: Connection) -> None:
        connection.exec_driver_sql("SELECT nonsense FROM nowhere")

    for run in (store._database.read, store._database.write):
        with pytest.raises(Exception, match="nowhere") as failed:
            await run(broken)
        assert not isinstance(failed.value, DomainError)
    await store.ping()


async def test_a_failing_transaction_leaves_nothing_behind(observer: Observer) -> None:
    def half(connection: Connection) -> None:
        connection.exec_driver_sql("DELETE FROM subjects")
        raise RuntimeError("half way")

    subject = await observer.subject()
    with pytest.raises(RuntimeError, match="half way"):
        await observer.store._database.write(half)
    assert await observer.store.subjects.resolve("t", [source_key("s")]) == {source_key("s"): subject}


LONG = {
    "sqlite": "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n",
    "postgresql": "SELECT pg_sleep(600)",
}


async def test_a_cancelled_reader_stops_its_statement_and_leaves_the_store_healthy(open_store: OpenStore) -> None:
    store = await open_store()
    for _ in range(3):
        readers = [
            asyncio.create_task(
                store._database.read(lambda connection: connection.exec_driver_sql(LONG[store.engine]).all())
            )
            for _ in range(4)  # as many as may read at the same time
        ]
        await asyncio.wait(readers, timeout=0.1)
        for reader in readers:
            reader.cancel()
        await asyncio.gather(*readers, return_exceptions=True)
    async with asyncio.timeout(10):
        await store.sources.list("t", limit=1)


async def test_a_cancelled_writer_writes_all_or_nothing_and_leaves_the_store_healthy(store: Store) -> None:
    for number in range(10):
        keys = [source_key(f"s{number}", part) for part in ("", "p", "q")]
        task = asyncio.create_task(store.subjects.register("t", keys, limits=Limits()))
        await asyncio.wait([task], timeout=0.001 * number)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    await store.metrics.ensure("t", SubjectKind.SOURCE, [("m", MetricKind.GAUGE, ValueType.INT64)], limits=Limits())
    for number in range(10):
        keys = [source_key(f"s{number}", part) for part in ("", "p", "q")]
        assert len(await store.subjects.resolve("t", keys)) in (0, 3)
    assert await store.sources.count("t") == len(await store.sources.list("t", limit=100))


class TestPostgresql:
    """What only a server can do."""

    @pytest.fixture
    def engine(self) -> str:
        return "postgresql"

    @asynccontextmanager
    async def raising(
        self, cluster: Postgres, url: str, code: str, *tables: str, times: int | None = None, deferred: bool = False
    ) -> AsyncIterator[None]:
        for statement in raising(code, *tables, times=times, deferred=deferred):
            cluster.execute(statement, url)
        yield
        cluster.execute("DROP FUNCTION fail CASCADE", url)
        cluster.execute("DROP SEQUENCE failures", url)

    async def test_sessions_that_were_ended_are_replaced_without_anybody_noticing(
        self, observer: Observer, subject: int, faults: PostgresqlFaults
    ) -> None:
        store = observer.store

        def append() -> Awaitable[object]:
            return store.blocks.append([row_write(subject, START, {1: 1})])

        for call in [*reads(store, subject), append]:
            assert faults.terminate() > 0
            await call()
        assert faults.terminate() > 0
        assert (await store.sources.update("t", "s", {"display_name": "x"})).display_name == "x"

    @pytest.mark.parametrize("code", ["40001", "40P01"])
    async def test_a_transaction_that_loses_against_others_is_run_again(
        self, observer: Observer, subject: int, pg_cluster: Postgres, store_url: str, code: str
    ) -> None:
        async with self.raising(pg_cluster, store_url, code, "blocks", "subjects", times=3):
            await observer.write(subject, START + 1, {1: 2})
        async with self.raising(pg_cluster, store_url, code, "subjects", times=3):
            await observer.subject("another")
        assert await observer.samples(subject) == {START: {1: 1}, START + 1: {1: 2}}

    async def test_a_transaction_that_always_loses_is_given_up(
        self, observer: Observer, subject: int, pg_cluster: Postgres, store_url: str
    ) -> None:
        async with self.raising(pg_cluster, store_url, "40001", "blocks", "subjects"):
            await assert_unavailable(writes(observer.store, subject), {"locked"})
        await assert_works(observer, subject)

    async def test_an_append_whose_connection_breaks_at_the_commit_is_run_again(
        self, observer: Observer, subject: int, pg_cluster: Postgres, store_url: str
    ) -> None:
        async with self.raising(pg_cluster, store_url, "kill", "blocks", times=2, deferred=True):
            await observer.write(subject, START + 1, {1: 2})
        assert await observer.samples(subject) == {START: {1: 1}, START + 1: {1: 2}}

    async def test_any_other_write_whose_connection_breaks_at_the_commit_is_reported_as_in_doubt(
        self, observer: Observer, subject: int, pg_cluster: Postgres, store_url: str
    ) -> None:
        async with self.raising(pg_cluster, store_url, "kill", "subjects", times=1, deferred=True):
            register = [lambda: observer.store.subjects.register("t", [source_key("new")], limits=Limits())]
            await assert_unavailable(register, {"commit_in_doubt"})
        await assert_works(observer, subject)

    @pytest.mark.parametrize(
        ("code", "cause"),
        [
            ("53200", "out_of_memory"),
            ("53400", "out_of_resources"),
            ("57014", "statement_timeout"),
            ("57P03", "shutting_down"),
            ("58030", "io_error"),
            ("XX001", "corrupt"),
        ],
    )
    async def test_the_servers_code_decides_the_cause(
        self, observer: Observer, subject: int, pg_cluster: Postgres, store_url: str, code: str, cause: str
    ) -> None:
        async with self.raising(pg_cluster, store_url, code, "blocks", "subjects"):
            await assert_unavailable(writes(observer.store, subject), {cause})
        await assert_works(observer, subject)

    async def test_a_cancelled_reader_frees_the_server(
        self, store: Store, pg_cluster: Postgres, store_url: str
    ) -> None:
        reader = asyncio.create_task(
            store._database.read(lambda connection: connection.exec_driver_sql(LONG["postgresql"]).all())
        )
        running = "SELECT 1 FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(600)' AND state = 'active'"

        async def wait_until(busy: bool) -> None:
            async with asyncio.timeout(10):
                # The server tells only when it is asked
                while bool(await asyncio.to_thread(pg_cluster.execute, running, store_url)) != busy:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)

        await wait_until(True)
        reader.cancel()
        await asyncio.gather(reader, return_exceptions=True)
        await wait_until(False)

    async def test_a_role_without_connections_left_is_told_so(
        self, store_url: str, clock: FixedClock, pg_cluster: Postgres
    ) -> None:
        role = make_url(store_url).database
        pg_cluster.execute(f"CREATE ROLE \"{role}\" LOGIN PASSWORD 'x' CONNECTION LIMIT 1")
        pg_cluster.execute(f'GRANT SELECT ON ALL TABLES IN SCHEMA public TO "{role}"', store_url)
        url = make_url(store_url).set(username=role, password="x").render_as_string(hide_password=False)
        try:
            await assert_unavailable([lambda: Store.open(url, clock=clock)], {"too_many_connections"})
        finally:
            pg_cluster.execute(f'DROP OWNED BY "{role}"', store_url)
            pg_cluster.execute(f'DROP ROLE "{role}"')

    async def test_wrong_credentials_and_a_missing_database_are_told_apart(
        self, store_url: str, clock: FixedClock
    ) -> None:
        url = make_url(store_url)
        for wrong, cause in (
            (url.set(username="nobody_of_this_name", password="x"), "authentication"),
            (url.set(database="nothing_of_this_name"), "no_database"),
        ):
            opening = [lambda w=wrong: Store.open(w.render_as_string(hide_password=False), clock=clock)]
            await assert_unavailable(opening, {cause})
