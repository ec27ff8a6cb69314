"""The row of a tenant: how much it has, and the lock of everyone who creates or deletes."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, select
from sqlalchemy.dialects import postgresql, sqlite

from streamgauge_server.storage import tables


@dataclass(frozen=True, slots=True)
class TenantCounts:
    """Subjects (parts not counted) and descriptors of a tenant, and which built-in descriptors it has.

    `last_job_change` is the last entry in its log of changes of jobs, `error_catalog_version` tells which built-in
    errors it has.
    """

    subjects: int
    metrics: int
    catalog_version: int
    last_job_change: int
    error_catalog_version: int


def lock_tenant(connection: Connection, tenant: str) -> TenantCounts:
    """Locks the tenant's row until the end of the transaction, creating it on first sight.

    Taken first in its transaction: before the locks on `latest` rows, which come before those on anything else.
    """
    t = tables.tenants
    counts = select(t.c.subjects, t.c.metrics, t.c.catalog_version, t.c.last_job_change, t.c.error_catalog_version)
    query = counts.where(t.c.tenant == tenant).with_for_update()
    row = connection.execute(query).one_or_none()
    if row is None:
        dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
        new = dialect.insert(t).values(tenant=tenant, subjects=0, metrics=0, catalog_version=0)
        connection.execute(new.on_conflict_do_nothing())
        row = connection.execute(query).one()
    return TenantCounts(*row)
