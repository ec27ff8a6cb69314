"""(b) `ImportMetrics` against the same samples as one row each in the same engine; and the way in for stored data."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from statistics import median
from typing import Any

from streamgauge.v1 import common_pb2, metrics_service_pb2

from tests.bench.processes import Served
from tests.bench.report import Goal, Measurement, Pair, number
from tests.bench.rows import PostgresRows, SqliteRows, rows_of
from tests.bench.session import POSTGRESQL, Session
from tests.bench.workload import DAY, SCRAPE, frames, readings

IMPORT = "import_vs_row_per_sample"
METHOD = "/streamgauge.v1.MetricsService/ImportMetrics"
FRAMES_PER_MESSAGE = 4
PROFILED = 8
"""Imports under the sampler: one alone is too short."""
GOAL = Goal(10, at_least=True)


def messages(of: Iterable[common_pb2.Frame]) -> Iterator[bytes]:
    """Yields frames as the encoded messages of an import."""
    request = metrics_service_pb2.ImportMetricsRequest()
    for frame in of:
        request.frames.append(frame)
        if len(request.frames) == FRAMES_PER_MESSAGE:
            yield request.SerializeToString()
            request.Clear()
    if request.frames:
        yield request.SerializeToString()


def import_all(served: Served, encoded: Iterable[bytes]) -> int:
    """Sends encoded messages in one stream and waits until all is durable; returns the number of samples.

    Raises:
        AssertionError: a frame was refused.
    """
    with served.channel() as channel:
        call: Any = channel.stream_unary(
            METHOD, request_serializer=None, response_deserializer=metrics_service_pb2.ImportMetricsResponse.FromString
        )
        answer = call(iter(encoded), timeout=600)
    if answer.rejected_frame_count:
        raise AssertionError(f"refused frames: {answer}")
    return int(answer.accepted_sample_count)


def import_vs_rows(session: Session) -> list[Measurement]:
    """Measures samples per second until they are durable; messages and rows are ready before the clock runs."""
    per_day = DAY // SCRAPE
    pairs: list[Pair] = []
    processor: list[float] = []
    with session.store() as rows_url, session.server() as served:
        table = PostgresRows(rows_url) if session.engine == POSTGRESQL else SqliteRows(rows_url.partition("///")[2])
        for turn in range(session.scale.import_rounds + 1):
            sources = range(turn * session.scale.import_sources, (turn + 1) * session.scale.import_sources)
            series = [readings(source, session.now - DAY, per_day) for source in sources]
            samples = sum(one.sample_count for one in series)
            rows = [row for source, one in zip(sources, series, strict=True) for row in rows_of(source, one)]
            encoded = list(messages(frame for one in series for frame in frames(one)))
            session.noise.take()
            begun, used = time.perf_counter(), served.cpu()
            stored = import_all(served, encoded)
            imported, used = time.perf_counter() - begun, served.cpu() - used
            if stored != samples:
                raise AssertionError(f"{stored} of {samples} samples were stored")
            begun = time.perf_counter()
            table.insert(rows)
            inserted = time.perf_counter() - begun
            if turn:  # the first one warms up
                pairs.append(Pair(samples / imported, samples / inserted))
                processor.append(used / samples)
        table.close()
        profile = session.profile(IMPORT, served, lambda: [import_all(served, encoded) for _ in range(PROFILED)])
    how = "COPY" if session.engine == POSTGRESQL else "executemany"
    note = (
        f"{samples:,} samples a round, 12 metrics, a reading every 15 s, {FRAMES_PER_MESSAGE} frames a message, "
        f"one stream; server processor time {number(median(processor) * 1e9)} ns a sample"
    )
    return [Measurement(session.name(IMPORT), "samples/s", f"one row per sample, {how}", GOAL, pairs, [note, *profile])]
