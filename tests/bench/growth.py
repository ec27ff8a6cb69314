"""How the costs of writes and reads grow with what is stored: `python -m tests.bench.growth [--quick] [--chart PNG]`.

One server with 10 to 10,000 sources, and one with a day to a year of ten sources, each filled further between two
measurements. Everything is asked by one caller, one call after the other.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
from google.protobuf.message import Message
from streamgauge.v1 import common_pb2, metrics_service_pb2

from tests.bench import machine
from tests.bench.generator import Command
from tests.bench.imports import import_all, messages
from tests.bench.processes import Served
from tests.bench.report import Measurement, Pair, columns, number, write_json
from tests.bench.session import QUICK, SQLITE, Session
from tests.bench.workload import DAY, MICROS, frames, readings, source_name, write_requests

BUILD = Path(__file__).parents[2] / "build"

SUBJECTS = (10, 100, 1_000, 10_000)
SUBJECT_STEP = 300 * MICROS
"""Time between two readings of each of very many sources, which have a day of them."""
DAYS = (1, 7, 30, 90, 365)
DAY_STEP = 60 * MICROS
DAY_SOURCES = 10
MEASURED = 0
"""Number of the source that is read. Nothing is written to it, so that what is read stays the same."""
ROUNDS, CALLS = 7, 60

SERVICE = "/streamgauge.v1.MetricsService/"
WRITE, RANGE, RECENT, LATEST = "write", "24 h by hour", "latest", "latest of 10"
MEASURES = (WRITE, RANGE, RECENT, LATEST)


@dataclass(frozen=True, slots=True)
class Point:
    """What calls cost with so much stored: the median milliseconds of each round, by measure."""

    stored: int
    samples: int
    costs: dict[str, list[float]]


def main() -> None:
    """Measures both ways to grow, prints tables, and draws the chart."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.growth", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="up to 1,000 sources, up to 90 days")
    parser.add_argument("--chart", type=Path, help="where to write the chart, a PNG; its numbers go beside it")
    arguments = parser.parse_args()
    noise = machine.Noise()
    print(machine.describe(), flush=True)
    cut = -1 if arguments.quick else None
    found = {
        "sources stored": _measured(noise, SUBJECTS[:cut], _by_subjects),
        "days stored": _measured(noise, DAYS[: cut and cut - 1], _by_days),
    }
    for what, points in found.items():
        print(f"\n{_table(what, points)}")
    print(f"\nnoise of the machine: {noise}")
    write_json(ratios(found), BUILD / "bench.json")
    if arguments.chart:
        from tests.bench.growth_chart import draw

        curves = {
            what: {str(point.stored): {m: median(costs) for m, costs in point.costs.items()} for point in points}
            for what, points in found.items()
        }
        arguments.chart.with_suffix(".json").write_text(json.dumps(curves, indent=2) + "\n")
        draw(curves, arguments.chart)


def ratios(found: Mapping[str, Sequence[Point]]) -> list[Measurement]:
    """Returns what calls cost where most is stored, as multiples of what they cost where least is."""
    return [
        Measurement(
            f"growth_{measure}_by_{what}".replace(" ", "_"),
            "ms",
            f"{points[0].stored:,} instead of {points[-1].stored:,} {what}",
            None,
            [
                Pair(most, least)
                for least, most in zip(points[0].costs[measure], points[-1].costs[measure], strict=True)
            ],
        )
        for what, points in found.items()
        for measure in MEASURES
    ]


Filling = Callable[[int, int, int], Iterator[bytes]]
"""Yields what to import to grow from one size to the next, with the data's end in microseconds."""


def _by_subjects(held: int, wanted: int, end: int) -> Iterator[bytes]:
    for source in range(held, wanted):
        yield from messages(frames(readings(source, end - DAY, DAY // SUBJECT_STEP, step=SUBJECT_STEP)))


def _by_days(held: int, wanted: int, end: int) -> Iterator[bytes]:
    for source in range(DAY_SOURCES):
        count = (wanted - held) * DAY // DAY_STEP
        yield from messages(frames(readings(source, end - wanted * DAY, count, step=DAY_STEP)))


def _measured(noise: machine.Noise, sizes: Sequence[int], filling: Filling) -> list[Point]:
    end = time.time_ns() // 1_000 // DAY * DAY
    points: list[Point] = []
    with _session(noise) as session, session.server() as served:
        held = samples = 0
        for size in sizes:
            begun = time.monotonic()
            samples += import_all(served, filling(held, size, end))
            held = size
            sources = size if filling is _by_subjects else DAY_SOURCES
            costs = _costs(session, served, sources, end, len(points))
            points.append(Point(size, samples, costs))
            print(f"{size:,}: {samples / 1e6:.1f} M samples, {time.monotonic() - begun:.0f} s", flush=True)
    return points


@contextmanager
def _session(noise: machine.Noise) -> Iterator[Session]:
    with (
        tempfile.TemporaryDirectory(prefix="streamgauge-growth-") as directory,
        Session(QUICK, SQLITE, noise, Path(directory), None) as session,
    ):
        yield session


def _costs(session: Session, served: Served, sources: int, end: int, turn: int) -> dict[str, list[float]]:
    """Returns the milliseconds of calls, in rounds of all measures one after the other."""
    commands = {
        WRITE: _command(session, served, "WriteMetrics", _writes(sources, end, turn)),
        RANGE: _command(session, served, "QueryMetrics", [_range(end)], again=True),
        RECENT: _command(session, served, "GetLatestMetrics", [_latest([MEASURED])], again=True),
        LATEST: _command(session, served, "GetLatestMetrics", [_latest(range(10))], again=True),
    }
    found: dict[str, list[float]] = {measure: [] for measure in commands}
    for _ in range(ROUNDS):
        session.noise.take()
        for measure, command in commands.items():
            found[measure].append(session.generator.run(command).median * 1e3)
    return found


def _command(
    session: Session, served: Served, method: str, requests: Sequence[bytes], *, again: bool = False
) -> Command:
    bodies = session.bodies(method, requests)
    return Command(
        served.target, SERVICE + method, bodies, callers=1, connections=1, seconds=60, calls=CALLS, again=again
    )


def _writes(sources: int, end: int, turn: int) -> list[bytes]:
    """Returns writes to sources picked at random, all of them newer than what is stored and than earlier writes."""
    rng = np.random.default_rng(turn)
    picked = rng.integers(MEASURED + 1, sources, CALLS * ROUNDS).tolist()
    first = end + turn * CALLS * ROUNDS * MICROS
    return [
        next(write_requests(range(source, source + 1), first + place * MICROS, 1))
        for place, source in enumerate(picked)
    ]


def _range(end: int) -> bytes:
    request = metrics_service_pb2.QueryMetricsRequest(subjects=[source_name(MEASURED)])
    request.time_range.start_time.FromMicroseconds(end - DAY)
    request.time_range.end_time.FromMicroseconds(end)
    request.window.count, request.window.unit = 1, common_pb2.WINDOW_UNIT_HOUR
    return _encoded(request)


def _latest(sources: Sequence[int]) -> bytes:
    return _encoded(metrics_service_pb2.GetLatestMetricsRequest(subjects=map(source_name, sources)))


def _encoded(message: Message) -> bytes:
    return message.SerializeToString()


def _table(what: str, points: Sequence[Point]) -> str:
    rows = [(what, "M samples", *(f"{measure} (ms)" for measure in MEASURES))]
    for point in points:
        cells = (f"{number(median(point.costs[m]))} ({number(min(point.costs[m]))})" for m in MEASURES)
        rows.append((f"{point.stored:,}", f"{point.samples / 1e6:.1f}", *cells))
    return columns(rows) + "\n(median of the rounds, in brackets the fastest)"


if __name__ == "__main__":
    main()
