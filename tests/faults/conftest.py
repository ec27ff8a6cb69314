"""Stores and servers to break."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.faults.server_process import ServerProcess

Launch = Callable[..., Awaitable[ServerProcess]]


@pytest.fixture
async def launch(tmp_path: Path) -> AsyncIterator[Launch]:
    """Starts servers as processes: `await launch(url, "health_interval_seconds=0.1")`; they end with the test."""
    async with AsyncExitStack() as stack:

        async def launch(url: str, *settings: str) -> ServerProcess:
            process = ServerProcess(url, tmp_path / "server.log", *settings)
            stack.push_async_callback(process.stop)
            await process.start()
            return process

        yield launch


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty store of each engine."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'store.db'}"
    url: str = request.getfixturevalue("pg_url")
    return url
