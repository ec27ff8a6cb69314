"""Requests to stop runs."""

from __future__ import annotations

import asyncio

import pytest
from streamgauge_server.model.clock import FixedClock
from streamgauge_server.model.jobs import JobState, NewJob, RunUpdate, Stop, StopMode
from streamgauge_server.model.limits import Limits
from streamgauge_server.storage.blocks import SubjectGone
from streamgauge_server.storage.store import Store

from tests.conformance.conftest import START, OpenStore


async def start(store: Store, id: str = "j") -> int:
    """Returns the number of a new run of a job."""
    numbers = await store.jobs.register("t", [NewJob(id)], limits=Limits())
    [run] = await store.job_runs.apply("t", [RunUpdate(numbers[id], "r", START, state=JobState.RUNNING)])
    return run.number


async def test_a_request_is_kept_until_its_outcome_is_known(store: Store, clock: FixedClock) -> None:
    run = await start(store)
    begun = await store.job_stops.begin(
        run, "x1", StopMode.SAVEPOINT, drain=True, directory="s3://a", requested_by="tokens/a"
    )
    assert begun == Stop(run, "x1", StopMode.SAVEPOINT, True, "s3://a", "tokens/a", START)
    clock.micros += 5
    assert await store.job_stops.begin(run, "x2", StopMode.SAVEPOINT) == begun
    await store.job_stops.finish(run, "x1", failure="no slots")
    await store.job_stops.finish(run, "x1", location="too late")
    second = await store.job_stops.begin(run, "x2", StopMode.SAVEPOINT)
    assert (second.trigger_id, second.request_time) == ("x2", START + 5)
    await store.job_stops.finish(run, "x2", location="s3://a/1")
    [latest, first] = await store.job_stops.of_run(run)
    assert (latest.location, latest.failure, latest.finish_time) == ("s3://a/1", "", START + 5)
    assert (first.location, first.failure, first.finish_time) == ("", "no slots", START + 5)


async def test_a_cancel_does_not_wait_for_a_savepoint(store: Store) -> None:
    run = await start(store)
    await store.job_stops.begin(run, "x1", StopMode.SAVEPOINT)
    assert (await store.job_stops.begin(run, "x2", StopMode.CANCEL)).trigger_id == "x2"
    assert len(await store.job_stops.of_run(run)) == 2


async def test_requests_of_two_servers_at_once_are_one(open_store: OpenStore) -> None:
    stores = [await open_store() for _ in range(2)]
    run = await start(stores[0])
    begun = await asyncio.gather(*(stores[n % 2].job_stops.begin(run, f"x{n}", StopMode.SAVEPOINT) for n in range(6)))
    assert begun == [begun[0]] * 6
    assert await stores[0].job_stops.of_run(run) == [begun[0]]


async def test_requests_go_with_their_job(store: Store) -> None:
    run, other = await start(store), await start(store, "k")
    for number in (run, other):
        await store.job_stops.begin(number, "x", StopMode.CANCEL)
    await store.jobs.delete("t", "j")
    assert await store.job_stops.of_run(run) == []
    assert len(await store.job_stops.of_run(other)) == 1
    with pytest.raises(SubjectGone):
        await store.job_stops.begin(run, "x", StopMode.CANCEL)
    await store.job_stops.finish(run, "x")


async def test_a_request_and_the_deletion_of_the_job_at_once_leave_nothing_behind(open_store: OpenStore) -> None:
    stores = [await open_store() for _ in range(2)]
    for turn in range(5):
        run = await start(stores[0])
        answers = await asyncio.gather(
            stores[0].jobs.delete("t", "j"),
            *(stores[1].job_stops.begin(run, f"x{n}", StopMode.CANCEL) for n in range(3)),
            return_exceptions=True,
        )
        assert {type(answer) for answer in answers} <= {type(None), Stop, SubjectGone}, (turn, answers)
        assert await stores[0].job_stops.of_run(run) == []
