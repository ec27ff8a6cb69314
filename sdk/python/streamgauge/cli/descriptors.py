"""`streamgauge descriptors`: what metrics there are."""

from __future__ import annotations

import click

from streamgauge.cli import answers
from streamgauge.cli.connection import Session, server_command
from streamgauge.cli.examples import examples
from streamgauge.enums import SubjectKind

_KINDS = [kind.value for kind in SubjectKind if kind is not SubjectKind.UNKNOWN]


@click.group()
def descriptors() -> None:
    """What metrics there are: unit, kind, and how they are aggregated."""


@descriptors.command("list", epilog=examples("streamgauge descriptors list --kind sources"))
@click.option("--kind", type=click.Choice(_KINDS), help="Only metrics of these subjects.  [default: all]")
@server_command
def list_(session: Session, kind: str | None) -> None:
    """List the metrics by kind of subject and name."""
    with session.client() as client:
        found = list(client.metrics.descriptors.list(subject_kind=kind, page_size=1000))
    session.show(answers.of_descriptors(found))
