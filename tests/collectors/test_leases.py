"""Several collectors on one database, and the life of a collector's loops."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from streamgauge_server.collectors.pruning import Pruner
from streamgauge_server.model.clock import MICROS_PER_DAY, FixedClock, SystemClock
from streamgauge_server.services.clusters import ClusterConfig, Clusters
from streamgauge_server.storage.store import Store

from tests.collectors.conftest import CLUSTER, TENANT, Collected, Collecting, StartCollecting, collector_of, jid
from tests.flink.fake import FakeFlink, never_answer
from tests.flink.fake_jobs import START_MS, FakeJobs


async def until(wanted: Callable[[], Awaitable[bool]]) -> None:
    deadline = time.monotonic() + 20
    while not await wanted():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


async def test_of_two_collectors_one_polls_and_the_other_takes_over(start_collecting: StartCollecting) -> None:
    first, second = await start_collecting(), await start_collecting()
    second.flink = first.flink
    first.add(1, "orders", read=5)
    await first.turn()
    polls = len(first.fake.requests)
    assert not (await second.loop.turn()).leading
    assert len(first.fake.requests) == polls
    assert second.metric("leading") == 0
    await first.loop.release()
    assert (await second.loop.turn()).leading
    assert not (await first.loop.turn()).leading
    assert len(await first.changes()) == 1


async def test_a_collector_that_died_loses_its_lease_after_thirty_seconds(start_collecting: StartCollecting) -> None:
    first, second = await start_collecting(), await start_collecting()
    second.flink = first.flink
    assert (await first.loop.turn()).leading
    second.advance(29)
    assert not (await second.loop.turn()).leading
    second.advance(2)
    assert (await second.loop.turn()).leading


async def test_collectors_that_poll_at_the_same_time_do_no_harm(start_collecting: StartCollecting) -> None:
    both = [await start_collecting(), await start_collecting()]
    flink = both[1].flink = both[0].flink
    for number in range(40):
        both[0].add(number, f"job-{number % 30}", read=100, start_ms=START_MS + number)
    await asyncio.gather(*(one.poller.poll() for one in both))
    for number in range(0, 40, 2):
        job = flink.jobs[jid(number)]
        job.state, job.end_ms, job.read = "FINISHED", START_MS + 30_000, 200
    for number in range(1, 40, 2):
        flink.jobs[jid(number)].read = 150
    both[0].advance()
    await asyncio.gather(*(one.poller.poll() for one in both))
    await asyncio.gather(*(one.poller.poll() for one in both))
    collected = both[0]
    assert len(await collected.jobs()) == 30
    for number in range(40):
        run = await collected.run(jid(number))
        assert run.state_text == ("FINISHED" if number % 2 == 0 else "RUNNING")
        assert run.final_figures == (number % 2 == 0)
    changes = [(change.run_id, change.state.name) for change in await collected.changes()]
    assert len(changes) == len(set(changes)) == 60
    assert await collected.total("job-11", "numRecordsRead") == 150


async def test_two_running_collectors_share_the_work_and_hand_it_over(store_url: str, fake: FakeFlink) -> None:
    flink = FakeJobs.many(3)
    fake.respond = flink.respond
    clock = SystemClock()
    config = ClusterConfig(CLUSTER, TENANT, [fake.base_url], poll_seconds=0.1)
    stores = [await Store.open(store_url, clock=clock) for _ in range(2)]
    clusters = [Clusters([config]) for _ in range(2)]
    first, second = (collector_of(store, clock, of_one) for store, of_one in zip(stores, clusters, strict=True))
    seen = Collected(stores[0])

    async def polled() -> bool:
        return len(await seen.jobs()) == 3

    async def finished() -> bool:
        return {job.run.state.name for job in await seen.jobs() if job.run} == {"FINISHED"}

    try:
        first.start()
        second.start()
        await until(polled)
        await first.stop()
        for job in flink.jobs.values():
            job.state, job.end_ms = "FINISHED", START_MS + 90_000
        await until(finished)
    finally:
        await second.stop()
        for of_one in clusters:
            await of_one.close()
        assert await stores[0].collectors.acquire(TENANT, CLUSTER, "anybody", 1)
        for store in stores:
            await store.close()


async def test_a_cluster_that_never_answers_keeps_no_other_waiting(store_url: str, fake: FakeFlink) -> None:
    clock = SystemClock()
    store = await Store.open(store_url, clock=clock)
    fake.respond = FakeJobs.many(2).respond
    async with FakeFlink() as silent:
        silent.misbehave(never_answer)
        clusters = Clusters(
            ClusterConfig(name, TENANT, [url], poll_seconds=0.1)
            for name, url in (("silent", silent.base_url), (CLUSTER, fake.base_url))
        )
        collector = collector_of(store, clock, clusters)
        begun = time.monotonic()
        collector.start()

        async def followed() -> bool:
            return len(await Collected(store).jobs()) == 2

        await until(followed)
        assert time.monotonic() - begun < 5
        await silent.received(1)
        begun = time.monotonic()
        await collector.stop()
        assert time.monotonic() - begun < 9
        assert await store.collectors.acquire(TENANT, "silent", "anybody", 1)
        await clusters.close()
    await store.close()


async def test_changes_older_than_thirty_days_are_removed(collecting: Collecting, clock: FixedClock) -> None:
    job = collecting.add(1, "orders")
    await collecting.poll()
    clock.micros += 29 * MICROS_PER_DAY
    job.state = "RESTARTING"
    await collecting.poll()
    pruner = Pruner(collecting.store, clock)
    assert await pruner.prune() == 0
    clock.micros += 2 * MICROS_PER_DAY
    assert await pruner.prune() == 1
    assert [change.state.name for change in await collecting.changes()] == ["RESTARTING"]
