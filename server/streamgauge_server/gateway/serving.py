"""uvicorn around the application, as a guest in somebody else's event loop and on a socket that is bound already."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager

import structlog
import uvicorn
from starlette.types import ASGIApp

from streamgauge_server.gateway.protocol import HttpProtocol, ProtocolConfig

_log = structlog.stdlib.get_logger("streamgauge.gateway")

_CANCEL_SECONDS = 1.0
_KEEP_ALIVE_SECONDS = 75
"""How long an idle connection stays; longer than the 60 s of most load balancers, so that it is they who close."""


class HttpServer:
    """Serves an application until it is stopped. Signals are the business of whoever started it."""

    def __init__(self, app: ASGIApp, *, receive_seconds: float, tls: ssl.SSLContext | None = None) -> None:
        """`receive_seconds` is how long a client may take for a head, and to go on reading."""
        config = ProtocolConfig(
            app,
            http=HttpProtocol,
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            server_header=False,
            # Whose word counts is a setting of the gateway, not an environment variable.
            proxy_headers=False,
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
            workers=1,
        )
        config.receive_seconds = receive_seconds
        config.closed = asyncio.Event()
        config.load()
        config.ssl = tls
        self._server = _GuestServer(config)
        self._running: asyncio.Task[None] | None = None

    async def start(self, listener: socket.socket) -> None:
        """Begins to serve on a bound socket, which is closed with the server.

        Raises:
            OSError: the socket cannot listen.
        """
        self._running = asyncio.create_task(self._server.serve([listener]), name="serve HTTP")
        listening = asyncio.create_task(self._server.listening.wait())
        await asyncio.wait((self._running, listening), return_when=asyncio.FIRST_COMPLETED)
        listening.cancel()
        if self._running.done():
            await self._running

    @property
    def connections(self) -> int:
        """How many connections there are."""
        return len(self._server.server_state.connections)

    async def stop(self, grace: float) -> None:
        """Closes the listener and idle connections; requests under way get `grace` seconds."""
        if self._running is not None:
            self._server.grace = grace
            self._server.should_exit = True
            await self._running


class _GuestServer(uvicorn.Server):
    """A server that leaves the process's signal handlers alone, tells when it listens, and stops without a fuss."""

    def __init__(self, config: ProtocolConfig) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()
        self.grace = 0.0
        self._closed = config.closed

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Captures none."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begins to listen."""
        await super().startup(sockets)
        self.listening.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Ends in order. uvicorn's own cancels tasks, each of which it then logs as a fault of the application."""
        for server in self.servers:
            server.close()
        connections = self.server_state.connections
        for connection in list(connections):
            connection.shutdown()
        deadline = asyncio.get_running_loop().time() + self.grace
        # Connections end after their requests: what is written must get out. Those that pipelined have more requests.
        try:
            async with asyncio.timeout_at(deadline):
                while connections:
                    self._closed.clear()
                    await self._closed.wait()
        except TimeoutError:
            _log.warning("requests under way took too long and are cut off", connections=len(connections))
        for connection in list(connections):
            connection.transport.abort()
        # Now that their clients are gone, requests under way are cancelled by the application itself.
        tasks = list(self.server_state.tasks)
        if tasks:
            _, stuck = await asyncio.wait(tasks, timeout=_CANCEL_SECONDS)
            for task in stuck:
                task.cancel()
            await asyncio.gather(*stuck, return_exceptions=True)
