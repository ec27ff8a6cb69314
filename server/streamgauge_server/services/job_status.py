"""What a job is doing: as stored if that is young enough, otherwise after a look at its cluster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from streamgauge_server.flink.client import FlinkClient
from streamgauge_server.model.clock import MICROS_PER_SECOND, Clock
from streamgauge_server.model.entities import Caller
from streamgauge_server.model.errors import DomainError, Reason, Violation, invalid
from streamgauge_server.model.jobs import Job, JobRun, RunException, StatusOrigin
from streamgauge_server.model.limits import Limits
from streamgauge_server.model.names import SubjectName, metric_list_problems
from streamgauge_server.model.values import SubjectKind
from streamgauge_server.services.auth import require_scope
from streamgauge_server.services.job_looks import JobLooks, Seen
from streamgauge_server.services.jobs import JobCatalog, as_observed
from streamgauge_server.services.latest import LatestMetric, LatestReader
from streamgauge_server.services.page_tokens import (
    damaged_token,
    number_in,
    page_size_problems,
    request_digest,
    token_after,
    token_for,
)
from streamgauge_server.services.run_ids import find_run, run_id_problem
from streamgauge_server.storage.job_statuses import StoredStatus
from streamgauge_server.storage.store import Store

READ = "read:jobs"
DEFAULT_MAX_AGE = 15 * MICROS_PER_SECOND
DEFAULT_EXCEPTIONS, MAX_EXCEPTIONS = 20, 100

LONGEST_LOOK = 10.0
"""Seconds that an answer waits for a cluster, also when the caller allows more."""
ANSWERING = 0.25
"""The share of a caller's time that is kept for the answer from the store, when the cluster does not answer."""

_OTHER_BYTES = 8_192
"""What an exception takes in an answer beside its text, at most."""


@dataclass(frozen=True, slots=True)
class StatusAsked:
    """Which job's status is asked for, and how old it may be: in microseconds, None for the default.

    `remaining` is how many seconds the caller still waits, None where it does not say. `problems` are what the edge
    found wrong.
    """

    job: str
    max_age: int | None = None
    remaining: float | None = None
    problems: Sequence[Violation] = ()


@dataclass(frozen=True, slots=True)
class JobStatus:
    """The status of a job, whose run has its vertices.

    `stale`: it is older than was asked for, and the cluster could not tell. `active_run_ids` are all active runs where
    there are several, the newest first.
    """

    job: Job
    origin: StatusOrigin = StatusOrigin.STORED
    stale: bool = False
    messages: Sequence[str] = ()
    active_run_ids: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class ExceptionsPage:
    """A page of the exceptions of a run (none where the job has no run), and the token of the next one."""

    exceptions: Sequence[RunException]
    next_page_token: str
    run: JobRun | None
    stale: bool
    messages: Sequence[str]


class JobStatusReader:
    """Tells what jobs are doing; one instance serves all callers."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        limits: Limits,
        catalog: JobCatalog,
        clusters: Mapping[tuple[str, str], FlinkClient],
        looks: JobLooks,
        latest: LatestReader,
    ) -> None:
        """`clusters` are those that this server can ask, by tenant and name."""
        self._store = store
        self._clock = clock
        self._catalog = catalog
        self._clusters = clusters
        self._looks = looks
        self._latest = latest
        self._max_page_bytes = limits.max_response_bytes // 2

    async def status(self, caller: Caller, asked: StatusAsked) -> JobStatus:
        """Returns the status of a job.

        Raises:
            DomainError: SCOPE_MISSING, INVALID_FIELD, JOB_NOT_FOUND, JOB_AMBIGUOUS, CLUSTER_UNREACHABLE when nothing is
                stored of any run and its cluster cannot be asked, STORE_UNAVAILABLE.
        """
        require_scope(caller, READ)
        if problems := _problems(asked):
            raise invalid(problems)
        return await self._status(caller, asked)

    async def status_and_metrics(
        self, caller: Caller, asked: StatusAsked, metrics: Sequence[str]
    ) -> tuple[JobStatus, Sequence[LatestMetric]]:
        """Returns the status of a job and its newest metrics by name, or those of them that are asked for.

        Raises:
            DomainError: as `status`.
        """
        require_scope(caller, READ)
        if problems := [*_problems(asked), *metric_list_problems(metrics)]:
            raise invalid(problems)
        status = await self._status(caller, asked)
        subject = str(SubjectName(SubjectKind.JOB, status.job.id))
        answers, _ = await self._latest.read(caller, [subject], metrics=metrics)
        return status, [latest for answer in answers for latest in answer.metrics.values()]

    async def exceptions(
        self, caller: Caller, asked: StatusAsked, run_id: str, *, page_size: int, page_token: str
    ) -> ExceptionsPage:
        """Returns a page of the exceptions of a run, the newest first; without a run id of that of the job's status.

        Raises:
            DomainError: as `status`, PAGE_TOKEN_MISMATCH; JOB_NOT_FOUND also for a run that the job does not have.
        """
        require_scope(caller, READ)
        problems = [*_problems(asked), *page_size_problems(page_size)]
        if run_id and (problem := run_id_problem(run_id)):
            problems.append(Violation("run_id", problem))
        if problems:
            raise invalid(problems)
        size = min(page_size or DEFAULT_EXCEPTIONS, MAX_EXCEPTIONS)
        digest = request_digest("ListJobExceptions", asked.job, run_id)
        after = token_after(page_token, digest, keys=3)
        if after:
            # A list that goes on stays with the run that it began with, and asks no cluster again.
            status = JobStatus(await self._catalog.resolve(caller, asked.job))
            run_id = after[0]
        else:
            status = await self._status(caller, asked)
        run = status.job.run
        if run_id and (run is None or run.run_id != run_id):
            run = await find_run(self._store, status.job, run_id)
        if run is None:
            return ExceptionsPage((), "", None, status.stale, status.messages)
        found = await self._store.job_runs.exceptions(run.number, after=_exception_key(after), limit=size + 1)
        page = _fitting(found, size, self._max_page_bytes)
        token = ""
        if len(found) > len(page):
            last = page[-1]
            token = token_for(digest, [run.run_id, str(last.time), last.fingerprint])
        return ExceptionsPage(page, token, run, status.stale, status.messages)

    async def _status(self, caller: Caller, asked: StatusAsked) -> JobStatus:
        tenant = caller.tenant
        id = await self._catalog.resolve_id(caller, asked.job)
        stored = await self._store.jobs.status(tenant, id)
        run = stored.job.run
        cluster = run.cluster if run is not None else stored.job.cluster
        max_age = DEFAULT_MAX_AGE if asked.max_age is None else asked.max_age
        if not cluster or self._is_young(stored, max_age):
            return _answer(stored)
        client = self._clusters.get((tenant, cluster))
        if client is None:
            seen = Seen(problem="this server's settings do not name it")
        else:
            seen = await self._looks.at(client, tenant, cluster, stored, within=_patience(asked.remaining))
            if seen.problem and run is None:
                raise DomainError(
                    Reason.CLUSTER_UNREACHABLE,
                    f"no run of jobs/{id} is known, and cluster {cluster!r} cannot be asked: {seen.problem}",
                    metadata={"cluster": cluster},
                    retry_after=1.0,
                )
        if seen.observed:
            stored = await self._store.jobs.status(tenant, id)
        # What has ended stays as it is, whether its cluster can still be asked or not.
        stale = not seen.observed and (run is None or not run.ended) and bool(seen.problem or seen.unknown)
        return _answer(stored, live=seen.observed, stale=stale, messages=_messages(cluster, seen))

    def _is_young(self, stored: StoredStatus, max_age: int) -> bool:
        run = stored.job.run
        known = [time for time in (None if run is None else run.observe_time, stored.polled) if time is not None]
        # A clock that was set back makes nothing young.
        return bool(known) and 0 <= self._clock.now() - max(known) < max_age


def _problems(asked: StatusAsked) -> list[Violation]:
    found = list(asked.problems)
    if asked.max_age is not None and asked.max_age < 0:
        found.append(Violation("max_age", f"must not be negative, is {asked.max_age / MICROS_PER_SECOND:.16g} s"))
    return found


def _patience(remaining: float | None) -> float:
    """Returns how many seconds an answer may wait for a cluster."""
    return LONGEST_LOOK if remaining is None else max(0.0, min(LONGEST_LOOK, remaining * (1 - ANSWERING)))


def _messages(cluster: str, seen: Seen) -> list[str]:
    found = [f"cluster {cluster!r} does not know run {run_id} any more" for run_id in seen.unknown]
    if seen.problem:
        found.append(f"cluster {cluster!r} cannot be asked: {seen.problem}")
    return found


def _answer(
    stored: StoredStatus, *, live: bool = False, stale: bool = False, messages: Sequence[str] = ()
) -> JobStatus:
    job, active = stored.job, [run.run_id for run in stored.active]
    told = list(messages)
    if job.run is not None:
        job = replace(job, run=as_observed(job.run, stored.polled))
        if job.run is not None and job.run.lost:
            told.append(f"run {job.run.run_id} is lost: its cluster was reached twice in a row and did not know it")
    if len(active) > 1:
        told.append(f"{len(active)} runs are active; this is the newest: {', '.join(active[:10])}")
    origin = StatusOrigin.LIVE if live else StatusOrigin.STORED
    return JobStatus(job, origin, stale, told, active if len(active) > 1 else ())


def _fitting(found: Sequence[RunException], size: int, max_bytes: int) -> Sequence[RunException]:
    """Returns as many of the exceptions as a page and an answer hold, at least one."""
    used = 0
    for count, one in enumerate(found[:size]):
        used += len(one.stacktrace.encode()) + _OTHER_BYTES
        if count and used > max_bytes:
            return found[:count]
    return found[:size]


def _exception_key(token: tuple[str, ...]) -> tuple[int, str] | None:
    """Returns the sort key that a page token holds, None for the first page."""
    if not token:
        return None
    _, time, fingerprint = token
    if "\0" in fingerprint:
        raise damaged_token()
    return number_in(time), fingerprint
