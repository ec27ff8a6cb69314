"""The log of changes of runs: complete and in order for whoever follows it."""

from __future__ import annotations

import asyncio

from streamgauge_server.model.jobs import JobState, NewJob, RunUpdate, StateChange
from streamgauge_server.model.limits import Limits
from streamgauge_server.storage.store import Store

from tests.conformance.conftest import START, OpenStore


async def register(store: Store, id: str, tenant: str = "t") -> int:
    return (await store.jobs.register(tenant, [NewJob(id)], limits=Limits()))[id]


def told(job: int, state: JobState | None, later: int = 0, **fields: object) -> RunUpdate:
    return RunUpdate(job=job, run_id="r", observe_time=START + later, state=state, **fields)  # type: ignore[arg-type]


async def test_every_change_is_an_entry_and_nothing_else(store: Store) -> None:
    job = await register(store, "j")
    await store.job_runs.apply("t", [told(job, JobState.RUNNING), told(job, JobState.RUNNING, 1, duration=5)])
    await store.job_runs.apply("t", [told(job, None, 2, restarts=1), told(job, None, 3, lost=True)])
    await store.job_runs.apply("t", [told(job, JobState.OTHER, 4, state_text="X"), told(job, JobState.FAILED, 5)])
    await store.job_runs.apply("t", [told(job, JobState.RUNNING, 6), told(job, None, 7, lost=True)])
    running, failed = JobState.RUNNING, JobState.FAILED
    assert await store.job_runs.changes("t", 0, 10) == [
        StateChange(1, "j", "r", None, running, "RUNNING", False, 0, START),
        StateChange(2, "j", "r", running, running, "RUNNING", False, 1, START + 2),
        StateChange(3, "j", "r", running, running, "RUNNING", True, 1, START + 3),
        StateChange(4, "j", "r", running, JobState.OTHER, "X", False, 1, START + 4),
        StateChange(5, "j", "r", JobState.OTHER, failed, "FAILED", False, 1, START + 5),
    ]
    assert [change.seq for change in await store.job_runs.changes("t", 2, 2)] == [3, 4]
    assert await store.job_runs.changes("t", 5, 10) == []


async def test_each_tenant_has_a_log_of_its_own(store: Store) -> None:
    assert (await store.job_runs.last_seq("t"), await store.job_runs.oldest_seq("t")) == (0, 1)
    mine, theirs = await register(store, "j"), await register(store, "j", "other")
    await store.job_runs.apply("t", [told(mine, JobState.RUNNING)])
    await store.job_runs.apply("other", [told(theirs, JobState.RUNNING), told(theirs, JobState.FAILED, 1)])
    assert (await store.job_runs.last_seq("t"), await store.job_runs.last_seq("other")) == (1, 2)
    assert [change.state for change in await store.job_runs.changes("t", 0, 10)] == [JobState.RUNNING]


async def test_pruning_takes_the_beginning_and_the_numbers_go_on(store: Store) -> None:
    job, other = await register(store, "j"), await register(store, "k", "other")
    for later in range(6):
        state = JobState.RUNNING if later % 2 else JobState.RESTARTING
        await store.job_runs.apply("t", [told(job, state, later)])
    await store.job_runs.apply("other", [told(other, JobState.RUNNING, 100)])
    assert await store.job_runs.prune(START) == 0
    assert await store.job_runs.oldest_seq("t") == 1
    assert await store.job_runs.prune(START + 4, limit=3) == 3
    assert await store.job_runs.oldest_seq("t") == 4
    assert await store.job_runs.prune(START + 4, limit=3) == 1
    assert await store.job_runs.prune(START + 4, limit=3) == 0
    assert (await store.job_runs.oldest_seq("t"), await store.job_runs.last_seq("t")) == (5, 6)
    assert [change.seq for change in await store.job_runs.changes("t", 0, 10)] == [5, 6]
    assert await store.job_runs.prune(START + 50) == 2
    assert (await store.job_runs.oldest_seq("t"), await store.job_runs.last_seq("t")) == (7, 6)
    await store.job_runs.apply("t", [told(job, JobState.FAILED, 60)])
    assert [change.seq for change in await store.job_runs.changes("t", 0, 10)] == [7]
    assert await store.job_runs.oldest_seq("other") == 1


async def test_deleting_a_job_takes_its_entries_and_no_numbers(store: Store) -> None:
    job, other = await register(store, "j"), await register(store, "k")
    await store.job_runs.apply("t", [told(job, JobState.RUNNING), told(other, JobState.RUNNING)])
    await store.job_runs.apply("t", [told(job, JobState.FAILED, 1)])
    await store.jobs.delete("t", "j")
    assert [change.seq for change in await store.job_runs.changes("t", 0, 10)] == [2]
    assert (await store.job_runs.oldest_seq("t"), await store.job_runs.last_seq("t")) == (1, 3)


async def test_whoever_follows_the_log_misses_nothing_while_two_servers_add_to_it(open_store: OpenStore) -> None:
    stores = [await open_store() for _ in range(3)]
    jobs = [await register(stores[0], f"j{n}") for n in range(4)]
    rounds = 25

    async def add(store: Store, job: int) -> None:
        for later in range(rounds):
            state = JobState.RUNNING if later % 2 else JobState.RESTARTING
            await store.job_runs.apply("t", [told(job, state, later)])

    async def follow() -> list[StateChange]:
        seen: list[StateChange] = []
        while len(seen) < rounds * len(jobs):
            seen += await stores[2].job_runs.changes("t", seen[-1].seq if seen else 0, 3)
        return seen

    async with asyncio.timeout(60):
        following = asyncio.create_task(follow())
        await asyncio.gather(*(add(stores[n % 2], job) for n, job in enumerate(jobs)))
        seen = await following
    assert [change.seq for change in seen] == list(range(1, rounds * len(jobs) + 1))
    for n in range(len(jobs)):
        assert [c.observe_time - START for c in seen if c.job_id == f"j{n}"] == list(range(rounds))
