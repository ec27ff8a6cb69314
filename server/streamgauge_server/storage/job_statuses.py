"""What is stored of a job's status, read at once: its run with vertices, what else is active, when it was looked at."""

from __future__ import annotations

from dataclasses import dataclass, replace

from sqlalchemy import Connection, or_, select

from streamgauge_server.model.jobs import Job, JobRun, status_order
from streamgauge_server.storage import tables
from streamgauge_server.storage.job_run_rows import RUN_COLUMNS, read_run, read_vertices

_t = tables.job_runs.c
_leases = tables.collector_leases.c


@dataclass(frozen=True, slots=True)
class StoredStatus:
    """A job with its run, which has its vertices; the active runs, that of the status first; the cluster's last poll.

    `polled` is when a collector last got an overview of the cluster, in microseconds, None if it never did.
    """

    job: Job
    active: tuple[JobRun, ...]
    polled: int | None


def read_status(connection: Connection, tenant: str, job: Job) -> StoredStatus:
    """Returns what is stored of the status of a job, which has its run."""
    if job.run is None:
        return StoredStatus(job, (), _polled(connection, tenant, job.cluster))
    # All that are active are followed, though not the other way round.
    rows = connection.execute(
        select(*RUN_COLUMNS, _t.vertices).where(
            _t.subject_id == job.number, or_(_t.ordinal == job.run.ordinal, _t.followed_cluster.is_not(None))
        )
    )
    runs = [read_run(row, vertices=read_vertices(row.vertices)) for row in rows]
    active = sorted((run for run in runs if run.active), key=status_order, reverse=True)
    run = next((run for run in runs if run.ordinal == job.run.ordinal), job.run)
    return StoredStatus(replace(job, run=run), tuple(active), _polled(connection, tenant, run.cluster or job.cluster))


def _polled(connection: Connection, tenant: str, cluster: str) -> int | None:
    if not cluster:
        return None
    query = select(_leases.last_success_time).where(_leases.tenant == tenant, _leases.cluster == cluster)
    polled: int | None = connection.scalar(query)
    return polled
