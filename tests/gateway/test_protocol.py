"""Connections: slow clients, heads without an end, smuggling, pipelining, upgrades, old versions, readers that stop."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping

import pytest
from starlette.requests import Request
from starlette.responses import Response
from streamgauge_server.gateway.protocol import MAX_HEAD_BYTES, MAX_HEADERS, MAX_PIPELINED

from tests.gateway.layered import answer_length, answer_ok, eventually, serving

GET = b"GET /test/a HTTP/1.1\r\nHost: a\r\n\r\n"
CLOSE = b"GET /test/end HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
ROUTES = {"GET /test/{x}": answer_ok, "POST /test": answer_length, "GET /test": answer_length}
CHUNKED = b"POST /test HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


def statuses(answer: bytes) -> list[int]:
    """Returns the statuses of the answers on a connection."""
    return [int(status) for status in re.findall(rb"HTTP/1\.1 ([0-9]{3}) ", answer)]


def bodies(answer: bytes) -> list[object]:
    """Returns the JSON bodies of the answers on a connection."""
    return [json.loads(line.partition(b"HTTP/1.1")[0]) for line in answer.split(b"\r\n\r\n")[1:]]


@pytest.mark.parametrize("begun", [b"G", b"GET /test/a HTTP/1.1\r\n", b"GET /test/a HTTP/1.1\r\nHost: a\r\nX: "])
async def test_a_head_that_does_not_come_to_its_end_is_answered_with_408(begun: bytes) -> None:
    async with serving(ROUTES, receive_seconds=0.1) as served:
        assert statuses(await served.exchange(begun)) == [408]


@pytest.mark.parametrize("sent", [b"", b"\r\n", b"\r\n\r\n"])
async def test_a_connection_on_which_no_request_begins_is_closed_without_a_word(sent: bytes) -> None:
    async with serving(ROUTES, receive_seconds=0.1) as served:
        assert await served.exchange(sent) == b""


async def test_the_time_for_a_head_begins_anew_with_every_request_and_not_while_idle() -> None:
    async with serving(ROUTES, receive_seconds=0.2) as served:
        reader, writer = await served.connect()
        for _ in range(4):
            writer.write(GET)
            await reader.readuntil(b'{"x":"a"}')
            await asyncio.sleep(0.1)  # idle, four times, together for longer than a head may take
        writer.write(b"GET")
        assert statuses(await asyncio.wait_for(reader.read(), 10)) == [408]
        writer.close()


async def test_a_head_that_drips_is_not_waited_for_although_something_always_comes() -> None:
    async with serving(ROUTES, receive_seconds=0.2) as served:
        reader, writer = await served.connect()
        answer = asyncio.create_task(reader.read())
        writer.write(b"GET /test/a HTTP/1.1\r\nX: ")
        while not answer.done() and not writer.is_closing():
            writer.write(b"x")
            await asyncio.wait((answer,), timeout=0.02)
        assert statuses(await answer) == [408]
        writer.close()


async def test_heads_up_to_the_limit_are_read_and_larger_ones_are_not() -> None:
    async with serving(ROUTES) as served:
        for size, status in ((MAX_HEAD_BYTES - 1_000, 200), (MAX_HEAD_BYTES, 431)):
            head = CLOSE.replace(b"\r\n\r\n", b"\r\nX-Long: " + b"x" * size + b"\r\n\r\n")
            assert statuses(await served.exchange(head)) == [status]
        long = CLOSE.replace(b"/end", b"/" + b"x" * MAX_HEAD_BYTES)
        assert statuses(await served.exchange(long)) == [431]
        many = CLOSE.replace(b"\r\n\r\n", b"\r\n" + b"A: b\r\n" * MAX_HEADERS + b"\r\n")
        assert statuses(await served.exchange(many)) == [431]


async def test_a_head_without_an_end_is_cut_off_long_before_it_fills_the_memory() -> None:
    async with serving(ROUTES) as served:
        reader, writer = await served.connect()
        writer.write(b"GET /test/a HTTP/1.1\r\nX: ")
        sent = 0
        while not reader.at_eof() and sent < 100 * MAX_HEAD_BYTES:
            writer.write(b"x" * 4_096)
            sent += 4_096
            try:
                await writer.drain()
            except ConnectionError:
                break
        assert sent < 100 * MAX_HEAD_BYTES
        writer.close()


@pytest.mark.parametrize(
    "head",
    [
        b"POST /test HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /test HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
        b"POST /test HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcd",
        b"POST /test HTTP/1.1\r\nHost: a\r\nContent-Length: 4, 4\r\n\r\nabcd",
        b"POST /test HTTP/1.1\r\nHost: a\r\nContent-Length: +4\r\n\r\nabcd",
        b"POST /test HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        b"POST /test HTTP/1.1\r\nHost: a\r\nContent-Length: 0x4\r\n\r\nabcd",
        b"POST /test HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999999\r\n\r\n",
        b"POST /test HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, xchunked\r\n\r\n0\r\n\r\n",
        b"POST /test HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        b"POST /test HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        b"POST /test HTTP/1.1\r\nHost: a\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /test HTTP/1.1\r\nHost: a\r\nX: a\n\nGET /test/a HTTP/1.1\r\n\r\n",
        b"POST /test HTTP/1.1\r\nHost: a\r\nX: a\x00b\r\n\r\n",
        b"POST /test HTTP/1.1\r\nHost: a\r\nX: a\rY: b\r\n\r\n",
        b"POST /test HTTP/1.1\r\nHost: a\r\nHost: b\r\nContent-Length: 0\r\n\r\n",
        b"POST /test HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
        b"POST /test HTTP/1.1 \x00\r\nHost: a\r\n\r\n",
        b"POST /te\x00st HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST /te st HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST /te\xc3\xbcst HTTP/1.1\r\nHost: a\r\n\r\n",
        b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"post /test HTTP/1.1\r\nHost: a\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        CHUNKED + b"-1\r\n",
        CHUNKED + b"fffffffffffffffff\r\n",
        CHUNKED + b"3\r\nabcdef\r\n",
        CHUNKED + b"3 \x00\r\nabc\r\n0\r\n\r\n",
        CHUNKED + b"zz\r\n",
    ],
)
async def test_what_two_parsers_could_read_differently_is_refused_and_the_connection_ends(head: bytes) -> None:
    async with serving(ROUTES, receive_seconds=1) as served:
        answer = await served.exchange(head, GET)
    assert statuses(answer) == [400], answer
    assert b"connection: close" in answer
    assert b"x-request-id: " in answer


async def test_requests_on_a_connection_are_answered_in_their_order() -> None:
    async with serving(ROUTES) as served:
        sent = b"".join(GET.replace(b"/a", b"/%d" % number) for number in range(MAX_PIPELINED // 2))
        assert bodies(await served.exchange(sent + CLOSE)) == [
            *({"x": str(number)} for number in range(MAX_PIPELINED // 2)),
            {"x": "end"},
        ]


async def test_a_client_cannot_pile_up_requests() -> None:
    waiting = asyncio.Event()

    async def slow(request: Request, variables: Mapping[str, str]) -> Response:
        await waiting.wait()
        return Response()

    async with serving({"GET /test/{x}": slow}) as served:
        assert await served.exchange(GET * (MAX_PIPELINED + 2)) == b""
        await eventually(lambda: served.metrics.active == 0)


async def test_a_body_on_a_get_is_no_second_request() -> None:
    inner = GET.replace(b"/a", b"/smuggled")
    head = b"GET /test/a HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(inner)
    async with serving(ROUTES) as served:
        assert bodies(await served.exchange(head + inner + CLOSE)) == [{"x": "a"}, {"x": "end"}]


async def test_a_body_that_nobody_reads_does_not_end_the_connection_when_it_comes_to_its_end() -> None:
    async with serving(ROUTES, max_body_bytes=10) as served:
        body = b"x" * 300_000
        answer = await served.exchange(
            b"POST /test HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body), body, CLOSE
        )
    assert statuses(answer) == [413, 200]


async def test_a_body_that_nobody_reads_must_come_to_its_end_in_time() -> None:
    async with serving(ROUTES, max_body_bytes=10, receive_seconds=0.2) as served:
        reader, writer = await served.connect()
        writer.write(b"POST /test HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\n")
        assert statuses(await reader.readuntil(b"\r\n\r\n")) == [413]

        def dripped() -> bool:
            writer.write(b"x" * 100)
            return served.server.connections == 0

        await eventually(dripped)
        writer.close()


async def test_who_asks_whether_to_send_the_body_is_told_before_it_is_sent() -> None:
    head = b"POST /test HTTP/1.1\r\nHost: a\r\nConnection: close\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n"
    async with serving({**ROUTES, "PUT /test": answer_ok}, max_body_bytes=10) as served:
        reader, writer = await served.connect()
        writer.write(head % 3)
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"abc")
        assert b'{"length":3}' in await reader.read()
        writer.close()
        # Whether the body follows is the client's choice then, so nothing more can be read from it.
        for refused, status in ((head % 11, 413), ((head % 3).replace(b"POST", b"PUT"), 200)):
            answer = await served.exchange(refused.replace(b"Connection: close\r\n", b""))
            assert (statuses(answer), b"connection: close" in answer) == ([status], True)


async def test_an_upgrade_that_nobody_speaks_is_answered_as_if_it_was_not_asked_for() -> None:
    async with serving(ROUTES) as served:
        for upgrade in (b"h2c", b"websocket"):
            head = GET.replace(b"\r\n\r\n", b"\r\nConnection: Upgrade\r\nUpgrade: " + upgrade + b"\r\n\r\n")
            answer = await served.exchange(head, GET)
            assert statuses(answer) == [200]
            assert b"connection: close" in answer


async def test_http_1_0_is_answered_and_closed_and_other_versions_are_refused() -> None:
    async with serving(ROUTES) as served:
        assert statuses(await served.exchange(GET.replace(b"1.1", b"2.0"), GET)) == [505]
        answer = await served.exchange(b"GET /test/a HTTP/1.0\r\n\r\n", GET)
    assert statuses(answer) == [200]
    assert b"connection: close" in answer


async def test_headers_after_a_chunked_body_are_none_of_the_request() -> None:
    seen: list[dict[str, str]] = []

    async def note(request: Request, variables: Mapping[str, str]) -> Response:
        await request.body()
        seen.append(dict(request.headers))
        return Response()

    async with serving({"POST /test": note}) as served:
        trailer = b"0\r\nAuthorization: Bearer smuggled\r\n\r\n"
        answer = await served.exchange(CHUNKED, b"3\r\nabc\r\n" + trailer + CLOSE)
    assert statuses(answer) == [200, 404]
    assert seen == [{"host": "a", "transfer-encoding": "chunked"}]


async def test_a_client_that_stops_reading_is_cut_off_and_one_that_reads_slowly_is_not() -> None:
    async def large(request: Request, variables: Mapping[str, str]) -> Response:
        return Response(b"x" * 20_000_000)

    async with serving({"GET /test/{x}": large}, receive_seconds=0.2) as served:
        _, stalled = await served.connect()
        stalled.transport.pause_reading()  # type: ignore[attr-defined]
        stalled.write(GET)
        reader, writer = await served.connect()
        writer.write(CLOSE)
        got = 0
        while piece := await reader.read(1_000_000):
            got += len(piece)
            await asyncio.sleep(0.02)  # together for much longer than one may stall
        assert got > 20_000_000
        writer.close()
        await eventually(lambda: served.metrics.active == 0)
        assert served.server.connections == 0
        stalled.close()


async def test_requests_under_way_end_before_the_server_does() -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow(request: Request, variables: Mapping[str, str]) -> Response:
        begun.set()
        await go_on.wait()
        return Response("done")

    async with serving({"GET /test/{x}": slow}) as served:
        reader, writer = await served.connect()
        idle, unused = await served.connect()
        writer.write(GET)
        await begun.wait()
        stopping = asyncio.create_task(served.server.stop(30))
        assert await idle.read() == b""
        unused.close()
        with pytest.raises(ConnectionRefusedError):
            await served.connect()
        go_on.set()
        answer = await reader.read()
        await stopping
        writer.close()
    assert answer.endswith(b"done")
    assert b"connection: close" in answer


async def test_requests_that_take_longer_than_the_grace_are_cut_off() -> None:
    begun = asyncio.Event()

    async def stuck(request: Request, variables: Mapping[str, str]) -> Response:
        begun.set()
        await asyncio.sleep(60)
        return Response()

    async with serving({"GET /test/{x}": stuck}) as served:
        reader, writer = await served.connect()
        writer.write(GET)
        await begun.wait()
        await asyncio.wait_for(served.server.stop(0.1), 10)
        assert await reader.read() == b""
        writer.close()
        assert served.metrics.active == 0
