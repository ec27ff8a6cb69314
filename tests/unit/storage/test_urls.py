"""Store URLs."""

from __future__ import annotations

import pytest
from streamgauge_server.storage.urls import parse_url


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:///a/b.db", "a/b.db"),
        ("sqlite:////a/b.db", "/a/b.db"),
        ("sqlite+aiosqlite:////a/b c%.db", "/a/b c%.db"),
        ("sqlite://:memory:", ""),
        ("sqlite:///:memory:", ""),
        ("sqlite://", ""),
        ("sqlite+aiosqlite://", ""),
    ],
)
def test_sqlite_urls_name_a_file_or_the_memory(url: str, path: str) -> None:
    parsed = parse_url(url)
    assert (parsed.engine, parsed.path, parsed.in_memory) == ("sqlite", path, path == "")


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+asyncpg", "postgresql+psycopg"])
def test_postgresql_urls_get_the_one_driver(scheme: str) -> None:
    parsed = parse_url(f"{scheme}://u:p%40@h:1/d")
    assert (parsed.engine, parsed.path, parsed.in_memory) == ("postgresql", None, False)
    assert parsed.sqlalchemy.render_as_string(hide_password=False) == "postgresql+asyncpg://u:p%40@h:1/d"


def test_a_url_for_logs_shows_no_password() -> None:
    assert "secret" not in str(parse_url("postgresql://u:secret@h/d"))


def test_sslmode_is_passed_on_under_the_drivers_name() -> None:
    parsed = parse_url("postgresql://h/d?sslmode=verify-full&host=/tmp")
    assert parsed.sqlalchemy.query == {"ssl": "verify-full", "host": "/tmp"}


@pytest.mark.parametrize("url", ["", "x", "mysql://h/d", "postgresql", "sqlite", "://", "sqlite:relative.db"])
def test_anything_else_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="store"):
        parse_url(url)
