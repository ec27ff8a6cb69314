"""`EmitAssetMetric`, the deprecated form: one metric, whose value is text; and who still calls it."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.request import urlopen

import pytest
from grpc import StatusCode
from prometheus_client.parser import text_string_to_metric_families
from streamgauge.v1 import asset_metric_service_pb2 as pb
from streamgauge_server.model.clock import MICROS_PER_HOUR, FixedClock
from streamgauge_server.model.entities import Caller
from streamgauge_server.rpc.context import Call, Method
from streamgauge_server.rpc.deprecation import MAX_COUNTED, DeprecatedCalls
from streamgauge_server.services.tokens import Tokens
from structlog.testing import capture_logs

from tests.rpc.asset_messages import URN, emit, name_of, newest, samples
from tests.rpc.emit_messages import assert_empty, asset_urns, declare
from tests.rpc.messages import DAY, NOW, Scalar, micros, stamp
from tests.rpc.serving import Start, Stubs, invalid, refused


async def single(
    stubs: Stubs,
    text: str = "50",
    *,
    asset: str = URN,
    name: str = "badge",
    at: int = NOW,
    header: Any = None,
) -> pb.EmitAssetMetricResponse:
    message = pb.EmitAssetMetricRequest(asset=asset, metric=name, value=text, time=stamp(at))
    answer: pb.EmitAssetMetricResponse = await stubs.assets.EmitAssetMetric(message, metadata=header)
    return answer


class TestSingle:
    @pytest.mark.parametrize(
        ("text", "stored"),
        [("50", 50), ("0.5", 0.5), ("true", True), ("GOLD", "GOLD"), ("007", "007"), ("", ""), ("1e400", "1e400")],
    )
    async def test_the_answer_echoes_the_text_and_the_stored_value_is_guessed(
        self, stubs: Stubs, text: str, stored: Scalar
    ) -> None:
        answer = await single(stubs, text)
        assert (answer.asset, answer.metric, answer.value) == (name_of(URN), "badge", text)
        assert micros(answer.time) == NOW
        read = await newest(stubs)
        assert read == {"badge": stored}
        assert type(read["badge"]) is type(stored)

    async def test_it_merges_with_what_the_moment_has(self, stubs: Stubs) -> None:
        await emit(stubs, {"rows": 5, "badge": "old"})
        await single(stubs, "new")
        assert await samples(stubs) == {NOW: {"rows": 5, "badge": "new"}}

    async def test_what_is_wrong_is_told_by_the_names_of_this_form(self, stubs: Stubs) -> None:
        with invalid() as refusal:
            await single(stubs, "99999999999999999999", asset="x", name=" y", at=NOW + 2 * DAY)
        assert list(refusal.violations) == ["asset", "time", "metric", "value"]
        await declare(stubs, "badge", "NUMBER")
        with invalid("VALUE_TYPE_MISMATCH") as refusal:
            await single(stubs, "GOLD")
        assert list(refusal.violations) == ["value"]
        assert await asset_urns(stubs) == []

    async def test_an_unknown_asset_on_a_closed_server_is_not_found(self, start: Start) -> None:
        stubs = await start(asset_registration="closed")
        with refused(StatusCode.NOT_FOUND, "ASSET_NOT_FOUND"):
            await single(stubs)

    async def test_switched_off_it_is_refused(self, start: Start) -> None:
        stubs = await start(single_emit="off")
        with refused(StatusCode.FAILED_PRECONDITION, "FEATURE_NOT_SUPPORTED") as refusal:
            await single(stubs)
        assert refusal.metadata["feature"] == "single_emit"
        await assert_empty(stubs)

    def test_the_contract_marks_it_as_deprecated(self) -> None:
        service = pb.DESCRIPTOR.services_by_name["AssetMetricService"]
        deprecated = [method.name for method in service.methods if method.GetOptions().deprecated]
        assert deprecated == ["EmitAssetMetric"]


class TestCallers:
    """Who still calls the deprecated form is counted, and told in the log."""

    def scraped(self, stubs: Stubs) -> dict[tuple[str, str, str], float]:
        """Calls by method, tenant and token, as the endpoint for Prometheus tells them."""
        assert stubs.app is not None
        with urlopen(f"http://127.0.0.1:{stubs.app.metrics_port}/metrics", timeout=10) as page:
            families = list(text_string_to_metric_families(page.read().decode()))
        return {
            (sample.labels["grpc_method"], sample.labels["tenant"], sample.labels["token"]): sample.value
            for family in families
            if family.name == "streamgauge_deprecated_calls"
            for sample in family.samples
            if sample.name.endswith("_total")
        }

    async def test_each_caller_is_counted_also_when_it_is_refused(self, start: Start, clock: FixedClock) -> None:
        stubs = await start(metrics_port=0, auth="required", single_emit="off")
        assert stubs.app is not None
        assert stubs.app.store is not None
        ids = []
        for tenant in ("shop", "bank"):
            admin = Caller(tenant, frozenset({"admin"}))
            token, secret = await Tokens(stubs.app.store, clock).create(admin, scopes=["write:asset_metrics"])
            ids.append(token.id)
            for _ in range(2):
                with refused(StatusCode.FAILED_PRECONDITION, "FEATURE_NOT_SUPPORTED"):
                    await single(stubs, header=(("authorization", f"Bearer {secret}"),))
        assert await asyncio.to_thread(self.scraped, stubs) == {
            ("EmitAssetMetric", "shop", ids[0]): 2.0,
            ("EmitAssetMetric", "bank", ids[1]): 2.0,
        }

    async def test_the_recommended_form_is_not_counted(self, start: Start) -> None:
        stubs = await start(metrics_port=0)
        await emit(stubs, {"a": 1})
        assert await asyncio.to_thread(self.scraped, stubs) == {}
        await single(stubs)
        assert await asyncio.to_thread(self.scraped, stubs) == {("EmitAssetMetric", "default", ""): 1.0}

    def test_a_caller_has_a_line_in_the_log_once_an_hour(self, clock: FixedClock) -> None:
        calls = DeprecatedCalls(clock)
        with capture_logs() as lines:
            for tenant in ("shop", "bank", "shop"):
                calls.note(called_by(tenant), "EmitAssetMetrics")
            clock.micros += MICROS_PER_HOUR - 1
            calls.note(called_by("shop"), "EmitAssetMetrics")
            clock.micros += 1
            calls.note(called_by("shop"), "EmitAssetMetrics")
        assert [line["tenant"] for line in lines] == ["shop", "bank", "shop"]
        assert lines[0] == {
            "event": "deprecated method called",
            "log_level": "warning",
            "method": METHOD,
            "instead": "EmitAssetMetrics",
            "tenant": "shop",
            "token": "t",
            "request_id": "r",
        }

    def test_however_many_callers_there_are_memory_and_labels_are_bounded(self, clock: FixedClock) -> None:
        calls = DeprecatedCalls(clock)
        with capture_logs():
            for number in range(MAX_COUNTED + 500):
                calls.note(called_by(str(number)), "EmitAssetMetrics")
            calls.note(called_by("0"), "EmitAssetMetrics")
        (family,) = calls.collect()
        counts = {sample.labels["tenant"]: sample.value for sample in family.samples}
        assert len(counts) == MAX_COUNTED + 1
        assert (counts["0"], counts["1"], counts[""]) == (2, 1, 500)


METHOD = "/streamgauge.v1.AssetMetricService/EmitAssetMetric"


def called_by(tenant: str) -> Call:
    return Call(Method(METHOD, False, False), request_id="r", caller=Caller(tenant, frozenset(), "t"))
