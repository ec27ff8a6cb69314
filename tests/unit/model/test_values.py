"""Values cross types only where nothing is lost."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from streamgauge_server.model.values import (
    INT64_MAX,
    INT64_MIN,
    Aggregate,
    MetricKind,
    PartCombination,
    Scalar,
    SubjectKind,
    ValueType,
    allowed_aggregates,
    combination_of,
    convert_lossless,
    default_kind,
    default_reading,
    first_type,
    type_of,
)


@pytest.mark.parametrize(
    ("value", "to", "expected"),
    [
        (5, ValueType.DOUBLE, 5.0),
        (5.0, ValueType.INT64, 5),
        (2**53 + 1, ValueType.DOUBLE, None),
        (2**53, ValueType.DOUBLE, float(2**53)),
        (INT64_MAX, ValueType.DOUBLE, None),
        (INT64_MIN, ValueType.DOUBLE, -(2.0**63)),
        (2.0**63, ValueType.INT64, None),
        (-(2.0**63), ValueType.INT64, INT64_MIN),
        (0.5, ValueType.INT64, None),
        (1.0, ValueType.BOOL, True),
        (0, ValueType.BOOL, False),
        (2, ValueType.BOOL, None),
        (True, ValueType.INT64, None),
        ("5", ValueType.INT64, None),
        (5, ValueType.STRING, None),
    ],
)
def test_conversion(value: Scalar, to: ValueType, expected: Scalar | None) -> None:
    converted = convert_lossless(value, to)
    assert converted == expected
    assert converted is None or type_of(converted) == to


@pytest.mark.parametrize("value", [5, 5.0, True, "5"])
def test_mixed_types_keep_a_value_as_it_is(value: Scalar) -> None:
    assert convert_lossless(value, ValueType.ANY) is value
    number = type(value) in (int, float)
    assert convert_lossless(value, ValueType.NUMBER) is (value if number else None)


@given(st.one_of(st.integers(INT64_MIN, INT64_MAX), st.floats(allow_nan=False, allow_infinity=False)))
def test_a_converted_number_is_the_same_number(value: float) -> None:
    for to in (ValueType.DOUBLE, ValueType.INT64):
        converted = convert_lossless(value, to)
        assert converted is None or converted == value


@pytest.mark.parametrize("kind", list(MetricKind))
@pytest.mark.parametrize("value_type", list(ValueType))
def test_defaults_are_allowed_for_their_kind(kind: MetricKind, value_type: ValueType) -> None:
    window, summary, _ = default_reading(kind, value_type)
    assert {window, summary} <= allowed_aggregates(kind, value_type)


def test_time_in_value_is_for_what_may_hold_booleans_or_texts() -> None:
    having = {
        value_type
        for value_type in ValueType
        if Aggregate.TIME_IN_VALUE in allowed_aggregates(default_kind(value_type), value_type)
    }
    assert having == {ValueType.BOOL, ValueType.STRING, ValueType.ANY}


def test_only_metrics_of_assets_begin_with_any_type() -> None:
    for kind in SubjectKind:
        first = first_type(kind, ValueType.BOOL)
        assert first == (ValueType.ANY if kind == SubjectKind.ASSET else ValueType.BOOL)


@pytest.mark.parametrize("combination", list(PartCombination))
def test_samples_that_a_combination_does_not_fit_take_the_newest_part(combination: PartCombination) -> None:
    of_text, of_number = (combination_of(combination, t) for t in (ValueType.STRING, ValueType.DOUBLE))
    numeric = combination in (PartCombination.SUM, PartCombination.MAX, PartCombination.MIN)
    assert of_text == (PartCombination.LAST if numeric else combination)
    assert of_number == (PartCombination.LAST if combination == PartCombination.WORST else combination)
