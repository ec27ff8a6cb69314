"""What a transaction about runs means for executions, errors and figures."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from sqlalchemy import Connection

from streamgauge_server.model.errors import DomainError, Reason, Violation
from streamgauge_server.model.job_errors import ErrorInfo
from streamgauge_server.model.jobs import Execution, JobRun, RunUpdate
from streamgauge_server.storage.database import Database
from streamgauge_server.storage.execution_rows import (
    ExecutionKey,
    StoredExecution,
    find_executions,
    write_executions,
)
from streamgauge_server.storage.figure_updating import FigureChanges, keep_gone, update_figures
from streamgauge_server.storage.job_errors import add_built_in_errors, errors_by_name, errors_by_number
from streamgauge_server.storage.job_figures import facts_of_runs
from streamgauge_server.storage.run_entries import RunEntry
from streamgauge_server.timeseries.counting import Fact, execution_facts, run_facts


class RunFigures:
    """Executions, errors and figures of the runs that one transaction changes. The tenant is locked.

    `types` are the numbers of the jobs' types.
    """

    def __init__(
        self,
        database: Database,
        connection: Connection,
        tenant: str,
        types: Mapping[int, int | None],
        updates: Sequence[RunUpdate],
    ) -> None:
        self._database = database
        self._connection = connection
        self._tenant = tenant
        self._types = types
        self._named = self._errors_of(updates)
        self._before: dict[ExecutionKey, StoredExecution] = {}

    def error_number(self, name: str | None) -> int | None:
        """Returns the number of an error that an update names, None without a name."""
        return self._named[name].number if name else None

    def take_executions(self, entries: Iterable[RunEntry]) -> None:
        """Counts the executions that runs have, told ones included."""
        told = [entry for entry in entries if entry.executions]
        self._before = find_executions(
            self._connection,
            [(entry.job, entry.run.number, id_) for entry in told if entry.stored for id_ in entry.executions],
        )
        for entry in told:
            new = sum((entry.job, entry.run.number, id_) not in self._before for id_ in entry.executions)
            entry.run = replace(entry.run, executions=entry.run.executions + new)

    def finish(self, entries: Collection[RunEntry]) -> None:
        """Stores the executions, and moves the figures to what runs and executions are by now."""
        changed: dict[ExecutionKey, StoredExecution] = {}
        for entry in entries:
            for id_, execution in entry.executions.items():
                key = (entry.job, entry.run.number, id_)
                stored = self._as_stored(execution, self._types[entry.job])
                if stored != self._before.get(key):
                    changed[key] = stored
        write_executions(self._connection, changed)
        numbers = {run.error_number for entry in entries for run in (entry.before, entry.run) if run is not None}
        numbers.update(stored.error for known in (self._before, changed) for stored in known.values())
        errors = errors_by_number(self._connection, self._tenant, numbers)

        def moves() -> FigureChanges:
            changes = FigureChanges()
            for entry in entries:
                job_type, before = self._types[entry.job], entry.before
                error_before = None if before is None else errors.get(before.error_number)
                changes.move(
                    run_facts(before, job_type, error_before),
                    run_facts(entry.run, job_type, errors.get(entry.run.error_number)),
                )
            for key, stored in changed.items():
                known = self._before.get(key)
                changes.move(() if known is None else _facts(known, errors), _facts(stored, errors))
            return changes

        update_figures(self._database, self._connection, self._tenant, self._database.compute(self._connection, moves))

    def keep_gone(self, job: int, runs: Collection[JobRun]) -> None:
        """Keeps what runs of a job count that are about to be deleted because there are too many."""
        facts = facts_of_runs(self._connection, self._tenant, job, self._types[job], runs)
        keep_gone(self._connection, self._tenant, facts)

    def _errors_of(self, updates: Sequence[RunUpdate]) -> dict[str, ErrorInfo]:
        names = {name for told in updates for name in (told.error, *(each.error for each in told.executions)) if name}
        if not names:
            return {}
        add_built_in_errors(self._connection, self._tenant)
        found = errors_by_name(self._connection, self._tenant, names)
        if unknown := sorted(names - found.keys()):
            raise DomainError(
                Reason.INVALID_FIELD,
                f"there is no error {unknown[0]!r} in the catalog",
                violations=[Violation("error", f"names {name!r}, which is not in the catalog") for name in unknown],
            )
        return found

    def _as_stored(self, execution: Execution, job_type: int | None) -> StoredExecution:
        return StoredExecution(replace(execution, error=""), self.error_number(execution.error), job_type)


def _facts(stored: StoredExecution, errors: Mapping[int | None, ErrorInfo]) -> tuple[Fact, ...]:
    return execution_facts(stored.execution, stored.job_type, errors.get(stored.error))
