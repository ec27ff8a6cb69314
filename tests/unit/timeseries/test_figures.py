"""Figures: exact whatever the order, percentiles within what is promised, and safe on disk."""

from __future__ import annotations

from itertools import pairwise
from math import ceil, floor

import pytest
from ddsketch import DDSketch
from hypothesis import given
from hypothesis import strategies as st
from streamgauge_server.model.metric_types import BUILT_IN, COUNTS, INGESTS, JOB_TYPES, MEASURES, FigureType
from streamgauge_server.timeseries.envelope import BlockCorrupt
from streamgauge_server.timeseries.figures import Figures, Measure, decode_figures, encode_figures, merged
from streamgauge_server.timeseries.sketch import RELATIVE_ERROR, bin_of

VALUES = st.one_of(st.integers(0, 3), st.integers(0, 10**9), st.integers(0, 2**63 - 1))
RECORDS = st.lists(
    st.tuples(st.lists(st.integers(0, 5), max_size=2), st.lists(st.tuples(st.integers(0, 5), VALUES), max_size=6)),
    max_size=20,
)
Records = list[tuple[list[int], list[tuple[int, int]]]]


def of(records: Records) -> Figures:
    figures = Figures(FigureType.JOB_TYPES)
    for counts, lengths in records:
        figures.add(counts, lengths)
    return figures


def measure_of(values: list[int]) -> Measure:
    measure = Measure()
    for value in values:
        measure.add(value)
    return measure


@given(RECORDS)
def test_figures_are_what_the_records_come_to(records: Records) -> None:
    figures = of(records)
    assert figures.counts == [sum(counts.count(place) for counts, _ in records) for place in range(6)]
    for place, measure in enumerate(figures.measures):
        values = [value for _, lengths in records for where, value in lengths if where == place]
        assert (measure.n, measure.sum) == (len(values), sum(values))
        if values:
            assert (measure.min, measure.max) == (min(values), max(values))
    assert bool(figures) == any(counts or lengths for counts, lengths in records)


@given(RECORDS, RECORDS, RECORDS)
def test_merging_is_associative_and_commutative_and_the_same_as_adding(a: Records, b: Records, c: Records) -> None:
    whole = of([*a, *b, *c])
    left = merged(FigureType.JOB_TYPES, [merged(FigureType.JOB_TYPES, [of(a), of(b)]), of(c)])
    right = merged(FigureType.JOB_TYPES, [of(c), merged(FigureType.JOB_TYPES, [of(b), of(a)])])
    assert left == right == whole
    assert encode_figures(left) == encode_figures(right) == encode_figures(whole)


@given(RECORDS)
def test_figures_are_read_as_they_were_written(records: Records) -> None:
    figures = of(records)
    stored = encode_figures(figures)
    read = decode_figures(FigureType.JOB_TYPES, stored)
    assert encode_figures(read) == stored
    assert read == figures
    read.merge(figures)
    assert read == of(records + records)


@given(RECORDS, RECORDS)
def test_what_was_merged_can_be_taken_out_again_or_says_that_it_cannot(kept: Records, gone: Records) -> None:
    figures = decode_figures(FigureType.JOB_TYPES, encode_figures(of(kept + gone)))
    if figures.remove(of(gone)):
        assert figures == of(kept)
        assert encode_figures(figures) == encode_figures(of(kept))
    else:
        lost = [
            place
            for place, (left, out) in enumerate(zip(of(kept).measures, of(gone).measures, strict=True))
            if left.n and out.n and (out.min <= left.min or out.max >= left.max)
        ]
        assert lost


def test_what_was_never_added_cannot_be_taken_out() -> None:
    figures = of([([1], [(0, 5), (0, 50), (0, 500)])])
    assert not figures.remove(of([([0], [])]))
    assert not of([([1], [(0, 5), (0, 50), (0, 500)])]).remove(of([([], [(0, 70)])]))
    assert not of([([1], [(0, 5), (0, 500)])]).remove(of([([], [(0, 6), (0, 7)])]))


@given(st.lists(VALUES, min_size=1, max_size=200), st.sampled_from([0.5, 0.95]))
def test_a_percentile_is_within_one_per_cent_of_a_value_that_stands_there(values: list[int], share: float) -> None:
    found = measure_of(values).quantile(share)
    ordered, rank = sorted(values), share * (len(values) - 1)
    low, high = ordered[floor(rank)], ordered[ceil(rank)]
    assert floor(low * (1 - RELATIVE_ERROR)) - 1 <= found <= high * (1 + RELATIVE_ERROR)


@given(st.lists(st.integers(0, 10**12), min_size=1, max_size=100), st.sampled_from([0.0, 0.5, 0.95, 1.0]))
def test_percentiles_are_those_of_the_library(values: list[int], share: float) -> None:
    library = DDSketch(RELATIVE_ERROR)
    for value in values:
        library.add(value)
    told = library.get_quantile_value(share)
    assert told is not None
    assert measure_of(values).quantile(share) == min(max(int(told), min(values)), max(values))


@given(st.lists(st.integers(0, 2**80), min_size=2, max_size=50))
def test_larger_values_are_in_no_earlier_bin(values: list[int]) -> None:
    assert all(bin_of(low) <= bin_of(high) for low, high in pairwise(sorted(values)))
    assert bin_of(min(values)) >= 0


def test_the_largest_values_make_few_bins_and_sums_beyond_64_bits() -> None:
    assert bin_of(2**63 - 1) < 2_200
    figures = Figures(FigureType.INGESTS)
    figures.add([1], [(0, 2**63 - 1)] * 3)
    read = decode_figures(FigureType.INGESTS, encode_figures(figures))
    assert read.measures[0].sum == 3 * (2**63 - 1)


def column_value(figures: Figures, column: str) -> int | float | None:
    info = {FigureType.JOB_TYPES: JOB_TYPES, FigureType.INGESTS: INGESTS}[figures.type]
    return figures.value(next(each for each in info.columns if each.name == column))


def test_zero_is_a_smallest_value_whenever_it_comes() -> None:
    for values in ([0, 7_000_000], [7_000_000, 0]):
        figures = of([([], [(0, value)]) for value in values])
        assert column_value(figures, "queue_time_min") == 0
        assert column_value(figures, "queue_time_max") == 7


def test_values_are_whole_seconds_each_cut_off_from_what_is_exact() -> None:
    figures = of([([0], [(0, 1_900_000)]), ([0], [(0, 1_800_000)])])
    assert [column_value(figures, f"queue_time_{part}") for part in ("sum", "min", "max", "avg")] == [3, 1, 1, 1]
    figures = of([([0], [(4, 3_100_000)]), ([0], [(4, 3_200_000)])])
    assert column_value(figures, "run_time_sum") == 6


def test_a_mean_is_over_the_records_that_had_the_measure() -> None:
    figures = of([([0], []), ([0], [(4, 29_000_000)]), ([1], [])])
    assert column_value(figures, "run_time_avg") == 29
    few, many = of([([], [(0, 10_000_000)])]), of([([], [(0, 40_000_000)])] * 9)
    assert column_value(merged(FigureType.JOB_TYPES, [few, many]), "queue_time_avg") == 37


def test_sizes_are_in_bytes() -> None:
    figures = Figures(FigureType.INGESTS)
    for size in (200, 100, 100, 100, 101):
        figures.add([1], [(0, size)])
    parts = [column_value(figures, f"file_size_{part}") for part in ("sum", "min", "max", "avg")]
    assert parts == [601, 100, 200, 120]


def test_without_a_record_a_measure_says_nothing_and_a_count_says_zero() -> None:
    figures = of([([1], [])])
    assert column_value(figures, "run_time_sum") is None
    assert column_value(figures, "run_time_p95") is None
    assert column_value(figures, "completed_count") == 0
    assert column_value(figures, "total_count") == 1


def test_ratios_are_of_all_that_ended_and_missing_where_nothing_did() -> None:
    assert column_value(of([([0], []), ([0], []), ([1, 5], []), ([2], [])]), "failed_rate") == 0.25
    assert column_value(of([([0], []), ([1, 3], [])]), "error_system_rate") == 0.5
    assert column_value(of([([], [(0, 1)])]), "failed_rate") is None


@given(st.data())
def test_bytes_that_are_damaged_are_never_read_as_figures(data: st.DataObject) -> None:
    stored = bytearray(encode_figures(of([([0], [(0, 5), (4, 7)])])))
    place = data.draw(st.integers(0, len(stored) - 1))
    stored[place] ^= data.draw(st.integers(1, 255))
    with pytest.raises(BlockCorrupt):
        decode_figures(FigureType.JOB_TYPES, bytes(stored))


def test_figures_of_another_type_are_refused() -> None:
    with pytest.raises(BlockCorrupt):
        decode_figures(FigureType.ERRORS, encode_figures(of([([0, 1], [(0, 5)])])))


def test_every_column_of_the_catalog_finds_its_figure() -> None:
    for info in BUILT_IN:
        assert info.figures is not None
        figures = Figures(info.figures)
        figures.add(range(len(COUNTS[info.figures])), [(n, 1_000_000) for n in range(len(MEASURES[info.figures]))])
        assert all(figures.value(column) is not None for column in info.columns)
