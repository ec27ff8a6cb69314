"""Reduction: samples of a day go, and what they said by hour and day stays.

A day of a metric is told by its samples or, once they are gone, by its summaries, never by both. What stays of all
metrics that lost their samples on a day is one block without data, a *reduced* one; what the other metrics have stays
in their blocks. Samples that are written later to such a day of such a metric do not count: nobody can tell any more
what they would replace.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from streamgauge_server.model.clock import MICROS_PER_DAY, MICROS_PER_HOUR
from streamgauge_server.model.values import INT64_MAX, INT64_MIN, ValueType
from streamgauge_server.timeseries import number_table, text_table
from streamgauge_server.timeseries.block import Block, decode, decode_many, encode, metrics_of
from streamgauge_server.timeseries.correction import without
from streamgauge_server.timeseries.frame import UNKNOWN_START, Bools, Frame, Ints
from streamgauge_server.timeseries.latest import LatestSample
from streamgauge_server.timeseries.number_table import Cell, NumberTable
from streamgauge_server.timeseries.summary import Summary, decode_summary, encode_summary, summarise, whole
from streamgauge_server.timeseries.text_table import TextTable

NOTHING = Summary(number_table.EMPTY, text_table.EMPTY)


@dataclass(frozen=True, slots=True)
class Reduction:
    """What becomes of a day.

    `summaries` is its reduced block, None where there is nothing to tell. `rewritten` are blocks by seq, those of which
    nothing is left are `removed`. `samples` counts the samples that stood and go, `hours` the hours of metrics of which
    nothing is left.
    """

    summaries: Block | None
    rewritten: Mapping[int, Block] = field(default_factory=dict)
    removed: Sequence[int] = ()
    samples: int = 0
    hours: int = 0


def reduce_day(
    blocks: Sequence[tuple[int, bytes]], summaries: bytes | None, spent: Collection[int], forgotten: Collection[int]
) -> Reduction:
    """Takes the samples of `spent` metrics out of the blocks of a day, and `forgotten` metrics out of its summaries.

    `blocks` are those with samples of spent metrics, seq and data, in the order in which later ones win; `summaries`
    are those by hour of the day's reduced block, None where there is none. Raises BlockCorrupt.
    """
    kept = NOTHING if summaries is None else decode_summary(summaries)
    samples = 0
    if blocks:
        frame = decode_many([data for _, data in blocks], spent)
        samples = _count(frame)
        closed = set(metrics_of_summary(kept))
        fresh = Frame(
            frame.times, frame.starts, {metric: one for metric, one in frame.columns.items() if metric not in closed}
        )
        if fresh.columns:
            kept = _joined([kept, summarise(fresh, fresh.times // MICROS_PER_HOUR)])
    left, hours = _without(kept, forgotten)
    rewritten: dict[int, Block] = {}
    removed: list[int] = []
    for seq, data in blocks:
        rest = None
        if not set(metrics_of(data)).issubset(spent):
            rest = without(decode(data), INT64_MIN, INT64_MAX, spent)
        if rest is None:
            removed.append(seq)
        else:
            rewritten[seq] = encode(rest)
    return Reduction(reduced_block(left), rewritten, removed, samples, hours)


def reduced_block(summary: Summary) -> Block | None:
    """Returns the block of summaries by hour of a day without their samples; None where there are none."""
    first_times = np.concatenate([summary.numbers[Cell.FIRST_TIME], summary.texts.first_times])
    last_times = np.concatenate([summary.numbers[Cell.LAST_TIME], summary.texts.last_times])
    if not len(first_times):
        return None
    first, last = int(first_times.min()), int(last_times.max())
    day = first // MICROS_PER_DAY
    hours = 0
    for hour in np.unique(first_times // MICROS_PER_HOUR).tolist():
        hours |= 1 << (hour - day * 24)
    by_hour = by_day = encode_summary(summary)
    if hours & (hours - 1):
        by_day = encode_summary(whole(summary))
    return Block(day, 0, first, last, hours, b"", by_hour, by_day)


def metrics_of_summary(summary: Summary) -> list[int]:
    """Returns the metrics that a summary tells of, rising."""
    found: list[int] = np.union1d(summary.numbers[Cell.METRIC], summary.texts.metrics).tolist()
    return found


def samples_in(summary: Summary) -> dict[int, int]:
    """Returns how many samples a summary tells of, by metric."""
    counts: dict[int, int] = {}
    for metrics, of_entries in (
        (summary.numbers[Cell.METRIC], summary.numbers[Cell.COUNT]),
        (summary.texts.metrics, summary.texts.counts),
    ):
        for metric, count in zip(metrics.tolist(), of_entries.tolist(), strict=True):
            counts[metric] = counts.get(metric, 0) + count
    return counts


def hours_in(summary: Summary, metrics: Collection[int] | None = None) -> int:
    """Returns how many hours of metrics, of some or all, a summary by hours tells of."""
    numbers, texts = summary.numbers, summary.texts
    ids = np.concatenate([numbers[Cell.METRIC], texts.metrics])
    hours = np.concatenate([numbers[Cell.FIRST_TIME], texts.first_times]) // MICROS_PER_HOUR
    if metrics is not None:
        chosen = np.isin(ids, list(metrics))
        ids, hours = ids[chosen], hours[chosen]
    return len(np.unique(np.stack([ids, hours]), axis=1).T)


def cut_out(summary: Summary, start: int, end: int, metrics: Collection[int] | None) -> tuple[Summary, Summary, int]:
    """Parts a summary by hours into what lies outside [start, end) and what lies in it, of some metrics or all.

    Also returns how many entries it has on both sides, which cannot be parted; they are in neither.
    """
    numbers, texts = summary.numbers, summary.texts
    of_numbers = _sides(numbers[Cell.METRIC], numbers[Cell.FIRST_TIME], numbers[Cell.LAST_TIME], start, end, metrics)
    of_texts = _sides(texts.metrics, texts.first_times, texts.last_times, start, end, metrics)
    outside, inside = (
        Summary(numbers[:, number], texts.take(text)) for number, text in zip(of_numbers, of_texts, strict=True)
    )
    entries = numbers.shape[1] + len(texts.metrics)
    parted = sum(one.numbers.shape[1] + len(one.texts.metrics) for one in (outside, inside))
    return outside, inside, entries - parted


def newest_in(summary: Summary, metrics: Collection[int]) -> dict[int, LatestSample]:
    """Returns the newest sample of each of some metrics that a summary tells of; lifetimes of numbers are not known."""
    found: dict[int, LatestSample] = {}
    wanted = set(metrics)
    table = summary.numbers
    doubles = table.view(np.float64)
    for place, metric in enumerate(table[Cell.METRIC].tolist()):
        time = int(table[Cell.LAST_TIME, place])
        if metric in wanted and (metric not in found or time > found[metric].time):
            value_type = ValueType(int(table[Cell.TYPE, place]))
            cells = doubles if value_type == ValueType.DOUBLE else table
            value = cells[Cell.LAST, place].item()
            found[metric] = LatestSample(
                time, bool(value) if value_type == ValueType.BOOL else value, int(table[Cell.LAST_START, place]), None
            )
    texts = summary.texts
    for metric, time, value in zip(texts.metrics.tolist(), texts.last_times.tolist(), texts.last.tolist(), strict=True):
        if metric in wanted and (metric not in found or time > found[metric].time):
            found[metric] = LatestSample(time, value, UNKNOWN_START, 0)
    return found


def spans_in(summary: Summary, metrics: Collection[int]) -> dict[int, tuple[int, LatestSample]]:
    """Returns the moment of the first sample and the last sample of each of some metrics that a summary tells of."""
    newest = newest_in(summary, metrics)
    firsts: dict[int, int] = {}
    for ids, times in (
        (summary.numbers[Cell.METRIC], summary.numbers[Cell.FIRST_TIME]),
        (summary.texts.metrics, summary.texts.first_times),
    ):
        for metric, time in zip(ids.tolist(), times.tolist(), strict=True):
            firsts[metric] = min(time, firsts.get(metric, time))
    return {metric: (firsts[metric], sample) for metric, sample in newest.items()}


def _sides(
    ids: Ints, first_times: Ints, last_times: Ints, start: int, end: int, metrics: Collection[int] | None
) -> tuple[Bools, Bools]:
    outside = (last_times < start) | (first_times >= end)
    inside = (first_times >= start) & (last_times < end)
    if metrics is not None:
        others = ~np.isin(ids, list(metrics))
        outside |= others
        inside &= ~others
    return outside, inside


def _without(summary: Summary, metrics: Collection[int]) -> tuple[Summary, int]:
    """Returns a summary without some metrics, and how many hours of them are taken out."""
    hours = hours_in(summary, metrics) if metrics else 0
    if not hours:
        return summary, 0
    ids = list(metrics)
    numbers = summary.numbers[:, ~np.isin(summary.numbers[Cell.METRIC], ids)]
    return Summary(numbers, summary.texts.take(~np.isin(summary.texts.metrics, ids))), hours


def _joined(summaries: Sequence[Summary]) -> Summary:
    """Returns the entries of several summaries as one writes them: doubles, then other numbers, by metric and time."""
    numbers: NumberTable = number_table.join([one.numbers for one in summaries])
    others = numbers[Cell.TYPE] != ValueType.DOUBLE.value
    order = np.lexsort((numbers[Cell.FIRST_TIME], numbers[Cell.TYPE], numbers[Cell.METRIC], others))
    texts: TextTable = text_table.join([one.texts for one in summaries])
    return Summary(numbers[:, order], texts.take(np.lexsort((texts.first_times, texts.metrics))))


def _count(frame: Frame) -> int:
    return sum(
        len(column.values) if column.present is None else int(np.count_nonzero(column.present))
        for column in frame.columns.values()
    )
