"""From what was measured to ratios, with what was aimed at."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from tests.bench.peers.contest import Results
from tests.bench.report import Goal, Measurement, Pair, columns, number

SUBJECT = "streamgauge"
TITLES: Mapping[str, str] = {
    SUBJECT: "streamgauge",
    "streamgauge_postgresql": "streamgauge on PostgreSQL",
    "victoriametrics": "VictoriaMetrics",
    "influxdb": "InfluxDB",
    "prometheus": "Prometheus",
    "row_per_sample": "PostgreSQL, a row per sample",
}
OTHERS = [name for name in TITLES if name != SUBJECT]

GOALS: Mapping[str, Goal] = {
    "bulk_import_vs_victoriametrics": Goal(2, at_least=True),
    "bulk_import_vs_row_per_sample": Goal(10, at_least=True),
    "range_24h_vs_victoriametrics": Goal(1, at_least=False),
    "range_1y_vs_victoriametrics": Goal(0.05, at_least=False),
    "bytes_per_sample": Goal(1.2, at_least=False),
    "bytes_per_sample_1y": Goal(1.2, at_least=False),
    "bytes_vs_victoriametrics": Goal(1, at_least=False),
    "bytes_1y_vs_victoriametrics": Goal(1, at_least=False),
}
"""What the project aims at; a time is better when its ratio is small: 0.05 is twenty times as fast."""


@dataclass(frozen=True, slots=True)
class Findings:
    """Everything that a run has measured. Times of questions in seconds, the median of each round, by system."""

    day: Results
    range_24h: Mapping[str, Sequence[float]]
    latest_1000: Mapping[str, Sequence[float]]
    year: Results
    range_1y: Mapping[str, Sequence[float]]

    def bytes_per_sample(self, results: Results, name: str) -> float:
        """Returns what a sample takes on disk."""
        return results.stored[name] / results.samples[name]

    def side_table(self) -> str:
        """Returns a table with what each system does by itself: medians."""
        lines: dict[str, Callable[[str], str]] = {
            "import, day (M samples/s)": lambda n: number(median(self.day.durable_rates[n]) / 1e6),
            "import, year (M samples/s)": lambda n: number(median(self.year.durable_rates[n]) / 1e6),
            "24 h by hour (ms)": lambda n: number(median(self.range_24h[n]) * 1e3),
            "1 y by day (ms)": lambda n: number(median(self.range_1y[n]) * 1e3),
            "latest of 1,000 (ms)": lambda n: number(median(self.latest_1000[n]) * 1e3),
            "bytes a sample, day": lambda n: number(self.bytes_per_sample(self.day, n)),
            "bytes a sample, year": lambda n: number(self.bytes_per_sample(self.year, n)),
            "peak memory, day (MB)": lambda n: number(self.day.peaks[n] / 1e6),
            "peak memory, year (MB)": lambda n: number(self.year.peaks[n] / 1e6),
            "start on that day (s)": lambda n: number(median(self.day.starts[n])),
            "samples, day (M)": lambda n: number(self.day.samples[n] / 1e6),
            "samples, year (M)": lambda n: number(self.year.samples[n] / 1e6),
        }
        return columns([("", *TITLES.values()), *((line, *map(of, TITLES)) for line, of in lines.items())])


def measurements(found: Findings) -> list[Measurement]:
    """Returns every ratio."""
    rates, times = (1e-6, "M samples/s"), (1e3, "ms")
    made: list[Measurement] = []
    for measure, by_name, (factor, unit) in (
        ("bulk_import", found.day.durable_rates, rates),
        ("bulk_import_1y", found.year.durable_rates, rates),
        ("range_24h", found.range_24h, times),
        ("range_1y", found.range_1y, times),
        ("latest_1000", found.latest_1000, times),
        ("start", found.day.starts, (1.0, "s")),
    ):
        made += [_ratio(f"{measure}_vs_{other}", unit, factor, by_name, other) for other in OTHERS]
    for name, results in (("", found.day), ("_1y", found.year)):
        subject = found.bytes_per_sample(results, SUBJECT)
        made.append(_measurement(f"bytes_per_sample{name}", "bytes", "1 byte", [Pair(subject, 1.0)]))
        for other in OTHERS:
            pair = Pair(subject, found.bytes_per_sample(results, other))
            made.append(_measurement(f"bytes{name}_vs_{other}", "bytes", TITLES[other], [pair]))
        for other in OTHERS:
            pair = Pair(results.peaks[SUBJECT] / 1e6, results.peaks[other] / 1e6)
            made.append(_measurement(f"peak_memory{name}_vs_{other}", "MB", TITLES[other], [pair]))
    return made


def _ratio(name: str, unit: str, factor: float, by_name: Mapping[str, Sequence[float]], other: str) -> Measurement:
    """Pairs rounds; where the other took part in fewer, with the first ones."""
    pairs = [
        Pair(subject * factor, against * factor)
        for subject, against in zip(by_name[SUBJECT], by_name[other], strict=False)
    ]
    return _measurement(name, unit, TITLES[other], pairs)


def _measurement(name: str, unit: str, against: str, pairs: Sequence[Pair]) -> Measurement:
    return Measurement(name, unit, against, GOALS.get(name), pairs)
