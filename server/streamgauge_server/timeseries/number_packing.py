"""How a large table of number aggregates becomes few bytes.

What other cells foretell is taken off a cell first: a bucket begins about where the one before it ended, its lowest
value is often its first one, its sum is near its count times the middle of its ends. What is left is small, and in
planes of bytes most are zero, which zstd takes away. Doubles foretell little of each other: pcodec finds the decimals
that they were.

All arithmetic is modulo 2**64 on both ways: it may overflow and still comes back to the same bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from streamgauge_server.model.values import ValueType
from streamgauge_server.timeseries.envelope import BlockCorrupt
from streamgauge_server.timeseries.frame import Ints
from streamgauge_server.timeseries.number_table import LINES, Cell, NumberTable
from streamgauge_server.timeseries.packing import pack_numbers, squeeze, unpack_numbers, unsqueeze

MIN_ENTRIES: Final = 48
"""Tables of fewer entries, such as those of a day, are smaller as they are, or as small and faster to read."""

_PLAIN: Final = (Cell.METRIC, Cell.TYPE, Cell.COUNT, Cell.RESETS)
_FOLLOWING: Final = ((Cell.FIRST_TIME, Cell.LAST_TIME), (Cell.FIRST_START, Cell.LAST_START))
"""Lines whose cells begin about where the cells before ended, each with the line of the ends."""
_EXTREMES: Final = (Cell.FIRST, Cell.LAST, Cell.MIN, Cell.MAX)
_TOTALS: Final = (Cell.SUM, Cell.INCREASE)
_DOUBLES: Final = (_EXTREMES, _TOTALS)
_WIDE: Final = 1 << 31
_HALF_BITS: Final = 32
_LOW: Final = (1 << _HALF_BITS) - 1
_CELL_BYTES: Final = 8


def packable(table: NumberTable) -> bool:
    """Tells whether a table can be packed and gains by it.

    It must be large enough, its doubles must stand before all others, and all totals of integers fit into 64 bits.
    """
    if table.shape[1] < MIN_ENTRIES:
        return False
    is_double = table[Cell.TYPE] == ValueType.DOUBLE.value
    doubles = int(np.count_nonzero(is_double))
    high = table[list(_TOTALS), doubles:]
    return bool(is_double[:doubles].all() and ((high >= -_WIDE) & (high < _WIDE)).all())


def pack_table(table: NumberTable) -> tuple[bytes, list[bytes]]:
    """Returns the cells of a `packable` table, and those of doubles: two pieces, or none where there are no doubles."""
    doubles = int(np.count_nonzero(table[Cell.TYPE] == ValueType.DOUBLE.value))
    rest = table.copy()
    for line in (*_EXTREMES, *_TOTALS):
        rest[line, :doubles] = 0
    _take_off(rest[:, doubles:])
    for line in _PLAIN:
        rest[line, 1:] -= table[line, :-1]
    for begin, end in _FOLLOWING:
        rest[end] -= table[begin]
        rest[begin, 1:] -= table[end, :-1]
    cells = squeeze(_planes(rest))
    if not doubles:
        return cells, []
    return cells, [pack_numbers(table[list(lines), :doubles].reshape(-1).view(np.float64)) for lines in _DOUBLES]


def unpack_table(entries: int, cells: bytes, doubles: Sequence[bytes]) -> NumberTable:
    """Returns the table of `pack_table`. Raises BlockCorrupt."""
    table = _cells(unsqueeze(cells), entries)
    for line in _PLAIN:
        np.cumsum(table[line], out=table[line])
    for begin, end in _FOLLOWING:
        _put_on_ends(table, begin, end)
    count = int(np.count_nonzero(table[Cell.TYPE] == ValueType.DOUBLE.value))
    _put_on(table[:, count:])
    if bool(count) != bool(doubles):
        raise BlockCorrupt("a summary tells of doubles and does not have them, or the other way round")
    for lines, packed in zip(_DOUBLES, doubles, strict=bool(doubles)):
        table[list(lines), :count] = unpack_numbers(packed).view(np.int64).reshape(len(lines), count)
    return table


def _take_off(table: NumberTable) -> None:
    """Leaves of the values of integers what their neighbours do not foretell; in place."""
    first, last = table[Cell.FIRST].copy(), table[Cell.LAST].copy()
    sums, increases = ((table[line] << _HALF_BITS) + table[line + 1] for line in _TOTALS)
    table[Cell.SUM] = sums - _foretold_sum(table[Cell.COUNT], first, last)
    table[Cell.INCREASE] = increases - (last - first)
    table[Cell.SUM_LOW] = table[Cell.INCREASE_LOW] = 0
    table[Cell.MIN] = first - table[Cell.MIN]
    table[Cell.MAX] -= last
    table[Cell.LAST] -= first
    table[Cell.FIRST, 1:] -= last[:-1]


def _put_on(table: NumberTable) -> None:
    """Undoes `_take_off`, in place."""
    _put_on_ends(table, Cell.FIRST, Cell.LAST)
    first, last = table[Cell.FIRST], table[Cell.LAST]
    table[Cell.MIN] = first - table[Cell.MIN]
    table[Cell.MAX] += last
    table[Cell.SUM] += _foretold_sum(table[Cell.COUNT], first, last)
    table[Cell.INCREASE] += last - first
    for line in _TOTALS:
        table[line + 1] = table[line] & _LOW
        table[line] >>= _HALF_BITS


def _put_on_ends(table: NumberTable, begin: int, end: int) -> None:
    """Makes beginnings and ends of what is left of them: begin - end before it, end - begin."""
    steps = table[begin]
    steps[1:] += table[end, :-1]
    np.cumsum(steps, out=steps)
    table[end] += steps


def _foretold_sum(count: Ints, first: Ints, last: Ints) -> Ints:
    return np.asarray(count * (first + last) >> 1, np.int64)


def _planes(table: NumberTable) -> bytes:
    """Returns the cells, small ones of either sign as small numbers, line after line in planes of bytes."""
    folded = (table << 1) ^ (table >> 63)
    return folded.astype("<i8", copy=False).view(np.uint8).reshape(LINES, -1, _CELL_BYTES).transpose(0, 2, 1).tobytes()


def _cells(planes: bytes, entries: int) -> NumberTable:
    if len(planes) != LINES * entries * _CELL_BYTES:
        raise BlockCorrupt(f"a summary of {entries} entries has {len(planes)} bytes of cells")
    by_plane = np.frombuffer(planes, np.uint8).reshape(LINES, _CELL_BYTES, entries).transpose(0, 2, 1)
    folded = np.ascontiguousarray(by_plane).view("<u8").reshape(LINES, entries)
    halves = (folded >> np.uint64(1)).astype(np.int64)
    return np.asarray(halves ^ -(folded & np.uint64(1)).astype(np.int64))
