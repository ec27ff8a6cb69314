"""A line of values as eight heights of a block: `▁▂▅█ ▃`, a gap where there is no value."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

BLOCKS = "▁▂▃▄▅▆▇█"
ASCII = ".:-=+*#@"
WIDTH = 32


def sparkline(values: Sequence[float | None], *, width: int = WIDTH, ramp: str = BLOCKS) -> str:
    """Returns one character per value, or per group of values when there are more than `width`.

    A group shows its largest value: peaks are what the eye must not miss. The scale begins at zero unless values are
    below it, so that a small ripple on a high level stays small.
    """
    grouped = _group(values, width)
    known = [value for value in grouped if value is not None]
    if not known:
        return ""
    low, high = min(0.0, *known), max(0.0, *known)
    span = (high - low) or 1.0
    steps = len(ramp) - 1
    return "".join(" " if value is None else ramp[round((value - low) / span * steps)] for value in grouped)


def _group(values: Sequence[float | None], width: int) -> list[float | None]:
    count = len(values)
    if count <= width:
        return [None if value is None else float(value) for value in values]
    edges = [index * count // width for index in range(width + 1)]
    groups = ([v for v in values[a:b] if v is not None] for a, b in pairwise(edges))
    return [float(max(group)) if group else None for group in groups]
