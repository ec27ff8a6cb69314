"""Columns of several types: taken apart into typed columns of disjoint rows, and joined again.

A metric may report a number today and a text tomorrow. In memory such a column is of type ANY and holds Python scalars;
blocks and summaries know typed columns only, up to four of one metric.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from streamgauge_server.model.values import ValueType
from streamgauge_server.timeseries.frame import DTYPES, FILLERS, Bools, Column, Frame, Ints, Values
from streamgauge_server.timeseries.samples import changes
from streamgauge_server.timeseries.schema import TYPE_ORDER

_TYPE_OF: dict[type, int] = {float: ValueType.DOUBLE, int: ValueType.INT64, bool: ValueType.BOOL, str: ValueType.STRING}


def types_of(values: Values) -> NDArray[np.int8]:
    """Returns the `ValueType` of each of an array of Python scalars. Raises TypeError for anything else."""
    try:
        return np.fromiter(map(_TYPE_OF.__getitem__, map(type, values.tolist())), np.int8, len(values))
    except KeyError as error:
        raise TypeError(f"{error.args[0].__name__} is not a type of values") from error


def typed(column: Column) -> list[Column]:
    """Returns a column as typed ones, each with at least one value, in the order DOUBLE, INT64, BOOL, STRING.

    A typed column is returned as it is.
    """
    if column.type != ValueType.ANY:
        return [column]
    if column.present is None:
        types = types_of(column.values)
    else:
        types = np.zeros(len(column.values), np.int8)
        types[column.present] = types_of(column.values[column.present])
    rows = ((value_type, types == value_type.value) for value_type in TYPE_ORDER)
    return [_part(column, value_type, here) for value_type, here in rows if here.any()]


def typed_by_bucket(column: Column, buckets: Ints) -> list[Column]:
    """Returns a column as `typed` does, but with one numeric type per bucket: integers beside doubles become doubles.

    So the numbers of a bucket have an order. `buckets` tells the bucket of every row, equal for neighbours in the same
    bucket.
    """
    parts = typed(column)
    if column.type != ValueType.ANY or len(parts) < 2 or parts[1].type != ValueType.INT64:
        return parts
    doubles, integers = parts[0], parts[1]
    is_double, is_integer = _present(doubles), _present(integers)
    group = np.cumsum(changes(buckets))
    has_double = np.zeros(int(group[-1]) + 1, np.bool_)
    has_double[group[is_double]] = True
    promoted = is_integer & has_double[group]
    values = np.where(promoted, integers.values, doubles.values)
    left = is_integer & ~promoted
    return [
        Column(ValueType.DOUBLE, values, is_double | promoted, column.starts),
        *([Column(ValueType.INT64, integers.values, left, column.starts)] if left.any() else []),
        *parts[2:],
    ]


def join(parts: Sequence[Column], starts: Ints) -> Column:
    """Returns typed columns of one metric, of which no two have a value in the same row, as one column.

    `starts` are those of their frame. Raises ValueError where two have a value in the same row.
    """
    if len(parts) == 1:
        return parts[0]
    values = np.full(len(starts), FILLERS[ValueType.ANY], DTYPES[ValueType.ANY])
    present = np.zeros(len(starts), np.bool_)
    own = starts.copy()
    for part in parts:
        here = _present(part)
        if (present & here).any():
            raise ValueError("a metric has values of two types in one row")
        present |= here
        values[here] = part.values[here]
        if part.starts is not None:
            own[here] = part.starts[here]
    has_own = any(part.starts is not None for part in parts)
    return Column(ValueType.ANY, values, None if present.all() else present, own if has_own else None)


def typed_columns(frame: Frame) -> list[tuple[int, Column]]:
    """Returns the typed columns of a frame with their metrics, by metric."""
    return [(metric, part) for metric, column in sorted(frame.columns.items()) for part in typed(column)]


def _part(column: Column, value_type: ValueType, here: Bools) -> Column:
    values = np.full(len(here), FILLERS[value_type], DTYPES[value_type])
    values[here] = column.values[here]
    return Column(value_type, values, None if here.all() else here, column.starts)


def _present(column: Column) -> Bools:
    return np.ones(len(column.values), np.bool_) if column.present is None else column.present
