"""Old entries of the log of changes of jobs are removed now and then."""

from __future__ import annotations

import asyncio

import structlog

from streamgauge_server.collectors.background import begin, end
from streamgauge_server.model.clock import MICROS_PER_DAY, Clock
from streamgauge_server.model.errors import DomainError
from streamgauge_server.storage.store import Store

KEPT_DAYS = 30
"""For how long the changes of jobs can be read by those who watch them."""
INTERVAL_SECONDS = 3_600.0

_log = structlog.stdlib.get_logger("streamgauge.pruning")


class Pruner:
    """Removes old changes of all tenants' jobs at once and then every hour: `start`, and in the end `await stop()`."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begins."""
        self._task = begin(self._run(), "prune changes of jobs")

    async def stop(self) -> None:
        """Ends it; a transaction under way is committed or not, as the store sees fit."""
        if self._task is not None:
            await end([self._task])

    async def prune(self) -> int:
        """Removes what is older than 30 days; returns how many entries that were.

        Raises:
            DomainError: STORE_UNAVAILABLE.
        """
        total = 0
        while removed := await self._store.job_runs.prune(self._clock.now() - KEPT_DAYS * MICROS_PER_DAY):
            total += removed
        return total

    async def _run(self) -> None:
        while True:
            try:
                if removed := await self.prune():
                    _log.info("removed old changes of jobs", removed=removed)
            except DomainError as error:
                _log.warning("old changes of jobs are not removed", problem=error.message)
            await asyncio.sleep(INTERVAL_SECONDS)
