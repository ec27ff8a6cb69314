"""Damage below the services: what corrections leave of it, latest values made again, and what `check` finds."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from sqlalchemy import Connection, select, update
from streamgauge_server.model.clock import MICROS_PER_DAY, MICROS_PER_HOUR, MICROS_PER_MINUTE
from streamgauge_server.model.values import ValueType
from streamgauge_server.services.block_reader import BlockReader
from streamgauge_server.storage import tables
from streamgauge_server.storage.blocks import SubjectWrite
from streamgauge_server.storage.integrity import Finding
from streamgauge_server.storage.store import Store
from streamgauge_server.timeseries.block import encode_days
from streamgauge_server.timeseries.damage import DamagedPart
from streamgauge_server.timeseries.frame import UNKNOWN_START, Column, Frame

from tests.conformance.conftest import START, Observer

DAY = START // MICROS_PER_DAY
BEGIN = DAY * MICROS_PER_DAY
ROWS = 24 * 6
COUNT, WORD = 1, 2


async def write_day(store: Store, subject: int, day: int = DAY) -> None:
    times = day * MICROS_PER_DAY + np.arange(ROWS) * 10 * MICROS_PER_MINUTE
    words = np.array([f"w{n % 5}" for n in range(ROWS)], np.object_)
    columns = {COUNT: Column(ValueType.INT64, np.arange(ROWS)), WORD: Column(ValueType.STRING, words)}
    frame = Frame(times, np.full(ROWS, UNKNOWN_START), columns)
    await store.blocks.append([SubjectWrite(subject, encode_days(frame), frame=frame)])


async def flip(store: Store, subject: int, *columns: str, day: int = DAY) -> None:
    """Flips a bit in columns of the blocks of a day; in `samples` in that of the row of latest values."""
    b, latest = tables.blocks.c, tables.latest.c

    def work(connection: Connection) -> None:
        if columns == ("samples",):
            data = connection.execute(select(latest.samples).where(latest.subject_id == subject)).scalar_one()
            change = update(tables.latest).where(latest.subject_id == subject)
            connection.execute(change.values(samples=_flipped(data)))
            return
        where = (b.subject_id == subject, b.day == day)
        for row in connection.execute(select(tables.blocks).where(*where)).all():
            values = {name: _flipped(getattr(row, name)) for name in columns}
            connection.execute(update(tables.blocks).where(*where, b.seq == row.seq).values(values))

    await store._database.write(work)


def _flipped(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


async def counts(store: Store, subject: int, day: int = DAY) -> Mapping[int, list[int]]:
    """Returns how many samples each hour of a day has, by metric."""
    bounds = [day * MICROS_PER_DAY + hour * MICROS_PER_HOUR for hour in range(25)]
    tables_ = await BlockReader(store).tables(
        [subject], bounds[0], bounds[-1], bounds, metrics=None, counters_among=None
    )
    table = tables_[subject]
    return {
        metric: [int(sum(stats.count[hour] for stats in table.all_stats(metric))) for hour in range(24)]
        for metric in table.metrics
    }


async def found(store: Store, *, deep: bool = True, repair: bool = False) -> list[Finding]:
    return [one async for examined in store.integrity.scan(deep=deep, repair=repair) for one in examined.findings]


async def test_what_is_deleted_of_a_damaged_block_goes_from_its_summaries(store: Store, observer: Observer) -> None:
    subject = await observer.subject()
    await write_day(store, subject)
    await flip(store, subject, "data")
    assert await counts(store, subject) == {COUNT: [6] * 24, WORD: [6] * 24}
    start, end = BEGIN + 3 * MICROS_PER_HOUR, BEGIN + 5 * MICROS_PER_HOUR + 1
    deleted = await store.corrections.delete_samples(
        subject, start=start, end=end, metrics={COUNT}, run_id="", validate_only=False
    )
    assert deleted.values == {}
    assert store.damage.found[DamagedPart.SAMPLES] == 1
    assert await counts(store, subject) == {COUNT: [6] * 3 + [0] * 3 + [6] * 18, WORD: [6] * 24}
    await store.corrections.delete_samples(
        subject, start=BEGIN, end=BEGIN + MICROS_PER_DAY, metrics=None, run_id="", validate_only=False
    )
    assert await counts(store, subject) == {}
    assert await found(store) == []
    assert (await observer.latest()).samples == {}


async def test_a_deletion_repairs_damaged_summaries(store: Store, observer: Observer) -> None:
    subject = await observer.subject()
    await write_day(store, subject)
    await flip(store, subject, "hour_summary", "day_summary")
    deleted = await store.corrections.delete_samples(
        subject, start=BEGIN, end=BEGIN + MICROS_PER_HOUR, metrics=None, run_id="", validate_only=False
    )
    assert deleted.values == {COUNT: 6, WORD: 6}
    assert await found(store) == []
    assert await counts(store, subject) == {COUNT: [0] + [6] * 23, WORD: [0] + [6] * 23}


async def test_latest_values_are_restored_from_what_can_be_read(store: Store, observer: Observer) -> None:
    subject = await observer.subject()
    for day in (DAY - 2, DAY - 1, DAY):
        await write_day(store, subject, day)
    await flip(store, subject, "data", day=DAY - 1)
    await store.corrections.delete_samples(
        subject, start=BEGIN, end=BEGIN + MICROS_PER_DAY, metrics=None, run_id="", validate_only=False
    )
    newest = (await observer.latest()).samples[COUNT]
    assert (newest.time // MICROS_PER_DAY, newest.value) == (DAY - 2, ROWS - 1)
    # A row that is made anew as a whole also looks into summaries.
    await flip(store, subject, "samples")
    newest = (await observer.latest()).samples[COUNT]
    assert (newest.time // MICROS_PER_DAY, newest.value) == (DAY - 1, ROWS - 1)


async def test_a_subject_without_samples_gets_its_row_again(store: Store, observer: Observer) -> None:
    subject = await observer.subject()
    await flip(store, subject, "samples")
    assert (await observer.latest()).samples == {}
    await flip(store, subject, "samples")
    await observer.write(subject, START, {COUNT: 1})
    assert await observer.latest_values() == {COUNT: 1}


async def test_appends_of_others_go_through_beside_a_damaged_row(store: Store, observer: Observer) -> None:
    damaged, sound = await observer.subject("a"), await observer.subject("b")
    await observer.write(damaged, START, {COUNT: 1, WORD: "x"})
    await flip(store, damaged, "samples")
    await store.blocks.append(
        [SubjectWrite(one, [], row=(START + 1, UNKNOWN_START, {COUNT: 2})) for one in (damaged, sound)]
    )
    assert await observer.latest_values("a") == {COUNT: 2, WORD: "x"}
    assert await observer.latest_values("b") == {COUNT: 2}


async def test_the_check_tells_what_is_lost(store: Store, observer: Observer) -> None:
    subject = await observer.subject("a", "p")
    await write_day(store, subject)
    await flip(store, subject, "data")
    (finding,) = await found(store)
    assert (finding.what, finding.tenant, finding.subject, finding.part) == ("block", "t", "sources/a", "p")
    assert (finding.day, finding.lost, finding.repairable) == (DAY, {"1": ROWS, "2": ROWS}, False)
    assert await found(store, repair=True) == [finding]  # nothing can be done, and nothing is
    await flip(store, subject, "hour_summary", "day_summary")
    (finding,) = await found(store)
    assert finding.lost is None


@pytest.mark.parametrize("columns", [("hour_summary",), ("day_summary",), ("hour_summary", "day_summary")])
async def test_the_check_repairs_summaries(store: Store, observer: Observer, columns: tuple[str, ...]) -> None:
    subject = await observer.subject()
    await write_day(store, subject)

    def rows(connection: Connection) -> list[tuple[object, ...]]:
        return [tuple(row) for row in connection.execute(select(tables.blocks))]

    before = await store._database.read(rows)
    await flip(store, subject, *columns)
    (finding,) = await found(store, repair=True)
    assert (finding.repairable, finding.repaired) == (True, True)
    assert await found(store) == []
    assert await store._database.read(rows) == before


async def test_the_deep_check_finds_summaries_of_other_samples(store: Store, observer: Observer) -> None:
    one, other = await observer.subject("a"), await observer.subject("b")
    await write_day(store, one)
    await write_day(store, other)
    b = tables.blocks.c

    def mix(connection: Connection) -> None:
        rows = connection.execute(select(b.hour_summary).where(b.subject_id == one)).scalar_one()
        connection.execute(update(tables.blocks).where(b.subject_id == one).values(day_summary=rows))

    await store._database.write(mix)
    assert await found(store, deep=False) == []
    (finding,) = await found(store)
    assert "summary of the day" in finding.problem
    await found(store, repair=True)
    assert await found(store) == []


async def test_the_deep_check_finds_latest_values_that_are_behind(store: Store, observer: Observer) -> None:
    subject = await observer.subject()
    await observer.write(subject, START, {COUNT: 1})
    await store.blocks.append([SubjectWrite(subject, encode_days(_frame(START + 5)))])
    assert await found(store, deep=False) == []
    (finding,) = await found(store)
    assert finding.what == "latest"


def _frame(time: int) -> Frame:
    columns = {COUNT: Column(ValueType.INT64, np.array([2]))}
    return Frame(np.array([time]), np.array([UNKNOWN_START]), columns)
