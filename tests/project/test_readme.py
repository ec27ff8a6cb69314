"""The README's examples, run as printed against a server with the recorded run, and compared with what it shows."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from datetime import UTC, datetime
from pathlib import Path

import pytest
from streamgauge import testing
from streamgauge.demo import loader, recorded_run

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PRINTED_TARGET = "127.0.0.1:50051"
PRINTED_HTTP = "http://127.0.0.1:8080"

VARYING = (
    (r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(?:\.\d+)?Z", "<time>"),
    (r'"start-time":\d+', '"start-time":0'),
    (r'"request_id":"[0-9a-f]+"', '"request_id":"<id>"'),
    (r"─+", "<line>"),
)
"""What differs from run to run."""


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def transcripts() -> list[tuple[str, str]]:
    """Returns every command of the `console` blocks with the output shown under it."""
    parts = [part for block in blocks("console") for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]]
    return [(command, output) for command, _, output in (part.partition("\n") for part in parts)]


def without_varying(text: str) -> str:
    for pattern, word in VARYING:
        text = re.sub(pattern, word, text)
    return "\n".join(line.rstrip() for line in text.splitlines())


@pytest.fixture(scope="module")
def server() -> Iterator[testing.RunningServer]:
    with testing.server(http={"port": 0}) as running:
        loader.load(running.client(), recorded_run.load().moved_to(datetime.now(UTC)))
        yield running


def test_the_commands_print_what_the_readme_shows(server: testing.RunningServer) -> None:
    assert server.http_url is not None
    environment = {k: v for k, v in os.environ.items() if not k.startswith("STREAMGAUGE_")}
    environment |= {"STREAMGAUGE_TARGET": server.target, "COLUMNS": "200"}
    wrong = []
    for command, shown in transcripts():
        line = command.replace(".venv/bin/", f"{Path(sys.executable).parent}/")
        line = line.replace(PRINTED_TARGET, server.target).replace(PRINTED_HTTP, server.http_url)
        done = subprocess.run(line, shell=True, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        printed = done.stdout + done.stderr
        if without_varying(printed) != without_varying(shown):
            wrong.append(f"$ {command}\n{printed}")
    assert not wrong, "\n".join(wrong)


def test_the_python_program_prints_what_its_comments_say(server: testing.RunningServer) -> None:
    (program,) = blocks("python")
    printed = io.StringIO()
    with redirect_stdout(printed):
        exec(compile(program.replace(PRINTED_TARGET, server.target), "README.md", "exec"), {})
    assert printed.getvalue().splitlines() == re.findall(r"print\(.*\)  # (.*)", program)
