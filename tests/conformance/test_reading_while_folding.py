"""Readers whose blocks are folded between their statements answer as if they had not been."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from streamgauge_server.model.clock import MICROS_PER_DAY, MICROS_PER_HOUR, MICROS_PER_MINUTE, FixedClock
from streamgauge_server.model.values import ValueType
from streamgauge_server.services.block_reader import BlockReader
from streamgauge_server.services.compaction import GRACE, Compactor
from streamgauge_server.storage.blocks import SubjectWrite
from streamgauge_server.storage.store import Store
from streamgauge_server.timeseries.block import encode_days
from streamgauge_server.timeseries.frame import Column, Frame
from streamgauge_server.timeseries.query import StoredBlock
from streamgauge_server.timeseries.windows import WindowTable

from tests.conformance.conftest import START, Observer

BEGIN = START // MICROS_PER_DAY * MICROS_PER_DAY
CLOSED = BEGIN + MICROS_PER_DAY + GRACE


async def no_pause(seconds: float) -> None:
    """Goes on at once."""


def counter(begin: int, step: int, rows: int) -> Frame:
    times = begin + np.arange(rows, dtype=np.int64) * step
    values = (times - BEGIN) // MICROS_PER_MINUTE
    return Frame(times, np.full(rows, 5, np.int64), {1: Column(ValueType.INT64, values)})


async def fill(observer: Observer, name: str) -> int:
    """Stores overlapping blocks of a day and the day before, large and small."""
    subject = await observer.subject(name)
    yesterday = counter(BEGIN - 50 * MICROS_PER_MINUTE, MICROS_PER_MINUTE, 10)
    frames = [counter(BEGIN + n * MICROS_PER_HOUR * 2, MICROS_PER_MINUTE * 2, 75) for n in range(8)]
    late = [counter(BEGIN + n * 3 * MICROS_PER_HOUR + 1, MICROS_PER_HOUR, 3) for n in range(5)]
    for frame in (yesterday, *frames, *late):
        await observer.store.blocks.append([SubjectWrite(subject, encode_days(frame), frame=frame)])
    return subject


def told(tables: Mapping[int, WindowTable]) -> dict[int, list[object]]:
    return {
        id_: [
            (
                stats.type,
                *(column.tolist() for column in (stats.count, stats.sum, stats.first, stats.last, stats.increase)),
            )
            for stats in table.all_stats(1)
        ]
        for id_, table in tables.items()
    }


@pytest.fixture
def fold_first(store: Store, clock: FixedClock, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[int]]:
    """From its call on the blocks of the store are folded just before samples are loaded the next time."""

    def arm() -> list[int]:
        folded: list[int] = []
        load_data_of = store.blocks.load_data_of

        async def after_folding(blocks: Mapping[int, Sequence[StoredBlock]]) -> dict[int, bytes]:
            monkeypatch.undo()
            clock.micros = CLOSED + MICROS_PER_DAY
            folded.append((await Compactor(store, clock, horizon=0).run(no_pause)).folded)
            return await load_data_of(blocks)

        monkeypatch.setattr(store.blocks, "load_data_of", after_folding)
        return folded

    return arm


async def every(metrics: Collection[int]) -> Collection[int]:
    return metrics


Read = Callable[[BlockReader, list[int]], Awaitable[Any]]


async def windows(reader: BlockReader, subjects: list[int]) -> object:
    start, end = BEGIN + 95 * MICROS_PER_MINUTE, BEGIN + 20 * MICROS_PER_HOUR + 1
    bounds = [start + n * 25 * MICROS_PER_MINUTE for n in range(50)]
    return told(await reader.tables(subjects, start, end, bounds, metrics=None, counters_among=every))


async def a_day(reader: BlockReader, subjects: list[int]) -> object:
    bounds = [BEGIN + n * MICROS_PER_HOUR for n in range(25)]
    return told(await reader.tables(subjects, bounds[0], bounds[-1], bounds, metrics=None, counters_among=every))


async def before(reader: BlockReader, subjects: list[int]) -> object:
    return await reader.standing({id_: [1] for id_ in subjects}, BEGIN + 13 * MICROS_PER_HOUR + 7)


async def long_before(reader: BlockReader, subjects: list[int]) -> object:
    return await reader.standing({id_: [1] for id_ in subjects}, BEGIN + 3 * MICROS_PER_DAY)


async def lifetimes(reader: BlockReader, subjects: list[int]) -> object:
    return [await reader.lifetimes(id_, [1]) for id_ in subjects]


@pytest.mark.parametrize("read", [windows, a_day, before, long_before, lifetimes])
async def test_an_answer_is_the_same_when_blocks_are_folded_while_it_is_read(
    observer: Observer, store: Store, fold_first: Callable[[], list[int]], read: Read
) -> None:
    subjects = [await fill(observer, f"s{number}") for number in range(3)]
    reader = BlockReader(store)
    expected = await read(reader, subjects)
    folded = fold_first()
    assert await read(reader, subjects) == expected
    assert folded == [3]
    assert await read(reader, subjects) == expected
