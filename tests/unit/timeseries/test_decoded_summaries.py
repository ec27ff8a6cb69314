"""What is decoded once for queries is shared by its content, and nothing can go wrong with it."""

from __future__ import annotations

import numpy as np
import pytest
from streamgauge_server.timeseries.envelope import BlockCorrupt
from streamgauge_server.timeseries.number_table import Cell
from streamgauge_server.timeseries.summary import decode_summaries, decode_summary

from tests.unit.timeseries.strategies import DAY, Run, store

RUN = Run(DAY * 86_400_000_000, 60_000_000, 180, frozenset({1, 2, 4}), (5, 7, 9), 0.0, 1, False, False)


def summaries() -> tuple[bytes, bytes]:
    """The summaries of a block, of its hours and of the day."""
    (block,) = store([RUN])
    assert block.hour_summary is not None
    assert block.day_summary is not None
    return block.hour_summary, block.day_summary


@pytest.mark.parametrize("which", [0, 1])
def test_equal_bytes_are_decoded_once_for_queries(which: int) -> None:
    first = decode_summaries([bytes(bytearray(summaries()[which]))])
    again = decode_summaries([bytes(bytearray(summaries()[which]))])
    assert again.numbers is first.numbers
    alone = decode_summary(summaries()[which])
    assert alone.numbers is not first.numbers
    assert np.array_equal(alone.numbers, first.numbers)
    assert alone.texts.first.tolist() == first.texts.first.tolist()


def test_shared_numbers_cannot_be_written() -> None:
    numbers = decode_summaries([summaries()[1]]).numbers
    with pytest.raises(ValueError, match="read-only"):
        numbers[Cell.COUNT] = 0


def test_damaged_bytes_are_told_every_time() -> None:
    damaged = bytearray(summaries()[0])
    damaged[-1] ^= 1
    for _ in range(2):
        with pytest.raises(BlockCorrupt):
            decode_summaries([bytes(damaged)])
