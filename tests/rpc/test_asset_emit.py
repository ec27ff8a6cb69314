"""`EmitAssetMetrics`: what is stored, answered and merged, under which types and which moment."""

from __future__ import annotations

import asyncio

import pytest
from grpc import StatusCode
from streamgauge_server.model.clock import MAX_MICROS, MIN_MICROS, FixedClock
from streamgauge_server.model.limits import Limits

from tests.rpc.asset_messages import URN, emit, latest, moments, name_of, newest, samples
from tests.rpc.emit_messages import answered, assert_empty, asset_metrics, asset_urns, declare, metric, request
from tests.rpc.messages import DAY, NOW, SECOND, Scalar, micros
from tests.rpc.serving import Start, Stubs, invalid, refused

MILLI = 1_000


class TestAnswer:
    async def test_it_has_the_metrics_with_their_types_and_which_were_guessed(self, stubs: Stubs) -> None:
        answer = await stubs.assets.EmitAssetMetrics(
            request(
                metric("rowCount", 18),
                metric("badge", "50"),
                metric("postcode", "007"),
                metric("code", "50", "STRING"),
                metric("share", "0.5", "NUMBER"),
                metric("active", "true"),
                metric("since", "2024-03-02T17:44:00.000Z"),
                metric("ready", True, "BOOLEAN"),
            )
        )
        assert (answer.asset, answer.urn, micros(answer.time)) == (name_of(URN), URN, NOW)
        assert list(answer.warnings) == []
        assert answered(answer) == {
            "rowCount": ("NUMBER", 18, True),
            "badge": ("NUMBER", 50, True),
            "postcode": ("STRING", "007", True),
            "code": ("STRING", "50", False),
            "share": ("NUMBER", 0.5, False),
            "active": ("BOOLEAN", True, True),
            "since": ("STRING", "2024-03-02T17:44:00.000Z", True),
            "ready": ("BOOLEAN", True, False),
        }
        assert [entry.name for entry in answer.metrics] == [
            "rowCount", "badge", "postcode", "code", "share", "active", "since", "ready",
        ]  # fmt: skip
        read = await newest(stubs)
        assert read == {name: item for name, (_, item, _) in answered(answer).items()}
        assert {name: type(item) for name, item in read.items()} == {
            name: type(item) for name, (_, item, _) in answered(answer).items()
        }

    async def test_the_asset_may_be_named_by_its_resource_name_once_it_is_registered(self, stubs: Stubs) -> None:
        await emit(stubs, {"a": 1})
        answer = await emit(stubs, {"b": 2}, asset=name_of(URN))
        assert (answer.asset, answer.urn) == (name_of(URN), URN)
        assert await samples(stubs) == {NOW: {"a": 1, "b": 2}}

    async def test_of_equal_names_the_last_stands_and_a_warning_says_so(self, stubs: Stubs) -> None:
        answer = await stubs.assets.EmitAssetMetrics(
            request(metric("a", 1), metric("b", "x"), metric("a", "two"), metric("A", 3))
        )
        assert answered(answer) == {
            "a": ("STRING", "two", True),
            "b": ("STRING", "x", True),
            "A": ("NUMBER", 3, True),
        }
        assert list(answer.warnings) == ["metrics[2].name: 'a' is named before; the last of its values stands"]
        assert await samples(stubs) == {NOW: {"a": "two", "b": "x", "A": 3}}

    async def test_warnings_are_a_hundred_and_a_count(self, stubs: Stubs) -> None:
        answer = await stubs.assets.EmitAssetMetrics(request(*[metric("a", n) for n in range(500)]))
        assert len(answer.warnings) == 101
        assert answer.warnings[-1] == "and 399 more of the kind"
        assert await samples(stubs) == {NOW: {"a": 499}}

    async def test_merged_answers_have_all_metrics_of_the_moment(self, stubs: Stubs) -> None:
        await emit(stubs, {"a": 1, "b": "2", "c": True})
        await emit(stubs, {"z": 0}, at=NOW + SECOND)
        answer = await stubs.assets.EmitAssetMetrics(
            request(metric("b", "text", "STRING"), metric("d", "4"), return_merged=True)
        )
        assert answered(answer) == {
            "a": ("NUMBER", 1, False),
            "b": ("STRING", "text", False),
            "c": ("BOOLEAN", True, False),
            "d": ("NUMBER", 4, True),
        }
        assert micros(answer.time) == NOW

    async def test_a_merged_answer_that_would_be_too_large_has_what_was_submitted(self, start: Start) -> None:
        stubs = await start(limits=Limits(max_response_bytes=20_000))
        for part in range(4):
            await emit(stubs, {f"{part}-{n}": "x" * 1_000 for n in range(8)})
        answer = await stubs.assets.EmitAssetMetrics(request(metric("last", 1), return_merged=True))
        assert answered(answer) == {"last": ("NUMBER", 1, True)}
        assert list(answer.warnings) == [
            "the metrics of this moment are too many for one answer: these are the submitted ones"
        ]

    async def test_an_answer_that_would_be_too_large_is_refused_before_anything_is_stored(self, start: Start) -> None:
        stubs = await start(limits=Limits(max_response_bytes=20_000))
        big = {str(n): "x" * 1_000 for n in range(20)}
        with refused(StatusCode.RESOURCE_EXHAUSTED, "MESSAGE_TOO_LARGE") as refusal:
            await emit(stubs, big)
        assert (refusal.metadata["field"], refusal.metadata["limit"]) == ("response", "20000")
        await assert_empty(stubs)


class TestMoment:
    async def test_without_one_it_is_the_servers_clock_cut_to_the_millisecond(
        self, stubs: Stubs, clock: FixedClock
    ) -> None:
        clock.micros = NOW + 123_999
        answer = await emit(stubs, {"a": 1}, at=None)
        assert micros(answer.time) == NOW + 123 * MILLI
        assert await samples(stubs) == {NOW + 123 * MILLI: {"a": 1}}

    async def test_a_moment_is_cut_to_the_millisecond_and_merges_with_it(self, stubs: Stubs) -> None:
        await emit(stubs, {"a": 1, "b": 1}, at=NOW + 123_456)
        answer = await emit(stubs, {"b": 2, "c": 2}, at=NOW + 123_999)
        assert micros(answer.time) == NOW + 123 * MILLI
        await emit(stubs, {"d": 3}, at=NOW + 124_000)
        assert await samples(stubs) == {NOW + 123 * MILLI: {"a": 1, "b": 2, "c": 2}, NOW + 124 * MILLI: {"d": 3}}

    async def test_before_1970_it_is_cut_downwards(self, stubs: Stubs) -> None:
        answer = await emit(stubs, {"a": 1}, at=-1)
        assert micros(answer.time) == -1_000
        assert await samples(stubs) == {-1_000: {"a": 1}}

    @pytest.mark.parametrize("moment", [MIN_MICROS, -DAY, 0, NOW + DAY])
    async def test_the_first_and_the_last_moment_pass(self, stubs: Stubs, moment: int) -> None:
        answer = await emit(stubs, {"a": 1}, at=moment)
        assert micros(answer.time) == moment
        assert await moments(stubs, start=MIN_MICROS) == [(moment, [("a", 1)])]
        (asset,) = (await latest(stubs)).assets
        assert micros(asset.metrics[0].time) == moment
        assert asset.metrics[0].age.ToMicroseconds() == NOW - moment

    async def test_one_that_is_too_far_ahead_is_refused_with_limit_and_actual(self, stubs: Stubs) -> None:
        with invalid() as refusal:
            await emit(stubs, {"a": 1}, at=NOW + DAY + MILLI)
        assert refusal.violations == {
            "time": "must be at most 86400 s ahead of the server's clock (2026-01-01T12:00:00Z), is 86400.001 s ahead"
        }
        await assert_empty(stubs)

    async def test_how_far_ahead_is_a_setting(self, start: Start) -> None:
        stubs = await start(limits=Limits(max_emit_future_seconds=10))
        await emit(stubs, {"a": 1}, at=NOW + 10 * SECOND)
        with invalid() as refusal:
            await emit(stubs, {"a": 1}, at=NOW + 10 * SECOND + 1)
        assert "at most 10 s ahead" in refusal.violations["time"]

    @pytest.mark.parametrize("seconds", [MIN_MICROS // SECOND - 1, MAX_MICROS // SECOND, 2**62, -(2**62)])
    async def test_one_outside_of_the_years_1_to_9999_is_refused(self, stubs: Stubs, seconds: int) -> None:
        message = request(metric("a", 1))
        message.time.seconds = seconds
        with invalid() as refusal:
            await stubs.assets.EmitAssetMetrics(message)
        assert refusal.violations == {"time": "must be between 0001-01-01T00:00:00Z and the end of the year 9999"}
        await assert_empty(stubs)

    @pytest.mark.parametrize("nanos", [-1, 1_000_000_000])
    async def test_one_that_is_no_timestamp_is_refused(self, stubs: Stubs, nanos: int) -> None:
        message = request(metric("a", 1))
        message.time.nanos = nanos
        with invalid() as refusal:
            await stubs.assets.EmitAssetMetrics(message)
        assert refusal.violations == {"time": "is not a valid timestamp: nanos must be between 0 and 999,999,999"}


class TestMerging:
    async def test_new_names_are_added_and_equal_ones_replaced_in_the_order_of_first_report(self, stubs: Stubs) -> None:
        await emit(stubs, {"A": 1, "B": 1, "C": 1})
        await emit(stubs, {"D": 2, "C": "two", "B": True})
        assert await moments(stubs) == [(NOW, [("A", 1), ("B", True), ("C", "two"), ("D", 2)])]

    async def test_32_concurrent_emits_of_different_names_are_all_there(self, stubs: Stubs) -> None:
        await asyncio.gather(*(emit(stubs, {f"m{n}": n, f"t{n}": f"text {n}"}) for n in range(32)))
        expected = {name: item for n in range(32) for name, item in ((f"m{n}", n), (f"t{n}", f"text {n}"))}
        assert await samples(stubs) == {NOW: expected}
        assert await newest(stubs) == expected
        assert await asset_urns(stubs) == [URN]

    async def test_of_32_concurrent_emits_of_the_same_names_one_stands_whole(self, stubs: Stubs) -> None:
        def values(n: int) -> dict[str, Scalar]:
            return {name: (n, f"text {n}", n / 8)[(n + position) % 3] for position, name in enumerate("abcdef")}

        await asyncio.gather(*(emit(stubs, values(n)) for n in range(32)))
        read = (await samples(stubs))[NOW]
        assert read in [values(n) for n in range(32)]
        assert await newest(stubs) == read

    async def test_two_servers_merge_into_one_moment(self, start: Start, shared_url: str) -> None:
        one = await start(database=shared_url)
        two = await start(database=shared_url)
        await asyncio.gather(
            *(emit((one, two)[n % 2], {f"m{n}": n, "same": n}, at=NOW) for n in range(32)),
        )
        for stubs in (one, two):
            read = (await samples(stubs))[NOW]
            assert read.pop("same") in range(32)
            assert read == {f"m{n}": n for n in range(32)}

    async def test_an_earlier_moment_does_not_change_the_newest_value(self, stubs: Stubs) -> None:
        await emit(stubs, {"a": "new", "b": 1})
        await emit(stubs, {"a": 5, "c": 2}, at=NOW - SECOND)
        assert await newest(stubs) == {"a": "new", "b": 1, "c": 2}
        assert await samples(stubs) == {NOW - SECOND: {"a": 5, "c": 2}, NOW: {"a": "new", "b": 1}}


class TestDeclared:
    async def test_a_declared_metric_is_not_guessed(self, stubs: Stubs) -> None:
        await declare(stubs, "code", "STRING")
        await declare(stubs, "count", "NUMBER")
        await declare(stubs, "ratio", "DOUBLE")
        await declare(stubs, "rows", "INT64")
        await declare(stubs, "ready", "BOOL")
        answer = await emit(stubs, {"code": "50", "count": "50", "ratio": 5, "rows": 5.0, "ready": "true", "free": "5"})
        assert answered(answer) == {
            "code": ("STRING", "50", False),
            "count": ("NUMBER", 50, False),
            "ratio": ("NUMBER", 5.0, False),
            "rows": ("NUMBER", 5, False),
            "ready": ("BOOLEAN", True, False),
            "free": ("NUMBER", 5, True),
        }
        read = await newest(stubs)
        assert {name: type(item) for name, item in read.items()} == {
            "code": str, "count": int, "ratio": float, "rows": int, "ready": bool, "free": int,
        }  # fmt: skip

    async def test_a_value_or_type_that_is_not_the_declared_one_is_refused(self, stubs: Stubs) -> None:
        await declare(stubs, "code", "STRING")
        await declare(stubs, "rows", "INT64")
        await declare(stubs, "ready", "BOOL")
        with invalid("VALUE_TYPE_MISMATCH") as refusal:
            await stubs.assets.EmitAssetMetrics(
                request(
                    metric("code", 50),
                    metric("code", "50", "NUMBER"),
                    metric("rows", 0.5),
                    metric("rows", "many"),
                    metric("ready", 1),
                    metric("ready", "yes"),
                    metric("new", 1),
                )
            )
        assert refusal.violations == {
            "metrics[0].value": "must be STRING, as the metric is declared, is 50",
            "metrics[1].value_type": "must be STRING, as the metric is declared, is NUMBER",
            "metrics[2].value": "must be INT64, as the metric is declared, is DOUBLE and cannot be converted without "
            "loss",
            "metrics[3].value": "must be NUMBER, as the metric is declared, is 'many'",
            "metrics[4].value": "must be BOOLEAN, as the metric is declared, is 1",
            "metrics[5].value": "must be BOOLEAN, as the metric is declared, is 'yes'",
        }
        assert await asset_urns(stubs) == []
        assert await asset_metrics(stubs) == {"code", "rows", "ready"}

    async def test_a_value_outside_of_the_declared_range_is_refused(self, stubs: Stubs) -> None:
        await declare(stubs, "share", "NUMBER", min_value=0.0, max_value=1.0)
        with invalid() as refusal:
            await stubs.assets.EmitAssetMetrics(
                request(metric("share", "1.5"), metric("share", -1), metric("share", 0.5))
            )
        assert refusal.violations == {
            "metrics[0].value": "must be at most 1, is 1.5",
            "metrics[1].value": "must be at least 0, is -1",
        }
        await emit(stubs, {"share": 1})
        assert await newest(stubs) == {"share": 1}

    async def test_a_value_that_means_no_value_is_not_stored_and_a_warning_says_so(self, stubs: Stubs) -> None:
        await declare(stubs, "lag", "NUMBER", no_value=-1.0)
        answer = await emit(stubs, {"lag": -1, "other": -1})
        assert list(answer.warnings) == ["metrics[0].value: means that 'lag' has no value; it is not stored"]
        assert await newest(stubs) == {"other": -1}

    async def test_an_undeclared_metric_may_change_its_type(self, stubs: Stubs) -> None:
        items: list[Scalar] = [1, "x", True, 0.5]
        for position, item in enumerate(items):
            await emit(stubs, {"free": item}, at=NOW + position * SECOND)
        assert list((await samples(stubs)).values()) == [{"free": item} for item in items]


class TestValidateOnly:
    async def test_types_are_told_and_nothing_is_stored(self, stubs: Stubs) -> None:
        answer = await stubs.assets.EmitAssetMetrics(
            request(metric("a", "50"), metric("b", "x"), validate_only=True, request_id="r")
        )
        assert answered(answer) == {"a": ("NUMBER", 50, True), "b": ("STRING", "x", True)}
        assert (answer.asset, answer.urn, micros(answer.time)) == (name_of(URN), URN, NOW)
        await assert_empty(stubs)
        # Neither is the request id used up.
        await stubs.assets.EmitAssetMetrics(request(metric("c", 1), request_id="r"))
        assert await newest(stubs) == {"c": 1}

    async def test_what_is_wrong_is_told(self, stubs: Stubs) -> None:
        with invalid("VALUE_TYPE_MISMATCH"):
            await stubs.assets.EmitAssetMetrics(request(metric("a", 1, "STRING"), validate_only=True))
        await assert_empty(stubs)
