"""The sources API over real HTTP: the document's examples, every parameter, and every failure."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from streamgauge.v1 import token_service_pb2
from streamgauge_server.gateway.legacy.sources_openapi import OPERATION, SCHEMAS

from tests.gateway.legacy_answers import LegacyClient
from tests.gateway.serving import NOON, Gateway, running
from tests.rpc.messages import HOUR, MINUTE, Scalar, row, write

SOURCE = "67adcd1e4ddd8fe6b1f8d7a9"
PATH = f"/sources/{SOURCE}/metrics"
TOPIC = "source_67ad4c1ed1a8a5b1a6ee1d4b.public.orders"

EXAMPLE: dict[str, Scalar] = {
    "SnapshotTotalNumberOfEventsSeen": 20_254,
    "SnapshotMilliSecondsSinceLastEvent": 86_000,
    "SnapshotRunning": False,
    "SnapshotCompleted": False,
    "StreamingMilliSecondsBehindSource": 0,
    "StreamingMilliSecondsSinceLastEvent": 1_200,
    "StreamingConnected": True,
    "StreamingTotalNumberOfCreateEventsSeen": 35,
    "StreamingTotalNumberOfUpdateEventsSeen": 8,
    "StreamingTotalNumberOfDeleteEventsSeen": 2,
    "StreamingLastEvent": 'position: {lsn: 46708312}, key: {"id" : "112"}',
    "sourceRecordWriteTotal": 20_299,
    "byteTotal": 15_000,
    "latency": 0,
    "state": "Streaming",
    "streamingState": "connected",
    "snapshotState": "completed",
    "connector_status": "Active",
}
"""The document's latest values, as writers tell them."""


def client_of(gateway: Gateway) -> LegacyClient:
    return LegacyClient(gateway, {"GET": OPERATION}, SCHEMAS)


@pytest.fixture(scope="module")
def client(gateway: Gateway) -> LegacyClient:
    """A client of a server with one source that was measured in three of the last four hours, and an empty one."""
    samples = ((3, 0, 10_000), (2, 20, 11_000), (0, 55, 15_000))
    for hours, creates, volume in samples:
        values = EXAMPLE | {"StreamingTotalNumberOfCreateEventsSeen": creates, "byteTotal": volume}
        gateway.metrics.WriteMetrics(write(row(values, subject=f"sources/{SOURCE}", at=NOON - hours * HOUR - MINUTE)))
    gateway.metrics.WriteMetrics(
        write(row({"snapshotStatus": "completed"}, subject=f"sources/{SOURCE}", part=f"topic={TOPIC}", at=NOON))
    )
    gateway.metrics.WriteMetrics(write(row({"byteTotal": 1}, subject="sources/old", at=NOON - 900 * HOUR)))
    return client_of(gateway)


def get(client: LegacyClient, query: str = "", path: str = PATH) -> httpx.Response:
    return client.send("GET", f"{path}?{query}" if query else path)


def data(client: LegacyClient, query: str, path: str = PATH) -> dict[str, Any]:
    answer = get(client, query, path)
    assert answer.status_code == 200, answer.text
    assert answer.json()["data"].keys() == answer.json()["metadata"].keys()
    found: dict[str, Any] = answer.json()["data"]
    return found


class TestExamples:
    def test_latest_values_are_scalars_with_booleans_as_numbers_and_nulls(self, client: LegacyClient) -> None:
        query = "time_type=latest&time_interval=1&time_unit=hour&timestamp_from=2025-03-02T07:10:15Z"
        assert data(client, query) == EXAMPLE | {
            "SnapshotRunning": 0,
            "SnapshotCompleted": 0,
            "StreamingConnected": 1,
            "StreamingTotalNumberOfCreateEventsSeen": 55,
            "recordSendTotal": None,
            "recordRetryTotal": None,
            "recordWrittenTotal": None,
            "snapshotStatus": [{"status": "completed", "topic_id": TOPIC, "submit_timestamp": None}],
        }
        # Equal numbers are not enough: 0 == False for Python.
        assert '"SnapshotRunning":0,' in get(client, query).text

    def test_every_metric_has_its_name_and_unit(self, client: LegacyClient) -> None:
        metadata = get(client, "time_type=latest").json()["metadata"]
        assert len(metadata) == 22
        assert metadata["byteTotal"] == {"name": "Volume", "unit": "bytes"}
        assert metadata["StreamingConnected"] == {"name": "Streaming Connected?", "unit": "boolean"}
        assert metadata["StreamingLastEvent"] == {"name": "Last Streaming Event", "unit": "id"}

    def test_a_time_series_has_the_growth_of_each_window(self, client: LegacyClient) -> None:
        found = data(
            client, "time_type=timeseries&timestamp_from=2026-01-01T09:00:00Z&timestamp_to=2026-01-01T12:00:00Z"
        )
        assert found["StreamingTotalNumberOfCreateEventsSeen"] == [
            {"timestamp": "2026-01-01 09:00:00", "value": 20},
            {"timestamp": "2026-01-01 10:00:00", "value": None},
            {"timestamp": "2026-01-01 11:00:00", "value": 35},
        ]
        assert [point["value"] for point in found["byteTotal"]] == [1_000, None, 4_000]
        assert found["recordRetryTotal"] == []
        assert len(found) == 12

    def test_a_summary_has_the_sum_of_the_windows(self, client: LegacyClient) -> None:
        found = data(client, "time_type=timesummary")
        assert (found["StreamingTotalNumberOfCreateEventsSeen"], found["byteTotal"]) == (55, 5_000)
        assert found["recordRetryTotal"] is None
        assert len(found) == 12


class TestParameters:
    def test_the_defaults_are_a_time_series_of_24_hours_by_the_hour(self, client: LegacyClient) -> None:
        points = data(client, "")["byteTotal"]
        assert len(points) == 24
        assert (points[0]["timestamp"], points[-1]["timestamp"]) == ("2025-12-31 12:00:00", "2026-01-01 11:00:00")

    @pytest.mark.parametrize(
        ("unit", "interval", "begins"),
        [
            ("minute", 30, ["2026-01-01 10:30:00", "2026-01-01 11:00:00", "2026-01-01 11:30:00"]),
            ("hour", 2, ["2026-01-01 10:00:00"]),
            ("day", 1, ["2026-01-01 00:00:00"]),
            ("week", 1, ["2025-12-29 00:00:00"]),
            ("month", 1, ["2026-01-01 00:00:00"]),
        ],
    )
    def test_windows_are_aligned_to_the_calendar(
        self, client: LegacyClient, unit: str, interval: int, begins: list[str]
    ) -> None:
        query = f"time_unit={unit}&time_interval={interval}&timestamp_from=2026-01-01T10:45:00"
        assert [point["timestamp"] for point in data(client, query)["byteTotal"]] == begins

    def test_offsets_are_converted(self, client: LegacyClient) -> None:
        query = "timestamp_from=2026-01-01T12:00:00%2B01:00&timestamp_to=2026-01-01T07:00:00-05:00"
        assert [point["timestamp"] for point in data(client, query)["byteTotal"]] == ["2026-01-01 11:00:00"]

    def test_other_metrics_are_answered_by_name(self, client: LegacyClient) -> None:
        query = "metrics=StreamingConnected&metrics=state&metrics=latency&metrics=unheard&time_unit=day&strict=true"
        assert data(client, query + "&timestamp_from=2026-01-01") == {
            "StreamingConnected": [{"timestamp": "2026-01-01 00:00:00", "value": 1}],
            "state": [{"timestamp": "2026-01-01 00:00:00", "value": "Streaming"}],
            "latency": [{"timestamp": "2026-01-01 00:00:00", "value": 0}],
        }
        assert "connector_status" in data(client, "metrics=*")

    def test_a_source_without_samples_in_the_range_has_nulls_and_empty_lists(self, client: LegacyClient) -> None:
        assert set(map(str, data(client, "", "/sources/old/metrics").values())) == {"[]"}
        assert set(data(client, "time_type=timesummary", "/sources/old/metrics").values()) == {None}

    def test_strict_makes_that_a_404(self, client: LegacyClient) -> None:
        answer = get(client, "strict=1", "/sources/old/metrics")
        assert (answer.status_code, answer.json()) == (404, {"detail": "there are no metrics of source old"})

    def test_a_long_time_series_is_answered_whole(self, client: LegacyClient) -> None:
        range_ = "timestamp_from=2025-12-25T00:00:00&timestamp_to=2026-01-01T12:00:00"
        names = "metrics=byteTotal&metrics=recordRetryTotal"
        points = data(client, f"time_unit=minute&{range_}&{names}")["byteTotal"]
        assert len(points) == 7 * 1_440 + 720
        assert sum(point["value"] or 0 for point in points) == 5_000

    def test_the_id_is_one_segment_decoded_once(self, client: LegacyClient) -> None:
        gateway = client.gateway
        gateway.metrics.WriteMetrics(write(row({"byteTotal": 1}, subject="sources/a~b", at=NOON)))
        assert get(client, path="/sources/a%7Eb/metrics/").status_code == 200
        for path in ("/sources/a%257Eb/metrics", "/sources/x%2F..%2Fa~b/metrics", "/sources/%00/metrics"):
            assert get(client, path=path).status_code == 404


class TestFailures:
    def test_a_wrong_parameter_is_told_as_fastapi_does(self, client: LegacyClient) -> None:
        answer = get(client, "time_unit=hours&time_interval=0")
        assert answer.status_code == 422
        assert answer.json() == {
            "detail": [
                {
                    "type": "greater_than",
                    "loc": ["query", "time_interval"],
                    "msg": "Input should be greater than 0",
                    "input": "0",
                    "ctx": {"gt": 0},
                },
                {
                    "type": "enum",
                    "loc": ["query", "time_unit"],
                    "msg": "Input should be 'minute', 'hour', 'day', 'week' or 'month'",
                    "input": "hours",
                    "ctx": {"expected": "'minute', 'hour', 'day', 'week' or 'month'"},
                },
            ]
        }

    @pytest.mark.parametrize(
        ("query", "location", "given"),
        [
            ("timestamp_from=1969-12-31T23:59:59Z", ["query", "timestamp_from"], "1969-12-31T23:59:59Z"),
            ("timestamp_to=9999-12-31T23:59:59-01:00", ["query", "timestamp_to"], "9999-12-31T23:59:59-01:00"),
            ("metrics=byteTotal&metrics=", ["query", "metrics", 1], ""),
        ],
    )
    def test_what_the_server_finds_wrong_is_told_alike(
        self, client: LegacyClient, query: str, location: list[Any], given: str
    ) -> None:
        answer = get(client, query)
        assert answer.status_code == 422
        (entry,) = answer.json()["detail"]
        assert (entry["type"], entry["loc"], entry["input"]) == ("value_error", location, given)
        assert entry["ctx"] == {"error": {}}
        assert entry["msg"].startswith("Value error, must ")

    def test_a_reversed_range_names_both_ends_as_resolved(self, client: LegacyClient) -> None:
        answer = get(client, "timestamp_to=2025-03-02T07:10:15Z")
        assert answer.status_code == 400
        assert answer.json()["detail"] == (
            "timestamp_from: must be before timestamp_to; the range resolves to "
            "[2025-12-31T12:00:00Z, 2025-03-02T07:10:15Z), which is reversed"
        )

    def test_an_empty_range_is_refused_except_for_latest_values(self, client: LegacyClient) -> None:
        query = "timestamp_from=2025-03-02T07:10:15&timestamp_to=2025-03-02T07:10:15"
        assert "which is empty" in get(client, query).json()["detail"]
        assert get(client, f"{query}&time_type=latest").status_code == 200

    def test_too_many_windows_are_counted(self, client: LegacyClient) -> None:
        answer = get(client, "time_unit=minute&timestamp_from=2025-01-01&timestamp_to=2026-01-01")
        assert answer.status_code == 400
        assert "makes 525600 windows of the range, at most 11000 are allowed" in answer.json()["detail"]

    def test_an_answer_that_would_be_too_large_is_refused(self) -> None:
        with running(limits={"max_response_bytes": 2_000}) as gateway:
            gateway.metrics.WriteMetrics(write(row({"a": "x" * 1_500, "b": "x" * 1_500}, subject="sources/a", at=NOON)))
            answer = get(client_of(gateway), "time_type=latest", "/sources/a/metrics")
            assert answer.status_code == 400
            assert "2000" in answer.json()["detail"]

    def test_an_unknown_source_is_not_found(self, client: LegacyClient) -> None:
        answer = get(client, path="/sources/nope/metrics")
        assert (answer.status_code, answer.json()) == (404, {"detail": "there is no source nope"})

    def test_a_path_that_is_not_utf_8_is_refused(self, client: LegacyClient) -> None:
        assert get(client, path="/sources/%FF/metrics").status_code == 400

    def test_other_paths_and_verbs_are_told_alike(self, gateway: Gateway) -> None:
        for verb, path, status in (("GET", "/sources/a/b/metrics", 404), ("POST", PATH, 405)):
            answer = gateway.http.request(verb, path)
            assert answer.status_code == status
            assert isinstance(answer.json()["detail"], str)


def test_the_page_names_every_parameter_and_status() -> None:
    page = (Path(__file__).parents[2] / "docs/legacy/sources.md").read_text(encoding="utf-8")
    names = [parameter["name"] for parameter in OPERATION["parameters"]]
    assert [name for name in names if f"| `{name}`" not in page] == []
    told = {status for row in re.findall(r"^\| ([45]\d\d(?:, \d+)*) \|", page, re.M) for status in row.split(", ")}
    assert OPERATION["responses"].keys() - told == {"200", "499"}


def test_the_permission_is_checked_before_anything_else() -> None:
    with running(auth="required") as gateway:
        client = client_of(gateway)
        answer = get(client, "time_interval=0")
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
        assert isinstance(answer.json()["detail"], str)


def test_a_token_needs_the_scope() -> None:
    with running() as guarded:
        made = guarded.tokens.CreateToken(
            token_service_pb2.CreateTokenRequest(token=token_service_pb2.Token(scopes=["admin"]))
        )
        admin = (("authorization", f"Bearer {made.secret}"),)
        client = client_of(guarded)
        for scope, statuses in (("read:jobs", (403, 403)), ("read:source_metrics", (422, 404))):
            made = guarded.tokens.CreateToken(
                token_service_pb2.CreateTokenRequest(token=token_service_pb2.Token(scopes=[scope])), metadata=admin
            )
            headers = {"Authorization": f"Bearer {made.secret}"}
            found = [client.send("GET", f"{PATH}?{query}", headers=headers) for query in ("time_interval=0", "")]
            assert tuple(answer.status_code for answer in found) == statuses
