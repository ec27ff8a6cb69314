"""The descriptors of metrics: of each tenant, by kind of subject and name."""

from __future__ import annotations

import builtins
from collections.abc import Collection, Iterable, Mapping, Sequence
from enum import IntEnum
from typing import Any

from sqlalchemy import Connection, insert, select, tuple_, update

from streamgauge_server.model.clock import MICROS_PER_DAY, Clock
from streamgauge_server.model.entities import DESCRIPTOR_CHANGEABLE, MetricDescriptor
from streamgauge_server.model.errors import DomainError, Reason
from streamgauge_server.model.job_catalog import JOB_METRICS
from streamgauge_server.model.limits import Limits
from streamgauge_server.model.names import descriptor_name
from streamgauge_server.model.source_catalog import SOURCE_METRICS, BuiltIn
from streamgauge_server.model.values import (
    Aggregate,
    Direction,
    MetricKind,
    PartCombination,
    SubjectKind,
    ValueType,
    default_reading,
)
from streamgauge_server.storage import tables
from streamgauge_server.storage.batches import batches
from streamgauge_server.storage.database import Database
from streamgauge_server.storage.etags import check_etag, etag_of
from streamgauge_server.storage.tenants import TenantCounts, lock_tenant

CATALOG_VERSION = 2
"""Raised when built-in descriptors are added: each tenant then receives them at its next use."""

_BUILT_IN: Mapping[SubjectKind, Sequence[BuiltIn]] = {
    SubjectKind.SOURCE: SOURCE_METRICS,
    SubjectKind.JOB: JOB_METRICS,
}

_COLUMNS = (
    tables.metrics.c.id,
    tables.metrics.c.kind,
    tables.metrics.c.name,
    tables.metrics.c.display_name,
    tables.metrics.c.description,
    tables.metrics.c.unit,
    tables.metrics.c.metric_kind,
    tables.metrics.c.value_type,
    tables.metrics.c.window_aggregate,
    tables.metrics.c.summary_aggregate,
    tables.metrics.c.part_combination,
    tables.metrics.c.state_order,
    tables.metrics.c.no_value,
    tables.metrics.c.min_value,
    tables.metrics.c.max_value,
    tables.metrics.c.direction,
    tables.metrics.c.sample_days,
    tables.metrics.c.summary_days,
    tables.metrics.c.built_in,
    tables.metrics.c.revision,
    tables.metrics.c.create_time,
    tables.metrics.c.update_time,
)


class Metrics:
    """Finds, creates on first sight, lists and changes descriptors.

    Every tenant has the built-in ones: they are stored for it when it first uses any method here.
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._complete: set[str] = set()

    async def get_many(self, tenant: str, kind: SubjectKind, metrics: Collection[str]) -> dict[str, MetricDescriptor]:
        """Returns descriptors by name; names without one are missing.

        Raises:
            DomainError: STORE_UNAVAILABLE.
        """
        await self._complete_catalog(tenant)
        return await self._database.read(lambda connection: _by_name(connection, tenant, kind, metrics))

    async def by_ids(self, tenant: str, ids: Collection[int]) -> dict[int, MetricDescriptor]:
        """Returns descriptors by id; ids of other tenants are missing.

        Raises:
            DomainError: STORE_UNAVAILABLE.
        """
        t = tables.metrics

        def work(connection: Connection) -> dict[int, MetricDescriptor]:
            found: dict[int, MetricDescriptor] = {}
            for batch in batches(ids):
                rows = connection.execute(select(*_COLUMNS).where(t.c.tenant == tenant, t.c.id.in_(batch)))
                found.update((row.id, _descriptor(row)) for row in rows)
            return found

        return await self._database.read(work)

    async def ensure(
        self,
        tenant: str,
        kind: SubjectKind,
        metrics: Iterable[tuple[str, MetricKind, ValueType]],
        *,
        limits: Limits,
    ) -> dict[str, MetricDescriptor]:
        """Returns the descriptors of metrics, creating those that do not exist: all or, on an error, none.

        One that exists is returned as it is, whatever kind and type are asked for: of several first writers the first
        decides.

        Raises:
            DomainError: METRIC_LIMIT, STORE_UNAVAILABLE.
        """
        await self._complete_catalog(tenant)
        wanted = {metric: (metric_kind, value_type) for metric, metric_kind, value_type in metrics}
        now = self._clock.now()

        def work(connection: Connection) -> dict[str, MetricDescriptor]:
            counts = lock_tenant(connection, tenant)
            found = _by_name(connection, tenant, kind, wanted)
            new = [metric for metric in wanted if metric not in found]
            if not new:
                return found
            _insert_counted(
                connection, tenant, counts, [_first_sight(kind, metric, *wanted[metric]) for metric in new], now, limits
            )
            return found | _by_name(connection, tenant, kind, new)

        return await self._database.write(work)

    async def declare(self, tenant: str, descriptor: MetricDescriptor, *, limits: Limits) -> MetricDescriptor | None:
        """Creates a descriptor and returns it as stored, None where the metric has one already, which stays.

        Id, etag and times of the argument are not used.

        Raises:
            DomainError: METRIC_LIMIT, STORE_UNAVAILABLE.
        """
        await self._complete_catalog(tenant)
        now = self._clock.now()
        kind, metric = descriptor.kind_of_subject, descriptor.metric

        def work(connection: Connection) -> MetricDescriptor | None:
            counts = lock_tenant(connection, tenant)
            if _by_name(connection, tenant, kind, [metric]):
                return None
            _insert_counted(connection, tenant, counts, [descriptor], now, limits)
            return _get(connection, tenant, kind, metric)

        return await self._database.write(work)

    async def get(self, tenant: str, kind: SubjectKind, metric: str) -> MetricDescriptor:
        """Returns one descriptor.

        Raises:
            DomainError: METRIC_NOT_FOUND, STORE_UNAVAILABLE.
        """
        await self._complete_catalog(tenant)
        return await self._database.read(lambda connection: _get(connection, tenant, kind, metric))

    async def list(
        self,
        tenant: str,
        kinds: Collection[SubjectKind],
        *,
        after: tuple[SubjectKind, str] | None = None,
        limit: int,
    ) -> builtins.list[MetricDescriptor]:
        """Returns up to `limit` descriptors that follow `after`, by number of the subject kind and name (by bytes).

        Raises:
            DomainError: STORE_UNAVAILABLE.
        """
        await self._complete_catalog(tenant)
        t = tables.metrics
        query = select(*_COLUMNS).where(t.c.tenant == tenant, t.c.kind.in_([int(kind) for kind in kinds]))
        if after is not None:
            query = query.where(tuple_(t.c.kind, t.c.name) > (int(after[0]), after[1]))
        query = query.order_by(t.c.kind, t.c.name).limit(limit)
        return await self._database.read(lambda connection: [_descriptor(row) for row in connection.execute(query)])

    async def update(
        self, tenant: str, kind: SubjectKind, metric: str, changes: Mapping[str, Any], *, etag: str = ""
    ) -> MetricDescriptor:
        """Changes fields of a descriptor, by their names in `MetricDescriptor`, and returns it as stored.

        Raises:
            DomainError: METRIC_NOT_FOUND, ETAG_MISMATCH when an etag is given and is not the descriptor's,
                STORE_UNAVAILABLE.
            ValueError: a field that cannot be changed.
        """
        if unknown := changes.keys() - DESCRIPTOR_CHANGEABLE:
            raise ValueError(f"cannot change {sorted(unknown)}")
        await self._complete_catalog(tenant)
        now = self._clock.now()

        def work(connection: Connection) -> MetricDescriptor:
            t = tables.metrics
            current = _get(connection, tenant, kind, metric, lock=True)
            check_etag(descriptor_name(kind, metric), current.etag, etag)
            values = _values(changes)
            connection.execute(
                update(t).where(t.c.id == current.id).values(**values, revision=t.c.revision + 1, update_time=now)
            )
            return _get(connection, tenant, kind, metric)

        return await self._database.write(work)

    async def _complete_catalog(self, tenant: str) -> None:
        """Stores the built-in descriptors that the tenant lacks. They do not count towards its limit."""
        if tenant in self._complete:
            return
        t = tables.tenants
        version = await self._database.read(
            lambda connection: connection.scalar(select(t.c.catalog_version).where(t.c.tenant == tenant))
        )
        if version is None or version < CATALOG_VERSION:
            now = self._clock.now()
            await self._database.write(lambda connection: _add_built_in(connection, tenant, now))
        self._complete.add(tenant)


def _add_built_in(connection: Connection, tenant: str, now: int) -> None:
    if lock_tenant(connection, tenant).catalog_version >= CATALOG_VERSION:
        return
    new: list[MetricDescriptor] = []
    for kind, metrics in _BUILT_IN.items():
        found = _by_name(connection, tenant, kind, [metric.metric for metric in metrics])
        new.extend(_built_in(kind, metric) for metric in metrics if metric.metric not in found)
    if new:
        _insert(connection, tenant, new, now)
    t = tables.tenants
    connection.execute(update(t).where(t.c.tenant == tenant).values(catalog_version=CATALOG_VERSION))


def _built_in(kind_of_subject: SubjectKind, metric: BuiltIn) -> MetricDescriptor:
    return MetricDescriptor(
        0,
        kind_of_subject,
        metric.metric,
        metric.display_name,
        metric.description,
        metric.unit,
        metric.kind,
        metric.value_type,
        metric.window_aggregate,
        metric.summary_aggregate,
        metric.part_combination,
        state_order=metric.state_order,
        no_value=metric.no_value,
        built_in=True,
    )


def _first_sight(
    kind_of_subject: SubjectKind, metric: str, kind: MetricKind, value_type: ValueType
) -> MetricDescriptor:
    reading = default_reading(kind, value_type)
    return MetricDescriptor(0, kind_of_subject, metric, metric, "", "", kind, value_type, *reading)


def _insert_counted(
    connection: Connection,
    tenant: str,
    counts: TenantCounts,
    new: Sequence[MetricDescriptor],
    now: int,
    limits: Limits,
) -> None:
    """Inserts descriptors that count towards the tenant's limit, whose row is locked."""
    if counts.metrics + len(new) > limits.max_metrics_per_tenant:
        raise _metric_limit(limits.max_metrics_per_tenant, counts)
    _insert(connection, tenant, new, now)
    t = tables.tenants
    connection.execute(update(t).where(t.c.tenant == tenant).values(metrics=t.c.metrics + len(new)))


def _insert(connection: Connection, tenant: str, new: Sequence[MetricDescriptor], now: int) -> None:
    shared = {"tenant": tenant, "revision": 1, "create_time": now, "update_time": now}
    rows = [
        {
            "kind": int(descriptor.kind_of_subject),
            "name": descriptor.metric,
            "built_in": descriptor.built_in,
            **_values({field: getattr(descriptor, field) for field in DESCRIPTOR_CHANGEABLE}),
            **shared,
        }
        for descriptor in new
    ]
    connection.execute(insert(tables.metrics), rows)


def _by_name(
    connection: Connection, tenant: str, kind: SubjectKind, metrics: Iterable[str]
) -> dict[str, MetricDescriptor]:
    t = tables.metrics
    found: dict[str, MetricDescriptor] = {}
    for batch in batches(metrics):
        rows = connection.execute(
            select(*_COLUMNS).where(t.c.tenant == tenant, t.c.kind == int(kind), t.c.name.in_(batch))
        )
        found.update((row.name, _descriptor(row)) for row in rows)
    return found


def _get(
    connection: Connection, tenant: str, kind: SubjectKind, metric: str, *, lock: bool = False
) -> MetricDescriptor:
    t = tables.metrics
    query = select(*_COLUMNS).where(t.c.tenant == tenant, t.c.kind == int(kind), t.c.name == metric)
    row = connection.execute(query.with_for_update() if lock else query).one_or_none()
    if row is None:
        raise metric_not_found(kind, metric)
    return _descriptor(row)


def metric_not_found(kind: SubjectKind, metric: str) -> DomainError:
    """The error of a metric that was never written or declared."""
    name = descriptor_name(kind, metric)
    return DomainError(Reason.METRIC_NOT_FOUND, f"there is no {name}", metadata={"name": name})


def _descriptor(row: tables.AnyRow) -> MetricDescriptor:
    return MetricDescriptor(
        id=row.id,
        kind_of_subject=SubjectKind(row.kind),
        metric=row.name,
        display_name=row.display_name,
        description=row.description,
        unit=row.unit,
        kind=MetricKind(row.metric_kind),
        value_type=ValueType(row.value_type),
        window_aggregate=Aggregate(row.window_aggregate),
        summary_aggregate=Aggregate(row.summary_aggregate),
        part_combination=PartCombination(row.part_combination),
        state_order=tuple(row.state_order),
        no_value=row.no_value,
        min_value=row.min_value,
        max_value=row.max_value,
        direction=Direction(row.direction),
        sample_retention=None if row.sample_days is None else row.sample_days * MICROS_PER_DAY,
        summary_retention=None if row.summary_days is None else row.summary_days * MICROS_PER_DAY,
        built_in=row.built_in,
        etag=etag_of(row.id, row.revision),
        create_time=row.create_time,
        update_time=row.update_time,
    )


_COLUMN_OF = {"kind": "metric_kind", "sample_retention": "sample_days", "summary_retention": "summary_days"}
"""Columns that are not called as their fields."""
_IN_DAYS = frozenset({"sample_retention", "summary_retention"})


def _values(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Returns fields of a descriptor by column, as they are stored."""
    return {
        _COLUMN_OF.get(field, field): value // MICROS_PER_DAY if field in _IN_DAYS and value else _stored(value)
        for field, value in fields.items()
    }


def _stored(value: Any) -> Any:
    if isinstance(value, IntEnum):
        return int(value)
    return list(value) if isinstance(value, tuple) else value


def _metric_limit(limit: int, counts: TenantCounts) -> DomainError:
    return DomainError(
        Reason.METRIC_LIMIT,
        f"the tenant may have {limit} metrics and has {counts.metrics}",
        metadata={"limit": str(limit)},
    )
