"""The HTTP edge of a process: the gateway's application over a channel, behind a listener of its own."""

from __future__ import annotations

import grpc.aio
import structlog
from prometheus_client import CollectorRegistry

from streamgauge_server.gateway.application import application
from streamgauge_server.gateway.operations import Readiness
from streamgauge_server.gateway.routing import RouteConflict
from streamgauge_server.gateway.serving import HttpServer
from streamgauge_server.gateway.upstream import Upstream
from streamgauge_server.listener import bind_http, http_tls
from streamgauge_server.model.clock import Clock
from streamgauge_server.settings import Settings, is_loopback
from streamgauge_server.startup import StartError

_log = structlog.stdlib.get_logger("streamgauge.gateway")

CHANNEL_OPTIONS = (("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1))
"""What a message may weigh is the server's business."""


class HttpEdge:
    """Serves HTTP from `start` to `stop`."""

    def __init__(
        self, settings: Settings, channel: grpc.aio.Channel, registry: CollectorRegistry, clock: Clock
    ) -> None:
        """`channel` leads to the server; it is not closed here.

        Raises:
            StartError: the prefixes of the legacy APIs contradict each other, or the certificates cannot be read.
        """
        self.port = 0
        """The port that is served, once it is."""
        self._settings = settings
        self._readiness = Readiness(channel)
        self._upstream = Upstream(channel)
        http = settings.http
        shown = http.metrics == "open" or (http.metrics == "auto" and is_loopback(http.host))
        try:
            app = application(
                self._upstream,
                http,
                readiness=self._readiness,
                registry=registry,
                show_metrics=shown,
                access_log=settings.log.access,
                clock=clock.now,
            )
        except RouteConflict as error:
            raise StartError(f"http: {error}") from error
        self._server = HttpServer(app, receive_seconds=http.receive_seconds, tls=http_tls(settings.tls))

    async def start(self, *, shared: bool) -> None:
        """Begins to serve. `shared` lets other processes listen on the same port.

        Raises:
            StartError: the port is taken, or the address is none of this machine's.
        """
        http = self._settings.http
        listener = bind_http(http.host, http.port or 0, shared=shared)
        self.port = listener.getsockname()[1]
        await self._server.start(listener)
        scheme = "https" if self._settings.tls.enabled else "http"
        host = f"[{http.host}]" if ":" in http.host else http.host
        _log.info("serving HTTP", url=f"{scheme}://{host}:{self.port}")

    def stop_being_ready(self) -> None:
        """Makes /readyz say that nothing new should come here."""
        self._readiness.stop()

    def end_streams(self) -> None:
        """Ends streams, where the server behind goes on and does not."""
        self._upstream.end_streams()

    async def stop(self, grace: float) -> None:
        """Closes the listener; requests under way get `grace` seconds."""
        await self._server.stop(grace)
