"""Frames: rows in any order become sorted ones, and merging is later-wins, associative and idempotent."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from streamgauge_server.model.clock import MICROS_PER_DAY
from streamgauge_server.model.values import ValueType
from streamgauge_server.timeseries.frame import (
    UNKNOWN_START,
    Column,
    Frame,
    build_frame,
    cut,
    merge,
    split_days,
    within,
)

from tests.unit.timeseries import reference
from tests.unit.timeseries.reference import exact, merged, samples_of
from tests.unit.timeseries.strategies import DAY, METRICS, Run, frame_of, frames, runs

FRAMES = st.lists(frames(max_rows=60), min_size=1, max_size=4)


def well_formed(frame: Frame) -> bool:
    """Tells whether a frame keeps what its description promises."""
    rows = len(frame.times)
    return (
        bool((np.diff(frame.times) > 0).all())
        and len(frame.starts) == rows
        and all(len(column.values) == rows for column in frame.columns.values())
        and all(column.present is None or bool(column.present.any()) for column in frame.columns.values())
    )


@settings(max_examples=80, deadline=None)
@given(FRAMES)
def test_of_two_writes_to_a_moment_and_metric_the_later_stands(written: list[Frame]) -> None:
    frame = merge(written)
    assert well_formed(frame)
    assert exact(samples_of(frame)) == exact(merged(written))


@settings(max_examples=50, deadline=None)
@given(frames(max_rows=60), frames(max_rows=60), frames(max_rows=60))
def test_merging_is_associative_and_idempotent(a: Frame, b: Frame, c: Frame) -> None:
    together = exact(samples_of(merge([a, b, c])))
    assert exact(samples_of(merge([merge([a, b]), c]))) == together
    assert exact(samples_of(merge([a, merge([b, c])]))) == together
    assert exact(samples_of(merge([a, b, c, c]))) == together
    assert exact(samples_of(merge([merge([a, b, c]), merge([a, b, c])]))) == together


@settings(max_examples=50, deadline=None)
@given(st.lists(runs(), min_size=1, max_size=3), st.randoms(use_true_random=False))
def test_rows_in_any_order_with_repeated_moments_become_a_frame(written: list[Run], rng: object) -> None:
    laid = [frame_of(run) for run in written]
    expected: reference.Samples = {}
    for run in written:
        for time, start, values in run.observations():
            reference.write(expected, time, start, values)
    assert exact(samples_of(merge(laid))) == exact(expected)


def build(times: Sequence[int], starts: Sequence[int], values: Sequence[int | None]) -> Frame:
    present = np.array([value is not None for value in values])
    column = Column(ValueType.INT64, np.array([value or 0 for value in values]), present)
    return build_frame(np.array(times), np.array(starts), {7: column})


def test_a_row_without_a_value_does_not_hide_an_earlier_one_of_the_same_moment() -> None:
    frame = build([5, 5, 3], [UNKNOWN_START, 100, 200], [1, None, 2])
    assert samples_of(frame) == {7: {3: (2, 200), 5: (1, UNKNOWN_START)}}


def test_a_repeated_value_without_a_start_time_keeps_the_known_one() -> None:
    frame = build([5, 5], [100, UNKNOWN_START], [1, 2])
    assert samples_of(frame) == {7: {5: (2, 100)}}


def test_two_writers_at_one_moment_keep_their_own_start_times() -> None:
    moment = np.array([10])
    one = Frame(moment, np.array([100]), {1: Column(ValueType.INT64, np.array([1]))})
    other = Frame(moment, np.array([200]), {2: Column(ValueType.INT64, np.array([2]))})
    silent = Frame(moment, np.array([UNKNOWN_START]), {3: Column(ValueType.INT64, np.array([3]))})
    for frame in (
        merge([one, other, silent]),
        merge([merge([one, other]), silent]),
        merge([one, merge([other, silent])]),
    ):
        assert samples_of(frame) == {1: {10: (1, 100)}, 2: {10: (2, 200)}, 3: {10: (3, UNKNOWN_START)}}


def test_one_metric_of_two_types_is_a_column_of_python_scalars() -> None:
    start = np.array([UNKNOWN_START])
    integer = Frame(np.array([10]), start, {1: Column(ValueType.INT64, np.array([1]))})
    double = Frame(np.array([20]), start, {1: Column(ValueType.DOUBLE, np.array([1.0]))})
    column = merge([integer, double]).columns[1]
    assert column.type == ValueType.ANY
    assert [type(value) for value in column.values] == [int, float]


@settings(max_examples=50, deadline=None)
@given(st.lists(runs(), min_size=1, max_size=3))
def test_days_hold_all_samples_once(written: list[Run]) -> None:
    frame = merge([frame_of(run) for run in written])
    days = split_days(frame)
    assert [day for day, _ in days] == sorted({time // MICROS_PER_DAY for time in frame.times.tolist()})
    assert all(set((part.times // MICROS_PER_DAY).tolist()) == {day} for day, part in days)
    assert all(well_formed(part) and part.columns for _, part in days)
    assert exact(merged([part for _, part in days])) == exact(samples_of(frame))


@settings(max_examples=60, deadline=None)
@given(frames(max_rows=60), st.integers(0, 420), st.integers(0, 420), st.none() | st.sets(METRICS))
def test_a_cut_holds_the_samples_of_its_range_and_metrics(
    frame: Frame, low: int, high: int, metrics: set[int] | None
) -> None:
    start, end = DAY * MICROS_PER_DAY + low, DAY * MICROS_PER_DAY + high
    expected = {
        metric: inside
        for metric, of_metric in samples_of(frame).items()
        if (metrics is None or metric in metrics)
        and (inside := {time: sample for time, sample in of_metric.items() if start <= time < end})
    }
    part = cut(frame, start, end, metrics)
    assert (part is None) == (not expected)
    assert part is None or exact(samples_of(part)) == exact(expected)


@settings(max_examples=60, deadline=None)
@given(frames(max_rows=60), st.lists(st.integers(0, 420), unique=True).map(sorted))
def test_spans_of_time_pick_their_rows(frame: Frame, edges: list[int]) -> None:
    bounds = [DAY * MICROS_PER_DAY + edge for edge in edges]
    spans = list(zip(bounds[::2], bounds[1::2], strict=False))
    picked = within(frame, spans)
    expected = [t for t in frame.times.tolist() if any(start <= t < end for start, end in spans)]
    assert picked.times.tolist() == expected
    assert exact(samples_of(picked)) == [entry for entry in exact(samples_of(frame)) if entry[1] in set(expected)]
