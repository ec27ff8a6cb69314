"""Compaction: fewer blocks, the same samples, whatever else is going on."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

import pytest
from sqlalchemy import delete, func, select, text, update
from streamgauge_server.model.clock import MICROS_PER_DAY, MICROS_PER_HOUR, MICROS_PER_MINUTE, FixedClock
from streamgauge_server.services.compaction import GRACE, Compacted, Compactor
from streamgauge_server.storage import tables
from streamgauge_server.storage.blocks import SubjectWrite
from streamgauge_server.storage.store import Store
from streamgauge_server.timeseries.block import encode_row
from streamgauge_server.timeseries.query import StoredBlock

from tests.conformance.conftest import MAX_DAY, MIN_DAY, START, Observer, OpenStore

DAY = START // MICROS_PER_DAY
BEGIN = DAY * MICROS_PER_DAY
CLOSED = BEGIN + MICROS_PER_DAY + GRACE


async def no_pause(seconds: float) -> None:
    """Goes on at once."""


def compactor(store: Store, clock: FixedClock, horizon: int = 0) -> Compactor:
    return Compactor(store, clock, horizon=horizon)


async def compact(store: Store, clock: FixedClock, horizon: int = 0) -> Compacted:
    """Folds everything that is due and returns the sums."""
    total = Compacted()
    worker = compactor(store, clock, horizon)
    for _ in range(100):
        done = await worker.run(no_pause)
        if not done.days:
            return total
        total.add(done)
    raise AssertionError("compaction does not come to an end")


async def blocks_of(store: Store, subject: int) -> Sequence[StoredBlock]:
    loaded = await store.blocks.load([subject], MIN_DAY, MAX_DAY, summaries=True)
    return loaded[subject]


async def write_many(observer: Observer, subject: int, times: Sequence[int], run_id: str = "") -> None:
    writes = [
        SubjectWrite(subject, [encode_row(time, 7, {1: time, 2: "s"})], run_id=run_id, row=(time, 7, {1: time, 2: "s"}))
        for time in times
    ]
    await observer.store.blocks.append(writes)


MINUTES = [BEGIN + minute * MICROS_PER_MINUTE for minute in range(24 * 60)]


async def test_a_closed_day_becomes_one_block_and_nothing_else_changes(
    observer: Observer, store: Store, clock: FixedClock
) -> None:
    subject = await observer.subject()
    await write_many(observer, subject, MINUTES[::5])
    await write_many(observer, subject, [CLOSED + 1])
    before, latest = await observer.samples(subject), await observer.latest()
    clock.micros = CLOSED
    done = await compact(store, clock)
    assert (done.blocks, done.folded, done.conflicts) == (288, 1, 0)
    day, tomorrow = await blocks_of(store, subject)
    assert (day.rows, day.seq, tomorrow.rows) == (288, 288, 1)
    assert await observer.samples(subject) == before
    assert await observer.latest() == latest
    assert (await compact(store, clock)).days == 0


async def test_hours_become_one_block_each_while_the_day_is_open(
    observer: Observer, store: Store, clock: FixedClock
) -> None:
    subject = await observer.subject()
    await write_many(observer, subject, MINUTES[: 3 * 60 + 10])
    clock.micros = BEGIN + 3 * MICROS_PER_HOUR + GRACE - 1
    assert (await compact(store, clock)).folded == 0
    clock.micros += 1
    assert (await compact(store, clock)).folded == 3
    assert [block.rows for block in await blocks_of(store, subject)] == [60, 60, 60, *[1] * 10]
    await write_many(observer, subject, MINUTES[3 * 60 + 10 :])
    clock.micros = CLOSED
    await compact(store, clock)
    assert [block.rows for block in await blocks_of(store, subject)] == [1_440]
    assert len(await observer.samples(subject)) == 1_440


async def test_only_what_has_been_final_for_the_horizon_is_folded(
    observer: Observer, store: Store, clock: FixedClock
) -> None:
    subject = await observer.subject()
    await write_many(observer, subject, MINUTES[:100])
    clock.micros = CLOSED + MICROS_PER_DAY
    assert (await compact(store, clock, MICROS_PER_HOUR)).folded == 0
    assert len(await blocks_of(store, subject)) == 100
    state = await store.positions.state()
    assert state.folded_position == 0


async def test_the_position_tells_what_may_have_been_folded(
    observer: Observer, store: Store, clock: FixedClock
) -> None:
    one, other = await observer.subject("one"), await observer.subject("other")
    await write_many(observer, one, MINUTES[:10])
    final = await store.positions.final()
    await write_many(observer, other, [MINUTES[0]])
    clock.micros = CLOSED
    await compact(store, clock)
    assert (await store.positions.state()).folded_position <= final
    newest = max(block.seq for block in await blocks_of(store, one))
    if store.engine == "sqlite":
        assert (await store.positions.state()).folded_position == newest


async def test_blocks_of_runs_and_their_places_stay(observer: Observer, store: Store, clock: FixedClock) -> None:
    subject = await observer.subject()
    for run_id in ("", "", "run", "run", "", "other"):
        await write_many(observer, subject, MINUTES[:3], run_id)
    before = await observer.samples(subject)
    clock.micros = CLOSED
    await compact(store, clock)
    assert [block.rows for block in await blocks_of(store, subject)] == [3, 3, 3, 3]
    runs = select(tables.blocks.c.run_id).order_by(tables.blocks.c.seq)
    assert await store._database.read(lambda connection: connection.scalars(runs).all()) == [None, "run", None, "other"]
    deleted = await store.corrections.delete_samples(
        subject, start=BEGIN, end=CLOSED, metrics=None, run_id="other", validate_only=False
    )
    assert deleted.values == {1: 3, 2: 3}
    assert await observer.samples(subject) == before


async def test_late_data_are_collected_and_folded_in_after_a_day(
    observer: Observer, store: Store, clock: FixedClock
) -> None:
    subject = await observer.subject()
    await write_many(observer, subject, MINUTES[:1_000])
    clock.micros = CLOSED
    await compact(store, clock)
    for minute in (5, 7, 1_200):
        await write_many(observer, subject, [MINUTES[minute] + 1])
        await compact(store, clock)
    assert [block.rows for block in await blocks_of(store, subject)] == [1_000, 1, 1, 1]
    await write_many(observer, subject, [MINUTES[9] + 1])
    clock.micros += MICROS_PER_DAY
    await compact(store, clock)
    assert [block.rows for block in await blocks_of(store, subject)] == [1_004]
    assert len(await observer.samples(subject)) == 1_004


async def test_much_late_data_is_folded_in_at_once(observer: Observer, store: Store, clock: FixedClock) -> None:
    subject = await observer.subject()
    await write_many(observer, subject, MINUTES[::2])
    clock.micros = CLOSED
    await compact(store, clock)
    await write_many(observer, subject, MINUTES[1::2])
    await compact(store, clock)
    assert [block.rows for block in await blocks_of(store, subject)] == [1_440]


async def test_more_blocks_than_fit_into_one_go_become_one_in_several(
    observer: Observer, store: Store, clock: FixedClock
) -> None:
    subject = await observer.subject()
    for begin in range(0, 2_500, 500):
        await write_many(observer, subject, [BEGIN + (begin + row) * 1_000_000 for row in range(500)])
    clock.micros = CLOSED
    await compact(store, clock)
    assert [block.rows for block in await blocks_of(store, subject)] == [2_500]


async def test_many_subjects_are_folded_together(observer: Observer, store: Store, clock: FixedClock) -> None:
    subjects = [await observer.subject(f"s{number}") for number in range(70)]
    for subject in subjects:
        await write_many(observer, subject, MINUTES[:20])
    clock.micros = CLOSED
    assert (await compact(store, clock)).folded == 70
    assert (await store.compactions.queue()).days == 0


async def test_subjects_that_are_deleted_meanwhile_are_forgotten(
    observer: Observer, store: Store, clock: FixedClock
) -> None:
    subject, other = await observer.subject(), await observer.subject("other")
    await write_many(observer, subject, MINUTES[:20])
    await write_many(observer, other, MINUTES[:20])
    clock.micros = CLOSED
    position = await store.positions.final()
    await store.compactions.discover(position, 0)
    claims = await store.compactions.claim(10)
    await store._database.write(lambda c: c.execute(delete(tables.subjects).where(tables.subjects.c.id == subject)))
    assert len(claims) == 2
    assert (await store.compactions.blocks(claims, position))[claims[0]] == []
    clock.micros += 10 * MICROS_PER_MINUTE
    assert (await compact(store, clock)).folded == 1


async def test_a_correction_between_reading_and_storing_is_not_undone(
    observer: Observer, store: Store, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = await observer.subject()
    await write_many(observer, subject, MINUTES[:50])
    clock.micros = CLOSED
    apply = store.compactions.apply
    corrected = False

    async def correct_first(*arguments: object) -> object:
        nonlocal corrected
        if not corrected:
            corrected = True
            await store.corrections.delete_samples(
                subject, start=MINUTES[3], end=MINUTES[4], metrics=[1], run_id="", validate_only=False
            )
        return await apply(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(store.compactions, "apply", correct_first)
    done = await compact(store, clock)
    assert (done.folded, done.conflicts) == (1, 1)
    samples = await observer.samples(subject)
    assert (samples[MINUTES[3]], samples[MINUTES[2]]) == ({2: "s"}, {1: MINUTES[2], 2: "s"})
    assert len(samples) == 50


async def test_blocks_that_lost_samples_to_retention_are_left_alone_and_stand_between_no_others(
    observer: Observer, store: Store, clock: FixedClock
) -> None:
    subject = await observer.subject()
    await write_many(observer, subject, MINUTES[:10])
    reduced = update(tables.blocks).where(tables.blocks.c.seq == 5).values(reduced=True, rows=0, data=b"")
    await store._database.write(lambda connection: connection.execute(reduced))
    clock.micros = CLOSED
    await compact(store, clock)
    assert [(block.seq, block.rows) for block in await blocks_of(store, subject)] == [(5, 0), (10, 9)]


async def test_a_damaged_block_stays_and_those_around_it_are_folded(
    observer: Observer, store: Store, clock: FixedClock
) -> None:
    subject = await observer.subject()
    await write_many(observer, subject, MINUTES[:10])
    damage = update(tables.blocks).where(tables.blocks.c.seq == 5).values(data=b"\x08\x01\x15damaged")
    await store._database.write(lambda connection: connection.execute(damage))
    clock.micros = CLOSED
    worker = compactor(store, clock)
    while (await worker.run(no_pause)).days:
        pass
    assert worker.damaged == 1
    assert [(block.seq, block.rows) for block in await blocks_of(store, subject)] == [(4, 4), (5, 1), (10, 5)]


async def test_a_day_that_another_server_took_and_gave_up_is_due_again(
    observer: Observer, store: Store, clock: FixedClock
) -> None:
    subject = await observer.subject()
    await write_many(observer, subject, MINUTES[:10])
    clock.micros = CLOSED
    await store.compactions.discover(await store.positions.final(), 0)
    assert len(await store.compactions.claim(10)) == 1
    assert (await compact(store, clock)).folded == 0
    clock.micros += 11 * MICROS_PER_MINUTE
    assert (await compact(store, clock)).folded == 1


async def test_something_written_while_a_day_is_folded_is_found_later(
    observer: Observer, store: Store, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = await observer.subject()
    await write_many(observer, subject, MINUTES[:10])
    clock.micros = CLOSED
    blocks = store.compactions.blocks

    async def then_write(*arguments: object) -> object:
        found = await blocks(*arguments)  # type: ignore[arg-type]
        monkeypatch.undo()
        await write_many(observer, subject, MINUTES[10:20])
        await store.compactions.discover(await store.positions.final(), 0)
        return found

    monkeypatch.setattr(store.compactions, "blocks", then_write)
    await compact(store, clock)
    assert [block.rows for block in await blocks_of(store, subject)] == [20]


async def test_several_servers_compact_while_others_write_correct_and_read(
    open_store: OpenStore, clock: FixedClock
) -> None:
    stores = [await open_store() for _ in range(3)]
    observer = Observer(stores[0])
    subjects = [await observer.subject(f"s{number}") for number in range(6)]
    expected: dict[int, dict[int, dict[int, object]]] = {subject: {} for subject in subjects}
    clock.micros = CLOSED
    rng = random.Random(7)
    writing = True

    async def write(subject: int, store: Store) -> None:
        for _ in range(25):
            times = rng.sample(MINUTES, rng.randint(1, 8))
            await write_many(Observer(store), subject, times)
            expected[subject] |= {time: {1: time, 2: "s"} for time in times}
            if rng.random() < 0.2:
                start = rng.choice(MINUTES)
                end = start + 40 * MICROS_PER_MINUTE
                await store.corrections.delete_samples(
                    subject, start=start, end=end, metrics=None, run_id="", validate_only=False
                )
                expected[subject] = {
                    time: values for time, values in expected[subject].items() if not start <= time < end
                }
            assert await observer.samples(subject) == expected[subject]

    async def fold(store: Store) -> int:
        total, worker = 0, compactor(store, clock)
        while writing:
            total += (await worker.run(no_pause)).folded
            await asyncio.sleep(0)
        return total

    folding = [asyncio.create_task(fold(store)) for store in stores[1:]]
    await asyncio.gather(*(write(subject, stores[0]) for subject in subjects))
    writing = False
    assert sum(await asyncio.gather(*folding)) > 0
    clock.micros += 2 * MICROS_PER_DAY
    await compact(stores[0], clock)
    for subject in subjects:
        assert await observer.samples(subject) == expected[subject]
        assert len(await blocks_of(stores[0], subject)) == 1


@pytest.mark.parametrize("engine", ["postgresql"])
async def test_a_block_whose_transaction_could_be_overtaken_is_not_folded(
    observer: Observer, store: Store, clock: FixedClock
) -> None:
    """A transaction that began earlier may insert later: its block has the higher seq and the lower transaction."""
    subject = await observer.subject()
    await write_many(observer, subject, MINUTES[:4])
    position = await store.positions.final()
    await store._database.write(
        lambda connection: connection.execute(
            text("UPDATE blocks SET transaction_id = :later WHERE seq = 2"), {"later": position + 1_000}
        )
    )
    clock.micros = CLOSED
    await store.compactions.discover(position, 0)
    claims = await store.compactions.claim(10)
    found = (await store.compactions.blocks(claims, position))[claims[0]]
    assert [block.settled for block in found] == [True, False, True, True]


async def test_looking_for_days_goes_on_where_it_ended(
    observer: Observer, store: Store, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamgauge_server.storage.compaction.DISCOVERED_AT_ONCE", 7)
    subjects = [await observer.subject(f"s{number}") for number in range(5)]
    for subject in subjects:
        await write_many(observer, subject, MINUTES[:4])
    await observer.write(await observer.subject("single"), START, {1: 1})
    position = await store.positions.final()
    looks = []
    while seen := await store.compactions.discover(position, 0):
        looks.append(seen)
    assert looks == [7, 7, 7]
    count = select(func.count()).select_from(tables.compactions)
    assert await store._database.read(lambda connection: connection.scalar(count)) == 5
