"""The types of jobs."""

from __future__ import annotations

import builtins
from collections.abc import Collection, Mapping
from typing import Any

from sqlalchemy import Connection, Select, func, insert, select, update

from streamgauge_server.model.clock import Clock
from streamgauge_server.model.errors import DomainError, Reason
from streamgauge_server.model.jobs import JOB_TYPE_CHANGEABLE, JobType
from streamgauge_server.storage import tables
from streamgauge_server.storage.batches import batches
from streamgauge_server.storage.database import Database
from streamgauge_server.storage.etags import check_etag, etag_of
from streamgauge_server.storage.tenants import lock_tenant

_t = tables.job_types.c


class JobTypes:
    """Creates, reads and changes types of jobs. Another tenant's type does not exist. Types are never deleted."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def create(self, tenant: str, id: str, fields: Mapping[str, Any]) -> JobType:
        """Registers a type and returns it as stored; `fields` by their names in `JobType`, `type_name` among them.

        Raises:
            DomainError: JOB_TYPE_ALREADY_EXISTS when the id, or type name and version, are taken, STORE_UNAVAILABLE.
            ValueError: a field that cannot be told.
        """
        if unknown := fields.keys() - set(JOB_TYPE_CHANGEABLE):
            raise ValueError(f"cannot set {sorted(unknown)}")
        now = self._clock.now()
        job_type = JobType(id, 0, **fields)
        values = {name: getattr(job_type, name) for name in JOB_TYPE_CHANGEABLE}

        def work(connection: Connection) -> JobType:
            lock_tenant(connection, tenant)
            if _find(connection, tenant, id) is not None:
                raise _taken(id, "the id")
            _check_version(connection, tenant, id, job_type.type_name, job_type.version)
            stored = {"tenant": tenant, "name": id, "revision": 1, "create_time": now, "update_time": now}
            connection.execute(insert(tables.job_types).values({**values, **stored}))
            return _get(connection, tenant, id)

        return await self._database.write(work)

    async def get(self, tenant: str, id: str) -> JobType:
        """Returns a type.

        Raises:
            DomainError: JOB_TYPE_NOT_FOUND, STORE_UNAVAILABLE.
        """
        return await self._database.read(lambda connection: _get(connection, tenant, id))

    async def list(
        self,
        tenant: str,
        *,
        type_name: str = "",
        version: str = "",
        active_only: bool = False,
        after_id: str = "",
        limit: int,
    ) -> builtins.list[JobType]:
        """Returns up to `limit` types that follow `after_id` in the order of their ids (by bytes).

        Only those of the type name and the version, if they are given.

        Raises:
            DomainError: STORE_UNAVAILABLE.
        """
        query = _filtered(select(tables.job_types), tenant, type_name, version, active_only)
        query = query.where(_t.name > after_id).order_by(_t.name).limit(limit)
        return await self._database.read(lambda connection: [_job_type(row) for row in connection.execute(query)])

    async def by_number(
        self, tenant: str, *, type_name: str | None = None, version: str | None = None, after: int = 0, limit: int
    ) -> builtins.list[JobType]:
        """Returns up to `limit` types with numbers above `after`, by number.

        Only those of exactly this type name and version, if they are not None: an empty version is one.

        Raises:
            DomainError: STORE_UNAVAILABLE.
        """
        query = _of(select(tables.job_types), tenant, type_name, version)
        query = query.where(_t.id > after).order_by(_t.id).limit(limit)
        return await self._database.read(lambda connection: [_job_type(row) for row in connection.execute(query)])

    async def count_of(self, tenant: str, *, type_name: str | None = None, version: str | None = None) -> int:
        """Returns how many types `by_number` would return over all pages.

        Raises:
            DomainError: STORE_UNAVAILABLE.
        """
        query = _of(select(func.count()).select_from(tables.job_types), tenant, type_name, version)
        return await self._database.read(lambda connection: connection.execute(query).scalar_one())

    async def count(self, tenant: str, *, type_name: str = "", version: str = "", active_only: bool = False) -> int:
        """Returns how many types `list` would return over all pages.

        Raises:
            DomainError: STORE_UNAVAILABLE.
        """
        query = _filtered(select(func.count()), tenant, type_name, version, active_only)
        return await self._database.read(lambda connection: connection.execute(query).scalar_one())

    async def update(self, tenant: str, id: str, changes: Mapping[str, Any], *, etag: str = "") -> JobType:
        """Changes fields of a type, by their names in `JobType`, and returns it as stored.

        Raises:
            DomainError: JOB_TYPE_NOT_FOUND, ETAG_MISMATCH when an etag is given that is not the type's,
                JOB_TYPE_ALREADY_EXISTS when the new type name and version are taken, STORE_UNAVAILABLE.
            ValueError: a field that cannot be changed.
        """
        if unknown := changes.keys() - set(JOB_TYPE_CHANGEABLE):
            raise ValueError(f"cannot change {sorted(unknown)}")
        now = self._clock.now()

        def work(connection: Connection) -> JobType:
            lock_tenant(connection, tenant)
            current = _get(connection, tenant, id)
            check_etag(_resource(id), current.etag, etag)
            type_name, version = changes.get("type_name", current.type_name), changes.get("version", current.version)
            _check_version(connection, tenant, id, type_name, version)
            connection.execute(
                update(tables.job_types)
                .where(_t.id == current.number)
                .values({**changes, "revision": _t.revision + 1, "update_time": now})
            )
            return _get(connection, tenant, id)

        return await self._database.write(work)


def job_type_numbers(connection: Connection, tenant: str, ids: Collection[str]) -> dict[str, int]:
    """Returns the numbers of types by id. Raises DomainError JOB_TYPE_NOT_FOUND where there is none."""
    numbers: dict[str, int] = {}
    for batch in batches(ids):
        query = select(_t.name, _t.id).where(_t.tenant == tenant, _t.name.in_(batch))
        numbers.update((name, number) for name, number in connection.execute(query))
    for id_ in ids:
        if id_ not in numbers:
            raise _not_found(id_)
    return numbers


def job_type_number(connection: Connection, tenant: str, id: str) -> int | None:
    """Returns the number of a type, None for the id "". Raises DomainError JOB_TYPE_NOT_FOUND where there is none."""
    return job_type_numbers(connection, tenant, [id])[id] if id else None


def _filtered(query: Select[Any], tenant: str, type_name: str, version: str, active_only: bool) -> Select[Any]:
    query = query.select_from(tables.job_types).where(_t.tenant == tenant)
    if type_name:
        query = query.where(_t.type_name == type_name)
    if version:
        query = query.where(_t.version == version)
    return query.where(_t.is_active) if active_only else query


def _of(query: Select[Any], tenant: str, type_name: str | None, version: str | None) -> Select[Any]:
    query = query.where(_t.tenant == tenant)
    if type_name is not None:
        query = query.where(_t.type_name == type_name)
    return query if version is None else query.where(_t.version == version)


def _check_version(connection: Connection, tenant: str, id: str, type_name: str, version: str) -> None:
    taken = select(_t.name).where(_t.tenant == tenant, _t.type_name == type_name, _t.version == version, _t.name != id)
    if (other := connection.scalar(taken)) is not None:
        raise _taken(other, f"type name {type_name!r} in version {version!r}")


def _find(connection: Connection, tenant: str, id: str) -> JobType | None:
    query = select(tables.job_types).where(_t.tenant == tenant, _t.name == id)
    row = connection.execute(query).one_or_none()
    return None if row is None else _job_type(row)


def _get(connection: Connection, tenant: str, id: str) -> JobType:
    job_type = _find(connection, tenant, id)
    if job_type is None:
        raise _not_found(id)
    return job_type


def _job_type(row: tables.AnyRow) -> JobType:
    return JobType(
        id=row.name,
        number=row.id,
        **{name: getattr(row, name) for name in JOB_TYPE_CHANGEABLE},
        etag=etag_of(row.id, row.revision),
        create_time=row.create_time,
        update_time=row.update_time,
    )


def _resource(id: str) -> str:
    return f"jobTypes/{id}"


def _not_found(id: str) -> DomainError:
    name = _resource(id)
    return DomainError(Reason.JOB_TYPE_NOT_FOUND, f"there is no {name}", metadata={"name": name})


def _taken(id: str, what: str) -> DomainError:
    name = _resource(id)
    return DomainError(Reason.JOB_TYPE_ALREADY_EXISTS, f"{name} exists already: it has {what}", metadata={"name": name})
