"""A row of the table `latest`: how the newest samples of a subject become bytes, and back.

Every write does both for each of its subjects, and every read of many newest values is little else. So values go by
columns through `struct`, and what depends on the metrics and their types alone is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import lru_cache, partial
from operator import itemgetter
from struct import Struct
from typing import Any, NamedTuple

from streamgauge_server.internal import block_pb2
from streamgauge_server.model.values import INT64_MAX, INT64_MIN, Scalar
from streamgauge_server.timeseries.envelope import CONTRADICTIONS, BlockCorrupt, seal, unseal
from streamgauge_server.timeseries.packing import Picker, picker


class LatestSample(NamedTuple):
    """The newest sample of a metric. Times in microseconds; `start` is UNKNOWN_START where it was not told.

    `lifetime`: of a number, the first number ever and all increases since, a double where one of the numbers is one; of
    a boolean, 1 if the metric was ever true, else 0; of a text 0; None where it is not known.
    """

    time: int
    value: Scalar
    start: int
    lifetime: int | float | None


new_sample: Callable[[Iterable[Any]], LatestSample] = partial(tuple.__new__, LatestSample)
"""What the constructor does, at a quarter of its cost."""


def encode_latest(samples: Mapping[int, LatestSample]) -> bytes:
    """Returns the newest samples of a subject as stored in the table `latest`, with their order."""
    times, values, starts, lifetimes = zip(*samples.values(), strict=True) if samples else ((), (), (), ())
    reported, kinds = tuple(samples), tuple(map(type, values))
    rest: block_pb2.Latest | None = None
    if all(column.count(column[0]) == len(column) for column in (times, starts) if column):
        shape = _shape(len(times[:1]), reported, kinds)
        cells = times[:1] + starts[:1]
    else:
        numbers: dict[tuple[int, int], int] = {}
        in_cells = [(times[place], starts[place]) for place in _places(kinds)]
        rest = block_pb2.Latest(pairs=[numbers.setdefault(pair, len(numbers)) for pair in in_cells])
        shape = _shape(len(numbers), reported, kinds)
        cells = (*[time for time, _ in numbers], *[start for _, start in numbers])
    if tuple(map(type, lifetimes)) != shape.totals or _beyond_int64(lifetimes):
        rest = block_pb2.Latest() if rest is None else rest
        lifetimes = _set_aside(rest, shape, kinds, lifetimes)
    if shape.texts:
        rest = block_pb2.Latest() if rest is None else rest
        rest.texts.extend([values[place] for place in shape.texts])
    content = shape.head + shape.cells.pack(*shape.arrange(cells + values + lifetimes))
    return seal(content if rest is None else content + rest.SerializeToString())


def _beyond_int64(lifetimes: tuple[int | float, ...]) -> bool:
    """Tells whether a lifetime may not fit its cell; of doubles, which always do, more than needed are looked at."""
    return bool(lifetimes) and not INT64_MIN <= min(lifetimes) <= max(lifetimes) <= INT64_MAX


def _set_aside(
    message: block_pb2.Latest, shape: _Shape, kinds: tuple[type, ...], lifetimes: Sequence[int | float | None]
) -> tuple[int | float, ...]:
    """Puts lifetimes that are not known or do not fit their cells into a message; returns all with 0 in their place."""
    cells: list[int | float] = [0 if lifetime is None else lifetime for lifetime in lifetimes]
    for position, place in enumerate(shape.places):
        lifetime = lifetimes[place]
        if lifetime is None:
            message.unknown.append(position)
        elif type(lifetime) is int and not INT64_MIN <= lifetime <= INT64_MAX:
            message.wide.append(position)
            message.wide_lifetimes.append(str(lifetime))
            cells[place] = 0
        elif type(lifetime) is float and kinds[place] is int:
            message.wide.append(position)
            message.wide_lifetimes.append(repr(lifetime))
            cells[place] = 0
    return tuple(cells)


class _Shape(NamedTuple):
    """How rows of latest values are written that have the same metrics, of the same types.

    What is written begins with `head` and the cells. `arrange` brings the pairs, the values and the lifetimes, as they
    were reported, into the order of the cells. `places` are where the metrics of the schema are among the reported,
    `texts` those of texts; `totals` are the types of lifetimes that fit their cells.
    """

    head: bytes
    cells: Struct
    arrange: Picker
    places: tuple[int, ...]
    texts: tuple[int, ...]
    totals: tuple[type, ...]


_KINDS = (float, int, bool, str)


def _places(kinds: Sequence[type]) -> list[int]:
    """Returns the places of values in the order of the cells: by type."""
    return [place for kind in _KINDS for place, other in enumerate(kinds) if other is kind]


def _shape(pairs: int, reported: tuple[int, ...], kinds: tuple[type, ...]) -> _Shape:
    make = _kept_shape if len(reported) <= _KEPT_METRICS else _make_shape
    return make(pairs, reported, kinds)


def _make_shape(pairs: int, reported: tuple[int, ...], kinds: tuple[type, ...]) -> _Shape:
    places = _places(kinds)
    if len(places) < len(kinds):
        raise TypeError(f"the newest samples are of the types {kinds}, of which one is not a type of values")
    counts = tuple([kinds.count(kind) for kind in _KINDS])
    cells = _cells(pairs, counts)
    schema = block_pb2.LatestSchema(pairs=pairs, columns=counts, metrics=[reported[place] for place in places])
    if places != sorted(places):
        schema.order.extend(sorted(range(len(places)), key=places.__getitem__))
    # The cells come last of the two, and their size is known: what is before them is always the same.
    message = block_pb2.Latest(schema=schema.SerializeToString(), cells=bytes(cells.size)).SerializeToString()
    arranged = list(range(2 * pairs))
    for kind in (float, int, bool):
        of_kind = [2 * pairs + place for place in places if kinds[place] is kind]
        arranged += of_kind + [len(kinds) + place for place in of_kind]
    return _Shape(
        message[: len(message) - cells.size],
        cells,
        picker(arranged),
        tuple(places),
        tuple([place for place in places if kinds[place] is str]),
        tuple([float if kind is float else int for kind in kinds]),
    )


def _cells(pairs: int, counts: Sequence[int]) -> Struct:
    doubles, integers, bools, _ = counts
    return Struct(f"<{2 * pairs}q{2 * doubles}d{2 * integers}q{bools}?{bools}B")


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
    pairs = layout.pairs
    cells = layout.cells.unpack(message.cells)
    values, lifetimes = layout.values(cells), layout.lifetimes(cells)
    if texts := message.texts:
        values += tuple(texts)
        lifetimes += (0,) * len(texts)
    if message.unknown or message.wide or message.wide_lifetimes:
        lifetimes = _completed(message, lifetimes)
    times, starts = cells[:pairs], cells[pairs : 2 * pairs]
    if pairs > 1:
        of_metric = message.pairs
        times = tuple([times[pair] for pair in of_metric])
        starts = tuple([starts[pair] for pair in of_metric])
    else:
        times *= len(values)
        starts *= len(values)
    samples: Iterable[LatestSample] = map(new_sample, zip(times, values, starts, lifetimes, strict=True))
    if layout.pick is not None:
        samples = layout.pick(tuple(samples))
    return dict(zip(layout.reported, samples, strict=True))


def _completed(message: block_pb2.Latest, lifetimes: Iterable[Any]) -> tuple[int | float | None, ...]:
    """Returns lifetimes with those that are beside the cells."""
    completed: list[int | float | None] = list(lifetimes)
    for position, lifetime in zip(message.wide, message.wide_lifetimes, strict=True):
        completed[position] = _wide(lifetime)
    for position in message.unknown:
        completed[position] = None
    return tuple(completed)


class _Layout(NamedTuple):
    """Where the values and lifetimes of a row are among its cells.

    `reported` are the metrics in the order of their first report; `pick` brings samples into it, None where it is that
    of the cells.
    """

    pairs: int
    cells: Struct
    values: Picker
    lifetimes: Picker
    reported: tuple[int, ...]
    pick: Callable[[tuple[LatestSample, ...]], tuple[LatestSample, ...]] | None


_KEPT_METRICS = 512


def _read_layout(schema: bytes) -> _Layout:
    return _kept_schema(schema) if len(schema) <= 4 * _KEPT_METRICS else _parse_schema(schema)


def _parse_schema(schema: bytes) -> _Layout:
    message = block_pb2.LatestSchema.FromString(schema)
    pairs, metrics, order = message.pairs, tuple(message.metrics), message.order
    if len(message.columns) != 4 or sum(message.columns) != len(metrics):
        raise BlockCorrupt("the schema of a row of latest values contradicts itself")
    if order and sorted(order) != list(range(len(metrics))):
        raise BlockCorrupt("the order of latest values does not name each of them once")
    values: list[int] = []
    lifetimes: list[int] = []
    begin = 2 * pairs
    for count in message.columns[:3]:
        values += range(begin, begin + count)
        lifetimes += range(begin + count, begin + 2 * count)
        begin += 2 * count
    return _Layout(
        pairs,
        _cells(pairs, message.columns),
        picker(values),
        picker(lifetimes),
        tuple([metrics[place] for place in order]) if order else metrics,
        itemgetter(*order) if order else None,
    )


_kept_schema = lru_cache(maxsize=4_096)(_parse_schema)
_kept_shape = lru_cache(maxsize=4_096)(_make_shape)
