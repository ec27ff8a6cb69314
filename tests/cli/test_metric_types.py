"""`streamgauge metric-types`, against a real server, and the charts that it draws."""

from __future__ import annotations

import csv
import io
import json
import uuid
from datetime import UTC, datetime, timedelta

import pytest
from streamgauge import (
    Client,
    MetricTypeColumn,
    MetricTypeFilter,
    MetricTypeGroup,
    MetricTypeValues,
    Plot,
    PlotSeries,
    PlotValue,
    Window,
)
from streamgauge.cli import plot_drawing
from streamgauge.cli.plot_drawing import Line

from tests.cli.conftest import CommandLine
from tests.cli.test_terminal import on_terminal

T0 = datetime(2026, 3, 2, 2, tzinfo=UTC)
HOUR = timedelta(hours=1)
RANGE = ("--from", "2026-03-02", "--to", "2026-03-03")


@pytest.fixture
def power(client: Client) -> str:
    """The id of a metric type of the test's own, with values of two choices, the second without one at 03:00."""
    name = f"power-{uuid.uuid4().hex}"
    columns = [
        MetricTypeColumn("kwh", "sum", title="Energy", units="kWh", group="energy"),
        MetricTypeColumn("load", "avg", units="kW"),
    ]
    client.metric_types.create(
        name, columns, title="Power", filters=[MetricTypeFilter("site")], groups=[MetricTypeGroup("energy")]
    )
    client.metric_types.create_choice(name, "hall", title="Hall", fields={"site": "north"})
    client.metric_types.create_choice(name, "yard", fields={"site": "south"})
    values = [
        MetricTypeValues("hall", {"kwh": 12, "load": 1.5}, time=T0),
        MetricTypeValues("hall", {"kwh": 0}, time=T0 + HOUR),
        MetricTypeValues("yard", {"kwh": 3}, time=T0 + 2 * HOUR),
    ]
    client.metric_types.write_values(name, values)
    return name


def test_metric_types_are_listed_the_built_in_ones_first(cli: CommandLine, power: str) -> None:
    names = [one["name"] for one in json.loads(cli.ok("metric-types", "list", "-o", "json"))]
    assert names[:3] == ["metricTypes/job-types", "metricTypes/ingests", "metricTypes/errors"]
    assert f"metricTypes/{power}" in names
    assert len(cli.ok("metric-types", "list", "--limit", "2", "-o", "jsonl").splitlines()) == 2
    assert "BUILT IN" in cli.ok("metric-types", "list")


def test_a_metric_type_is_shown_with_its_columns_and_choices(cli: CommandLine, power: str) -> None:
    out = cli.ok("metric-types", "show", power)
    for text in ("kwh", "kWh", "energy", "hall", "site=north", "2 choices", "filters of choices: site (string)"):
        assert text in out
    document = json.loads(cli.ok("metric-types", "show", f"metricTypes/{power}", "-o", "json"))
    assert [column["aggregate"] for column in document["columns"]] == ["sum", "avg"]
    assert [choice["fields"] for choice in document["choices"]] == [{"site": "north"}, {"site": "south"}]
    (row,) = csv.DictReader(io.StringIO(cli.ok("metric-types", "show", power, "--filter", "site=north", "-o", "csv")))
    assert (row["title"], json.loads(row["fields"])) == ("Hall", {"site": "north"})
    assert len(cli.ok("metric-types", "show", power, "--limit", "1", "-o", "jsonl").splitlines()) == 1


def test_an_unknown_metric_type_and_a_wrong_filter_are_refused(cli: CommandLine, power: str) -> None:
    for command in (("show",), ("plot",)):
        result = cli("metric-types", *command, "nobody")
        assert result.exit_code == 1
        assert "METRIC_TYPE_NOT_FOUND" in result.stderr
    assert cli("metric-types", "show", power, "--filter", "nothing=1").exit_code == 1
    assert cli("metric-types", "show", power, "--filter", "nothing").exit_code == 2


def test_a_plot_is_a_table_where_there_is_no_terminal(cli: CommandLine, power: str) -> None:
    out = cli.ok("metric-types", "plot", power, *RANGE)
    header, _, kwh, load, note = out.splitlines()
    assert header.split() == ["COLUMN", "CHOICE", "TREND", "MIN", "MAX", "LAST", "TOTAL", "UNITS"]
    assert kwh.split()[-5:] == ["0", "12", "3", "15", "kWh"]
    assert load.split()[-5:] == ["1.5", "1.5", "1.5", "1.5", "kW"]
    assert note.startswith(f"metricTypes/{power}: 3 windows with values, 2026-03-02 02:00:00Z to 2026-03-02 04:00:00Z")


def test_a_plot_has_a_record_per_value_and_zero_is_one(cli: CommandLine, power: str) -> None:
    out = cli.ok("metric-types", "plot", power, "-c", "kwh", *RANGE, "-o", "csv")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [(row["time"], row["value"], row["choice"]) for row in rows] == [
        ("2026-03-02T02:00:00Z", "12", "0"),
        ("2026-03-02T03:00:00Z", "0", "0"),
        ("2026-03-02T04:00:00Z", "3", "0"),
    ]
    (line,) = cli.ok("metric-types", "plot", power, "-g", "energy", "--unit", "day", *RANGE, "-o", "jsonl").splitlines()
    assert json.loads(line) == {
        "metric_type": f"metricTypes/{power}",
        "column": "kwh",
        "choice": 0,
        "time": "2026-03-02T00:00:00Z",
        "value": 15,
        "units": "kWh",
    }
    document = json.loads(cli.ok("metric-types", "plot", power, "-c", "kwh", *RANGE, "-o", "json"))
    assert (document["series"][0]["total"], document["series"][0]["max_y"], document["choices"]) == (15, 12, [])


def test_choices_have_lines_of_their_own(cli: CommandLine, client: Client, power: str) -> None:
    hall, yard = (str(choice.number) for choice in client.metric_types.choices(power))
    out = cli.ok("metric-types", "plot", power, "-c", "kwh", "--choice", hall, "--choice", yard, *RANGE)
    rows = [line.split() for line in out.splitlines()[2:5]]
    assert [row[1] for row in rows] == [hall, yard, "all"]
    assert (rows[0][-4:], rows[1][-4:], rows[2][-2:]) == (
        ["0", "12", "0", "kWh"],
        ["3", "3", "3", "kWh"],
        ["15", "kWh"],
    )


def test_the_grpcurl_line_asks_the_same(cli: CommandLine, power: str) -> None:
    out = cli.ok("metric-types", "plot", power, "-c", "kwh", "--unit", "day", "--show-grpcurl")
    assert "MetricTypeService/GetPlotData" in out
    assert "WINDOW_UNIT_DAY" in out


def test_help_has_examples(cli: CommandLine) -> None:
    for command in ("list", "show", "plot"):
        assert f"streamgauge metric-types {command}" in CommandLine(None).ok("metric-types", command, "--help")


# --- Charts ----------------------------------------------------------------------------------------------------------


def test_a_terminal_gets_a_chart_per_unit(target: str, power: str) -> None:
    got = on_terminal("metric-types", "plot", power, *RANGE, "--target", target, columns=100)
    assert got.count("┌") == got.count("└") == 2
    for text in ("kwh, in total 15", "load, in total 1.5", "03-02 02:00", "03-02 04:00", "\x1b[38;5;1m", "as of"):
        assert text in got
    assert "COLUMN" not in got


def test_a_terminal_gets_a_table_where_it_is_asked_for(target: str, power: str) -> None:
    got = on_terminal("metric-types", "plot", power, *RANGE, "--target", target, "-o", "table")
    assert "┌" not in got
    assert "COLUMN" in got


def test_a_plot_without_values_draws_nothing(target: str, power: str) -> None:
    got = on_terminal("metric-types", "plot", power, "--from", "2025-01-01", "--to", "2025-01-02", "--target", target)
    assert "┌" not in got
    assert "0 windows with values" in got


def points(*hours: int) -> list[tuple[datetime, float]]:
    return [(T0 + hour * HOUR, float(hour)) for hour in hours]


def test_a_window_without_a_value_is_not_bridged() -> None:
    found = list(plot_drawing.stretches(points(0, 1, 4, 6), Window("hour")))
    assert found == [points(0, 1), points(4), points(6)]
    assert list(plot_drawing.stretches(points(0, 2, 4), Window("hour", 2))) == [points(0, 2, 4)]
    assert len(list(plot_drawing.stretches(points(0, 10_000), Window("month", 2**31 - 1)))) == 1


def test_a_chart_has_one_unit_and_no_more_lines_than_can_be_told_apart() -> None:
    lines = [Line(str(index), ("seconds", "count")[index % 2], points(0)) for index in range(16)]
    found = plot_drawing.charts(lines)
    assert [(chart[0].units, len(chart)) for chart in found] == [
        ("count", 6),
        ("count", 2),
        ("seconds", 6),
        ("seconds", 2),
    ]
    assert [line.label for line in found[0]] == ["1", "3", "5", "7", "9", "11"]


def plot_of(*values: PlotValue, choices: tuple[int, ...] = ()) -> Plot:
    column = MetricTypeColumn("run_time_avg", "avg", units="seconds")
    series = PlotSeries(column, values, None, None, None, None, 5)
    return Plot("metricTypes/job-types", choices, {"run_time_avg": series}, T0)


def test_a_chart_fits_the_terminal_and_has_no_colours_where_none_are_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    plot = plot_of(PlotValue(T0, 1, 7), PlotValue(T0 + HOUR, 5, 7), choices=(7, 8))
    monkeypatch.setenv("NO_COLOR", "1")
    text = plot_drawing.draw(plot, Window("hour"), width=60)
    assert "\x1b" not in text
    assert "run_time_avg of 7" in text
    assert "of 8" not in text  # it has no values
    assert {len(line) for line in text.splitlines()} == {60}
    assert len(text.splitlines()) == plot_drawing.HEIGHT
    monkeypatch.delenv("NO_COLOR")
    assert "\x1b[" in plot_drawing.draw(plot, Window("hour"), width=60)


def test_a_single_window_stands_in_the_middle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    text = plot_drawing.draw(plot_of(PlotValue(T0, 5, 0)), Window("day"), width=60)
    assert text.splitlines()[-1].strip() == "2026-03-02"
    assert "in total 5" in text


def test_the_axis_names_beginnings_of_windows_the_first_and_the_last_among_them() -> None:
    times = [time for time, _ in points(*range(10))]
    assert plot_drawing.ticks_of(times, 4) == [times[0], times[3], times[6], times[9]]
    assert plot_drawing.ticks_of(times[:2], 4) == times[:2]
    assert plot_drawing.ticks_of(times[:1], 4) == times[:1]


def test_the_scale_begins_at_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    for value in (100, 0):
        text = plot_drawing.draw(plot_of(PlotValue(T0, value, 0), PlotValue(T0 + HOUR, value, 0)), Window("hour"))
        labels = [float(line.partition("┤")[0]) for line in text.splitlines() if "┤" in line]
        assert (labels[-1], labels[0]) == (0, value or 1)
