"""Every test here runs on every engine, against the same contract: the docstrings of `streamgauge_server.storage`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from streamgauge_server.model.clock import FixedClock
from streamgauge_server.storage.migrate import migrate
from streamgauge_server.storage.store import Store

START = 1_700_000_000_000_000
"""2023-11-14T22:13:20Z, the time on the tests' clock."""


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock(START)


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def store_url(engine: str, tmp_path: Path, request: pytest.FixtureRequest) -> str:
    """The URL of an empty, migrated store of the test's own."""
    if engine == "postgresql":
        return str(request.getfixturevalue("pg_url"))
    url = f"sqlite:///{tmp_path}/store.db"
    await migrate(url)
    return url


OpenStore = Callable[[], Awaitable[Store]]


@pytest.fixture
async def open_store(store_url: str, clock: FixedClock) -> AsyncIterator[OpenStore]:
    """Opens the test's store, as often as wanted: each is what another server process would be."""
    stores: list[Store] = []

    async def open_one() -> Store:
        stores.append(await Store.open(store_url, clock=clock))
        return stores[-1]

    yield open_one
    for opened in stores:
        await opened.close()


@pytest.fixture
async def store(open_store: OpenStore) -> Store:
    return await open_store()
