"""The lines that are printed name programs that are there and a range that holds the run."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from streamgauge.demo.next_steps import Programs, lines

PROGRAMS = Programs("grpcurl", "streamgauge", "python")


def environment(directory: Path, *programs: str) -> Path:
    """Makes an environment with empty programs and returns its Python."""
    (directory / "bin").mkdir(parents=True)
    for program in programs:
        (directory / "bin" / program).touch()
    return directory / "bin" / "python3"


def test_programs_of_an_environment_below_are_named_by_relative_paths(tmp_path: Path) -> None:
    python = environment(tmp_path / ".venv", "grpcurl", "streamgauge", "python")
    assert Programs.beside(python, tmp_path) == Programs(
        ".venv/bin/grpcurl", ".venv/bin/streamgauge", ".venv/bin/python"
    )


def test_programs_of_an_environment_elsewhere_are_named_in_full_and_quoted(tmp_path: Path) -> None:
    python = environment(tmp_path / "my env", "streamgauge")
    found = Programs.beside(python, tmp_path / "elsewhere")
    assert found.streamgauge == f"'{tmp_path}/my env/bin/streamgauge'"


def test_a_program_that_is_missing_is_left_to_the_path(tmp_path: Path) -> None:
    assert Programs.beside(environment(tmp_path), tmp_path).grpcurl == "grpcurl"


def test_the_range_is_in_whole_minutes_around_the_run() -> None:
    seen = (datetime(2026, 11, 21, 23, 58, 59, 1, tzinfo=UTC), datetime(2026, 11, 22, 0, 0, 0, 0, tzinfo=UTC))
    block = lines(PROGRAMS, "h:1", "http://h:2", seen)
    assert "--from 2026-11-21T23:58:00Z --to 2026-11-22T00:01:00Z" in block


def test_without_the_run_only_what_works_on_any_store_is_printed() -> None:
    block = lines(PROGRAMS, "h:1", "http://h:2", None)
    assert "sources list" in block
    assert "67ad6e0af08a2365c729ba79" not in block
