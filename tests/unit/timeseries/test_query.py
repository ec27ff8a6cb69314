"""Answers from summaries, samples and both equal those of plain Python, however the data came."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from streamgauge_server.model.clock import MICROS_PER_DAY, MICROS_PER_HOUR
from streamgauge_server.model.values import Scalar, ValueType
from streamgauge_server.model.windows import Window, WindowUnit
from streamgauge_server.timeseries import query
from streamgauge_server.timeseries.block import encode, encode_row
from streamgauge_server.timeseries.frame import UNKNOWN_START, Column, Frame, split_days
from streamgauge_server.timeseries.query import StoredBlock, WindowStats, WindowTable, aggregate, lifetime_of, needed

from tests.unit.timeseries import reference
from tests.unit.timeseries.reference import Answer, Kind, Samples, Stats, kind_of
from tests.unit.timeseries.strategies import DAY, METRICS, MIXED, Run, runs, store, stored, type_of, without_data

FIRST = DAY * MICROS_PER_DAY
WINDOWS = st.sampled_from(
    [
        Window(WindowUnit.MINUTE, 10),
        Window(WindowUnit.MINUTE, 90),
        Window(WindowUnit.HOUR),
        Window(WindowUnit.HOUR, 5),
        Window(WindowUnit.DAY),
        Window(WindowUnit.DAY, 2),
        Window(WindowUnit.WEEK),
        Window(WindowUnit.MONTH),
        Window(WindowUnit.MONTH, 7),
    ]
)
MOMENTS = st.builds(
    lambda hour, jitter: FIRST + hour * MICROS_PER_HOUR + jitter,
    st.integers(-2, 80),
    st.sampled_from([0, 0, 1, -1, 60_000_000, 1_700_000_001]),
)
RANGES = st.tuples(MOMENTS, MOMENTS).filter(lambda pair: pair[0] != pair[1]).map(sorted)
HISTORIES = st.lists(runs(), min_size=1, max_size=6)


def samples_of(written: Sequence[Run]) -> Samples:
    samples: Samples = {}
    for run in written:
        for time, start, values in run.observations():
            reference.write(samples, time, start, values)
    return samples


KINDS = {
    ValueType.DOUBLE: Kind.NUMBER,
    ValueType.INT64: Kind.NUMBER,
    ValueType.BOOL: Kind.BOOLEAN,
    ValueType.STRING: Kind.TEXT,
}


def answer(table: WindowTable) -> Answer:
    """Returns a table as the reference answers."""
    found: Answer = {}
    for metric in table.metrics:
        every = table.all_stats(metric)
        kinds = [KINDS[stats.type] for stats in every]
        assert kinds == sorted(set(kinds))
        assert type_of(metric) in (ValueType.ANY, every[0].type)
        for kind, stats in zip(kinds, every, strict=True):
            found[metric, kind] = _by_window(stats, table.size)
    return found


def _by_window(stats: WindowStats, size: int) -> dict[int, Stats]:
    names = ["count", "first", "last", "first_time", "last_time"]
    if stats.type != ValueType.STRING:
        names += ["sum", "min", "max", "increase", "resets"]
    present = stats.present.tolist()
    arrays = {name: getattr(stats, name).tolist() for name in names}
    found = {
        window: Stats(**{name: array[window] for name, array in arrays.items()})
        for window in range(size)
        if present[window]
    }
    if stats.type == ValueType.STRING:
        for of_window in found.values():
            of_window.min, of_window.max = of_window.first, of_window.first
    return found


def one_typed(answered: Answer) -> Answer:
    """Returns the statistics of the metrics of one type: mixed ones have no step from before the range, see below."""
    return {key: windows for key, windows in answered.items() if key[0] not in MIXED}


def loaded(blocks: Sequence[StoredBlock], start: int, end: int, bounds: Sequence[int]) -> list[StoredBlock]:
    """Returns blocks with the samples that are needed, and no others."""
    bare = without_data(blocks, set())
    return without_data(blocks, needed(bare, start, end, bounds))


@settings(max_examples=200, deadline=None)
@given(HISTORIES, WINDOWS, RANGES, st.booleans(), st.randoms(use_true_random=False))
def test_a_query_equals_the_reference_for_any_split_order_window_and_range(
    written: list[Run], window: Window, cut: list[int], chained: bool, rng: random.Random
) -> None:
    start, end = cut
    bounds = window.bounds(start, end)
    blocks = loaded(store(written), start, end, bounds)
    rng.shuffle(blocks)
    everything = store(written)
    before = query.baseline(everything, start) if chained else None
    samples = samples_of(written)
    expected = reference.windows(samples, start, end, bounds, chained=chained)
    found = answer(aggregate(blocks, start, end, bounds, baseline=before))
    assert found.keys() == expected.keys()
    assert one_typed(found) == one_typed(expected)
    if not chained:
        assert found == expected


@settings(max_examples=80, deadline=None)
@given(HISTORIES, WINDOWS, RANGES)
def test_numbers_are_integers_where_all_in_the_range_are(written: list[Run], window: Window, cut: list[int]) -> None:
    start, end = cut
    bounds = window.bounds(start, end)
    table = aggregate(store(written), start, end, bounds)
    low, high = max(start, bounds[0]), min(end, bounds[-1])
    for metric, of_metric in samples_of(written).items():
        inside = [value for time, (value, _) in of_metric.items() if low <= time < high]
        numbers = {type(value) for value in inside if kind_of(value) == Kind.NUMBER}
        if numbers:
            assert table.all_stats(metric)[0].type == (ValueType.DOUBLE if float in numbers else ValueType.INT64)


@settings(max_examples=80, deadline=None)
@given(HISTORIES, WINDOWS, RANGES)
def test_summaries_and_samples_give_the_same_answer(written: list[Run], window: Window, cut: list[int]) -> None:
    start, end = cut
    bounds = window.bounds(start, end)
    blocks = store(written)
    bare = [replace(block, hour_summary=None, day_summary=None) for block in blocks]
    by_hours = [replace(block, day_summary=None) for block in blocks]
    from_samples = answer(aggregate(bare, start, end, bounds))
    assert answer(aggregate(blocks, start, end, bounds)) == from_samples
    assert answer(aggregate(by_hours, start, end, bounds)) == from_samples


@settings(max_examples=50, deadline=None)
@given(HISTORIES, WINDOWS, RANGES, st.sets(METRICS))
def test_asking_for_some_metrics_gives_the_same_for_them_and_no_others(
    written: list[Run], window: Window, cut: list[int], metrics: set[int]
) -> None:
    start, end = cut
    bounds = window.bounds(start, end)
    blocks = store(written)
    everything = answer(aggregate(blocks, start, end, bounds))
    some = answer(aggregate(blocks, start, end, bounds, metrics))
    assert some == {key: of_metric for key, of_metric in everything.items() if key[0] in metrics}


@settings(max_examples=80, deadline=None)
@given(HISTORIES, WINDOWS, RANGES, st.sampled_from([0, 1, 1_800_000_000, 10 * MICROS_PER_DAY]))
def test_samples_shortly_before_the_range_chain_the_first_increase(
    written: list[Run], window: Window, cut: list[int], reach: int
) -> None:
    start, end = cut
    bounds = window.bounds(start, end)
    everything = store(written)
    blocks = without_data(everything, set())
    blocks = without_data(everything, needed(blocks, start, end, bounds, start - reach))
    table = aggregate(blocks, start, end, bounds, since=start - reach)
    samples = samples_of(written)
    reached = query.reaching_back(blocks, start - reach, start)
    recent = {m: {t: s for t, s in of.items() if t >= reached} for m, of in samples.items()}
    expected = reference.windows(recent, start, end, bounds, chained=True)
    assert answer(table) == expected
    assert table.unchained == {m for m, _ in expected if min(recent[m]) >= start}
    older = query.baseline(everything, start)
    whole = reference.windows(samples, start, end, bounds, chained=True)
    assert one_typed(answer(table.chained(older))) == one_typed(whole)


@settings(max_examples=80, deadline=None)
@given(HISTORIES, MOMENTS, st.none() | st.sets(METRICS))
def test_the_baseline_is_the_newest_sample_before(written: list[Run], before: int, metrics: set[int] | None) -> None:
    everything = store(written)
    blocks = without_data(everything, query.needed_for_baseline(without_data(everything, set()), before))
    expected = {
        metric: query.Baseline(time, value, UNKNOWN_START if isinstance(value, str) else sample_start)
        for metric, of_metric in samples_of(written).items()
        if metrics is None or metric in metrics
        for time, (value, sample_start) in sorted(of_metric.items())
        if time < before
    }
    found = query.baseline(blocks, before, metrics)
    assert found == expected
    for metric, sample in found.items():  # an integer beside doubles is told as a double
        allowed = {type(expected[metric].value)} | ({float} if metric in MIXED else set())
        assert type(sample.value) in allowed


@settings(max_examples=80, deadline=None)
@given(HISTORIES, MOMENTS)
def test_the_lifetime_is_the_first_value_and_all_increases(written: list[Run], before: int) -> None:
    everything = store(written)
    blocks = without_data(everything, query.needed_for_baseline(without_data(everything, set()), before))
    samples = samples_of(written)
    assert lifetime_of(blocks, before) == reference.lifetimes(samples, before)
    assert lifetime_of(everything) == reference.lifetimes(samples, FIRST * 2)


@settings(max_examples=60, deadline=None)
@given(HISTORIES, WINDOWS, RANGES)
def test_increases_of_windows_add_up_to_the_growth_of_the_lifetime(
    written: list[Run], window: Window, cut: list[int]
) -> None:
    start, end = cut
    bounds = window.bounds(start, end)
    blocks = store(written)
    table = aggregate(blocks, start, end, bounds, baseline=query.baseline(blocks, start))
    before, after = lifetime_of(blocks, start), lifetime_of(blocks, end)
    for metric in table.metrics:
        stats = table.stats(metric)
        assert stats is not None
        if stats.type in (ValueType.STRING, ValueType.BOOL) or metric in MIXED:
            continue
        grown = sum(stats.increase.tolist())
        begun = before[metric] if metric in before else stats.first.tolist()[stats.present.tolist().index(True)]
        assert begun + grown == after[metric]
        totals = stats.cumulative(before.get(metric)).tolist()
        assert totals[-1] == after[metric]
        ends = [min(bound, end) for bound in bounds[1:]]
        for window_number in {0, len(totals) // 2, len(totals) - 1}:
            if stats.present[: window_number + 1].any():
                assert totals[window_number] == lifetime_of(blocks, ends[window_number])[metric]


@pytest.mark.parametrize(
    ("before", "increase", "resets"),
    [(5, 3, [0, 0]), (5.5, 2.5, [0, 0]), (9.0, 8.0, [1, 0]), ("x", 0, [0, 0]), (True, 0, [0, 1]), (False, 0, [0, 0])],
)
def test_a_step_from_before_the_range_is_taken_from_a_sample_of_the_same_kind(
    before: Scalar, increase: float, resets: list[int]
) -> None:
    rows: list[Scalar] = [before, 8, False, True]
    blocks = [stored(number, encode_row(FIRST + number, -1, {1: value})) for number, value in enumerate(rows)]
    table = aggregate(blocks, FIRST + 1, FIRST + 9, [FIRST + 1, FIRST + 9], baseline=query.baseline(blocks, FIRST + 1))
    numbers, booleans = table.all_stats(1)
    assert [numbers.increase.tolist(), booleans.increase.tolist()] == [[increase], [1]]
    assert [numbers.resets.tolist()[0], booleans.resets.tolist()[0]] == resets
    assert numbers.type == (ValueType.DOUBLE if isinstance(before, float) else ValueType.INT64)
    assert numbers.last.tolist() == [8]
    assert table.unchained == frozenset()


def test_a_mixed_metric_in_a_block_and_beside_it_has_one_kind_of_numbers() -> None:
    doubles = [stored(n, encode_row(FIRST + n, -1, {1: n + 0.5, 2: n})) for n in range(3)]
    integers = [stored(n, encode_row(FIRST + n, -1, {1: n, 2: True})) for n in range(3, 6)]
    stats = aggregate([*doubles, *integers], FIRST, FIRST + 9, [FIRST, FIRST + 3, FIRST + 9]).all_stats(1)
    assert [of_kind.type for of_kind in stats] == [ValueType.DOUBLE]
    assert stats[0].sum.tolist() == [4.5, 12.0]
    assert stats[0].increase.tolist() == [2.0, 2.5]


def test_the_first_of_several_kinds_answers_for_a_mixed_metric() -> None:
    values: list[Scalar] = ["x", True, 2]
    table = aggregate(
        [stored(n, encode_row(FIRST + n, -1, {1: value})) for n, value in enumerate(values)],
        FIRST,
        FIRST + 9,
        [FIRST, FIRST + 9],
    )
    first = table.stats(1)
    assert first is not None
    assert [first.type, *(stats.type for stats in table.all_stats(1))] == [
        ValueType.INT64,
        ValueType.INT64,
        ValueType.BOOL,
        ValueType.STRING,
    ]
    assert table.all_stats(2) == []


def test_a_day_of_one_block_is_answered_without_its_samples() -> None:
    run = Run(FIRST, 60_000_000, 24 * 60, frozenset({1}), (5,), 0.0, 1, False, False)
    blocks = without_data(store([run]), set())
    end = FIRST + MICROS_PER_DAY
    day = [FIRST, end]
    hours = Window(WindowUnit.HOUR).bounds(FIRST, end)
    assert needed(blocks, FIRST, end, day) == set()
    assert needed(blocks, FIRST, end, hours) == set()
    assert needed([replace(blocks[0], hour_summary=None)], FIRST, end, day) == set()
    assert needed(blocks, FIRST + 1, end, hours) == {0}
    assert needed(blocks, FIRST, end, Window(WindowUnit.MINUTE, 90).bounds(FIRST, end)) == {0}


def test_an_hour_that_two_blocks_hold_needs_both_and_no_other_hour_does() -> None:
    whole = Run(FIRST, 60_000_000, 24 * 60, frozenset({1}), (5,), 0.0, 1, False, False)
    late = Run(FIRST + 5 * MICROS_PER_HOUR, 1_000_000, 40, frozenset({1}), (5,), 0.0, 2, False, False)
    blocks = without_data(store([whole, late]), set())
    hours = Window(WindowUnit.HOUR).bounds(FIRST, FIRST + MICROS_PER_DAY)
    assert needed(blocks, FIRST, FIRST + MICROS_PER_DAY, hours) == {0, 1}
    assert needed(blocks, FIRST + 6 * MICROS_PER_HOUR, FIRST + MICROS_PER_DAY, hours) == set()


def test_blocks_of_a_day_that_follow_each_other_are_answered_without_their_samples() -> None:
    before = Run(FIRST, 15_000_000, 1_600, frozenset({1}), (5,), 0.0, 1, False, False)
    after = Run(FIRST + 1_600 * 15_000_000, 15_000_000, 4_160, frozenset({1}), (6,), 0.0, 2, False, False)
    blocks = without_data(store([before, after]), set())
    end = FIRST + MICROS_PER_DAY
    hours = Window(WindowUnit.HOUR).bounds(FIRST, end)
    assert needed(blocks, FIRST, end, [FIRST, end]) == set()
    assert needed(blocks, FIRST, end, hours) == set()
    assert needed([replace(block, hour_summary=None) for block in blocks], FIRST, end, [FIRST, end]) == set()
    assert needed(blocks, FIRST + 1, end, hours) == {0}


def test_a_block_between_samples_of_the_same_hour_is_sampled_too() -> None:
    between = Run(FIRST + 20_000_000, 15_000_000, 100, frozenset({1}), (5,), 0.0, 1, False, False)
    single = [Run(FIRST + at, 1, 1, frozenset({1}), (5,), 0.0, 2, False, False) for at in (0, 3_000_000_000)]
    blocks = store([between, *single])
    bare = without_data(blocks, {1, 2})
    end = FIRST + MICROS_PER_DAY
    assert needed(bare, FIRST, end, [FIRST, end]) == {0}
    assert needed(without_data(blocks, set())[:1], FIRST, end, [FIRST, end]) == set()


def test_a_range_that_ends_after_the_last_sample_cuts_nothing() -> None:
    run = Run(FIRST, 60_000_000, 90, frozenset({1}), (5,), 0.0, 1, False, False)
    blocks = without_data(store([run]), set())
    now = FIRST + 90 * 60_000_000 + 1
    assert needed(blocks, FIRST, now, Window(WindowUnit.HOUR).bounds(FIRST, now)) == set()


def test_before_a_range_that_begins_with_a_day_the_summary_of_the_day_before_is_enough() -> None:
    day_before = Run(FIRST - 90 * 60_000_000, 60_000_000, 90, frozenset({1}), (5,), 0.0, 1, False, False)
    day = Run(FIRST, 60_000_000, 90, frozenset({1}), (9,), 0.0, 1, False, False)
    blocks = store([day_before, day])
    end = FIRST + 2 * MICROS_PER_HOUR
    bounds = Window(WindowUnit.HOUR).bounds(FIRST, end)
    since = FIRST - MICROS_PER_HOUR
    expected = answer(aggregate(blocks, FIRST, end, bounds, since=since))
    lean = [
        replace(block, data=None, hour_summary=block.hour_summary if block.day == DAY else None) for block in blocks
    ]
    assert needed(lean, FIRST, end, bounds, since) == set()
    table = aggregate(lean, FIRST, end, bounds, since=since)
    assert answer(table) == expected
    assert table.unchained == frozenset()
    late = stored(99, encode_row(FIRST - 1, -1, {1: 6}))
    assert query.reaching_back([*blocks, late], since, FIRST) == since
    assert query.reaching_back(blocks, since, FIRST + 1) == blocks[0].first_time


def test_missing_samples_are_an_error_and_no_gap() -> None:
    run = Run(FIRST, 60_000_000, 3, frozenset({1}), (5,), 0.0, 1, False, False)
    with pytest.raises(ValueError, match="not loaded"):
        aggregate(without_data(store([run]), set()), FIRST, FIRST + 5, [FIRST, FIRST + 5])


def test_a_range_outside_the_windows_answers_no_metric() -> None:
    blocks = store([Run(FIRST, 60_000_000, 90, frozenset({1}), (5,), 0.0, 1, False, False)])
    hour = [FIRST, FIRST + MICROS_PER_HOUR]
    assert aggregate(blocks, FIRST + MICROS_PER_HOUR, FIRST + MICROS_PER_DAY, hour).metrics == ()
    assert aggregate(blocks, FIRST + 60, FIRST + 5, hour).metrics == ()


def test_windows_before_the_range_are_empty() -> None:
    blocks = store([Run(FIRST, 60_000_000, 180, frozenset({1}), (5,), 0.0, 1, False, False)])
    bounds = Window(WindowUnit.HOUR).bounds(FIRST, FIRST + 3 * MICROS_PER_HOUR)
    for since in (None, FIRST):
        table = aggregate(blocks, FIRST + MICROS_PER_HOUR + 1, bounds[-1], bounds, since=since)
        stats = table.stats(1)
        assert stats is not None
        assert stats.count.tolist() == [0, 59, 60]
        assert stats.present.tolist() == [False, True, True]


def test_nothing_stored_answers_no_metric() -> None:
    table = aggregate([], FIRST, FIRST + 5, [FIRST, FIRST + 5])
    assert table.metrics == ()
    assert table.stats(1) is None
    assert lifetime_of([]) == {}
    assert query.baseline([], FIRST) == {}


def test_sums_and_increases_of_integers_are_exact_beyond_64_bits() -> None:
    top = 2**63 - 1
    blocks = [
        stored(number, encode_row(FIRST + number, -1, {1: value}))
        for number, value in enumerate([-top - 1, top, -top - 1, top, top])
    ]
    stats = aggregate(blocks, FIRST, FIRST + 9, [FIRST, FIRST + 9]).stats(1)
    assert stats is not None
    assert stats.sum.tolist() == [top - 2]
    assert stats.increase.tolist() == [2**64 - 1 - top - 1 + 2**64 - 1]
    assert stats.cumulative().tolist() == [2**64 - 1 - 2 * top - 2 + 2**64 - 1]
    assert stats.resets.tolist() == [1]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-1e300, 1e300), min_size=1, max_size=400), st.integers(1, 120))
def test_sums_of_doubles_lie_within_the_stated_tolerance_whichever_way_they_are_made(
    values: list[float], step: int
) -> None:
    times = FIRST + np.arange(len(values)) * step * 60_000_000
    starts = np.full(len(values), -1)
    frame = Frame(times, starts, {0: Column(ValueType.DOUBLE, np.array(values))})
    whole = [stored(number, encode(part)) for number, (_, part) in enumerate(split_days(frame))]
    end = int(times[-1]) + 1
    for blocks in (whole, [replace(block, hour_summary=None, day_summary=None) for block in whole]):
        stats = aggregate(blocks, FIRST, end, [FIRST, end]).stats(0)
        assert stats is not None
        error = abs(float(stats.sum[0]) - math.fsum(values))
        assert error <= 1e-12 * math.fsum(map(abs, values))


def test_a_sum_beyond_the_range_of_doubles_is_infinite() -> None:
    blocks = [stored(number, encode_row(FIRST + number, -1, {0: 1.5e308})) for number in range(3)]
    stats = aggregate(blocks, FIRST, FIRST + 9, [FIRST, FIRST + 9]).stats(0)
    assert stats is not None
    assert stats.sum.tolist() == [math.inf]


def test_texts_have_no_numbers() -> None:
    stats = aggregate([stored(0, encode_row(FIRST, -1, {3: "x"}))], FIRST, FIRST + 9, [FIRST, FIRST + 9]).stats(3)
    assert stats is not None
    assert stats.last.tolist() == ["x"]
    with pytest.raises(TypeError):
        _ = stats.sum


def test_metrics_in_blocks_are_told_from_data_and_from_summaries() -> None:
    run = Run(FIRST, 60_000_000, 40, frozenset({1, 3}), (5,), 0.0, 1, False, False)
    row = stored(7, encode_row(FIRST, -1, {8: 1.0}))
    assert query.metrics_in([*without_data(store([run]), set()), row]) == {1, 3, 8}
    assert query.metrics_in([*store([run]), replace(row, data=None)]) == {1, 3}
