"""Copies of whole stores between engines: killed and gone on with, refused, compared. Blocks are enough for that here;
`tests/rpc/test_copied_store.py` copies a store with everything in it."""

from __future__ import annotations

import asyncio
import random
import sqlite3
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Connection, text
from streamgauge_server.model.clock import MICROS_PER_DAY, MICROS_PER_MINUTE, FixedClock
from streamgauge_server.model.values import ValueType
from streamgauge_server.storage import copying
from streamgauge_server.storage.blocks import SubjectWrite
from streamgauge_server.storage.copy_ends import open_end, rows_query
from streamgauge_server.storage.copy_tables import RowReader, copied_tables
from streamgauge_server.storage.copying import CopyRefused, CopyReport, copy_store
from streamgauge_server.storage.database import run_once
from streamgauge_server.storage.migrate import CopyUnfinished, migrate
from streamgauge_server.storage.store import Store
from streamgauge_server.storage.urls import parse_url
from streamgauge_server.timeseries.block import encode_days
from streamgauge_server.timeseries.frame import UNKNOWN_START, Column, Frame

from tests.conformance.conftest import START, Observer
from tests.conftest import Postgres

DAY = START // MICROS_PER_DAY

# Copies, telling of each batch before and after it is written, and goes on without waiting.
COPY = """
import asyncio, os, sys
from streamgauge_server.storage import copying
from streamgauge_server.storage.copying import copy_store
from streamgauge_server.storage.dialects import postgresql_copying, sqlite_copying

copying.BATCH_ROWS = sqlite_copying.ROWS_AT_ONCE = postgresql_copying.ROWS_AT_ONCE = 1

class Silent:
    def begin(self, step, table, rows): pass
    def advance(self, rows): pass

write = copying._Copy._write
async def told(*arguments):
    os.write(1, b"begin\\n")
    await write(*arguments)
    os.write(1, b"end\\n")
copying._Copy._write = told
asyncio.run(copy_store(sys.argv[1], sys.argv[2], Silent()))
os.write(1, b"done\\n")
"""


class Silent:
    """Nobody who looks at the progress."""

    def begin(self, step: str, table: str, rows: int) -> None:
        """Shows nothing."""

    def advance(self, rows: int) -> None:
        """Shows nothing."""


async def copied(source: str, target: str) -> CopyReport:
    return await copy_store(source, target, Silent())


@pytest.fixture
def target_url(engine: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty database of the other engine than the store's."""
    if engine == "postgresql":
        yield f"sqlite:///{tmp_path / 'copy.db'}"
        return
    cluster: Postgres = request.getfixturevalue("pg_cluster")
    url = cluster.create_database(migrated=False)
    yield url
    cluster.drop_database(url)


async def fill(store: Store) -> list[int]:
    """Writes small and large blocks of some sources, and deletes the last one: its id must not be given again."""
    observer = Observer(store)
    subjects = [await observer.subject(f"s{number}", part) for number in range(4) for part in ("", 'a,b="ü"')]
    for number, subject in enumerate(subjects):
        await observer.write(subject, START + number, {1: number, 2: "text", 3: True, 4: 0.5})
        times = (DAY - 1) * MICROS_PER_DAY + np.arange(100 + number) * MICROS_PER_MINUTE
        column = Column(ValueType.INT64, np.arange(len(times), dtype=np.int64))
        frame = Frame(times, np.full(len(times), UNKNOWN_START), {1: column})
        await store.blocks.append([SubjectWrite(subject, encode_days(frame), frame=frame)])
    gone = await observer.subject("gone")
    await observer.write(gone, START, {1: 1})
    await write_to(store, "DELETE FROM subjects WHERE name = 'gone'")
    return subjects


async def write_to(store: Store, *statements: str) -> None:
    def work(connection: Connection) -> None:
        for statement in statements:
            connection.execute(text(statement))

    await store._database.write(work)


async def tables_of(url: str) -> dict[str, list[tuple[Any, ...]]]:
    """Returns the rows of all tables that are copied."""
    end = await open_end(parse_url(url))
    found: dict[str, list[tuple[Any, ...]]] = {}
    try:
        for table in copied_tables("postgresql"):
            rows = await end.fetch(*_flat(rows_query(end.engine, table, None)))
            found[table.name] = RowReader(table).batch(rows).rows if rows else []
    finally:
        await end.close()
    return found


def _flat(query: tuple[str, Sequence[object]]) -> tuple[Any, ...]:
    return query[0], *query[1]


async def test_a_copy_has_every_row_and_serves_on(
    store: Store, store_url: str, target_url: str, clock: FixedClock, tmp_path: Path
) -> None:
    subjects = await fill(store)
    before = await tables_of(store_url)
    await store.close()
    report = await copied(store_url, target_url)
    assert (report.resumed, report.written_since, report.damaged_count) == (False, False, 0)
    assert {one.table: one.rows for one in report.tables} == {name: len(rows) for name, rows in before.items()}
    assert await tables_of(target_url) == before

    back = f"sqlite:///{tmp_path / 'back.db'}"
    await copied(target_url, back)
    assert await tables_of(back) == before

    for url in (target_url, back):
        copy = await Store.open(url, clock=clock)
        observer = Observer(copy)
        assert await observer.samples(subjects[3]) == await observer.samples(await observer.subject("s1", 'a,b="ü"'))
        assert await observer.subject("new") > max(subjects) + 1  # the one of what was deleted is not given again
        await observer.write(subjects[0], START + MICROS_PER_MINUTE, {1: 77})
        assert (await observer.latest("s0")).samples[1].value == 77
        blocks = (await copy.blocks.load([subjects[0]], DAY, DAY, summaries=True))[subjects[0]]
        assert [block.seq for block in blocks] == sorted(block.seq for block in blocks)
        await copy.close()


async def test_the_copy_is_another_store_whose_log_begins_behind_all_blocks(
    store: Store, store_url: str, target_url: str, clock: FixedClock
) -> None:
    await fill(store)
    theirs = (await store.positions.state()).store_id
    await store.close()
    await copied(store_url, target_url)
    copy = await Store.open(target_url, clock=clock)
    observer = Observer(copy)
    state, newest = await copy.change_log.state()
    assert state.store_id != theirs
    assert newest.position >= state.folded_position
    await observer.write(await observer.subject("s0"), START + 9, {1: 5})
    batch = await copy.change_log.read(newest)
    assert [block.subject_id for block in batch.blocks] == [await observer.subject("s0")]
    await copy.close()


async def test_a_copy_that_is_killed_at_any_moment_goes_on(
    store: Store, store_url: str, target_url: str, clock: FixedClock
) -> None:
    await fill(store)
    expected = await tables_of(store_url)
    await store.close()
    lines = 1
    kills = 0
    chance = random.Random(7)
    while True:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", COPY, store_url, target_url, stdout=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        said = [await process.stdout.readline() for _ in range(lines)]
        if said[-1] in (b"done\n", b""):
            assert await process.wait() == 0
            break
        process.kill()
        await process.wait()
        kills += 1
        if any(said):
            with pytest.raises(CopyUnfinished):
                await Store.open(target_url, clock=clock)
        lines += chance.randrange(1, 12)
    assert kills > 3
    assert await tables_of(target_url) == expected


async def test_what_was_written_between_two_runs_of_a_copy_is_noticed(
    store: Store, store_url: str, target_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    subjects = await fill(store)
    monkeypatch.setattr(copying._Copy, "_verify", _break)
    with pytest.raises(RuntimeError):
        await copied(store_url, target_url)
    monkeypatch.undo()
    await store.blocks.set_lifetimes(subjects[0], 2, {1: 12345})
    with pytest.raises(CopyRefused, match="table latest"):
        await copied(store_url, target_url)


async def _break(copy: object) -> None:
    raise RuntimeError


async def test_what_is_written_while_a_copy_is_made_is_not_in_it_and_told(
    store: Store, store_url: str, target_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    subjects = await fill(store)
    before = await tables_of(store_url)
    verify = copying._Copy._verify

    async def write_first(copy: copying._Copy) -> None:
        await Observer(store).write(subjects[0], START + 5, {1: 99})
        await verify(copy)

    monkeypatch.setattr(copying._Copy, "_verify", write_first)
    assert (await copied(store_url, target_url)).written_since
    assert await tables_of(target_url) == before


async def test_a_row_that_was_changed_in_the_copy_is_noticed(
    store: Store, store_url: str, target_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(store)
    verify = copying._Copy._verify

    async def change_first(copy: copying._Copy) -> None:
        await copy._target.write(None, (), [("UPDATE blocks SET day = day + 1 WHERE seq = 3", ())])
        await verify(copy)

    monkeypatch.setattr(copying._Copy, "_verify", change_first)
    with pytest.raises(CopyRefused, match="table blocks"):
        await copied(store_url, target_url)


async def test_a_target_with_rows_or_of_another_copy_is_refused(
    store: Store, store_url: str, target_url: str, clock: FixedClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(store)
    with pytest.raises(CopyRefused, match="same database"):
        await copied(store_url, store_url)
    await migrate(target_url)
    other = await Store.open(target_url, clock=clock)
    await Observer(other).subject("s")
    await other.close()
    with pytest.raises(CopyRefused, match="not empty"):
        await copied(store_url, target_url)

    begun = f"sqlite:///{tmp_path / 'begun.db'}"
    monkeypatch.setattr(copying._Copy, "_verify", _break)
    with pytest.raises(RuntimeError):
        await copied(store_url, begun)
    with pytest.raises(CopyRefused, match="another store"):
        await copied(target_url, begun)
    with pytest.raises(CopyRefused, match="copy that is not finished"):
        await copied(begun, f"sqlite:///{tmp_path / 'third.db'}")


async def test_a_schema_of_another_revision_is_refused(store_url: str, target_url: str) -> None:
    def older(connection: Connection) -> None:
        connection.execute(text("UPDATE alembic_version SET version_num = '0004'"))

    await run_once(parse_url(store_url), older, migrating=True)
    with pytest.raises(CopyRefused, match="has schema 0004"):
        await copied(store_url, target_url)


async def test_damaged_bytes_are_copied_as_they_are_and_told(store: Store, store_url: str, target_url: str) -> None:
    await fill(store)
    data = await store._database.read(lambda c: c.execute(text("SELECT data FROM blocks WHERE seq = 2")).scalar_one())
    broken = data[:-1] + bytes([data[-1] ^ 1])

    def damage(connection: Connection) -> None:
        connection.execute(text("UPDATE blocks SET data = :data WHERE seq = 2"), {"data": broken})

    await store._database.write(damage)
    report = await copied(store_url, target_url)
    assert report.damaged_count == 1
    assert [(one.table, one.key[-1], one.column) for one in report.damaged] == [("blocks", 2, "data")]
    rows = (await tables_of(target_url))["blocks"]
    place = next(table for table in copied_tables("sqlite") if table.name == "blocks").columns.index("data")
    assert broken in {row[place] for row in rows}


async def test_texts_that_postgresql_cannot_hold_stop_the_copy(
    sqlite_url: str, pg_cluster: Postgres, clock: FixedClock
) -> None:
    store = await Store.open(sqlite_url, clock=clock)
    await Observer(store).subject("a\0b")
    await store.close()
    target = pg_cluster.create_database(migrated=False)
    with pytest.raises(CopyRefused, match=r"subjects.*U\+0000"):
        await copied(sqlite_url, target)
    pg_cluster.drop_database(target)


async def test_sqlite_to_sqlite(sqlite_url: str, clock: FixedClock, tmp_path: Path) -> None:
    store = await Store.open(sqlite_url, clock=clock)
    await fill(store)
    await store.close()
    target = tmp_path / "copy.db"
    await copied(sqlite_url, f"sqlite:///{target}")
    assert await tables_of(f"sqlite:///{target}") == await tables_of(sqlite_url)
    with sqlite3.connect(target) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert not connection.execute("PRAGMA foreign_key_check").fetchall()
