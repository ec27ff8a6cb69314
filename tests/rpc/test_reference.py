"""Random histories, written over a channel in any order, batches and form, are read as a plain reference reads them.

The reference is loops over dicts: it knows nothing of blocks, days, summaries or arrays.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count, groupby, pairwise
from typing import Any, NamedTuple

from google.protobuf.field_mask_pb2 import FieldMask
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from streamgauge.v1 import common_pb2
from streamgauge.v1 import metrics_service_pb2 as pb

from tests.rpc.messages import (
    DAY,
    MINUTE,
    NOW,
    Scalar,
    batch,
    column,
    columns_of,
    frame,
    latest_of,
    micros,
    query,
    row,
    write,
)
from tests.rpc.serving import Stubs

SLOT = 5 * MINUTE
SLOTS = 3 * DAY // SLOT
ORIGIN = NOW - 3 * DAY
PARTS = ("", "task=0", "task=1")
AGGREGATES = {
    "counter": ["COUNT", "SUM", "MIN", "MAX", "AVG", "FIRST", "LAST", "INCREASE"],
    "gauge": ["COUNT", "SUM", "MIN", "MAX", "AVG", "FIRST", "LAST"],
    "flag": ["COUNT", "SUM", "MIN", "MAX", "AVG", "FIRST", "LAST"],
    "text": ["COUNT", "FIRST", "LAST"],
}
COMBINATION = {"counter": "SUM", "gauge": "SUM", "flag": "MAX", "text": "LAST"}


@dataclass(frozen=True)
class Sample:
    """One observation of a part; the moments of two parts never coincide, so that the newest one is certain."""

    part: str
    slot: int
    start: int | None
    values: dict[str, Scalar]

    @property
    def time(self) -> int:
        return ORIGIN + self.slot * SLOT + PARTS.index(self.part)


@dataclass(frozen=True)
class Batch:
    samples: list[Sample]
    columnar: bool


def dense(part: str, first: int, step: int, length: int, start: int | None, slope: int, reset: int) -> list[Sample]:
    """A regular scrape whose counter falls to 0 at sample `reset`; long enough to be stored with summaries."""
    samples = []
    for n in range(min(length, (SLOTS - 1 - first) // step + 1)):
        since = n - reset if n >= reset else n
        values: dict[str, Scalar] = {"counter": since * slope, "gauge": n * 0.25 - 3, "flag": n % 5 == 0}
        samples.append(Sample(part, first + n * step, start, values))
    return samples


slots = st.integers(0, SLOTS - 1)
starts = st.sampled_from([None, None, 1, 2])
parts = st.sampled_from(PARTS)
readings: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {},
    optional={
        "counter": st.integers(0, 30),
        "gauge": st.integers(-8, 8).map(lambda n: n / 4),
        "flag": st.booleans(),
        "text": st.sampled_from(["", "a", "b"]),
    },
).filter(bool)
single = st.builds(Sample, parts, slots, starts, readings).map(lambda sample: [sample])
scrape = st.builds(dense, parts, slots, st.integers(1, 3), st.integers(2, 200), starts, st.integers(0, 9), slots)
batches = st.builds(
    lambda groups, columnar: Batch([sample for group in groups for sample in group], columnar),
    st.lists(st.one_of(single, single, scrape), min_size=1, max_size=4),
    st.booleans(),
)
histories = st.lists(batches, min_size=1, max_size=6)
ranges = st.tuples(slots, slots, st.integers(-1, 3)).map(
    lambda drawn: (ORIGIN + min(drawn[:2]) * SLOT + drawn[2], ORIGIN + (max(drawn[:2]) + 1) * SLOT + drawn[2])
)
windows = st.sampled_from([None, (7, "MINUTE"), (1, "HOUR"), (5, "HOUR"), (1, "DAY"), (1, "WEEK")])

_numbers = count()


async def store(stubs: Stubs, source: str, history: Iterable[Batch]) -> None:
    for one in history:
        if one.columnar:
            frames = [
                to_frame(source, part, start, list(samples))
                for (part, start), samples in groupby(one.samples, key=lambda sample: (sample.part, sample.start))
            ]
            imported = await stubs.metrics.ImportMetrics(iter([batch(*frames)]))
            assert imported.rejected_frame_count == 0, imported.errors
        else:
            rows = [row(s.values, subject=source, part=s.part, at=s.time, start=s.start) for s in one.samples]
            written = await stubs.metrics.WriteMetrics(write(*rows))
            assert written.rejected_count == 0, written.errors


def to_frame(source: str, part: str, start: int | None, samples: Sequence[Sample]) -> common_pb2.Frame:
    columns = []
    for metric in AGGREGATES:
        at = [position for position, sample in enumerate(samples) if metric in sample.values]
        if at:
            columns.append(column(metric, [samples[position].values[metric] for position in at], at))
    return frame([s.time for s in samples], *columns, subject=source, part=part, start=start)


Stored = dict[int, tuple[Any, int | None]]
"""Value and start time by moment."""


class Step(NamedTuple):
    """A sample, and what it adds to a counter since the sample before; nothing is added by the first one."""

    time: int
    value: Any
    increase: Any

    def moment(self) -> int:
        return self.time


def steps_of(stored: Stored, *, counter: bool) -> Iterator[Step]:
    before: tuple[Any, int | None] | None = None
    for time, (value, start) in sorted(stored.items()):
        increase = 0
        if counter and before is not None:
            reset = value < before[0] or (None not in (start, before[1]) and start != before[1])
            increase = value if reset else value - before[0]
        yield Step(time, value, increase)
        before = (value, start)


REDUCERS: dict[str, Callable[[list[Step]], Any]] = {
    "COUNT": len,
    "SUM": lambda steps: sum(step.value for step in steps),
    "MIN": lambda steps: min(step.value for step in steps),
    "MAX": lambda steps: max(step.value for step in steps),
    "AVG": lambda steps: sum(step.value for step in steps) / len(steps),
    "FIRST": lambda steps: steps[0].value,
    "LAST": lambda steps: steps[-1].value,
    "INCREASE": lambda steps: sum(step.increase for step in steps),
}


@dataclass
class Reference:
    """What is stored of one source, by part and metric."""

    stored: dict[tuple[str, str], Stored] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._steps: dict[tuple[str, str], list[Step]] = {}

    def write(self, sample: Sample) -> None:
        self._steps.clear()
        for metric, value in sample.values.items():
            of_metric = self.stored.setdefault((sample.part, metric), {})
            known = sample.start if sample.start is not None else of_metric.get(sample.time, (None, None))[1]
            of_metric[sample.time] = (value, known)

    def steps(self, part: str, metric: str, low: int, high: int) -> list[Step]:
        """The samples in [low, high)."""
        key = (part, metric)
        if key not in self._steps:
            self._steps[key] = list(steps_of(self.stored.get(key, {}), counter=metric == "counter"))
        steps = self._steps[key]
        return steps[bisect_left(steps, low, key=Step.moment) : bisect_left(steps, high, key=Step.moment)]

    def window(self, part: str, metric: str, aggregate: str, low: int, high: int) -> tuple[Any, int] | None:
        """The aggregate over [low, high) and the moment of the newest sample, None without samples."""
        inside = self.steps(part, metric, low, high)
        if not inside:
            return None
        found = self.total(part, metric, high) if aggregate == "TOTAL" else REDUCERS[aggregate](inside)
        return found, inside[-1].time

    def total(self, part: str, metric: str, high: int) -> int | None:
        """The lifetime total of a counter at a moment."""
        steps = self.steps(part, metric, 0, high)
        total: int | None = steps[0].value + sum(step.increase for step in steps[1:]) if steps else None
        return total

    def combined(self, metric: str, aggregate: str, low: int, high: int) -> Any:
        parts = [found for part in PARTS if (found := self.window(part, metric, aggregate, low, high)) is not None]
        if not parts:
            return None
        if aggregate == "TOTAL":  # a part that is silent in this window keeps its total
            return sum(total for part in PARTS if (total := self.total(part, metric, high)) is not None)
        combination = "SUM" if aggregate == "COUNT" else COMBINATION[metric]
        if combination == "LAST":
            return max(parts, key=lambda found: found[1])[0]
        values = [value for value, _ in parts]
        return max(values) if combination == "MAX" else sum(values)


async def declare_the_counter(stubs: Stubs) -> None:
    await stubs.metrics.WriteMetrics(write(row({"counter": 1, "gauge": 0.5, "flag": True, "text": ""})))
    descriptor = common_pb2.MetricDescriptor(
        name="metricDescriptors/sources/counter", kind=common_pb2.METRIC_KIND_COUNTER
    )
    request = pb.UpdateMetricDescriptorRequest(metric_descriptor=descriptor, update_mask=FieldMask(paths=["kind"]))
    await stubs.metrics.UpdateMetricDescriptor(request)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=histories, asked=ranges, window=windows)
async def test_answers_equal_the_reference(
    stubs: Stubs, history: list[Batch], asked: tuple[int, int], window: tuple[int, str] | None
) -> None:
    await declare_the_counter(stubs)
    source = f"sources/random-{next(_numbers)}"
    await store(stubs, source, history)
    reference = Reference()
    for one in history:
        for sample in one.samples:
            reference.write(sample)
    start, end = asked

    for metric, aggregates in AGGREGATES.items():
        request = query(source, metrics=[metric], start=start, end=end, window=window, aggregates=aggregates)
        answer = await stubs.metrics.QueryMetrics(request)
        spans = spans_of(answer)
        found = columns_of(answer)
        for aggregate in aggregates:
            expected = [reference.combined(metric, aggregate, low, high) for low, high in spans]
            assert found[source, "", metric, aggregate] == expected, (metric, aggregate)

        by_part = pb.QueryMetricsRequest()
        by_part.CopyFrom(request)
        by_part.by_part = True
        for (_, part, _, aggregate), values in columns_of(await stubs.metrics.QueryMetrics(by_part)).items():
            alone = [reference.window(part, metric, aggregate, low, high) for low, high in spans]
            assert values == [None if one is None else one[0] for one in alone], (part, metric, aggregate)

    cumulative = query(source, metrics=["counter"], start=start, end=end, window=window, mode="CUMULATIVE")
    found = columns_of(await stubs.metrics.QueryMetrics(cumulative))
    assert found[source, "", "counter", "LAST"] == [reference.combined("counter", "TOTAL", *span) for span in spans]

    (newest,) = (await stubs.metrics.GetLatestMetrics(pb.GetLatestMetricsRequest(subjects=[source]))).subjects
    everything = (0, NOW + DAY)
    assert latest_of(newest) == {
        metric: value
        for metric in sorted(AGGREGATES)
        if (value := reference.combined(metric, "TOTAL" if metric == "counter" else "LAST", *everything)) is not None
    }


def spans_of(answer: pb.QueryMetricsResponse) -> list[tuple[int, int]]:
    """The windows of an answer, cut to its range."""
    start, end = micros(answer.time_range.start_time), micros(answer.time_range.end_time)
    return [(max(low, start), min(high, end)) for low, high in pairwise(map(micros, answer.window_bounds))]
