"""`client.server`: the server itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamgauge import _decode
from streamgauge.resources import ServerInfo
from streamgauge.v1 import server_service_pb2

if TYPE_CHECKING:
    from streamgauge.v1.server_service_pb2_grpc import ServerServiceAsyncStub, ServerServiceStub


class Server:
    """`client.server`."""

    def __init__(self, stub: ServerServiceStub) -> None:
        self._stub = stub

    def info(self, *, timeout: float | None = None) -> ServerInfo:
        """Returns version, limits in force, store, features, and who the caller is to the server.

        Example:
            >>> client.server.info().limits["max_windows"].value
            11000
        """
        request = server_service_pb2.GetServerInfoRequest()
        return _decode.server_info(self._stub.GetServerInfo(request, timeout=timeout))


class AsyncServer:
    """`client.server` of the asyncio client: the twin of `Server`."""

    def __init__(self, stub: ServerServiceAsyncStub) -> None:
        self._stub = stub

    async def info(self, *, timeout: float | None = None) -> ServerInfo:
        """Returns version, limits in force, store, features, and who the caller is to the server."""
        request = server_service_pb2.GetServerInfoRequest()
        return _decode.server_info(await self._stub.GetServerInfo(request, timeout=timeout))
