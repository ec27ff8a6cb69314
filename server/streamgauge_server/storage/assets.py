"""The catalog of data assets."""

from __future__ import annotations

import builtins
from collections.abc import Collection, Mapping
from typing import Any

from sqlalchemy import Connection, Select, func, select, tuple_

from streamgauge_server.model.clock import Clock
from streamgauge_server.model.entities import ASSET_CHANGEABLE, Asset
from streamgauge_server.model.errors import Reason
from streamgauge_server.model.limits import Limits
from streamgauge_server.model.names import SubjectName
from streamgauge_server.model.values import SubjectKind
from streamgauge_server.storage import tables
from streamgauge_server.storage.batches import batches
from streamgauge_server.storage.catalogs import Catalog
from streamgauge_server.storage.database import Database
from streamgauge_server.storage.etags import etag_of
from streamgauge_server.storage.subjects import NewAsset, SubjectKey, register
from streamgauge_server.storage.tables import URN_HEAD_LENGTH
from streamgauge_server.storage.tenants import lock_tenant

__all__ = ["Assets", "NewAsset", "page_key"]

_LAST_CHARACTER = "\U0010ffff"


class Assets:
    """Creates, reads, changes and deletes assets. Another tenant's asset does not exist."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._catalog = Catalog(
            database,
            clock,
            tables.assets,
            SubjectKind.ASSET,
            _asset,
            not_found=Reason.ASSET_NOT_FOUND,
            already_exists=Reason.ASSET_ALREADY_EXISTS,
        )

    async def create(self, tenant: str, asset: NewAsset, *, limits: Limits) -> Asset:
        """Registers an asset and returns it as stored.

        Raises:
            DomainError: ASSET_ALREADY_EXISTS, SUBJECT_LIMIT, STORE_UNAVAILABLE.
        """
        now = self._clock.now()
        key = SubjectKey(SubjectName(SubjectKind.ASSET, asset.id), "")

        def work(connection: Connection) -> Asset:
            lock_tenant(connection, tenant)
            self._catalog.check_new(connection, tenant, asset.id)
            register(self._database, connection, tenant, [key], limits, now, {asset.id: asset})
            return self._catalog.get(connection, tenant, asset.id)

        return await self._database.write(work)

    async def get(self, tenant: str, id: str) -> Asset:
        """Returns an asset.

        Raises:
            DomainError: ASSET_NOT_FOUND, STORE_UNAVAILABLE.
        """
        return await self._database.read(lambda connection: self._catalog.get(connection, tenant, id))

    async def get_many(self, tenant: str, ids: Collection[str]) -> dict[str, Asset]:
        """Returns assets by id; those that do not exist are missing.

        Raises:
            DomainError: STORE_UNAVAILABLE.
        """
        t = tables.assets

        def work(connection: Connection) -> dict[str, Asset]:
            found: dict[str, Asset] = {}
            for batch in batches(ids):
                query = select(t).where(t.c.tenant == tenant, t.c.name.in_(batch))
                found.update((asset.id, asset) for asset in self._catalog.entries(connection, query))
            return found

        return await self._database.read(work)

    async def list(
        self,
        tenant: str,
        *,
        platform: str = "",
        urn_prefix: str = "",
        labels: Mapping[str, str] | None = None,
        after: tuple[str, str] | None = None,
        limit: int,
    ) -> builtins.list[Asset]:
        """Returns up to `limit` assets that follow the one with the `page_key` `after`.

        They come in the order of their URNs (by bytes); those that share the first 255 characters in the order of their
        ids. Only those of the platform, if one is given, whose URN begins with `urn_prefix` and that have all `labels`.

        Raises:
            DomainError: STORE_UNAVAILABLE.
        """
        t = tables.assets
        query = self._filtered(select(t), tenant, platform, urn_prefix, labels)
        if after is not None:
            query = query.where(tuple_(t.c.urn_head, t.c.name) > after)
        query = query.order_by(t.c.urn_head, t.c.name).limit(limit)
        return await self._database.read(lambda connection: self._catalog.entries(connection, query))

    async def count(
        self, tenant: str, *, platform: str = "", urn_prefix: str = "", labels: Mapping[str, str] | None = None
    ) -> int:
        """Returns how many assets `list` would return over all pages.

        Raises:
            DomainError: STORE_UNAVAILABLE.
        """
        query = self._filtered(select(func.count()), tenant, platform, urn_prefix, labels)
        return await self._database.read(lambda connection: connection.execute(query).scalar_one())

    async def update(self, tenant: str, id: str, changes: Mapping[str, Any], *, etag: str = "") -> Asset:
        """Changes `labels` and returns the asset as stored.

        Raises:
            DomainError: ASSET_NOT_FOUND, ETAG_MISMATCH when an etag is given that is not the asset's,
                STORE_UNAVAILABLE.
            ValueError: a field that cannot be changed.
        """
        if unknown := changes.keys() - ASSET_CHANGEABLE:
            raise ValueError(f"cannot change {sorted(unknown)}")
        return await self._catalog.update(tenant, id, changes, etag=etag)

    async def delete(self, tenant: str, id: str, *, etag: str = "") -> None:
        """Deletes an asset with its parts, blocks and latest values.

        Raises:
            DomainError: ASSET_NOT_FOUND, ETAG_MISMATCH as `update`, STORE_UNAVAILABLE.
        """
        await self._catalog.delete(tenant, id, etag=etag)

    def _filtered(
        self, query: Select[Any], tenant: str, platform: str, urn_prefix: str, labels: Mapping[str, str] | None
    ) -> Select[Any]:
        t = tables.assets
        query = self._catalog.filtered(query, tenant, labels)
        if platform:
            query = query.where(t.c.platform == platform)
        if urn_prefix:
            # Not LIKE, to which `%` and `_` are not characters like any other. The index finds what begins with the
            # head: all between it and the last string of a head's length that does.
            head = urn_prefix[:URN_HEAD_LENGTH]
            last = head.ljust(URN_HEAD_LENGTH, _LAST_CHARACTER)
            query = query.where(t.c.urn_head >= head, t.c.urn_head <= last)
            if len(urn_prefix) > URN_HEAD_LENGTH:
                query = query.where(func.substr(t.c.urn, 1, len(urn_prefix)) == urn_prefix)
        return query


def page_key(asset: Asset) -> tuple[str, str]:
    """Returns what assets are listed by: the first 255 characters of the URN, and the id."""
    return asset.urn[:URN_HEAD_LENGTH], asset.id


def _asset(row: tables.AnyRow) -> Asset:
    return Asset(
        id=row.name,
        urn=row.urn,
        platform=row.platform,
        labels=dict(sorted(row.labels.items())),
        etag=etag_of(row.subject_id, row.revision),
        create_time=row.create_time,
        update_time=row.update_time,
    )
