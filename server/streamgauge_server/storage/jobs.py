"""The catalog of jobs."""

from __future__ import annotations

import builtins
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Delete, Select, bindparam, func, select, tuple_, update

from streamgauge_server.model.clock import Clock
from streamgauge_server.model.errors import Reason
from streamgauge_server.model.jobs import JOB_CHANGEABLE, Job, JobState, NewJob
from streamgauge_server.model.limits import Limits
from streamgauge_server.model.names import SubjectName
from streamgauge_server.model.values import SubjectKind
from streamgauge_server.storage import tables
from streamgauge_server.storage.batches import batches
from streamgauge_server.storage.catalogs import Catalog
from streamgauge_server.storage.database import Database
from streamgauge_server.storage.group_read import GroupRead
from streamgauge_server.storage.job_figures import move_job, remove_job
from streamgauge_server.storage.job_rows import WITH_RUN, WITHOUT_RUN, read_job
from streamgauge_server.storage.job_statuses import StatusKey, StoredStatus, read_statuses
from streamgauge_server.storage.job_types import job_type_number, job_type_numbers
from streamgauge_server.storage.subjects import SubjectKey, register
from streamgauge_server.storage.tenants import lock_tenant

FOUND_AT_MOST = 100
"""How many jobs of one name `find` returns."""

_FLINK_ID = re.compile(r"[0-9a-f]{32}")
_t = tables.jobs.c
_runs = tables.job_runs.c


@dataclass(frozen=True, slots=True)
class JobFilter:
    """Which jobs are meant: those that pass everything that is set. `states` are of the run that the status tells of.

    `active_only`: that run has neither ended nor got lost. `job_type` is the id of a type.
    """

    active_only: bool = False
    states: Sequence[JobState] = ()
    cluster: str = ""
    job_type: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)


class Jobs:
    """Creates, finds, changes and deletes jobs. Another tenant's job does not exist."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._catalog = Catalog(
            database,
            clock,
            tables.jobs,
            SubjectKind.JOB,
            read_job,
            not_found=Reason.JOB_NOT_FOUND,
            already_exists=Reason.JOB_ALREADY_EXISTS,
            query=WITH_RUN,
        )
        self._statuses: GroupRead[StatusKey, StoredStatus] = GroupRead(self._fetch_statuses)

    async def create(self, tenant: str, job: NewJob, *, limits: Limits) -> Job:
        """Registers a job and returns it as stored. One that is stored with the same fields is returned as it is.

        Raises:
            DomainError: JOB_ALREADY_EXISTS when one of the id has other fields, JOB_TYPE_NOT_FOUND, SUBJECT_LIMIT,
                STORE_UNAVAILABLE.
        """
        now = self._clock.now()

        def work(connection: Connection) -> Job:
            lock_tenant(connection, tenant)
            known = self._catalog.find(connection, tenant, job.id)
            if known is None:
                self._register(connection, tenant, [job], limits, now)
            elif not _is_equal(known, job):
                self._catalog.check_new(connection, tenant, job.id)
            return self._catalog.get(connection, tenant, job.id)

        return await self._database.write(work)

    async def register(self, tenant: str, jobs: Sequence[NewJob], *, limits: Limits) -> dict[str, int]:
        """Returns the numbers of jobs by id, creating those that do not exist: all of it or nothing.

        Those that exist stay as they are.

        Raises:
            DomainError: JOB_TYPE_NOT_FOUND, SUBJECT_LIMIT, STORE_UNAVAILABLE.
        """
        wanted = {job.id: job for job in jobs}
        now = self._clock.now()

        def work(connection: Connection) -> dict[str, int]:
            lock_tenant(connection, tenant)
            found = _numbers(connection, tenant, wanted)
            new = [job for id_, job in wanted.items() if id_ not in found]
            return found | self._register(connection, tenant, new, limits, now)

        return await self._database.write(work)

    async def get(self, tenant: str, id: str) -> Job:
        """Returns a job with its run.

        Raises:
            DomainError: JOB_NOT_FOUND, STORE_UNAVAILABLE.
        """
        return await self._database.read(lambda connection: self._catalog.get(connection, tenant, id))

    async def find(self, tenant: str, text: str) -> builtins.list[Job]:
        """Returns the jobs that a text means, with their runs, those that started last first: at most 100.

        It is the id of a job, or else the Flink job id of a run (32 hexadecimal digits, with or without dashes), or
        else the `job_name` of jobs.

        Raises:
            DomainError: STORE_UNAVAILABLE.
        """
        return await self._database.read(lambda connection: self._find(connection, tenant, text))

    async def find_many(self, tenant: str, texts: Collection[str]) -> dict[str, builtins.list[Job]]:
        """Returns for each of many texts what `find` returns for it, all as of one moment.

        Raises:
            DomainError: STORE_UNAVAILABLE.
        """

        def work(connection: Connection) -> dict[str, builtins.list[Job]]:
            found: dict[str, builtins.list[Job]] = {}
            for batch in batches(texts):
                named = WITH_RUN.where(_t.tenant == tenant, _t.name.in_(batch))
                found.update((job.id, [job]) for job in self._catalog.entries(connection, named))
            return {text: found.get(text) or self._find(connection, tenant, text) for text in texts}

        return await self._database.read(work)

    def _find(self, connection: Connection, tenant: str, text: str) -> builtins.list[Job]:
        by_id = self._catalog.find(connection, tenant, text)
        if by_id is not None:
            return [by_id]
        digits = text.replace("-", "").lower()
        run_ids = {digits, text} if _FLINK_ID.fullmatch(digits) else set[str]()
        of_run = select(_runs.subject_id).where(_runs.tenant == tenant, _runs.run_id.in_(run_ids))
        if numbers := set(connection.scalars(of_run.limit(FOUND_AT_MOST))) if run_ids else None:
            jobs = self._catalog.entries(connection, WITH_RUN.where(_t.subject_id.in_(numbers)))
            return sorted(jobs, key=_start_order)
        named = WITH_RUN.where(_t.tenant == tenant, _t.job_name == text)
        named = named.order_by(_t.start_order, _t.name).limit(FOUND_AT_MOST)
        return self._catalog.entries(connection, named)

    async def status(self, tenant: str, id: str) -> StoredStatus:
        """Returns a job with all that its status needs, as of one moment.

        Raises:
            DomainError: JOB_NOT_FOUND, STORE_UNAVAILABLE.
        """
        status = (await self._statuses.get([(tenant, id)])).get((tenant, id))
        if status is None:
            raise self._catalog.missing(id)
        return status

    async def _fetch_statuses(self, keys: Collection[StatusKey]) -> dict[StatusKey, StoredStatus]:
        return await self._database.read(lambda connection: read_statuses(connection, keys))

    async def of_cluster(self, tenant: str, cluster: str) -> builtins.list[Job]:
        """Returns all jobs of a cluster by id, without their runs.

        Raises:
            DomainError: STORE_UNAVAILABLE.
        """
        query = WITHOUT_RUN.where(_t.tenant == tenant, _t.cluster == cluster)
        jobs = await self._database.read(lambda connection: self._catalog.entries(connection, query))
        return sorted(jobs, key=lambda job: job.id)

    async def list(
        self, tenant: str, filter: JobFilter, *, after: tuple[int, str] | None = None, limit: int
    ) -> builtins.list[Job]:
        """Returns up to `limit` jobs with their runs that follow the one with the `page_key` `after`.

        Those whose runs started last come first, then those without a start; by id (by bytes) among equals.

        Raises:
            DomainError: STORE_UNAVAILABLE.
        """
        query = self._filtered(WITH_RUN, tenant, filter)
        if after is not None:
            query = query.where(tuple_(_t.start_order, _t.name) > (-after[0], after[1]))
        query = query.order_by(_t.start_order, _t.name).limit(limit)
        return await self._database.read(lambda connection: self._catalog.entries(connection, query))

    async def state_counts(self, tenant: str, filter: JobFilter) -> dict[JobState | None, int]:
        """Returns how many jobs `list` would return over all pages, by the state of their runs; None is without a run.

        Raises:
            DomainError: STORE_UNAVAILABLE.
        """
        query = self._filtered(select(_t.run_state, func.count()), tenant, filter).group_by(_t.run_state)
        return await self._database.read(
            lambda connection: {
                None if state is None else JobState(state): count for state, count in connection.execute(query)
            }
        )

    async def update(self, tenant: str, id: str, changes: Mapping[str, Any], *, etag: str = "") -> Job:
        """Changes `job_name` (empty is the id), `job_type` or `labels` and returns the job as stored.

        With another type its runs count for that one, those of before too.

        Raises:
            DomainError: JOB_NOT_FOUND, JOB_TYPE_NOT_FOUND, ETAG_MISMATCH when an etag is given that is not the job's,
                STORE_UNAVAILABLE.
            ValueError: a field that cannot be changed.
        """
        if unknown := changes.keys() - JOB_CHANGEABLE:
            raise ValueError(f"cannot change {sorted(unknown)}")
        values = dict(changes)
        if "job_name" in values:
            values["job_name"] = values["job_name"] or id
        if "job_type" in values:
            # Types are never deleted, so what is found here is still there when it is stored.
            job_type = values.pop("job_type")
            values["job_type_id"] = await self._database.read(
                lambda connection: job_type_number(connection, tenant, job_type)
            )
        if "job_type_id" not in values:
            return await self._catalog.update(tenant, id, values, etag=etag)
        return await self._catalog.update(
            tenant,
            id,
            values,
            etag=etag,
            follow=lambda connection: move_job(
                self._database,
                connection,
                tenant,
                self._catalog.get(connection, tenant, id).number,
                values["job_type_id"],
            ),
        )

    async def delete(self, tenant: str, id: str, *, etag: str = "") -> None:
        """Deletes a job with its runs, their exceptions and changes, its parts, blocks and latest values.

        What its runs count is no longer in the figures, but for those that had been let go before (`JobRuns.apply`).

        Raises:
            DomainError: JOB_NOT_FOUND, ETAG_MISMATCH as `update`, STORE_UNAVAILABLE.
        """

        def execute(connection: Connection, statement: Delete) -> None:
            remove_job(self._database, connection, tenant, self._catalog.get(connection, tenant, id).number, statement)

        await self._catalog.delete(tenant, id, etag=etag, execute=execute)

    def _register(
        self, connection: Connection, tenant: str, new: Sequence[NewJob], limits: Limits, now: int
    ) -> dict[str, int]:
        if not new:
            return {}
        types = job_type_numbers(connection, tenant, {job.job_type for job in new if job.job_type})
        keys = {job.id: SubjectKey(SubjectName(SubjectKind.JOB, job.id), "") for job in new}
        numbers = register(self._database, connection, tenant, keys.values(), limits, now)
        connection.execute(
            update(tables.jobs).where(_t.subject_id == bindparam("of_subject")),
            [
                {
                    "of_subject": numbers[keys[job.id]],
                    "job_name": job.job_name or job.id,
                    "cluster": job.cluster,
                    "job_type_id": types[job.job_type] if job.job_type else None,
                    "labels": dict(job.labels),
                }
                for job in new
            ],
        )
        return {id_: numbers[key] for id_, key in keys.items()}

    def _filtered(self, query: Select[Any], tenant: str, filter: JobFilter) -> Select[Any]:
        query = self._catalog.filtered(query, tenant, filter.labels)
        if filter.active_only:
            query = query.where(_t.run_active)
        if filter.states:
            query = query.where(_t.run_state.in_([int(state) for state in filter.states]))
        if filter.cluster:
            query = query.where(_t.cluster == filter.cluster)
        if filter.job_type:
            types = tables.job_types.c
            of_type = select(types.id).where(types.tenant == tenant, types.name == filter.job_type)
            query = query.where(_t.job_type_id == of_type.scalar_subquery())
        return query


def page_key(job: Job) -> tuple[int, str]:
    """Returns what jobs are listed by: when the run started, 0 where it has not, and the id."""
    return (job.run.start_time or 0) if job.run else 0, job.id


def _start_order(job: Job) -> tuple[int, str]:
    start_time, id_ = page_key(job)
    return -start_time, id_


def _numbers(connection: Connection, tenant: str, ids: Mapping[str, NewJob]) -> dict[str, int]:
    found: dict[str, int] = {}
    for batch in batches(ids):
        query = select(_t.name, _t.subject_id).where(_t.tenant == tenant, _t.name.in_(batch))
        found.update((name, number) for name, number in connection.execute(query))
    return found


def _is_equal(known: Job, job: NewJob) -> bool:
    told = (job.job_name or job.id, job.cluster, job.job_type, dict(job.labels))
    return (known.job_name, known.cluster, known.job_type, known.labels) == told
