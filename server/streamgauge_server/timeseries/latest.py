"""The newest sample of every metric of a subject: the row of the table `latest`, moved along with every write.

A value stands only if its moment is not older than the stored one. Beside it stands the lifetime total: the first value
ever plus all increases since, across resets. Data that arrive in order move the total; late or overwritten data make it
unknown (None) until a reader recomputes it from blocks with `query.lifetime_of`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from google.protobuf.message import DecodeError

from streamgauge_server.internal import block_pb2
from streamgauge_server.model.values import INT64_MAX, INT64_MIN, Scalar
from streamgauge_server.timeseries.envelope import BlockCorrupt, seal, unseal
from streamgauge_server.timeseries.frame import UNKNOWN_START, Column, Frame


class LatestSample(NamedTuple):
    """The newest sample of a metric. Times in microseconds; `start` is UNKNOWN_START where it was not told.

    `lifetime`: of a number, the first value ever and all increases since; of a boolean, 1 if it was ever true, else 0;
    of a text 0; None where it is not known.
    """

    time: int
    value: Scalar
    start: int
    lifetime: int | float | None


def advance(current: Mapping[int, LatestSample], frame: Frame) -> dict[int, LatestSample]:
    """Returns the newest samples after a frame was written; `current` is not changed."""
    advanced = dict(current)
    for metric, column in frame.columns.items():
        for time, start, value in _samples(frame, metric, column):
            advanced[metric] = _next(advanced.get(metric), time, start, value)
    return advanced


def advance_row(
    current: Mapping[int, LatestSample], time: int, start: int, values: Mapping[int, Scalar]
) -> dict[int, LatestSample]:
    """Returns the newest samples after one observation was written; `current` is not changed. The hot path."""
    advanced = dict(current)
    for metric, value in values.items():
        advanced[metric] = _next(advanced.get(metric), time, start, value)
    return advanced


def _samples(frame: Frame, metric: int, column: Column) -> Sequence[tuple[int, int, Scalar]]:
    times, starts, values = frame.times, frame.starts_of(metric), column.values
    if column.present is not None:
        times, starts, values = times[column.present], starts[column.present], values[column.present]
    return list(zip(times.tolist(), starts.tolist(), values.tolist(), strict=True))


def _next(sample: LatestSample | None, time: int, start: int, value: Scalar) -> LatestSample:
    """Returns the newest sample of a metric after one more was written."""
    if sample is None:
        return LatestSample(time, value, start, _first_lifetime(value))
    if time > sample.time:
        return LatestSample(time, value, start, _moved_lifetime(sample, start, value))
    if time < sample.time:
        return sample._replace(lifetime=_after_rewrite(sample, value))
    known = sample.start if start == UNKNOWN_START else start
    if known == sample.start and _same(value, sample.value):
        return sample
    return LatestSample(time, value, known, _after_rewrite(sample, value))


def _same(one: Scalar, other: Scalar) -> bool:
    return one == other and type(one) is type(other)


def _first_lifetime(value: Scalar) -> int | float:
    return 0 if isinstance(value, str) else int(value) if isinstance(value, bool) else value


def _after_rewrite(sample: LatestSample, value: Scalar) -> int | None:
    """Returns the lifetime after a change of the past: certain for texts, and for booleans where the change is true."""
    if isinstance(value, str):
        return 0
    return 1 if value is True else None


def _moved_lifetime(sample: LatestSample, start: int, value: Scalar) -> int | float | None:
    if isinstance(value, str):
        return 0
    total = sample.lifetime
    if isinstance(value, bool):
        return 1 if value else total
    before = sample.value
    if total is None or isinstance(before, str):
        return None
    if value < before or (start != sample.start and start != UNKNOWN_START and sample.start != UNKNOWN_START):
        return total + value
    return total + (value - before)


def encode_latest(samples: Mapping[int, LatestSample]) -> bytes:
    """Returns the newest samples of a subject as stored in the table `latest`."""
    groups: tuple[list[int], list[int], list[int], list[int]] = ([], [], [], [])
    for metric, sample in samples.items():
        value = sample.value
        if isinstance(value, float):
            groups[0].append(metric)
        elif isinstance(value, str):
            groups[3].append(metric)
        elif isinstance(value, bool):
            groups[2].append(metric)
        else:
            groups[1].append(metric)
    metrics = [metric for group in groups for metric in group]
    ordered = [samples[metric] for metric in metrics]
    pairs: dict[tuple[int, int], int] = {}
    pair_of = [pairs.setdefault((sample.time, sample.start), len(pairs)) for sample in ordered]
    message = block_pb2.Latest(
        shape=[len(group) for group in groups],
        metrics=metrics,
        times=[time for time, _ in pairs],
        starts=[start for _, start in pairs],
        unknown=[position for position, sample in enumerate(ordered) if sample.lifetime is None],
    )
    if len(pairs) > 1:
        message.pairs.extend(pair_of)
    excesses: list[int] = []
    for position, (_, value, _, lifetime) in enumerate(ordered):
        if isinstance(value, float):
            message.doubles.append(value)
            message.double_lifetimes.append(0.0 if lifetime is None else lifetime)
        elif isinstance(value, str):
            message.texts.append(value)
        elif isinstance(value, bool):
            message.bools.append(value)
            message.bool_lifetimes.append(bool(lifetime))
        else:
            message.ints.append(value)
            excess = 0 if lifetime is None else int(lifetime) - value
            if not INT64_MIN <= excess <= INT64_MAX:
                message.wide.append(position)
                message.wide_excesses.append(str(excess))
                excess = 0
            excesses.append(excess)
    if any(excesses):
        message.int_excesses.extend(excesses)
    return seal(message.SerializeToString())


def decode_latest(data: bytes, metrics: Collection[int] | None = None) -> dict[int, LatestSample]:
    """Returns the newest samples, of some metrics or all. Raises BlockCorrupt."""
    try:
        message = block_pb2.Latest.FromString(unseal(data))
    except DecodeError as error:
        raise BlockCorrupt("a row of latest values cannot be parsed") from error
    ids = list(message.metrics)
    ints = list(message.ints)
    lifetimes: list[int | float | None] = list(message.double_lifetimes)
    if message.int_excesses:
        lifetimes += [value + excess for value, excess in zip(ints, message.int_excesses, strict=True)]
    else:
        lifetimes += ints
    lifetimes += map(int, message.bool_lifetimes)
    lifetimes += [0] * len(message.texts)
    values: list[Scalar] = [*message.doubles, *ints, *message.bools, *message.texts]
    if not len(ids) == len(values) == len(lifetimes):
        raise BlockCorrupt("a row of latest values does not have one value per metric")
    for position, excess in zip(message.wide, message.wide_excesses, strict=True):
        lifetimes[position] = int(values[position]) + int(excess)
    for position in message.unknown:
        lifetimes[position] = None
    times, starts = list(message.times), list(message.starts)
    pairs = list(message.pairs) or [0] * len(ids)
    return {
        metric: LatestSample(times[pair], value, starts[pair], lifetime)
        for metric, pair, value, lifetime in zip(ids, pairs, values, lifetimes, strict=True)
        if metrics is None or metric in metrics
    }
