"""Summaries: what is known of samples per metric and bucket of time, without the samples, and their stored form.

Blocks keep two: by hours and of the whole day. Summaries of stretches that are disjoint in time combine to those of
longer ones (`number_table.combine`, `text_table.combine`), so a month by day reads days and no hour or sample.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from streamgauge_server.internal import block_pb2
from streamgauge_server.model.values import ValueType
from streamgauge_server.timeseries import number_table, text_table
from streamgauge_server.timeseries.envelope import CONTRADICTIONS, BlockCorrupt, seal, unseal
from streamgauge_server.timeseries.frame import Column, Frame, Ints
from streamgauge_server.timeseries.mixed import typed_by_bucket
from streamgauge_server.timeseries.number_packing import pack_table, packable, unpack_table
from streamgauge_server.timeseries.number_table import LINES, Cell, NumberTable
from streamgauge_server.timeseries.packing import squeeze, text_array, unsqueeze
from streamgauge_server.timeseries.samples import lay_out
from streamgauge_server.timeseries.text_table import TextTable


@dataclass(frozen=True, slots=True, eq=False)
class Summary:
    """Aggregates per metric, type and bucket of time."""

    numbers: NumberTable
    texts: TextTable


_CELL = np.dtype("<i8")
_TEXT_LINES = 6


def summarise(frame: Frame, buckets: Ints) -> Summary:
    """Returns the summary of a frame's samples.

    `buckets` tells the bucket of every row, equal for neighbours in the same bucket. A metric whose values in a bucket
    are of several types has an entry of each; of numbers one: of integers, or of doubles where one of them is a double.
    """
    doubles: list[tuple[int, Column]] = []
    integers: list[tuple[int, Column]] = []
    texts: list[tuple[int, Column]] = []
    for metric, column in frame.columns.items():
        for part in typed_by_bucket(column, buckets):
            kind = {ValueType.DOUBLE: doubles, ValueType.STRING: texts}.get(part.type, integers)
            kind.append((metric, part))
    laid_out = [samples for kind in (doubles, integers) if (samples := lay_out(frame, kind, buckets))]
    text_samples = lay_out(frame, texts, buckets)
    return Summary(
        number_table.join([number_table.reduce_samples(samples) for samples in laid_out]),
        text_table.reduce_samples(text_samples) if text_samples else text_table.EMPTY,
    )


def whole(summary: Summary) -> Summary:
    """Returns the summary of all buckets taken together, an entry per metric and type."""
    in_one_window = np.zeros(summary.numbers.shape[1], np.int64)
    tables = [table for table, _ in number_table.combine_all(summary.numbers, in_one_window)]
    texts = summary.texts
    if len(texts.metrics):
        texts, _ = text_table.combine(texts, np.zeros(len(texts.metrics), np.int64))
    return Summary(number_table.join(tables), texts)


def encode_summary(summary: Summary) -> bytes:
    """Returns a summary in its stored form."""
    message = block_pb2.Summary(entries=summary.numbers.shape[1])
    if packable(summary.numbers):
        message.packed_numbers, doubles = pack_table(summary.numbers)
        message.packed_doubles.extend(doubles)
    else:
        message.numbers = squeeze(summary.numbers.astype(_CELL, copy=False).tobytes())
    if len(summary.texts.metrics):
        message.text_metrics.extend(np.unique(summary.texts.metrics).tolist())
        message.texts = squeeze(_text_content(summary.texts))
    return seal(message.SerializeToString())


def decode_summaries(stored: Sequence[bytes], metrics: Collection[int] | None = None) -> Summary:
    """Returns the entries of several stored summaries one after the other, of some metrics or all.

    Those that were decoded lately are still known by their bytes: a dashboard asks for the same days again and again.
    The numbers of a single one are shared with others who asked for it, and cannot be written.

    Raises BlockCorrupt.
    """
    return _joined([(_small if len(data) <= _SMALL_BYTES else _large)(data) for data in stored], metrics)


def decode_summary(data: bytes, metrics: Collection[int] | None = None) -> Summary:
    """Returns one stored summary, of some metrics or all. It is not kept in mind. Raises BlockCorrupt."""
    return _joined([_decode(data)], metrics)


class _Decoded(NamedTuple):
    """A stored summary whose numbers are read, and whose texts are not."""

    numbers: NumberTable
    text_metrics: Sequence[int]
    texts: bytes


def _decode(data: bytes) -> _Decoded:
    try:
        message = block_pb2.Summary.FromString(unseal(data))
        if message.packed_numbers:
            numbers = unpack_table(message.entries, message.packed_numbers, message.packed_doubles)
        else:
            numbers = _cells(unsqueeze(message.numbers), LINES, message.entries)
    except CONTRADICTIONS as error:
        raise BlockCorrupt(f"a summary contradicts itself: {error}") from error
    numbers.flags.writeable = False
    return _Decoded(numbers, list(message.text_metrics), message.texts)


_SMALL_BYTES = 1_024
_small = lru_cache(maxsize=8_192)(_decode)
"""Most days: 2 kB each of a source with twelve metrics. Content stands for itself, so nothing in it can be stale."""
_large = lru_cache(maxsize=256)(_decode)
"""Most days by hours: 40 kB each."""


def _joined(decoded: Sequence[_Decoded], metrics: Collection[int] | None) -> Summary:
    texts = [
        one.texts for one in decoded if one.texts and (metrics is None or not _disjoint(metrics, one.text_metrics))
    ]
    try:
        text = _text_table([unsqueeze(squeezed) for squeezed in texts]) if texts else text_table.EMPTY
    except CONTRADICTIONS as error:
        raise BlockCorrupt(f"a summary contradicts itself: {error}") from error
    joined = Summary(number_table.join([one.numbers for one in decoded]), text)
    return joined if metrics is None else _only(joined, metrics)


def _disjoint(metrics: Collection[int], others: Iterable[int]) -> bool:
    return not any(metric in metrics for metric in others)


def _only(summary: Summary, metrics: Collection[int]) -> Summary:
    wanted = np.array(sorted(metrics), np.int64)
    kept = np.isin(summary.numbers[Cell.METRIC], wanted)
    texts = summary.texts
    if len(texts.metrics):
        texts = texts.take(np.isin(texts.metrics, wanted))
    return Summary(summary.numbers if kept.all() else summary.numbers[:, kept], texts)


def _cells(plain: bytes, lines: int, entries: int) -> Ints:
    if len(plain) != lines * entries * _CELL.itemsize:
        raise BlockCorrupt(f"a summary of {entries} entries has {len(plain)} bytes of cells")
    return np.frombuffer(plain, _CELL).reshape(lines, entries).astype(np.int64, copy=False)


def _text_content(texts: TextTable) -> bytes:
    words: dict[str, int] = {}
    cells = np.array(
        [
            texts.metrics,
            texts.counts,
            texts.first_times,
            texts.last_times,
            [words.setdefault(text, len(words)) for text in texts.first.tolist()],
            [words.setdefault(text, len(words)) for text in texts.last.tolist()],
        ],
        _CELL,
    )
    message = block_pb2.TextSummary(
        entries=(len(texts.metrics),), cells=(cells.tobytes(),), word_counts=(len(words),), words=words
    )
    return message.SerializeToString()


def _text_table(contents: Sequence[bytes]) -> TextTable:
    """Returns the entries of several text summaries, read as one message."""
    message = block_pb2.TextSummary.FromString(b"".join(contents))
    counts = list(message.entries)
    if not len(counts) == len(message.cells) == len(message.word_counts) == len(contents):
        raise BlockCorrupt("text summaries do not have one table each")
    pieces = zip(message.cells, counts, strict=True)
    cells = np.concatenate([_cells(plain, _TEXT_LINES, entries) for plain, entries in pieces], axis=1)
    words = text_array(message.words)
    word_counts = np.array(list(message.word_counts), np.int64)
    ends = np.cumsum(word_counts)
    offsets = np.repeat(ends - word_counts, counts)
    if len(words) != ends[-1] or (cells[4:] >= np.repeat(word_counts, counts)).any():
        raise BlockCorrupt("a text summary refers to a word that is not there")
    return TextTable(cells[0], cells[1], cells[2], cells[3], words[cells[4] + offsets], words[cells[5] + offsets])
