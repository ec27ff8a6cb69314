"""The gateway as one ASGI application: its APIs behind the layers that every request passes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from prometheus_client import CollectorRegistry
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.types import ASGIApp
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from streamgauge_server.gateway import damage, operations, rest
from streamgauge_server.gateway.api import Api
from streamgauge_server.gateway.dispatch import Dispatch
from streamgauge_server.gateway.legacy import assets, jobs, metric_types, sources
from streamgauge_server.gateway.observation import AccessLog, HttpMetrics, Observation
from streamgauge_server.gateway.openapi import documents
from streamgauge_server.gateway.reception import Reception
from streamgauge_server.gateway.request_ids import RequestIds
from streamgauge_server.gateway.rest import refusals
from streamgauge_server.gateway.routing import Router
from streamgauge_server.gateway.upstream import Upstream
from streamgauge_server.http_settings import HttpSettings

_EXPOSED_HEADERS = ("Deprecation", "Link", "Retry-After", damage.HEADER, "Warning", "X-Request-Id")
_ALLOWED_HEADERS = ("Authorization", "Content-Type", "Grpc-Timeout", "X-Request-Id")
_ALLOWED_VERBS = ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT")
_GZIP_LEVEL = 6


def application(
    upstream: Upstream,
    settings: HttpSettings,
    *,
    readiness: operations.Readiness,
    registry: CollectorRegistry,
    show_metrics: bool = True,
    access_log: AccessLog = "failures",
    clock: Callable[[], int],
) -> ASGIApp:
    """Returns the application.

    `registry` gets the metrics of HTTP, and is what /metrics shows where that is on. `clock` tells microseconds.

    Raises:
        RouteConflict: the prefixes of the legacy APIs make two routes the same.
    """
    apis = list(apis_of(upstream, settings, clock))
    otherwise = operations.api(readiness, registry if show_metrics else None, refusals.tell)
    metrics = HttpMetrics()
    registry.register(metrics)
    router = Router([otherwise, documents.api(apis, refusals.tell), *apis], otherwise)
    return layered(router, settings, metrics, access_log)


def layered(router: Router, settings: HttpSettings, metrics: HttpMetrics, access_log: AccessLog) -> ASGIApp:
    """Returns what every request passes on its way to the routes, from the innermost layer to the outermost."""
    app: ASGIApp = Dispatch(router, settings.call_seconds)
    app = GZipMiddleware(app, minimum_size=settings.gzip_min_bytes, compresslevel=_GZIP_LEVEL)
    if settings.cors_origins:
        app = CORSMiddleware(
            app,
            allow_origins=settings.cors_origins,
            allow_methods=_ALLOWED_VERBS,
            allow_headers=_ALLOWED_HEADERS,
            expose_headers=_EXPOSED_HEADERS,
        )
    app = Reception(app, max_body_bytes=settings.max_body_bytes, receive_seconds=settings.receive_seconds)
    app = Observation(app, metrics, access_log)
    app = RequestIds(app)
    if settings.trusted_proxies:
        proxied: Any = ProxyHeadersMiddleware(app, list(settings.trusted_proxies))  # type: ignore[arg-type]
        app = proxied
    return app


def apis_of(upstream: Upstream, settings: HttpSettings, clock: Callable[[], int]) -> Iterator[Api]:
    """Yields REST, and the legacy APIs that are switched on."""
    yield rest.api(upstream)
    if settings.sources.enabled:
        yield sources.api(upstream, settings.sources)
    if settings.jobs.enabled:
        yield jobs.api(upstream, settings.jobs)
    if settings.metric_types.enabled:
        yield metric_types.api(upstream, settings.metric_types, clock=clock)
    if settings.assets.enabled:
        yield assets.api(upstream, settings.assets)
