"""The series of a plot: which columns, and the values of each over windows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from streamgauge_server.model.errors import Violation
from streamgauge_server.model.metric_types import Column, MetricTypeInfo

Number = int | float
Cell = tuple[int, int]
"""Where a value stands: the beginning of its window (microseconds), and its choice, or 0 for all together."""

MAX_NAMED = 1_000
"""How many columns, groups and choices each a plot may name."""


@dataclass(frozen=True, slots=True)
class PlotSeries:
    """The values of one column, each with its cell, by time, then by choice.

    Columns that have values in the same cells may share them. `total` is the value of the whole range, None without
    values.
    """

    column: Column
    cells: Sequence[Cell] = ()
    values: Sequence[Number] = ()
    total: Number | None = None

    @property
    def bounds(self) -> tuple[Number, Number] | None:
        """The smallest and the largest of the values, None without any."""
        return (min(self.values), max(self.values)) if self.values else None


def chosen_columns(
    metric_type: MetricTypeInfo, columns: Sequence[str], groups: Sequence[str]
) -> tuple[list[Column], list[Violation]]:
    """Returns the columns that a plot asks for, each once, and what is wrong with the names.

    Those that are named come first, in the order of the request, then those of the groups in the order of the catalog.
    Nothing named is everything but derived columns, which are answered only when they are named.
    """
    problems = [
        Violation(field, f"must have at most {MAX_NAMED} entries, has {len(names)}")
        for field, names in (("columns", columns), ("groups", groups))
        if len(names) > MAX_NAMED
    ]
    if problems:
        return [], problems
    by_name = {column.name: column for column in metric_type.columns}
    known_groups = {group.group for group in metric_type.groups}
    found: dict[str, Column] = {}
    for position, name in enumerate(columns):
        if name in by_name:
            found[name] = by_name[name]
        else:
            problems.append(Violation(f"columns[{position}]", f"{metric_type.name} has no column {name[:64]!r}"))
    for position, name in enumerate(groups):
        if name not in known_groups:
            problems.append(Violation(f"groups[{position}]", f"{metric_type.name} has no group {name[:64]!r}"))
    wanted = set(groups)
    for column in metric_type.columns:
        if not column.derived and (column.group in wanted if groups else not columns):
            found.setdefault(column.name, column)
    return list(found.values()), problems


def truncated(dividend: int, divisor: int) -> int:
    """Returns a quotient, exact and truncated toward zero; the divisor is positive."""
    return dividend // divisor if dividend >= 0 else -(-dividend // divisor)
