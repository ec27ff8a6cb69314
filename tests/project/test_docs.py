"""What the documentation says about the project is so: the reference page, links, paths, make targets."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest
from streamgauge.cli.app import app
from streamgauge_server.cli import cli

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
TARGETS = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))

PROGRAMS: dict[str, click.Command] = {"streamgauge": app, "streamgauge-server": cli}

pages = pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)


def anchors(page: Path) -> set[str]:
    """Returns the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(
        r"^#+ (.*)$", re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL), re.M
    )
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}


def test_the_reference_page_is_what_the_code_says() -> None:
    subprocess.run([sys.executable, str(ROOT / "tools/reference.py"), "--check"], check=True)


@pages
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\((?!https?://)([^)\s]+)\)", page.read_text(encoding="utf-8")):
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pages
def test_every_path_that_is_named_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    named = re.findall(r"`((?:server|sdk|protos|tests|tools|docs|\.ci)/[\w./-]*\w/?)`", text)
    assert [path for path in named if not (ROOT / path).exists()] == []


@pages
def test_every_make_target_that_is_named_exists(page: Path) -> None:
    named = re.findall(r"(?:`|^|&& )make ([a-z][a-z-]*)", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert set(named) <= TARGETS


def test_every_target_is_listed_by_make_help() -> None:
    done = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert set(re.findall(r"^  make ([a-z-]+) +\S", done.stdout, re.MULTILINE)) == TARGETS


def commands_named(page: Path) -> list[list[str]]:
    """Returns the command lines of our two programs in a page's `sh` blocks."""
    text = "\n".join(re.findall(r"^```sh\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL))
    lines = [shlex.split(line) for line in text.splitlines()]
    return [line for line in lines if line and line[0] in PROGRAMS]


@pages
def test_every_command_line_that_is_shown_has_options_that_exist(page: Path) -> None:
    for line in commands_named(page):
        command: click.Command = PROGRAMS[line[0]]
        words = line[1:]
        while isinstance(command, click.Group):
            command = command.commands[words.pop(0)]
        # Parses and checks the options, but calls nothing.
        command.make_context(line[0], words)
