"""(a) Writes and reads of latest values by many callers at once, against empty calls."""

from __future__ import annotations

from collections.abc import Sequence

from streamgauge.v1 import metrics_service_pb2, source_service_pb2, source_service_pb2_grpc

from tests.bench.generator import PREFIX_BYTES, Command
from tests.bench.processes import Served
from tests.bench.report import Goal, Measurement, Pair
from tests.bench.session import PROFILE_SECONDS, Round, Session, cost
from tests.bench.workload import METRICS, SCRAPE, source_name, write_requests

WRITE, READ = "unary_write_vs_echo", "latest_read_vs_echo"
WRITE_METHOD = "/streamgauge.v1.MetricsService/WriteMetrics"
READ_METHOD = "/streamgauge.v1.SourceService/GetSourceMetrics"
CALLERS, CONNECTIONS = 32, 4
SOURCES = 500
FASTEST = 3_000
"""Calls per second for which requests are prepared; a faster round ends when they are used up."""
GOAL = Goal(0.6, at_least=True)


def unary_write(session: Session) -> list[Measurement]:
    """Measures `WriteMetrics` of one observation with twelve metrics, by 32 callers for different sources."""
    scale = session.scale
    seconds = (1 + scale.call_rounds) * scale.call_seconds + (PROFILE_SECONDS if session.profiling else 0)
    rows = 1 + int(seconds * FASTEST) // SOURCES
    requests = list(write_requests(range(SOURCES), session.now - rows * SCRAPE, rows))
    with session.server() as served:
        command = Command(
            served.target,
            WRITE_METHOD,
            session.bodies("writes", requests),
            CALLERS,
            CONNECTIONS,
            scale.call_seconds,
            minimum_bytes=PREFIX_BYTES
            + len(metrics_service_pb2.WriteMetricsResponse(accepted_count=1).SerializeToString()),
        )
        _register(session, served, requests)
        session.generator.run(command)
        rounds = session.rounds(command, served, scale.call_rounds)
        profile = session.profile_calls(WRITE, served, command)
    return [throughput(session.name(WRITE), GOAL, rounds, profile)]


def latest_read(session: Session) -> list[Measurement]:
    """Measures `GetSourceMetrics` of the latest values, by 32 callers for different sources."""
    requests = [
        source_service_pb2.GetSourceMetricsRequest(
            source=source_name(number), time_type=source_service_pb2.TIME_TYPE_LATEST
        )
        for number in range(SOURCES)
    ]
    with session.server() as served:
        _register(session, served, list(write_requests(range(SOURCES), session.now - SCRAPE, 1)))
        with served.channel() as channel:
            answer = source_service_pb2_grpc.SourceServiceStub(channel).GetSourceMetrics(requests[0])
        if sum(latest.HasField("value") for latest in answer.latest) < len(METRICS):
            raise AssertionError(f"values are missing: {answer}")
        command = Command(
            served.target,
            READ_METHOD,
            session.bodies("latest", [request.SerializeToString() for request in requests]),
            CALLERS,
            CONNECTIONS,
            session.scale.call_seconds,
            again=True,
            minimum_bytes=answer.ByteSize() // 2,
        )
        session.generator.run(command)
        rounds = session.rounds(command, served, session.scale.call_rounds)
        profile = session.profile_calls(READ, served, command)
    return [throughput(session.name(READ), GOAL, rounds, profile)]


def _register(session: Session, served: Served, requests: Sequence[bytes]) -> None:
    """Writes the first observation of every source."""
    first = session.bodies("first-writes", requests[:SOURCES])
    command = Command(served.target, WRITE_METHOD, first, CALLERS, CONNECTIONS, seconds=60)
    session.generator.run(command)


def throughput(name: str, goal: Goal, rounds: Sequence[Round], profile: Sequence[str]) -> Measurement:
    """Returns calls a second against those of empty calls."""
    return Measurement(
        name,
        "calls/s",
        "empty echo RPC",
        goal,
        [Pair(one.subject.rate, one.echo.rate) for one in rounds],
        [cost(rounds), *profile],
    )
