"""What happens to figures when a job gets another type, or is deleted."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from sqlalchemy import Connection, Delete, select, update

from streamgauge_server.model.jobs import JobRun
from streamgauge_server.storage import tables
from streamgauge_server.storage.batches import batches
from streamgauge_server.storage.database import Database
from streamgauge_server.storage.execution_rows import EXECUTION_COLUMNS, StoredExecution, read_execution
from streamgauge_server.storage.figure_updating import FigureChanges, update_figures
from streamgauge_server.storage.job_errors import errors_by_number
from streamgauge_server.storage.job_run_rows import RUN_COLUMNS, read_run
from streamgauge_server.timeseries.counting import Fact, execution_facts, run_facts

_runs = tables.job_runs.c
_executions = tables.job_executions.c


def facts_of_runs(
    connection: Connection, tenant: str, job: int, job_type: int | None, runs: Collection[JobRun]
) -> list[Fact]:
    """Returns what runs of a job count, with their executions, as runs of a type."""
    executions: list[StoredExecution] = []
    for numbers in batches([run.number for run in runs if run.executions]):
        query = select(*EXECUTION_COLUMNS).where(_executions.subject_id == job, _executions.run.in_(numbers))
        executions.extend(read_execution(row) for row in connection.execute(query))
    numbers_of_errors = {run.error_number for run in runs} | {stored.error for stored in executions}
    errors = errors_by_number(connection, tenant, numbers_of_errors)

    def facts() -> Iterator[Fact]:
        for run in runs:
            yield from run_facts(run, job_type, errors.get(run.error_number))
        for stored in executions:
            yield from execution_facts(stored.execution, job_type, errors.get(stored.error))

    return list(facts())


def move_job(database: Database, connection: Connection, tenant: str, job: int, job_type: int | None) -> None:
    """Makes the runs of a job count for the type that it has by now; the tenant is locked."""
    runs = connection.execute(select(*RUN_COLUMNS, _runs.job_type_id).where(_runs.subject_id == job)).all()
    if not runs or runs[0].job_type_id == job_type:
        return
    read = [read_run(row) for row in runs]
    changes = FigureChanges()
    changes.move(
        facts_of_runs(connection, tenant, job, runs[0].job_type_id, read),
        facts_of_runs(connection, tenant, job, job_type, read),
    )
    for table in (tables.job_runs, tables.job_executions):
        connection.execute(update(table).where(table.c.subject_id == job).values(job_type_id=job_type))
    update_figures(database, connection, tenant, changes)


def remove_job(database: Database, connection: Connection, tenant: str, job: int, statement: Delete) -> None:
    """Deletes a job by a statement, and what its runs count; the tenant is locked."""
    runs = connection.execute(select(*RUN_COLUMNS, _runs.job_type_id).where(_runs.subject_id == job)).all()
    changes = FigureChanges()
    if runs:
        facts = facts_of_runs(connection, tenant, job, runs[0].job_type_id, [read_run(row) for row in runs])
        changes.move(facts, ())
    connection.execute(statement)
    update_figures(database, connection, tenant, changes)
