"""From statistics of parts to a subject's values: what each aggregate reads, and how parts combine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from streamgauge_server.model.entities import MetricDescriptor
from streamgauge_server.model.values import (
    Aggregate,
    CounterMode,
    MetricKind,
    PartCombination,
    Scalar,
    SubjectKind,
    ValueType,
    type_of,
)
from streamgauge_server.services.window_values import (
    Reading,
    WindowValues,
    readings_of,
    window_columns,
    window_seconds,
)
from streamgauge_server.timeseries.block import encode
from streamgauge_server.timeseries.frame import DTYPES, UNKNOWN_START, Column, build_frame
from streamgauge_server.timeseries.query import StoredBlock, WindowStats, aggregate

METRIC = 1
WINDOW = 10
"""Length of a window in microseconds; a test has as many windows as it names."""


def descriptor(
    kind: MetricKind,
    value_type: ValueType,
    combination: PartCombination = PartCombination.SUM,
    state_order: Sequence[str] = (),
) -> MetricDescriptor:
    return MetricDescriptor(
        METRIC,
        SubjectKind.SOURCE,
        "m",
        "m",
        "",
        "",
        kind,
        value_type,
        Aggregate.LAST,
        Aggregate.LAST,
        combination,
        tuple(state_order),
    )


def stats(samples: Mapping[int, Scalar], windows: int) -> WindowStats:
    """The statistics of a part with these samples, by moment; window i is [10 i, 10 i + 10)."""
    times = np.array(sorted(samples), np.int64)
    value_type = type_of(next(iter(samples.values())))
    values = np.array([samples[time] for time in times.tolist()], DTYPES[value_type])
    frame = build_frame(times, np.full(len(times), UNKNOWN_START, np.int64), {METRIC: Column(value_type, values, None)})
    block = encode(frame)
    stored = StoredBlock(
        1, block.day, block.rows, block.first_time, block.last_time, block.hours,
        block.hour_summary, block.day_summary, block.data,
    )  # fmt: skip
    table = aggregate([stored], 0, windows * WINDOW, [WINDOW * i for i in range(windows + 1)])
    found = table.stats(METRIC)
    assert found is not None
    return found


def read(
    metric: MetricDescriptor,
    reading: Aggregate | Reading,
    *parts: Mapping[int, Scalar],
    windows: int = 3,
    history: bool = False,
) -> list[Any]:
    """Returns the values by window, None where there is none."""
    found = column(metric, reading, *parts, windows=windows, history=history)
    count = windows - history
    indexes = found.windows.tolist() or (list(range(count)) if len(found.values) else [])
    spread: list[Any] = [None] * count
    for index, value in zip(indexes, found.values.tolist(), strict=True):
        spread[index] = value
    return spread


def column(
    metric: MetricDescriptor,
    reading: Aggregate | Reading,
    *parts: Mapping[int, Scalar],
    windows: int = 3,
    history: bool = False,
) -> WindowValues:
    wanted = reading if isinstance(reading, Reading) else Reading(reading)
    seconds = np.full(windows - history, 2.0)
    (found,) = window_columns(metric, wanted, [[stats(part, windows)] for part in parts], seconds)
    return found


INTS = descriptor(MetricKind.COUNTER, ValueType.INT64)


class TestOnePart:
    @pytest.mark.parametrize(
        ("aggregate", "expected", "value_type"),
        [
            (Aggregate.COUNT, [2, None, 1], ValueType.INT64),
            (Aggregate.SUM, [7, None, 9], ValueType.INT64),
            (Aggregate.MIN, [3, None, 9], ValueType.INT64),
            (Aggregate.MAX, [4, None, 9], ValueType.INT64),
            (Aggregate.AVG, [3.5, None, 9.0], ValueType.DOUBLE),
            (Aggregate.FIRST, [3, None, 9], ValueType.INT64),
            (Aggregate.LAST, [4, None, 9], ValueType.INT64),
            (Aggregate.INCREASE, [1, None, 5], ValueType.INT64),
            (Aggregate.RATE, [0.5, None, 2.5], ValueType.DOUBLE),
        ],
    )
    def test_aggregates_of_integers(self, aggregate: Aggregate, expected: list[Any], value_type: ValueType) -> None:
        samples = {1: 3, 2: 4, 25: 9}
        assert read(INTS, aggregate, samples) == expected
        assert column(INTS, aggregate, samples).type == value_type

    def test_windows_are_listed_only_where_some_are_missing(self) -> None:
        assert column(INTS, Aggregate.LAST, {1: 3, 25: 9}).windows.tolist() == [0, 2]
        assert column(INTS, Aggregate.LAST, {1: 3, 11: 4, 25: 9}).windows.tolist() == []

    def test_no_part_has_no_values_and_still_a_type(self) -> None:
        (found,) = window_columns(INTS, Reading(Aggregate.AVG), [], np.full(3, 1.0))
        assert found is not None
        assert (len(found.values), found.windows.tolist(), found.type) == (0, [], ValueType.DOUBLE)

    def test_the_number_of_true_samples_is_an_integer_and_their_fraction_a_double(self) -> None:
        flags = descriptor(MetricKind.GAUGE, ValueType.BOOL, PartCombination.MAX)
        samples = {1: True, 2: False, 3: True, 4: True}
        assert read(flags, Aggregate.SUM, samples, windows=1) == [3]
        assert column(flags, Aggregate.SUM, samples, windows=1).type == ValueType.INT64
        assert read(flags, Aggregate.AVG, samples, windows=1) == [0.75]
        assert read(flags, Aggregate.MIN, samples, windows=1) == [False]
        assert column(flags, Aggregate.MIN, samples, windows=1).type == ValueType.BOOL

    def test_integers_beyond_64_bits_make_the_whole_column_doubles(self) -> None:
        top = 2**63 - 1
        found = column(INTS, Aggregate.SUM, {1: top, 2: top, 11: 5})
        assert found.type == ValueType.DOUBLE
        assert found.values.tolist() == [float(2 * top), 5.0]
        assert column(INTS, Aggregate.SUM, {1: top - 1, 2: 1}).type == ValueType.INT64


class TestParts:
    ONE: Mapping[int, Scalar] = {1: 10, 5: 12, 21: 3}
    OTHER: Mapping[int, Scalar] = {2: 100, 3: 101, 12: 7}

    @pytest.mark.parametrize(
        ("combination", "last"),
        [
            (PartCombination.SUM, [113, 7, 3]),
            (PartCombination.MAX, [101, 7, 3]),
            (PartCombination.MIN, [12, 7, 3]),
            (PartCombination.LAST, [12, 7, 3]),
        ],
    )
    def test_an_absent_part_changes_nothing(self, combination: PartCombination, last: list[int]) -> None:
        metric = descriptor(MetricKind.GAUGE, ValueType.INT64, combination)
        assert read(metric, Aggregate.LAST, self.ONE, self.OTHER) == last
        assert read(metric, Aggregate.LAST, self.OTHER, self.ONE) == last

    @pytest.mark.parametrize("combination", list(PartCombination)[:4])
    def test_counts_add_whatever_the_combination(self, combination: PartCombination) -> None:
        metric = descriptor(MetricKind.GAUGE, ValueType.INT64, combination)
        assert read(metric, Aggregate.COUNT, self.ONE, self.OTHER) == [4, 1, 1]

    def test_increases_add_after_each_part_had_its_own_resets(self) -> None:
        # The sum of both only rises; the reset of the second part would hide in it.
        assert read(INTS, Aggregate.INCREASE, {1: 0, 2: 100, 11: 300}, {1: 50, 2: 60, 11: 5}) == [110, 205, None]

    def test_a_sum_over_parts_beyond_64_bits_is_exact_before_it_becomes_a_double(self) -> None:
        top = 2**63 - 1
        metric = descriptor(MetricKind.GAUGE, ValueType.INT64)
        assert read(metric, Aggregate.LAST, {1: top}, {1: top}, {1: -top}) == [top, None, None]
        assert read(metric, Aggregate.LAST, {1: top}, {1: top}) == [float(2 * top), None, None]
        assert read(metric, Aggregate.LAST, {1: -(2**63)}, {1: -1}) == [float(-(2**63) - 1), None, None]

    def test_booleans_add_as_numbers(self) -> None:
        metric = descriptor(MetricKind.GAUGE, ValueType.BOOL)
        assert read(metric, Aggregate.SUM, {1: True, 2: True}, {1: True}) == [3, None, None]

    def test_booleans_combine_as_booleans(self) -> None:
        for combination, expected in ((PartCombination.MAX, True), (PartCombination.MIN, False)):
            metric = descriptor(MetricKind.GAUGE, ValueType.BOOL, combination)
            found = column(metric, Aggregate.LAST, {1: True}, {1: False})
            assert found.values.tolist() == [expected]
            assert found.type == ValueType.BOOL

    def test_the_worst_word_stands_in_each_window(self) -> None:
        metric = descriptor(MetricKind.STATE, ValueType.STRING, PartCombination.WORST, ["good", "poor", "bad"])
        one: dict[int, Scalar] = {1: "good", 11: "poor", 21: "odd"}
        other: dict[int, Scalar] = {1: "bad", 11: "good"}
        assert read(metric, Aggregate.LAST, one, other) == ["bad", "poor", "odd"]

    def test_of_equally_new_parts_the_later_one_stands(self) -> None:
        metric = descriptor(MetricKind.TEXT, ValueType.STRING, PartCombination.LAST)
        assert read(metric, Aggregate.LAST, {1: "a", 12: "x"}, {1: "b", 11: "y"}) == ["b", "x", None]

    def test_a_union_of_several_parts_has_no_single_value(self) -> None:
        metric = descriptor(MetricKind.STATE, ValueType.STRING, PartCombination.UNION)
        one = stats({1: "x"}, 1)
        assert window_columns(metric, Reading(Aggregate.LAST), [[one], [one]], np.ones(1)) == []
        assert read(metric, Aggregate.LAST, {1: "x"}, windows=1) == ["x"]


class TestCumulative:
    READING = Reading(Aggregate.LAST, cumulative=True)

    def test_totals_go_on_from_the_history_and_silent_windows_have_none(self) -> None:
        # The first window is the history before the range.
        samples = {1: 50, 2: 80, 11: 5, 31: 7}
        assert read(INTS, self.READING, samples, windows=4, history=True) == [85, None, 87]

    def test_without_a_history_the_total_begins_with_the_first_value(self) -> None:
        assert read(INTS, self.READING, {11: 5, 12: 9}, windows=3, history=True) == [9, None]

    def test_a_part_that_is_silent_in_a_window_keeps_its_total(self) -> None:
        one, other = {1: 100, 21: 110}, {2: 7, 11: 9}
        assert read(INTS, self.READING, one, other, windows=3, history=True) == [109, 119]

    def test_a_part_that_has_not_begun_adds_nothing(self) -> None:
        assert read(INTS, self.READING, {1: 100, 11: 101}, {21: 7}, windows=3, history=True) == [101, 108]


class TestReadings:
    COUNTER = INTS
    GAUGE = descriptor(MetricKind.GAUGE, ValueType.INT64)

    def test_aggregates_that_are_asked_for_are_read_in_every_mode(self) -> None:
        for mode in CounterMode:
            asked = [Aggregate.MAX, Aggregate.RATE]
            assert readings_of(self.COUNTER, asked, mode, Aggregate.INCREASE) == [Reading(a) for a in asked]

    @pytest.mark.parametrize("default", [Aggregate.INCREASE, Aggregate.RATE])
    def test_modes_replace_the_increase_of_counters(self, default: Aggregate) -> None:
        assert readings_of(self.COUNTER, (), CounterMode.INCREASE, default) == [Reading(default)]
        assert readings_of(self.COUNTER, (), CounterMode.CUMULATIVE, default) == [Reading(Aggregate.LAST, True)]
        assert readings_of(self.COUNTER, (), CounterMode.RAW, default) == [Reading(Aggregate.LAST)]

    def test_modes_leave_other_defaults_and_other_kinds_alone(self) -> None:
        for mode in CounterMode:
            assert readings_of(self.COUNTER, (), mode, Aggregate.MAX) == [Reading(Aggregate.MAX)]
            assert readings_of(self.GAUGE, (), mode, Aggregate.AVG) == [Reading(Aggregate.AVG)]


def test_the_seconds_of_windows_are_cut_to_the_range() -> None:
    second = 1_000_000
    assert window_seconds([0, 10 * second, 20 * second], 4 * second, 13 * second).tolist() == [6.0, 3.0]
    assert window_seconds([5, 6], 5, 6).tolist() == [1e-6]
