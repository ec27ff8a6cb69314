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
from streamgauge_server.timeseries.number_table import LINES, NumberTable
from streamgauge_server.timeseries.packing import squeeze, text_array, unsqueeze
from streamgauge_server.timeseries.samples import lay_out
from streamgauge_server.timeseries.text_table import TextTable


@dataclass(frozen=True, slots=True, eq=False)
class Summary:
    """Aggregates per metric and bucket of time."""

    numbers: NumberTable
    texts: TextTable


_CELL = np.dtype("<i8")  # stored cells; zstd alone packs a table to a tenth, transformations before it gain little

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


def whole(summary: Summary) -> Summary:
    """Returns the summary of all buckets taken together, an entry per metric."""
    tables = [
        number_table.combine(table, np.zeros(table.shape[1], np.int64), {})[0]
        for table in number_table.by_type(summary.numbers)
    ]
    texts = summary.texts
    if len(texts.metrics):
        texts, _ = text_table.combine(texts, np.zeros(len(texts.metrics), np.int64))
    return Summary(np.concatenate(tables, axis=1) if tables else number_table.EMPTY, texts)


def encode_summary(summary: Summary) -> bytes:
    """Returns a summary in its stored form."""
    message = block_pb2.Summary(
        number_count=summary.numbers.shape[1], numbers=squeeze(summary.numbers.astype(_CELL, copy=False).tobytes())
    )
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
        numbers = _number_table(unsqueeze(message.numbers), message.number_count)
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


def _number_table(plain: bytes, entries: int) -> NumberTable:
    if len(plain) != LINES * 8 * entries:
        raise BlockCorrupt(f"a summary of {entries} entries has {len(plain)} bytes of numbers")
    return np.frombuffer(plain, _CELL).reshape(LINES, entries).astype(np.int64, copy=False)
