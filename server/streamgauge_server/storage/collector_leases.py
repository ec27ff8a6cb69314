"""Which collector polls which cluster, and what it found."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, func, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite

from streamgauge_server.model.clock import MICROS_PER_SECOND, Clock
from streamgauge_server.model.jobs import ClusterStatus
from streamgauge_server.storage import tables
from streamgauge_server.storage.database import Database

_t = tables.collector_leases.c
_NEVER_POLLED = {
    "reachable": False,
    "last_success_time": None,
    "last_attempt_time": None,
    "problem": "",
    "version": "",
    "last_poll_duration": 0,
    "active_runs": 0,
}


class Collectors:
    """Leases of clusters, one collector each, and what the collectors tell of them."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def acquire(self, tenant: str, cluster: str, owner: str, seconds: float) -> bool:
        """Leases a cluster to an owner from now on for so many seconds; tells whether it could.

        It can if the owner has the lease already, which renews it, or if nobody has it any more.

        Raises:
            DomainError: STORE_UNAVAILABLE.
        """
        now = self._clock.now()
        lease = {"owner": owner, "expire_time": now + round(seconds * MICROS_PER_SECOND)}

        def work(connection: Connection) -> bool:
            is_free = or_(_t.owner == owner, _t.expire_time <= now)
            return _upsert(connection, tenant, cluster, {**_NEVER_POLLED, **lease}, lease, is_free)

        return await self._database.write(work)

    async def release(self, tenant: str, cluster: str, owner: str) -> None:
        """Ends an owner's lease. One that it does not have stays as it is.

        Raises:
            DomainError: STORE_UNAVAILABLE.
        """
        ended = (
            update(tables.collector_leases)
            .where(_t.tenant == tenant, _t.cluster == cluster, _t.owner == owner)
            .values(owner="", expire_time=0)
        )

        def work(connection: Connection) -> None:
            connection.execute(ended)

        await self._database.write(work)

    async def report(self, tenant: str, status: ClusterStatus) -> None:
        """Stores what a collector knows of its cluster. Times and a version that it does not know stay as they were.

        Raises:
            DomainError: STORE_UNAVAILABLE.
        """
        told: dict[str, Any] = {
            "reachable": status.reachable,
            "last_success_time": status.last_success_time,
            "last_attempt_time": status.last_attempt_time,
            "problem": status.problem,
            "version": status.version,
            "last_poll_duration": status.last_poll_duration,
            "active_runs": status.active_runs,
        }
        changed = told | {
            "last_success_time": func.coalesce(status.last_success_time, _t.last_success_time),
            "last_attempt_time": func.coalesce(status.last_attempt_time, _t.last_attempt_time),
            "version": status.version or _t.version,
        }

        def work(connection: Connection) -> None:
            _upsert(connection, tenant, status.cluster, {"owner": "", "expire_time": 0, **told}, changed, None)

        await self._database.write(work)

    async def statuses(self, tenant: str) -> list[ClusterStatus]:
        """Returns what is known of the clusters that a collector has polled, by name.

        Raises:
            DomainError: STORE_UNAVAILABLE.
        """
        query = (
            select(tables.collector_leases)
            .where(_t.tenant == tenant, _t.last_attempt_time.is_not(None))
            .order_by(_t.cluster)
        )
        return await self._database.read(lambda connection: [_status(row) for row in connection.execute(query)])


def _upsert(
    connection: Connection, tenant: str, cluster: str, new: dict[str, Any], changed: dict[str, Any], condition: Any
) -> bool:
    """Inserts the row of a cluster or, if the condition holds, changes it; tells whether it did either."""
    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    statement = dialect.insert(tables.collector_leases).values(tenant=tenant, cluster=cluster, **new)
    keys = ("tenant", "cluster")
    return (
        connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=changed, where=condition)).rowcount
        == 1
    )


def _status(row: tables.AnyRow) -> ClusterStatus:
    return ClusterStatus(
        cluster=row.cluster,
        reachable=row.reachable,
        last_success_time=row.last_success_time,
        last_attempt_time=row.last_attempt_time,
        problem=row.problem,
        version=row.version,
        last_poll_duration=row.last_poll_duration,
        active_runs=row.active_runs,
    )
