"""The block: one frame of one subject within one UTC day, encoded. What the table `blocks` stores.

The layout is protobuf `streamgauge.internal.v1.Block` under a seal with version and checksum. From `SMALL_ROWS` rows on
each column is compressed by itself, numbers by pcodec, texts by dictionary and zstd, and is read without the others;
below, plain arrays are cheaper to write and to read than any compression. A single observation, the usual write, is
encoded without numpy, and any number of small blocks is decoded as one message: protobuf defines that concatenated
messages merge.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from streamgauge_server.model.clock import MICROS_PER_DAY, MICROS_PER_HOUR
from streamgauge_server.model.values import Scalar
from streamgauge_server.timeseries.block_reading import decode as decode
from streamgauge_server.timeseries.block_reading import decode_each as decode_each
from streamgauge_server.timeseries.block_reading import decode_many as decode_many
from streamgauge_server.timeseries.block_reading import metrics_of as metrics_of
from streamgauge_server.timeseries.block_writing import frame_content, row_content
from streamgauge_server.timeseries.envelope import BlockCorrupt as BlockCorrupt
from streamgauge_server.timeseries.envelope import seal
from streamgauge_server.timeseries.frame import Frame, split_days
from streamgauge_server.timeseries.samples import changes
from streamgauge_server.timeseries.schema import SMALL_ROWS
from streamgauge_server.timeseries.summary import encode_summary, summarise, whole

SUMMARY_MIN_ROWS = SMALL_ROWS
"""Blocks with fewer rows carry no summary: their samples are read instead."""


class Block(NamedTuple):
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
    for hour in hour_of_row[changes(hour_of_row)].tolist():
        hours |= 1 << (hour - day * 24)
    by_hour = by_day = None
    if rows >= SUMMARY_MIN_ROWS:
        summary = summarise(frame, hour_of_row)
        by_hour = by_day = encode_summary(summary)
        if hours & (hours - 1):
            by_day = encode_summary(whole(summary))
    return Block(day, rows, first, last, hours, seal(frame_content(frame)), by_hour, by_day)


def encode_days(frame: Frame) -> list[Block]:
    """Returns the blocks of a frame, one for each UTC day with samples."""
    return [encode(part) for _, part in split_days(frame)]


def encode_row(time: int, start: int, values: Mapping[int, Scalar]) -> Block:
    """Returns the block of a single observation; `values` by metric id, at least one.

    The same format as `encode`, several times faster.
    """
    if not values:
        raise ValueError("a block needs at least one sample")
    hour = time // MICROS_PER_HOUR
    day = hour // 24
    return Block(day, 1, time, time, 1 << (hour - day * 24), seal(row_content(time, start, values)), None, None)
