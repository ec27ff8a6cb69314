"""How arrays become bytes: numbers by pcodec, bits by eight, runs by length, and zstd where it helps."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from operator import itemgetter
from typing import Any

import numpy as np
import zstandard
from numpy.typing import NDArray
from pcodec import ChunkConfig, DeltaSpec, standalone

from streamgauge_server.timeseries.envelope import BlockCorrupt
from streamgauge_server.timeseries.frame import Bools, Ints, Values

# Level 0 costs half of it and takes half as much again; level 8 costs twice as much and saves a fortieth.
_LEVEL = 5
_ANY = ChunkConfig(compression_level=_LEVEL)
# What a counter grows by changes slowly over a day: the second differences are smaller than the first.
_COUNTER = ChunkConfig(compression_level=_LEVEL, delta_spec=DeltaSpec.try_consecutive(2))
_MAX_FALLS = 1 / 32
_PLAIN, _ZSTD = b"\x00", b"\x01"
_SQUEEZE_FROM = 48  # bytes; below, a zstd frame's own overhead eats the gain
_MAX_SQUEEZED = 1 << 28


Picker = Callable[[tuple[Any, ...]], tuple[Any, ...]]


def picker(places: Sequence[int]) -> Picker:
    """Returns what takes the items at some places out of a tuple, in the order of the places."""
    if len(places) > 1:
        return itemgetter(*places)
    # Of a single place `itemgetter` would return the bare item.
    return itemgetter(slice(places[0], places[0] + 1) if places else slice(0))


class _Compressors(threading.local):
    """zstd contexts; each thread needs its own."""

    def __init__(self) -> None:
        self.compress = zstandard.ZstdCompressor(level=3, write_checksum=False).compress
        self.decompress = zstandard.ZstdDecompressor().decompress


_compressors = _Compressors()


def pack_numbers(values: Values) -> bytes:
    """Returns an int64 or float64 array compressed without loss, down to the bits of -0.0."""
    numbers = np.ascontiguousarray(values)
    falls = np.count_nonzero(numbers[1:] < numbers[:-1])
    packed: bytes = standalone.simple_compress(numbers, _COUNTER if falls <= len(numbers) * _MAX_FALLS else _ANY)
    return packed


def unpack_numbers(packed: bytes) -> Values:
    """Returns the array of `pack_numbers`. Raises BlockCorrupt."""
    try:
        values: Values | None = standalone.simple_decompress(packed)
    except RuntimeError as error:
        raise BlockCorrupt(f"a pcodec stream of {len(packed)} bytes cannot be read: {error}") from error
    if values is None:
        raise BlockCorrupt("a pcodec stream holds no values")
    return values


def squeeze(plain: bytes) -> bytes:
    """Returns bytes compressed by zstd, or as they are when that is no longer; a first byte tells which."""
    if len(plain) >= _SQUEEZE_FROM:
        packed = _compressors.compress(plain)
        if len(packed) < len(plain):
            return _ZSTD + packed
    return _PLAIN + plain


def unsqueeze(squeezed: bytes) -> bytes:
    """Returns the bytes given to `squeeze`. Raises BlockCorrupt."""
    kind, packed = squeezed[:1], squeezed[1:]
    if kind == _PLAIN:
        return packed
    if kind != _ZSTD:
        raise BlockCorrupt("squeezed bytes of unknown kind")
    try:
        return _compressors.decompress(packed, max_output_size=_MAX_SQUEEZED)
    except zstandard.ZstdError as error:
        raise BlockCorrupt(f"a zstd frame cannot be read: {error}") from error


def pack_bits(bitmaps: Sequence[Bools]) -> bytes:
    """Returns equally long bitmaps, eight bits a byte, each beginning at a byte."""
    return b"".join(np.packbits(bitmap, bitorder="little").tobytes() for bitmap in bitmaps)


def unpack_bits(packed: bytes, rows: int) -> NDArray[np.bool_]:
    """Returns the bitmaps of `pack_bits` as an array of one line per bitmap and `rows` columns."""
    width = (rows + 7) // 8
    lines = np.frombuffer(packed, np.uint8).reshape(-1, width)
    return np.unpackbits(lines, axis=1, count=rows, bitorder="little").view(np.bool_)


def run_lengths(values: Ints) -> tuple[list[int], list[int]]:
    """Returns values and lengths of the runs of equal values; no lengths when there is one run."""
    changes = np.flatnonzero(values[1:] != values[:-1])
    if not len(changes):
        return [int(values[0])], []
    heads = np.concatenate(([0], changes + 1))
    return values[heads].tolist(), np.diff(heads, append=len(values)).tolist()


def expand_runs(values: Sequence[int], lengths: Sequence[int], rows: int) -> Ints:
    """Returns the array of `run_lengths`. Raises BlockCorrupt when the lengths do not add up to `rows`."""
    if not lengths:
        return np.full(rows, values[0], np.int64)
    if len(lengths) != len(values) or sum(lengths) != rows:
        raise BlockCorrupt("runs of start times do not cover the rows")
    return np.repeat(np.array(values, np.int64), lengths)


def text_array(texts: Iterable[str]) -> Values:
    """Returns texts as an array of Python strings."""
    listed = list(texts)
    array = np.empty(len(listed), np.object_)
    array[:] = listed
    return array


def code_type(words: int) -> str:
    """Returns the numpy type of indexes into that many words."""
    return "<u1" if words <= 1 << 8 else "<u2" if words <= 1 << 16 else "<u4"
