"""Loads the blocks that an answer needs: summaries first, samples only where summaries cannot tell."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from streamgauge_server.model.clock import MAX_MICROS, MICROS_PER_DAY, MICROS_PER_HOUR, MIN_MICROS
from streamgauge_server.services.off_loop import off_loop
from streamgauge_server.storage.damage_log import of_blocks
from streamgauge_server.storage.store import Store
from streamgauge_server.timeseries.damage import BlockDamage, damage_of, set_aside
from streamgauge_server.timeseries.envelope import BlockCorrupt
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
        self._damage = store.damage

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
        """
        since = None if counters_among is None else (start // MICROS_PER_HOUR - 1) * MICROS_PER_HOUR
        first_day = (start if since is None else since) // MICROS_PER_DAY
        by_hours = _days_by_hours([start if since is None else since, start, end, *bounds[1:-1]])

        async def load(ids: Sequence[int]) -> _Loaded:
            return await self._blocks.load(
                ids, first_day, (end - 1) // MICROS_PER_DAY, summaries=True, hour_summary_days=by_hours
            )

        blocks = await load(subject_ids)
        tables = await self._answer(
            blocks,
            load,
            lambda held: needed(held, start, end, bounds, since),
            lambda id_, held: aggregate(held, start, end, bounds, metrics, since=since),
            len(bounds),
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
        """
        day = before // MICROS_PER_DAY

        async def load(ids: Sequence[int]) -> _Loaded:
            return await self._blocks.load(ids, day, day, summaries=True, hour_summary_days={day})

        blocks = await load(list(wanted))
        return await self._baselines(blocks, load, day, before, {id_: set(metrics) for id_, metrics in wanted.items()})

    async def lifetimes(self, subject_id: int, metrics: Collection[int]) -> tuple[dict[int, int | float], bool]:
        """Returns the lifetime totals of metrics of one part, out of everything that is stored of it.

        And whether they lack nothing: whether all that they come from could be read.

        Raises:
            DomainError: STORE_UNAVAILABLE.
        """

        async def load(ids: Sequence[int]) -> _Loaded:
            return await self._blocks.load(ids, _FIRST_DAY, _LAST_DAY, summaries=True, hour_summary_days=())

        blocks = await load([subject_id])
        lost: list[BlockDamage] = []
        lifetimes = await self._answer(
            blocks,
            load,
            lambda held: needed_for_baseline(held, MAX_MICROS),
            lambda id_, held: lifetime_of(held, metrics=metrics),
            lost=lost,
        )
        return lifetimes[subject_id], not lost

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
        return await self._answer(
            blocks,
            load,
            lambda held: needed_for_baseline(held, before),
            lambda id_, held: baseline(held, before, wanted[id_]),
        )

    async def _answer(
        self,
        blocks: _Loaded,
        load: _Load,
        which: Callable[[Sequence[StoredBlock]], set[int]],
        work: Callable[[int, list[StoredBlock]], _T],
        windows: int = 1,
        lost: list[BlockDamage] | None = None,
    ) -> dict[int, _T]:
        """Returns what `work` makes of the blocks of each subject, for which it needs the samples of `which` of them.

        Damaged blocks are found when `work` comes across them, and set aside; those that it may lack are added to
        `lost`.
        """
        while True:
            await self._fill(blocks, load, which, windows)
            try:
                return await _each(blocks, work, windows)
            except BlockCorrupt:
                found = await self._set_aside(blocks)
                if not found:
                    raise
                if lost is not None:
                    lost.extend(one for one in found if one.is_loss)

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

    async def _set_aside(self, blocks: _Loaded) -> list[BlockDamage]:
        """Takes damage out of the blocks that are loaded, and returns it."""
        met: list[BlockDamage] = []
        for id_, found in (await _each(blocks, _damage)).items():
            if not found:
                continue
            held = blocks[id_]
            for day in sorted({one.day for one in found}):
                loaded = await self._blocks.load([id_], day, day, summaries=True, data_below_rows=0)
                hours = {block.seq: block.hour_summary for block in loaded[id_]}
                held = [
                    replace(block, hour_summary=hours.get(block.seq)) if block.day == day else block for block in held
                ]
            # Once more, for the summaries that have come along.
            found = (await _each({id_: held}, _damage))[id_]
            blocks[id_] = set_aside(held, found)
            await self._damage.note(of_blocks(id_, found))
            met += found
        return met


def _damage(_: int, blocks: Iterable[StoredBlock]) -> list[BlockDamage]:
    return [found for block in blocks if (found := damage_of(block)) is not None]


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
