"""Looks at a cluster for the sake of one job, shared by all who want to know at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import structlog

from streamgauge_server.flink.client import FlinkClient
from streamgauge_server.flink.errors import FlinkError, NotFound
from streamgauge_server.model.jobs import OUTCOMES, Job, JobRun, job_state
from streamgauge_server.services.job_observer import JobObserver
from streamgauge_server.storage.job_statuses import StoredStatus
from streamgauge_server.storage.store import Store

LOOK_SECONDS = 30.0
"""How long a look goes on when those who wanted it no longer wait. What it finds is stored all the same."""
LOOKS_AT_ONCE = 4
"""At one cluster: Flink's REST API has four threads by default."""
MOST_RUNS = 10
"""How many runs of the job are looked at; there is hardly ever a second one."""

_log = structlog.stdlib.get_logger("streamgauge.jobs")


@dataclass(frozen=True, slots=True)
class Seen:
    """What a look at a cluster came to. `observed`: a run of the job was seen, and the store knows of it.

    `problem` is why the cluster could not tell, empty where it could. `unknown` are runs that the cluster does not
    know, although they have not ended as far as is known here.
    """

    observed: bool = False
    problem: str = ""
    unknown: Sequence[str] = ()


class JobLooks:
    """Looks at clusters; one instance serves all callers. `await close()` when nobody waits any more."""

    def __init__(self, store: Store, observer: JobObserver) -> None:
        self._store = store
        self._observer = observer
        self._under_way: dict[tuple[str, int], asyncio.Task[Seen]] = {}
        self._gates: dict[tuple[str, str], asyncio.Semaphore] = {}

    async def close(self) -> None:
        """Ends all looks."""
        tasks = list(self._under_way.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def at(self, client: FlinkClient, tenant: str, cluster: str, stored: StoredStatus, *, within: float) -> Seen:
        """Looks at a job on its cluster, or joins a look that is under way, and waits for it so many seconds.

        Raises:
            DomainError: STORE_UNAVAILABLE.
        """
        key = (tenant, stored.job.number)
        task = self._under_way.get(key)
        if task is None:
            look = self._look(client, tenant, cluster, stored)
            task = self._under_way[key] = asyncio.create_task(look, name=f"look at jobs/{stored.job.id}")
            task.add_done_callback(partial(self._ended, key))
        done, _ = await asyncio.wait([task], timeout=within)
        return task.result() if done else Seen(problem=f"it did not answer within {within:.3g} s")

    def _ended(self, key: tuple[str, int], task: asyncio.Task[Seen]) -> None:
        del self._under_way[key]
        # Whoever still waits is told; if nobody does, this is the only trace.
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.warning("a look at a job failed", tenant=key[0], job=key[1], error=str(error))

    async def _look(self, client: FlinkClient, tenant: str, cluster: str, stored: StoredStatus) -> Seen:
        gate = self._gates.setdefault((tenant, cluster), asyncio.Semaphore(LOOKS_AT_ONCE))
        try:
            async with asyncio.timeout(LOOK_SECONDS), gate:
                return await self._see(client, tenant, cluster, stored)
        except FlinkError as error:
            return Seen(problem=error.reason)
        except TimeoutError:
            return Seen(problem=f"it did not answer within {LOOK_SECONDS:g} s")

    async def _see(self, client: FlinkClient, tenant: str, cluster: str, stored: StoredStatus) -> Seen:
        unknown: list[str] = []
        observed = False
        for run in _wanted(stored):
            try:
                await self._observer.observe(client, tenant, cluster, stored.job, run.run_id, known=run)
                observed = True
            except NotFound:
                if not run.ended:
                    unknown.append(run.run_id)
        if not observed:
            # It has never been seen, or it has ended: it may have been submitted since.
            for run_id in await self._new_runs(client, tenant, cluster, stored.job):
                await self._observer.observe(client, tenant, cluster, stored.job, run_id, known=None)
                observed = True
        return Seen(observed, unknown=unknown)

    async def _new_runs(self, client: FlinkClient, tenant: str, cluster: str, job: Job) -> list[str]:
        """Returns ids of a job's runs on a cluster that the store does not know: active ones, or else the last one."""
        own_id = job.id.replace("-", "").lower()
        found = [one for one in await client.jobs() if one.jid == own_id or one.name == job.job_name]
        found.sort(key=lambda one: (one.start_ms or 0, one.jid), reverse=True)
        known = await self._store.job_runs.find(tenant, cluster, [one.jid for one in found])
        new = [one for one in found if one.jid not in known][:MOST_RUNS]
        active = [one.jid for one in new if job_state(one.state_text) not in OUTCOMES]
        return active or [one.jid for one in new[:1]]


def _wanted(stored: StoredStatus) -> Sequence[JobRun]:
    """Returns the runs that may have changed since they were stored."""
    if stored.active:
        return stored.active[:MOST_RUNS]
    run = stored.job.run
    return () if run is None or run.final_figures else (run,)
