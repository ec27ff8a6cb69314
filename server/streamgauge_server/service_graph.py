"""The services of a server over what they stand on, and the servicers that serve them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

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

from streamgauge_server.collectors.flink import FlinkCollector
from streamgauge_server.collectors.health import CollectorMetrics
from streamgauge_server.model.clock import Clock
from streamgauge_server.rpc.assets import AssetMetricServicer
from streamgauge_server.rpc.deprecation import DeprecatedCalls
from streamgauge_server.rpc.interceptor import Registrar
from streamgauge_server.rpc.jobs import JobParts, JobServicer
from streamgauge_server.rpc.metric_types import MetricTypeParts, MetricTypeServicer
from streamgauge_server.rpc.metrics import MetricParts, MetricsServicer
from streamgauge_server.rpc.server_info import ServerInfoServicer
from streamgauge_server.rpc.sources import SourceServicer
from streamgauge_server.rpc.tokens import TokenServicer
from streamgauge_server.services.asset_corrections import AssetCorrections
from streamgauge_server.services.asset_emit import AssetEmitter
from streamgauge_server.services.asset_reads import AssetReader
from streamgauge_server.services.assets import AssetCatalog
from streamgauge_server.services.auth import Authenticator
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
from streamgauge_server.services.plot_data import PlotData
from streamgauge_server.services.plot_values import PlotValues
from streamgauge_server.services.retention import RetentionService
from streamgauge_server.services.savepoints import Savepoints
from streamgauge_server.services.server_info import ServerInfoReader
from streamgauge_server.services.source_metrics import SourceMetrics
from streamgauge_server.services.sources import Sources
from streamgauge_server.services.subject_registry import SubjectRegistry
from streamgauge_server.services.tokens import Tokens
from streamgauge_server.settings import Settings
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


@dataclass(frozen=True, slots=True)
class Foundation:
    """What all services stand on. What they open themselves is closed with `closing`."""

    settings: Settings
    clock: Clock
    store: Store
    authenticator: Authenticator
    clusters: Clusters
    registry: CollectorRegistry
    closing: AsyncExitStack


def retention_over(settings: Settings, store: Store, clock: Clock) -> RetentionService:
    """Returns what applies the limits of the settings to a store."""
    return RetentionService(store, clock, settings.retention.rules, horizon=settings.watch_horizon)


def add_services(
    registrar: Registrar, base: Foundation, deprecated: DeprecatedCalls, *, collect: bool
) -> FlinkCollector | None:
    """Adds every service of the contract; with `collect` returns a collector of the clusters' jobs, not started."""
    settings, limits, clock, store = base.settings, base.settings.limits, base.clock, base.store
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
                retention_over(settings, store, clock),
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
            deprecated,
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
    watch = JobWatch(store)
    observer = JobObserver(store, clock, descriptors, watch)
    registrar.add(
        job_service_pb2_grpc.add_JobServiceServicer_to_server,
        JobServicer(_jobs(base, descriptors, registry, latest, watch, observer), clock, limits.max_call_seconds),
    )
    registrar.add(
        token_service_pb2_grpc.add_TokenServiceServicer_to_server,
        TokenServicer(Tokens(store, clock, base.authenticator)),
    )
    registrar.add(
        server_service_pb2_grpc.add_ServerServiceServicer_to_server,
        ServerInfoServicer(
            ServerInfoReader(
                store, clock, limits, base.authenticator, version=__version__, features=_features(settings)
            )
        ),
    )
    if not collect:
        return None
    return FlinkCollector(store, clock, limits, base.clusters, observer, CollectorMetrics(base.registry))


def _jobs(
    base: Foundation,
    descriptors: Descriptors,
    registry: SubjectRegistry,
    latest: LatestReader,
    watch: JobWatch,
    observer: JobObserver,
) -> JobParts:
    store, clock, limits, clusters = base.store, base.clock, base.settings.limits, base.clusters
    catalog = JobCatalog(store, limits, registry)
    looks, savepoints = JobLooks(store, observer), Savepoints(store)
    base.closing.push_async_callback(looks.close)
    base.closing.push_async_callback(savepoints.close)
    return JobParts(
        catalog,
        JobTypes(store),
        JobStatusReader(store, clock, limits, catalog, clusters, looks, latest),
        JobStopper(store, catalog, clusters, looks, observer, savepoints),
        JobReports(store, clock, limits, descriptors, watch),
        watch,
        JobErrors(store),
    )


def _features(settings: Settings) -> Sequence[str]:
    switched = {
        "asset_registration": settings.asset_registration == "open",
        "single_emit": settings.single_emit == "on",
        "subject_registration": settings.subject_registration == "open",
        "tls": settings.tls.enabled,
        "mtls": settings.tls.client_ca is not None,
        "openid": settings.openid.enabled,
    }
    return [name for name, on in switched.items() if on]
