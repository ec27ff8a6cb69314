"""What the runner of a job tells of its runs."""

from __future__ import annotations

import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TypeAlias

from streamgauge.enums import JobOutcome, JobState, Scalar, TaskKind
from streamgauge.job_results import TaskCounts

MAX_STACKTRACE_CHARACTERS = 256 * 1024
"""How much of a traceback is sent, head and end: more than the server keeps, less than it would refuse."""

_CUT = "\n... cut ...\n"


@dataclass(frozen=True, slots=True)
class ReportedException:
    """An exception in a report: its text with the stack, and its class.

    Give it a `time` when the report may be sent again: what is the same, also in its time, is kept once.
    """

    stacktrace: str
    exception_class: str = ""
    time: datetime | None = None
    task: str = ""

    @classmethod
    def of(cls, error: BaseException, *, task: str = "", time: datetime | None = None) -> ReportedException:
        """Returns what a report says of a Python exception: its traceback, with causes; the time is now by default.

        The first line, which stands for the whole where there is little room, is the exception itself.
        """
        text = "".join(traceback.format_exception(error))
        headline = "".join(traceback.format_exception_only(error)).partition("\n")[0]
        if not text.startswith(headline):
            text = f"{headline}\n{text}"
        kind = type(error)
        name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
        return cls(_sendable(text), _sendable(name)[:255], time or datetime.now(UTC), task)


ExceptionLike: TypeAlias = ReportedException | BaseException
"""An exception to report; of a Python exception its traceback is taken."""


@dataclass(frozen=True, slots=True)
class ExecutionTask:
    """One task of an execution. Without both times it has no length; a negative length counts as 0."""

    kind: TaskKind | str
    start_time: datetime | None = None
    end_time: datetime | None = None


@dataclass(frozen=True, slots=True)
class JobExecution:
    """One attempt to carry out a run. It counts in the hour of its `end_time`; completed ones are measured.

    `execution_id` is unique in the run: reported again, the execution is replaced. `error` is the name of an error of
    the catalog (`client.job_errors`). Of several `tasks` of one kind the first counts.
    """

    execution_id: str
    outcome: JobOutcome | str
    end_time: datetime
    queue_time: datetime | None = None
    start_time: datetime | None = None
    tasks: Sequence[ExecutionTask] = ()
    error: str = ""


@dataclass(frozen=True, slots=True)
class JobReport:
    """What is told of one run of a job. What is None, or empty, leaves what is known as it is.

    `job` is `jobs/{id}` or what the runner calls it; an unknown one is registered, with `job_type`. Without a `run_id`
    it is the job's active run, or a new one: name the run where a report may be sent twice. `metrics` are of this
    moment. Times are the server's where they are not given. `error` names what the run failed of, an error of the
    catalog; an empty text takes back what an earlier report told. At most 100 `executions`.

    Example:
        >>> from streamgauge import JobReport
        >>> JobReport("nightly-load", "running", run_id="2026-11-22", metrics={"rows": 5})
    """

    job: str
    state: JobState | str
    run_id: str = ""
    queue_time: datetime | None = None
    start_time: datetime | None = None
    end_time: datetime | None = None
    exceptions: Sequence[ExceptionLike] = ()
    metrics: Mapping[str, Scalar] = field(default_factory=dict)
    restart_count: int | None = None
    tasks: TaskCounts | None = None
    job_type: str = ""
    error: str | None = None
    executions: Sequence[JobExecution] = ()


@dataclass(frozen=True, slots=True)
class ReportedJob:
    """What became of a report: the job's resource name, its run, and the run's state as stored."""

    job: str
    run_id: str
    state: JobState


def _sendable(text: str) -> str:
    """Returns a text that is UTF-8, has no NUL and is not too long."""
    if len(text) > MAX_STACKTRACE_CHARACTERS:
        half = (MAX_STACKTRACE_CHARACTERS - len(_CUT)) // 2
        text = text[:half] + _CUT + text[-half:]
    return text.encode("utf-8", "backslashreplace").decode("utf-8").replace("\0", "\\x00")
