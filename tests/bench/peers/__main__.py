"""Measures streamgauge and its peers in one run, prints a table, writes build/bench.json and the chart."""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.bench import machine
from tests.bench.peers import packages
from tests.bench.peers.answers import compare_latest, compare_windows
from tests.bench.peers.contest import Contest, DataSet
from tests.bench.peers.influxdb import InfluxDb
from tests.bench.peers.peer import Peer
from tests.bench.peers.prometheus import Prometheus
from tests.bench.peers.questions import Latest, Windows
from tests.bench.peers.ratios import Findings, measurements
from tests.bench.peers.sample_rows import SampleRows
from tests.bench.peers.streamgauge_peer import Streamgauge, StreamgaugeOnPostgres
from tests.bench.peers.victoriametrics import VictoriaMetrics
from tests.bench.postgres import DurableCluster, cluster
from tests.bench.report import table, write_json
from tests.bench.workload import DAY, METRICS, MICROS, SCRAPE
from tests.conftest import find_binaries

ROOT = Path(__file__).parents[3]
HOUR, MINUTE = 3_600 * MICROS, 60 * MICROS
LATEST_FROM = 1_000_000
"""Number of the first of the thousand sources whose newest values are asked for."""


@dataclass(frozen=True, slots=True)
class Scale:
    """How much to measure."""

    sources: int
    """Sources with a day of readings every 15 seconds."""
    load_rounds: int
    ask_rounds: int
    ask_seconds: float
    """How long a system is asked in a round, about."""
    year_sources: int
    """Sources with a year of readings every minute."""
    year_load_rounds: int
    year_fractions: dict[str, int]
    """How many of them those get that could not take all in a sane time."""


FULL = Scale(
    sources=200,
    load_rounds=5,
    ask_rounds=9,
    ask_seconds=1.0,
    year_sources=20,
    year_load_rounds=5,
    year_fractions={"influxdb": 5, "prometheus": 2, "row_per_sample": 2, "streamgauge_postgresql": 5},
)
QUICK = Scale(
    sources=24,
    load_rounds=3,
    ask_rounds=5,
    ask_seconds=0.3,
    year_sources=3,
    year_load_rounds=3,
    year_fractions=dict.fromkeys(("influxdb", "prometheus", "row_per_sample", "streamgauge_postgresql"), 1),
)


def main() -> None:
    """Runs everything."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.peers", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="less of everything: under four minutes")
    parser.add_argument("--chart", type=Path, help="where to write the chart, a PNG; its numbers go beside it")
    arguments = parser.parse_args()
    scale = QUICK if arguments.quick else FULL
    packages.require()
    started = time.monotonic()
    noise = machine.Noise()
    told = machine.describe()
    print(told, flush=True)
    # The last whole day but one: everything is in the past, whatever the hour.
    end = (time.time_ns() // 1_000 // DAY - 1) * DAY
    day, day_range, latest = _day(scale, noise, end)
    year, year_range = _year(scale, noise, end)
    findings = Findings(day.results, day_range, latest, year.results, year_range)
    found = measurements(findings)
    print(f"\n{table(found)}\n")
    print(findings.side_table())
    print(f"\nnoise of the machine: {noise}\n{time.monotonic() - started:.0f} s in all")
    write_json(found, ROOT / "build" / "bench.json")
    if arguments.chart:
        from tests.bench.peers.chart import draw, figures

        draw(figures(findings), arguments.chart)


def _day(
    scale: Scale, noise: machine.Noise, end: int
) -> tuple[Contest, dict[str, list[float]], dict[str, list[float]]]:
    """Measures a day of many sources, and the newest values of a thousand."""
    data = DataSet(0, scale.sources, end - DAY, DAY // SCRAPE, SCRAPE)
    question = Windows(data.of(3).source, end - DAY, end, HOUR)
    with _peers("2h", "7d") as peers:
        contest = Contest(peers, noise)
        for peer in peers:
            print(f"  {peer.note}")
        contest.load(data, scale.load_rounds)
        _told("a day loaded")
        contest.settle()
        _told("settled")
        print(*compare_windows(peers, question), sep="\n")
        asked = contest.ask(question, scale.ask_rounds, scale.ask_seconds)
        _told("24 hours by hour asked")
        crowd = DataSet(LATEST_FROM, 1_000, end, 30, MINUTE)
        for peer in peers:
            peer.load(peer.encode([crowd.of(number) for number in range(crowd.sources)]))
        newest = Latest([crowd.of(number).source for number in range(crowd.sources)], crowd.end - MINUTE)
        compare_latest(peers, newest, len(METRICS))
        latest = contest.ask(newest, scale.ask_rounds, scale.ask_seconds)
        _told("newest values of 1,000 sources asked")
        contest.note_peaks()
        contest.restart(3)
        _told("started anew")
    return contest, asked, latest


def _year(scale: Scale, noise: machine.Noise, end: int) -> tuple[Contest, dict[str, list[float]]]:
    """Measures a year of a few sources."""
    data = DataSet(0, scale.year_sources, end - 365 * DAY, 365 * 1_440, MINUTE)
    question = Windows(data.of(0).source, data.start, end, DAY)
    with _peers("15d", "30d") as peers:
        contest = Contest(peers, noise)
        contest.load(data, scale.year_load_rounds, scale.year_fractions)
        _told("a year loaded")
        contest.settle()
        _told("settled")
        print(*compare_windows(peers, question), sep="\n")
        asked = contest.ask(question, scale.ask_rounds, scale.ask_seconds)
        _told("a year by day asked")
        contest.note_peaks()
    return contest, asked


@contextmanager
def _peers(prometheus_blocks: str, influxdb_shards: str) -> Iterator[Sequence[Peer]]:
    """Starts all on empty stores, streamgauge first, and clears them away in the end."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="streamgauge-peers-")))
        places = {name: directory / name for name in ("sqlite", "postgresql", "vm", "influxdb", "prometheus")}
        for place in places.values():
            place.mkdir()
        shared = stack.enter_context(cluster())
        binaries = find_binaries()
        assert binaries is not None
        rows = DurableCluster(binaries)
        stack.callback(rows.remove)
        peers: list[Peer] = [
            Streamgauge(places["sqlite"]),
            StreamgaugeOnPostgres(places["postgresql"], shared),
            VictoriaMetrics(places["vm"]),
            InfluxDb(places["influxdb"], influxdb_shards),
            Prometheus(places["prometheus"], prometheus_blocks),
            SampleRows(rows),
        ]
        for peer in peers:
            peer.start()
            stack.callback(peer.stop)
        yield peers


def _told(what: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {what}", flush=True)


if __name__ == "__main__":
    main()
