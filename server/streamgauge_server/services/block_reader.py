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
_Load = Callable[[Sequence[int]], Awaitable[_Loaded]]
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
        by_hours = _days_by_hours([start if since is None else since, start, end, *bounds[1:-1]])

        async def load(ids: Sequence[int]) -> _Loaded:
            return await self._blocks.load(
                ids, first_day, (end - 1) // MICROS_PER_DAY, summaries=True, hour_summary_days=by_hours
            )

        blocks = await load(subject_ids)
        await self._fill(blocks, load, lambda held: needed(held, start, end, bounds, since), len(bounds))
        tables = await _each(
            blocks, lambda id_, held: aggregate(held, start, end, bounds, metrics, since=since), len(bounds)
        )
        if counters_among is None:
            return tables
        counters = set(await counters_among({metric for table in tables.values() for metric in table.unchained}))
        wanted = {id_: both for id_, table in tables.items() if (both := counters & table.unchained)}
        if not wanted:
            return tables
        baselines = await self._baselines(blocks, load, first_day, start, wanted)
        return tables | {id_: tables[id_].chained(found) for id_, found in baselines.items() if found}

    async def standing(self, wanted: Mapping[int, Collection[int]], before: int) -> dict[int, dict[int, Baseline]]:
        """Returns the last sample before a moment of each metric that is wanted of a part and has one, by subject id.

        Raises:
            DomainError: STORE_UNAVAILABLE.
            BlockCorrupt: stored bytes are damaged.
        """
        day = before // MICROS_PER_DAY

        async def load(ids: Sequence[int]) -> _Loaded:
            return await self._blocks.load(ids, day, day, summaries=True, hour_summary_days={day})

        blocks = await load(list(wanted))
        return await self._baselines(blocks, load, day, before, {id_: set(metrics) for id_, metrics in wanted.items()})

    async def lifetimes(self, subject_id: int, metrics: Collection[int]) -> dict[int, int | float]:
        """Returns the lifetime totals of metrics of one part, out of everything that is stored of it.

        Raises:
            DomainError: STORE_UNAVAILABLE.
            BlockCorrupt: stored bytes are damaged.
        """

        async def load(ids: Sequence[int]) -> _Loaded:
            return await self._blocks.load(ids, _FIRST_DAY, _LAST_DAY, summaries=True, hour_summary_days=())

        blocks = await load([subject_id])
        await self._fill(blocks, load, lambda held: needed_for_baseline(held, MAX_MICROS))
        return lifetime_of(blocks[subject_id], metrics=metrics)

    async def _baselines(
        self, blocks: _Loaded, load: _Load, first_day: int, start: int, wanted: Mapping[int, set[int]]
    ) -> dict[int, dict[int, Baseline]]:
        """Returns the last samples before a range: out of the blocks at hand, then out of ever older ones.

        `first_day` is the first day of which blocks are at hand, `load` how they were loaded.
        """

        async def load_before(ids: Sequence[int]) -> _Loaded:
            return _before(await load(ids), start)

        async def load_older(ids: Sequence[int]) -> _Loaded:
            return await self._blocks.days_before(
                ids, first_day, enough=lambda id_, held: missing[id_] <= metrics_in(held)
            )

        at_hand = _before({id_: blocks[id_] for id_ in wanted}, start)
        found = await self._newest(at_hand, load_before, start, wanted)
        missing = {id_: left for id_, metrics in wanted.items() if (left := metrics - found[id_].keys())}
        if not missing:
            return found
        older = await load_older(list(missing))
        for id_, more in (await self._newest(older, load_older, start, missing)).items():
            found[id_] |= more
        return found

    async def _newest(
        self, blocks: _Loaded, load: _Load, before: int, wanted: Mapping[int, Collection[int]]
    ) -> dict[int, dict[int, Baseline]]:
        await self._fill(blocks, load, lambda held: needed_for_baseline(held, before))
        return await _each(blocks, lambda id_, held: baseline(held, before, wanted[id_]))

    async def _fill(
        self, blocks: _Loaded, load: _Load, which: Callable[[Sequence[StoredBlock]], set[int]], windows: int = 1
    ) -> None:
        """Loads the samples of those blocks that `which` names by seq.

        Subjects of which blocks have gone or changed since they were loaded, as compaction and corrections make them,
        are loaded again: their samples may be in other blocks now.
        """
        looked_at = blocks
        while looked_at:
            found = await _each(looked_at, lambda id_, held: which(held), windows)
            lacking = {
                id_: [block for block in looked_at[id_] if block.seq in seqs] for id_, seqs in found.items() if seqs
            }
            if not lacking:
                return
            data = await self._blocks.load_data_of(lacking)
            changed = [id_ for id_, held in lacking.items() if any(block.seq not in data for block in held)]
            for id_ in lacking.keys() - set(changed):
                blocks[id_] = [
                    replace(block, data=data[block.seq]) if block.seq in data else block for block in blocks[id_]
                ]
            looked_at = await load(changed) if changed else {}
            blocks |= looked_at


def _before(blocks: Mapping[int, list[StoredBlock]], moment: int) -> _Loaded:
    """Returns the blocks that begin before a moment."""
    return {id_: [block for block in held if block.first_time < moment] for id_, held in blocks.items()}


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
