"""The metric types that do not ship with the server, and their choices, which are subjects."""

from __future__ import annotations

import builtins
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import Connection, Select, delete, exists, func, insert, select, update

from streamgauge_server.model.clock import Clock
from streamgauge_server.model.errors import DomainError, Reason
from streamgauge_server.model.limits import Limits
from streamgauge_server.model.metric_types import (
    BUILT_IN,
    METRIC_TYPE_CHANGEABLE,
    Choice,
    Column,
    ColumnAggregate,
    Filter,
    Group,
    MetricTypeInfo,
)
from streamgauge_server.model.names import SubjectName
from streamgauge_server.model.values import SubjectKind
from streamgauge_server.storage import tables
from streamgauge_server.storage.batches import batches
from streamgauge_server.storage.database import Database
from streamgauge_server.storage.etags import check_etag, etag_of
from streamgauge_server.storage.latest_rebuilding import newest_of
from streamgauge_server.storage.subjects import SubjectKey, lock_subjects, register, remove_subjects
from streamgauge_server.storage.tenants import lock_tenant
from streamgauge_server.timeseries.envelope import BlockCorrupt
from streamgauge_server.timeseries.latest import decode_latest

_t = tables.metric_types.c
_c = tables.metric_type_choices.c
_BUILT_IN_NAMES = frozenset(info.name for info in BUILT_IN)
_COLUMN_FIELDS = ("name", "title", "description", "units", "group", "aggregate")


class MetricTypes:
    """Creates, reads, changes and deletes custom metric types and their choices. Another tenant's do not exist."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def create(self, tenant: str, info: MetricTypeInfo) -> MetricTypeInfo:
        """Stores a metric type and returns it as stored.

        Raises:
            DomainError: METRIC_TYPE_ALREADY_EXISTS, also for a name of a built-in one, STORE_UNAVAILABLE.
        """
        now = self._clock.now()

        def work(connection: Connection) -> MetricTypeInfo:
            lock_tenant(connection, tenant)
            if info.name in _BUILT_IN_NAMES or _find(connection, tenant, info.name) is not None:
                raise _taken(f"metricTypes/{info.name}")
            values = {name: _stored(getattr(info, name)) for name in METRIC_TYPE_CHANGEABLE}
            shared = {"tenant": tenant, "name": info.name, "revision": 1, "create_time": now, "update_time": now}
            connection.execute(insert(tables.metric_types).values({**values, **shared}))
            return _get(connection, tenant, info.name)

        return await self._database.write(work)

    async def get(self, tenant: str, name: str) -> MetricTypeInfo:
        """Returns a custom metric type.

        Raises:
            DomainError: METRIC_TYPE_NOT_FOUND, STORE_UNAVAILABLE.
        """
        return await self._database.read(lambda connection: _get(connection, tenant, name))

    async def list(self, tenant: str, *, after: str = "", limit: int) -> builtins.list[MetricTypeInfo]:
        """Returns up to `limit` custom metric types that follow the name `after`, by name (by bytes).

        Raises:
            DomainError: STORE_UNAVAILABLE.
        """
        query = select(tables.metric_types).where(_t.tenant == tenant, _t.name > after).order_by(_t.name).limit(limit)
        return await self._database.read(lambda connection: [_info(row) for row in connection.execute(query)])

    async def count(self, tenant: str) -> int:
        """Returns how many custom metric types there are.

        Raises:
            DomainError: STORE_UNAVAILABLE.
        """
        query = select(func.count()).select_from(tables.metric_types).where(_t.tenant == tenant)
        return await self._database.read(lambda connection: connection.execute(query).scalar_one())

    async def update(self, tenant: str, name: str, changes: Mapping[str, Any], *, etag: str = "") -> MetricTypeInfo:
        """Changes fields of a metric type, by their names in `MetricTypeInfo`, and returns it as stored.

        Raises:
            DomainError: METRIC_TYPE_NOT_FOUND, ETAG_MISMATCH when an etag is given that is not the type's,
                METRIC_TYPE_IN_USE when a column goes, or gets another aggregate, of which any choice has values,
                STORE_UNAVAILABLE.
            ValueError: a field that cannot be changed.
        """
        if unknown := changes.keys() - set(METRIC_TYPE_CHANGEABLE):
            raise ValueError(f"cannot change {sorted(unknown)}")
        now = self._clock.now()

        def work(connection: Connection) -> MetricTypeInfo:
            lock_tenant(connection, tenant)
            current = _get(connection, tenant, name)
            check_etag(f"metricTypes/{name}", current.etag, etag)
            columns = changes.get("columns", current.columns)
            aggregates = {column.name: column.aggregate for column in columns}
            lost = [column.name for column in current.columns if aggregates.get(column.name) != column.aggregate]
            if used := _with_values(self._database, connection, tenant, current, lost):
                raise _in_use(f"metricTypes/{name}", f"the column {used[0]!r} must stay as it is")
            values = {field: _stored(value) for field, value in changes.items()}
            connection.execute(
                update(tables.metric_types)
                .where(_t.id == current.number)
                .values({**values, "revision": _t.revision + 1, "update_time": now})
            )
            return _get(connection, tenant, name)

        return await self._database.write(work)

    async def delete(self, tenant: str, name: str, *, force: bool = False, etag: str = "") -> None:
        """Deletes a metric type with its choices and their values.

        Raises:
            DomainError: METRIC_TYPE_NOT_FOUND, ETAG_MISMATCH as `update`, METRIC_TYPE_IN_USE when any choice has values
                and `force` is not set, STORE_UNAVAILABLE.
        """

        def work(connection: Connection) -> None:
            lock_tenant(connection, tenant)
            current = _get(connection, tenant, name)
            check_etag(f"metricTypes/{name}", current.etag, etag)
            choices = connection.scalars(select(_c.subject_id).where(_c.metric_type_id == current.number)).all()
            _remove(connection, tenant, choices, f"metricTypes/{name}", force=force)
            connection.execute(delete(tables.metric_types).where(_t.id == current.number))

        await self._database.write(work)

    async def create_choice(self, tenant: str, choice: Choice, *, limits: Limits) -> Choice:
        """Stores a choice, with its subject, and returns it as stored. Its number is given here.

        Raises:
            DomainError: METRIC_TYPE_NOT_FOUND, METRIC_TYPE_ALREADY_EXISTS when the id is taken, SUBJECT_LIMIT,
                STORE_UNAVAILABLE.
        """
        now = self._clock.now()
        name = _choice_subject(choice.metric_type, choice.id)
        key = SubjectKey(name, "")

        def work(connection: Connection) -> Choice:
            lock_tenant(connection, tenant)
            metric_type = _get(connection, tenant, choice.metric_type)
            if _choices(connection, tenant, metric_type, [choice.id]):
                raise _taken(str(name))
            number = register(self._database, connection, tenant, [key], limits, now)[key]
            connection.execute(
                insert(tables.metric_type_choices).values(
                    subject_id=number,
                    metric_type_id=metric_type.number,
                    name=choice.id,
                    title=choice.title,
                    fields=dict(choice.fields),
                )
            )
            return _choices(connection, tenant, metric_type, [choice.id])[choice.id]

        return await self._database.write(work)

    async def choices(self, tenant: str, metric_type: str, ids: Collection[str]) -> dict[str, Choice]:
        """Returns choices of a metric type by id; those that do not exist are missing.

        Raises:
            DomainError: METRIC_TYPE_NOT_FOUND, STORE_UNAVAILABLE.
        """
        return await self._database.read(
            lambda connection: _choices(connection, tenant, _get(connection, tenant, metric_type), ids)
        )

    async def choices_by_number(self, tenant: str, metric_type: str) -> builtins.list[Choice]:
        """Returns all choices of a metric type, by number.

        Raises:
            DomainError: METRIC_TYPE_NOT_FOUND, STORE_UNAVAILABLE.
        """

        def work(connection: Connection) -> builtins.list[Choice]:
            found = _get(connection, tenant, metric_type)
            query = _choices_of(found).order_by(_c.subject_id)
            return [_choice(metric_type, row) for row in connection.execute(query)]

        return await self._database.read(work)

    async def delete_choice(self, tenant: str, metric_type: str, id: str, *, force: bool = False) -> None:
        """Deletes a choice with its values.

        Raises:
            DomainError: METRIC_TYPE_NOT_FOUND, also when there is no such choice, METRIC_TYPE_IN_USE when it has values
                and `force` is not set, STORE_UNAVAILABLE.
        """
        name = str(_choice_subject(metric_type, id))

        def work(connection: Connection) -> None:
            lock_tenant(connection, tenant)
            found = _choices(connection, tenant, _get(connection, tenant, metric_type), [id])
            if id not in found:
                raise _not_found(name)
            _remove(connection, tenant, [found[id].number], name, force=force)

        await self._database.write(work)


def _remove(connection: Connection, tenant: str, choices: Sequence[int], name: str, *, force: bool) -> None:
    """Deletes choices with their subjects; the tenant is locked."""
    for batch in batches(choices):
        s = tables.subjects.c
        names = connection.scalars(select(s.name).where(s.id.in_(batch))).all()
        lock_subjects(connection, tenant, SubjectKind.METRIC_TYPE_CHOICE, names)
        if not force and _has_values(connection, _c.subject_id.in_(batch)):
            raise _in_use(name, "it has values: force it")
        remove_subjects(connection, tenant, SubjectKind.METRIC_TYPE_CHOICE, names)


def _has_values(connection: Connection, condition: Any) -> bool:
    blocks = tables.blocks.c
    return bool(connection.scalar(select(exists().where(blocks.subject_id == _c.subject_id, condition))))


def _with_values(
    database: Database, connection: Connection, tenant: str, metric_type: MetricTypeInfo, columns: Sequence[str]
) -> builtins.list[str]:
    """Returns those of the columns of which any choice has values: it then has a newest one."""
    if not columns:
        return []
    m, latest = tables.metrics.c, tables.latest.c
    metrics: dict[int, str] = {}
    for batch in batches(columns):
        named = (m.tenant == tenant, m.kind == int(SubjectKind.METRIC_TYPE_CHOICE), m.name.in_(batch))
        metrics.update((id_, column) for id_, column in connection.execute(select(m.id, m.name).where(*named)))
    of_type = select(latest.subject_id, latest.samples).join(
        tables.metric_type_choices, _c.subject_id == latest.subject_id
    )
    found: set[str] = set()
    for subject_id, samples in connection.execute(of_type.where(_c.metric_type_id == metric_type.number)).all():
        try:
            newest = decode_latest(samples)
        except BlockCorrupt:
            newest = decode_latest(newest_of(database, connection, subject_id)[0])
        found.update(metrics[metric] for metric in newest.keys() & metrics.keys())
    return [column for column in columns if column in found]


def _find(connection: Connection, tenant: str, name: str) -> MetricTypeInfo | None:
    query = select(tables.metric_types).where(_t.tenant == tenant, _t.name == name)
    row = connection.execute(query).one_or_none()
    return None if row is None else _info(row)


def _get(connection: Connection, tenant: str, name: str) -> MetricTypeInfo:
    info = _find(connection, tenant, name)
    if info is None:
        raise _not_found(f"metricTypes/{name}")
    return info


def _choices_of(metric_type: MetricTypeInfo) -> Select[Any]:
    return select(tables.metric_type_choices).where(_c.metric_type_id == metric_type.number)


def _choices(
    connection: Connection, tenant: str, metric_type: MetricTypeInfo, ids: Collection[str]
) -> dict[str, Choice]:
    found: dict[str, Choice] = {}
    for batch in batches(ids):
        rows = connection.execute(_choices_of(metric_type).where(_c.name.in_(batch)))
        found.update((row.name, _choice(metric_type.name, row)) for row in rows)
    return found


def _choice(metric_type: str, row: tables.AnyRow) -> Choice:
    return Choice(metric_type, row.name, row.subject_id, row.title, row.fields)


def _info(row: tables.AnyRow) -> MetricTypeInfo:
    return MetricTypeInfo(
        row.name,
        row.title,
        row.description,
        tuple(Filter(**each) for each in row.filters),
        tuple(Group(**each) for each in row.groups),
        tuple(Column(**{**each, "aggregate": ColumnAggregate(each["aggregate"])}) for each in row.columns),
        number=row.id,
        etag=etag_of(row.id, row.revision),
        create_time=row.create_time,
        update_time=row.update_time,
    )


def _stored(value: Any) -> Any:
    """Returns a field of a metric type as its column holds it."""
    if isinstance(value, str):
        return value
    return [
        {name: getattr(each, name) for name in _COLUMN_FIELDS} if isinstance(each, Column) else asdict(each)
        for each in value
    ]


def _choice_subject(metric_type: str, id: str) -> SubjectName:
    return SubjectName(SubjectKind.METRIC_TYPE_CHOICE, f"{metric_type}/{id}")


def _not_found(name: str) -> DomainError:
    return DomainError(Reason.METRIC_TYPE_NOT_FOUND, f"there is no {name}", metadata={"name": name})


def _taken(name: str) -> DomainError:
    return DomainError(Reason.METRIC_TYPE_ALREADY_EXISTS, f"{name} exists already", metadata={"name": name})


def _in_use(name: str, why: str) -> DomainError:
    return DomainError(Reason.METRIC_TYPE_IN_USE, f"{name} has values: {why}", metadata={"name": name})
