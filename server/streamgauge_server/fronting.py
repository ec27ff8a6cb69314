"""A process that serves HTTP before a gRPC server elsewhere, and keeps nothing: `streamgauge-server gateway`."""

from __future__ import annotations

import asyncio
import os
from contextlib import AsyncExitStack
from pathlib import Path

import grpc
import grpc.aio
import structlog
from prometheus_client import CollectorRegistry
from streamgauge._version import __version__

from streamgauge_server.exposition import describe_process, serve_metrics
from streamgauge_server.http_edge import CHANNEL_OPTIONS, HttpEdge
from streamgauge_server.http_settings import UpstreamSettings
from streamgauge_server.listener import refuse_exposure
from streamgauge_server.model.clock import SystemClock
from streamgauge_server.settings import Settings, is_loopback
from streamgauge_server.startup import StartError

DEFAULT_PORT = 8080

_OPTIONS = (
    *CHANNEL_OPTIONS,
    # Finds out within 80 s that the server has vanished while a stream is open.
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.primary_user_agent", f"streamgauge-gateway/{__version__}"),
)

_log = structlog.stdlib.get_logger("streamgauge.gateway")


async def front(settings: Settings, stop: asyncio.Event) -> None:
    """Serves HTTP until `stop` is set; then requests under way end.

    Raises:
        StartError: with the reason: no upstream, the port, the certificates, or a listener that is too open.
    """
    _check_exposure(settings)
    if settings.http.port is None:
        settings = settings.model_copy(update={"http": settings.http.model_copy(update={"port": DEFAULT_PORT})})
    registry = CollectorRegistry()
    describe_process(registry)
    async with AsyncExitStack() as closing:
        if settings.metrics_port is not None:
            _, stop_metrics = serve_metrics(registry, settings.metrics_host, settings.metrics_port)
            closing.push_async_callback(stop_metrics)
        channel = _channel(settings.http.upstream)
        closing.push_async_callback(channel.close)
        edge = HttpEdge(settings, channel, registry, SystemClock())
        await edge.start(shared=False)
        _log.info(
            "fronting",
            upstream=settings.http.upstream.address,
            upstream_tls=settings.http.upstream.secured,
            tls=settings.tls.enabled,
            version=__version__,
            pid=os.getpid(),
        )
        await stop.wait()
        _log.info("stopping")
        edge.stop_being_ready()
        await asyncio.sleep(settings.stop_delay_seconds)
        edge.end_streams()
        await edge.stop(settings.stop_grace_seconds)
    _log.info("stopped")


def _check_exposure(settings: Settings) -> None:
    """Who may do what is decided by the server, by the tokens that travel on. What it cannot see is checked here."""
    if is_loopback(settings.http.host):
        return
    trouble = []
    if not settings.tls.enabled:
        trouble.append("no TLS (set tls.cert and tls.key)")
    if settings.http.upstream.cert is not None and settings.tls.client_ca is None:
        trouble.append("a certificate for the server that anybody could use (demand theirs: set tls.client_ca)")
    refuse_exposure(settings.http.host, trouble, insecure=settings.insecure)


def _channel(upstream: UpstreamSettings) -> grpc.aio.Channel:
    if upstream.address is None:
        raise StartError("http.upstream.address is not set")
    if not upstream.secured:
        return grpc.aio.insecure_channel(upstream.address, options=_OPTIONS)
    try:
        credentials = grpc.ssl_channel_credentials(
            root_certificates=_content(upstream.ca),
            private_key=_content(upstream.key),
            certificate_chain=_content(upstream.cert),
        )
    except OSError as error:
        raise StartError(f"cannot read {error.filename}: {error.strerror}") from error
    options = list(_OPTIONS)
    if upstream.server_name is not None:
        options.append(("grpc.ssl_target_name_override", upstream.server_name))
    return grpc.aio.secure_channel(upstream.address, credentials, options=options)


def _content(file: Path | None) -> bytes | None:
    return None if file is None else file.read_bytes()
