"""Corrections: samples are taken out of blocks and latest values as if they had never been written."""

from __future__ import annotations

import asyncio
import random
import sys
from collections import Counter
from collections.abc import Collection, Mapping

import numpy as np
import pytest
from sqlalchemy import Connection, func, select
from streamgauge_server.model.clock import MAX_MICROS, MICROS_PER_DAY, MIN_MICROS
from streamgauge_server.model.values import Scalar, SubjectKind, ValueType
from streamgauge_server.storage import tables
from streamgauge_server.storage.blocks import SubjectGone, SubjectWrite
from streamgauge_server.storage.corrections import Deleted
from streamgauge_server.storage.store import Store
from streamgauge_server.timeseries.block import SUMMARY_MIN_ROWS, encode_days, encode_row
from streamgauge_server.timeseries.frame import UNKNOWN_START, Column, Frame
from streamgauge_server.timeseries.latest import LatestSample

from tests.conformance.conftest import MAX_DAY, START, Observer, OpenStore

A, B, C = 1, 2, 3


async def emit(
    store: Store, subject: int, time: int, values: Mapping[int, Scalar], run: str = "", start: int = UNKNOWN_START
) -> None:
    """Writes one observation of a run."""
    row = (time, start, values)
    await store.blocks.append([SubjectWrite(subject, [encode_row(*row)], row=row, run_id=run)])


async def write_minutes(store: Store, subject: int, count: int, run: str = "") -> Frame:
    """Writes a frame of two metrics, a row a minute."""
    times = START + np.arange(count) * 60_000_000
    columns = {
        A: Column(ValueType.INT64, np.arange(count)),
        B: Column(ValueType.STRING, np.array([f"b{n}" for n in range(count)], np.object_)),
    }
    frame = Frame(times, np.full(count, UNKNOWN_START), columns)
    await store.blocks.append([SubjectWrite(subject, encode_days(frame), frame, run_id=run)])
    return frame


async def delete(
    store: Store,
    subject: int,
    start: int = MIN_MICROS,
    end: int = MAX_MICROS,
    metrics: Collection[int] | None = None,
    run: str = "",
    *,
    validate_only: bool = False,
) -> Mapping[int, int]:
    """Deletes samples, after a preview that must count the same."""
    wanted = {"start": start, "end": end, "metrics": metrics, "run_id": run}
    preview: Deleted = await store.corrections.delete_samples(subject, **wanted, validate_only=True)  # type: ignore[arg-type]
    if validate_only:
        return preview.values
    deleted = await store.corrections.delete_samples(subject, **wanted, validate_only=False)  # type: ignore[arg-type]
    assert deleted == preview
    return deleted.values


async def count_blocks(store: Store) -> int:
    def work(connection: Connection) -> int:
        return connection.execute(select(func.count()).select_from(tables.blocks)).scalar_one()

    return await store._database.read(work)


async def check_sound(store: Store) -> None:
    """Every block can be read and is what its row says."""
    assert [one async for examined in store.integrity.scan(deep=True) for one in examined.findings] == []


async def test_a_range_takes_its_start_and_leaves_its_end(observer: Observer) -> None:
    subject = await observer.subject()
    for time in range(4):
        await observer.write(subject, START + time, {A: time, B: time * 2.5})
    assert await delete(observer.store, subject, START + 1, START + 3) == {A: 2, B: 2}
    assert await observer.samples(subject) == {START: {A: 0, B: 0.0}, START + 3: {A: 3, B: 7.5}}
    assert await observer.latest_values() == {A: 3, B: 7.5}


async def test_named_metrics_go_and_the_others_of_the_same_observations_stay(observer: Observer) -> None:
    subject = await observer.subject()
    await observer.write(subject, START, {A: 1, B: "x", C: True})
    await observer.write(subject, START + 1, {A: 2})
    assert await delete(observer.store, subject, metrics={A, 99}) == {A: 2}
    assert await observer.samples(subject) == {START: {B: "x", C: True}}
    assert await observer.latest_values() == {B: "x", C: True}
    await check_sound(observer.store)


async def test_blocks_of_which_nothing_is_left_are_removed(observer: Observer) -> None:
    subject, other = await observer.subject(), await observer.subject("other")
    await write_minutes(observer.store, subject, 100)
    await observer.write(subject, START, {A: -1})
    await observer.write(other, START, {A: 1})
    assert await delete(observer.store, subject) == {A: 100, B: 100}
    assert (await observer.samples(subject), await observer.latest_values()) == ({}, {})
    assert await count_blocks(observer.store) == 1
    assert await observer.latest_values("other") == {A: 1}


async def test_a_large_block_keeps_its_place_with_what_is_left_and_new_summaries(observer: Observer) -> None:
    subject, store = await observer.subject(), observer.store
    await write_minutes(store, subject, 100)
    await observer.write(subject, START + 60_000_000, {A: -1})
    (before, last) = (await store.blocks.load([subject], 0, MAX_DAY, summaries=True))[subject]
    assert await delete(store, subject, START + 2 * 60_000_000, START + 50 * 60_000_000, {B}) == {B: 48}
    (after, same) = (await store.blocks.load([subject], 0, MAX_DAY, summaries=True))[subject]
    assert (after.seq, after.rows, same) == (before.seq, 100, last)
    assert after.day_summary not in (None, before.day_summary)
    samples = await observer.samples(subject)
    assert samples[START + 60_000_000] == {A: -1, B: "b1"}
    assert samples[START + 2 * 60_000_000] == {A: 2}

    left = SUMMARY_MIN_ROWS - 1
    assert await delete(store, subject, START + left * 60_000_000) == {A: 100 - left, B: 50}
    (after, same) = (await store.blocks.load([subject], 0, MAX_DAY, summaries=True))[subject]
    assert (after.seq, after.rows, after.last_time) == (before.seq, left, START + (left - 1) * 60_000_000)
    assert (after.hour_summary, after.day_summary) == (None, None)
    await check_sound(store)


async def test_a_deletion_reaches_over_days_and_before_1970(observer: Observer) -> None:
    subject = await observer.subject()
    days = [-700_000, -1, 0, START // MICROS_PER_DAY]
    for day in days:
        for time in (0, MICROS_PER_DAY - 1):
            await observer.write(subject, day * MICROS_PER_DAY + time, {A: day})
    first = await delete(observer.store, subject, days[0] * MICROS_PER_DAY + 1, days[2] * MICROS_PER_DAY + 1)
    assert first == {A: 4}
    assert await delete(observer.store, subject, 1) == {A: 3}
    latest = await observer.latest()
    assert latest.samples == {A: LatestSample(days[0] * MICROS_PER_DAY, days[0], UNKNOWN_START, None)}
    assert await delete(observer.store, subject) == {A: 1}


async def test_values_that_a_run_replaced_stand_again(observer: Observer) -> None:
    subject, store = await observer.subject(), observer.store
    await emit(store, subject, START, {A: "before", B: "only before"})
    await emit(store, subject, START, {A: "wrong", C: "only wrong"}, "r")
    await emit(store, subject, START + 1, {A: "new"}, "r")
    assert await observer.latest_values() == {A: "new", B: "only before", C: "only wrong"}
    assert await delete(store, subject, run="r") == {A: 2, C: 1}
    assert await observer.samples(subject) == {START: {A: "before", B: "only before"}}
    assert await observer.latest_values() == {A: "before", B: "only before"}
    assert await delete(store, subject, run="r") == {}


async def test_values_of_a_run_that_others_replaced_go_without_being_counted(observer: Observer) -> None:
    subject, store = await observer.subject(), observer.store
    await emit(store, subject, START, {A: 1, B: 1}, "r")
    await emit(store, subject, START, {A: 2}, "s")
    assert await delete(store, subject, run="r") == {B: 1}
    assert await observer.samples(subject) == {START: {A: 2}}
    assert await delete(store, subject, run="s") == {A: 1}
    assert (await observer.samples(subject), await observer.latest_values()) == ({}, {})


async def test_a_run_is_deleted_within_a_range_and_by_metric(observer: Observer) -> None:
    subject, store = await observer.subject(), observer.store
    for time in range(3):
        await emit(store, subject, START + time, {A: time, B: time}, "r")
        await emit(store, subject, START + time, {C: time}, "other")
    assert await delete(store, subject, START + 1, START + 2, {A, C}, "r") == {A: 1}
    assert await observer.samples(subject) == {
        START: {A: 0, B: 0, C: 0},
        START + 1: {B: 1, C: 1},
        START + 2: {A: 2, B: 2, C: 2},
    }


async def test_without_a_run_everything_goes_whoever_wrote_it(observer: Observer) -> None:
    subject, store = await observer.subject(), observer.store
    await emit(store, subject, START, {A: 1})
    await emit(store, subject, START, {A: 2}, "r")
    await emit(store, subject, START, {A: 3}, "s")
    assert await delete(store, subject) == {A: 1}
    assert await observer.samples(subject) == {}


async def test_a_preview_changes_nothing(observer: Observer) -> None:
    subject, store = await observer.subject(), observer.store
    await write_minutes(store, subject, 50, "r")
    blocks = await store.blocks.load([subject], 0, MAX_DAY, summaries=True)
    latest = await observer.latest()
    assert await delete(store, subject, metrics={A}, run="r", validate_only=True) == {A: 50}
    assert await store.blocks.load([subject], 0, MAX_DAY, summaries=True) == blocks
    assert await observer.latest() == latest


async def test_latest_values_are_those_of_the_samples_that_are_left(observer: Observer) -> None:
    subject, store = await observer.subject(), observer.store
    day = MICROS_PER_DAY
    await emit(store, subject, START, {A: 5, B: "b", C: True}, start=START - 9)
    await emit(store, subject, START + 40 * day, {A: 7}, start=START + 3)
    await emit(store, subject, START + 41 * day, {A: 9, B: "late", C: False})
    version = (await observer.latest()).version
    await delete(store, subject, START + 41 * day)
    latest = await observer.latest()
    assert latest.version > version
    assert latest.samples == {
        A: LatestSample(START + 40 * day, 7, START + 3, None),
        B: LatestSample(START, "b", START - 9, 0),
        C: LatestSample(START, True, START - 9, None),
    }
    await store.blocks.set_lifetimes(subject, latest.version, {A: 7, C: 1})
    await delete(store, subject, START, START + 1, {A})
    assert (await observer.latest()).samples == {
        A: LatestSample(START + 40 * day, 7, START + 3, None),
        B: LatestSample(START, "b", START - 9, 0),
        C: LatestSample(START, True, START - 9, 1),
    }


async def test_a_metric_that_is_left_keeps_its_place_in_the_order_of_first_report(observer: Observer) -> None:
    subject, store = await observer.subject(), observer.store
    await emit(store, subject, START, {A: 1, B: 1})
    await emit(store, subject, START + 1, {C: 1, A: 2})
    await delete(store, subject, START + 1, START + 2, {A})
    await delete(store, subject, metrics={B})
    assert list(await observer.latest_values()) == [A, C]


async def test_a_deletion_that_finds_nothing_leaves_the_version(observer: Observer) -> None:
    subject, store = await observer.subject(), observer.store
    await emit(store, subject, START, {A: 1}, "r")
    latest = await observer.latest()
    assert await delete(store, subject, START + 1) == {}
    assert await delete(store, subject, metrics=()) == {}
    assert await delete(store, subject, run="s") == {}
    assert await observer.latest() == latest


async def test_a_subject_that_does_not_exist_is_told_as_gone(store: Store) -> None:
    for validate_only in (True, False):
        with pytest.raises(SubjectGone):
            await store.corrections.delete_samples(
                99, start=0, end=1, metrics=None, run_id="", validate_only=validate_only
            )


async def test_what_is_written_after_a_deletion_stands(observer: Observer) -> None:
    subject, store = await observer.subject(), observer.store
    await emit(store, subject, START, {A: 1, B: 2}, "r")
    await delete(store, subject, run="r")
    await emit(store, subject, START, {A: 3}, "r")
    assert await observer.samples(subject) == {START: {A: 3}}
    assert await observer.latest_values() == {A: 3}


async def test_samples_of_several_types_of_one_metric_go_alike(observer: Observer) -> None:
    subject, store = await observer.subject(), observer.store
    values: list[Scalar] = [1, 2.5, True, "text", 7]
    for time, value in enumerate(values):
        await emit(store, subject, START + time, {A: value}, f"r{time % 2}")
    assert await delete(store, subject, START + 4) == {A: 1}
    assert await observer.latest_values() == {A: "text"}
    assert await delete(store, subject, run="r1") == {A: 2}
    assert await observer.samples(subject) == {START: {A: 1}, START + 2: {A: True}}
    assert await observer.latest_values() == {A: True}


async def test_the_subjects_of_a_run_come_in_pages_with_the_number_of_its_blocks(observer: Observer) -> None:
    store = observer.store
    ids = [await observer.subject(name) for name in "abc"]
    other = await observer.subject("d")
    foreign = await observer.subject("a", tenant="other")
    for subject in (*ids, foreign):
        for time in range(3):
            await emit(store, subject, START + time, {A: 1}, "r")
    await emit(store, other, START, {A: 1}, "s")
    await emit(store, other, START, {A: 1})
    find = store.corrections.subjects_of_run
    await emit(store, ids[1], START, {B: 1}, "r")
    assert list((await find("t", SubjectKind.SOURCE, "r", after=0, limit=2)).items()) == [(ids[0], 3), (ids[1], 4)]
    assert await find("t", SubjectKind.SOURCE, "r", after=ids[1], limit=2) == {ids[2]: 3}
    assert await find("t", SubjectKind.ASSET, "r", after=0, limit=2) == {}
    assert await find("t", SubjectKind.SOURCE, "", after=0, limit=2) == {}
    await delete(store, ids[0], run="r")
    assert await find("t", SubjectKind.SOURCE, "r", after=0, limit=9) == {ids[1]: 4, ids[2]: 3}


RUNS = ("", "r", "s")


def random_frame(rng: random.Random, time: int) -> Frame:
    """Returns a frame of up to 80 rows over two days, of one type per metric."""
    times = np.array(sorted({time + rng.randrange(2 * MICROS_PER_DAY) for _ in range(rng.randrange(1, 80))}))
    rows = len(times)
    columns = {
        A: Column(ValueType.INT64, np.array([rng.randrange(9) for _ in range(rows)])),
        B: Column(ValueType.STRING, np.array([rng.choice("xyz") for _ in range(rows)], np.object_)),
    }
    return Frame(times, np.full(rows, UNKNOWN_START), columns)


@pytest.mark.parametrize("seed", range(6))
async def test_any_history_of_writes_and_deletions_is_as_if_what_was_deleted_had_never_been(
    observer: Observer, seed: int
) -> None:
    rng = random.Random(seed)
    subject, store = await observer.subject(), observer.store
    log: list[tuple[int, int, Scalar, str]] = []  # moment, metric, value, run: in the order of the writes
    order: list[int] = []
    for _ in range(40):
        run, begin = rng.choice(RUNS), START + rng.randrange(4) * MICROS_PER_DAY
        begin += rng.randrange(5)
        action = rng.random()
        if action < 0.6:
            of_any_type: list[Scalar] = [rng.randrange(9), 0.5, True, "text"]
            values = {metric: rng.choice(of_any_type) for metric in rng.sample((A, B, C), rng.randrange(1, 4))}
            await emit(store, subject, begin, values, run)
            log += [(begin, metric, value, run) for metric, value in values.items()]
            order += [metric for metric in values if metric not in order]
        elif action < 0.75:
            frame = random_frame(rng, begin)
            await store.blocks.append([SubjectWrite(subject, encode_days(frame), frame, run_id=run)])
            for metric, column in frame.columns.items():
                pairs = zip(frame.times.tolist(), column.values.tolist(), strict=True)
                log += [(time, metric, value, run) for time, value in pairs]
            order += [metric for metric in frame.columns if metric not in order]
        else:
            end = begin + rng.choice([1, 2, 5, MICROS_PER_DAY, 9 * MICROS_PER_DAY])
            metrics = rng.choice([None, {A}, {B, C}])
            standing = {(time, metric): goes for time, metric, goes in goings(log, begin, end, metrics, run)}
            log = [entry for entry, goes in zip(log, goings(log, begin, end, metrics, run), strict=True) if not goes[2]]
            expected = Counter(metric for (_, metric), goes in standing.items() if goes)
            assert await delete(store, subject, begin, end, metrics, run) == expected
            order = [metric for metric in order if any(entry[1] == metric for entry in log)]
        samples: dict[int, dict[int, Scalar]] = {}
        for time, metric, value, _ in log:
            samples.setdefault(time, {})[metric] = value
        assert repr_of(await observer.samples(subject)) == repr_of(samples)
        newest = {metric: max(time for time in samples if metric in samples[time]) for metric in order}
        latest = (await observer.latest()).samples
        assert [(metric, sample.time, repr(sample.value)) for metric, sample in latest.items()] == [
            (metric, time, repr(samples[time][metric])) for metric, time in newest.items()
        ]
    await check_sound(store)


def goings(
    log: list[tuple[int, int, Scalar, str]], start: int, end: int, metrics: Collection[int] | None, run: str
) -> list[tuple[int, int, bool]]:
    """Returns moment and metric of each entry, and whether a deletion takes it."""
    return [
        (time, metric, start <= time < end and (metrics is None or metric in metrics) and run in ("", of_run))
        for time, metric, _, of_run in log
    ]


def repr_of(samples: Mapping[int, Mapping[int, Scalar]]) -> dict[int, list[tuple[int, str]]]:
    """Returns samples in a form in which True differs from 1, and 1 from 1.0."""
    return {time: sorted((metric, repr(value)) for metric, value in values.items()) for time, values in samples.items()}


async def test_appends_of_other_servers_and_deletions_do_not_lose_each_other(open_store: OpenStore) -> None:
    stores = [await open_store() for _ in range(2)]
    observer = Observer(stores[0])
    subject = await observer.subject()
    await emit(stores[0], subject, START, {B: 0}, "kept")

    async def append(server: int) -> None:
        for turn in range(20):
            await emit(stores[server], subject, START + turn, {A: turn}, "r")
            await emit(stores[server], subject, START + turn, {B: turn}, "kept")

    async def correct() -> None:
        for _ in range(10):
            await stores[1].corrections.delete_samples(
                subject, start=START, end=MAX_MICROS, metrics=None, run_id="r", validate_only=False
            )

    await asyncio.gather(append(0), append(1), correct())
    await delete(stores[0], subject, run="r")
    assert await observer.samples(subject) == {START + turn: {B: turn} for turn in range(20)}
    latest = await observer.latest()
    assert {metric: sample.value for metric, sample in latest.samples.items()} == {B: 19}
    assert latest.version >= 81
    await check_sound(stores[0])


SERVER = """
import asyncio, os, sys, threading
from streamgauge_server.model.clock import MAX_MICROS, MIN_MICROS, SystemClock
from streamgauge_server.storage import corrections, day_rounds
from streamgauge_server.storage.store import Store

store_day, days = corrections._store, 0

def store_day_and_stop(*arguments):
    global days
    store_day(*arguments)
    days += 1
    if days == int(sys.argv[3]):
        os.write(1, b"middle\\n")
        threading.Event().wait()

async def main(url, subject):
    store = await Store.open(url, clock=SystemClock())
    corrections._store = store_day_and_stop
    day_rounds.DAYS_AT_ONCE = 1
    await store.corrections.delete_samples(
        subject, start=MIN_MICROS, end=MAX_MICROS, metrics={1}, run_id="", validate_only=False
    )
    os.write(1, b"done\\n")
    await asyncio.Event().wait()

asyncio.run(main(sys.argv[1], int(sys.argv[2])))
"""


@pytest.mark.parametrize("days", [1, 10, 20, 21])
async def test_a_deletion_whose_server_is_killed_has_happened_wholly_or_not_at_all(
    open_store: OpenStore, store_url: str, days: int
) -> None:
    store = await open_store()
    observer = Observer(store)
    subject = await observer.subject()
    times = np.concatenate([START + day * MICROS_PER_DAY + np.arange(40) for day in range(20)])
    columns = {metric: Column(ValueType.INT64, np.arange(len(times))) for metric in (A, B)}
    frame = Frame(times, np.full(len(times), UNKNOWN_START), columns)
    await store.blocks.append([SubjectWrite(subject, encode_days(frame), frame)])
    server = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SERVER, store_url, str(subject), str(days), stdout=asyncio.subprocess.PIPE
    )
    assert server.stdout is not None
    assert await server.stdout.readline() == (b"middle\n" if days <= 20 else b"done\n")
    server.kill()
    await server.wait()

    left = {A, B} if days <= 20 else {B}
    samples = await observer.samples(subject)
    assert samples.keys() == set(times.tolist())
    assert all(values.keys() == left for values in samples.values())
    assert (await observer.latest_values()).keys() == left
    await check_sound(store)
    await observer.write(subject, int(times[-1]) + 1, {C: 0})
