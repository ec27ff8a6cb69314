"""The log of changes of runs: in each tenant one, numbered in the order of commits, without a gap."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import Connection, delete, func, insert, select, update

from streamgauge_server.model.jobs import JobRun, JobState, StateChange
from streamgauge_server.storage import tables
from streamgauge_server.storage.tenants import lock_tenant

_t = tables.job_changes.c


class Change(NamedTuple):
    """A change to be added to the log: of which job, and the run before and after it."""

    job: int
    before: JobRun | None
    after: JobRun


def add_changes(connection: Connection, tenant: str, last: int, changes: Sequence[Change]) -> None:
    """Adds changes to the log after its entry `last`. The caller has locked the tenant."""
    if not changes:
        return
    connection.execute(
        insert(tables.job_changes),
        [
            {
                "tenant": tenant,
                "seq": seq,
                "subject_id": job,
                "run_id": after.run_id,
                "previous": None if before is None else int(before.state),
                "state": int(after.state),
                "state_text": after.state_text,
                "lost": after.lost,
                "restarts": after.restarts,
                "observe_time": after.observe_time,
            }
            for seq, (job, before, after) in enumerate(changes, last + 1)
        ],
    )
    n = tables.tenants
    connection.execute(update(n).where(n.c.tenant == tenant).values(last_job_change=last + len(changes)))


def list_changes(connection: Connection, tenant: str, after_seq: int, limit: int) -> list[StateChange]:
    """Returns up to `limit` changes that follow the entry `after_seq`."""
    query = (
        select(tables.job_changes, tables.jobs.c.name)
        .join(tables.jobs, tables.jobs.c.subject_id == _t.subject_id)
        .where(_t.tenant == tenant, _t.seq > after_seq)
        .order_by(_t.seq)
        .limit(limit)
    )
    return [
        StateChange(
            seq=row.seq,
            job_id=row.name,
            run_id=row.run_id,
            previous=None if row.previous is None else JobState(row.previous),
            state=JobState(row.state),
            state_text=row.state_text,
            lost=row.lost,
            restarts=row.restarts,
            observe_time=row.observe_time,
        )
        for row in connection.execute(query)
    ]


def log_bounds(connection: Connection, tenant: str) -> tuple[int, int]:
    """Returns the numbers of the last entry that was pruned and of the last one, 0 where there is none."""
    n = tables.tenants.c
    row = connection.execute(select(n.pruned_job_change, n.last_job_change).where(n.tenant == tenant)).one_or_none()
    return (0, 0) if row is None else (row.pruned_job_change, row.last_job_change)


def tenants_with_changes(connection: Connection) -> list[str]:
    """Returns the tenants whose log is not empty."""
    n = tables.tenants.c
    return list(connection.scalars(select(n.tenant).where(n.last_job_change > n.pruned_job_change)))


def prune_changes(connection: Connection, tenant: str, before_time: int, limit: int) -> int:
    """Removes the beginning of a tenant's log: what was observed before a moment, at most `limit` entries."""
    last = lock_tenant(connection, tenant).last_job_change
    mine = (_t.tenant == tenant,)
    first_kept = connection.scalar(select(func.min(_t.seq)).where(*mine, _t.observe_time >= before_time))
    end = last if first_kept is None else first_kept - 1
    beyond = connection.scalar(select(_t.seq).where(*mine, _t.seq <= end).order_by(_t.seq).offset(limit).limit(1))
    if beyond is not None:
        end = beyond - 1
    removed = connection.execute(delete(tables.job_changes).where(*mine, _t.seq <= end)).rowcount
    if removed:
        n = tables.tenants
        connection.execute(update(n).where(n.c.tenant == tenant).values(pruned_job_change=end))
    return removed
