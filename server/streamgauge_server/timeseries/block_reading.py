"""How the message `streamgauge.internal.v1.Block` becomes a frame, one at a time or many at once."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import numpy as np

from streamgauge_server.internal import block_pb2
from streamgauge_server.model.values import ValueType
from streamgauge_server.timeseries.envelope import CONTRADICTIONS, BlockCorrupt, unseal
from streamgauge_server.timeseries.frame import (
    DTYPES,
    FILLERS,
    Bools,
    Column,
    Frame,
    Ints,
    Values,
    build_frame,
    lay_end_to_end,
    merge,
    within,
)
from streamgauge_server.timeseries.mixed import join
from streamgauge_server.timeseries.packing import (
    code_type,
    expand_runs,
    text_array,
    unpack_bits,
    unpack_numbers,
    unsqueeze,
)
from streamgauge_server.timeseries.schema import (
    SMALL_ROWS,
    Schema,
    prefixed_schema,
    read_schema,
    schema_prefix,
)

_INTEGER, _DOUBLE = np.dtype("<i8"), np.dtype("<f8")


def decode(data: bytes, metrics: Collection[int] | None = None) -> Frame:
    """Returns a block's frame, of some metrics or all; a frame without columns when it has none of them.

    Raises BlockCorrupt.
    """
    return _read([unseal(data)], metrics)


def decode_many(
    blocks: Sequence[bytes],
    metrics: Collection[int] | None = None,
    spans: Sequence[tuple[int, int]] | None = None,
) -> Frame:
    """Returns the merged frame of several blocks; where a moment and metric repeat, the later block wins.

    Equals `merge` over `decode`, but reads small blocks of the same schema as one message, which is many times faster.
    With `spans` only rows in these spans of time [start, end) are returned. Raises BlockCorrupt.
    """
    groups: dict[bytes, tuple[list[bytes], list[int]]] = {}
    key, contents, places = b"", list[bytes](), list[int]()
    for place, data in enumerate(blocks):
        content = unseal(data)
        if not key or not content.startswith(key):
            key = _plain_schema(content)
            if not key:
                groups.pop(content, None)  # of a block that is there twice the later one alone decides
            contents, places = groups.setdefault(key or content, ([], []))
        contents.append(content)
        places.append(place)
    frames: list[Frame] = []
    ranks: list[Ints] = []
    for contents, places in groups.values():
        frame = _read(contents, metrics)
        if spans is not None and len(places) == 1:
            frame = within(frame, spans)  # large blocks are cut before they are merged
        frames.append(frame)
        ranks.append(np.repeat(places, len(frame.times) // len(places)))
    merged = build_frame(*lay_end_to_end(frames), np.concatenate(ranks)) if frames else merge([])
    return merged if spans is None else within(merged, spans)


def decode_each(blocks: Sequence[bytes]) -> list[Frame]:
    """Returns the frames of several blocks, in their order.

    Equals `decode` of each, but reads small blocks of the same schema as one message. Raises BlockCorrupt.
    """
    contents = [unseal(data) for data in blocks]
    frames: dict[int, Frame] = {}
    alike: dict[bytes, list[int]] = {}
    for place, content in enumerate(contents):
        if key := _plain_schema(content):
            alike.setdefault(key, []).append(place)
        else:
            frames[place] = _read([content], None)
    for places in alike.values():
        together = _read([contents[place] for place in places], None)
        rows = len(together.times) // len(places)
        for number, place in enumerate(places):
            here = slice(number * rows, (number + 1) * rows)
            columns = {metric: Column(held.type, held.values[here]) for metric, held in together.columns.items()}
            frames[place] = Frame(together.times[here], together.starts[here], columns)
    return [frames[place] for place in range(len(blocks))]


def _plain_schema(content: bytes) -> bytes:
    """Returns the prefix of blocks that can be read together with this one, empty where none can."""
    prefix = schema_prefix(content)
    return prefix if prefix is not None and prefixed_schema(prefix).plain else b""


def metrics_of(data: bytes) -> tuple[int, ...]:
    """Returns the metrics that a block holds, without decoding it. Raises BlockCorrupt."""
    content = unseal(data)
    prefix = schema_prefix(content)
    return tuple(decode(data).columns if prefix is None else dict.fromkeys(prefixed_schema(prefix).metrics))


def _parse(content: bytes, blocks: int) -> block_pb2.Block:
    message = block_pb2.Block.FromString(content)
    if len(message.schema) != blocks:
        raise BlockCorrupt(f"{blocks} blocks have {len(message.schema)} schemas")
    return message


def _frame(content: bytes, metrics: Collection[int] | None) -> Frame:
    message = _parse(content, 1)
    schema = read_schema(message.schema[0])
    rows = schema.rows
    bitmaps = unpack_bits(unsqueeze(message.bits), rows) if message.bits else np.empty((0, rows), np.bool_)
    flags = schema.counts[2] if rows >= SMALL_ROWS else 0
    if len(bitmaps) != len(schema.sparse) + flags:
        raise BlockCorrupt(f"a block of {len(schema.sparse) + flags} bitmaps has {len(bitmaps)}")
    presence = dict(zip(schema.sparse, bitmaps, strict=False))
    if rows < SMALL_ROWS:
        times, starts, columns = _arrays(message, schema, presence)
    else:
        times = unpack_numbers(message.packed_times)
        _check_rows(times, rows)
        starts = expand_runs(message.starts, message.start_rows, rows)
        columns = list(_columns(message, schema, presence, bitmaps[len(schema.sparse) :], metrics))
    own_starts = {
        position: expand_runs(shared.starts, shared.start_rows, rows)
        for shared in message.column_starts
        for position in shared.columns
    }
    held: dict[int, list[Column]] = {}
    for position, value_type, values in columns:
        metric = schema.metrics[position]
        if metrics is None or metric in metrics:
            column = _column(value_type, values, presence.get(position), own_starts.get(position), rows)
            held.setdefault(metric, []).append(column)
    return Frame(times, starts, {metric: join(parts, starts) for metric, parts in held.items()})


def _check_rows(times: Ints, rows: int) -> None:
    if len(times) != rows:
        raise BlockCorrupt(f"a block of {rows} rows has {len(times)} moments")


_Dense = tuple[int, ValueType, Values]
"""Position of a column, its type, and its present values."""


def _arrays(message: block_pb2.Block, schema: Schema, presence: dict[int, Bools]) -> tuple[Ints, Ints, list[_Dense]]:
    """Returns moments, start times and columns of a small block."""
    rows = schema.rows
    cells = np.frombuffer(message.cells[0], _INTEGER)
    flags = np.frombuffer(message.flags[0] if message.flags else b"", np.bool_)
    texts = text_array(message.texts)
    sources = {
        ValueType.DOUBLE: cells.view(_DOUBLE),
        ValueType.INT64: cells,
        ValueType.BOOL: flags,
        ValueType.STRING: texts,
    }
    columns: list[_Dense] = []
    ends = {ValueType.DOUBLE: 2 * rows, ValueType.BOOL: 0, ValueType.STRING: 0}
    for position, value_type in enumerate(schema.types):
        source = ValueType.DOUBLE if value_type == ValueType.INT64 else value_type  # integers follow the doubles
        begin = ends[source]
        ends[source] += int(np.count_nonzero(presence[position])) if position in presence else rows
        columns.append((position, value_type, sources[value_type][begin : ends[source]]))
    if (ends[ValueType.DOUBLE], ends[ValueType.BOOL], ends[ValueType.STRING]) != (len(cells), len(flags), len(texts)):
        raise BlockCorrupt("a small block's arrays do not fit its schema")
    return cells[:rows], cells[rows : 2 * rows], columns


def _columns(
    message: block_pb2.Block,
    schema: Schema,
    presence: dict[int, Bools],
    flags: Bools,
    metrics: Collection[int] | None,
) -> Iterator[_Dense]:
    """Returns the wanted columns of a block that is not small."""
    doubles, integers, bools, texts = schema.counts
    if len(message.packed_numbers) != doubles + integers or len(message.packed_texts) != texts:
        raise BlockCorrupt("a block's columns do not fit its schema")
    for position, value_type in enumerate(schema.types):
        if metrics is not None and schema.metrics[position] not in metrics:
            continue
        if value_type == ValueType.STRING:
            values = _unpack_texts(message.packed_texts[position - doubles - integers - bools])
        elif value_type == ValueType.BOOL:
            bitmap = flags[position - doubles - integers]
            values = bitmap[presence[position]] if position in presence else bitmap
        else:
            values = unpack_numbers(message.packed_numbers[position])
        yield position, value_type, values


def _column(value_type: ValueType, dense: Values, present: Bools | None, starts: Ints | None, rows: int) -> Column:
    """Returns present values at their rows, filler elsewhere."""
    if present is None:
        if len(dense) != rows:
            raise BlockCorrupt(f"a column of {rows} rows has {len(dense)} values")
        return Column(value_type, dense, None, starts)
    if len(dense) != np.count_nonzero(present):
        raise BlockCorrupt("a column's values do not fit its presence bitmap")
    values = np.full(rows, FILLERS[value_type], DTYPES[value_type])
    values[present] = dense
    return Column(value_type, values, present, starts)


def _unpack_texts(packed: bytes) -> Values:
    message = block_pb2.Texts.FromString(unsqueeze(packed))
    words = text_array(message.words)
    if not message.codes:
        return words
    codes = np.frombuffer(message.codes, code_type(len(words)))
    if len(codes) and int(codes.max()) >= len(words):
        raise BlockCorrupt("a text refers to a word that is not there")
    texts: Values = words[codes]
    return texts


def _read(contents: Sequence[bytes], metrics: Collection[int] | None) -> Frame:
    """Returns the rows of one block, or of several with the same plain schema: those are in order of the blocks."""
    try:
        return _frame(contents[0], metrics) if len(contents) == 1 else _plain_rows(contents, metrics)
    except CONTRADICTIONS as error:
        raise BlockCorrupt(f"a block contradicts itself: {error}") from error


def _plain_rows(contents: Sequence[bytes], metrics: Collection[int] | None) -> Frame:
    message = _parse(b"".join(contents), len(contents))
    schema = read_schema(message.schema[0])
    doubles, integers, bools, texts = schema.counts
    cells = _table(np.frombuffer(b"".join(message.cells), _INTEGER), len(contents), 2 + doubles + integers, schema)
    flags = _table(np.frombuffer(b"".join(message.flags), np.bool_), len(contents), bools, schema)
    words = _table(text_array(message.texts), len(contents), texts, schema)
    lines = [*cells[2 : 2 + doubles].view(_DOUBLE), *cells[2 + doubles :], *flags, *words]
    return Frame(
        cells[0],
        cells[1],
        {
            metric: Column(value_type, line)
            for metric, value_type, line in zip(schema.metrics, schema.types, lines, strict=True)
            if metrics is None or metric in metrics
        },
    )


def _table(values: Values, blocks: int, columns: int, schema: Schema) -> Values:
    """Returns arrays of several blocks, each column after column, as one line per column over all rows."""
    if len(values) != blocks * columns * schema.rows:
        raise BlockCorrupt("small blocks' arrays do not fit their schema")
    return np.ascontiguousarray(values.reshape(blocks, columns, schema.rows).transpose(1, 0, 2)).reshape(
        columns, blocks * schema.rows
    )
