"""Observations that wait in a writer, as frames where that is cheaper than rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from streamgauge.v1 import common_pb2, metrics_service_pb2

FRAME_ROWS = 32
"""From so many observations of a subject or part in one batch on they go as frames.

Measured with 12 metrics: below, building frames costs the writer more than it saves the server; with 500 of them the
server needs a quarter of the processor time.
"""
_MAX_SAMPLES = 100_000
"""Samples in one frame: the server's default bound."""
_MEMBERS = {"double_value": "doubles", "int64_value": "ints", "bool_value": "bools", "string_value": "strings"}


@dataclass(frozen=True, slots=True)
class FramedItems:
    """Items as one message of `ImportMetrics`: which ones are in each frame, and which ones are in none."""

    message: bytes
    frames: Sequence[Sequence[int]]
    others: Sequence[int]


@dataclass(slots=True)
class _Group:
    """Observations of one subject or part that follow one another with one start time."""

    message: common_pb2.Frame
    items: list[int]
    columns: dict[str, tuple[str, list[int], list[Any]]]


def framed(items: Sequence[bytes]) -> FramedItems | None:
    """Returns encoded observations as frames, None if there is nothing to gain.

    The observations of a subject or part go either all in frames, in their order, or all as rows, so that later ones
    stand over earlier ones as before.
    """
    if len(items) < FRAME_ROWS:
        return None
    by_part: dict[tuple[str, str], list[tuple[int, common_pb2.Observation]]] = {}
    for index, item in enumerate(items):
        observation = common_pb2.Observation.FromString(item)
        by_part.setdefault((observation.subject, observation.part), []).append((index, observation))
    request = metrics_service_pb2.ImportMetricsRequest()
    frames: list[list[int]] = []
    others: list[int] = []
    for observations in by_part.values():
        groups = _groups(observations) if len(observations) >= FRAME_ROWS else None
        if groups is None:
            others.extend(index for index, _ in observations)
            continue
        for group in groups:
            request.frames.append(_message(group))
            frames.append(group.items)
    return FramedItems(request.SerializeToString(), frames, sorted(others)) if frames else None


def _groups(observations: Sequence[tuple[int, common_pb2.Observation]]) -> list[_Group] | None:
    """Returns the observations of one subject or part in columns, None where columns cannot hold them or are small."""
    groups: list[_Group] = []
    last: tuple[int, int] | None = None
    for index, observation in observations:
        if not observation.HasField("time") or not observation.values:
            return None
        has_start = observation.HasField("start_time")
        start = (observation.start_time.seconds, observation.start_time.nanos) if has_start else (-1, 0)
        if start != last:
            message = common_pb2.Frame(subject=observation.subject, part=observation.part)
            if has_start:
                message.start_time.CopyFrom(observation.start_time)
            groups.append(_Group(message, [], {}))
            last = start
        group = groups[-1]
        row = len(group.items)
        group.items.append(index)
        micros = observation.time.seconds * 1_000_000 + observation.time.nanos // 1_000
        group.message.time_unix_micros.append(micros & _UNSIGNED)
        for metric, value in observation.values.items():
            member = value.WhichOneof("kind")
            column = group.columns.get(metric)
            if column is None and member is not None:
                column = group.columns[metric] = (member, [], [])
            if column is None or column[0] != member:
                return None
            column[1].append(row)
            column[2].append(getattr(value, member))
    small = len(observations) < FRAME_ROWS * len(groups)
    large = any(sum(len(rows) for _, rows, _ in group.columns.values()) > _MAX_SAMPLES for group in groups)
    return None if small or large else groups


_UNSIGNED = (1 << 64) - 1


def _message(group: _Group) -> common_pb2.Frame:
    for metric, (member, rows, values) in group.columns.items():
        column = group.message.columns.add(metric=metric)
        getattr(column, _MEMBERS[member]).values.extend(values)
        if len(rows) < len(group.items):
            column.rows.extend(rows)
    return group.message
