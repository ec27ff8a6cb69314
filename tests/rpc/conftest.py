"""Fixtures for the gRPC edge: a whole server in the process, and a bare one around handlers of the test's own."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import pytest
from streamgauge_server.app import App
from streamgauge_server.model.clock import FixedClock
from streamgauge_server.model.entities import Token
from streamgauge_server.rpc.interceptor import StepInterceptor
from streamgauge_server.rpc.observation import AccessLogStep, ServerMetricsStep
from streamgauge_server.rpc.scopes import AUTHENTICATED
from streamgauge_server.rpc.steps import AuthenticationStep, DeadlineStep, ErrorMappingStep, RequestContextStep
from streamgauge_server.services.auth import Authenticator, AuthMode
from streamgauge_server.settings import Settings

from tests.rpc.serving import Start, Stubs

if TYPE_CHECKING:
    from tests.conftest import Postgres

NOON = 1_767_268_800_000_000
"""2026-01-01T12:00:00Z."""
SERVICE = "test.Service"
MEMORY = "sqlite://:memory:"


@dataclass
class TokenRecords:
    """Tokens in memory, counting how often they are looked up."""

    tokens: dict[str, tuple[Token, bytes]] = field(default_factory=dict)
    lookups: int = 0

    async def by_id(self, id: str) -> tuple[Token, bytes] | None:
        self.lookups += 1
        return self.tokens.get(id)

    async def any(self) -> bool:
        self.lookups += 1
        return bool(self.tokens)


@dataclass
class Bare:
    """A running server of test handlers: its channel and the steps that have a state."""

    channel: Any
    deadlines: DeadlineStep
    measured: ServerMetricsStep
    interceptor: StepInterceptor

    async def unary(self, method: str, request: bytes = b"", **arguments: Any) -> bytes:
        answer: bytes = await self.channel.unary_unary(f"/{SERVICE}/{method}")(request, **arguments)
        return answer


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock(NOON)


@pytest.fixture
def records() -> TokenRecords:
    return TokenRecords()


@pytest.fixture
def serve(clock: FixedClock, records: TokenRecords) -> Callable[..., AbstractAsyncContextManager[Bare]]:
    """Serves handlers of `test.Service` behind all steps; any valid token may call them unless `scopes` says else."""

    @asynccontextmanager
    async def serve(
        handlers: Mapping[str, Any],
        *,
        scopes: Mapping[str, str] | None = None,
        max_call_seconds: float = 30,
        max_response_bytes: int = 1 << 20,
        auth: AuthMode = AuthMode.AUTO,
        waits: Mapping[str, float] | None = None,
    ) -> AsyncIterator[Bare]:
        table = {f"/{SERVICE}/{name}": (scopes or {}).get(name, AUTHENTICATED) for name in handlers}
        longer = {f"/{SERVICE}/{name}": seconds for name, seconds in (waits or {}).items()}
        deadlines, measured = DeadlineStep(max_call_seconds, longer), ServerMetricsStep()
        interceptor = StepInterceptor(
            (
                RequestContextStep(),
                AccessLogStep("all"),
                measured,
                deadlines,
                AuthenticationStep(Authenticator(records, clock, auth), table),
                ErrorMappingStep(),
            ),
            max_request_bytes=1 << 20,
            max_response_bytes=max_response_bytes,
        )
        interceptor.register(SERVICE, handlers)
        server = grpc.aio.server(interceptors=(interceptor,))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        try:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                yield Bare(channel, deadlines, measured, interceptor)
        finally:
            await server.stop(None)

    return serve


@pytest.fixture
async def app(clock: FixedClock) -> AsyncIterator[App]:
    """A whole server on an empty store in memory, open to all."""
    async with App(Settings(listen="127.0.0.1:0", database="sqlite://:memory:"), clock=clock) as app:
        yield app


@pytest.fixture
async def channel(app: App) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(app.address) as channel:
        yield channel


@pytest.fixture
def eventually() -> Callable[[Callable[[], Any]], Awaitable[Any]]:
    """Waits until a condition holds and returns what it returned; fails after ten seconds."""

    async def eventually(condition: Callable[[], Any]) -> Any:
        deadline = time.monotonic() + 10
        while True:
            found = condition()
            if asyncio.iscoroutine(found):
                found = await found
            if found:
                return found
            if time.monotonic() > deadline:
                raise AssertionError("the condition did not come true within 10 s")
            await asyncio.sleep(0.01)

    return eventually


@pytest.fixture
def new_url(request: pytest.FixtureRequest) -> Iterator[Callable[[], str]]:
    """Makes stores for servers: in memory, or with STREAMGAUGE_TEST_ENGINE=postgresql databases there."""
    if os.environ.get("STREAMGAUGE_TEST_ENGINE", "sqlite") == "sqlite":
        yield lambda: MEMORY
        return
    cluster: Postgres = request.getfixturevalue("pg_cluster")
    urls: list[str] = []

    def create() -> str:
        urls.append(cluster.create_database())
        return urls[-1]

    yield create
    for url in urls:
        cluster.drop_database(url)


@pytest.fixture
async def start(clock: FixedClock, new_url: Callable[[], str]) -> AsyncIterator[Start]:
    """Starts whole servers: `await start(subject_registration="closed")` with any settings; they end with the test."""
    async with AsyncExitStack() as stack:
        yield Start(stack, clock, new_url)


@pytest.fixture
async def stubs(start: Start) -> Stubs:
    """The stubs of a server with default settings and an empty store."""
    return await start()


@pytest.fixture
def shared_url(new_url: Callable[[], str], tmp_path: Path) -> str:
    """The URL of an empty store that several servers may share."""
    url = new_url()
    return f"sqlite:///{tmp_path / 'store.db'}" if url == MEMORY else url
