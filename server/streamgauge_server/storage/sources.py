"""The catalog of streaming sources."""

from __future__ import annotations

import builtins
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, Delete, Select, func, select, update

from streamgauge_server.model.clock import Clock
from streamgauge_server.model.entities import SOURCE_CHANGEABLE, Source
from streamgauge_server.model.errors import Reason
from streamgauge_server.model.limits import Limits
from streamgauge_server.model.metric_types import FigureType
from streamgauge_server.model.names import SubjectName
from streamgauge_server.model.values import SubjectKind
from streamgauge_server.storage import tables
from streamgauge_server.storage.catalogs import Catalog
from streamgauge_server.storage.database import Database
from streamgauge_server.storage.etags import etag_of
from streamgauge_server.storage.figure_updating import drop_choice
from streamgauge_server.storage.subjects import SubjectKey, register
from streamgauge_server.storage.tenants import lock_tenant


class Sources:
    """Creates, reads, changes and deletes sources. Another tenant's source does not exist."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._catalog = Catalog(
            database,
            clock,
            tables.sources,
            SubjectKind.SOURCE,
            _source,
            not_found=Reason.SOURCE_NOT_FOUND,
            already_exists=Reason.SOURCE_ALREADY_EXISTS,
        )

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
            self._catalog.check_new(connection, tenant, id)
            register(
                self._database, connection, tenant, [SubjectKey(SubjectName(SubjectKind.SOURCE, id), "")], limits, now
            )
            t = tables.sources
            connection.execute(update(t).where(t.c.tenant == tenant, t.c.name == id).values(values))
            return self._catalog.get(connection, tenant, id)

        return await self._database.write(work)

    async def get(self, tenant: str, id: str) -> Source:
        """Returns a source.

        Raises:
            DomainError: SOURCE_NOT_FOUND, STORE_UNAVAILABLE.
        """
        return await self._database.read(lambda connection: self._catalog.get(connection, tenant, id))

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
        query = self._filtered(select(t), tenant, labels, connector_class)
        query = query.where(t.c.name > after_id).order_by(t.c.name).limit(limit)
        return await self._database.read(lambda connection: self._catalog.entries(connection, query))

    async def count(self, tenant: str, *, labels: Mapping[str, str] | None = None, connector_class: str = "") -> int:
        """Returns how many sources `list` would return over all pages.

        Raises:
            DomainError: STORE_UNAVAILABLE.
        """
        query = self._filtered(select(func.count()), tenant, labels, connector_class)
        return await self._database.read(lambda connection: connection.execute(query).scalar_one())

    async def ingesting(
        self, tenant: str, *, id: str | None = None, after: int = 0, limit: int
    ) -> builtins.list[Source]:
        """Returns up to `limit` sources of which ingests were reported, with numbers above `after`, by number.

        Only the one with an id, if one is given.

        Raises:
            DomainError: STORE_UNAVAILABLE.
        """
        t = tables.sources
        query = _ingesting(select(t), tenant, id).where(t.c.subject_id > after).order_by(t.c.subject_id).limit(limit)
        return await self._database.read(lambda connection: self._catalog.entries(connection, query))

    async def count_ingesting(self, tenant: str, *, id: str | None = None) -> int:
        """Returns how many sources `ingesting` would return over all pages.

        Raises:
            DomainError: STORE_UNAVAILABLE.
        """
        query = _ingesting(select(func.count()).select_from(tables.sources), tenant, id)
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
        return await self._catalog.update(tenant, id, changes, etag=etag)

    async def delete(self, tenant: str, id: str, *, etag: str = "") -> None:
        """Deletes a source with its parts, blocks, latest values and ingests, which leave the figures.

        Raises:
            DomainError: SOURCE_NOT_FOUND, ETAG_MISMATCH as `update`, STORE_UNAVAILABLE.
        """

        def execute(connection: Connection, statement: Delete) -> None:
            number = self._catalog.get(connection, tenant, id).number
            connection.execute(statement)
            drop_choice(self._database, connection, tenant, FigureType.INGESTS, number)

        await self._catalog.delete(tenant, id, etag=etag, execute=execute)

    def _filtered(
        self, query: Select[Any], tenant: str, labels: Mapping[str, str] | None, connector_class: str
    ) -> Select[Any]:
        query = self._catalog.filtered(query, tenant, labels)
        return query.where(tables.sources.c.connector_class == connector_class) if connector_class else query


def _ingesting(query: Select[Any], tenant: str, id: str | None) -> Select[Any]:
    t, ingests = tables.sources, tables.ingests
    any_ingest = select(ingests.c.subject_id).where(ingests.c.subject_id == t.c.subject_id).exists()
    query = query.where(t.c.tenant == tenant, any_ingest)
    return query if id is None else query.where(t.c.name == id)


def _source(row: tables.AnyRow) -> Source:
    return Source(
        id=row.name,
        number=row.subject_id,
        display_name=row.display_name,
        connector_class=row.connector_class,
        labels=dict(sorted(row.labels.items())),
        etag=etag_of(row.subject_id, row.revision),
        create_time=row.create_time,
        update_time=row.update_time,
    )
