"""How long values stood equals a count of every single moment, however the samples come."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from streamgauge_server.model.values import Scalar, ValueType, type_of
from streamgauge_server.timeseries.durations import Durations, ValueTime, joined
from streamgauge_server.timeseries.frame import DTYPES, FILLERS, UNKNOWN_START, Column, Frame, build_frame, cut, spread

SPAN = 60
"""Moments of these tests; they may lie before 1970."""
VALUES: Mapping[int, st.SearchStrategy[Scalar]] = {
    1: st.booleans(),
    2: st.sampled_from(["", "a", "True", "1"]),
    3: st.one_of(st.booleans(), st.sampled_from(["", "a", "True"]), st.integers(0, 1), st.sampled_from([0.0, 1.0])),
    4: st.integers(0, 3),
}
SAMPLES = st.fixed_dictionaries(
    {metric: st.dictionaries(st.integers(0, SPAN - 1), values, max_size=12) for metric, values in VALUES.items()}
)
BEFORE = st.fixed_dictionaries({}, optional=dict(VALUES))
EDGES = st.builds(
    lambda edges, lead, trail: [edges[0]] * lead + edges + [edges[-1]] * trail,
    st.lists(st.integers(0, SPAN), min_size=2, max_size=8, unique=True).map(sorted),
    st.integers(0, 2),
    st.integers(0, 2),
)
"""Bounds of windows, some of them before or after a range that they are cut to."""

Told = dict[int, dict[tuple[type, Scalar], dict[int, int]]]
"""Microseconds by metric, value (with its type: True is not 1) and window."""


def frame_of(samples: Mapping[int, Mapping[int, Scalar]], shift: int) -> Frame:
    """Returns the frame of samples by metric and moment."""
    times = sorted({time for of_metric in samples.values() for time in of_metric})
    columns: dict[int, Column] = {}
    for metric, unordered in samples.items():
        if of_metric := dict(sorted(unordered.items())):
            types = {type_of(value) for value in of_metric.values()}
            value_type = types.pop() if len(types) == 1 else ValueType.ANY
            values = np.full(len(of_metric), FILLERS[value_type], DTYPES[value_type])
            values[:] = list(of_metric.values())
            columns[metric] = spread(value_type, values, [times.index(time) for time in of_metric], len(times))
    return build_frame(np.array(times, np.int64) + shift, np.full(len(times), UNKNOWN_START), columns)


def counted(
    samples: Mapping[int, Mapping[int, Scalar]], before: Mapping[int, Scalar], edges: Sequence[int], until: int
) -> Told:
    """Looks at each moment what stands there."""
    told: Told = {}
    for metric in VALUES:
        standing = before.get(metric)
        for moment in range(edges[0], min(edges[-1], until)):
            standing = samples[metric].get(moment, standing)
            if isinstance(standing, bool | str):
                window = max(number for number, edge in enumerate(edges) if edge <= moment)
                windows = told.setdefault(metric, {}).setdefault((type(standing), standing), {})
                windows[window] = windows.get(window, 0) + 1
    return told


def told_by(answer: Mapping[int, Sequence[ValueTime]]) -> Told:
    told: Told = {}
    for metric, of_metric in answer.items():
        for one in of_metric:
            windows = dict(zip(one.windows.tolist(), one.micros.tolist(), strict=True))
            assert list(windows) == sorted(windows)
            assert sum(windows.values()) == one.total
            assert told.setdefault(metric, {}).setdefault((type(one.value), one.value), windows) is windows
    return told


@settings(max_examples=200, deadline=None)
@given(
    SAMPLES, BEFORE, EDGES, st.lists(st.integers(0, SPAN), max_size=3).map(sorted), st.integers(0, 20), st.booleans()
)
def test_each_value_is_told_for_the_time_that_it_stood(
    samples: dict[int, dict[int, Scalar]],
    before: dict[int, Scalar],
    edges: list[int],
    cuts: list[int],
    more: int,
    before_1970: bool,
) -> None:
    shift = -SPAN // 2 if before_1970 else 10**15
    inside = {metric: {t: v for t, v in of.items() if t >= edges[0]} for metric, of in samples.items()}
    until = max([edges[0], *(time for of_metric in inside.values() for time in of_metric)]) + more
    durations = Durations([edge + shift for edge in edges], before)
    whole = frame_of(inside, shift)
    for low, high in zip([0, *cuts], [*cuts, SPAN], strict=True):
        if (part := cut(whole, low + shift, high + shift)) is not None:
            durations.add(part)
    assert told_by(durations.until(until + shift)) == counted(inside, before, edges, until)


def test_values_of_parts_are_added_and_those_that_stood_longest_come_first() -> None:
    def stood(value: bool | str, *micros: int) -> ValueTime:
        windows = np.flatnonzero(micros)
        return ValueTime(value, windows, np.array(micros)[windows])

    parts = [[stood("a", 3, 0, 1), stood(True, 0, 5)], [stood("b", 9), stood("a", 2, 2), stood("True", 0, 0, 4)]]
    found = [(one.value, one.windows.tolist(), one.micros.tolist()) for one in joined(parts, 3)]
    assert found == [("b", [0], [9]), ("a", [0, 1, 2], [5, 2, 1]), (True, [1], [5])]


def test_many_values_over_many_windows_are_added_up_as_they_come() -> None:
    rows, windows = 150_000, 100
    texts = np.array([f"value {row % 7}" for row in range(rows)], np.object_)
    frame = Frame(np.arange(rows), np.full(rows, UNKNOWN_START), {2: Column(ValueType.STRING, texts)})
    durations = Durations([window * rows // windows for window in range(windows + 1)], {})
    for low in range(0, rows, 50_000):
        part = cut(frame, low, low + 50_000)
        assert part is not None
        durations.add(part)
    answer = durations.until(rows)[2]
    assert [one.total for one in answer] == [len(range(number, rows, 7)) for number in range(7)]
    assert all(one.windows.tolist() == list(range(windows)) for one in answer)
