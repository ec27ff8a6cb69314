"""The Prometheus endpoint of a process."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog
from prometheus_client import CollectorRegistry, Info, ProcessCollector, start_http_server
from streamgauge._version import __version__

from streamgauge_server.startup import StartError

_log = structlog.stdlib.get_logger("streamgauge.server")


def describe_process(registry: CollectorRegistry) -> None:
    """Adds to a registry what is known of the process: its memory and CPU, and the running version."""
    ProcessCollector(registry=registry)
    Info("streamgauge_build", "The running version.", registry=registry).info({"version": __version__})


def serve_metrics(registry: CollectorRegistry, host: str, port: int) -> tuple[int, Callable[[], Awaitable[None]]]:
    """Serves a registry in a thread; returns the port and what ends it.

    Raises:
        StartError: the port is taken.
    """
    try:
        httpd, thread = start_http_server(port, host, registry)
    except OSError as error:
        raise StartError(f"cannot serve metrics on {host}:{port}: {error.strerror}") from error

    async def stop() -> None:
        await asyncio.to_thread(httpd.shutdown)
        httpd.server_close()
        await asyncio.to_thread(thread.join)

    _log.info("serving metrics", url=f"http://{host}:{httpd.server_port}/metrics")
    return httpd.server_port, stop
