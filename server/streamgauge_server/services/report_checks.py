"""Reports of jobs as they come in, and what is wrong with them whatever is stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from streamgauge_server.model.errors import Violation
from streamgauge_server.model.jobs import OUTCOMES, JobState, TaskCounts
from streamgauge_server.model.limits import Limits
from streamgauge_server.model.names import id_problem, text_problem
from streamgauge_server.model.values import Scalar
from streamgauge_server.services.execution_checks import ReportedExecution, execution_problems
from streamgauge_server.services.job_types import job_type_id
from streamgauge_server.services.jobs import JOB_PREFIX, name_problem
from streamgauge_server.services.row_types import refuse_values
from streamgauge_server.services.run_ids import run_id_problem
from streamgauge_server.services.write_checks import Refusals, time_problem

MAX_EXCEPTIONS = 100
MAX_EXCEPTION_NAME_BYTES = 1_024
REPORTED_STATES = tuple(state for state in JobState if state != JobState.OTHER)
"""What a runner may say that its run is doing."""


@dataclass(frozen=True, slots=True)
class ReportedException:
    """An exception in a report. `time` is in microseconds, None where it is not told."""

    time: int | None
    exception_class: str
    stacktrace: str
    task: str


@dataclass(frozen=True, slots=True)
class JobReport:
    """What a runner tells of one run, as decoded at the edge. Times in microseconds; None is what it does not tell.

    `state` is the contract's number. Values of metrics are None where the request has none.
    """

    job: str
    state: int
    run_id: str = ""
    queue_time: int | None = None
    start_time: int | None = None
    end_time: int | None = None
    exceptions: Sequence[ReportedException] = ()
    metrics: Mapping[str, Scalar | None] = field(default_factory=dict)
    restarts: int | None = None
    tasks: TaskCounts | None = None
    job_type: str = ""
    error: str | None = None
    """The name of an error of the catalog; empty takes back the one that was told."""
    executions: Sequence[ReportedExecution] = ()

    @property
    def errors(self) -> set[str]:
        """The errors that it names."""
        return {self.error or "", *(execution.error for execution in self.executions)} - {""}


def report_problems(reports: Sequence[JobReport], now: int, limits: Limits) -> list[Violation]:
    """Returns what is wrong with the reports of a request, in their order."""
    return [
        Violation(f"reports[{index}].{wrong.field}", wrong.description, wrong.reason)
        for index, report in enumerate(reports)
        for wrong in _problems(report, now, limits)
    ]


def wrong_metrics(refusals: Refusals) -> list[Violation]:
    """Returns what was found wrong with the metrics of reports as violations of the request."""
    # What is an observation's `values` elsewhere is called `metrics` in a report, and has the moment of the run.
    return [
        Violation(
            f"reports[{error.index}].metrics{error.path.removeprefix('values')}"
            if error.path.startswith("values")
            else f'reports[{error.index}].metrics["{error.metric}"]',
            error.message,
            error.reason,
            error.metadata or None,
        )
        for error in refusals.errors
    ]


def _problems(report: JobReport, now: int, limits: Limits) -> list[Violation]:
    found: list[Violation] = []

    def check(field: str, problem: str | None) -> None:
        if problem:
            found.append(Violation(field, problem))

    check("job", _job_problem(report.job))
    check("run_id", run_id_problem(report.run_id) if report.run_id else None)
    if report.state not in REPORTED_STATES:
        names = ", ".join(state.name for state in REPORTED_STATES)
        check("state", f"must be one of {names}, is {report.state}")
    for field_name in ("queue_time", "start_time", "end_time"):
        time: int | None = getattr(report, field_name)
        if time is not None:
            check(field_name, time_problem(time, now, limits))
    if report.end_time is not None:
        if report.state not in OUTCOMES:
            check("end_time", "does not go with a state that is not final")
        elif report.start_time is not None and report.end_time < report.start_time:
            check("end_time", "must not be before start_time")
    if len(report.exceptions) > MAX_EXCEPTIONS:
        check("exceptions", f"must have at most {MAX_EXCEPTIONS} entries, has {len(report.exceptions)}")
    for position, exception in enumerate(report.exceptions[:MAX_EXCEPTIONS]):
        path = f"exceptions[{position}]"
        if exception.time is not None:
            check(f"{path}.time", time_problem(exception.time, now, limits))
        check(f"{path}.exception_class", text_problem(exception.exception_class, MAX_EXCEPTION_NAME_BYTES))
        check(f"{path}.stacktrace", None if exception.stacktrace.strip(" \0\t\r\n") else "must not be empty")
        check(f"{path}.task", text_problem(exception.task, MAX_EXCEPTION_NAME_BYTES))
    found.extend(_metric_problems(report.metrics, limits))
    if report.restarts is not None and report.restarts < 0:
        check("restart_count", f"must not be negative, is {report.restarts}")
    if report.tasks is not None:
        found.extend(_task_problems(report.tasks))
    found.extend(execution_problems(report.executions, now, limits))
    if report.job_type:
        _, wrong = job_type_id(report.job_type, "job_type")
        if wrong is not None:
            found.append(wrong)
    return found


def _job_problem(job: str) -> str | None:
    if job.startswith(JOB_PREFIX):
        problem = id_problem(job.removeprefix(JOB_PREFIX))
        return f"after '{JOB_PREFIX}' {problem}" if problem else None
    return name_problem(job, required=True)


def _metric_problems(metrics: Mapping[str, Scalar | None], limits: Limits) -> list[Violation]:
    if len(metrics) > limits.max_metrics_per_observation:
        return [
            Violation("metrics", f"must have at most {limits.max_metrics_per_observation} entries, has {len(metrics)}")
        ]
    refusals = Refusals()
    refuse_values(0, "", metrics, limits, refusals)
    return [Violation("metrics" + error.path.removeprefix("values"), error.message) for error in refusals.errors]


def _task_problems(tasks: TaskCounts) -> list[Violation]:
    counts = {"running": tasks.running, "finished": tasks.finished, "total": tasks.total}
    found = [
        Violation(f"tasks.{name}", f"must not be negative, is {count}") for name, count in counts.items() if count < 0
    ]
    if not found and tasks.running + tasks.finished > tasks.total:
        found.append(
            Violation(
                "tasks.total",
                f"must be at least running and finished together, {tasks.running + tasks.finished}, is {tasks.total}",
            )
        )
    return found
