"""Frames as messages. Arrays go over as they lie in memory, which is how packed fields have them."""

from __future__ import annotations

import numpy as np
from streamgauge.v1 import common_pb2

from streamgauge_server.model.values import ValueType
from streamgauge_server.rpc.convert import fill_timestamp
from streamgauge_server.services.frame_output import ColumnOutput, FrameOutput

_VALUES = b"\x0a"
"""The tag of `values` (field 1, packed) in `DoubleArray`, `Int64Array` and `BoolArray`."""
_TIMES = b"\x22"
"""The tag of `Frame.time_unix_micros` (field 4, packed)."""


def frame_message(frame: FrameOutput) -> common_pb2.Frame:
    """Returns a frame as a message. Moments before 1970 are in two's complement."""
    message = common_pb2.Frame(subject=frame.subject, part=frame.part)
    if frame.start_time is not None:
        fill_timestamp(message.start_time, frame.start_time)
    message.MergeFromString(_packed(_TIMES, frame.times.astype("<i8", copy=False).tobytes()))
    for column in frame.columns:
        _fill_column(message.columns.add(metric=column.metric), column)
    return message


def _fill_column(message: common_pb2.Column, column: ColumnOutput) -> None:
    values = column.values
    if column.type == ValueType.STRING:
        message.strings.values.extend(values.tolist())
    elif column.type == ValueType.BOOL:
        # A boolean on the wire is a varint of one byte, 0 or 1, as it is in memory.
        message.bools.MergeFromString(_packed(_VALUES, values.astype(np.bool_, copy=False).tobytes()))
    elif column.type == ValueType.INT64:
        message.ints.MergeFromString(_packed(_VALUES, values.astype("<i8", copy=False).tobytes()))
    else:
        message.doubles.MergeFromString(_packed(_VALUES, values.astype("<f8", copy=False).tobytes()))
    if column.rows is not None:
        message.rows.extend(column.rows.tolist())


def _packed(tag: bytes, array: bytes) -> bytes:
    """Returns a packed field: its tag, how many bytes follow, the bytes."""
    size = len(array)
    head = bytearray(tag)
    while size > 0x7F:
        head.append(size & 0x7F | 0x80)
        size >>= 7
    head.append(size)
    return bytes(head) + array
