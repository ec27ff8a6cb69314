"""Subjects and their parts: names to ids."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

from sqlalchemy import ColumnElement, Connection, Delete, delete, func, select, update

from streamgauge_server.model.clock import Clock
from streamgauge_server.model.errors import DomainError, Reason
from streamgauge_server.model.limits import Limits
from streamgauge_server.model.names import SubjectName
from streamgauge_server.model.values import SubjectKind
from streamgauge_server.storage import tables
from streamgauge_server.storage.database import Database, SubjectPartTuple
from streamgauge_server.storage.group_read import GroupRead
from streamgauge_server.storage.records import SubjectGone
from streamgauge_server.storage.tenants import lock_tenant
from streamgauge_server.timeseries.latest import encode_latest


class SubjectKey(NamedTuple):
    """A subject, or one part of it. The part is empty for the subject as a whole."""

    name: SubjectName
    part: str


@dataclass(frozen=True, slots=True)
class NewAsset:
    """An asset as it enters the catalog. `id` is derived from the URN, `platform` is empty where the URN names none."""

    id: str
    urn: str
    platform: str
    labels: Mapping[str, str] = field(default_factory=dict)


_s = tables.subjects.c

NO_ASSETS: Mapping[str, NewAsset] = MappingProxyType({})

_ENTRIES = {SubjectKind.SOURCE: tables.sources, SubjectKind.JOB: tables.jobs, SubjectKind.ASSET: tables.assets}
"""The catalogs of those kinds of subjects that have one."""


class Subjects:
    """Finds and registers subjects. Names and parts are compared by their bytes, so case matters."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._ids: GroupRead[SubjectPartTuple, int] = GroupRead(database.subject_ids)

    async def resolve(self, tenant: str, keys: Collection[SubjectKey]) -> dict[SubjectKey, int]:
        """Returns the ids of those subjects and parts that exist.

        Concurrent callers share statements.

        Raises:
            DomainError: STORE_UNAVAILABLE.
        """
        rows = {key: _row(tenant, key) for key in keys}
        found = await self._ids.get(rows.values())
        return {key: found[row] for key, row in rows.items() if row in found}

    async def parts(self, tenant: str, names: Sequence[SubjectName]) -> dict[SubjectName, dict[str, int]]:
        """Returns the ids of all parts of those subjects that exist; the subject as a whole has part "".

        Raises:
            DomainError: STORE_UNAVAILABLE.
        """
        found: dict[SubjectName, dict[str, int]] = {}
        if not names:
            return found
        rows = await self._database.subject_parts([(tenant, int(name.kind), name.id) for name in names])
        for kind, name, part, id_ in rows:
            found.setdefault(SubjectName(SubjectKind(kind), name), {})[part] = id_
        return found

    async def register(
        self,
        tenant: str,
        keys: Collection[SubjectKey],
        *,
        limits: Limits,
        assets: Mapping[str, NewAsset] = NO_ASSETS,
    ) -> dict[SubjectKey, int]:
        """Returns the ids of subjects and parts (and maybe more), creating what is missing: all of it or nothing.

        With a part comes its subject as a whole, and with a source, a job or an asset its entry in the catalog. An
        asset is created only if it is in `assets`, by its id; what the entry of one that exists says stays. Safe to
        call from several servers at once.

        Raises:
            SubjectGone: an asset does not exist and is not in `assets`.
            DomainError: SUBJECT_LIMIT, STORE_UNAVAILABLE.
        """
        found = await self.resolve(tenant, keys)
        missing = [key for key in keys if key not in found]
        if missing:
            now = self._clock.now()
            found |= await self._database.write(
                lambda connection: register(self._database, connection, tenant, missing, limits, now, assets)
            )
        return found


def register(
    database: Database,
    connection: Connection,
    tenant: str,
    keys: Iterable[SubjectKey],
    limits: Limits,
    now: int,
    assets: Mapping[str, NewAsset] = NO_ASSETS,
) -> dict[SubjectKey, int]:
    """Creates those of the subjects and parts that do not exist, within a transaction, and returns the ids of all."""
    wanted = dict.fromkeys(keys)
    wanted.update(dict.fromkeys(SubjectKey(key.name, "") for key in list(wanted)))
    counts = lock_tenant(connection, tenant)
    found = _find(database, connection, tenant, wanted)
    missing = [key for key in wanted if key not in found]
    if not missing:
        return found
    new_subjects = [key for key in missing if not key.part]
    if counts.subjects + len(new_subjects) > limits.max_subjects_per_tenant:
        limit = limits.max_subjects_per_tenant
        raise DomainError(
            Reason.SUBJECT_LIMIT,
            f"the tenant may have {limit} subjects and has {counts.subjects}",
            metadata={"limit": str(limit)},
        )
    _check_parts(connection, tenant, missing, limits.max_parts_per_subject)
    of_kind = {kind: [key for key in new_subjects if key.name.kind == kind] for kind in _ENTRIES}
    if any(key.name.id not in assets for key in of_kind[SubjectKind.ASSET]):
        raise SubjectGone(())
    database.insert_many(connection, tables.subjects, [_row(tenant, key) for key in missing])
    created = _find(database, connection, tenant, missing)
    empty = encode_latest({})
    database.insert_many(connection, tables.latest, [(id_, 0, empty) for id_ in created.values()])
    for kind, table in _ENTRIES.items():
        database.insert_many(
            connection,
            table,
            [(created[key], tenant, key.name.id, *_entry(key.name, assets, now)) for key in of_kind[kind]],
        )
    if new_subjects:
        connection.execute(
            update(tables.tenants)
            .where(tables.tenants.c.tenant == tenant)
            .values(subjects=tables.tenants.c.subjects + len(new_subjects))
        )
    return found | created


def _entry(name: SubjectName, assets: Mapping[str, NewAsset], now: int) -> tuple[object, ...]:
    """Returns the columns of a new subject's entry in its catalog from the one after `name` on."""
    if name.kind == SubjectKind.SOURCE:
        return "", "", "{}", 1, now, now
    if name.kind == SubjectKind.JOB:
        return name.id, "", None, None, None, False, 0, 1, now, now, "{}"
    asset = assets[name.id]
    labels = json.dumps(dict(asset.labels)) if asset.labels else "{}"
    return asset.urn[: tables.URN_HEAD_LENGTH], asset.platform, labels, 1, now, now, asset.urn


def lock_subjects(connection: Connection, tenant: str, kind: SubjectKind, names: Collection[str]) -> None:
    """Keeps writers off subjects and their parts until the end of the transaction, which has locked the tenant.

    Writers lock `latest` before they touch anything else of a subject, rising, so this does too.
    """
    latest = tables.latest.c
    rows = select(latest.subject_id).where(latest.subject_id.in_(select(_s.id).where(*_of(tenant, kind, names))))
    connection.execute(rows.order_by(latest.subject_id).with_for_update())


def remove_subjects(
    connection: Connection,
    tenant: str,
    kind: SubjectKind,
    names: Collection[str],
    execute: Callable[[Connection, Delete], object] = Connection.execute,
) -> None:
    """Deletes subjects, which exist and are locked, with their parts, blocks, latest values and catalog entries.

    `execute` runs the statement, and sees to what else has to change with it.
    """
    execute(connection, delete(tables.subjects).where(*_of(tenant, kind, names)))
    t = tables.tenants
    connection.execute(update(t).where(t.c.tenant == tenant).values(subjects=t.c.subjects - len(names)))


def _of(tenant: str, kind: SubjectKind, names: Collection[str]) -> tuple[ColumnElement[bool], ...]:
    return _s.tenant == tenant, _s.kind == int(kind), _s.name.in_(names)


def _find(database: Database, connection: Connection, tenant: str, keys: Iterable[SubjectKey]) -> dict[SubjectKey, int]:
    rows = {key: _row(tenant, key) for key in keys}
    found = database.subject_ids_within(connection, rows.values())
    return {key: found[row] for key, row in rows.items() if row in found}


def _row(tenant: str, key: SubjectKey) -> SubjectPartTuple:
    return tenant, int(key.name.kind), key.name.id, key.part


def _check_parts(connection: Connection, tenant: str, missing: Iterable[SubjectKey], limit: int) -> None:
    new_parts: dict[SubjectName, int] = {}
    for key in missing:
        if key.part:
            new_parts[key.name] = new_parts.get(key.name, 0) + 1
    t = tables.subjects
    for name, count in new_parts.items():
        has = connection.scalar(
            select(func.count()).where(
                t.c.tenant == tenant, t.c.kind == int(name.kind), t.c.name == name.id, t.c.part != ""
            )
        )
        if (has or 0) + count > limit:
            raise DomainError(
                Reason.SUBJECT_LIMIT, f"{name} may have {limit} parts and has {has}", metadata={"limit": str(limit)}
            )
