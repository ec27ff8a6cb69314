"""REST over real HTTP: requests of every shape, what refusals look like, and streams in both directions."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from google.protobuf import json_format
from google.rpc import error_details_pb2, status_pb2
from streamgauge.v1 import job_service_pb2, source_service_pb2

from tests.gateway.serving import NOON, Gateway, running

JSON = {"content-type": "application/json"}
WRITE = "/v1/metrics:write"
AT = "2026-01-01T11:00:00Z"


def refusal(response: httpx.Response) -> tuple[str, dict[str, str]]:
    """Returns the reason of a refusal and what is wrong by field; its body must be a google.rpc.Status."""
    status = json_format.Parse(response.text, status_pb2.Status())
    info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    for detail in status.details:
        detail.Unpack(info) or detail.Unpack(bad)
    assert info.domain == "streamgauge"
    assert info.metadata["request_id"] == response.headers["x-request-id"]
    return info.reason, {violation.field: violation.description for violation in bad.field_violations}


def frame(subject: str, *values: int) -> dict[str, Any]:
    times = [str(NOON - 1_000_000 * (position + 1)) for position in range(len(values))]
    column = {"metric": "x", "ints": {"values": [str(value) for value in values]}}
    return {"frames": [{"subject": subject, "timeUnixMicros": times, "columns": [column]}]}


def watchers(gateway: Gateway) -> float:
    """Returns how many calls of WatchJobs are under way at the server."""
    wanted = 'grpc_server_in_flight{grpc_method="WatchJobs"'
    lines = gateway.http.get("/metrics").text.splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(wanted))


def eventually(condition: Any) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true within 10 s"
        time.sleep(0.01)


def test_a_subject_is_created_read_changed_listed_and_deleted(gateway: Gateway) -> None:
    created = gateway.http.post("/v1/sources?sourceId=life", json={"displayName": "L", "labels": {"team": "x"}})
    assert created.status_code == 200
    assert created.headers["content-type"] == "application/json"
    assert created.json()["source"] == {
        "name": "sources/life", "number": created.json()["source"]["number"], "displayName": "L",
        "labels": {"team": "x"}, "etag": created.json()["source"]["etag"],
        "createTime": "2026-01-01T12:00:00Z", "updateTime": "2026-01-01T12:00:00Z",
    }  # fmt: skip
    assert gateway.http.get("/v1/sources/life").json() == created.json()
    changed = gateway.http.patch("/v1/sources/life?updateMask=displayName", json={"displayName": "M"}).json()
    assert (changed["source"]["displayName"], changed["source"]["labels"]) == ("M", {"team": "x"})
    assert (
        gateway.sources.GetSource(source_service_pb2.GetSourceRequest(name="sources/life")).source.display_name == "M"
    )
    listed = gateway.http.get("/v1/sources?labels=team%3Dx&page_size=5").json()
    assert [source["name"] for source in listed["sources"]] == ["sources/life"]
    gone = gateway.http.delete("/v1/sources/life")
    assert (gone.status_code, gone.json()) == (200, {})
    assert gateway.http.get("/v1/sources/life").status_code == 404


def test_a_body_may_be_the_whole_request_and_a_post_may_have_none(gateway: Gateway) -> None:
    observation = {"subject": "sources/whole", "time": AT, "values": {"x": {"int64Value": "9007199254740993"}}}
    assert gateway.http.post(WRITE, json={"observations": [observation]}).json() == {"acceptedCount": "1"}
    latest = gateway.http.get("/v1/sources/whole/metrics?time_type=TIME_TYPE_LATEST&metrics=x").json()["latest"]
    assert [value["value"] for value in latest] == [{"int64Value": "9007199254740993"}]
    reason, wrong = refusal(gateway.http.post(WRITE))
    assert (reason, list(wrong)) == ("INVALID_FIELD", ["observations"])


def test_refusals_of_the_server_keep_their_details(gateway: Gateway) -> None:
    missing = gateway.http.get("/v1/sources/none", headers={"X-Request-Id": "mine"})
    assert missing.status_code == 404
    assert missing.headers["x-request-id"] == "mine"
    assert missing.json() == {
        "code": 5,
        "message": "there is no sources/none",
        "details": [
            {
                "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                "reason": "SOURCE_NOT_FOUND",
                "domain": "streamgauge",
                "metadata": {"name": "sources/none", "request_id": "mine"},
            }
        ],
    }
    reason, wrong = refusal(gateway.http.get("/v1/sources?pageSize=-1"))
    assert (reason, list(wrong)) == ("INVALID_FIELD", ["page_size"])


def test_the_gateways_own_refusals_have_the_same_shape_and_tell_everything(gateway: Gateway) -> None:
    response = gateway.http.patch(
        "/v1/sources/a?updateMask=x%20y&nope=1", json={"name": "sources/b", "displayName": 5, "other": 1}
    )
    assert response.status_code == 400
    reason, wrong = refusal(response)
    assert reason == "INVALID_FIELD"
    assert wrong == {
        "source.display_name": "must be a string, is 5",
        "source.other": "is no field of Source",
        "source.name": "is 'sources/b' in the body and 'sources/a' in the path",
        "updateMask": "must be the names of fields with commas between them, is 'x y'",
        "nope": "is no field of UpdateSourceRequest",
    }
    assert response.json()["message"] == "source.display_name: must be a string, is 5 (and 4 more)"


def test_of_very_many_violations_the_first_are_told_and_the_others_counted(gateway: Gateway) -> None:
    response = gateway.http.post(WRITE, json={f"nope{number}": 1 for number in range(60)})
    assert len(refusal(response)[1]) == 50
    assert response.json()["details"][0]["metadata"]["violations_omitted"] == "10"


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"{", "the body is not JSON"),
        (b"{} {}", "the body is not JSON"),
        (b'{"observations":[],"observations":[]}', "the body is not JSON: an object has the name 'observations' twice"),
        (b'{"a":{"x":1,"x":1}}', "the body is not JSON: an object has the name 'x' twice"),
        (b'{"x":NaN}', "the body is not JSON: NaN is no number"),
        (b'{"x":-Infinity}', "the body is not JSON: -Infinity is no number"),
        (b'{"x":' + b"9" * 5_000 + b"}", "the body is not JSON"),
        (b'{"x":"\xff"}', "the body is not UTF-8 at byte 6"),
        (b"\xef\xbb\xbf{}", "the body is not JSON: Unexpected UTF-8 BOM"),
        (b"\xff\xfe{\0}\0", "the body is not UTF-8 at byte 0"),
        (b"[" * 100_000, "the body is nested too deeply"),
        (b'{"x":' * 100_000, "the body is nested too deeply"),
        (b"[]", "the body must be an object, is an array"),
        (b"null", "the body must be an object, is null"),
        (b'"x"', "the body must be an object, is 'x'"),
    ],
)  # fmt: skip
def test_a_body_that_can_be_read_in_two_ways_or_in_none_is_refused(gateway: Gateway, body: bytes, told: str) -> None:
    response = gateway.http.post(WRITE, content=body, headers=JSON)
    assert response.status_code == 400
    reason, wrong = refusal(response)
    assert reason == "INVALID_FIELD"
    assert wrong[""].startswith(told)


def test_what_a_refusal_quotes_is_cut_and_made_text(gateway: Gateway) -> None:
    wrong = refusal(gateway.http.post(WRITE, content=b'{"\\ud800":1,"' + b"n" * 5_000 + b'":2}', headers=JSON))[1]
    assert sorted(wrong) == ["?", "n" * 64]
    wrong = refusal(gateway.http.post("/v1/jobs:stop", json={"wait": "s" * 5_000}))[1]
    assert len(wrong["wait"]) < 200


@pytest.mark.parametrize(
    ("headers", "told"),
    [
        ({}, "the body must be of content type application/json, is of none"),
        ({"content-type": "text/plain"}, "the body must be of content type application/json, is text/plain"),
        ({"content-type": "application/json; charset=latin-1"}, "the body must be UTF-8, is latin-1"),
        ({"content-type": "application/json", "content-encoding": "gzip"}, "a compressed body is not read"),
    ],
)
def test_other_content_types_are_refused(gateway: Gateway, headers: dict[str, str], told: str) -> None:
    response = gateway.http.post(WRITE, content=b"{}", headers=headers)
    assert response.status_code == 415
    assert response.json()["message"].startswith(told)


def test_a_content_type_may_say_that_it_is_utf_8(gateway: Gateway) -> None:
    headers = {"content-type": 'Application/JSON; charset="UTF-8"'}
    assert refusal(gateway.http.post(WRITE, content=b"{}", headers=headers))[1].keys() == {"observations"}


def test_a_body_where_none_is_taken_is_refused(gateway: Gateway) -> None:
    response = gateway.http.request("DELETE", "/v1/assets:delete?asset=urn:x:y", json={"asset": "urn:x:z"})
    assert refusal(response)[1] == {"": "a body is not taken: everything is in the path and the query"}


def test_paths_that_are_none_and_verbs_that_they_do_not_have(gateway: Gateway) -> None:
    assert gateway.http.get("/v1/nope").json() == {"code": 5, "message": "there is nothing at this path"}
    response = gateway.http.put("/v1/sources/a")
    assert (response.status_code, response.json()["code"]) == (405, 12)
    assert response.headers["allow"] == "DELETE, GET, HEAD, OPTIONS, PATCH"
    response = gateway.http.get("/v1/sources/%ff")
    assert (response.status_code, refusal(response)[0]) == (400, "INVALID_FIELD")


@pytest.mark.parametrize("path", ["/v1/jobs/nightly:stop", "/v1/metricTypes/nightly:recalculate"])
def test_a_path_that_ends_in_a_verb_is_never_the_name_of_something(gateway: Gateway, path: str) -> None:
    response = gateway.http.delete(path)
    assert (response.status_code, response.headers["allow"]) == (405, "OPTIONS, POST")


def test_deprecated_methods_say_so(gateway: Gateway) -> None:
    emit = {"asset": "urn:li:old", "metric": "x", "value": "3"}
    assert gateway.http.post("/v1/assets:emitOne", json=emit).headers["deprecation"] == "@1795305600"
    assert "deprecation" not in gateway.http.get("/v1/server").headers


def test_who_must_show_a_token_is_told_how() -> None:
    with running(auth="required") as gateway:
        missing = gateway.http.get("/v1/sources")
        assert (missing.status_code, refusal(missing)[0]) == (401, "TOKEN_MISSING")
        assert missing.headers["www-authenticate"] == 'Bearer realm="streamgauge"'
        wrong = gateway.http.get("/v1/sources", headers={"Authorization": "Bearer sg_nonsense"})
        assert (wrong.status_code, refusal(wrong)[0]) == (401, "TOKEN_INVALID")
        assert wrong.headers["www-authenticate"] == 'Bearer realm="streamgauge", error="invalid_token"'


@pytest.fixture(scope="module")
def import_bodies() -> dict[str, tuple[bytes, str]]:
    """Bodies with the same two messages, but the one, which has the first alone, and their content types."""
    first, second = (json.dumps(frame("sources/imported", *values)) for values in ((1,), (2, 3)))
    return {
        "one": (first.encode(), "application/json"),
        "array": (f"[{first},{second}]".encode(), "application/json"),
        "lines": (f"{first}\n\r\n{second}\n".encode(), "application/x-ndjson"),
        "unended": (f"{first}\n{second}".encode(), "application/x-ndjson"),
    }


@pytest.mark.parametrize(("kind", "frames"), [("one", "1"), ("array", "2"), ("lines", "2"), ("unended", "2")])
def test_a_stream_of_messages_comes_as_one_an_array_or_lines(
    gateway: Gateway, import_bodies: dict[str, tuple[bytes, str]], kind: str, frames: str
) -> None:
    body, content_type = import_bodies[kind]

    def pieces() -> Iterator[bytes]:
        yield from (body[at : at + 7] for at in range(0, len(body), 7))

    response = gateway.http.post("/v1/metrics:import", content=pieces(), headers={"content-type": content_type})
    assert response.status_code == 200, response.text
    assert response.json()["acceptedFrameCount"] == frames


def test_a_wrong_message_of_a_stream_is_told_by_its_position(gateway: Gateway) -> None:
    good, bad = frame("sources/imported", 1), {"frames": [{"subject": 5}]}
    array = gateway.http.post("/v1/metrics:import", json=[bad, good, {"nope": 1}])
    assert refusal(array)[1] == {
        "[0].frames[0].subject": "must be a string, is 5",
        "[2].nope": "is no field of ImportMetricsRequest",
    }
    lines = "\n".join(json.dumps(message) for message in (good, bad))
    response = gateway.http.post("/v1/metrics:import", content=lines, headers={"content-type": "application/x-ndjson"})
    assert refusal(response)[1] == {"[1].frames[0].subject": "must be a string, is 5"}
    response = gateway.http.post("/v1/metrics:import", content="{", headers={"content-type": "application/x-ndjson"})
    assert refusal(response)[1][""].startswith("line 0 is not JSON")
    assert refusal(gateway.http.post("/v1/metrics:import?x=1", json=good))[1].keys() == {"x"}


def test_a_stream_that_the_server_refuses_ends_before_all_of_it_is_sent(gateway: Gateway) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(1_000):
            yield b'{"frames":[]}\n' * 10

    response = gateway.http.post(
        "/v1/metrics:import", content=endless(), headers={"content-type": "application/x-ndjson"}
    )
    assert refusal(response)[1].keys() == {"frames"}


def test_a_server_stream_is_a_line_per_message_as_they_come(gateway: Gateway) -> None:
    report = {"job": "watched", "runId": "1", "state": "JOB_STATE_RUNNING"}
    with gateway.http.stream("GET", "/v1/jobs:watch?includeCurrent=true&heartbeat=300s") as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "application/x-ndjson"
        lines = answer.iter_lines()
        cursor = json.loads(next(lines))["cursor"]
        gateway.http.post("/v1/jobs:report", json={"reports": [report]})
        (change,) = json.loads(next(lines))["changes"]
        assert (change["job"], change["state"]) == ("jobs/watched", "JOB_STATE_RUNNING")
    with gateway.http.stream("GET", f"/v1/jobs:watch?cursor={cursor}") as answer:
        assert next(told["changes"] for told in map(json.loads, answer.iter_lines()) if "changes" in told) == [change]


def test_a_stream_that_fails_before_its_first_message_is_an_ordinary_refusal(gateway: Gateway) -> None:
    response = gateway.http.get("/v1/jobs:watch?heartbeat=0.1s")
    assert response.status_code == 400
    assert refusal(response)[1].keys() == {"heartbeat"}


def test_the_call_ends_when_the_client_goes(gateway: Gateway) -> None:
    eventually(lambda: watchers(gateway) == 0)
    with gateway.http.stream("GET", "/v1/jobs:watch?heartbeat=300s&includeCurrent=true") as answer:
        lines = answer.iter_lines()
        next(lines)
        eventually(lambda: watchers(gateway) == 1)
    eventually(lambda: watchers(gateway) == 0)


def test_the_call_ends_when_the_client_goes_before_there_is_a_message(gateway: Gateway) -> None:
    eventually(lambda: watchers(gateway) == 0)
    with gateway.connect() as connection:
        connection.sendall(b"GET /v1/jobs:watch?heartbeat=300s HTTP/1.1\r\nHost: x\r\n\r\n")
        eventually(lambda: watchers(gateway) == 1)
    eventually(lambda: watchers(gateway) == 0)


def test_a_stream_that_breaks_says_why_in_its_last_line() -> None:
    with running() as gateway:
        gateway.jobs.CreateJob(job_service_pb2.CreateJobRequest(job=job_service_pb2.Job(job_name="a"), job_id="a"))
        with gateway.http.stream("GET", "/v1/jobs:watch?includeCurrent=true&heartbeat=300s") as answer:
            lines = answer.iter_lines()
            next(lines)
            stopped = asyncio.run_coroutine_threadsafe(gateway.app.stop(grace=10), gateway.loop)
            error = json.loads(list(lines)[-1])["error"]
            stopped.result(30)
    assert error["code"] == 14
    assert error["details"][0]["reason"] == "SHUTTING_DOWN"
