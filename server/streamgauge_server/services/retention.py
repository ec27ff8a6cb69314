"""Retention: samples go after their limit, and their summaries after theirs, a few days of subjects at a time."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from time import monotonic

import structlog

from streamgauge_server.model.clock import MICROS_PER_DAY, MICROS_PER_MINUTE, MIN_MICROS, Clock
from streamgauge_server.model.entities import Caller
from streamgauge_server.model.retention import Retention, RetentionRules
from streamgauge_server.model.values import SubjectKind
from streamgauge_server.services.auth import require_scope
from streamgauge_server.services.off_loop import off_loop
from streamgauge_server.services.pacing import Pace, at_once
from streamgauge_server.storage.retention import DayChange, HeldBlock, HeldDay, MetricLimits
from streamgauge_server.storage.store import Store
from streamgauge_server.storage.subjects import SubjectKey
from streamgauge_server.timeseries.block import metrics_of
from streamgauge_server.timeseries.envelope import BlockCorrupt
from streamgauge_server.timeseries.reduction import metrics_of_summary, reduce_day
from streamgauge_server.timeseries.summary import decode_summary

GRACE = 10 * MICROS_PER_MINUTE
"""How much longer a day is left alone: for writes under way that were admitted, and clocks of servers that differ."""
SUBJECTS_AT_ONCE = 100
BYTES_AT_ONCE = 1 << 19
DAYS_AT_ONCE = 200
"""What is read, reduced and stored in one go: in one transaction, which appends may have to wait for."""
_FIRST_DAY = MIN_MICROS // MICROS_PER_DAY
_NEVER = _FIRST_DAY - 1

_log = structlog.stdlib.get_logger("streamgauge.retention")

Progress = Callable[[int, int], None]
"""Is told how many subjects and parts have been gone through, and of how many."""


def _untold(done: int, total: int) -> None:
    """Tells nobody."""


@dataclass(slots=True)
class RetentionCounts:
    """What goes: samples, hours of metrics with their summaries, and of how many subjects and days; bytes freed."""

    samples: int = 0
    hours: int = 0
    subjects: int = 0
    days: int = 0
    bytes: int = 0


@dataclass(slots=True)
class Applied:
    """What went, or would go, by kind of subject.

    `postponed` days could not be done: they were written to within the watch horizon, or meanwhile. `damaged` days hold
    blocks that cannot be read, and stay as they are.
    """

    counts: dict[SubjectKind, RetentionCounts] = field(default_factory=dict)
    postponed: int = 0
    damaged: int = 0

    def add(self, other: Applied) -> None:
        """Adds what went at another time."""
        for kind, more in other.counts.items():
            counts = self.counts.setdefault(kind, RetentionCounts())
            for each in fields(counts):
                setattr(counts, each.name, getattr(counts, each.name) + getattr(more, each.name))
        self.postponed += other.postponed
        self.damaged += other.damaged

    def take(self) -> Applied:
        """Returns what went and begins to count anew."""
        taken = Applied(self.counts, self.postponed, self.damaged)
        self.counts, self.postponed, self.damaged = {}, 0, 0
        return taken


@dataclass(frozen=True, slots=True)
class Cuts:
    """The last days that are past the limits of each metric of a kind of subject, by the metric's id."""

    samples: Mapping[int, int]
    summaries: Mapping[int, int]
    limits: Mapping[int, Retention]

    def past_samples(self, metrics: Iterable[int], day: int) -> set[int]:
        """Returns the metrics whose samples of a day are to go."""
        return {metric for metric in metrics if day <= self.samples.get(metric, _NEVER)}

    def past_summaries(self, metrics: Iterable[int], day: int) -> set[int]:
        """Returns the metrics of which nothing of a day is to be left."""
        return {metric for metric in metrics if day <= self.summaries.get(metric, _NEVER)}

    def spans(self, today: int, since: int | None) -> list[tuple[int, int]]:
        """Returns the days to look at: all that are past any limit, or those that have come to be so since a day."""
        if not self.samples:
            return []
        if since is None:
            return [(_FIRST_DAY, max(self.samples.values()))]
        passed = {today - 1 - last for last in [*self.samples.values(), *self.summaries.values()]}
        return _merged((since - limit, today - 1 - limit) for limit in passed if since < today)


def cuts_of(metrics: Iterable[MetricLimits], rules: RetentionRules, today: int) -> dict[SubjectKind, Cuts]:
    """Returns what is past its limits today, by kind of subject; kinds of which everything is kept are missing."""
    by_kind: dict[SubjectKind, dict[int, Retention]] = {}
    for metric in metrics:
        limits = rules.of(metric.kind, metric.sample_days, metric.summary_days)
        if limits.sample_days is not None:
            by_kind.setdefault(metric.subject_kind, {})[metric.id] = limits
    return {
        kind: Cuts(
            {id_: today - one.sample_days - 1 for id_, one in limits.items() if one.sample_days is not None},
            {id_: today - one.summary_days - 1 for id_, one in limits.items() if one.summary_days is not None},
            limits,
        )
        for kind, limits in by_kind.items()
    }


class RetentionService:
    """Applies the limits; several processes may do so at a time. It may be stopped at any moment."""

    def __init__(self, store: Store, clock: Clock, rules: RetentionRules, *, horizon: int) -> None:
        """`horizon` is how long blocks have to be final before they may change, in microseconds."""
        self._store = store
        self._clock = clock
        self._rules = rules
        self._horizon = horizon
        self._damaged: set[tuple[int, int]] = set()

    async def apply_for(self, caller: Caller, *, validate_only: bool) -> Applied:
        """Applies the limits to the caller's tenant, or tells what would go.

        Raises:
            DomainError: SCOPE_MISSING, STORE_UNAVAILABLE.
        """
        require_scope(caller, "admin")
        return await self.apply(caller.tenant, validate_only=validate_only)

    def today(self) -> int:
        """Returns the day (since 1970) from which limits are counted back."""
        return (self._clock.now() - GRACE) // MICROS_PER_DAY

    async def cuts(self, tenant: str, today: int) -> dict[SubjectKind, Cuts]:
        """Returns what is past its limits on a day, by kind of subject.

        Raises:
            DomainError: STORE_UNAVAILABLE.
        """
        return cuts_of(await self._store.retention.limits(tenant), self._rules, today)

    async def apply(
        self, tenant: str, *, validate_only: bool = False, pace: Pace = at_once, progress: Progress = _untold
    ) -> Applied:
        """Applies the limits to all that a tenant has, or with `validate_only` tells what would go.

        Every piece of it is durable by itself, and what is done is not done again.

        Raises:
            DomainError: STORE_UNAVAILABLE.
        """
        today = self.today()
        total = Applied()
        cuts = await self.cuts(tenant, today)
        counts = {kind: await self._store.subject_days.count(tenant, kind) for kind in cuts}
        gone_through = 0
        for kind, of_kind in cuts.items():

            def told(subjects: int, before: int = gone_through) -> None:
                progress(before + subjects, sum(counts.values()))

            await self.apply_kind(
                tenant, kind, of_kind, of_kind.spans(today, None), total, dry=validate_only, pace=pace, told=told
            )
            gone_through += counts[kind]
        return total

    async def apply_kind(
        self,
        tenant: str,
        kind: SubjectKind,
        cuts: Cuts,
        spans: Sequence[tuple[int, int]],
        total: Applied,
        *,
        dry: bool = False,
        pace: Pace = at_once,
        told: Callable[[int], None] = lambda subjects: None,
    ) -> None:
        """Applies limits to the subjects of a kind on some days, and adds to `total` what went.

        Raises:
            DomainError: STORE_UNAVAILABLE.
        """
        if not spans:
            return
        first: SubjectKey | None = None
        gone_through = 0
        while True:
            page = await self._store.subject_days.page(tenant, kind, first, SUBJECTS_AT_ONCE + 1)
            ids = [id_ for _, id_ in page[:SUBJECTS_AT_ONCE]]
            concerned: set[int] = set()
            for portion in _portions(await self._store.retention.days(ids, spans)):
                began = monotonic()
                made = await self._reduce(portion, cuts, total, dry=dry)
                if made:
                    _count(total.counts.setdefault(kind, RetentionCounts()), made)
                concerned.update(change.held.subject_id for change in made)
                await pace(monotonic() - began)
            if concerned:
                total.counts.setdefault(kind, RetentionCounts()).subjects += len(concerned)
            gone_through += len(ids)
            told(gone_through)
            if len(page) <= SUBJECTS_AT_ONCE:
                return
            first = page[SUBJECTS_AT_ONCE][0]

    async def _reduce(
        self, days: Collection[tuple[int, int]], cuts: Cuts, total: Applied, *, dry: bool
    ) -> Sequence[DayChange]:
        """Reduces days of subjects; returns what was changed, or with `dry` would be."""
        position = await self._store.positions.old(self._horizon)
        held = await self._store.retention.load(days)
        due: list[tuple[HeldDay, list[HeldBlock], set[int], set[int]]] = []
        for one in held:
            try:
                concerned, spent, forgotten = _due(one, cuts)
            except BlockCorrupt as error:
                self._leave(one, error, total)
                continue
            if any(block.position > position for block in concerned):
                total.postponed += 1
            elif concerned or forgotten:
                due.append((one, concerned, spent, forgotten))
        keys = [(one.subject_id, one.day, block.seq) for one, concerned, _, _ in due for block in concerned]
        data = await self._store.blocks.load_data(keys) if keys else {}

        def compute() -> tuple[list[DayChange], list[tuple[HeldDay, BlockCorrupt]], int]:
            changes: list[DayChange] = []
            damaged: list[tuple[HeldDay, BlockCorrupt]] = []
            moved = 0
            for one, concerned, spent, forgotten in due:
                if not all(block.seq in data for block in concerned):
                    moved += 1
                    continue
                of_day = {block.seq: data[block.seq] for block in concerned}
                summaries = None if one.reduced is None else one.reduced.hour_summary
                try:
                    reduction = reduce_day(list(of_day.items()), summaries, spent, forgotten)
                except BlockCorrupt as error:
                    damaged.append((one, error))
                else:
                    changes.append(DayChange(one, of_day, reduction))
            return changes, damaged, moved

        changes, damaged, moved = await off_loop(compute, heavy=bool(due))
        for one, problem in damaged:
            self._leave(one, problem, total)
        total.postponed += moved
        if dry or not changes:
            return changes
        made = await self._store.retention.apply(changes)
        total.postponed += len(changes) - len(made)
        return made

    def _leave(self, held: HeldDay, error: BlockCorrupt, total: Applied) -> None:
        total.damaged += 1
        if (held.subject_id, held.day) not in self._damaged:
            self._damaged.add((held.subject_id, held.day))
            _log.error(
                "a day with a damaged block is left as it is",
                subject_id=held.subject_id,
                day=held.day,
                problem=str(error),
            )


def _count(counts: RetentionCounts, changes: Iterable[DayChange]) -> None:
    for change in changes:
        counts.samples += change.reduction.samples
        counts.hours += change.reduction.hours
        counts.days += 1
        counts.bytes += change.freed


def _due(held: HeldDay, cuts: Cuts) -> tuple[list[HeldBlock], set[int], set[int]]:
    """Returns the blocks of a day with samples that are to go, and of which metrics samples and summaries are.

    Raises BlockCorrupt.
    """
    concerned: list[HeldBlock] = []
    spent: set[int] = set()
    for block in held.blocks:
        if past := cuts.past_samples(_metrics_in(block), held.day):
            concerned.append(block)
            spent |= past
    told = set(spent)
    if held.reduced is not None:
        told.update(metrics_of_summary(decode_summary(held.reduced.hour_summary)))
    return concerned, spent, cuts.past_summaries(told, held.day)


def _metrics_in(block: HeldBlock) -> Iterable[int]:
    if block.day_summary is not None:
        return metrics_of_summary(decode_summary(block.day_summary))
    return metrics_of(block.data or b"")


def _merged(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Returns spans with both ends, those that meet or overlap as one."""
    merged: list[tuple[int, int]] = []
    for first, last in sorted(spans):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(merged[-1][1], last))
        else:
            merged.append((first, last))
    return merged


def _portions(days: Iterable[tuple[int, int, int]]) -> Iterator[list[tuple[int, int]]]:
    """Yields days, given as (subject, day, bytes), in their order, as many at once as one transaction takes."""
    portion: list[tuple[int, int]] = []
    room = BYTES_AT_ONCE
    for subject_id, day, size in days:
        if portion and (size > room or len(portion) == DAYS_AT_ONCE):
            yield portion
            portion, room = [], BYTES_AT_ONCE
        portion.append((subject_id, day))
        room -= size
    if portion:
        yield portion
