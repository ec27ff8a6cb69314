"""A collector before a Flink that can be put into any state, over a store of either engine."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from streamgauge_server.collectors.flink import ClusterLoop, FlinkCollector
from streamgauge_server.collectors.health import CollectorMetrics
from streamgauge_server.collectors.polling import ClusterPoller, Polled
from streamgauge_server.model.clock import MICROS_PER_SECOND, Clock, FixedClock
from streamgauge_server.model.jobs import ClusterStatus, Job, JobRun, RunException, StateChange
from streamgauge_server.model.limits import Limits
from streamgauge_server.model.names import SubjectName
from streamgauge_server.model.values import SubjectKind
from streamgauge_server.services.clusters import ClusterConfig, Clusters
from streamgauge_server.services.descriptors import Descriptors
from streamgauge_server.services.job_observer import JobObserver
from streamgauge_server.services.job_watch import JobWatch
from streamgauge_server.storage.jobs import JobFilter
from streamgauge_server.storage.store import Store
from streamgauge_server.timeseries.latest import LatestSample

from tests.flink.fake import Answer, FakeFlink
from tests.flink.fake_jobs import START_MS, FakeJob, FakeJobs

TENANT, CLUSTER = "t", "orders"
INTERVAL_SECONDS = 10


def jid(number: int) -> str:
    return f"{number:032x}"


class Collected:
    """What a collector has put into a store."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._descriptors = store.metrics

    async def jobs(self) -> list[Job]:
        return await self.store.jobs.list(TENANT, JobFilter(), limit=10_000)

    async def job(self, name: str) -> Job:
        (job,) = [job for job in await self.jobs() if name in (job.id, job.job_name)]
        return job

    async def run(self, run_id: str) -> JobRun:
        """Returns the one run of this id, with its vertices."""
        (found,) = (await self.store.job_runs.find(TENANT, CLUSTER, [run_id])).values()
        run = await self.store.job_runs.get(found[0], run_id)
        assert run is not None
        return run

    async def exceptions(self, run_id: str) -> list[RunException]:
        return await self.store.job_runs.exceptions((await self.run(run_id)).number, limit=1_000)

    async def samples(self, name: str) -> dict[str, LatestSample]:
        """Returns the newest samples of a job by metric."""
        subject = SubjectName(SubjectKind.JOB, (await self.job(name)).id)
        latest = (await self.store.blocks.latest(TENANT, [subject]))[subject][""]
        metrics = await self.store.metrics.by_ids(TENANT, list(latest.samples))
        return {metrics[id].metric: sample for id, sample in latest.samples.items()}

    async def values(self, name: str) -> dict[str, Any]:
        return {metric: sample.value for metric, sample in (await self.samples(name)).items()}

    async def total(self, name: str, metric: str) -> int | float | None:
        """Returns how far a counter has come over all attempts and runs."""
        return (await self.samples(name))[metric].lifetime

    async def changes(self) -> list[StateChange]:
        return await self.store.job_runs.changes(TENANT, 0, 10_000)

    async def status(self) -> ClusterStatus:
        (status,) = await self.store.collectors.statuses(TENANT)
        return status


class Collecting(Collected):
    """A collector that polls when it is told to, in front of a cluster whose clock is the collector's."""

    def __init__(self, store: Store, clock: FixedClock, fake: FakeFlink, config: ClusterConfig, limits: Limits) -> None:
        super().__init__(store)
        self.clock = clock
        self.fake = fake
        self.flink = FakeJobs()
        self.config = config
        self.clusters = Clusters([config])
        self.registry = CollectorRegistry()
        self.observer = JobObserver(store, clock, Descriptors(store, clock, Limits()), JobWatch(store))
        metrics = CollectorMetrics(self.registry).of(*config.key)
        self.poller = ClusterPoller(config, self.clusters[config.key], store, clock, limits, self.observer, metrics)
        self.loop = ClusterLoop(self.poller, config, store, clock, metrics, uuid.uuid4().hex, asyncio.Event())
        fake.respond = self._respond

    def _respond(self, request: Any) -> Answer | None:
        if request.path == "/config":
            return Answer.of({"refresh-interval": 0, "flink-version": "2.3.0"})
        return self.flink.respond(request)

    def add(self, number: int, name: str, **fields: Any) -> FakeJob:
        """Lets the cluster run one more job."""
        job = self.flink.jobs[jid(number)] = FakeJob(jid(number), name, **fields)
        return job

    def advance(self, seconds: float = INTERVAL_SECONDS) -> None:
        self.clock.micros += round(seconds * MICROS_PER_SECOND)
        self.flink.now_ms = self.clock.micros // 1_000

    async def poll(self, times: int = 1) -> Polled:
        """Polls, so many times an interval apart."""
        for _ in range(times):
            self.advance()
            polled = await self.poller.poll()
        return polled

    async def turn(self) -> float:
        """Takes a turn of the loop, an interval later; returns the seconds to the next one."""
        self.advance()
        return (await self.loop.turn()).pause

    def metric(self, name: str, **labels: str) -> float:
        value = self.registry.get_sample_value(
            f"streamgauge_collector_{name}", {"tenant": TENANT, "cluster": self.config.name, **labels}
        )
        assert value is not None, name
        return value


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock((START_MS + 60_000) * 1_000)


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest) -> str:
    """The URL of an empty, migrated store of the test's own."""
    return str(request.getfixturevalue("pg_url" if request.param == "postgresql" else "sqlite_url"))


StartCollecting = Callable[..., Awaitable[Collecting]]


@pytest.fixture
async def start_collecting(store_url: str, clock: FixedClock, fake: FakeFlink) -> AsyncIterator[StartCollecting]:
    """Makes collectors of the fake cluster, each as in a process of its own: `await start_collecting(**settings)`."""
    async with AsyncExitStack() as stack:

        async def start(**settings: Any) -> Collecting:
            store = await Store.open(store_url, clock=clock)
            stack.push_async_callback(store.close)
            urls = settings.pop("base_urls", [fake.base_url])
            limits = settings.pop("limits", Limits())
            config = ClusterConfig(**{"name": CLUSTER, "tenant": TENANT, "base_urls": urls} | settings)
            collecting = Collecting(store, clock, fake, config, limits)
            stack.push_async_callback(collecting.clusters.close)
            return collecting

        yield start


@pytest.fixture
async def fake() -> AsyncIterator[FakeFlink]:
    async with FakeFlink() as fake:
        yield fake


@pytest.fixture
async def collecting(start_collecting: StartCollecting) -> Collecting:
    return await start_collecting()


def collector_of(store: Store, clock: Clock, clusters: Clusters) -> FlinkCollector:
    """Returns a collector of its own, not started."""
    observer = JobObserver(store, clock, Descriptors(store, clock, Limits()), JobWatch(store))
    return FlinkCollector(store, clock, Limits(), clusters, observer, CollectorMetrics(CollectorRegistry()))
