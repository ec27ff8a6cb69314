"""Store URLs: which engine, and the URL that SQLAlchemy understands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

Engine = Literal["sqlite", "postgresql"]


@dataclass(frozen=True, slots=True)
class StoreUrl:
    """A parsed store URL. `path` is the file of an SQLite store, empty for one in memory, None for PostgreSQL."""

    engine: Engine
    sqlalchemy: URL
    path: str | None = None

    @property
    def in_memory(self) -> bool:
        """Tells whether the store lives and dies with the process."""
        return self.path == ""

    def __str__(self) -> str:
        """The URL without its password, fit for logs."""
        return self.sqlalchemy.render_as_string(hide_password=True)


def parse_url(url: str) -> StoreUrl:
    """Returns the store that a URL names.

    `sqlite:///relative/path`, `sqlite:////absolute/path` (with `?`, `#` and `%` percent-encoded), `sqlite://:memory:`
    (or just `sqlite://`), and `postgresql://user:password@host:port/database`; a driver after the engine
    (`sqlite+aiosqlite`, `postgresql+asyncpg`) changes nothing, since each engine has one driver here. `sslmode` is read
    as libpq does.

    Raises:
        ValueError: the URL is malformed or names an engine that is not supported.
    """
    if url.partition("://")[2] == ":memory:":
        url = url.partition("://")[0] + "://"
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise ValueError("malformed store URL, expected for example sqlite:///streamgauge.db") from error
    engine = parsed.get_backend_name()
    if engine == "sqlite":
        path = parsed.database or ""
        path = "" if path == ":memory:" else path
        return StoreUrl("sqlite", URL.create("sqlite", database=path or None), path)
    if engine in ("postgresql", "postgres"):
        parsed = parsed.set(drivername="postgresql+asyncpg")
        if "sslmode" in parsed.query:
            mode = parsed.query["sslmode"]
            parsed = parsed.difference_update_query(["sslmode"]).update_query_dict({"ssl": mode})
        return StoreUrl("postgresql", parsed)
    raise ValueError(f"no store engine {engine!r}: use sqlite or postgresql")
