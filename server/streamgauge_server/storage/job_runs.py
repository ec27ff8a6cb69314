"""The runs of jobs, their exceptions, and the log of their changes."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sqlalchemy import Connection, select

from streamgauge_server.model.jobs import JobRun, RunException, RunUpdate, StateChange
from streamgauge_server.storage import tables
from streamgauge_server.storage.batches import batches
from streamgauge_server.storage.database import Database
from streamgauge_server.storage.job_changes import list_changes, log_bounds, prune_changes, tenants_with_changes
from streamgauge_server.storage.job_exceptions import MAX_EXCEPTIONS, list_exceptions
from streamgauge_server.storage.job_run_rows import RUN_COLUMNS, read_run, read_vertices
from streamgauge_server.storage.latest_rebuilding import LatestRebuilding
from streamgauge_server.storage.records import LatestDamaged, SubjectWrite
from streamgauge_server.storage.run_updating import MAX_RUNS, find_runs, update_runs

__all__ = ["MAX_EXCEPTIONS", "MAX_RUNS", "JobRuns"]

PRUNE_AT_ONCE = 10_000
"""Entries of a log of changes that one transaction removes."""

_t = tables.job_runs.c


class JobRuns:
    """Takes in what is learnt of runs, and reads it. Jobs and runs are named by their numbers."""

    def __init__(self, database: Database, rebuilding: LatestRebuilding) -> None:
        self._database = database
        self._rebuilding = rebuilding

    async def apply(
        self, tenant: str, updates: Sequence[RunUpdate], writes: Sequence[SubjectWrite] = ()
    ) -> list[JobRun]:
        """Stores what was learnt of runs of a tenant's jobs, with observations of any subjects: all of it or nothing.

        Of updates of one run later ones follow earlier ones; `run_updates.merge` says what an update makes of a run. A
        run that is not known yet gets the next ordinal of its job, and state OTHER when none is told. Exceptions are
        kept once by fingerprint; the newest one gives the run its line of error, the cause's if it has one. Each change
        of state or of being lost, and each rise of restarts, is an entry in the tenant's log of changes. The jobs tell
        of the runs that their statuses tell of. What is stored already changes nothing.

        A job keeps 1,000 runs: beyond that the oldest ones go, those that have ended first. A new run that would be the
        first to go is not stored and has number 0. A run keeps its 1,000 newest exceptions.

        The figures of job types and errors move with the runs and their executions (`timeseries/counting.py` says what
        counts where). Runs that go stay in them, also when their job later gets another type or is deleted; one that is
        not stored never gets into them.

        Returns one run per update, as it is after all of them, without vertices.

        Raises:
            SubjectGone: a job, or a subject of `writes`, does not exist.
            DomainError: INVALID_FIELD for an error that is not in the catalog, STORE_UNAVAILABLE.
        """
        if not updates and not writes:
            return []

        def work(connection: Connection) -> list[JobRun]:
            return update_runs(self._database, connection, tenant, updates, writes)

        try:
            return await self._database.write(work)
        except LatestDamaged as error:
            await self._rebuilding.rebuild(error.subject_ids)
        return await self._database.write(work)

    async def of_job(self, job: int, *, after_ordinal: int | None = None, limit: int) -> list[JobRun]:
        """Returns up to `limit` runs of a job without vertices, the newest first, that follow `after_ordinal`.

        Raises:
            DomainError: STORE_UNAVAILABLE.
        """
        query = select(*RUN_COLUMNS).where(_t.subject_id == job).order_by(_t.ordinal.desc()).limit(limit)
        if after_ordinal is not None:
            query = query.where(_t.ordinal < after_ordinal)
        return await self._database.read(lambda connection: [read_run(row) for row in connection.execute(query)])

    async def get(self, job: int, run_id: str) -> JobRun | None:
        """Returns a run of a job with its vertices, None where there is none.

        Raises:
            DomainError: STORE_UNAVAILABLE.
        """
        query = select(*RUN_COLUMNS, _t.vertices).where(_t.subject_id == job, _t.run_id == run_id)
        row = await self._database.read(lambda connection: connection.execute(query).one_or_none())
        return None if row is None else read_run(row, vertices=read_vertices(row.vertices))

    async def get_many(self, keys: Collection[tuple[int, str]]) -> dict[tuple[int, str], JobRun]:
        """Returns those of many runs that are known, by number of the job and run id; without vertices.

        Raises:
            DomainError: STORE_UNAVAILABLE.
        """
        return await self._database.read(lambda connection: find_runs(connection, keys)) if keys else {}

    async def active(self, tenant: str, cluster: str) -> list[tuple[int, JobRun]]:
        """Returns the runs on a cluster that a collector has to follow, with the numbers of their jobs.

        Those are the ones that have neither ended nor got lost, and those that have ended without their final figures;
        without vertices. The cluster "" has the runs whose runners report themselves.

        Raises:
            DomainError: STORE_UNAVAILABLE.
        """
        query = select(_t.subject_id, *RUN_COLUMNS).where(_t.tenant == tenant, _t.followed_cluster == cluster)
        return await self._database.read(
            lambda connection: [(row.subject_id, read_run(row)) for row in connection.execute(query.order_by(_t.id))]
        )

    async def find(self, tenant: str, cluster: str, run_ids: Collection[str]) -> dict[str, tuple[int, JobRun]]:
        """Returns those runs of a cluster that are known, with the numbers of their jobs, by run id; without vertices.

        Where several jobs have a run of one id, it is that of the job that was registered last.

        Raises:
            DomainError: STORE_UNAVAILABLE.
        """

        def work(connection: Connection) -> dict[str, tuple[int, JobRun]]:
            found: dict[str, tuple[int, JobRun]] = {}
            for batch in batches(run_ids):
                query = select(_t.subject_id, *RUN_COLUMNS).where(
                    _t.tenant == tenant, _t.run_id.in_(batch), _t.cluster == cluster
                )
                rows = connection.execute(query.order_by(_t.subject_id))
                found.update((row.run_id, (row.subject_id, read_run(row))) for row in rows)
            return found

        return await self._database.read(work)

    async def exceptions(self, run: int, *, after: tuple[int, str] | None = None, limit: int) -> list[RunException]:
        """Returns up to `limit` exceptions of a run, the newest first, that follow `after` (time and fingerprint).

        Raises:
            DomainError: STORE_UNAVAILABLE.
        """
        return await self._database.read(lambda connection: list_exceptions(connection, run, after, limit))

    async def changes(self, tenant: str, after_seq: int, limit: int) -> list[StateChange]:
        """Returns up to `limit` entries of the log of changes that follow the entry `after_seq`, in its order.

        Entries are numbered in the order of their commits: one that is committed later never has a lower number.
        Entries of deleted jobs are missing.

        Raises:
            DomainError: STORE_UNAVAILABLE.
        """
        return await self._database.read(lambda connection: list_changes(connection, tenant, after_seq, limit))

    async def last_seq(self, tenant: str) -> int:
        """Returns the number of the last entry in the log of changes, 0 if there never was one.

        Raises:
            DomainError: STORE_UNAVAILABLE.
        """
        _, last = await self._database.read(lambda connection: log_bounds(connection, tenant))
        return last

    async def oldest_seq(self, tenant: str) -> int:
        """Returns the number of the first entry that was not pruned, be it still to come.

        Whoever has read up to the entry before it, or further, has missed nothing.

        Raises:
            DomainError: STORE_UNAVAILABLE.
        """
        pruned, _ = await self._database.read(lambda connection: log_bounds(connection, tenant))
        return pruned + 1

    async def prune(self, before_time: int, *, limit: int = PRUNE_AT_ONCE) -> int:
        """Removes what was observed before a moment from the beginnings of all tenants' logs of changes.

        A transaction per tenant removes at most `limit` entries. Returns how many were removed; while there are any,
        there may be more.

        Raises:
            DomainError: STORE_UNAVAILABLE.
        """
        removed = 0
        for tenant in await self._database.read(tenants_with_changes):
            removed += await self._prune(tenant, before_time, limit)
        return removed

    async def _prune(self, tenant: str, before_time: int, limit: int) -> int:
        return await self._database.write(lambda connection: prune_changes(connection, tenant, before_time, limit))
