"""Packed tables of aggregates come back cell for cell, whatever the cells."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from streamgauge_server.model.values import INT64_MAX, INT64_MIN, ValueType
from streamgauge_server.timeseries.envelope import BlockCorrupt
from streamgauge_server.timeseries.number_packing import MIN_ENTRIES, pack_table, packable, unpack_table
from streamgauge_server.timeseries.number_table import LINES, Cell, NumberTable

CELLS = st.integers(INT64_MIN, INT64_MAX) | st.sampled_from([INT64_MIN, INT64_MAX, 0, -1, 1])


@st.composite
def tables(draw: st.DrawFn) -> NumberTable:
    """Tables with any cells that a table can have: doubles before all others, totals in their two halves."""
    doubles, others = draw(st.integers(0, 40)), draw(st.integers(0, 60))
    pool = draw(st.lists(CELLS, min_size=1, max_size=12))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    table = rng.choice(np.array(pool, np.int64), (LINES, doubles + others))
    table[Cell.TYPE, :doubles] = ValueType.DOUBLE.value
    table[Cell.TYPE, doubles:] = rng.choice([ValueType.INT64.value, ValueType.BOOL.value], others)
    for line in (Cell.SUM, Cell.INCREASE):
        table[line, doubles:] >>= draw(st.sampled_from([0, 32]))
        table[line + 1, doubles:] &= (1 << 32) - 1
        table[line + 1, :doubles] = 0
    return table


@given(tables())
def test_a_packed_table_comes_back_cell_for_cell(table: NumberTable) -> None:
    if packable(table):
        cells, doubles = pack_table(table)
        assert (unpack_table(table.shape[1], cells, doubles) == table).all()
    else:
        wide = np.abs(table[[Cell.SUM, Cell.INCREASE]].astype(object)).max(initial=0) >= 1 << 31
        assert table.shape[1] < MIN_ENTRIES or wide


def day(metrics: int = 12) -> NumberTable:
    """The table of counters and gauges that grow through the hours of a day."""
    rng = np.random.default_rng(7)
    table: Any = np.zeros((LINES, metrics * 24), np.int64)
    table[Cell.METRIC] = np.repeat(np.arange(metrics), 24)
    table[Cell.TYPE] = ValueType.INT64.value
    table[Cell.COUNT] = 240
    table[Cell.FIRST_TIME] = np.tile(np.arange(24) * 3_600_000_000, metrics)
    table[Cell.LAST_TIME] = table[Cell.FIRST_TIME] + 3_585_000_000
    table[Cell.FIRST] = table[Cell.MIN] = np.cumsum(rng.integers(1_000, 2_000, metrics * 24))
    table[Cell.LAST] = table[Cell.MAX] = table[Cell.FIRST] + 990
    table[Cell.INCREASE_LOW] = 990
    table[Cell.SUM_LOW] = 240 * table[Cell.FIRST] + 118_800
    return np.asarray(table, np.int64)


def test_a_day_of_counters_takes_less_than_three_bytes_a_bucket() -> None:
    cells, doubles = pack_table(day())
    assert not doubles
    assert len(cells) < 3 * 12 * 24


def test_pieces_that_do_not_fit_together_are_told_as_corrupt() -> None:
    table = day()
    cells, _ = pack_table(table)
    with pytest.raises(BlockCorrupt):
        unpack_table(table.shape[1] + 1, cells, [])
    with pytest.raises(BlockCorrupt):
        unpack_table(table.shape[1], cells, [b"", b""])
