"""The transaction through which everything goes that is learnt of runs."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, bindparam, delete, func, insert, or_, select, update

from streamgauge_server.model.jobs import JobRun, RunUpdate, run_of_status
from streamgauge_server.storage import tables
from streamgauge_server.storage.appending import append_within
from streamgauge_server.storage.batches import batches
from streamgauge_server.storage.database import Database
from streamgauge_server.storage.job_changes import Change, add_changes
from streamgauge_server.storage.job_exceptions import add_exceptions
from streamgauge_server.storage.job_run_rows import RUN_COLUMNS, read_run, run_values, status_values, vertex_rows
from streamgauge_server.storage.key_lists import select_by_keys
from streamgauge_server.storage.records import SubjectGone, SubjectWrite
from streamgauge_server.storage.run_entries import RunEntry
from streamgauge_server.storage.run_figures import RunFigures
from streamgauge_server.storage.run_updates import first_sight, is_change, merge, takes_figures
from streamgauge_server.storage.tenants import lock_tenant

MAX_RUNS = 1_000
"""How many runs of a job are kept: those that started last, and before them those that have not ended."""

_t = tables.job_runs.c


Entries = dict[tuple[int, str], RunEntry]
"""By number of the job and run id."""


def update_runs(
    database: Database,
    connection: Connection,
    tenant: str,
    updates: Sequence[RunUpdate],
    writes: Sequence[SubjectWrite],
) -> list[JobRun]:
    """See `JobRuns.apply`."""
    last_change = lock_tenant(connection, tenant).last_job_change
    types = _job_types(connection, tenant, {update.job for update in updates})
    figures = RunFigures(database, connection, tenant, types, updates)
    append_within(database, connection, writes)
    stored = find_runs(connection, {(told.job, told.run_id) for told in updates})
    entries, changes = database.compute(connection, lambda: _merge_all(stored, updates, figures))
    _number(connection, entries, figures)
    kept_entries = [entry for entry in entries.values() if entry.kept]
    figures.take_executions(kept_entries)
    _insert(connection, tenant, kept_entries, types)
    _add_exceptions(connection, kept_entries)
    _update(connection, kept_entries, types)
    figures.finish(kept_entries)
    kept = [change for change in changes if entries[change.job, change.after.run_id].kept]
    add_changes(connection, tenant, last_change, kept)
    _tell_jobs(connection, {entry.job for entry in entries.values() if entry.moved})
    return [entries[told.job, told.run_id].run for told in updates]


def _job_types(connection: Connection, tenant: str, jobs: set[int]) -> dict[int, int | None]:
    """Returns the numbers of the types of jobs. Raises SubjectGone where there is no such job."""
    t = tables.jobs.c
    found: dict[int, int | None] = {}
    for batch in batches(jobs):
        query = select(t.subject_id, t.job_type_id).where(t.tenant == tenant, t.subject_id.in_(batch))
        found.update((job, job_type) for job, job_type in connection.execute(query))
    if gone := jobs - found.keys():
        raise SubjectGone(gone)
    return found


def find_runs(connection: Connection, keys: Collection[tuple[int, str]]) -> dict[tuple[int, str], JobRun]:
    """Returns those of many runs that are known, by number of the job and run id; without vertices."""
    rows = select_by_keys(connection, (_t.subject_id, *RUN_COLUMNS), (_t.subject_id, _t.run_id), keys)
    return {(row.subject_id, row.run_id): read_run(row) for row in rows}


def _merge_all(
    stored: Mapping[tuple[int, str], JobRun], updates: Sequence[RunUpdate], figures: RunFigures
) -> tuple[Entries, list[Change]]:
    """Returns what becomes of the runs, and the changes in the order of the updates."""
    entries: Entries = {key: RunEntry(key[0], run, run, run) for key, run in stored.items()}
    changes: list[Change] = []
    for told in updates:
        key = (told.job, told.run_id)
        entry = entries.get(key)
        before = None if entry is None else entry.run
        error = figures.error_number(told.error)
        after = first_sight(told, error) if before is None else merge(before, told, error)
        if entry is None:
            entry = entries[key] = RunEntry(told.job, None, None, after)
        if told.vertices is not None and takes_figures(before or after, told):
            entry.vertices = told.vertices
        entry.run = after
        entry.exceptions.extend(told.exceptions)
        entry.executions.update((execution.execution_id, execution) for execution in told.executions)
        if is_change(before, after):
            changes.append(Change(told.job, before, after))
    return entries, changes


def _number(connection: Connection, entries: Entries, figures: RunFigures) -> None:
    """Gives new runs their ordinals, and lets the oldest runs of a job go where there are too many."""
    new: dict[int, list[RunEntry]] = {}
    for entry in entries.values():
        if entry.stored is None:
            new.setdefault(entry.job, []).append(entry)
    counts: dict[int, tuple[int, int]] = {}
    for jobs in batches(new):
        query = select(_t.subject_id, func.count(), func.max(_t.ordinal)).where(_t.subject_id.in_(jobs))
        for job, runs, ordinal in connection.execute(query.group_by(_t.subject_id)):
            counts[job] = (runs, ordinal)
    for job, of_job in new.items():
        runs, last = counts.get(job, (0, 0))
        for ordinal, entry in enumerate(of_job, last + 1):
            entry.run = replace(entry.run, ordinal=ordinal)
        if (excess := runs + len(of_job) - MAX_RUNS) > 0:
            _drop_oldest(connection, entries, job, of_job, excess, figures)


def _drop_oldest(
    connection: Connection, entries: Entries, job: int, new: Sequence[RunEntry], excess: int, figures: RunFigures
) -> None:
    stored = [read_run(row) for row in connection.execute(select(*RUN_COLUMNS).where(_t.subject_id == job))]
    runs = [entries[job, run.run_id].run if (job, run.run_id) in entries else run for run in stored]
    runs += [entry.run for entry in new]
    oldest = sorted(runs, key=lambda run: (run.active, run.start_time or run.queue_time or 0, run.ordinal))[:excess]
    for run in oldest:
        if entry := entries.get((job, run.run_id)):
            entry.kept = False
    gone = {run.number for run in oldest if run.number}
    figures.keep_gone(job, [run for run in stored if run.number in gone])
    for numbers in batches(gone):
        for table in (tables.job_exceptions, tables.job_stops, tables.job_executions):
            connection.execute(delete(table).where(table.c.subject_id == job, table.c.run.in_(numbers)))
        connection.execute(delete(tables.job_runs).where(_t.subject_id == job, _t.id.in_(numbers)))


def _insert(connection: Connection, tenant: str, entries: Iterable[RunEntry], types: Mapping[int, int | None]) -> None:
    new = {(entry.job, entry.run.ordinal): entry for entry in entries if entry.stored is None}
    if not new:
        return
    rows = [
        {
            "subject_id": entry.job,
            "ordinal": entry.run.ordinal,
            "tenant": tenant,
            "run_id": entry.run.run_id,
            "vertices": vertex_rows(entry.vertices or ()),
            **run_values(entry.run, types[entry.job]),
        }
        for entry in new.values()
    ]
    inserted = connection.execute(insert(tables.job_runs).returning(_t.subject_id, _t.ordinal, _t.id), rows)
    for job, ordinal, number in inserted:
        entry = new[job, ordinal]
        entry.stored = entry.run = replace(entry.run, number=number)
        entry.vertices = None


def _add_exceptions(connection: Connection, entries: Iterable[RunEntry]) -> None:
    told = {(entry.job, entry.run.number): entry for entry in entries if entry.exceptions}
    added = add_exceptions(connection, {key: entry.exceptions for key, entry in told.items()})
    for key, newest in added.items():
        run = told[key].run
        told[key].run = replace(run, error=newest.error, history_truncated=run.history_truncated or newest.dropped)


def _update(connection: Connection, entries: Iterable[RunEntry], types: Mapping[int, int | None]) -> None:
    """Writes the runs that are not as they are stored: those with new vertices, and the others."""
    plain: list[dict[str, Any]] = []
    with_vertices: list[dict[str, Any]] = []
    for entry in entries:
        if entry.run == entry.stored and entry.vertices is None:
            continue
        row = {"of_job": entry.job, "number": entry.run.number, **run_values(entry.run, types[entry.job])}
        if entry.vertices is None:
            plain.append(row)
        else:
            with_vertices.append({**row, "vertices": vertex_rows(entry.vertices)})
    statement = update(tables.job_runs).where(_t.subject_id == bindparam("of_job"), _t.id == bindparam("number"))
    for rows in (plain, with_vertices):
        if rows:
            connection.execute(statement, rows)


def _tell_jobs(connection: Connection, jobs: Collection[int]) -> None:
    """Makes jobs tell of the run that their status tells of by now.

    That is one that still goes on, the run of before, or one that did not start before it: no others are read.
    """
    j = tables.jobs
    rows: list[dict[str, Any]] = []
    for batch in batches(jobs):
        query = (
            select(_t.subject_id, *RUN_COLUMNS)
            .join(j, j.c.subject_id == _t.subject_id)
            .where(
                _t.subject_id.in_(batch),
                or_(_t.followed_cluster.is_not(None), func.coalesce(_t.start_time, 0) + j.c.start_order >= 0),
            )
        )
        runs: dict[int, list[JobRun]] = {}
        for row in connection.execute(query):
            runs.setdefault(row.subject_id, []).append(read_run(row))
        for job, of_job in runs.items():
            run = run_of_status(of_job)
            if run is not None:
                rows.append({"of_job": job, **status_values(run)})
    if rows:
        connection.execute(update(j).where(j.c.subject_id == bindparam("of_job")), rows)
