"""Answers that lack something, as stored bytes are damaged: both clients warn."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from streamgauge import AsyncClient, Client, DamagedDataWarning, Observation, testing

T0 = datetime(2026, 1, 1, 12, tzinfo=UTC)


async def test_an_answer_that_lacks_something_is_a_warning_at_the_callers_line(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    with testing.server(database=f"sqlite:///{path}") as server:
        with Client(server.target) as client:
            client.metrics.write([Observation("sources/a", {"x": 1}, time=T0)])
            with closing(sqlite3.connect(path)) as store, store:
                [(data,)] = store.execute("SELECT data FROM blocks").fetchall()
                store.execute("UPDATE blocks SET data = ?", (data[:-1] + bytes([data[-1] ^ 4]),))
            with pytest.warns(DamagedDataWarning, match=r"sources/a\?day=2026-01-01") as told:
                client.metrics.query(["sources/a"], start=T0)
        async with AsyncClient(server.target) as client:
            with pytest.warns(DamagedDataWarning, match=r"sources/a\?day=2026-01-01") as told_later:
                await client.metrics.query(["sources/a"], start=T0)
    assert {warning.filename for warning in [*told, *told_later]} == {__file__}
