"""What the SDK returns about metric types, as answers to print."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, fields
from typing import Any

from streamgauge.cli.answers import plural, record_of
from streamgauge.cli.output import Answer, Table, human, trend
from streamgauge.metric_type_results import MetricType, MetricTypeChoice, Plot, PlotSeries

_CHOICE_FIELDS = [field.name for field in fields(MetricTypeChoice)]
_PLOT_FIELDS = ("metric_type", "column", "choice", "time", "value", "units")


def of_metric_types(types: Sequence[MetricType]) -> Answer:
    """A list of metric types; the records count columns and groups."""
    records = [
        {
            "name": one.name,
            "title": one.title,
            "description": one.description,
            "built_in": one.built_in,
            "column_count": len(one.columns),
            "group_count": len(one.groups),
            "etag": one.etag,
            "create_time": one.create_time,
            "update_time": one.update_time,
        }
        for one in types
    ]
    names = [
        "name", "title", "description", "built_in", "column_count", "group_count", "etag", "create_time", "update_time"
    ]  # fmt: skip
    rows = [
        (one.name, one.title, human(len(one.columns)), human(len(one.groups)), human(one.built_in)) for one in types
    ]
    headers = ("NAME", "TITLE", ">COLUMNS", ">GROUPS", "BUILT IN")
    return Answer([asdict(one) for one in types], names, records, Table(headers, rows))


def of_metric_type(metric_type: MetricType, choices: Sequence[MetricTypeChoice]) -> Answer:
    """One metric type with its choices; the records are the choices."""
    records = [record_of(choice) for choice in choices]
    document = asdict(metric_type) | {"choices": records}
    rows = [
        (one.column, one.group, human(one.aggregate), one.units, "named only" if one.derived else "", one.title)
        for one in metric_type.columns
    ]
    filters = ", ".join(f"{one.param} ({one.type})" for one in metric_type.filters) or "none"
    notes = [text for text in (metric_type.description, f"filters of choices: {filters}") if text]
    listed = Table(
        (">CHOICE", "NAME", "TITLE", "FIELDS"),
        [(human(one.number), one.id, one.title, _fields(one)) for one in choices],
        [plural(len(choices), "choice")],
    )
    headers = (metric_type.name, "GROUP", "AGGREGATE", "UNITS", "", "TITLE")
    return Answer(document, _CHOICE_FIELDS, records, Table(headers, rows, notes, listed))


def of_plot(plot: Plot) -> Answer:
    """Figures over windows; a record per value, a row per line."""
    document = {
        "metric_type": plot.metric_type,
        "choices": list(plot.choices),
        "computed_at": plot.computed_at,
        "series": [asdict(series) for series in plot.series.values()],
    }
    records = [
        dict(
            zip(
                _PLOT_FIELDS,
                (plot.metric_type, name, value.choice, value.time, value.value, series.column.units),
                strict=True,
            )
        )
        for name, series in plot.series.items()
        for value in series.values
    ]
    rows = [row for series in plot.series.values() for row in _rows(series, plot)]
    headers = ("COLUMN", "CHOICE", "TREND", ">MIN", ">MAX", ">LAST", ">TOTAL", "UNITS")
    return Answer(document, _PLOT_FIELDS, records, Table(headers, rows, [note_of_plot(plot)]))


def note_of_plot(plot: Plot) -> str:
    """Returns what stands below a plot: how many windows it has, from when to when, and as of when."""
    times = plot.times
    span = f", {human(times[0])} to {human(times[-1])}" if times else ""
    return f"{plot.metric_type}: {plural(len(times), 'window')} with values{span}, as of {human(plot.computed_at)}"


def _fields(choice: MetricTypeChoice) -> str:
    """Returns the fields that say something, for people."""
    return human({name: value for name, value in choice.fields.items() if value or (value == 0 and value is not False)})


def _rows(series: PlotSeries, plot: Plot) -> Iterator[tuple[str, ...]]:
    """Yields the line of each choice that was asked for, and the line of all."""
    name, units = series.column.column, series.column.units
    for choice in plot.choices:
        line = _line(series, plot, choice)
        known = [value for value in line if value is not None]
        low, high, last = (min(known), max(known), known[-1]) if known else (None, None, None)
        yield name, str(choice), trend(line), human(low), human(high), human(last), "", units
    line = [] if plot.choices else _line(series, plot, 0)
    last = next((value for value in reversed(line) if value is not None), None)
    ends = ("", "", "") if plot.choices else (human(series.min_y), human(series.max_y), human(last))
    yield name, "all", trend(line), *ends, human(series.total), units


def _line(series: PlotSeries, plot: Plot, choice: int) -> list[Any]:
    known = {value.time: value.value for value in series.values if value.choice == choice}
    return [known.get(time) for time in plot.times]
