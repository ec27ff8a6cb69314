"""Keeps notes of positions and compacts blocks in the background, within a share of a core."""

from __future__ import annotations

import asyncio

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge

from streamgauge_server.collectors.background import begin, end, rest
from streamgauge_server.model.clock import MICROS_PER_SECOND, Clock
from streamgauge_server.model.errors import DomainError
from streamgauge_server.services.compaction import Compacted, Compactor
from streamgauge_server.storage.compaction import Queue
from streamgauge_server.storage.store import Store

INTERVAL_SECONDS = 60.0
"""How often positions are noted, and how often it is looked for something to fold when there was nothing."""
YIELD_SECONDS = 0.002
MOST_YIELDS = 50
"""While appends wait, a piece of work is put off by this much so many times."""

_log = structlog.stdlib.get_logger("streamgauge.compaction")


class CompactionMetrics:
    """What compaction does, as metrics for Prometheus."""

    def __init__(self, registry: CollectorRegistry) -> None:
        prefix = "streamgauge_compaction_"
        self._days = Counter(f"{prefix}days", "Days of subjects that were looked at.", registry=registry)
        self._blocks = Counter(f"{prefix}blocks_read", "Blocks that were folded with others.", registry=registry)
        self._folded = Counter(f"{prefix}blocks_written", "Blocks that they became.", registry=registry)
        self._rows = Counter(f"{prefix}rows", "Moments in the blocks that were written.", registry=registry)
        self._before = Counter(f"{prefix}bytes_read", "Bytes of samples before.", registry=registry)
        self._after = Counter(f"{prefix}bytes_written", "Bytes of the same samples after.", registry=registry)
        self._conflicts = Counter(
            f"{prefix}conflicts", "Folds that were given up because a block had changed meanwhile.", registry=registry
        )
        self._seconds = Counter(f"{prefix}seconds", "Time spent working.", registry=registry)
        self._damaged = Gauge(
            f"{prefix}damaged_blocks", "Damaged blocks that were left as they are.", registry=registry
        )
        self._queue = Gauge(f"{prefix}due_days", "Days of subjects that wait to be looked at.", registry=registry)
        self._lag = Gauge(f"{prefix}lag_seconds", "For how long the first of them has been waiting.", registry=registry)

    def count(self, done: Compacted, damaged: int) -> None:
        """Adds what was done; `damaged` is how many damaged blocks are known."""
        self._days.inc(done.days)
        self._blocks.inc(done.blocks)
        self._folded.inc(done.folded)
        self._rows.inc(done.rows)
        self._before.inc(done.bytes_before)
        self._after.inc(done.bytes_after)
        self._conflicts.inc(done.conflicts)
        self._seconds.inc(done.seconds)
        self._damaged.set(damaged)

    def tell(self, queue: Queue, now: int) -> None:
        """Tells how much waits."""
        self._queue.set(queue.days)
        self._lag.set(0 if queue.oldest is None else max(0, now - queue.oldest) / MICROS_PER_SECOND)


class CompactionWorker:
    """Runs as long as a server does: `start`, and in the end `await stop()`. It may be killed at any moment.

    Each piece of work, some milliseconds, is followed by a rest that keeps it within its share of the time, and by more
    while appends wait for their commit.
    """

    def __init__(
        self, store: Store, clock: Clock, *, horizon: int, share: float, fold: bool, metrics: CompactionMetrics
    ) -> None:
        """`horizon` in microseconds. `share` is the part of a core that it may take; without `fold` it only notes."""
        self._store = store
        self._clock = clock
        self._horizon = horizon
        self._share = share
        self._fold = fold
        self._metrics = metrics
        self._compactor = Compactor(store, clock, horizon=horizon)
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begins."""
        self._tasks.append(begin(self._note(), "note positions"))
        if self._fold:
            self._tasks.append(begin(self._run(), "compact blocks"))

    async def stop(self) -> None:
        """Ends it; a transaction under way is committed or not, as the store sees fit."""
        await end(self._tasks)

    async def _note(self) -> None:
        adopted = False
        while True:
            try:
                if not adopted and await self._store.positions.adopt():
                    _log.warning("the store was restored from elsewhere: cursors of before are not valid any more")
                adopted = True
                await self._store.positions.note(self._horizon)
            except DomainError as error:
                _log.warning("the position is not noted", problem=error.message)
            await asyncio.sleep(INTERVAL_SECONDS)

    async def _run(self) -> None:
        while True:
            try:
                done = await self._compactor.run(self._pace)
                self._metrics.count(done, self._compactor.damaged)
                self._metrics.tell(await self._store.compactions.queue(), self._clock.now())
            except DomainError as error:
                _log.warning("blocks are not compacted", problem=error.message)
                done = Compacted()
            if done.folded:
                _log.info(
                    "compacted",
                    days=done.days,
                    blocks=done.blocks,
                    into=done.folded,
                    bytes=done.bytes_before,
                    to_bytes=done.bytes_after,
                    seconds=round(done.seconds, 3),
                )
            if not done.days:
                await asyncio.sleep(INTERVAL_SECONDS)

    async def _pace(self, seconds: float) -> None:
        await rest(seconds, self._share)
        for _ in range(MOST_YIELDS):
            if not self._store.blocks.appends_waiting:
                break
            await asyncio.sleep(YIELD_SECONDS)
