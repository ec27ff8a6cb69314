"""Stretches of a history: every sample once, in order, merged, whatever the sizes of the blocks and the steps."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from streamgauge_server.model.clock import MICROS_PER_DAY, FixedClock
from streamgauge_server.model.limits import Limits
from streamgauge_server.model.names import SubjectName
from streamgauge_server.model.values import Scalar, SubjectKind, ValueType
from streamgauge_server.services import asset_history
from streamgauge_server.services.asset_history import AssetHistory
from streamgauge_server.services.compaction import Compactor
from streamgauge_server.storage.blocks import SubjectWrite
from streamgauge_server.storage.store import Store
from streamgauge_server.storage.subjects import SubjectKey
from streamgauge_server.timeseries.block import encode_days
from streamgauge_server.timeseries.frame import UNKNOWN_START, Column, Frame, build_frame

EVER = -(10**6) * MICROS_PER_DAY, 10**6 * MICROS_PER_DAY
Samples = dict[int, dict[int, Scalar]]
moments = st.integers(-3, 12).map(lambda n: n * (MICROS_PER_DAY // 5))
writes = st.lists(
    st.tuples(st.lists(moments, min_size=1, max_size=6), st.integers(1, 3), st.integers(-1000, 1000)), max_size=12
)


@pytest.fixture
async def store() -> AsyncIterator[Store]:
    store = await Store.open("sqlite://:memory:", clock=FixedClock(0))
    yield store
    await store.close()


async def subject(store: Store, name: str) -> int:
    key = SubjectKey(SubjectName(SubjectKind.SOURCE, name), "")
    return (await store.subjects.register("t", [key], limits=Limits()))[key]


def frame(times: list[int], metric: int, first: int) -> Frame:
    values = np.arange(first, first + len(times), dtype=np.int64)
    starts = np.full(len(times), UNKNOWN_START, np.int64)
    return build_frame(np.array(times, np.int64), starts, {metric: Column(ValueType.INT64, values)})


def samples_of(part: Frame) -> Samples:
    found: Samples = {}
    for metric, column in part.columns.items():
        for row, (time, value) in enumerate(zip(part.times.tolist(), column.values.tolist(), strict=True)):
            if column.present is None or column.present[row]:
                found.setdefault(time, {})[metric] = value
    return found


async def read(
    store: Store, subject_id: int, start: int, end: int, metrics: set[int] | None = None, first_blocks: int = 2
) -> tuple[Samples, int]:
    """Returns all samples of a range and the number of frames that had them; asserts that frames follow each other."""
    found: Samples = {}
    frames = 0
    last = start - 1
    async for part in AssetHistory(store).stretches(subject_id, start, end, metrics, first_blocks=first_blocks):
        frames += 1
        if len(part.times):
            assert last < part.times[0]
            last = int(part.times[-1])
            assert last < end
        found.update(samples_of(part))
    return found, frames


@settings(max_examples=40, deadline=None)
@given(written=writes, edges=st.tuples(moments, moments), first_blocks=st.integers(1, 5), budget=st.integers(1, 1_000))
def test_stretches_have_what_was_written_last_and_all_of_it(
    written: list[tuple[list[int], int, int]], edges: tuple[int, int], first_blocks: int, budget: int
) -> None:
    start, end = min(edges), max(edges) + 1

    async def run() -> None:
        store = await Store.open("sqlite://:memory:", clock=FixedClock(0))
        try:
            id_ = await subject(store, "s")
            expected: Samples = {}
            for times, metric, first in written:
                part = frame(sorted(set(times)), metric, first)
                await store.blocks.append([SubjectWrite(id_, encode_days(part))])
                for time, values in samples_of(part).items():
                    if start <= time < end:
                        expected.setdefault(time, {}).update(values)
            found, _ = await read(store, id_, start, end, first_blocks=first_blocks)
            assert found == expected
            found, _ = await read(store, id_, start, end, {2}, first_blocks)
            assert found == {time: {2: values[2]} for time, values in expected.items() if 2 in values}
        finally:
            await store.close()

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(asset_history, "_STRETCH_BYTES", budget)
        asyncio.run(run())


async def test_a_moment_in_more_blocks_than_a_step_takes_is_read_as_one(store: Store) -> None:
    id_ = await subject(store, "s")
    for metric in range(1, 41):
        await store.blocks.append([SubjectWrite(id_, encode_days(frame([5], metric, metric)))])
    assert await read(store, id_, *EVER) == ({5: {metric: metric for metric in range(1, 41)}}, 1)


async def test_steps_grow_so_that_few_statements_read_much(store: Store) -> None:
    id_ = await subject(store, "s")
    times = [n * 3 * MICROS_PER_DAY for n in range(500)]
    await store.blocks.append(
        [SubjectWrite(id_, [block for time in times for block in encode_days(frame([time], 1, 0))])]
    )
    found, frames = await read(store, id_, *EVER, first_blocks=2)
    assert list(found) == times
    assert frames <= 10


async def test_the_first_step_reads_no_more_blocks_than_it_was_told(store: Store) -> None:
    id_ = await subject(store, "s")
    await store.blocks.append(
        [SubjectWrite(id_, [block for n in range(500) for block in encode_days(frame([n], 1, n))])]
    )
    parts = AssetHistory(store).stretches(id_, *EVER, None, first_blocks=12)
    assert samples_of(await anext(parts)) == {n: {1: n} for n in range(11)}
    await parts.aclose()


async def test_large_blocks_are_not_loaded_together(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    id_ = await subject(store, "s")
    blocks = [block for n in range(20) for block in encode_days(frame([n * 10, n * 10 + 1], 1, n))]
    await store.blocks.append([SubjectWrite(id_, blocks)])
    monkeypatch.setattr(asset_history, "_STRETCH_BYTES", 3 * len(blocks[0].data))
    loaded: list[int] = []
    load_data = store.blocks.load_data

    async def counting(keys: Sequence[tuple[int, int, int]]) -> dict[int, bytes]:
        loaded.append(len(keys))
        return await load_data(keys)

    monkeypatch.setattr(store.blocks, "load_data", counting)
    found, _ = await read(store, id_, *EVER, first_blocks=100)
    assert len(found) == 40
    assert max(loaded) == 3


async def test_when_a_block_has_gone_before_its_data_are_loaded_the_rest_is_looked_at_again(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    id_ = await subject(store, "s")
    await store.blocks.append([SubjectWrite(id_, [*encode_days(frame([1], 1, 1)), *encode_days(frame([2], 1, 2))])])
    load_data = store.blocks.load_data

    async def after_a_deletion(keys: Sequence[tuple[int, int, int]]) -> dict[int, bytes]:
        monkeypatch.undo()
        await store.corrections.delete_samples(id_, start=1, end=2, metrics=None, run_id="", validate_only=False)
        return await load_data(keys)

    monkeypatch.setattr(store.blocks, "load_data", after_a_deletion)
    assert (await read(store, id_, *EVER, first_blocks=10))[0] == {2: {1: 2}}


@pytest.mark.parametrize("first_blocks", [2, 3, 10])
async def test_blocks_that_are_folded_before_their_data_are_loaded_lose_nothing(
    store: Store, monkeypatch: pytest.MonkeyPatch, first_blocks: int
) -> None:
    id_ = await subject(store, "s")
    for time in (1, 5, 3, 9, 7, 2):
        await store.blocks.append([SubjectWrite(id_, encode_days(frame([time], 1, time)))])
    load_data = store.blocks.load_data
    clock = FixedClock(2 * MICROS_PER_DAY)

    async def after_compaction(keys: Sequence[tuple[int, int, int]]) -> dict[int, bytes]:
        monkeypatch.undo()
        store.compactions._clock = clock
        done = await Compactor(store, clock, horizon=0).run(_no_pause)
        assert (done.blocks, done.folded) == (6, 1)
        return await load_data(keys)

    monkeypatch.setattr(store.blocks, "load_data", after_compaction)
    found, _ = await read(store, id_, *EVER, first_blocks=first_blocks)
    assert found == {time: {1: time} for time in (1, 2, 3, 5, 7, 9)}


async def _no_pause(seconds: float) -> None:
    """Goes on at once."""


async def test_nothing_is_read_of_an_empty_subject(store: Store) -> None:
    assert await read(store, await subject(store, "s"), *EVER) == ({}, 0)
