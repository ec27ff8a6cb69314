"""What the metric types API refuses, in which order, and that nothing hostile gets further than a `detail`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.requests import Request
from streamgauge.v1 import metric_type_service_pb2 as pb
from streamgauge.v1 import source_service_pb2 as sources
from streamgauge_server.gateway.legacy import metric_types
from streamgauge_server.gateway.legacy.metric_types import tell
from streamgauge_server.model.entities import Caller
from streamgauge_server.services.tokens import Tokens

from tests.gateway.serving import NOON, Gateway, running
from tests.rpc.figure_messages import ingest
from tests.rpc.messages import HOUR
from tests.rpc.test_custom_metric_types import column
from tests.rpc.test_metric_type_catalog import COLUMNS

MOMENT = "is neither an ISO 8601 date-time with its offset"
DURATION = "is no duration"


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    with running(limits={"max_windows": 10}) as gateway:
        files = [ingest(str(hour), at=NOON - hour * HOUR) for hour in range(11)]
        gateway.sources.ReportIngests(sources.ReportIngestsRequest(ingests=files))
        yield gateway


def failure(gateway: Gateway, path: str, verb: str = "GET", **headers: str) -> tuple[int, str]:
    """Returns status and detail of an answer under `/v6/metrics/`."""
    answer = gateway.http.request(verb, f"/v6/metrics/{path}", headers={k.title(): v for k, v in headers.items()})
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["vary"] == "Accept"
    body: dict[str, Any] = answer.json()
    assert list(body) == ["detail"]
    return answer.status_code, body["detail"]


@pytest.mark.parametrize(
    ("query", "detail"),
    [
        ("started=garbage", f"started: 'garbage' {MOMENT}"),
        ("started=", f"started: '' {MOMENT}"),
        ("started=2015-01-01", f"started: '2015-01-01' {MOMENT}"),
        ("started=2015-01-01T00:00:00", f"started: '2015-01-01T00:00:00' {MOMENT}"),
        ("started=2015-01-01T00:00:00+05:00", f"started: '2015-01-01T00:00:00 05:00' {MOMENT}"),
        ("started=2015-02-30T00:00:00Z", "started: '2015-02-30T00:00:00Z' is no date-time that there is"),
        ("ended=garbage", f"ended: 'garbage' {MOMENT}"),
        ("ended=P1Y", f"ended: 'P1Y' {DURATION}"),
        ("ended=P99999999D", "ended: 'P99999999D' is longer ago than there are dates"),
        ("started=PT1H&started=x", f"started: 'x' {MOMENT}"),
        ("started=x&ended=y", f"started: 'x' {MOMENT}"),
        ("started=2015-01-01T00:00:00Z&ended=2015-01-01T01:00:00%2B01:00", "started and ended must differ"),
        ("started=2015-01-01T00:00:01Z&ended=2015-01-01T00:00:00Z", "started must be before ended"),
        ("started=PT1H&ended=PT3H", "started must be before ended"),
        ("started=2026-01-01T12:00:01Z", "started must be before now"),
        ("bin=year", "bin: 'year' is none of hour, day, week, month"),
        ("bin=Day", "bin: 'Day' is none of hour, day, week, month"),
        ("column=nope", "column: ingests has no column 'nope'"),
        ("column=", "column: ingests has no column ''"),
        ("column=total_count,errored_count", "column: ingests has no column 'total_count,errored_count'"),
        ("column=total_count&column=nope&column=worse", "column: ingests has no column 'nope'; column: ingests has no"),
        ("column=%FF%00%0d%0aX-Evil:1", "column: ingests has no column '\ufffd\\x00\\r\\nX-Evil:1'"),
        ("choice_id=x", "choice_id: 'x' is no integer of 64 bits"),
        ("choice_id=", "choice_id: '' is no integer of 64 bits"),
        ("choice_id=null", "choice_id: 'null' is no integer of 64 bits"),
        ("choice_id=1.0", "choice_id: '1.0' is no integer of 64 bits"),
        ("choice_id=1,2", "choice_id: '1,2' is no integer of 64 bits"),
        ("choice_id=1&choice_id=x", "choice_id: 'x' is no integer of 64 bits"),
        ("choice_id=9223372036854775808", "choice_id: '9223372036854775808' is no integer of 64 bits"),
        ("choice_id=" + "9" * 5_000, f"choice_id: '{'9' * 64}' is no integer of 64 bits"),
        ("column=total_count", "bin: makes 11 windows with data"),
        ("&".join(f"choice_id={one}" for one in range(1_001)), "choice_id: must have at most 1000 entries, has 1001"),
    ],
)
def test_what_is_wrong_is_named(gateway: Gateway, query: str, detail: str) -> None:
    status, told = failure(gateway, f"ingests/plot-data/?{query}")
    assert (status, told[: len(detail)]) == (400, detail)
    assert len(told) < 500


@pytest.mark.parametrize(
    ("path", "status", "detail"),
    [
        ("nope/", 404, "Not found."),
        ("nope/plot-data/", 404, "Not found."),
        ("Job-Types/", 404, "Not found."),
        ("bad%20name/", 404, "Not found."),
        ("..%2Fsources/", 404, "Not found."),
        ("%2e%2e/", 404, "Not found."),
        ("job-types%2Fplot-data/", 404, "Not found."),
        ("job-types%252Fplot-data/", 404, "Not found."),
        ("%00/", 404, "Not found."),
        ("%D0%B0/plot-data/", 404, "Not found."),
        ("a" * 4_000 + "/", 404, "Not found."),
        ("job-types/plot_data/", 404, "Not found."),
        ("job-types/plot-data/x/", 404, "Not found."),
        ("//plot-data/", 404, "Not found."),
        ("?page=2", 404, "Invalid page."),
        ("?page=0", 404, "Invalid page."),
        ("?page=-1", 404, "Invalid page."),
        ("?page=", 404, "Invalid page."),
        ("?page=x", 404, "Invalid page."),
        ("?page=" + "9" * 5_000, 404, "Invalid page."),
        ("errors/plot-data/?page=2", 404, "Invalid page."),
        ("errors/plot-data/?page=x", 404, "Invalid page."),
        ("?format=xml", 404, "Not found."),
        ("errors/?format=api", 404, "Not found."),
    ],
)
def test_what_there_is_not_is_not_found(gateway: Gateway, path: str, status: int, detail: str) -> None:
    assert failure(gateway, path) == (status, detail)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("nope/plot-data/?started=garbage", 400),
        ("nope/plot-data/?started=PT1H&ended=PT3H", 400),
        ("nope/plot-data/?choice_id=x", 404),
        ("nope/plot-data/?column=nope&group=nope&page=x", 404),
        ("errors/plot-data/?column=nope&page=x", 400),
        ("errors/plot-data/?choice_id=x&page=99", 400),
    ],
)
def test_times_come_before_the_type_the_type_before_the_rest_and_pages_last(
    gateway: Gateway, path: str, status: int
) -> None:
    assert failure(gateway, path)[0] == status


@pytest.mark.parametrize("path", ["", "errors/", "errors/plot-data/"])
@pytest.mark.parametrize("verb", ["POST", "PUT", "PATCH", "DELETE"])
def test_the_api_can_only_be_read(gateway: Gateway, path: str, verb: str) -> None:
    assert failure(gateway, path, verb) == (405, f'Method "{verb}" not allowed.')
    answer = gateway.http.request(verb, f"/v6/metrics/{path}")
    assert answer.headers["allow"] == "GET, HEAD, OPTIONS"


@pytest.mark.parametrize("path", ["", "errors/", "nope/", "errors/plot-data/?started=x"])
def test_who_takes_no_json_is_told_so_before_all_else(gateway: Gateway, path: str) -> None:
    expected = (406, "Could not satisfy the request Accept header.")
    assert failure(gateway, path, accept="text/html;q=0.9, image/*") == expected


def test_a_head_has_no_body_and_options_tell_the_verbs(gateway: Gateway) -> None:
    head = gateway.http.head("/v6/metrics/errors/")
    assert (head.status_code, head.content) == (200, b"")
    assert int(head.headers["content-length"]) == len(gateway.http.get("/v6/metrics/errors/").content)
    assert gateway.http.options("/v6/metrics/errors/").headers["allow"] == "GET, HEAD, OPTIONS"


@pytest.mark.parametrize("path", ["/v5/metrics/", "/v8/metrics/", "/V6/metrics/", "/v6/", "/v7/jobs/", "/v6//metrics/"])
def test_other_versions_and_paths_are_not_found(gateway: Gateway, path: str) -> None:
    assert gateway.http.get(path).status_code == 404


def test_a_path_that_is_not_utf8_is_told(gateway: Gateway) -> None:
    answer = gateway.send_raw(b"GET /v6/metrics/%FF/ HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b'{"detail":"' in answer


@pytest.mark.parametrize(
    "host", [b"", b'evil"><script>', b"evil/path?", b"user:pass@evil", b"evil\\", b"[::1", b"\xff\xfe"]
)
def test_a_host_that_is_none_gets_into_no_link(gateway: Gateway, host: bytes) -> None:
    request = b"GET /v6/metrics/?page_size=1 HTTP/1.1\r\nHost: " + host + b"\r\nConnection: close\r\n\r\n"
    answer = gateway.send_raw(request)
    if answer.startswith(b"HTTP/1.1 200 "):
        assert f'"next":"{gateway.url}/v6/metrics/?page=2&page_size=1"'.encode() in answer
    else:
        assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"evil" not in answer


def test_a_header_in_the_query_stays_in_the_query(gateway: Gateway) -> None:
    answer = gateway.http.get("/v6/metrics?x=%0d%0aSet-Cookie:%20a=b&group=%0d%0aX-Evil:1")
    assert answer.status_code == 301
    assert answer.headers["location"] == "/v6/metrics/?x=%0d%0aSet-Cookie:%20a=b&group=%0d%0aX-Evil:1"
    assert not {"set-cookie", "x-evil"} & answer.headers.keys()
    told = gateway.http.get("/v6/metrics/?page_size=1&x=%0d%0aX-Evil:1").json()
    assert told["next"].endswith("/v6/metrics/?page=2&page_size=1&x=%0D%0AX-Evil%3A1")


def test_reading_needs_a_token_with_its_scope() -> None:
    with running(auth="required") as gateway:
        assert failure(gateway, "")[0] == 403
        assert failure(gateway, "errors/plot-data/?started=P1D", authorization="Bearer nonsense")[0] == 403
        reader, other = (made_token(gateway, f"read:{what}") for what in ("metric_types", "jobs"))
        assert gateway.http.get("/v6/metrics/", headers={"Authorization": f"Bearer {reader}"}).status_code == 200
        status, detail = failure(gateway, "errors/", authorization=f"Bearer {other}")
        assert (status, "read:metric_types" in detail) == (403, True)


def made_token(gateway: Gateway, scope: str) -> str:
    """Returns the secret of a new token with one scope."""
    assert gateway.app.store is not None
    admin = Caller("default", frozenset({"admin"}))
    making = Tokens(gateway.app.store, gateway.clock).create(admin, scopes=[scope])
    _, secret = asyncio.run_coroutine_threadsafe(making, gateway.loop).result(60)
    return secret


def test_a_defect_tells_nothing_of_the_inside() -> None:
    told = tell(Request({"type": "http", "method": "GET", "headers": []}), RuntimeError("secret"))
    assert (told.status_code, json.loads(bytes(told.body))) == (500, {"detail": "A server error occurred."})


def test_a_plot_of_very_many_values_is_as_any_other() -> None:
    with running(limits={"max_response_bytes": 30_000}) as gateway:
        hours = [NOON - hour * HOUR for hour in range(400)]
        files = [ingest(str(at), at=at, size=1, transfer=(at, at), began=at) for at in hours]
        gateway.sources.ReportIngests(sources.ReportIngestsRequest(ingests=files))
        body = gateway.http.get("/v6/metrics/ingests/plot-data/").json()
        assert [len(series["values"]) for series in body["results"]] == [400] * 17
        assert [series["column"]["name"] for series in body["results"]] == [name for name, *_ in COLUMNS["ingests"]]
        assert {series["max_x"] for series in body["results"]} == {"2026-01-01T12:00:00Z"}


def test_a_plot_of_too_many_values_is_refused(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    path = "ingests/plot-data/?started=PT5H&column=total_count&column=errored_count"
    assert gateway.http.get(f"/v6/metrics/{path}").status_code == 200
    monkeypatch.setattr(metric_types, "MAX_VALUES", 11)
    assert failure(gateway, path) == (400, "more than 11 values: ask for fewer columns, choices or bins at once")


def test_a_type_with_very_many_columns_is_asked_for_in_pages(gateway: Gateway) -> None:
    told = pb.MetricType(columns=[column(f"c{place:03}", "SUM") for place in range(200)])
    gateway.metric_types.CreateMetricType(pb.CreateMetricTypeRequest(metric_type_id="wide", metric_type=told))
    found: list[str] = []
    for page in range(1, 6):
        body = gateway.http.get(f"/v6/metrics/wide/plot-data/?page={page}&page_size=45").json()
        assert (body["count"], (body["next"] is None)) == (200, page == 5)
        found += [series["column"]["name"] for series in body["results"]]
    assert found == [one.column for one in told.columns]
    last = gateway.http.get("/v6/metrics/wide/plot-data/?page=last&page_size=45").json()
    assert last == body
