"""Reasons, status codes and details."""

from __future__ import annotations

import re
from pathlib import Path

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from streamgauge.v1 import errors_pb2
from streamgauge_server.model.errors import DomainError, Reason, Violation, invalid, store_unavailable
from streamgauge_server.rpc.errors import MAX_DETAILS_BYTES, MAX_VIOLATIONS, STATUS_CODES, status_of

PROTO = Path(__file__).resolve().parents[2] / "protos/streamgauge/v1/errors.proto"


def details(status: status_pb2.Status) -> dict[str, object]:
    found: dict[str, object] = {}
    for packed in status.details:
        for kind in (error_details_pb2.ErrorInfo, error_details_pb2.BadRequest, error_details_pb2.RetryInfo):
            message = kind()
            if packed.Unpack(message):
                found[kind.DESCRIPTOR.name] = message
    return found


def info_of(status: status_pb2.Status) -> error_details_pb2.ErrorInfo:
    info = details(status)["ErrorInfo"]
    assert isinstance(info, error_details_pb2.ErrorInfo)
    return info


def bad_request_of(status: status_pb2.Status) -> error_details_pb2.BadRequest:
    bad_request = details(status)["BadRequest"]
    assert isinstance(bad_request, error_details_pb2.BadRequest)
    return bad_request


def documented_codes() -> dict[str, str]:
    """Returns reason -> code out of the comments of the contract."""
    text = PROTO.read_text(encoding="utf-8")
    comment, found = "", {}
    for line in map(str.strip, text[text.index("enum ErrorReason") :].splitlines()):
        if line.startswith("//"):
            comment += line.removeprefix("//")
        elif match := re.match(r"ERROR_REASON_(\w+) = \d+;", line):
            if match[1] != "UNSPECIFIED":
                found[match[1]] = comment.strip().split(":")[0]
            comment = ""
        else:
            comment = ""
    return found


def test_every_reason_has_the_code_that_the_contract_names() -> None:
    assert {reason.name: code.name for reason, code in STATUS_CODES.items()} == documented_codes()


def test_the_domain_has_the_reasons_of_the_contract_by_name_and_number() -> None:
    contract = {name.removeprefix("ERROR_REASON_"): number for name, number in errors_pb2.ErrorReason.items() if number}
    assert {reason.name: reason.value for reason in Reason} == contract


def test_a_status_carries_reason_metadata_and_request_id() -> None:
    status = status_of(
        DomainError(Reason.SOURCE_NOT_FOUND, "there is no sources/x", metadata={"name": "sources/x"}), "r-1"
    )
    assert status.code == grpc.StatusCode.NOT_FOUND.value[0]
    assert status.message == "there is no sources/x"
    info = info_of(status)
    assert (info.domain, info.reason) == ("streamgauge", "SOURCE_NOT_FOUND")
    assert dict(info.metadata) == {"name": "sources/x", "request_id": "r-1"}
    assert list(details(status)) == ["ErrorInfo"]


def test_all_violations_travel_at_once() -> None:
    status = status_of(invalid([Violation("a", "is bad"), Violation("b", "is worse", Reason.VALUE_TYPE_MISMATCH)]), "r")
    assert [(v.field, v.description, v.reason) for v in bad_request_of(status).field_violations] == [
        ("a", "is bad", "INVALID_FIELD"),
        ("b", "is worse", "VALUE_TYPE_MISMATCH"),
    ]
    assert "violations_omitted" not in info_of(status).metadata


@pytest.mark.parametrize("description", ["short", "x" * 10_000, "é" * 10_000])
def test_many_violations_are_cut_and_the_rest_is_counted(description: str) -> None:
    status = status_of(invalid([Violation(f"observations[{i}]", description) for i in range(5_000)]), "r")
    carried = len(bad_request_of(status).field_violations)
    assert 0 < carried <= MAX_VIOLATIONS
    assert int(info_of(status).metadata["violations_omitted"]) == 5_000 - carried
    assert status.ByteSize() <= MAX_DETAILS_BYTES
    if description == "short":
        assert carried == MAX_VIOLATIONS


def test_long_texts_of_a_request_do_not_make_a_long_error() -> None:
    name = "sources/" + "ü" * 100_000
    status = status_of(DomainError(Reason.SOURCE_NOT_FOUND, f"there is no {name}", metadata={"name": name}), "r")
    assert status.ByteSize() <= MAX_DETAILS_BYTES
    assert status.message.endswith("…")
    assert info_of(status).metadata["name"].endswith("…")


def test_waiting_is_advised_where_it_helps() -> None:
    status = status_of(store_unavailable("sqlite", "disk_full", retry_after=1.5), "r")
    retry = details(status)["RetryInfo"]
    assert isinstance(retry, error_details_pb2.RetryInfo)
    assert retry.retry_delay.ToMilliseconds() == 1_500
    assert info_of(status).metadata["cause"] == "disk_full"
