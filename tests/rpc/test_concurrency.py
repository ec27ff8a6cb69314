"""Many callers at once, callers that give up, and sources that come and go under them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any

import grpc.aio
from grpc import StatusCode
from streamgauge.v1 import metrics_service_pb2 as pb
from streamgauge.v1 import source_service_pb2

from tests.rpc.messages import HOUR, NOW, Scalar, ask, batch, column, columns_of, frame, query, row, write
from tests.rpc.serving import Start, Stubs

METRICS = [f"m{n}" for n in range(12)]


def values(n: int) -> dict[str, Scalar]:
    return dict.fromkeys(METRICS, n)


async def code_of(call: Awaitable[Any]) -> StatusCode:
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return error.code()
    return StatusCode.OK


async def test_callers_that_give_up_leave_whole_observations_and_a_server_that_goes_on(stubs: Stubs) -> None:
    random = Random(1)

    async def give_up(n: int) -> None:
        call = stubs.metrics.WriteMetrics(write(row(values(n), at=NOW - n)))
        for _ in range(random.randrange(4)):
            await asyncio.sleep(0)
        if n % 3:
            await asyncio.sleep(random.random() / 100)
        call.cancel()

    await asyncio.gather(*(give_up(n) for n in range(200)))
    assert (await stubs.metrics.WriteMetrics(write(row(values(0))))).accepted_count == 1
    counted = columns_of(await stubs.metrics.QueryMetrics(query(end=NOW + 1, aggregates=["COUNT"])))
    assert len({tuple(found) for found in counted.values()}) == 1
    assert len(counted) == len(METRICS)


async def test_callers_out_of_time_are_told_so(stubs: Stubs) -> None:
    codes = await asyncio.gather(
        *(
            code_of(stubs.metrics.WriteMetrics(write(row(values(n), at=NOW - n)), timeout=n / 50_000))
            for n in range(1, 100)
        )
    )
    assert set(codes) <= {StatusCode.OK, StatusCode.DEADLINE_EXCEEDED}
    assert (await stubs.metrics.WriteMetrics(write(row(values(0))))).accepted_count == 1


async def test_sources_that_come_and_go_break_no_call(start: Start, shared_url: str) -> None:
    """Two servers on one store write, read and delete the same sources: each call is answered, or told why not."""
    servers = [await start(database=shared_url), await start(database=shared_url)]
    names = ["sources/a", "sources/b"]
    lines: list[Callable[[Stubs, int], Awaitable[Any]]] = [
        lambda s, n: s.metrics.WriteMetrics(write(*(row(values(n), at=NOW - n, subject=name) for name in names))),
        lambda s, n: s.metrics.WriteMetrics(
            write(row({"byteTotal": n}, at=NOW + n, subject=names[0], part=f"{n % 2}"))
        ),
        lambda s, n: s.metrics.WriteMetrics(write(row({"byteTotal": 1}, at=NOW - n, subject=names[0], part="0"))),
        lambda s, n: s.metrics.ImportMetrics(
            iter([batch(frame([NOW - n * HOUR - i for i in range(40)], column("byteTotal", list(range(40)))))])
        ),
        lambda s, n: s.sources.GetSourceMetrics(ask(start=NOW - n * HOUR, end=NOW)),
        lambda s, n: s.sources.GetSourceMetrics(ask("TIMESUMMARY", mode="CUMULATIVE")),
        lambda s, n: s.sources.GetSourceMetrics(ask("LATEST")),
        lambda s, n: s.metrics.QueryMetrics(query(*names, by_part=n % 2 == 0)),
        lambda s, n: s.metrics.GetLatestMetrics(pb.GetLatestMetricsRequest(subjects=names)),
        lambda s, n: s.sources.ListSources(source_service_pb2.ListSourcesRequest()),
        lambda s, n: s.sources.DeleteSource(source_service_pb2.DeleteSourceRequest(name=names[n % 2])),
    ]

    async def caller(server: Stubs, line: Callable[[Stubs, int], Awaitable[Any]]) -> set[StatusCode]:
        return {await code_of(line(server, n)) for n in range(1, 40)}

    codes = await asyncio.gather(*(caller(server, line) for server in servers for line in lines))
    assert set().union(*codes) <= {StatusCode.OK, StatusCode.NOT_FOUND, StatusCode.ABORTED}
    assert all(StatusCode.OK in found for found in codes)
    await servers[0].metrics.WriteMetrics(write(row({"last": 1})))
    answer = await servers[1].metrics.QueryMetrics(query(metrics=["last"], end=NOW + 1))
    assert columns_of(answer) == {("sources/a", "", "last", "LAST"): [1]}
