"""`streamgauge metric-types`: figures of jobs, files and errors, and custom ones, over time."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import islice

import click
from click.core import ParameterSource

from streamgauge.cli import metric_type_answers, plot_drawing
from streamgauge.cli.connection import Session, server_command
from streamgauge.cli.examples import examples
from streamgauge.cli.questions import open_range_options, to_labels, window_options
from streamgauge.enums import WindowUnit
from streamgauge.observations import Window


@click.group("metric-types")
def metric_types() -> None:
    """Figures of jobs, files and errors over time, and your own.

    Built in are job-types, ingests and errors.
    """


@metric_types.command(
    "list", epilog=examples("streamgauge metric-types list", "streamgauge metric-types list --output json")
)
@click.option("--limit", type=click.IntRange(min=1), help="At most so many.  [default: all]")
@server_command
def list_(session: Session, limit: int | None) -> None:
    """List metric types: the built-in ones, then custom ones by name."""
    with session.client() as client:
        found = list(islice(client.metric_types.list(page_size=min(limit or 1000, 1000)), limit))
    session.show(metric_type_answers.of_metric_types(found))


@metric_types.command(
    epilog=examples(
        "streamgauge metric-types show job-types",
        "streamgauge metric-types show job-types --filter name=load --output csv",
    )
)
@click.argument("metric_type")
@click.option(
    "--filter",
    "filters",
    multiple=True,
    metavar="PARAM=VALUE",
    callback=to_labels,
    help="Only choices with this value of a filter. May be repeated.",
)
@click.option("--limit", type=click.IntRange(min=1), help="At most so many choices.  [default: all]")
@server_command
def show(session: Session, metric_type: str, filters: dict[str, str], limit: int | None) -> None:
    """Show one metric type: its columns, and its choices, which are what jsonl and csv print."""
    with session.client() as client:
        found = client.metric_types.get(metric_type)
        pager = client.metric_types.choices(metric_type, filters=filters, page_size=min(limit or 1000, 1000))
        choices = list(islice(pager, limit))
    session.show(metric_type_answers.of_metric_type(found, choices))


@metric_types.command(
    epilog=examples(
        "streamgauge metric-types plot job-types --group overview --unit day --from -30d",
        "streamgauge metric-types plot job-types -c run_time_p50 -c run_time_p95 --from -24h",
        "streamgauge metric-types plot ingests --choice 1 --choice 2 --unit week --output csv",
    )
)
@click.argument("metric_type")
@click.option(
    "-c",
    "--column",
    "columns",
    multiple=True,
    metavar="NAME",
    help="This column. May be repeated.  [default: all but percentiles and rates]",
)
@click.option("-g", "--group", "groups", multiple=True, metavar="NAME", help="The columns of this group.")
@click.option(
    "--choice",
    "choices",
    multiple=True,
    type=int,
    metavar="NUMBER",
    help="This choice by itself.  [default: all, taken together]",
)
@window_options(default_unit="hour")
@open_range_options
@server_command
def plot(
    session: Session,
    metric_type: str,
    columns: Sequence[str],
    groups: Sequence[str],
    choices: Sequence[int],
    interval: int | None,
    unit: str | None,
    start: datetime | None,
    end: datetime | None,
) -> None:
    """Plot figures over hours, days, weeks or months.

    On a terminal it draws charts, one per unit, unless --output is given. A window without values is a gap, which is
    not 0.
    """
    window = Window(WindowUnit(unit or "hour"), 1 if interval is None else interval)
    with session.client() as client:
        answer = client.metric_types.plot(
            metric_type, columns=columns, groups=groups, choices=choices, start=start, end=end, window=window
        )
    source = click.get_current_context().get_parameter_source("output")
    if source is ParameterSource.DEFAULT and plot_drawing.drawable():
        if answer.times:
            click.echo(plot_drawing.draw(answer, window))
        click.echo(metric_type_answers.note_of_plot(answer))
    else:
        session.show(metric_type_answers.of_plot(answer))
