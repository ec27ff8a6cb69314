"""A process that follows the jobs of clusters and serves nothing: `streamgauge-server collect flink`."""

from __future__ import annotations

import asyncio
import os
from contextlib import AsyncExitStack

import structlog
from prometheus_client import CollectorRegistry
from streamgauge._version import __version__

from streamgauge_server.collectors.flink import FlinkCollector
from streamgauge_server.collectors.health import CollectorMetrics
from streamgauge_server.collectors.pruning import Pruner
from streamgauge_server.configuration import mask_url
from streamgauge_server.exposition import describe_process, serve_metrics
from streamgauge_server.model.clock import SystemClock
from streamgauge_server.services.descriptors import Descriptors
from streamgauge_server.services.job_observer import JobObserver
from streamgauge_server.services.job_watch import JobWatch
from streamgauge_server.settings import Settings
from streamgauge_server.startup import open_clusters, open_store

_log = structlog.stdlib.get_logger("streamgauge.collector")


async def collect(settings: Settings, stop: asyncio.Event) -> None:
    """Follows the clusters of the settings until `stop` is set; then gives up their leases and closes the store.

    Raises:
        StartError: with the reason: the schema, a secret, the port for metrics.
        DomainError: STORE_UNAVAILABLE.
    """
    clock = SystemClock()
    registry = CollectorRegistry()
    async with AsyncExitStack() as closing:
        clusters = open_clusters(settings)
        closing.push_async_callback(clusters.close)
        store = await open_store(settings, clock)
        closing.push_async_callback(store.close)
        descriptors = Descriptors(store, clock, settings.limits)
        observer = JobObserver(store, clock, descriptors, JobWatch(store))
        collector = FlinkCollector(store, clock, settings.limits, clusters, observer, CollectorMetrics(registry))
        pruner = Pruner(store, clock)
        describe_process(registry)
        if settings.metrics_port is not None:
            _, stop_metrics = serve_metrics(registry, settings.metrics_host, settings.metrics_port)
            closing.push_async_callback(stop_metrics)
        collector.start()
        closing.push_async_callback(collector.stop)
        pruner.start()
        closing.push_async_callback(pruner.stop)
        _log.info(
            "collecting",
            clusters=[str(cluster) for cluster in settings.clusters],
            database=mask_url(settings.database),
            version=__version__,
            pid=os.getpid(),
        )
        await stop.wait()
        _log.info("stopping")
    _log.info("stopped")
