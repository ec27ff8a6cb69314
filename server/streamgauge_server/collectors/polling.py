"""One poll of a Flink cluster: the states of all runs, then the details of as many as may be asked for."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import structlog

from streamgauge_server.collectors.following import FIRST_PAUSE, Followed, reading_order, speakers, speaks
from streamgauge_server.collectors.health import ClusterMetrics
from streamgauge_server.collectors.job_matching import JobMatcher
from streamgauge_server.flink.client import FlinkClient
from streamgauge_server.flink.cluster import JobSummary
from streamgauge_server.flink.errors import Cause, FlinkError, NotFound, TooLarge, Unreachable
from streamgauge_server.model.clock import Clock
from streamgauge_server.model.errors import DomainError, Reason
from streamgauge_server.model.jobs import JobRun, JobState
from streamgauge_server.model.limits import Limits
from streamgauge_server.services.clusters import ClusterConfig
from streamgauge_server.services.job_observer import JobObserver
from streamgauge_server.services.run_reading import Observed, is_news, summary_update
from streamgauge_server.storage.records import SubjectGone
from streamgauge_server.storage.store import Store

CONCURRENCY = 4
"""Runs that are read at the same time: Flink answers REST requests in four threads by default."""
READING_SECONDS = 20.0
"""How long reading one run may take."""
SHARE_OF_INTERVAL = 0.8
"""No run is begun to be read later than this in the interval between polls."""
SILENCES = 3
"""After so many readings in a row without an answer, the others of a poll are put off."""
STORED_AT_ONCE, READ_AT_ONCE = 1_000, 50
"""Runs whose states, and runs whose details, are stored in one transaction."""
SAID_EVERY_SECONDS = 600.0
"""How often the version and the refresh interval of a cluster that answers are asked for."""

_log = structlog.stdlib.get_logger("streamgauge.collector")


@dataclass(frozen=True, slots=True)
class Polled:
    """What a poll found. `problem` is what went wrong although the cluster answered, in a few words."""

    active_runs: int
    version: str
    problem: str = ""


@dataclass(slots=True)
class _Reading:
    """How the reading of details goes: until when, up to which request, and who speaks for which job."""

    deadline: float
    requests: int
    speakers: Mapping[int, JobRun]
    silences: int = 0


class ClusterPoller:
    """Polls one cluster; remembers what it follows from one poll to the next, and nothing that the store has not."""

    def __init__(
        self,
        config: ClusterConfig,
        client: FlinkClient,
        store: Store,
        clock: Clock,
        limits: Limits,
        observer: JobObserver,
        metrics: ClusterMetrics,
    ) -> None:
        self._config = config
        self._client = client
        self._store = store
        self._clock = clock
        self._observer = observer
        self._metrics = metrics
        self._matcher = JobMatcher(store, config.tenant, config.name, limits, register_all=config.register_all)
        self._followed: dict[str, Followed] = {}
        self._settled: set[str] = set()
        """Runs in the overview that need nothing any more."""
        self._version = ""
        self._refresh_seconds = 0.0
        self._said_at: float | None = None
        self._log = _log.bind(cluster=config.name, tenant=config.tenant)

    async def poll(self) -> Polled:
        """Asks the cluster for its jobs, stores what is new, and reads details of runs.

        What goes wrong with single runs is counted, logged, and tried again later.

        Raises:
            FlinkError: the cluster gave no overview. Nothing has changed then.
            DomainError: STORE_UNAVAILABLE.
        """
        deadline = time.monotonic() + SHARE_OF_INTERVAL * self._config.poll_seconds
        sent = self._client.requests_sent
        summaries = {summary.jid: summary for summary in await self._client.jobs()}
        now = self._clock.now()
        await self._ask_what_it_is()
        await self._recall()
        problem = await self._meet(summaries)
        await self._store_all(self._changes(summaries, now), STORED_AT_ONCE)
        self._settled &= summaries.keys()
        budget = max(1, round(self._config.requests_per_second * self._config.poll_seconds))
        await self._read_details(deadline, sent + budget)
        self._metrics.runs.set(len(self._followed))
        active = sum(not summary.state.terminal for summary in summaries.values())
        return Polled(active, self._version, problem)

    def unknown_again(self) -> None:
        """Forgets what the cluster is: it may be another one when it answers again."""
        self._said_at = None

    def begin_anew(self) -> None:
        """Forgets everything: another process may have polled the cluster meanwhile."""
        self._followed, self._settled, self._said_at = {}, set(), None

    async def _ask_what_it_is(self) -> None:
        now = time.monotonic()
        if self._said_at is None or now - self._said_at > SAID_EVERY_SECONDS:
            config = await self._client.config()
            self._version = config.version or (await self._client.overview()).version
            self._refresh_seconds = config.refresh_interval_ms / 1_000
            self._said_at = now

    async def _recall(self) -> None:
        """Makes what is followed agree with the store: others may have written there."""
        stored = await self._store.job_runs.active(self._config.tenant, self._config.name)
        if any(number not in self._matcher.by_number for number, _ in stored):
            await self._matcher.read()
        followed: dict[str, Followed] = {}
        for number, run in stored:
            job = self._matcher.by_number.get(number)
            if job is None:
                continue  # deleted between the two reads
            entry = self._followed.get(run.run_id)
            if entry is None or entry.job.number != number:
                entry = Followed(job, run)
            entry.stored(run, self._refresh_seconds)
            followed[run.run_id] = entry
        for gone in self._followed.keys() - followed.keys():
            self._observer.reader(self._client).forget(gone)
        self._followed = followed

    async def _meet(self, summaries: Mapping[str, JobSummary]) -> str:
        """Finds the jobs of runs that are not followed; returns what went wrong, in a few words."""
        new = {jid for jid in summaries if jid not in self._followed and jid not in self._settled}
        if not new:
            return ""
        found = await self._store.job_runs.find(self._config.tenant, self._config.name, new)
        if any(number not in self._matcher.by_number for number, _ in found.values()):
            await self._matcher.read()
        for jid, (number, run) in found.items():
            if run.ended and run.final_figures:
                self._settled.add(jid)
            elif (job := self._matcher.by_number.get(number)) is not None:
                self._followed[jid] = Followed(job, run)
        names = {jid: summaries[jid].name for jid in new - found.keys()}
        try:
            jobs = await self._matcher.match(names) if names else {}
        except DomainError as error:
            if error.reason == Reason.STORE_UNAVAILABLE:
                raise
            self._metrics.failed("registration")
            self._log.warning("jobs cannot be registered", problem=error.message)
            return f"jobs cannot be registered: {error.message}"
        for jid, job in jobs.items():
            self._followed[jid] = Followed(job, _not_stored(jid, self._config.name))
        return ""

    def _changes(self, summaries: Mapping[str, JobSummary], now: int) -> list[Observed]:
        """Returns what the overview says that is not stored."""
        changes: list[Observed] = []
        for jid, entry in self._followed.items():
            summary = summaries.get(jid)
            if summary is None:
                absence = entry.absence(self._config.name, now)
                if absence is not None:
                    changes.append(Observed(entry.job, absence))
                continue
            entry.seen(summary)
            if entry.run.number == 0 or is_news(entry.run, summary):
                entry.news = True
                update = summary_update(entry.job.number, self._config.name, summary, now)
                changes.append(Observed(entry.job, update))
        return changes

    async def _store_all(self, seen: Sequence[Observed], at_once: int) -> None:
        for at in range(0, len(seen), at_once):
            await self._store_some(seen[at : at + at_once])

    async def _store_some(self, seen: Sequence[Observed]) -> None:
        """Stores what was seen of runs in one transaction, and without those that cannot be stored.

        Runs of jobs that were deleted are met anew at the next poll.
        """
        while seen:
            try:
                self._take_over(await self._observer.store(self._config.tenant, seen))
                return
            except SubjectGone as gone:
                self._drop(gone.subject_ids)
                seen = [one for one in seen if one.job.number not in gone.subject_ids]
            except DomainError as error:
                if error.reason == Reason.STORE_UNAVAILABLE:
                    raise
                if len(seen) == 1:
                    self._refused(seen[0], error)
                    return
                for one in seen:
                    await self._store_some([one])
                return

    def _refused(self, seen: Observed, error: DomainError) -> None:
        self._metrics.failed(cause_of(error))
        self._log.error("run cannot be stored", run_id=seen.update.run_id, job=seen.job.id, problem=error.message)
        if entry := self._followed.get(seen.update.run_id):
            entry.put_off()

    def _take_over(self, runs: Iterable[JobRun]) -> None:
        for run in runs:
            entry = self._followed.get(run.run_id)
            if entry is None:
                continue
            entry.stored(run, self._refresh_seconds)
            if run.number == 0 or (run.ended and run.final_figures):
                # Number 0: the job has had a thousand later runs.
                del self._followed[run.run_id]
                self._settled.add(run.run_id)
            elif run.lost:
                self._log.warning("run is lost", run_id=run.run_id, job=entry.job.id, state=run.state_text)
                del self._followed[run.run_id]
                self._observer.reader(self._client).forget(run.run_id)

    def _drop(self, jobs: Iterable[int]) -> None:
        gone = frozenset(jobs)
        self._followed = {jid: entry for jid, entry in self._followed.items() if entry.job.number not in gone}

    async def _read_details(self, deadline: float, requests: int) -> None:
        waiting = deque(reading_order(self._followed.values()))
        reading = _Reading(deadline, requests, speakers(self._followed.values()))
        while waiting and self._may_read(reading):
            part = deque(waiting.popleft() for _ in range(min(READ_AT_ONCE, len(waiting))))
            seen: list[Observed] = []
            await asyncio.gather(*(self._read_some(part, reading, seen) for _ in range(CONCURRENCY)))
            waiting.extendleft(reversed(part))
            await self._store_some(seen)
        self._metrics.skipped.inc(len(waiting))

    def _may_read(self, reading: _Reading) -> bool:
        return (
            time.monotonic() < reading.deadline
            and self._client.requests_sent < reading.requests
            and reading.silences < SILENCES
        )

    async def _read_some(self, waiting: deque[Followed], reading: _Reading, seen: list[Observed]) -> None:
        while waiting and self._may_read(reading):
            one = await self._read(waiting.popleft(), reading)
            if one is not None:
                seen.append(one)

    async def _read(self, entry: Followed, reading: _Reading) -> Observed | None:
        run_id = entry.run.run_id
        try:
            async with asyncio.timeout(READING_SECONDS):
                seen = await self._observer.reader(self._client).read(
                    self._config.name, entry.job, run_id, entry.run, accept_incomplete=entry.accept_incomplete
                )
        except NotFound:
            return None  # it has just gone; whether it is lost is decided by the overview
        except (FlinkError, TimeoutError) as error:
            self._put_off(entry, error)
            silent = not isinstance(error, Unreachable) or error.cause in (Cause.CONNECTION, Cause.TIMEOUT)
            reading.silences += silent and not isinstance(error, TooLarge)
            return None
        except Exception:
            self._metrics.failed("internal")
            self._log.exception("run cannot be read", run_id=run_id)
            entry.put_off()
            return None
        reading.silences = 0
        self._metrics.read.inc()
        if seen.problem is not None:
            self._put_off(entry, seen.problem)
        elif seen.update.final_figures or not entry.run.ended:
            entry.news = False
            entry.pause = FIRST_PAUSE
        if not speaks(entry.run, seen.update.end_time, reading.speakers.get(entry.job.number)):
            seen = seen.without_figures()
        return seen

    def _put_off(self, entry: Followed, error: FlinkError | TimeoutError) -> None:
        entry.put_off()
        cause = cause_of(error)
        self._metrics.failed(cause)
        self._log.warning("run cannot be read", run_id=entry.run.run_id, cause=cause, problem=str(error))


def _not_stored(run_id: str, cluster: str) -> JobRun:
    """Returns what stands for a run until it is stored: number 0."""
    return JobRun(number=0, run_id=run_id, ordinal=0, cluster=cluster, state=JobState.OTHER, state_text="")


def cause_of(error: BaseException) -> str:
    """Returns the word by which an error is counted."""
    if isinstance(error, Unreachable):
        return error.cause.value
    if isinstance(error, TooLarge):
        return "too-large"
    if isinstance(error, TimeoutError):
        return Cause.TIMEOUT.value
    if isinstance(error, DomainError):
        return error.reason.name.lower().replace("_", "-")
    return "refused" if isinstance(error, FlinkError) else "internal"
