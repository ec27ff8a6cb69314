"""Metric types, their choices, and plots of their figures. Times are timezone-aware, UTC."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, TypeAlias

from streamgauge.enums import ColumnAggregate, Scalar

if TYPE_CHECKING:
    import pandas

FieldValue: TypeAlias = Scalar | None
"""What a field of a choice may hold. Numbers are kept as doubles; whole ones are answered as `int`."""


@dataclass(frozen=True, slots=True)
class MetricTypeColumn:
    """A column: one figure. `group` is empty, or one of the type's; `units` are words, such as `seconds`.

    `derived` columns, percentiles and ratios of built-in metric types, are answered only when they are named.
    """

    column: str
    aggregate: ColumnAggregate | str
    title: str = ""
    description: str = ""
    units: str = ""
    group: str = ""
    derived: bool = False


@dataclass(frozen=True, slots=True)
class MetricTypeGroup:
    """A group of columns."""

    group: str
    title: str = ""
    description: str = ""


@dataclass(frozen=True, slots=True)
class MetricTypeFilter:
    """A field by which choices can be filtered.

    `type` is `bool`, `date`, `datetime`, `float`, `int`, `string` or `time`.
    """

    param: str
    type: str = "string"


@dataclass(frozen=True, slots=True)
class MetricType:
    """A kind of figures: its columns in groups, and the filters of its choices. Times are None for built-in ones."""

    name: str
    title: str
    description: str
    filters: tuple[MetricTypeFilter, ...]
    groups: tuple[MetricTypeGroup, ...]
    columns: tuple[MetricTypeColumn, ...]
    built_in: bool
    etag: str
    create_time: datetime | None
    update_time: datetime | None

    @property
    def id(self) -> str:
        """The last part of the name."""
        return self.name.rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class MetricTypeChoice:
    """What figures are kept for, such as a job type. `number` is what `choices` of a plot name, and stays the same."""

    name: str
    number: int
    title: str
    fields: Mapping[str, FieldValue]

    @property
    def id(self) -> str:
        """The last part of the name."""
        return self.name.rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class MetricTypeValues:
    """Values of one choice, by its id, at one moment (default: the server's clock), by column: integers or doubles."""

    choice: str
    values: Mapping[str, float]
    time: datetime | None = None


@dataclass(frozen=True, slots=True)
class PlotValue:
    """The value of the window that begins at `time`. `choice` is 0 when all choices are taken together."""

    time: datetime
    value: float
    choice: int


@dataclass(frozen=True, slots=True)
class PlotSeries:
    """The values of one column, by time, then by choice. Windows without a value have none, which is not 0.

    `min_x` and `max_x` are the first and the last time, `min_y` and `max_y` the smallest and the largest value,
    `total` is the value over the whole range and all choices asked for; they are None without values.
    """

    column: MetricTypeColumn
    values: tuple[PlotValue, ...]
    min_x: datetime | None
    max_x: datetime | None
    min_y: float | None
    max_y: float | None
    total: float | None


@dataclass(frozen=True, slots=True)
class Plot:
    """Figures over windows, by column: `plot["run_time_avg"].total`.

    `choices` are those that were asked for; without any all are taken together. `computed_at` is the moment as of which
    the figures are: everything acknowledged before it is in them.
    """

    metric_type: str
    choices: tuple[int, ...]
    series: Mapping[str, PlotSeries] = field(repr=False)
    computed_at: datetime

    def __getitem__(self, column: str) -> PlotSeries:
        return self.series[column]

    @property
    def times(self) -> tuple[datetime, ...]:
        """The beginnings of all windows in which any column has a value."""
        return tuple(sorted({value.time for series in self.series.values() for value in series.values}))

    def to_dataframe(self) -> pandas.DataFrame:
        """Returns a row per window with a value, a column per column, or per column and choice if any were asked for.

        Needs `streamgauge[pandas]`; ImportError says so otherwise.
        """
        from streamgauge import dataframes

        return dataframes.from_plot(self)


@dataclass(frozen=True, slots=True)
class Recalculated:
    """How many figures of a choice and an hour there are in a range, and how many differed from the records."""

    checked: int
    changed: int
