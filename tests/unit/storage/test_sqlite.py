"""What is particular to SQLite: settings, codes, files, threads and databases in memory."""

from __future__ import annotations

import asyncio
import re
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from urllib.parse import quote

import pytest
from streamgauge_server.model.clock import FixedClock
from streamgauge_server.model.errors import DomainError, Reason
from streamgauge_server.model.limits import Limits
from streamgauge_server.model.names import SubjectName
from streamgauge_server.model.values import SubjectKind
from streamgauge_server.storage.blocks import SubjectWrite
from streamgauge_server.storage.dialects.sqlite import SqliteDatabase
from streamgauge_server.storage.dialects.sqlite_errors import is_broken, is_passing, result_code, translate
from streamgauge_server.storage.dialects.sqlite_thread import ConnectionThreads
from streamgauge_server.storage.migrate import migrate
from streamgauge_server.storage.store import Store
from streamgauge_server.storage.subjects import SubjectKey
from streamgauge_server.timeseries.block import encode_row

START = 1_700_000_000_000_000


@pytest.fixture
async def memory() -> AsyncIterator[Store]:
    store = await Store.open("sqlite://:memory:", clock=FixedClock(START))
    yield store
    await store.close()


async def pragma(store: Store, name: str) -> object:
    assert isinstance(store._database, SqliteDatabase)
    return await store._database._writer.run(lambda link: link.driver.execute(f"PRAGMA {name}").fetchone()[0])


async def test_commits_are_durable_and_foreign_keys_hold(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/a.db"
    await migrate(url)
    store = await Store.open(url, clock=FixedClock(START))
    settings = {name: await pragma(store, name) for name in ("journal_mode", "synchronous", "foreign_keys")}
    assert settings == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}
    assert await pragma(store, "busy_timeout") == 5_000
    await store.close()


async def test_closing_leaves_one_file(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/a.db"
    await migrate(url)
    store = await Store.open(url, clock=FixedClock(START))
    await store.sources.create("t", "s", limits=Limits())
    await store.close()
    assert sorted(path.name for path in tmp_path.glob("*")) == ["a.db"]  # noqa: ASYNC240, nothing else runs


@pytest.mark.parametrize("name", ["a b.db", "a%20b.db", "a?b#c.db", "é.db", "'\"&;.db"])
async def test_any_file_can_be_named(tmp_path: Path, name: str) -> None:
    url = f"sqlite:///{tmp_path}/{quote(name)}"
    await migrate(url)
    store = await Store.open(url, clock=FixedClock(START))
    await store.close()
    assert (tmp_path / name).exists()


async def test_a_missing_file_is_not_created_by_opening_it(tmp_path: Path) -> None:
    with pytest.raises(DomainError) as failed:
        await Store.open(f"sqlite:///{tmp_path}/a.db", clock=FixedClock(START))
    assert (failed.value.reason, failed.value.metadata["cause"]) == (Reason.STORE_UNAVAILABLE, "cannot_open")
    assert list(tmp_path.glob("*")) == []  # noqa: ASYNC240, nothing else runs


async def test_what_is_not_a_database_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.db").write_bytes(b"x" * 10_000)
    for call in (
        migrate(f"sqlite:///{tmp_path}/a.db"),
        Store.open(f"sqlite:///{tmp_path}/a.db", clock=FixedClock(START)),
    ):
        with pytest.raises(DomainError) as failed:
            await call
        assert failed.value.metadata["cause"] == "corrupt"


@pytest.mark.parametrize(
    ("code", "cause", "passing", "broken"),
    [
        (sqlite3.SQLITE_FULL, "disk_full", False, False),
        (sqlite3.SQLITE_BUSY, "locked", True, False),
        (sqlite3.SQLITE_BUSY_SNAPSHOT, "locked", True, False),
        (sqlite3.SQLITE_LOCKED_SHAREDCACHE, "locked", True, False),
        (sqlite3.SQLITE_READONLY_DBMOVED, "read_only", False, True),
        (sqlite3.SQLITE_IOERR_WRITE, "io_error", False, True),
        (sqlite3.SQLITE_IOERR_FSYNC, "io_error", False, True),
        (sqlite3.SQLITE_CANTOPEN_ISDIR, "cannot_open", False, True),
        (sqlite3.SQLITE_CORRUPT_INDEX, "corrupt", False, True),
        (sqlite3.SQLITE_NOTADB, "corrupt", False, True),
        (sqlite3.SQLITE_NOMEM, "out_of_memory", False, False),
        (sqlite3.SQLITE_CONSTRAINT_UNIQUE, None, False, False),
        (sqlite3.SQLITE_ERROR, None, False, False),
    ],
)
def test_result_codes_decide(code: int, cause: str | None, passing: bool, broken: bool) -> None:
    error = sqlite3.OperationalError("database is locked, the disk is full and the file is not a database")
    error.sqlite_errorcode = code
    translated = translate(error)
    assert (translated.metadata["cause"] if translated else None) == cause
    assert (is_passing(error), is_broken(error)) == (passing, broken)


def test_errors_of_anything_else_have_no_code() -> None:
    for error in (ValueError("database is locked"), sqlite3.OperationalError("disk full"), OSError(28, "no space")):
        assert result_code(error) is None
        assert translate(error) is None


class FakeConnection:
    def __init__(self) -> None:
        self.thread = threading.get_ident()
        self.interrupted = threading.Event()
        self.closed = False

    def interrupt(self) -> None:
        self.interrupted.set()

    def close(self) -> None:
        self.closed = True


class TestThreads:
    async def test_a_connection_is_opened_and_used_in_its_own_thread(self) -> None:
        threads = ConnectionThreads(FakeConnection, 2, "test", lambda error: False)
        users = await asyncio.gather(*(threads.run(lambda c: (c.thread, threading.get_ident())) for _ in range(20)))
        assert all(opened == used != threading.get_ident() for opened, used in users)
        await threads.close()

    async def test_errors_reach_the_caller_and_a_broken_connection_is_replaced(self) -> None:
        threads = ConnectionThreads(FakeConnection, 1, "test", lambda error: isinstance(error, OSError))

        def fail(error: Exception) -> FakeConnection:
            raise error

        first = await threads.run(lambda c: c)
        with pytest.raises(ValueError, match="mild"):
            await threads.run(lambda c: fail(ValueError("mild")))
        assert await threads.run(lambda c: c) is first
        with pytest.raises(OSError, match="severe"):
            await threads.run(lambda c: fail(OSError("severe")))
        assert first.closed
        assert await threads.run(lambda c: c) is not first
        await threads.close()

    async def test_a_failure_to_connect_reaches_the_caller_and_the_next_job_tries_again(self) -> None:
        attempts = iter([OSError("gone"), None])

        def connect() -> FakeConnection:
            if (error := next(attempts)) is not None:
                raise error
            return FakeConnection()

        threads = ConnectionThreads(connect, 1, "test", lambda error: True)
        with pytest.raises(OSError, match="gone"):
            await threads.run(lambda c: c)
        assert isinstance(await threads.run(lambda c: c), FakeConnection)
        await threads.close()

    async def test_only_a_running_interruptible_job_is_interrupted(self) -> None:
        threads = ConnectionThreads(FakeConnection, 1, "test", lambda error: False)
        connection = await threads.run(lambda c: c)
        begun, gate = threading.Event(), threading.Event()
        ran: list[str] = []

        def wait(name: str) -> bool:
            ran.append(name)
            begun.set()
            return gate.wait(10)

        write = asyncio.create_task(threads.run(lambda c: wait("write")))
        await asyncio.to_thread(begun.wait)
        queued = asyncio.create_task(threads.run(lambda c: wait("queued"), interruptible=True))
        await asyncio.sleep(0)
        write.cancel()
        queued.cancel()
        await asyncio.gather(write, queued, return_exceptions=True)
        assert not connection.interrupted.is_set()
        begun.clear()
        gate.set()

        def until_interrupted(connection: FakeConnection) -> bool:
            return wait("read") and connection.interrupted.wait(10)

        read = asyncio.create_task(threads.run(until_interrupted, interruptible=True))
        await asyncio.to_thread(begun.wait)
        read.cancel()
        await asyncio.gather(read, return_exceptions=True)
        assert connection.interrupted.is_set()
        assert ran == ["write", "read"]
        await threads.close()

    async def test_closing_finishes_what_waits_and_refuses_more(self) -> None:
        threads = ConnectionThreads(FakeConnection, 1, "test", lambda error: False)

        def job(number: int) -> Callable[[FakeConnection], int]:
            return lambda connection: number

        jobs = [asyncio.create_task(threads.run(job(number))) for number in range(10)]
        await asyncio.sleep(0)
        await threads.close()
        assert await asyncio.gather(*jobs) == list(range(10))
        with pytest.raises(DomainError, match="closing"):
            await threads.run(lambda c: c)


class TestMemory:
    async def test_readers_and_writers_share_one_database(self, memory: Store) -> None:
        names = [SubjectName(SubjectKind.SOURCE, f"s{n}") for n in range(8)]
        ids = await memory.subjects.register("t", [SubjectKey(name, "") for name in names], limits=Limits())

        async def work(n: int) -> None:
            name = names[n % 8]
            subject = ids[SubjectKey(name, "")]
            time = START + n
            await memory.blocks.append([SubjectWrite(subject, [encode_row(time, -1, {1: n})], row=(time, -1, {1: n}))])
            assert (await memory.blocks.latest("t", [name]))[name][""].samples[1].time >= time
            assert await memory.sources.count("t") == 8

        await asyncio.gather(*(work(n) for n in range(64)))
        loaded = await memory.blocks.load(list(ids.values()), 0, 10**6, summaries=True)
        assert sum(map(len, loaded.values())) == 64

    async def test_two_stores_in_memory_have_nothing_in_common(self, memory: Store) -> None:
        other = await Store.open("sqlite://", clock=FixedClock(START))
        await memory.sources.create("t", "s", limits=Limits())
        assert await other.sources.count("t") == 0
        await other.close()

    async def test_each_has_the_schema_and_the_rows_that_the_migrations_make(self, tmp_path: Path) -> None:
        await migrate(f"sqlite:///{tmp_path}/a.db")
        urls = [f"sqlite:///{tmp_path}/a.db", *["sqlite://:memory:"] * 2]
        made = []
        for url in urls:
            store = await Store.open(url, clock=FixedClock(START))
            assert isinstance(store._database, SqliteDatabase)
            dump = await store._database._writer.run(lambda link: sorted(link.driver.iterdump()))
            # Each store has an id of its own.
            made.append([re.sub(r"'[0-9a-f]{32}'", "'<id>'", line) for line in dump])
            await store.close()
        assert made[0] == made[1] == made[2]

    async def test_they_cannot_be_migrated_from_outside(self) -> None:
        with pytest.raises(ValueError, match="memory"):
            await migrate("sqlite://:memory:")
