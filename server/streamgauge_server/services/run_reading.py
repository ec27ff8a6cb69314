"""One look at a run on a Flink cluster: what it means for the store. Nothing is stored here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from streamgauge_server.flink.client import FlinkClient
from streamgauge_server.flink.cluster import JobSummary
from streamgauge_server.flink.cluster import TaskCounts as FlinkTasks
from streamgauge_server.flink.errors import FlinkError, NotFound, TooLarge, bounded
from streamgauge_server.flink.failures import Failure, FailureHistory
from streamgauge_server.flink.job_details import JobDetails
from streamgauge_server.flink.reading import FigureReader
from streamgauge_server.model.clock import Clock
from streamgauge_server.model.job_catalog import RESTARTS
from streamgauge_server.model.jobs import (
    OUTCOMES,
    Job,
    JobRun,
    JobState,
    RunException,
    RunUpdate,
    TaskCounts,
    Vertex,
    job_state,
)

MAX_VERTICES = 1_000
MAX_VERTEX_NAME = 1_024
"""UTF-8 bytes; the names of chained operators grow long."""

_TROUBLED = frozenset({JobState.FAILING, JobState.FAILED, JobState.RESTARTING})
_MICROS_PER_MS = 1_000


@dataclass(frozen=True, slots=True)
class Observed:
    """What one look at a run brought: an update of the run, and figures of its job by metric name.

    Times in microseconds: `time` is the moment of the figures, `attempt_start` when the counters of an attempt began,
    `run_start` when those of the run did. `problem` is what kept the exceptions from being read.
    """

    job: Job
    update: RunUpdate
    figures: Mapping[str, int] = field(default_factory=dict)
    time: int = 0
    attempt_start: int = 0
    run_start: int = 0
    problem: FlinkError | None = None

    def without_figures(self) -> Observed:
        """Returns the same for a run that does not speak for its job."""
        return replace(self, figures={})


def summary_update(job: int, cluster: str, summary: JobSummary, now: int) -> RunUpdate:
    """Returns what an entry in the overview of jobs tells of a run. Overviews are always fresh: their states count."""
    return RunUpdate(
        job=job,
        run_id=summary.jid,
        observe_time=now,
        cluster=cluster,
        state=job_state(summary.state_text),
        state_text=summary.state_text,
        start_time=_micros(summary.start_ms),
        end_time=_micros(summary.end_ms),
        duration=_micros(summary.duration_ms),
        tasks=_tasks(summary.tasks),
    )


def is_news(run: JobRun, summary: JobSummary) -> bool:
    """Tells whether an entry in the overview of jobs says something of a run that is not stored."""
    if run.ended:
        return run.end_time is None and summary.end_ms is not None
    return (
        run.state_text != summary.state_text
        or run.lost
        or run.tasks != _tasks(summary.tasks)
        or (run.start_time is None and summary.start_ms is not None)
    )


class RunReader:
    """Looks at runs on one cluster. Remembers which metrics they have, until they end or `forget`."""

    def __init__(self, client: FlinkClient, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._figures = FigureReader(client)

    def forget(self, run_id: str) -> None:
        """Drops what is remembered of a run."""
        self._figures.forget(run_id)

    async def read(
        self,
        cluster: str,
        job: Job,
        run_id: str,
        known: JobRun | None,
        *,
        state_text: str = "",
        accept_incomplete: bool = False,
    ) -> Observed:
        """Looks at a run: details, figures, and exceptions if there may be new ones.

        Args:
            cluster: its name.
            job: whose run it is.
            run_id: the run.
            known: the run as stored, None if it is not.
            state_text: the state, fresh. Details are older, so theirs counts only if it is final. Empty says nothing.
            accept_incomplete: take the figures of an ended run for final although not all have been gathered.

        Raises:
            Unreachable, NotFound, TooLarge: of the details. A failure to read exceptions is `Observed.problem`.
        """
        try:
            details, figures = await self._details(run_id)
        except NotFound:
            self.forget(run_id)
            raise
        now = self._clock.now()
        if details.state.terminal:
            state_text = details.state_text
        state = job_state(state_text) if state_text else None
        restarts = figures.get(RESTARTS)
        exceptions: tuple[RunException, ...] = ()
        truncated = False
        problem: FlinkError | None = None
        if _may_have_failed(known, state, restarts):
            try:
                history = await self._client.exceptions(run_id)
            except TooLarge as error:
                truncated, problem = True, error
            except FlinkError as error:
                problem = error
            else:
                exceptions, truncated = _exceptions(history, run_id, now), history.truncated
        had_all = problem is None or isinstance(problem, TooLarge)
        return Observed(
            job=job,
            update=RunUpdate(
                job=job.number,
                run_id=run_id,
                observe_time=now,
                cluster=cluster,
                state=state,
                state_text=state_text,
                start_time=_micros(details.start_ms),
                end_time=_micros(details.end_ms),
                duration=_micros(details.duration_ms),
                restarts=restarts,
                # Otherwise the overview tells them, whose count may differ while tasks are deployed.
                tasks=_tasks(details.tasks) if state is not None else None,
                vertices=_vertices(details),
                details=True,
                final_figures=details.state.terminal and had_all and (details.complete or accept_incomplete),
                history_truncated=truncated,
                exceptions=exceptions,
            ),
            figures=figures,
            time=_time_of_figures(details, known, now),
            attempt_start=details.attempt_ms * _MICROS_PER_MS,
            run_start=(details.start_ms or 0) * _MICROS_PER_MS,
            problem=problem,
        )

    async def _details(self, run_id: str) -> tuple[JobDetails, Mapping[str, int]]:
        reading = await self._figures.read(run_id)
        return reading.details, reading.figures


def _may_have_failed(known: JobRun | None, state: JobState | None, restarts: int | None) -> bool:
    """Tells whether the exceptions of a run are worth a request."""
    told = state if state is not None else known.state if known is not None else None
    if told in _TROUBLED or told in OUTCOMES:
        return True
    return restarts is not None and restarts != (known.restarts if known is not None else 0)


def _time_of_figures(details: JobDetails, known: JobRun | None, now: int) -> int:
    """Returns the moment of figures: now, and of an ended run its end, which may be long ago.

    Never before figures that are stored already, nor before the attempt began: the cluster's clock may be ahead.
    """
    time = now
    if details.state.terminal and details.end_ms is not None:
        before = (known.details_time if known is not None else None) or 0
        time = min(now, max(details.end_ms * _MICROS_PER_MS, before + 1))
    return max(time, details.attempt_ms * _MICROS_PER_MS)


def _exceptions(history: FailureHistory, run_id: str, now: int) -> tuple[RunException, ...]:
    return tuple(_exception(entry, run_id, now) for entry in history.entries)


def _exception(failure: Failure, run_id: str, now: int) -> RunException:
    cause = failure.cause
    return RunException(
        fingerprint=failure.fingerprint(run_id),
        time=now if failure.time_ms is None else failure.time_ms * _MICROS_PER_MS,
        exception_class=failure.name,
        summary=_first_line(failure),
        stacktrace=failure.stack,
        truncated=failure.truncated,
        task=failure.task,
        endpoint=failure.endpoint,
        cause_class=cause.name if cause is not None else "",
        cause_summary=_first_line(cause) if cause is not None else "",
        cause_task=cause.task if cause is not None else "",
    )


def _first_line(failure: Failure) -> str:
    return bounded(failure.stack.lstrip().split("\n", 1)[0])


def _vertices(details: JobDetails) -> tuple[Vertex, ...]:
    return tuple(
        Vertex(
            id=vertex.id,
            name=vertex.name.encode()[:MAX_VERTEX_NAME].decode("utf-8", "ignore"),
            parallelism=vertex.parallelism,
            state=vertex.status,
            read_records=vertex.metrics.read_records,
            write_records=vertex.metrics.write_records,
            read_bytes=vertex.metrics.read_bytes,
            write_bytes=vertex.metrics.write_bytes,
        )
        for vertex in details.vertices[:MAX_VERTICES]
    )


def _tasks(tasks: FlinkTasks) -> TaskCounts:
    return TaskCounts(running=tasks.running, finished=tasks.finished, total=tasks.total)


def _micros(ms: int | None) -> int | None:
    return None if ms is None else ms * _MICROS_PER_MS
