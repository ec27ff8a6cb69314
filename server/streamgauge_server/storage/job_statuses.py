"""What is stored of jobs' statuses, read at once: runs with vertices, what else is active, when it was looked at."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from sqlalchemy import Connection, bindparam, or_, select

from streamgauge_server.model.jobs import Job, JobRun, status_order
from streamgauge_server.storage import tables
from streamgauge_server.storage.batches import batches
from streamgauge_server.storage.job_rows import WITHOUT_RUN, read_job
from streamgauge_server.storage.job_run_rows import RUN_COLUMNS, read_run, read_vertices

StatusKey = tuple[str, str]
"""Tenant and id of a job."""

_jobs = tables.jobs.c
_runs = tables.job_runs.c
_leases = tables.collector_leases.c

# Made once: every status is read by these.
_JOBS = WITHOUT_RUN.where(_jobs.tenant == bindparam("of_tenant"), _jobs.name.in_(bindparam("names", expanding=True)))
# All runs that are active are followed, though not the other way round.
_RUNS = (
    select(*RUN_COLUMNS, _runs.vertices, _runs.subject_id, (_runs.ordinal == _jobs.run_ordinal).label("is_of_status"))
    .join(tables.jobs, _jobs.subject_id == _runs.subject_id)
    .where(
        _runs.subject_id.in_(bindparam("jobs", expanding=True)),
        or_(_runs.ordinal == _jobs.run_ordinal, _runs.followed_cluster.is_not(None)),
    )
)
_POLLS = select(_leases.cluster, _leases.last_success_time).where(
    _leases.tenant == bindparam("of_tenant"), _leases.cluster.in_(bindparam("clusters", expanding=True))
)


@dataclass(frozen=True, slots=True)
class StoredStatus:
    """A job with its run, which has its vertices; the active runs, that of the status first; the cluster's last poll.

    `polled` is when a collector last got an overview of the cluster, in microseconds, None if it never did.
    """

    job: Job
    active: tuple[JobRun, ...]
    polled: int | None


def read_statuses(connection: Connection, keys: Collection[StatusKey]) -> dict[StatusKey, StoredStatus]:
    """Returns the statuses of those jobs that exist, with three statements for some hundred jobs of a tenant."""
    by_tenant: dict[str, list[str]] = {}
    for tenant, id_ in keys:
        by_tenant.setdefault(tenant, []).append(id_)
    found: dict[StatusKey, StoredStatus] = {}
    for tenant, ids in by_tenant.items():
        for batch in batches(ids):
            found.update(((tenant, status.job.id), status) for status in _of_tenant(connection, tenant, batch))
    return found


def _of_tenant(connection: Connection, tenant: str, ids: list[str]) -> list[StoredStatus]:
    jobs = [read_job(row) for row in connection.execute(_JOBS, {"of_tenant": tenant, "names": ids})]
    of_status: dict[int, JobRun] = {}
    active: dict[int, list[JobRun]] = {}
    for row in connection.execute(_RUNS, {"jobs": [job.number for job in jobs]}):
        run = read_run(row, vertices=read_vertices(row.vertices))
        if row.is_of_status:
            of_status[row.subject_id] = run
        if run.active:
            active.setdefault(row.subject_id, []).append(run)
    clusters = {job.cluster for job in jobs} | {run.cluster for run in of_status.values()}
    polls = _polls(connection, tenant, clusters - {""})
    return [_status(job, of_status.get(job.number), active.get(job.number, []), polls) for job in jobs]


def _status(job: Job, run: JobRun | None, active: list[JobRun], polls: Mapping[str, int | None]) -> StoredStatus:
    active.sort(key=status_order, reverse=True)
    return StoredStatus(replace(job, run=run), tuple(active), polls.get(job.cluster if run is None else run.cluster))


def _polls(connection: Connection, tenant: str, clusters: Collection[str]) -> dict[str, int | None]:
    if not clusters:
        return {}
    rows = connection.execute(_POLLS, {"of_tenant": tenant, "clusters": sorted(clusters)})
    return {row.cluster: row.last_success_time for row in rows}
