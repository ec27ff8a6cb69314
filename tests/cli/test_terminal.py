"""What a terminal sees and a pipe does not."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from collections.abc import Iterator

import pytest
from streamgauge import Client


@pytest.fixture
def source(client: Client) -> Iterator[str]:
    name = client.sources.create("on-a-terminal", display_name="A name with several words").name
    yield name
    client.sources.delete(name)


def on_terminal(*arguments: str, columns: int = 200) -> str:
    """Runs a command with a terminal as its output and returns what the terminal got."""
    ours, theirs = pty.openpty()
    environment = {"PATH": os.environ["PATH"], "TERM": "xterm-256color", "COLUMNS": str(columns)}
    process = subprocess.Popen(
        [sys.executable, "-m", "streamgauge.cli", *arguments], stdout=theirs, stderr=theirs, env=environment
    )
    os.close(theirs)
    got = b""
    while True:
        try:
            chunk = os.read(ours, 65_536)
        except OSError:  # Linux says EIO when the other side is closed
            break
        if not chunk:
            break
        got += chunk
    os.close(ours)
    assert process.wait(30) == 0, got
    return got.decode()


def test_a_terminal_gets_a_styled_table(target: str, source: str) -> None:
    got = on_terminal("sources", "get", source, "--target", target)
    assert "\x1b[1m" in got
    assert source in got


def test_a_narrow_terminal_folds_instead_of_cutting(target: str, source: str) -> None:
    got = on_terminal("sources", "get", source, "--target", target, columns=20)
    assert "…" not in got


def test_json_is_plain_on_a_terminal_too(target: str, source: str) -> None:
    assert "\x1b" not in on_terminal("sources", "get", source, "--target", target, "-o", "json")
