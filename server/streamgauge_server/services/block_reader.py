"""Loads the blocks that an answer needs: summaries first, samples only where summaries cannot tell."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from streamgauge_server.model.clock import MAX_MICROS, MICROS_PER_DAY, MICROS_PER_HOUR, MIN_MICROS
from streamgauge_server.services.off_loop import off_loop
from streamgauge_server.storage.store import Store
from streamgauge_server.timeseries.query import (
    Baseline,
    StoredBlock,
    WindowTable,
    aggregate,
    baseline,
    lifetime_of,
    metrics_in,
    needed,
    needed_for_baseline,
)

_T = TypeVar("_T")
_Loaded = dict[int, list[StoredBlock]]
_FIRST_DAY = MIN_MICROS // MICROS_PER_DAY
_LAST_DAY = MAX_MICROS // MICROS_PER_DAY
_OFF_LOOP_BLOCKS = 400
_OFF_LOOP_WINDOWS = 50_000
"""Answers out of more blocks, or with more windows over all series, are computed in a thread, so that other calls do
not wait for them."""
_MAX_HOUR_DAYS = 100
"""Beyond this many days that windows cut in two, the summaries of hours are loaded for all days."""

CountersAmong = Callable[[Collection[int]], Awaitable[Collection[int]]]


class BlockReader:
    """Reads the statistics of subjects' parts over windows; one instance serves all callers."""

    def __init__(self, store: Store) -> None:
        self._blocks = store.blocks

    async def tables(
        self,
        subject_ids: Sequence[int],
        start: int,
        end: int,
        bounds: Sequence[int],
        *,
        metrics: Collection[int] | None,
        counters_among: CountersAmong | None,
    ) -> dict[int, WindowTable]:
        """Returns the statistics of each subject or part over windows cut to [start, end), by subject id.

        The first increase in the range is taken from the last sample before it; without `counters_among` the first
        sample in the range adds nothing. Most often the hour before the range holds the last sample, and is aggregated
        along with it. Older ones are searched for the metrics that `counters_among` picks out of those without.

        Raises:
            DomainError: STORE_UNAVAILABLE.
            BlockCorrupt: stored bytes are damaged.
        """
        since = None if counters_among is None else (start // MICROS_PER_HOUR - 1) * MICROS_PER_HOUR
        first_day = (start if since is None else since) // MICROS_PER_DAY
        blocks = await self._blocks.load(
            subject_ids,
            first_day,
            (end - 1) // MICROS_PER_DAY,
            summaries=True,
            hour_summary_days=_days_by_hours([start if since is None else since, start, end, *bounds[1:-1]]),
        )
        await self._fill(blocks, lambda held: needed(held, start, end, bounds, since), len(bounds))
        tables = await _each(
            blocks, lambda id_, held: aggregate(held, start, end, bounds, metrics, since=since), len(bounds)
        )
        if counters_among is None:
            return tables
        counters = set(await counters_among({metric for table in tables.values() for metric in table.unchained}))
        wanted = {id_: both for id_, table in tables.items() if (both := counters & table.unchained)}
        if not wanted:
            return tables
        baselines = await self._baselines(blocks, first_day, start, wanted)
        return tables | {id_: tables[id_].chained(found) for id_, found in baselines.items() if found}

    async def standing(self, wanted: Mapping[int, Collection[int]], before: int) -> dict[int, dict[int, Baseline]]:
        """Returns the last sample before a moment of each metric that is wanted of a part and has one, by subject id.

        Raises:
            DomainError: STORE_UNAVAILABLE.
            BlockCorrupt: stored bytes are damaged.
        """
        day = before // MICROS_PER_DAY
        blocks = await self._blocks.load(list(wanted), day, day, summaries=True, hour_summary_days={day})
        return await self._baselines(blocks, day, before, {id_: set(metrics) for id_, metrics in wanted.items()})

    async def lifetimes(self, subject_id: int, metrics: Collection[int]) -> dict[int, int | float]:
        """Returns the lifetime totals of metrics of one part, out of everything that is stored of it.

        Raises:
            DomainError: STORE_UNAVAILABLE.
            BlockCorrupt: stored bytes are damaged.
        """
        blocks = await self._blocks.load([subject_id], _FIRST_DAY, _LAST_DAY, summaries=True, hour_summary_days=())
        await self._fill(blocks, lambda held: needed_for_baseline(held, MAX_MICROS))
        return lifetime_of(blocks[subject_id], metrics=metrics)

    async def _baselines(
        self, blocks: Mapping[int, list[StoredBlock]], first_day: int, start: int, wanted: Mapping[int, set[int]]
    ) -> dict[int, dict[int, Baseline]]:
        """Returns the last samples before a range: out of the blocks at hand, then out of ever older ones.

        `first_day` is the first day of which blocks are at hand.
        """
        before = {id_: [block for block in blocks[id_] if block.first_time < start] for id_ in wanted}
        found = await self._newest(before, start, wanted)
        missing = {id_: left for id_, metrics in wanted.items() if (left := metrics - found[id_].keys())}
        if not missing:
            return found
        older = await self._blocks.days_before(
            list(missing),
            first_day,
            enough=lambda id_, held: missing[id_] <= metrics_in(held),
        )
        for id_, more in (await self._newest(older, start, missing)).items():
            found[id_] |= more
        return found

    async def _newest(
        self, blocks: _Loaded, before: int, wanted: Mapping[int, Collection[int]]
    ) -> dict[int, dict[int, Baseline]]:
        await self._fill(blocks, lambda held: needed_for_baseline(held, before))
        return await _each(blocks, lambda id_, held: baseline(held, before, wanted[id_]))

    async def _fill(
        self, blocks: _Loaded, which: Callable[[Sequence[StoredBlock]], set[int]], windows: int = 1
    ) -> None:
        """Loads the samples of those blocks that `which` names by seq."""
        found = await _each(blocks, lambda id_, held: which(held), windows)
        lacking = {id_: seqs for id_, seqs in found.items() if seqs}
        keys = [
            (id_, block.day, block.seq) for id_, seqs in lacking.items() for block in blocks[id_] if block.seq in seqs
        ]
        if not keys:
            return
        data = await self._blocks.load_data(keys)
        for id_ in lacking:
            # A block that is gone was deleted with its subject since the first statement.
            blocks[id_] = [
                replace(block, data=data.get(block.seq)) if block.seq in lacking[id_] else block
                for block in blocks[id_]
                if block.seq not in lacking[id_] or block.seq in data
            ]


async def compute(work: Callable[[], _T], *, windows: int, blocks: int = 0) -> _T:
    """Runs a computation over so many windows and blocks, in a thread if that is much."""
    return await off_loop(work, heavy=blocks > _OFF_LOOP_BLOCKS or windows > _OFF_LOOP_WINDOWS)


async def _each(
    blocks: Mapping[int, list[StoredBlock]], work: Callable[[int, list[StoredBlock]], _T], windows: int = 1
) -> dict[int, _T]:
    """Runs a computation over the blocks of each subject."""

    def run() -> dict[int, _T]:
        return {id_: work(id_, held) for id_, held in blocks.items()}

    return await compute(run, windows=windows * len(blocks), blocks=sum(map(len, blocks.values())))


def _days_by_hours(edges: Iterable[int]) -> set[int] | None:
    """Returns the days that an edge of a window or of the range cuts in two, None (all days) when they are many."""
    days = {edge // MICROS_PER_DAY for edge in edges if edge % MICROS_PER_DAY}
    return days if len(days) <= _MAX_HOUR_DAYS else None
