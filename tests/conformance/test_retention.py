"""Retention: samples go and summaries stay, then these go too; nothing else changes, whatever else is going on."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy import select, update
from streamgauge_server.collectors.retention import RetentionMetrics, RetentionWorker
from streamgauge_server.model.clock import MICROS_PER_DAY, MICROS_PER_HOUR, MICROS_PER_MINUTE, FixedClock
from streamgauge_server.model.entities import MetricDescriptor
from streamgauge_server.model.limits import Limits
from streamgauge_server.model.retention import EVERYTHING, Retention, RetentionRules
from streamgauge_server.model.values import MetricKind, SubjectKind, ValueType
from streamgauge_server.services.block_reader import BlockReader
from streamgauge_server.services.compaction import GRACE as COMPACTION_GRACE
from streamgauge_server.services.compaction import Compactor
from streamgauge_server.services.retention import GRACE, Applied, RetentionService
from streamgauge_server.storage import tables
from streamgauge_server.storage.blocks import SubjectWrite
from streamgauge_server.storage.store import Store
from streamgauge_server.timeseries.block import encode_days
from streamgauge_server.timeseries.frame import Column, Frame
from streamgauge_server.timeseries.query import StoredBlock

from tests.conformance.conftest import MAX_DAY, MIN_DAY, START, Observer, OpenStore

TODAY = START // MICROS_PER_DAY
SEVEN_AND_THIRTY = RetentionRules({kind: Retention(7, 30) for kind in MetricKind})
SAMPLES_ONLY = RetentionRules({kind: Retention(7, None) for kind in MetricKind})
STEP = 20 * MICROS_PER_MINUTE


async def metrics_of(store: Store, **limits: tuple[int | None, int | None]) -> dict[str, int]:
    """Declares metrics with limits of their own, in days, and returns their ids by name."""
    found = await store.metrics.ensure(
        "t",
        SubjectKind.SOURCE,
        [(name, MetricKind.GAUGE, ValueType.INT64) for name in limits],
        limits=Limits(),
    )
    for name, (samples, summaries) in limits.items():
        changes = {
            "sample_retention": None if samples is None else samples * MICROS_PER_DAY,
            "summary_retention": None if summaries is None else summaries * MICROS_PER_DAY,
        }
        found[name] = await store.metrics.update("t", SubjectKind.SOURCE, name, changes)
    return {name: descriptor.id for name, descriptor in found.items()}


def frame_of(days: Sequence[int], metrics: Sequence[int], value: int = 0, step: int = STEP) -> Frame:
    times = np.concatenate(
        [np.arange(day * MICROS_PER_DAY, (day + 1) * MICROS_PER_DAY, step, dtype=np.int64) for day in days]
    )
    columns = {metric: Column(ValueType.INT64, times // 7 + metric + value) for metric in metrics}
    return Frame(times, np.full(len(times), 1_000, np.int64), columns)


async def write(store: Store, subject: int, frame: Frame, run_id: str = "") -> None:
    await store.blocks.append([SubjectWrite(subject, encode_days(frame), frame=frame, run_id=run_id)])


async def apply(
    store: Store, clock: FixedClock, rules: RetentionRules = EVERYTHING, *, dry: bool = False, horizon: int = 0
) -> Applied:
    return await RetentionService(store, clock, rules, horizon=horizon).apply("t", validate_only=dry)


def counted(applied: Applied) -> tuple[int, int, int, int]:
    counts = applied.counts.get(SubjectKind.SOURCE)
    return (0, 0, 0, 0) if counts is None else (counts.samples, counts.hours, counts.subjects, counts.days)


async def blocks_of(store: Store, subject: int) -> Sequence[StoredBlock]:
    return (await store.blocks.load([subject], MIN_DAY, MAX_DAY, summaries=True))[subject]


async def by_hour(store: Store, subject: int, first_day: int, last_day: int) -> Mapping[int, list[list[int]]]:
    """Returns count, sum, smallest, largest, first, last and increase of every hour, by metric."""
    bounds = list(range(first_day * MICROS_PER_DAY, (last_day + 1) * MICROS_PER_DAY + 1, MICROS_PER_HOUR))
    tables_ = await BlockReader(store).tables(
        [subject], bounds[0], bounds[-1], bounds, metrics=None, counters_among=None
    )
    table = tables_[subject]
    found: dict[int, list[list[int]]] = {}
    for metric in table.metrics:
        (stats,) = table.all_stats(metric)
        names = ("count", "sum", "min", "max", "first", "last", "increase")
        found[metric] = [getattr(stats, name).tolist() for name in names]
    return found


async def test_samples_go_and_hours_are_answered_as_before(observer: Observer, store: Store, clock: FixedClock) -> None:
    subject = await observer.subject()
    (metric,) = (await metrics_of(store, level=(None, None))).values()
    await write(store, subject, frame_of(range(TODAY - 10, TODAY), [metric]))
    before, latest = await by_hour(store, subject, TODAY - 10, TODAY), await observer.latest()
    preview = await apply(store, clock, SAMPLES_ONLY, dry=True)
    assert counted(preview) == (3 * 72, 0, 1, 3)
    assert len(await observer.samples(subject)) == 10 * 72
    done = await apply(store, clock, SAMPLES_ONLY)
    assert done == preview
    assert min(await observer.samples(subject)) == (TODAY - 7) * MICROS_PER_DAY
    assert await by_hour(store, subject, TODAY - 10, TODAY) == before
    assert await observer.latest() == latest
    assert counted(await apply(store, clock, SAMPLES_ONLY)) == (0, 0, 0, 0)


async def test_summaries_go_after_their_own_limit_and_nothing_is_left(
    observer: Observer, store: Store, clock: FixedClock
) -> None:
    subject = await observer.subject()
    (metric,) = (await metrics_of(store, level=(None, None))).values()
    await write(store, subject, frame_of(range(TODAY - 40, TODAY), [metric]))
    latest = await observer.latest()
    preview = await apply(store, clock, SEVEN_AND_THIRTY, dry=True)
    done = await apply(store, clock, SEVEN_AND_THIRTY)
    assert done == preview
    assert counted(done) == (33 * 72, 10 * 24, 1, 33)
    blocks = await blocks_of(store, subject)
    assert [block.day for block in blocks] == list(range(TODAY - 30, TODAY))
    assert [block.rows for block in blocks] == [0] * 23 + [72] * 7
    clock.micros += MICROS_PER_DAY
    assert counted(await apply(store, clock, SEVEN_AND_THIRTY)) == (72, 24, 1, 2)
    clock.micros += 40 * MICROS_PER_DAY
    await apply(store, clock, SEVEN_AND_THIRTY)
    assert not await blocks_of(store, subject)
    assert await observer.latest() == latest


async def test_metrics_have_limits_of_their_own(observer: Observer, store: Store, clock: FixedClock) -> None:
    subject = await observer.subject()
    ids = await metrics_of(store, short=(2, 20), long=(15, None), ever=(None, None))
    days = range(TODAY - 30, TODAY)
    await write(store, subject, frame_of(days, list(ids.values())))
    before = await by_hour(store, subject, TODAY - 20, TODAY)
    await apply(store, clock)
    blocks = await blocks_of(store, subject)
    held = {day: [block.rows for block in blocks if block.day == day] for day in days}
    assert held[TODAY - 2] == [72]
    assert sorted(held[TODAY - 3]) == [0, 72]
    assert await by_hour(store, subject, TODAY - 20, TODAY) == before
    told = await by_hour(store, subject, TODAY - 30, TODAY - 21)
    assert set(told) == {ids["long"], ids["ever"]}


async def test_days_before_the_limit_are_left_alone_also_just_after_midnight(
    observer: Observer, store: Store, clock: FixedClock
) -> None:
    subject = await observer.subject()
    (metric,) = (await metrics_of(store, level=(3, None))).values()
    await write(store, subject, frame_of([TODAY - 3], [metric]))
    clock.micros = (TODAY + 1) * MICROS_PER_DAY + GRACE - 1
    assert counted(await apply(store, clock)) == (0, 0, 0, 0)
    clock.micros += 1
    assert counted(await apply(store, clock)) == (72, 0, 1, 1)


async def test_what_runs_wrote_is_folded_and_can_no_longer_be_taken_back(
    observer: Observer, store: Store, clock: FixedClock
) -> None:
    subject = await observer.subject()
    ids = await metrics_of(store, gone=(3, None), kept=(None, None))
    for value, run in enumerate(["", "a", "b", "a"]):
        await write(store, subject, frame_of([TODAY - 9], list(ids.values()), value), run)
    before = await by_hour(store, subject, TODAY - 9, TODAY - 9)
    await apply(store, clock)
    assert await by_hour(store, subject, TODAY - 9, TODAY - 9) == before
    blocks = await blocks_of(store, subject)
    assert sorted(block.rows for block in blocks) == [0, 72, 72, 72, 72]
    await store.corrections.delete_samples(subject, start=0, end=START, metrics=None, run_id="a", validate_only=False)
    after = await by_hour(store, subject, TODAY - 9, TODAY - 9)
    assert after[ids["gone"]] == before[ids["gone"]]
    assert after[ids["kept"]] != before[ids["kept"]]


async def test_what_was_committed_within_the_watch_horizon_waits(
    observer: Observer, store: Store, clock: FixedClock
) -> None:
    subject = await observer.subject()
    (metric,) = (await metrics_of(store, level=(3, None))).values()
    await write(store, subject, frame_of([TODAY - 9], [metric]))
    applied = await apply(store, clock, horizon=MICROS_PER_HOUR)
    assert (counted(applied), applied.postponed) == ((0, 0, 0, 0), 1)
    assert (await store.positions.state()).folded_position == 0
    applied = await apply(store, clock)
    assert (counted(applied), applied.postponed) == ((72, 0, 1, 1), 0)
    assert (await store.positions.state()).folded_position > 0


async def test_a_day_that_changes_meanwhile_is_left_to_later(
    observer: Observer, store: Store, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = await observer.subject()
    (metric,) = (await metrics_of(store, level=(3, None))).values()
    await write(store, subject, frame_of([TODAY - 9], [metric]))
    change = store.retention.apply

    async def late(changes: object) -> object:
        await write(store, subject, frame_of([TODAY - 9], [metric], 5))
        return await change(changes)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(type(store.retention), "apply", lambda self, changes: late(changes))
        applied = await apply(store, clock)
    assert (counted(applied), applied.postponed) == ((0, 0, 0, 0), 1)
    before = await by_hour(store, subject, TODAY - 9, TODAY - 9)
    assert counted(await apply(store, clock)) == (72, 0, 1, 1)
    assert await by_hour(store, subject, TODAY - 9, TODAY - 9) == before


async def test_compaction_and_retention_leave_each_other_alone(
    observer: Observer, store: Store, clock: FixedClock
) -> None:
    subject = await observer.subject()
    ids = await metrics_of(store, gone=(3, None), kept=(None, None))
    for part in range(5):
        await write(store, subject, frame_of([TODAY - 9], list(ids.values()), part))
    before = await by_hour(store, subject, TODAY - 9, TODAY - 9)
    await apply(store, clock)
    clock.micros += COMPACTION_GRACE
    for _ in range(5):  # late data of the metric that has its samples
        await write(store, subject, frame_of([TODAY - 9], [ids["kept"]], 4))
    worker = Compactor(store, clock, horizon=0)
    await worker.discover()
    assert (await worker.fold()).folded == 1
    assert sorted(block.rows for block in await blocks_of(store, subject)) == [0, 72]
    assert await by_hour(store, subject, TODAY - 9, TODAY - 9) == before


async def test_a_reader_who_comes_too_late_for_the_samples_looks_again(
    observer: Observer, store: Store, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = await observer.subject()
    ids = await metrics_of(store, gone=(3, None), kept=(None, None))
    # Two overlapping blocks, whose samples have to be read; then the metric goes out of both in place.
    await write(store, subject, frame_of([TODAY - 9], list(ids.values())))
    await write(store, subject, frame_of([TODAY - 9], list(ids.values()), 3))
    before = await by_hour(store, subject, TODAY - 9, TODAY - 9)
    load_data_of = store.blocks.load_data_of

    async def after_retention(blocks: Mapping[int, Sequence[StoredBlock]]) -> dict[int, bytes]:
        await apply(store, clock)
        return await load_data_of(blocks)

    monkeypatch.setattr(store.blocks, "load_data_of", after_retention)
    assert await by_hour(store, subject, TODAY - 9, TODAY - 9) == before


async def test_two_servers_let_go_of_each_day_once(
    observer: Observer, store: Store, clock: FixedClock, open_store: OpenStore
) -> None:
    subjects = [await observer.subject() for _ in range(1)]
    (metric,) = (await metrics_of(store, level=(3, None))).values()
    await write(store, subjects[0], frame_of(range(TODAY - 60, TODAY), [metric]))
    before = await by_hour(store, subjects[0], TODAY - 60, TODAY)
    other = await open_store()
    done = await asyncio.gather(apply(store, clock), apply(other, clock))
    await apply(store, clock)
    total = Applied()
    for one in done:
        total.add(one)
    assert sum(of.samples for of in total.counts.values()) == 57 * 72
    blocks = await blocks_of(store, subjects[0])
    assert [block.day for block in blocks] == list(range(TODAY - 60, TODAY))
    assert await by_hour(store, subjects[0], TODAY - 60, TODAY) == before


async def test_a_damaged_day_stays_as_it_is(observer: Observer, store: Store, clock: FixedClock) -> None:
    subject = await observer.subject()
    (metric,) = (await metrics_of(store, level=(3, None))).values()
    await write(store, subject, frame_of([TODAY - 9, TODAY - 8], [metric]))
    b = tables.blocks

    def damage(connection: object) -> None:
        data = connection.scalar(select(b.c.data).where(b.c.day == TODAY - 9))  # type: ignore[attr-defined]
        connection.execute(  # type: ignore[attr-defined]
            update(b).where(b.c.day == TODAY - 9).values(data=data[:20] + bytes([data[20] ^ 1]) + data[21:])
        )

    await store._database.write(damage)
    applied = await apply(store, clock)
    assert (counted(applied), applied.damaged) == ((72, 0, 1, 1), 1)
    assert [block.rows for block in await blocks_of(store, subject)] == [72, 0]


async def test_the_worker_looks_at_each_day_once_and_again_when_a_limit_changes(
    observer: Observer, store: Store, clock: FixedClock
) -> None:
    subject = await observer.subject()
    await metrics_of(store, level=(20, None))
    (metric,) = (await store.metrics.get_many("t", SubjectKind.SOURCE, ["level"])).values()
    await write(store, subject, frame_of(range(TODAY - 30, TODAY), [metric.id]))
    service = RetentionService(store, clock, EVERYTHING, horizon=0)
    registry = CollectorRegistry()
    worker = RetentionWorker(store, clock, service, share=1.0, metrics=RetentionMetrics(registry))
    assert counted(await worker.look()) == (10 * 72, 0, 1, 10)
    assert counted(await worker.look()) == (0, 0, 0, 0)
    clock.micros += MICROS_PER_HOUR // 2
    await _limit(store, metric, 5)
    assert counted(await worker.look()) == (15 * 72, 0, 1, 15)
    told = registry.get_sample_value("streamgauge_retention_samples_total", {"subject_kind": "source"})
    assert told == 25 * 72


async def test_the_worker_distrusts_a_clock_that_jumps_ahead(
    observer: Observer, store: Store, clock: FixedClock
) -> None:
    subject = await observer.subject()
    (metric,) = (await metrics_of(store, level=(3, None))).values()
    await write(store, subject, frame_of([TODAY], [metric]))
    service = RetentionService(store, clock, EVERYTHING, horizon=0)
    worker = RetentionWorker(store, clock, service, share=1.0, metrics=RetentionMetrics(CollectorRegistry()))
    clock.micros += 400 * MICROS_PER_DAY
    assert counted(await worker.look()) == (0, 0, 0, 0)
    clock.micros -= 400 * MICROS_PER_DAY
    await worker.look()
    assert len(await observer.samples(subject)) == 72


async def _limit(store: Store, metric: MetricDescriptor, days: int) -> None:
    changes = {"sample_retention": days * MICROS_PER_DAY}
    await store.metrics.update("t", metric.kind_of_subject, metric.metric, changes)
