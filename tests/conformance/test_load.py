"""Loading blocks: what of them comes with which call, in which order, and what lies before a range."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from streamgauge_server.model.clock import MICROS_PER_DAY
from streamgauge_server.model.values import ValueType
from streamgauge_server.storage.blocks import SubjectWrite
from streamgauge_server.timeseries.block import SUMMARY_MIN_ROWS, Block, encode
from streamgauge_server.timeseries.frame import UNKNOWN_START, Column, build_frame
from streamgauge_server.timeseries.query import StoredBlock

from tests.conformance.conftest import MAX_DAY, START, Observer, row_write


def day_block(day: int, rows: int = SUMMARY_MIN_ROWS) -> Block:
    times = day * MICROS_PER_DAY + np.arange(rows, dtype=np.int64) * (MICROS_PER_DAY // rows)
    values = Column(ValueType.INT64, np.arange(rows, dtype=np.int64), None)
    return encode(build_frame(times, np.full(rows, UNKNOWN_START, np.int64), {1: values}))


@pytest.fixture
async def subject(observer: Observer) -> int:
    """A subject with a block on days 100 to 104 and a second, small one on day 102."""
    subject = await observer.subject()
    blocks = [day_block(day) for day in (104, 100, 102, 101, 103)] + [day_block(102, rows=3)]
    await observer.store.blocks.append([SubjectWrite(subject, blocks)])
    return subject


async def test_blocks_come_by_day_then_seq_with_both_ends_of_the_range(observer: Observer, subject: int) -> None:
    loaded = (await observer.store.blocks.load([subject], 101, 103, summaries=True))[subject]
    assert [(block.day, block.rows) for block in loaded] == [(101, 32), (102, 32), (102, 3), (103, 32)]
    assert loaded[1].seq < loaded[2].seq


async def test_small_blocks_come_with_data_large_ones_with_summaries(observer: Observer, subject: int) -> None:
    large, small = (await observer.store.blocks.load([subject], 102, 102, summaries=True))[subject]
    expected = day_block(102)
    assert (large.hour_summary, large.day_summary, large.data) == (expected.hour_summary, expected.day_summary, None)
    assert (small.hour_summary, small.day_summary, small.data) == (None, None, day_block(102, rows=3).data)


async def test_without_summaries_there_are_none(observer: Observer, subject: int) -> None:
    loaded = (await observer.store.blocks.load([subject], 0, MAX_DAY, summaries=False))[subject]
    assert {(block.hour_summary, block.day_summary) for block in loaded} == {(None, None)}


async def test_summaries_of_hours_come_for_the_days_that_are_named(observer: Observer, subject: int) -> None:
    async def days_with_hours(days: Sequence[int] | None) -> list[int]:
        loaded = await observer.store.blocks.load([subject], 0, MAX_DAY, summaries=True, hour_summary_days=days)
        assert all(block.day_summary for block in loaded[subject] if block.rows == 32)
        return [block.day for block in loaded[subject] if block.hour_summary]

    assert await days_with_hours([]) == []
    assert await days_with_hours([100, 104, 7]) == [100, 104]
    assert await days_with_hours(None) == [100, 101, 102, 103, 104]


async def test_the_bound_on_rows_decides_which_data_come_along(observer: Observer, subject: int) -> None:
    async def rows_with_data(below: int) -> set[int]:
        loaded = await observer.store.blocks.load([subject], 0, MAX_DAY, summaries=False, data_below_rows=below)
        return {block.rows for block in loaded[subject] if block.data}

    assert await rows_with_data(0) == set()
    assert await rows_with_data(3) == set()
    assert await rows_with_data(4) == {3}
    assert await rows_with_data(33) == {3, 32}


async def test_each_subject_has_a_list_of_its_own_be_it_empty(observer: Observer, subject: int) -> None:
    other, empty = await observer.subject("other"), await observer.subject("empty")
    await observer.write(other, 101 * MICROS_PER_DAY, {1: 1})
    loaded = await observer.store.blocks.load([empty, other, subject, 10**9], 101, 101, summaries=True)
    assert {id_: len(blocks) for id_, blocks in loaded.items()} == {empty: 0, other: 1, subject: 1, 10**9: 0}
    assert await observer.store.blocks.load([], 0, MAX_DAY, summaries=True) == {}


async def test_a_thousand_subjects_are_loaded_at_once(observer: Observer) -> None:
    ids = [await observer.subject(), *range(10**6, 10**6 + 999)]
    await observer.write(ids[0], START, {1: 1})
    loaded = await observer.store.blocks.load(ids, 0, MAX_DAY, summaries=True)
    assert [len(loaded[id_]) for id_ in ids] == [1] + [0] * 999


async def test_data_are_loaded_by_key_and_what_is_gone_is_missing(observer: Observer, subject: int) -> None:
    loaded = (await observer.store.blocks.load([subject], 100, 101, summaries=False))[subject]
    keys = [(subject, block.day, block.seq) for block in loaded] + [(subject, 100, 10**9)]
    found = await observer.store.blocks.load_data(keys)
    assert found == {loaded[0].seq: day_block(100).data, loaded[1].seq: day_block(101).data}
    assert await observer.store.blocks.load_data([]) == {}


async def test_data_of_many_blocks_are_loaded_at_once(observer: Observer) -> None:
    subject = await observer.subject()
    for start in range(0, 1_500, 500):
        await observer.store.blocks.append([row_write(subject, START + n, {1: n}) for n in range(start, start + 500)])
    blocks = (await observer.store.blocks.load([subject], 0, MAX_DAY, summaries=False, data_below_rows=0))[subject]
    found = await observer.store.blocks.load_data([(subject, block.day, block.seq) for block in blocks])
    assert found.keys() == {block.seq for block in blocks}
    assert len(found) == 1_500


class TestDaysBefore:
    @pytest.fixture
    async def gappy(self, observer: Observer) -> int:
        """A subject with blocks on days 10, 60, 80, 100 (twice) and 101."""
        subject = await observer.subject("gappy")
        blocks = [day_block(day, rows) for day, rows in ((10, 32), (60, 2), (80, 32), (100, 32), (100, 1), (101, 32))]
        await observer.store.blocks.append([SubjectWrite(subject, blocks)])
        return subject

    async def days(self, observer: Observer, subject: int, day: int, **options: object) -> list[int]:
        loaded = await observer.store.blocks.days_before([subject], day, **options)  # type: ignore[arg-type]
        return [block.day for block in loaded[subject]]

    async def test_the_newest_day_is_enough_by_default_whatever_the_gap(self, observer: Observer, gappy: int) -> None:
        assert await self.days(observer, gappy, 101) == [100, 100]
        assert await self.days(observer, gappy, 100) == [80]
        assert await self.days(observer, gappy, 60) == [10]
        assert await self.days(observer, gappy, 5_000) == [101]
        assert await self.days(observer, gappy, 10) == []

    async def test_blocks_come_with_day_summaries_and_small_ones_with_data(
        self, observer: Observer, gappy: int
    ) -> None:
        large, small = (await observer.store.blocks.days_before([gappy], 101))[gappy]
        assert (large.hour_summary, large.day_summary, large.data) == (None, day_block(100).day_summary, None)
        assert (small.rows, small.data) == (1, day_block(100, rows=1).data)

    async def test_it_steps_back_thirty_days_then_to_the_beginning(self, observer: Observer, gappy: int) -> None:
        steps: list[list[int]] = []

        def never(subject_id: int, blocks: Sequence[StoredBlock]) -> bool:
            assert subject_id == gappy
            steps.append([block.day for block in blocks])
            return False

        assert await self.days(observer, gappy, 101, enough=never) == [10, 60, 80, 100, 100]
        assert steps == [[100, 100], [80, 100, 100]]

    async def test_it_stops_for_each_subject_when_that_has_enough(self, observer: Observer, gappy: int) -> None:
        other, empty = await observer.subject("other"), await observer.subject("empty")
        for day in (20, 98, 99):
            await observer.write(other, day * MICROS_PER_DAY, {1: 1})

        def enough(subject_id: int, blocks: Sequence[StoredBlock]) -> bool:
            assert blocks
            return subject_id == other or len(blocks) > 2

        found = await observer.store.blocks.days_before([gappy, other, empty], 101, enough=enough)
        assert {id_: [block.day for block in blocks] for id_, blocks in found.items()} == {
            gappy: [80, 100, 100],
            other: [99],
            empty: [],
        }
