"""Corrections: which samples a deletion takes out of the blocks of a day, which of those stood, and what is left."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from operator import attrgetter

import numpy as np

from streamgauge_server.model.values import ValueType
from streamgauge_server.timeseries.block import Block, decode, decode_many, encode, metrics_of
from streamgauge_server.timeseries.damage import parted
from streamgauge_server.timeseries.frame import Bools, Column, Frame, merge, take
from streamgauge_server.timeseries.latest import LatestSample


@dataclass(frozen=True, slots=True)
class DayBlock:
    """A stored block with its moments in microseconds; `chosen` tells whether the deletion is about it."""

    seq: int
    first_time: int
    last_time: int
    data: bytes
    chosen: bool


@dataclass(frozen=True, slots=True)
class DayCorrection:
    """What becomes of the blocks of a day.

    `values` counts by metric the samples that stood and go. `metrics` are those of which any sample goes, also one that
    another had replaced. `rewritten` are blocks by seq; those of which nothing is left are `removed`. What `damaged`
    blocks hold is not known: they are left out, or removed as a whole. Of those that `stay` samples should have gone.
    """

    values: dict[int, int]
    metrics: frozenset[int]
    rewritten: dict[int, Block]
    removed: list[int]
    damaged: list[int] = field(default_factory=list)
    stay: list[int] = field(default_factory=list)


def correct(blocks: Sequence[DayBlock], start: int, end: int, metrics: Collection[int] | None) -> DayCorrection:
    """Takes the samples in [start, end), of some metrics or all, out of the chosen blocks.

    `blocks` are all blocks of a subject and day that reach into the range, in the order in which later ones win: a
    sample of a block that is not chosen may hide one that goes, or stand again in its place.
    """
    intact, damaged = parted({block.seq: block.data for block in blocks})
    if not damaged:
        return _correct(blocks, start, end, metrics)
    correction = _correct([block for block in blocks if block.seq in intact], start, end, metrics)
    for block in blocks:
        if block.seq in damaged:
            correction.damaged.append(block.seq)
            if block.chosen:
                whole = metrics is None and start <= block.first_time and block.last_time < end
                (correction.removed if whole else correction.stay).append(block.seq)
    return correction


def _correct(blocks: Sequence[DayBlock], start: int, end: int, metrics: Collection[int] | None) -> DayCorrection:
    if all(block.first_time == block.last_time for block in blocks):
        return _correct_rows(blocks, metrics)

    def samples(of_blocks: Iterable[DayBlock]) -> Frame:
        return decode_many([block.data for block in of_blocks], metrics, [(start, end)])

    going = samples(block for block in blocks if block.chosen)
    others = samples(block for block in blocks if not block.chosen)
    taken = frozenset(going.columns)
    if len(np.intersect1d(going.times, others.times, assume_unique=True)):
        # Who hides whom depends on the order. Neighbours of one side are as one block.
        turns = [(chosen, samples(run)) for chosen, run in groupby(blocks, attrgetter("chosen"))]
    else:
        turns = [(True, going)]
    rewritten: dict[int, Block] = {}
    removed: list[int] = []
    for block in blocks if taken else ():
        if not block.chosen:
            continue
        held = metrics_of(block.data)
        whole = start <= block.first_time and block.last_time < end
        if whole and taken.issuperset(held):
            removed.append(block.seq)
        elif not taken.isdisjoint(held):
            frame = decode(block.data)
            left = without(frame, start, end, taken)
            if left is None:
                removed.append(block.seq)
            elif left is not frame:
                rewritten[block.seq] = encode(left)
    return DayCorrection(_standing(turns), taken, rewritten, removed)


def _correct_rows(blocks: Sequence[DayBlock], metrics: Collection[int] | None) -> DayCorrection:
    """Corrects blocks of a single observation each, the usual ones: what they hold need not be decoded."""
    standing: dict[tuple[int, int], bool] = {}  # by metric and moment, whether the sample that stands is one that goes
    rewritten: dict[int, Block] = {}
    removed: list[int] = []
    taken: set[int] = set()
    for block in blocks:
        held = metrics_of(block.data)
        concerned = held if metrics is None else [metric for metric in held if metric in metrics]
        for metric in concerned:
            standing[metric, block.first_time] = block.chosen
        if not block.chosen or not concerned:
            continue
        taken.update(concerned)
        left = None
        if len(concerned) < len(held):
            left = without(decode(block.data), block.first_time, block.first_time + 1, concerned)
        if left is None:
            removed.append(block.seq)
        else:
            rewritten[block.seq] = encode(left)
    values = Counter(metric for (metric, _), goes in standing.items() if goes)
    return DayCorrection(dict(values), frozenset(taken), rewritten, removed)


def without(frame: Frame, start: int, end: int, metrics: Collection[int] | None = None) -> Frame | None:
    """Returns a frame without its samples in [start, end), of some metrics or all.

    Rows without a sample go as well. None when nothing is left, the very same frame when nothing goes.
    """
    low, high = np.searchsorted(frame.times, (start, end)).tolist()
    columns: dict[int, Column] = {}
    kept = np.zeros(len(frame.times), np.bool_)
    changed = False
    for metric, column in frame.columns.items():
        present = _present(column)
        if (metrics is None or metric in metrics) and present[low:high].any():
            present = present.copy()
            present[low:high] = False
            changed = True
        kept |= present
        columns[metric] = replace(column, present=present)
    if not changed:
        return frame
    left = take(Frame(frame.times, frame.starts, columns), np.flatnonzero(kept))
    return left if left.columns else None


def newest_samples(blocks: Sequence[bytes], metrics: Collection[int]) -> dict[int, LatestSample]:
    """Returns the newest sample of each of some metrics that blocks hold; later ones win.

    Of numbers and booleans the lifetime is not known. Raises BlockCorrupt.
    """
    wanted = frozenset(metrics)
    frame = decode_many([data for data in blocks if not wanted.isdisjoint(metrics_of(data))], wanted)
    found: dict[int, LatestSample] = {}
    for metric, column in frame.columns.items():
        row = len(frame.times) - 1 if column.present is None else int(np.flatnonzero(column.present)[-1])
        value = column.values[row : row + 1].tolist()[0]
        sample = LatestSample(int(frame.times[row]), value, int(frame.starts_of(metric)[row]), None)
        found[metric] = unsure(sample)
    return found


def unsure(sample: LatestSample) -> LatestSample:
    """Returns a sample whose metric has lost earlier ones: its lifetime is to be computed anew, unless it is a text."""
    return sample._replace(lifetime=0 if isinstance(sample.value, str) else None)


def _standing(turns: Sequence[tuple[bool, Frame]]) -> dict[int, int]:
    """Counts by metric the moments at which the sample that stands is a chosen one; later frames win."""
    merged = merge([_marked(frame, chosen) for chosen, frame in turns])
    counts = {
        metric: int(np.count_nonzero(column.values & _present(column))) for metric, column in merged.columns.items()
    }
    return {metric: count for metric, count in counts.items() if count}


def _marked(frame: Frame, mark: bool) -> Frame:
    """Returns a frame with a mark in place of every value."""
    marks = np.full(len(frame.times), mark)
    columns = {metric: Column(ValueType.BOOL, marks, column.present) for metric, column in frame.columns.items()}
    return Frame(frame.times, frame.starts, columns)


def _present(column: Column) -> Bools:
    return np.ones(len(column.values), np.bool_) if column.present is None else column.present
