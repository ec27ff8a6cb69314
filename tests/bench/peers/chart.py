"""The chart of a run: a panel per measure, a bar per system, on logarithmic axes. A PNG, and its numbers as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from typing import Any

import matplotlib as mpl
from matplotlib import pyplot as plt

from tests.bench.peers.ratios import SUBJECT, TITLES, Findings
from tests.bench.report import number

_OURS, _THEIRS, _INK, _FAINT = "#0d9488", "#94a3b8", "#334155", "#cbd5e1"
_PAPER = "#f8fafc"
"""The chart has a light ground of its own, so that it can be read on a dark page as well as on a light one."""
_SHOWN = [name for name in TITLES if name != "streamgauge_postgresql"]


def figures(found: Findings) -> dict[str, dict[str, float]]:
    """Returns the numbers of the chart: by the title of a panel, by system."""
    panels: Mapping[str, Callable[[str], float]] = {
        "Bulk import\nmillion samples a second, durable (more is better)": lambda n: (
            median(found.day.durable_rates[n]) / 1e6
        ),
        "24 h by hour, one source\nmilliseconds (less is better)": lambda n: median(found.range_24h[n]) * 1e3,
        "1 year by day, one source\nmilliseconds (less is better)": lambda n: median(found.range_1y[n]) * 1e3,
        "Latest values of 1,000 sources\nmilliseconds (less is better)": lambda n: median(found.latest_1000[n]) * 1e3,
        "On disk, a day every 15 s\nbytes a sample (less is better)": lambda n: found.bytes_per_sample(found.day, n),
        "On disk, a year every 60 s\nbytes a sample (less is better)": lambda n: found.bytes_per_sample(found.year, n),
    }
    return {title: {TITLES[name]: float(f"{of(name):.4g}") for name in _SHOWN} for title, of in panels.items()}


def draw(found: Findings, path: Path) -> None:
    """Writes the chart, and beside it its numbers."""
    panels = figures(found)
    path.with_suffix(".json").write_text(json.dumps(panels, indent=2) + "\n")
    mpl.use("Agg")
    style: Any = {"font.size": 9, "font.family": "DejaVu Sans", "text.color": _INK, "axes.labelcolor": _INK}
    with plt.rc_context(style):
        figure, axes = plt.subplots(2, 3, figsize=(12, 5.2), facecolor=_PAPER)
        for axis, (title, values) in zip(axes.flat, panels.items(), strict=True):
            _panel(axis, title, values)
        figure.tight_layout(pad=1.6, w_pad=2.2, h_pad=2.2)
        figure.savefig(path, dpi=160, facecolor=_PAPER)
        plt.close(figure)


def _panel(axis: Any, title: str, values: Mapping[str, float]) -> None:
    names = list(values)[::-1]
    heights = [values[name] for name in names]
    colours = [_OURS if name == TITLES[SUBJECT] else _THEIRS for name in names]
    axis.barh([name.replace(", ", ",\n") for name in names], heights, color=colours, height=0.68)
    axis.set_xscale("log")
    axis.set_xlim(min(heights) / 2.2, max(heights) * 3.2)
    for place, height in enumerate(heights):
        axis.text(height * 1.08, place, number(height), va="center", color=_INK)
    heading, _, unit = title.partition("\n")
    axis.set_title(heading, loc="left", fontsize=10.5, fontweight="bold", color=_INK, pad=18)
    axis.text(0, 1.04, unit, transform=axis.transAxes, fontsize=8, color="#64748b")
    axis.set_facecolor(_PAPER)
    axis.tick_params(axis="y", length=0, colors=_INK)
    axis.tick_params(axis="x", which="both", length=0, labelbottom=False)
    for side in ("top", "right", "bottom"):
        axis.spines[side].set_visible(False)
    axis.spines["left"].set_color(_FAINT)
