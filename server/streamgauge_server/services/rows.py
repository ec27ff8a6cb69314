"""Checked observations on their way into blocks: grouped by subject, encoded as one row or as a frame."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from streamgauge_server.model.values import Scalar, ValueType
from streamgauge_server.storage.records import SubjectWrite
from streamgauge_server.storage.subjects import SubjectKey
from streamgauge_server.timeseries.block import encode_days, encode_row
from streamgauge_server.timeseries.frame import DTYPES, Column, build_frame, spread

TYPE_OF = {float: ValueType.DOUBLE, int: ValueType.INT64, bool: ValueType.BOOL, str: ValueType.STRING}
"""The type of a sample by the type of its Python value: `values.type_of` for hot loops."""


@dataclass(slots=True)
class Row:
    """A checked observation. `index` is its place in the request, times are in microseconds.

    `values` are by metric name as they came, `typed` by metric id as they are stored, in the order in which they were
    reported.
    """

    index: int
    key: SubjectKey
    time: int
    start: int
    values: dict[str, Scalar]
    typed: dict[int, Scalar] = field(default_factory=dict)


def encode_rows(rows: Iterable[Row], ids: Mapping[SubjectKey, int], run_id: str = "") -> list[SubjectWrite]:
    """Encodes rows into one write per subject; of two rows at one moment the later one stands.

    Rows without typed values are left out: their metrics' "no value" was all that they told. `run_id` is the run that
    the rows come from, empty for none.
    """
    by_subject: dict[int, list[Row]] = {}
    for row in rows:
        if row.typed:
            by_subject.setdefault(ids[row.key], []).append(row)
    writes: list[SubjectWrite] = []
    for subject_id, group in by_subject.items():
        if len(group) == 1:
            row = group[0]
            block = encode_row(row.time, row.start, row.typed)
            writes.append(SubjectWrite(subject_id, [block], row=(row.time, row.start, row.typed), run_id=run_id))
        else:
            frame = build_frame(
                np.array([row.time for row in group], dtype=np.int64),
                np.array([row.start for row in group], dtype=np.int64),
                _columns(group),
            )
            writes.append(SubjectWrite(subject_id, encode_days(frame), frame=frame, run_id=run_id))
    return writes


def _columns(rows: Sequence[Row]) -> dict[int, Column]:
    """Turns rows into columns by metric id, in the order of the rows; of type ANY where a metric's values differ."""
    positions: dict[int, list[int]] = {}
    values: dict[int, list[Scalar]] = {}
    for position, row in enumerate(rows):
        for metric_id, value in row.typed.items():
            positions.setdefault(metric_id, []).append(position)
            values.setdefault(metric_id, []).append(value)
    columns: dict[int, Column] = {}
    for metric_id, at in positions.items():
        kinds = set(map(type, values[metric_id]))
        value_type = TYPE_OF[kinds.pop()] if len(kinds) == 1 else ValueType.ANY
        column = np.array(values[metric_id], dtype=DTYPES[value_type])
        columns[metric_id] = spread(value_type, column, at, len(rows))
    return columns
