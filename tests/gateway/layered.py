"""Routes of a test's own behind all layers of the gateway, over real HTTP, in the test's event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from streamgauge_server.gateway.api import Api, Handler, HttpFailure, Route
from streamgauge_server.gateway.application import layered
from streamgauge_server.gateway.observation import AccessLog, HttpMetrics
from streamgauge_server.gateway.routing import Router
from streamgauge_server.gateway.serving import HttpServer
from streamgauge_server.http_settings import HttpSettings
from streamgauge_server.listener import bind_http


@dataclass
class Served:
    """A running server of the test's routes."""

    port: int
    http: httpx.AsyncClient
    metrics: HttpMetrics
    server: HttpServer

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Returns a bare connection."""
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def exchange(self, *pieces: bytes) -> bytes:
        """Sends bytes as they are and returns everything that comes back until the server closes."""
        reader, writer = await self.connect()
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        answer = await asyncio.wait_for(reader.read(), 30)
        writer.close()
        return answer


def told(request: Request, error: Exception) -> Response:
    """Tells failures as `{"told": ...}`, and of unexpected ones their type."""
    if isinstance(error, HttpFailure):
        return JSONResponse({"told": error.message}, error.status)
    return JSONResponse({"told": type(error).__name__}, 500)


@asynccontextmanager
async def serving(
    routes: Mapping[str, Handler], *, access_log: AccessLog = "failures", **settings: Any
) -> AsyncIterator[Served]:
    """Serves handlers by `VERB /template`; `settings` are those of HTTP."""
    named = [(name.partition(" "), handler) for name, handler in routes.items()]
    api = Api("test", [Route(verb, template, handler) for (verb, _, template), handler in named], ("test",), told)
    http_settings = HttpSettings(**settings)
    metrics = HttpMetrics()
    app = layered(Router([api], api), http_settings, metrics, access_log)
    listener = bind_http("127.0.0.1", 0, shared=False)
    port = listener.getsockname()[1]
    server = HttpServer(app, receive_seconds=http_settings.receive_seconds)
    await server.start(listener)
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            yield Served(port, client, metrics, server)
    finally:
        await server.stop(0)


async def answer_ok(request: Request, variables: Mapping[str, str]) -> Response:
    """A handler that answers with its variables."""
    return JSONResponse(dict(variables))


async def answer_length(request: Request, variables: Mapping[str, str]) -> Response:
    """A handler that reads the body and answers with its length."""
    return JSONResponse({"length": len(await request.body())})


async def eventually(condition: Callable[[], bool]) -> None:
    """Waits until a condition holds; fails after ten seconds."""
    deadline = time.monotonic() + 10
    while True:
        if condition():
            return
        assert time.monotonic() < deadline, "the condition did not come true within 10 s"
        await asyncio.sleep(0.005)
