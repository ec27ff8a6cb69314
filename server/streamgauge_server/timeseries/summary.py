"""Summaries: what is known of samples per metric and bucket of time, without the samples, and their stored form.

Blocks keep two: by hours and of the whole day. Summaries of stretches that are disjoint in time combine to those of
longer ones (`number_table.combine`, `text_table.combine`), so a month by day reads days and no hour or sample.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from google.protobuf.message import DecodeError

from streamgauge_server.internal import block_pb2
from streamgauge_server.model.values import ValueType
from streamgauge_server.timeseries import number_table, text_table
from streamgauge_server.timeseries.envelope import BlockCorrupt, seal, unseal
from streamgauge_server.timeseries.frame import Column, Frame, Ints
from streamgauge_server.timeseries.number_table import Cell, NumberTable
from streamgauge_server.timeseries.packing import squeeze, text_array, unsqueeze
from streamgauge_server.timeseries.samples import lay_out
from streamgauge_server.timeseries.text_table import TextTable


@dataclass(frozen=True, slots=True, eq=False)
class Summary:
    """Aggregates per metric and bucket of time."""

    numbers: NumberTable
    texts: TextTable


NOTHING = Summary(number_table.EMPTY, text_table.EMPTY)
"""The summary of no samples."""


def summarise(frame: Frame, buckets: Ints, rows: Ints | None = None) -> Summary:
    """Returns the summary of a frame's samples, or of those at chosen `rows` (rising positions).

    `buckets` tells the bucket of every row, equal for neighbours in the same bucket.
    """
    if rows is None:
        rows = np.arange(len(frame.times))
    doubles: dict[int, Column] = {}
    integers: dict[int, Column] = {}
    texts: dict[int, Column] = {}
    for metric, column in frame.columns.items():
        kind = {ValueType.DOUBLE: doubles, ValueType.STRING: texts}.get(column.type, integers)
        kind[metric] = column
    laid_out = [samples for kind in (doubles, integers) if (samples := lay_out(frame, kind, buckets, rows))]
    tables = [number_table.reduce_samples(samples) for samples in laid_out]
    text_samples = lay_out(frame, texts, buckets, rows)
    return Summary(
        np.concatenate(tables, axis=1) if tables else number_table.EMPTY,
        text_table.reduce_samples(text_samples) if text_samples else text_table.EMPTY,
    )


def encode_summary(summary: Summary) -> bytes:
    """Returns a summary in its stored form."""
    message = block_pb2.Summary(number_count=summary.numbers.shape[1], numbers=squeeze(_shuffle(summary.numbers)))
    texts = summary.texts
    if len(texts.metrics):
        words: dict[str, int] = {}
        packed = block_pb2.TextSummary(
            metrics=texts.metrics.tolist(),
            counts=texts.counts.tolist(),
            first_times=texts.first_times.tolist(),
            last_times=texts.last_times.tolist(),
            firsts=[words.setdefault(text, len(words)) for text in texts.first.tolist()],
            lasts=[words.setdefault(text, len(words)) for text in texts.last.tolist()],
        )
        packed.words.extend(words)
        message.text_metrics.extend(np.unique(texts.metrics).tolist())
        message.texts = squeeze(packed.SerializeToString())
    return seal(message.SerializeToString())


def decode_summary(data: bytes, metrics: Collection[int] | None = None) -> Summary:
    """Returns a summary. Texts of other than the wanted metrics may be left out, numbers are all there.

    Raises BlockCorrupt.
    """
    content = unseal(data)
    try:
        message = block_pb2.Summary.FromString(content)
        numbers = _unshuffle(unsqueeze(message.numbers), message.number_count)
        if not message.texts or (metrics is not None and not any(m in metrics for m in message.text_metrics)):
            return Summary(numbers, text_table.EMPTY)
        packed = block_pb2.TextSummary.FromString(unsqueeze(message.texts))
    except DecodeError as error:
        raise BlockCorrupt("a summary cannot be parsed") from error
    words = text_array(packed.words)
    texts = TextTable(
        np.array(packed.metrics, np.int64),
        np.array(packed.counts, np.int64),
        np.array(packed.first_times, np.int64),
        np.array(packed.last_times, np.int64),
        words[np.array(packed.firsts, np.int64)],
        words[np.array(packed.lasts, np.int64)],
    )
    return Summary(numbers, texts)


_RELATIVE = (
    (Cell.LAST_TIME, Cell.FIRST_TIME),
    (Cell.LAST_START, Cell.FIRST_START),
    (Cell.MIN, Cell.FIRST),
    (Cell.MAX, Cell.LAST),
)
"""Lines that are stored as the difference (modulo 2**64) to another line, which is mostly small or zero."""


def _shuffle(table: NumberTable) -> bytes:
    """Returns the cells with like bytes side by side, which zstd packs several times smaller."""
    cells = table.astype("<i8")
    for line, base in _RELATIVE:
        cells[line] -= table[base]
    return cells.view(np.uint8).reshape(len(Cell), -1, 8).transpose(0, 2, 1).tobytes()


def _unshuffle(plain: bytes, count: int) -> NumberTable:
    if len(plain) != len(Cell) * 8 * count:
        raise BlockCorrupt(f"a summary of {count} entries has {len(plain)} bytes of numbers")
    cells = np.empty((len(Cell), count), "<i8")
    planes = np.frombuffer(plain, np.uint8).reshape(len(Cell), 8, count)
    cells.view(np.uint8).reshape(len(Cell), count, 8)[:] = planes.transpose(0, 2, 1)
    for line, base in _RELATIVE:
        cells[line] += cells[base]
    return cells
