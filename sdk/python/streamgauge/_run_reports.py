"""What a runner has yet to tell of its run: merged while the server is away, and handed out whole. No calls."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import grpc

from streamgauge import _job_codec as codec
from streamgauge._encode import enum_number, put_time, put_value
from streamgauge.enums import JobState
from streamgauge.errors import StreamgaugeError
from streamgauge.job_reports import JobReport, ReportedException
from streamgauge.job_results import TaskCounts
from streamgauge.v1 import common_pb2
from streamgauge.v1 import job_service_pb2 as pb

logger = logging.getLogger("streamgauge")

OnRunError = Callable[[Exception], None]
"""Is told what could not be reported of a run. What it raises is raised into the work."""

QUIET_SECONDS = 30.0
"""After a report that failed, only the end of the run is reported for this long: the work must not wait again."""
MAX_EXCEPTIONS = 100
"""In one report: the server's bound."""

_PASSING = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED)


class RunReports:
    """The report of one run as it grows."""

    def __init__(self, first: JobReport, on_error: OnRunError | None) -> None:
        self._base = codec.report(first)
        self._start = first.start_time
        self._on_error = on_error
        self._quiet_until = 0.0
        self._news = pb.JobReport()

    @property
    def run_id(self) -> str:
        """The run."""
        return self._base.run_id

    @property
    def due(self) -> bool:
        """Whether a report that is not the last may be sent now."""
        return time.monotonic() >= self._quiet_until

    def add_metrics(self, values: Mapping[str, Any]) -> None:
        """Keeps metrics until they are reported, the newest value of each. One that cannot be sent is told of."""
        for metric, value in values.items():
            message = common_pb2.Value()
            try:
                put_value(message, value, f"metrics[{metric!r}]")
                if not math.isfinite(message.double_value):
                    raise ValueError(f"metrics[{metric!r}] is not finite: {value}")
                self._news.metrics[metric].CopyFrom(message)
            except (TypeError, ValueError) as error:
                self._tell(error)

    def add_exception(self, error: BaseException, task: str = "") -> None:
        """Keeps an exception until it is reported; of more than a report holds the newest."""
        try:
            given = ReportedException.of(error, task=task)
        except Exception as failure:  # an exception that cannot be told: its class at least
            self._tell(failure)
            given = ReportedException(type(error).__qualname__, time=datetime.now(UTC), task=task)
        self._news.exceptions.append(codec.exception(given))
        del self._news.exceptions[:-MAX_EXCEPTIONS]

    def set_tasks(self, tasks: TaskCounts) -> None:
        """Keeps the counts of tasks until they are reported. Counts that cannot be sent are told of."""
        try:
            self._news.tasks.CopyFrom(codec.task_counts(tasks))
        except (TypeError, ValueError) as error:
            self._tell(error)

    def take(self, state: JobState) -> pb.JobReport:
        """Returns the report of the moment, with the news, which are gone from here until `put_back`."""
        report = self.bare(state)
        report.MergeFrom(self._news)
        self._news = pb.JobReport()
        return report

    def bare(self, state: JobState) -> pb.JobReport:
        """Returns the report of the moment without news: state and times."""
        report = pb.JobReport()
        report.CopyFrom(self._base)
        report.state = enum_number(JobState, state)
        if state.is_final:
            end = datetime.now(UTC)
            put_time(report.end_time, end if self._start is None else max(end, self._start), "end_time")
        return report

    def put_back(self, report: pb.JobReport) -> None:
        """Keeps the news of a report that did not arrive, below what is newer."""
        newer = self._news
        self._news = pb.JobReport(exceptions=report.exceptions)
        for metric, value in report.metrics.items():
            self._news.metrics[metric].CopyFrom(value)
        if report.HasField("tasks"):
            self._news.tasks.CopyFrom(report.tasks)
        self._news.MergeFrom(newer)
        del self._news.exceptions[:-MAX_EXCEPTIONS]

    def failed(self, report: pb.JobReport, error: Exception) -> bool:
        """Tells of a report that failed. True when the same without its news may be taken: these were refused.

        Until it may pass the news are kept.
        """
        refused = isinstance(error, StreamgaugeError) and not (error.code in _PASSING or error.retry_after is not None)
        has_news = bool(report.metrics or report.exceptions or report.HasField("tasks"))
        if not refused:
            self.put_back(report)
        if not (refused and has_news):
            self._quiet_until = time.monotonic() + QUIET_SECONDS
        self._tell(error)
        return refused and has_news

    def _tell(self, error: Exception) -> None:
        if self._on_error is not None:
            self._on_error(error)
            return
        logger.warning("run %s of job %r could not be reported: %s", self.run_id, self._base.job, error)

    def arrived(self) -> None:
        """Takes note that a report arrived."""
        self._quiet_until = 0.0


def final_state(error: BaseException | None) -> JobState:
    """Returns how a run ends whose work ended so.

    Ctrl-C and a cancelled task are CANCELED, `sys.exit(0)` is FINISHED, every other exception FAILED.
    """
    match error:
        case None | SystemExit(code=None | 0):
            return JobState.FINISHED
        case KeyboardInterrupt() | asyncio.CancelledError() | GeneratorExit():
            return JobState.CANCELED
        case _:
            return JobState.FAILED
