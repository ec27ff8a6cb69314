"""Lets samples and summaries go after their limits in the background, within a share of a core."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic

import structlog
from prometheus_client import CollectorRegistry, Counter

from streamgauge_server.collectors.background import begin, end, rest
from streamgauge_server.model.clock import MICROS_PER_DAY, MICROS_PER_SECOND, Clock
from streamgauge_server.model.errors import DomainError
from streamgauge_server.model.values import SubjectKind
from streamgauge_server.services.retention import Applied, Cuts, RetentionService
from streamgauge_server.storage.store import Store

INTERVAL_SECONDS = 600.0
"""How often it is looked whether a day has come to be past a limit, or a limit has changed."""
CLOCK_TOLERANCE_SECONDS = 3_600.0
DISTRUST_SECONDS = 3_600.0
"""When the system's clock has run ahead of the time that passed by more than the tolerance, nothing goes for this long,
so that a clock that was set wrong can be put right."""

_log = structlog.stdlib.get_logger("streamgauge.retention")


class RetentionMetrics:
    """What went, as metrics for Prometheus."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, about: str) -> Counter:
            return Counter(f"streamgauge_retention_{name}", about, ["subject_kind"], registry=registry)

        self._samples = counter("samples", "Samples that went.")
        self._hours = counter("summary_hours", "Hours of metrics that went with their summaries.")
        self._days = counter("days", "Days of subjects that lost something.")
        self._bytes = counter("freed_bytes", "Bytes of blocks that were freed.")
        self._postponed = Counter(
            "streamgauge_retention_postponed_days",
            "Days of subjects that were written to lately and are looked at again.",
            registry=registry,
        )
        self._damaged = Counter(
            "streamgauge_retention_damaged_days",
            "Times that a day was left as it is because of a damaged block.",
            registry=registry,
        )

    def count(self, applied: Applied) -> None:
        """Adds what went."""
        for kind, counts in applied.counts.items():
            label = kind.name.lower()
            self._samples.labels(label).inc(counts.samples)
            self._hours.labels(label).inc(counts.hours)
            self._days.labels(label).inc(counts.days)
            self._bytes.labels(label).inc(max(0, counts.bytes))
        self._postponed.inc(applied.postponed)
        self._damaged.inc(applied.damaged)


@dataclass(frozen=True, slots=True)
class _Done:
    """The day for which everything was done, and by which limits."""

    today: int
    cuts: Cuts


class RetentionWorker:
    """Runs as long as a server does: `start`, and in the end `await stop()`. It may be killed at any moment.

    After a start it looks at all days once, later only at those that have come to be past a limit since. Two servers
    on one database may do the same work at a time; what one has done the other leaves alone.
    """

    def __init__(
        self, store: Store, clock: Clock, service: RetentionService, *, share: float, metrics: RetentionMetrics
    ) -> None:
        """`share` is the part of a core that it may take."""
        self._store = store
        self._clock = clock
        self._service = service
        self._share = share
        self._metrics = metrics
        self._done: dict[tuple[str, SubjectKind], _Done] = {}
        self._seen = (clock.now(), monotonic())
        self._distrusted_until = 0.0
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begins."""
        self._task = begin(self._run(), "apply retention")

    async def stop(self) -> None:
        """Ends it; a transaction under way is committed or not, as the store sees fit."""
        if self._task is not None:
            await end([self._task])

    async def look(self) -> Applied:
        """Lets go what is due of all tenants, once.

        Raises:
            DomainError: STORE_UNAVAILABLE.
        """
        total = Applied()
        if self._distrusts_clock():
            return total
        for tenant in await self._store.retention.tenants():
            today = self._service.today()
            cuts = await self._service.cuts(tenant, today)
            for kind, of_kind in cuts.items():
                spans = of_kind.spans(today, self._since((tenant, kind), of_kind))
                applied = await self._apply(tenant, kind, of_kind, spans)
                if not applied.postponed:
                    self._done[tenant, kind] = _Done(today, of_kind)
                if kind in applied.counts and applied.counts[kind].days:
                    _tell(tenant, kind, applied)
                total.add(applied)
        return total

    async def _run(self) -> None:
        while True:
            try:
                await self.look()
            except DomainError as error:
                _log.warning("retention is not applied", problem=error.message)
            # Servers that were started together do not stay together.
            await asyncio.sleep(INTERVAL_SECONDS * random.uniform(0.5, 1.5))

    async def _apply(self, tenant: str, kind: SubjectKind, cuts: Cuts, spans: Sequence[tuple[int, int]]) -> Applied:
        done, lately = Applied(), Applied()

        def settle() -> None:
            took = lately.take()
            self._metrics.count(took)
            done.add(took)

        async def pace(seconds: float) -> None:
            settle()
            await rest(seconds, self._share)

        try:
            await self._service.apply_kind(tenant, kind, cuts, spans, lately, pace=pace)
        finally:
            settle()
        return done

    def _since(self, key: tuple[str, SubjectKind], cuts: Cuts) -> int | None:
        """Returns the day for which all was done, None where it is not known for some metric."""
        done = self._done.get(key)
        if done is None or any(done.cuts.limits.get(id_, limits) != limits for id_, limits in cuts.limits.items()):
            return None
        return done.today

    def _distrusts_clock(self) -> bool:
        now, passed = self._clock.now(), monotonic()
        before, then = self._seen
        self._seen = (now, passed)
        ahead = (now - before) / MICROS_PER_SECOND - (passed - then)
        if ahead > CLOCK_TOLERANCE_SECONDS:
            self._distrusted_until = passed + DISTRUST_SECONDS
            _log.warning(
                "the system's clock has jumped ahead: nothing goes for an hour",
                days=round(ahead * MICROS_PER_SECOND / MICROS_PER_DAY, 2),
            )
        return passed < self._distrusted_until


def _tell(tenant: str, kind: SubjectKind, applied: Applied) -> None:
    counts = applied.counts[kind]
    _log.info(
        "retention",
        tenant=tenant,
        subject_kind=kind.name,
        days=counts.days,
        samples=counts.samples,
        summary_hours=counts.hours,
        bytes=counts.bytes,
        postponed_days=applied.postponed,
    )
