"""`BatchEmitAssetMetrics`: each emit is stored whole or not at all, and has its own outcome."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from grpc import StatusCode
from streamgauge.v1 import asset_metric_service_pb2 as pb
from streamgauge.v1 import errors_pb2, metrics_service_pb2
from streamgauge_server.model.clock import FixedClock
from streamgauge_server.model.errors import Reason
from streamgauge_server.model.limits import Limits

from tests.rpc.asset_messages import OTHER, URN, emission, emit, moments, name_of, newest, samples
from tests.rpc.emit_messages import answered, assert_empty, asset_metrics, asset_urns, declare, metric, request
from tests.rpc.messages import DAY, NOW, SECOND, Scalar, micros
from tests.rpc.serving import Start, Stubs, invalid, refused


def batch(*requests: pb.EmitAssetMetricsRequest, **options: Any) -> pb.BatchEmitAssetMetricsRequest:
    return pb.BatchEmitAssetMetricsRequest(requests=requests, **options)


def urn(number: int) -> str:
    return f"urn:li:dataset:(urn:li:dataPlatform:postgres,shop.t{number},PROD)"


async def send(stubs: Stubs, *requests: pb.EmitAssetMetricsRequest, **options: Any) -> pb.BatchEmitAssetMetricsResponse:
    answer: pb.BatchEmitAssetMetricsResponse = await stubs.assets.BatchEmitAssetMetrics(batch(*requests, **options))
    return answer


def violations(outcome: pb.EmitOutcome) -> dict[str, str]:
    """Reasons by field."""
    return {entry.field: Reason(entry.reason).name for entry in outcome.error.violations}


def counts(answer: pb.BatchEmitAssetMetricsResponse) -> tuple[int, int]:
    return answer.accepted_count, answer.rejected_count


class TestOutcomes:
    async def test_each_emit_has_its_own_in_the_order_of_the_request(self, stubs: Stubs) -> None:
        answer = await send(
            stubs,
            request(metric("a", "50"), metric("b", "x", "STRING")),
            request(metric("a", 1, "BOOLEAN"), metric("", 1), asset=OTHER),
            request(metric("a", True), asset=OTHER, at=NOW + SECOND),
        )
        assert counts(answer) == (2, 1)
        assert [outcome.index for outcome in answer.outcomes] == [0, 1, 2]
        assert [outcome.WhichOneof("result") for outcome in answer.outcomes] == ["emitted", "error", "emitted"]
        first, bad, last = answer.outcomes
        assert (first.emitted.asset, first.emitted.urn) == (name_of(URN), URN)
        assert micros(last.emitted.time) == NOW + SECOND
        assert answered(first.emitted) == {"a": ("NUMBER", 50, True), "b": ("STRING", "x", False)}
        assert bad.error.reason == errors_pb2.ERROR_REASON_INVALID_FIELD
        assert bad.error.message == "metrics[1].name: must not be empty (and 1 more)"
        assert violations(bad) == {"metrics[1].name": "INVALID_FIELD", "metrics[0].value_type": "VALUE_TYPE_MISMATCH"}
        assert await samples(stubs) == {NOW: {"a": 50, "b": "x"}}
        assert await samples(stubs, OTHER) == {NOW + SECOND: {"a": True}}

    async def test_with_errors_only_those_that_went_well_have_none(self, stubs: Stubs) -> None:
        answer = await send(
            stubs,
            request(metric("a", 1)),
            request(metric("a", float("nan")), asset=OTHER),
            request(metric("a", 1), asset=urn(3)),
            errors_only=True,
        )
        assert counts(answer) == (2, 1)
        (bad,) = answer.outcomes
        assert (bad.index, violations(bad)) == (1, {"metrics[0].value": "INVALID_FIELD"})
        assert await asset_urns(stubs) == sorted([URN, urn(3)])

    async def test_an_outcome_lists_a_hundred_violations_and_counts_them_all(self, stubs: Stubs) -> None:
        answer = await send(stubs, request(*[metric(f"m{n}", n, "STRING") for n in range(250)]))
        (bad,) = answer.outcomes
        assert len(bad.error.violations) == 100
        assert bad.error.message.endswith("(and 249 more)")
        assert bad.error.reason == errors_pb2.ERROR_REASON_VALUE_TYPE_MISMATCH

    async def test_a_refused_emit_registers_nothing(self, stubs: Stubs) -> None:
        answer = await send(stubs, request(metric("a", 1), metric("b", "x", "NUMBER")), errors_only=True)
        assert counts(answer) == (0, 1)
        await assert_empty(stubs)

    async def test_types_and_ranges_that_are_declared_are_checked_for_each(self, stubs: Stubs) -> None:
        await declare(stubs, "code", "STRING")
        await declare(stubs, "share", "NUMBER", max_value=1.0)
        answer = await send(
            stubs,
            request(metric("code", "50"), metric("share", "0.5")),
            request(metric("code", 50), asset=OTHER),
            request(metric("share", 2), asset=OTHER),
        )
        assert counts(answer) == (1, 2)
        assert await samples(stubs) == {NOW: {"code": "50", "share": 0.5}}
        assert violations(answer.outcomes[1]) == {"metrics[0].value": "VALUE_TYPE_MISMATCH"}
        assert violations(answer.outcomes[2]) == {"metrics[0].value": "INVALID_FIELD"}

    async def test_emits_without_a_moment_have_the_servers(self, stubs: Stubs, clock: FixedClock) -> None:
        clock.micros = NOW + 1_999
        answer = await send(stubs, request(metric("a", 1), at=None), request(metric("a", 1), at=None, asset=OTHER))
        assert [micros(outcome.emitted.time) for outcome in answer.outcomes] == [NOW + 1_000] * 2


class TestMerging:
    async def test_emits_on_the_same_moment_are_merged_in_their_order(self, stubs: Stubs) -> None:
        answer = await send(
            stubs,
            request(metric("A", 1), metric("B", 1), metric("C", 1)),
            request(metric("A", 9), asset=OTHER),
            request(metric("D", 2), metric("C", "two"), metric("B", True), at=NOW + 999),
            request(metric("C", 0.5), at=NOW + 1_000),
        )
        assert counts(answer) == (4, 0)
        assert await moments(stubs) == [
            (NOW, [("A", 1), ("B", True), ("C", "two"), ("D", 2)]),
            (NOW + 1_000, [("C", 0.5)]),
        ]
        assert await newest(stubs) == {"A": 1, "B": True, "C": 0.5, "D": 2}

    async def test_the_last_stands_also_where_runs_alternate(self, stubs: Stubs) -> None:
        runs = ["one", "two", "one", "", "two"]
        await send(stubs, *[request(metric("a", n), metric(f"m{n}", n), run_id=run) for n, run in enumerate(runs)])
        assert await samples(stubs) == {NOW: {"a": 4} | {f"m{n}": n for n in range(5)}}
        assert await newest(stubs) == {"a": 4} | {f"m{n}": n for n in range(5)}

    async def test_a_refused_emit_in_between_does_not_count(self, stubs: Stubs) -> None:
        await send(
            stubs,
            request(metric("a", 1)),
            request(metric("a", 2), metric("bad", None)),
            request(metric("b", 3)),
        )
        assert await samples(stubs) == {NOW: {"a": 1, "b": 3}}

    async def test_32_concurrent_batches_on_the_same_moments_are_all_there(self, stubs: Stubs) -> None:
        await asyncio.gather(
            *(
                send(stubs, *[request(metric(f"m{n}", n), metric("same", n), asset=urn(k)) for k in range(3)])
                for n in range(32)
            )
        )
        for k in range(3):
            read = (await samples(stubs, urn(k)))[NOW]
            assert read.pop("same") in range(32)
            assert read == {f"m{n}": n for n in range(32)}
        assert await asset_urns(stubs) == sorted(urn(k) for k in range(3))


class TestRefusals:
    async def test_an_empty_batch(self, stubs: Stubs) -> None:
        with invalid() as refusal:
            await send(stubs)
        assert refusal.violations == {"requests": "must have 1 to 5000 entries, has 0"}

    async def test_5000_emits_pass_and_one_more_does_not(self, stubs: Stubs) -> None:
        requests = [request(metric("a", n), metric("b", str(n)), asset=urn(n)) for n in range(5_001)]
        with invalid() as refusal:
            await send(stubs, *requests)
        assert refusal.violations == {"requests": "must have 1 to 5000 entries, has 5001"}
        await assert_empty(stubs)
        answer = await send(stubs, *requests[:5_000])
        assert counts(answer) == (5_000, 0)
        assert len(answer.outcomes) == 5_000
        assert await newest(stubs, urn(4_999)) == {"a": 4_999, "b": 4_999}
        assert (await stubs.assets.ListAssets(pb.ListAssetsRequest(page_size=1))).total_size == 5_000

    async def test_100000_metrics_pass_and_one_more_does_not(self, stubs: Stubs) -> None:
        requests = [request(*[metric(f"m{m}", m) for m in range(1_000)], asset=urn(n)) for n in range(100)]
        with invalid() as refusal:
            await send(stubs, *requests, request(metric("a", 1)))
        assert refusal.violations == {"requests": "must have at most 100000 metrics in all, have 100001"}
        await assert_empty(stubs)
        answer = await send(stubs, *requests, errors_only=True)
        assert (counts(answer), len(answer.outcomes)) == ((100, 0), 0)
        assert await newest(stubs, urn(99)) == {f"m{m}": m for m in range(1_000)}

    async def test_a_heavy_batch_is_stored_and_refused_as_a_light_one_is(self, stubs: Stubs) -> None:
        """Beyond 20,000 metrics a batch is checked and encoded off the event loop."""
        await declare(stubs, "m3", "STRING")
        requests = [
            request(*[metric(f"m{m}", m if m != 3 else "3") for m in range(500)], asset=urn(n)) for n in range(50)
        ]
        requests[7].metrics[7].value.double_value = float("nan")
        requests[8].metrics[3].value.int64_value = 3
        requests[9].asset = "none"
        answer = await send(stubs, *requests, errors_only=True)
        assert counts(answer) == (47, 3)
        assert [(outcome.index, violations(outcome)) for outcome in answer.outcomes] == [
            (7, {"metrics[7].value": "INVALID_FIELD"}),
            (8, {"metrics[3].value": "VALUE_TYPE_MISMATCH"}),
            (9, {"asset": "INVALID_FIELD"}),
        ]
        assert await newest(stubs, urn(49)) == {f"m{m}": m if m != 3 else "3" for m in range(500)}

    async def test_an_emit_of_more_metrics_than_allowed(self, stubs: Stubs) -> None:
        answer = await send(stubs, request(*[metric(f"m{n}", n) for n in range(10_001)]), request(metric("a", 1)))
        assert counts(answer) == (1, 1)
        (violation,) = answer.outcomes[0].error.violations
        assert (violation.field, violation.message) == ("metrics", "must have 1 to 10000 entries, has 10001")

    async def test_what_belongs_to_the_batch_is_refused_in_its_emits(self, stubs: Stubs) -> None:
        answer = await send(
            stubs,
            request(metric("a", 1), request_id="r"),
            request(metric("a", 1), return_merged=True),
            request(metric("a", 1), validate_only=True),
        )
        assert [violations(outcome) for outcome in answer.outcomes] == [
            {"request_id": "INVALID_FIELD"},
            {"return_merged": "INVALID_FIELD"},
            {"validate_only": "INVALID_FIELD"},
        ]
        await assert_empty(stubs)

    async def test_a_request_id_that_is_none(self, stubs: Stubs) -> None:
        with invalid() as refusal:
            await send(stubs, request_id="\n")
        assert refusal.reasons == {"requests": "INVALID_FIELD", "request_id": "INVALID_FIELD"}

    async def test_an_answer_that_would_be_too_large_is_refused_before_anything_is_stored(self, start: Start) -> None:
        stubs = await start(limits=Limits(max_response_bytes=100_000))
        requests = [request(metric("a", "x" * 1_000), asset=urn(n)) for n in range(200)]
        with refused(StatusCode.RESOURCE_EXHAUSTED, "MESSAGE_TOO_LARGE") as refusal:
            await send(stubs, *requests)
        assert refusal.metadata["field"] == "response"
        assert "errors_only" in refusal.message
        await assert_empty(stubs)
        assert counts(await send(stubs, *requests, errors_only=True)) == (200, 0)


class TestValidateOnly:
    async def test_outcomes_are_told_and_nothing_is_stored(self, stubs: Stubs) -> None:
        answer = await send(
            stubs, request(metric("a", "5")), request(metric("a", "5", "BOOLEAN")), validate_only=True, request_id="r"
        )
        assert counts(answer) == (1, 1)
        assert answered(answer.outcomes[0].emitted) == {"a": ("NUMBER", 5, True)}
        await assert_empty(stubs)
        assert counts(await send(stubs, request(metric("b", 1)), request_id="r")) == (1, 0)


class TestRegistration:
    async def test_a_closed_server_refuses_unknown_assets_one_by_one(self, start: Start) -> None:
        stubs = await start(asset_registration="closed")
        await stubs.assets.CreateAsset(pb.CreateAssetRequest(asset=pb.Asset(urn=URN)))
        answer = await send(
            stubs,
            request(metric("a", 1)),
            request(metric("b", 1), asset=OTHER),
            request(metric("c", 1), asset=name_of(URN)),
            request(metric("d", 1, "STRING"), asset=name_of(OTHER)),
        )
        assert counts(answer) == (2, 2)
        unknown, worse = answer.outcomes[1].error, answer.outcomes[3]
        assert unknown.reason == errors_pb2.ERROR_REASON_ASSET_NOT_FOUND
        assert unknown.message.startswith(f"asset: there is no {name_of(OTHER)}")
        assert violations(worse) == {"metrics[0].value_type": "VALUE_TYPE_MISMATCH", "asset": "ASSET_NOT_FOUND"}
        assert answer.outcomes[2].emitted.urn == URN
        assert await newest(stubs) == {"a": 1, "c": 1}
        assert await asset_metrics(stubs) == {"a", "c"}

    async def test_an_asset_named_by_its_resource_name_is_not_registered_by_another_emit_of_the_batch(
        self, stubs: Stubs
    ) -> None:
        answer = await send(stubs, request(metric("a", 1)), request(metric("b", 1), asset=name_of(URN)))
        assert counts(answer) == (1, 1)
        assert violations(answer.outcomes[1]) == {"asset": "ASSET_NOT_FOUND"}

    @pytest.mark.parametrize("registration", ["open", "closed"])
    async def test_assets_that_another_server_deleted_do_not_hold_up_the_others(
        self, start: Start, shared_url: str, registration: str
    ) -> None:
        one = await start(database=shared_url, asset_registration=registration)
        two = await start(database=shared_url, asset_registration=registration)
        for number in range(3):
            await two.assets.CreateAsset(pb.CreateAssetRequest(asset=pb.Asset(urn=urn(number))))
            await emit(one, {"a": 1}, asset=urn(number))
        await two.assets.DeleteAsset(pb.DeleteAssetRequest(asset=urn(1)))
        answer = await send(one, *[request(metric("b", 2), asset=urn(number)) for number in range(3)])
        if registration == "closed":
            assert counts(answer) == (2, 1)
            assert violations(answer.outcomes[1]) == {"asset": "ASSET_NOT_FOUND"}
            assert await asset_urns(two) == [urn(0), urn(2)]
        else:
            assert counts(answer) == (3, 0)
            assert await samples(two, urn(1)) == {NOW: {"b": 2}}
        assert await samples(two, urn(2)) == {NOW: {"a": 1, "b": 2}}

    async def test_metrics_of_parts_may_be_written_to_registered_assets_only(self, stubs: Stubs) -> None:
        await emit(stubs, {"a": 1})
        message = metrics_service_pb2.WriteMetricsRequest()
        for name in (name_of(URN), name_of(OTHER)):
            message.observations.add(subject=name).values["b"].int64_value = 2
        answer = await stubs.metrics.WriteMetrics(message)
        assert (answer.accepted_count, answer.rejected_count) == (1, 1)
        assert answer.errors[0].reason == errors_pb2.ERROR_REASON_ASSET_NOT_FOUND
        assert await newest(stubs) == {"a": 1, "b": 2}


class TestRequestId:
    def requests(self) -> Sequence[pb.EmitAssetMetricsRequest]:
        values: dict[str, Scalar] = {"int": 2**63 - 1, "double": 0.1, "whole": 5.0, "text": "ü", "flag": False}
        return [emission(values, at=None), request(metric("a", 1, "STRING"), asset=OTHER)]

    @pytest.mark.parametrize("errors_only", [False, True])
    async def test_a_repeat_gets_the_first_answer_and_stores_nothing(
        self, stubs: Stubs, clock: FixedClock, errors_only: bool
    ) -> None:
        first = await send(stubs, *self.requests(), request_id="r", errors_only=errors_only)
        assert counts(first) == (1, 1)
        clock.micros += SECOND
        again = await send(stubs, *self.requests(), request_id="r", errors_only=errors_only)
        assert again.SerializeToString(deterministic=True) == first.SerializeToString(deterministic=True)
        assert list(await samples(stubs)) == [NOW]

    async def test_another_body_is_refused(self, stubs: Stubs) -> None:
        await send(stubs, *self.requests(), request_id="r")
        with invalid("REQUEST_ID_REUSED"):
            await send(stubs, request(metric("b", 1), asset=urn(1)), request_id="r")
        assert await asset_urns(stubs) == [URN]

    async def test_concurrent_repeats_store_once_and_agree(self, stubs: Stubs) -> None:
        message = batch(*self.requests(), request_id="r")
        answers = await asyncio.gather(*(stubs.assets.BatchEmitAssetMetrics(message) for _ in range(20)))
        assert all(answer == answers[0] for answer in answers)

    async def test_a_batch_of_which_nothing_was_stored_has_its_answer_repeated(self, stubs: Stubs) -> None:
        message = batch(request(metric("a", None)), request_id="r")
        first = await stubs.assets.BatchEmitAssetMetrics(message)
        assert counts(first) == (0, 1)
        assert await stubs.assets.BatchEmitAssetMetrics(message) == first

    async def test_after_24_hours_the_id_is_free_again(self, stubs: Stubs, clock: FixedClock) -> None:
        await send(stubs, request(metric("a", 1)), request_id="r")
        clock.micros += DAY + SECOND
        await send(stubs, request(metric("a", 2)), request_id="r")
        assert await newest(stubs) == {"a": 2}
