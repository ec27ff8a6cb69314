"""The composition root: a server out of its settings, started and stopped as one thing."""

from __future__ import annotations

import asyncio
import os
import tempfile
from contextlib import AsyncExitStack
from types import TracebackType

import grpc
import grpc.aio
import structlog
from grpc_health.v1 import health_pb2_grpc
from prometheus_client import CollectorRegistry
from streamgauge._version import __version__

from streamgauge_server import logs
from streamgauge_server.collectors.compaction import CompactionMetrics, CompactionWorker
from streamgauge_server.collectors.damage import DamageMetrics
from streamgauge_server.collectors.flink import FlinkCollector
from streamgauge_server.collectors.pruning import Pruner
from streamgauge_server.collectors.retention import RetentionMetrics, RetentionWorker
from streamgauge_server.configuration import mask_url
from streamgauge_server.exposition import describe_process, serve_metrics
from streamgauge_server.http_edge import CHANNEL_OPTIONS, HttpEdge
from streamgauge_server.listener import bind, check_exposure, grpc_options
from streamgauge_server.model.clock import Clock, SystemClock
from streamgauge_server.model.errors import DomainError
from streamgauge_server.rpc import diagnostics
from streamgauge_server.rpc.damage import tell
from streamgauge_server.rpc.deprecation import DeprecatedCalls
from streamgauge_server.rpc.health import HealthServicer
from streamgauge_server.rpc.interceptor import Registrar, StepInterceptor
from streamgauge_server.rpc.observation import AccessLogStep, ServerMetricsStep
from streamgauge_server.rpc.scopes import METHOD_SCOPES
from streamgauge_server.rpc.steps import AuthenticationStep, DeadlineStep, ErrorMappingStep, RequestContextStep
from streamgauge_server.rpc.waits import METHOD_WAITS
from streamgauge_server.service_graph import SERVICES, Foundation, add_services, retention_over
from streamgauge_server.services.auth import Authenticator, AuthMode
from streamgauge_server.services.clusters import Clusters
from streamgauge_server.services.openid import OpenIdVerifier, Provider
from streamgauge_server.settings import Settings, is_unix, split_address
from streamgauge_server.startup import open_clusters, open_store
from streamgauge_server.storage.store import Store

_log = structlog.stdlib.get_logger("streamgauge.server")


class App:
    """A server. Use it as an async context manager, or call `start` and `stop`; it cannot be started again."""

    def __init__(
        self,
        settings: Settings,
        *,
        clock: Clock | None = None,
        worker: int | None = None,
        clusters: Clusters | None = None,
    ) -> None:
        """`worker` is the number of this process among several that share the port, None for a single one.

        `clusters` are those that can be asked about jobs, and are not followed, instead of the ones that the settings
        name; they are closed with the server.
        """
        self.settings = settings
        self.port = 0
        """The TCP port that is served; 0 before the start and for unix sockets."""
        self.metrics_port: int | None = None
        """The port of the Prometheus endpoint, None when it is off."""
        self.http_port: int | None = None
        """The port of the HTTP gateway, None when it is off."""
        self._clock = clock or SystemClock()
        self._worker = worker
        self._registry = CollectorRegistry()
        self._measured = ServerMetricsStep()
        self._deprecated = DeprecatedCalls(self._clock)
        self._deadlines = DeadlineStep(settings.limits.max_call_seconds, METHOD_WAITS)
        self._health = HealthServicer(SERVICES)
        self._closing = AsyncExitStack()
        self.store: Store | None = None
        """The open store; None before the start."""
        self.interceptor: StepInterceptor | None = None
        """The steps around every call and the methods that are served; None before the start."""
        self._given_clusters = clusters
        self._clusters = Clusters()
        self._collector: FlinkCollector | None = None
        self._server: grpc.aio.Server | None = None
        self._http: HttpEdge | None = None
        self._stop_begun = False

    @property
    def address(self) -> str:
        """What clients on this machine connect to."""
        listen = self.settings.listen
        return listen if is_unix(listen) else f"{split_address(listen)[0]}:{self.port}"

    async def __aenter__(self) -> App:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Opens the store and serves. When this returns, calls are answered.

        Raises:
            StartError: with the reason: the port, the schema, the certificates, or a listener that is too open.
            DomainError: STORE_UNAVAILABLE.
        """
        logs.configure_embedded()
        try:
            await self._start()
        except BaseException:
            if self._http is not None:
                await self._http.stop(0)
            if self._server is not None:
                await self._server.stop(None)
            await self._closing.aclose()
            raise

    async def wait_for_termination(self) -> None:
        """Returns when nothing is served any more, be it that `stop` was called or that gRPC broke down."""
        if self._server is not None:
            await self._server.wait_for_termination()

    async def stop(self, grace: float | None = None) -> None:
        """Stops in this order: health says NOT_SERVING, streams are ended, unary calls end, the store closes.

        HTTP goes before gRPC, on which its requests stand. Closing the store commits what waits first. `grace` bounds
        the wait for calls under way, in seconds; by default it is the setting. A second call does nothing.
        """
        if self._stop_begun or self._server is None:
            return
        self._stop_begun = True
        _log.info("stopping", address=self.address)
        grace = self.settings.stop_grace_seconds if grace is None else grace
        await self._health.stop()
        if self._http is not None:
            self._http.stop_being_ready()
        await asyncio.sleep(self.settings.stop_delay_seconds)
        self._deadlines.drain()
        if self._http is not None:
            await self._http.stop(grace)
        await self._server.stop(grace)
        await self._closing.aclose()
        _log.info("stopped", address=self.address)

    async def _start(self) -> None:
        self._clusters = open_clusters(self.settings) if self._given_clusters is None else self._given_clusters
        self._closing.push_async_callback(self._clusters.close)
        self.store = store = await open_store(self.settings, self._clock)
        self._closing.push_async_callback(store.close)
        store.damage.listener = tell
        self._registry.register(DamageMetrics(store.damage))
        authenticator = self._authenticator(store)
        check_exposure(self.settings, authenticated=await authenticator.required())
        self.interceptor = self._interceptor_over(store, authenticator)
        server = grpc.aio.server(
            interceptors=(self.interceptor,), options=grpc_options(self.settings, shared=self._worker is not None)
        )
        self.port = bind(server, self.settings)
        self._server = server
        for collector in (self._measured, self._deprecated):
            self._registry.register(collector)
        describe_process(self._registry)
        if self.settings.metrics_port is not None:
            self._serve_metrics(self.settings.metrics_port)
        # Its address must be known to the server before that starts.
        socket_path = self._private_socket(server) if self.settings.http.port is not None else None
        await server.start()
        self._collect(store)
        await self._health.follow(serving=True)
        if socket_path is not None:
            await self._serve_http(socket_path)
        watching = asyncio.create_task(self._follow_store(store), name="follow the store")
        self._closing.push_async_callback(_cancel, watching)
        _log.info(
            "serving",
            address=self.address,
            database=mask_url(self.settings.database),
            tls=self.settings.tls.enabled,
            authentication=await authenticator.required(),
            version=__version__,
            pid=os.getpid(),
        )

    def _authenticator(self, store: Store) -> Authenticator:
        openid = self.settings.openid
        verifier = None
        if openid.issuer is not None and openid.audience is not None and openid.jwks_url is not None:
            verifier = OpenIdVerifier(
                Provider(openid.issuer, openid.audience, openid.jwks_url, openid.tenant_claim, openid.scopes_claim)
            )
        return Authenticator(store.tokens, self._clock, AuthMode(self.settings.auth), verifier)

    def _interceptor_over(self, store: Store, authenticator: Authenticator) -> StepInterceptor:
        settings, limits = self.settings, self.settings.limits
        interceptor = StepInterceptor(
            (
                RequestContextStep(),
                AccessLogStep(settings.log.access),
                self._measured,
                self._deadlines,
                AuthenticationStep(authenticator, METHOD_SCOPES),
                ErrorMappingStep(),
            ),
            max_request_bytes=limits.max_request_bytes,
            max_response_bytes=limits.max_response_bytes,
        )
        registrar = Registrar(interceptor)

        base = Foundation(settings, self._clock, store, authenticator, self._clusters, self._registry, self._closing)
        collect = settings.collect and bool(self._clusters) and self._given_clusters is None
        self._collector = add_services(registrar, base, self._deprecated, collect=collect)
        registrar.add(health_pb2_grpc.add_HealthServicer_to_server, self._health)
        diagnostics.add_reflection(interceptor, SERVICES)
        diagnostics.add_channelz(interceptor)
        return interceptor

    def _private_socket(self, server: grpc.aio.Server) -> str:
        """Lets the server listen for its own gateway as well, where TLS and certificates of clients do not matter."""
        directory = tempfile.TemporaryDirectory(prefix="streamgauge-")  # for this user only
        self._closing.callback(directory.cleanup)
        address = f"unix:{directory.name}/grpc.sock"
        server.add_insecure_port(address)
        return address

    async def _serve_http(self, upstream: str) -> None:
        channel = grpc.aio.insecure_channel(upstream, options=CHANNEL_OPTIONS)
        self._closing.push_async_callback(channel.close)
        edge = HttpEdge(self.settings, channel, self._registry, self._clock)
        await edge.start(shared=self._worker is not None)
        self._http = edge
        self.http_port = edge.port

    def _serve_metrics(self, port: int) -> None:
        port += self._worker or 0 if port else 0
        self.metrics_port, stop = serve_metrics(self._registry, self.settings.metrics_host, port)
        self._closing.push_async_callback(stop)

    def _collect(self, store: Store) -> None:
        """Begins to follow the clusters; one of several workers also prunes jobs, compacts, and lets go."""
        if self._collector is not None:
            self._collector.start()
            self._closing.push_async_callback(self._collector.stop)
        if not self._worker:
            pruner = Pruner(store, self._clock)
            pruner.start()
            self._closing.push_async_callback(pruner.stop)
            compaction = CompactionWorker(
                store,
                self._clock,
                horizon=self.settings.watch_horizon,
                share=self.settings.compaction.share,
                fold=self.settings.compaction.enabled,
                metrics=CompactionMetrics(self._registry),
            )
            compaction.start()
            self._closing.push_async_callback(compaction.stop)
            retention = RetentionWorker(
                store,
                self._clock,
                retention_over(self.settings, store, self._clock),
                share=self.settings.retention.share,
                metrics=RetentionMetrics(self._registry),
            )
            retention.start()
            self._closing.push_async_callback(retention.stop)

    async def _follow_store(self, store: Store) -> None:
        """Makes health follow the store: a server whose store does not answer can serve nothing."""
        serving = True
        while True:
            await asyncio.sleep(self.settings.health_interval_seconds)
            answers = await _answers(store, self.settings.health_interval_seconds)
            if answers != serving:
                serving = answers
                if serving:
                    _log.info("the store answers again")
                else:
                    _log.error("the store does not answer: health says NOT_SERVING")
                await self._health.follow(serving=serving)


async def _answers(store: Store, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            await store.ping()
    except (DomainError, TimeoutError) as error:
        _log.debug("ping failed", error=str(error))
        return False
    return True


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled() and (error := task.exception()) is not None:
        raise error
