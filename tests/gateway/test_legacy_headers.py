"""Headers of legacy answers: whatever callers wrote into warnings, they stay one header of printable characters."""

from __future__ import annotations

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from streamgauge_server.gateway.legacy.headers import refusal_headers, warning_header
from streamgauge_server.gateway.upstream import Refused


@pytest.mark.parametrize(
    ("text", "quoted"),
    [
        ("plain, text", "plain, text"),
        ('a "b" \\c', 'a \\"b\\" \\\\c'),
        ("a\r\nSet-Cookie: x", "a\\\\u000d\\\\u000aSet-Cookie: x"),
        ("Größe \U0001f600", "Gr\\\\u00f6\\\\u00dfe \\\\u1f600"),
        ("x" * 500, "x" * 200 + "..."),
    ],
)
def test_a_warning_is_one_quoted_string_of_printable_characters(text: str, quoted: str) -> None:
    assert warning_header([text]) == {"Warning": f'299 streamgauge "{quoted}"'}


def test_warnings_are_bounded_and_counted() -> None:
    told = warning_header([f"w{i}" for i in range(9)])["Warning"].split(", ")
    assert told[0] == '299 streamgauge "w0"'
    assert told[-1] == '299 streamgauge "and 4 more of the kind"'
    assert len(told) == 6


def test_without_warnings_there_is_no_header() -> None:
    assert warning_header([]) == {}


@pytest.mark.parametrize(("millis", "seconds"), [(1, "1"), (1_000, "1"), (1_001, "2")])
def test_advice_to_try_again_is_rounded_up_to_seconds(millis: int, seconds: str) -> None:
    status, retry = status_pb2.Status(code=14), error_details_pb2.RetryInfo()
    assert refusal_headers(Refused(grpc.StatusCode.UNAVAILABLE, status)) == {}
    retry.retry_delay.FromMilliseconds(millis)
    status.details.add().Pack(retry)
    assert refusal_headers(Refused(grpc.StatusCode.UNAVAILABLE, status)) == {"Retry-After": seconds}
