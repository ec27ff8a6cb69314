"""The collector of Flink clusters: one loop per cluster, of which one process at a time has the lease."""

from __future__ import annotations

import asyncio
import os
import random
import socket
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from streamgauge_server.collectors.health import ClusterMetrics, CollectorMetrics
from streamgauge_server.collectors.polling import ClusterPoller, Polled, cause_of
from streamgauge_server.flink.errors import FlinkError
from streamgauge_server.model.clock import MICROS_PER_SECOND, Clock
from streamgauge_server.model.errors import DomainError
from streamgauge_server.model.jobs import ClusterStatus
from streamgauge_server.model.limits import Limits
from streamgauge_server.services.clusters import ClusterConfig, Clusters
from streamgauge_server.services.job_observer import JobObserver
from streamgauge_server.storage.store import Store

LONGEST_PAUSE = 60.0
"""Seconds between two polls of a cluster that does not answer, at most."""
LEASE_INTERVALS, SHORTEST_LEASE = 3.0, 30.0
"""A lease outlasts so many intervals between polls, and lasts so many seconds at least."""
STOP_SECONDS = 5.0
"""How long a poll under way may go on after `stop`; then it is cancelled."""
RELEASE_SECONDS = 2.0

_log = structlog.stdlib.get_logger("streamgauge.collector")


class FlinkCollector:
    """Keeps the jobs of clusters up to date while it runs: `start`, and in the end `await stop()`."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        limits: Limits,
        clusters: Clusters,
        observer: JobObserver,
        metrics: CollectorMetrics,
    ) -> None:
        owner = f"{socket.gethostname()[:80]}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        self._stopping = asyncio.Event()
        self._loops = [
            ClusterLoop(
                ClusterPoller(config, clusters[key], store, clock, limits, observer, of_cluster := metrics.of(*key)),
                config,
                store,
                clock,
                of_cluster,
                owner,
                self._stopping,
            )
            for key, config in clusters.configs.items()
        ]
        self._tasks: Sequence[asyncio.Task[None]] = ()

    def start(self) -> None:
        """Begins to poll."""
        self._tasks = [asyncio.create_task(loop.run(), name=f"collect {loop.name}") for loop in self._loops]

    async def stop(self) -> None:
        """Ends all loops and their leases; polls under way may end."""
        self._stopping.set()
        if not self._tasks:
            return
        _, late = await asyncio.wait(self._tasks, timeout=STOP_SECONDS)
        for task in late:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for loop in self._loops:
            await loop.release()


@dataclass(frozen=True, slots=True)
class Turn:
    """What a turn of a loop came to: seconds to the next one, and whether this process has the lease."""

    pause: float
    leading: bool


class ClusterLoop:
    """Polls one cluster again and again."""

    def __init__(
        self,
        poller: ClusterPoller,
        config: ClusterConfig,
        store: Store,
        clock: Clock,
        metrics: ClusterMetrics,
        owner: str,
        stopping: asyncio.Event,
    ) -> None:
        self.name = config.name
        self._poller = poller
        self._config = config
        self._store = store
        self._clock = clock
        self._metrics = metrics
        self._owner = owner
        self._stopping = stopping
        self._failures = 0
        self._last_success: int | None = None
        self._leading = False
        self._log = _log.bind(cluster=config.name, tenant=config.tenant)

    async def run(self) -> None:
        """Polls until it is time to stop. Nothing that a turn may raise ends it."""
        begin = time.monotonic()
        while not self._stopping.is_set():
            self._metrics.lag.set(max(0.0, time.monotonic() - begin))
            pause = await self._survive()
            # A turn that took longer than its interval makes the next ones fall out, rather than follow at once.
            begin = max(begin + pause, begin + pause * ((time.monotonic() - begin) // pause + 1))
            await self._wait(begin - time.monotonic())

    async def turn(self) -> Turn:
        """Renews the lease and polls the cluster once.

        Raises:
            DomainError: STORE_UNAVAILABLE.
        """
        interval = self._config.poll_seconds
        lease = max(LEASE_INTERVALS * interval, SHORTEST_LEASE)
        leading = await self._acquire(lease)
        if leading != self._leading:
            self._log.info("polling the cluster" if leading else "another process polls the cluster")
            self._leading = leading
            self._poller.begin_anew()
        self._metrics.leading.set(leading)
        if not leading:
            self._metrics.polled("standby")
            return Turn(interval, leading=False)
        begun = time.monotonic()
        attempt = self._clock.now()
        try:
            polled = await self._poller.poll()
        except FlinkError as error:
            self._unreachable(error)
            await self._report(attempt, begun, None, error.reason)
            pause = self._backoff()
            await self._acquire(lease + pause)
            return Turn(pause, leading=True)
        if self._failures:
            self._log.info("the cluster answers again", failures=self._failures)
        self._failures = 0
        self._last_success = attempt
        self._metrics.success.set(attempt / MICROS_PER_SECOND)
        self._metrics.polled("ok")
        await self._report(attempt, begun, polled, polled.problem)
        return Turn(interval, leading=True)

    async def release(self) -> None:
        """Ends the lease, if the store can be reached within two seconds; otherwise it ends by itself."""
        try:
            async with asyncio.timeout(RELEASE_SECONDS):
                await self._store.collectors.release(self._config.tenant, self._config.name, self._owner)
        except (DomainError, TimeoutError) as error:
            self._log.warning("the lease is not released", problem=str(error))

    async def _survive(self) -> float:
        """Takes a turn; returns the seconds to the next one."""
        try:
            return (await self.turn()).pause
        except DomainError as error:
            self._metrics.failed(cause_of(error))
            self._log.warning("poll failed", problem=error.message)
        except Exception:
            self._metrics.failed("internal")
            self._log.exception("poll failed")
        self._metrics.polled("error")
        self._failures += 1
        return self._backoff()

    async def _acquire(self, seconds: float) -> bool:
        return await self._store.collectors.acquire(self._config.tenant, self._config.name, self._owner, seconds)

    def _unreachable(self, error: FlinkError) -> None:
        self._failures += 1
        self._metrics.polled("unreachable")
        self._metrics.failed(cause_of(error))
        self._poller.unknown_again()
        write = self._log.warning if self._failures == 1 else self._log.debug
        write("the cluster does not answer", problem=error.reason, failures=self._failures)

    def _backoff(self) -> float:
        """Returns a pause that grows with every failure, with jitter, so that many do not come back at one moment."""
        pause = self._config.poll_seconds * 2.0 ** min(self._failures - 1, 10)
        return min(pause, LONGEST_PAUSE) * random.uniform(0.75, 1.0)

    async def _report(self, attempt: int, begun: float, polled: Polled | None, problem: str) -> None:
        seconds = time.monotonic() - begun
        self._metrics.seconds.observe(seconds)
        status = ClusterStatus(
            cluster=self._config.name,
            reachable=polled is not None,
            last_success_time=attempt if polled is not None else None,
            last_attempt_time=attempt,
            problem=problem,
            version="" if polled is None else polled.version,
            last_poll_duration=round(seconds * MICROS_PER_SECOND),
            active_runs=0 if polled is None else polled.active_runs,
        )
        await self._store.collectors.report(self._config.tenant, status)

    async def _wait(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(max(0.0, seconds)):
                await self._stopping.wait()
        except TimeoutError:
            return
