"""What every request passes: request ids, what travels on, bodies, clients that go, failures, what is seen of it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Mapping

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from streamgauge_server.gateway.api import HttpFailure
from streamgauge_server.gateway.observation import AccessLog
from streamgauge_server.gateway.request_ids import SANE_REQUEST_ID
from streamgauge_server.rpc import steps
from structlog.testing import capture_logs

from tests.gateway.layered import answer_length, answer_ok, eventually, serving

ID = "x-request-id"
POST = b"POST /test HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"


async def answer_passage(request: Request, variables: Mapping[str, str]) -> Response:
    passage = request.state.passage
    return JSONResponse({"metadata": dict(passage.metadata), "timeout": passage.timeout})


async def fail(request: Request, variables: Mapping[str, str]) -> Response:
    raise ZeroDivisionError("a secret of the inside")


async def test_a_sane_request_id_is_kept_and_travels_on() -> None:
    async with serving({"GET /test": answer_passage}) as served:
        answer = await served.http.get("/test", headers={ID: "caller:17/a=b"})
    assert answer.headers[ID] == "caller:17/a=b"
    assert answer.json()["metadata"] == {ID: "caller:17/a=b"}


@pytest.mark.parametrize("given", ["", "two words", "x" * 129, "ünlike", 'quo"te', "a,b"])
async def test_another_request_id_gets_a_new_one(given: str) -> None:
    async with serving({"GET /test": answer_passage}) as served:
        answer = await served.http.get("/test", headers=[(ID.encode(), given.encode())])
    assert re.fullmatch("[0-9a-f]{24}", answer.headers[ID])
    assert answer.json()["metadata"] == {ID: answer.headers[ID]}


def test_the_gateway_takes_over_the_request_ids_that_the_server_takes_over() -> None:
    assert SANE_REQUEST_ID.pattern.decode() == steps._REQUEST_ID.pattern


async def test_every_failure_has_a_request_id_too() -> None:
    async with serving({"GET /test": answer_ok, "GET /test/fails": fail}) as served:
        for verb, path in (("GET", "/nowhere"), ("PUT", "/test"), ("GET", "/test/fails")):
            answer = await served.http.request(verb, path, headers={ID: "mine"})
            assert (answer.is_error, answer.headers[ID]) == (True, "mine")


async def test_an_unexpected_failure_is_told_by_its_api_and_logged_and_shows_nothing() -> None:
    async with serving({"GET /test": fail}) as served:
        with capture_logs() as lines:
            answer = await served.http.get("/test", headers={ID: "mine"})
    assert (answer.status_code, answer.json()) == (500, {"told": "ZeroDivisionError"})
    (line,) = [line for line in lines if line["event"] == "unexpected failure of a request"]
    assert (line["request_id"], line["api"], line["route"]) == ("mine", "test", "/test")
    assert isinstance(line["exc_info"], ZeroDivisionError)


@pytest.mark.parametrize(
    ("asked", "seconds"), [(None, 7.0), ("2S", 2.0), ("1500m", 1.5), ("1H", 7.0), ("20u", 2e-5), ("0S", 0.0)]
)
async def test_a_smaller_grpc_timeout_bounds_the_calls(asked: str | None, seconds: float) -> None:
    async with serving({"GET /test": answer_passage}, call_seconds=7) as served:
        answer = await served.http.get("/test", headers={"grpc-timeout": asked} if asked else {})
    assert answer.json()["timeout"] == pytest.approx(seconds)


@pytest.mark.parametrize("asked", ["", "5", "S", "-1S", "1.5S", "123456789S", "1s", "1S,1S"])
async def test_a_malformed_grpc_timeout_is_refused(asked: str) -> None:
    async with serving({"GET /test": answer_passage}) as served:
        answer = await served.http.get("/test", headers={"grpc-timeout": asked})
    assert answer.status_code == 400


@pytest.mark.parametrize(
    "given",
    [
        [b"Bearer \xc3\xbc"],
        [b"Bearer a\tb"],
        [b"Bearer " + b"x" * 9_000],
        [b"Bearer one", b"Bearer two"],
        [b""],
    ],
)
async def test_authorization_that_grpc_cannot_carry_is_refused_with_401(given: list[bytes]) -> None:
    async with serving({"GET /test": answer_passage}) as served:
        answer = await served.http.get("/test", headers=[(b"authorization", value) for value in given])
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert answer.json()["told"].startswith("authorization")


async def test_authorization_travels_on_as_it_came() -> None:
    async with serving({"GET /test": answer_passage}) as served:
        answer = await served.http.get("/test", headers={"authorization": "bEARER  a~b!"})
    assert answer.json()["metadata"]["authorization"] == "bEARER  a~b!"


async def test_a_body_up_to_the_limit_is_taken_and_a_larger_one_refused_by_what_it_declares() -> None:
    async with serving({"POST /test": answer_length}, max_body_bytes=1_000) as served:
        assert (await served.http.post("/test", content=b"x" * 1_000)).json() == {"length": 1_000}
        assert (await served.http.post("/test", content=b"x" * 1_001)).status_code == 413


async def test_a_chunked_body_is_refused_when_it_has_become_too_large() -> None:
    async def pieces(count: int) -> AsyncIterator[bytes]:
        for _ in range(count):
            yield b"x" * 100

    async with serving({"POST /test": answer_length}, max_body_bytes=1_000) as served:
        assert (await served.http.post("/test", content=pieces(10))).json() == {"length": 1_000}
        assert (await served.http.post("/test", content=pieces(11))).status_code == 413


async def test_a_body_that_does_not_come_is_not_waited_for() -> None:
    async with serving({"POST /test": answer_length}, receive_seconds=0.1) as served:
        answer = await served.exchange(b"POST /test HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nabc")
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"connection: close" in answer.lower()


async def test_a_client_that_goes_amid_the_body_is_seen_as_gone() -> None:
    async with serving({"POST /test": answer_length}) as served:
        with capture_logs() as lines:
            _, writer = await served.connect()
            writer.write(b"POST /test HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nabc")
            await writer.drain()
            await eventually(lambda: served.metrics.active == 1)
            writer.close()
            await eventually(lambda: served.metrics.active == 0)
    assert [line["status"] for line in lines if line["event"] == "request"] == [499]


@pytest.mark.parametrize("request_bytes", [b"GET /test HTTP/1.1\r\nHost: a\r\n\r\n", POST])
async def test_work_for_a_client_that_has_gone_is_cancelled(request_bytes: bytes) -> None:
    begun, cancelled = asyncio.Event(), asyncio.Event()

    async def slow(request: Request, variables: Mapping[str, str]) -> Response:
        await request.body()
        begun.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.set()
            raise
        return Response()

    async with serving({"GET /test": slow, "POST /test": slow}) as served:
        with capture_logs() as lines:
            _, writer = await served.connect()
            writer.write(request_bytes)
            await asyncio.wait_for(begun.wait(), 10)
            writer.close()
            await asyncio.wait_for(cancelled.wait(), 10)
            await eventually(lambda: served.metrics.active == 0)
    assert [line["status"] for line in lines if line["event"] == "request"] == [499]


async def test_a_stream_ends_when_its_client_goes() -> None:
    ended = asyncio.Event()

    async def lines() -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"{}\n"
                await asyncio.sleep(0.01)
        finally:
            ended.set()

    async def stream(request: Request, variables: Mapping[str, str]) -> Response:
        return StreamingResponse(lines(), media_type="application/x-ndjson")

    async with serving({"GET /test": stream}) as served:
        reader, writer = await served.connect()
        writer.write(b"GET /test HTTP/1.1\r\nHost: a\r\n\r\n")
        await reader.readuntil(b"{}\n")
        writer.close()
        await asyncio.wait_for(ended.wait(), 10)
        await eventually(lambda: served.metrics.active == 0)


async def test_lines_of_a_stream_are_sent_as_they_come_also_compressed() -> None:
    released = asyncio.Event()

    async def lines() -> AsyncIterator[bytes]:
        yield b'{"line":1}\n'
        await released.wait()
        yield b'{"line":2}\n'

    async def stream(request: Request, variables: Mapping[str, str]) -> Response:
        return StreamingResponse(lines(), media_type="application/x-ndjson")

    async with serving({"GET /test": stream}) as served:
        for encoding in ("gzip", "identity"):
            released.clear()
            async with served.http.stream("GET", "/test", headers={"accept-encoding": encoding}) as answer:
                assert answer.headers.get("content-encoding", "identity") == encoding
                coming = answer.aiter_text()
                assert await asyncio.wait_for(anext(coming), 10) == '{"line":1}\n'
                released.set()
                assert "".join([text async for text in coming]) == '{"line":2}\n'


async def test_answers_from_a_size_on_are_compressed_for_those_who_take_it() -> None:
    async def answer(request: Request, variables: Mapping[str, str]) -> Response:
        return Response(b"a" * int(variables["size"]))

    async with serving({"GET /test/{size}": answer}, gzip_min_bytes=100) as served:
        for size, accepted, told in ((99, "gzip", None), (100, "gzip", "gzip"), (100, "identity", None)):
            got = await served.http.get(f"/test/{size}", headers={"accept-encoding": accepted})
            assert (got.headers.get("content-encoding"), len(got.content)) == (told, size)


async def test_pages_of_other_origins_are_kept_out_unless_a_setting_lets_them_in() -> None:
    preflight = {"Origin": "https://ui.example", "Access-Control-Request-Method": "POST"}
    async with serving({"GET /test": answer_ok}) as served:
        assert "access-control-allow-origin" not in (await served.http.options("/test", headers=preflight)).headers
    async with serving({"GET /test": answer_ok}, cors_origins=("https://ui.example",)) as served:
        headers = {**preflight, "Access-Control-Request-Headers": "authorization, content-type"}
        allowed = await served.http.options("/test", headers=headers)
        assert allowed.headers["access-control-allow-origin"] == "https://ui.example"
        refused = await served.http.get("/nowhere", headers={"Origin": "https://ui.example"})
        assert refused.status_code == 404
        assert refused.headers["access-control-allow-origin"] == "https://ui.example"
        assert "X-Request-Id" in refused.headers["access-control-expose-headers"]
        other = await served.http.get("/test", headers={"Origin": "https://evil.example"})
        assert "access-control-allow-origin" not in other.headers


async def test_only_a_trusted_proxy_says_who_called_and_by_which_scheme() -> None:
    async def answer(request: Request, variables: Mapping[str, str]) -> Response:
        return JSONResponse([request.url.scheme, request.client.host if request.client else ""])

    told = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "192.0.2.7"}
    for proxies, seen in (
        ((), ["http", "127.0.0.1"]),
        (("192.0.2.1",), ["http", "127.0.0.1"]),
        (("127.0.0.0/8",), ["https", "192.0.2.7"]),
    ):
        async with serving({"GET /test": answer}, trusted_proxies=proxies) as served:
            assert (await served.http.get("/test", headers=told)).json() == seen


async def test_headers_of_a_failure_reach_the_caller_whoever_tells_it() -> None:
    async def busy(request: Request, variables: Mapping[str, str]) -> Response:
        raise HttpFailure(429, "later", {"Retry-After": "3"})

    async with serving({"GET /test": busy}) as served:
        assert (await served.http.get("/test")).headers["retry-after"] == "3"
        assert (await served.http.delete("/test")).headers["allow"] == "GET, HEAD, OPTIONS"


async def test_head_has_the_headers_of_get_and_no_body() -> None:
    async with serving({"GET /test/{x}": answer_ok}) as served:
        got, head = await served.http.get("/test/abc"), await served.http.head("/test/abc")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == got.headers["content-length"]


async def test_requests_are_counted_by_route_and_status_with_bounded_labels() -> None:
    async with serving({"GET /test/{x}": answer_ok, "GET /test": fail}) as served:
        for number in range(20):
            await served.http.get(f"/test/{number}")
            await served.http.get(f"/nowhere/{number}")
        await served.http.get("/test")
        await served.http.request("PROPFIND", "/test/x")
        samples = {sample.name: sample for family in served.metrics.collect() for sample in family.samples}
        counted = {
            tuple(sample.labels.values()): sample.value
            for family in served.metrics.collect()
            for sample in family.samples
            if sample.name == "http_server_requests_total"
        }
    assert counted == {
        ("test", "/test/{x}", "GET", "200"): 20,
        ("test", "", "GET", "404"): 20,
        ("test", "/test", "GET", "500"): 1,
        ("test", "/test/{x}", "other", "405"): 1,
    }
    assert samples["http_server_active_requests"].value == 0


async def test_failures_have_a_line_each_that_tells_no_query_and_no_token() -> None:
    async with serving({"GET /test": answer_ok}) as served:
        with capture_logs() as lines:
            await served.http.get("/test")
            await served.http.get(
                "/test/nowhere?password=hunter2", headers={"authorization": "Bearer hunter2", ID: "i"}
            )
    (line,) = [line for line in lines if line["event"] == "request"]
    assert (line["method"], line["path"], line["status"], line["request_id"]) == ("GET", "/test/nowhere", 404, "i")
    assert "hunter2" not in str(line)


@pytest.mark.parametrize(("mode", "statuses"), [("all", [200, 404]), ("failures", [404]), ("off", [])])
async def test_which_requests_have_a_line_is_a_setting(mode: AccessLog, statuses: list[int]) -> None:
    async with serving({"GET /test": answer_ok}, access_log=mode) as served:
        with capture_logs() as lines:
            await served.http.get("/test")
            await served.http.get("/nowhere")
    assert [line["status"] for line in lines if line["event"] == "request"] == statuses


async def test_an_answer_that_breaks_off_is_seen_as_broken() -> None:
    async def lines() -> AsyncIterator[bytes]:
        yield b"{}\n"
        raise RuntimeError("amid the stream")

    async def stream(request: Request, variables: Mapping[str, str]) -> Response:
        return StreamingResponse(lines())

    async with serving({"GET /test": stream}) as served:
        with pytest.raises(httpx.RemoteProtocolError):
            await served.http.get("/test")
