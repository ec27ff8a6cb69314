"""Plots of built-in metric types: their figures are kept by hour and by day, and here put together to windows."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from streamgauge_server.model.clock import MICROS_PER_DAY, MICROS_PER_HOUR
from streamgauge_server.model.metric_types import MEASURES, Column, ColumnAggregate, FigureType, Span
from streamgauge_server.model.windows import Window, WindowUnit
from streamgauge_server.services.plot_series import Cell, Number, PlotSeries
from streamgauge_server.storage.figures import StoredFigures, Stretch
from streamgauge_server.timeseries.counting import HOURS_PER_DAY
from streamgauge_server.timeseries.figures import Figures, Measure, column_values, decode_figures

_PERCENTILES = (ColumnAggregate.P50, ColumnAggregate.P95)
_MICROS = {Span.HOUR: MICROS_PER_HOUR, Span.DAY: MICROS_PER_DAY}


def stretches(first_hour: int, end_hour: int, window: Window) -> list[Stretch]:
    """Returns the rows that windows over [first_hour, end_hour) are made of: days where the windows hold whole ones."""
    first_day, end_day = -(-first_hour // HOURS_PER_DAY), end_hour // HOURS_PER_DAY
    if window.unit == WindowUnit.HOUR or first_day >= end_day:
        hours = [(first_hour, end_hour)]
        days = []
    else:
        hours = [(first_hour, first_day * HOURS_PER_DAY), (end_day * HOURS_PER_DAY, end_hour)]
        days = [(first_day, end_day)]
    return [
        Stretch(span, first, end)
        for span, of_span in ((Span.HOUR, hours), (Span.DAY, days))
        for first, end in of_span
        if first < end
    ]


class FigurePlot:
    """The rows of a plot, by window and choice.

    Raises BlockCorrupt when stored figures are damaged.
    """

    def __init__(self, type: FigureType, rows: Iterable[StoredFigures], window: Window) -> None:
        self._type = type
        self._cells: dict[Cell, list[Figures]] = {}
        for row in rows:
            time = window.start(window.index(row.start * _MICROS[row.span]))
            self._cells.setdefault((time, row.choice), []).append(decode_figures(type, row.data))

    @property
    def windows(self) -> int:
        """How many windows have figures."""
        return len({time for time, _ in self._cells})

    def series(self, columns: Sequence[Column]) -> list[PlotSeries]:
        """Returns the series of columns."""
        cells = sorted(self._cells)
        sketched = {column.measure for column in columns if column.aggregate in _PERCENTILES}
        wholes = [self._whole(self._cells[cell], sketched) for cell in cells]
        total = self._whole(wholes, sketched)
        filled: dict[tuple[object, ...], list[Cell]] = {}
        found = []
        for column in columns:
            values = column_values(self._type, wholes, column)
            # Whether there is something to say depends on these alone.
            of_column = filled.setdefault((column.measure, column.over), [])
            if not of_column:
                of_column += [cell for cell, value in zip(cells, values, strict=True) if value is not None]
            numbers: list[Number] = [value for value in values if value is not None]
            found.append(PlotSeries(column, of_column, numbers, total.value(column) if numbers else None))
        return found

    def _whole(self, parts: Sequence[Figures], sketched: Collection[str]) -> Figures:
        """Returns figures together, with the sketches of some measures alone: they cost more than all the rest."""
        if len(parts) == 1:
            return parts[0]
        whole = Figures(self._type)
        whole.counts = [sum(counts) for counts in zip(*(part.counts for part in parts), strict=True)] or whole.counts
        for place, measure in enumerate(MEASURES[self._type]):
            of_measure = [part.measures[place] for part in parts if part.measures[place].n]
            if measure in sketched:
                for each in of_measure:
                    whole.measures[place].merge(each)
            elif of_measure:
                _sum(whole.measures[place], of_measure)
        return whole


def _sum(whole: Measure, parts: Sequence[Measure]) -> None:
    """Fills an empty measure with what measures come to, without a sketch."""
    whole.n = sum([part.n for part in parts])
    whole.sum = sum([part.sum for part in parts])
    whole.min = min([part.min for part in parts])
    whole.max = max([part.max for part in parts])
