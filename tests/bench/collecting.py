"""(e) A collector before a cluster of 2,000 jobs: what it costs of a core, and how long its polls take."""

from __future__ import annotations

import time
import urllib.request
from statistics import median

from prometheus_client.parser import text_string_to_metric_families

from tests.bench.processes import Collecting, collector, flink_cluster
from tests.bench.report import Goal, Measurement, Pair, number
from tests.bench.session import Session

CPU, POLL = "collector_2000_jobs", "collector_2000_jobs_poll"
JOBS = 2_000
INTERVAL_SECONDS = 10.0
MAX_SHARE = 0.25
WARM_UP = 2
"""Polls before the clock runs: the first one registers all jobs."""
_PREFIX = "streamgauge_collector_"


def collecting(session: Session) -> list[Measurement]:
    """Measures processor time and length of polls, each over one interval."""
    shares: list[Pair] = []
    polls: list[Pair] = []
    with (
        session.store() as url,
        flink_cluster(JOBS) as address,
        collector(url, f"{address} poll_seconds={INTERVAL_SECONDS}", session.directory / "collector.log") as served,
    ):
        before = _until(served, WARM_UP)
        read = before[f"{_PREFIX}details_read_total"]
        for turn in range(session.scale.collector_polls):
            session.noise.take()
            used, begun = served.cpu(), time.monotonic()
            after = _until(served, WARM_UP + turn + 1)
            shares.append(Pair((served.cpu() - used) / (time.monotonic() - begun), 1.0))
            seconds = after[f"{_PREFIX}poll_seconds_sum"] - before[f"{_PREFIX}poll_seconds_sum"]
            polls.append(Pair(seconds, INTERVAL_SECONDS))
            before = after
        read = (before[f"{_PREFIX}details_read_total"] - read) / session.scale.collector_polls
        profile = session.profile(CPU, served, lambda: time.sleep(2 * INTERVAL_SECONDS))
    note = (
        f"{JOBS:,} running jobs of two vertices, 20 of which restart between polls; details of {number(read)} jobs a "
        f"poll, the default of 20 requests a second; processor time {number(median(p.subject for p in shares) * 1e4)} "
        f"ms an interval of {INTERVAL_SECONDS:g} s"
    )
    return [
        Measurement(
            session.name(CPU), "of a core", "a core", Goal(MAX_SHARE, at_least=False), shares, [note, *profile]
        ),
        Measurement(session.name(POLL), "s", "the interval between polls", Goal(1.0, at_least=False), polls),
    ]


def _until(served: Collecting, polls: int) -> dict[str, float]:
    """Waits until so many polls have ended; returns the collector's own metrics by name.

    Raises:
        RuntimeError: they do not end in time.
    """
    deadline = time.monotonic() + polls * INTERVAL_SECONDS + 60
    while time.monotonic() < deadline:
        found = _metrics(served.metrics_url)
        if found.get(f"{_PREFIX}poll_seconds_count", 0) >= polls:
            return found
        time.sleep(0.2)
    raise RuntimeError(f"the collector has not polled {polls} times")


def _metrics(url: str) -> dict[str, float]:
    with urllib.request.urlopen(url, timeout=10) as answer:
        text = answer.read().decode()
    return {sample.name: sample.value for family in text_string_to_metric_families(text) for sample in family.samples}
