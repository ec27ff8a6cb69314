"""What writes check before they know any subject or metric."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from streamgauge_server.model.entities import MetricDescriptor
from streamgauge_server.model.errors import Reason
from streamgauge_server.model.limits import Limits
from streamgauge_server.model.names import SubjectName
from streamgauge_server.model.values import (
    Aggregate,
    MetricKind,
    PartCombination,
    SubjectKind,
    ValueType,
)
from streamgauge_server.services.write_checks import (
    INVALID_TIME,
    Refusals,
    batch_error,
    clip,
    first_out_of_range,
    metric_problem,
    range_problem,
    start_problem,
    time_problem,
    value_problem,
)

NOW = 1_000_000_000_000
LIMITS = Limits()


@pytest.mark.parametrize("time", [0, 1, NOW, NOW + 600_000_000])
def test_good_moments(time: int) -> None:
    assert time_problem(time, NOW, LIMITS) is None


@pytest.mark.parametrize(
    ("time", "problem"),
    [
        (-1, "must not be before 1970-01-01T00:00:00Z"),
        (INVALID_TIME, "is not a valid timestamp: nanos must be between 0 and 999,999,999"),
        (253_402_300_800_000_000, "must not be after the year 9999"),
        (2**64, "must not be after the year 9999"),
        (
            NOW + 600_000_001,
            "must be at most 600 s ahead of the server's clock (1970-01-12T13:46:40Z), is 600.000001 s ahead",
        ),
    ],
)
def test_bad_moments(time: int, problem: str) -> None:
    assert time_problem(time, NOW, LIMITS) == problem


def test_a_start_is_not_after_the_first_sample() -> None:
    assert start_problem(5, 5) is None
    assert start_problem(6, 5) == "must not be after the moment of the sample"
    assert start_problem(-1, 5) == "must not be before 1970-01-01T00:00:00Z"
    assert start_problem(INVALID_TIME, 5) == "is not a valid timestamp: nanos must be between 0 and 999,999,999"


def test_texts_are_measured_in_bytes() -> None:
    limits = Limits(max_text_bytes=4)
    assert value_problem("éé", limits) is None
    assert value_problem("ééx", limits) == "must have at most 4 bytes, has 5"
    assert value_problem("abcd", limits) is None
    assert value_problem("abcde", limits) == "must have at most 4 bytes, has 5"


@pytest.mark.parametrize("text", ["", "x" * 63, "x" * 255, "é" * 127])
def test_what_is_short_is_not_cut(text: str) -> None:
    assert clip(text) == text


@pytest.mark.parametrize("text", ["x" * 256, "é" * 128, "👋" * 64, "x" * 100_000])
def test_what_is_long_is_cut_at_a_character(text: str) -> None:
    cut = clip(text)
    assert text.startswith(cut)
    assert 252 <= len(cut.encode()) <= 255


def test_a_batch_error_names_every_item_and_is_always_a_bad_argument() -> None:
    refusals = Refusals()
    refusals.add_unknown(1, SubjectName(SubjectKind.JOB, "j"))
    refusals.add(2, "sources/a", "time", "is bad")
    error = batch_error(refusals.errors, "observations")
    assert error.reason == Reason.INVALID_FIELD
    assert error.metadata == {"field": "observations[1].subject"}
    assert [(v.field, v.reason) for v in error.violations] == [
        ("observations[1].subject", Reason.JOB_NOT_FOUND),
        ("observations[2].time", Reason.INVALID_FIELD),
    ]
    assert error.message.endswith("(and 1 more)")


def test_a_batch_error_that_begins_with_a_wrong_type_tells_the_types() -> None:
    refusals = Refusals()
    refusals.add_type_mismatch(3, "sources/a", 'values["x"]', "x", ValueType.INT64, ValueType.STRING)
    error = batch_error(refusals.errors, "observations")
    assert error.reason == Reason.VALUE_TYPE_MISMATCH
    assert error.metadata == {"metric": "x", "expected": "INT64", "actual": "STRING"}


def test_names_of_metrics_are_measured_in_characters() -> None:
    assert metric_problem("👋" * 255) is None
    assert metric_problem("👋" * 256) == "must have at most 255 characters, has 256"
    assert metric_problem("") == "must not be empty"
    assert metric_problem("a\x00") == "must not hold control characters"


def limited(low: float | None, high: float | None) -> MetricDescriptor:
    return MetricDescriptor(
        7,
        SubjectKind.ASSET,
        "m",
        "m",
        "",
        "",
        MetricKind.GAUGE,
        ValueType.NUMBER,
        Aggregate.LAST,
        Aggregate.LAST,
        PartCombination.LAST,
        min_value=low,
        max_value=high,
    )


def test_limits_are_inclusive_and_a_refusal_names_limit_and_value() -> None:
    metric = limited(-0.5, 100.0)
    assert [range_problem(metric, value) for value in (-0.5, 0, 100, 100.0)] == [None] * 4
    assert range_problem(metric, 101) == "must be at most 100, is 101"
    assert range_problem(metric, -0.75) == "must be at least -0.5, is -0.75"
    assert range_problem(limited(None, 1e300), 1.5e300) == "must be at most 1e+300, is 1.5e+300"
    assert range_problem(limited(2.0**53, None), 2**53 - 1) == (
        "must be at least 9007199254740992, is 9007199254740991"
    )
    assert range_problem(limited(None, None), 2**63 - 1) is None


EDGES = [0, 2**53, 2**53 + 1, 2**53 + 2, 2**63 - 1, -(2**63), -(2**53) - 1]
limits = st.none() | st.sampled_from([*map(float, EDGES), 2.0**63, 1e300, 0.5]) | st.floats(allow_nan=False, width=32)
columns = st.lists(st.sampled_from(EDGES) | st.integers(-(2**63), 2**63 - 1), min_size=1) | st.lists(
    st.sampled_from([*map(float, EDGES), 0.5]) | st.floats(allow_nan=False, allow_infinity=False), min_size=1
)


@given(values=columns, low=limits, high=limits)
@example(values=[2**53 + 1], low=None, high=2.0**53)
@example(values=[2**63 - 1], low=2.0**63, high=None)
def test_a_column_is_refused_at_the_first_value_that_alone_would_be(
    values: list[int] | list[float], low: float | None, high: float | None
) -> None:
    finite = [None if limit is None or abs(limit) == float("inf") else limit for limit in (low, high)]
    metric = limited(*finite)
    expected = [(at, problem) for at, value in enumerate(values) if (problem := range_problem(metric, value))]
    array = np.array(values, np.float64 if isinstance(values[0], float) else np.int64)
    assert first_out_of_range(metric, array) == next(iter(expected), None)
