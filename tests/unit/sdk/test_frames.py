"""Frames: what they take, and the pieces in which they are sent."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from streamgauge import Frame, frames
from streamgauge.v1 import common_pb2, metrics_service_pb2

T0 = datetime(2026, 11, 1, tzinfo=UTC)
MICROS = 1_793_491_200_000_000


def one(frame: Frame) -> common_pb2.Frame:
    (message,) = frames.messages(frame)
    return message


def column(values: Any, times: Any = None) -> common_pb2.Column:
    message = one(Frame("sources/a", times if times is not None else list(range(len(values))), {"m": values}))
    (found,) = message.columns
    return found


def test_a_frame_says_what_it_was_given() -> None:
    times = [T0, T0 + timedelta(microseconds=1), T0 - timedelta(seconds=1)]
    message = one(Frame("sources/a", times, {"m": [1, 2, 3]}, part="task=0", start_time=T0))
    assert (message.subject, message.part, message.start_time.seconds) == ("sources/a", "task=0", MICROS // 10**6)
    assert list(message.time_unix_micros) == [MICROS, MICROS + 1, MICROS - 1_000_000]
    assert list(message.columns[0].ints.values) == [1, 2, 3]
    assert list(message.columns[0].rows) == []


@pytest.mark.parametrize(
    "times",
    [
        [MICROS, MICROS + 1],
        np.array([MICROS, MICROS + 1]),
        np.array([MICROS, MICROS + 1], dtype="datetime64[us]"),
        np.array([MICROS * 1_000 + 999, (MICROS + 1) * 1_000], dtype="datetime64[ns]"),
        (T0, T0 + timedelta(microseconds=1)),
    ],
)
def test_times_are_datetimes_or_numpy_moments_or_microseconds(times: Any) -> None:
    assert list(one(Frame("sources/a", times, {"m": [1, 2]})).time_unix_micros) == [MICROS, MICROS + 1]


def test_times_before_1970_are_sent_in_twos_complement() -> None:
    frame = Frame("assets/a", [datetime(1, 1, 1, tzinfo=UTC), T0], {"m": [1, 2]})
    assert list(one(frame).time_unix_micros) == [2**64 - 62_135_596_800_000_000, MICROS]


def test_a_gap_is_none_or_masked_and_its_row_is_left_out() -> None:
    for values in ([1.5, None, 2.5], np.ma.array([1.5, 0.0, 2.5], mask=[False, True, False])):
        found = column(values)
        assert (list(found.doubles.values), list(found.rows)) == ([1.5, 2.5], [0, 2])


@pytest.mark.parametrize(
    ("values", "member", "expected"),
    [
        ([1, 2**63 - 1, -(2**63)], "ints", [1, 2**63 - 1, -(2**63)]),
        ([True, False], "bools", [True, False]),
        (["a", "ü"], "strings", ["a", "ü"]),
        ([1, 0.5], "doubles", [1.0, 0.5]),
        ([1, None, 0.5], "doubles", [1.0, 0.5]),
        (np.array([1, 2], dtype=np.int16), "ints", [1, 2]),
        (np.array([1, 2**63 - 1], dtype=np.uint64), "ints", [1, 2**63 - 1]),
        (np.array([0.5, 1.5], dtype=np.float32), "doubles", [0.5, 1.5]),
        (np.array([True, False]), "bools", [True, False]),
        (np.array(["a", "b"]), "strings", ["a", "b"]),
        (np.array(["a", None], dtype=object), "strings", ["a"]),
    ],
)
def test_a_column_has_the_type_of_its_values(values: Any, member: str, expected: list[Any]) -> None:
    found = column(values)
    assert found.WhichOneof("values") == member
    assert list(getattr(found, member).values) == expected


@pytest.mark.parametrize("values", [[1, True], [1.5, "a"], [b"a"], [T0], [1.5, True]])
def test_a_column_of_mixed_or_foreign_types_is_refused(values: list[Any]) -> None:
    with pytest.raises(TypeError, match=r"columns\['m'\] must hold floats, ints, bools or strings, one type for all"):
        column(values)


def test_a_number_that_would_change_is_refused() -> None:
    with pytest.raises(ValueError, match=r"columns\['m'\] mixes floats with 9007199254740993"):
        column([0.5, 2**53 + 1])
    assert list(column([0.5, 2**60]).doubles.values) == [0.5, 2.0**60]
    with pytest.raises(ValueError, match="does not fit into 64 bits"):
        column([1, 2**63])


def test_a_column_of_another_length_than_the_times_is_refused() -> None:
    with pytest.raises(ValueError, match=r"columns\['m'\] has 3 values for 2 times"):
        column([1, 2, 3], [1, 2])


@pytest.mark.parametrize(
    ("times", "message"),
    [
        ([datetime(2026, 1, 1)], r"times\[0\] must be timezone-aware"),  # noqa: DTZ001 (the point of the test)
        (np.array(["NaT"], dtype="datetime64[us]"), "times holds NaT"),
        ([2**63], r"times\[0\] must be an int64"),
    ],
)
def test_a_moment_that_is_none_is_refused(times: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        column([1], times)


def test_a_column_that_holds_gaps_only_and_a_frame_without_any_value_are_not_sent() -> None:
    assert [c.metric for c in one(Frame("sources/a", [1], {"gap": [None], "m": [1]})).columns] == ["m"]
    for times, columns in (([], {"m": []}), ([1, 2], {"m": [None, None]}), ([1], {})):
        assert list(frames.messages(Frame("sources/a", times, columns))) == []


@given(
    st.integers(1, 5),
    st.lists(st.one_of(st.none(), st.integers(0, 99)), min_size=1, max_size=60),
    st.integers(1, 50),
)
def test_pieces_hold_what_the_server_takes_and_together_the_whole(
    columns: int, values: list[int | None], most: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(frames, "MAX_SAMPLES", most)
        given_columns = {f"m{i}": values for i in range(columns)}
        pieces = list(frames.messages(Frame("sources/a", list(range(len(values))), given_columns)))
    found: dict[str, list[tuple[int, int]]] = {}
    for piece in pieces:
        assert sum(len(c.ints.values) for c in piece.columns) <= max(most, columns)
        for c in piece.columns:
            rows = list(c.rows) or range(len(piece.time_unix_micros))
            found.setdefault(c.metric, []).extend(
                (piece.time_unix_micros[row], value) for row, value in zip(rows, c.ints.values, strict=True)
            )
    expected = [(row, value) for row, value in enumerate(values) if value is not None]
    assert found == ({f"m{i}": expected for i in range(columns)} if expected else {})


def test_long_texts_are_sent_in_smaller_pieces() -> None:
    pieces = list(frames.messages(Frame("sources/a", list(range(2_000)), {"m": ["x" * 4_096] * 2_000})))
    assert max(piece.ByteSize() for piece in pieces) <= frames.MAX_PIECE_BYTES
    assert sum(len(piece.time_unix_micros) for piece in pieces) == 2_000


def test_frames_are_packed_into_requests_of_about_a_mebibyte_and_keep_their_origin() -> None:
    taken = 0

    def given_frames() -> Iterator[Frame]:
        nonlocal taken
        for size in (10, 150_000, 10):
            taken += 1
            yield Frame("sources/a", list(range(size)), {"m": [0.5] * size})

    origin: dict[int, int] = {}
    stream = frames.requests(given_frames(), origin)
    first = next(stream)
    assert taken == 2  # taken as they are needed
    requests: list[metrics_service_pb2.ImportMetricsRequest] = [first, *stream]
    assert [len(request.frames) for request in requests] == [1, 1, 2]
    assert origin == {0: 0, 1: 1, 2: 1, 3: 2}
    assert list(frames.requests([], {})) == []
