"""Watching jobs: changes of state as they become known, from a cursor on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from streamgauge_server.model.clock import MICROS_PER_SECOND
from streamgauge_server.model.entities import Caller
from streamgauge_server.model.errors import DomainError, Reason, Violation, invalid
from streamgauge_server.model.jobs import StateChange
from streamgauge_server.model.names import parse_subject
from streamgauge_server.model.values import SubjectKind
from streamgauge_server.services.auth import require_scope
from streamgauge_server.services.page_tokens import damaged_token, request_digest, token_after, token_for
from streamgauge_server.storage.jobs import JobFilter
from streamgauge_server.storage.store import Store

READ = "read:jobs"
MAX_WATCHED = 1_000
DEFAULT_HEARTBEAT = 15 * MICROS_PER_SECOND
HEARTBEATS = range(MICROS_PER_SECOND, 300 * MICROS_PER_SECOND + 1)
"""How long a silence may last, in microseconds."""

_POLL_SECONDS = 1.0
"""How soon changes are seen that other servers made."""
_BATCH = 500


@dataclass(frozen=True, slots=True)
class Changes:
    """One message of a watch: changes (none in a heartbeat) and where to go on after it."""

    changes: Sequence[StateChange]
    cursor: str


class JobWatch:
    """Streams changes to watchers; one instance serves all callers.

    Nothing is kept for a watcher but its cursor: one that reads slowly falls behind in the log, and loses nothing.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._news = asyncio.Event()

    def wake(self) -> None:
        """Tells the watchers of this server that there are changes."""
        self._news.set()
        self._news = asyncio.Event()

    async def watch(
        self, caller: Caller, *, jobs: Sequence[str], cursor: str, include_current: bool, heartbeat: int | None
    ) -> AsyncIterator[Changes]:
        """Yields changes of some jobs (resource names) or all, for as long as it is iterated.

        The first message comes at once and has a cursor, so that no change after the call is missed. `heartbeat` is in
        microseconds, None for the default.

        Raises:
            DomainError: SCOPE_MISSING, INVALID_FIELD, PAGE_TOKEN_MISMATCH for a damaged cursor, CURSOR_EXPIRED.
        """
        require_scope(caller, READ)
        ids = _checked(jobs, heartbeat)
        digest = request_digest("WatchJobs", caller.tenant)
        seq = await self._begin(caller.tenant, cursor, digest)
        silence = (DEFAULT_HEARTBEAT if heartbeat is None else heartbeat) / MICROS_PER_SECOND
        first = await self._current(caller.tenant, ids) if include_current and not cursor else []
        yield Changes(first, token_for(digest, [str(seq)]))
        loop = asyncio.get_running_loop()
        due = loop.time() + silence
        while True:
            news = self._news
            found = await self._store.job_runs.changes(caller.tenant, seq, _BATCH)
            if found:
                seq = found[-1].seq
            wanted = [change for change in found if not ids or change.job_id in ids]
            if wanted or loop.time() >= due:
                yield Changes(wanted, token_for(digest, [str(seq)]))
                due = loop.time() + silence
            if len(found) < _BATCH:
                await _either(news, min(_POLL_SECONDS, max(due - loop.time(), 0)))

    async def _begin(self, tenant: str, cursor: str, digest: bytes) -> int:
        """Returns the number of the change after which the watch begins."""
        after = token_after(cursor, digest, keys=1, field="cursor")
        if not after:
            return await self._store.job_runs.last_seq(tenant)
        if not after[0].isdecimal():
            raise damaged_token("cursor")
        seq = int(after[0])
        oldest = await self._store.job_runs.oldest_seq(tenant)
        if seq < oldest - 1:
            raise DomainError(
                Reason.CURSOR_EXPIRED,
                "changes after this cursor are not kept any more: watch anew, from the present state on",
                metadata={"oldest_cursor": token_for(digest, [str(oldest - 1)])},
            )
        return seq

    async def _current(self, tenant: str, ids: frozenset[str]) -> list[StateChange]:
        """Returns the present state of jobs as changes from nothing."""
        found: list[StateChange] = []
        after: tuple[int, str] | None = None
        while True:
            page = await self._store.jobs.list(tenant, JobFilter(), after=after, limit=_BATCH)
            found.extend(
                StateChange(
                    0, job.id, run.run_id, None, run.state, run.state_text, run.lost, run.restarts, run.observe_time
                )
                for job in page
                if (run := job.run) is not None and (not ids or job.id in ids)
            )
            if len(page) < _BATCH:
                return found
            last = page[-1]
            after = ((last.run and last.run.start_time) or 0, last.id)


def _checked(jobs: Sequence[str], heartbeat: int | None) -> frozenset[str]:
    """Returns the ids of the jobs that a request names.

    Raises:
        DomainError: INVALID_FIELD.
    """
    problems: list[Violation] = []
    ids: set[str] = set()
    if len(jobs) > MAX_WATCHED:
        problems.append(Violation("jobs", f"must have at most {MAX_WATCHED} entries, has {len(jobs)}"))
    for position, name in enumerate(jobs[:MAX_WATCHED]):
        subject = parse_subject(name)
        if subject is None or subject.kind != SubjectKind.JOB:
            problems.append(Violation(f"jobs[{position}]", "must be the resource name of a job, 'jobs/{job}'"))
        else:
            ids.add(subject.id)
    if heartbeat is not None and heartbeat not in HEARTBEATS:
        seconds = heartbeat / MICROS_PER_SECOND
        problems.append(Violation("heartbeat", f"must be 1 s to 300 s, is {seconds:.16g} s"))
    if problems:
        raise invalid(problems)
    return frozenset(ids)


async def _either(event: asyncio.Event, seconds: float) -> None:
    """Returns when the event is set or the time is over."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
