"""Columns on their way to their metrics' types: the same rules as for single values."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from streamgauge_server.model.entities import MetricDescriptor
from streamgauge_server.model.retention import EVERYTHING
from streamgauge_server.model.values import (
    Aggregate,
    MetricKind,
    PartCombination,
    Scalar,
    SubjectKind,
    ValueType,
    convert_lossless,
    type_of,
)
from streamgauge_server.services.descriptors import Ages
from streamgauge_server.services.frame_input import ColumnInput, FrameInput, typed_columns
from streamgauge_server.services.write_checks import Refusals
from streamgauge_server.timeseries.frame import DTYPES

EDGES = [0, 1, -1, 2**53, 2**53 + 1, -(2**53) - 1, 2**63 - 1, -(2**63), 2]
numbers = st.one_of(
    st.sampled_from(EDGES),
    st.sampled_from([float(edge) for edge in EDGES] + [0.5, -0.0, 2.0**63, 1e300]),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.booleans(),
)


def typed(
    values: list[Any],
    target: ValueType,
    no_value: float | None = None,
    *,
    max_value: float | None = None,
    rows: list[int] | None = None,
) -> tuple[list[Any] | None, Refusals]:
    """Returns what is stored of a column, None where it is refused."""
    descriptor = MetricDescriptor(
        7,
        SubjectKind.SOURCE,
        "m",
        "m",
        "",
        "",
        MetricKind.GAUGE,
        target,
        Aggregate.LAST,
        Aggregate.LAST,
        PartCombination.LAST,
        no_value=no_value,
        max_value=max_value,
    )
    given_type = type_of(values[0])
    at = None if rows is None else np.array(rows, np.uint32)
    column = ColumnInput("m", given_type, np.array(values, DTYPES[given_type]), at)
    count = len(values) if rows is None else rows[-1] + 1
    frame = FrameInput("sources/a", "", None, np.arange(count, dtype=np.int64), [column])
    refusals = Refusals()
    columns = typed_columns(0, frame, {"m": descriptor}, refusals, Ages(EVERYTHING, 0))
    if columns is None:
        return None, refusals
    built = columns.get(7)
    if built is None:
        return [], refusals
    stored = given_type if target in (ValueType.NUMBER, ValueType.ANY) else target
    assert built.type == stored
    assert built.values.dtype == DTYPES[stored]
    kept = built.values if built.present is None else built.values[built.present]
    return kept.tolist(), refusals


@given(value=st.one_of(numbers, st.just("5")), target=st.sampled_from(ValueType))
def test_a_column_converts_exactly_as_a_single_value_does(value: Scalar, target: ValueType) -> None:
    expected = convert_lossless(value, target)
    stored, refusals = typed([value], target)
    assert stored == (None if expected is None else [expected])
    assert bool(refusals.errors) == (expected is None)


@given(values=st.lists(st.integers(-3, 3), min_size=1), no_value=st.sampled_from([-1.0, 0.0, 1.5, 1e300]))
def test_no_value_is_dropped_before_anything_is_converted(values: list[int], no_value: float) -> None:
    kept = [value for value in values if value != no_value]
    for written in (values, [float(value) for value in values]):
        assert typed(written, ValueType.INT64, no_value)[0] == kept


@pytest.mark.parametrize("no_value", [-0.5, 0.5, 1e300])
def test_a_no_value_that_the_type_cannot_hold_may_still_be_written(no_value: float) -> None:
    assert typed([3.0, no_value, 4.0], ValueType.INT64, no_value)[0] == [3, 4]


def test_one_lossy_value_refuses_the_column_with_its_types() -> None:
    stored, refusals = typed([1.0, 2.5, 3.0], ValueType.INT64)
    assert stored is None
    (error,) = refusals.errors
    assert (error.path, error.metric) == ("columns[0].doubles", "m")
    assert error.metadata == {"metric": "m", "expected": "INT64", "actual": "DOUBLE"}


def test_a_value_beyond_the_limit_is_named_by_its_place_among_those_that_were_given() -> None:
    stored, refusals = typed([-1.0, 3.0, -1.0, 9.0], ValueType.INT64, -1.0, max_value=5.0, rows=[0, 2, 3, 7])
    assert stored is None
    (error,) = refusals.errors
    assert (error.path, error.message) == ("columns[0].doubles.values[3]", "must be at most 5, is 9")


def test_what_is_no_value_is_not_held_to_the_limit() -> None:
    assert typed([9, 3], ValueType.INT64, 9.0, max_value=5.0)[0] == [3]
    assert typed([9, 3], ValueType.NUMBER, 9.0, max_value=5.0, rows=[1, 4])[0] == [3]
