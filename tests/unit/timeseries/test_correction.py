"""Corrections equal what plain Python says: take the samples out of each write, then write again what is left."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from streamgauge_server.model.clock import MICROS_PER_DAY
from streamgauge_server.model.values import ValueType
from streamgauge_server.timeseries.block import Block, decode, encode
from streamgauge_server.timeseries.correction import (
    DayBlock,
    DayCorrection,
    correct,
    newest_samples,
    unsure,
    without,
)
from streamgauge_server.timeseries.frame import UNKNOWN_START, Column, Frame
from streamgauge_server.timeseries.latest import LatestSample

from tests.unit.timeseries.reference import Samples, exact, merged, samples_of
from tests.unit.timeseries.strategies import DAY, METRICS, frames

BEGIN = DAY * MICROS_PER_DAY

EDGES = st.sampled_from([-10, 0, 399, MICROS_PER_DAY]) | st.integers(0, 400) | st.integers(0, MICROS_PER_DAY)
SPANS = st.tuples(EDGES, EDGES).map(lambda pair: (BEGIN + min(pair), BEGIN + max(pair)))
ROWS = st.builds(lambda frame, at: replace(frame, times=np.array([BEGIN + at])), frames(max_rows=1), st.integers(0, 2))
"""Frames of one observation, at few moments so that they meet."""
WRITTEN = st.sampled_from([ROWS, frames(max_rows=40)]).flatmap(
    lambda some: st.lists(st.tuples(some, st.booleans()), min_size=1, max_size=6)
)
SOME_METRICS = st.none() | st.sets(METRICS, max_size=4)


def taken_from(frame: Frame, start: int, end: int, metrics: Collection[int] | None) -> tuple[Samples, Samples]:
    """Returns the samples that go and those that stay."""
    gone: Samples = {}
    left: Samples = {}
    for metric, of_metric in samples_of(frame).items():
        for time, sample in of_metric.items():
            goes = start <= time < end and (metrics is None or metric in metrics)
            (gone if goes else left).setdefault(metric, {})[time] = sample
    return gone, left


def day_blocks(written: list[tuple[Frame, bool]]) -> list[DayBlock]:
    found = []
    for seq, (frame, chosen) in enumerate(written, start=10):
        block = encode(frame)
        found.append(DayBlock(seq, block.first_time, block.last_time, block.data, chosen))
    return found


def stored_after(blocks: list[DayBlock], correction: DayCorrection) -> list[Frame]:
    """Returns the frames of a day once the correction is carried out, in their order."""
    return [
        decode(correction.rewritten[block.seq].data if block.seq in correction.rewritten else block.data)
        for block in blocks
        if block.seq not in correction.removed
    ]


@given(frames(max_rows=60), SPANS, SOME_METRICS)
def test_what_is_left_of_a_frame(frame: Frame, span: tuple[int, int], metrics: set[int] | None) -> None:
    gone, expected = taken_from(frame, *span, metrics)
    left = without(frame, *span, metrics)
    if not gone:
        assert left is frame
    elif left is None:
        assert expected == {}
    else:
        assert exact(samples_of(left)) == exact(expected)
        assert set(left.times.tolist()) == {time for of_metric in expected.values() for time in of_metric}


@given(WRITTEN, SPANS, SOME_METRICS)
def test_a_day_is_corrected_as_if_the_samples_had_never_been_written(
    written: list[tuple[Frame, bool]], span: tuple[int, int], metrics: set[int] | None
) -> None:
    blocks = day_blocks(written)
    reaching = [block for block in blocks if block.first_time < span[1] and block.last_time >= span[0]]
    correction = correct(reaching, *span, metrics)

    standing: dict[tuple[int, int], bool] = {}  # whether the sample that stands is one that goes
    changed: set[int] = set()
    left: list[Samples] = []
    for frame, chosen in written:
        gone, stays = taken_from(frame, *span, metrics if chosen else ())
        left.append(stays)
        changed |= gone.keys()
        for samples, goes in ((stays, False), (gone, True)):
            standing.update({(metric, time): goes for metric, of_metric in samples.items() for time in of_metric})
    counts: dict[int, int] = {}
    for (metric, _), goes in standing.items():
        if goes:
            counts[metric] = counts.get(metric, 0) + 1
    assert correction.values == counts
    assert correction.metrics == changed
    kept = [exact(samples) for samples in left if samples]
    assert [exact(samples_of(frame)) for frame in stored_after(blocks, correction)] == kept
    for block in correction.rewritten.values():
        assert block == encode(decode(block.data)), "times, hours and summaries are those of what is left"


@given(st.lists(frames(max_rows=40), min_size=1, max_size=4), st.sets(METRICS, max_size=4))
def test_the_newest_sample_of_each_wanted_metric(written: list[Frame], metrics: set[int]) -> None:
    expected = {metric: samples for metric, samples in merged(written).items() if metric in metrics}
    found = newest_samples([encode(frame).data for frame in written], metrics)
    assert found.keys() == expected.keys()
    for metric, sample in found.items():
        time = max(expected[metric])
        value, start = expected[metric][time]
        assert (sample.time, repr(sample.value), sample.start) == (time, repr(value), start)
        assert sample.lifetime == (0 if isinstance(value, str) else None)


def test_a_block_that_the_deletion_is_not_about_is_left_alone_and_hides_what_goes() -> None:
    older, newer = row({1: 1.0, 2: 1.0}), row({1: 2.0})
    correction = correct(day_blocks([(older, True), (newer, False)]), BEGIN, BEGIN + 9, None)
    assert correction == DayCorrection({2: 1}, frozenset({1, 2}), {}, [10])


def test_blocks_without_the_metrics_are_not_touched() -> None:
    blocks = day_blocks([(row({1: 1.0}), True), (row({2: 1.0}), True)])
    assert correct(blocks, BEGIN, BEGIN + 9, {2}) == DayCorrection({2: 1}, frozenset({2}), {}, [11])
    assert correct(blocks, BEGIN, BEGIN + 9, {3}) == DayCorrection({}, frozenset(), {}, [])
    assert correct([], BEGIN, BEGIN + 9, None) == DayCorrection({}, frozenset(), {}, [])


def test_a_damaged_block_goes_where_all_of_it_is_to_go_and_stays_otherwise() -> None:
    good: Block = encode(row({1: 1.0}))
    damaged = DayBlock(1, BEGIN, BEGIN, good.data[:-1] + bytes([good.data[-1] ^ 1]), True)
    assert correct([damaged], BEGIN, BEGIN + 9, None).removed == [1]
    of_one_metric = correct([damaged], BEGIN, BEGIN + 9, {1})
    assert (of_one_metric.removed, of_one_metric.stay) == ([], [1])
    assert of_one_metric.damaged == [1]


def test_the_lifetime_of_what_has_lost_samples_is_unknown_except_of_texts() -> None:
    assert unsure(LatestSample(5, 7, 3, 9)) == LatestSample(5, 7, 3, None)
    assert unsure(LatestSample(5, True, 3, 1)) == LatestSample(5, True, 3, None)
    assert unsure(LatestSample(5, "x", 3, 0)) == LatestSample(5, "x", 3, 0)


def row(values: dict[int, float]) -> Frame:
    columns = {metric: Column(ValueType.DOUBLE, np.array([value])) for metric, value in values.items()}
    return Frame(np.array([BEGIN]), np.array([UNKNOWN_START]), columns)
