"""Damaged blocks over HTTP: answers that lack something say so in a header."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from sqlalchemy import Connection, select, update
from streamgauge_server.gateway.damage import MAX_BYTES, Damage
from streamgauge_server.storage import tables

from tests.gateway.serving import NOON, Gateway, running
from tests.rpc.messages import HOUR, row, write

HEADER = "Streamgauge-Damaged"
ORIGIN = "https://ui.example"


@pytest.fixture(scope="module")
def damaged() -> Iterator[Gateway]:
    """A server with a source of which a block has a flipped bit, and another one of which none has."""
    with running(http={"cors_origins": [ORIGIN]}) as gateway:
        for source in ("a", "sound"):
            samples = [row({"byteTotal": n}, subject=f"sources/{source}", at=NOON - n * HOUR) for n in range(3)]
            gateway.metrics.WriteMetrics(write(*samples))
        assert gateway.app.store is not None
        work = gateway.app.store._database.write(_flip)
        asyncio.run_coroutine_threadsafe(work, gateway.loop).result(10)
        yield gateway


def _flip(connection: Connection) -> None:
    subject = select(tables.subjects.c.id).where(tables.subjects.c.name == "a").scalar_subquery()
    b = tables.blocks.c
    for seq, data in connection.execute(select(b.seq, b.data).where(b.subject_id == subject)).all():
        broken = data[:-1] + bytes([data[-1] ^ 4])
        connection.execute(update(tables.blocks).where(b.seq == seq, b.subject_id == subject).values(data=broken))


@pytest.mark.parametrize(
    "path", ["/v1/sources/{}/metrics?timeType=TIME_TYPE_TIMESERIES", "/sources/{}/metrics?time_type=timeseries"]
)
def test_an_answer_that_lacks_something_names_it_in_a_header(damaged: Gateway, path: str) -> None:
    answer = damaged.http.get(path.format("a"), headers={"Origin": ORIGIN})
    assert answer.status_code == 200
    assert answer.headers[HEADER].startswith("sources/a?day=2026-01-01&seq=")
    assert HEADER in answer.headers["access-control-expose-headers"].split(", ")
    assert HEADER not in damaged.http.get(path.format("sound")).headers


def test_what_does_not_fit_into_the_header_is_counted() -> None:
    damage = Damage()
    named = [f"sources/{number:03}?what=samples" + "x" * 300 for number in range(30)]
    damage.note([("x-request-id", "1"), *(("streamgauge-damaged", text) for text in named)])
    damage.note([("streamgauge-damaged", named[0]), ("streamgauge-damaged", "more=12")])
    told = damage.header().split(", ")
    assert len(damage.header()) <= MAX_BYTES
    assert told == [*named[: len(told) - 1], f"more={12 + 30 - (len(told) - 1)}"]


def test_texts_that_no_header_could_carry_are_left_out() -> None:
    damage = Damage()
    damage.note([("streamgauge-damaged", text) for text in ("a, b", "x\r\nSet-Cookie: y", "ü", "", "y" * 1_001)])
    damage.note([("streamgauge-damaged", b"bytes")])
    assert damage.header() == ""
