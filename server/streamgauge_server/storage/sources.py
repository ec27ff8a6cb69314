"""The catalog of streaming sources."""

from __future__ import annotations

import builtins
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, Select, delete, func, select, update

from streamgauge_server.model.clock import Clock
from streamgauge_server.model.entities import SOURCE_CHANGEABLE, Source
from streamgauge_server.model.errors import DomainError, Reason
from streamgauge_server.model.limits import Limits
from streamgauge_server.model.names import SubjectName
from streamgauge_server.model.values import SubjectKind
from streamgauge_server.storage import tables
from streamgauge_server.storage.database import Database
from streamgauge_server.storage.subjects import SubjectKey, register
from streamgauge_server.storage.tenants import lock_tenant

_COLUMNS = (
    tables.sources.c.name,
    tables.sources.c.subject_id,
    tables.sources.c.display_name,
    tables.sources.c.connector_class,
    tables.sources.c.labels,
    tables.sources.c.revision,
    tables.sources.c.create_time,
    tables.sources.c.update_time,
)


class Sources:
    """Creates, reads, changes and deletes sources. Another tenant's source does not exist."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def create(
        self,
        tenant: str,
        id: str,
        *,
        display_name: str = "",
        connector_class: str = "",
        labels: Mapping[str, str] | None = None,
        limits: Limits,
    ) -> Source:
        """Registers a source and returns it as stored.

        Raises:
            DomainError: SOURCE_ALREADY_EXISTS, SUBJECT_LIMIT, STORE_UNAVAILABLE.
        """
        now = self._clock.now()
        values = {"display_name": display_name, "connector_class": connector_class, "labels": dict(labels or {})}

        def work(connection: Connection) -> Source:
            lock_tenant(connection, tenant)
            if _find(connection, tenant, id) is not None:
                name = SubjectName(SubjectKind.SOURCE, id)
                raise DomainError(Reason.SOURCE_ALREADY_EXISTS, f"{name} exists already", metadata={"name": str(name)})
            register(connection, tenant, [SubjectKey(SubjectName(SubjectKind.SOURCE, id), "")], limits, now)
            t = tables.sources
            connection.execute(update(t).where(t.c.tenant == tenant, t.c.name == id).values(values))
            return _get(connection, tenant, id)

        return await self._database.write(work)

    async def get(self, tenant: str, id: str) -> Source:
        """Returns a source.

        Raises:
            DomainError: SOURCE_NOT_FOUND, STORE_UNAVAILABLE.
        """
        return await self._database.read(lambda connection: _get(connection, tenant, id))

    async def list(
        self,
        tenant: str,
        *,
        labels: Mapping[str, str] | None = None,
        connector_class: str = "",
        after_id: str = "",
        limit: int,
    ) -> builtins.list[Source]:
        """Returns up to `limit` sources that follow `after_id` in the order of their ids (by bytes).

        Only those that have all `labels`, and the connector class if one is given.

        Raises:
            DomainError: STORE_UNAVAILABLE.
        """
        t = tables.sources
        query = self._filtered(select(*_COLUMNS), tenant, labels, connector_class)
        query = query.where(t.c.name > after_id).order_by(t.c.name).limit(limit)
        return await self._database.read(lambda connection: [_source(row) for row in connection.execute(query)])

    async def count(self, tenant: str, *, labels: Mapping[str, str] | None = None, connector_class: str = "") -> int:
        """Returns how many sources `list` would return over all pages.

        Raises:
            DomainError: STORE_UNAVAILABLE.
        """
        query = self._filtered(select(func.count()), tenant, labels, connector_class)
        return await self._database.read(lambda connection: connection.execute(query).scalar_one())

    async def update(self, tenant: str, id: str, changes: Mapping[str, Any], *, etag: str = "") -> Source:
        """Changes `display_name`, `connector_class` or `labels` and returns the source as stored.

        Raises:
            DomainError: SOURCE_NOT_FOUND, ETAG_MISMATCH when an etag is given that is not the source's,
                STORE_UNAVAILABLE.
            ValueError: a field that cannot be changed.
        """
        if unknown := changes.keys() - SOURCE_CHANGEABLE:
            raise ValueError(f"cannot change {sorted(unknown)}")
        now = self._clock.now()

        def work(connection: Connection) -> Source:
            current = _get(connection, tenant, id, lock=True)
            _check_etag(current, etag)
            t = tables.sources
            connection.execute(
                update(t)
                .where(t.c.subject_id == current.number)
                .values({**changes, "revision": t.c.revision + 1, "update_time": now})
            )
            return _get(connection, tenant, id)

        return await self._database.write(work)

    async def delete(self, tenant: str, id: str, *, etag: str = "") -> None:
        """Deletes a source with its parts, blocks and latest values.

        Raises:
            DomainError: SOURCE_NOT_FOUND, ETAG_MISMATCH as `update`, STORE_UNAVAILABLE.
        """

        def work(connection: Connection) -> None:
            lock_tenant(connection, tenant)
            s = tables.subjects
            of_source = (s.c.tenant == tenant, s.c.kind == int(SubjectKind.SOURCE), s.c.name == id)
            # Writers lock `latest` before they touch anything else of a subject, so this does too.
            rows = tables.latest
            connection.execute(
                select(rows.c.subject_id)
                .where(rows.c.subject_id.in_(select(s.c.id).where(*of_source)))
                .order_by(rows.c.subject_id)
                .with_for_update()
            )
            _check_etag(_get(connection, tenant, id, lock=True), etag)
            connection.execute(delete(s).where(*of_source))
            n = tables.tenants
            connection.execute(update(n).where(n.c.tenant == tenant).values(subjects=n.c.subjects - 1))

        await self._database.write(work)

    def _filtered(
        self, query: Select[Any], tenant: str, labels: Mapping[str, str] | None, connector_class: str
    ) -> Select[Any]:
        t = tables.sources
        query = query.select_from(t).where(t.c.tenant == tenant)
        if connector_class:
            query = query.where(t.c.connector_class == connector_class)
        for key, value in (labels or {}).items():
            query = query.where(self._database.has_item(t.c.labels, key, value))
        return query


def _find(connection: Connection, tenant: str, id: str, *, lock: bool = False) -> Source | None:
    t = tables.sources
    query = select(*_COLUMNS).where(t.c.tenant == tenant, t.c.name == id)
    row = connection.execute(query.with_for_update() if lock else query).one_or_none()
    return None if row is None else _source(row)


def _get(connection: Connection, tenant: str, id: str, *, lock: bool = False) -> Source:
    source = _find(connection, tenant, id, lock=lock)
    if source is None:
        name = SubjectName(SubjectKind.SOURCE, id)
        raise DomainError(Reason.SOURCE_NOT_FOUND, f"there is no {name}", metadata={"name": str(name)})
    return source


def _source(row: tables.AnyRow) -> Source:
    return Source(
        id=row.name,
        number=row.subject_id,
        display_name=row.display_name,
        connector_class=row.connector_class,
        labels=dict(sorted(row.labels.items())),
        etag=f"{row.subject_id:x}-{row.revision:x}",
        create_time=row.create_time,
        update_time=row.update_time,
    )


def _check_etag(source: Source, etag: str) -> None:
    if etag and etag != source.etag:
        name = SubjectName(SubjectKind.SOURCE, source.id)
        raise DomainError(
            Reason.ETAG_MISMATCH,
            f"{name} has changed: its etag is {source.etag}, not {etag}",
            metadata={"name": str(name), "etag": source.etag},
        )
