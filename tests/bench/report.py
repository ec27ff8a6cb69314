"""What was measured, as a table and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median


@dataclass(frozen=True, slots=True)
class Goal:
    """What a ratio should be: at least or at most a bound."""

    bound: float
    at_least: bool

    def met(self, ratio: float) -> bool:
        """Tells whether a ratio is good enough."""
        return ratio >= self.bound if self.at_least else ratio <= self.bound

    def __str__(self) -> str:
        return f"{'>=' if self.at_least else '<='} {self.bound:g}"


@dataclass(frozen=True, slots=True)
class Pair:
    """One round: the subject and what it is compared with, measured one after the other, in the same unit."""

    subject: float
    other: float

    @property
    def ratio(self) -> float:
        """The subject as a multiple of the other."""
        return self.subject / self.other


@dataclass(frozen=True, slots=True)
class Measurement:
    """The outcome of one measure: medians over its rounds."""

    name: str
    unit: str
    against: str
    """What the subject is compared with."""
    goal: Goal | None
    """None where nothing was aimed at."""
    pairs: Sequence[Pair]
    notes: Sequence[str] = ()
    """Lines for people: what else was seen."""

    @property
    def value(self) -> float:
        """The subject's median."""
        return median(pair.subject for pair in self.pairs)

    @property
    def other(self) -> float:
        """The median of what it is compared with."""
        return median(pair.other for pair in self.pairs)

    @property
    def ratio(self) -> float:
        """The median of the rounds' ratios: what disturbs a round disturbs both of its sides."""
        return median(pair.ratio for pair in self.pairs)

    @property
    def spread(self) -> tuple[float, float]:
        """The smallest and the largest ratio of a round."""
        ratios = [pair.ratio for pair in self.pairs]
        return min(ratios), max(ratios)

    @property
    def verdict(self) -> str:
        """`met`, `not met`, or nothing where there is no goal."""
        if self.goal is None:
            return ""
        return "met" if self.goal.met(self.ratio) else "not met"

    def to_json(self) -> dict[str, object]:
        """Returns the entry for `build/bench.json`."""
        return {
            "name": self.name,
            "value": _digits(self.value),
            "unit": self.unit,
            "ratio": _digits(self.ratio),
            "against": f"{self.against}: {number(self.other)} {self.unit}",
            "goal": None if self.goal is None else str(self.goal),
            "rounds": len(self.pairs),
            "spread": [_digits(bound) for bound in self.spread],
        }


HEAD = ("name", "value", "against", "ratio", "spread", "goal", "")


def table(measurements: Iterable[Measurement]) -> str:
    """Returns a plain table, one line for each measurement."""
    rows = [
        HEAD,
        *(
            (
                m.name,
                f"{number(m.value)} {m.unit}",
                f"{number(m.other)} ({m.against})",
                number(m.ratio),
                f"{number(m.spread[0])} .. {number(m.spread[1])} in {len(m.pairs)}",
                "" if m.goal is None else str(m.goal),
                m.verdict,
            )
            for m in measurements
        ),
    ]
    return columns(rows)


def columns(rows: Sequence[Sequence[str]]) -> str:
    """Returns rows of equally many cells as lines with columns."""
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def write_json(measurements: Iterable[Measurement], path: Path) -> None:
    """Writes the list that programs read. Entries of other names that are there already stay."""
    entries = {entry["name"]: entry for entry in json.loads(path.read_text())} if path.exists() else {}
    entries |= {m.name: m.to_json() for m in measurements}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(list(entries.values()), indent=2) + "\n")


def number(value: float) -> str:
    """Returns a number with three significant digits or all of its whole ones."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _digits(value: float) -> float:
    return float(f"{value:.4g}")
