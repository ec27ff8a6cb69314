"""How long values stood: TIME_IN_VALUE, out of samples and the sample before the range."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import partial

import numpy as np

from streamgauge_server.model.clock import MICROS_PER_DAY, MICROS_PER_SECOND
from streamgauge_server.model.entities import MetricDescriptor
from streamgauge_server.model.values import Aggregate, ValueType, type_of
from streamgauge_server.services.asset_history import AssetHistory
from streamgauge_server.services.block_reader import BlockReader
from streamgauge_server.services.off_loop import off_loop
from streamgauge_server.services.window_values import WindowValues
from streamgauge_server.storage.store import Store
from streamgauge_server.timeseries.durations import Durations, ValueTime, joined
from streamgauge_server.timeseries.envelope import BlockCorrupt
from streamgauge_server.timeseries.latest import LatestSample
from streamgauge_server.timeseries.reduction import spans_in
from streamgauge_server.timeseries.summary import decode_summary

MAX_VALUES = 100
"""How many values of a metric an answer tells: those that stood longest."""

_FIRST_BLOCKS = 1_024
_OFF_LOOP_SAMPLES = 20_000
"""Frames with more samples are added up in a thread, so that other calls do not wait for them."""

_Lost = dict[int, dict[int, tuple[int, LatestSample]]]
"""By day and metric the moment of the first sample, and the last sample, of what is gone."""


class ValueTimes:
    """Reads how long the values of a subject's parts stood; one instance serves all callers."""

    def __init__(self, store: Store, blocks: BlockReader) -> None:
        self._store = store
        self._blocks = blocks
        self._history = AssetHistory(store)

    async def read(
        self, wanted: Mapping[int, Collection[int]], bounds: Sequence[int], start: int, end: int
    ) -> dict[int, dict[int, list[ValueTime]]]:
        """Returns how long each value stood in the windows [bounds[i], bounds[i + 1]) cut to [start, end).

        `wanted` are the metrics of each part, the answer is by part and metric. Samples are read a stretch at a time:
        what is held does not grow with the range. Nothing is told of the time between the first and the last sample of
        a day of which samples are gone.

        Raises:
            DomainError: STORE_UNAVAILABLE.
        """
        wanted = {subject_id: metrics for subject_id, metrics in wanted.items() if metrics}
        if not wanted or end <= start:
            return {}
        edges = np.clip(np.array(bounds, np.int64), start, end).tolist()
        before = await self._blocks.standing(wanted, start)
        times: dict[int, dict[int, list[ValueTime]]] = {}
        for subject_id, metrics in wanted.items():
            standing = {metric: sample.value for metric, sample in before[subject_id].items()}
            lost = await self._lost(subject_id, metrics, start, end)
            while True:
                durations = Durations(edges, standing)
                await self._add(durations, subject_id, metrics, start, end, lost)
                read, lost = lost, await self._lost(subject_id, metrics, start, end)
                if lost.keys() == read.keys():
                    break  # otherwise samples have gone while they were read
            times[subject_id] = durations.until(end)
        return times

    async def _add(
        self, durations: Durations, subject_id: int, metrics: Collection[int], start: int, end: int, lost: _Lost
    ) -> None:
        """Adds the samples of a part in [start, end), and leaves out the time of which there are none any more."""
        for day, spans in lost.items():
            begin, until = max(start, day * MICROS_PER_DAY), min(end, (day + 1) * MICROS_PER_DAY)
            await self._add_samples(durations, subject_id, metrics, start, begin)
            await self._add_samples(durations, subject_id, set(metrics) - spans.keys(), begin, until)
            for metric, (first, newest) in spans.items():
                if newest.time >= start:
                    durations.skip(metric, max(first, start), newest.time, newest.value)
            start = until
        await self._add_samples(durations, subject_id, metrics, start, end)

    async def _add_samples(
        self, durations: Durations, subject_id: int, metrics: Collection[int], start: int, end: int
    ) -> None:
        if not metrics or start >= end:
            return
        async for frame in self._history.stretches(subject_id, start, end, metrics, first_blocks=_FIRST_BLOCKS):
            samples = len(frame.times) * len(frame.columns)
            await off_loop(partial(durations.add, frame), heavy=samples > _OFF_LOOP_SAMPLES)

    async def _lost(self, subject_id: int, metrics: Collection[int], start: int, end: int) -> _Lost:
        """Returns of which days a part has no samples of some metrics any more, rising, and what is known of them."""
        lost: _Lost = {}
        for day, stored in await self._store.blocks.reduced(
            subject_id, start // MICROS_PER_DAY, (end - 1) // MICROS_PER_DAY
        ):
            try:
                spans = spans_in(decode_summary(stored), metrics)
            except BlockCorrupt:
                continue  # whoever reads the summary itself tells
            if spans:
                lost[day] = spans
        return lost


def time_columns(
    descriptor: MetricDescriptor, parts: Sequence[Collection[ValueTime]], windows: int
) -> list[WindowValues]:
    """Returns a column of seconds over so many windows for each value of a metric; parts add.

    Those that stood longest come first.
    """
    return [
        WindowValues(
            descriptor,
            Aggregate.TIME_IN_VALUE,
            ValueType.DOUBLE,
            one.windows if len(one.windows) < windows else one.windows[:0],
            one.micros / MICROS_PER_SECOND,
            sample_type=type_of(one.value),
            of_value=one.value,
        )
        for one in joined(parts, MAX_VALUES)
    ]
