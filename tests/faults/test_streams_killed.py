"""`kill -9` under a watch and under an export: by their cursors both go on, and nothing is missed."""

from __future__ import annotations

import asyncio
from itertools import count
from typing import Any

import grpc.aio
from grpc import StatusCode
from streamgauge.v1 import common_pb2
from streamgauge.v1 import metrics_service_pb2 as pb

from tests.faults.conftest import Launch
from tests.faults.server_process import ServerProcess
from tests.rpc.messages import DAY, NOW, batch, column, frame, row, write

KILLS = 2
WRITERS = 4


async def test_a_watch_misses_nothing_that_was_acknowledged(launch: Launch, store_url: str) -> None:
    """The watcher is cut off in the middle of what is written, and goes on after its last message."""
    server = await launch(store_url)
    numbers, acknowledged = count(), set[int]()
    request = pb.WatchMetricsRequest(subject_kinds=[common_pb2.SUBJECT_KIND_SOURCE])
    seen: set[int] = set()
    stream: Any = server.stubs.metrics.WatchMetrics(request)
    request.cursor = (await stream.read()).cursor
    stream.cancel()
    for _ in range(KILLS):
        goal = len(acknowledged) + 100
        watching = asyncio.create_task(_watch(server, request, seen))
        writers = [asyncio.create_task(_write(server, writer, numbers, acknowledged)) for writer in range(WRITERS)]
        async with asyncio.timeout(60):
            while len(acknowledged) < goal:
                await asyncio.wait(writers, timeout=0.01)
            await server.kill()
            await asyncio.gather(watching, *writers)
            await server.start()
    last = asyncio.create_task(_watch(server, request, seen))
    async with asyncio.timeout(30):
        while not acknowledged <= seen:
            await asyncio.wait([last], timeout=0.02)
            assert not last.done()
    await server.disconnect()
    await last


async def _write(server: ServerProcess, writer: int, numbers: count[int], acknowledged: set[int]) -> None:
    while True:
        number = next(numbers)
        rows = [row({"n": number}, subject=f"sources/s{writer}-{half}", at=NOW + number) for half in range(2)]
        try:
            await server.stubs.metrics.WriteMetrics(write(*rows))
        except (grpc.aio.AioRpcError, asyncio.CancelledError, grpc.aio.UsageError):
            return
        acknowledged.add(number)


async def _watch(server: ServerProcess, request: pb.WatchMetricsRequest, seen: set[int]) -> None:
    """Reads until the server is gone; `request` has the cursor behind what was seen."""
    try:
        async for message in server.stubs.metrics.WatchMetrics(request):
            seen.update(n for one in message.frames for held in one.columns for n in held.ints.values)
            request.cursor = message.cursor
    except grpc.aio.AioRpcError as error:
        if error.code() not in (StatusCode.UNAVAILABLE, StatusCode.CANCELLED):
            raise
    except (asyncio.CancelledError, grpc.aio.UsageError):
        return  # the channel was closed under the call


async def test_an_export_goes_on_where_it_was(launch: Launch, store_url: str) -> None:
    server = await launch(store_url, "limits.max_response_bytes=20000")
    for source in range(3):
        frames = [
            frame([NOW - day * DAY + at for at in range(500)], column("n", range(500)), subject=f"sources/s{source}")
            for day in range(8)
        ]
        await server.stubs.metrics.ImportMetrics(iter([batch(*frames)]))
    request = pb.ExportMetricsRequest(subject_kind=common_pb2.SUBJECT_KIND_SOURCE)
    whole: list[tuple[str, int]] = []
    for _ in range(KILLS):
        stream: Any = server.stubs.metrics.ExportMetrics(request)
        for _ in range(4):
            message = await stream.read()
            whole.extend((one.subject, time) for one in message.frames for time in one.time_unix_micros)
            request.cursor = message.cursor
        await server.kill()
        await server.start()
    async for message in server.stubs.metrics.ExportMetrics(request):
        whole.extend((one.subject, time) for one in message.frames for time in one.time_unix_micros)
    assert len(whole) == len(set(whole)) == 3 * 8 * 500
