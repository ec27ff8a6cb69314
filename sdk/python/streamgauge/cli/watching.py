"""`streamgauge watch`: samples as they are written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

import click

from streamgauge.cli.connection import Session, server_command
from streamgauge.cli.examples import examples
from streamgauge.cli.output import Format, human, json_line
from streamgauge.cli.questions import metric_option
from streamgauge.enums import Scalar, SubjectKind
from streamgauge.sample_frames import SampleFrame

_KINDS = [kind.value for kind in SubjectKind if kind is not SubjectKind.UNKNOWN]
_EPOCH = datetime.fromisoformat("1970-01-01T00:00:00+00:00")


@click.command(
    epilog=examples(
        "streamgauge watch sources/orders",
        "streamgauge watch --kind sources --kind jobs -m rows",
        "streamgauge watch sources/orders --output jsonl",
    )
)
@click.argument("subjects", nargs=-1, metavar="[SUBJECT]...")
@click.option("--kind", "kinds", multiple=True, type=click.Choice(_KINDS), help="Every subject of a kind. Repeatable.")
@metric_option("Only this metric. May be repeated.  [default: every metric]")
@click.option("--cursor", default="", help="Go on after this cursor, which a watch tells at its end.")
@server_command
def watch(session: Session, subjects: Sequence[str], kinds: Sequence[str], metrics: Sequence[str], cursor: str) -> None:
    """Print a line for each moment that is written of some subjects, or of all of a kind, until Ctrl-C.

    With --output jsonl the lines are what `streamgauge write --jsonl -` reads. When the server goes away and comes back
    the watch goes on where it was.
    """
    if session.format not in (Format.TABLE, Format.JSONL):
        raise click.UsageError("a watch has no end: use --output table or jsonl")
    if bool(subjects) == bool(kinds):
        raise click.UsageError("name subjects, or kinds with --kind")
    with (
        session.client() as client,
        client.metrics.watch(subjects, subject_kinds=kinds, metrics=metrics, cursor=cursor) as found,
    ):
        try:
            for frame in found:
                for record in _records(frame):
                    click.echo(json_line(record) if session.format is Format.JSONL else _text(record))
        except KeyboardInterrupt:
            click.echo(f"\nGo on with --cursor {found.cursor}" if found.cursor else "", err=True)


def _records(frame: SampleFrame) -> Iterator[dict[str, Any]]:
    """Yields an observation for each moment."""
    values: list[dict[str, Scalar]] = [{} for _ in frame.times]
    for name, column in frame.columns.items():
        for row, value in zip(column.rows, column.values, strict=True):
            values[row][name] = value
    for time, of_time in zip(frame.times, values, strict=True):
        record: dict[str, Any] = {"subject": frame.subject}
        if frame.part:
            record["part"] = frame.part
        record["time"] = _EPOCH + timedelta(microseconds=time)
        if frame.start_time is not None:
            record["start_time"] = frame.start_time
        yield record | {"values": of_time}


def _text(record: dict[str, Any]) -> str:
    part = f" {record['part']}" if "part" in record else ""
    values = " ".join(f"{name}={human(value)}" for name, value in record["values"].items())
    return f"{human(record['time'])}  {record['subject']}{part}  {values}"
