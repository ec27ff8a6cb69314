"""Frames as they come in: what is wrong with them, and how their columns get their metrics' types."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamgauge_server.model.entities import MetricDescriptor
from streamgauge_server.model.limits import Limits
from streamgauge_server.model.values import NUMERIC, SubjectKind, ValueType, convert_lossless
from streamgauge_server.services.descriptors import Ages
from streamgauge_server.services.emit_checks import moment_problem
from streamgauge_server.services.write_checks import (
    INVALID_TIME,
    Refusals,
    first_out_of_range,
    metric_problem,
    start_problem,
    time_problem,
    value_problem,
)
from streamgauge_server.timeseries.frame import Column, Ints, spread


@dataclass(frozen=True, slots=True)
class ColumnInput:
    """One metric of a frame as decoded at the edge; `rows` is None where every row has a value."""

    metric: str
    type: ValueType | None
    values: NDArray[Any]
    rows: NDArray[np.uint32] | None


@dataclass(frozen=True, slots=True)
class FrameInput:
    """A frame as decoded at the edge; `times` in microseconds since 1970, in any order."""

    subject: str
    part: str
    start_time: int | None
    times: Ints
    columns: Sequence[ColumnInput]

    def samples(self) -> int:
        """Returns how many values the frame holds."""
        return sum(len(column.values) for column in self.columns)


COLUMN_MEMBERS = {
    ValueType.DOUBLE: "doubles",
    ValueType.INT64: "ints",
    ValueType.BOOL: "bools",
    ValueType.STRING: "strings",
}
"""What the contract calls the values of a column of each type."""


def check_frame(
    index: int, frame: FrameInput, kind: SubjectKind | None, now: int, limits: Limits, refusals: Refusals
) -> None:
    """Checks everything about a frame that needs no more of its subject than its kind, and not its descriptors."""

    def refuse(path: str, problem: str | None, metric: str = "") -> None:
        if problem:
            refusals.add(index, frame.subject, path, problem, metric=metric)

    rows, samples = len(frame.times), frame.samples()
    if not 1 <= len(frame.columns) <= limits.max_metrics_per_observation:
        limit = limits.max_metrics_per_observation
        refuse("columns", f"must have 1 to {limit} entries, has {len(frame.columns)}")
    if max(samples, rows) > limits.max_samples_per_frame:
        refuse("columns", f"must have at most {limits.max_samples_per_frame} samples, has {max(samples, rows)}")
        return
    if rows:
        newest, earliest = int(frame.times.argmax()), int(frame.times.argmin())
        for row in sorted({newest, earliest}):
            refuse(f"time_unix_micros[{row}]", _wrong_moment(int(frame.times[row]), kind, now, limits))
        if frame.start_time is not None:
            refuse("start_time", start_problem(frame.start_time, int(frame.times[earliest])))
    else:
        refuse("time_unix_micros", "must have at least 1 entry, has 0")
    seen: set[str] = set()
    for position, column in enumerate(frame.columns):
        path = f"columns[{position}]"
        refuse(f"{path}.metric", metric_problem(column.metric), column.metric)
        if column.metric in seen:
            refuse(f"{path}.metric", "must be unique in its frame", column.metric)
        seen.add(column.metric)
        wrong = _wrong_shape(column, rows) or _wrong_value(column, limits)
        if wrong is not None:
            refuse(f"{path}.{wrong[0]}", wrong[1], column.metric)


def _wrong_moment(time: int, kind: SubjectKind | None, now: int, limits: Limits) -> str | None:
    """Returns what is wrong with a moment: assets have those of emits, as what they were told so may come back."""
    check = moment_problem if kind == SubjectKind.ASSET else time_problem
    return check(max(time, INVALID_TIME + 1), now, limits)  # the smallest number is one like others here


def _wrong_shape(column: ColumnInput, rows: int) -> tuple[str, str] | None:
    """Returns the wrong field of a column's shape and what is wrong."""
    count = len(column.values)
    if column.type is None or not count:
        return "values", "must have exactly one of doubles, ints, bools, strings, with at least 1 value"
    if column.rows is None:
        if count != rows:
            return f"{COLUMN_MEMBERS[column.type]}.values", f"must have {rows} values, one for each row, has {count}"
    elif len(column.rows) != count:
        return "rows", f"must name {count} rows, one for each value, names {len(column.rows)}"
    elif int(column.rows[-1]) >= rows or bool((np.diff(column.rows.astype(np.int64)) <= 0).any()):
        return "rows", f"must rise strictly and stay below {rows}"
    return None


def _wrong_value(column: ColumnInput, limits: Limits) -> tuple[str, str] | None:
    """Returns the first wrong value and what is wrong."""
    if column.type == ValueType.DOUBLE:
        wrong = np.flatnonzero(~np.isfinite(column.values))
        if len(wrong):
            return f"doubles.values[{wrong[0]}]", f"must be finite, is {column.values[wrong[0]]}"
    elif column.type == ValueType.STRING:
        for position, text in enumerate(column.values):
            if problem := value_problem(text, limits):
                return f"strings.values[{position}]", problem
    return None


def typed_columns(
    index: int, frame: FrameInput, known: Mapping[str, MetricDescriptor], refusals: Refusals, ages: Ages
) -> dict[int, Column] | None:
    """Returns the columns of known metrics by id; None, with all reasons told, where one cannot be stored.

    A column cannot be stored where it cannot become its metric's type, or has a number beyond its metric's limits,
    or a sample older than those that are kept of it.
    """
    typed: dict[int, Column] = {}
    accepted = True
    for position, given in enumerate(frame.columns):
        descriptor = known.get(given.metric)
        if descriptor is None or given.type is None:
            continue
        path = f"columns[{position}].{COLUMN_MEMBERS[given.type]}"
        kept = _kept(given, descriptor.no_value)
        stored_type = given.type if descriptor.value_type in _EACH_AS_IT_COMES else descriptor.value_type
        values = _convert(given.values[kept], given.type, descriptor.value_type)
        if values is None:
            refusals.add_type_mismatch(index, frame.subject, path, given.metric, descriptor.value_type, given.type)
            accepted = False
        elif (wrong := first_out_of_range(descriptor, values)) is not None:
            at = int(np.arange(len(given.values))[kept][wrong[0]])
            refusals.add(index, frame.subject, f"{path}.values[{at}]", wrong[1], metric=given.metric)
            accepted = False
        elif (old := _too_old(frame, given, kept, descriptor, ages)) is not None:
            refusals.add(index, frame.subject, f"time_unix_micros[{old[0]}]", old[1], metric=given.metric)
            accepted = False
        elif len(values):
            typed[descriptor.id] = spread(stored_type, values, _rows(given, kept), len(frame.times))
    return typed if accepted else None


def _too_old(
    frame: FrameInput, given: ColumnInput, kept: NDArray[np.bool_] | slice, descriptor: MetricDescriptor, ages: Ages
) -> tuple[int, str] | None:
    """Returns the row of a column's oldest value and what is wrong with its moment, None where nothing is."""
    if not ages.limits(descriptor):
        return None
    rows = _rows(given, kept)
    times = frame.times if rows is None else frame.times[rows]
    if not len(times):
        return None
    oldest = int(times.argmin())
    problem = ages.problem(descriptor, int(times[oldest]))
    return None if problem is None else (oldest if rows is None else int(rows[oldest]), problem)


_ALL = slice(None)
_EACH_AS_IT_COMES = frozenset({ValueType.NUMBER, ValueType.ANY})


def _kept(column: ColumnInput, no_value: float | None) -> NDArray[np.bool_] | slice:
    """Returns which of a column's values stay when those that mean "no value" are dropped."""
    if no_value is None or column.type not in (ValueType.DOUBLE, ValueType.INT64):
        return _ALL
    if column.type == ValueType.INT64:
        # Compared as doubles, neighbours of a large "no value" would be dropped along.
        exact = convert_lossless(no_value, ValueType.INT64)
        if exact is None:
            return _ALL
        keep: NDArray[np.bool_] = column.values != exact
    else:
        keep = column.values != no_value
    return _ALL if keep.all() else keep


def _rows(column: ColumnInput, kept: NDArray[np.bool_] | slice) -> NDArray[np.uint32] | None:
    """Returns the rows of those of a column's values that stay, None where every row has one."""
    if column.rows is not None:
        return column.rows[kept]
    return None if isinstance(kept, slice) else np.flatnonzero(kept).astype(np.uint32)


def _convert(values: NDArray[Any], given: ValueType, target: ValueType) -> NDArray[Any] | None:
    """Returns values as another type, or None where that would lose anything: `convert_lossless` for arrays."""
    if given == target or target == ValueType.ANY:
        return values
    if target == ValueType.NUMBER:
        return values if given in NUMERIC else None
    if given == ValueType.DOUBLE and target == ValueType.INT64:
        if bool(((np.floor(values) == values) & _in_int64(values)).all()):
            return values.astype(np.int64)
    elif given == ValueType.INT64 and target == ValueType.DOUBLE:
        doubles = values.astype(np.float64)
        if bool(_in_int64(doubles).all()) and bool((doubles.astype(np.int64) == values).all()):
            return doubles
    elif (
        given in (ValueType.INT64, ValueType.DOUBLE)
        and target == ValueType.BOOL
        and bool(((values == 0) | (values == 1)).all())
    ):
        ones: NDArray[np.bool_] = values == 1
        return ones
    return None


def _in_int64(values: NDArray[np.float64]) -> NDArray[np.bool_]:
    inside: NDArray[np.bool_] = (values >= -(2.0**63)) & (values < 2.0**63)
    return inside
