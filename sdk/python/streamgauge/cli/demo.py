"""`streamgauge demo`: a recorded run of real pipelines, to try the service with."""

from __future__ import annotations

import sys
from datetime import UTC, datetime

import click
from rich.console import Console

from streamgauge.cli import answers
from streamgauge.cli.connection import Session, server_command
from streamgauge.cli.examples import examples
from streamgauge.demo import loader, recorded_run


@click.group()
def demo() -> None:
    """A recorded run of real pipelines, to try the service with."""


@demo.command("import", epilog=examples("streamgauge demo import --shift-to-now"))
@click.option("--shift-to-now", is_flag=True, help="Move the run so that it ends now.  [default: its own time]")
@server_command
def import_(session: Session, shift_to_now: bool) -> None:
    """Write the recorded run into a server: seven minutes of Debezium and Kafka Connect.

    Doing it again at the same time changes nothing.
    """
    run = recorded_run.load()
    if shift_to_now:
        run = run.moved_to(datetime.now(UTC))
    with session.client() as client:
        loader.load_with_progress(client, run, Console(file=sys.stderr))
    session.show(answers.of_demo(run))
