"""How the charts look. They have a light ground of their own, to be read on a dark page as well as on a light one."""

from __future__ import annotations

from typing import Any

OURS, THEIRS = "#0d9488", "#94a3b8"
INK, GREY, FAINT, PAPER = "#334155", "#64748b", "#cbd5e1", "#f8fafc"
STYLE: Any = {
    "font.size": 9,
    "font.family": "DejaVu Sans",
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.facecolor": PAPER,
}
"""matplotlib's parameters."""


def titled(axis: Any, heading: str, unit: str) -> None:
    """Writes what a panel shows, and in which unit, above it."""
    axis.set_title(heading, loc="left", fontsize=10.5, fontweight="bold", color=INK, pad=18)
    axis.text(0, 1.04, unit, transform=axis.transAxes, fontsize=8, color=GREY)
