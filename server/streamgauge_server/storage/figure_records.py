"""Figures as the records say them: of single hours, and of ranges."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any

import structlog
from sqlalchemy import ColumnElement, Connection, Table, select

from streamgauge_server.model.ingests import Ingest, IngestStatus
from streamgauge_server.model.metric_types import FigureType, Span
from streamgauge_server.storage import tables
from streamgauge_server.storage.execution_rows import EXECUTION_COLUMNS, read_execution
from streamgauge_server.storage.job_errors import errors_by_number
from streamgauge_server.storage.job_run_rows import RUN_COLUMNS, read_run
from streamgauge_server.storage.key_lists import select_by_keys
from streamgauge_server.timeseries.counting import Fact, execution_facts, ingest_facts, run_facts
from streamgauge_server.timeseries.envelope import BlockCorrupt
from streamgauge_server.timeseries.figures import Figures, decode_figures

HourKey = tuple[int, int]
"""Number of a choice, and an hour (since 1970)."""

Rows = Iterable[tables.AnyRow]
_Select = Callable[[Table, tuple[ColumnElement[Any], ...], str], Rows]
"""Selects columns of those rows of a table that count for choices, which a column names, and hours."""

_log = structlog.stdlib.get_logger("streamgauge.damage")

_f = tables.figures.c
_INGEST_COLUMNS = tuple(column for column in tables.ingests.c if column.name != "end_hour")


def figures_of_hours(
    connection: Connection, tenant: str, type: FigureType, keys: Collection[HourKey]
) -> dict[HourKey, Figures]:
    """Returns the figures of choices and hours, computed from the records; those without a record are missing.

    What records counted that were let go is left out where it is damaged.
    """

    def by_keys(table: Table, columns: tuple[ColumnElement[Any], ...], choice: str) -> Rows:
        return select_by_keys(connection, columns, (table.c[choice], table.c.end_hour), keys)

    wanted = set(keys)
    counted = _counted(type, (fact for fact in _facts(connection, tenant, type, by_keys)), wanted)
    gone = [(tenant, int(type), choice, int(Span.GONE), hour) for choice, hour in keys]
    rows = select_by_keys(
        connection, (_f.choice, _f.start, _f.data), (_f.tenant, _f.type, _f.choice, _f.span, _f.start), gone
    )
    _add_gone(tenant, type, counted, rows)
    return counted


def figures_of_range(
    connection: Connection, tenant: str, type: FigureType, first: int, last: int
) -> tuple[dict[HourKey, Figures], set[HourKey]]:
    """Returns the figures of all choices and the hours from `first` to `last`, computed from the records.

    And of which of them something is not known: what records counted that were let go is damaged.
    """
    choices = {
        FigureType.JOB_TYPES: select(tables.job_types.c.id).where(tables.job_types.c.tenant == tenant),
        FigureType.ERRORS: select(tables.job_errors.c.id).where(tables.job_errors.c.tenant == tenant),
        FigureType.INGESTS: select(tables.sources.c.subject_id).where(tables.sources.c.tenant == tenant),
    }[type]

    def by_range(table: Table, columns: tuple[ColumnElement[Any], ...], choice: str) -> Rows:
        hours = table.c.end_hour.between(first, last)
        return connection.execute(select(*columns).where(table.c[choice].in_(choices), hours))

    counted = _counted(type, _facts(connection, tenant, type, by_range), None)
    of_type = (_f.tenant == tenant, _f.type == int(type), _f.span == int(Span.GONE), _f.start.between(first, last))
    gone = connection.execute(select(_f.choice, _f.start, _f.data).where(*of_type))
    return counted, _add_gone(tenant, type, counted, gone)


def _counted(type: FigureType, facts: Iterable[Fact], wanted: set[HourKey] | None) -> dict[HourKey, Figures]:
    counted: dict[HourKey, Figures] = {}
    for fact in facts:
        key = (fact.choice, fact.hour)
        if fact.type == type and (wanted is None or key in wanted):
            figures = counted.get(key)
            if figures is None:
                figures = counted[key] = Figures(type)
            figures.add(fact.counts, fact.lengths)
    return counted


def _add_gone(tenant: str, type: FigureType, counted: dict[HourKey, Figures], gone: Rows) -> set[HourKey]:
    """Adds what records counted that were let go; returns where that cannot be read."""
    damaged: set[HourKey] = set()
    for row in gone:
        key = (row.choice, row.start)
        try:
            figures = decode_figures(type, bytes(row.data))
        except BlockCorrupt as error:
            damaged.add(key)
            _log.error(
                "damaged figures of records that were let go",
                tenant=tenant,
                type=type.name,
                choice=row.choice,
                hour=row.start,
                error=str(error),
            )
        else:
            counted.setdefault(key, Figures(type)).merge(figures)
    return damaged


def _facts(connection: Connection, tenant: str, type: FigureType, rows_of: _Select) -> Iterator[Fact]:
    """Yields what the selected records count, also what they count for another type."""
    if type == FigureType.INGESTS:
        for row in rows_of(tables.ingests, _INGEST_COLUMNS, "subject_id"):
            yield from ingest_facts(read_ingest(row))
        return
    choice = "job_type_id" if type == FigureType.JOB_TYPES else "error_id"
    r = tables.job_runs.c
    runs = [(read_run(row), row.job_type_id) for row in rows_of(tables.job_runs, (*RUN_COLUMNS, r.job_type_id), choice)]
    executions = [read_execution(row) for row in rows_of(tables.job_executions, EXECUTION_COLUMNS, choice)]
    numbers = {run.error_number for run, _ in runs} | {stored.error for stored in executions}
    errors = errors_by_number(connection, tenant, numbers)
    for run, job_type in runs:
        yield from run_facts(run, job_type, errors.get(run.error_number))
    for stored in executions:
        yield from execution_facts(stored.execution, stored.job_type, errors.get(stored.error))


def read_ingest(row: tables.AnyRow) -> Ingest:
    """Returns the ingest of a row."""
    return Ingest(
        row.subject_id,
        row.ingest_id,
        IngestStatus(row.status),
        row.end_time,
        row.file_size,
        row.transfer_start_time,
        row.transfer_end_time,
        row.ingest_start_time,
    )
