"""Plots drawn in the terminal: lines over time, a chart per unit.

plotext draws them; it is imported only when something is drawn.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby, pairwise

from streamgauge.cli.output import can_show, human
from streamgauge.enums import WindowUnit
from streamgauge.metric_type_results import Plot, PlotSeries
from streamgauge.observations import Window

HEIGHT = 16
"""Rows of a chart."""
LINES_PER_CHART = 6
"""More lines than this do not fit into one chart: nobody could tell them apart."""
MIN_WIDTH = 40

_MARKER = "braille"
_GLYPHS = "─│┌┐└┘┤┬⠿"
_MAX_TICKS, _TICK_WIDTH = 5, 20
_LONGEST = {
    WindowUnit.HOUR: timedelta(hours=1),
    WindowUnit.DAY: timedelta(days=1),
    WindowUnit.WEEK: timedelta(weeks=1),
    WindowUnit.MONTH: timedelta(days=31),
}


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a chart: what it is called, its unit, and its points."""

    label: str
    units: str
    points: Sequence[tuple[datetime, float]]


def drawable() -> bool:
    """Whether the standard output is a terminal that can show a chart."""
    return sys.stdout.isatty() and can_show(_GLYPHS)


def lines_of(plot: Plot) -> list[Line]:
    """Returns the lines of a plot: one per column, or per column and choice. What has no values has no line."""
    return [line for series in plot.series.values() for line in _lines(series, plot.choices) if line.points]


def _lines(series: PlotSeries, choices: Sequence[int]) -> Iterator[Line]:
    column = series.column
    for choice in choices or (0,):
        label = f"{column.column} of {choice}" if choices else f"{column.column}, in total {human(series.total)}"
        yield Line(label, column.units, [(v.time, v.value) for v in series.values if v.choice == choice])


def charts(lines: Sequence[Line]) -> list[Sequence[Line]]:
    """Returns the lines by chart: of one unit, and no more than can be told apart."""
    by_unit = sorted(lines, key=lambda line: line.units)  # stable: columns of a unit stay in their order
    found: list[Sequence[Line]] = []
    for _, group in groupby(by_unit, key=lambda line: line.units):
        same = list(group)
        found += [same[at : at + LINES_PER_CHART] for at in range(0, len(same), LINES_PER_CHART)]
    return found


def stretches(points: Sequence[tuple[datetime, float]], window: Window) -> Iterator[list[tuple[datetime, float]]]:
    """Yields the points between gaps: a window without a value is not bridged by a line."""
    longest = _LONGEST[WindowUnit(window.unit)].total_seconds() * window.count
    stretch = [points[0]]
    for before, point in pairwise(points):
        if (point[0] - before[0]).total_seconds() > longest:
            yield stretch
            stretch = []
        stretch.append(point)
    yield stretch


def ticks_of(times: Sequence[datetime], most: int) -> list[datetime]:
    """Returns the moments that are named below a chart: beginnings of windows, first and last among them."""
    steps = min(most, len(times)) - 1
    return [times[step * (len(times) - 1) // steps] for step in range(steps + 1)] if steps else [times[0]]


def draw(plot: Plot, window: Window, *, width: int | None = None) -> str:
    """Returns the charts of a plot as text for a terminal, in colours unless the variable NO_COLOR is set."""
    columns = max(MIN_WIDTH, width or shutil.get_terminal_size().columns)
    drawn = [_chart(lines, plot.times, window, columns) for lines in charts(lines_of(plot))]
    return "\n".join(drawn)


def _chart(lines: Sequence[Line], times: Sequence[datetime], window: Window, width: int) -> str:
    import plotext

    plotext.clear_figure()
    plotext.theme("clear")
    plotext.plot_size(width, HEIGHT)
    plotext.title(lines[0].units)
    for color, line in enumerate(lines, start=1):
        label: str | None = line.label
        for stretch in stretches(line.points, window):
            x, y = [time.timestamp() for time, _ in stretch], [value for _, value in stretch]
            plotext.plot(x, y, label=label, color=color, marker=_MARKER)
            label = None  # the legend names a line once
    first, last = times[0], times[-1]
    if first == last:  # a single window stands in the middle
        first, last = first - _LONGEST[WindowUnit(window.unit)], last + _LONGEST[WindowUnit(window.unit)]
    plotext.xlim(first.timestamp(), last.timestamp())
    heights = [value for line in lines for _, value in line.points]
    plotext.ylim(min(0, *heights), max(0, *heights) or 1)  # as of a sparkline: a small ripple stays small
    ticks = ticks_of(times, min(_MAX_TICKS, width // _TICK_WIDTH))
    shape = "%m-%d %H:%M" if WindowUnit(window.unit) is WindowUnit.HOUR else "%Y-%m-%d"
    plotext.xticks([tick.timestamp() for tick in ticks], [tick.strftime(shape) for tick in ticks])
    text: str = plotext.build()
    return plotext.uncolorize(text) if os.environ.get("NO_COLOR") else text
