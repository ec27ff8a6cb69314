"""The assets API over real HTTP: the document's examples, its tables, ranges to the millisecond, and every failure."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import quote, urljoin

import httpx
import pytest
from streamgauge.v1 import asset_metric_service_pb2 as pb
from streamgauge.v1 import token_service_pb2
from streamgauge_server.gateway.legacy.assets_openapi import EMIT, READ, SCHEMAS
from streamgauge_server.model.errors import DomainError, Reason
from streamgauge_server.services.asset_reads import AssetReader, HistoryPage, HistoryQuestion

from tests.gateway.legacy_answers import LegacyClient
from tests.gateway.serving import Gateway, running
from tests.rpc.messages import scalar

WHEN = "2024-03-02T17:44:00.000Z"
NOW = "2026-01-01T12:00:00.000Z"
JSON = {"Content-Type": "application/json"}

_numbers = count()


def fresh() -> str:
    """A URN that no other test has."""
    return f"urn:li:dataset:(urn:li:dataPlatform:postgres,shop.public.orders{next(_numbers)},PROD)"


class AssetsClient(LegacyClient):
    """Emits and reads; `urn` is percent-encoded as far as it must be."""

    def __init__(self, gateway: Gateway) -> None:
        super().__init__(gateway, {"POST": EMIT, "GET": READ}, SCHEMAS)

    def path(self, urn: str, query: str = "") -> str:
        path = f"/api/xdg/v1/asset/{quote(urn, safe='')}/metric"
        return f"{path}?{query}" if query else path

    def emit(self, urn: str, body: Any, query: str = "", **headers: str) -> httpx.Response:
        content = body if isinstance(body, str | bytes) else json.dumps(body)
        return self.send("POST", self.path(urn, query), content=content, headers=JSON | headers)

    def store(self, urn: str, values: dict[str, Any], at: str | None = WHEN) -> None:
        metrics = [{"name": name, "value": value} for name, value in values.items()]
        assert self.emit(urn, {"timestamp": at, "metrics": metrics}).status_code == 200

    def read(self, urn: str, query: str = "") -> httpx.Response:
        return self.send("GET", self.path(urn, query))

    def history(self, urn: str, query: str = "") -> dict[str, dict[str, Any]]:
        answer = self.read(urn, query)
        assert answer.status_code == 200, answer.text
        return {moment["timestamp"]: values_of(moment) for moment in answer.json()}


def values_of(document: dict[str, Any]) -> dict[str, Any]:
    return {metric["name"]: metric["value"] for metric in document["metrics"]}


@pytest.fixture(scope="module")
def client(gateway: Gateway) -> AssetsClient:
    return AssetsClient(gateway)


def errors(answer: httpx.Response, status: int = 400) -> dict[str, str]:
    """Codes by where they are, of a problem document."""
    assert answer.status_code == status, answer.text
    document = answer.json()
    assert (document["type"], document["status"]) == ("about:blank", status)
    return {entry.get("pointer", entry.get("parameter")): entry["code"] for entry in document["errors"]}


class TestExamples:
    def test_the_multiple_format_is_answered_with_types_filled_in(self, client: AssetsClient) -> None:
        sent = [
            {"name": "qualityScore", "value": 18, "valueType": "NUMBER"},
            {"name": "lastUpdated", "value": WHEN},
            {"name": "isActiveInLast24Hours", "value": True},
        ]
        answer = client.emit(fresh(), {"timestamp": WHEN, "metrics": sent})
        assert answer.status_code == 200
        assert answer.json() == {
            "metrics": [
                sent[0],
                {"name": "lastUpdated", "value": WHEN, "valueType": "STRING"},
                {"name": "isActiveInLast24Hours", "value": True, "valueType": "BOOLEAN"},
            ],
            "name": None,
            "timestamp": WHEN,
            "value": None,
        }
        assert "deprecation" not in answer.headers

    def test_the_single_format_echoes_its_value_and_is_deprecated(self, client: AssetsClient) -> None:
        urn = fresh()
        answer = client.emit(urn, {"timestamp": WHEN, "name": "qualityScore", "value": "50"})
        assert answer.json() == {"timestamp": WHEN, "name": "qualityScore", "value": "50", "metrics": None}
        assert answer.headers["deprecation"].startswith("@")
        assert client.read(urn).json() == [
            {"metrics": [{"name": "qualityScore", "value": 50, "valueType": "NUMBER"}], "timestamp": WHEN}
        ]

    def test_emits_of_one_moment_are_merged_in_the_order_of_first_reports(self, client: AssetsClient) -> None:
        urn = fresh()
        client.store(urn, {"A": 1, "B": 1, "C": 1})
        client.store(urn, {"D": 2, "C": 2, "B": 2})
        (moment,) = client.read(urn).json()
        assert list(values_of(moment).items()) == [("A", 1), ("B", 2), ("C", 2), ("D", 2)]

    def test_a_type_that_does_not_match_stores_nothing(self, client: AssetsClient) -> None:
        urn = fresh()
        metrics = [{"name": "ok", "value": 1}, {"name": "x", "value": 18, "valueType": "BOOLEAN"}]
        assert errors(client.emit(urn, {"metrics": metrics})) == {"/metrics/1/valueType": "VALUE_TYPE_MISMATCH"}
        assert client.read(urn).status_code == 404

    def test_without_a_timestamp_the_moment_is_the_servers(self, client: AssetsClient) -> None:
        urn = fresh()
        assert client.emit(urn, {"metrics": [{"name": "a", "value": 1}]}).json()["timestamp"] == NOW
        assert client.emit(urn, {"name": "b", "value": "x"}).json()["timestamp"] == NOW
        assert client.history(urn) == {NOW: {"a": 1, "b": "x"}}


class TestTypes:
    @pytest.mark.parametrize(
        ("sent", "value_type", "stored"),
        [
            ("18", "NUMBER", "18"),
            ("-0.5", "NUMBER", "-0.5"),
            ("1e3", "NUMBER", "1000"),
            ("true", "BOOLEAN", "true"),
            ('"50"', "NUMBER", "50"),
            ('"true"', "BOOLEAN", "true"),
            ('"True"', "STRING", '"True"'),
            ('"007"', "STRING", '"007"'),
            ('"1,5"', "STRING", '"1,5"'),
            ('"\u0665\u0660"', "STRING", '"\u0665\u0660"'),
            ('"NaN"', "STRING", '"NaN"'),
            ('"null"', "STRING", '"null"'),
            ('"1e400"', "STRING", '"1e400"'),
            ('""', "STRING", '""'),
            ("0.1", "NUMBER", "0.1"),
            ("9007199254740993", "NUMBER", "9007199254740993"),
            ("-9223372036854775808", "NUMBER", "-9223372036854775808"),
            ("1e300", "NUMBER", "1e+300"),
        ],
    )
    def test_a_type_is_guessed_and_the_value_read_back_to_the_letter(
        self, client: AssetsClient, sent: str, value_type: str, stored: str
    ) -> None:
        urn = fresh()
        answer = client.emit(urn, f'{{"metrics": [{{"name": "a", "value": {sent}}}]}}'.encode())
        metric = f'{{"name":"a","value":{stored},"valueType":"{value_type}"}}'
        assert answer.text == f'{{"metrics":[{metric}],"name":null,"timestamp":"{NOW}","value":null}}'
        assert client.read(urn).text == f'[{{"metrics":[{metric}],"timestamp":"{NOW}"}}]'

    @pytest.mark.parametrize(
        ("value", "string", "number", "boolean"),
        [
            (18, None, 18, None),
            (True, None, None, True),
            ("50", "50", 50, None),
            ("true", "true", None, True),
            ("abc", "abc", None, None),
            (1, None, 1, None),
            (0, None, 0, None),
        ],
    )
    def test_a_type_that_is_given_must_fit(
        self, client: AssetsClient, value: Any, string: Any, number: Any, boolean: Any
    ) -> None:
        for value_type, stored in (("STRING", string), ("NUMBER", number), ("BOOLEAN", boolean)):
            answer = client.emit(fresh(), {"metrics": [{"name": "a", "value": value, "valueType": value_type}]})
            if stored is None:
                assert errors(answer) == {"/metrics/0/valueType": "VALUE_TYPE_MISMATCH"}
            else:
                (metric,) = answer.json()["metrics"]
                assert (metric["value"], type(metric["value"])) == (stored, type(stored))

    @pytest.mark.parametrize("literal", ["12345678901234567890", "-9223372036854775809", "1e400", "null", "{}", "[]"])
    def test_what_cannot_be_kept_is_refused(self, client: AssetsClient, literal: str) -> None:
        urn = fresh()
        answer = client.emit(urn, f'{{"metrics": [{{"name": "a", "value": {literal}}}]}}')
        assert errors(answer) == {"/metrics/0/value": "INVALID_FIELD"}
        assert errors(client.emit(urn, f'{{"name": "a", "value": {literal}}}')) == {"/value": "INVALID_FIELD"}
        assert client.read(urn).status_code == 404


class TestEmit:
    def test_the_merged_metrics_are_answered_on_request(self, client: AssetsClient) -> None:
        urn = fresh()
        client.store(urn, {"a": 1})
        body = {"timestamp": WHEN, "metrics": [{"name": "b", "value": 2}]}
        assert values_of(client.emit(urn, body, "return=merged").json()) == {"a": 1, "b": 2}
        assert values_of(client.emit(urn, body, "return=submitted").json()) == {"b": 2}
        assert errors(client.emit(urn, body, "return=all")) == {"return": "INVALID_FIELD"}

    def test_of_a_name_that_repeats_the_last_stands_with_a_warning(self, client: AssetsClient) -> None:
        metrics = [{"name": "\u00e4", "value": 1}, {"name": "\u00e4", "value": "x"}]
        answer = client.emit(fresh(), {"metrics": metrics})
        assert values_of(answer.json()) == {"\u00e4": "x"}
        assert answer.headers["warning"] == (
            "299 streamgauge \"metrics[1].name: '\\\\u00e4' is named before; the last of its values stands\""
        )

    def test_a_type_in_the_single_format_is_ignored_with_a_warning(self, client: AssetsClient) -> None:
        answer = client.emit(fresh(), {"name": "a", "value": "5", "valueType": "STRING"})
        assert answer.status_code == 200
        assert "valueType" in answer.headers["warning"]

    def test_everything_that_is_wrong_is_told_by_gateway_and_server_at_once(self, client: AssetsClient) -> None:
        metrics = [
            {"name": " a", "value": None},
            {"name": "b", "value": 1, "valueType": "number"},
            {"name": "c", "value": "x", "valueType": "NUMBER"},
        ]
        answer = client.emit("nope", {"timestamp": "2027-01-01T00:00:00Z", "metrics": metrics})
        assert errors(answer) == {
            "asset_urn": "INVALID_FIELD",
            "/timestamp": "INVALID_FIELD",
            "/metrics/0/name": "INVALID_FIELD",
            "/metrics/0/value": "INVALID_FIELD",
            "/metrics/1/valueType": "INVALID_FIELD",
            "/metrics/2/valueType": "VALUE_TYPE_MISMATCH",
        }
        assert "(and 5 more)" in answer.json()["detail"]

    def test_what_a_status_cannot_carry_is_counted(self, client: AssetsClient) -> None:
        metrics = [{"name": f"m{i}", "value": i, "valueType": "BOOLEAN"} for i in range(80)]
        document = client.emit(fresh(), {"metrics": metrics}).json()
        assert len(document["errors"]) + document["omitted"] == 80

    def test_what_the_gateway_finds_is_bounded_and_counted_too(self, client: AssetsClient) -> None:
        document = client.emit(fresh(), {"metrics": [{}] * 90}).json()
        assert len(document["errors"]) == 100
        assert document["omitted"] == 80

    @pytest.mark.parametrize(
        ("body", "found"),
        [
            ({"name": " x", "value": "1"}, {"/name": "INVALID_FIELD"}),
            ({"name": "x", "value": "99999999999999999999"}, {"/value": "INVALID_FIELD"}),
            ({"name": " x", "value": [], "timestamp": WHEN}, {"/name": "INVALID_FIELD", "/value": "INVALID_FIELD"}),
            ({"name": "x", "value": "1", "timestamp": "2026-01-02T12:00:00.001Z"}, {"/timestamp": "INVALID_FIELD"}),
        ],
    )
    def test_the_single_format_is_told_by_its_own_names(
        self, client: AssetsClient, body: dict[str, Any], found: dict[str, str]
    ) -> None:
        answer = client.emit(fresh(), body)
        assert errors(answer) == found
        assert answer.headers["deprecation"]

    @pytest.mark.parametrize(
        "body", ["", "[]", "{", '{"metrics": [], "name": "a"}', "{}", '{"name": "a", "name": "b", "value": 1}']
    )
    def test_a_body_that_is_no_emit_is_refused(self, client: AssetsClient, body: str) -> None:
        assert errors(client.emit(fresh(), body)) == {"": "INVALID_FIELD"}

    def test_nothing_to_emit_is_refused(self, client: AssetsClient) -> None:
        assert errors(client.emit(fresh(), {"metrics": []})) == {"/metrics": "INVALID_FIELD"}

    @pytest.mark.parametrize(
        ("content_type", "status"),
        [
            ("application/json", 200),
            ("Application/JSON; charset=UTF-8", 200),
            ("application/json; charset=latin-1", 415),
            ("text/plain", 415),
            ("", 415),
        ],
    )
    def test_the_body_must_be_said_to_be_json(self, client: AssetsClient, content_type: str, status: int) -> None:
        headers = {"Content-Type": content_type}
        body = b'{"metrics": [{"name": "a", "value": 1}]}'
        assert client.send("POST", client.path(fresh()), content=body, headers=headers).status_code == status

    def test_moments_are_normalised_to_milliseconds_of_utc(self, client: AssetsClient) -> None:
        urn = fresh()
        for text in ("2024-03-02T18:44:00.123456+0100", "2024-03-02T17:44:00.123999Z"):
            answer = client.emit(urn, {"timestamp": text, "metrics": [{"name": text, "value": 1}]})
            assert answer.json()["timestamp"] == "2024-03-02T17:44:00.123Z"
        (moment,) = client.read(urn).json()
        assert len(moment["metrics"]) == 2


MOMENTS = ("1969-12-31T23:59:59.999Z", "1970-01-01T00:00:00.000Z", WHEN, NOW)


@pytest.fixture(scope="module")
def spread(client: AssetsClient) -> str:
    """The URN of an asset with metrics from the first moment of all to a day ahead."""
    urn = fresh()
    ahead = ("2026-01-01T12:00:00.001Z", "2026-01-02T12:00:00.000Z")
    for moment in ("0001-01-01T00:00:00.000Z", *MOMENTS, *ahead):
        client.store(urn, {"a": 1}, moment)
    return urn


class TestRange:
    @pytest.mark.parametrize(
        ("query", "found"),
        [
            ("", MOMENTS[1:]),
            (f"from={WHEN}&to={WHEN}", [WHEN]),
            (f"from={WHEN}", MOMENTS[2:]),
            (f"to={WHEN}", MOMENTS[1:3]),
            ("from=2024-03-02T17:44:00.001Z", MOMENTS[3:]),
            ("to=2024-03-02T17:43:59.999Z", MOMENTS[1:2]),
            ("from=2024-03-02T17:44:00.000999Z&to=2024-03-02T18:44:00.000%2B0100", [WHEN]),
            ("from=2024-03-02T18:44:00.000+0100&to=2024-03-02T18:44:00.000+01:00", [WHEN]),
            ("from=2024-03-02T17:44:00.001Z&to=2024-03-02T17:44:00.001Z", []),
            ("from=1969-12-31T23:59:59.999Z&to=1970-01-01T00:00:00Z", MOMENTS[:2]),
            ("to=2026-01-01T12:00:00.001Z&from=2026-01-01T12:00:00Z", [NOW, "2026-01-01T12:00:00.001Z"]),
            (f"from=x&from={WHEN}&to={WHEN}&unknown=1", [WHEN]),
        ],
    )
    def test_both_ends_are_inside(self, client: AssetsClient, spread: str, query: str, found: Sequence[str]) -> None:
        assert list(client.history(spread, query)) == list(found)

    def test_the_extremes_of_time_are_inside(self, client: AssetsClient, spread: str) -> None:
        assert len(client.history(spread, "from=0001-01-01T00:00:00.000Z&to=9999-12-31T23:59:59.999Z")) == 7
        assert list(client.history(spread, "from=0001-01-01T00:00:00Z&to=0001-01-01T00:00:00Z")) == [
            "0001-01-01T00:00:00.000Z"
        ]

    @pytest.mark.parametrize(
        ("query", "resolved"),
        [
            ("from=2024-03-02T17:44:00.001Z&to=2024-03-02T17:44:00Z", "[2024-03-02T17:44:00.001Z, " + WHEN + "]"),
            ("to=1969-12-31T23:59:59.999Z", "[1970-01-01T00:00:00.000Z, 1969-12-31T23:59:59.999Z]"),
            ("from=2026-01-01T12:00:00.001Z", f"[2026-01-01T12:00:00.001Z, {NOW}]"),
        ],
    )
    def test_a_reversed_range_is_refused_as_resolved(
        self, client: AssetsClient, spread: str, query: str, resolved: str
    ) -> None:
        answer = client.read(spread, query)
        assert errors(answer) == {"from": "INVALID_TIME_RANGE"}
        assert resolved in answer.json()["detail"]

    @pytest.mark.parametrize(
        ("query", "parameters"),
        [
            ("from=2024-03-02T17:44:00&to=yesterday", ["from", "to"]),
            ("from=", ["from"]),
            ("to=9999-12-31T23:59:59-01:00", ["to"]),
            ("from=0001-01-01T00:00:00%2B01:00", ["from"]),
            ("page_size=0&from=now", ["from", "page_size"]),
            ("page_size=1001", ["page_size"]),
            ("page_size=-1", ["page_size"]),
            ("page_size=many", ["page_size"]),
            ("page_token=forged", ["page_token"]),
        ],
    )
    def test_a_wrong_parameter_is_named(
        self, client: AssetsClient, spread: str, query: str, parameters: list[str]
    ) -> None:
        assert list(errors(client.read(spread, query))) == parameters


@pytest.fixture(scope="module")
def long(client: AssetsClient) -> str:
    """The URN of an asset with 2,500 moments."""
    urn = fresh()
    requests = []
    for second in range(2_500):
        request = pb.EmitAssetMetricsRequest(asset=urn, metrics=[pb.AssetMetric(name="n")])
        request.metrics[0].value.int64_value = second
        request.time.seconds = second
        requests.append(request)
    client.gateway.assets.BatchEmitAssetMetrics(pb.BatchEmitAssetMetricsRequest(requests=requests, errors_only=True))
    return urn


class TestLongLists:
    def test_a_list_of_many_pages_is_one(self, client: AssetsClient, long: str) -> None:
        answer = client.read(long)
        assert "content-length" not in answer.headers
        assert [moment["metrics"][0]["value"] for moment in answer.json()] == list(range(2_500))

    def test_it_can_be_read_in_pages_by_their_links(self, client: AssetsClient, long: str) -> None:
        path, seen, links = client.path(long, "page_size=1000"), list[int](), 0
        while True:
            answer = client.send("GET", path)
            seen += [moment["metrics"][0]["value"] for moment in answer.json()]
            if "next" not in answer.links:
                break
            path, links = urljoin(path, answer.links["next"]["url"]), links + 1
        assert seen == list(range(2_500))
        assert links == 2

    def test_one_that_breaks_off_is_no_json_and_not_a_complete_answer(
        self, client: AssetsClient, long: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        history = AssetReader.history

        async def failing(self: AssetReader, caller: Any, question: HistoryQuestion) -> HistoryPage:
            if question.page_token:
                raise RuntimeError("the disk is gone")
            return await history(self, caller, question)

        monkeypatch.setattr(AssetReader, "history", failing)
        with pytest.raises(httpx.RemoteProtocolError):
            client.read(long)


def test_a_moment_that_the_server_cuts_into_pages_is_whole() -> None:
    with running(limits={"max_response_bytes": 20_000}) as gateway:
        client, urn = AssetsClient(gateway), fresh()
        for part in range(3):
            client.store(urn, {f"m{part}-{i}": "x" * 100 for i in range(80)})
        pages = gateway.assets.ListAssetMetrics(pb.ListAssetMetricsRequest(asset=urn))
        assert pages.next_page_token
        (moment,) = client.read(urn).json()
        assert [metric["name"] for metric in moment["metrics"]] == [f"m{p}-{i}" for p in range(3) for i in range(80)]


class TestUrns:
    @pytest.mark.parametrize(
        "urn",
        [
            "urn:li:dataset:(urn:li:dataPlatform:s3,bucket/a/b,PROD)",
            "urn:x:50%",
            "urn:x:%2F",
            "urn:x:a+b c",
            "urn:x:\u00fcn\u00efc\u00f6de-\u65e5\u672c-\U0001f600",
            "urn:x:../../../v1/sources",
            "urn:x:a?b#c&d=e;f",
            'urn:x:"\\',
        ],
    )
    def test_a_urn_is_decoded_exactly_once(self, client: AssetsClient, urn: str) -> None:
        client.store(urn, {"a": 1})
        assert client.history(urn) == {WHEN: {"a": 1}}
        (moment,) = client.gateway.assets.ListAssetMetrics(pb.ListAssetMetricsRequest(asset=urn)).moments
        assert scalar(moment.metrics[0].value) == 1

    def test_what_may_stand_for_itself_need_not_be_encoded(self, client: AssetsClient) -> None:
        urn = fresh()
        client.store(urn, {"a": 1})
        assert client.send("GET", f"/api/xdg/v1/asset/{urn}/metric").json() == client.read(urn).json()
        assert client.send("GET", f"/api/xdg/v1/asset/{urn}/metric/").json() == client.read(urn).json()

    def test_twice_encoded_is_another_asset(self, client: AssetsClient) -> None:
        urn = "urn:x:a/b-twice"
        client.store(urn, {"a": 1})
        assert client.read(quote(urn, safe=":")).status_code == 404

    @pytest.mark.parametrize("urn", ["nope", "urn:x", "urn::a", " urn:x:a", "urn:x:\x00", "urn:x:a\n", "assets/-"])
    def test_what_is_no_urn_is_refused(self, client: AssetsClient, urn: str) -> None:
        assert errors(client.read(urn)) == {"asset_urn": "INVALID_FIELD"}
        assert errors(client.emit(urn, {"name": "a", "value": "1"})) == {"asset_urn": "INVALID_FIELD"}

    def test_a_resource_name_is_no_urn(self, client: AssetsClient) -> None:
        urn = fresh()
        client.store(urn, {"a": 1})
        name = client.gateway.assets.GetAsset(pb.GetAssetRequest(asset=urn)).asset.name
        assert errors(client.read(name)) == {"asset_urn": "INVALID_FIELD"}

    def test_a_path_that_is_not_utf_8_is_refused(self, client: AssetsClient) -> None:
        assert client.send("GET", "/api/xdg/v1/asset/urn:x:%FF/metric").status_code == 400

    def test_a_slash_that_is_not_encoded_makes_another_path(self, client: AssetsClient) -> None:
        assert client.send("GET", "/api/xdg/v1/asset/urn:x:a/b/metric").status_code == 404

    def test_an_unknown_asset_is_not_found_by_its_urn(self, client: AssetsClient) -> None:
        urn = fresh()
        answer = client.read(urn)
        assert answer.status_code == 404
        assert answer.json()["detail"] == f"asset_urn: there is no asset {urn}"
        assert answer.json()["code"] == "ASSET_NOT_FOUND"

    def test_a_deleted_asset_starts_empty(self, client: AssetsClient) -> None:
        urn = fresh()
        client.store(urn, {"a": 1})
        client.gateway.assets.DeleteAsset(pb.DeleteAssetRequest(asset=urn))
        assert client.read(urn).status_code == 404
        client.store(urn, {"b": 2})
        assert client.history(urn) == {WHEN: {"b": 2}}


def test_other_verbs_are_told_as_problems(gateway: Gateway) -> None:
    answer = gateway.http.request("DELETE", "/api/xdg/v1/asset/urn:x:a/metric")
    assert (answer.status_code, answer.json()["code"]) == (405, "METHOD_NOT_ALLOWED")
    assert "POST" in answer.headers["allow"]


def test_closed_registration_and_a_switched_off_single_format_are_told() -> None:
    with running(asset_registration="closed", single_emit="off") as gateway:
        client, urn = AssetsClient(gateway), fresh()
        body = {"metrics": [{"name": "a", "value": 1}]}
        answer = client.emit(urn, body)
        assert errors(answer, 404) == {"asset_urn": "ASSET_NOT_FOUND"}
        assert f"there is no asset {urn}, and an emit does not register it" in answer.json()["detail"]
        gateway.assets.CreateAsset(pb.CreateAssetRequest(asset=pb.Asset(urn=urn)))
        assert client.emit(urn, body).status_code == 200
        answer = client.emit(urn, {"name": "a", "value": "1"})
        assert (answer.status_code, answer.json()["code"]) == (400, "FEATURE_NOT_SUPPORTED")
        assert answer.headers["deprecation"]


def test_bodies_and_answers_that_are_too_large_are_refused() -> None:
    with running(http={"max_body_bytes": 4_000}, limits={"max_response_bytes": 2_000}) as gateway:
        client, urn = AssetsClient(gateway), fresh()
        assert client.emit(urn, {"metrics": [{"name": "a", "value": "x" * 4_000}]}).status_code == 413
        metrics = [{"name": f"a{i}", "value": "x" * 100} for i in range(20)]
        answer = client.emit(urn, {"metrics": metrics})
        assert (answer.status_code, answer.json()["code"]) == (413, "MESSAGE_TOO_LARGE")
        assert client.read(urn).status_code == 404


def test_the_page_names_every_parameter_and_status() -> None:
    page = (Path(__file__).parents[2] / "docs/legacy/assets.md").read_text(encoding="utf-8")
    told = {status for row in re.findall(r"^\| ([45]\d\d(?:, \d+)*) \|", page, re.M) for status in row.split(", ")}
    for operation in (EMIT, READ):
        assert [entry["name"] for entry in operation["parameters"] if f"`{entry['name']}`" not in page] == []
        assert operation["responses"].keys() - told <= {"200", "499"}


def test_the_paths_may_have_a_prefix_and_be_switched_off() -> None:
    with running(http={"assets": {"prefix": "/semarchy/"}, "sources": {"enabled": False}}) as gateway:
        path = "/api/xdg/v1/asset/urn:x:a/metric"
        assert gateway.http.get(f"/semarchy{path}").json()["code"] == "ASSET_NOT_FOUND"
        assert gateway.http.get(f"/semarchy{path}s").headers["content-type"] == "application/problem+json"
        assert "urn:x:a" not in gateway.http.get(path).text
        assert "no source" not in gateway.http.get("/sources/a/metrics").text


def test_tokens_need_the_scopes() -> None:
    with running() as gateway:
        client, urn = AssetsClient(gateway), fresh()

        def token(scope: str, admin: str = "") -> str:
            metadata = (("authorization", admin),) if admin else ()
            request = token_service_pb2.CreateTokenRequest(token=token_service_pb2.Token(scopes=[scope]))
            return f"Bearer {gateway.tokens.CreateToken(request, metadata=metadata).secret}"

        admin = token("admin")
        reader, writer = token("read:asset_metrics", admin), token("write:asset_metrics", admin)
        body = {"metrics": [{"name": "a", "value": 1}]}
        assert client.emit(urn, body).status_code == 401
        assert client.emit(urn, {"metrics": [{}]}).status_code == 401
        assert client.emit(urn, body, Authorization="Bearer nonsense").headers["www-authenticate"] == "Bearer"
        assert client.emit(urn, body, Authorization=reader).status_code == 403
        assert client.emit(urn, body, Authorization=writer).status_code == 200
        assert client.emit(urn, body, "return=merged", Authorization=writer).json()["code"] == "SCOPE_MISSING"
        for header, status in ((writer, 403), (reader, 200)):
            answer = client.send("GET", client.path(urn), headers={"Authorization": header})
            assert answer.status_code == status


def test_a_fault_of_the_server_tells_nothing_of_the_inside(
    client: AssetsClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(self: AssetReader, caller: Any, question: HistoryQuestion) -> HistoryPage:
        raise RuntimeError("secret")

    monkeypatch.setattr(AssetReader, "history", broken)
    answer = client.read("urn:x:a")
    assert (answer.status_code, answer.json()["code"]) == (500, "INTERNAL")
    assert "secret" not in answer.text


def test_a_store_that_is_away_is_a_503_with_advice(client: AssetsClient, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(self: AssetReader, caller: Any, question: HistoryQuestion) -> HistoryPage:
        raise DomainError(Reason.STORE_UNAVAILABLE, "the store is away", retry_after=1.5)

    monkeypatch.setattr(AssetReader, "history", away)
    answer = client.read("urn:x:a")
    assert (answer.status_code, answer.json()["code"]) == (503, "STORE_UNAVAILABLE")
    assert answer.headers["retry-after"] == "2"
