"""What is answered of days whose samples are gone: the same as before, as far as whole hours are asked for."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from streamgauge_server.model.clock import MICROS_PER_DAY, MICROS_PER_HOUR
from streamgauge_server.model.values import Scalar
from streamgauge_server.model.windows import Window, WindowUnit
from streamgauge_server.timeseries import query
from streamgauge_server.timeseries.block import Block, decode, encode_row
from streamgauge_server.timeseries.correction import newest_samples
from streamgauge_server.timeseries.query import StoredBlock, aggregate, needed
from streamgauge_server.timeseries.reduction import (
    NOTHING,
    cut_out,
    hours_in,
    metrics_of_summary,
    newest_in,
    reduce_day,
    reduced_block,
    samples_in,
)
from streamgauge_server.timeseries.summary import decode_summary

from tests.unit.timeseries import reference
from tests.unit.timeseries.reference import Answer, kind_of
from tests.unit.timeseries.strategies import DAY, METRICS, Run, frame_of, runs, store, stored, without_data
from tests.unit.timeseries.test_query import FIRST, HISTORIES, MOMENTS, RANGES, WINDOWS, answer, one_typed, samples_of

HOURS = st.sampled_from([Window(WindowUnit.HOUR), Window(WindowUnit.HOUR, 5), Window(WindowUnit.DAY, 2)])
WHOLE_HOURS = st.tuples(st.integers(-2, 80), st.integers(-2, 80)).filter(lambda pair: pair[0] < pair[1])
LOST = st.sets(METRICS) | st.just(set(range(200)))
DAYS = st.sets(st.integers(DAY - 1, DAY + 3))


def reduced(
    blocks: Sequence[StoredBlock], days: Collection[int], spent: Collection[int], forgotten: Collection[int] = ()
) -> list[StoredBlock]:
    """Returns blocks as they are after some metrics lost their samples on some days."""
    left = [block for block in blocks if block.day not in days]
    for day in days:
        of_day = [block for block in blocks if block.day == day]
        summaries = next((block.hour_summary for block in of_day if not block.rows), None)
        with_samples = {block.seq: block for block in of_day if block.rows}
        concerned = [
            (seq, block.data or b"")
            for seq, block in with_samples.items()
            if not set(decode(block.data or b"").columns).isdisjoint(spent)
        ]
        result = reduce_day(concerned, summaries, spent, forgotten)
        for seq in result.removed:
            del with_samples[seq]
        for seq, block in result.rewritten.items():
            with_samples[seq] = stored(seq, block)
        left += with_samples.values()
        if result.summaries is not None:
            left.append(stored(10_000 + day, result.summaries))
    return left


def asked(blocks: Sequence[StoredBlock], start: int, end: int, bounds: Sequence[int]) -> Answer:
    """Returns the answer out of the samples that are needed, and no others."""
    bare = [replace(block, data=None) if block.rows else block for block in blocks]
    wanted = needed(bare, start, end, bounds)
    assert not wanted & {block.seq for block in blocks if not block.rows}
    kept = [block if block.seq in wanted or not block.rows else replace(block, data=None) for block in blocks]
    return answer(aggregate(kept, start, end, bounds))


@settings(max_examples=150, deadline=None)
@given(HISTORIES, HOURS, WHOLE_HOURS, DAYS, LOST)
def test_windows_of_whole_hours_are_answered_as_before(
    written: list[Run], window: Window, hours: tuple[int, int], days: set[int], spent: set[int]
) -> None:
    start, end = (FIRST + hour * MICROS_PER_HOUR for hour in hours)
    bounds = window.bounds(start, end)
    before = reference.windows(samples_of(written), start, end, bounds, chained=False)
    assert asked(reduced(store(written), days, spent), start, end, bounds) == before


@settings(max_examples=100, deadline=None)
@given(HISTORIES, WINDOWS, RANGES, DAYS, LOST)
def test_an_hour_that_is_cut_counts_to_the_window_and_range_of_its_first_sample(
    written: list[Run], window: Window, cut: list[int], days: set[int], spent: set[int]
) -> None:
    start, end = cut
    bounds = window.bounds(start, end)
    samples = samples_of(written)
    found = asked(reduced(store(written), days, spent), start, end, bounds)
    counted: dict[tuple[int, int, int], list[Scalar]] = {}
    for metric, of_metric in samples.items():
        firsts: dict[tuple[int, int], int] = {}
        for time, (value, _) in sorted(of_metric.items()):
            kind, counts_at = kind_of(value), time
            if time // MICROS_PER_DAY in days and metric in spent:
                counts_at = firsts.setdefault((time // MICROS_PER_HOUR, kind), time)
            if max(start, bounds[0]) <= counts_at < min(end, bounds[-1]):
                counted.setdefault((metric, kind, bisect_right(bounds, counts_at) - 1), []).append(value)
    assert {(*key, place): (of[place].count, of[place].last) for key, of in found.items() for place in of} == {
        key: (len(values), values[-1]) for key, values in counted.items()
    }


@settings(max_examples=80, deadline=None)
@given(HISTORIES, WHOLE_HOURS, DAYS, LOST, st.sampled_from([0, 1, 1_800_000_000, 10 * MICROS_PER_DAY]))
def test_increases_are_chained_over_days_without_samples(
    written: list[Run], hours: tuple[int, int], days: set[int], spent: set[int], reach: int
) -> None:
    start, end = (FIRST + hour * MICROS_PER_HOUR for hour in hours)
    bounds = Window(WindowUnit.HOUR).bounds(start, end)
    blocks = reduced(store(written), days, spent)
    table = aggregate(blocks, start, end, bounds, since=start - reach // MICROS_PER_HOUR * MICROS_PER_HOUR)
    expected = reference.windows(samples_of(written), start, end, bounds, chained=True)
    assert one_typed(answer(table.chained(query.baseline(blocks, start)))) == one_typed(expected)


@settings(max_examples=80, deadline=None)
@given(HISTORIES, DAYS, LOST)
def test_lifetimes_and_the_newest_sample_outlive_the_samples(
    written: list[Run], days: set[int], spent: set[int]
) -> None:
    before = store(written)
    after = reduced(before, days, spent)
    assert one_typed_only(query.lifetime_of(after)) == one_typed_only(query.lifetime_of(before))
    end = FIRST + 100 * MICROS_PER_DAY
    assert query.baseline(after, end) == query.baseline(before, end)


def one_typed_only(lifetimes: dict[int, int | float]) -> dict[int, int | float]:
    return {metric: value for metric, value in lifetimes.items() if metric < 100}


@settings(max_examples=80, deadline=None)
@given(HISTORIES, HISTORIES, HOURS, WHOLE_HOURS, DAYS, LOST)
def test_what_is_written_to_a_day_of_a_metric_without_samples_does_not_count(
    written: list[Run], late: list[Run], window: Window, hours: tuple[int, int], days: set[int], spent: set[int]
) -> None:
    start, end = (FIRST + hour * MICROS_PER_HOUR for hour in hours)
    bounds = window.bounds(start, end)
    blocks = reduced(store(written), days, spent)
    more = [replace(block, seq=20_000 + block.seq) for block in store(late)]
    samples, later = samples_of(written), samples_of(late)
    closed = {
        (metric, time // MICROS_PER_DAY)
        for metric, of in samples.items()
        for time in of
        if metric in spent and time // MICROS_PER_DAY in days
    }
    for metric, of_metric in later.items():
        for time, (value, sample_start) in of_metric.items():
            if (metric, time // MICROS_PER_DAY) not in closed:
                reference.write(samples, time, sample_start, {metric: value})
    expected = reference.windows(samples, start, end, bounds, chained=False)
    assert asked([*blocks, *more], start, end, bounds) == expected
    again = reduced([*blocks, *more], days, spent)
    assert asked(again, start, end, bounds) == expected


@settings(max_examples=80, deadline=None)
@given(HISTORIES, LOST, LOST)
def test_metrics_may_lose_their_samples_one_after_the_other(written: list[Run], one: set[int], other: set[int]) -> None:
    days = range(DAY - 1, DAY + 10)
    blocks = store(written)
    bounds = (FIRST - MICROS_PER_DAY, FIRST + 10 * MICROS_PER_DAY)
    in_turns = reduced(reduced(blocks, days, one), days, one | other)
    at_once = reduced(blocks, days, one | other)
    assert asked(in_turns, *bounds, bounds) == asked(at_once, *bounds, bounds)
    for turn, once in zip(sorted(in_turns, key=_place), sorted(at_once, key=_place), strict=True):
        assert (turn.hours, turn.first_time, turn.last_time) == (once.hours, once.first_time, once.last_time)


def _place(block: StoredBlock) -> tuple[int, int]:
    return block.day, block.seq


@settings(max_examples=80, deadline=None)
@given(HISTORIES, DAYS, LOST, LOST)
def test_nothing_is_told_of_what_has_gone_with_its_summaries(
    written: list[Run], days: set[int], spent: set[int], forgotten: set[int]
) -> None:
    gone = spent & forgotten
    bounds = (FIRST - MICROS_PER_DAY, FIRST + 10 * MICROS_PER_DAY)
    left = {
        metric: {
            time: sample for time, sample in of.items() if metric not in gone or time // MICROS_PER_DAY not in days
        }
        for metric, of in samples_of(written).items()
    }
    expected = reference.windows(left, *bounds, bounds, chained=False)
    assert asked(reduced(store(written), days, spent, forgotten), *bounds, bounds) == expected
    later = reduced(reduced(store(written), days, spent), days, (), forgotten)
    assert asked(later, *bounds, bounds) == expected


@settings(max_examples=50, deadline=None)
@given(st.lists(runs(days=1), min_size=1, max_size=4), LOST, LOST)
def test_it_is_counted_what_goes(written: list[Run], spent: set[int], forgotten: set[int]) -> None:
    blocks = [(block.seq, block.data or b"") for block in store(written) if block.day == DAY]
    concerned = [(seq, data) for seq, data in blocks if not set(decode(data).columns).isdisjoint(spent)]
    samples = {
        metric: {time for time in of if time // MICROS_PER_DAY == DAY} for metric, of in samples_of(written).items()
    }
    result = reduce_day(concerned, None, spent, forgotten)
    assert result.samples == sum(len(times) for metric, times in samples.items() if metric in spent)
    assert result.hours == sum(
        len({time // MICROS_PER_HOUR for time in times})
        for metric, times in samples.items()
        if metric in spent & forgotten
    )
    if result.summaries is not None and result.summaries.hour_summary is not None:
        summary = decode_summary(result.summaries.hour_summary)
        kept = {metric: len(times) for metric, times in samples.items() if times and metric in spent - forgotten}
        assert samples_in(summary) == kept
        assert metrics_of_summary(summary) == sorted(kept)


@settings(max_examples=50, deadline=None)
@given(st.lists(runs(days=1), min_size=1, max_size=4), LOST)
def test_the_newest_samples_are_those_that_were(written: list[Run], wanted: set[int]) -> None:
    blocks = [(block.seq, block.data or b"") for block in store(written) if block.day == DAY]
    everything = set(range(200)) | {2**40}
    block = reduce_day(blocks, None, everything, ()).summaries
    if block is None or block.hour_summary is None:
        assert not blocks
        return
    found = newest_in(decode_summary(block.hour_summary), wanted)
    before = newest_samples([data for _, data in blocks], wanted)
    assert {metric: (sample.time, sample.value) for metric, sample in found.items()} == {
        metric: (sample.time, sample.value) for metric, sample in before.items()
    }
    assert all(
        sample.start == before[metric].start for metric, sample in found.items() if not isinstance(sample.value, str)
    )


@settings(max_examples=80, deadline=None)
@given(st.lists(runs(days=1), min_size=1, max_size=4), MOMENTS, MOMENTS, st.none() | st.sets(METRICS))
def test_a_summary_is_parted_where_no_hour_is_cut(
    written: list[Run], start: int, end: int, metrics: set[int] | None
) -> None:
    block = reduce_day(
        [(b.seq, b.data or b"") for b in store(written) if b.day == DAY], None, set(range(200)), ()
    ).summaries
    if block is None or block.hour_summary is None:
        return
    summary = decode_summary(block.hour_summary)
    outside, inside, cut = cut_out(summary, start, end, metrics)
    if not cut:
        assert hours_in(outside) + hours_in(inside) >= hours_in(summary)
        assert sum(samples_in(outside).values()) + sum(samples_in(inside).values()) == sum(samples_in(summary).values())
    samples = {m: {t for t in of if t // MICROS_PER_DAY == DAY} for m, of in samples_of(written).items()}
    for metric, count in samples_in(inside).items():
        assert metrics is None or metric in metrics
        assert count <= sum(start <= time < end for time in samples[metric])
    if metrics is not None:
        assert not set(metrics_of_summary(inside)) - metrics


def test_few_samples_get_summaries_too() -> None:
    row: Block = encode_row(FIRST, 5, {1: 7, 2: "on", 3: True})
    left = reduce_day([(1, row.data)], None, {1, 2, 3}, ())
    assert left.removed == [1]
    assert left.summaries is not None
    assert (left.summaries.rows, left.summaries.data, left.summaries.hours) == (0, b"", 1)
    assert left.summaries.first_time == left.summaries.last_time == FIRST


def test_nothing_left_is_no_block() -> None:
    assert reduced_block(NOTHING) is None


def test_cutting_a_block_without_samples_needs_its_hours() -> None:
    left = reduce_day(
        [(1, encode_row(FIRST, 5, {1: 7}).data), (2, encode_row(FIRST + 9, 5, {1: 8}).data)], None, {1}, ()
    )
    assert left.summaries is not None
    block = replace(stored(1, left.summaries), hour_summary=None)
    bounds = [FIRST, FIRST + 5, FIRST + 10]
    with pytest.raises(ValueError, match="not loaded"):
        aggregate([block], bounds[0], bounds[-1], bounds)


def test_the_moments_between_two_samples_of_an_hour_belong_to_the_first() -> None:
    run = Run(FIRST, 60_000_000, 60, frozenset({1}), (1_000,), 0.0, 1, False, False)
    blocks = reduced(store([run]), [DAY], {1})
    half = FIRST + MICROS_PER_HOUR // 2
    first, second = (asked(blocks, low, high, [low, high]) for low, high in ((FIRST, half), (half, 2 * half - FIRST)))
    assert [of[0].count for of in first.values()] == [60]
    assert second == {}
    assert frame_of(run).times[0] == FIRST
    assert without_data(blocks, set())[0].data is None
