"""What an import holds back: days that come in pieces become one block, and nothing waits for ever."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from streamgauge_server.model.clock import MICROS_PER_DAY, MICROS_PER_HOUR
from streamgauge_server.model.names import SubjectName
from streamgauge_server.model.values import SubjectKind, ValueType
from streamgauge_server.services.import_buffer import (
    MAX_HELD,
    AcceptedFrame,
    ImportBuffer,
    SubjectFrames,
    encode_subject,
)
from streamgauge_server.storage.subjects import SubjectKey
from streamgauge_server.timeseries.block import encode
from streamgauge_server.timeseries.folding import fold
from streamgauge_server.timeseries.frame import UNKNOWN_START, Column, Frame

TODAY = 20_000


def key(name: str = "a") -> SubjectKey:
    return SubjectKey(SubjectName(SubjectKind.SOURCE, name), "")


def frame(day: float, rows: int = 24, *, span: int = MICROS_PER_DAY, value: int = 1) -> Frame:
    times = int(day * MICROS_PER_DAY) + np.arange(rows, dtype=np.int64) * (span // rows)
    column = Column(ValueType.INT64, np.full(rows, value, np.int64))
    return Frame(times, np.full(rows, UNKNOWN_START, np.int64), {1: column})


def accepted(index: int, of: Frame, name: str = "a") -> AcceptedFrame:
    return AcceptedFrame(index, key(name), of, len(of.times))


def held(frames: list[SubjectFrames]) -> list[tuple[str, list[int]]]:
    return [(one.key.name.id, [each.index for each in one.accepted]) for one in frames]


def test_days_that_are_over_wait_for_more() -> None:
    buffer = ImportBuffer()
    buffer.add(accepted(0, frame(TODAY - 1)), TODAY)
    assert buffer.take_due() == []
    assert buffer
    assert held(buffer.take_all()) == [("a", [0])]
    assert not buffer


def test_the_day_that_is_not_over_does_not_wait_and_takes_along_what_comes_before() -> None:
    buffer = ImportBuffer()
    buffer.add(accepted(0, frame(TODAY - 1)), TODAY)
    buffer.add(accepted(1, frame(TODAY - 1), "b"), TODAY)
    buffer.add(accepted(2, frame(TODAY, 2, span=MICROS_PER_HOUR)), TODAY)
    assert held(buffer.take_due()) == [("a", [0, 2])]
    assert held(buffer.take_all()) == [("b", [1])]


def test_when_too_much_is_held_the_newest_day_stays_behind() -> None:
    buffer = ImportBuffer()
    large = frame(TODAY - 9, MAX_HELD // 3)
    buffer.add(accepted(0, large, "b"), TODAY)
    buffer.add(accepted(1, frame(TODAY - 9)), TODAY)
    buffer.add(accepted(2, frame(TODAY - 8)), TODAY)
    buffer.add(accepted(3, frame(TODAY - 8, 5)), TODAY)
    assert held(buffer.take_due()) == [("b", [0]), ("a", [1])]
    assert buffer.take_due() == []
    assert held(buffer.take_all()) == [("a", [2, 3])]


def test_a_frame_that_reaches_over_midnight_is_not_torn() -> None:
    buffer = ImportBuffer()
    buffer.add(accepted(0, frame(TODAY - 9, MAX_HELD // 3), "b"), TODAY)
    buffer.add(accepted(1, frame(TODAY - 8.5)), TODAY)
    assert held(buffer.take_due()) == [("b", [0]), ("a", [1])]
    assert not buffer


def test_a_day_that_is_too_large_by_itself_does_not_stay() -> None:
    buffer = ImportBuffer()
    buffer.add(accepted(0, frame(TODAY - 9, MAX_HELD // 2)), TODAY)
    assert held(buffer.take_due()) == [("a", [0])]
    assert not buffer


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(1, 40), st.integers()), min_size=1, max_size=4))
def test_blocks_are_those_that_compaction_would_make(given_frames: list[tuple[int, int, int]]) -> None:
    frames = [
        frame(TODAY - 1 + first / 100, rows, span=MICROS_PER_HOUR, value=value % 1_000)
        for first, rows, value in given_frames
    ]
    found = encode_subject(SubjectFrames(key(), [accepted(index, one) for index, one in enumerate(frames)]))
    assert found.blocks == [fold([encode(one).data for one in frames])]


def test_a_frame_of_which_no_value_is_kept_has_no_block() -> None:
    empty = Frame(frame(TODAY - 1).times, frame(TODAY - 1).starts, {})
    alone = encode_subject(SubjectFrames(key(), [accepted(0, empty)]))
    assert alone.blocks == []
    beside = encode_subject(SubjectFrames(key(), [accepted(0, empty), accepted(1, frame(TODAY - 2))]))
    assert [block.day for block in beside.blocks] == [TODAY - 2]
