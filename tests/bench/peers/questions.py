"""What every system is asked, and the form in which their answers are compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Windows:
    """All metrics of one source over windows: `COUNTERS` by their increase, `GAUGES` by their largest value, `RATES` by
    their last value, as streamgauge answers when nothing else is asked. Microseconds."""

    source: str
    start: int
    end: int
    width: int

    @property
    def count(self) -> int:
        """How many windows there are; they fill the range."""
        return (self.end - self.start) // self.width


@dataclass(frozen=True, slots=True)
class Latest:
    """The newest values of all metrics of sources, as of a moment (microseconds) shortly after the last of them."""

    sources: Sequence[str]
    moment: int


Question: TypeAlias = Windows | Latest

WindowAnswer: TypeAlias = Mapping[str, Mapping[int, float]]
"""By metric the value of each window, by the window's number; windows without a value are missing."""
LatestAnswer: TypeAlias = Mapping[tuple[str, str], float]
"""The newest value by source and metric."""
