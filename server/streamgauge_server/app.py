"""The composition root: a server out of its settings, started and stopped as one thing."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from contextlib import AsyncExitStack
from types import TracebackType

import grpc
import grpc.aio
import structlog
from grpc_health.v1 import health_pb2_grpc
from prometheus_client import CollectorRegistry
from streamgauge._version import __version__
from streamgauge.v1 import (
    asset_metric_service_pb2,
    asset_metric_service_pb2_grpc,
    job_service_pb2,
    job_service_pb2_grpc,
    metric_type_service_pb2,
    metric_type_service_pb2_grpc,
    metrics_service_pb2,
    metrics_service_pb2_grpc,
    server_service_pb2,
    server_service_pb2_grpc,
    source_service_pb2,
    source_service_pb2_grpc,
    token_service_pb2,
    token_service_pb2_grpc,
)

from streamgauge_server import logs
from streamgauge_server.collectors.compaction import CompactionMetrics, CompactionWorker
from streamgauge_server.collectors.damage import DamageMetrics
from streamgauge_server.collectors.flink import FlinkCollector
from streamgauge_server.collectors.health import CollectorMetrics
from streamgauge_server.collectors.pruning import Pruner
from streamgauge_server.collectors.retention import RetentionMetrics, RetentionWorker
from streamgauge_server.configuration import mask_url
from streamgauge_server.exposition import serve_metrics
from streamgauge_server.listener import bind, check_exposure, grpc_options
from streamgauge_server.model.clock import MICROS_PER_SECOND, Clock, SystemClock
from streamgauge_server.model.errors import DomainError
from streamgauge_server.rpc import diagnostics
from streamgauge_server.rpc.assets import AssetMetricServicer
from streamgauge_server.rpc.damage import tell
from streamgauge_server.rpc.deprecation import DeprecatedCalls
from streamgauge_server.rpc.health import HealthServicer
from streamgauge_server.rpc.interceptor import Registrar, StepInterceptor
from streamgauge_server.rpc.jobs import JobParts, JobServicer
from streamgauge_server.rpc.metric_types import MetricTypeParts, MetricTypeServicer
from streamgauge_server.rpc.metrics import MetricParts, MetricsServicer
from streamgauge_server.rpc.observation import AccessLogStep, ServerMetricsStep
from streamgauge_server.rpc.scopes import METHOD_SCOPES
from streamgauge_server.rpc.server_info import ServerInfoServicer
from streamgauge_server.rpc.sources import SourceServicer
from streamgauge_server.rpc.steps import AuthenticationStep, DeadlineStep, ErrorMappingStep, RequestContextStep
from streamgauge_server.rpc.tokens import TokenServicer
from streamgauge_server.rpc.waits import METHOD_WAITS
from streamgauge_server.services.asset_corrections import AssetCorrections
from streamgauge_server.services.asset_emit import AssetEmitter
from streamgauge_server.services.asset_reads import AssetReader
from streamgauge_server.services.assets import AssetCatalog
from streamgauge_server.services.auth import Authenticator, AuthMode
from streamgauge_server.services.block_reader import BlockReader
from streamgauge_server.services.clusters import Clusters
from streamgauge_server.services.descriptors import Descriptors
from streamgauge_server.services.ingests import Ingests
from streamgauge_server.services.job_errors import JobErrors
from streamgauge_server.services.job_looks import JobLooks
from streamgauge_server.services.job_observer import JobObserver
from streamgauge_server.services.job_reports import JobReports
from streamgauge_server.services.job_status import JobStatusReader
from streamgauge_server.services.job_stop import JobStopper
from streamgauge_server.services.job_types import JobTypes
from streamgauge_server.services.job_watch import JobWatch
from streamgauge_server.services.jobs import JobCatalog
from streamgauge_server.services.latest import LatestReader
from streamgauge_server.services.metric_type_choices import MetricTypeChoices
from streamgauge_server.services.metric_type_values import MetricTypeValues
from streamgauge_server.services.metric_types import MetricTypes
from streamgauge_server.services.metrics_export import MetricsExport
from streamgauge_server.services.metrics_import import MetricsImporter
from streamgauge_server.services.metrics_query import MetricsQuery
from streamgauge_server.services.metrics_watch import MetricsWatch
from streamgauge_server.services.metrics_write import MetricsWriter
from streamgauge_server.services.openid import OpenIdVerifier, Provider
from streamgauge_server.services.plot_data import PlotData
from streamgauge_server.services.plot_values import PlotValues
from streamgauge_server.services.retention import RetentionService
from streamgauge_server.services.savepoints import Savepoints
from streamgauge_server.services.server_info import ServerInfoReader
from streamgauge_server.services.source_metrics import SourceMetrics
from streamgauge_server.services.sources import Sources
from streamgauge_server.services.subject_registry import SubjectRegistry
from streamgauge_server.services.tokens import Tokens
from streamgauge_server.settings import Settings, is_unix, split_address
from streamgauge_server.startup import open_clusters, open_store
from streamgauge_server.storage.store import Store

SERVICES = tuple(
    module.DESCRIPTOR.services_by_name[name].full_name
    for module, name in (
        (source_service_pb2, "SourceService"),
        (metrics_service_pb2, "MetricsService"),
        (asset_metric_service_pb2, "AssetMetricService"),
        (metric_type_service_pb2, "MetricTypeService"),
        (job_service_pb2, "JobService"),
        (token_service_pb2, "TokenService"),
        (server_service_pb2, "ServerService"),
    )
)
"""The services of the contract that this server serves."""

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

        Closing the store commits what waits first. `grace` bounds the wait for unary calls, in seconds; by default it
        is the setting. A second call does nothing.
        """
        if self._stop_begun or self._server is None:
            return
        self._stop_begun = True
        _log.info("stopping", address=self.address)
        await self._health.stop()
        await asyncio.sleep(self.settings.stop_delay_seconds)
        self._deadlines.drain()
        await self._server.stop(self.settings.stop_grace_seconds if grace is None else grace)
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
        if self.settings.metrics_port is not None:
            self._serve_metrics(self.settings.metrics_port)
        await server.start()
        self._collect(store)
        await self._health.follow(serving=True)
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
        settings, limits, clock = self.settings, self.settings.limits, self._clock
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

        registry = SubjectRegistry(store, limits, open_registration=settings.subject_registration == "open")
        descriptors = Descriptors(store, clock, limits, settings.retention.rules)
        blocks = BlockReader(store)
        latest = LatestReader(store, limits, descriptors, blocks)
        query = MetricsQuery(store, clock, limits, descriptors, blocks)
        registrar.add(
            source_service_pb2_grpc.add_SourceServiceServicer_to_server,
            SourceServicer(
                Sources(store, limits, registry),
                SourceMetrics(store, clock, descriptors, query, latest),
                Ingests(store, clock, limits, registry),
            ),
        )
        writer = MetricsWriter(store, clock, limits, descriptors, registry)
        registrar.add(
            metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server,
            MetricsServicer(
                MetricParts(
                    writer,
                    MetricsImporter(store, clock, limits, descriptors, registry),
                    MetricsExport(store, limits, descriptors),
                    MetricsWatch(store, limits, descriptors),
                    query,
                    latest,
                    descriptors,
                    self._retention_over(store),
                ),
                clock,
            ),
        )
        assets = AssetReader(store, clock, limits, descriptors)
        registrar.add(
            asset_metric_service_pb2_grpc.add_AssetMetricServiceServicer_to_server,
            AssetMetricServicer(
                AssetEmitter(
                    store,
                    clock,
                    limits,
                    descriptors,
                    registry,
                    assets,
                    open_registration=settings.asset_registration == "open",
                ),
                AssetCatalog(store, limits, registry),
                assets,
                AssetCorrections(store, limits, descriptors),
                self._deprecated,
                single_emit=settings.single_emit == "on",
            ),
        )
        types = MetricTypes(store, limits, registry)
        registrar.add(
            metric_type_service_pb2_grpc.add_MetricTypeServiceServicer_to_server,
            MetricTypeServicer(
                MetricTypeParts(
                    types,
                    MetricTypeChoices(store, limits, types, registry),
                    PlotData(store, clock, limits, types, PlotValues(store, descriptors, blocks)),
                    MetricTypeValues(types, writer, registry, clock, limits),
                )
            ),
        )
        registrar.add(
            job_service_pb2_grpc.add_JobServiceServicer_to_server,
            JobServicer(self._jobs_over(store, descriptors, registry, latest), clock, limits.max_call_seconds),
        )
        registrar.add(
            token_service_pb2_grpc.add_TokenServiceServicer_to_server,
            TokenServicer(Tokens(store, clock, authenticator)),
        )
        registrar.add(
            server_service_pb2_grpc.add_ServerServiceServicer_to_server,
            ServerInfoServicer(
                ServerInfoReader(store, clock, limits, authenticator, version=__version__, features=self._features())
            ),
        )
        registrar.add(health_pb2_grpc.add_HealthServicer_to_server, self._health)
        diagnostics.add_reflection(interceptor, SERVICES)
        diagnostics.add_channelz(interceptor)
        return interceptor

    def _jobs_over(
        self, store: Store, descriptors: Descriptors, registry: SubjectRegistry, latest: LatestReader
    ) -> JobParts:
        limits, clock, clusters = self.settings.limits, self._clock, self._clusters
        watch = JobWatch(store)
        observer = JobObserver(store, clock, descriptors, watch)
        if self.settings.collect and clusters and self._given_clusters is None:
            metrics = CollectorMetrics(self._registry)
            self._collector = FlinkCollector(store, clock, limits, clusters, observer, metrics)
        catalog = JobCatalog(store, limits, registry)
        looks, savepoints = JobLooks(store, observer), Savepoints(store)
        self._closing.push_async_callback(looks.close)
        self._closing.push_async_callback(savepoints.close)
        return JobParts(
            catalog,
            JobTypes(store),
            JobStatusReader(store, clock, limits, catalog, clusters, looks, latest),
            JobStopper(store, catalog, clusters, looks, observer, savepoints),
            JobReports(store, clock, limits, descriptors, watch),
            watch,
            JobErrors(store),
        )

    def _retention_over(self, store: Store) -> RetentionService:
        return RetentionService(store, self._clock, self.settings.retention.rules, horizon=self._watch_horizon)

    @property
    def _watch_horizon(self) -> int:
        return int(self.settings.watch_horizon_seconds * MICROS_PER_SECOND)

    def _features(self) -> Sequence[str]:
        settings = self.settings
        switched = {
            "asset_registration": settings.asset_registration == "open",
            "single_emit": settings.single_emit == "on",
            "subject_registration": settings.subject_registration == "open",
            "tls": settings.tls.enabled,
            "mtls": settings.tls.client_ca is not None,
            "openid": settings.openid.enabled,
        }
        return [name for name, on in switched.items() if on]

    def _serve_metrics(self, port: int) -> None:
        self._registry.register(self._measured)
        self._registry.register(self._deprecated)
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
                horizon=self._watch_horizon,
                share=self.settings.compaction.share,
                fold=self.settings.compaction.enabled,
                metrics=CompactionMetrics(self._registry),
            )
            compaction.start()
            self._closing.push_async_callback(compaction.stop)
            retention = RetentionWorker(
                store,
                self._clock,
                self._retention_over(store),
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
