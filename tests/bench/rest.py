"""(i) The newest values of a source by REST, against the same call by gRPC and against FastAPI and SQLAlchemy."""

from __future__ import annotations

import json
import sqlite3
import urllib.request
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from streamgauge.v1 import common_pb2, source_service_pb2, source_service_pb2_grpc

from tests.bench import http1
from tests.bench.calls import CALLERS, CONNECTIONS, READ_METHOD, SOURCES
from tests.bench.generator import Command, Result
from tests.bench.imports import import_all, messages
from tests.bench.processes import Served, fastapi_service, free_port
from tests.bench.report import Measurement, Pair, number
from tests.bench.session import SQLITE, Session
from tests.bench.workload import METRICS, MICROS, SCRAPE, Readings, frames, readings, source_name

VS_GRPC, VS_FASTAPI = "rest_latest_vs_grpc", "rest_latest_vs_fastapi"
PATH = "/v1/{}/metrics?timeType=TIME_TYPE_LATEST"

Answer = source_service_pb2.GetSourceMetricsResponse


def rest_latest(session: Session) -> list[Measurement]:
    """Measures the newest values of one source: 32 callers for different sources, through three doors in turns."""
    if session.engine != SQLITE:
        return []
    count = session.scale.rest_readings
    series = [readings(place, session.now - count * SCRAPE, count) for place in range(SOURCES)]
    port, rows = free_port(), session.file("rows.db")
    with session.server(http_port=port) as served, fastapi_service(rows, session.file("fastapi.log")) as other:
        import_all(served, messages(frame for one in series for frame in frames(one)))
        answer = _ask(served)
        _fill(rows, series, answer)
        gateway = Served(f"127.0.0.1:{port}", served.pid)
        _agree(answer, _get(gateway), _get(other))
        by_grpc = _grpc_command(session, served, answer)
        by_rest, by_other = (
            _http_command(session, "rest", gateway),
            _http_command(session, "fastapi", other),
        )
        for command in (by_grpc, by_rest, by_other):
            session.generator.run(command)
        rounds = []
        for _ in range(session.scale.call_rounds):
            session.noise.take()
            rounds.append((session.load(by_grpc, served), session.load(by_rest, served), session.load(by_other, other)))
        profile = session.profile_calls(VS_GRPC, served, by_rest)
    stored = f"{SOURCES} sources with {count} readings of {len(METRICS)} metrics"
    return [
        _measurement(
            session.name(VS_GRPC),
            "gRPC",
            [(rest, grpc) for grpc, rest, _ in rounds],
            [f"gateway and gRPC server are one process; {stored}", *profile],
        ),
        _measurement(
            session.name(VS_FASTAPI),
            "FastAPI and SQLAlchemy",
            [(rest, fastapi) for _, rest, fastapi in rounds],
            [f"a row per sample, {SOURCES * count * len(METRICS):,} rows; one process; {stored}"],
        ),
    ]


def _measurement(
    name: str,
    against: str,
    rounds: Sequence[tuple[tuple[Result, float], tuple[Result, float]]],
    notes: Sequence[str],
) -> Measurement:
    subject, other = (median(side[1] for side in sides) * 1e6 for sides in zip(*rounds, strict=True))
    waits = [median(round_[0][0].median for round_ in rounds), median(round_[0][0].p99 for round_ in rounds)]
    cost = (
        f"processor time {number(subject)} us a call against {number(other)} us; callers of REST waited "
        f"{number(waits[0] * 1e3)} ms (median), {number(waits[1] * 1e3)} ms (99 %)"
    )
    pairs = [Pair(subject.rate, other.rate) for (subject, _), (other, _) in rounds]
    return Measurement(name, "calls/s", against, None, pairs, [cost, *notes])


def _grpc_command(session: Session, served: Served, answer: Answer) -> Command:
    requests = [_request(place).SerializeToString() for place in range(SOURCES)]
    return Command(
        served.target,
        READ_METHOD,
        session.bodies("latest-grpc", requests),
        CALLERS,
        CONNECTIONS,
        session.scale.call_seconds,
        again=True,
        minimum_bytes=answer.ByteSize() // 2,
    )


def _http_command(session: Session, name: str, served: Served) -> Command:
    requests = [http1.request(served.target, PATH.format(source_name(place))) for place in range(SOURCES)]
    return Command(
        served.target,
        "GET",
        session.bodies(f"latest-{name}", requests),
        CALLERS,
        CALLERS,
        session.scale.call_seconds,
        again=True,
        minimum_bytes=len(_body(served)) // 2,
        http1=True,
    )


def _request(place: int) -> source_service_pb2.GetSourceMetricsRequest:
    return source_service_pb2.GetSourceMetricsRequest(
        source=source_name(place), time_type=source_service_pb2.TIME_TYPE_LATEST
    )


def _ask(served: Served) -> Answer:
    with served.channel() as channel:
        return source_service_pb2_grpc.SourceServiceStub(channel).GetSourceMetrics(_request(0))


def _body(served: Served) -> bytes:
    with urllib.request.urlopen(f"http://{served.target}{PATH.format(source_name(0))}", timeout=60) as answer:
        return bytes(answer.read())


def _get(served: Served) -> Any:
    return json.loads(_body(served))


def _agree(answer: Answer, rest: Any, other: Any) -> None:
    """Makes sure that all three answer the same.

    Raises:
        AssertionError: they do not, or values are missing.
    """
    told = [
        {latest["metric"]: (latest["rawValue"], latest["time"]) for latest in got["latest"] if "rawValue" in latest}
        for got in (rest, other)
    ]
    # Only the server derives a metric, `latency`; what is written is everybody's.
    written = [{metric: told_of[metric] for metric in METRICS} for told_of in told]
    lengths = {len(answer.latest), len(rest["latest"]), len(other["latest"])}
    if written[0] != written[1] or len(lengths) > 1:
        raise AssertionError(f"answers differ: {rest} and {other}")


def _fill(path: Path, series: Sequence[Readings], answer: Answer) -> None:
    """Stores the same data as rows; what metrics are called is taken from the server's answer."""
    connection = sqlite3.connect(path)
    names = [latest.metric for latest in answer.latest]
    connection.executemany("INSERT INTO metrics VALUES (?, ?, ?, ?, ?, ?, ?)", _metrics(names, answer))
    connection.executemany(
        "INSERT INTO sources VALUES (?, ?, ?)",
        [(place, one.source, "2026-01-01 00:00:00") for place, one in enumerate(series)],
    )
    connection.executemany(
        "INSERT INTO samples (source_id, metric_id, time, start_time, value) VALUES (?, ?, ?, ?, ?)",
        (row for place, one in enumerate(series) for row in _samples(place, one, names)),
    )
    connection.commit()
    connection.execute("ANALYZE")
    connection.close()


def _metrics(names: Sequence[str], answer: Answer) -> Iterator[tuple[object, ...]]:
    for place, name in enumerate(names):
        metadata = answer.metadata[name]
        kind, value_type = (
            common_pb2.MetricKind.Name(metadata.kind),
            common_pb2.ValueType.Name(metadata.value_type),
        )
        yield place, name, metadata.display_name, metadata.unit, kind, value_type, place < len(names) - 2


def _samples(place: int, one: Readings, names: Sequence[str]) -> Iterator[tuple[object, ...]]:
    times, starts = [_moments(one.times.tolist()), _moments(one.starts.tolist())]
    for name, values in one.columns.items():
        metric = names.index(name)
        for time, start, value in zip(times, starts, values.tolist(), strict=True):
            yield place, metric, time, start, value


def _moments(micros: Sequence[int]) -> list[str]:
    """Returns times as SQLAlchemy stores them in SQLite."""
    return [datetime.fromtimestamp(one / MICROS, UTC).strftime("%Y-%m-%d %H:%M:%S.%f") for one in micros]
