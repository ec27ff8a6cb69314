"""What nobody sends by accident: never a 5xx, never a word of another subject, never a write to one.

A row more is a line in one of the tables: `READS` and `WRITES` are paths with `{}` for the name of a subject, each with
the name of the subject that must not be reached; `QUERIES`, `BODIES` and `HEADERS` are tried on all of them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from urllib.parse import quote

import pytest
from google.protobuf.message import Message
from streamgauge.v1 import (
    asset_metric_service_pb2,
    job_service_pb2,
    metric_type_service_pb2,
    metrics_service_pb2,
    source_service_pb2,
)

from tests.gateway.serving import Gateway, running
from tests.rpc.emit_messages import metric
from tests.rpc.emit_messages import request as emit
from tests.rpc.job_messages import report
from tests.rpc.messages import MINUTE, NOW, row, write

SECRET = "424242"
VALUES = {"byteTotal": int(SECRET), "StreamingMilliSecondsBehindSource": int(SECRET)}
URN = "urn:li:victim"

READS = [
    ("/v1/sources/{}", "victim"),
    ("/v1/sources/{}/metrics", "victim"),
    ("/v1/jobs/{}", "victim"),
    ("/v1/jobs/{}/status", "victim"),
    ("/v1/jobs/{}/statusAndMetrics", "victim"),
    ("/v1/jobs/{}/exceptions", "victim"),
    ("/v1/jobs/{}/runs", "victim"),
    ("/v1/metricTypes/{}", "victim"),
    ("/v1/metricTypes/{}/plotData", "victim"),
    ("/v1/assets/{}", URN),
    ("/v1/assets/{}/metrics", URN),
    ("/v1/metricDescriptors/source/{}", "byteTotal"),
    ("/sources/{}/metrics", "victim"),
    ("/job/{}/status", "victim"),
    ("/job/{}/statusAndMetrics", "victim"),
    ("/job/{}/exceptions", "victim"),
    ("/jobs/{}/exceptions", "victim"),
    ("/v6/metrics/{}/", "victim"),
    ("/v7/metrics/{}/plot-data/", "victim"),
    ("/api/xdg/v1/asset/{}/metric", URN),
]
WRITES = [
    ("DELETE", "/v1/sources/{}", "victim", b""),
    ("PATCH", "/v1/sources/{}", "victim", b'{"displayName":"overwritten"}'),
    ("DELETE", "/v1/jobs/{}", "victim", b""),
    ("POST", "/v1/jobs/{}:stop", "victim", b"{}"),
    ("POST", "/job/{}/stop", "victim", b""),
    ("DELETE", "/v1/metricTypes/{}", "victim", b""),
    ("POST", "/v1/metricTypes/{}:recalculate", "victim", b"{}"),
    ("DELETE", "/v1/assets/{}", URN, b""),
    ("POST", "/v1/assets/{}:deleteMetrics", URN, b"{}"),
    ("POST", "/api/xdg/v1/asset/{}/metric", URN, b'{"metrics":[{"name":"rows","value":1}]}'),
]
OTHERS = [
    ("POST", "/v1/metrics:write"),
    ("POST", "/v1/metrics:query"),
    ("POST", "/v1/metrics:import"),
    ("POST", "/v1/metrics:latest"),
    ("POST", "/v1/sources"),
    ("POST", "/v1/sources:reportIngests"),
    ("POST", "/v1/jobs:report"),
    ("POST", "/v1/assets:emit"),
    ("POST", "/v1/assets:batchEmit"),
    ("POST", "/v1/tokens"),
    ("GET", "/v1/jobs:watch"),
    ("GET", "/v1/sources"),
    ("GET", "/jobs/overview"),
    ("GET", "/metainfo/getVersion/"),
    ("GET", "/v7/metrics/"),
    ("GET", "/openapi.json"),
    ("GET", "/docs"),
    ("GET", "/healthz"),
    ("GET", "/readyz"),
    ("GET", "/metrics"),
]


def spellings(name: str) -> Iterator[str]:
    """Yields what must not be taken for a name; `%76ictim`, which is the name, is not among them."""
    first, rest = name[0], name[1:]
    hexed = f"{ord(first):02x}"
    plain = quote(name, safe="")
    yield from (f"x%2F..%2F{plain}", f"x/../{plain}", f"./{plain}", f"../{plain}", f"%2e%2e/{plain}", f"..%2F{plain}")
    yield from (f"%2F{plain}", f"{plain}%2F", f"/{plain}", f"{plain}%5C", f"x%5C..%5C{plain}")
    yield from (f"{plain}%00", f"%00{plain}", f"{plain}%20", f"%20{plain}", f"{plain}%09", f"{plain}%7F", f"+{plain}")
    yield from (
        f"{plain}%0D%0AX-Injected:%201",
        f"{plain}%0A",
        f"{plain}%C2%85",
        f"{plain}%E2%80%AE",
        f"%EF%BB%BF{plain}",
    )
    yield from (f"%25{hexed}{rest}", f"%2525{hexed}{rest}", f"%25{plain}", f"%u00{hexed}{rest}")
    yield from (f"%zz{plain}", "%", f"{plain}%", f"{plain}%7", f"%ff{plain}", f"%C3{plain}", f"%ED%A0%80{plain}")
    yield f"%{0xC0 | ord(first) >> 6:02x}%{0x80 | ord(first) & 0x3F:02x}{rest}"
    yield from (f"{plain};x=1", f"{plain}%3Bx", f"{plain}%3Fx=1", f"{plain}%23x", f"{plain}%3Astop", f"{plain}%26a=b")
    yield from (name.upper(), plain + "%CC%81", "".join(quote(chr(ord(letter) + 0xFEE0)) for letter in name))
    yield from (
        "*",
        "**",
        "%2A",
        "-",
        "_",
        ".",
        "..",
        "%2e",
        "%2e%2e",
        "{name}",
        "%7Bname%7D",
        "'",
        "%22",
        "%27%20OR%201=1--",
    )
    yield from ("x" * 5_000, "%F0%9F%92%A9" * 300, "/".join("x" * 500), f"{plain},{plain}", f"sources%2F{plain}")


QUERIES = [
    "?",
    "&&&===",
    "%",
    "%zz=%zz",
    "%ff=%ff",
    "a=%00",
    "%00=a",
    "=x",
    "a" * 20_000,
    "&".join(f"a{number}=b" for number in range(3_000)),
    "name=sources/victim",
    "source=sources/victim",
    "job=jobs/victim&uuid=victim",
    "asset=" + URN,
    "parent=metricTypes/victim",
    "startTime=NaN&start_time=0",
    "start_time=-1&end_time=99999999999999999999",
    "start_time=9999-12-31T23:59:60Z&end_time=0000-00-00T00:00:00Z",
    "time_from=1e400&time_to=-1e400",
    "timestamp_start=99999999999999999999&timestamp_end=nan",
    "started=P99999999999999Y&ended=PT-1S",
    "started=%2B&ended=%EF%BC%91",
    "page=0&page=-1",
    "page=99999999999999999999999",
    "page=%D9%A1&page_size=inf&limit=-1&offset=x",
    "page_size=2147483648&pageSize=-1",
    "page_token=%00%ff&pageToken=" + "A" * 5_000,
    "choice=1&choice=2&choice=x&choices=,,,",
    "choice_id=" + ",".join(map(str, range(2_000))),
    "unit=%2Fetc%2Fpasswd&time_unit=;drop",
    "metrics=" + "a," * 2_000,
    "format=xml&callback=%3Cscript%3E",
    "timeout=-1&alt=json&$alt=x&%24fields=*",
    "x.y.z[0]=1&labels[a]=b&labels.a=b",
    "range.startTime=2026-01-01T00:00:00Z&range.startTime=2026-01-02T00:00:00Z",
]
BODIES = [
    b"",
    b" ",
    b"{",
    b"}",
    b"[]",
    b"null",
    b"true",
    b"0",
    b'"x"',
    b"\x00",
    b"\xff\xfe",
    b'\xef\xbb\xbf{"a":1}',
    '{"a":"ü"}'.encode("utf-16"),
    b'{"a":1,"a":2}',
    b'{"metrics":[],"metrics":[]}',
    b'{"observations":[],"observations":[{"subject":"sources/victim"}]}',
    b'{"asset":"assets/x","asset":"' + URN.encode() + b'"}',
    b"[" * 50_000,
    b'{"a":' * 50_000,
    b"[" * 200 + b"]" * 200,
    b'{"a":NaN,"b":Infinity,"c":-Infinity}',
    b'{"value":1e999999999}',
    b'{"value":' + b"9" * 6_000 + b"}",
    b'{"value":-0.0e-999999999}',
    b'{"a":"\\ud800"}',
    b'{"\\u0000":"\\u0000"}',
    b'{"a":"\\u0000\\r\\nX-Injected: 1"}',
    b'{"name":"sources/victim\\u0000"}',
    b'{"a":"' + b"x" * 100_000 + b'"}',
    b'{"@type":"type.googleapis.com/streamgauge.v1.Source"}',
    b'{"observations":[{"subject":"sources/x/../victim","values":{"byteTotal":{"int64Value":"1"}}}]}',
    b'{"observations":[{"subject":"sources/victim\\u0000","values":{"byteTotal":{"int64Value":"1"}}}]}',
    b"\n\n\n{}\n{]\n",
    b"a=b&c=d",
    b"<?xml version='1.0'?><!DOCTYPE a [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><a>&x;</a>",
]
HEADERS = [
    b"X-Request-Id: a\tb",
    b"X-Request-Id: \xff\xfe",
    b"X-Request-Id: " + b"x" * 10_000,
    b"X-Request-Id: a%0d%0aX-Injected: 1",
    b"X-Request-Id: a\r\nX-Request-Id: b c",
    b"Authorization: Bearer \xff",
    b"Authorization: " + b"x" * 20_000,
    b"Authorization: \x7f",
    b"Authorization: Bearer a\r\nAuthorization: Bearer b",
    b"Grpc-Timeout: 99999999H",
    b"Grpc-Timeout: \xff",
    b"Grpc-Metadata-Authorization: Bearer a",
    b"Accept: application/xml",
    b"Accept: " + b"a/b," * 3_000,
    b"Accept: */*;q=\xff",
    b"Accept-Encoding: gzip;q=nan, br, \xff",
    b"Content-Type: application/json; charset=\xff",
    b"Content-Type: multipart/form-data; boundary=" + b"x" * 200,
    b"Content-Type: ",
    b"Content-Encoding: gzip",
    b"Range: bytes=0-0,1-1,2-99999999999999999999",
    b"If-None-Match: " + b'"a",' * 1_000,
    b"X-HTTP-Method-Override: DELETE",
    b"X-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Proto: javascript\r\nX-Forwarded-Prefix: //evil.example",
    b"Origin: null\r\nAccess-Control-Request-Method: DELETE",
    b"Cookie: " + b"a=b; " * 2_000,
    b"Te: trailers\r\nTrailer: authorization",
    b"\r\n".join(b"X-%d: y" % number for number in range(150)),
]


@pytest.fixture(scope="module")
def target() -> Iterator[Gateway]:
    with running(http={"max_body_bytes": 200_000}) as gateway:
        gateway.metrics.WriteMetrics(write(row(VALUES, subject="sources/victim", at=NOW - MINUTE)))
        victim = source_service_pb2.Source(name="sources/victim", display_name=SECRET)
        gateway.sources.UpdateSource(source_service_pb2.UpdateSourceRequest(source=victim))
        gateway.assets.EmitAssetMetrics(emit(metric("rows", int(SECRET)), asset=URN))
        reports = [
            report("jobs/victim", metrics={"numRestarts": int(SECRET)}, exceptions=[f"java.lang.Error: {SECRET}"])
        ]
        gateway.jobs.ReportJob(job_service_pb2.ReportJobRequest(reports=reports))
        yield gateway


def stored(gateway: Gateway) -> list[Message]:
    """Returns what is known of the victims."""
    return [
        gateway.sources.GetSource(source_service_pb2.GetSourceRequest(name="sources/victim")),
        gateway.sources.GetSourceMetrics(source_service_pb2.GetSourceMetricsRequest(source="sources/victim")),
        gateway.assets.ListAssetMetrics(asset_metric_service_pb2.ListAssetMetricsRequest(asset=URN)),
        gateway.jobs.GetJob(job_service_pb2.GetJobRequest(job="jobs/victim")),
        gateway.jobs.GetJobStatus(job_service_pb2.GetJobStatusRequest(job="jobs/victim")),
        gateway.metrics.ListMetricDescriptors(metrics_service_pb2.ListMetricDescriptorsRequest()),
        gateway.metric_types.ListMetricTypes(metric_type_service_pb2.ListMetricTypesRequest()),
    ]


def ask(gateway: Gateway, verb: str, target: str, body: bytes = b"", head: bytes = b"") -> tuple[int, bytes]:
    """Sends a request as it is spelled; returns status and the whole answer, which is held to what all must be."""
    head = head + b"\r\n" if head else b""
    length = b"Content-Length: %d\r\n" % len(body) if body or verb in ("POST", "PATCH") else b""
    answer = gateway.send_raw(
        verb.encode()
        + b" "
        + target.encode()
        + b" HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
        + head
        + length
        + b"\r\n",
        body,
    )
    match = re.match(rb"HTTP/1\.1 ([0-9]{3}) ", answer)
    assert match, answer[:500]
    shown = answer.partition(b"\r\n\r\n")
    assert shown[0].lower().count(b"\r\nx-request-id: ") == 1, answer[:500]
    assert b"\r\nx-injected" not in shown[0].lower()
    assert int(match[1]) < 500, answer[:2_000]
    if verb != "HEAD" and b"application/json" in shown[0] and b"\r\ncontent-encoding" not in shown[0]:
        json.loads(shown[2])
    return int(match[1]), answer


@pytest.mark.parametrize(("path", "name"), READS)
def test_no_other_spelling_reads_a_subject(target: Gateway, path: str, name: str) -> None:
    for spelling in spellings(name):
        status, answer = ask(target, "GET", path.format(spelling))
        assert SECRET.encode() not in answer, spelling
        if status in (301, 308):
            location = re.search(rb"\r\nlocation: (\S+)\r\n", answer)
            assert location is not None
            assert re.match(rb"/[^/]", location[1]), spelling


@pytest.mark.parametrize(("verb", "path", "name", "body"), WRITES)
def test_no_other_spelling_writes_to_a_subject(target: Gateway, verb: str, path: str, name: str, body: bytes) -> None:
    before = stored(target)
    for spelling in spellings(name):
        ask(target, verb, path.format(spelling), body)
    assert stored(target) == before


def test_the_plain_name_and_its_percent_encoding_reach_the_subject(target: Gateway) -> None:
    for path in ("/v1/sources/{}", "/sources/{}/metrics", "/v1/jobs/{}/exceptions", "/jobs/{}/exceptions"):
        for spelling in ("victim", "%76ictim", "%76%69%63%74%69%6D"):
            status, answer = ask(target, "GET", path.format(spelling))
            assert (status, SECRET.encode() in answer) == (200, True), (path, spelling)
    status, answer = ask(target, "GET", f"/api/xdg/v1/asset/{quote(URN, safe='')}/metric")
    assert (status, SECRET.encode() in answer) == (200, True)


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: query[:40])
def test_absurd_queries_are_refused_or_ignored(target: Gateway, query: str) -> None:
    before = stored(target)
    for path, _ in READS:
        _, answer = ask(target, "GET", f"{path.format('nobody')}?{query}")
        assert path.startswith("/v1/metricDescriptors") or SECRET.encode() not in answer, path
    for verb, path in OTHERS:
        if path != "/v1/jobs:watch":
            ask(target, verb, f"{path}?{query}", b"{}" if verb == "POST" else b"")
    assert stored(target) == before


@pytest.mark.parametrize("body", BODIES, ids=range(len(BODIES)))
def test_absurd_bodies_are_refused(target: Gateway, body: bytes) -> None:
    before = stored(target)
    for verb, path, _, _ in WRITES:
        ask(target, verb, path.format("nobody"), body)
    for verb, path in OTHERS:
        if path != "/v1/jobs:watch":
            ask(target, verb, path, body)
    assert stored(target) == before


@pytest.mark.parametrize("head", HEADERS, ids=lambda head: head[:40].decode("latin-1"))
def test_absurd_headers_are_refused_or_ignored(target: Gateway, head: bytes) -> None:
    before = stored(target)
    for path, _ in READS:
        ask(target, "GET", path.format("nobody"), head=head)
    for verb, path in OTHERS:
        if path != "/v1/jobs:watch":
            ask(target, verb, path, b"{}" if verb == "POST" else b"", head)
    assert stored(target) == before


@pytest.mark.parametrize("verb", ["TRACE", "PROPFIND", "PUT", "M-SEARCH", "OPTIONS", "HEAD", "PURGE", "LINK"])
def test_verbs_that_a_path_does_not_have_are_told_which_it_has(target: Gateway, verb: str) -> None:
    for path in [*(path.format("victim") for path, _ in READS), *(path for _, path in OTHERS)]:
        status, answer = ask(target, verb, path)
        assert status != 405 or b"\r\nallow: " in answer.lower(), path


@pytest.mark.parametrize(
    "path",
    [
        "//v1/sources/victim",
        "/v1//sources/victim",
        "/V1/sources/victim",
        "/v1/s%6Furces/victim",
        "/v1%2Fsources%2Fvictim",
        "/%76%31/sources/victim",
        "/v1/sources;a=b/victim",
        "/x/../v1/sources/victim",
        "/v1/sources/victim//",
        "/v1/sources/victim/metrics//",
        "/v1/sources/victim/",
        "/sources/victim/metrics;x",
        "/sources//metrics",
        "//sources/victim/metrics",
        "/jobs/victim%2Fexceptions",
        "/job/victim/exceptions/x",
        "//evil.example/v7/metrics/victim",
        "/v7/metrics//evil.example",
        "/v7/metrics/%2F%2Fevil.example",
        "/v7/metrics/..%2F..%2Fevil",
        "/v7/metrics/a%0d%0aLocation:%20http:%2F%2Fevil.example",
        "/.//evil.example",
        "/",
        "//",
        "/" * 3_000,
        "/..",
        "/%2e%2e/etc/passwd",
        "/docs/../v1/sources/victim",
        "/openapi.json/..%2f",
        "/healthz%00",
        "/metrics/..",
    ],
    ids=lambda path: path[:40],
)
def test_paths_are_taken_as_they_are_spelled(target: Gateway, path: str) -> None:
    status, answer = ask(target, "GET", path)
    assert (SECRET.encode() in answer) == (path == "/v1/sources/victim/")
    location = re.search(rb"\r\nlocation: (\S+)\r\n", answer)
    assert (location is not None) == (status == 301)
    assert location is None or re.match(rb"/[^/]", location[1])


@pytest.mark.parametrize(
    "target_form",
    ["http://evil.example/v1/sources/victim", "*", "v1/sources/victim", "?a", "http:///", "evil.example:443"],
)
def test_targets_of_other_forms_are_no_way_around_the_path(target: Gateway, target_form: str) -> None:
    status, answer = ask(target, "GET", target_form)
    # The form of proxies names a host, which is not looked at, and then the path.
    assert (status == 200) == ("evil.example/v1" in target_form), answer


def test_a_body_too_large_is_refused_whatever_it_was_for(target: Gateway) -> None:
    before = stored(target)
    for verb, path in [*((verb, path) for verb, path, _, _ in WRITES), *OTHERS]:
        if verb != "GET":
            status, _ = ask(target, verb, path.format("nobody"), b'{"a":"' + b"x" * 300_000 + b'"}')
            # What looks at something else first, or reads no body, may refuse it for that.
            assert status in (413, 400, 404, 415), path
    assert stored(target) == before
