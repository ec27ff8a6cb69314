"""`grpc.health.v1`: every service of this server by its name, and the server as a whole by the empty one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import grpc
import grpc.aio
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2 as pb
from grpc_health.v1._async import HealthServicer as BaseHealthServicer

_STATUS = {True: pb.HealthCheckResponse.SERVING, False: pb.HealthCheckResponse.NOT_SERVING}


class HealthServicer(BaseHealthServicer):
    """The package's servicer with its services set together, and with `List`."""

    def __init__(self, services: Sequence[str]) -> None:
        super().__init__()
        self._services = ("", *services)
        self._serving = False
        self._stopping = False

    async def follow(self, *, serving: bool) -> None:
        """Sets the status of all services, unless the server is stopping."""
        if not self._stopping:
            self._serving = serving
            for service in self._services:
                await self.set(service, _STATUS[serving])

    async def stop(self) -> None:
        """Sets NOT_SERVING for good."""
        self._stopping = True
        self._serving = False
        await self.enter_graceful_shutdown()

    async def List(self, request: Message, context: grpc.aio.ServicerContext[Any, Any]) -> Message:  # noqa: N802
        """Returns the status of every service (`HealthListRequest` and `HealthListResponse`, which the stubs lack)."""
        status = pb.HealthCheckResponse(status=_STATUS[self._serving])
        answer: Message = pb.HealthListResponse(statuses=dict.fromkeys(self._services, status))  # type: ignore[attr-defined]
        return answer
