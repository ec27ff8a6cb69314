"""Stopping jobs on their clusters: by cancelling, or with a savepoint."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import structlog

from streamgauge_server.flink.client import FlinkClient
from streamgauge_server.flink.errors import FlinkError, NotFound, Refused, TooLarge, Unreachable
from streamgauge_server.model.clock import MICROS_PER_SECOND
from streamgauge_server.model.entities import Caller
from streamgauge_server.model.errors import DomainError, Reason, Violation, invalid
from streamgauge_server.model.jobs import OUTCOMES, Job, JobRun, JobState, Stop, StopMode, job_state
from streamgauge_server.model.names import SubjectName, text_problem
from streamgauge_server.model.values import SubjectKind
from streamgauge_server.services.auth import require_scope
from streamgauge_server.services.job_looks import JobLooks
from streamgauge_server.services.job_observer import JobObserver
from streamgauge_server.services.jobs import JobCatalog
from streamgauge_server.services.run_ids import find_run, run_id_problem
from streamgauge_server.services.savepoints import Savepoint, Savepoints
from streamgauge_server.storage.records import SubjectGone
from streamgauge_server.storage.store import Store

STOP = "stop:jobs"
MAX_WAIT = 300 * MICROS_PER_SECOND
MAX_DIRECTORY_BYTES = 1_024

LOOK_SECONDS = 10.0
"""How long a stop waits for a look at a job of which no active run is known."""
ANSWERING = 0.5
"""Seconds of a caller's time that are kept for the answer."""
_POLL_SECONDS = 0.25
_SLOWEST_POLL_SECONDS = 2.0

_log = structlog.stdlib.get_logger("streamgauge.jobs")


@dataclass(frozen=True, slots=True)
class StopAsked:
    """What is to be stopped, and how. `wait` is in microseconds, None for not at all.

    `remaining` is how many seconds the caller still waits, None where it does not say. `problems` are what the edge
    found wrong.
    """

    job: str
    run_id: str = ""
    mode: StopMode = StopMode.CANCEL
    drain: bool = False
    directory: str = ""
    wait: int | None = None
    remaining: float | None = None
    problems: Sequence[Violation] = ()


@dataclass(frozen=True, slots=True)
class Stopped:
    """What became of a request to stop, with the run as last observed."""

    run: JobRun
    accepted: bool
    already_stopped: bool = False
    location: str = ""
    messages: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class _Target:
    """A run that is being stopped, where it runs, and until when (by the loop's clock) the caller waits."""

    tenant: str
    job: Job
    run: JobRun
    client: FlinkClient
    until: float

    @property
    def name(self) -> str:
        return str(SubjectName(SubjectKind.JOB, self.job.id))

    def left(self) -> float:
        return max(0.0, self.until - asyncio.get_running_loop().time())


class JobStopper:
    """Stops jobs; one instance serves all callers."""

    def __init__(
        self,
        store: Store,
        catalog: JobCatalog,
        clusters: Mapping[tuple[str, str], FlinkClient],
        looks: JobLooks,
        observer: JobObserver,
        savepoints: Savepoints,
    ) -> None:
        """`clusters` are those that this server can ask, by tenant and name."""
        self._store = store
        self._catalog = catalog
        self._clusters = clusters
        self._looks = looks
        self._observer = observer
        self._savepoints = savepoints

    async def stop(self, caller: Caller, asked: StopAsked) -> Stopped:
        """Stops a run of a job: returns when its cluster has accepted, or with `wait` when the run has ended.

        Raises:
            DomainError: SCOPE_MISSING, INVALID_FIELD, JOB_NOT_FOUND also when the cluster does not know the run,
                JOB_AMBIGUOUS, JOB_NOT_STOPPABLE also when the savepoint failed, CLUSTER_UNREACHABLE,
                STORE_UNAVAILABLE.
        """
        require_scope(caller, STOP)
        if problems := _problems(asked):
            raise invalid(problems)
        job, run = await self._find(caller, asked)
        name = str(SubjectName(SubjectKind.JOB, job.id))
        if run is None:
            raise _not_stoppable(name, None, "no run of it is known")
        if run.ended:
            return Stopped(run, False, True, await self._location(run))
        client = self._clusters.get((caller.tenant, run.cluster))
        if client is None:
            where = f"it runs on cluster {run.cluster!r}, which this server's settings do not name"
            raise _not_stoppable(
                name, run, where if run.cluster else "its own runner reports it, and alone can stop it"
            )
        target = _Target(caller.tenant, job, run, client, _until(asked))
        log = _log.bind(tenant=caller.tenant, token=caller.token_id, job=name, run_id=run.run_id, cluster=run.cluster)
        log.info("stopping a job", mode=asked.mode.name, drain=asked.drain, directory=asked.directory)
        try:
            stopped = await self._stop(caller, target, asked)
        except DomainError as error:
            log.warning("the job was not stopped", reason=error.reason.name, error=error.message)
            raise
        except FlinkError as error:
            log.warning("the job was not stopped", reason=Reason.CLUSTER_UNREACHABLE.name, error=error.reason)
            raise _unreachable(run.cluster, error.reason) from error
        log.info("stopped a job", accepted=stopped.accepted, state=stopped.run.state.name, location=stopped.location)
        return stopped

    async def _find(self, caller: Caller, asked: StopAsked) -> tuple[Job, JobRun | None]:
        """Returns the job and the run that is meant: the one that is named, or the only active one, or the last one."""
        id = await self._catalog.resolve_id(caller, asked.job)
        stored = await self._store.jobs.status(caller.tenant, id)
        if asked.run_id:
            return stored.job, await find_run(self._store, stored.job, asked.run_id)
        if stored.job.run is None and (client := self._clusters.get((caller.tenant, stored.job.cluster))):
            cluster = stored.job.cluster
            seen = await self._looks.at(client, caller.tenant, cluster, stored, within=LOOK_SECONDS)
            if seen.problem:
                raise _unreachable(cluster, seen.problem)
            stored = await self._store.jobs.status(caller.tenant, id)
        if len(stored.active) > 1:
            name = str(SubjectName(SubjectKind.JOB, id))
            runs = ", ".join(run.run_id for run in stored.active[:10])
            raise DomainError(
                Reason.JOB_AMBIGUOUS,
                f"{name} has {len(stored.active)} active runs, name one of them: {runs}",
                metadata={"name": name},
            )
        return stored.job, stored.job.run

    async def _stop(self, caller: Caller, target: _Target, asked: StopAsked) -> Stopped:
        state = await self._state(target)
        if state in OUTCOMES:
            return await self._ended_before(target)
        new = uuid.uuid4().hex
        try:
            if asked.mode == StopMode.CANCEL:
                stop = await self._store.job_stops.begin(
                    target.run.number, new, StopMode.CANCEL, requested_by=caller.token_id
                )
                return await self._cancel(target, stop)
            return await self._with_savepoint(caller, target, asked, new)
        except SubjectGone as gone:
            raise _no_such_run(target, "it was deleted meanwhile") from gone

    async def _cancel(self, target: _Target, stop: Stop) -> Stopped:
        jid = target.run.run_id
        try:
            try:
                await target.client.cancel(jid)
            except Unreachable as error:
                if not error.may_have_arrived:
                    raise
                # It may be under way. To cancel twice does no harm, but only what is seen to go on is asked again.
                state = await self._state(target)
                if state != JobState.CANCELLING and state not in OUTCOMES:
                    await target.client.cancel(jid)
        except NotFound as error:
            await self._finish(stop, failure=error.reason)
            raise _no_such_run(target, "its cluster does not know it any more") from error
        except Refused as error:
            await self._finish(stop, failure=error.reason)
            run = await self._look(target)
            if run.ended:  # it was faster
                return Stopped(run, False, True)
            raise _not_stoppable(target.name, run, error.reason) from error
        except FlinkError as error:
            await self._finish(stop, failure=error.reason)
            raise
        await self._finish(stop)
        return Stopped(await self._wait_for_end(target), True)

    async def _with_savepoint(self, caller: Caller, target: _Target, asked: StopAsked, new: str) -> Stopped:
        begun = await self._savepoints.begin(
            target.client, target.run, new, drain=asked.drain, directory=asked.directory, requested_by=caller.token_id
        )
        messages = []
        if begun.stop.trigger_id != new:
            messages.append("a stop with a savepoint was under way already, and goes on as it was asked for then")
        if begun.refusal:
            raise _not_stoppable(target.name, target.run, begun.refusal)
        made: Savepoint | None = None
        if left := target.left():
            made = await self._savepoints.wait(target.client, target.run, begun.stop, within=left)
        if made is None:
            messages.append("the savepoint is not complete yet")
            return Stopped(await self._look(target), True, messages=messages)
        if made.job_unknown:
            # It ended, or the cluster lost it, before the stop reached it.
            state = await self._state(target)
            if state in OUTCOMES:
                return await self._ended_before(target)
        if made.failure:
            raise _not_stoppable(
                target.name, await self._look(target), f"the savepoint failed, and the run goes on: {made.failure}"
            )
        return Stopped(await self._wait_for_end(target), True, location=made.location, messages=messages)

    async def _state(self, target: _Target) -> JobState:
        """Returns the state of the run as its cluster tells it.

        Raises:
            DomainError: JOB_NOT_FOUND when the cluster does not know the run, asked twice.
        """
        try:
            return job_state(await target.client.status(target.run.run_id))
        except NotFound:
            pass  # a job manager that is just recovering its jobs does not know them either
        jobs = {one.jid: one for one in await target.client.jobs()}
        if target.run.run_id not in jobs:
            raise _no_such_run(target, "its cluster does not know it any more")
        return job_state(jobs[target.run.run_id].state_text)

    async def _wait_for_end(self, target: _Target) -> JobRun:
        """Returns the run when it has ended, or when the caller waits no longer; as it is seen then."""
        pause = _POLL_SECONDS
        while (left := target.left()) > 0:
            try:
                if job_state(await target.client.status(target.run.run_id)) in OUTCOMES:
                    break
            except NotFound:
                break
            except (Unreachable, TooLarge):
                pass  # it was accepted: an answer later on is as good
            await asyncio.sleep(min(pause, left))
            pause = min(2 * pause, _SLOWEST_POLL_SECONDS)
        return await self._look(target)

    async def _ended_before(self, target: _Target) -> Stopped:
        run = await self._look(target)
        return Stopped(run, False, True, await self._location(run))

    async def _look(self, target: _Target) -> JobRun:
        """Returns the run after a look at it, or as it is stored if there is no answer now."""
        try:
            return await self._observer.observe(
                target.client, target.tenant, target.run.cluster, target.job, target.run.run_id, known=target.run
            )
        except FlinkError as error:
            _log.info("no look at a run that is being stopped", run_id=target.run.run_id, error=error.reason)
        return await self._store.job_runs.get(target.job.number, target.run.run_id) or target.run

    async def _location(self, run: JobRun) -> str:
        """Returns where the savepoint is with which a run was stopped; empty if it was not."""
        stops = await self._store.job_stops.of_run(run.number)
        return next((stop.location for stop in stops if stop.location), "")

    async def _finish(self, stop: Stop, *, failure: str = "") -> None:
        await self._store.job_stops.finish(stop.run, stop.trigger_id, failure=failure)


def _problems(asked: StopAsked) -> list[Violation]:
    found = list(asked.problems)
    if asked.run_id and (problem := run_id_problem(asked.run_id)):
        found.append(Violation("run_id", problem))
    if asked.mode != StopMode.SAVEPOINT:
        for field, given in (("drain", asked.drain), ("savepoint_directory", asked.directory)):
            if given:
                found.append(Violation(field, "goes with mode SAVEPOINT alone"))
    if problem := text_problem(asked.directory, MAX_DIRECTORY_BYTES):
        found.append(Violation("savepoint_directory", problem))
    if asked.wait is not None and not 0 <= asked.wait <= MAX_WAIT:
        found.append(Violation("wait", f"must be 0 s to 300 s, is {asked.wait / MICROS_PER_SECOND:.16g} s"))
    return found


def _until(asked: StopAsked) -> float:
    """Returns until when the caller waits for the end of the run, by the loop's clock."""
    seconds = (asked.wait or 0) / MICROS_PER_SECOND
    if asked.remaining is not None:
        seconds = min(seconds, asked.remaining - ANSWERING)
    return asyncio.get_running_loop().time() + seconds


def _not_stoppable(name: str, run: JobRun | None, why: str) -> DomainError:
    return DomainError(
        Reason.JOB_NOT_STOPPABLE,
        f"{name} cannot be stopped: {why}",
        metadata={"name": name, "state": "" if run is None else run.state_text},
    )


def _no_such_run(target: _Target, why: str) -> DomainError:
    return DomainError(
        Reason.JOB_NOT_FOUND, f"{target.name} has no run {target.run.run_id}: {why}", metadata={"name": target.name}
    )


def _unreachable(cluster: str, problem: str) -> DomainError:
    return DomainError(
        Reason.CLUSTER_UNREACHABLE,
        f"cluster {cluster!r} cannot be asked: {problem}",
        metadata={"cluster": cluster},
        retry_after=1.0,
    )
