"""Which collector polls a cluster, and what it tells of it."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from streamgauge_server.model.clock import FixedClock
from streamgauge_server.model.jobs import ClusterStatus
from streamgauge_server.storage.store import Store

from tests.conformance.conftest import START, OpenStore

SECOND = 1_000_000
POLLED = ClusterStatus("c", True, START, START, "", "2.3.0", 1_500, 7)


async def test_a_lease_is_one_owners_until_it_expires(store: Store, clock: FixedClock) -> None:
    assert await store.collectors.acquire("t", "c", "a", 30)
    assert not await store.collectors.acquire("t", "c", "b", 30)
    clock.micros += 30 * SECOND - 1
    assert not await store.collectors.acquire("t", "c", "b", 30)
    clock.micros += 1
    assert await store.collectors.acquire("t", "c", "b", 30)
    assert not await store.collectors.acquire("t", "c", "a", 30)


async def test_a_lease_is_renewed_by_its_owner(store: Store, clock: FixedClock) -> None:
    assert await store.collectors.acquire("t", "c", "a", 30)
    clock.micros += 20 * SECOND
    assert await store.collectors.acquire("t", "c", "a", 30)
    clock.micros += 20 * SECOND
    assert not await store.collectors.acquire("t", "c", "b", 30)


async def test_clusters_and_tenants_are_leased_apart(store: Store) -> None:
    assert await store.collectors.acquire("t", "c", "a", 30)
    assert await store.collectors.acquire("t", "C", "b", 30)
    assert await store.collectors.acquire("other", "c", "b", 30)


async def test_only_the_owner_ends_a_lease(store: Store) -> None:
    await store.collectors.release("t", "c", "a")
    assert await store.collectors.acquire("t", "c", "a", 30)
    await store.collectors.release("t", "c", "b")
    assert not await store.collectors.acquire("t", "c", "b", 30)
    await store.collectors.release("t", "c", "a")
    assert await store.collectors.acquire("t", "c", "b", 30)


async def test_of_two_servers_one_gets_the_lease(open_store: OpenStore, clock: FixedClock) -> None:
    stores = [await open_store() for _ in range(2)]
    for _ in range(5):
        answers = await asyncio.gather(
            *(stores[n % 2].collectors.acquire("t", "c", f"owner {n}", 30) for n in range(6))
        )
        assert sorted(answers) == [False] * 5 + [True]
        clock.micros += 30 * SECOND


async def test_what_is_told_of_clusters_is_read_by_everyone(open_store: OpenStore) -> None:
    first, second = await open_store(), await open_store()
    await first.collectors.acquire("t", "b", "a", 30)
    await first.collectors.report("t", POLLED)
    await first.collectors.report("t", replace(POLLED, cluster="a", reachable=False, problem="HTTP 503 ü"))
    assert await second.collectors.statuses("t") == [
        replace(POLLED, cluster="a", reachable=False, problem="HTTP 503 ü"),
        POLLED,
    ]
    assert await second.collectors.statuses("other") == []


async def test_a_cluster_that_cannot_be_reached_keeps_its_last_success(store: Store) -> None:
    await store.collectors.report("t", POLLED)
    later = ClusterStatus("c", False, None, START + 9, "refused", "", 20, 7)
    await store.collectors.report("t", later)
    assert await store.collectors.statuses("t") == [replace(later, last_success_time=START, version="2.3.0")]


async def test_telling_and_leasing_leave_each_other_alone(store: Store) -> None:
    await store.collectors.report("t", POLLED)
    assert await store.collectors.acquire("t", "c", "a", 30)
    await store.collectors.report("t", POLLED)
    assert not await store.collectors.acquire("t", "c", "b", 30)
    assert await store.collectors.statuses("t") == [POLLED]
