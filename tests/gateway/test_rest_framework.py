"""Pages by number over pages by token, links, what is accepted, and how failures are told."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import grpc
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2
from starlette.datastructures import QueryParams
from starlette.requests import Request
from streamgauge_server.gateway.api import HttpFailure
from streamgauge_server.gateway.legacy.rest_framework import (
    EVERYTHING,
    Numbered,
    Paging,
    negotiate,
    numbered,
    page_body,
    tell_failure,
    tell_refusal,
)
from streamgauge_server.gateway.upstream import Refused

PATH = "/v6/metrics/"


def request(query: str = "", *, server: Any = ("10.0.0.1", 80), scheme: str = "http", **headers: str) -> Request:
    sent = [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in headers.items()]
    return Request(
        {
            "type": "http",
            "method": "PUT",
            "scheme": scheme,
            "server": server,
            "path": PATH,
            "query_string": query.encode(),
            "headers": sent,
        }
    )


class Pages:
    """A list of numbers that is paged by tokens as the server does, and how often it was asked."""

    def __init__(self, total: int, most: int = 1_000) -> None:
        self.total = total
        self.most = most
        self.calls: list[int] = []

    async def fetch(self, size: int, token: str) -> tuple[Sequence[int], str, int]:
        self.calls.append(size)
        assert 1 <= size <= 1_000
        first = int(token or 0)
        end = min(first + min(size, self.most), self.total)
        return range(first, end), str(end) if end < self.total else "", self.total


@pytest.mark.parametrize(
    ("query", "number", "size"),
    [
        ("", 1, 100),
        ("page=3&page_size=7", 3, 7),
        ("page=1&page=2&page_size=5&page_size=6", 2, 6),
        ("page=%2B2", 2, 100),
        ("page=%202%20&page_size=%209", 2, 9),
        ("page=last", None, 100),
        ("page=", 0, 100),
        ("page=null", 0, 100),
        ("page=-1", -1, 100),
        ("page=1.0", 0, 100),
        ("page=1_0", 0, 100),
        ("page=0x1", 0, 100),
        ("page=Last", 0, 100),
        ("page=%D9%A1", 0, 100),
        ("page_size=", 1, 100),
        ("page_size=null", 1, 100),
        ("page_size=0", 1, 100),
        ("page_size=-5", 1, 100),
        ("page_size=ten", 1, 100),
        ("page_size=1000", 1, 1_000),
        ("page_size=1001", 1, 1_000),
        ("page_size=" + "0" * 30 + "7", 1, 7),
        ("page_size=" + "9" * 10_000, 1, 1_000),
        ("page_size=-" + "9" * 10_000, 1, 100),
    ],
)
def test_what_is_no_size_is_the_default_and_what_is_no_page_is_none(query: str, number: int | None, size: int) -> None:
    assert Paging.of(QueryParams(query)) == Paging(number, size)


@pytest.mark.parametrize("total", [0, 1, 9, 10, 11, 25])
@pytest.mark.parametrize("most", [1_000, 3])
async def test_every_page_holds_what_its_number_says(total: int, most: int) -> None:
    expected = [list(range(total))[first : first + 10] for first in range(0, max(total, 1), 10)]
    for number, items in enumerate(expected, 1):
        page = await numbered(Pages(total, most).fetch, Paging(number, 10))
        assert (list(page.items), page.number, page.last, page.total) == (items, number, len(expected), total)
    last = await numbered(Pages(total, most).fetch, Paging(None, 10))
    assert (list(last.items), last.number) == (expected[-1], len(expected))
    for number in (0, -1, len(expected) + 1, 10**30):
        with pytest.raises(HttpFailure) as failure:
            await numbered(Pages(total, most).fetch, Paging(number, 10))
        assert (failure.value.status, failure.value.message) == (404, "Invalid page.")


@pytest.mark.parametrize(
    ("paging", "calls"),
    [
        (Paging(1, 100), [100]),
        (Paging(7, 100), [700]),
        (Paging(4, 1_000), [1_000, 1_000, 1_000, 1_000]),
        (Paging(35, 100), [1_000, 1_000, 1_000, 500]),
        (Paging(None, 100), [100, 1_000, 1_000, 1_000, 900]),
        (Paging(None, 1), [1, 1_000, 1_000, 1_000, 999]),
        (Paging(10**30, 1_000), [1_000]),
    ],
)
async def test_what_comes_before_a_page_is_passed_over_by_few_calls(paging: Paging, calls: list[int]) -> None:
    pages = Pages(4_000)
    if paging.number == 10**30:
        with pytest.raises(HttpFailure):
            await numbered(pages.fetch, paging)
    else:
        await numbered(pages.fetch, paging)
    assert pages.calls == calls


async def test_what_is_too_large_for_one_answer_comes_in_parts() -> None:
    pages = Pages(2_500)

    async def fetch(size: int, token: str) -> tuple[Sequence[int], str, int]:
        found = await pages.fetch(size, token)
        if len(found[0]) > 300:
            raise too_large()
        return found

    page = await numbered(fetch, EVERYTHING)
    assert (list(page.items), page.total) == (list(range(2_500)), 2_500)
    assert pages.calls == [1_000, 500, *[250] * 10]


async def test_one_item_that_is_too_large_is_refused() -> None:
    async def fetch(size: int, token: str) -> tuple[Sequence[int], str, int]:
        raise too_large()

    with pytest.raises(Refused) as refusal:
        await numbered(fetch, Paging(1, 100))
    assert tell_refusal(refusal.value, "too large").status_code == 400


def too_large() -> Refused:
    packed = AnyMessage()
    packed.Pack(error_details_pb2.ErrorInfo(reason="MESSAGE_TOO_LARGE", domain="streamgauge"))
    return Refused(grpc.StatusCode.RESOURCE_EXHAUSTED, status_pb2.Status(code=8, message="no", details=[packed]))


def links(query: str, number: int, last: int, **arguments: Any) -> tuple[str | None, str | None]:
    body = page_body(request(query, **arguments), PATH, Numbered([], number, last, 7), ["x"])
    assert list(body) == ["count", "next", "previous", "results"]
    assert (body["count"], body["results"]) == (7, ["x"])
    return body["next"], body["previous"]


def test_links_keep_all_parameters_sorted_by_name_and_leave_out_the_first_page() -> None:
    base = "http://h:81/v6/metrics/"
    assert links("", 1, 1, host="h:81") == (None, None)
    assert links("page_size=5", 1, 2, host="h:81") == (f"{base}?page=2&page_size=5", None)
    assert links("page_size=20&page=2", 2, 2, host="h:81") == (None, f"{base}?page_size=20")
    assert links("page=2", 2, 3, host="h:81") == (f"{base}?page=3", base)
    query = "page_size=1&&group=&column=b&choice_id=2&choice_id=1&page=9&page=2"
    assert links(query, 2, 3, host="h:81") == (
        f"{base}?choice_id=2&choice_id=1&column=b&group=&page=3&page_size=1",
        f"{base}?choice_id=2&choice_id=1&column=b&group=&page_size=1",
    )
    assert links("page=last", 3, 3, host="h:81") == (None, f"{base}?page=2")


def test_parameters_in_links_are_encoded_again() -> None:
    told, _ = links("x=%26page%3D7%23%0d%0a%22%3C&%C3%A9=%FF+1", 1, 2, host="h")
    assert told == "http://h/v6/metrics/?page=2&x=%26page%3D7%23%0D%0A%22%3C&%C3%A9=%EF%BF%BD+1"


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("gauge.example", "http://gauge.example"),
        ("gauge.example:8080", "http://gauge.example:8080"),
        ("127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("[::1]:8080", "http://[::1]:8080"),
        ("", "http://10.0.0.1:80"),
        ("a b", "http://10.0.0.1:80"),
        ("a/b", "http://10.0.0.1:80"),
        ("user@evil", "http://10.0.0.1:80"),
        ('evil"><x', "http://10.0.0.1:80"),
        ("evil#", "http://10.0.0.1:80"),
        ("evil?x=", "http://10.0.0.1:80"),
        ("evil\\x", "http://10.0.0.1:80"),
        ("h:port", "http://10.0.0.1:80"),
        ("\xe9vil", "http://10.0.0.1:80"),
        ("h" * 256, "http://10.0.0.1:80"),
    ],
)
def test_links_name_the_host_of_the_request_if_it_is_one(host: str, origin: str) -> None:
    assert links("", 1, 2, host=host)[0] == f"{origin}/v6/metrics/?page=2"


@pytest.mark.parametrize(
    ("server", "origin"),
    [(None, "localhost"), (("/run/gauge.sock", None), "localhost"), (("::1", 81), "[::1]:81"), (("h", None), "h")],
)
def test_without_a_host_links_name_what_was_connected_to(server: Any, origin: str) -> None:
    assert links("", 1, 2, server=server)[0] == f"http://{origin}/v6/metrics/?page=2"


def test_forwarding_headers_are_not_believed() -> None:
    told, _ = links(
        *("", 1, 2),
        scheme="https",
        host="h",
        x_forwarded_host="evil",
        x_forwarded_proto="javascript",
        x_forwarded_prefix="/evil",
        forwarded="host=evil;proto=http",
    )
    assert told == "https://h/v6/metrics/?page=2"


@pytest.mark.parametrize(
    "accept",
    [
        "application/json",
        "application/json, text/plain, */*",
        "application/json; version=6",
        "APPLICATION/JSON",
        "text/html,application/xhtml+xml,*/*;q=0.8",
        "application/*",
        "",
    ],
)
def test_who_takes_json_gets_it(accept: str) -> None:
    negotiate(request(accept=accept))
    negotiate(request("format=json", accept=accept))
    negotiate(request("format=", accept=accept))


def test_without_accept_json_is_taken() -> None:
    negotiate(request())


@pytest.mark.parametrize(
    "accept", ["text/html", "application/xml, text/*", "json", "*/json", "text/html, image/png;q=1"]
)
def test_who_leaves_json_out_is_refused(accept: str) -> None:
    with pytest.raises(HttpFailure) as failure:
        negotiate(request(accept=accept))
    assert (failure.value.status, failure.value.message) == (406, "Could not satisfy the request Accept header.")


@pytest.mark.parametrize("format", ["xml", "api", "JSON", "json&format=xml"])
def test_other_formats_are_not_found(format: str) -> None:
    with pytest.raises(HttpFailure) as failure:
        negotiate(request(f"format={format}"))
    assert failure.value.status == 404


@pytest.mark.parametrize(
    ("failure", "status", "detail"),
    [
        (HttpFailure(404, "there is nothing at this path"), 404, "Not found."),
        (HttpFailure(404, "Invalid page."), 404, "Invalid page."),
        (HttpFailure(405, "PUT is not a verb", {"Allow": "GET"}), 405, 'Method "PUT" not allowed.'),
        (HttpFailure(401, "authorization must stand there once"), 403, "authorization must stand there once"),
        (HttpFailure(413, "the body may have 3 bytes"), 413, "the body may have 3 bytes"),
    ],
)
def test_what_the_gateway_refuses_has_a_detail(failure: HttpFailure, status: int, detail: str) -> None:
    response = tell_failure(request(), failure)
    assert (response.status_code, json.loads(bytes(response.body))) == (status, {"detail": detail})
    assert response.headers["content-type"] == "application/json"
    assert response.headers["vary"] == "Accept"
    for name, value in failure.headers.items():
        assert response.headers[name] == value


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, 400),
        (grpc.StatusCode.UNAUTHENTICATED, 403),
        (grpc.StatusCode.PERMISSION_DENIED, 403),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, 429),
        (grpc.StatusCode.INTERNAL, 500),
        (grpc.StatusCode.UNAVAILABLE, 503),
        (grpc.StatusCode.DEADLINE_EXCEEDED, 504),
    ],
)
def test_what_the_server_refuses_has_a_detail(code: grpc.StatusCode, status: int) -> None:
    packed = AnyMessage()
    packed.Pack(error_details_pb2.RetryInfo(retry_delay=Duration(seconds=1, nanos=1)))
    refused = Refused(code, status_pb2.Status(code=code.value[0], message="no", details=[packed]))
    response = tell_refusal(refused, "no, because")
    assert (response.status_code, json.loads(bytes(response.body))) == (status, {"detail": "no, because"})
    assert response.headers["retry-after"] == "2"
