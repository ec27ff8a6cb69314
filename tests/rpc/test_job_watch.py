"""Watching jobs: every change once, in order, also over interruptions and from other servers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from grpc import StatusCode
from streamgauge.v1 import job_service_pb2 as pb
from streamgauge_server.model.clock import FixedClock

from tests.rpc.job_messages import changes_of, create, report, state_name, tell
from tests.rpc.messages import DAY, NOW, micros
from tests.rpc.serving import Start, Stubs, invalid, refused
from tests.rpc.test_sources import damaged

if TYPE_CHECKING:
    from tests.conftest import Postgres

Change = tuple[str, str]


class Watch:
    """An open stream."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.cursor = ""

    async def next(self) -> list[Change]:
        """Returns the changes of the next message: jobs and states."""
        message: pb.WatchJobsResponse = await asyncio.wait_for(self._stream.read(), 10)
        assert message.cursor
        self.cursor = message.cursor
        return [(change.job.removeprefix("jobs/"), state_name(change.state)) for change in message.changes]

    async def until(self, number: int) -> list[Change]:
        """Returns the next changes, at least so many."""
        found: list[Change] = []
        while len(found) < number:
            found += await self.next()
        return found

    def cancel(self) -> None:
        self._stream.cancel()


@asynccontextmanager
async def watch(stubs: Stubs, *jobs: str, heartbeat: float | None = None, **fields: Any) -> AsyncIterator[Watch]:
    """Watches jobs, by default all. Its first message has been sent when there is a `cursor` to begin with or not."""
    request = pb.WatchJobsRequest(jobs=[f"jobs/{job}" for job in jobs], **fields)
    if heartbeat is not None:
        request.heartbeat.FromNanoseconds(round(heartbeat * 1e9))
    watch = Watch(stubs.jobs.WatchJobs(request))
    try:
        yield watch
    finally:
        watch.cancel()


async def test_changes_come_in_order_as_they_become_known(stubs: Stubs) -> None:
    async with watch(stubs) as seen:
        assert await seen.next() == []
        await tell(stubs, report("jobs/a", "QUEUED"), report("jobs/b"), report("jobs/a"))
        assert await seen.until(3) == [("a", "QUEUED"), ("b", "RUNNING"), ("a", "RUNNING")]
        begun = time.monotonic()
        await tell(stubs, report("jobs/a", "FINISHED"))
        assert await seen.next() == [("a", "FINISHED")]
        assert time.monotonic() - begun < 0.9, "this server's own changes do not wait for the next look at the store"


async def test_a_change_says_what_it_was_and_is(stubs: Stubs) -> None:
    stream = stubs.jobs.WatchJobs(pb.WatchJobsRequest())
    await stream.read()
    await tell(stubs, report(run_id="r", state="QUEUED"))
    (first,) = await changes_of(stream)
    assert (first.run_id, first.previous_state, state_name(first.state)) == ("r", 0, "QUEUED")
    await tell(stubs, report(run_id="r", restart_count=2))
    (second,) = await changes_of(stream)
    assert (state_name(second.previous_state), state_name(second.state), second.state_text) == (
        *("QUEUED", "RUNNING", "RUNNING"),
    )
    assert (second.restart_count, second.lost, micros(second.observe_time)) == (2, False, NOW)
    stream.cancel()


async def test_a_watch_goes_on_where_it_was_interrupted(stubs: Stubs) -> None:
    async with watch(stubs) as seen:
        await seen.next()
        await tell(stubs, report("jobs/a"))
        await seen.next()
        cursor = seen.cursor
    await tell(stubs, report("jobs/b"), report("jobs/a", "FAILED"))
    async with watch(stubs, cursor=cursor, include_current=True) as seen:
        assert await seen.until(2) == [("b", "RUNNING"), ("a", "FAILED")]
        await tell(stubs, report("jobs/c"))
        assert await seen.next() == [("c", "RUNNING")]
    async with watch(stubs, cursor=cursor) as seen:
        assert await seen.until(3) == [("b", "RUNNING"), ("a", "FAILED"), ("c", "RUNNING")]


async def test_a_watch_that_falls_behind_loses_nothing(stubs: Stubs) -> None:
    async with watch(stubs) as seen:
        await seen.next()
        for turn in range(3):
            await tell(stubs, *[report(f"jobs/j{number}", run_id=f"{turn}") for number in range(600)])
        assert len(await seen.until(1_800)) == 1_800


async def test_silence_is_broken_by_heartbeats(stubs: Stubs) -> None:
    async with watch(stubs, heartbeat=1) as seen:
        await seen.next()
        begun = time.monotonic()
        assert await seen.next() == []
        assert await seen.next() == []
        assert 1.8 < time.monotonic() - begun < 5


async def test_only_the_jobs_that_are_asked_for(stubs: Stubs) -> None:
    await tell(stubs, report("jobs/a"), report("jobs/b"))
    async with watch(stubs, "a", "none", include_current=True, heartbeat=1) as seen:
        assert await seen.next() == [("a", "RUNNING")]
        before = seen.cursor
        await tell(stubs, report("jobs/b", "FINISHED"))
        assert await seen.next() == []
        assert seen.cursor != before, "what is passed over is not read again"
        await tell(stubs, report("jobs/a", "FINISHED"))
        assert await seen.next() == [("a", "FINISHED")]


class TestCurrent:
    async def test_present_states_come_first(self, stubs: Stubs) -> None:
        await create(stubs, "idle")
        await tell(stubs, report("jobs/a"), report("jobs/a", "RESTARTING"), report("jobs/b", "FINISHED"))
        async with watch(stubs, include_current=True) as seen:
            assert sorted(await seen.next()) == [("a", "RESTARTING"), ("b", "FINISHED")]
            await tell(stubs, report("jobs/a"))
            assert await seen.next() == [("a", "RUNNING")]

    async def test_many_come_in_several_messages_and_an_interruption_skips_none(self, stubs: Stubs) -> None:
        for turn in range(2):
            await tell(stubs, *[report(f"jobs/{turn}-{number}") for number in range(600)])
        async with watch(stubs, include_current=True) as seen:
            found = await seen.next()
            assert len(found) < 1_200
            cursor = seen.cursor
        await tell(stubs, report("jobs/new"))
        async with watch(stubs, cursor=cursor) as seen:
            found += await seen.until(1_201 - len(found))
        assert len(set(found)) == len(found) == 1_201
        assert found[-1] == ("new", "RUNNING")

    async def test_without_any_job_there_is_a_cursor_all_the_same(self, stubs: Stubs) -> None:
        async with watch(stubs, include_current=True) as seen:
            assert await seen.next() == []


class TestCursors:
    async def test_one_that_is_too_old_is_refused_with_the_oldest_one(self, stubs: Stubs, clock: FixedClock) -> None:
        async with watch(stubs) as seen:
            await seen.next()
            cursor = seen.cursor
        await tell(stubs, report("jobs/a"))
        clock.micros += 31 * DAY
        await tell(stubs, report("jobs/b"))
        assert stubs.app is not None
        assert stubs.app.store is not None
        assert await stubs.app.store.job_runs.prune(NOW + DAY) == 1
        with refused(StatusCode.OUT_OF_RANGE, "CURSOR_EXPIRED") as refusal:
            await stubs.jobs.WatchJobs(pb.WatchJobsRequest(cursor=cursor)).read()
        async with watch(stubs, cursor=refusal.metadata["oldest_cursor"]) as seen:
            assert await seen.until(1) == [("b", "RUNNING")]

    async def test_one_that_is_none_is_refused(self, stubs: Stubs) -> None:
        await tell(stubs, report())
        async with watch(stubs) as seen:
            await seen.next()
        listed = await stubs.jobs.ListJobs(pb.ListJobsRequest(page_size=1))
        assert not listed.next_page_token
        for bad in (*damaged(seen.cursor), "x"):
            with invalid("PAGE_TOKEN_MISMATCH") as refusal:
                await stubs.jobs.WatchJobs(pb.WatchJobsRequest(cursor=bad)).read()
            assert refusal.metadata["field"] == "cursor"


class TestRequests:
    async def test_all_that_is_wrong_is_told_at_once(self, stubs: Stubs) -> None:
        request = pb.WatchJobsRequest(jobs=["a", "jobs/a", "jobs/a b", "sources/a", ""])
        request.heartbeat.nanos = 999_999_999
        with invalid() as refusal:
            await stubs.jobs.WatchJobs(request).read()
        assert list(refusal.violations) == ["jobs[0]", "jobs[2]", "jobs[3]", "jobs[4]", "heartbeat"]
        request = pb.WatchJobsRequest(jobs=[f"jobs/{number}" for number in range(1_001)])
        request.heartbeat.seconds = 301
        with invalid() as refusal:
            await stubs.jobs.WatchJobs(request).read()
        assert refusal.violations == {
            "jobs": "must have at most 1000 entries, has 1001",
            "heartbeat": "must be 1 s to 300 s, is 301 s",
        }


async def test_a_stopping_server_ends_watches_with_a_reason_and_another_goes_on(start: Start, shared_url: str) -> None:
    first = await start(database=shared_url)
    second = await start(database=shared_url)
    async with watch(first) as seen:
        await seen.next()
        await tell(second, report("jobs/a"))
        assert await seen.next() == [("a", "RUNNING")]
        assert first.app is not None
        await first.app.stop(0)
        with refused(StatusCode.UNAVAILABLE, "SHUTTING_DOWN"):
            await seen.next()
        cursor = seen.cursor
    await tell(second, report("jobs/b"))
    async with watch(second, cursor=cursor) as seen:
        assert await seen.until(1) == [("b", "RUNNING")]


async def test_two_servers_on_postgresql_tell_of_each_others_changes_without_a_gap(
    start: Start, pg_cluster: Postgres
) -> None:
    url = pg_cluster.create_database()
    try:
        servers = [await start(database=url), await start(database=url)]
        async with watch(servers[0]) as left, watch(servers[1]) as right:
            await left.next()
            await right.next()

            async def run(stubs: Stubs, name: str) -> None:
                for number in range(25):
                    await tell(stubs, report(f"jobs/{name}{number}"))

            await asyncio.gather(*(run(stubs, name) for stubs, name in zip(servers, "xy", strict=True)))
            found = await left.until(50)
            assert found == await right.until(50)
            assert len(set(found)) == 50
        for stubs in servers:
            assert stubs.app is not None
            await stubs.app.stop(0)
    finally:
        pg_cluster.drop_database(url)


async def test_many_may_watch(stubs: Stubs) -> None:
    count = 50
    streams = [stubs.jobs.WatchJobs(pb.WatchJobsRequest()) for _ in range(count)]
    await asyncio.gather(*(stream.read() for stream in streams))
    await tell(stubs, report("jobs/a"))
    answers = await asyncio.gather(*(changes_of(stream) for stream in streams))
    assert [len(answer) for answer in answers] == [1] * count
    for stream in streams:
        stream.cancel()
