"""`streamgauge write`, `query` and `latest`: the metrics of any subject."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from itertools import islice

import click

from streamgauge.cli import answers
from streamgauge.cli.connection import REFUSED, USAGE, Session, fail, read_lines, server_command
from streamgauge.cli.examples import examples
from streamgauge.cli.inputs import parse_assignment, read_csv, read_json_lines
from streamgauge.cli.questions import counter_mode_option, metric_option, range_options, window_options
from streamgauge.cli.times import now, parse_time, to_moment
from streamgauge.client import Client
from streamgauge.enums import Aggregate
from streamgauge.observations import Observation, Window, WriteError

BATCH = 5_000
"""Observations in one request: the server's default bound."""

_AGGREGATES = [aggregate.value for aggregate in Aggregate if aggregate is not Aggregate.UNKNOWN]


@click.command(
    epilog=examples(
        "streamgauge write sources/orders rows=5 lag=1.5",
        "streamgauge write sources/orders byteTotal=7 --part task=0 --start-time -1h --time -1m",
        "streamgauge write --jsonl observations.jsonl",
        """echo '{"subject": "sources/orders", "values": {"rows": 5}}' | streamgauge write --jsonl -""",
        r"printf 'subject,time,rows\nsources/orders,-1m,5\n' | streamgauge write --csv -",
    )
)
@click.argument("subject", required=False)
@click.argument("values", nargs=-1, metavar="[METRIC=VALUE]...")
@click.option("--time", metavar="TIME", callback=to_moment, help="When it was measured.  [default: the server's now]")
@click.option("--part", default="", help="The part of the subject that was measured, such as task=0.")
@click.option("--start-time", metavar="TIME", callback=to_moment, help="When the counters began to count from zero.")
@click.option("--jsonl", metavar="FILE", help="Write the observations of this file, a JSON object a line; - is stdin.")
@click.option("--csv", metavar="FILE", help="Write the rows of this file, a column per metric; - is stdin.")
@click.option("--atomic", is_flag=True, help="Refuse a whole request (5,000 observations) if any of it is bad.")
@click.option("--validate-only", is_flag=True, help="Check everything, store nothing.")
@server_command
def write(
    session: Session,
    subject: str | None,
    values: Sequence[str],
    time: datetime | None,
    part: str,
    start_time: datetime | None,
    jsonl: str | None,
    csv: str | None,
    atomic: bool,
    validate_only: bool,
) -> None:
    """Write metrics: one observation from the arguments, or many from a file.

    A VALUE is an integer (5), a double (5.0), a boolean (true, false) or else a text; quotes make anything a text.
    """
    given = [subject is not None, jsonl is not None, csv is not None]
    if sum(given) != 1:
        raise click.UsageError("give SUBJECT METRIC=VALUE..., or --jsonl FILE, or --csv FILE")
    observations: Iterable[Observation]
    if subject is not None:
        observations = [_observation(subject, values, time, part, start_time)]
    else:
        if time or part or start_time:
            raise click.UsageError("--time, --part and --start-time stand in the file itself")
        to_time = partial(parse_time, now=now(click.get_current_context()))
        reader = read_json_lines if jsonl is not None else read_csv
        observations = reader(read_lines(jsonl if jsonl is not None else str(csv)), to_time)
    with session.client() as client:
        _write_all(session, client, iter(observations), atomic=atomic, validate_only=validate_only)


def _observation(
    subject: str, values: Sequence[str], time: datetime | None, part: str, start_time: datetime | None
) -> Observation:
    try:
        assigned = [parse_assignment(value) for value in values]
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    if not assigned:
        raise click.UsageError("give at least one METRIC=VALUE")
    if len(dict(assigned)) != len(assigned):
        raise click.UsageError("a metric is given twice")
    return Observation(subject, dict(assigned), time=time, part=part, start_time=start_time)


def _write_all(
    session: Session, client: Client, observations: Iterator[Observation], *, atomic: bool, validate_only: bool
) -> None:
    """Writes in requests of `BATCH`. A bad line ends it; what was written before stays, and the error says how much."""
    accepted = rejected = 0
    errors: list[WriteError] = []
    while True:
        try:
            batch = list(islice(observations, BATCH))
        except ValueError as error:
            written = f" ({accepted} observations were written before it)" if accepted and not validate_only else ""
            fail(f"{error}{written}", USAGE)
        if not batch:
            break
        result = client.metrics.write(batch, atomic=atomic, validate_only=validate_only)
        errors += [replace(item, index=item.index + accepted + rejected) for item in result.errors]
        accepted, rejected = accepted + result.accepted, rejected + result.rejected
    session.show(answers.of_write(accepted, rejected, errors, dry=validate_only))
    for item in errors:
        where = " ".join(filter(None, (item.subject, item.metric)))
        click.echo(f"Error: observation {item.index} ({where}): {item.reason}: {item.message}", err=True)
    if rejected:
        raise SystemExit(REFUSED)


@click.command(
    epilog=examples(
        "streamgauge query sources/orders sources/customers --metric byteTotal --unit hour",
        "streamgauge query sources/orders -m lag -a min -a max -a avg --from -7d --unit day",
        "streamgauge query sources/orders -m byteTotal --by-part --output csv",
    )
)
@click.argument("subjects", nargs=-1, required=True, metavar="SUBJECT...")
@metric_option("Only this metric. May be repeated.  [default: every metric]")
@click.option(
    "-a",
    "--aggregate",
    "aggregates",
    multiple=True,
    type=click.Choice(_AGGREGATES),
    help="What to compute. May be repeated.  [default: each metric's own]",
)
@window_options(default_unit=None)
@range_options
@counter_mode_option
@click.option("--by-part", is_flag=True, help="Answer each part by itself.")
@server_command
def query(
    session: Session,
    subjects: Sequence[str],
    metrics: Sequence[str],
    aggregates: Sequence[str],
    unit: str | None,
    interval: int | None,
    start: datetime | None,
    end: datetime | None,
    counter_mode: str | None,
    by_part: bool,
) -> None:
    """Aggregate metrics of one or more subjects over windows of the calendar."""
    if interval is not None and unit is None:
        raise click.UsageError("--interval needs --unit")
    window = None if unit is None else Window(unit, 1 if interval is None else interval)
    with session.client() as client:
        result = client.metrics.query(
            subjects,
            metrics=metrics,
            start=start,
            end=end,
            window=window,
            aggregates=aggregates,
            counter_mode=counter_mode,
            by_part=by_part,
        )
    session.show(answers.of_query(result, by_part=by_part))
    _tell_unknown(result.unknown_subjects)


@click.command(
    epilog=examples(
        "streamgauge latest sources/orders",
        "streamgauge latest sources/orders sources/customers -m connector_status",
        "streamgauge latest sources/orders --by-part --counter-mode raw",
    )
)
@click.argument("subjects", nargs=-1, required=True, metavar="SUBJECT...")
@metric_option("Only this metric. May be repeated.  [default: every metric]")
@counter_mode_option
@click.option("--by-part", is_flag=True, help="Answer each part by itself.")
@server_command
def latest(
    session: Session, subjects: Sequence[str], metrics: Sequence[str], counter_mode: str | None, by_part: bool
) -> None:
    """Show the newest values of one or more subjects.

    A counter reads as its total since the first sample, across resets, unless --counter-mode says otherwise.
    """
    with session.client() as client:
        result = client.metrics.latest(subjects, metrics=metrics, counter_mode=counter_mode, by_part=by_part)
    session.show(answers.of_latest(result, by_part=by_part))
    _tell_unknown(result.unknown_subjects)


def _tell_unknown(subjects: Sequence[str]) -> None:
    """Ends with an error when subjects do not exist; the others have been answered."""
    if subjects:
        fail(f"NOT_FOUND: {', '.join(subjects)}", REFUSED)
