"""A whole server with its gateway in a thread of the test's process: real HTTP on one side, stubs on the other."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

import grpc
import httpx
from streamgauge.v1 import (
    asset_metric_service_pb2_grpc,
    job_service_pb2_grpc,
    metric_type_service_pb2_grpc,
    metrics_service_pb2_grpc,
    server_service_pb2_grpc,
    source_service_pb2_grpc,
    token_service_pb2_grpc,
)
from streamgauge_server.app import App
from streamgauge_server.model.clock import FixedClock
from streamgauge_server.settings import Settings

NOON = 1_767_268_800_000_000
"""2026-01-01T12:00:00Z, where the clock of the servers stands."""

_SECONDS = 60.0


class Gateway:
    """A running server: `http` is a client of its gateway, the stubs are clients of its gRPC port."""

    def __init__(self, app: App, loop: asyncio.AbstractEventLoop, clock: FixedClock) -> None:
        self.app = app
        self.loop = loop
        self.clock = clock
        self.port = app.http_port or 0
        self.url = f"http://127.0.0.1:{self.port}"
        # What asks for redirects or compression says so itself.
        self.http = httpx.Client(base_url=self.url, headers={"Accept-Encoding": "identity"}, timeout=_SECONDS)
        self.channel = grpc.insecure_channel(app.address)
        self.assets = asset_metric_service_pb2_grpc.AssetMetricServiceStub(self.channel)
        self.jobs = job_service_pb2_grpc.JobServiceStub(self.channel)
        self.metric_types = metric_type_service_pb2_grpc.MetricTypeServiceStub(self.channel)
        self.metrics = metrics_service_pb2_grpc.MetricsServiceStub(self.channel)
        self.server = server_service_pb2_grpc.ServerServiceStub(self.channel)
        self.sources = source_service_pb2_grpc.SourceServiceStub(self.channel)
        self.tokens = token_service_pb2_grpc.TokenServiceStub(self.channel)

    def connect(self) -> socket.socket:
        """Returns a bare connection, for requests that no client would send."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=_SECONDS)

    def send_raw(self, *pieces: bytes) -> bytes:
        """Sends bytes as they are and returns everything that comes back until the server closes."""
        with self.connect() as connection:
            for piece in pieces:
                connection.sendall(piece)
            return b"".join(iter(lambda: connection.recv(65_536), b""))

    def close(self) -> None:
        """Closes the clients."""
        self.http.close()
        self.channel.close()


@contextmanager
def running(clock: FixedClock | None = None, **settings: Any) -> Iterator[Gateway]:
    """Runs a server with an empty store in memory and a gateway on a free port; `settings` are the server's."""
    clock = clock or FixedClock(NOON)
    settings = {"listen": "127.0.0.1:0", "database": "sqlite://:memory:", **settings}
    settings["http"] = {"port": 0, **settings.get("http", {})}
    app = App(Settings(**settings), clock=clock)
    started: Future[asyncio.AbstractEventLoop] = Future()
    stopping = asyncio.Event()

    async def serve() -> None:
        async with app:
            started.set_result(asyncio.get_running_loop())
            await stopping.wait()
            await app.stop(grace=0)

    def run() -> None:
        try:
            asyncio.run(serve())
        except BaseException as error:
            if started.done():
                raise
            started.set_exception(error)

    thread = threading.Thread(target=run, name="server under test")
    thread.start()
    try:
        loop = started.result(_SECONDS)
        gateway = Gateway(app, loop, clock)
        try:
            yield gateway
        finally:
            gateway.close()
            loop.call_soon_threadsafe(stopping.set)
    finally:
        thread.join()
