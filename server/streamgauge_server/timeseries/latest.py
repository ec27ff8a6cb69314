"""The newest sample of every metric of a subject: the row of the table `latest`, moved along with every write.

A value stands only if its moment is not older than the stored one. Beside it stands the lifetime total: the first value
ever plus all increases since, across resets. Data that arrive in order move the total; late or overwritten data make it
unknown (None) until a reader recomputes it from blocks with `query.lifetime_of`. So does a change of kind: what the
numbers or booleans of a metric came to before a value of another kind is not kept here.

The metrics of a subject stand in the order in which it first reported them.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from operator import add
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamgauge_server.model.values import Scalar, ValueType
from streamgauge_server.timeseries.frame import UNKNOWN_START, Bools, Frame, Ints
from streamgauge_server.timeseries.latest_row import LatestSample as LatestSample
from streamgauge_server.timeseries.latest_row import decode_latest as decode_latest
from streamgauge_server.timeseries.latest_row import encode_latest as encode_latest
from streamgauge_server.timeseries.latest_row import new_sample
from streamgauge_server.timeseries.mixed import types_of


def advance(current: Mapping[int, LatestSample], frame: Frame) -> dict[int, LatestSample]:
    """Returns the newest samples after a frame was written; `current` is not changed. New metrics come last."""
    advanced = dict(current)
    for metric, column in frame.columns.items():
        times, starts, values = frame.times, frame.starts_of(metric), column.values
        if column.present is not None:
            times, starts, values = times[column.present], starts[column.present], values[column.present]
        if len(times):
            advanced[metric] = _after(advanced.get(metric), times, starts, values)
    return advanced


def advance_row(
    current: Mapping[int, LatestSample], time: int, start: int, values: Mapping[int, Scalar]
) -> dict[int, LatestSample]:
    """Returns the newest samples after one observation was written; `current` is not changed. New metrics come last."""
    advanced = dict(current)
    for metric, value in values.items():
        sample = advanced.get(metric)
        advanced[metric] = _first(time, start, value) if sample is None else _next(sample, time, start, value)
    return advanced


def _first(time: int, start: int, value: Scalar) -> LatestSample:
    lifetime = 0 if isinstance(value, str) else int(value) if isinstance(value, bool) else value
    return new_sample((time, value, start, lifetime))


def _next(sample: LatestSample, time: int, start: int, value: Scalar) -> LatestSample:
    """Returns the newest sample of a metric after one more was written."""
    newest, before, began, total = sample
    if time > newest:
        if isinstance(value, str):
            total = 0
        elif isinstance(value, bool):
            total = 1 if value else total if isinstance(before, bool) else None
        elif isinstance(before, (str, bool)):
            total = None
        elif total is not None:
            is_reset = value < before or (start != began and start != UNKNOWN_START and began != UNKNOWN_START)
            total += value if is_reset else value - before
        return new_sample((time, value, start, total))
    if time < newest:
        return new_sample((newest, before, began, _after_rewrite(before, value)))
    if start == UNKNOWN_START:
        start = began
    if start == began and _same(value, before):
        return sample
    return new_sample((time, value, start, _after_rewrite(value, value)))


def _after(sample: LatestSample | None, times: Ints, starts: Ints, values: NDArray[Any]) -> LatestSample:
    """Returns the newest sample of a metric after samples in rising order were written: `_next` for all of them."""
    if sample is None:
        sample, later = _first(times.item(0), starts.item(0), values.item(0)), 1
    else:
        late, later = (int(np.searchsorted(times, sample.time, side)) for side in ("left", "right"))
        # Of the samples before the newest one the last decides alone; one may be at the very same moment.
        for row in range(max(0, late - 1), later):
            sample = _next(sample, times.item(row), starts.item(row), values.item(row))
    if later == len(times):
        return sample
    total = _total(sample, starts[later:], values[later:])
    return new_sample((times.item(-1), values.item(-1), starts.item(-1), total))


def _total(sample: LatestSample, starts: Ints, values: NDArray[Any]) -> int | float | None:
    """Returns the lifetime total after later samples."""
    before, total = sample.value, sample.lifetime
    if values.dtype == np.object_:
        return _total_of_scalars(sample, starts, values)
    if values.dtype == np.bool_:
        return 1 if values.any() else total if isinstance(before, bool) else None
    if total is None or isinstance(before, (str, bool)):
        return None
    if not type(before) is type(total) is type(values.item(0)):
        return _grown(total, sample, starts, values.astype(np.object_))
    previous, is_reset = _resets(sample, starts, values)
    if values.dtype == np.int64:
        # All steps add up to the last value less the one before the first; a reset adds what it fell from. Summed as
        # Python's integers, which do not overflow.
        last: int = values.item(-1)
        fallen: list[int] = previous[is_reset].tolist()
        return total + last - int(before) + sum(fallen)
    with np.errstate(over="ignore", invalid="ignore"):
        steps = np.where(is_reset, values, values - previous)
        return float(np.cumsum(np.concatenate(([total], steps)))[-1])


def _total_of_scalars(sample: LatestSample, starts: Ints, values: NDArray[Any]) -> int | float | None:
    """Returns the lifetime total after later samples of any type: what those of the last one's kind come to."""
    if isinstance(values.item(-1), str):
        return 0
    kinds = _KIND[types_of(values)]
    others = np.flatnonzero(kinds != kinds[-1])
    if kinds[-1] == ValueType.BOOL:
        run = values[others[-1] + 1 :] if len(others) else values
        return 1 if run.any() else None if len(others) or not isinstance(sample.value, bool) else sample.lifetime
    if len(others) or sample.lifetime is None or isinstance(sample.value, (str, bool)):
        return None
    return _grown(sample.lifetime, sample, starts, values)


_KIND = np.array([0, ValueType.DOUBLE, ValueType.DOUBLE, ValueType.BOOL, ValueType.STRING])
"""The kind of a sample by its type: numbers are one."""


def _grown(total: float, sample: LatestSample, starts: Ints, values: NDArray[Any]) -> int | float:
    """Returns a total after later numbers, given as Python scalars: steps between integers are exact."""
    previous, is_reset = _resets(sample, starts, values)
    steps = np.where(is_reset, values, values - previous)
    return reduce(add, steps.tolist(), total)


def _resets(sample: LatestSample, starts: Ints, values: NDArray[Any]) -> tuple[NDArray[Any], Bools]:
    """Returns the number before each later one, and which later ones are resets."""
    previous, known = _shifted(sample.value, values), _shifted(sample.start, starts)
    restarted = (starts != known) & (starts != UNKNOWN_START) & (known != UNKNOWN_START)
    return previous, (values < previous).astype(np.bool_) | restarted


def _shifted(first: Scalar, values: NDArray[Any]) -> NDArray[Any]:
    """Returns the value before each value."""
    shifted = np.empty_like(values)
    shifted[0], shifted[1:] = first, values[:-1]
    return shifted


def _same(one: Scalar, other: Scalar) -> bool:
    return one == other and type(one) is type(other)


def _after_rewrite(newest: Scalar, value: Scalar) -> int | None:
    """Returns the lifetime after a value changed the past: certain for texts, and for booleans when it is true."""
    if isinstance(newest, str):
        return 0
    return 1 if value is True and isinstance(newest, bool) else None
