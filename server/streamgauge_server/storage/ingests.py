"""Ingests of sources."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

from sqlalchemy import Connection, select

from streamgauge_server.model.ingests import Ingest
from streamgauge_server.storage import tables
from streamgauge_server.storage.batches import batches
from streamgauge_server.storage.database import Database
from streamgauge_server.storage.figure_records import read_ingest
from streamgauge_server.storage.figure_updating import FigureChanges, update_figures
from streamgauge_server.storage.key_lists import select_by_keys
from streamgauge_server.storage.records import SubjectGone
from streamgauge_server.storage.tenants import lock_tenant
from streamgauge_server.storage.upserts import upsert
from streamgauge_server.timeseries.counting import hour_of, ingest_facts

_t = tables.ingests.c
_s = tables.sources.c
_FIELDS = tuple(field.name for field in fields(Ingest) if field.name not in ("source", "status"))


@dataclass(frozen=True, slots=True)
class ReportedIngests:
    """How many ingests of a report were new, and how many replaced an earlier report with something else."""

    created: int
    changed: int


class Ingests:
    """Takes in ingests. `Sources.ingesting` tells which sources have any."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def report(self, tenant: str, ingests: Sequence[Ingest]) -> ReportedIngests:
        """Stores ingests in place of those of the same source and id: all of it or nothing.

        Of several of the same source and id the last one counts. What is stored already changes nothing.

        Raises:
            SubjectGone: a source does not exist.
            DomainError: STORE_UNAVAILABLE.
        """
        told = {(ingest.source, ingest.ingest_id): ingest for ingest in ingests}
        return await self._database.write(lambda connection: _report(self._database, connection, tenant, told))


def _report(
    database: Database, connection: Connection, tenant: str, told: Mapping[tuple[int, str], Ingest]
) -> ReportedIngests:
    lock_tenant(connection, tenant)
    _check_sources(connection, tenant, {source for source, _ in told})
    stored = {
        (row.subject_id, row.ingest_id): read_ingest(row)
        for row in select_by_keys(connection, tuple(_t), (_t.subject_id, _t.ingest_id), list(told))
    }
    changed = {key: ingest for key, ingest in told.items() if stored.get(key) != ingest}
    upsert(
        connection,
        tables.ingests,
        [
            {
                "subject_id": ingest.source,
                "status": int(ingest.status),
                "end_hour": hour_of(ingest.end_time),
                **{name: getattr(ingest, name) for name in _FIELDS},
            }
            for ingest in changed.values()
        ],
    )

    def moves() -> FigureChanges:
        changes = FigureChanges()
        for key, ingest in changed.items():
            before = stored.get(key)
            changes.move(() if before is None else ingest_facts(before), ingest_facts(ingest))
        return changes

    update_figures(database, connection, tenant, database.compute(connection, moves))
    created = len(changed.keys() - stored.keys())
    return ReportedIngests(created, len(changed) - created)


def _check_sources(connection: Connection, tenant: str, sources: set[int]) -> None:
    found: set[int] = set()
    for batch in batches(sources):
        found.update(connection.scalars(select(_s.subject_id).where(_s.tenant == tenant, _s.subject_id.in_(batch))))
    if gone := sources - found:
        raise SubjectGone(gone)
