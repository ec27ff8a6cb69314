"""What a Debezium source reports every 15 seconds: twelve metrics, counters and gauges, integers and doubles."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from streamgauge.v1 import common_pb2, metrics_service_pb2

MICROS = 1_000_000
DAY = 86_400 * MICROS
SCRAPE = 15 * MICROS
"""Time between two readings, in microseconds."""

COUNTERS = (
    "SnapshotTotalNumberOfEventsSeen",
    "StreamingTotalNumberOfCreateEventsSeen",
    "StreamingTotalNumberOfUpdateEventsSeen",
    "StreamingTotalNumberOfDeleteEventsSeen",
    "sourceRecordWriteTotal",
    "byteTotal",
    "recordSendTotal",
    "recordRetryTotal",
)
GAUGES = ("StreamingMilliSecondsBehindSource", "StreamingMilliSecondsSinceLastEvent")
RATES = ("pollBatchAvgTimeMs", "batchSizeAvg")
"""Kafka Connect's averages, which are doubles and not among the built-in metrics."""
METRICS = (*COUNTERS, *GAUGES, *RATES)

_RESTART_EVERY = 5 * DAY
_SNAPSHOT_EVENTS = 20_254


@dataclass(frozen=True, slots=True)
class Readings:
    """Consecutive readings of one source: times in microseconds and one column per metric."""

    source: str
    times: NDArray[np.int64]
    columns: dict[str, NDArray[np.int64] | NDArray[np.float64]]
    starts: NDArray[np.int64]
    """Per reading, when its counters began to count."""

    @property
    def sample_count(self) -> int:
        """How many values there are."""
        return len(self.times) * len(self.columns)


def readings(number: int, first: int, count: int, *, step: int = SCRAPE) -> Readings:
    """Returns `count` readings of the source with this number, from `first` on, always the same ones.

    Traffic follows the day. Counters grow by what happened since the reading before and begin again at 0 with every
    restart of the task; the snapshot's counter moves in the first task alone.
    """
    random = np.random.default_rng(number)
    times = first + np.arange(count, dtype=np.int64) * step
    scale = random.uniform(0.5, 20) * step / SCRAPE
    traffic = scale * (1.2 + np.sin(2 * np.pi * times / DAY + random.uniform(0, 6)))
    creates, updates, deletes = (random.poisson(share * traffic) for share in (5.0, 3.0, 0.2))
    written = creates + updates + 2 * deletes  # a delete writes two records, the event and its tombstone
    retries = random.poisson(0.002, count)
    task = (times - first + int(random.uniform(0, _RESTART_EVERY))) // _RESTART_EVERY
    task -= task[0]
    grown = (
        np.where(np.arange(count) == 0, _SNAPSHOT_EVENTS, 0),
        creates,
        updates,
        deletes,
        written,
        written * 412 + random.integers(0, 9_000, count),
        written + retries,
        retries,
    )
    columns: dict[str, NDArray[np.int64] | NDArray[np.float64]] = {
        name: _counted(increments, task) for name, increments in zip(COUNTERS, grown, strict=True)
    }
    columns["StreamingMilliSecondsBehindSource"] = random.gamma(2.0, 120.0, count).astype(np.int64)
    columns["StreamingMilliSecondsSinceLastEvent"] = random.exponential(900.0, count).astype(np.int64)
    columns["pollBatchAvgTimeMs"] = np.round(random.gamma(3.0, 2.0, count), 3)
    columns["batchSizeAvg"] = np.round(16_384 * random.beta(4, 2, count), 1)
    changed = np.diff(task, prepend=task[0] - 1) != 0
    starts = times[changed][task] - SCRAPE // 2
    return Readings(source_name(number), times, columns, starts)


def _counted(increments: NDArray[np.int64], task: NDArray[np.int64]) -> NDArray[np.int64]:
    """Returns running totals that begin again at 0 with every task."""
    total = np.cumsum(increments)
    first_of_task = np.searchsorted(task, np.arange(task[-1] + 1))
    before = total[first_of_task] - increments[first_of_task]
    return np.asarray(total - before[task], dtype=np.int64)


def source_name(number: int) -> str:
    """Returns the resource name of a source: as Debezium's own, 24 hexadecimal digits."""
    return f"sources/{number + 0x67AD6E0AF08A2365C7000000:024x}"


def frames(of: Readings) -> Iterator[common_pb2.Frame]:
    """Yields readings as frames, one for each day and task."""
    cuts = (np.diff(of.times // DAY) != 0) | (np.diff(of.starts) != 0)
    bounds = [0, *(np.flatnonzero(cuts) + 1).tolist(), len(of.times)]
    for begin, end in pairwise(bounds):
        frame = common_pb2.Frame(subject=of.source, time_unix_micros=of.times[begin:end].tolist())
        frame.start_time.FromMicroseconds(int(of.starts[begin]))
        for metric, values in of.columns.items():
            column = frame.columns.add(metric=metric)
            array = column.ints if values.dtype == np.int64 else column.doubles
            array.values.extend(values[begin:end].tolist())
        yield frame


def write_requests(sources: range, first: int, count: int) -> Iterator[bytes]:
    """Yields encoded writes of one observation each: the first readings of all sources, then the second ones."""
    series = [readings(number, first, count) for number in sources]
    columns = [{name: values.tolist() for name, values in one.columns.items()} for one in series]
    for row in range(count):
        for one, values in zip(series, columns, strict=True):
            request = metrics_service_pb2.WriteMetricsRequest()
            observation = request.observations.add(subject=one.source)
            observation.time.FromMicroseconds(int(one.times[row]))
            observation.start_time.FromMicroseconds(int(one.starts[row]))
            for metric, readings_of_metric in values.items():
                value = readings_of_metric[row]
                if isinstance(value, float):
                    observation.values[metric].double_value = value
                else:
                    observation.values[metric].int64_value = value
            yield request.SerializeToString()
