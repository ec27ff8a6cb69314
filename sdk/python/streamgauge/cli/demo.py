"""`streamgauge demo`: a recorded run of real pipelines, to try the service with."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path

import click
from rich.console import Console

from streamgauge.cli import answers
from streamgauge.cli.connection import REFUSED, UNAVAILABLE, Session, exit_code, explain, fail, server_command
from streamgauge.cli.examples import examples
from streamgauge.demo import loader, recorded_run
from streamgauge.errors import StreamgaugeError


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
    if session.show_grpcurl:
        raise click.UsageError("the import is many calls, so there is no one line for grpcurl")
    run = recorded_run.load()
    if shift_to_now:
        run = run.moved_to(datetime.now(UTC))
    with session.client() as client:
        try:
            loader.load_with_progress(client, run, Console(file=sys.stderr))
        except loader.RunRefused as error:
            fail(str(error), REFUSED)
    session.show(answers.of_demo(run))


@demo.command(epilog=examples("streamgauge demo run", "streamgauge demo run --directory /tmp/demo --port 6000"))
@click.option(
    "--directory",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(".run"),
    show_default=True,
    help="Where the store and the log are.",
)
@click.option(
    "--port",
    type=click.IntRange(1, 65_535),
    default=50_051,
    show_default=True,
    help="The port, or the next free one.",
)
@click.option(
    "--http-port",
    type=click.IntRange(1, 65_535),
    default=8_080,
    show_default=True,
    help="The port of the HTTP gateway, or the next free one.",
)
def run(directory: Path, port: int, http_port: int) -> None:
    """Run a server on this machine with the recorded run in it, until Ctrl-C.

    An empty store is filled with the run, moved to end now; a store with sources in it is left as it is.
    """
    try:
        from streamgauge.demo import local_server
        from streamgauge.demo import run as demo_run
    except ImportError as error:
        fail(f"the server needs {error.name}; install it with: pip install 'streamgauge[server]'", REFUSED)
    try:
        demo_run.run(directory, port, http_port)
    except local_server.ServerFailed as error:
        fail(str(error), UNAVAILABLE)
    except StreamgaugeError as error:
        fail(explain(error, "the server"), exit_code(error))
    except loader.RunRefused as error:
        fail(str(error), REFUSED)
