"""`streamgauge server`: the server itself."""

from __future__ import annotations

import click

from streamgauge.cli import answers
from streamgauge.cli.connection import Session, server_command
from streamgauge.cli.examples import examples


@click.group()
def server() -> None:
    """The server itself."""


@server.command(epilog=examples("streamgauge server info --target metrics.example:443 --tls"))
@server_command
def info(session: Session) -> None:
    """Show version, store, features and limits of the server, and who you are to it."""
    with session.client() as client:
        session.show(answers.of_server(client.server.info()))
