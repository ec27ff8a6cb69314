"""Fixtures of the command line: a real server, and a way to call commands."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from click.testing import CliRunner, Result
from streamgauge import Client, testing
from streamgauge.cli.app import app


@pytest.fixture(scope="session")
def target() -> Iterator[str]:
    """The address of a server with an empty store, shared: every test uses subjects of its own."""
    with testing.server() as server:
        yield server.target


@pytest.fixture
def client(target: str) -> Iterator[Client]:
    with Client(target) as client:
        yield client


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keeps the environment of whoever runs the tests away from the commands."""
    for name in list(os.environ):
        if name.startswith("STREAMGAUGE_"):
            monkeypatch.delenv(name)


@dataclass(frozen=True)
class CommandLine:
    """Calls commands against a server."""

    target: str | None

    def __call__(self, *arguments: str, stdin: str | bytes | None = None) -> Result:
        """Runs a command and returns what it printed and its exit code."""
        connection = ["--target", self.target] if self.target is not None else []
        return CliRunner().invoke(app, [*arguments, *connection], input=stdin, prog_name="streamgauge")

    def ok(self, *arguments: str, stdin: str | bytes | None = None) -> str:
        """Runs a command that must succeed and returns what it printed."""
        result = self(*arguments, stdin=stdin)
        assert result.exit_code == 0, (result.stderr, result.exception)
        return result.stdout


@pytest.fixture
def cli(target: str) -> CommandLine:
    return CommandLine(target)
