"""A page of moments: what is in it, and that the next one begins where it ends."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from streamgauge_server.model.values import Scalar, ValueType
from streamgauge_server.services.asset_moments import MomentPage, Position, ReportedMetric
from streamgauge_server.timeseries.frame import UNKNOWN_START, Column, Frame

Moments = list[tuple[int, dict[str, Scalar]]]
NAMES = ["b", "a", "é" * 3, "d"]
METRICS = [ReportedMetric.of(10 - position, name) for position, name in enumerate(NAMES)]
"""In the order of first report, which is neither that of ids nor that of names."""
ROOMY = 1 << 20

values: st.SearchStrategy[Scalar] = st.one_of(
    st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False), st.booleans(), st.text(max_size=40)
)
histories = st.dictionaries(
    st.integers(-5, 60), st.dictionaries(st.sampled_from(NAMES), values, min_size=1), max_size=25
).map(lambda moments: sorted(moments.items()))


def frame_of(moments: Moments) -> Frame:
    """A frame of mixed columns in no particular order."""
    times = np.array([time for time, _ in moments], np.int64)
    columns: dict[int, Column] = {}
    for metric in sorted(METRICS):
        held = [(row, found[metric.name]) for row, (_, found) in enumerate(moments) if metric.name in found]
        if held:
            cells: Any = np.full(len(times), None, np.object_)
            for row, value in held:
                cells[row] = value
            present = np.isin(np.arange(len(times)), [row for row, _ in held])
            columns[metric.id] = Column(ValueType.ANY, cells, None if present.all() else present)
    return Frame(times, np.full(len(times), UNKNOWN_START, np.int64), columns)


def page_of(moments: Moments, begin: Position, size: int, max_bytes: int = ROOMY, cuts: int = 1) -> MomentPage:
    """Reads a page out of the moments from its beginning on, in `cuts` frames."""
    page = MomentPage(size, max_bytes)
    left = [moment for moment in moments if moment[0] >= begin.time]
    if begin.after is not None and left and left[0][0] == begin.time:
        ids = begin.left([metric.id for metric in METRICS])
        if page.add(frame_of([left.pop(0)]), [metric for metric in METRICS if metric.id in ids]):
            return page
    step = max(1, -(-len(left) // cuts))
    for first in range(0, len(left), step):
        if page.add(frame_of(left[first : first + step]), METRICS):
            break
    return page


def in_order(moment: dict[str, Scalar]) -> list[tuple[str, Scalar]]:
    return [(name, moment[name]) for name in NAMES if name in moment]


def told(page: MomentPage) -> list[tuple[int, list[tuple[str, Scalar]]]]:
    return [(moment.time, [tuple(sample) for sample in moment.samples]) for moment in page.moments]  # type: ignore[misc]


def typed(entries: Any) -> str:
    """Tells 1 from 1.0 and True, and 0.0 from -0.0."""
    return repr(entries)


@given(histories, st.integers(1, 8), st.integers(40, 400), st.integers(1, 4))
def test_pages_put_together_are_the_history(moments: Moments, size: int, max_bytes: int, cuts: int) -> None:
    begin: Position | None = Position(-5)
    found: dict[int, list[tuple[str, Scalar]]] = {}
    while begin is not None:
        page = page_of(moments, begin, size, max_bytes, cuts)
        assert 1 <= len(page.moments) <= size or page.next is None
        for time, samples in told(page):
            continued = found.setdefault(time, [])
            assert not continued or time == begin.time
            continued.extend(samples)
        begin = page.next
    assert typed(list(found.items())) == typed([(time, in_order(moment)) for time, moment in moments])


@given(histories, st.integers(40, 400))
def test_only_a_moment_that_fits_no_page_is_divided(moments: Moments, max_bytes: int) -> None:
    begin = Position(-5)
    page = page_of(moments, begin, 100, max_bytes)
    whole = dict(moments)
    for time, samples in told(page):
        if len(samples) < len(whole[time]):
            assert len(page.moments) == 1
            assert page.next is not None
            assert page.next.time == time


@pytest.mark.parametrize(("count", "more"), [(3, False), (4, True)])
def test_a_page_tells_whether_another_follows(count: int, more: bool) -> None:
    page = page_of([(n, {"a": n}) for n in range(count)], Position(0), 3)
    assert [moment.time for moment in page.moments] == [0, 1, 2]
    assert page.next == (Position(3) if more else None)


def test_the_next_page_finds_what_was_written_in_between() -> None:
    page = page_of([(0, {"a": 1}), (100, {"a": 2})], Position(0), 1)
    assert page.next is not None
    following = page_of([(0, {"a": 1}), (50, {"a": 3}), (100, {"a": 2})], page.next, 1)
    assert told(following) == [(50, [("a", 3)])]


TEXTS: dict[str, Scalar] = dict.fromkeys(NAMES, "x" * 100)


def test_a_moment_that_does_not_fit_beside_others_begins_the_next_page() -> None:
    moments: Moments = [(1, {"a": 1}), (2, TEXTS)]
    page = page_of(moments, Position(0), 10, 550)
    assert told(page) == [(1, [("a", 1)])]
    assert page.next == Position(2)
    assert told(page_of(moments, page.next, 10, 550)) == [(2, in_order(TEXTS))]


def test_a_moment_that_fits_no_page_is_continued() -> None:
    page = page_of([(2, TEXTS)], Position(0), 10, 300)
    assert told(page) == [(2, in_order(TEXTS)[:2])]
    assert page.next == Position(2, METRICS[1].id)
    rest = page_of([(2, TEXTS), (3, {"a": 1})], page.next, 10, 400)
    assert told(rest) == [(2, in_order(TEXTS)[2:]), (3, [("a", 1)])]


def test_a_metric_that_is_new_at_a_moment_that_is_continued_neither_repeats_nor_hides_one() -> None:
    begin = Position(2, METRICS[1].id)
    assert told(page_of([(2, TEXTS)], begin, 10)) == [(2, in_order(TEXTS)[2:])]
    without = {name: value for name, value in TEXTS.items() if name not in ("a", "d")}
    assert told(page_of([(2, without)], begin, 10)) == [(2, [(NAMES[2], TEXTS[NAMES[2]])])]


def test_a_moment_is_repeated_when_the_metric_that_it_was_divided_at_is_deleted() -> None:
    assert told(page_of([(2, TEXTS)], Position(2, 999), 10)) == [(2, in_order(TEXTS))]


def test_a_continued_moment_of_which_nothing_is_left_takes_no_room_in_the_page() -> None:
    page = page_of([(2, {"a": 1}), (3, {"a": 2}), (4, {"a": 3})], Position(2, METRICS[-1].id), 1)
    assert told(page) == [(3, [("a", 2)])]
    assert page.next == Position(4)


def test_a_text_larger_than_a_page_is_a_page() -> None:
    page = page_of([(2, {"b": "x" * 1000, "a": 1})], Position(0), 10, 100)
    assert told(page) == [(2, [("b", "x" * 1000)])]
    assert page.next == Position(2, METRICS[0].id)


def test_columns_that_are_not_asked_for_do_not_count() -> None:
    page = MomentPage(10, ROOMY)
    assert not page.add(frame_of([(1, {"a": 1}), (2, {"b": 2}), (3, {"a": 3, "b": 4})]), METRICS[:1])
    assert told(page) == [(2, [("b", 2)]), (3, [("b", 4)])]
    assert not page.add(frame_of([(4, {"a": 1})]), METRICS[:1])
