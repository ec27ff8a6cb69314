"""Frames taken apart by the start times of their samples, for forms that know one start time per frame."""

from __future__ import annotations

import numpy as np

from streamgauge_server.timeseries.frame import Column, Frame, Ints, merge, take


def split_starts(frame: Frame) -> list[tuple[int, Frame]]:
    """Returns the samples of a frame by their start times, which rise; UNKNOWN_START comes first.

    Each part holds every sample with its start time, no row without a sample, and its columns in the frame's order.
    """
    frame = only_sampled(frame)
    if not len(frame.times):
        return []
    if all(column.starts is None for column in frame.columns.values()) and (frame.starts == frame.starts[0]).all():
        return [(int(frame.starts[0]), frame)]
    columns_by_starts: dict[bytes, tuple[Ints, dict[int, Column]]] = {}
    for metric, column in frame.columns.items():
        starts = frame.starts_of(metric)
        _, columns = columns_by_starts.setdefault(starts.tobytes(), (starts, {}))
        columns[metric] = Column(column.type, column.values, column.present)
    parts: dict[int, list[Frame]] = {}
    for starts, columns in columns_by_starts.values():
        alike = Frame(frame.times, starts, columns)
        order = np.argsort(starts, kind="stable")
        ordered = starts[order]
        for rows in np.split(order, np.flatnonzero(ordered[1:] != ordered[:-1]) + 1):
            part = only_sampled(take(alike, rows))
            if len(part.times):
                parts.setdefault(int(part.starts[0]), []).append(part)
    return [(start, _in_order(merge(parts[start]), frame)) for start in sorted(parts)]


def _in_order(part: Frame, whole: Frame) -> Frame:
    columns = {metric: part.columns[metric] for metric in whole.columns if metric in part.columns}
    return Frame(part.times, part.starts, columns)


def only_sampled(frame: Frame) -> Frame:
    """Returns a frame without the rows that have no value in any column."""
    masks = [column.present for column in frame.columns.values() if column.present is not None]
    if len(masks) < len(frame.columns):
        return frame
    if not masks:
        return take(frame, slice(0, 0))
    sampled = np.logical_or.reduce(masks)
    return frame if sampled.all() else take(frame, np.flatnonzero(sampled))
