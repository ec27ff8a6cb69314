"""`WatchMetrics`: every sample that is written, in order, also over interruptions and from other servers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from grpc import StatusCode
from sqlalchemy import Connection, update
from streamgauge.v1 import common_pb2
from streamgauge.v1 import metrics_service_pb2 as pb
from streamgauge_server.model.clock import FixedClock
from streamgauge_server.services import watch_hub
from streamgauge_server.storage import tables

from tests.rpc.messages import HOUR, NOW, row, write
from tests.rpc.serving import Start, Stubs, invalid, refused
from tests.rpc.test_asset_scopes import token
from tests.rpc.test_export import samples_in

SOURCE, JOB = common_pb2.SUBJECT_KIND_SOURCE, common_pb2.SUBJECT_KIND_JOB

Told = tuple[str, str, Any]
"""Subject, metric, value."""


class Watch:
    """An open stream."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream
        self.cursor = ""

    async def message(self) -> pb.WatchMetricsResponse:
        message: pb.WatchMetricsResponse = await asyncio.wait_for(self.stream.read(), 10)
        assert message.cursor
        self.cursor = message.cursor
        return message

    async def next(self) -> list[Told]:
        """Returns the samples of the next message by time."""
        found = samples_in((await self.message()).frames)
        return [(s[0].removeprefix("sources/"), s[2], s[5]) for s in sorted(found, key=lambda s: (s[3], s[:3]))]

    async def until(self, number: int) -> list[Told]:
        """Returns the next samples, at least so many."""
        found: list[Told] = []
        while len(found) < number:
            found += await self.next()
        return found


@asynccontextmanager
async def watch(
    stubs: Stubs, *subjects: str, kind: str = "SOURCE", heartbeat: float | None = None, **fields: Any
) -> AsyncIterator[Watch]:
    """Watches subjects, by default all sources; its first message has come."""
    request = pb.WatchMetricsRequest(subjects=subjects, **fields)
    if not subjects:
        request.subject_kinds.append(common_pb2.SubjectKind.Value(f"SUBJECT_KIND_{kind}"))
    if heartbeat is not None:
        request.heartbeat.FromNanoseconds(round(heartbeat * 1e9))
    watch = Watch(stubs.metrics.WatchMetrics(request))
    try:
        assert await watch.next() == []
        yield watch
    finally:
        watch.stream.cancel()


async def put(
    stubs: Stubs, values: dict[str, Any], *, source: str = "a", at: int = NOW, start: int | None = None
) -> None:
    message = write(row(values, subject=f"sources/{source}", at=at, start=start))
    assert not (await stubs.metrics.WriteMetrics(message)).errors


async def test_samples_come_as_they_are_committed(stubs: Stubs) -> None:
    await put(stubs, {"x": 0})
    async with watch(stubs) as seen:
        begun = time.monotonic()
        await put(stubs, {"x": 1, "y": "t"}, start=NOW - HOUR)
        message = await seen.message()
        assert time.monotonic() - begun < 0.9, "this server's own commits do not wait for the next look at the store"
        assert samples_in(message.frames) == [
            ("sources/a", "", "x", NOW, "ints", 1, NOW - HOUR),
            ("sources/a", "", "y", NOW, "strings", "t", NOW - HOUR),
        ]
        await put(stubs, {"x": 2}, source="b", at=NOW - HOUR)
        assert await seen.next() == [("b", "x", 2)]


async def test_subjects_kinds_and_metrics_are_chosen(stubs: Stubs) -> None:
    async with (
        watch(stubs, "sources/b", "jobs/later") as of_b,
        watch(stubs, kind="JOB", heartbeat=1) as of_jobs,
        watch(stubs, metrics=["y"]) as of_y,
    ):
        await put(stubs, {"x": 1}, source="a")
        await put(stubs, {"x": 2, "y": 3}, source="b")
        assert await of_b.next() == [("b", "x", 2), ("b", "y", 3)]
        assert await of_y.next() == [("b", "y", 3)]
        before = of_jobs.cursor
        assert await of_jobs.next() == []
        assert of_jobs.cursor != before, "a heartbeat's cursor is behind what was not for this watcher"


async def test_a_watch_goes_on_after_its_cursor(stubs: Stubs) -> None:
    async with watch(stubs) as seen:
        await put(stubs, {"x": 1})
        assert await seen.next() == [("a", "x", 1)]
        cursor = seen.cursor
    for number in range(2, 5):
        await put(stubs, {"x": number}, at=NOW + number)
    async with watch(stubs, cursor=cursor) as seen:
        assert await seen.until(3) == [("a", "x", 2), ("a", "x", 3), ("a", "x", 4)]
        await put(stubs, {"x": 5}, at=NOW + 5)
        assert await seen.next() == [("a", "x", 5)]


async def test_of_an_overwritten_sample_the_last_one_told_stands(stubs: Stubs) -> None:
    async with watch(stubs) as seen:
        await asyncio.gather(*(put(stubs, {"x": number}) for number in range(20)))
        answer = await stubs.metrics.GetLatestMetrics(pb.GetLatestMetricsRequest(subjects=["sources/a"]))
        stands = answer.subjects[0].values[0].value.int64_value
        while (await seen.next())[-1] != ("a", "x", stands):
            pass


async def test_a_watcher_that_joins_while_much_is_written_misses_nothing(stubs: Stubs) -> None:
    async def produce(source: str) -> None:
        for number in range(60):
            await put(stubs, {"x": number}, source=source, at=NOW + number)

    async def consume(begin: str) -> list[Told]:
        async with watch(stubs, cursor=begin) as seen:
            return await seen.until(180)

    async with watch(stubs) as first:
        begin = first.cursor
        producers = [asyncio.create_task(produce(source)) for source in "abc"]
        late: list[asyncio.Task[list[Told]]] = []
        for _ in range(10):
            late.append(asyncio.create_task(consume(begin)))
            await asyncio.sleep(0)
            await put(stubs, {"y": 1}, source="a")
        await asyncio.gather(*producers)
        expected = {(source, "x", number) for source in "abc" for number in range(60)}
        for task in late:
            told = {one for one in await asyncio.wait_for(task, 20) if one[1] == "x"}
            assert told <= expected


async def test_silence_is_broken_by_heartbeats(stubs: Stubs) -> None:
    async with watch(stubs, heartbeat=1) as seen:
        cursor = seen.cursor
        begun = time.monotonic()
        assert await seen.next() == []
        assert 0.9 < time.monotonic() - begun < 3
        assert seen.cursor == cursor, "nothing was committed"


async def test_bad_requests_are_refused(stubs: Stubs) -> None:
    request = pb.WatchMetricsRequest(subjects=["x"], subject_kinds=[SOURCE], metrics=[""])
    request.heartbeat.FromSeconds(301)
    with invalid() as refusal:
        await stubs.metrics.WatchMetrics(request).read()
    assert refusal.violations.keys() == {"subjects[0]", "subject_kinds", "metrics[0]", "heartbeat"}
    with invalid() as refusal:
        await stubs.metrics.WatchMetrics(pb.WatchMetricsRequest()).read()
    assert refusal.violations.keys() == {"subject_kinds"}
    with invalid("PAGE_TOKEN_MISMATCH"):
        await stubs.metrics.WatchMetrics(pb.WatchMetricsRequest(subject_kinds=[SOURCE], cursor="!")).read()


async def test_a_cursor_of_another_store_is_told_the_oldest_one(start: Start) -> None:
    async with watch(await start()) as seen:
        cursor = seen.cursor
    other = await start()
    await put(other, {"x": 1})
    with refused(StatusCode.OUT_OF_RANGE, "CURSOR_EXPIRED") as refusal:
        await other.metrics.WatchMetrics(pb.WatchMetricsRequest(subject_kinds=[SOURCE], cursor=cursor)).read()
    async with watch(other, cursor=refusal.metadata["oldest_cursor"]) as seen:
        assert await seen.next() == [("a", "x", 1)]


async def test_a_cursor_before_what_was_folded_is_told_the_oldest_one(stubs: Stubs) -> None:
    async with watch(stubs) as seen:
        begin = seen.cursor
        await put(stubs, {"x": 1})
        await seen.next()
        after_first = seen.cursor
        await put(stubs, {"x": 2})
        await seen.next()
    assert stubs.app is not None
    assert stubs.app.store is not None
    state, _ = await stubs.app.store.change_log.state()

    def fold(connection: Connection) -> None:
        connection.execute(update(tables.block_log).values(folded_position=state.final_position))

    await stubs.app.store.change_log._database.write(fold)
    for cursor in (begin, after_first):
        with refused(StatusCode.OUT_OF_RANGE, "CURSOR_EXPIRED") as refusal:
            await stubs.metrics.WatchMetrics(pb.WatchMetricsRequest(subject_kinds=[SOURCE], cursor=cursor)).read()
    async with watch(stubs, cursor=refusal.metadata["oldest_cursor"]) as seen:
        await put(stubs, {"x": 3})
        assert await seen.next() == [("a", "x", 3)]


async def test_a_watcher_that_does_not_read_is_cut_and_may_go_on(stubs: Stubs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch_hub, "MAX_WAITING_BATCHES", 3)
    values = {f"m{place}": "t" * 4_000 for place in range(250)}
    async with watch(stubs) as slow, watch(stubs) as quick:
        # More than the transport takes from a server whose client does not read.
        for number in range(30):
            await put(stubs, values, at=NOW + number)
            assert len(await quick.until(250)) == 250
        with refused(StatusCode.RESOURCE_EXHAUSTED, "SLOW_CONSUMER") as refusal:
            while True:
                await slow.message()
        assert refusal.metadata["cursor"] == slow.cursor
    async with watch(stubs, cursor=slow.cursor) as again:
        assert len(await again.until(250)) == 250


async def test_another_servers_commits_are_told(start: Start, shared_url: str) -> None:
    first, second = await start(database=shared_url), await start(database=shared_url)
    async with watch(first) as seen:
        for number in range(3):
            await put(second, {"x": number})
            assert await seen.next() == [("a", "x", number)]


async def test_a_stopping_server_ends_its_watches_and_a_new_one_goes_on(start: Start, shared_url: str) -> None:
    first = await start(database=shared_url)
    async with watch(first) as seen:
        await put(first, {"x": 1})
        assert await seen.next() == [("a", "x", 1)]
        assert first.app is not None
        await first.app.stop(0)
        with refused(StatusCode.UNAVAILABLE, "SHUTTING_DOWN"):
            await seen.next()
    second = await start(database=shared_url)
    await put(second, {"x": 2})
    async with watch(second, cursor=seen.cursor) as again:
        assert await again.next() == [("a", "x", 2)]


async def test_watching_needs_the_scope_of_reading_each_kind(start: Start, clock: FixedClock) -> None:
    stubs = await start(auth="required")
    reader = await token(stubs, clock, "read:source_metrics", "write:jobs")
    stream: Any = stubs.metrics.WatchMetrics(pb.WatchMetricsRequest(subject_kinds=[SOURCE]), metadata=reader)
    assert (await stream.read()).cursor
    stream.cancel()
    for request in (pb.WatchMetricsRequest(subject_kinds=[SOURCE, JOB]), pb.WatchMetricsRequest(subjects=["jobs/j"])):
        with refused(StatusCode.PERMISSION_DENIED, "SCOPE_MISSING") as refusal:
            await stubs.metrics.WatchMetrics(request, metadata=reader).read()
        assert refusal.metadata["scope"] == "read:jobs"


async def test_another_tenants_samples_are_not_told(start: Start, clock: FixedClock) -> None:
    stubs = await start(auth="required")
    ours = await token(stubs, clock, "read:source_metrics", "write:source_metrics")
    theirs = await token(stubs, clock, "write:source_metrics", tenant="other")
    request = pb.WatchMetricsRequest(subject_kinds=[SOURCE])
    stream: Any = stubs.metrics.WatchMetrics(request, metadata=ours)
    await stream.read()
    await stubs.metrics.WriteMetrics(write(row({"x": 1})), metadata=theirs)
    await stubs.metrics.WriteMetrics(write(row({"x": 2})), metadata=ours)
    (one,) = (await stream.read()).frames
    assert list(one.columns[0].ints.values) == [2]
    stream.cancel()
