"""Frames by start time: every sample once, where it belongs; and many blocks read as one."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from streamgauge_server.model.values import Scalar
from streamgauge_server.timeseries.block import decode, decode_each, encode, encode_row
from streamgauge_server.timeseries.frame import UNKNOWN_START, Frame
from streamgauge_server.timeseries.start_times import split_starts

from tests.unit.timeseries.reference import exact, samples_of
from tests.unit.timeseries.strategies import frames, observations


@settings(max_examples=120, deadline=None)
@given(frames(max_rows=60))
def test_parts_by_start_time_hold_every_sample_once(frame: Frame) -> None:
    parts = split_starts(frame)
    starts = [start for start, _ in parts]
    assert starts == sorted(set(starts))
    assert sorted(sample for _, part in parts for sample in exact(samples_of(part))) == exact(samples_of(frame))
    for start, part in parts:
        assert (part.starts == start).all()
        assert all(column.starts is None or (column.starts == start).all() for column in part.columns.values())
        present = [np.ones(len(part.times), bool) if c.present is None else c.present for c in part.columns.values()]
        assert np.logical_or.reduce(present).all(), "no row without a sample"


@settings(max_examples=100, deadline=None)
@given(st.lists(observations | frames(max_rows=40), max_size=12))
def test_each_of_many_blocks_is_what_it_is_alone(written: list[dict[int, Scalar] | Frame]) -> None:
    blocks = [
        encode(one).data if isinstance(one, Frame) else encode_row(number, UNKNOWN_START, one).data
        for number, one in enumerate(written)
    ]
    together = decode_each(blocks)
    assert [exact(samples_of(frame)) for frame in together] == [exact(samples_of(decode(data))) for data in blocks]
