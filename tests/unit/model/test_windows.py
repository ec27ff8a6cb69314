"""Calendar windows: alignment, bounds, and that every moment is in exactly one."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from streamgauge_server.model.clock import MAX_MICROS, from_datetime, to_datetime
from streamgauge_server.model.windows import Window, WindowUnit


def micros(*args: int) -> int:  # year, month, day, ...
    return from_datetime(datetime(*args, tzinfo=UTC))  # type: ignore[arg-type,misc]


@pytest.mark.parametrize(
    ("window", "moment", "start"),
    [
        (Window(WindowUnit.MINUTE), (2026, 11, 22, 1, 2, 3), (2026, 11, 22, 1, 2)),
        (Window(WindowUnit.MINUTE, 15), (2026, 11, 22, 1, 29, 59), (2026, 11, 22, 1, 15)),
        (Window(WindowUnit.HOUR, 6), (2026, 11, 22, 5, 59, 59), (2026, 11, 22)),
        (Window(WindowUnit.DAY), (2028, 2, 29, 23, 59, 59), (2028, 2, 29)),
        (Window(WindowUnit.WEEK), (2026, 11, 22, 12), (2026, 11, 16)),  # a Sunday belongs to the Monday before it
        (Window(WindowUnit.WEEK), (1970, 1, 1), (1969, 12, 29)),
        (Window(WindowUnit.WEEK, 2), (1970, 1, 11, 23), (1969, 12, 29)),
        (Window(WindowUnit.WEEK, 2), (1970, 1, 12), (1970, 1, 12)),
        (Window(WindowUnit.MONTH), (2028, 2, 29), (2028, 2, 1)),
        (Window(WindowUnit.MONTH, 3), (2026, 12, 31, 23), (2026, 10, 1)),
    ],
)
def test_a_moment_is_in_the_window_that_the_calendar_says(
    window: Window, moment: tuple[int, ...], start: tuple[int, ...]
) -> None:
    assert window.start(window.index(micros(*moment))) == micros(*start)


def test_bounds_cover_the_range_and_begin_before_it() -> None:
    start, end = micros(2026, 1, 31, 13), micros(2026, 3, 1)
    assert [to_datetime(b).date().isoformat() for b in Window(WindowUnit.MONTH).bounds(start, end)] == [
        "2026-01-01",
        "2026-02-01",
        "2026-03-01",
    ]


def test_the_last_month_ends_with_the_year_9999() -> None:
    assert Window(WindowUnit.MONTH).bounds(MAX_MICROS - 1, MAX_MICROS)[-1] == MAX_MICROS


windows = st.builds(Window, st.sampled_from(WindowUnit), st.integers(1, 10_000))
moments = st.integers(0, MAX_MICROS - 1)


@given(windows, moments)
def test_every_moment_is_in_exactly_one_window(window: Window, moment: int) -> None:
    index = window.index(moment)
    assert window.start(index) <= moment < window.start(index + 1)


@given(windows, moments, st.integers(1, 10**13))
def test_bounds_rise_and_are_as_many_as_counted(window: Window, start: int, length: int) -> None:
    end = min(start + length, MAX_MICROS)
    count = window.count_between(start, end)
    if count > 2_000:
        return
    bounds = window.bounds(start, end)
    assert len(bounds) == count + 1
    assert all(low < high for low, high in itertools.pairwise(bounds))
    assert bounds[0] <= start
    assert bounds[-2] < end <= bounds[-1]
