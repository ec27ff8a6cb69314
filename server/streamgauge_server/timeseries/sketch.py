"""Sketches of values from which percentiles are read: mergeable, and removable, bin by bin.

The bins are those of a DDSketch (Masson, Rim, Lee: DDSketch, VLDB 2019) with logarithmic mapping; the library tells
which bin a value is in and what a bin stands for. All bins are kept: 64-bit integers fall into fewer than 2,200, so
that nothing has to collapse, and sketches of the same values are equal in whatever order the values came.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from itertools import accumulate

from ddsketch.mapping import LogarithmicMapping

RELATIVE_ERROR = 0.01
"""A percentile is off by at most this share of the value that it stands for."""

_mapping = LogarithmicMapping(RELATIVE_ERROR)
_key = _mapping.key

Bins = dict[int, int]
"""How many values are in each bin: 0 is that of the value 0, k + 1 the mapping's bin k."""


def bin_of(value: int) -> int:
    """Returns the bin of a value, which is not negative."""
    return _key(value) + 1 if value else 0


def quantile(bins: Mapping[int, int], share: float) -> float:
    """Returns the value below which a share (0 to 1) of the values lie, as DDSketch has it. There must be a value."""
    keys = sorted(bins)
    running = list(accumulate(bins[key] for key in keys))
    key = keys[bisect_right(running, share * (running[-1] - 1))]
    return _mapping.value(key - 1) if key else 0.0
