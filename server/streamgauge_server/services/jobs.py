"""Jobs: the catalog of what runs, how requests name a job, and the overview with counts by state."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from streamgauge_server.model.entities import Caller
from streamgauge_server.model.errors import DomainError, Reason, Violation, invalid
from streamgauge_server.model.jobs import ClusterStatus, Job, JobRun, JobState, NewJob
from streamgauge_server.model.limits import Limits
from streamgauge_server.model.names import COLLECTIONS, MAX_NAME_BYTES, SubjectName, id_problem, text_problem
from streamgauge_server.model.values import SubjectKind
from streamgauge_server.services.auth import require_scope
from streamgauge_server.services.job_types import job_type_id, type_id
from streamgauge_server.services.labels import label_filter, label_filter_problems, label_problems
from streamgauge_server.services.page_tokens import (
    cut_page,
    damaged_token,
    number_in,
    page_size_of,
    page_size_problems,
    request_digest,
    token_after,
)
from streamgauge_server.services.subject_registry import SubjectRegistry
from streamgauge_server.storage.jobs import JobFilter, page_key
from streamgauge_server.storage.store import Store

READ, WRITE = "read:jobs", "write:jobs"
MAX_JOB_NAME = 255

_LARGEST_ORDINAL = 2**31 - 1

JOB_PREFIX = COLLECTIONS[SubjectKind.JOB] + "/"


@dataclass(frozen=True, slots=True)
class JobsAsked:
    """Which jobs an overview is about; `job_type` is a resource name, `labels` are `key=value`."""

    active_only: bool = False
    states: Sequence[JobState] = ()
    cluster: str = ""
    job_type: str = ""
    labels: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Overview:
    """A page of jobs, the token of the next one (empty on the last), counts by state (None: no run), the clusters."""

    jobs: Sequence[Job]
    next_page_token: str
    counts: Mapping[JobState | None, int]
    clusters: Sequence[ClusterStatus]


class JobCatalog:
    """Creates, reads, lists, changes and deletes jobs; one instance serves all callers.

    What the edge found wrong with a request is handed in as `problems`, and told along with what is found here.
    """

    def __init__(self, store: Store, limits: Limits, subjects: SubjectRegistry) -> None:
        self._store = store
        self._limits = limits
        self._subjects = subjects

    async def create(self, caller: Caller, job_id: str, fields: Mapping[str, Any]) -> Job:
        """Registers a job, under a new UUID without an id. Again with equal fields it returns the job.

        `fields` holds those of `job_name`, `cluster`, `job_type` (a resource name) and `labels` that are given.

        Raises:
            DomainError: SCOPE_MISSING, INVALID_FIELD, JOB_ALREADY_EXISTS, JOB_TYPE_NOT_FOUND, SUBJECT_LIMIT.
        """
        require_scope(caller, WRITE)
        problems = _problems(fields)
        if job_id and (problem := id_problem(job_id)):
            problems.insert(0, Violation("job_id", problem))
        if problems:
            raise invalid(problems)
        job = NewJob(
            job_id or str(uuid.uuid4()),
            fields.get("job_name", ""),
            fields.get("cluster", ""),
            type_id(fields.get("job_type", "")),
            fields.get("labels", {}),
        )
        return await self._store.jobs.create(caller.tenant, job, limits=self._limits)

    async def get(self, caller: Caller, job: str) -> Job:
        """Returns the job that field `job` of a request names.

        Raises:
            DomainError: SCOPE_MISSING, INVALID_FIELD, JOB_NOT_FOUND, JOB_AMBIGUOUS.
        """
        require_scope(caller, READ)
        found = await self.resolve(caller, job)
        return found if found.run is None else replace(found, run=(await self._observed(caller, [found.run]))[0])

    async def resolve(self, caller: Caller, job: str) -> Job:
        """Returns the job that field `job` of a request names: resource name, id, id of a run, or the runner's name.

        Of several jobs that a name fits, the one with an active run; more than one of these is JOB_AMBIGUOUS.

        Raises:
            DomainError: INVALID_FIELD, JOB_NOT_FOUND, JOB_AMBIGUOUS.
        """
        if job.startswith(JOB_PREFIX):
            return await self._store.jobs.get(caller.tenant, _id(job))
        if problem := name_problem(job, required=True):
            raise invalid([Violation("job", problem)])
        found = await self._store.jobs.find(caller.tenant, job)
        if not found:
            raise DomainError(Reason.JOB_NOT_FOUND, f"there is no job {job!r}", metadata={"name": job})
        active = [one for one in found if one.run is not None and one.run.active] or found
        if len(active) > 1:
            names = ", ".join(f"{JOB_PREFIX}{one.id}" for one in active[:10])
            raise DomainError(Reason.JOB_AMBIGUOUS, f"several jobs are called {job!r}: {names}", metadata={"name": job})
        return active[0]

    async def resolve_id(self, caller: Caller, job: str) -> str:
        """Returns the id of the job that field `job` of a request names; one that has the id itself is not looked up.

        Raises:
            DomainError: as `resolve`.
        """
        return _id(job) if job.startswith(JOB_PREFIX) else (await self.resolve(caller, job)).id

    async def overview(
        self,
        caller: Caller,
        asked: JobsAsked,
        *,
        page_size: int,
        page_token: str,
        problems: Sequence[Violation] = (),
    ) -> Overview:
        """Returns a page of jobs, those that started last first, with counts over all of them.

        Raises:
            DomainError: SCOPE_MISSING, INVALID_FIELD, PAGE_TOKEN_MISMATCH.
        """
        require_scope(caller, READ)
        found_wrong = [*page_size_problems(page_size), *problems, *label_filter_problems(asked.labels)]
        if problem := text_problem(asked.cluster, MAX_NAME_BYTES):
            found_wrong.append(Violation("cluster", problem))
        of_type, wrong = job_type_id(asked.job_type, "job_type") if asked.job_type else ("", None)
        if wrong is not None:
            found_wrong.append(wrong)
        if found_wrong:
            raise invalid(found_wrong)
        only = JobFilter(
            active_only=asked.active_only,
            states=tuple(asked.states),
            cluster=asked.cluster,
            job_type=of_type,
            labels=label_filter(asked.labels),
        )
        size = page_size_of(page_size)
        states = [state.name for state in asked.states]
        digest = request_digest(
            "ListJobs", str(asked.active_only), *states, "", *asked.labels, "", asked.cluster, asked.job_type
        )
        after = _list_key(token_after(page_token, digest, keys=2))
        found = await self._store.jobs.list(caller.tenant, only, after=after, limit=size + 1)
        counts = await self._store.jobs.state_counts(caller.tenant, only)
        clusters = await self._store.collectors.statuses(caller.tenant)
        page, token = cut_page(found, size, digest, lambda job: [str(part) for part in page_key(job)])
        polled = _polled(clusters)
        observed = [
            job if job.run is None else replace(job, run=as_observed(job.run, polled.get(job.run.cluster)))
            for job in page
        ]
        return Overview(observed, token, counts, clusters)

    async def update(
        self, caller: Caller, name: str, changes: Mapping[str, Any], etag: str, problems: Sequence[Violation] = ()
    ) -> Job:
        """Changes those fields of the job with resource name `name` that `changes` has, out of JOB_CHANGEABLE.

        Raises:
            DomainError: SCOPE_MISSING, INVALID_FIELD, JOB_NOT_FOUND, JOB_TYPE_NOT_FOUND, ETAG_MISMATCH.
        """
        require_scope(caller, WRITE)
        found = [*problems, *_problems(changes)]
        if wrong := _name_violation(name, "job.name"):
            found.insert(0, wrong)
        if found:
            raise invalid(found)
        stored = dict(changes)
        if "job_type" in stored:
            stored["job_type"] = type_id(stored["job_type"])
        return await self._store.jobs.update(caller.tenant, name.removeprefix(JOB_PREFIX), stored, etag=etag)

    async def delete(self, caller: Caller, name: str, etag: str) -> None:
        """Deletes a job with its runs, exceptions and metrics.

        Raises:
            DomainError: SCOPE_MISSING, INVALID_FIELD, JOB_NOT_FOUND, ETAG_MISMATCH.
        """
        require_scope(caller, WRITE)
        if wrong := _name_violation(name, "job"):
            raise invalid([wrong])
        id_ = name.removeprefix(JOB_PREFIX)
        await self._store.jobs.delete(caller.tenant, id_, etag=etag)
        self._subjects.forget_name(caller.tenant, SubjectName(SubjectKind.JOB, id_))

    async def runs(self, caller: Caller, job: str, *, page_size: int, page_token: str) -> tuple[Sequence[JobRun], str]:
        """Returns a page of a job's runs, the newest first, and the token of the next page (empty on the last).

        Raises:
            DomainError: SCOPE_MISSING, INVALID_FIELD, PAGE_TOKEN_MISMATCH, JOB_NOT_FOUND, JOB_AMBIGUOUS.
        """
        require_scope(caller, READ)
        size = page_size_of(page_size)
        digest = request_digest("ListJobRuns", job)
        after = token_after(page_token, digest, keys=1)
        found = await self._store.job_runs.of_job(
            (await self.resolve(caller, job)).number,
            after_ordinal=number_in(after[0], smallest=1, largest=_LARGEST_ORDINAL) if after else None,
            limit=size + 1,
        )
        page, token = cut_page(found, size, digest, lambda run: [str(run.ordinal)])
        return await self._observed(caller, page), token

    async def _observed(self, caller: Caller, runs: Sequence[JobRun]) -> list[JobRun]:
        """Returns runs as last observed."""
        if not any(run.active and run.cluster for run in runs):
            return list(runs)
        polled = _polled(await self._store.collectors.statuses(caller.tenant))
        return [as_observed(run, polled.get(run.cluster)) for run in runs]


def _polled(clusters: Sequence[ClusterStatus]) -> dict[str, int | None]:
    """Returns when each cluster last answered its collector."""
    return {status.cluster: status.last_success_time for status in clusters}


def as_observed(run: JobRun, polled: int | None) -> JobRun:
    """Returns a run as last observed: each poll of its cluster (the last one was at `polled`) observes active runs."""
    return replace(run, observe_time=polled) if run.active and polled is not None and polled > run.observe_time else run


def _id(job: str) -> str:
    """Returns the id in a resource name.

    Raises:
        DomainError: INVALID_FIELD.
    """
    id_ = job.removeprefix(JOB_PREFIX)
    if problem := id_problem(id_):
        raise invalid([Violation("job", f"after '{JOB_PREFIX}' {problem}")])
    return id_


def name_problem(job_name: str, *, required: bool = False) -> str | None:
    """Returns what is wrong with what a runner calls a job: any text that is not too long and has no NUL."""
    if not job_name:
        return "must not be empty" if required else None
    if len(job_name) > MAX_JOB_NAME:
        return f"must have at most {MAX_JOB_NAME} characters, has {len(job_name)}"
    return "must not hold NUL" if "\0" in job_name else None


def _problems(fields: Mapping[str, Any]) -> list[Violation]:
    """Returns what is wrong with the fields of a job that are given."""
    found = label_problems(fields.get("labels", {}), "job.labels")
    if problem := name_problem(fields.get("job_name", "")):
        found.append(Violation("job.job_name", problem))
    if problem := text_problem(fields.get("cluster", ""), MAX_NAME_BYTES):
        found.append(Violation("job.cluster", problem))
    if fields.get("job_type"):
        _, wrong = job_type_id(fields["job_type"], "job.job_type")
        if wrong is not None:
            found.append(wrong)
    return found


def _name_violation(name: str, field: str) -> Violation | None:
    if name.startswith(JOB_PREFIX) and not id_problem(name.removeprefix(JOB_PREFIX)):
        return None
    return Violation(field, "must be the resource name of a job, 'jobs/{job}'")


def _list_key(token: tuple[str, ...]) -> tuple[int, str] | None:
    """Returns the sort key that a page token holds, None for the first page."""
    if not token:
        return None
    start, id_ = token
    if id_problem(id_):
        raise damaged_token()
    return number_in(start), id_
