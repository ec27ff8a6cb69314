"""How long values stood: against a reference that walks from sample to sample."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from streamgauge_server.model.values import Scalar, ValueType, type_of
from streamgauge_server.timeseries.durations import Durations, ValueTime, joined
from streamgauge_server.timeseries.frame import DTYPES, UNKNOWN_START, Column, Frame

M = 3

values = st.sampled_from([True, False, "true", "a", "", 0, 1, 1.0, -2.5])
samples = st.dictionaries(st.integers(0, 99), values).map(lambda by_time: sorted(by_time.items()))


def frame(part: Sequence[tuple[int, Scalar]]) -> Frame:
    """A frame of one metric; a row without a value comes after each sample."""
    kinds = {type_of(value) for _, value in part}
    value_type = kinds.pop() if len(kinds) == 1 else ValueType.ANY
    times = np.array([time for time, _ in part], np.int64)
    column = Column(value_type, np.array([value for _, value in part], DTYPES[value_type]))
    return Frame(times, np.full(len(times), UNKNOWN_START), {M: column})


def told(durations: Durations, end: int) -> dict[tuple[type, Scalar], dict[int, int]]:
    return {
        (type(one.value), one.value): dict(zip(one.windows.tolist(), one.micros.tolist(), strict=True))
        for one in durations.until(end).get(M, [])
    }


def reference(
    before: Scalar | None, part: Sequence[tuple[int, Scalar]], edges: Sequence[int], end: int
) -> dict[tuple[type, Scalar], dict[int, int]]:
    stood: dict[tuple[type, Scalar], dict[int, int]] = {}
    current, position = before, 0
    for moment in range(edges[0], min(end, edges[-1])):
        while position < len(part) and part[position][0] <= moment:
            current = part[position][1]
            position += 1
        if isinstance(current, bool | str):
            window = max(w for w in range(len(edges) - 1) if edges[w] <= moment)
            of_value = stood.setdefault((type(current), current), {})
            of_value[window] = of_value.get(window, 0) + 1
    return stood


@given(
    before=st.none() | values,
    part=samples,
    inner=st.lists(st.integers(0, 100)),
    end=st.integers(0, 120),
    cuts=st.lists(st.integers(0, 100)),
)
def test_every_moment_belongs_to_the_value_that_stood(
    before: Scalar | None, part: list[tuple[int, Scalar]], inner: list[int], end: int, cuts: list[int]
) -> None:
    """However the samples are cut into frames, and also where the range cuts windows to nothing."""
    edges = [0, *sorted(inner), 100]
    durations = Durations(edges, {} if before is None else {M: before})
    part = [(time, value) for time, value in part if time < end]
    bounds = [0, *sorted(cuts), 100]
    for low, high in pairwise(bounds):
        if stretch := [(time, value) for time, value in part if low <= time < high]:
            durations.add(frame(stretch))
    assert told(durations, end) == reference(before, part, edges, end)


def test_a_metric_of_many_texts_is_kept_sparsely() -> None:
    count, windows = 300_000, 11_000
    times = np.arange(count, dtype=np.int64)
    edges = np.linspace(0, count, windows + 1).astype(np.int64).tolist()
    durations = Durations(edges, {})
    for low in range(0, count, 50_000):
        part = times[low : low + 50_000]
        column = Column(ValueType.STRING, np.array([f"v{n % 250_000}" for n in part.tolist()], object))
        durations.add(Frame(part, np.full(len(part), UNKNOWN_START), {M: column}))
    found = durations.until(count)[M]
    assert len(found) == 250_000
    assert sum(one.total for one in found) == count
    assert {len(one.windows) for one in found} == {1, 2}


def test_metrics_that_never_held_anything_but_numbers_are_not_told() -> None:
    durations = Durations([0, 100], {4: 5, 5: "x"})
    durations.add(frame([(3, 1), (4, 2)]))
    assert durations.until(100).keys() == {5}


def stood(value: bool | str, *entries: tuple[int, int]) -> ValueTime:
    return ValueTime(value, np.array([w for w, _ in entries]), np.array([micros for _, micros in entries]))


def test_parts_add_and_the_longest_come_first() -> None:
    found = joined(
        [
            [stood("a", (0, 5), (2, 1)), stood("b", (1, 9))],
            [stood("a", (2, 4), (3, 1)), stood(True, (0, 1))],
        ],
        2,
    )
    assert [(one.value, one.windows.tolist(), one.micros.tolist()) for one in found] == [
        ("a", [0, 2, 3], [5, 5, 1]),
        ("b", [1], [9]),
    ]
