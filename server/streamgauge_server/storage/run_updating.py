"""The transaction through which everything goes that is learnt of runs."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import Connection, bindparam, delete, func, insert, or_, select, update

from streamgauge_server.model.jobs import JobRun, RunException, RunUpdate, Vertex, run_of_status, status_order
from streamgauge_server.storage import tables
from streamgauge_server.storage.appending import append_within
from streamgauge_server.storage.batches import batches
from streamgauge_server.storage.database import Database
from streamgauge_server.storage.job_changes import Change, add_changes
from streamgauge_server.storage.job_exceptions import add_exceptions
from streamgauge_server.storage.job_run_rows import RUN_COLUMNS, read_run, run_values, status_values, vertex_rows
from streamgauge_server.storage.key_lists import select_by_keys
from streamgauge_server.storage.records import SubjectGone, SubjectWrite
from streamgauge_server.storage.run_updates import first_sight, is_change, merge, takes_figures
from streamgauge_server.storage.tenants import lock_tenant

MAX_RUNS = 1_000
"""How many runs of a job are kept: those that started last, and before them those that have not ended."""

_t = tables.job_runs.c


@dataclass(slots=True, eq=False)
class _Entry:
    """A run that an update names: as it was before this transaction, as it is stored by now, and as it becomes.

    `before` and `stored` are None while it is not known. `kept` is false once it has to go.
    """

    job: int
    before: JobRun | None
    stored: JobRun | None
    run: JobRun
    vertices: Sequence[Vertex] | None = None
    exceptions: list[RunException] = field(default_factory=list)
    kept: bool = True

    @property
    def moved(self) -> bool:
        """Whether the status of the job may have to tell of another run, or of another state."""
        before = self.before
        return before is None or (status_order(before), before.state) != (status_order(self.run), self.run.state)


Entries = dict[tuple[int, str], _Entry]
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
    _check_jobs(connection, tenant, {update.job for update in updates})
    append_within(database, connection, writes)
    stored = find_runs(connection, {(told.job, told.run_id) for told in updates})
    entries, changes = database.compute(connection, lambda: _merge_all(stored, updates))
    _number(connection, entries)
    _insert(connection, tenant, entries.values())
    _add_exceptions(connection, entries.values())
    _update(connection, entries.values())
    kept = [change for change in changes if entries[change.job, change.after.run_id].kept]
    add_changes(connection, tenant, last_change, kept)
    _tell_jobs(connection, {entry.job for entry in entries.values() if entry.moved})
    return [entries[told.job, told.run_id].run for told in updates]


def _check_jobs(connection: Connection, tenant: str, jobs: set[int]) -> None:
    t = tables.jobs.c
    found: set[int] = set()
    for batch in batches(jobs):
        found.update(connection.scalars(select(t.subject_id).where(t.tenant == tenant, t.subject_id.in_(batch))))
    if gone := jobs - found:
        raise SubjectGone(gone)


def find_runs(connection: Connection, keys: Collection[tuple[int, str]]) -> dict[tuple[int, str], JobRun]:
    """Returns those of many runs that are known, by number of the job and run id; without vertices."""
    rows = select_by_keys(connection, (_t.subject_id, *RUN_COLUMNS), (_t.subject_id, _t.run_id), keys)
    return {(row.subject_id, row.run_id): read_run(row) for row in rows}


def _merge_all(stored: Mapping[tuple[int, str], JobRun], updates: Sequence[RunUpdate]) -> tuple[Entries, list[Change]]:
    """Returns what becomes of the runs, and the changes in the order of the updates."""
    entries: Entries = {key: _Entry(key[0], run, run, run) for key, run in stored.items()}
    changes: list[Change] = []
    for told in updates:
        key = (told.job, told.run_id)
        entry = entries.get(key)
        before = None if entry is None else entry.run
        after = first_sight(told) if before is None else merge(before, told)
        if entry is None:
            entry = entries[key] = _Entry(told.job, None, None, after)
        if told.vertices is not None and takes_figures(before or after, told):
            entry.vertices = told.vertices
        entry.run = after
        entry.exceptions.extend(told.exceptions)
        if is_change(before, after):
            changes.append(Change(told.job, before, after))
    return entries, changes


def _number(connection: Connection, entries: Entries) -> None:
    """Gives new runs their ordinals, and lets the oldest runs of a job go where there are too many."""
    new: dict[int, list[_Entry]] = {}
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
            _drop_oldest(connection, entries, job, of_job, excess)


def _drop_oldest(connection: Connection, entries: Entries, job: int, new: Sequence[_Entry], excess: int) -> None:
    stored = [read_run(row) for row in connection.execute(select(*RUN_COLUMNS).where(_t.subject_id == job))]
    runs = [entries[job, run.run_id].run if (job, run.run_id) in entries else run for run in stored]
    runs += [entry.run for entry in new]
    oldest = sorted(runs, key=lambda run: (run.active, run.start_time or run.queue_time or 0, run.ordinal))[:excess]
    for run in oldest:
        if entry := entries.get((job, run.run_id)):
            entry.kept = False
    for numbers in batches([run.number for run in oldest if run.number]):
        for table in (tables.job_exceptions, tables.job_stops):
            connection.execute(delete(table).where(table.c.subject_id == job, table.c.run.in_(numbers)))
        connection.execute(delete(tables.job_runs).where(_t.subject_id == job, _t.id.in_(numbers)))


def _insert(connection: Connection, tenant: str, entries: Iterable[_Entry]) -> None:
    new = {(entry.job, entry.run.ordinal): entry for entry in entries if entry.kept and entry.stored is None}
    if not new:
        return
    rows = [
        {
            "subject_id": entry.job,
            "ordinal": entry.run.ordinal,
            "tenant": tenant,
            "run_id": entry.run.run_id,
            "vertices": vertex_rows(entry.vertices or ()),
            **run_values(entry.run),
        }
        for entry in new.values()
    ]
    inserted = connection.execute(insert(tables.job_runs).returning(_t.subject_id, _t.ordinal, _t.id), rows)
    for job, ordinal, number in inserted:
        entry = new[job, ordinal]
        entry.stored = entry.run = replace(entry.run, number=number)
        entry.vertices = None


def _add_exceptions(connection: Connection, entries: Iterable[_Entry]) -> None:
    told = {(entry.job, entry.run.number): entry for entry in entries if entry.kept and entry.exceptions}
    added = add_exceptions(connection, {key: entry.exceptions for key, entry in told.items()})
    for key, newest in added.items():
        run = told[key].run
        told[key].run = replace(run, error=newest.error, history_truncated=run.history_truncated or newest.dropped)


def _update(connection: Connection, entries: Iterable[_Entry]) -> None:
    """Writes the runs that are not as they are stored: those with new vertices, and the others."""
    plain: list[dict[str, Any]] = []
    with_vertices: list[dict[str, Any]] = []
    for entry in entries:
        if not entry.kept or (entry.run == entry.stored and entry.vertices is None):
            continue
        row = {"of_job": entry.job, "number": entry.run.number, **run_values(entry.run)}
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
