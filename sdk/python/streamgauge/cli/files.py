"""`streamgauge export` and `import`: samples into files, and out of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

import click
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from streamgauge import files
from streamgauge.cli.connection import REFUSED, USAGE, Session, fail, server_command
from streamgauge.cli.examples import examples
from streamgauge.cli.questions import metric_option
from streamgauge.cli.times import parse_length, to_moment
from streamgauge.enums import SubjectKind
from streamgauge.files.formats import FileFormat, Place

_KINDS = [kind.value for kind in SubjectKind if kind is not SubjectKind.UNKNOWN]
_SHOWN = 20
"""Refused rows that are printed."""


def _format_option(function: Callable[..., None]) -> Callable[..., None]:
    return click.option(
        "--format",
        "format_",
        type=click.Choice([one.value for one in FileFormat]),
        help="The format of the file.  [default: by its name: .parquet, .csv, .jsonl, also .csv.gz or .jsonl.zst]",
    )(function)


def _to_length(ctx: click.Context, param: click.Parameter, value: str) -> timedelta:
    try:
        return parse_length(value)
    except ValueError as error:
        raise click.BadParameter(str(error), ctx, param) from None


@dataclass(frozen=True, slots=True)
class _Spelled:
    """A moment, and how it was spelled: `-30d` is another one whenever the command is run."""

    text: str
    moment: datetime | None


def _to_spelled(ctx: click.Context, param: click.Parameter, value: str | None) -> _Spelled:
    return _Spelled(value or "", to_moment(ctx, param, value))


_patience_option = click.option(
    "--give-up-after",
    metavar="TIME",
    default="1m",
    show_default=True,
    callback=_to_length,
    help="How long to try again while the server is away.",
)


@contextmanager
def _told() -> Iterator[None]:
    """Turns what is wrong with a file into an error of the command line."""
    try:
        yield
    except (files.FileError, ImportError) as error:
        fail(str(error), USAGE)
    except OSError as error:
        fail(f"cannot use {error.filename}: {error.strerror}", USAGE)
    except KeyboardInterrupt:
        click.echo("Interrupted: the same command goes on where this one has stopped.", err=True)
        raise SystemExit(130) from None


@click.command(
    "export",
    epilog=examples(
        "streamgauge export orders.parquet sources/orders",
        "streamgauge export all.csv.gz --kind sources --from -30d",
        "streamgauge export - --format jsonl --kind assets --metric rowCount",
    ),
)
@click.argument("file")
@click.argument("subjects", nargs=-1)
@click.option("--kind", type=click.Choice(_KINDS), help="Every subject of this kind, instead of names.")
@metric_option("Only this metric; may be repeated.  [default: all]")
@click.option("--from", "start", metavar="TIME", callback=_to_spelled, help="The first moment, ISO 8601 or -24h.")
@click.option("--to", "end", metavar="TIME", callback=_to_spelled, help="The first moment after the range.")
@_format_option
@click.option("--overwrite", is_flag=True, help="Replace the file if there is one.")
@click.option("--restart", is_flag=True, help="Forget an export that was interrupted.")
@click.option("--dry-run", is_flag=True, help="Say what would be exported, and write nothing.")
@_patience_option
@server_command
def export(
    session: Session,
    file: str,
    subjects: Sequence[str],
    kind: str | None,
    metrics: Sequence[str],
    start: _Spelled,
    end: _Spelled,
    format_: str | None,
    overwrite: bool,
    restart: bool,
    dry_run: bool,
    give_up_after: timedelta,
) -> None:
    """Write samples into FILE, one row per sample: Parquet, CSV or JSON lines; `-` is the standard output.

    Beside it comes FILE.catalog.json with what samples do not tell: descriptors of metrics, sources and assets. An
    export that was interrupted goes on when the same command is run again.
    """
    if bool(subjects) == (kind is not None):
        raise click.UsageError("give subjects, or --kind for all of a kind")
    with session.client() as client, _told():
        if dry_run:
            place = Place.of(file, format_)
            with client.metrics.export(
                subjects,
                subject_kind=kind,
                metrics=metrics,
                start=start.moment,
                end=end.moment,
                give_up_after=give_up_after,
            ) as found:
                first = next(found.parts())
            click.echo(f"{first.subject_count} subjects and parts would go to {file} as {place.format.value}", err=True)
            _tell_unknown(first.unknown_subjects)
            return
        with _bar(TextColumn("{task.completed:,.0f} subjects, {task.fields[samples]:,} samples")) as (bar, task):
            outcome = files.export_to(
                client,
                file,
                subjects,
                subject_kind=kind,
                metrics=metrics,
                start=start.moment,
                end=end.moment,
                range_name=f"{start.text} to {end.text}",
                format=format_,
                overwrite=overwrite,
                restart=restart,
                give_up_after=give_up_after,
                on_progress=lambda done: bar.update(
                    task, completed=done.subjects_done, total=done.subject_count, samples=done.samples
                ),
            )
    resumed = ", going on with an export of before" if outcome.resumed else ""
    of = f"of {outcome.subject_count:,} subjects and parts"
    click.echo(f"{outcome.samples:,} samples {of}, {outcome.bytes:,} bytes{resumed}", err=True)
    for day in outcome.damaged:
        click.echo(f"Damaged in the store, not whole: {day}", err=True)
    _tell_unknown(outcome.unknown_subjects)
    if outcome.damaged:
        fail(f"{len(outcome.damaged)} days are not whole", REFUSED)


@click.command(
    "import",
    epilog=examples(
        "streamgauge import orders.parquet",
        "streamgauge import all.csv.gz --dry-run",
        "streamgauge export - --format jsonl sources/orders | streamgauge import - --format jsonl",
    ),
)
@click.argument("file")
@_format_option
@click.option(
    "--catalog",
    metavar="FILE",
    type=click.Path(exists=True),
    help="Descriptors, sources and assets to register first.  [default: FILE.catalog.json]",
)
@click.option("--restart", is_flag=True, help="Forget an import that was interrupted.")
@click.option("--dry-run", is_flag=True, help="Read everything, say what would be stored, and store nothing.")
@_patience_option
@server_command
def import_(
    session: Session,
    file: str,
    format_: str | None,
    catalog: str | None,
    restart: bool,
    dry_run: bool,
    give_up_after: timedelta,
) -> None:
    """Store the samples of FILE, which is laid out as `streamgauge export` does it; `-` is the standard input.

    An import that was interrupted goes on when the same command is run again. Samples that are there already stay as
    they are.
    """
    if session.show_grpcurl:
        raise click.UsageError("an import is a stream of messages, which no line of grpcurl shows")
    with session.client() as client, _told(), _bar(DownloadColumn()) as (bar, task):
        outcome = files.import_from(
            client,
            file,
            format=format_,
            catalog=catalog,
            dry_run=dry_run,
            restart=restart,
            give_up_after=give_up_after,
            on_progress=lambda done: bar.update(task, completed=done.bytes, total=done.size or None),
        )
    _tell_import(outcome, dry_run=dry_run)


def _tell_import(outcome: files.ImportOutcome, *, dry_run: bool) -> None:
    say = partial(click.echo, err=True)
    new = outcome.registered
    would = "would be " if dry_run else ""
    if new.metrics or new.sources or new.assets:
        say(f"{new.metrics:,} metrics, {new.sources:,} sources and {new.assets:,} assets {would}registered")
    for name in new.different:
        say(f"The server reads {name} in another way than the file says, and goes on doing so")
    resumed = ", going on with an import of before" if outcome.resumed else ""
    say(f"{outcome.accepted:,} samples in {outcome.rows:,} rows {would}stored{resumed}")
    for one in outcome.refused[:_SHOWN]:
        rows = f"row {one.first_row}" if one.first_row == one.last_row else f"rows {one.first_row} to {one.last_row}"
        what = " ".join(filter(None, (one.subject, one.metric)))
        say(f"{rows}: {what}: {one.reason}: {one.message}")
    if outcome.rejected:
        more = f" ({len(outcome.refused) - _SHOWN} more not shown)" if len(outcome.refused) > _SHOWN else ""
        fail(f"{outcome.rejected:,} samples were refused{more}", REFUSED)


def _tell_unknown(subjects: Sequence[str]) -> None:
    if subjects:
        fail(f"NOT_FOUND: {', '.join(subjects)}", REFUSED)


@contextmanager
def _bar(column: TextColumn | DownloadColumn) -> Iterator[tuple[Progress, TaskID]]:
    """Shows how far it is, on a terminal."""
    console = Console(stderr=True)
    with Progress(
        BarColumn(), column, TimeElapsedColumn(), console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        yield bar, bar.add_task("", total=None, samples=0)
