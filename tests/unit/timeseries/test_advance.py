"""Advancing latest values by a frame is the same as by its observations, one after the other."""

from __future__ import annotations

import math
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from streamgauge_server.timeseries.frame import Frame
from streamgauge_server.timeseries.latest import LatestSample, advance, advance_row

from tests.unit.timeseries.strategies import frames


def by_rows(current: dict[int, LatestSample], frame: Frame) -> dict[int, LatestSample]:
    for row, time in enumerate(frame.times.tolist()):
        for metric, column in frame.columns.items():
            if column.present is None or column.present[row]:
                start = frame.starts_of(metric).item(row)
                current = advance_row(current, time, start, {metric: column.values.item(row)})
    return current


def comparable(samples: dict[int, LatestSample]) -> dict[int, tuple[Any, ...]]:
    """A total of doubles may leave their range; NaN is then the same as NaN. Zeros keep their sign."""
    return {metric: tuple(map(_cell, sample)) for metric, sample in samples.items()}


def _cell(value: Any) -> Any:
    if isinstance(value, float):
        return ("float", "nan") if math.isnan(value) else ("float", math.copysign(1.0, value), value)
    return (type(value).__name__, value)


@settings(max_examples=60, deadline=None)
@given(st.lists(frames(max_rows=60), min_size=1, max_size=3))
def test_a_frame_moves_the_latest_samples_as_its_observations_do(
    history: list[Frame],
) -> None:
    whole: dict[int, LatestSample] = {}
    single: dict[int, LatestSample] = {}
    for frame in history:
        whole = advance(whole, frame)
        single = by_rows(single, frame)
        assert comparable(whole) == comparable(single)
