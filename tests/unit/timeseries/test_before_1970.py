"""Moments before 1970, back to the year 1, are moments like any others."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from streamgauge_server.model.clock import MICROS_PER_DAY, MICROS_PER_HOUR
from streamgauge_server.model.windows import Window, WindowUnit
from streamgauge_server.timeseries import query
from streamgauge_server.timeseries.block import decode, decode_many, encode, encode_days, encode_row
from streamgauge_server.timeseries.frame import Frame, cut, merge, split_days, within
from streamgauge_server.timeseries.latest import LatestSample, advance, advance_row, decode_latest, encode_latest
from streamgauge_server.timeseries.query import aggregate

from tests.unit.timeseries import reference
from tests.unit.timeseries.reference import Samples, exact, merged, samples_of
from tests.unit.timeseries.strategies import DAY, Run, frame_of, frames, runs, store, without_data
from tests.unit.timeseries.test_query import answer

YEAR_1 = -62_135_596_800_000_000
"""0001-01-01T00:00:00Z, the first moment of `google.protobuf.Timestamp`."""
DAYS = st.sampled_from([YEAR_1 // MICROS_PER_DAY, -1_000, -2, -1])
"""UTC days from which the histories of these tests begin; from the last two on they reach over 1970."""


def shifted(frame: Frame, day: int) -> Frame:
    return Frame(frame.times + (day - DAY) * MICROS_PER_DAY, frame.starts, frame.columns)


def moved(run: Run, day: int) -> Run:
    return replace(run, begin=max(run.begin + (day - DAY) * MICROS_PER_DAY, YEAR_1))


@settings(max_examples=60, deadline=None)
@given(frames(), DAYS)
def test_blocks_know_their_day_and_hours_and_give_back_every_sample(frame: Frame, day: int) -> None:
    early = shifted(frame, day)
    block = encode(early)
    assert (block.day, block.hours) == (day, encode(frame).hours)
    assert (block.first_time, block.last_time) == (early.times[0], early.times[-1])
    assert exact(samples_of(decode(block.data))) == exact(samples_of(early))


@pytest.mark.parametrize("time", [YEAR_1, -MICROS_PER_DAY, -MICROS_PER_DAY - 1, -MICROS_PER_HOUR, -1, 0])
def test_a_row_lies_in_the_day_and_hour_of_its_moment(time: int) -> None:
    block = encode_row(time, 5, {1: 7})
    assert block.day * MICROS_PER_DAY <= time < (block.day + 1) * MICROS_PER_DAY
    assert block.hours == 1 << (time - block.day * MICROS_PER_DAY) // MICROS_PER_HOUR
    assert encode(decode(block.data)) == block


@settings(max_examples=60, deadline=None)
@given(st.lists(runs(), min_size=1, max_size=4), DAYS)
def test_frames_are_merged_and_cut_by_days(written: list[Run], day: int) -> None:
    parts = [frame_of(moved(run, day)) for run in written]
    frame = merge(parts)
    assert exact(samples_of(frame)) == exact(merged(parts))
    assert {number for number, _ in split_days(frame)} == {time // MICROS_PER_DAY for time in frame.times.tolist()}
    assert exact(samples_of(decode_many([block.data for block in encode_days(frame)]))) == exact(samples_of(frame))
    early = [entry for entry in exact(samples_of(frame)) if entry[1] < 0]
    part = cut(frame, YEAR_1, 0)
    assert (exact(samples_of(part)) if part else []) == early
    assert exact(samples_of(within(frame, [(YEAR_1, -5), (-5, 0)]))) == early


@settings(max_examples=150, deadline=None)
@given(
    st.lists(runs(), min_size=1, max_size=5),
    DAYS,
    st.sampled_from([Window(WindowUnit.MINUTE, 90), Window(WindowUnit.HOUR), Window(WindowUnit.DAY, 2)]),
    st.tuples(st.integers(0, 80 * 60), st.integers(0, 80 * 60)).filter(lambda pair: pair[0] != pair[1]).map(sorted),
)
def test_a_query_equals_the_reference(written: list[Run], day: int, window: Window, cut_: list[int]) -> None:
    history = [moved(run, day) for run in written]
    start, end = (day * MICROS_PER_DAY + minute * 60_000_000 for minute in cut_)
    # Windows as the rule of `model.windows` makes them later on, moved by whole days.
    late = 719_164 // 2 * 2 * MICROS_PER_DAY
    bounds = [bound - late for bound in window.bounds(start + late, end + late)]
    everything = store(history)
    blocks = without_data(everything, query.needed(without_data(everything, set()), start, end, bounds))
    samples: Samples = {}
    for run in history:
        for time, sample_start, values in run.observations():
            reference.write(samples, time, sample_start, values)
    table = aggregate(blocks, start, end, bounds)
    assert answer(table) == reference.windows(samples, start, end, bounds, chained=False)
    assert query.lifetime_of(everything, end) == reference.lifetimes(samples, end)
    before = query.baseline(everything, start)
    for metric, of_metric in samples.items():
        times = [time for time in of_metric if time < start]
        assert (before[metric].time if metric in before else None) == max(times, default=None)


@pytest.mark.parametrize("time", [YEAR_1, -2, -1])
def test_the_newest_sample_may_be_old(time: int) -> None:
    frame = decode(encode_row(time, 5, {1: 7, 2: "x"}).data)
    current = advance({}, frame)
    assert current == advance_row({}, time, 5, {1: 7, 2: "x"})
    assert decode_latest(encode_latest(current)) == {1: LatestSample(time, 7, 5, 7), 2: LatestSample(time, "x", 5, 0)}
    assert advance_row(current, time + 1, 5, {1: 9})[1] == LatestSample(time + 1, 9, 5, 9)
    assert np.array_equal(frame.times, [time])
