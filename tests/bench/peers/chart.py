"""The chart of a run: a panel per measure, a bar per system, on logarithmic axes. A PNG, and its numbers as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from typing import Any

import matplotlib as mpl
from matplotlib import pyplot as plt

from tests.bench.chart_style import FAINT, INK, OURS, PAPER, STYLE, THEIRS, titled
from tests.bench.peers.ratios import SUBJECT, TITLES, Findings
from tests.bench.report import number

_SHOWN = [name for name in TITLES if name != "streamgauge_postgresql"]


def figures(found: Findings) -> dict[str, dict[str, float]]:
    """Returns the numbers of the chart: by the title of a panel, by system."""
    panels: Mapping[str, Callable[[str], float]] = {
        "Bulk import\nmillion samples a second, durable (more is better; log scale)": lambda n: (
            median(found.day.durable_rates[n]) / 1e6
        ),
        "24 h by hour, one source\nmilliseconds (less is better; log scale)": lambda n: (
            median(found.range_24h[n]) * 1e3
        ),
        "1 year by day, one source\nmilliseconds (less is better; log scale)": lambda n: (
            median(found.range_1y[n]) * 1e3
        ),
        "Latest values of 1,000 sources\nmilliseconds (less is better; log scale)": lambda n: (
            median(found.latest_1000[n]) * 1e3
        ),
        "On disk, a day every 15 s\nbytes a sample (less is better; log scale)": lambda n: found.bytes_per_sample(
            found.day, n
        ),
        "On disk, a year every 60 s\nbytes a sample (less is better; log scale)": lambda n: found.bytes_per_sample(
            found.year, n
        ),
    }
    return {title: {TITLES[name]: float(f"{of(name):.4g}") for name in _SHOWN} for title, of in panels.items()}


def draw(panels: Mapping[str, Mapping[str, float]], path: Path) -> None:
    """Writes the chart of `figures`, and beside it its numbers."""
    path.with_suffix(".json").write_text(json.dumps(panels, indent=2) + "\n")
    mpl.use("Agg")
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(2, 3, figsize=(12, 5.2), facecolor=PAPER)
        for axis, (title, values) in zip(axes.flat, panels.items(), strict=True):
            _panel(axis, title, values)
        figure.tight_layout(pad=1.6, w_pad=2.2, h_pad=2.2)
        figure.savefig(path, dpi=160, facecolor=PAPER)
        plt.close(figure)


def _panel(axis: Any, title: str, values: Mapping[str, float]) -> None:
    names = list(values)[::-1]
    heights = [values[name] for name in names]
    colours = [OURS if name == TITLES[SUBJECT] else THEIRS for name in names]
    axis.barh([name.replace(", ", ",\n") for name in names], heights, color=colours, height=0.68)
    axis.set_xscale("log")
    axis.set_xlim(min(heights) / 2.2, max(heights) * 3.2)
    for place, height in enumerate(heights):
        axis.text(height * 1.08, place, number(height), va="center", color=INK)
    heading, _, unit = title.partition("\n")
    titled(axis, heading, unit)
    axis.tick_params(axis="y", length=0, colors=INK)
    axis.tick_params(axis="x", which="both", length=0, labelbottom=False)
    for side in ("top", "right", "bottom"):
        axis.spines[side].set_visible(False)
    axis.spines["left"].set_color(FAINT)
