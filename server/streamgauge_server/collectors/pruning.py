"""Old entries of the log of changes of jobs are removed now and then."""

from __future__ import annotations

import asyncio

import structlog

from streamgauge_server.model.clock import MICROS_PER_DAY, Clock
from streamgauge_server.model.errors import DomainError
from streamgauge_server.storage.store import Store

KEPT_DAYS = 30
"""For how long the changes of jobs can be read by those who watch them."""
INTERVAL_SECONDS = 3_600.0

_log = structlog.stdlib.get_logger("streamgauge.pruning")


async def prune_once(store: Store, clock: Clock) -> int:
    """Removes what is older than 30 days; returns how many entries that were.

    Raises:
        DomainError: STORE_UNAVAILABLE.
    """
    total = 0
    while removed := await store.job_runs.prune(clock.now() - KEPT_DAYS * MICROS_PER_DAY):
        total += removed
    return total


async def keep_pruning(store: Store, clock: Clock) -> None:
    """Removes old entries at once and then every hour, until it is cancelled."""
    while True:
        try:
            removed = await prune_once(store, clock)
            if removed:
                _log.info("removed old changes of jobs", removed=removed)
        except DomainError as error:
            _log.warning("old changes of jobs are not removed", problem=error.message)
        await asyncio.sleep(INTERVAL_SECONDS)
