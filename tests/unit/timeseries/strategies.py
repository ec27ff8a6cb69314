"""Hypothesis strategies: frames of every kind, and histories of writes as they reach a store."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from hypothesis import strategies as st
from streamgauge_server.model.clock import MICROS_PER_DAY, MICROS_PER_HOUR, MICROS_PER_MINUTE, MICROS_PER_SECOND
from streamgauge_server.model.values import INT64_MAX, INT64_MIN, Scalar, ValueType
from streamgauge_server.timeseries.block import Block, encode, encode_row
from streamgauge_server.timeseries.frame import DTYPES, FILLERS, UNKNOWN_START, Column, Frame, build_frame, split_days
from streamgauge_server.timeseries.query import StoredBlock

DAY = 20_000
"""The UTC day around which everything happens: 2024-10-04, a Friday."""

VALUES: dict[ValueType, st.SearchStrategy[Any]] = {
    ValueType.DOUBLE: st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from([-0.0, 0.0, 5e-324, 1.7976931348623157e308]),
    ValueType.INT64: st.integers(INT64_MIN, INT64_MAX) | st.sampled_from([INT64_MIN, INT64_MAX, 0, -1]),
    ValueType.BOOL: st.booleans(),
    ValueType.STRING: st.text(max_size=12) | st.sampled_from(["", "a\x00b", "\U0010ffff", "Streaming", "é" * 300]),
}
VALUES[ValueType.ANY] = st.one_of(*VALUES.values())
MIXED = (100, 101)
"""Metrics whose values may be of any type."""
METRICS = st.integers(0, 7) | st.sampled_from(MIXED)
STARTS = st.sampled_from([UNKNOWN_START, 0, 1_000, 2_000, INT64_MAX])


POOLS = st.fixed_dictionaries(
    {value_type: st.lists(VALUES[value_type], min_size=1, max_size=4) for value_type in VALUES}
)
"""A few values of each type, for columns to pick from: long columns stay cheap to draw."""


def _column(metric: int, rows: int, pool: dict[ValueType, list[Any]], starts: list[int], rng: random.Random) -> Column:
    """Returns a column with any gaps, at least one value, and sometimes start times of its own."""
    value_type = type_of(metric)
    values = np.empty(rows, DTYPES[value_type])
    values[:] = rng.choices(pool[value_type], k=rows)
    present: Any = None
    if rng.random() < 0.5:
        share = rng.choice([0.02, 0.5, 0.98])
        present = np.array([rng.random() < share for _ in range(rows)])
        present[rng.randrange(rows)] = True
    own_starts = np.array(rng.choices(starts, k=rows)) if rng.random() < 0.25 else None
    return Column(value_type, values, present, own_starts)


@st.composite
def frames(draw: st.DrawFn, *, max_rows: int = 200) -> Frame:
    """Frames within one day. The type of metric `m` is that of `type_of(m)`, so that any two frames may merge."""
    rows = min(draw(st.sampled_from([1, 2, 31, 32, 33]) | st.integers(1, max_rows)), max_rows)
    ids = draw(st.sets(METRICS | st.sampled_from([127, 128, 2**40]), min_size=1, max_size=6))
    pool, starts = draw(POOLS), draw(st.lists(STARTS, min_size=1, max_size=3))
    rng = random.Random(draw(st.integers(0, 2**32)))
    times = sorted(rng.sample(range(rng.choice([400, MICROS_PER_DAY])), rows))
    return Frame(
        np.array(times) + DAY * MICROS_PER_DAY,
        np.sort(np.array(rng.choices(starts, k=rows))),
        {metric: _column(metric, rows, pool, starts, rng) for metric in sorted(ids)},
    )


def type_of(metric: int) -> ValueType:
    """Returns the type of a metric in these tests: one of the four, or ANY for those that mix them."""
    return ValueType.ANY if metric in MIXED else ValueType(metric % 4 + 1)


observations = st.builds(
    lambda ids, data: {metric: data[type_of(metric)] for metric in ids},
    st.sets(st.integers(0, 40) | st.sampled_from([*MIXED, 2**40]), min_size=1, max_size=14),
    st.fixed_dictionaries(VALUES),
)
"""The values of single observations, by metric."""


@dataclass(frozen=True)
class Run:
    """A run of observations at even distance: what one write holds."""

    begin: int
    step: int
    rows: int
    metrics: frozenset[int]
    starts: tuple[int, ...]
    """Start times that follow each other over the run."""
    gaps: float
    seed: int
    unordered: bool
    wide: bool
    mixing: float = 0.5
    """How often the values of mixed metrics are not integers."""

    def observations(self) -> list[tuple[int, int, dict[int, Scalar]]]:
        """Returns moment, start and values of each row, in the order in which they are written."""
        rng = random.Random(self.seed)
        rows: list[tuple[int, int, dict[int, Scalar]]] = []
        level = 0
        for row in range(self.rows):
            level = 0 if rng.random() < 0.03 else level + rng.randrange(5)
            values = {m: self._value(m, level, rng) for m in sorted(self.metrics) if rng.random() >= self.gaps}
            start = self.starts[row * len(self.starts) // self.rows]
            rows.append((self.begin + row * self.step, start, values or {0: 0.25}))
        if self.unordered:
            rng.shuffle(rows)
        return rows

    def _value(self, metric: int, level: int, rng: random.Random) -> Scalar:
        match type_of(metric):
            case ValueType.DOUBLE:  # quarters: sums are exact in any order
                return level + rng.randrange(4) / 4 - 1
            case ValueType.INT64:
                return rng.choice([INT64_MIN, INT64_MAX, level]) if self.wide else level - 2
            case ValueType.BOOL:
                return rng.random() < 0.5
            case ValueType.ANY:  # integers that doubles hold exactly, as they may have to be promoted
                others: list[Scalar] = [level + 0.25, level + 0.25, rng.random() < 0.5, f"word {level}"]
                return rng.choice(others) if rng.random() < self.mixing else level - 2
        return rng.choice(["Streaming", "", f"word {level}"])


@st.composite
def runs(draw: st.DrawFn, days: int = 3) -> Run:
    """Runs that begin near the hours of a few days and often overlap."""
    hour = draw(st.integers(0, days * 24 - 1) | st.sampled_from([0, 1, 23, 24, 25]))
    jitter = draw(st.sampled_from([0, 0, -1, 1, 7 * MICROS_PER_MINUTE, 30 * MICROS_PER_MINUTE]))
    metrics = draw(st.sets(METRICS, min_size=1, max_size=5))
    return Run(
        DAY * MICROS_PER_DAY + hour * MICROS_PER_HOUR + jitter,
        draw(st.sampled_from([1, MICROS_PER_SECOND, MICROS_PER_MINUTE, 7 * MICROS_PER_MINUTE, 31 * MICROS_PER_MINUTE])),
        draw(st.sampled_from([1, 1, 3, 32, 33, 60, 90])),
        frozenset(metrics),
        tuple(draw(st.lists(st.sampled_from([UNKNOWN_START, 1_000, 2_000]), min_size=1, max_size=3))),
        draw(st.sampled_from([0.0, 0.0, 0.4])),
        draw(st.integers(0, 2**32)),
        draw(st.booleans()),
        draw(st.integers(0, 4)) == 0,
        draw(st.sampled_from([0.0, 0.05, 1.0])),
    )


def frame_of(run: Run) -> Frame:
    """Returns the frame of a run's observations."""
    rows = run.observations()
    held: dict[int, Column] = {}
    for metric in sorted({metric for _, _, values in rows for metric in values}):
        present = np.array([metric in values for _, _, values in rows])
        column = np.full(len(rows), FILLERS[type_of(metric)], DTYPES[type_of(metric)])
        for row, (_, _, values) in enumerate(rows):
            if metric in values:
                column[row] = values[metric]
        held[metric] = Column(type_of(metric), column, None if present.all() else present)
    times, starts = np.array([row[0] for row in rows]), np.array([row[1] for row in rows])
    return build_frame(times, starts, held)


def stored(seq: int, block: Block) -> StoredBlock:
    """Returns a block as read from the store."""
    return StoredBlock(
        seq,
        block.day,
        block.rows,
        block.first_time,
        block.last_time,
        block.hours,
        block.hour_summary,
        block.day_summary,
        block.data,
    )


def store(written: Sequence[Run]) -> list[StoredBlock]:
    """Returns the blocks of runs written one after the other."""
    blocks: list[StoredBlock] = []
    for run in written:
        if run.rows == 1:
            encoded = [encode_row(*run.observations()[0])]
        else:
            encoded = [encode(frame) for _, frame in split_days(frame_of(run))]
        for block in encoded:
            blocks.append(stored(len(blocks), block))
    return blocks


def without_data(blocks: Sequence[StoredBlock], kept: set[int]) -> list[StoredBlock]:
    """Returns blocks as they are after a load in which only the samples of some were read."""
    return [block if block.seq in kept else replace(block, data=None) for block in blocks]
