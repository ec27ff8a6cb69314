"""Health: per service, following the store, and ending with the server."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from streamgauge_server.app import App
from streamgauge_server.model.errors import store_unavailable
from streamgauge_server.service_graph import SERVICES
from streamgauge_server.settings import Settings

from tests.rpc.serving import Start

SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


def health(channel: grpc.aio.Channel) -> Any:
    return health_pb2_grpc.HealthStub(channel)


async def status(channel: grpc.aio.Channel, service: str = "") -> int:
    answer = await health(channel).Check(health_pb2.HealthCheckRequest(service=service))
    return int(answer.status)


async def test_every_service_serves_by_its_name_and_unknown_ones_are_not_found(channel: grpc.aio.Channel) -> None:
    for service in ("", *SERVICES):
        assert await status(channel, service) == SERVING
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await status(channel, "streamgauge.v1.NoService")
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_all_statuses_can_be_listed(channel: grpc.aio.Channel) -> None:
    answer = await health(channel).List(health_pb2.HealthListRequest())  # type: ignore[attr-defined]
    assert {name: entry.status for name, entry in answer.statuses.items()} == dict.fromkeys(("", *SERVICES), SERVING)


async def test_health_follows_the_store(start: Start, eventually: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    stubs = await start(health_interval_seconds=0.01)
    assert stubs.app is not None
    assert stubs.app.store is not None
    away = True

    async def ping() -> None:
        if away:
            raise store_unavailable("sqlite", "connection_lost")

    monkeypatch.setattr(stubs.app.store, "ping", ping)
    watch = health(stubs.channel).Watch(health_pb2.HealthCheckRequest(service=SERVICES[0]))
    seen = [(await watch.read()).status]
    if seen == [SERVING]:
        seen.append((await watch.read()).status)
    assert seen[-1] == NOT_SERVING
    assert await status(stubs.channel) == NOT_SERVING
    away = False
    assert (await watch.read()).status == SERVING
    assert await status(stubs.channel) == SERVING


async def test_a_store_that_hangs_is_a_store_that_does_not_answer(
    start: Start, eventually: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    stubs = await start(health_interval_seconds=0.01)
    assert stubs.app is not None

    async def hang() -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(stubs.app.store, "ping", hang)

    async def not_serving() -> bool:
        return await status(stubs.channel) == NOT_SERVING

    await eventually(not_serving)


async def test_an_open_watch_hears_the_stop_and_does_not_hold_it_up() -> None:
    app = App(Settings(listen="127.0.0.1:0", database="sqlite://:memory:", stop_grace_seconds=60))
    await app.start()
    async with grpc.aio.insecure_channel(app.address) as channel:
        watch = health(channel).Watch(health_pb2.HealthCheckRequest())
        assert (await watch.read()).status == SERVING
        await asyncio.wait_for(app.stop(), 10)
        assert (await watch.read()).status == NOT_SERVING
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await watch.read()
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
