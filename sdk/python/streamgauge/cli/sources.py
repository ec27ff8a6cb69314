"""`streamgauge sources`: the sources and what they are doing."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import islice

import click

from streamgauge.cli import answers
from streamgauge.cli.connection import Session, server_command
from streamgauge.cli.examples import examples
from streamgauge.cli.questions import counter_mode_option, metric_option, range_options, to_labels, window_options
from streamgauge.enums import TimeType
from streamgauge.names import source_name
from streamgauge.results import Latest, TimeSeries


@click.group()
def sources() -> None:
    """Streaming sources and what they are doing."""


@sources.command(
    "list", epilog=examples("streamgauge sources list", "streamgauge sources list --label team=orders --output json")
)
@click.option("--label", "labels", multiple=True, metavar="KEY=VALUE", callback=to_labels, help="Only with this label.")
@click.option("--connector-class", default="", metavar="CLASS", help="Only of this connector class.")
@click.option("--limit", type=click.IntRange(min=1), help="At most so many.  [default: all]")
@server_command
def list_(session: Session, labels: dict[str, str], connector_class: str, limit: int | None) -> None:
    """List sources by name."""
    with session.client() as client:
        pager = client.sources.list(labels=labels, connector_class=connector_class, page_size=min(limit or 1000, 1000))
        found = list(islice(pager, limit))
    session.show(answers.of_sources(found))


@sources.command(epilog=examples("streamgauge sources get orders"))
@click.argument("source")
@server_command
def get(session: Session, source: str) -> None:
    """Show one source, by id or by name."""
    with session.client() as client:
        session.show(answers.of_source(client.sources.get(source)))


@sources.command(
    epilog=examples(
        "streamgauge sources metrics orders",
        "streamgauge sources metrics orders --unit minute --interval 5 --from -2h",
        "streamgauge sources metrics orders --type timesummary --from 2026-11-21 --to 2026-11-22",
        "streamgauge sources metrics orders --type latest --metric connector_status --output json",
    )
)
@click.argument("source")
@click.option(
    "--type",
    "time_type",
    type=click.Choice(["timeseries", "timesummary", "latest"]),
    default="timeseries",
    show_default=True,
    help="A value per window, a value for the whole range, or the newest values.",
)
@window_options(default_unit="hour")
@range_options
@metric_option("Only this metric; `*` for every metric. May be repeated.  [default: the built-in ones]")
@counter_mode_option
@server_command
def metrics(
    session: Session,
    source: str,
    time_type: str,
    interval: int | None,
    unit: str | None,
    start: datetime | None,
    end: datetime | None,
    metrics: Sequence[str],
    counter_mode: str | None,
) -> None:
    """Show the metrics of a source: over time, summed up, or newest.

    A window without samples is empty (null), one without growth is 0.
    """
    with session.client() as client:
        answer = client.sources.metrics(
            source,
            time_type=TimeType(time_type),
            interval=interval,
            unit=unit,
            start=start,
            end=end,
            metrics=metrics,
            counter_mode=counter_mode,
        )
    if isinstance(answer, TimeSeries):
        session.show(answers.of_timeseries(answer))
    elif isinstance(answer, Latest):
        session.show(answers.of_source_latest(answer))
    else:
        session.show(answers.of_timesummary(answer))


@sources.command(epilog=examples("streamgauge sources create orders --display-name Orders --label team=shop"))
@click.argument("source_id")
@click.option("--display-name", default="", help="Its name for people.")
@click.option("--connector-class", default="", metavar="CLASS", help="The class of its connector.")
@click.option("--label", "labels", multiple=True, metavar="KEY=VALUE", callback=to_labels, help="May be repeated.")
@server_command
def create(session: Session, source_id: str, display_name: str, connector_class: str, labels: dict[str, str]) -> None:
    """Register a source. Writing to one that does not exist does so too."""
    with session.client() as client:
        source = client.sources.create(
            source_id, display_name=display_name, connector_class=connector_class, labels=labels
        )
    session.show(answers.of_source(source))


@sources.command(epilog=examples("streamgauge sources delete orders --yes"))
@click.argument("source")
@click.option("--etag", default="", help="Delete it only if it has not changed since this etag was read.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@server_command
def delete(session: Session, source: str, etag: str, yes: bool) -> None:
    """Delete a source and every metric of it."""
    if not yes and not session.show_grpcurl:
        click.confirm(f"Delete {source} and every metric of it?", abort=True, err=True)
    with session.client() as client:
        client.sources.delete(source, etag=etag)
    session.show(answers.of_deletion(source_name(source)))
