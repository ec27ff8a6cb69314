"""PostgreSQL: transactions that overlap. Who commits later has the higher seq, so blocks and latest values agree."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest
from sqlalchemy.engine import make_url
from streamgauge_server.storage.blocks import SubjectGone
from streamgauge_server.storage.corrections import Deleted
from streamgauge_server.timeseries.block import encode_row
from streamgauge_server.timeseries.latest import advance_row, encode_latest

from tests.conformance.conftest import MAX_DAY, START, Observer
from tests.conftest import Postgres


@pytest.fixture
def engine() -> str:
    return "postgresql"


@pytest.fixture
async def other(store_url: str) -> AsyncIterator[asyncpg.Connection]:
    """Another server's connection, to hold a transaction open in the middle."""
    connection = await asyncpg.connect(make_url(store_url).render_as_string(hide_password=False))
    yield connection
    await connection.close()


async def wait_for_lock(cluster: Postgres, url: str, transactions: int = 1) -> None:
    """Returns when so many transactions of the store wait for another one."""
    waiting = f"SELECT 1 FROM pg_stat_activity WHERE datname = '{make_url(url).database}' AND wait_event_type = 'Lock'"
    async with asyncio.timeout(10):
        while len(await asyncio.to_thread(cluster.execute, waiting)) < transactions:
            pass


async def test_an_append_takes_its_seq_after_the_transaction_that_it_waits_for(
    observer: Observer, other: asyncpg.Connection, pg_cluster: Postgres, store_url: str
) -> None:
    subject, untouched = await observer.subject(), await observer.subject("untouched")
    transaction = other.transaction()
    await transaction.start()
    await other.fetch("SELECT 1 FROM latest WHERE subject_id = $1 FOR UPDATE", subject)
    append = asyncio.create_task(observer.write(subject, START, {1: "later"}))
    await wait_for_lock(pg_cluster, store_url)

    held = encode_row(START, -1, {1: "earlier", 2: "kept"})
    await other.execute(
        "INSERT INTO blocks (subject_id, day, rows, first_time, last_time, hours, data) VALUES ($1,$2,1,$3,$3,$4,$5)",
        *(subject, held.day, START, held.hours, held.data),
    )
    samples = encode_latest(advance_row({}, START, -1, {1: "earlier", 2: "kept"}))
    await other.execute("UPDATE latest SET version = 1, samples = $2 WHERE subject_id = $1", subject, samples)
    assert not append.done()
    await transaction.commit()
    await append

    blocks = (await observer.store.blocks.load([subject], 0, MAX_DAY, summaries=False))[subject]
    assert [block.data for block in blocks] == [held.data, encode_row(START, -1, {1: "later"}).data]
    assert await observer.samples(subject) == {START: {1: "later", 2: "kept"}}
    assert await observer.latest_values() == {1: "later", 2: "kept"}
    await observer.write(untouched, START, {1: 1})


async def test_an_append_that_waits_for_a_deletion_finds_its_subject_gone(
    observer: Observer, other: asyncpg.Connection, pg_cluster: Postgres, store_url: str
) -> None:
    subject = await observer.subject()
    transaction = other.transaction()
    await transaction.start()
    await other.execute("DELETE FROM subjects WHERE id = $1", subject)
    append = asyncio.create_task(observer.write(subject, START, {1: 1}))
    await wait_for_lock(pg_cluster, store_url)
    await transaction.commit()
    with pytest.raises(SubjectGone):
        await append


async def test_a_deletion_that_is_taken_back_lets_the_append_through(
    observer: Observer, other: asyncpg.Connection, pg_cluster: Postgres, store_url: str
) -> None:
    subject = await observer.subject()
    transaction = other.transaction()
    await transaction.start()
    await other.execute("DELETE FROM subjects WHERE id = $1", subject)
    append = asyncio.create_task(observer.write(subject, START, {1: 1}))
    await wait_for_lock(pg_cluster, store_url)
    await transaction.rollback()
    await append
    assert await observer.samples(subject) == {START: {1: 1}}


async def test_an_append_waits_for_a_correction_and_is_not_lost(
    observer: Observer, other: asyncpg.Connection, pg_cluster: Postgres, store_url: str
) -> None:
    subject = await observer.subject()
    await observer.write(subject, START, {1: "old", 2: "kept"})
    transaction = other.transaction()
    await transaction.start()
    await other.fetch("SELECT 1 FROM blocks WHERE subject_id = $1 FOR UPDATE", subject)
    correction = asyncio.create_task(delete_first_metric(observer, subject))
    await wait_for_lock(pg_cluster, store_url)
    append = asyncio.create_task(observer.write(subject, START, {1: "new"}))
    await wait_for_lock(pg_cluster, store_url, transactions=2)
    assert not append.done()
    await transaction.commit()
    assert (await correction).values == {1: 1}
    await append
    assert await observer.samples(subject) == {START: {1: "new", 2: "kept"}}
    assert await observer.latest_values() == {2: "kept", 1: "new"}


async def test_a_correction_takes_what_the_append_stores_that_it_waits_for(
    observer: Observer, other: asyncpg.Connection, pg_cluster: Postgres, store_url: str
) -> None:
    subject = await observer.subject()
    transaction = other.transaction()
    await transaction.start()
    await other.fetch("SELECT 1 FROM latest WHERE subject_id = $1 FOR UPDATE", subject)
    correction = asyncio.create_task(delete_first_metric(observer, subject))
    await wait_for_lock(pg_cluster, store_url)
    held = encode_row(START, -1, {1: "gone", 2: "kept"})
    await other.execute(
        "INSERT INTO blocks (subject_id, day, rows, first_time, last_time, hours, data) VALUES ($1,$2,1,$3,$3,$4,$5)",
        *(subject, held.day, START, held.hours, held.data),
    )
    samples = encode_latest(advance_row({}, START, -1, {1: "gone", 2: "kept"}))
    await other.execute("UPDATE latest SET version = 1, samples = $2 WHERE subject_id = $1", subject, samples)
    await transaction.commit()
    assert (await correction).values == {1: 1}
    assert await observer.samples(subject) == {START: {2: "kept"}}
    latest = await observer.latest()
    assert (latest.version, list(latest.samples)) == (2, [2])


async def delete_first_metric(observer: Observer, subject: int) -> Deleted:
    return await observer.store.corrections.delete_samples(
        subject, start=START, end=START + 1, metrics={1}, run_id="", validate_only=False
    )
