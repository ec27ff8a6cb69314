"""The asyncio client, the twin of `client`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

from streamgauge._aio_calls import AsyncCallingChannel
from streamgauge._connection import DEFAULT_TARGET, CertificatePair, Connection, Tls, Token, from_env
from streamgauge._stubs import AsyncStubs
from streamgauge.aio_jobs import AsyncJobs
from streamgauge.aio_metric_types import AsyncMetricTypes
from streamgauge.assets import AsyncAssets
from streamgauge.job_errors import AsyncJobErrors
from streamgauge.job_types import AsyncJobTypes
from streamgauge.metrics import AsyncMetrics
from streamgauge.server import AsyncServer
from streamgauge.sources import AsyncSources
from streamgauge.tokens import AsyncTokens


class AsyncClient:
    """A client of one streamgauge server for asyncio. It belongs to the event loop that first uses it.

    Arguments and attributes are those of `Client`; methods are awaited, lists are iterated with `async for`.

    Example:
        >>> async with AsyncClient("127.0.0.1:50051") as client:
        ...     async for source in client.sources.list():
        ...         print(source.name, (await client.sources.latest(source.id))["byteTotal"].value)
    """

    def __init__(
        self,
        target: str = DEFAULT_TARGET,
        *,
        token: Token | None = None,
        tls: Tls = False,
        client_cert: CertificatePair | None = None,
        server_name: str | None = None,
        timeout: float | None = None,
        allow_insecure_token: bool = False,
        options: Sequence[tuple[str, Any]] = (),
    ) -> None:
        connection = Connection(
            target, token, tls, client_cert, server_name, timeout, allow_insecure_token, tuple(options)
        )
        self._build(AsyncCallingChannel(connection))

    def _build(self, channel: AsyncCallingChannel) -> None:
        self._channel = channel
        self.stubs = AsyncStubs(channel)
        self.sources = AsyncSources(self.stubs.sources)
        self.metrics = AsyncMetrics(self.stubs.metrics)
        self.assets = AsyncAssets(self.stubs.assets, channel)
        self.jobs = AsyncJobs(self.stubs.jobs)
        self.job_types = AsyncJobTypes(self.stubs.jobs)
        self.job_errors = AsyncJobErrors(self.stubs.jobs)
        self.metric_types = AsyncMetricTypes(self.stubs.metric_types)
        self.tokens = AsyncTokens(self.stubs.tokens)
        self.server = AsyncServer(self.stubs.server)

    @classmethod
    def from_env(cls, **overrides: Any) -> Self:
        """Returns a client as the environment says; see `Client.from_env`."""
        return cls(**{**from_env(os.environ), **overrides})

    @property
    def target(self) -> str:
        """Where the server is."""
        return self._channel.connection.target

    async def close(self) -> None:
        """Closes the connection; calls under way are cancelled. Closing twice is fine."""
        await self._channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.target!r})"
