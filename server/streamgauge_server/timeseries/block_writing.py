"""How a frame, or a single observation, becomes the message `streamgauge.internal.v1.Block`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from struct import Struct
from typing import NamedTuple

import numpy as np

from streamgauge_server.internal import block_pb2
from streamgauge_server.model.values import Scalar, ValueType
from streamgauge_server.timeseries.frame import Bools, Column, Frame, Ints
from streamgauge_server.timeseries.mixed import typed_columns
from streamgauge_server.timeseries.packing import (
    Picker,
    code_type,
    pack_bits,
    pack_numbers,
    picker,
    run_lengths,
    squeeze,
)
from streamgauge_server.timeseries.schema import SMALL_ROWS, TYPE_ORDER, Schema, write_schema

_KEPT_METRICS = 512


def row_content(time: int, start: int, values: Mapping[int, Scalar]) -> bytes:
    """Returns the content of a block of one observation. The hot path of a write: no numpy, and the layout is kept."""
    ids, held = tuple(values), tuple(values.values())
    types = tuple(map(type, held))
    layout = _kept_layout(ids, types) if len(ids) <= _KEPT_METRICS else _layout(ids, types)
    content = layout.head + layout.cells.pack(time, start, *layout.numbers(held))
    if layout.flags:
        content += layout.flags + bytes(layout.bools(held))
    if layout.has_texts:
        content += block_pb2.Block(texts=layout.texts(held)).SerializeToString()
    return content


class _RowLayout(NamedTuple):
    """How observations are written that have the same metrics, of the same types, in the same order.

    What is written begins with `head` and the cells; `flags` is what goes before the booleans, empty if there are none.
    """

    head: bytes
    cells: Struct
    numbers: Picker
    flags: bytes
    bools: Picker
    has_texts: bool
    texts: Picker


def _layout(ids: Sequence[int], types: Sequence[type]) -> _RowLayout:
    groups: dict[ValueType, list[int]] = {value_type: [] for value_type in TYPE_ORDER}
    for _, place in sorted(zip(ids, range(len(ids)), strict=True)):
        groups[_value_type(types[place])].append(place)
    doubles, integers, bools, texts = (groups[value_type] for value_type in TYPE_ORDER)
    counts = (len(doubles), len(integers), len(bools), len(texts))
    schema = write_schema(Schema(1, counts, tuple([ids[place] for place in doubles + integers + bools + texts])))
    cells = Struct(f"<2q{len(doubles)}d{len(integers)}q")
    # The size of cells and flags is known, so that what is before them is always the same.
    head = block_pb2.Block(schema=[schema], cells=[bytes(cells.size)]).SerializeToString()
    flags = block_pb2.Block(flags=[bytes(len(bools))]).SerializeToString() if bools else b""
    return _RowLayout(
        head[: -cells.size],
        cells,
        picker(doubles + integers),
        flags[: -len(bools)] if bools else b"",
        picker(bools),
        bool(texts),
        picker(texts),
    )


_kept_layout = lru_cache(maxsize=4_096)(_layout)


def _value_type(kind: type) -> ValueType:
    if issubclass(kind, bool):
        return ValueType.BOOL
    if issubclass(kind, int):
        return ValueType.INT64
    if issubclass(kind, float):
        return ValueType.DOUBLE
    if issubclass(kind, str):
        return ValueType.STRING
    raise TypeError(f"{kind.__name__} is not a type of values")


def frame_content(frame: Frame) -> bytes:
    """Returns the content of a block of a frame."""
    rows = len(frame.times)
    held = typed_columns(frame)
    columns = [(metric, column) for value_type in TYPE_ORDER for metric, column in held if column.type == value_type]
    bitmaps = [(i, c.present) for i, (_, c) in enumerate(columns) if c.present is not None and not c.present.all()]
    counts = [sum(column.type == value_type for _, column in columns) for value_type in TYPE_ORDER]
    message = block_pb2.Block(column_starts=_column_starts([column for _, column in columns]))
    schema = Schema(
        rows,
        (counts[0], counts[1], counts[2], counts[3]),
        tuple(metric for metric, _ in columns),
        tuple(position for position, _ in bitmaps),
        bool(message.column_starts),
    )
    message.schema.append(write_schema(schema))
    if rows < SMALL_ROWS:
        _add_arrays(message, frame, [column for _, column in columns])
        lines = [bitmap for _, bitmap in bitmaps]
    else:
        _add_columns(message, frame, [column for _, column in columns])
        lines = [bitmap for _, bitmap in bitmaps] + [_known(c) for _, c in columns if c.type == ValueType.BOOL]
    if lines:
        message.bits = squeeze(pack_bits(lines))
    return message.SerializeToString()


def _add_arrays(message: block_pb2.Block, frame: Frame, columns: Sequence[Column]) -> None:
    """Adds the plain arrays of a small block."""
    cells = [frame.times.astype("<i8", copy=False), frame.starts.astype("<i8", copy=False)]
    flags: list[bytes] = []
    for column in columns:
        values = column.values if column.present is None else column.values[column.present]
        if column.type == ValueType.STRING:
            message.texts.extend(values.tolist())
        elif column.type == ValueType.BOOL:
            flags.append(values.tobytes())
        else:
            cells.append(values.astype(values.dtype.newbyteorder("<"), copy=False))
    message.cells.append(b"".join([array.tobytes() for array in cells]))
    if flags:
        message.flags.append(b"".join(flags))


def _add_columns(message: block_pb2.Block, frame: Frame, columns: Sequence[Column]) -> None:
    """Adds the compressed columns of a block that is not small."""
    message.packed_times = pack_numbers(frame.times)
    starts, start_rows = run_lengths(frame.starts)
    message.starts.extend(starts)
    message.start_rows.extend(start_rows)
    for column in columns:
        values = column.values if column.present is None else column.values[column.present]
        if column.type == ValueType.STRING:
            message.packed_texts.append(_pack_texts(values.tolist()))
        elif column.type != ValueType.BOOL:
            message.packed_numbers.append(pack_numbers(values))


def _known(column: Column) -> Bools:
    return column.values if column.present is None else column.values & column.present


def _column_starts(columns: Sequence[Column]) -> list[block_pb2.ColumnStarts]:
    """Returns the start times that differ from the rows', columns with equal ones together."""
    shared: dict[bytes, block_pb2.ColumnStarts] = {}
    for position, column in enumerate(columns):
        if column.starts is not None:
            key = column.starts.tobytes()
            if key not in shared:
                shared[key] = _runs(column.starts)
            shared[key].columns.append(position)
    return list(shared.values())


def _runs(starts: Ints) -> block_pb2.ColumnStarts:
    values, lengths = run_lengths(starts)
    return block_pb2.ColumnStarts(starts=values, start_rows=lengths)


def _pack_texts(texts: Sequence[str]) -> bytes:
    words: dict[str, int] = {}
    codes = [words.setdefault(text, len(words)) for text in texts]
    message = block_pb2.Texts(words=words)
    if len(words) < len(texts):
        message.codes = np.array(codes, code_type(len(words))).tobytes()
    return squeeze(message.SerializeToString())
