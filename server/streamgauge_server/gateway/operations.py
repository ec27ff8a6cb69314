"""What operators and their probes ask of the gateway: /healthz, /readyz and /metrics."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from streamgauge_server.gateway.api import Api, Route

_PROBE_SECONDS = 2.0
_NO_STORE = {"Cache-Control": "no-store"}


class Readiness:
    """Whether requests should come here: the server behind says SERVING, and the gateway is not stopping."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        """`channel` leads to the server behind."""
        self._health: Any = health_pb2_grpc.HealthStub(channel)  # whose types leave out its methods
        self._stopping = False

    def stop(self) -> None:
        """From now on the gateway is not ready, whatever the server says."""
        self._stopping = True

    async def trouble(self) -> str | None:
        """Returns why the gateway is not ready, None when it is."""
        if self._stopping:
            return "the gateway is stopping"
        try:
            answer = await self._health.Check(health_pb2.HealthCheckRequest(), timeout=_PROBE_SECONDS)
        except grpc.aio.AioRpcError as error:
            return f"the gRPC server does not answer: {error.code().name}"
        status = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
        return None if status == "SERVING" else f"the gRPC server is {status}"


def api(
    readiness: Readiness, registry: CollectorRegistry | None, tell: Callable[[Request, Exception], Response]
) -> Api:
    """Returns the API. `registry` has what /metrics shows, None switches it off."""

    async def healthz(request: Request, variables: Mapping[str, str]) -> Response:
        return JSONResponse({"status": "ok"}, headers=_NO_STORE)

    async def readyz(request: Request, variables: Mapping[str, str]) -> Response:
        trouble = await readiness.trouble()
        if trouble is not None:
            return JSONResponse({"status": "not ready", "reason": trouble}, status_code=503, headers=_NO_STORE)
        return JSONResponse({"status": "ready"}, headers=_NO_STORE)

    async def metrics(request: Request, variables: Mapping[str, str]) -> Response:
        if registry is None:
            raise RuntimeError("the route is there without a registry")
        # Rendering takes milliseconds that calls need not wait for; the collectors may be read in any thread.
        text = await asyncio.to_thread(generate_latest, registry)
        return PlainTextResponse(text, media_type=CONTENT_TYPE_LATEST, headers=_NO_STORE)

    routes = [Route("GET", "/healthz", healthz), Route("GET", "/readyz", readyz)]
    if registry is not None:
        routes.append(Route("GET", "/metrics", metrics))
    return Api("operations", routes, ("healthz", "readyz", "metrics"), tell)
