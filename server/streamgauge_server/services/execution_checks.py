"""Executions in reports of runs, as they come in, and what is wrong with them whatever is stored."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from streamgauge_server.model.errors import Violation
from streamgauge_server.model.jobs import Execution, ExecutionTask, JobOutcome, TaskKind
from streamgauge_server.model.limits import Limits
from streamgauge_server.services.run_ids import run_id_problem
from streamgauge_server.services.write_checks import time_problem

MAX_EXECUTIONS = 100
MAX_TASKS = 100


@dataclass(frozen=True, slots=True)
class ReportedTask:
    """A task as decoded at the edge. `kind` is the contract's number; times in microseconds, None where not told."""

    kind: int
    start_time: int | None
    end_time: int | None


@dataclass(frozen=True, slots=True)
class ReportedExecution:
    """An execution as decoded at the edge. `outcome` is the contract's number; times as in `ReportedTask`.

    `error` is the name of an error of the catalog, empty for none.
    """

    execution_id: str
    outcome: int
    queue_time: int | None
    start_time: int | None
    end_time: int | None
    tasks: Sequence[ReportedTask] = ()
    error: str = ""

    def execution(self) -> Execution:
        """Returns what is stored of an execution that nothing is wrong with.

        Raises ValueError otherwise.
        """
        if self.end_time is None:
            raise ValueError("an execution needs an end")
        tasks = tuple(ExecutionTask(TaskKind(task.kind), task.start_time, task.end_time) for task in self.tasks)
        return Execution(
            self.execution_id,
            JobOutcome(self.outcome),
            self.end_time,
            self.queue_time,
            self.start_time,
            tasks,
            self.error,
        )


def execution_problems(executions: Sequence[ReportedExecution], now: int, limits: Limits) -> list[Violation]:
    """Returns what is wrong with the executions of a report, with paths below it."""
    if len(executions) > MAX_EXECUTIONS:
        return [Violation("executions", f"must have at most {MAX_EXECUTIONS} entries, has {len(executions)}")]
    found: list[Violation] = []
    seen: set[str] = set()
    for position, execution in enumerate(executions):
        at = f"executions[{position}]"
        problem = run_id_problem(execution.execution_id)
        if problem is None and execution.execution_id in seen:
            problem = f"names {execution.execution_id!r} twice"
        seen.add(execution.execution_id)
        _check(found, f"{at}.execution_id", problem)
        _check(found, f"{at}.outcome", _member_problem(execution.outcome, JobOutcome))
        if execution.end_time is None:
            _check(found, f"{at}.end_time", "is required")
        _check_times(found, at, execution, ("queue_time", "start_time", "end_time"), now, limits)
        if len(execution.tasks) > MAX_TASKS:
            _check(found, f"{at}.tasks", f"must have at most {MAX_TASKS} entries, has {len(execution.tasks)}")
        for place, task in enumerate(execution.tasks[:MAX_TASKS]):
            _check(found, f"{at}.tasks[{place}].kind", _member_problem(task.kind, TaskKind))
            _check_times(found, f"{at}.tasks[{place}]", task, ("start_time", "end_time"), now, limits)
    return found


def error_problems(
    error: str | None, executions: Sequence[ReportedExecution], known: Collection[str]
) -> list[Violation]:
    """Returns which errors of a report are not in the catalog, with paths below it."""
    named = [("error", error or "")]
    named += [(f"executions[{position}].error", execution.error) for position, execution in enumerate(executions)]
    return [
        Violation(field, f"the catalog has no error {name[:128]!r}")
        for field, name in named
        if name and name not in known
    ]


def _check_times(
    found: list[Violation],
    at: str,
    of: ReportedExecution | ReportedTask,
    fields: Sequence[str],
    now: int,
    limits: Limits,
) -> None:
    for field in fields:
        time: int | None = getattr(of, field)
        if time is not None:
            _check(found, f"{at}.{field}", time_problem(time, now, limits))


def _member_problem(number: int, enum: type[JobOutcome] | type[TaskKind]) -> str | None:
    if number in {member.value for member in enum}:
        return None
    return f"must be one of {', '.join(member.name for member in enum)}, is {number}"


def _check(found: list[Violation], field: str, problem: str | None) -> None:
    if problem:
        found.append(Violation(field, problem))
