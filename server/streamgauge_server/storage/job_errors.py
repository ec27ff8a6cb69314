"""The catalog of errors by which failures of jobs are counted."""

from __future__ import annotations

import builtins
from collections.abc import Collection, Mapping
from typing import Any

from sqlalchemy import Connection, Select, and_, func, insert, or_, select, update

from streamgauge_server.model.errors import DomainError, Reason
from streamgauge_server.model.job_errors import BUILT_IN_ERRORS, ErrorCategory, ErrorInfo
from streamgauge_server.storage import tables
from streamgauge_server.storage.batches import batches
from streamgauge_server.storage.database import Database
from streamgauge_server.storage.tenants import lock_tenant

CATALOG_VERSION = 1
"""Raised when built-in errors are added: each tenant then receives them at its next use."""

_t = tables.job_errors.c


class JobErrors:
    """Adds errors and reads them. Another tenant's error does not exist. Errors are never changed nor deleted.

    Every tenant has the built-in ones: they are stored for it when it first uses any method here.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._complete: set[str] = set()

    async def create(self, tenant: str, error: ErrorInfo) -> ErrorInfo:
        """Adds an error and returns it as stored; its number is given here.

        Raises:
            DomainError: JOB_ERROR_ALREADY_EXISTS, STORE_UNAVAILABLE.
        """

        def work(connection: Connection) -> ErrorInfo:
            add_built_in_errors(connection, tenant)
            if error.error in errors_by_name(connection, tenant, [error.error]):
                raise _taken(error.error)
            _insert(connection, tenant, [error])
            return errors_by_name(connection, tenant, [error.error])[error.error]

        return await self._database.write(work)

    async def get_many(self, tenant: str, names: Collection[str]) -> dict[str, ErrorInfo]:
        """Returns errors by name; those that do not exist are missing.

        Raises:
            DomainError: STORE_UNAVAILABLE.
        """
        await self._complete_catalog(tenant)
        return await self._database.read(lambda connection: errors_by_name(connection, tenant, names))

    async def list(
        self,
        tenant: str,
        *,
        category: ErrorCategory | None = None,
        built_in_only: bool = False,
        name: str | None = None,
        after: ErrorInfo | None = None,
        limit: int,
    ) -> builtins.list[ErrorInfo]:
        """Returns up to `limit` errors that follow `after`: built-in ones first, then by number.

        Only those of the category and the name, if they are given. Of `after` only `number` and `built_in` count.

        Raises:
            DomainError: STORE_UNAVAILABLE.
        """
        await self._complete_catalog(tenant)
        query = _filtered(select(tables.job_errors), tenant, category, built_in_only, name)
        if after is not None:
            same = and_(_t.built_in == after.built_in, _t.id > after.number)
            query = query.where(or_(same, ~_t.built_in) if after.built_in else same)
        query = query.order_by(_t.built_in.desc(), _t.id).limit(limit)
        return await self._database.read(lambda connection: [_error(row) for row in connection.execute(query)])

    async def count(
        self,
        tenant: str,
        *,
        category: ErrorCategory | None = None,
        built_in_only: bool = False,
        name: str | None = None,
    ) -> int:
        """Returns how many errors `list` would return over all pages.

        Raises:
            DomainError: STORE_UNAVAILABLE.
        """
        await self._complete_catalog(tenant)
        query = _filtered(select(func.count()).select_from(tables.job_errors), tenant, category, built_in_only, name)
        return await self._database.read(lambda connection: connection.execute(query).scalar_one())

    async def _complete_catalog(self, tenant: str) -> None:
        """Stores the built-in errors that the tenant lacks."""
        if tenant in self._complete:
            return
        t = tables.tenants
        version = await self._database.read(
            lambda connection: connection.scalar(select(t.c.error_catalog_version).where(t.c.tenant == tenant))
        )
        if version is None or version < CATALOG_VERSION:
            await self._database.write(lambda connection: add_built_in_errors(connection, tenant))
        self._complete.add(tenant)


def add_built_in_errors(connection: Connection, tenant: str) -> None:
    """Locks the tenant and stores the built-in errors that it lacks, within a transaction.

    One that the tenant has added itself under such a name becomes the built-in one, and keeps its number.
    """
    if lock_tenant(connection, tenant).error_catalog_version >= CATALOG_VERSION:
        return
    found = errors_by_name(connection, tenant, [error.error for error in BUILT_IN_ERRORS])
    for error in BUILT_IN_ERRORS:
        if error.error in found:
            own = update(tables.job_errors).where(_t.id == found[error.error].number)
            connection.execute(own.values(_values(error)))
    _insert(connection, tenant, [error for error in BUILT_IN_ERRORS if error.error not in found])
    t = tables.tenants
    connection.execute(update(t).where(t.c.tenant == tenant).values(error_catalog_version=CATALOG_VERSION))


def errors_by_name(connection: Connection, tenant: str, names: Collection[str]) -> dict[str, ErrorInfo]:
    """Returns errors by name; those that do not exist are missing."""
    found: dict[str, ErrorInfo] = {}
    for batch in batches(names):
        query = select(tables.job_errors).where(_t.tenant == tenant, _t.name.in_(batch))
        found.update((row.name, _error(row)) for row in connection.execute(query))
    return found


def errors_by_number(
    connection: Connection, tenant: str, numbers: Collection[int | None]
) -> Mapping[int | None, ErrorInfo]:
    """Returns errors by number; those that do not exist are missing. None, which stands for no error, never does."""
    found: dict[int | None, ErrorInfo] = {}
    for batch in batches(number for number in numbers if number is not None):
        query = select(tables.job_errors).where(_t.tenant == tenant, _t.id.in_(batch))
        found.update((row.id, _error(row)) for row in connection.execute(query))
    return found


def _filtered(
    query: Select[Any], tenant: str, category: ErrorCategory | None, built_in_only: bool, name: str | None
) -> Select[Any]:
    query = query.where(_t.tenant == tenant)
    if category is not None:
        query = query.where(_t.category == int(category))
    if name is not None:
        query = query.where(_t.name == name)
    return query.where(_t.built_in) if built_in_only else query


def _insert(connection: Connection, tenant: str, errors: Collection[ErrorInfo]) -> None:
    if errors:
        rows = [{"tenant": tenant, "name": error.error, **_values(error)} for error in errors]
        connection.execute(insert(tables.job_errors), rows)


def _values(error: ErrorInfo) -> Mapping[str, Any]:
    return {
        "category": int(error.category),
        "built_in": error.built_in,
        "should_be_retried": error.should_be_retried,
        "title": error.title,
        "job_type_name": error.job_type_name,
        "description": error.description,
    }


def _error(row: tables.AnyRow) -> ErrorInfo:
    return ErrorInfo(
        number=row.id,
        error=row.name,
        category=ErrorCategory(row.category),
        title=row.title,
        description=row.description,
        job_type_name=row.job_type_name,
        built_in=row.built_in,
        should_be_retried=row.should_be_retried,
    )


def _taken(name: str) -> DomainError:
    resource = f"jobErrors/{name}"
    return DomainError(Reason.JOB_ERROR_ALREADY_EXISTS, f"{resource} exists already", metadata={"name": resource})
