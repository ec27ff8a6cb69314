"""The chart of growth: milliseconds of calls over what is stored, both on logarithmic axes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib import pyplot as plt

from tests.bench.chart_style import FAINT, GREY, INK, PAPER, STYLE, titled

_COLOURS = ("#0d9488", "#2563eb", "#d97706", "#9333ea")

Curves = Mapping[str, Mapping[str, Mapping[str, float]]]
"""By what grows, by how much of it, by measure: milliseconds."""


def draw(curves: Curves, path: Path) -> None:
    """Writes the chart."""
    mpl.use("Agg")
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(1, 2, figsize=(11, 3.9), facecolor=PAPER, sharey=True)
        for axis, (what, points) in zip(axes, curves.items(), strict=True):
            _panel(axis, what, points)
        figure.tight_layout(pad=1.6, w_pad=6)
        figure.savefig(path, dpi=160, facecolor=PAPER)
        plt.close(figure)


def _panel(axis: Any, what: str, points: Mapping[str, Mapping[str, float]]) -> None:
    stored = [int(size) for size in points]
    measures = list(next(iter(points.values())))
    for measure, colour in zip(measures, _COLOURS, strict=True):
        costs = [of_size[measure] for of_size in points.values()]
        axis.plot(stored, costs, color=colour, marker="o", markersize=4, linewidth=1.8)
        axis.annotate(measure, (stored[-1], costs[-1]), (8, 0), textcoords="offset points", va="center", color=colour)
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_xticks(stored, [f"{size:,}" for size in stored])
    axis.minorticks_off()
    axis.set_yticks([0.5, 1, 2, 5, 10], ["0.5", "1", "2", "5", "10"])
    axis.set_ylim(0.4, 20)
    titled(axis, f"Growth with {what}", "milliseconds a call, one caller; log scales")
    axis.grid(axis="y", color=FAINT, linewidth=0.6)
    axis.tick_params(length=0, colors=GREY, labelleft=True)
    for side in ("top", "right", "left", "bottom"):
        axis.spines[side].set_visible(side == "bottom")
        axis.spines[side].set_color(INK)
