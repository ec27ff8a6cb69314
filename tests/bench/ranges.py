"""(c) `GetSourceMetrics` over a day, a month and a year, one call after the other, in multiples of an empty call."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from streamgauge.v1 import common_pb2, source_service_pb2, source_service_pb2_grpc

from tests.bench.calls import CALLERS, CONNECTIONS, READ_METHOD, WRITE_METHOD
from tests.bench.generator import Command
from tests.bench.imports import import_all, messages
from tests.bench.processes import Served
from tests.bench.report import Goal, Measurement, Pair
from tests.bench.session import Round, Session, cost
from tests.bench.workload import DAY, METRICS, SCRAPE, frames, readings, source_name, write_requests

GROWTH = "read_growth_10_to_1000_sources"
FEW, MANY = 10, 1_000
MEASURED = 0
"""Number of the source that is read: one whose readings were imported, in blocks of a day."""
SINGLE = FEW
"""Number of a source whose readings came one by one, as a collector writes them: thousands of small blocks a day."""


@dataclass(frozen=True, slots=True)
class Range:
    """A question: the last days by windows of a unit."""

    name: str
    days: int
    unit: common_pb2.WindowUnit.ValueType
    goal: Goal | None = None
    source: int = MEASURED
    """Number of the source that is read."""

    def request(self, now: int) -> source_service_pb2.GetSourceMetricsRequest:
        """Returns the question about all metrics of the source, up to `now`."""
        request = source_service_pb2.GetSourceMetricsRequest(
            source=source_name(self.source), time_unit=self.unit, metrics=["*"]
        )
        request.timestamp_from.FromMicroseconds(now - self.days * DAY)
        request.timestamp_to.FromMicroseconds(now)
        return request


BY_HOUR = Range("day_by_hour_vs_echo", 1, common_pb2.WINDOW_UNIT_HOUR, Goal(3, at_least=False))
RANGES = (
    BY_HOUR,
    Range("month_by_day_vs_echo", 30, common_pb2.WINDOW_UNIT_DAY),
    Range("year_by_day_vs_echo", 365, common_pb2.WINDOW_UNIT_DAY),
    Range("day_of_single_writes_vs_echo", 1, common_pb2.WINDOW_UNIT_HOUR, source=SINGLE),
)
FLAT = Goal(1.2, at_least=False)


def ranges(session: Session) -> list[Measurement]:
    """Measures ranges on a store with a year of the source that is read and a day of each of the others."""
    found = []
    with session.server() as served:
        import_all(served, _stored(session, range(1, FEW), 1, SCRAPE))
        import_all(served, _stored(session, range(MEASURED, MEASURED + 1), 365, SCRAPE))
        single = list(write_requests(range(SINGLE, SINGLE + 1), session.now - DAY, DAY // SCRAPE))
        session.generator.run(
            Command(served.target, WRITE_METHOD, session.bodies("single", single), CALLERS, CONNECTIONS, 120)
        )
        for one in RANGES:
            command = _command(session, served, one)
            rounds = session.rounds(command, served, session.scale.read_rounds)
            profile = session.profile_calls(one.name, served, command)
            found.append(
                Measurement(
                    session.name(one.name),
                    "ms",
                    "empty echo RPC",
                    one.goal,
                    _latencies(rounds),
                    [f"one caller, {one.days} days of readings every 15 s; {cost(rounds)}", *profile],
                )
            )
    return found


def growth(session: Session) -> list[Measurement]:
    """Measures the last 24 hours by hour on a store of 10 and on one of 1,000 sources, in turns."""
    step = session.scale.crowd_step
    with session.server() as small, session.server() as large:
        for served, sources in ((small, FEW), (large, MANY)):
            import_all(served, _stored(session, range(1, sources), 1, step))
            import_all(served, _stored(session, range(MEASURED, MEASURED + 1), 1, SCRAPE))
        few, many = (_command(session, served, BY_HOUR) for served in (small, large))
        pairs = []
        for _ in range(session.scale.read_rounds):
            session.noise.take()
            fewer = session.generator.run(few)
            pairs.append(Pair(session.generator.run(many).median * 1e3, fewer.median * 1e3))
    return [
        Measurement(
            session.name(GROWTH),
            "ms",
            "the same with 10 sources stored",
            FLAT,
            pairs,
            [f"24 hours by hour of one source; the 1,000 have a day each, a reading every {step // 1_000_000} s"],
        )
    ]


def _stored(session: Session, sources: range, days: int, step: int) -> Iterator[bytes]:
    """Yields what to import: the last days of some sources. Built while the server takes in what came before."""
    for source in sources:
        yield from messages(frames(readings(source, session.now - days * DAY, days * DAY // step, step=step)))


def _command(session: Session, served: Served, question: Range) -> Command:
    """Returns serial calls with a question, after checking one answer: every window has a value of every metric."""
    request = question.request(session.now)
    with served.channel() as channel:
        answer = source_service_pb2_grpc.SourceServiceStub(channel).GetSourceMetrics(request)
    windows = len(answer.window_bounds) - 1
    values = {column.metric: _value_count(column) for column in answer.timeseries}
    if values != dict.fromkeys(METRICS, windows):
        raise AssertionError(f"{question.name}: {windows} windows, values {values}")
    return Command(
        served.target,
        READ_METHOD,
        session.bodies(question.name, [request.SerializeToString()]),
        callers=1,
        connections=1,
        seconds=session.scale.read_seconds,
        calls=session.scale.read_calls,
        again=True,
        minimum_bytes=answer.ByteSize() // 2,
    )


def _value_count(column: common_pb2.WindowColumn) -> int:
    member = column.WhichOneof("values")
    return 0 if member is None else len(getattr(column, member).values)


def _latencies(rounds: Sequence[Round]) -> list[Pair]:
    return [Pair(one.subject.median * 1e3, one.echo.median * 1e3) for one in rounds]
