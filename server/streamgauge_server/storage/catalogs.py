"""What the catalogs of subjects share: an entry per subject, found by tenant and id, with labels and an etag."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Generic, Protocol, TypeVar

from sqlalchemy import Connection, Delete, Select, Table, select, update

from streamgauge_server.model.clock import Clock
from streamgauge_server.model.errors import DomainError, Reason
from streamgauge_server.model.names import SubjectName
from streamgauge_server.model.values import SubjectKind
from streamgauge_server.storage import tables
from streamgauge_server.storage.database import Database
from streamgauge_server.storage.etags import check_etag
from streamgauge_server.storage.subjects import lock_subjects, remove_subjects
from streamgauge_server.storage.tenants import lock_tenant


class Entry(Protocol):
    """What every entry has."""

    @property
    def etag(self) -> str:
        """What changes with every update."""
        ...


E = TypeVar("E", bound=Entry)


class Catalog(Generic[E]):
    """The entries of one kind of subject in one table, whose columns `tenant` and `name` repeat those of the subject.

    `read` makes an entry of a row of `query`, by default of the table's. Another tenant's entry does not exist.
    """

    def __init__(
        self,
        database: Database,
        clock: Clock,
        table: Table,
        kind: SubjectKind,
        read: Callable[[tables.AnyRow], E],
        *,
        not_found: Reason,
        already_exists: Reason,
        query: Select[Any] | None = None,
    ) -> None:
        self._database = database
        self._clock = clock
        self._table = table
        self._kind = kind
        self._read = read
        self._not_found = not_found
        self._already_exists = already_exists
        self._query: Select[Any] = select(table) if query is None else query

    def find(self, connection: Connection, tenant: str, id: str, *, lock: bool = False) -> E | None:
        """Returns an entry, None where there is none; with `lock` nobody changes it until the transaction ends."""
        query = self._query.where(self._table.c.tenant == tenant, self._table.c.name == id)
        row = connection.execute(query.with_for_update(of=self._table) if lock else query).one_or_none()
        return None if row is None else self._read(row)

    def get(self, connection: Connection, tenant: str, id: str, *, lock: bool = False) -> E:
        """Returns an entry, as `find`. Raises DomainError, of the reason `not_found`, where there is none."""
        entry = self.find(connection, tenant, id, lock=lock)
        if entry is None:
            raise self.missing(id)
        return entry

    def missing(self, id: str) -> DomainError:
        """Returns the error of an entry that is not there."""
        name = self._resource(id)
        return DomainError(self._not_found, f"there is no {name}", metadata={"name": name})

    def check_new(self, connection: Connection, tenant: str, id: str) -> None:
        """Raises DomainError, of the reason `already_exists`, where there is an entry."""
        if self.find(connection, tenant, id) is not None:
            name = self._resource(id)
            raise DomainError(self._already_exists, f"{name} exists already", metadata={"name": name})

    def entries(self, connection: Connection, query: Select[Any]) -> list[E]:
        """Returns the entries of a query for whole rows."""
        return [self._read(row) for row in connection.execute(query)]

    def filtered(self, query: Select[Any], tenant: str, labels: Mapping[str, str] | None) -> Select[Any]:
        """Returns a query over the tenant's entries that have all labels."""
        query = query.select_from(self._table).where(self._table.c.tenant == tenant)
        for key, value in (labels or {}).items():
            query = query.where(self._database.has_item(self._table.c.labels, key, value))
        return query

    async def update(
        self,
        tenant: str,
        id: str,
        changes: Mapping[str, Any],
        *,
        etag: str,
        follow: Callable[[Connection], None] | None = None,
    ) -> E:
        """Changes columns of an entry and returns it as stored.

        With `follow`, what hangs on the entry changes in the same transaction, which has locked the tenant.

        Raises:
            DomainError: the reason `not_found`, ETAG_MISMATCH when an etag is given that is not the entry's,
                STORE_UNAVAILABLE.
        """
        now = self._clock.now()
        t = self._table

        def work(connection: Connection) -> E:
            if follow is not None:
                lock_tenant(connection, tenant)
            check_etag(self._resource(id), self.get(connection, tenant, id, lock=True).etag, etag)
            connection.execute(
                update(t)
                .where(t.c.tenant == tenant, t.c.name == id)
                .values({**changes, "revision": t.c.revision + 1, "update_time": now})
            )
            if follow is not None:
                follow(connection)
            return self.get(connection, tenant, id)

        return await self._database.write(work)

    async def delete(
        self,
        tenant: str,
        id: str,
        *,
        etag: str,
        execute: Callable[[Connection, Delete], object] = Connection.execute,
    ) -> None:
        """Deletes an entry and its subject with parts, blocks and latest values.

        `execute` runs the statement that it is given, and sees to what else has to change with it.

        Raises:
            DomainError: as `update`.
        """

        def work(connection: Connection) -> None:
            lock_tenant(connection, tenant)
            lock_subjects(connection, tenant, self._kind, [id])
            check_etag(self._resource(id), self.get(connection, tenant, id, lock=True).etag, etag)
            remove_subjects(connection, tenant, self._kind, [id], execute)

        await self._database.write(work)

    def _resource(self, id: str) -> str:
        return str(SubjectName(self._kind, id))
