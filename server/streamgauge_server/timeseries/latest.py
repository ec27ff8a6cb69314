"""The newest sample of every metric of a subject: the row of the table `latest`, moved along with every write.

A value stands only if its moment is not older than the stored one. Beside it stands the lifetime total: the first value
ever plus all increases since, across resets. Data that arrive in order move the total; late or overwritten data make it
unknown (None) until a reader recomputes it from blocks with `query.lifetime_of`. So does a change of kind: what the
numbers or booleans of a metric came to before a value of another kind is not kept here.

The metrics of a subject stand in the order in which it first reported them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from functools import lru_cache, reduce
from operator import add, itemgetter
from struct import Struct
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamgauge_server.internal import block_pb2
from streamgauge_server.model.values import INT64_MAX, INT64_MIN, Scalar, ValueType
from streamgauge_server.timeseries.envelope import CONTRADICTIONS, BlockCorrupt, seal, unseal
from streamgauge_server.timeseries.frame import UNKNOWN_START, Bools, Frame, Ints
from streamgauge_server.timeseries.mixed import types_of


class LatestSample(NamedTuple):
    """The newest sample of a metric. Times in microseconds; `start` is UNKNOWN_START where it was not told.

    `lifetime`: of a number, the first number ever and all increases since, a double where one of the numbers is one; of
    a boolean, 1 if the metric was ever true, else 0; of a text 0; None where it is not known.
    """

    time: int
    value: Scalar
    start: int
    lifetime: int | float | None


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


_new = LatestSample._make  # half the cost of the constructor


def _first(time: int, start: int, value: Scalar) -> LatestSample:
    lifetime = 0 if isinstance(value, str) else int(value) if isinstance(value, bool) else value
    return _new((time, value, start, lifetime))


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
        return _new((time, value, start, total))
    if time < newest:
        return _new((newest, before, began, _after_rewrite(before, value)))
    if start == UNKNOWN_START:
        start = began
    if start == began and _same(value, before):
        return sample
    return _new((time, value, start, _after_rewrite(value, value)))


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
    return _new((times.item(-1), values.item(-1), starts.item(-1), total))


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


def encode_latest(samples: Mapping[int, LatestSample]) -> bytes:
    """Returns the newest samples of a subject as stored in the table `latest`, with their order."""
    doubles: list[int] = []
    integers: list[int] = []
    bools: list[int] = []
    texts: list[int] = []
    for metric, sample in samples.items():
        kind = type(sample[1])
        if kind is int:
            integers.append(metric)
        elif kind is float:
            doubles.append(metric)
        elif kind is bool:
            bools.append(metric)
        else:
            texts.append(metric)
    metrics = doubles + integers + bools + texts
    ordered = [samples[metric] for metric in metrics]
    message = block_pb2.Latest(texts=[samples[metric].value for metric in texts])  # type: ignore[misc]
    pairs: dict[tuple[int, int], int] = {}
    pair_of = [pairs.setdefault((time, start), len(pairs)) for time, _, start, _ in ordered]
    if len(pairs) > 1:
        message.pairs.extend(pair_of)
    lifetimes: list[Any] = []
    for position, sample in enumerate(ordered):
        lifetime = sample[3]
        if lifetime is None:
            message.unknown.append(position)
            lifetime = 0
        elif type(lifetime) is int and not INT64_MIN <= lifetime <= INT64_MAX:
            message.wide.append(position)
            message.wide_lifetimes.append(str(lifetime))
            lifetime = 0
        elif type(lifetime) is float and type(sample[1]) is int:
            message.wide.append(position)
            message.wide_lifetimes.append(repr(lifetime))
            lifetime = 0
        lifetimes.append(lifetime)
    values = [sample[1] for sample in ordered]
    last_double, last_integer = len(doubles), len(doubles) + len(integers)
    last_bool = last_integer + len(bools)
    layout = _layout(len(pairs), (len(doubles), len(integers), len(bools), len(texts)), tuple(metrics), tuple(samples))
    message.schema = layout.schema
    message.cells = layout.cells.pack(
        *[time for time, _ in pairs],
        *[start for _, start in pairs],
        *values[:last_double],
        *lifetimes[:last_double],
        *values[last_double:last_integer],
        *lifetimes[last_double:last_integer],
        *values[last_integer:last_bool],
        *lifetimes[last_integer:last_bool],
    )
    return seal(message.SerializeToString())


def _wide(lifetime: str) -> int | float:
    """Returns a stored total: integers are digits, doubles have a point or exponent, or are `inf` or `nan`."""
    try:
        return int(lifetime)
    except ValueError:
        return float(lifetime)


def decode_latest(data: bytes, metrics: Collection[int] | None = None) -> dict[int, LatestSample]:
    """Returns the newest samples, of some metrics or all, in the order in which they were first reported.

    Raises BlockCorrupt.
    """
    content = unseal(data)
    try:
        samples = _read(content)
    except CONTRADICTIONS as error:
        raise BlockCorrupt(f"a row of latest values contradicts itself: {error}") from error
    if metrics is None:
        return samples
    return {metric: sample for metric, sample in samples.items() if metric in metrics}


def _read(content: bytes) -> dict[int, LatestSample]:
    message = block_pb2.Latest.FromString(content)
    layout = _read_layout(message.schema)
    pairs, texts = layout.pairs, message.texts
    unpacked = layout.cells.unpack(message.cells)
    times, starts = unpacked[:pairs], unpacked[pairs : 2 * pairs]
    values: list[Scalar] = []
    lifetimes: list[int | float | None] = []
    begin = 2 * pairs
    for count in layout.counts[:3]:
        values += unpacked[begin : begin + count]
        lifetimes += unpacked[begin + count : begin + 2 * count]
        begin += 2 * count
    values += texts
    lifetimes += [0] * len(texts)
    for position, lifetime in zip(message.wide, message.wide_lifetimes, strict=True):
        lifetimes[position] = _wide(lifetime)
    for position in message.unknown:
        lifetimes[position] = None
    if pairs > 1:
        of_metric = message.pairs
        times = tuple([times[pair] for pair in of_metric])
        starts = tuple([starts[pair] for pair in of_metric])
    else:
        times *= len(values)
        starts *= len(values)
    samples: Iterable[LatestSample] = map(_new, zip(times, values, starts, lifetimes, strict=True))
    if layout.pick is not None:
        samples = layout.pick(tuple(samples))
    return dict(zip(layout.reported, samples, strict=True))


class _Layout(NamedTuple):
    """How the cells of a row of latest values are packed.

    `metrics` are in the order of the cells, `reported` in that of their first report; `pick` brings samples from the
    one into the other, None where the two are the same.
    """

    schema: bytes
    pairs: int
    counts: tuple[int, ...]
    metrics: tuple[int, ...]
    reported: tuple[int, ...]
    pick: Callable[[tuple[LatestSample, ...]], tuple[LatestSample, ...]] | None
    cells: Struct


_KEPT_METRICS = 512


def _layout(pairs: int, counts: tuple[int, ...], metrics: tuple[int, ...], reported: tuple[int, ...]) -> _Layout:
    make = _kept_layout if len(metrics) <= _KEPT_METRICS else _make_layout
    return make(pairs, counts, metrics, reported)


def _make_layout(pairs: int, counts: tuple[int, ...], metrics: tuple[int, ...], reported: tuple[int, ...]) -> _Layout:
    doubles, integers, bools, _ = counts
    order: list[int] = []
    if metrics != reported:
        places = {metric: place for place, metric in enumerate(metrics)}
        order = [places[metric] for metric in reported]
    return _Layout(
        block_pb2.LatestSchema(pairs=pairs, columns=counts, metrics=metrics, order=order).SerializeToString(),
        pairs,
        counts,
        metrics,
        reported,
        itemgetter(*order) if order else None,
        Struct(f"<{2 * pairs}q{2 * doubles}d{2 * integers}q{bools}?{bools}B"),
    )


_kept_layout = lru_cache(maxsize=4_096)(_make_layout)


def _read_layout(schema: bytes) -> _Layout:
    return _kept_schema(schema) if len(schema) <= 4 * _KEPT_METRICS else _parse_schema(schema)


def _parse_schema(schema: bytes) -> _Layout:
    message = block_pb2.LatestSchema.FromString(schema)
    metrics, order = tuple(message.metrics), message.order
    if len(message.columns) != 4 or sum(message.columns) != len(metrics):
        raise BlockCorrupt("the schema of a row of latest values contradicts itself")
    if order and sorted(order) != list(range(len(metrics))):
        raise BlockCorrupt("the order of latest values does not name each of them once")
    reported = tuple([metrics[place] for place in order]) if order else metrics
    return _make_layout(message.pairs, tuple(message.columns), metrics, reported)


_kept_schema = lru_cache(maxsize=4_096)(_parse_schema)
