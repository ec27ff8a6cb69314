"""How a large table of number aggregates becomes few bytes.

What other cells foretell is taken off a cell first: a bucket begins about where the one before it ended, its lowest
value is often its first one, its sum is near its count times the middle of its ends. What is left is small, and in
planes of bytes most are zero, which zstd takes away. Doubles foretell little of each other: pcodec finds the decimals
that they were. Planes leave out the lines at either end that are all zero in them: most lines are narrow.

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

_PLAIN: Final = slice(Cell.METRIC, Cell.RESETS + 1)
_BEGINS: Final = slice(Cell.FIRST_TIME, Cell.LAST_START + 1, 2)
"""The lines of first moments and first start times, which begin about where the cells before ended."""
_ENDS: Final = slice(Cell.LAST_TIME, Cell.LAST_START + 1, 2)
_EXTREMES: Final = slice(Cell.FIRST, Cell.MAX + 1)
_TOTALS: Final = slice(Cell.SUM, Cell.INCREASE_LOW + 1, 2)
_LOW_TOTALS: Final = slice(Cell.SUM_LOW, Cell.INCREASE_LOW + 1, 2)
_DOUBLES: Final = (_EXTREMES, _TOTALS)
_WIDE: Final = 1 << 31
_HALF_BITS: Final = 32
_LOW: Final = (1 << _HALF_BITS) - 1
_CELL_BYTES: Final = 8
_ONE: Final = np.uint64(1)


def packable(table: NumberTable) -> bool:
    """Tells whether a table can be packed and gains by it.

    It must be large enough, its doubles must stand before all others, and all totals of integers fit into 64 bits.
    """
    if table.shape[1] < MIN_ENTRIES:
        return False
    is_double = table[Cell.TYPE] == ValueType.DOUBLE.value
    doubles = int(np.count_nonzero(is_double))
    high = table[_TOTALS, doubles:]
    return bool(is_double[:doubles].all() and ((high >= -_WIDE) & (high < _WIDE)).all())


def pack_table(table: NumberTable) -> tuple[bytes, list[bytes]]:
    """Returns the cells of a `packable` table, and those of doubles: two pieces, or none where there are no doubles."""
    doubles = int(np.count_nonzero(table[Cell.TYPE] == ValueType.DOUBLE.value))
    rest = table.copy()
    for lines in _DOUBLES:
        rest[lines, :doubles] = 0
    _take_off(rest[:, doubles:])
    rest[_PLAIN, 1:] -= table[_PLAIN, :-1]
    rest[_ENDS] -= table[_BEGINS]
    rest[_BEGINS, 1:] -= table[_ENDS, :-1]
    cells = squeeze(_planes(rest))
    if not doubles:
        return cells, []
    return cells, [pack_numbers(table[lines, :doubles].reshape(-1).view(np.float64)) for lines in _DOUBLES]


def unpack_table(entries: int, cells: bytes, doubles: Sequence[bytes]) -> NumberTable:
    """Returns the table of `pack_table`. Raises BlockCorrupt."""
    table = _cells(unsqueeze(cells), entries)
    np.cumsum(table[_PLAIN], axis=1, out=table[_PLAIN])
    _put_on_ends(table[_BEGINS], table[_ENDS])
    count = int(np.count_nonzero(table[Cell.TYPE] == ValueType.DOUBLE.value))
    _put_on(table[:, count:])
    if bool(count) != bool(doubles):
        raise BlockCorrupt("a summary tells of doubles and does not have them, or the other way round")
    for lines, packed in zip(_DOUBLES, doubles, strict=bool(doubles)):
        table[lines, :count] = unpack_numbers(packed).view(np.int64).reshape(-1, count)
    return table


def _take_off(table: NumberTable) -> None:
    """Leaves of the values of integers what their neighbours do not foretell; in place."""
    first, last = table[Cell.FIRST].copy(), table[Cell.LAST].copy()
    sums, increases = (table[_TOTALS] << _HALF_BITS) + table[_LOW_TOTALS]
    table[Cell.SUM] = sums - _foretold_sum(table[Cell.COUNT], first, last)
    table[Cell.INCREASE] = increases - (last - first)
    table[_LOW_TOTALS] = 0
    table[Cell.MIN] = first - table[Cell.MIN]
    table[Cell.MAX] -= last
    table[Cell.LAST] -= first
    table[Cell.FIRST, 1:] -= last[:-1]


def _put_on(table: NumberTable) -> None:
    """Undoes `_take_off`, in place."""
    _put_on_ends(table[Cell.FIRST], table[Cell.LAST])
    first, last = table[Cell.FIRST], table[Cell.LAST]
    table[Cell.MIN] = first - table[Cell.MIN]
    table[Cell.MAX] += last
    table[Cell.SUM] += _foretold_sum(table[Cell.COUNT], first, last)
    table[Cell.INCREASE] += last - first
    np.bitwise_and(table[_TOTALS], _LOW, out=table[_LOW_TOTALS])
    table[_TOTALS] >>= _HALF_BITS


def _put_on_ends(begins: Ints, ends: Ints) -> None:
    """Makes beginnings and ends of what is left of them: begin - end before it, end - begin; in place."""
    begins[..., 1:] += ends[..., :-1]
    np.cumsum(begins, axis=-1, out=begins)
    ends += begins


def _foretold_sum(count: Ints, first: Ints, last: Ints) -> Ints:
    return np.asarray(count * (first + last) >> 1, np.int64)


def _planes(table: NumberTable) -> bytes:
    """Returns the cells, small ones of either sign as small numbers, as planes of bytes from the lowest to the highest.

    In front stand for each plane its first line and the one after its last line that are not all zero.
    """
    folded = ((table << 1) ^ (table >> 63)).astype("<u8")
    by_plane = folded.view(np.uint8).reshape(*table.shape, _CELL_BYTES)
    spans: list[int] = []
    planes: list[bytes] = []
    for place in range(_CELL_BYTES):
        plane = by_plane[:, :, place]
        lines = np.flatnonzero(plane.any(axis=1))
        first, after = (int(lines[0]), int(lines[-1]) + 1) if len(lines) else (0, 0)
        spans += (first, after)
        planes.append(plane[first:after].tobytes())
    return bytes(spans) + b"".join(planes)


def _cells(planes: bytes, entries: int) -> NumberTable:
    spans = [(planes[at], planes[at + 1]) for at in range(0, 2 * _CELL_BYTES, 2)]
    sizes = [(after - first) * entries for first, after in spans]
    if any(not 0 <= first <= after <= LINES for first, after in spans) or len(planes) != len(spans) * 2 + sum(sizes):
        raise BlockCorrupt(f"a summary of {entries} entries has {len(planes)} bytes of cells")
    folded = np.zeros((LINES, entries), "<u8")
    by_plane = folded.view(np.uint8).reshape(LINES, entries, _CELL_BYTES)
    at = 2 * len(spans)
    for place, ((first, after), size) in enumerate(zip(spans, sizes, strict=True)):
        if size:
            plane = np.frombuffer(planes, np.uint8, size, at)
            by_plane[first:after, :, place] = plane.reshape(after - first, entries)
            at += size
    odd = np.negative(folded & _ONE)
    folded >>= _ONE
    folded ^= odd
    return folded.astype(np.uint64, copy=False).view(np.int64)
