"""The query of the sources API: leniency and refusals as FastAPI has them."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from starlette.datastructures import QueryParams
from streamgauge.v1 import common_pb2
from streamgauge.v1 import source_service_pb2 as pb
from streamgauge_server.gateway.legacy.sources_parameters import Unprocessable, parse

SECONDS = 1_740_899_415
"""2025-03-02T07:10:15Z."""


def request(query: str) -> pb.GetSourceMetricsRequest:
    return parse(QueryParams(query)).request("a")


def refusal(query: str) -> dict[str, Any]:
    with pytest.raises(Unprocessable) as refused:
        parse(QueryParams(query))
    (entry,) = refused.value.errors
    return entry


def test_without_parameters_it_is_a_time_series_by_the_hour() -> None:
    asked = request("")
    assert (asked.source, asked.time_type) == ("sources/a", pb.TIME_TYPE_TIMESERIES)
    assert (asked.time_interval, asked.time_unit) == (1, common_pb2.WINDOW_UNIT_HOUR)
    assert not asked.metrics
    assert not asked.HasField("timestamp_from")
    assert not asked.HasField("timestamp_to")


@pytest.mark.parametrize("time_type", ["timeseries", "timesummary", "latest"])
def test_all_parameters_go_with_every_time_type(time_type: str) -> None:
    asked = request(f"time_type={time_type}&time_interval=2&time_unit=week&timestamp_from=2025-03-02T07:10:15Z")
    assert pb.TimeType.Name(asked.time_type) == f"TIME_TYPE_{time_type.upper()}"
    assert (asked.time_interval, asked.time_unit) == (2, common_pb2.WINDOW_UNIT_WEEK)
    assert asked.timestamp_from == Timestamp(seconds=SECONDS)


@pytest.mark.parametrize("unit", ["minute", "hour", "day", "week", "month"])
def test_units_are_singular(unit: str) -> None:
    assert common_pb2.WindowUnit.Name(request(f"time_unit={unit}").time_unit) == f"WINDOW_UNIT_{unit.upper()}"
    assert refusal(f"time_unit={unit}s")["type"] == "enum"


@pytest.mark.parametrize(
    ("text", "nanos"),
    [
        ("2025-03-02T07:10:15Z", 0),
        ("2025-03-02T07:10:15", 0),
        ("2025-03-02%2007:10:15", 0),
        ("2025-03-02T08:10:15%2B01:00", 0),
        ("2025-03-02T02:10:15-0500", 0),
        ("2025-03-02T07:10:15.25Z", 250_000_000),
        ("2025-03-02T07:10:15.1234567Z", 123_456_000),
    ],
)
def test_timestamps_are_iso_8601_and_utc_without_an_offset(text: str, nanos: int) -> None:
    asked = request(f"timestamp_from={text}&timestamp_to={text}")
    assert asked.timestamp_from == asked.timestamp_to == Timestamp(seconds=SECONDS, nanos=nanos)


def test_a_date_is_its_midnight() -> None:
    assert request("timestamp_from=1970-01-02").timestamp_from == Timestamp(seconds=86_400)


def test_an_offset_may_lead_beyond_the_year_9999_which_is_the_servers_to_refuse() -> None:
    asked = request("timestamp_to=9999-12-31T23:59:59-05:00")
    assert asked.timestamp_to.seconds == 253_402_300_799 + 5 * 3_600


def test_of_a_parameter_that_repeats_the_last_stands_and_metrics_are_gathered() -> None:
    asked = request("time_unit=years&time_unit=day&metrics=a&metrics=b,c&metrics=%2A")
    assert asked.time_unit == common_pb2.WINDOW_UNIT_DAY
    assert list(asked.metrics) == ["a", "b,c", "*"]


def test_unknown_parameters_are_ignored() -> None:
    assert request("tenant_id=1&TIME_UNIT=x&=&&") == request("")


@pytest.mark.parametrize(
    ("query", "entry"),
    [
        (
            "time_unit=hours",
            {
                "type": "enum",
                "loc": ["query", "time_unit"],
                "msg": "Input should be 'minute', 'hour', 'day', 'week' or 'month'",
                "input": "hours",
                "ctx": {"expected": "'minute', 'hour', 'day', 'week' or 'month'"},
            },
        ),
        (
            "time_type=LATEST",
            {
                "type": "enum",
                "loc": ["query", "time_type"],
                "msg": "Input should be 'timeseries', 'timesummary' or 'latest'",
                "input": "LATEST",
                "ctx": {"expected": "'timeseries', 'timesummary' or 'latest'"},
            },
        ),
        (
            "time_interval=0",
            {
                "type": "greater_than",
                "loc": ["query", "time_interval"],
                "msg": "Input should be greater than 0",
                "input": "0",
                "ctx": {"gt": 0},
            },
        ),
        (
            "time_interval=10001",
            {
                "type": "less_than_equal",
                "loc": ["query", "time_interval"],
                "msg": "Input should be less than or equal to 10000",
                "input": "10001",
                "ctx": {"le": 10_000},
            },
        ),
        (
            "time_interval=1.5",
            {
                "type": "int_parsing",
                "loc": ["query", "time_interval"],
                "msg": "Input should be a valid integer, unable to parse string as an integer",
                "input": "1.5",
            },
        ),
        (
            "timestamp_from=yesterday",
            {
                "type": "datetime_from_date_parsing",
                "loc": ["query", "timestamp_from"],
                "msg": "Input should be a valid datetime or date, input is too short",
                "input": "yesterday",
                "ctx": {"error": "input is too short"},
            },
        ),
        (
            "timestamp_to=1740899415",
            {
                "type": "datetime_parsing",
                "loc": ["query", "timestamp_to"],
                "msg": "Input should be a valid datetime, a number is not an ISO 8601 timestamp",
                "input": "1740899415",
                "ctx": {"error": "a number is not an ISO 8601 timestamp"},
            },
        ),
    ],
)
def test_what_is_wrong_is_told_as_fastapi_does(query: str, entry: dict[str, Any]) -> None:
    assert refusal(query) == entry


@pytest.mark.parametrize(
    "query",
    [
        "time_interval=",
        "time_interval=-1",
        "time_interval=99999999999999999999",
        "time_unit=",
        "timestamp_from=",
        "timestamp_from=2025-02-30T00:00:00Z",
        "timestamp_from=2025-03-02T07:10:15 01:00",
        "timestamp_from=nan",
        "timestamp_from=%FF",
        "strict=maybe",
    ],
)
def test_it_names_the_parameter_and_what_was_sent(query: str) -> None:
    name, _, _ = query.partition("=")
    entry = refusal(query)
    assert (entry["loc"], entry["input"]) == (["query", name], QueryParams(query)[name])


def test_everything_that_is_wrong_is_told_at_once() -> None:
    with pytest.raises(Unprocessable) as refused:
        parse(QueryParams("time_type=x&time_interval=0&timestamp_to=x"))
    assert [entry["loc"][1] for entry in refused.value.errors] == ["time_type", "time_interval", "timestamp_to"]
