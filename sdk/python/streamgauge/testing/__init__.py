"""A real streamgauge server for your tests: in memory, on a free port of this machine, gone when the test ends.

    >>> from streamgauge import testing
    >>> with testing.server() as server:
    ...     client = server.client()
    ...     client.metrics.write([Observation("sources/orders", {"byteTotal": 1})]).raise_for_rejected()
    ...     assert client.sources.latest("orders")["byteTotal"].value == 1

It is the server that you run in production, with its own checks, errors and limits, so what passes against it passes
there. It starts in a few hundredths of a second. `streamgauge.testing.fixtures` has it as pytest fixtures. Needs
`streamgauge[server]`.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

from streamgauge.aio_client import AsyncClient
from streamgauge.client import Client

_START_SECONDS = 60.0


class RunningServer:
    """A server that runs while the `with` block of `server()` does."""

    def __init__(self, target: str, http_url: str | None = None) -> None:
        self.target = target
        """Where it is: `127.0.0.1:port`."""
        self.http_url = http_url
        """Where its HTTP gateway is, with the setting `http={"port": 0}`, for example `http://127.0.0.1:8080`."""
        self._clients: list[Client] = []

    def client(self, **arguments: Any) -> Client:
        """Returns a client of this server; `arguments` are those of `Client`. It is closed with the server."""
        client = Client(self.target, **arguments)
        self._clients.append(client)
        return client

    def async_client(self, **arguments: Any) -> AsyncClient:
        """Returns an asyncio client of this server; use it with `async with`, which closes it."""
        return AsyncClient(self.target, **arguments)

    def close(self) -> None:
        """Closes the clients."""
        for client in self._clients:
            client.close()


@contextmanager
def server(**settings: Any) -> Iterator[RunningServer]:
    """Runs a server with an empty store in memory, in a thread of this process, and yields it.

    `settings` are those of the server (see `streamgauge-server config --reference`), for example
    `subject_registration="closed"` or `limits={"max_windows": 10}`. No token is asked for until one is created, by
    `server.client().tokens.create(...)`; from then on every call needs one.

    Raises:
        ImportError: `streamgauge[server]` is not installed.
        Exception: What the server says when it cannot start.
    """
    thread = _ServerThread({"listen": "127.0.0.1:0", "database": "sqlite://:memory:", **settings})
    running = RunningServer(*thread.start())
    try:
        yield running
    finally:
        running.close()
        thread.stop()


class _ServerThread:
    """A server with an event loop in a thread of its own."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self._settings = settings
        self._started: Future[tuple[str, str | None]] = Future()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._thread = threading.Thread(target=self._run, name="streamgauge-server", daemon=True)

    def start(self) -> tuple[str, str | None]:
        """Starts the server and returns where it is, and where its HTTP gateway is if it has one."""
        self._thread.start()
        return self._started.result(_START_SECONDS)

    def stop(self) -> None:
        """Stops the server; calls under way fail. Returns when it is gone."""
        if self._loop is not None and self._stopping is not None:
            self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:
            if self._started.done():
                raise  # a fault of the stop: the thread's hook shows it
            self._started.set_exception(error)

    async def _serve(self) -> None:
        try:
            from streamgauge_server.app import App
            from streamgauge_server.settings import Settings
        except ImportError as error:
            raise ImportError("testing.server() needs the server: pip install 'streamgauge[server]'") from error
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        app = App(Settings(**self._settings))
        await app.start()
        http_url = f"http://127.0.0.1:{app.http_port}" if app.http_port else None
        self._started.set_result((app.address, http_url))
        await self._stopping.wait()
        await app.stop(grace=0)
