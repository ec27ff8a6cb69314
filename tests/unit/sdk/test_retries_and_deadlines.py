"""When a call is tried again, how long it waits, and how much time it has. Fake time throughout."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
import streamgauge
from streamgauge import (
    Client,
    DeadlineExceededError,
    InvalidArgumentError,
    Observation,
    ResourceExhaustedError,
    StoreUnavailableError,
    UnavailableError,
    _aio_calls,
    _retry,
    _service_config,
)
from streamgauge._connection import Connection
from streamgauge._service_config import RetryPolicy
from streamgauge.v1 import metrics_service_pb2, source_service_pb2, token_service_pb2

from tests.unit.sdk.scripts import FILES, SERVICES, TestingScript, refuse, scripted_server, status

Code = grpc.StatusCode
GET = "SourceService/GetSource"
WRITE = "MetricsService/WriteMetrics"
SOURCE = source_service_pb2.GetSourceResponse(source=source_service_pb2.Source(name="sources/orders"))
AWAY = status(Code.UNAVAILABLE, "away")
SDK = Path(streamgauge.__file__).parent


def test_an_unavailable_server_is_tried_again_with_growing_pauses_until_it_answers() -> None:
    script = TestingScript()
    call = script.start(script.client.sources.get, "orders")
    for _ in range(3):
        script.refuse(GET, AWAY)
    script.answer(GET, SOURCE)
    assert call.result(timeout=10).name == "sources/orders"
    assert script.sleeps == pytest.approx([0.2, 0.4, 0.8])


def test_the_last_error_is_raised_when_all_attempts_are_used() -> None:
    script = TestingScript()
    call = script.start(script.client.sources.get, "orders")
    for attempt in range(5):
        script.refuse(GET, status(Code.UNAVAILABLE, f"away {attempt}"))
    error = call.exception(timeout=10)
    assert isinstance(error, UnavailableError)
    assert error.message == "away 4"
    assert script.sleeps == pytest.approx([0.2, 0.4, 0.8, 1.6])


def test_retry_info_is_a_lower_bound_of_the_pause() -> None:
    script = TestingScript()
    call = script.start(script.client.sources.get, "orders")
    script.refuse(GET, status(Code.UNAVAILABLE, reason="STORE_UNAVAILABLE", retry_after=3.0))
    script.refuse(GET, status(Code.UNAVAILABLE, reason="STORE_UNAVAILABLE", retry_after=0.001))
    script.answer(GET, SOURCE)
    call.result(timeout=10)
    assert script.sleeps == pytest.approx([3.0, 0.4])


def test_an_error_with_retry_info_is_tried_again_whatever_its_code() -> None:
    script = TestingScript()
    call = script.start(script.client.sources.get, "orders")
    script.refuse(GET, status(Code.RESOURCE_EXHAUSTED, reason="RATE_LIMITED", retry_after=2.0))
    script.answer(GET, SOURCE)
    call.result(timeout=10)
    assert script.sleeps == pytest.approx([2.0])


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (status(Code.INVALID_ARGUMENT), InvalidArgumentError),
        (status(Code.RESOURCE_EXHAUSTED, reason="MESSAGE_TOO_LARGE"), ResourceExhaustedError),
        (status(Code.DEADLINE_EXCEEDED), DeadlineExceededError),
    ],
)
def test_an_error_that_does_not_pass_is_not_tried_again(told: Any, expected: type[Exception]) -> None:
    script = TestingScript()
    call = script.start(script.client.sources.get, "orders")
    script.refuse(GET, told)
    assert isinstance(call.exception(timeout=10), expected)
    assert script.sleeps == []


def test_a_pause_that_would_outlast_the_deadline_is_not_begun() -> None:
    script = TestingScript()
    call = script.start(script.client.sources.get, "orders", timeout=5.0)
    script.refuse(GET, status(Code.UNAVAILABLE, reason="STORE_UNAVAILABLE", retry_after=5.0))
    assert isinstance(call.exception(timeout=10), StoreUnavailableError)
    assert script.sleeps == []


def test_attempts_share_one_deadline() -> None:
    script = TestingScript()
    call = script.start(script.client.sources.get, "orders", timeout=5.0)
    script.refuse(GET, AWAY)
    script.refuse(GET, AWAY)
    script.answer(GET, SOURCE)
    call.result(timeout=10)
    assert script.timeouts == pytest.approx([5.0, 4.8, 4.4])


@pytest.mark.parametrize(
    ("call", "method"),
    [
        (lambda c: c.sources.create("orders"), "SourceService/CreateSource"),
        (lambda c: c.sources.update("orders", display_name="x"), "SourceService/UpdateSource"),
        (lambda c: c.sources.delete("orders"), "SourceService/DeleteSource"),
        (lambda c: c.tokens.create(["admin"]), "TokenService/CreateToken"),
        (lambda c: c.metrics.descriptors.update("m", unit="x"), "MetricsService/UpdateMetricDescriptor"),
    ],
)
def test_what_changes_something_is_not_tried_again(call: Callable[[Client], Any], method: str) -> None:
    script = TestingScript()
    started = script.start(call, script.client)
    script.refuse(method, status(Code.UNAVAILABLE, retry_after=0.1))
    assert isinstance(started.exception(timeout=10), UnavailableError)
    assert script.sleeps == []


def test_a_write_is_tried_again_under_one_request_id() -> None:
    script = TestingScript()
    call = script.start(script.client.metrics.write, [Observation("sources/orders", {"a": 1})])
    first = script.refuse(WRITE, AWAY)
    second = script.answer(WRITE, metrics_service_pb2.WriteMetricsResponse(accepted_count=1))
    assert first == second
    assert call.result(timeout=10).request_id == first.request_id
    assert len(first.request_id) >= 16


def test_every_write_has_a_request_id_of_its_own_unless_it_is_given_or_nothing_is_stored() -> None:
    script = TestingScript()
    seen = []
    for keywords in ({}, {}, {"request_id": "mine"}, {"validate_only": True}):
        call = script.start(script.client.metrics.write, [Observation("sources/orders", {"a": 1})], **keywords)
        seen.append(script.answer(WRITE, metrics_service_pb2.WriteMetricsResponse()).request_id)
        call.result(timeout=10)
    assert seen[0] != seen[1]
    assert seen[2:] == ["mine", ""]


def test_a_revocation_is_tried_again_since_revoking_twice_changes_nothing() -> None:
    script = TestingScript()
    call = script.start(script.client.tokens.revoke, "abc")
    script.refuse("TokenService/RevokeToken", AWAY)
    script.answer("TokenService/RevokeToken", token_service_pb2.RevokeTokenResponse())
    call.result(timeout=10)


def test_the_deadline_is_the_calls_own_then_the_clients_then_the_methods() -> None:
    for client_timeout, call_timeout, expected in (
        (None, None, 10.0),
        (7.0, None, 7.0),
        (7.0, 3.0, 3.0),
        (None, math.inf, None),
    ):
        script = TestingScript(timeout=client_timeout)
        call = script.start(script.client.sources.get, "orders", timeout=call_timeout)
        script.answer(GET, SOURCE)
        call.result(timeout=10)
        assert script.timeouts == [expected]


def test_the_raw_stubs_follow_the_same_policies() -> None:
    script = TestingScript(token="secret")
    request = source_service_pb2.GetSourceRequest(name="sources/orders")
    call = script.start(script.client.stubs.sources.GetSource, request, metadata=(("x-extra", "1"),))
    script.refuse(GET, AWAY)
    metadata, _, rpc = script.take(GET)
    rpc.terminate(SOURCE, (), Code.OK, "")
    assert call.result(timeout=10) == SOURCE
    assert metadata["authorization"] == "Bearer secret"
    assert metadata["x-extra"] == "1"
    assert script.timeouts == pytest.approx([10.0, 9.8])


async def test_the_asyncio_client_makes_the_same_decisions() -> None:
    answers = [AWAY, status(Code.UNAVAILABLE, retry_after=3.0)]
    sleeps: list[float] = []
    now = 0.0

    def answer(request: Any, context: grpc.ServicerContext) -> Any:
        return refuse(answers.pop(0))(request, context) if answers else SOURCE

    async def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds
        sleeps.append(seconds)

    with scripted_server(GetSource=answer) as server:
        clock = _aio_calls.AsyncClock(lambda: now, sleep, lambda low, high: (low + high) / 2)
        client = streamgauge.AsyncClient(server.target)
        client._build(_aio_calls.AsyncCallingChannel(Connection(server.target), clock=clock))
        async with client:
            assert (await client.sources.get("orders", timeout=60)).name == "sources/orders"
            assert sleeps == pytest.approx([0.2, 3.0])
            told = [call.time_remaining for call in server.calls]
            assert [round(seconds or 0) for seconds in told] == [60, 60, 57]
            answers.append(status(Code.UNAVAILABLE, retry_after=60.0))
            with pytest.raises(UnavailableError):
                await client.sources.get("orders", timeout=60)
    assert sleeps == pytest.approx([0.2, 3.0])


# --- The decision by itself ------------------------------------------------------------------------------------------

POLICY = RetryPolicy(4, 0.1, 1.0, 2.0, frozenset({Code.UNAVAILABLE}))


def test_back_off_grows_to_its_cap_and_stays_there_for_ever() -> None:
    waits = [_retry.backoff(POLICY, attempt, lambda low, high: 1.0) for attempt in (1, 2, 3, 4, 5, 10_000)]
    assert waits == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.0, 1.0])


def test_back_off_is_jittered_by_a_fifth_both_ways() -> None:
    bounds: list[tuple[float, float]] = []

    def jitter(low: float, high: float) -> float:
        bounds.append((low, high))
        return low

    assert _retry.backoff(POLICY, 1, jitter) == pytest.approx(0.08)
    assert bounds == [(0.8, 1.2)]


# --- The file --------------------------------------------------------------------------------------------------------


def test_the_sdk_ships_the_service_config_that_all_languages_share() -> None:
    shared = SDK.parent.parent / "service_config.json"
    assert (SDK / "service_config.json").read_bytes() == shared.read_bytes()


def test_the_service_config_names_every_method_once() -> None:
    document = json.loads((SDK / "service_config.json").read_text())
    named = [f"/{name['service']}/{name['method']}" for entry in document["methodConfig"] for name in entry["name"]]
    methods = [f"/{service.full_name}/{method.name}" for service in SERVICES.values() for method in service.methods]
    assert sorted(named) == sorted(methods)
    assert len(SERVICES) == len(FILES)


def test_only_calls_that_may_be_repeated_have_a_retry_policy() -> None:
    retried = {path.rpartition("/")[2] for path, policy in _service_config.load().methods.items() if policy.retry}
    safe = {name for name in retried if name.startswith(("Get", "List", "Query"))}
    assert retried - safe == {
        "WriteMetrics",
        "EmitAssetMetrics",
        "BatchEmitAssetMetrics",
        "ReportJob",
        "ReportIngests",
        "RecalculateMetricType",
        "RevokeToken",
    }
    assert "ImportMetrics" not in retried


def test_grpc_itself_takes_the_file_and_retries_by_it() -> None:
    refusals = [AWAY]

    def answer(request: Any, context: grpc.ServicerContext) -> Any:
        return refuse(refusals.pop())(request, context) if refusals else SOURCE

    text = (SDK / "service_config.json").read_text()
    with (
        scripted_server(GetSource=answer) as server,
        grpc.insecure_channel(server.target, [("grpc.service_config", text)]) as channel,
    ):
        call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(
            "/streamgauge.v1.SourceService/GetSource"
        )
        assert source_service_pb2.GetSourceResponse.FromString(call(b"")) == SOURCE
    assert len(server.calls) == 2
