"""A watch of jobs: what it hands on, when it connects again, and where it goes on."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import grpc
import pytest
from streamgauge import (
    AsyncClient,
    Client,
    CursorExpiredError,
    InvalidArgumentError,
    JobChange,
    JobState,
    StreamgaugeError,
    UnavailableError,
    _resuming,
)
from streamgauge._retry import backoff
from streamgauge._service_config import RetryPolicy
from streamgauge.job_watch import Course
from streamgauge.v1 import job_service_pb2 as pb

from tests.unit.sdk.scripts import ScriptedServer, refuse, scripted_server, status

Code = grpc.StatusCode
Script = Callable[[pb.WatchJobsRequest, grpc.ServicerContext], Iterator[pb.WatchJobsResponse]]
SECOND = timedelta(seconds=1)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses of milliseconds: what counts here is what is sent after them."""
    policy = _resuming._POLICY
    monkeypatch.setattr(_resuming, "_POLICY", RetryPolicy(policy.max_attempts, 0.001, 0.01, 2.0, policy.codes))


@pytest.fixture(params=["sync", "async"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def message(cursor: str, *jobs: str) -> pb.WatchJobsResponse:
    answer = pb.WatchJobsResponse(cursor=cursor)
    for job in jobs:
        answer.changes.add(job=f"jobs/{job}", run_id="r", state=pb.JOB_STATE_RUNNING)
    return answer


def script(*calls: Script) -> Callable[[bytes, grpc.ServicerContext], Iterator[Any]]:
    """Returns an answer whose first call is played by the first script, and so on; the last plays all others."""
    waiting = list(calls)

    def answer(body: bytes, context: grpc.ServicerContext) -> Iterator[Any]:
        play = waiting.pop(0) if len(waiting) > 1 else waiting[0]
        return play(pb.WatchJobsRequest.FromString(body), context)

    return answer


def says(*messages: pb.WatchJobsResponse, then: Any = None) -> Script:
    """Returns a script that sends messages, and then fails or ends."""

    def play(request: pb.WatchJobsRequest, context: grpc.ServicerContext) -> Iterator[pb.WatchJobsResponse]:
        yield from messages
        if then is not None:
            refuse(then)(request, context)

    return play


def hangs(*messages: pb.WatchJobsResponse) -> Script:
    """Returns a script that sends messages, and then nothing until the call ends."""

    def play(request: pb.WatchJobsRequest, context: grpc.ServicerContext) -> Iterator[pb.WatchJobsResponse]:
        yield from messages
        ended = threading.Event()
        if context.add_callback(ended.set):
            ended.wait(60)

    return play


async def take(kind: str, server: ScriptedServer, count: int, **arguments: Any) -> tuple[list[JobChange], str]:
    """Returns so many changes, and the cursor after them."""
    found: list[JobChange] = []
    if kind == "sync":
        with Client(server.target) as client, client.jobs.watch(**arguments) as watch:
            for change in watch:
                found.append(change)
                if len(found) == count:
                    break
            return found, watch.cursor
    async with AsyncClient(server.target) as aio, aio.jobs.watch(**arguments) as aio_watch:
        async for change in aio_watch:
            found.append(change)
            if len(found) == count:
                break
        return found, aio_watch.cursor


def requests(server: ScriptedServer) -> list[pb.WatchJobsRequest]:
    return [pb.WatchJobsRequest.FromString(call.request) for call in server.calls]


def jobs(found: list[JobChange]) -> list[str]:
    return [change.job for change in found]


AWAY = status(Code.UNAVAILABLE, "stopping", reason="SHUTTING_DOWN", retry_after=0.002)


@pytest.mark.parametrize(
    "then", [AWAY, status(Code.UNAVAILABLE), status(Code.INTERNAL, "Received RST_STREAM with error code 2"), None]
)
async def test_it_connects_again_after_the_last_message_and_drops_heartbeats(kind: str, then: Any) -> None:
    first = says(message("1"), message("2", "a", "b"), message("3"), then=then)
    with scripted_server(WatchJobs=script(first, hangs(message("4", "c")))) as server:
        found, cursor = await take(kind, server, 3, jobs=["a", "b", "c"], include_current=True)
        assert (jobs(found), cursor) == (["jobs/a", "jobs/b", "jobs/c"], "4")
        assert [request.cursor for request in requests(server)] == ["", "3"]
        assert all(list(request.jobs) == ["jobs/a", "jobs/b", "jobs/c"] for request in requests(server))
    assert found[0].state is JobState.RUNNING
    assert found[0].previous_state is None


async def test_the_cursor_is_behind_what_was_taken_and_never_ahead_of_it(kind: str) -> None:
    with scripted_server(WatchJobs=script(hangs(message("1"), message("2", "a", "b")))) as server:
        assert (await take(kind, server, 1))[1] == "1"
        assert (await take(kind, server, 2))[1] == "2"


async def test_a_watch_begins_where_another_ended_and_asks_for_its_heartbeat(kind: str) -> None:
    with scripted_server(WatchJobs=script(hangs(message("8", "a")))) as server:
        await take(kind, server, 1, cursor="7", heartbeat=2 * SECOND)
        (request,) = requests(server)
        assert (request.cursor, request.heartbeat.seconds) == ("7", 2)
        assert server.calls[0].time_remaining is None or server.calls[0].time_remaining > 86_400


async def test_messages_tell_of_heartbeats_too(kind: str) -> None:
    with scripted_server(WatchJobs=script(hangs(message("1"), message("2", "a")))) as server:
        found = []
        if kind == "sync":
            with Client(server.target) as client, client.jobs.watch() as watch:
                for one in watch.messages():
                    found.append((len(one.changes), watch.cursor))
                    if one.changes:
                        break
        else:
            async with AsyncClient(server.target) as aio, aio.jobs.watch() as aio_watch:
                async for one in aio_watch.messages():
                    found.append((len(one.changes), aio_watch.cursor))
                    if one.changes:
                        break
    assert found == [(0, "1"), (1, "2")]


async def test_a_connection_that_never_comes_about_is_an_error_after_five_tries(kind: str) -> None:
    with scripted_server(WatchJobs=script(says(then=status(Code.UNAVAILABLE, "away")))) as server:
        with pytest.raises(UnavailableError, match="away"):
            await take(kind, server, 1)
        assert len(server.calls) == 5


async def test_a_server_that_stays_away_is_an_error_when_patience_is_over(kind: str) -> None:
    away = says(then=status(Code.UNAVAILABLE, "away"))
    with scripted_server(WatchJobs=script(says(message("1"), then=AWAY), away)) as server:
        with pytest.raises(UnavailableError, match="away"):
            await take(kind, server, 1, give_up_after=0.2 * SECOND)
        assert len(server.calls) > 5


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (status(Code.OUT_OF_RANGE, reason="CURSOR_EXPIRED"), CursorExpiredError),
        (status(Code.INVALID_ARGUMENT, reason="INVALID_FIELD"), InvalidArgumentError),
        (status(Code.INTERNAL, reason="INTERNAL"), StreamgaugeError),
    ],
)
async def test_an_error_that_does_not_pass_is_raised(kind: str, told: Any, expected: type[StreamgaugeError]) -> None:
    with scripted_server(WatchJobs=script(says(message("1"), then=told))) as server:
        with pytest.raises(expected):
            await take(kind, server, 1)
        assert len(server.calls) == 1


async def test_a_connection_that_has_gone_silent_is_given_up_for_a_new_one(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_resuming, "_MIN_SILENCE", 0.3)
    monkeypatch.setattr(_resuming, "_SILENT_HEARTBEATS", 0)
    with scripted_server(WatchJobs=script(hangs(message("1")), hangs(message("2", "a")))) as server:
        found, _ = await take(kind, server, 1)
        assert jobs(found) == ["jobs/a"]
        assert [request.cursor for request in requests(server)] == ["", "1"]


async def test_a_consumer_that_takes_its_time_does_not_count_as_silence(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_resuming, "_MIN_SILENCE", 0.2)
    monkeypatch.setattr(_resuming, "_SILENT_HEARTBEATS", 0)
    with scripted_server(WatchJobs=script(hangs(message("1", "a"), message("2", "b")))) as server:
        if kind == "sync":
            with Client(server.target) as client, client.jobs.watch() as watch:
                next(watch)
                await asyncio.sleep(0.5)
                assert next(watch).job == "jobs/b"
        else:
            async with AsyncClient(server.target) as aio, aio.jobs.watch() as aio_watch:
                await anext(aio_watch)
                await asyncio.sleep(0.5)
                assert (await anext(aio_watch)).job == "jobs/b"
        assert len(server.calls) == 1


async def test_closing_a_watch_ends_whoever_waits_for_it(kind: str) -> None:
    with scripted_server(WatchJobs=script(hangs(message("1", "a")))) as server:
        if kind == "sync":
            with Client(server.target) as client:
                watch = client.jobs.watch()
                next(watch)
                rest = asyncio.create_task(asyncio.to_thread(list, watch))
                await asyncio.sleep(0.1)
                watch.close()
                assert await asyncio.wait_for(rest, 20) == []
        else:
            async with AsyncClient(server.target) as aio:
                aio_watch = aio.jobs.watch()
                await anext(aio_watch)

                async def left() -> list[JobChange]:
                    return [change async for change in aio_watch]

                task = asyncio.create_task(left())
                await asyncio.sleep(0.1)
                await aio_watch.close()
                assert await asyncio.wait_for(task, 20) == []


async def test_closing_the_client_ends_a_watch_with_an_error(kind: str) -> None:
    with scripted_server(WatchJobs=script(hangs(message("1", "a")))) as server:
        if kind == "sync":
            client = Client(server.target)
            watch = client.jobs.watch()
            next(watch)
            client.close()
            with pytest.raises(StreamgaugeError) as caught:
                next(watch)
        else:
            aio = AsyncClient(server.target)
            aio_watch = aio.jobs.watch()
            await anext(aio_watch)
            await aio.close()
            with pytest.raises(StreamgaugeError) as caught:
                await anext(aio_watch)
        assert caught.value.code is Code.CANCELLED


async def test_a_cancelled_task_stays_cancelled() -> None:
    with scripted_server(WatchJobs=script(hangs(message("1", "a")))) as server:
        async with AsyncClient(server.target) as client, client.jobs.watch() as watch:
            await anext(watch)
            task = asyncio.ensure_future(anext(watch))
            await asyncio.sleep(0.1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task


def test_an_abandoned_watch_leaves_no_thread_and_no_call_behind() -> None:
    ended = threading.Event()

    def play(request: pb.WatchJobsRequest, context: grpc.ServicerContext) -> Iterator[pb.WatchJobsResponse]:
        context.add_callback(ended.set)
        yield message("1", "a")
        ended.wait(60)

    with scripted_server(WatchJobs=script(play)) as server, Client(server.target) as client:
        for _ in client.jobs.watch():
            break
        assert ended.wait(20)
    for thread in threading.enumerate():
        if thread.name == "streamgauge-stream":
            thread.join(20)
            assert not thread.is_alive()


def test_pauses_grow_and_begin_anew_after_a_message() -> None:
    course = Course(pb.WatchJobsRequest(), 15 * SECOND, None, 0)
    course.received(message("1"), 0)
    away = UnavailableError("away", code=Code.UNAVAILABLE)
    pauses = [course.pause(away, 0) for _ in range(20)]
    low, high = (backoff(_resuming._POLICY, 20, lambda low, high, p=p: (low, high)[p]) for p in (0, 1))  # type: ignore[misc]
    assert low <= pauses[-1] <= high
    course.received(message("2"), 0)
    assert course.pause(away, 0) < low
    assert course.pause(UnavailableError("a", code=Code.UNAVAILABLE, retry_after=7), 0) == 7
    assert course.silence == 45
