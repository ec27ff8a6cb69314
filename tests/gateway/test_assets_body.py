"""Bodies of emits on assets: formats, numbers, moments, and what is wrong with them."""

from __future__ import annotations

import json

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from streamgauge.v1 import asset_metric_service_pb2 as pb
from streamgauge_server.gateway.legacy.assets_body import Emission, parse
from streamgauge_server.gateway.legacy.assets_problems import Problem
from streamgauge_server.gateway.legacy.assets_times import (
    LAST_MILLI,
    millis,
    moment_text,
    of_millis,
    parse_moment,
    parse_query_moment,
)

from tests.rpc.messages import Scalar, scalar

SECONDS = 1_709_401_440
"""2024-03-02T17:44:00Z."""


def of(text: str) -> Emission:
    return parse(text.encode())


def problem(body: str | bytes) -> Problem:
    with pytest.raises(Problem) as refused:
        parse(body.encode() if isinstance(body, str) else body)
    assert refused.value.status == 400
    return refused.value


def value_of(literal: str) -> Scalar | None:
    (metric,) = of(f'{{"metrics": [{{"name": "a", "value": {literal}}}]}}').request.metrics
    return scalar(metric.value)


class TestFormats:
    def test_the_multiple_format_has_a_list(self) -> None:
        emission = of('{"metrics": [{"name": "a", "value": "x", "valueType": "STRING"}, {"name": "b", "value": true}]}')
        assert not emission.single
        assert [(metric.name, scalar(metric.value), metric.value_type) for metric in emission.request.metrics] == [
            ("a", "x", pb.ASSET_VALUE_TYPE_STRING),
            ("b", True, pb.ASSET_VALUE_TYPE_UNSPECIFIED),
        ]
        assert not emission.request.HasField("time")

    @pytest.mark.parametrize(
        ("literal", "text", "echo"),
        [('"50"', "50", "50"), ("50", "50", 50), ("1e3", "1e3", 1000), ("true", "true", True), ('""', "", "")],
    )
    def test_the_single_format_passes_its_value_as_text(self, literal: str, text: str, echo: Scalar) -> None:
        emission = of(f'{{"name": "badge", "value": {literal}}}')
        assert emission.single
        assert (emission.request.metrics[0].name, emission.text, emission.echo) == ("badge", text, echo)
        assert type(emission.echo) is type(echo)

    def test_nulls_are_absent_and_unknown_members_ignored(self) -> None:
        answered = '{"metrics": [{"name": "a", "value": 1, "valueType": null, "x": 1}], "name": null, "value": null'
        emission = of(answered + ', "timestamp": null, "y": {}}')
        assert emission.request == of('{"metrics": [{"name": "a", "value": 1}]}').request
        assert not emission.single
        assert not emission.faults

    def test_a_type_in_the_single_format_is_ignored_with_a_warning(self) -> None:
        emission = of('{"name": "a", "value": "1", "valueType": "nonsense"}')
        assert not emission.faults
        assert "valueType" in emission.warnings[0]

    @pytest.mark.parametrize(
        ("body", "pointer"),
        [
            ("[]", ""),
            ("1", ""),
            ("{}", ""),
            ('{"timestamp": "2024-03-02T17:44:00Z"}', ""),
            ('{"metrics": [], "name": "a"}', ""),
            ('{"metrics": [], "value": "a"}', ""),
            ('{"metrics": {}}', "/metrics"),
        ],
    )
    def test_what_is_neither_format_or_both_is_refused(self, body: str, pointer: str) -> None:
        assert [fault.pointer for fault in problem(body).faults] == [pointer]


class TestJson:
    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"{",
            b"{'a': 1}",
            b'{"metrics": [],}',
            b'\xef\xbb\xbf{"metrics": []}',
            b'{"name": "\xff", "value": 1}',
            b'{"name": "a", "value": NaN}',
            b'{"name": "a", "value": -Infinity}',
            b'{"name": "a", "value": 007}',
            b'{"name": "a\nb", "value": 1}',
            '{"name": "a", "value": 1}'.encode("utf-16"),
            b"[" * 200_000,
        ],
    )
    def test_what_is_not_json_in_utf_8_is_refused(self, body: bytes) -> None:
        assert "is not" in problem(body).faults[0].message or "nested" in problem(body).faults[0].message

    @pytest.mark.parametrize(
        "body",
        [
            '{"name": "a", "name": "b", "value": 1}',
            '{"metrics": [{"name": "a", "value": 1, "value": 1}]}',
            '{"metrics": [{"name": "a", "value": 1}], "unknown": {"name": 1, "\\u006eame": 1}}',
        ],
    )
    def test_a_member_that_repeats_is_refused_wherever_it_is(self, body: str) -> None:
        assert "twice in one object" in problem(body).faults[0].message

    def test_a_member_that_repeats_is_found_among_very_many(self) -> None:
        members = ",".join(f'"m{i}": {i}' for i in [*range(100_000), 99_999])
        assert problem(f"{{{members}}}").faults[0].message == "names 'm99999' twice in one object"


class TestNumbers:
    @pytest.mark.parametrize(
        ("literal", "number"),
        [
            ("18", 18),
            ("-0.5", -0.5),
            ("1e3", 1000),
            ("1.50E+2", 150),
            ("5.0", 5),
            ("0.1", 0.1),
            ("9007199254740993", 9_007_199_254_740_993),
            ("9007199254740993.0", 9_007_199_254_740_993),
            ("9223372036854775807", 2**63 - 1),
            ("-9223372036854775808", -(2**63)),
            ("9223372036854775808.0", 2.0**63),
            ("0e9", 0),
            ("-0", 0),
            ("1e-400", 0.0),
            ("1e300", 1e300),
            ("12345678901234567890.5", 12345678901234567890.5),
        ],
    )
    def test_integers_are_kept_exactly_and_all_else_is_a_double(self, literal: str, number: float) -> None:
        found = value_of(literal)
        assert found == number
        assert type(found) is type(number)

    def test_negative_zero_keeps_its_sign(self) -> None:
        assert str(value_of("-0.0")) == "-0.0"

    @pytest.mark.parametrize(
        "literal", ["9223372036854775808", "-9223372036854775809", "1" * 10_000, "1e400", "-1e999"]
    )
    def test_what_would_be_rounded_or_infinite_is_refused(self, literal: str) -> None:
        emission = of(f'{{"metrics": [{{"name": "a", "value": {literal}}}]}}')
        assert [fault.pointer for fault in emission.faults.told] == ["/metrics/0/value"]
        assert "beyond" in emission.faults.told[0].message


class TestFaults:
    def test_everything_that_is_wrong_is_told(self) -> None:
        entries = [
            {"name": "a", "value": None},
            {"value": []},
            7,
            {"name": 3, "value": {}, "valueType": "number"},
            {"name": "\ud800", "value": "\udfff", "valueType": 1},
        ]
        emission = of(json.dumps({"timestamp": 5, "metrics": entries}))
        assert {fault.pointer: fault.message for fault in emission.faults.told} == {
            "/timestamp": "must be a moment with an offset, such as 2024-03-02T17:44:00.000Z or "
            "2024-03-02T18:44:00.000+0100",
            "/metrics/0/value": "is required",
            "/metrics/1/name": "is required",
            "/metrics/1/value": "must be a text, a number or a boolean",
            "/metrics/2": "must be an object with name, value and, optionally, valueType",
            "/metrics/3/name": "must be a text of Unicode characters",
            "/metrics/3/value": "must be a text, a number or a boolean",
            "/metrics/3/valueType": "must be one of STRING, NUMBER, BOOLEAN",
            "/metrics/4/name": "must be a text of Unicode characters",
            "/metrics/4/value": "must be of Unicode characters, has half of a surrogate pair",
            "/metrics/4/valueType": "must be one of STRING, NUMBER, BOOLEAN",
        }
        assert len(emission.request.metrics) == len(entries)

    @pytest.mark.parametrize(
        ("body", "pointers"),
        [
            ('{"name": "a"}', ["/value"]),
            ('{"value": "a"}', ["/name"]),
            ('{"name": 1, "value": [], "timestamp": "now"}', ["/timestamp", "/name", "/value"]),
        ],
    )
    def test_the_single_format_has_pointers_of_its_own(self, body: str, pointers: list[str]) -> None:
        assert [fault.pointer for fault in of(body).faults.told] == pointers


class TestManyFaults:
    def test_the_first_are_told_and_the_others_counted(self) -> None:
        emission = of(json.dumps({"metrics": [7] * 150}))
        assert (len(emission.faults.told), emission.faults.omitted) == (100, 50)

    def test_a_list_beyond_all_bounds_is_not_even_looked_at(self) -> None:
        assert [fault.pointer for fault in problem(json.dumps({"metrics": [7] * 100_001})).faults] == ["/metrics"]


class TestMoments:
    @pytest.mark.parametrize(
        ("text", "nanos"),
        [
            ("2024-03-02T17:44:00.000Z", 0),
            ("2024-03-02T17:44:00Z", 0),
            ("2024-03-02T17:44:00.000+0000", 0),
            ("2024-03-02T18:44:00.000+0100", 0),
            ("2024-03-02T18:44:00+01:00", 0),
            ("2024-03-02T12:14:00-05:30", 0),
            ("2024-03-02T17:44:00.1Z", 100_000_000),
            ("2024-03-02T17:44:00.123456Z", 123_000_000),
            ("2024-03-02T17:44:00.123999999Z", 123_000_000),
        ],
    )
    def test_a_moment_has_an_offset_and_is_cut_to_the_millisecond(self, text: str, nanos: int) -> None:
        assert parse_moment(text) == Timestamp(seconds=SECONDS, nanos=nanos)

    @pytest.mark.parametrize(
        "text",
        [
            "2024-03-02T17:44:00",
            "2024-03-02T17:44:00.Z",
            "2024-03-02T17:44:00.1234567890Z",
            "2024-03-02 17:44:00Z",
            "2024-03-02t17:44:00z",
            "2024-02-30T17:44:00Z",
            "2024-03-02T24:00:00Z",
            "2024-03-02T23:59:60Z",
            "0000-01-01T00:00:00Z",
            "2024-03-02T17:44:00+24:00",
            "2024-03-02T17:44:00+1",
            "2024-03-02T17:44Z",
            "2024-03-02",
            "٢٠٢٤-03-02T17:44:00Z",
            "2024-03-02T17:44:00Z\n",
            "1709401440000",
            "",
        ],
    )
    def test_what_is_no_moment_is_refused(self, text: str) -> None:
        assert parse_moment(text) is None

    def test_in_a_query_a_blank_is_a_plus_sign_that_was_not_encoded(self) -> None:
        assert parse_query_moment("2024-03-02T18:44:00.000 0100") == Timestamp(seconds=SECONDS)
        assert parse_query_moment("2024-03-02T18:44:00.000 01:00") == Timestamp(seconds=SECONDS)
        assert parse_query_moment("2024-03-02 17:44:00Z") is None

    @pytest.mark.parametrize("milli", [0, 1, -1, 1_709_401_440_123, -62_135_596_800_000, LAST_MILLI])
    def test_what_is_printed_reads_the_same(self, milli: int) -> None:
        text = moment_text(of_millis(milli))
        assert len(text) == len("2024-03-02T17:44:00.000Z")
        found = parse_moment(text)
        assert found is not None
        assert millis(found) == milli

    def test_the_last_millisecond_is_that_of_the_year_9999(self) -> None:
        assert moment_text(of_millis(LAST_MILLI)) == "9999-12-31T23:59:59.999Z"
