"""Answers from summaries, samples and both equal those of plain Python, however the data came."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
from streamgauge_server.model.clock import MICROS_PER_DAY, MICROS_PER_HOUR
from streamgauge_server.model.values import ValueType
from streamgauge_server.model.windows import Window, WindowUnit
from streamgauge_server.timeseries import query
from streamgauge_server.timeseries.query import StoredBlock, WindowTable, aggregate, needed

from tests.unit.timeseries import reference
from tests.unit.timeseries.reference import Samples, Stats
from tests.unit.timeseries.strategies import DAY, Run, runs, store, type_of, without_data

FIRST = DAY * MICROS_PER_DAY
WINDOWS = st.sampled_from(
    [
        Window(WindowUnit.MINUTE, 10),
        Window(WindowUnit.MINUTE, 90),
        Window(WindowUnit.HOUR),
        Window(WindowUnit.HOUR, 5),
        Window(WindowUnit.DAY),
        Window(WindowUnit.DAY, 2),
        Window(WindowUnit.WEEK),
        Window(WindowUnit.MONTH),
        Window(WindowUnit.MONTH, 7),
    ]
)
MOMENTS = st.builds(
    lambda hour, jitter: FIRST + hour * MICROS_PER_HOUR + jitter,
    st.integers(-2, 80),
    st.sampled_from([0, 0, 1, -1, 60_000_000, 1_700_000_001]),
)
RANGES = st.tuples(MOMENTS, MOMENTS).filter(lambda pair: pair[0] != pair[1]).map(sorted)
HISTORIES = st.lists(runs(), min_size=1, max_size=6)


def samples_of(written: Sequence[Run]) -> Samples:
    samples: Samples = {}
    for run in written:
        for time, start, values in run.observations():
            reference.write(samples, time, start, values)
    return samples


def answer(table: WindowTable) -> dict[int, dict[int, Stats]]:
    """Returns a table as the reference answers."""
    found: dict[int, dict[int, Stats]] = {}
    for metric in table.metrics:
        stats = table.stats(metric)
        assert stats is not None
        assert stats.type == type_of(metric)
        names = ["count", "first", "last", "first_time", "last_time"]
        if stats.type != ValueType.STRING:
            names += ["sum", "min", "max", "increase", "resets"]
        present = stats.present.tolist()
        arrays = {name: getattr(stats, name).tolist() for name in names}
        found[metric] = {
            window: Stats(**{name: array[window] for name, array in arrays.items()})
            for window in range(table.size)
            if present[window]
        }
        if stats.type == ValueType.STRING:
            for of_window in found[metric].values():
                of_window.min, of_window.max = of_window.first, of_window.first
    return found


def loaded(blocks: Sequence[StoredBlock], start: int, end: int, bounds: Sequence[int]) -> list[StoredBlock]:
    """Returns blocks with the samples that are needed, and no others."""
    bare = without_data(blocks, set())
    return without_data(blocks, needed(bare, start, end, bounds))


@settings(max_examples=250, deadline=None)
@given(HISTORIES, WINDOWS, RANGES, st.booleans(), st.randoms(use_true_random=False))
def test_a_query_equals_the_reference_for_any_split_order_window_and_range(
    written: list[Run], window: Window, cut: list[int], chained: bool, rng: random.Random
) -> None:
    start, end = cut
    bounds = window.bounds(start, end)
    blocks = loaded(store(written), start, end, bounds)
    rng.shuffle(blocks)
    everything = store(written)
    before = query.baseline(everything, start) if chained else None
    samples = samples_of(written)
    expected = reference.windows(samples, start, end, bounds, chained=chained)
    assert answer(aggregate(blocks, start, end, bounds, baseline=before)) == expected


@settings(max_examples=100, deadline=None)
@given(HISTORIES, WINDOWS, RANGES)
def test_summaries_and_samples_give_the_same_answer(written: list[Run], window: Window, cut: list[int]) -> None:
    start, end = cut
    bounds = window.bounds(start, end)
    blocks = store(written)
    bare = [replace(block, hour_summary=None, day_summary=None) for block in blocks]
    by_hours = [replace(block, day_summary=None) for block in blocks]
    from_samples = answer(aggregate(bare, start, end, bounds))
    assert answer(aggregate(blocks, start, end, bounds)) == from_samples
    assert answer(aggregate(by_hours, start, end, bounds)) == from_samples
