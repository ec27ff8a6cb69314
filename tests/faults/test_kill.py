"""`kill -9` under load: what was acknowledged is there after a restart, and nothing is there in part."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from itertools import count

import grpc.aio
from grpc import StatusCode

from tests.faults.conftest import Launch
from tests.faults.history import METRICS, ORIGIN, observation, stored, values
from tests.faults.server_process import ServerProcess
from tests.rpc.messages import MINUTE, batch, column, frame, write

SOURCES = [f"sources/load-{n}" for n in range(8)]
BATCHED = [f"sources/batched-{n}" for n in range(4)]
IMPORTED = [f"sources/imported-{n}" for n in range(2)]
PER_IMPORT = 20


class Load:
    """Writers that go on until their server is gone, and what they were told is stored."""

    def __init__(self) -> None:
        self.acknowledged: dict[str, set[int]] = defaultdict(set)
        self.count = 0
        self.enough = asyncio.Event()
        self._numbers = {name: count() for name in (*SOURCES, *BATCHED, *IMPORTED)}

    async def run_until_killed(self, server: ServerProcess, *, after: int) -> None:
        """Kills the server when so many writes more are acknowledged, with all writers in the middle of theirs."""
        self.enough.clear()
        self.count = -after
        writers = [
            *(self._write(server, source) for source in SOURCES),
            self._write_together(server),
            *(self._import(server, source) for source in IMPORTED),
        ]
        running = asyncio.gather(*(self._until_unavailable(writer) for writer in writers))
        async with asyncio.timeout(60):
            await self.enough.wait()
            await server.kill()
            await running

    async def _until_unavailable(self, writer: asyncio.Future[None] | object) -> None:
        try:
            await writer  # type: ignore[misc]
        except grpc.aio.AioRpcError as error:
            if error.code() != StatusCode.UNAVAILABLE:
                raise
        except (asyncio.CancelledError, grpc.aio.UsageError):
            pass  # the channel was closed under the call

    def _acknowledge(self, source: str, *numbers: int) -> None:
        self.acknowledged[source].update(numbers)
        self.count += 1
        if self.count >= 0:
            self.enough.set()

    async def _write(self, server: ServerProcess, source: str) -> None:
        for n in self._numbers[source]:
            answer = await server.stubs.metrics.WriteMetrics(write(observation(source, n)))
            assert answer.accepted_count == 1
            self._acknowledge(source, n)

    async def _write_together(self, server: ServerProcess) -> None:
        """One request for several sources and several moments: it is durable as a whole."""
        while True:
            pairs = [(source, next(self._numbers[source])) for source in BATCHED for _ in range(5)]
            answer = await server.stubs.metrics.WriteMetrics(write(*(observation(*pair) for pair in pairs)))
            assert answer.accepted_count == len(pairs)
            for source, n in pairs:
                self._acknowledge(source, n)

    async def _import(self, server: ServerProcess, source: str) -> None:
        while True:
            numbers = [next(self._numbers[source]) for _ in range(PER_IMPORT)]
            rows = [values(n) for n in numbers]
            columns = [column(metric, [row[metric] for row in rows]) for metric in rows[0]]
            message = batch(frame([ORIGIN + n * MINUTE for n in numbers], *columns, subject=source, part="p"))
            answer = await server.stubs.metrics.ImportMetrics(iter([message]))
            assert answer.accepted_sample_count == PER_IMPORT * METRICS
            self._acknowledge(source, *numbers)


async def test_acknowledged_writes_are_there_after_kill_9_and_nothing_is_there_in_part(
    launch: Launch, store_url: str
) -> None:
    server = await launch(store_url)
    request = write(observation("sources/once", 1), observation("sources/once", 2), request_id="r-1")
    first = await server.stubs.metrics.WriteMetrics(request)
    load = Load()
    await load.run_until_killed(server, after=600)
    await server.start()

    found = await stored(server.stubs, *sorted({*load.acknowledged, *IMPORTED}), "sources/once")
    for source, acknowledged in load.acknowledged.items():
        assert acknowledged <= found[source], f"acknowledged and lost of {source}"
    for source in IMPORTED:
        groups = {n // PER_IMPORT for n in found[source]}
        assert len(found[source]) == len(groups) * PER_IMPORT, "a frame is stored whole or not at all"
    for moments in zip(*(sorted(found[source]) for source in BATCHED), strict=True):
        assert len(set(moments)) == 1, "a request is stored for all of its sources or for none"

    assert await server.stubs.metrics.WriteMetrics(request) == first, "a request id is remembered"
    for source in load.acknowledged:
        part = "p" if source in IMPORTED else ""
        answer = await server.stubs.metrics.WriteMetrics(write(observation(source, max(found[source]) + 1, part)))
        assert answer.accepted_count == 1
    after = await stored(server.stubs, *load.acknowledged)
    assert {source: len(numbers) for source, numbers in after.items()} == {
        source: len(found[source]) + 1 for source in load.acknowledged
    }
