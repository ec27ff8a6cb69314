"""`streamgauge assets`: data assets and the metrics that are emitted on them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from itertools import islice

import click

from streamgauge.asset_metrics import DeletedMetrics, Emit, EmitError
from streamgauge.cli import answers, asset_answers
from streamgauge.cli.connection import REFUSED, USAGE, Session, fail, read_lines, server_command
from streamgauge.cli.emit_inputs import read_emits, to_metrics
from streamgauge.cli.examples import examples
from streamgauge.cli.questions import metric_option, open_range_options, to_labels
from streamgauge.cli.times import now, parse_time, to_moment
from streamgauge.client import Client

BATCH = 5_000
"""Emits in one request: the server's default bound."""

_URN = "urn:li:dataset:(urn:li:dataPlatform:postgres,shop.orders,PROD)"


@click.group()
def assets() -> None:
    """Data assets and the metrics that are emitted on them.

    An ASSET is a URN such as urn:li:dataset:(urn:li:dataPlatform:postgres,shop.orders,PROD), in quotes because of the
    parentheses, or the resource name that the server derives from it.
    """


@assets.command(
    epilog=examples(
        f"streamgauge assets emit '{_URN}' rowCount=5 fresh=true",
        "streamgauge assets emit urn:x:orders batch=50 --type batch=string --time -1h --run-id nightly-42",
        "streamgauge assets emit urn:x:orders rowCount=5 --dry-run --output json",
        "streamgauge assets emit --jsonl emits.jsonl",
        """echo '{"asset": "urn:x:orders", "metrics": {"rowCount": 5}}' | streamgauge assets emit --jsonl -""",
    )
)
@click.argument("asset", required=False)
@click.argument("metrics", nargs=-1, metavar="[NAME=VALUE]...")
@click.option(
    "--type", "types", multiple=True, metavar="NAME=TYPE", help="The type of a value: string, number or boolean."
)
@click.option("--time", metavar="TIME", callback=to_moment, help="The moment they are of.  [default: the server's now]")
@click.option("--run-id", default="", metavar="ID", help="The run that emits, so that it can be taken back as a whole.")
@click.option(
    "--jsonl",
    "--from-file",
    "jsonl",
    metavar="FILE",
    help="Emit the lines of this file, a JSON object each with asset, metrics, time and run_id; - is stdin.",
)
@click.option("--validate-only", "--dry-run", "validate_only", is_flag=True, help="Check everything, store nothing.")
@server_command
def emit(
    session: Session,
    asset: str | None,
    metrics: Sequence[str],
    types: Sequence[str],
    time: datetime | None,
    run_id: str,
    jsonl: str | None,
    validate_only: bool,
) -> None:
    """Emit metrics: on one asset from the arguments, or on many from a file.

    The server guesses the type of a VALUE, as JSON would read it: 50 and -0.5 are numbers, true and false booleans,
    all else is text, also 007 and True. The answer tells which were guessed. Metrics of one asset and moment are
    merged.
    """
    if (asset is None) == (jsonl is None):
        raise click.UsageError("give ASSET NAME=VALUE..., or --jsonl FILE")
    if asset is None:
        if time or types or run_id:
            raise click.UsageError("--time, --type and --run-id stand in the file itself")
        to_time = partial(parse_time, now=now(click.get_current_context()))
        emits = read_emits(read_lines(str(jsonl)), to_time)
        with session.client() as client:
            _emit_all(session, client, emits, validate_only=validate_only)
        return
    try:
        values = to_metrics(metrics, types)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    if not values:
        raise click.UsageError("give at least one NAME=VALUE")
    with session.client() as client:
        result = client.assets.emit(asset, values, time, run_id=run_id, guess=True, validate_only=validate_only)
    session.show(asset_answers.of_emit(result, dry=validate_only))


def _emit_all(session: Session, client: Client, emits: Iterator[Emit], *, validate_only: bool) -> None:
    """Emits in requests of `BATCH`. A bad line ends it; what was emitted before stays, and the error says how much."""
    accepted = rejected = 0
    errors: list[EmitError] = []
    while True:
        try:
            batch = list(islice(emits, BATCH))
        except ValueError as error:
            stored = f" ({accepted} emits were stored before it)" if accepted and not validate_only else ""
            fail(f"{error}{stored}", USAGE)
        if not batch:
            break
        result = client.assets.emit_many(batch, guess=True, validate_only=validate_only, errors_only=True)
        errors += [replace(item, index=item.index + accepted + rejected) for item in result.errors]
        accepted, rejected = accepted + result.accepted, rejected + result.rejected
    session.show(asset_answers.of_emits(accepted, rejected, errors, dry=validate_only))
    for item in errors:
        what = "; ".join(f"{v.field}: {v.description}" for v in item.violations) or item.message
        click.echo(f"Error: emit {item.index} ({item.asset}): {item.reason}: {what}", err=True)
    if rejected:
        raise SystemExit(REFUSED)


@assets.command(
    epilog=examples(
        f"streamgauge assets get '{_URN}' --from -7d",
        "streamgauge assets get urn:x:orders -m rowCount --output csv",
    )
)
@click.argument("asset")
@open_range_options
@metric_option("Only this metric. May be repeated.  [default: every metric]")
@click.option("--limit", type=click.IntRange(min=1), help="At most so many moments, the oldest.  [default: all]")
@server_command
def get(
    session: Session,
    asset: str,
    start: datetime | None,
    end: datetime | None,
    metrics: Sequence[str],
    limit: int | None,
) -> None:
    """Show what was emitted on an asset over time, oldest first.

    Windows and aggregates: streamgauge query assets/... (`assets show` tells the name).
    """
    with session.client() as client:
        history = client.assets.history(
            asset, start=start, end=end, metrics=metrics, page_size=min(limit or 1000, 1000)
        )
        moments = list(islice(history, limit))
    session.show(asset_answers.of_history(asset, moments))


@assets.command(
    epilog=examples(
        f"streamgauge assets latest '{_URN}'",
        "streamgauge assets latest urn:x:orders urn:x:customers -m rowCount --output json",
    )
)
@click.argument("of", nargs=-1, required=True, metavar="ASSET...")
@metric_option("Only this metric. May be repeated.  [default: every metric]")
@server_command
def latest(session: Session, of: Sequence[str], metrics: Sequence[str]) -> None:
    """Show the newest value of each metric of one or more assets, with its age."""
    with session.client() as client:
        result = client.assets.latest(of, metrics=metrics)
    session.show(asset_answers.of_latest(result))
    if result.unknown_assets:
        fail(f"NOT_FOUND: {', '.join(result.unknown_assets)}", REFUSED)


@assets.command(
    "list",
    epilog=examples(
        "streamgauge assets list --platform postgres",
        "streamgauge assets list --prefix urn:li:dataset: --label team=shop --output json",
    ),
)
@click.option("--platform", default="", metavar="NAME", help="Only of this data platform.")
@click.option("--prefix", default="", metavar="TEXT", help="Only with a URN that begins so.")
@click.option("--label", "labels", multiple=True, metavar="KEY=VALUE", callback=to_labels, help="Only with this label.")
@click.option("--limit", type=click.IntRange(min=1), help="At most so many.  [default: all]")
@server_command
def list_(session: Session, platform: str, prefix: str, labels: dict[str, str], limit: int | None) -> None:
    """List assets by URN."""
    with session.client() as client:
        pager = client.assets.list(
            platform=platform, urn_prefix=prefix, labels=labels, page_size=min(limit or 1000, 1000)
        )
        found = list(islice(pager, limit))
    session.show(asset_answers.of_assets(found))


@assets.command(epilog=examples(f"streamgauge assets show '{_URN}'"))
@click.argument("asset")
@server_command
def show(session: Session, asset: str) -> None:
    """Show one asset: its name, platform and labels."""
    with session.client() as client:
        session.show(asset_answers.of_asset(client.assets.get(asset)))


@assets.command(epilog=examples(f"streamgauge assets create '{_URN}' --label team=shop"))
@click.argument("urn")
@click.option("--label", "labels", multiple=True, metavar="KEY=VALUE", callback=to_labels, help="May be repeated.")
@server_command
def create(session: Session, urn: str, labels: dict[str, str]) -> None:
    """Register an asset. Emitting on one that does not exist does so too."""
    with session.client() as client:
        session.show(asset_answers.of_asset(client.assets.create(urn, labels=labels)))


@assets.command(epilog=examples(f"streamgauge assets delete '{_URN}' --yes"))
@click.argument("asset")
@click.option("--etag", default="", help="Delete it only if it has not changed since this etag was read.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@server_command
def delete(session: Session, asset: str, etag: str, yes: bool) -> None:
    """Delete an asset and every metric of it."""
    if not yes and not session.show_grpcurl:
        click.confirm(f"Delete {asset} and every metric of it?", abort=True, err=True)
    with session.client() as client:
        client.assets.delete(asset, etag=etag)
    session.show(answers.of_deletion(asset))


@assets.command(
    "delete-metrics",
    epilog=examples(
        "streamgauge assets delete-metrics urn:x:orders -m rowCount --from 2026-11-01 --to 2026-11-02",
        "streamgauge assets delete-metrics assets/- --run-id nightly-42 --dry-run",
        "streamgauge assets delete-metrics urn:x:orders --all --yes",
    ),
)
@click.argument("asset")
@open_range_options
@metric_option("Only this metric. May be repeated.  [default: every metric]")
@click.option("--run-id", default="", metavar="ID", help="Only what this run emitted; ASSET may be assets/- then.")
@click.option("--all", "everything", is_flag=True, help="Every metric of the asset.")
@click.option(
    "--validate-only", "--dry-run", "validate_only", is_flag=True, help="Count what would go, delete nothing."
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@server_command
def delete_metrics(
    session: Session,
    asset: str,
    start: datetime | None,
    end: datetime | None,
    metrics: Sequence[str],
    run_id: str,
    everything: bool,
    validate_only: bool,
    yes: bool,
) -> None:
    """Delete metrics of an asset: of a range, by name, of a run, or what all of these agree on.

    What a run emitted is taken back as if the run had never been: values that it replaced stand again.
    """

    def ask(client: Client, *, dry: bool) -> DeletedMetrics:
        return client.assets.delete_metrics(
            asset,
            start=start,
            end=end,
            metrics=metrics,
            run_id=run_id,
            everything=everything,
            validate_only=dry,
        )

    with session.client() as client:
        if not yes and not validate_only and not session.show_grpcurl:
            found = ask(client, dry=True)
            counted = f"{answers.plural(found.values, 'value')} of {answers.plural(found.assets, 'asset')}"
            click.confirm(f"Delete {counted}?", abort=True, err=True)
        deleted = ask(client, dry=validate_only)
    session.show(asset_answers.of_deletion(deleted, dry=validate_only))
