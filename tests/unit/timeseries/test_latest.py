"""The newest samples: right in any order of arrival, with a lifetime total that is exact or not known."""

from __future__ import annotations

import math
from collections.abc import Sequence
from operator import itemgetter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from streamgauge_server.model.values import INT64_MAX, INT64_MIN, Scalar
from streamgauge_server.timeseries.frame import UNKNOWN_START
from streamgauge_server.timeseries.latest import LatestSample, advance, advance_row, decode_latest, encode_latest

from tests.unit.timeseries import reference
from tests.unit.timeseries.reference import Samples
from tests.unit.timeseries.strategies import MIXED, STARTS, VALUES, Run, frame_of, runs, type_of

LIFETIMES = {
    float: st.none() | st.floats(allow_nan=False),
    int: st.none() | st.integers(-(2**80), 2**80) | st.floats(),
    bool: st.sampled_from([None, 0, 1]),
    str: st.just(0),
}


@st.composite
def latest_rows(draw: st.DrawFn) -> dict[int, LatestSample]:
    moments = draw(st.lists(st.tuples(st.integers(0, 2**53), STARTS), min_size=1, max_size=3))
    rows: dict[int, LatestSample] = {}
    ids = st.lists(st.integers(0, 40) | st.sampled_from([*MIXED, 2**40]), unique=True, max_size=20)
    for metric in draw(ids):
        time, start = draw(st.sampled_from(moments))
        value = draw(VALUES[type_of(metric)])
        rows[metric] = LatestSample(time, value, start, draw(LIFETIMES[type(value)]))
    return rows


@settings(max_examples=100, deadline=None)
@given(latest_rows(), st.none() | st.sets(st.integers(0, 40)))
def test_decoding_gives_back_every_newest_sample(rows: dict[int, LatestSample], metrics: set[int] | None) -> None:
    wanted = {metric: sample for metric, sample in rows.items() if metrics is None or metric in metrics}
    decoded = decode_latest(encode_latest(rows), metrics)
    assert [(m, repr(sample)) for m, sample in decoded.items()] == [(m, repr(sample)) for m, sample in wanted.items()]


def test_a_row_of_very_many_metrics_survives() -> None:
    rows = advance_row({}, 5, UNKNOWN_START, {metric: metric for metric in range(3_000)})
    assert decode_latest(encode_latest(rows)) == rows


def check(current: dict[int, LatestSample], samples: Samples, *, in_order: bool) -> None:
    """Compares newest samples with the reference's.

    The lifetime may be unknown, unless data came in order and were of one kind.
    """
    lifetimes = reference.lifetimes(samples, INT64_MAX)
    assert current.keys() == samples.keys()
    for metric, sample in current.items():
        newest = max(samples[metric])
        value, start = samples[metric][newest]
        assert (sample.time, repr(sample.value), sample.start) == (newest, repr(value), start)
        if sample.lifetime is not None or (in_order and len(reference.by_kind(samples[metric])) == 1):
            assert sample.lifetime == lifetimes[metric]


@settings(max_examples=80, deadline=None)
@given(st.lists(runs(days=1), min_size=1, max_size=5), st.booleans())
def test_the_newest_sample_stands_whatever_the_order_of_arrival(written: list[Run], row_by_row: bool) -> None:
    current: dict[int, LatestSample] = {}
    samples: Samples = {}
    reported: dict[int, None] = {}
    for run in written:
        before = dict(current)
        untouched = dict(before)
        if row_by_row:
            for time, start, values in run.observations():
                current = advance_row(current, time, start, values)
                reported |= dict.fromkeys(values)
        else:
            current = advance(current, frame_of(run))
            reported |= dict.fromkeys(frame_of(run).columns)
        assert before == untouched
        for time, start, values in run.observations():
            reference.write(samples, time, start, values)
        current = decode_latest(encode_latest(current))
        check(current, samples, in_order=False)
        assert list(current) == list(reported)


@settings(max_examples=50, deadline=None)
@given(st.lists(runs(days=1), min_size=1, max_size=4))
def test_data_in_order_always_have_a_lifetime(written: list[Run]) -> None:
    samples: Samples = {}
    observations = sorted((row for run in written for row in run.observations()), key=itemgetter(0))
    current: dict[int, LatestSample] = {}
    last = -1
    for time, start, values in observations:
        if time == last:
            continue
        current = advance_row(current, time, start, values)
        reference.write(samples, time, start, values)
        last = time
    check(current, samples, in_order=True)


def advanced(rows: Sequence[tuple[int, int, Scalar]]) -> LatestSample:
    current: dict[int, LatestSample] = {}
    for time, start, value in rows:
        current = advance_row(current, time, start, {1: value})
    return current[1]


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([(1, 7, 10), (2, 7, 15)], LatestSample(2, 15, 7, 15)),
        ([(1, 7, 10), (2, 7, 4)], LatestSample(2, 4, 7, 14)),
        ([(1, 7, 10), (2, 8, 15)], LatestSample(2, 15, 8, 25)),
        ([(1, 7, 10), (2, UNKNOWN_START, 15)], LatestSample(2, 15, UNKNOWN_START, 15)),
        ([(1, 7, 10), (1, 7, 10)], LatestSample(1, 10, 7, 10)),
        ([(1, 7, 10), (1, UNKNOWN_START, 10)], LatestSample(1, 10, 7, 10)),
        ([(1, 7, 10), (1, 7, 11)], LatestSample(1, 11, 7, None)),
        ([(1, 7, 10), (1, 8, 10)], LatestSample(1, 10, 8, None)),
        ([(2, 7, 10), (1, 7, 4)], LatestSample(2, 10, 7, None)),
        ([(2, 7, 10), (1, 7, 4), (3, 7, 11)], LatestSample(3, 11, 7, None)),
        ([(1, 7, True), (2, 7, False)], LatestSample(2, False, 7, 1)),
        ([(1, 7, False), (2, 7, False)], LatestSample(2, False, 7, 0)),
        ([(2, 7, False), (1, 7, True)], LatestSample(2, False, 7, 1)),
        ([(2, 7, True), (1, 7, False)], LatestSample(2, True, 7, None)),
        ([(2, 7, "b"), (1, 7, "a")], LatestSample(2, "b", 7, 0)),
        ([(1, 7, 10), (2, 7, "a")], LatestSample(2, "a", 7, 0)),
        ([(1, 7, "a"), (2, 7, 10)], LatestSample(2, 10, 7, None)),
        ([(1, 7, True), (2, 7, 10)], LatestSample(2, 10, 7, None)),
        ([(1, 7, 10), (2, 7, True)], LatestSample(2, True, 7, 1)),
        ([(1, 7, 10), (2, 7, False)], LatestSample(2, False, 7, None)),
        ([(1, 7, "a"), (2, 7, False), (3, 7, True)], LatestSample(3, True, 7, 1)),
        ([(2, 7, "a"), (1, 7, 10)], LatestSample(2, "a", 7, 0)),
        ([(2, 7, 10), (1, 7, "a")], LatestSample(2, 10, 7, None)),
        ([(2, 7, 10), (1, 7, True)], LatestSample(2, 10, 7, None)),
        ([(2, 7, False), (1, 7, "a")], LatestSample(2, False, 7, None)),
        ([(1, 7, 10), (1, 7, "a")], LatestSample(1, "a", 7, 0)),
        ([(1, 7, 3), (2, 7, 3.5)], LatestSample(2, 3.5, 7, 3.5)),
        ([(1, 7, 3.5), (2, 7, 4)], LatestSample(2, 4, 7, 4.0)),
        ([(1, 7, 3.5), (2, 7, 4), (3, 7, 1)], LatestSample(3, 1, 7, 5.0)),
        ([(1, 7, 2**53 + 1), (2, 7, 2**53 + 3), (3, 8, 0.0)], LatestSample(3, 0.0, 8, float(2**53 + 3))),
        ([(1, 7, INT64_MAX), (2, 7, INT64_MIN)], LatestSample(2, INT64_MIN, 7, -1)),
        ([(1, 7, INT64_MIN), (2, 7, INT64_MAX), (3, 8, INT64_MAX)], LatestSample(3, INT64_MAX, 8, 2**64 - 2)),
    ],
)
def test_the_lifetime_follows_the_rules(rows: Sequence[tuple[int, int, Scalar]], expected: LatestSample) -> None:
    sample = advanced(rows)
    assert sample == expected
    assert decode_latest(encode_latest({1: sample})) == {1: expected}


def test_metrics_keep_the_order_of_their_first_report_when_their_types_change() -> None:
    current = advance_row({}, 1, 5, {9: "x", 2: 1, 5: 0.5})
    current = advance_row(decode_latest(encode_latest(current)), 2, 5, {5: True, 1: 7, 9: 3})
    assert list(decode_latest(encode_latest(current))) == [9, 2, 5, 1]
    assert list(decode_latest(encode_latest(current), {1, 5, 9})) == [9, 5, 1]


def test_the_sign_of_zero_survives() -> None:
    decoded = decode_latest(encode_latest(advance_row({}, 1, 5, {1: -0.0})))[1]
    assert isinstance(decoded.value, float)
    assert decoded.lifetime is not None
    assert math.copysign(1, decoded.value) == -1
    assert math.copysign(1, decoded.lifetime) == -1


def test_numpy_values_of_a_frame_become_plain_python_values() -> None:
    run = Run(1_000, 1, 40, frozenset({0, 1, 2, 3}), (5,), 0.0, 1, False, False)
    current = advance({}, frame_of(run))
    assert {type(sample.value) for sample in current.values()} == {float, int, bool, str}
    assert not any(isinstance(part, np.generic) for sample in current.values() for part in sample)
