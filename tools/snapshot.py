"""A committed file that code can write: print it, write it, or check that the committed one is still right."""

from __future__ import annotations

import argparse
import difflib
import sys
from pathlib import Path


def main(path: Path, text: str, about: str | None, refresh: str) -> None:
    """Runs the command line of a snapshot: prints `text`, or with `--write` / `--check` writes or compares `path`.

    `about` describes the command; `refresh` is the command that people are told to run when the file is out of date.
    """
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--write", action="store_true", help=f"write {path.name}")
    parser.add_argument("--check", action="store_true", help=f"tell whether {path.name} is up to date")
    arguments = parser.parse_args()
    if arguments.write:
        path.write_text(text, encoding="utf-8")
        return
    if not arguments.check:
        sys.stdout.write(text)
        return
    kept = path.read_text(encoding="utf-8") if path.exists() else ""
    if kept != text:
        lines = difflib.unified_diff(kept.splitlines(True), text.splitlines(True), f"committed {path.name}", "now")
        sys.stderr.writelines(lines)
        sys.exit(f"{path.name} is out of date: if the change is meant, run `{refresh}` and commit the result")
    print(f"{path.name} is up to date")
