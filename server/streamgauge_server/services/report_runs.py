"""Which job and run each report of a request is about, and what becomes of the run: reports build on one another."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from streamgauge_server.flink.failures import cut_stack
from streamgauge_server.flink.fields import storable
from streamgauge_server.model.errors import Reason, Violation
from streamgauge_server.model.jobs import OUTCOMES, Job, JobRun, JobState, RunException, RunUpdate, derived_id
from streamgauge_server.model.names import SubjectName, id_problem
from streamgauge_server.model.values import Scalar, SubjectKind
from streamgauge_server.services.job_types import type_id
from streamgauge_server.services.jobs import JOB_PREFIX
from streamgauge_server.services.report_checks import JobReport, ReportedException
from streamgauge_server.storage.store import Store
from streamgauge_server.timeseries.frame import UNKNOWN_START

MAX_SUMMARY_BYTES = 1_024
_PYTHON_TRACEBACK = "Traceback (most recent call last)"


@dataclass(slots=True)
class Draft:
    """A report with what it leaves open filled in. `job` is None where it is to be registered as `job_id`.

    `observe_time` is when the report came in, though never before what is stored of the run: a report is news, however
    the clocks of two servers differ. Metrics of a run that had ended belong to the moment at which that became known,
    so that a report that comes twice writes them once.
    """

    index: int
    report: JobReport
    job: Job | None
    job_id: str
    run_id: str
    state: JobState
    observe_time: int
    start_time: int | None
    end_time: int | None
    corrects: bool
    """Whether the times that it tells replace those of a run that had ended."""
    metrics_time: int
    metrics: dict[str, Scalar] = field(default_factory=dict)

    @property
    def subject(self) -> SubjectName:
        """The job as a subject."""
        return SubjectName(SubjectKind.JOB, self.job_id)

    @property
    def job_name(self) -> str:
        """What a job that is to be registered is called; empty for its id."""
        return "" if self.report.job.startswith(JOB_PREFIX) else self.report.job

    @property
    def job_type(self) -> str:
        """The id of the type of a job that is to be registered, empty for none."""
        return type_id(self.report.job_type)

    @property
    def metrics_start(self) -> int:
        """Since when the run's counters count."""
        start = self.start_time
        return UNKNOWN_START if start is None or start > self.metrics_time else start

    def update(self, job: int, max_stacktrace_bytes: int) -> RunUpdate:
        """Returns what the report tells of its run, whose job has this number."""
        report, start = self.report, self.start_time
        return RunUpdate(
            job=job,
            run_id=self.run_id,
            observe_time=self.observe_time,
            state=self.state,
            queue_time=report.queue_time,
            start_time=start,
            end_time=self.end_time,
            duration=None if start is None else max(0, self.observe_time - start),
            restarts=report.restarts,
            tasks=report.tasks,
            final_figures=self.state in OUTCOMES,
            exceptions=[_exception(one, self.observe_time, max_stacktrace_bytes) for one in report.exceptions],
            error=report.error,
            executions=[execution.execution() for execution in report.executions],
            corrects=self.corrects,
        )


async def drafted(
    store: Store, tenant: str, reports: Sequence[JobReport], now: int
) -> tuple[list[Draft], list[Violation]]:
    """Returns a draft for each report, or what is wrong with those that have none.

    Raises:
        DomainError: STORE_UNAVAILABLE.
    """
    problems: list[Violation] = []
    jobs = await _jobs(store, tenant, reports, problems)
    asked = {(job.number, reports[index].run_id) for index, (_, job) in jobs.items() if job and reports[index].run_id}
    stored = await store.job_runs.get_many(asked)
    runs = _Runs(stored)
    drafts: list[Draft] = []
    for index, (job_id, job) in sorted(jobs.items()):
        wrong: list[Violation] = []
        draft = runs.draft(index, reports[index], job_id, job, now, wrong)
        problems.extend(wrong)
        if not wrong:
            drafts.append(draft)
    return drafts, problems


async def _jobs(
    store: Store, tenant: str, reports: Sequence[JobReport], problems: list[Violation]
) -> dict[int, tuple[str, Job | None]]:
    """Returns the id of the job that each report means, by index, and the job itself if there is one."""
    found = await store.jobs.find_many(tenant, {report.job.removeprefix(JOB_PREFIX) for report in reports})
    jobs: dict[int, tuple[str, Job | None]] = {}
    derived: dict[int, str] = {}
    for index, report in enumerate(reports):
        text = report.job.removeprefix(JOB_PREFIX)
        named = found[text]
        if report.job.startswith(JOB_PREFIX):
            named = [job for job in named if job.id == text]
        going = [job for job in named if job.run is not None and job.run.active] or named
        if len(going) > 1:
            names = ", ".join(f"{JOB_PREFIX}{job.id}" for job in going[:10])
            problems.append(
                Violation(
                    f"reports[{index}].job",
                    f"several jobs are called so: {names}",
                    Reason.JOB_AMBIGUOUS,
                    {"name": text},
                )
            )
        elif going:
            jobs[index] = (going[0].id, going[0])
        elif id_problem(text):
            derived[index] = derived_id("", text)
        else:
            jobs[index] = (text, None)
    # A job that was registered by this name may have been given another one since: its id tells.
    renamed = await store.jobs.find_many(tenant, set(derived.values())) if derived else {}
    for index, id_ in derived.items():
        jobs[index] = (id_, next((job for job in renamed[id_] if job.id == id_), None))
    for index, (_, job) in list(jobs.items()):
        if job is not None and job.cluster:
            problem = f"runs on cluster {job.cluster!r}, which tells what it does"
            problems.append(Violation(f"reports[{index}].job", problem))
            del jobs[index]
    return jobs


class _Runs:
    """The runs that reports are about, as they are after the reports before."""

    def __init__(self, stored: Mapping[tuple[int, str], JobRun]) -> None:
        self._stored = stored
        self._runs: dict[tuple[str, str], JobRun] = {}
        self._current: dict[str, JobRun] = {}
        """By job: the run that a report without a run id is about, if it goes on."""

    def draft(
        self, index: int, report: JobReport, job_id: str, job: Job | None, now: int, problems: list[Violation]
    ) -> Draft:
        """Returns the draft of a report; it does not count if something is added to `problems`."""
        state = JobState(report.state)
        if job is not None and job.run is not None:
            self._current.setdefault(job_id, job.run)
        known = self._known(report, job_id, job)
        run_id = known.run_id if known is not None else report.run_id or uuid.uuid4().hex
        if known is None:
            known = JobRun(0, run_id, 0, "", state, "")
        elif known.ended and known.state != state:
            problem = f"run {run_id} has ended as {known.state.name}, and stays so"
            problems.append(Violation(f"reports[{index}].state", problem))
        start, end = _times(report, known, now)
        if start is not None and end is not None and end < start:
            problems.append(Violation(f"reports[{index}].end_time", "must not be before the start of the run"))
        observed = max(now, known.observe_time)
        metrics_time = known.observe_time if known.ended and known.observe_time else observed
        after = replace(known, state=state, start_time=start, end_time=end, observe_time=metrics_time)
        self._runs[job_id, run_id] = after
        current = self._current.get(job_id)
        if current is None or not after.ended or current.run_id == run_id:
            self._current[job_id] = after
        metrics = {name: value for name, value in report.metrics.items() if value is not None}
        return Draft(
            index, report, job, job_id, run_id, state, observed, start, end, known.ended, metrics_time, metrics
        )

    def _known(self, report: JobReport, job_id: str, job: Job | None) -> JobRun | None:
        """Returns the run that a report is about, None for a new one."""
        if report.run_id:
            seen = self._runs.get((job_id, report.run_id))
            return seen or (self._stored.get((job.number, report.run_id)) if job is not None else None)
        current = self._current.get(job_id)
        if current is None or not current.ended:
            return current
        return current if _is_repeat(report, current) else None


def _is_repeat(report: JobReport, run: JobRun) -> bool:
    """Tells whether a report without a run id tells once more how the last run ended, rather than of another run."""
    told = ((report.queue_time, run.queue_time), (report.start_time, run.start_time), (report.end_time, run.end_time))
    return report.state == run.state and all(time is None or time == known for time, known in told)


def _times(report: JobReport, known: JobRun, now: int) -> tuple[int | None, int | None]:
    """Returns start and end of a run after a report.

    What was told first stands until the run has ended; from then on a report corrects what it tells.
    """
    is_final = report.state in OUTCOMES
    start, end = known.start_time, known.end_time
    if report.end_time is not None and (end is None or known.ended):
        end = report.end_time
    if report.start_time is not None and (start is None or known.ended):
        start = report.start_time
    if start is None and report.state != JobState.QUEUED:
        start = now if end is None else min(now, end)
    if is_final and end is None:
        end = now if start is None else max(now, start)
    return start, end if is_final else None


def _exception(told: ReportedException, now: int, max_bytes: int) -> RunException:
    text = storable(told.stacktrace)
    stack, truncated = cut_stack(text, max_bytes)
    # Without a time it is the same exception again, whenever it is told.
    parts = ("" if told.time is None else str(told.time), told.task, told.exception_class, text)
    digest = hashlib.sha256()
    for part in parts:
        encoded = part.encode()
        digest.update(len(encoded).to_bytes(8, "big") + encoded)
    return RunException(
        fingerprint=digest.hexdigest(),
        time=now if told.time is None else told.time,
        exception_class=told.exception_class,
        summary=_summary(text),
        stacktrace=stack,
        truncated=truncated,
        task=told.task,
    )


def _summary(text: str) -> str:
    """Returns the line of a stack trace that tells the error, cut to its bytes at a character's border.

    That is the first one, or in a traceback of Python the one after the last frame.
    """
    lines = text.strip().splitlines()
    at = 0
    if lines[0].startswith(_PYTHON_TRACEBACK):
        frames = [number for number, frame in enumerate(lines) if frame.startswith(" ")]
        at = min(frames[-1] + 1, len(lines) - 1) if frames else len(lines) - 1
    line = lines[at].strip()
    return line.encode()[:MAX_SUMMARY_BYTES].decode("utf-8", "ignore")
