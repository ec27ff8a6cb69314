"""The real Envoy and the gateway answer alike, over the same descriptor set; where they do not, the table says why."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorSet

from tests.gateway.envoy import CONFIGURATION, DESCRIPTOR_SET, ROOT, binary, envoy
from tests.gateway.serving import Gateway, running

JSON = {"content-type": "application/json"}
AT = "2026-01-01T11:00:00Z"
RUN = {"job": "nightly", "runId": "1", "state": "JOB_STATE_RUNNING", "startTime": AT}
WRITE, LATEST = "/v1/metrics:write", "/v1/sources/a/metrics?timeType=TIME_TYPE_LATEST"

OWN_WORDS = "Refused before it is a call: Envoy says so in its own words, without details."
NOT_A_VERB = "Envoy knows no 405: a path with another verb is none."
ENVOY_IGNORES = "Envoy drops what it does not know; the gateway refuses it."
ENVOY_LENIENT = "Envoy reads what is not JSON of this type as if it were."
ENVOY_OVERWRITES = "With Envoy the query wins over the path."
NO_HEAD = "Envoy has neither HEAD nor OPTIONS for a GET, beside the OPTIONS of CORS."


@dataclass(frozen=True)
class Case:
    """A request, and how Envoy's answer differs: not, in all but the status and its code, or in all of it."""

    verb: str
    path: str
    body: Any = None
    headers: dict[str, str] = field(default_factory=lambda: dict(JSON))
    why: str = ""
    statuses: tuple[int, int] | None = None
    """What gateway and Envoy answer where the statuses differ."""

    @property
    def content(self) -> bytes:
        if self.body is None or isinstance(self.body, bytes):
            return self.body or b""
        return json.dumps(self.body).encode()

    def __str__(self) -> str:
        return f"{self.verb} {self.path} {self.content[:60].decode('ascii', 'replace')}".rstrip()


def observed(value: Any, **more: Any) -> dict[str, Any]:
    return {"observations": [{"subject": "sources/a", "time": AT, "values": {"x": value}, **more}]}


SEED = (
    Case("POST", "/v1/sources?source_id=a", {"displayName": "A", "labels": {"team": "x"}}),
    Case("POST", "/v1/sources?sourceId=b", {"display_name": "B"}),
    Case("POST", "/v1/assets", {"urn": "urn:li:table", "labels": {"a": "b"}}),
    Case("POST", WRITE, observed({"int64Value": "9007199254740993"})),
    Case("POST", "/v1/jobs:report", {"reports": [RUN]}),
)
"""What both servers are told first."""

ALIKE = (
    # Paths.
    Case("GET", "/v1/sources/a"),
    Case("GET", "/v1/sources/a/"),
    Case("GET", "/v1/sources/%61"),
    Case("GET", "/v1/sources/nope"),
    Case("GET", "/v1/sources/a%2Fb"),
    Case("GET", "/v1/sources/a%252Fb"),
    Case("GET", "/v1/sources/x:y"),
    Case("GET", "/v1/metricDescriptors/sources/x"),
    Case("GET", "/v1/metricDescriptors/sources/x/y"),
    Case("GET", "/v1/metricDescriptors/sources/x%2Fy"),
    Case("GET", "/v1/metricDescriptors/sources"),
    Case("GET", "/v1/metricDescriptors/sources/x:y"),
    # Queries.
    Case("GET", "/v1/sources?pageSize=1"),
    Case("GET", "/v1/sources?page_size=1&labels=team%3Dx"),
    Case("GET", "/v1/sources?pageSize=-1"),
    Case("GET", "/v1/jobs/nightly/status?maxAge=1.5s"),
    Case("GET", "/v1/assets:get?asset=urn:li:table"),
    Case("GET", "/v1/assets:get?asset=urn:li:a+b"),
    Case("GET", "/v1/assets:metrics?asset=urn:li:table&timeRange.startTime=2026-01-01T10:00:00Z"),
    Case("GET", "/v1/assets:metrics?asset=urn:li:table&time_range.end_time=2026-01-01T10:00:00Z&metrics=a&metrics=b"),
    Case("GET", f"{LATEST}&metrics=x&metrics=byteTotal"),
    Case("GET", "/v1/sources/a/metrics?timeType=3&metrics=x"),
    Case("GET", "/v1/sources/a/metrics?metrics=x&timestampFrom=2026-01-01T10:00:00Z&time_unit=WINDOW_UNIT_HOUR"),
    Case("GET", "/v1/sources/a/metrics?metrics=x&timestampFrom=2026-01-01T12:00:00%2B02:00&timeInterval=15&timeUnit=1"),
    Case("GET", "/v1/sources/a/metrics?timeInterval=0"),
    Case("GET", "/v1/jobs"),
    Case("GET", "/v1/jobs:watch?cursor=nonsense"),
    # Bodies.
    Case("POST", "/v1/sources?sourceId=b", {"displayName": "B"}),
    Case("POST", "/v1/sources?sourceId=c"),
    Case("PATCH", "/v1/sources/b?updateMask=displayName", {"displayName": "B2"}),
    Case("PATCH", "/v1/sources/b?update_mask=display_name,labels", {"name": "sources/b", "display_name": "B3"}),
    Case("PATCH", "/v1/sources/b?updateMask=*", {"displayName": "B4"}),
    Case("PATCH", "/v1/sources/b?updateMask=nope", {"displayName": "B5"}),
    Case("PATCH", "/v1/metricDescriptors/sources/x?updateMask=noValue", {"noValue": -1}),
    Case("DELETE", "/v1/assets:delete?asset=urn:li:none"),
    Case("POST", "/v1/jobs/nightly:stop"),
    Case("POST", "/v1/jobs/none:stop", {"job": "jobs/none", "wait": "1.5s"}),
    Case("POST", "/v1/jobs:stop", {"job": "jobs/none"}),
    Case("POST", "/v1/assets:emitOne", {"asset": "urn:li:table", "metric": "x", "value": "3"}),
    Case("POST", WRITE),
    Case("POST", WRITE, b'{"observations":null}'),
    Case("POST", WRITE, observed({"int64Value": 12345})),
    Case("POST", WRITE, observed({"int64Value": 1e3})),
    Case("POST", WRITE, observed({"doubleValue": 1.5})),
    Case("POST", WRITE, observed({"doubleValue": "NaN"})),
    Case("POST", WRITE, observed({})),
    Case("POST", WRITE, observed({"stringValue": "é€😀"}, part="p=1", startTime="2026-01-01T10:59:59.123456789Z")),
    Case("POST", "/v1/metrics:import", [{"frames": []}]),
    Case("POST", "/v1/metrics:import", [
        {"frames": [{"subject": "sources/a", "timeUnixMicros": ["1767268700000000"],
                     "columns": [{"metric": "x", "ints": {"values": ["1"]}}]}]},
    ]),
)  # fmt: skip

DIFFERENT = (
    Case("GET", "/v1/nope", why=OWN_WORDS),
    Case("GET", "/v1//sources/a", why=OWN_WORDS),
    Case("GET", "/v1/%73ources/a", why=OWN_WORDS),
    Case("POST", "/v1/metrics%3Awrite", {}, why=OWN_WORDS),
    Case("GET", "/v1/sources/a?nope=1", why=OWN_WORDS),
    Case("GET", "/v1/sources?pageSize=x", why=OWN_WORDS),
    Case("GET", "/v1/sources?pageSize=", why=OWN_WORDS),
    Case("GET", "/v1/sources?pageSize=99999999999", why=OWN_WORDS),
    Case("GET", "/v1/sources/a/metrics?timeType=LATEST", why=OWN_WORDS),
    Case("GET", "/v1/sources/a/metrics?timeType=time_type_latest", why=OWN_WORDS),
    Case("GET", "/v1/sources/a/metrics?timestampFrom=2026-01-01T10:00:00+02:00", why=OWN_WORDS),
    Case("GET", "/v1/assets:metrics?asset=urn:li:table&timeRange=x", why=OWN_WORDS),
    Case("GET", "/v1/assets:get?asset.name=x", why=OWN_WORDS),
    Case("GET", "/v1/jobs/nightly/status?maxAge=1m", why=OWN_WORDS),
    Case("PATCH", "/v1/sources/a", {"name": "sources/b"}, why=OWN_WORDS),
    Case("POST", "/v1/jobs/x:stop", {"job": "jobs/y"}, why=OWN_WORDS),
    Case("POST", WRITE, observed({"int64Value": "1.5"}), why=OWN_WORDS),
    Case("POST", WRITE, observed({"int64Value": "99999999999999999999"}), why=OWN_WORDS),
    Case("POST", WRITE, observed({"doubleValue": 1, "int64Value": "1"}), why=OWN_WORDS),
    Case("POST", WRITE, observed({}, startTime="yesterday"), why=OWN_WORDS),
    Case("POST", WRITE, b'{"observations":[{"values":{"x":{"doubleValue":NaN}}}]}', why=OWN_WORDS),
    Case("POST", WRITE, b'{"observations":[{"subject":"\xff"}]}', why=OWN_WORDS),
    Case("POST", WRITE, b"{", why=OWN_WORDS),
    Case("POST", WRITE, b"{} {}", why=OWN_WORDS),
    Case("POST", WRITE, [], why=OWN_WORDS),
    Case("POST", WRITE + "?x=1", {}, why=OWN_WORDS),
    Case("GET", "/v1/sources/%ff", why="Envoy sends the bytes on, and the server cannot parse them."),
    Case("GET", "/v1/sources/%zz", why="Envoy takes a stray % as itself."),
    Case("GET", "/v1/sources?pageSize=2147483648", why=OWN_WORDS),
    Case("GET", "/v1/sources/a/metrics?timeType=77", why=OWN_WORDS),
    Case("POST", WRITE, {"nope": 1}, why=ENVOY_IGNORES),
    Case("POST", WRITE, observed({"nope": 1}), why=ENVOY_IGNORES, statuses=(400, 200)),
    Case("POST", WRITE, b'{"observations":[],"observations":[]}', why=ENVOY_LENIENT),
    Case("POST", WRITE, b'{"observations":[null]}', why=ENVOY_LENIENT),
    Case("POST", WRITE, {"observations": {}}, why=ENVOY_LENIENT, statuses=(400, 200)),
    Case("POST", WRITE, {}, {"content-type": "text/plain"}, why=ENVOY_LENIENT, statuses=(415, 400)),
    Case("POST", "/v1/metrics:import", {"frames": []}, why="Envoy takes the messages of a stream as an array alone."),
    Case("GET", "/v1/sources//", why="Envoy drops slashes at the end, however many.", statuses=(404, 200)),
    Case("GET", "/v1/sources/a?name=sources/b", why=ENVOY_OVERWRITES, statuses=(400, 200)),
    Case("GET", "/v1/sources?pageSize=1&pageSize=2", why="With Envoy the last one wins.", statuses=(400, 200)),
    Case("POST", "/v1/sources?sourceId=a&source.displayName=Q", {}, why=ENVOY_OVERWRITES, statuses=(400, 409)),
    Case("GET", "/v1/assets:metrics?asset=urn:li:table&timeRange.startTime.seconds=1",
         why="Envoy looks into a time.", statuses=(400, 200)),
    Case("DELETE", "/v1/assets:delete?asset=urn:li:none", {}, why=ENVOY_IGNORES, statuses=(400, 404)),
    Case("PUT", "/v1/sources/a", {}, why=NOT_A_VERB, statuses=(405, 404)),
    Case("GET", WRITE, why=NOT_A_VERB, statuses=(405, 404)),
    Case("DELETE", "/v1/jobs/nightly:stop", why=NOT_A_VERB, statuses=(405, 404)),
    Case("HEAD", "/v1/sources/a", why=NO_HEAD, statuses=(200, 404)),
    Case("OPTIONS", "/v1/sources/a", why=NO_HEAD, statuses=(204, 404)),
)  # fmt: skip


@dataclass(frozen=True)
class Sides:
    """The gateway of one server and Envoy before another one, which were told the same."""

    ours: httpx.Client
    envoy: httpx.Client

    def ask(self, case: Case) -> tuple[httpx.Response, httpx.Response]:
        return ask(self.ours, case), ask(self.envoy, case)


def ask(client: httpx.Client, case: Case) -> httpx.Response:
    url = client.base_url.copy_with(raw_path=case.path.encode())
    headers = case.headers if case.body is not None else {}
    return client.request(case.verb, url, content=case.content, headers=headers)


def answer(response: httpx.Response) -> Any:
    """Returns the body of an answer without what no two answers share."""
    told = response.json() if response.content else None
    for detail in told.get("details", ()) if isinstance(told, dict) else ():
        detail.get("metadata", {}).pop("request_id", None)
    return told


@contextmanager
def fronted(server: Gateway, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    with envoy(server.app.address, tmp_path_factory.mktemp("envoy")) as url, httpx.Client(base_url=url) as client:
        yield client


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sides]:
    binary()
    with running() as server, running() as behind, fronted(behind, tmp_path_factory) as client:
        both = Sides(server.http, client)
        for case in SEED:
            ours, envoys = both.ask(case)
            assert (ours.status_code, envoys.status_code) == (200, 200), (case, ours.text, envoys.text)
        yield both


@pytest.mark.parametrize("case", ALIKE, ids=str)
def test_envoy_and_the_gateway_answer_the_same(sides: Sides, case: Case) -> None:
    ours, envoys = sides.ask(case)
    assert (ours.status_code, answer(ours)) == (envoys.status_code, answer(envoys))
    assert ours.headers["content-type"] == envoys.headers["content-type"] == "application/json"


@pytest.mark.parametrize("case", DIFFERENT, ids=str)
def test_envoy_and_the_gateway_differ_as_the_table_says(sides: Sides, case: Case) -> None:
    ours, envoys = sides.ask(case)
    told, envoy_told = answer(ours), answer(envoys)
    assert told != envoy_told or case.statuses is not None, "they are alike now: move the case"
    if case.statuses is None:
        assert ours.status_code == envoys.status_code >= 400
        assert told["code"] == envoy_told["code"]
    else:
        assert (ours.status_code, envoys.status_code) == case.statuses


def test_streams_have_the_same_lines(sides: Sides) -> None:
    lines = []
    for client in (sides.ours, sides.envoy):
        with client.stream("GET", "/v1/jobs:watch?includeCurrent=true") as response:
            assert response.status_code == 200
            (change,) = json.loads(next(response.iter_lines()))["changes"]
            lines.append(change)
    assert lines[0]["job"] == "jobs/nightly"
    assert lines[0] == lines[1]


def test_a_page_of_another_origin_may_ask_envoy(sides: Sides) -> None:
    asked = {"Origin": "https://ui.example", "Access-Control-Request-Method": "POST"}
    allowed = sides.envoy.options(WRITE, headers=asked)
    assert allowed.status_code == 200
    assert allowed.headers["access-control-allow-origin"] == "https://ui.example"
    assert (
        "access-control-allow-origin"
        not in sides.envoy.options(WRITE, headers={**asked, "Origin": "https://x"}).headers
    )


def test_grpc_web_passes_through_envoy(sides: Sides) -> None:
    response = sides.envoy.post(
        "/streamgauge.v1.ServerService/GetServerInfo",
        content=b"\0\0\0\0\0",
        headers={"content-type": "application/grpc-web+proto", "x-grpc-web": "1"},
    )
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/grpc-web+proto"
    assert b"grpc-status:0" in response.content


def test_the_shipped_configuration_is_valid() -> None:
    done = subprocess.run(
        [binary(), "--mode", "validate", "-c", str(CONFIGURATION)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_the_shipped_configuration_has_every_service() -> None:
    described = FileDescriptorSet.FromString(DESCRIPTOR_SET.read_bytes())
    services = {f"{file.package}.{service.name}" for file in described.file for service in file.service}
    listed = re.findall(r"^ +- (streamgauge\.v1\.\w+)$", CONFIGURATION.read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(listed) == sorted(services)
