"""Which assets an emit may bring into being, and repeats of emits by their request ids."""

from __future__ import annotations

import asyncio

import pytest
from grpc import StatusCode
from streamgauge.v1 import asset_metric_service_pb2 as pb
from streamgauge.v1 import server_service_pb2
from streamgauge_server.model.clock import FixedClock
from streamgauge_server.model.limits import Limits

from tests.rpc.asset_messages import OTHER, URN, emission, emit, name_of, newest, samples
from tests.rpc.emit_messages import assert_empty, asset_metrics, asset_urns, metric, request
from tests.rpc.messages import DAY, NOW, SECOND, Scalar, row, scalar, write
from tests.rpc.serving import Start, Stubs, invalid, refused


class TestRegistration:
    async def test_a_closed_server_emits_on_registered_assets_only(self, start: Start) -> None:
        stubs = await start(asset_registration="closed")
        await stubs.assets.CreateAsset(pb.CreateAssetRequest(asset=pb.Asset(urn=URN)))
        await emit(stubs, {"a": 1})
        with refused(StatusCode.NOT_FOUND, "ASSET_NOT_FOUND") as refusal:
            await emit(stubs, {"b": 1}, asset=OTHER)
        assert refusal.metadata["name"] == name_of(OTHER)
        assert "asset_registration is closed" in refusal.violations["asset"]
        assert await asset_urns(stubs) == [URN]
        assert await asset_metrics(stubs) == {"a"}

    async def test_validating_on_a_closed_server_tells_that_the_asset_is_unknown(self, start: Start) -> None:
        stubs = await start(asset_registration="closed")
        with refused(StatusCode.NOT_FOUND, "ASSET_NOT_FOUND"):
            await stubs.assets.EmitAssetMetrics(request(metric("a", 1), validate_only=True))

    async def test_a_resource_name_must_be_that_of_a_registered_asset(self, stubs: Stubs) -> None:
        with refused(StatusCode.NOT_FOUND, "ASSET_NOT_FOUND") as refusal:
            await emit(stubs, {"a": 1}, asset=name_of(URN))
        assert refusal.metadata["name"] == name_of(URN)
        await assert_empty(stubs)

    async def test_what_is_wrong_with_the_request_comes_before_an_unknown_asset(self, stubs: Stubs) -> None:
        with invalid() as refusal:
            await stubs.assets.EmitAssetMetrics(request(metric("", 1), asset=name_of(URN)))
        assert refusal.reasons == {"metrics[0].name": "INVALID_FIELD", "asset": "ASSET_NOT_FOUND"}

    async def test_the_setting_of_sources_is_another(self, start: Start) -> None:
        stubs = await start(subject_registration="closed")
        await emit(stubs, {"a": 1})
        assert await newest(stubs) == {"a": 1}

    @pytest.mark.parametrize("registration", ["open", "closed"])
    async def test_an_asset_that_another_server_deleted_comes_back_empty_or_not_at_all(
        self, start: Start, shared_url: str, registration: str
    ) -> None:
        one = await start(database=shared_url, asset_registration=registration)
        two = await start(database=shared_url, asset_registration=registration)
        await two.assets.CreateAsset(pb.CreateAssetRequest(asset=pb.Asset(urn=URN)))
        await emit(one, {"a": 1})
        await two.assets.DeleteAsset(pb.DeleteAssetRequest(asset=URN))
        if registration == "closed":
            with refused(StatusCode.NOT_FOUND, "ASSET_NOT_FOUND"):
                await emit(one, {"b": 2})
        else:
            await emit(one, {"b": 2})
            assert await samples(two) == {NOW: {"b": 2}}
        with refused(StatusCode.NOT_FOUND, "ASSET_NOT_FOUND"):
            await two.assets.DeleteAsset(pb.DeleteAssetRequest(asset=OTHER))

    async def test_a_tenant_has_as_many_assets_as_allowed(self, start: Start) -> None:
        stubs = await start(limits=Limits(max_subjects_per_tenant=1))
        await emit(stubs, {"a": 1})
        with refused(StatusCode.RESOURCE_EXHAUSTED, "SUBJECT_LIMIT") as refusal:
            await emit(stubs, {"a": 1}, asset=OTHER)
        assert refusal.metadata["limit"] == "1"
        assert await asset_urns(stubs) == [URN]

    async def test_a_tenant_has_as_many_metrics_as_allowed(self, start: Start) -> None:
        stubs = await start(limits=Limits(max_metrics_per_tenant=25))
        with refused(StatusCode.RESOURCE_EXHAUSTED, "METRIC_LIMIT"):
            await emit(stubs, {f"m{n}": n for n in range(26)})
        await assert_empty(stubs)

    async def test_features_tell_what_is_switched_on(self, start: Start) -> None:
        for settings, expected in (
            ({}, {"asset_registration", "single_emit", "subject_registration"}),
            ({"asset_registration": "closed", "single_emit": "off"}, {"subject_registration"}),
        ):
            stubs = await start(**settings)
            info = await stubs.server.GetServerInfo(server_service_pb2.GetServerInfoRequest())
            assert set(info.features) == expected


class TestRequestId:
    async def test_a_repeat_gets_the_first_answer_and_stores_nothing(self, stubs: Stubs, clock: FixedClock) -> None:
        values: dict[str, Scalar] = {
            "int": 2**63 - 1, "double": 0.1, "whole": 5.0, "zero": -0.0, "text": "ü\"'\\", "flag": False, "guess": "5",
        }  # fmt: skip
        message = emission(values, at=None)
        message.request_id = "r-1"
        message.metrics.append(metric("int", 7))
        first = await stubs.assets.EmitAssetMetrics(message)
        assert len(first.warnings) == 1
        clock.micros += SECOND
        again = await stubs.assets.EmitAssetMetrics(message)
        assert again == first
        # Equality of messages tells neither 5 from 5.0 nor the sign of a zero.
        assert again.SerializeToString(deterministic=True) == first.SerializeToString(deterministic=True)
        assert list(await samples(stubs)) == [NOW]

    async def test_a_repeat_does_not_bring_a_deleted_asset_back(self, stubs: Stubs) -> None:
        message = request(metric("a", 1), request_id="r-1")
        first = await stubs.assets.EmitAssetMetrics(message)
        await stubs.assets.DeleteAsset(pb.DeleteAssetRequest(asset=URN))
        assert await stubs.assets.EmitAssetMetrics(message) == first
        assert await asset_urns(stubs) == []

    async def test_another_body_is_refused_and_changes_nothing(self, stubs: Stubs) -> None:
        await stubs.assets.EmitAssetMetrics(request(metric("a", 1), request_id="r-1"))
        with invalid("REQUEST_ID_REUSED") as refusal:
            await stubs.assets.EmitAssetMetrics(request(metric("b", 1), asset=OTHER, request_id="r-1"))
        assert list(refusal.violations) == ["request_id"]
        assert refusal.metadata["request_id_field"] == "r-1"
        assert await asset_urns(stubs) == [URN]

    async def test_methods_share_their_ids(self, stubs: Stubs) -> None:
        await stubs.metrics.WriteMetrics(write(row({"x": 1}), request_id="r-1"))
        with invalid("REQUEST_ID_REUSED"):
            await stubs.assets.EmitAssetMetrics(request(metric("a", 1), request_id="r-1"))
        await assert_empty(stubs)

    async def test_concurrent_repeats_store_once_and_agree(self, stubs: Stubs) -> None:
        message = request(metric("a", 1), at=None, request_id="r-1")
        answers = await asyncio.gather(*(stubs.assets.EmitAssetMetrics(message) for _ in range(20)))
        assert all(answer == answers[0] for answer in answers)
        assert await samples(stubs) == {NOW: {"a": 1}}

    async def test_after_24_hours_the_id_is_free_again(self, stubs: Stubs, clock: FixedClock) -> None:
        await stubs.assets.EmitAssetMetrics(request(metric("a", 1), request_id="r-1"))
        clock.micros += DAY + SECOND
        await stubs.assets.EmitAssetMetrics(request(metric("a", 2), request_id="r-1"))
        assert await newest(stubs) == {"a": 2}

    async def test_a_refused_emit_does_not_use_up_its_id(self, stubs: Stubs) -> None:
        with invalid():
            await stubs.assets.EmitAssetMetrics(request(metric("", 1), request_id="r-1"))
        await stubs.assets.EmitAssetMetrics(request(metric("a", 1), request_id="r-1"))
        assert await newest(stubs) == {"a": 1}

    async def test_a_repeat_with_a_merged_answer_reads_it_again(self, stubs: Stubs) -> None:
        message = request(metric("a", "1"), request_id="r-1", return_merged=True)
        await stubs.assets.EmitAssetMetrics(message)
        await emit(stubs, {"a": "later", "b": 2})
        answer = await stubs.assets.EmitAssetMetrics(message)
        assert {entry.name: scalar(entry.value) for entry in answer.metrics} == {"a": "later", "b": 2}
