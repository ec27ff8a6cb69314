"""The worker in the background: within its share, behind appends, and told by metrics."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from prometheus_client import CollectorRegistry
from streamgauge_server.collectors import background, compaction
from streamgauge_server.collectors.compaction import CompactionMetrics, CompactionWorker
from streamgauge_server.model.clock import MICROS_PER_DAY, FixedClock
from streamgauge_server.model.errors import DomainError, Reason
from streamgauge_server.model.limits import Limits
from streamgauge_server.model.names import SubjectName
from streamgauge_server.model.values import SubjectKind
from streamgauge_server.services.compaction import GRACE
from streamgauge_server.storage.blocks import SubjectWrite
from streamgauge_server.storage.store import Store
from streamgauge_server.storage.subjects import SubjectKey
from streamgauge_server.timeseries.block import encode_row

ROWS = 50


@pytest.fixture
async def store() -> AsyncIterator[Store]:
    store = await Store.open("sqlite://:memory:", clock=FixedClock(MICROS_PER_DAY + GRACE))
    key = SubjectKey(SubjectName(SubjectKind.SOURCE, "s"), "")
    subject = (await store.subjects.register("t", [key], limits=Limits()))[key]
    await store.blocks.append([SubjectWrite(subject, [encode_row(n, -1, {1: n})]) for n in range(ROWS)])
    yield store
    await store.close()


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


def worker(store: Store, registry: CollectorRegistry, *, share: float = 1.0, fold: bool = True) -> CompactionWorker:
    clock = FixedClock(MICROS_PER_DAY + GRACE)
    return CompactionWorker(store, clock, horizon=0, share=share, fold=fold, metrics=CompactionMetrics(registry))


def value(registry: CollectorRegistry, name: str) -> float | None:
    return registry.get_sample_value(f"streamgauge_compaction_{name}")


async def until(registry: CollectorRegistry, name: str, expected: float) -> None:
    async with asyncio.timeout(10):
        while value(registry, name) != expected:  # noqa: ASYNC110, the registry tells nobody
            await asyncio.sleep(0)


async def test_a_running_server_folds_and_tells_how_much(store: Store, registry: CollectorRegistry) -> None:
    running = worker(store, registry)
    running.start()
    await until(registry, "blocks_read_total", ROWS)
    await running.stop()
    assert value(registry, "blocks_written_total") == 1
    assert value(registry, "rows_total") == ROWS
    assert (value(registry, "bytes_read_total") or 0) > (value(registry, "bytes_written_total") or 0) > 0
    assert (value(registry, "due_days"), value(registry, "lag_seconds")) == (0, 0)
    assert (value(registry, "conflicts_total"), value(registry, "damaged_blocks")) == (0, 0)


async def test_switched_off_it_notes_positions_and_folds_nothing(store: Store, registry: CollectorRegistry) -> None:
    noted = asyncio.Event()
    note = store.positions.note

    async def and_tell(kept: int) -> None:
        await note(kept)
        noted.set()

    store.positions.note = and_tell  # type: ignore[method-assign]
    running = worker(store, registry, fold=False)
    running.start()
    await noted.wait()
    await running.stop()
    assert value(registry, "days_total") == 0


async def test_it_rests_in_proportion_to_its_work(
    store: Store, registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    rests: list[float] = []

    async def sleep(seconds: float) -> None:
        rests.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    running = worker(store, registry, share=0.2)
    await running._pace(0.01)
    await running._pace(100.0)
    assert rests == [pytest.approx(0.04), background.LONGEST_REST_SECONDS]


async def test_it_gives_way_to_appends_that_wait_but_not_for_ever(
    store: Store, registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    rests: list[float] = []

    async def sleep(seconds: float) -> None:
        rests.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    monkeypatch.setattr(type(store.blocks), "appends_waiting", 1)
    await worker(store, registry)._pace(0.0)
    assert rests == [0.0, *[compaction.YIELD_SECONDS] * compaction.MOST_YIELDS]


async def test_a_store_that_is_away_is_tried_again(
    store: Store, registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compaction, "INTERVAL_SECONDS", 0.0)
    claim, away = store.compactions.claim, True

    async def first_away(limit: int) -> object:
        nonlocal away
        if away:
            away = False
            raise DomainError(Reason.STORE_UNAVAILABLE, "away")
        return await claim(limit)

    monkeypatch.setattr(store.compactions, "claim", first_away)
    running = worker(store, registry)
    running.start()
    await until(registry, "blocks_read_total", ROWS)
    await running.stop()
