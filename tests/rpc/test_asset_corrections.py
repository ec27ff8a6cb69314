"""Corrections: metrics of assets taken back by range, by name and by run, and what a preview says of it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Collection, Sequence
from typing import Any

import grpc.aio
import pytest
from grpc import StatusCode
from streamgauge.v1 import asset_metric_service_pb2 as pb
from streamgauge_server.model.clock import MAX_MICROS, MIN_MICROS, FixedClock
from streamgauge_server.model.errors import store_unavailable
from streamgauge_server.model.limits import Limits
from streamgauge_server.services import asset_corrections
from streamgauge_server.storage.corrections import Deleted

from tests.rpc.asset_messages import OTHER, URN, Samples, emission, emit, moments, name_of, newest, samples
from tests.rpc.messages import DAY, NOW, SECOND, Scalar, stamp
from tests.rpc.serving import Start, Stubs, invalid, refused
from tests.rpc.test_asset_scopes import READ, WRITE, token

EVERY = "assets/-"


def correction(
    asset: str = URN,
    *,
    start: int | None = None,
    end: int | None = None,
    metrics: Sequence[str] = (),
    run: str = "",
    all: bool = False,
    validate_only: bool = False,
) -> pb.DeleteAssetMetricsRequest:
    request = pb.DeleteAssetMetricsRequest(
        asset=asset, metrics=metrics, run_id=run, all=all, validate_only=validate_only
    )
    if start is not None:
        request.time_range.start_time.CopyFrom(stamp(start))
    if end is not None:
        request.time_range.end_time.CopyFrom(stamp(end))
    return request


async def correct(stubs: Stubs, request: pb.DeleteAssetMetricsRequest) -> tuple[int, int, dict[str, int]]:
    """Previews a deletion, makes sure that this changed nothing, deletes, and holds the preview to the deletion.

    Returns how many values are gone, of how many assets, and how many by metric.
    """
    before = [await all_of(stubs, urn) for urn in (URN, OTHER)]
    preview = pb.DeleteAssetMetricsRequest()
    preview.CopyFrom(request)
    preview.validate_only = True
    foreseen = await stubs.assets.DeleteAssetMetrics(preview)
    assert [await all_of(stubs, urn) for urn in (URN, OTHER)] == before
    answer = await stubs.assets.DeleteAssetMetrics(request)
    assert answer == foreseen
    again = await stubs.assets.DeleteAssetMetrics(request)
    assert again == pb.DeleteAssetMetricsResponse(), "a repeat finds nothing"
    return answer.deleted_value_count, answer.asset_count, dict(answer.deleted_values_by_metric)


async def all_of(stubs: Stubs, urn: str) -> tuple[dict[int, Samples], Samples] | None:
    """Returns history and newest values of an asset, None where there is no such asset."""
    try:
        return await samples(stubs, urn), await newest(stubs, urn)
    except grpc.aio.AioRpcError as error:
        if error.code() != StatusCode.NOT_FOUND:
            raise
        return None


class TestFilters:
    @pytest.fixture(autouse=True)
    async def emitted(self, stubs: Stubs) -> None:
        for n in range(6):
            values: dict[str, Scalar] = {"n": n, "text": f"t{n}", "flag": n % 2 == 0}
            await emit(stubs, values, at=NOW + n * DAY // 6, types={"text": "STRING"})
        await emit(stubs, {"n": 100}, asset=OTHER)

    async def test_a_range_is_half_open(self, stubs: Stubs) -> None:
        request = correction(start=NOW + DAY // 6, end=NOW + 3 * DAY // 6)
        assert await correct(stubs, request) == (6, 1, {"n": 2, "text": 2, "flag": 2})
        assert [values["n"] for values in (await samples(stubs)).values()] == [0, 3, 4, 5]

    async def test_either_end_may_be_open(self, stubs: Stubs) -> None:
        assert await correct(stubs, correction(end=NOW + 1)) == (3, 1, {"n": 1, "text": 1, "flag": 1})
        assert await correct(stubs, correction(start=NOW + 4 * DAY // 6)) == (6, 1, {"n": 2, "text": 2, "flag": 2})
        assert [values["n"] for values in (await samples(stubs)).values()] == [1, 2, 3]
        assert await newest(stubs) == {"n": 3, "text": "t3", "flag": False}

    async def test_the_newest_value_after_a_correction_is_that_of_the_moments_left(self, stubs: Stubs) -> None:
        await correct(stubs, correction(start=NOW + 2 * DAY // 6, metrics=["n", "flag"]))
        assert await newest(stubs) == {"n": 1, "text": "t5", "flag": False}

    async def test_metrics_go_by_name(self, stubs: Stubs) -> None:
        assert await correct(stubs, correction(metrics=["text", "none"])) == (6, 1, {"text": 6})
        assert (await samples(stubs))[NOW] == {"n": 0, "flag": True}
        assert await newest(stubs) == {"n": 5, "flag": False}
        assert await samples(stubs, OTHER) == {NOW: {"n": 100}}

    async def test_names_that_nobody_reported_take_nothing(self, stubs: Stubs) -> None:
        before = await all_of(stubs, URN)
        assert await correct(stubs, correction(metrics=["none"])) == (0, 0, {})
        assert await correct(stubs, correction(EVERY, metrics=["none"], run="r")) == (0, 0, {})
        assert await all_of(stubs, URN) == before

    async def test_a_metric_of_a_range(self, stubs: Stubs) -> None:
        request = correction(metrics=["flag"], start=NOW, end=NOW + 1)
        assert await correct(stubs, request) == (1, 1, {"flag": 1})
        assert (await samples(stubs))[NOW] == {"n": 0, "text": "t0"}

    async def test_a_moment_of_which_nothing_is_left_is_gone(self, stubs: Stubs) -> None:
        await correct(stubs, correction(metrics=["flag", "n", "text"], start=NOW, end=NOW + 1))
        assert NOW not in await samples(stubs)

    @pytest.mark.parametrize("asset", [URN, name_of(URN)])
    async def test_all_leaves_the_asset_and_nothing_of_its_metrics(self, stubs: Stubs, asset: str) -> None:
        assert await correct(stubs, correction(asset, all=True)) == (18, 1, {"n": 6, "text": 6, "flag": 6})
        assert await all_of(stubs, URN) == ({}, {})
        assert (await stubs.assets.GetAsset(pb.GetAssetRequest(asset=URN))).asset.urn == URN
        assert await samples(stubs, OTHER) == {NOW: {"n": 100}}
        await emit(stubs, {"text": 1, "n": 2})
        assert await moments(stubs) == [(NOW, [("text", 1), ("n", 2)])], "the order begins anew"

    async def test_the_first_and_the_last_moments_go_as_well(self, stubs: Stubs) -> None:
        await emit(stubs, {"n": 1}, at=MIN_MICROS)
        await emit(stubs, {"n": 1}, at=-1)
        assert await correct(stubs, correction(start=MIN_MICROS, end=0)) == (2, 1, {"n": 2})
        assert await correct(stubs, correction(start=MIN_MICROS, end=MAX_MICROS - 1)) == (
            18,
            1,
            {"n": 6, "text": 6, "flag": 6},
        )

    async def test_a_value_that_was_replaced_before_does_not_count(self, stubs: Stubs) -> None:
        await emit(stubs, {"n": "another"}, at=NOW)
        await emit(stubs, {"n": 3}, at=NOW)
        assert await correct(stubs, correction(metrics=["n"], end=NOW + 1)) == (1, 1, {"n": 1})
        assert "n" not in (await samples(stubs))[NOW]


class TestRuns:
    async def test_what_a_run_replaced_stands_again(self, stubs: Stubs) -> None:
        await emit(stubs, {"a": 1, "b": "old"}, at=NOW, run="r1")
        await emit(stubs, {"a": 2, "b": "new", "c": True}, at=NOW, run="r2")
        assert await newest(stubs) == {"a": 2, "b": "new", "c": True}
        assert await correct(stubs, correction(run="r2")) == (3, 1, {"a": 1, "b": 1, "c": 1})
        assert await all_of(stubs, URN) == ({NOW: {"a": 1, "b": "old"}}, {"a": 1, "b": "old"})

    async def test_a_run_whose_values_were_all_replaced_leaves_without_a_trace(self, stubs: Stubs) -> None:
        await emit(stubs, {"a": 1}, run="r1")
        await emit(stubs, {"a": 2})
        assert await correct(stubs, correction(run="r1")) == (0, 0, {})
        assert await all_of(stubs, URN) == ({NOW: {"a": 2}}, {"a": 2})
        await correct(stubs, correction(metrics=["a"]))
        assert await all_of(stubs, URN) == ({}, {})

    async def test_the_newest_value_goes_back_to_an_earlier_moment(self, stubs: Stubs) -> None:
        await emit(stubs, {"a": 1}, at=NOW - 400 * DAY)
        await emit(stubs, {"a": 2, "b": 2}, at=NOW, run="r")
        await correct(stubs, correction(run="r"))
        assert await all_of(stubs, URN) == ({NOW - 400 * DAY: {"a": 1}}, {"a": 1})

    async def test_a_run_on_every_asset(self, stubs: Stubs) -> None:
        await emit(stubs, {"a": 1}, at=NOW - SECOND)
        await emit(stubs, {"a": 2, "b": 3}, run="r")
        await emit(stubs, {"a": 4}, asset=OTHER, run="r")
        await emit(stubs, {"a": 5}, asset=OTHER, run="r", at=NOW + SECOND)
        await emit(stubs, {"a": 6}, asset=OTHER, run="R")
        assert await correct(stubs, correction(EVERY, run="r")) == (3, 2, {"a": 2, "b": 1})
        assert await all_of(stubs, URN) == ({NOW - SECOND: {"a": 1}}, {"a": 1})
        assert await all_of(stubs, OTHER) == ({NOW: {"a": 6}}, {"a": 6})

    async def test_a_run_on_every_asset_by_range_and_name(self, stubs: Stubs) -> None:
        for urn in (URN, OTHER):
            await emit(stubs, {"a": 1, "b": 1}, asset=urn, run="r")
            await emit(stubs, {"a": 2, "b": 2}, asset=urn, run="r", at=NOW + SECOND)
        request = correction(EVERY, run="r", metrics=["a"], end=NOW + 1)
        assert await correct(stubs, request) == (2, 2, {"a": 2})
        for urn in (URN, OTHER):
            assert await samples(stubs, urn) == {NOW: {"b": 1}, NOW + SECOND: {"a": 2, "b": 2}}

    @pytest.mark.parametrize("bound", ["ASSETS_LOOKED_UP", "ASSETS_AT_ONCE", "BLOCKS_AT_ONCE"])
    @pytest.mark.parametrize("at_once", [1, 20, 50, 51])
    async def test_the_assets_of_a_run_are_corrected_in_portions(
        self, stubs: Stubs, monkeypatch: pytest.MonkeyPatch, bound: str, at_once: int
    ) -> None:
        monkeypatch.setattr(asset_corrections, bound, at_once)
        urns = [f"urn:x:{n}" for n in range(50)]
        requests = [emission({"rows": n}, asset=urn, run="r") for n, urn in enumerate(urns)]
        requests += [emission({"rows": -1}, asset=urn, at=NOW - SECOND) for urn in urns[::2]]
        request = pb.BatchEmitAssetMetricsRequest(requests=requests, errors_only=True)
        assert (await stubs.assets.BatchEmitAssetMetrics(request)).accepted_count == 75
        assert await correct(stubs, correction(EVERY, run="r")) == (50, 50, {"rows": 50})
        answer = await stubs.assets.GetLatestAssetMetrics(pb.GetLatestAssetMetricsRequest(assets=urns))
        assert [len(entry.metrics) for entry in answer.assets] == [1, 0] * 25
        assert (await stubs.assets.ListAssets(pb.ListAssetsRequest(page_size=1))).total_size == 50

    async def test_a_correction_that_breaks_off_is_finished_by_a_repeat(
        self, stubs: Stubs, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(asset_corrections, "ASSETS_AT_ONCE", 2)
        for n in range(8):
            await emit(stubs, {"rows": n}, asset=f"urn:x:{n}", run="r")
        assert stubs.app is not None
        assert stubs.app.store is not None
        corrections = stubs.app.store.corrections
        delete_from_each = corrections.delete_from_each
        calls: list[Collection[int]] = []

        async def fail_at_the_third(subject_ids: Collection[int], **options: Any) -> dict[int, Deleted]:
            calls.append(subject_ids)
            if len(calls) == 3:
                raise store_unavailable("sqlite", "disk_full")
            return await delete_from_each(subject_ids, **options)

        monkeypatch.setattr(corrections, "delete_from_each", fail_at_the_third)
        with refused(StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE"):
            await stubs.assets.DeleteAssetMetrics(correction(EVERY, run="r"))
        answer = await stubs.assets.DeleteAssetMetrics(correction(EVERY, run="r"))
        assert (answer.deleted_value_count, answer.asset_count) == (4, 4)
        assert calls[3:] == [calls[2], calls[4]], "assets that are done are not looked at again"
        assert [await samples(stubs, f"urn:x:{n}") for n in range(8)] == [{}] * 8

    @pytest.mark.parametrize("timeout", [None, 0.5])
    async def test_a_correction_that_runs_out_of_time_keeps_what_it_did_and_is_finished_by_a_repeat(
        self, start: Start, monkeypatch: pytest.MonkeyPatch, timeout: float | None
    ) -> None:
        """Out of the server's time, or out of the caller's."""
        monkeypatch.setattr(asset_corrections, "ASSETS_AT_ONCE", 2)
        stubs = await start(limits=Limits(max_call_seconds=1))
        for n in range(8):
            await emit(stubs, {"rows": n}, asset=f"urn:x:{n}", run="r")
        assert stubs.app is not None
        assert stubs.app.store is not None
        corrections = stubs.app.store.corrections
        delete_from_each = corrections.delete_from_each
        calls = 0

        async def stall_at_the_third(subject_ids: Collection[int], **options: Any) -> dict[int, Deleted]:
            nonlocal calls
            calls += 1
            if calls == 3:
                await asyncio.Event().wait()
            return await delete_from_each(subject_ids, **options)

        monkeypatch.setattr(corrections, "delete_from_each", stall_at_the_third)
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await stubs.assets.DeleteAssetMetrics(correction(EVERY, run="r"), timeout=timeout)
        assert failed.value.code() == StatusCode.DEADLINE_EXCEEDED
        assert [len(await samples(stubs, f"urn:x:{n}")) for n in range(8)] == [0] * 4 + [1] * 4
        answer = await stubs.assets.DeleteAssetMetrics(correction(EVERY, run="r"))
        assert (answer.deleted_value_count, answer.asset_count) == (4, 4)
        assert [await samples(stubs, f"urn:x:{n}") for n in range(8)] == [{}] * 8

    async def test_an_asset_that_is_deleted_meanwhile_does_not_stop_the_others(
        self, stubs: Stubs, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for urn in (URN, OTHER):
            await emit(stubs, {"a": 1}, asset=urn, run="r")
        assert stubs.app is not None
        assert stubs.app.store is not None
        corrections = stubs.app.store.corrections
        subjects_of_run = corrections.subjects_of_run

        async def deleting(*arguments: Any, **options: Any) -> dict[int, int]:
            found = await subjects_of_run(*arguments, **options)
            if found:
                await stubs.assets.DeleteAsset(pb.DeleteAssetRequest(asset=URN))
            return found

        monkeypatch.setattr(corrections, "subjects_of_run", deleting)
        answer = await stubs.assets.DeleteAssetMetrics(correction(EVERY, run="r"))
        assert (answer.deleted_value_count, answer.asset_count) == (1, 1)
        assert await samples(stubs, OTHER) == {}

    async def test_an_unknown_run_takes_nothing(self, stubs: Stubs) -> None:
        await emit(stubs, {"a": 1}, run="r")
        for asset in (URN, EVERY):
            assert await correct(stubs, correction(asset, run="none")) == (0, 0, {})
        assert await samples(stubs) == {NOW: {"a": 1}}

    @pytest.mark.parametrize("seed", range(4))
    async def test_after_a_rollback_all_is_as_if_the_run_had_never_been(self, stubs: Stubs, seed: int) -> None:
        """Two assets get the same emits, one of them without those of the run that is taken back on the other."""
        chance = random.Random(seed)
        await emit(stubs, {"first": 0})
        await emit(stubs, {"first": 0}, asset=OTHER)
        for n in range(60):
            run = chance.choice(["", "r1", "r2"])
            at = NOW + chance.choice([-DAY, -1_000, 0, 1_000, DAY // 2])
            kinds: list[Scalar] = [n, n / 4, n % 2 == 0, f"t{n}"]
            values = {name: chance.choice(kinds) for name in chance.sample("abcd", 2)}
            await emit(stubs, values, at=at, run=run)
            if run != "r1":
                await emit(stubs, values, asset=OTHER, at=at, run=run)
        await correct(stubs, correction(run="r1"))
        assert await all_of(stubs, URN) == await all_of(stubs, OTHER)


class TestCounts:
    async def test_of_more_than_1000_names_those_with_the_most_values_are_counted(self, stubs: Stubs) -> None:
        many = {f"m{n}": n for n in range(1_500)}
        few = {f"m{n}": n for n in range(0, 1_500, 2)}
        request = pb.BatchEmitAssetMetricsRequest(
            requests=[emission(many), emission(few, at=NOW + SECOND)], errors_only=True
        )
        await stubs.assets.BatchEmitAssetMetrics(request)
        values, assets, by_metric = await correct(stubs, correction(all=True))
        assert (values, assets, len(by_metric)) == (2_250, 1, 1_000)
        assert sorted(by_metric.values()) == [1] * 250 + [2] * 750
        assert {name for name, count in by_metric.items() if count == 2} == set(few)


class TestRefusals:
    async def test_something_must_be_given(self, stubs: Stubs) -> None:
        await emit(stubs, {"a": 1})
        for request in (correction(), correction(validate_only=True)):
            with invalid() as refusal:
                await stubs.assets.DeleteAssetMetrics(request)
            description = "must be set where none of time_range, metrics and run_id is given"
            assert refusal.violations == {"all": description}
        assert await samples(stubs) == {NOW: {"a": 1}}

    async def test_an_empty_range_is_as_none(self, stubs: Stubs) -> None:
        await emit(stubs, {"a": 1}, run="r")
        await emit(stubs, {"a": 2}, at=NOW + SECOND)
        request = correction()
        request.time_range.SetInParent()
        with invalid() as refusal:
            await stubs.assets.DeleteAssetMetrics(request)
        assert list(refusal.violations) == ["all"]
        for request, left in ((correction(EVERY, run="r"), {NOW + SECOND: {"a": 2}}), (correction(all=True), {})):
            request.time_range.SetInParent()
            assert await correct(stubs, request) == (1, 1, {"a": 1})
            assert await samples(stubs) == left

    async def test_all_stands_alone(self, stubs: Stubs) -> None:
        await emit(stubs, {"a": 1})
        for request, filters in (
            (correction(all=True, start=NOW), "time_range"),
            (correction(all=True, end=NOW, run="r"), "time_range and run_id"),
            (correction(all=True, metrics=["a"], run="r"), "metrics and run_id"),
        ):
            with invalid() as refusal:
                await stubs.assets.DeleteAssetMetrics(request)
            assert refusal.violations == {"all": f"cannot be combined with {filters}"}
        assert await samples(stubs) == {NOW: {"a": 1}}

    async def test_every_asset_needs_a_run(self, stubs: Stubs) -> None:
        await emit(stubs, {"a": 1})
        for request in (correction(EVERY, all=True), correction(EVERY, start=NOW), correction(EVERY, metrics=["a"])):
            with invalid() as refusal:
                await stubs.assets.DeleteAssetMetrics(request)
            assert refusal.violations == {"asset": "can be 'assets/-' only together with a run_id"}
        assert await samples(stubs) == {NOW: {"a": 1}}

    async def test_all_that_is_wrong_is_told_at_once(self, stubs: Stubs) -> None:
        request = correction("orders", start=NOW, end=NOW, metrics=["", "a", "b\0"], run="ä", all=True)
        with invalid() as refusal:
            await stubs.assets.DeleteAssetMetrics(request)
        assert list(refusal.violations) == [
            "asset",
            "metrics[0]",
            "metrics[2]",
            "run_id",
            "time_range.start_time",
            "all",
        ]
        assert refusal.violations["run_id"] == "must have 1 to 128 printable ASCII characters, has 1"
        assert refusal.reasons["time_range.start_time"] == "INVALID_TIME_RANGE"
        request = correction(run="r" * 129)
        request.time_range.start_time.nanos = -1
        with invalid() as refusal:
            await stubs.assets.DeleteAssetMetrics(request)
        assert list(refusal.violations) == ["time_range.start_time", "run_id"]

    @pytest.mark.parametrize(("since", "until"), [(NOW, NOW), (NOW + 1, NOW)])
    async def test_a_range_that_holds_nothing_is_refused(self, stubs: Stubs, since: int, until: int) -> None:
        await emit(stubs, {"a": 1})
        with invalid("INVALID_TIME_RANGE") as refusal:
            await stubs.assets.DeleteAssetMetrics(correction(start=since, end=until))
        assert list(refusal.violations) == ["time_range.start_time"]

    async def test_a_wrong_moment_alone_is_not_taken_for_no_range(self, stubs: Stubs) -> None:
        request = correction()
        request.time_range.start_time.seconds = 10**12
        with invalid() as refusal:
            await stubs.assets.DeleteAssetMetrics(request)
        assert list(refusal.violations) == ["time_range.start_time"]

    async def test_1000_metrics_pass_and_1001_do_not(self, stubs: Stubs) -> None:
        await emit(stubs, {"m1": 1})
        with invalid() as refusal:
            await stubs.assets.DeleteAssetMetrics(correction(metrics=[f"m{n}" for n in range(1_001)]))
        assert refusal.violations == {"metrics": "must have at most 1000 entries, has 1001"}
        assert await correct(stubs, correction(metrics=[f"m{n}" for n in range(1_000)])) == (1, 1, {"m1": 1})

    @pytest.mark.parametrize("asset", [URN, name_of(URN)])
    async def test_an_unknown_asset_is_not_found(self, stubs: Stubs, asset: str) -> None:
        await emit(stubs, {"a": 1}, asset=OTHER)
        for request in (correction(asset, all=True), correction(asset, run="r", validate_only=True)):
            with refused(StatusCode.NOT_FOUND, "ASSET_NOT_FOUND") as refusal:
                await stubs.assets.DeleteAssetMetrics(request)
            assert refusal.metadata["name"] == name_of(URN)


async def test_a_run_of_the_same_name_is_another_tenants_own(start: Start, clock: FixedClock) -> None:
    stubs = await start(auth="required")
    mine = await token(stubs, clock, READ, WRITE, tenant="mine")
    theirs = await token(stubs, clock, READ, WRITE, tenant="theirs")
    for header, urn in ((mine, URN), (theirs, URN), (theirs, OTHER)):
        await stubs.assets.EmitAssetMetrics(emission({"a": 1}, asset=urn, run="r"), metadata=header)
    answer = await stubs.assets.DeleteAssetMetrics(correction(EVERY, run="r"), metadata=mine)
    assert (answer.deleted_value_count, answer.asset_count) == (1, 1)
    preview = await stubs.assets.DeleteAssetMetrics(correction(EVERY, run="r", validate_only=True), metadata=theirs)
    assert (preview.deleted_value_count, preview.asset_count) == (2, 2)
    with refused(StatusCode.NOT_FOUND, "ASSET_NOT_FOUND"):
        await stubs.assets.DeleteAssetMetrics(correction(OTHER, run="r"), metadata=mine)
