"""(d) Metrics of assets: emits on very many of them against one row per metric, and the newest values of a thousand."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from statistics import median
from typing import Any

from streamgauge import Client, Emit, EmitFailure, Scalar
from streamgauge.v1 import asset_metric_service_pb2

from tests.bench.echo_server import PATH as ECHO_METHOD
from tests.bench.metric_rows import MetricRow, PostgresMetricRows, SqliteMetricRows
from tests.bench.report import Measurement, Pair, number
from tests.bench.session import POSTGRESQL, Session
from tests.bench.workload import MICROS

EMIT, LATEST = "emit_assets_vs_row_upserts", "latest_1000_assets_vs_echo"
LATEST_METHOD = "/streamgauge.v1.AssetMetricService/GetLatestAssetMetrics"
METRICS = 3
LATEST_ASSETS = 1_000
WARM_UP = 1_000
"""Assets of the emits before the clock runs."""


def urn(asset: int) -> str:
    """Returns the URN of an asset, of the length that they have in a catalogue."""
    return f"urn:li:dataset:(urn:li:dataPlatform:postgres,warehouse.public.table_{asset:07},PROD)"


def metrics(asset: int) -> dict[str, Scalar]:
    """Returns what a profiler reports of an asset."""
    return {"rowCount": 1_000_000 + asset, "nullFraction": asset % 97 / 97, "fresh": asset % 3 > 0}


def emits(assets: range, moment: datetime) -> list[Emit]:
    """Returns an emit for each asset."""
    return [Emit(urn(asset), metrics(asset), moment) for asset in assets]


def rows(assets: range, moment: datetime) -> list[MetricRow]:
    """Returns the same as rows: asset, milliseconds, name, value."""
    millis = int(moment.timestamp() * 1_000)
    return [
        (urn(asset), millis, name, value if isinstance(value, (int, float)) else str(value))
        for asset in assets
        for name, value in metrics(asset).items()
    ]


def emit_all(client: Client, given: Sequence[Emit]) -> float:
    """Emits through the SDK's writer and waits until all is durable; returns the seconds.

    Raises:
        AssertionError: an emit was refused.
    """
    failures: list[EmitFailure] = []
    begun = time.perf_counter()
    with client.assets.writer(on_error=failures.append, close_timeout=600) as writer:
        for emit in given:
            writer.put(emit)
    seconds = time.perf_counter() - begun
    if failures or writer.stats.accepted != len(given):
        raise AssertionError(f"{writer.stats}, {[*map(str, failures)]}")
    return seconds


def emit_assets(session: Session) -> list[Measurement]:
    """Measures metrics per second until they are durable; each round is of assets that were never seen before."""
    count = session.scale.assets
    moment = datetime.fromtimestamp(session.now / MICROS, UTC)
    pairs: list[Pair] = []
    processor: list[float] = []
    with session.store() as rows_url, session.server() as served, Client(served.target) as client:
        table = (
            PostgresMetricRows(rows_url)
            if session.engine == POSTGRESQL
            else SqliteMetricRows(rows_url.partition("///")[2])
        )
        first = range(-WARM_UP, 0)
        emit_all(client, emits(first, moment))
        table.upsert(rows(first, moment))
        for turn in range(session.scale.asset_rounds):
            assets = range(turn * count, (turn + 1) * count)
            given, as_rows = emits(assets, moment), rows(assets, moment)
            session.noise.take()
            used = served.cpu()
            emitted = emit_all(client, given)
            used = served.cpu() - used
            begun = time.perf_counter()
            table.upsert(as_rows)
            upserted = time.perf_counter() - begun
            pairs.append(Pair(METRICS * count / emitted, METRICS * count / upserted))
            processor.append(used / (METRICS * count))
        table.close()
        more = emits(range(-WARM_UP - count, -WARM_UP), moment)
        profile = session.profile(EMIT, served, lambda: emit_all(client, more))
    note = (
        f"{count:,} new assets a round with {METRICS} metrics each, one writer with its defaults; "
        f"server processor time {number(median(processor) * 1e6)} us a metric"
    )
    return [
        Measurement(
            session.name(EMIT), "metrics/s", "INSERT ... ON CONFLICT, a row per metric", None, pairs, [note, *profile]
        )
    ]


def latest_assets(session: Session) -> list[Measurement]:
    """Measures the newest values of a thousand assets in one call, one call after the other."""
    moment = datetime.fromtimestamp(session.now / MICROS, UTC) - timedelta(minutes=1)
    request = asset_metric_service_pb2.GetLatestAssetMetricsRequest(assets=map(urn, range(LATEST_ASSETS)))
    with session.server() as served, Client(served.target) as client:
        emit_all(client, emits(range(session.scale.assets), moment))
        answer = client.stubs.assets.GetLatestAssetMetrics(request)
        if [len(asset.metrics) for asset in answer.assets] != [METRICS] * LATEST_ASSETS:
            raise AssertionError("values are missing")
        with served.channel() as channel, session.echo.channel() as ceiling:
            ask: Any = channel.unary_unary(LATEST_METHOD)
            echo: Any = ceiling.unary_unary(ECHO_METHOD)
            body = request.SerializeToString()
            _latency(ask, body, session.scale.latest_calls)
            pairs, processor = [], []
            for _ in range(session.scale.read_rounds):
                session.noise.take()
                empty = _latency(echo, b"", session.scale.latest_calls)
                used = served.cpu()
                asked = _latency(ask, body, session.scale.latest_calls)
                processor.append((served.cpu() - used) / session.scale.latest_calls)
                pairs.append(Pair(asked * 1e3, empty * 1e3))
            profile = session.profile(LATEST, served, lambda: _latency(ask, body, PROFILED))
    note = (
        f"one caller, {METRICS} metrics of each, {session.scale.assets:,} assets stored; "
        f"server processor time {number(median(processor) * 1e3)} ms a call"
    )
    return [Measurement(session.name(LATEST), "ms", "empty echo RPC", None, pairs, [note, *profile])]


PROFILED = 200
"""Calls under the sampler."""


def _latency(call: Any, body: bytes, calls: int) -> float:
    """Returns the median time of a call in seconds, answers not decoded."""
    seconds = []
    for _ in range(calls):
        begun = time.perf_counter()
        call(body, timeout=60)
        seconds.append(time.perf_counter() - begun)
    return median(seconds)
