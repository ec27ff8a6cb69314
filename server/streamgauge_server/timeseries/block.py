"""The block: one frame of one subject within one UTC day, encoded. What the table `blocks` stores.

The layout is protobuf `streamgauge.internal.v1.Block` under a seal with version and checksum. From `SMALL_ROWS` rows on
each numeric column is one pcodec stream; below, everything is in packed arrays, which are cheaper to write and read
than any compression. A single observation, the usual write, is encoded without numpy, and any number of such blocks is
decoded as one message: protobuf defines that concatenated messages merge and their arrays are joined.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from google.protobuf.message import DecodeError

from streamgauge_server.internal import block_pb2
from streamgauge_server.model.clock import MICROS_PER_DAY, MICROS_PER_HOUR
from streamgauge_server.model.values import Scalar, ValueType
from streamgauge_server.timeseries.envelope import BlockCorrupt as BlockCorrupt
from streamgauge_server.timeseries.envelope import seal, unseal
from streamgauge_server.timeseries.frame import (
    DTYPES,
    FILLERS,
    Bools,
    Column,
    Frame,
    Ints,
    Values,
    build_frame,
    merge,
)
from streamgauge_server.timeseries.packing import (
    expand_runs,
    pack_bits,
    pack_numbers,
    run_lengths,
    squeeze,
    text_array,
    unpack_bits,
    unpack_numbers,
    unsqueeze,
)
from streamgauge_server.timeseries.summary import encode_summary, summarise, whole

SMALL_ROWS = 32
"""Blocks with fewer rows are small: packed arrays instead of compression."""

SUMMARY_MIN_ROWS = SMALL_ROWS
"""Blocks with fewer rows carry no summary: their samples are read instead."""

TYPE_ORDER = (ValueType.DOUBLE, ValueType.INT64, ValueType.BOOL, ValueType.STRING)
"""The order of the columns in a block; `Block.shape` counts them in this order."""

_ONE_ROW = b"\x1a\x05\x01"  # `shape` (field 3, five bytes) that begins with one row


@dataclass(frozen=True, slots=True)
class Block:
    """One frame of one subject within one UTC day, encoded.

    `day` counts from 1970-01-01; times are microseconds; bit `h` of `hours` tells that the hour `h` of the day holds
    samples. The summaries are None for blocks of fewer than SUMMARY_MIN_ROWS rows.
    """

    day: int
    rows: int
    first_time: int
    last_time: int
    hours: int
    data: bytes
    hour_summary: bytes | None
    day_summary: bytes | None


def encode(frame: Frame) -> Block:
    """Returns a frame as a block. Raises ValueError when it is empty or reaches over a day's end."""
    rows = len(frame.times)
    if not rows or not frame.columns:
        raise ValueError("a block needs at least one sample")
    first, last = int(frame.times[0]), int(frame.times[-1])
    day = first // MICROS_PER_DAY
    if last // MICROS_PER_DAY != day:
        raise ValueError("a block holds samples of one UTC day only")
    hour_of_row = frame.times // MICROS_PER_HOUR
    hours = 0
    for hour in np.unique(hour_of_row).tolist():
        hours |= 1 << (hour - day * 24)
    by_hour = by_day = None
    if rows >= SUMMARY_MIN_ROWS:
        summary = summarise(frame, hour_of_row)
        by_hour = by_day = encode_summary(summary)
        if hours & (hours - 1):
            by_day = encode_summary(whole(summary))
    return Block(day, rows, first, last, hours, seal(_message(frame).SerializeToString()), by_hour, by_day)


def encode_row(time: int, start: int, values: Mapping[int, Scalar]) -> Block:
    """Returns the block of a single observation; `values` by metric id, at least one.

    The hot path of a write: the same format as `encode`, without numpy.
    """
    if not values:
        raise ValueError("a block needs at least one sample")
    double_ids: list[int] = []
    int_ids: list[int] = []
    bool_ids: list[int] = []
    text_ids: list[int] = []
    doubles: list[float] = []
    ints: list[int] = []
    bools: list[bool] = []
    texts: list[str] = []
    for metric in sorted(values):
        value = values[metric]
        if isinstance(value, float):
            double_ids.append(metric)
            doubles.append(value)
        elif isinstance(value, str):
            text_ids.append(metric)
            texts.append(value)
        elif isinstance(value, bool):
            bool_ids.append(metric)
            bools.append(value)
        else:
            int_ids.append(metric)
            ints.append(value)
    message = block_pb2.Block(
        shape=(1, len(doubles), len(ints), len(bools), len(texts)),
        times=(time,),
        starts=(start,),
        metrics=double_ids + int_ids + bool_ids + text_ids,
        doubles=doubles,
        ints=ints,
        bools=bools,
        texts=texts,
    )
    hour = time // MICROS_PER_HOUR
    day = hour // 24
    return Block(day, 1, time, time, 1 << (hour - day * 24), seal(message.SerializeToString()), None, None)


def decode(data: bytes, metrics: Collection[int] | None = None) -> Frame:
    """Returns a block's frame, of some metrics or all; a frame without columns when it has none of them.

    Raises BlockCorrupt.
    """
    return _frame(_parse(unseal(data)), metrics)


def decode_many(blocks: Sequence[bytes], metrics: Collection[int] | None = None) -> Frame:
    """Returns the merged frame of several blocks; where a moment and metric repeat, the later block wins.

    Equals `merge` over `decode`, and is much faster where blocks of one row follow each other. Raises BlockCorrupt.
    """
    frames: list[Frame] = []
    rows: list[bytes] = []
    for data in blocks:
        content = unseal(data)
        if content.startswith(_ONE_ROW):
            rows.append(content)
            continue
        if rows:
            frames.append(_rows_frame(rows, metrics))
            rows = []
        frames.append(_frame(_parse(content), metrics))
    if rows:
        frames.append(_rows_frame(rows, metrics))
    return merge(frames)


def _message(frame: Frame) -> block_pb2.Block:
    rows = len(frame.times)
    small = rows < SMALL_ROWS
    columns = [
        (metric, column)
        for value_type in TYPE_ORDER
        for metric, column in sorted(frame.columns.items())
        if column.type == value_type
    ]
    message = block_pb2.Block(
        shape=[rows, *(sum(column.type == value_type for _, column in columns) for value_type in TYPE_ORDER)],
        metrics=[metric for metric, _ in columns],
    )
    if small:
        message.times.extend(np.diff(frame.times, prepend=0).tolist())
    else:
        message.packed_times = pack_numbers(frame.times)
    starts, start_rows = run_lengths(frame.starts)
    message.starts.extend(starts)
    message.start_rows.extend(start_rows)
    bitmaps: list[Bools] = []
    flags: list[Bools] = []
    words: dict[str, int] = {}
    own_starts: dict[bytes, block_pb2.ColumnStarts] = {}
    for position, (_, column) in enumerate(columns):
        values = column.values
        if column.present is not None and not column.present.all():
            message.sparse.append(position)
            bitmaps.append(column.present)
            values = values[column.present]
        if column.starts is not None:
            _add_starts(message, own_starts, position, column.starts)
        if column.type == ValueType.STRING:
            if rows == 1:
                message.texts.extend(values.tolist())
            elif small:
                message.text_codes.extend([words.setdefault(text, len(words)) for text in values.tolist()])
            else:
                message.packed_texts.append(_pack_texts(values.tolist()))
        elif column.type == ValueType.BOOL:
            if small:
                message.bools.extend(values.tolist())
            else:
                flags.append(column.values if column.present is None else column.values & column.present)
        elif small:
            (message.doubles if column.type == ValueType.DOUBLE else message.ints).extend(values.tolist())
        else:
            message.packed_numbers.append(pack_numbers(values))
    message.texts.extend(words)
    if bitmaps or flags:
        message.bits = squeeze(pack_bits(bitmaps + flags))
    return message


def _add_starts(
    message: block_pb2.Block, known: dict[bytes, block_pb2.ColumnStarts], position: int, starts: Ints
) -> None:
    key = starts.tobytes()
    if key not in known:
        values, lengths = run_lengths(starts)
        known[key] = message.column_starts.add(starts=values, start_rows=lengths)
    known[key].columns.append(position)


def _pack_texts(texts: Sequence[str]) -> bytes:
    words: dict[str, int] = {}
    codes = [words.setdefault(text, len(words)) for text in texts]
    message = block_pb2.Texts(words=words)
    if len(words) < len(texts):
        message.codes = np.array(codes, _code_type(len(words))).tobytes()
    return squeeze(message.SerializeToString())


def _unpack_texts(packed: bytes) -> Values:
    try:
        message = block_pb2.Texts.FromString(unsqueeze(packed))
    except DecodeError as error:
        raise BlockCorrupt("a column of texts cannot be parsed") from error
    words = text_array(message.words)
    if not message.codes:
        return words
    codes = np.frombuffer(message.codes, _code_type(len(words)))
    return _pick(words, codes)


def _code_type(words: int) -> str:
    return "<u1" if words <= 1 << 8 else "<u2" if words <= 1 << 16 else "<u4"


def _pick(words: Values, codes: Values) -> Values:
    if len(codes) and int(codes.max()) >= len(words):
        raise BlockCorrupt("a text refers to a word that is not there")
    return words[codes]


def _parse(content: bytes) -> block_pb2.Block:
    try:
        message = block_pb2.Block.FromString(content)
    except DecodeError as error:
        raise BlockCorrupt("a block cannot be parsed") from error
    if len(message.shape) < 5 or sum(message.shape[1:5]) > len(message.metrics) or not message.starts:
        raise BlockCorrupt("a block's shape does not fit its content")
    return message


def _frame(message: block_pb2.Block, metrics: Collection[int] | None) -> Frame:
    rows = message.shape[0]
    if rows < SMALL_ROWS:
        times = np.cumsum(np.array(message.times, np.int64))
        dense = _small_values(message)
    else:
        times = unpack_numbers(message.packed_times)
        dense = {}
    if len(times) != rows:
        raise BlockCorrupt(f"a block of {rows} rows has {len(times)} moments")
    types = np.repeat(TYPE_ORDER, message.shape[1:5]).tolist()
    bitmaps = unpack_bits(unsqueeze(message.bits), rows) if message.bits else np.empty((0, rows), np.bool_)
    presence = {position: bitmaps[line] for line, position in enumerate(message.sparse)}
    own_starts: dict[int, Ints] = {}
    for shared in message.column_starts:
        starts = expand_runs(shared.starts, shared.start_rows, rows)
        own_starts.update(dict.fromkeys(shared.columns, starts))
    columns: dict[int, Column] = {}
    numbers = texts = flags = 0
    offsets = dict.fromkeys(TYPE_ORDER, 0)
    for position, (metric, code) in enumerate(zip(message.metrics, types, strict=True)):
        value_type = ValueType(code)
        present = presence.get(position)
        wanted = metrics is None or metric in metrics
        if rows < SMALL_ROWS:
            count = rows if present is None else int(np.count_nonzero(present))
            begin = offsets[value_type]
            offsets[value_type] += count
            values = dense[value_type][begin : begin + count]
        elif value_type == ValueType.STRING:
            values = _unpack_texts(message.packed_texts[texts]) if wanted else _NOTHING
            texts += 1
        elif value_type == ValueType.BOOL:
            values = bitmaps[len(message.sparse) + flags]
            values = values if present is None else values[present]
            flags += 1
        else:
            values = unpack_numbers(message.packed_numbers[numbers]) if wanted else _NOTHING
            numbers += 1
        if wanted:
            columns[metric] = Column(
                value_type, _spread(value_type, values, present, rows), present, own_starts.get(position)
            )
    return Frame(times, expand_runs(message.starts, message.start_rows, rows), columns)


_NOTHING: Values = np.empty(0)


def _spread(value_type: ValueType, dense: Values, present: Bools | None, rows: int) -> Values:
    """Returns values at their rows, filler elsewhere."""
    if present is None:
        if len(dense) != rows:
            raise BlockCorrupt(f"a column of {rows} rows has {len(dense)} values")
        return dense
    values = np.full(rows, FILLERS[value_type], DTYPES[value_type])
    if len(dense) != np.count_nonzero(present):
        raise BlockCorrupt("a column's values do not fit its presence bitmap")
    values[present] = dense
    return values


def _small_values(message: block_pb2.Block) -> dict[ValueType, Values]:
    """Returns the present values of a small block, all columns of a type in one array."""
    texts = text_array(message.texts)
    if message.text_codes:
        texts = _pick(texts, np.array(message.text_codes, np.int64))
    return {
        ValueType.DOUBLE: np.array(message.doubles, np.float64),
        ValueType.INT64: np.array(message.ints, np.int64),
        ValueType.BOOL: np.array(message.bools, np.bool_),
        ValueType.STRING: texts,
    }


def _rows_frame(contents: Sequence[bytes], metrics: Collection[int] | None) -> Frame:
    """Returns the merged frame of blocks of one row each, read as one message."""
    message = _parse(b"".join(contents))
    rows = len(contents)
    shapes = np.fromiter(message.shape, np.int64, len(message.shape))
    times = np.fromiter(message.times, np.int64, len(message.times))
    starts = np.fromiter(message.starts, np.int64, len(message.starts))
    if len(shapes) != 5 * rows or len(times) != rows or len(starts) != rows:
        raise BlockCorrupt("blocks of one row do not have one row each")
    counts = shapes.reshape(rows, 5)[:, 1:]
    ids = np.fromiter(message.metrics, np.int64, len(message.metrics))
    if len(ids) != counts.sum():
        raise BlockCorrupt("blocks of one row do not have one value per metric")
    type_of_id = np.repeat(np.tile(np.arange(4), rows), counts.ravel())
    columns: dict[int, Column] = {}
    for kind, value_type in enumerate(TYPE_ORDER):
        total = int(counts[:, kind].sum())
        if not total:
            continue
        values = _joined(message, value_type)
        if len(values) != total:
            raise BlockCorrupt("blocks of one row do not have one value per metric")
        row_of_value = np.repeat(np.arange(rows), counts[:, kind])
        columns.update(_gather(value_type, ids[type_of_id == kind], row_of_value, values, rows, metrics))
    return build_frame(times, starts, columns)


def _joined(message: block_pb2.Block, value_type: ValueType) -> Values:
    if value_type == ValueType.STRING:
        return text_array(message.texts)
    if value_type == ValueType.DOUBLE:
        return np.fromiter(message.doubles, np.float64, len(message.doubles))
    if value_type == ValueType.INT64:
        return np.fromiter(message.ints, np.int64, len(message.ints))
    return np.fromiter(message.bools, np.bool_, len(message.bools))


def _gather(
    value_type: ValueType, ids: Ints, row_of_value: Ints, values: Values, rows: int, metrics: Collection[int] | None
) -> dict[int, Column]:
    """Returns the columns of values that are given in any order with their metric and row."""
    if len(ids) % rows == 0:
        lines = ids.reshape(rows, -1)
        if bool((lines == lines[0]).all()):  # every row has the same metrics
            table = values.reshape(rows, -1)
            return {
                metric: Column(value_type, table[:, position])
                for position, metric in enumerate(lines[0].tolist())
                if metrics is None or metric in metrics
            }
    columns: dict[int, Column] = {}
    order = np.argsort(ids, kind="stable")
    ordered = ids[order]
    heads = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
    for head, tail in zip(heads.tolist(), [*heads[1:].tolist(), len(ids)], strict=True):
        metric = int(ordered[head])
        if metrics is None or metric in metrics:
            chosen = order[head:tail]
            present = np.zeros(rows, np.bool_)
            present[row_of_value[chosen]] = True
            column = np.full(rows, FILLERS[value_type], DTYPES[value_type])
            column[row_of_value[chosen]] = values[chosen]
            columns[metric] = Column(value_type, column, None if present.all() else present)
    return columns
