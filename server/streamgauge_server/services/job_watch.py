"""Watching jobs: changes of state as they become known, from a cursor on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from streamgauge_server.model.clock import MICROS_PER_SECOND
from streamgauge_server.model.entities import Caller
from streamgauge_server.model.errors import DomainError, Reason, Violation, invalid
from streamgauge_server.model.jobs import StateChange
from streamgauge_server.model.names import parse_subject
from streamgauge_server.model.values import SubjectKind
from streamgauge_server.services.auth import require_scope
from streamgauge_server.services.page_tokens import number_in, request_digest, token_after, token_for
from streamgauge_server.storage.jobs import JobFilter, page_key
from streamgauge_server.storage.store import Store

READ = "read:jobs"
MAX_WATCHED = 1_000
DEFAULT_HEARTBEAT = 15 * MICROS_PER_SECOND
HEARTBEATS = range(MICROS_PER_SECOND, 300 * MICROS_PER_SECOND + 1)
"""How long a silence may last, in microseconds."""

_POLL_SECONDS = 1.0
"""How soon changes are seen that other servers made."""
_BATCH = 500


PageKey = tuple[int, str]
FIRST: PageKey = (0, "")
"""Before all jobs. No job has an empty id."""


class _Begin(NamedTuple):
    """Where a watch begins: after a change, and if present states are told first, after which job."""

    seq: int
    current_after: PageKey | None


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
        self,
        caller: Caller,
        *,
        jobs: Sequence[str],
        cursor: str,
        include_current: bool,
        heartbeat: int | None,
        problems: Sequence[Violation] = (),
    ) -> AsyncGenerator[Changes, None]:
        """Yields changes of some jobs (resource names) or all, for as long as it is iterated.

        The first message comes at once and has a cursor, so that no change after the call is missed. `heartbeat` is in
        microseconds, None for the default. `problems` are what the edge found wrong.

        Raises:
            DomainError: SCOPE_MISSING, INVALID_FIELD, PAGE_TOKEN_MISMATCH for a damaged cursor, CURSOR_EXPIRED.
        """
        require_scope(caller, READ)
        ids = _checked(jobs, heartbeat, problems)
        digest = request_digest("WatchJobs", caller.tenant)
        begin = await self._begin(caller.tenant, cursor, digest, include_current=include_current)
        seq = begin.seq
        silence = (DEFAULT_HEARTBEAT if heartbeat is None else heartbeat) / MICROS_PER_SECOND
        if begin.current_after is None:
            yield Changes((), _cursor(digest, seq))
        else:
            async for found, after in self._current(caller.tenant, ids, begin.current_after):
                yield Changes(found, _cursor(digest, seq, after))
        loop = asyncio.get_running_loop()
        due = loop.time() + silence
        while True:
            news = self._news
            found = await self._store.job_runs.changes(caller.tenant, seq, _BATCH)
            if found:
                seq = found[-1].seq
            wanted = [change for change in found if not ids or change.job_id in ids]
            if wanted or loop.time() >= due:
                yield Changes(wanted, _cursor(digest, seq))
                due = loop.time() + silence
            if len(found) < _BATCH:
                await _either(news, min(_POLL_SECONDS, max(due - loop.time(), 0)))

    async def _begin(self, tenant: str, cursor: str, digest: bytes, *, include_current: bool) -> _Begin:
        """Returns where a watch begins.

        Raises:
            DomainError: PAGE_TOKEN_MISMATCH, CURSOR_EXPIRED.
        """
        after = token_after(cursor, digest, keys=3, field="cursor")
        last = await self._store.job_runs.last_seq(tenant)
        if not after:
            return _Begin(last, FIRST if include_current else None)
        told, start, id_ = after
        seq = number_in(told, smallest=0, largest=last, field="cursor")
        position = (number_in(start, field="cursor"), id_) if start else None
        oldest = await self._store.job_runs.oldest_seq(tenant)
        if seq < oldest - 1:
            raise DomainError(
                Reason.CURSOR_EXPIRED,
                "changes after this cursor are not kept any more: watch anew, from the present state on",
                metadata={"oldest_cursor": _cursor(digest, oldest - 1)},
            )
        return _Begin(seq, position)

    async def _current(
        self, tenant: str, ids: frozenset[str], after: PageKey
    ) -> AsyncIterator[tuple[list[StateChange], PageKey | None]]:
        """Yields the present states of jobs as changes from nothing, each time with where the rest of them begins."""
        position: PageKey | None = after
        while position is not None:
            page = await self._store.jobs.list(
                tenant, JobFilter(), after=None if position == FIRST else position, limit=_BATCH
            )
            found = [
                StateChange(
                    0, job.id, run.run_id, None, run.state, run.state_text, run.lost, run.restarts, run.observe_time
                )
                for job in page
                if (run := job.run) is not None and (not ids or job.id in ids)
            ]
            position = page_key(page[-1]) if len(page) == _BATCH else None
            yield found, position


def _cursor(digest: bytes, seq: int, current_after: PageKey | None = None) -> str:
    """Returns the cursor after a change and, while present states are told, after the jobs up to one."""
    start, id_ = ("", "") if current_after is None else (str(current_after[0]), current_after[1])
    return token_for(digest, [str(seq), start, id_])


def _checked(jobs: Sequence[str], heartbeat: int | None, known: Sequence[Violation]) -> frozenset[str]:
    """Returns the ids of the jobs that a request names.

    Raises:
        DomainError: INVALID_FIELD.
    """
    problems = list(known)
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
