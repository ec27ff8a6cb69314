"""Positions: what is final, what has been for long enough, and clocks that are set."""

from __future__ import annotations

import asyncpg
import pytest
from sqlalchemy import Connection, insert, select, update
from sqlalchemy.engine import make_url
from streamgauge_server.model.clock import MICROS_PER_DAY, MICROS_PER_HOUR, MICROS_PER_MINUTE, FixedClock
from streamgauge_server.storage import tables
from streamgauge_server.storage.positions import Positions
from streamgauge_server.storage.store import Store

from tests.conformance.conftest import START, Observer


class Time:
    """The system's clock and the process's own, which go together unless the first is set."""

    def __init__(self, clock: FixedClock) -> None:
        self.clock = clock
        self.own = 1_000.0

    def pass_by(self, micros: int) -> None:
        self.clock.micros += micros
        self.own += micros / 1_000_000

    def of(self, store: Store) -> Positions:
        return Positions(store._database, self.clock, lambda: self.own)


@pytest.fixture
def time(clock: FixedClock) -> Time:
    return Time(clock)


async def run_for(positions: Positions, time: Time, minutes: int) -> None:
    for _ in range(minutes):
        time.pass_by(MICROS_PER_MINUTE)
        await positions.note(MICROS_PER_HOUR)


async def test_a_block_is_final_when_it_is_committed(observer: Observer) -> None:
    subject = await observer.subject()
    before = await observer.store.positions.final()
    await observer.write(subject, START, {1: 1})
    after = await observer.store.positions.final()
    assert after > before
    assert (await observer.store.positions.state()).final_position >= after


async def test_a_position_is_old_once_it_has_been_final_for_the_horizon(
    observer: Observer, store: Store, time: Time
) -> None:
    subject, positions = await observer.subject(), time.of(store)
    await observer.write(subject, START, {1: 1})
    written = await positions.final()
    await positions.note(MICROS_PER_HOUR)
    await run_for(positions, time, 30)
    await observer.write(subject, START + 1, {1: 2})
    await run_for(positions, time, 29)
    assert await positions.old(MICROS_PER_HOUR) == 0
    await run_for(positions, time, 1)
    assert 0 < await positions.old(MICROS_PER_HOUR) <= written
    await run_for(positions, time, 31)
    assert await positions.old(MICROS_PER_HOUR) > written
    assert await positions.old(0) == await positions.final()


async def test_without_appends_nothing_is_written_and_time_passes_all_the_same(
    observer: Observer, store: Store, time: Time
) -> None:
    subject, positions = await observer.subject(), time.of(store)
    await observer.write(subject, START, {1: 1})
    await positions.note(MICROS_PER_HOUR)
    await run_for(positions, time, 60)
    notes = select(tables.positions.c.position)
    assert len(await store._database.read(lambda connection: connection.execute(notes).all())) == 1
    assert await positions.old(MICROS_PER_HOUR) > 0


async def test_a_clock_that_jumps_forward_makes_nothing_older(observer: Observer, store: Store, time: Time) -> None:
    subject, positions = await observer.subject(), time.of(store)
    await observer.write(subject, START, {1: 1})
    await positions.note(MICROS_PER_HOUR)
    time.clock.micros += MICROS_PER_DAY
    await observer.write(subject, START + 1, {1: 1})
    await run_for(positions, time, 58)
    assert await positions.old(MICROS_PER_HOUR) == 0
    await run_for(positions, time, 2)
    assert await positions.old(MICROS_PER_HOUR) > 0


async def test_a_clock_that_is_set_back_stops_nothing_and_days_that_wait_are_due(
    observer: Observer, store: Store, time: Time
) -> None:
    subject, positions = await observer.subject(), time.of(store)
    time.clock.micros += MICROS_PER_DAY
    waiting = {"subject_id": subject, "day": 1, "due_time": time.clock.micros + 1, "late": False}
    await store._database.write(lambda connection: connection.execute(insert(tables.compactions), waiting))
    await observer.write(subject, START, {1: 1})
    await positions.note(MICROS_PER_HOUR)
    time.clock.micros -= MICROS_PER_DAY
    await run_for(positions, time, 1)
    due = select(tables.compactions.c.due_time)
    assert await store._database.read(lambda connection: connection.scalar(due)) == time.clock.micros
    await observer.write(subject, START + 1, {1: 1})
    await run_for(positions, time, 60)
    assert await positions.old(MICROS_PER_HOUR) > 0


async def test_several_servers_and_restarts_age_positions_no_faster_than_time_passes(
    observer: Observer, store: Store, clock: FixedClock
) -> None:
    subject = await observer.subject()
    behind = FixedClock(clock.micros - 5 * MICROS_PER_MINUTE)
    times = [Time(clock), Time(behind)]
    servers = [time.of(store) for time in times]
    await observer.write(subject, START, {1: 1})
    await servers[0].note(MICROS_PER_HOUR)
    for minute in range(59):
        for time, server in zip(times, servers, strict=True):
            time.pass_by(MICROS_PER_MINUTE)
            await observer.write(subject, START + minute, {1: minute})
            await server.note(MICROS_PER_HOUR)
        servers[1] = times[1].of(store)  # this one is restarted all the time
    assert await servers[0].old(MICROS_PER_HOUR) == 0


async def test_notes_older_than_needed_are_removed(observer: Observer, store: Store, time: Time) -> None:
    subject, positions = await observer.subject(), time.of(store)
    for minute in range(100):
        await observer.write(subject, START + minute, {1: 1})
        await run_for(positions, time, 1)
    notes = select(tables.positions.c.age)
    kept = await store._database.read(lambda connection: connection.execute(notes).all())
    assert len(kept) == 61


@pytest.mark.parametrize("engine", ["postgresql"])
async def test_a_transaction_that_is_open_keeps_later_ones_from_being_final(observer: Observer, store_url: str) -> None:
    positions = observer.store.positions
    subject = await observer.subject()
    other = await asyncpg.connect(make_url(store_url).render_as_string(hide_password=False))
    transaction = other.transaction()
    await transaction.start()
    begun = await other.fetchval("SELECT pg_current_xact_id()::text::bigint")
    await observer.write(subject, START, {1: 1})
    assert await positions.final() < begun
    await transaction.commit()
    assert await positions.final() > begun
    await other.close()


async def test_a_store_that_was_restored_elsewhere_is_another_one_and_its_blocks_are_old(
    observer: Observer, store: Store
) -> None:
    subject = await observer.subject()
    await observer.write(subject, START, {1: 1})
    before = await store.positions.state()
    assert not await store.positions.adopt()
    if store.engine == "sqlite":
        return

    def restore(connection: Connection) -> None:
        connection.execute(update(tables.blocks).values(transaction_id=before.final_position + 10**6))

    await store._database.write(restore)
    await observer.write(subject, START + 1, {1: 2})
    assert await store.positions.adopt()
    assert not await store.positions.adopt()
    transactions = select(tables.blocks.c.transaction_id).order_by(tables.blocks.c.seq)
    old, new = await store._database.read(lambda connection: connection.scalars(transactions).all())
    after = await store.positions.state()
    assert old == 0 < new <= after.final_position
    assert after.store_id != before.store_id
    assert await observer.samples(subject) == {START: {1: 1}, START + 1: {1: 2}}
