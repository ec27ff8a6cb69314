"""A real server for every test, and both clients behind one face.

A test that takes `api` runs with the sync and with the asyncio client: `await done(api.sources.get("orders"))`.
"""

from __future__ import annotations

import inspect
import socket
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from streamgauge import AsyncPager, testing
from streamgauge.testing.fixtures import streamgauge_client, streamgauge_server

__all__ = ["streamgauge_client", "streamgauge_server"]


@pytest.fixture
def server(streamgauge_server: testing.RunningServer) -> testing.RunningServer:
    """The test's own server."""
    return streamgauge_server


@pytest.fixture(params=["sync", "async"])
async def api(request: pytest.FixtureRequest, server: testing.RunningServer) -> AsyncIterator[Any]:
    """A client of the test's own server, of either kind."""
    if request.param == "sync":
        yield server.client()
    else:
        async with server.async_client() as client:
            yield client


async def done(answer: Any) -> Any:
    """Returns the answer of either client."""
    return await answer if inspect.isawaitable(answer) else answer


async def everything(pager: Any) -> list[Any]:
    """Returns the items of either client's list."""
    return [item async for item in pager] if isinstance(pager, AsyncPager) else list(pager)


async def pages(pager: Any) -> list[Any]:
    """Returns the pages of either client's list."""
    if isinstance(pager, AsyncPager):
        return [page async for page in pager.pages()]
    found: Iterator[Any] = pager.pages()
    return list(found)


@pytest.fixture
def free_port() -> int:
    """A port on which nobody listens, for a server that goes and comes back."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
