"""Reports of jobs by their own runners: checked, completed with what is known, and stored whole or not at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from streamgauge_server.model.clock import Clock
from streamgauge_server.model.entities import Caller
from streamgauge_server.model.errors import DomainError, Reason, Violation, invalid, invalid_field
from streamgauge_server.model.jobs import JobRun, JobState, NewJob, RunUpdate
from streamgauge_server.model.limits import Limits
from streamgauge_server.services.auth import require_scope
from streamgauge_server.services.descriptors import Descriptors
from streamgauge_server.services.execution_checks import error_problems
from streamgauge_server.services.job_watch import JobWatch
from streamgauge_server.services.off_loop import off_loop
from streamgauge_server.services.report_checks import JobReport, report_problems, wrong_metrics
from streamgauge_server.services.report_runs import Draft, drafted
from streamgauge_server.services.row_types import declare_new, type_rows
from streamgauge_server.services.rows import Row, encode_rows
from streamgauge_server.services.write_checks import Refusals
from streamgauge_server.storage.records import SubjectGone
from streamgauge_server.storage.store import Store
from streamgauge_server.storage.subjects import SubjectKey

WRITE = "write:jobs"
MAX_REPORTS = 1_000

_MANY_BYTES = 1_000_000
"""Of stack traces: cutting and hashing more than these keeps other calls waiting."""


@dataclass(frozen=True, slots=True)
class Reported:
    """What became of a report: the id of the job, and the run as stored."""

    job_id: str
    run_id: str
    state: JobState


class JobReports:
    """Takes in reports; one instance serves all callers."""

    def __init__(self, store: Store, clock: Clock, limits: Limits, descriptors: Descriptors, watch: JobWatch) -> None:
        self._store = store
        self._clock = clock
        self._limits = limits
        self._descriptors = descriptors
        self._watch = watch

    async def report(self, caller: Caller, reports: Sequence[JobReport]) -> list[Reported]:
        """Stores reports, all or none of them, and registers jobs that are not known.

        Raises:
            DomainError: SCOPE_MISSING, INVALID_FIELD and VALUE_TYPE_MISMATCH with all that is wrong, JOB_AMBIGUOUS,
                JOB_TYPE_NOT_FOUND, SUBJECT_LIMIT, METRIC_LIMIT, WRITE_CONFLICT when jobs are deleted all the while,
                STORE_UNAVAILABLE.
        """
        require_scope(caller, WRITE)
        if not 1 <= len(reports) <= MAX_REPORTS:
            raise invalid_field("reports", f"must have 1 to {MAX_REPORTS} entries, has {len(reports)}")
        now = self._clock.now()
        if problems := report_problems(reports, now, self._limits):
            raise invalid(problems)
        for last_try in (False, True):
            try:
                stored = await self._store_all(caller.tenant, reports, now)
            except SubjectGone as gone:
                if last_try:
                    raise DomainError(
                        Reason.WRITE_CONFLICT, "a job was deleted while it was reported; try again"
                    ) from gone
            else:
                break
        self._watch.wake()
        return stored

    async def _store_all(self, tenant: str, reports: Sequence[JobReport], now: int) -> list[Reported]:
        drafts, problems = await drafted(self._store, tenant, reports, now)
        problems.extend(await self._unknown_errors(tenant, reports))
        rows = _rows(drafts)
        refusals = Refusals()
        new = await type_rows(self._descriptors, tenant, rows, refusals)
        if problems or refusals.errors:
            raise invalid([*problems, *wrong_metrics(refusals)])
        await declare_new(self._descriptors, tenant, rows, new, refusals)
        if refusals.errors:
            raise invalid(wrong_metrics(refusals))
        numbers = await self._numbers(tenant, drafts)
        size = sum(len(one.stacktrace) for draft in drafts for one in draft.report.exceptions)
        updates = await off_loop(lambda: self._updates(drafts, numbers), heavy=size > _MANY_BYTES)
        ids = {SubjectKey(draft.subject, ""): numbers[draft.job_id] for draft in drafts}
        runs = await self._store.job_runs.apply(tenant, updates, encode_rows(rows, ids))
        return [_reported(draft, run) for draft, run in zip(drafts, runs, strict=True)]

    async def _unknown_errors(self, tenant: str, reports: Sequence[JobReport]) -> list[Violation]:
        named = {name for report in reports for name in report.errors}
        if not named:
            return []
        known = await self._store.job_errors.get_many(tenant, named)
        return [
            Violation(f"reports[{index}].{wrong.field}", wrong.description)
            for index, report in enumerate(reports)
            for wrong in error_problems(report.error, report.executions, known)
        ]

    async def _numbers(self, tenant: str, drafts: Sequence[Draft]) -> dict[str, int]:
        """Returns the numbers of the jobs by id, after registering those that are not known."""
        numbers = {draft.job_id: draft.job.number for draft in drafts if draft.job is not None}
        new: dict[str, NewJob] = {}
        for draft in drafts:
            if draft.job is None:
                new.setdefault(draft.job_id, NewJob(draft.job_id, draft.job_name, job_type=draft.job_type))
        if new:
            numbers |= await self._store.jobs.register(tenant, list(new.values()), limits=self._limits)
        return numbers

    def _updates(self, drafts: Sequence[Draft], numbers: Mapping[str, int]) -> list[RunUpdate]:
        return [draft.update(numbers[draft.job_id], self._limits.max_stacktrace_bytes) for draft in drafts]


def _rows(drafts: Sequence[Draft]) -> list[Row]:
    return [
        Row(draft.index, SubjectKey(draft.subject, ""), draft.metrics_time, draft.metrics_start, draft.metrics)
        for draft in drafts
        if draft.metrics
    ]


def _reported(draft: Draft, run: JobRun) -> Reported:
    return Reported(draft.job_id, run.run_id, run.state)
