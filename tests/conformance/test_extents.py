"""The extents of blocks: where a reader in the order of time finds the next ones."""

from __future__ import annotations

import pytest
from streamgauge_server.model.clock import MICROS_PER_DAY
from streamgauge_server.storage.blocks import SubjectWrite
from streamgauge_server.timeseries.block import Block

from tests.conformance.conftest import Observer
from tests.conformance.test_load import day_block

EVER = -(10**6) * MICROS_PER_DAY, 10**6 * MICROS_PER_DAY


@pytest.fixture
async def blocks() -> list[Block]:
    """Blocks of days -1, 100, 101 and 102, in another order; two on day 101, of which the later has fewer rows."""
    return [day_block(102), day_block(101), day_block(-1), day_block(101, rows=3), day_block(100)]


@pytest.fixture
async def subject(observer: Observer, blocks: list[Block]) -> int:
    subject = await observer.subject()
    await observer.store.blocks.append([SubjectWrite(subject, blocks)])
    await observer.write(subject, 101 * MICROS_PER_DAY - 1, {1: 1})
    await observer.write(await observer.subject("other"), 101 * MICROS_PER_DAY, {1: 1})
    return subject


async def test_extents_come_by_first_moment_then_seq(observer: Observer, subject: int, blocks: list[Block]) -> None:
    extents = await observer.store.blocks.extents(subject, *EVER, limit=10)
    ends = [MICROS_PER_DAY * day for day in (-1, 100, 101, 101, 102)]
    assert [extent.first_time for extent in extents] == [*ends[:2], 101 * MICROS_PER_DAY - 1, *ends[2:]]
    assert [extent.day for extent in extents] == [-1, 100, 100, 101, 101, 102]
    assert extents[3].seq < extents[4].seq


async def test_an_extent_tells_the_size_of_the_data(observer: Observer, subject: int, blocks: list[Block]) -> None:
    extents = await observer.store.blocks.extents(subject, *EVER, limit=10)
    data = await observer.store.blocks.load_data([(subject, extent.day, extent.seq) for extent in extents])
    assert [extent.size for extent in extents] == [len(data[extent.seq]) for extent in extents]
    assert max(extent.size for extent in extents) == max(len(block.data) for block in blocks)


async def test_only_the_first_are_returned(observer: Observer, subject: int) -> None:
    every = await observer.store.blocks.extents(subject, *EVER, limit=10)
    for limit in range(1, 7):
        assert await observer.store.blocks.extents(subject, *EVER, limit=limit) == every[:limit]


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (101 * MICROS_PER_DAY - 1, 101 * MICROS_PER_DAY, [100]),
        (101 * MICROS_PER_DAY - 1, 101 * MICROS_PER_DAY + 1, [100, 101, 101]),
        (100 * MICROS_PER_DAY, 100 * MICROS_PER_DAY + 1, [100]),
        (-MICROS_PER_DAY, 0, [-1]),
        (-1, 100 * MICROS_PER_DAY, []),
        (103 * MICROS_PER_DAY, EVER[1], []),
    ],
)
async def test_the_range_is_half_open(
    observer: Observer, subject: int, start: int, end: int, expected: list[int]
) -> None:
    extents = await observer.store.blocks.extents(subject, start, end, limit=10)
    assert [extent.day for extent in extents] == expected


async def test_a_block_that_begins_before_the_range_and_reaches_into_it_counts(
    observer: Observer, subject: int
) -> None:
    noon = 102 * MICROS_PER_DAY + MICROS_PER_DAY // 2
    extents = await observer.store.blocks.extents(subject, noon, noon + 1, limit=10)
    assert [extent.first_time for extent in extents] == [102 * MICROS_PER_DAY]


async def test_no_subject_no_extents(observer: Observer) -> None:
    assert await observer.store.blocks.extents(10**9, *EVER, limit=10) == []
