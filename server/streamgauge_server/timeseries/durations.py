"""How long each value stood: the time between samples, by metric, value and window.

A value stands from its sample to the metric's next one. Only booleans and texts are told, numbers merely end what stood
before them. Kept sparsely: a metric of a million texts has as many entries as samples, however many windows there are.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from streamgauge_server.model.values import Scalar, ValueType
from streamgauge_server.timeseries.frame import Column, Frame, Ints, Values

_NO_CODE = -1
_COMPACTED = 100_000
"""So many entries of a metric, and as many as it had, may come before equal ones are added up."""


@dataclass(frozen=True, slots=True, eq=False)
class ValueTime:
    """For how many microseconds one value stood: in the windows of these indexes, which rise."""

    value: bool | str
    windows: Ints
    micros: Ints

    @property
    def total(self) -> int:
        """The microseconds over all windows."""
        return int(self.micros.sum())


@dataclass(slots=True)
class _Metric:
    """What is known of one metric so far: its values by code, how long they stood, and which stands since when."""

    codes: dict[bool | str, int] = field(default_factory=dict)
    keys: list[Ints] = field(default_factory=list)
    """Code times number of windows, plus the window; in parallel to `micros`."""
    micros: list[Ints] = field(default_factory=list)
    entries: int = 0
    """How many entries came since equal ones were added up."""
    standing: int = _NO_CODE
    since: int = 0


class Durations:
    """Adds up how long values stood, out of frames of one subject or part that follow each other in time."""

    def __init__(self, edges: Sequence[int], before: Mapping[int, Scalar]) -> None:
        """Takes the bounds of the windows, which do not fall, and the values that stand at the first one, by metric."""
        self._edges: Ints = np.array(edges, np.int64)
        self._metrics: dict[int, _Metric] = {}
        for metric, value in before.items():
            state = self._metrics[metric] = _Metric(since=int(edges[0]))
            state.standing = _code_of(state.codes, value)

    def add(self, frame: Frame) -> None:
        """Takes the samples of a frame, none of which is before the first window or an earlier frame."""
        for metric, column in frame.columns.items():
            if column.type in (ValueType.DOUBLE, ValueType.INT64) and metric not in self._metrics:
                continue
            state = self._metrics.setdefault(metric, _Metric())
            times, codes = _changes(frame.times, column, state)
            if len(times):
                self._stood(state, np.append(state.since, times), np.append(state.standing, codes[:-1]))
                state.since, state.standing = int(times[-1]), int(codes[-1])

    def skip(self, metric: int, first: int, last: int, value: Scalar) -> None:
        """Leaves out the time from one moment to another, of which it is not known what stood; `value` stands after it.

        What stood before does so up to the first moment. In the order of time, as `add`.
        """
        state = self._metrics.setdefault(metric, _Metric())
        self._stood(state, np.array([state.since, first], np.int64), np.array([state.standing], np.int64))
        state.since, state.standing = last, _code_of(state.codes, value)

    def until(self, end: int) -> dict[int, list[ValueTime]]:
        """Returns the values of each metric that stood up to a moment after all samples, by the order of their first.

        Values that stood for no time at all are left out.
        """
        told: dict[int, list[ValueTime]] = {}
        for metric, state in self._metrics.items():
            self._stood(state, np.array([state.since, end], np.int64), np.array([state.standing], np.int64))
            if found := self._told(state):
                told[metric] = found
        return told

    def _stood(self, state: _Metric, moments: Ints, codes: Ints) -> None:
        """Notes that each code stood from its moment to the next one."""
        edges = self._edges
        begins, ends = np.maximum(moments[:-1], edges[0]), np.minimum(moments[1:], edges[-1])
        lasting = (codes != _NO_CODE) & (ends > begins)
        begins, ends, codes = begins[lasting], ends[lasting], codes[lasting]
        if not len(codes):
            return
        first = np.searchsorted(edges, begins, side="right") - 1
        counts = np.searchsorted(edges, ends, side="left") - first
        windows = np.arange(counts.sum()) + np.repeat(first - np.cumsum(counts) + counts, counts)
        inside = np.minimum(edges[windows + 1], np.repeat(ends, counts)) - np.maximum(
            edges[windows], np.repeat(begins, counts)
        )
        state.keys.append(np.repeat(codes, counts) * (len(edges) - 1) + windows)
        state.micros.append(inside)
        state.entries += len(windows)
        if state.entries > max(_COMPACTED, len(state.keys[0])):
            _compact(state)

    def _told(self, state: _Metric) -> list[ValueTime]:
        _compact(state)
        if not state.keys:
            return []
        lasting = state.micros[0] > 0  # windows may be cut to nothing
        keys, micros = state.keys[0][lasting], state.micros[0][lasting]
        codes, windows = np.divmod(keys, len(self._edges) - 1)
        bounds = np.searchsorted(codes, np.arange(len(state.codes) + 1))
        return [
            ValueTime(value, windows[low:high], micros[low:high])
            for value, low, high in zip(state.codes, bounds[:-1].tolist(), bounds[1:].tolist(), strict=True)
            if low < high
        ]


def joined(parts: Sequence[Collection[ValueTime]], limit: int) -> list[ValueTime]:
    """Returns the values of several parts with their times added, at most `limit`: those that stood longest, first."""
    by_value: dict[bool | str, list[ValueTime]] = {}
    for part in parts:
        for one in part:
            by_value.setdefault(one.value, []).append(one)
    longest = sorted(by_value.values(), key=lambda same: -sum(one.total for one in same))
    return [_added(same) for same in longest[:limit]]


def _added(same: Sequence[ValueTime]) -> ValueTime:
    if len(same) == 1:
        return same[0]
    windows, micros = _summed(
        np.concatenate([one.windows for one in same]), np.concatenate([one.micros for one in same])
    )
    return ValueTime(same[0].value, windows, micros)


def _changes(times: Ints, column: Column, state: _Metric) -> tuple[Ints, Ints]:
    """Returns the moments at which another value comes to stand than the one before, and the codes of these values."""
    values: Values = column.values
    if column.present is not None:
        times, values = times[column.present], values[column.present]
    if column.type in (ValueType.DOUBLE, ValueType.INT64):
        codes: Ints = np.full(len(times), _NO_CODE, np.int64)
    elif column.type == ValueType.BOOL:
        false, true = _code_of(state.codes, False), _code_of(state.codes, True)
        codes = np.where(values, true, false)
    else:
        codes = np.fromiter((_code_of(state.codes, value) for value in values.tolist()), np.int64, len(values))
    changed = codes != np.append(state.standing, codes[:-1])
    return times[changed], codes[changed]


def _code_of(codes: dict[bool | str, int], value: Scalar) -> int:
    return codes.setdefault(value, len(codes)) if isinstance(value, bool | str) else _NO_CODE


def _compact(state: _Metric) -> None:
    """Adds up the entries of one value and window."""
    if state.entries:
        keys, micros = _summed(np.concatenate(state.keys), np.concatenate(state.micros))
        state.keys, state.micros, state.entries = [keys], [micros], 0


def _summed(keys: Ints, micros: Ints) -> tuple[Ints, Ints]:
    """Returns the different keys, rising, and the sum of each one's microseconds."""
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    heads: NDArray[np.intp] = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
    return ordered[heads], np.add.reduceat(micros[order], heads)
