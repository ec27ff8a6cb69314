"""Stops with a savepoint: begun under an id that is stored first, and followed to their end whoever waits."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from enum import Enum
from functools import partial

import structlog

from streamgauge_server.flink.client import FlinkClient
from streamgauge_server.flink.errors import FlinkError, NotFound, Refused, Unreachable
from streamgauge_server.model.jobs import JobRun, Stop, StopMode
from streamgauge_server.storage.store import Store

FOLLOW_SECONDS = 1_800.0
"""How long a savepoint is followed. One that takes longer is found again by asking to stop the run once more."""

_POLL_SECONDS = 0.25
_SLOWEST_POLL_SECONDS = 5.0

_log = structlog.stdlib.get_logger("streamgauge.jobs")


@dataclass(frozen=True, slots=True)
class Begun:
    """A stop that is under way, be it since an earlier request; `refusal` is why the cluster has refused it."""

    stop: Stop
    refusal: str = ""


@dataclass(frozen=True, slots=True)
class Savepoint:
    """What became of a stop: where the savepoint is, or why there is none. `job_unknown`: there was no such run."""

    location: str = ""
    failure: str = ""
    job_unknown: bool = False


class Savepoints:
    """Begins stops with savepoints and follows them; one instance serves all callers. `await close()` at the end.

    What Flink says of a savepoint it forgets after minutes, and a restart needs to know where it is. So each is
    followed, and its outcome stored, also when nobody waits for it.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._followed: dict[str, asyncio.Task[Savepoint | None]] = {}

    async def close(self) -> None:
        """Follows no more."""
        tasks = list(self._followed.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def begin(
        self, client: FlinkClient, run: JobRun, trigger_id: str, *, drain: bool, directory: str, requested_by: str
    ) -> Begun:
        """Begins to stop a run, or goes on with a stop that is under way.

        An earlier one of which the cluster knows nothing is asked for again under its own id if it is the same request,
        and given up otherwise.

        Raises:
            SubjectGone: the run was deleted.
            FlinkError: the cluster cannot be asked. Then the stop may be under way; the next `begin` tells.
            DomainError: STORE_UNAVAILABLE.
        """
        stop = await self._begin(run, trigger_id, drain, directory, requested_by)
        if stop.trigger_id != trigger_id:
            outcome = await _outcome(client, run, stop)
            is_same = (stop.drain, stop.directory) == (drain, directory)
            if outcome is _Open.UNDER_WAY:
                self._follow(client, run, stop)
                return Begun(stop)
            if isinstance(outcome, Savepoint):
                await self._finish(stop, outcome)
                if outcome.location:
                    return Begun(stop)
            elif not is_same:
                await self._finish(stop, Savepoint(failure="it never reached its cluster, or was forgotten there"))
            if isinstance(outcome, Savepoint) or not is_same:
                stop = await self._begin(run, trigger_id, drain, directory, requested_by)
        try:
            await _trigger(client, run, stop)
        except Refused as error:
            await self._finish(stop, Savepoint(failure=error.reason))
            return Begun(stop, error.reason)
        self._follow(client, run, stop)
        return Begun(stop)

    async def wait(self, client: FlinkClient, run: JobRun, stop: Stop, *, within: float) -> Savepoint | None:
        """Returns what becomes of a stop, None if that is not known within so many seconds."""
        task = self._follow(client, run, stop)
        done, _ = await asyncio.wait([task], timeout=within)
        return task.result() if done else None

    async def _begin(self, run: JobRun, trigger_id: str, drain: bool, directory: str, requested_by: str) -> Stop:
        return await self._store.job_stops.begin(
            run.number, trigger_id, StopMode.SAVEPOINT, drain=drain, directory=directory, requested_by=requested_by
        )

    def _follow(self, client: FlinkClient, run: JobRun, stop: Stop) -> asyncio.Task[Savepoint | None]:
        task = self._followed.get(stop.trigger_id)
        if task is None:
            follow = self._until_complete(client, run, stop)
            task = self._followed[stop.trigger_id] = asyncio.create_task(follow, name=f"savepoint {stop.trigger_id}")
            task.add_done_callback(partial(self._ended, stop))
        return task

    def _ended(self, stop: Stop, task: asyncio.Task[Savepoint | None]) -> None:
        del self._followed[stop.trigger_id]
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.warning("a savepoint is not followed any more", trigger_id=stop.trigger_id, error=str(error))

    async def _until_complete(self, client: FlinkClient, run: JobRun, stop: Stop) -> Savepoint | None:
        """Returns what became of a stop, None if it takes too long."""
        pause = _POLL_SECONDS
        loop = asyncio.get_running_loop()
        end = loop.time() + FOLLOW_SECONDS
        while loop.time() < end:
            try:
                outcome = await _outcome(client, run, stop)
            except FlinkError as error:
                _log.info("no word of a savepoint", trigger_id=stop.trigger_id, error=error.reason)
                outcome = _Open.UNDER_WAY
            if outcome is _Open.UNKNOWN:
                outcome = Savepoint(failure="its cluster has forgotten about it")
            if isinstance(outcome, Savepoint):
                await self._finish(stop, outcome)
                return outcome
            await asyncio.sleep(pause)
            pause = min(2 * pause, _SLOWEST_POLL_SECONDS)
        _log.warning("a savepoint is not followed any more", trigger_id=stop.trigger_id, seconds=FOLLOW_SECONDS)
        return None

    async def _finish(self, stop: Stop, outcome: Savepoint) -> None:
        await self._store.job_stops.finish(
            stop.run, stop.trigger_id, location=outcome.location, failure=outcome.failure
        )
        if outcome.location:
            _log.info("a savepoint is complete", trigger_id=stop.trigger_id, location=outcome.location)
        else:
            _log.warning("a savepoint failed", trigger_id=stop.trigger_id, error=outcome.failure)


class _Open(Enum):
    """A stop of which nothing has become yet."""

    UNDER_WAY = "under way"
    UNKNOWN = "unknown to its cluster"


async def _outcome(client: FlinkClient, run: JobRun, stop: Stop) -> Savepoint | _Open:
    """Returns what became of a stop as its cluster tells it."""
    try:
        told = await client.savepoint(run.run_id, stop.trigger_id)
    except NotFound:
        return _Open.UNKNOWN
    if not told.completed:
        return _Open.UNDER_WAY
    return Savepoint(told.location, told.failure, told.job_unknown)


async def _trigger(client: FlinkClient, run: JobRun, stop: Stop) -> None:
    async def ask() -> None:
        await client.stop(
            run.run_id, trigger_id=stop.trigger_id, drain=stop.drain, target_directory=stop.directory or None
        )

    try:
        await ask()
    except Unreachable as error:
        if not error.may_have_arrived:
            raise
        # Under the same id it does not stop twice, but only what has not arrived is asked for again.
        if await _outcome(client, run, stop) is _Open.UNKNOWN:
            await ask()
