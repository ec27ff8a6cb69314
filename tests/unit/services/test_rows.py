"""Rows on their way into blocks: one write per subject, typed columns, mixed ones where types differ."""

from __future__ import annotations

from streamgauge_server.model.names import SubjectName
from streamgauge_server.model.values import Scalar, SubjectKind, ValueType
from streamgauge_server.services.rows import Row, encode_rows
from streamgauge_server.storage.subjects import SubjectKey
from streamgauge_server.timeseries.block import decode_many
from streamgauge_server.timeseries.frame import UNKNOWN_START

A = SubjectKey(SubjectName(SubjectKind.ASSET, "a"), "")
B = SubjectKey(SubjectName(SubjectKind.ASSET, "b"), "")
IDS = {A: 1, B: 2}


def row(key: SubjectKey, time: int, typed: dict[int, Scalar]) -> Row:
    return Row(0, key, time, UNKNOWN_START, {}, typed)


def samples(rows: list[Row]) -> dict[int, dict[int, dict[int, Scalar]]]:
    """Returns what the blocks hold, by subject, metric and moment."""
    found: dict[int, dict[int, dict[int, Scalar]]] = {}
    for write in encode_rows(rows, IDS):
        frame = decode_many([block.data for block in write.blocks])
        for metric, column in frame.columns.items():
            present = [True] * len(frame.times) if column.present is None else column.present.tolist()
            found.setdefault(write.subject_id, {})[metric] = {
                time: value
                for time, value, here in zip(frame.times.tolist(), column.values.tolist(), present, strict=True)
                if here
            }
    return found


def test_a_single_row_advances_latest_as_a_row_and_several_as_a_frame() -> None:
    alone, several = encode_rows([row(A, 5, {7: 1}), row(B, 5, {7: 1}), row(B, 6, {7: 2})], IDS, "run-1")
    assert (alone.subject_id, alone.row, alone.frame) == (1, (5, UNKNOWN_START, {7: 1}), None)
    assert (several.subject_id, several.row) == (2, None)
    assert several.frame is not None
    assert several.frame.columns[7].type == ValueType.INT64
    assert {alone.run_id, several.run_id} == {"run-1"}


def test_a_metric_with_values_of_several_types_is_a_mixed_column() -> None:
    values: list[Scalar] = [1, 0.5, True, "x", 2]
    (write,) = encode_rows([row(A, time, {7: value, 8: time}) for time, value in enumerate(values)], IDS)
    assert write.frame is not None
    assert (write.frame.columns[7].type, write.frame.columns[8].type) == (ValueType.ANY, ValueType.INT64)
    stored = samples([row(A, time, {7: value, 8: time}) for time, value in enumerate(values)])[1]
    assert [(type(value), value) for value in stored[7].values()] == [(type(value), value) for value in values]


def test_of_two_rows_at_one_moment_the_later_one_stands_metric_by_metric() -> None:
    assert samples([row(A, 5, {7: 1, 8: "a"}), row(A, 5, {7: "one", 9: True})])[1] == {
        7: {5: "one"},
        8: {5: "a"},
        9: {5: True},
    }


def test_rows_that_told_no_value_are_left_out() -> None:
    assert encode_rows([row(A, 5, {})], {}) == []
