"""Values cross types only where nothing is lost."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from streamgauge_server.model.values import (
    INT64_MAX,
    INT64_MIN,
    MetricKind,
    Scalar,
    ValueType,
    allowed_aggregates,
    convert_lossless,
    default_reading,
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
