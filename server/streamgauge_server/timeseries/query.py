"""Answers windows from blocks: plans what summaries can answer, takes the rest from samples.

The rule: a block that lies inside the range and one window, and overlaps no other block in time, is answered by its
summary of the day. Otherwise an hour is answered by the summaries of hours of its blocks, unless the range or a window
cuts their samples, or two of them overlap: then by merged samples. So a summary can never disagree with samples that
overwrite it, and late data needs no invalidation.

Where retention took samples, summaries are all there is (`reduced_days`). So they are where samples are damaged and
no other block holds the hour (`damage.set_aside`): such a block has rows and empty data.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter

import numpy as np

from streamgauge_server.model.clock import MICROS_PER_DAY, MICROS_PER_HOUR
from streamgauge_server.model.values import INT64_MAX, INT64_MIN, Scalar, ValueType
from streamgauge_server.timeseries import number_table, text_table
from streamgauge_server.timeseries.block import decode_many, metrics_of
from streamgauge_server.timeseries.envelope import BlockCorrupt
from streamgauge_server.timeseries.frame import UNKNOWN_START, Ints
from streamgauge_server.timeseries.number_table import Cell, NumberTable
from streamgauge_server.timeseries.reduced_days import begun_within, read_reduced
from streamgauge_server.timeseries.samples import changes
from streamgauge_server.timeseries.summary import Summary, decode_summaries, summarise
from streamgauge_server.timeseries.text_table import TextTable
from streamgauge_server.timeseries.windows import WindowStats as WindowStats
from streamgauge_server.timeseries.windows import WindowTable as WindowTable

_ALL_HOURS = (1 << 24) - 1


@dataclass(slots=True)
class StoredBlock:
    """A row of the table `blocks`, see `block.Block`; `data` is None while it is not loaded.

    `seq` orders the blocks of a subject: where samples repeat, the block with the higher one wins. A block of no rows
    is a reduced one (`reduction`), whose samples are gone and whose summaries are left. Not frozen, because there are
    thousands in an answer and frozen instances take three times as long to make.
    """

    seq: int
    day: int
    rows: int
    first_time: int
    last_time: int
    hours: int
    hour_summary: bytes | None
    day_summary: bytes | None
    data: bytes | None


@dataclass(frozen=True, slots=True)
class Baseline:
    """The last sample of a metric before a range: what its first step in the range is taken from.

    `start` is UNKNOWN_START for texts, whose start times are not kept in summaries.
    """

    time: int
    value: Scalar
    start: int


def needed(
    blocks: Sequence[StoredBlock], start: int, end: int, bounds: Sequence[int], since: int | None = None
) -> set[int]:
    """Returns the seqs of the blocks without data whose samples `aggregate` with the same arguments needs."""
    return {
        block.seq for block in _plan(blocks, *_asked(blocks, start, end, bounds, since)).sampled if block.data is None
    }


def aggregate(
    blocks: Sequence[StoredBlock],
    start: int,
    end: int,
    bounds: Sequence[int],
    metrics: Collection[int] | None = None,
    baseline: Mapping[int, Baseline] | None = None,
    since: int | None = None,
) -> WindowTable:
    """Returns the statistics of one subject or part over the windows [bounds[i], bounds[i + 1]) cut to [start, end).

    The answer is that of the merged samples of all blocks, of some metrics or all; numbers, booleans and texts of one
    metric apart. An increase belongs to the window of
    the later sample. At a reset (both start times known and different, or a fall) the whole new value is the increase.

    The first increase in the range is taken from the last sample before it, where `since` is given and blocks have one
    that is no older (than `since`, or `reaching_back` where that is earlier), otherwise from the metric's `baseline`.
    Without either the first sample adds nothing, and the metric is among the answer's `unchained`.

    Raises ValueError when a block that is `needed` is not loaded, BlockCorrupt when stored bytes are damaged.
    """
    start, end, bounds = _asked(blocks, start, end, bounds, since)
    plan = _plan(blocks, start, end, bounds)
    wanted = None if metrics is None else frozenset(metrics)
    if lost := read_reduced(blocks, plan.days_held, plan.low, plan.high, bounds, wanted):
        pieces = [*lost.pieces, *lost.without_closed(_pieces(plan, bounds, wanted, lost.metrics))]
    else:
        pieces = _pieces(plan, bounds, wanted)
    edges = np.array(bounds, np.int64)
    numbers = number_table.join([piece.numbers for piece in pieces])
    windows = np.searchsorted(edges, numbers[Cell.FIRST_TIME], side="right") - 1
    tables: list[tuple[NumberTable | TextTable, Ints]] = [*number_table.combine_all(numbers, windows)]
    texts = text_table.join([piece.texts for piece in pieces if len(piece.texts.metrics)])
    if len(texts.metrics):
        windows = np.searchsorted(edges, texts.first_times, side="right") - 1
        tables.append(text_table.combine(texts, windows))
    answer = WindowTable(len(bounds) - 1, tables)
    if since is not None:
        answer = answer.after_first()
    return answer.chained(baseline) if baseline else answer


def _asked(
    blocks: Sequence[StoredBlock], start: int, end: int, bounds: Sequence[int], since: int | None
) -> tuple[int, int, Sequence[int]]:
    """Returns range and bounds with a window of what lies before the range in front, where `since` is given."""
    if since is None:
        return start, end, bounds
    first = max(start, bounds[0])
    begun = bisect_right(bounds, first)
    reached = reaching_back(blocks, since, first)
    return reached, end, [reached, *[first] * begun, *bounds[begun:]]


def reaching_back(blocks: Sequence[StoredBlock], since: int, start: int) -> int:
    """Returns from which moment on `aggregate` looks for samples before a range: from `since`, or from earlier on.

    Earlier where one block alone holds the day of `since` and ends between `since` and the range: all of it in one
    window is answered by its small summary of the day, a part of it by its summary of the hours.
    """
    held = [block for block in blocks if block.day == since // MICROS_PER_DAY]
    if len(held) == 1 and held[0].rows and held[0].day_summary is not None and since <= held[0].last_time < start:
        since = min(since, held[0].first_time)
    return min(since, start)


def metrics_in(blocks: Iterable[StoredBlock]) -> set[int]:
    """Returns the metrics that blocks have samples of, as far as their data or summary of the day are loaded.

    Damaged blocks have none.
    """
    found: set[int] = set()
    for block in blocks:
        try:
            if block.data:  # of a reduced one there are none
                found.update(metrics_of(block.data))
            elif block.day_summary is not None:
                summary = decode_summaries([block.day_summary])
                found.update(summary.numbers[Cell.METRIC].tolist(), summary.texts.metrics.tolist())
        except BlockCorrupt:
            continue  # whoever answers with it finds out, and tells
    return found


def baseline(blocks: Sequence[StoredBlock], before: int, metrics: Collection[int] | None = None) -> dict[int, Baseline]:
    """Returns the newest sample before a moment, whatever its type, of each metric that has one in these blocks.

    Raises ValueError when a block of `needed_for_baseline` is not loaded, BlockCorrupt when stored bytes are damaged.
    """
    found: dict[int, Baseline] = {}
    by_day: dict[int, list[StoredBlock]] = {}
    for block in blocks:
        by_day.setdefault(block.day, []).append(block)
    for day in sorted(by_day, reverse=True):
        missing = None if metrics is None else [metric for metric in metrics if metric not in found]
        if missing is not None and not missing:
            break
        table = aggregate(by_day[day], *_history(before), missing)
        for metric in table.metrics:
            if metric not in found:
                stats = _newest(table, metric)
                start = UNKNOWN_START if stats.type == ValueType.STRING else int(stats.last_start[0])
                found[metric] = Baseline(int(stats.last_time[0]), stats.last.tolist()[0], start)
    return found


def _newest(table: WindowTable, metric: int) -> WindowStats:
    """Returns the statistics to which the newest sample of a metric belongs, in a table of one window."""
    return max(table.all_stats(metric), key=lambda stats: int(stats.last_time[0]))


def needed_for_baseline(blocks: Sequence[StoredBlock], before: int) -> set[int]:
    """Returns the seqs of the blocks whose samples are needed by `baseline` and not loaded yet."""
    return needed(blocks, *_history(before))


def lifetime_of(
    blocks: Sequence[StoredBlock], before: int = INT64_MAX, metrics: Collection[int] | None = None
) -> dict[int, int | float]:
    """Returns the lifetime total of each metric up to a moment, from all blocks of its subject or part.

    What `LatestSample.lifetime` holds of the newest sample: of a number, the first number ever and all increases since;
    of a boolean 1 if the metric was ever true, else 0; of a text 0. Needs the samples of
    `needed_for_baseline(blocks, before)`.
    """
    table = aggregate(blocks, *_history(before), metrics)
    lifetimes: dict[int, int | float] = {}
    for metric in table.metrics:
        stats = _newest(table, metric)
        if stats.type == ValueType.STRING:
            lifetimes[metric] = 0
        elif stats.type == ValueType.BOOL:
            lifetimes[metric] = int(stats.max[0])
        else:
            lifetimes[metric] = stats.cumulative().tolist()[0]
    return lifetimes


def _history(before: int) -> tuple[int, int, tuple[int, int]]:
    """Returns start, end and window bounds of everything before a moment."""
    return INT64_MIN, before, (INT64_MIN, before)


@dataclass(slots=True)
class _Plan:
    """Where the answer comes from."""

    low: int
    """The first moment that is in the range and in a window; `high` is the first one after."""
    high: int
    days: list[StoredBlock] = field(default_factory=list)
    """Blocks answered by their summary of the day."""
    hours: list[tuple[StoredBlock, int]] = field(default_factory=list)
    """Blocks answered by their summary of hours, with the bitmap of these hours."""
    sampled: list[StoredBlock] = field(default_factory=list)
    """Blocks whose samples are read, in the order in which later ones win."""
    sampled_hours: list[int] = field(default_factory=list)
    """The hours that are answered by samples, counted from 1970."""
    days_held: Collection[int] = ()
    """The days of which blocks with samples are in the range."""


def _plan(blocks: Sequence[StoredBlock], start: int, end: int, bounds: Sequence[int]) -> _Plan:
    low, high = max(start, bounds[0]), min(end, bounds[-1])
    plan = _Plan(low, high)
    if low >= high:
        return plan
    by_day: dict[int, list[StoredBlock]] = {}
    for block in blocks:
        if block.rows and block.first_time < high and block.last_time >= low:
            by_day.setdefault(block.day, []).append(block)
    plan.days_held = by_day.keys()
    # Only these cut hours in two: the range's ends and bounds that are not on the hour.
    edges = [low, *bounds[bisect_right(bounds, low) : bisect_right(bounds, high - 1)], high]
    uneven = [edge for edge in edges if edge % MICROS_PER_HOUR]
    for day in sorted(by_day):
        held = by_day[day]
        if len(held) == 1 and held[0].day_summary is not None and _in_one_window(held[0], plan, edges):
            plan.days.append(held[0])  # as in a year by day
        else:
            _plan_day(plan, day, held, edges, uneven)
    return plan


def _plan_day(plan: _Plan, day: int, held: list[StoredBlock], edges: Sequence[int], uneven: Sequence[int]) -> None:
    """Adds the blocks of one day.

    An hour of which one block must be sampled is sampled in all of its blocks: samples of two blocks may lie on both
    sides of a third one, whose summary would then not be disjoint in time from theirs.
    """
    alone: list[StoredBlock] = []
    sampled = _ALL_HOURS
    # A day of small blocks is sampled anyway, and there may be thousands of them.
    if any(block.day_summary is not None or block.hour_summary is not None for block in held):
        alone, sampled = _overlaps(held)
    whole = [block for block in alone if block.day_summary is not None and _in_one_window(block, plan, edges)]
    answered_whole = set(map(id, whole))
    by_hours = [block for block in held if id(block) not in answered_whole]
    if sampled != _ALL_HOURS:
        for block in by_hours:
            sampled |= _cut_hours(block, day, uneven)
    while demoted := [block for block in whole if block.hours & sampled]:
        whole = [block for block in whole if not block.hours & sampled]
        by_hours = by_hours + demoted
        for block in demoted:
            sampled |= _cut_hours(block, day, uneven)
    plan.days.extend(whole)
    inside = _hours_between(plan.low, plan.high, day * 24)
    sampled &= inside
    read: list[StoredBlock] = []
    hours = 0
    for block in by_hours:
        if answered := block.hours & inside & ~sampled:
            plan.hours.append((block, answered))
        if block.hours & sampled:
            read.append(block)
            hours |= block.hours & sampled
    plan.sampled.extend(sorted(read, key=_by_seq))
    plan.sampled_hours.extend(day * 24 + hour for hour in range(24) if hours >> hour & 1)


def _overlaps(held: list[StoredBlock]) -> tuple[list[StoredBlock], int]:
    """Returns the blocks of a day that overlap no other in time, and the hours that several of the others hold."""
    if len(held) == 1:
        return held, 0
    alone: list[StoredBlock] = []
    hours_held_twice = 0
    cluster: list[StoredBlock] = []
    reach = INT64_MIN
    for block in [*sorted(held, key=_by_first_time), None]:
        if block is None or block.first_time > reach:
            if len(cluster) == 1:
                alone += cluster
            else:
                hours_held_twice |= _held_twice(cluster)
            cluster = []
        if block is not None:
            cluster.append(block)
            reach = max(reach, block.last_time)
    return alone, hours_held_twice


def _held_twice(blocks: Sequence[StoredBlock]) -> int:
    once = twice = 0
    for block in blocks:
        twice |= once & block.hours
        once |= block.hours
    return twice


def _in_one_window(block: StoredBlock, plan: _Plan, edges: Sequence[int]) -> bool:
    """Tells whether a block lies inside the range and one window."""
    if block.first_time < plan.low or block.last_time >= plan.high:
        return False
    return bisect_right(edges, block.first_time) == bisect_right(edges, block.last_time)


def _cut_hours(block: StoredBlock, day: int, uneven: Sequence[int]) -> int:
    """Returns the hours of a block that its summary of hours cannot answer; of damaged samples it is all there is."""
    if block.data == b"":
        return 0
    if block.hour_summary is None:
        return block.hours
    cut = 0
    for edge in uneven[bisect_right(uneven, block.first_time) : bisect_right(uneven, block.last_time)]:
        cut |= 1 << (edge // MICROS_PER_HOUR - day * 24)
    return cut


_by_first_time = attrgetter("first_time")
_by_seq = attrgetter("seq")


def _hours_between(low: int, high: int, first_hour: int) -> int:
    """Returns the bitmap of the hours of a day that hold moments of [low, high)."""
    begin = min(max(low // MICROS_PER_HOUR - first_hour, 0), 24)
    end = min(max(-(-high // MICROS_PER_HOUR) - first_hour, 0), 24)
    return (1 << end) - (1 << begin) if end > begin else 0


def _pieces(
    plan: _Plan, bounds: Sequence[int], metrics: Collection[int] | None, in_hours: Collection[int] = ()
) -> list[Summary]:
    """Returns summaries of disjoint stretches of time, each inside one window, that make up the answer.

    Where samples hold a metric out of `in_hours`, no entry reaches over an hour.
    """
    pieces: list[Summary] = []
    if plan.days:
        pieces.append(decode_summaries([b.day_summary for b in plan.days if b.day_summary is not None], metrics))
    intact = [(block, hours) for block, hours in plan.hours if block.data != b""]
    entire = [block.hour_summary for block, hours in intact if hours == block.hours and block.hour_summary]
    if entire:
        pieces.append(decode_summaries(entire, metrics))
    for block, hours in intact:
        if hours != block.hours and block.hour_summary is not None:
            pieces.append(_only_hours(decode_summaries([block.hour_summary], metrics), block.day, hours))
    for block, hours in plan.hours:
        if block.data == b"" and block.hour_summary is not None:
            piece = _only_hours(decode_summaries([block.hour_summary], metrics), block.day, hours)
            pieces.append(begun_within(piece, plan.low, plan.high))
    if plan.sampled:
        pieces.append(_sampled_piece(plan, bounds, metrics, in_hours))
    return pieces


def _only_hours(piece: Summary, day: int, hours: int) -> Summary:
    """Returns the entries of some hours (a bitmap) of a summary of a day by hours."""
    number_hours = piece.numbers[Cell.FIRST_TIME] // MICROS_PER_HOUR - day * 24
    text_hours = piece.texts.first_times // MICROS_PER_HOUR - day * 24
    return Summary(piece.numbers[:, (hours >> number_hours & 1) != 0], piece.texts.take((hours >> text_hours & 1) != 0))


def _spans(plan: _Plan) -> list[tuple[int, int]]:
    """Returns the spans of time that samples answer."""
    spans: list[tuple[int, int]] = []
    for hour in plan.sampled_hours:
        start = max(hour * MICROS_PER_HOUR, plan.low)
        end = min((hour + 1) * MICROS_PER_HOUR, plan.high)
        if spans and spans[-1][1] == start:
            start = spans.pop()[0]
        spans.append((start, end))
    return spans


def _sampled_piece(
    plan: _Plan, bounds: Sequence[int], metrics: Collection[int] | None, in_hours: Collection[int]
) -> Summary:
    """Returns the summary of what samples answer, in buckets that summaries of other hours do not reach into."""
    data = [block.data for block in plan.sampled if block.data is not None]
    if len(data) != len(plan.sampled):
        raise ValueError("samples are needed of blocks that are not loaded")
    frame = decode_many(data, metrics, _spans(plan))
    buckets: Ints = np.searchsorted(np.array(bounds, np.int64), frame.times, side="right")
    if plan.days or plan.hours or not frame.columns.keys().isdisjoint(in_hours):
        buckets = np.cumsum(changes(frame.times // MICROS_PER_HOUR, buckets))
    return summarise(frame, buckets)
