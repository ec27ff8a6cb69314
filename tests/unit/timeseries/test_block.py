"""Blocks: encoding and decoding is the identity, in every size and by every way there is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from streamgauge_server.internal import block_pb2
from streamgauge_server.model.clock import MICROS_PER_DAY, MICROS_PER_HOUR
from streamgauge_server.model.values import Scalar, ValueType, type_of
from streamgauge_server.timeseries.block import (
    SUMMARY_MIN_ROWS,
    Block,
    decode,
    decode_many,
    encode,
    encode_row,
    metrics_of,
)
from streamgauge_server.timeseries.frame import DTYPES, UNKNOWN_START, Column, Frame, merge

from tests.unit.timeseries.reference import exact, merged, samples_of
from tests.unit.timeseries.strategies import DAY, METRICS, STARTS, frames, observations

FIRST = DAY * MICROS_PER_DAY
MOMENTS = st.integers(0, MICROS_PER_DAY - 1).map(lambda offset: FIRST + offset)


def stored_type(column: Column) -> ValueType:
    """Returns the type of a column after it was stored: ANY only where it holds values of several types."""
    present = column.values if column.present is None else column.values[column.present]
    types = {type_of(value) for value in present.tolist()}
    return types.pop() if len(types) == 1 else ValueType.ANY


@settings(max_examples=120, deadline=None)
@given(frames())
def test_decoding_gives_back_every_sample(frame: Frame) -> None:
    decoded = decode(encode(frame).data)
    assert exact(samples_of(decoded)) == exact(samples_of(frame))
    assert decoded.times.tolist() == frame.times.tolist()
    assert decoded.starts.tolist() == frame.starts.tolist()
    assert {m: c.type for m, c in decoded.columns.items()} == {m: stored_type(c) for m, c in frame.columns.items()}
    assert all(column.values.dtype == DTYPES[column.type] for column in decoded.columns.values())


@settings(max_examples=50, deadline=None)
@given(frames(), st.sets(METRICS))
def test_decoding_some_metrics_leaves_the_others_out(frame: Frame, metrics: set[int]) -> None:
    decoded = decode(encode(frame).data, metrics)
    assert decoded.columns.keys() == frame.columns.keys() & metrics
    assert exact(samples_of(decoded)) == [entry for entry in exact(samples_of(frame)) if entry[0] in metrics]


@settings(max_examples=100, deadline=None)
@given(MOMENTS, STARTS, observations)
@example(FIRST, UNKNOWN_START, {metric: float(metric) for metric in range(0, 3_000, 4)})
def test_a_single_observation_is_encoded_as_its_frame_would_be(
    time: int, start: int, values: dict[int, Scalar]
) -> None:
    block = encode_row(time, start, values)
    assert exact(samples_of(decode(block.data))) == sorted((m, time, repr(v), start) for m, v in values.items())
    assert encode(decode(block.data)) == block


@settings(max_examples=50, deadline=None)
@given(frames())
def test_a_block_knows_its_day_hours_and_metrics(frame: Frame) -> None:
    block = encode(frame)
    times = frame.times.tolist()
    assert (block.day, block.rows, block.first_time, block.last_time) == (DAY, len(times), times[0], times[-1])
    hours = {time // MICROS_PER_HOUR - DAY * 24 for time in times}
    assert block.hours == sum(1 << hour for hour in hours)
    assert (block.hour_summary is None) == (block.day_summary is None) == (block.rows < SUMMARY_MIN_ROWS)
    assert set(metrics_of(block.data)) == frame.columns.keys()


@settings(max_examples=80, deadline=None)
@given(
    st.lists(
        st.lists(observations, min_size=1, max_size=3).flatmap(
            lambda shapes: st.lists(st.tuples(st.integers(0, 40), STARTS, st.sampled_from(shapes)), max_size=12)
        ),
        min_size=1,
        max_size=3,
    ),
    st.lists(frames(max_rows=50), max_size=2),
    st.none() | st.sets(METRICS),
)
def test_many_blocks_decode_to_what_merging_them_gives(
    rows: list[list[tuple[int, int, dict[int, Scalar]]]], others: list[Frame], metrics: set[int] | None
) -> None:
    blocks: list[Block] = []
    for position, group in enumerate(rows):
        blocks += [encode_row(FIRST + time, start, values) for time, start, values in group]
        blocks += [encode(frame) for frame in others[position : position + 1]]
    data = [block.data for block in blocks]
    expected = merged([decode(encoded, metrics) for encoded in data])
    assert exact(samples_of(decode_many(data, metrics))) == exact(expected)
    spans = [(FIRST + 3, FIRST + 9), (FIRST + 20, FIRST + 21)]
    inside = [entry for entry in exact(expected) if any(start <= entry[1] < end for start, end in spans)]
    assert exact(samples_of(decode_many(data, metrics, spans))) == inside


def test_writers_that_take_turns_and_overwrite_each_other_are_merged_in_order() -> None:
    wide = dict.fromkeys((1, 5), 1)
    turns: Sequence[tuple[int, dict[int, Scalar]]] = [
        (0, {1: 1}),
        (0, dict(wide)),
        (0, {1: 3}),
        (1, dict(wide)),
        (1, {1: 4}),
    ]
    data = [encode_row(FIRST + time, UNKNOWN_START, values).data for time, values in turns]
    samples = samples_of(decode_many(data))
    assert {time - FIRST: value for time, (value, _) in samples[1].items()} == {0: 3, 1: 4}
    assert {time - FIRST: value for time, (value, _) in samples[5].items()} == {0: 1, 1: 1}


def test_the_stored_bytes_are_a_protobuf_message_with_its_schema_first() -> None:
    row = encode_row(FIRST, 5, {2: True, 1: 7, 8: 0.5, 3: "x"})
    message = block_pb2.Block.FromString(row.data)
    assert message.format == 1
    assert row.data[:3] == b"\x08\x01\x15"
    assert row.data[7] == 0x1A  # field 3, `schema`
    schema = block_pb2.Schema.FromString(message.schema[0])
    assert (schema.rows, list(schema.columns), list(schema.metrics)) == (1, [1, 1, 1, 1], [8, 1, 2, 3])


def test_an_empty_block_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least one sample"):
        encode_row(FIRST, 5, {})
    with pytest.raises(ValueError, match="at least one sample"):
        encode(Frame(np.empty(0, np.int64), np.empty(0, np.int64), {}))


def test_a_block_over_midnight_is_an_error() -> None:
    times = np.array([FIRST - 1, FIRST])
    with pytest.raises(ValueError, match="one UTC day"):
        encode(Frame(times, times, {1: Column(ValueType.INT64, np.array([1, 2]))}))


def test_a_value_of_no_type_is_an_error() -> None:
    with pytest.raises(TypeError):
        encode_row(FIRST, 5, {1: None})  # type: ignore[dict-item]


def day_of_scrapes(metrics: int) -> Frame:
    """A day of a scrape every 15 s: counters, and every fourth metric a gauge."""
    rng = np.random.default_rng(7)
    times = FIRST + np.arange(5_760) * 15_000_000 + rng.integers(0, 3_000, 5_760)
    columns = {
        metric: Column(
            ValueType.INT64, rng.integers(0, 5_000, 5_760) if metric % 4 == 0 else rng.poisson(20, 5_760).cumsum()
        )
        for metric in range(metrics)
    }
    return Frame(times, np.full(5_760, FIRST), columns)


def test_a_day_of_scrapes_is_small() -> None:
    block = encode(day_of_scrapes(12))
    assert block.hour_summary is not None
    assert block.day_summary is not None
    assert len(block.data) < 1.3 * 12 * 5_760
    assert len(block.hour_summary) < 14_000
    assert len(block.day_summary) < 1_000


def test_frames_of_one_schema_merge_as_any_others() -> None:
    frames_ = [decode(encode_row(FIRST + time, 5, {1: time, 3: "x"}).data) for time in (5, 3, 4, 3)]
    assert exact(samples_of(merge(frames_))) == exact(merged(frames_))


def test_small_blocks_whose_columns_have_their_own_start_times_keep_them() -> None:
    def scrape(moment: int) -> Frame:
        time = np.array([FIRST + moment])
        one = Frame(time, np.array([100]), {1: Column(ValueType.INT64, np.array([1]))})
        other = Frame(time, np.array([200 + moment]), {5: Column(ValueType.INT64, np.array([2]))})
        return merge([one, other])

    frames_ = [scrape(moment) for moment in range(3)]
    decoded = decode_many([encode(frame).data for frame in frames_])
    assert exact(samples_of(decoded)) == exact(merged(frames_))


@pytest.mark.parametrize("rows", [3, 40])
def test_a_block_that_is_there_twice_wins_over_what_lies_between(rows: int) -> None:
    def frame(value: int) -> Frame:
        times = FIRST + np.arange(rows)
        gaps = np.arange(rows) != 1
        return Frame(times, np.full(rows, UNKNOWN_START), {1: Column(ValueType.INT64, np.full(rows, value), gaps)})

    one, other = encode(frame(1)).data, encode(frame(2)).data
    assert exact(samples_of(decode_many([one, other, one]))) == exact(samples_of(frame(1)))
    assert exact(samples_of(decode_many([one, one, other]))) == exact(samples_of(frame(2)))
