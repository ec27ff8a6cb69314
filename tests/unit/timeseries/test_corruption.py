"""Damaged bytes are recognised wherever the damage is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from streamgauge_server.internal import block_pb2
from streamgauge_server.model.clock import MICROS_PER_DAY
from streamgauge_server.model.values import Scalar, ValueType, type_of
from streamgauge_server.timeseries.block import BlockCorrupt, decode, decode_many, encode, encode_row, metrics_of
from streamgauge_server.timeseries.envelope import seal, unseal
from streamgauge_server.timeseries.frame import Column, Frame
from streamgauge_server.timeseries.latest import advance_row, decode_latest, encode_latest
from streamgauge_server.timeseries.packing import squeeze
from streamgauge_server.timeseries.schema import read_schema, write_schema
from streamgauge_server.timeseries.summary import decode_summaries, decode_summary

from tests.unit.timeseries.strategies import DAY

FIRST = DAY * MICROS_PER_DAY


def frame(rows: int) -> Frame:
    times = FIRST + np.arange(rows) * 1_000_000_000
    gaps = np.arange(rows) % 3 != 1
    texts = np.empty(rows, np.object_)
    texts[:] = [f"word {row % 5}" for row in range(rows)]
    return Frame(
        times,
        np.arange(rows) // 10,
        {
            1: Column(ValueType.DOUBLE, np.arange(rows) / 7),
            2: Column(ValueType.INT64, np.arange(rows) ** 2, gaps),
            3: Column(ValueType.BOOL, gaps),
            4: Column(ValueType.STRING, texts),
        },
    )


def mixed_frame(rows: int) -> Frame:
    """A metric of every type in turns, with gaps."""
    values = np.empty(rows, np.object_)
    values[:] = [(0.5, 7, True, "x", "")[row % 5] for row in range(rows)]
    column = Column(ValueType.ANY, values, np.arange(rows) % 7 != 3)
    return Frame(FIRST + np.arange(rows) * 1_000_000_000, np.full(rows, 5), {1: column})


def sparse_frame(rows: int, values: Sequence[Scalar]) -> Frame:
    """Columns of one value each, metrics from 1 on, that all lack it in the second row."""
    gaps = np.arange(rows) != 1
    columns = {
        metric: Column(type_of(value), np.full(rows, value), gaps) for metric, value in enumerate(values, start=1)
    }
    return Frame(FIRST + np.arange(rows) * 1_000_000_000, np.full(rows, 5), columns)


ROW = encode_row(FIRST, 5, {1: 0.5, 2: 7, 3: True, 4: "x"})
SMALL = encode(frame(9))
LARGE = encode(frame(60))
MIXED = encode(mixed_frame(60))
SMALL_MIXED = encode(mixed_frame(9))
OVERLAPPING, LARGE_OVERLAPPING = (encode(sparse_frame(rows, (0.5, 7, True))) for rows in (9, 60))
TWINS = encode(sparse_frame(9, (7, 8)))
LATEST = encode_latest(advance_row({}, FIRST, 5, {1: 0.5, 2: 7, 3: True, 4: "x"}))
assert LARGE.hour_summary is not None
assert LARGE.day_summary is not None

STORED: list[tuple[str, bytes, Callable[[bytes], object]]] = [
    ("row", ROW.data, decode),
    ("small block", SMALL.data, decode),
    ("large block", LARGE.data, decode),
    ("small mixed block", SMALL_MIXED.data, decode),
    ("large mixed block", MIXED.data, decode),
    ("several blocks", ROW.data, lambda data: decode_many([ROW.data, data, ROW.data])),
    ("metrics of a block", LARGE.data, metrics_of),
    ("summary of hours", LARGE.hour_summary, decode_summary),
    ("summary of the day", LARGE.day_summary, lambda data: decode_summaries([data, data])),
    ("latest", LATEST, decode_latest),
]
WAYS = pytest.mark.parametrize(("data", "read"), [case[1:] for case in STORED], ids=[case[0] for case in STORED])


@WAYS
def test_every_flipped_bit_is_recognised(data: bytes, read: Callable[[bytes], object]) -> None:
    read(data)
    for position in range(len(data)):
        for bit in range(8) if position < 200 else (position % 8,):
            damaged = bytearray(data)
            damaged[position] ^= 1 << bit
            with pytest.raises(BlockCorrupt):
                read(bytes(damaged))


@WAYS
def test_every_truncation_is_recognised(data: bytes, read: Callable[[bytes], object]) -> None:
    for length in range(len(data)):
        with pytest.raises(BlockCorrupt):
            read(data[:length])


@WAYS
def test_bytes_of_another_format_are_refused(data: bytes, read: Callable[[bytes], object]) -> None:
    with pytest.raises(BlockCorrupt, match="format 1"):
        read(data[:1] + b"\x02" + data[2:])


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60), st.sampled_from([read for _, _, read in STORED]))
def test_noise_under_a_valid_seal_is_corrupt_or_an_empty_message(noise: bytes, read: Callable[[bytes], object]) -> None:
    try:
        read(seal(noise))
    except BlockCorrupt:
        return


def reschemed(data: bytes, **changes: object) -> bytes:
    """Returns a block with another schema."""
    message = block_pb2.Block.FromString(unseal(data))
    schema = read_schema(message.schema[0])
    message.schema[0] = write_schema(replace(schema, **changes))  # type: ignore[arg-type]
    return seal(message.SerializeToString())


def resealed(data: bytes, change: Callable[[block_pb2.Block], object]) -> bytes:
    """Returns a block with other content under a seal that fits."""
    message = block_pb2.Block.FromString(unseal(data))
    change(message)
    return seal(message.SerializeToString())


CONTRADICTIONS: list[tuple[str, bytes]] = [
    ("no schema", resealed(ROW.data, lambda m: m.ClearField("schema"))),
    ("schema of another size", resealed(ROW.data, lambda m: m.schema.__setitem__(0, b"\x08\x02"))),
    ("schema that is no message", resealed(ROW.data, lambda m: m.schema.__setitem__(0, b"\xff"))),
    ("cells missing", resealed(SMALL.data, lambda m: m.cells.__setitem__(0, m.cells[0][:-8]))),
    ("half a cell", resealed(SMALL.data, lambda m: m.cells.__setitem__(0, m.cells[0][:-4]))),
    ("no cells", resealed(SMALL.data, lambda m: m.ClearField("cells"))),
    ("flags missing", resealed(SMALL.data, lambda m: m.ClearField("flags"))),
    ("a text too many", resealed(SMALL.data, lambda m: m.texts.append("x"))),
    ("bits missing", resealed(SMALL.data, lambda m: m.ClearField("bits"))),
    ("bits of unknown kind", resealed(LARGE.data, lambda m: setattr(m, "bits", b"\x07abc"))),
    ("bits that are no zstd", resealed(LARGE.data, lambda m: setattr(m, "bits", b"\x01abc"))),
    ("bits of another size", resealed(LARGE.data, lambda m: setattr(m, "bits", squeeze(b"abc")))),
    ("times of another size", resealed(LARGE.data, lambda m: setattr(m, "packed_times", m.packed_numbers[0][:9]))),
    ("a column missing", resealed(LARGE.data, lambda m: m.packed_numbers.pop())),
    ("columns changed over", resealed(LARGE.data, lambda m: m.packed_numbers.append(m.packed_numbers.pop(0)))),
    ("no texts", resealed(LARGE.data, lambda m: m.packed_texts.pop())),
    ("texts of another column", resealed(LARGE.data, lambda m: m.packed_texts.__setitem__(0, squeeze(b"\x0a\x01x")))),
    ("unknown words", resealed(LARGE.data, lambda m: m.packed_texts.__setitem__(0, squeeze(b"\x12\x01\x05")))),
    ("start times of fewer rows", resealed(LARGE.data, lambda m: m.start_rows.__setitem__(0, 1))),
    ("two columns of one metric that are not sparse", reschemed(ROW.data, metrics=(1, 1, 3, 4))),
    ("columns of one metric that share a row", reschemed(OVERLAPPING.data, metrics=(1, 1, 3))),
    ("columns of one metric in a large block that share a row", reschemed(LARGE_OVERLAPPING.data, metrics=(1, 1, 3))),
    ("two columns of one metric and type", reschemed(TWINS.data, metrics=(1, 1))),
    ("no start times", resealed(LARGE.data, lambda m: m.ClearField("starts"))),
]


@pytest.mark.parametrize("data", [data for _, data in CONTRADICTIONS], ids=[name for name, _ in CONTRADICTIONS])
def test_content_that_contradicts_itself_is_corrupt_under_any_seal(data: bytes) -> None:
    with pytest.raises(BlockCorrupt):
        decode(data)
    with pytest.raises(BlockCorrupt):
        decode_many([data, data])


@pytest.mark.parametrize("order", [[0, 1, 2], [0, 1, 2, 2], [0, 1, 2, 4], [0, 1, 2, 3, 4]])
def test_an_order_of_latest_values_that_is_no_permutation_is_corrupt(order: Sequence[int]) -> None:
    message = block_pb2.Latest.FromString(unseal(LATEST))
    schema = block_pb2.LatestSchema.FromString(message.schema)
    schema.ClearField("order")
    schema.order.extend(order)
    message.schema = schema.SerializeToString()
    with pytest.raises(BlockCorrupt):
        decode_latest(seal(message.SerializeToString()))
