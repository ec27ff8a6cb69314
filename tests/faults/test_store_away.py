"""A store that goes away, fills up, and comes back, under a server that goes on."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from itertools import count
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import grpc.aio
import pytest
from grpc import StatusCode
from grpc_health.v1 import health_pb2, health_pb2_grpc
from streamgauge.v1 import metrics_service_pb2 as pb
from streamgauge.v1 import source_service_pb2

from tests.faults.conftest import Launch
from tests.faults.history import observation, stored
from tests.faults.server_process import ServerProcess
from tests.faults.stores import Outage, PostgresqlOutage, SqliteOutage, blocks_on, small_disk
from tests.rpc.messages import NOW, ask, batch, column, columns_of, frame, query, row, write
from tests.rpc.serving import Refusal, Stubs, refused

if TYPE_CHECKING:
    from tests.conftest import Postgres

DEADLINE = 30.0


def unavailable() -> AbstractContextManager[Refusal]:
    return refused(StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE")


def everything(stubs: Stubs) -> list[Callable[[], Awaitable[Any]]]:
    """Calls of every method that needs the store; those that write would leave a trace."""
    return [
        lambda: stubs.sources.ListSources(source_service_pb2.ListSourcesRequest()),
        lambda: stubs.sources.GetSource(source_service_pb2.GetSourceRequest(name="sources/a")),
        lambda: stubs.sources.CreateSource(source_service_pb2.CreateSourceRequest(source_id="new")),
        lambda: stubs.sources.DeleteSource(source_service_pb2.DeleteSourceRequest(name="sources/a")),
        lambda: stubs.sources.GetSourceMetrics(ask("TIMESERIES")),
        lambda: stubs.sources.GetSourceMetrics(ask("LATEST")),
        lambda: stubs.metrics.WriteMetrics(write(observation("sources/a", 100))),
        lambda: stubs.metrics.WriteMetrics(write(observation("sources/never", 100))),
        lambda: stubs.metrics.ImportMetrics(iter([batch(frame([1], column("int0", [1])))])),
        lambda: stubs.metrics.QueryMetrics(query()),
        lambda: stubs.metrics.GetLatestMetrics(pb.GetLatestMetricsRequest(subjects=["sources/a"])),
    ]


async def until_it_works(call: Callable[[], Awaitable[Any]]) -> None:
    """Repeats a call while the store is away, as RetryInfo advises, only faster."""
    async with asyncio.timeout(DEADLINE):
        while True:
            try:
                await call()
            except grpc.aio.AioRpcError as error:
                refusal = Refusal()
                refusal.read(error)
                if refusal.reason != "STORE_UNAVAILABLE":
                    raise
                await asyncio.sleep(0.05)
            else:
                return


async def until_health_says(stubs: Stubs, status: str) -> None:
    stub: Any = health_pb2_grpc.HealthStub(stubs.channel)
    wanted = health_pb2.HealthCheckResponse.ServingStatus.Value(status)
    async with asyncio.timeout(DEADLINE):
        while True:
            if (await stub.Check(health_pb2.HealthCheckRequest())).status == wanted:
                return
            await asyncio.sleep(0.05)


@pytest.fixture(params=["sqlite", "postgresql"])
def outage(request: pytest.FixtureRequest, tmp_path: Path) -> Outage:
    if request.param == "sqlite":
        return SqliteOutage(tmp_path / "store.db")
    cluster: Postgres = request.getfixturevalue("pg_cluster")
    if not cluster.can_restart:
        pytest.skip("this PostgreSQL server is not ours to stop")
    return PostgresqlOutage(cluster, request.getfixturevalue("pg_url"))


async def test_without_its_store_every_call_is_unavailable_and_with_it_all_goes_on(
    launch: Launch, outage: Outage
) -> None:
    server = await launch(outage.url, "health_interval_seconds=0.2")
    stubs, pid = server.stubs, server.pid
    for n in range(3):
        await stubs.metrics.WriteMetrics(write(observation("sources/a", n)))
    await asyncio.to_thread(outage.begin)
    try:
        for call in everything(stubs):
            with unavailable() as refusal:
                await call()
            assert refusal.metadata["store"] == outage.engine
            assert refusal.metadata["cause"]
            assert refusal.retry_after
        await until_health_says(stubs, "NOT_SERVING")
    finally:
        await asyncio.to_thread(outage.end)

    await until_it_works(lambda: stubs.metrics.WriteMetrics(write(observation("sources/a", 3))))
    await until_health_says(stubs, "SERVING")
    assert server.alive
    assert server.pid == pid
    assert await stored(stubs, "sources/a") == {"sources/a": {0, 1, 2, 3}}, "nothing of what failed was stored"
    listed = await stubs.sources.ListSources(source_service_pb2.ListSourcesRequest())
    assert [source.name for source in listed.sources] == ["sources/a"]


class TestNoRoom:
    """Every write goes to two sources at once, in blocks of a few hundred kilobytes, so that parts would show."""

    PAIR = ("sources/a", "sources/b")

    async def fill(self, server: ServerProcess, first: int = 0) -> tuple[int, Refusal]:
        """Writes until a write is refused; returns how many were acknowledged since the first, and the refusal."""
        for n in count(first):
            try:
                await self.write(server, n)
            except grpc.aio.AioRpcError as error:
                refusal = Refusal()
                refusal.read(error)
                assert (refusal.code, refusal.reason) == (StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE")
                return n, refusal
        raise AssertionError("count() ended")

    async def write(self, server: ServerProcess, n: int) -> None:
        noise = Random(n)  # what compresses well would not fill anything
        rows = [
            row({"text": noise.randbytes(2_000).hex(), "n": n}, subject=source, at=NOW - n * 100 - i)
            for source in self.PAIR
            for i in range(50)
        ]
        answer = await server.stubs.metrics.WriteMetrics(write(*rows))
        assert answer.accepted_count == len(rows)

    async def counts(self, server: ServerProcess) -> set[int]:
        """How many samples each source has of each metric: one number if all is whole."""
        request = query(*self.PAIR, start=0, end=NOW + 1, aggregates=["COUNT"])
        found = columns_of(await server.stubs.metrics.QueryMetrics(request))
        assert len(found) == 4
        return {int(counted or 0) for (counted,) in found.values()}

    async def check_full_and_free(self, server: ServerProcess, free: Callable[[], None], cause: str) -> None:
        pid = server.pid
        acknowledged = 0
        for _ in range(3):
            acknowledged, refusal = await self.fill(server, acknowledged)
            assert acknowledged > 0
            assert refusal.metadata["cause"] == cause
            assert refusal.retry_after
            assert await self.counts(server) == {acknowledged * 50}, "nothing of the refused write is stored"
        latest = await server.stubs.metrics.GetLatestMetrics(pb.GetLatestMetricsRequest(subjects=self.PAIR))
        assert len(latest.subjects) == 2, "reads are served"
        free()
        await until_it_works(lambda: self.write(server, 1_000))
        assert server.pid == pid
        assert server.alive
        assert await self.counts(server) == {(acknowledged + 1) * 50}

    async def test_a_full_disk_under_sqlite(self, launch: Launch) -> None:
        with small_disk(8) as disk:
            server = await launch(f"sqlite:///{disk.path / 'store.db'}")
            await self.check_full_and_free(server, disk.free, "disk_full")
            await server.stop()

    async def test_a_full_disk_under_postgresql(self, launch: Launch, pg_cluster: Postgres, pg_url: str) -> None:
        if not pg_cluster.can_restart:
            pytest.skip("this PostgreSQL server has no disk of ours")
        with small_disk(8) as disk, blocks_on(disk, pg_cluster, pg_url):
            server = await launch(pg_url)
            await self.check_full_and_free(server, disk.free, "disk_full")
            await server.stop()

    async def test_a_file_that_may_not_grow_under_sqlite(self, launch: Launch, tmp_path: Path) -> None:
        """Much the same without the rights to mount a disk: the kernel refuses to enlarge the process's files."""
        server = await launch(f"sqlite:///{tmp_path / 'store.db'}")
        _, hard = resource.prlimit(server.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (3_000_000, hard))
        await self.check_full_and_free(server, lambda: self.lift(server.pid, hard), "io_error")

    def lift(self, pid: int, hard: int) -> None:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard, hard))
