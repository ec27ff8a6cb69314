"""Reading assets: what was emitted comes back, merged, in order, exactly, a page at a time; newest values with age."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from functools import partial

import pytest
from grpc import StatusCode
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from streamgauge.v1 import asset_metric_service_pb2 as pb
from streamgauge.v1 import metrics_service_pb2
from streamgauge_server.model.clock import MAX_MICROS, MIN_MICROS, FixedClock

from tests.rpc.asset_messages import (
    OTHER,
    URN,
    Samples,
    emission,
    emit,
    latest,
    moments,
    name_of,
    newest,
    pages,
    question,
    samples,
)
from tests.rpc.messages import DAY, HOUR, MINUTE, NOW, SECOND, Scalar, micros, scalar
from tests.rpc.serving import Start, Stubs, invalid, refused
from tests.rpc.test_sources import damaged

MILLI = 1_000


async def batch(stubs: Stubs, requests: Sequence[pb.EmitAssetMetricsRequest]) -> None:
    """Emits many at once; all of them must be stored."""
    request = pb.BatchEmitAssetMetricsRequest(requests=requests, errors_only=True)
    answer = await stubs.assets.BatchEmitAssetMetrics(request)
    assert (answer.accepted_count, len(answer.outcomes)) == (len(requests), 0)


class TestMerging:
    async def test_later_names_are_added_and_equal_ones_replaced_in_the_order_of_first_report(
        self, stubs: Stubs
    ) -> None:
        await emit(stubs, {"A": 1, "B": 2, "C": 3})
        await emit(stubs, {"B": 20, "C": 30, "D": 40})
        assert await moments(stubs) == [(NOW, [("A", 1), ("B", 20), ("C", 30), ("D", 40)])]

    async def test_the_order_is_that_in_which_the_asset_reported_not_that_of_a_moment(self, stubs: Stubs) -> None:
        await emit(stubs, {"z": 1, "a": 2}, at=NOW - 2 * SECOND)
        await emit(stubs, {"m": 3, "a": 4}, at=NOW - SECOND)
        await emit(stubs, {"a": 5, "m": 6, "b": 7, "z": 8}, at=NOW)
        assert [[name for name, _ in metrics] for _, metrics in await moments(stubs)] == [
            ["z", "a"],
            ["a", "m"],
            ["z", "a", "m", "b"],
        ]

    async def test_an_emit_for_an_earlier_moment_does_not_change_the_order(self, stubs: Stubs) -> None:
        await emit(stubs, {"b": 1})
        await emit(stubs, {"a": 2, "b": 3}, at=NOW - DAY)
        assert await moments(stubs) == [(NOW - DAY, [("b", 3), ("a", 2)]), (NOW, [("b", 1)])]

    async def test_the_order_is_each_assets_own(self, stubs: Stubs) -> None:
        await emit(stubs, {"a": 1, "b": 1})
        await emit(stubs, {"b": 1, "a": 1}, asset=OTHER)
        assert (await moments(stubs))[0][1] == [("a", 1), ("b", 1)]
        assert (await moments(stubs, OTHER))[0][1] == [("b", 1), ("a", 1)]

    async def test_the_order_outlives_many_metrics_of_all_types(self, stubs: Stubs) -> None:
        names = [f"m{n}" for n in range(300)]
        random.Random(7).shuffle(names)
        kinds: list[Scalar] = [1, 1.5, True, "x"]
        values = {name: kinds[position % 4] for position, name in enumerate(names)}
        for first in range(0, 300, 50):
            await emit(stubs, {name: values[name] for name in names[first : first + 50]})
        assert await moments(stubs) == [(NOW, list(values.items()))]

    async def test_digits_below_the_millisecond_are_cut(self, stubs: Stubs) -> None:
        at = NOW + 123 * MILLI
        await emit(stubs, {"A": 1}, at=at)
        await emit(stubs, {"B": 2}, at=at + 456)
        await emit(stubs, {"C": 3}, at=at + 999)
        await emit(stubs, {"D": 4}, at=at + 1_000)
        assert await moments(stubs) == [(at, [("A", 1), ("B", 2), ("C", 3)]), (at + MILLI, [("D", 4)])]

    async def test_moments_before_1970_are_cut_downwards(self, stubs: Stubs) -> None:
        await emit(stubs, {"A": 1}, at=-1)
        await emit(stubs, {"B": 2}, at=-MILLI)
        await emit(stubs, {"C": 3}, at=-MILLI - 1)
        assert await samples(stubs) == {-2 * MILLI: {"C": 3}, -MILLI: {"A": 1, "B": 2}}

    async def test_the_type_of_a_metric_may_change_with_every_emit(self, stubs: Stubs) -> None:
        values: list[Scalar] = [1, "one", True, 1.5, 2**53 + 1, "", False, -0.0, 1, "one"]
        for position, item in enumerate(values):
            kind = "STRING" if isinstance(item, str) else "UNSPECIFIED"
            await emit(stubs, {"m": item}, at=NOW + position * SECOND, types={"m": kind})
        found = [metrics[0][1] for _, metrics in await moments(stubs)]
        assert [(type(item), item) for item in found] == [(type(item), item) for item in values]
        await emit(stubs, {"m": "another"}, at=NOW)
        assert (await samples(stubs))[NOW] == {"m": "another"}


class TestRanges:
    async def test_the_range_of_one_millisecond_reads_back_an_emit(self, stubs: Stubs) -> None:
        for at in (NOW - MILLI, NOW, NOW + MILLI):
            await emit(stubs, {"at": at}, at=at)
        assert await moments(stubs, start=NOW, end=NOW + MILLI) == [(NOW, [("at", NOW)])]

    async def test_the_start_is_inclusive_the_end_is_not(self, stubs: Stubs) -> None:
        for n in range(5):
            await emit(stubs, {"n": n}, at=NOW + n * DAY // 5)
        found = await moments(stubs, start=NOW + DAY // 5, end=NOW + 3 * DAY // 5)
        assert [metrics for _, metrics in found] == [[("n", 1)], [("n", 2)]]

    async def test_by_default_it_begins_in_1970_and_is_open(self, stubs: Stubs) -> None:
        times = [MIN_MICROS, -MILLI, 0, NOW - DAY, NOW, NOW + DAY]
        for time in times:
            await emit(stubs, {"n": 1}, at=time)
        assert [time for time, _ in await moments(stubs)] == times[2:]
        assert [time for time, _ in await moments(stubs, start=MIN_MICROS)] == times
        assert [time for time, _ in await moments(stubs, start=MIN_MICROS, end=0)] == times[:2]
        assert [time for time, _ in await moments(stubs, end=NOW + 1)] == times[2:5]
        assert [time for time, _ in await moments(stubs, start=-MILLI, end=MILLI)] == times[1:3]

    async def test_the_first_and_the_last_moment_that_there_are(self, stubs: Stubs, clock: FixedClock) -> None:
        clock.micros = MAX_MICROS - DAY
        last = MAX_MICROS - MILLI
        await emit(stubs, {"n": 1}, at=MIN_MICROS)
        await emit(stubs, {"n": 2}, at=last)
        assert await samples(stubs) == {MIN_MICROS: {"n": 1}, last: {"n": 2}}
        assert await moments(stubs, start=last) == [(last, [("n", 2)])]

    @pytest.mark.parametrize(
        ("since", "until", "word"),
        [(NOW, NOW, "empty"), (NOW + 1, NOW, "reversed"), (None, 0, "empty"), (None, -1, "reversed")],
    )
    async def test_an_empty_or_reversed_range_is_refused(
        self, stubs: Stubs, since: int | None, until: int, word: str
    ) -> None:
        await emit(stubs, {"n": 1})
        with invalid("INVALID_TIME_RANGE") as refusal:
            await moments(stubs, start=since, end=until)
        assert refusal.violations["time_range.start_time"].endswith(f"which is {word}")

    async def test_a_known_asset_without_metrics_answers_with_none(self, stubs: Stubs) -> None:
        await stubs.assets.CreateAsset(pb.CreateAssetRequest(asset=pb.Asset(urn=URN)))
        answer = await stubs.assets.ListAssetMetrics(question())
        assert answer == pb.ListAssetMetricsResponse()

    async def test_all_that_is_wrong_is_told_at_once(self, stubs: Stubs) -> None:
        request = question("orders", start=NOW, end=NOW, metrics=["", "a\0", "ok", "x" * 256], page_size=-1)
        with invalid() as refusal:
            await stubs.assets.ListAssetMetrics(request)
        assert list(refusal.violations) == [
            "asset",
            "page_size",
            "metrics[0]",
            "metrics[1]",
            "metrics[3]",
            "time_range.start_time",
        ]
        request = question(metrics=[f"m{n}" for n in range(1_001)])
        request.time_range.start_time.seconds = -(10**12)
        request.time_range.end_time.nanos = -1
        with invalid() as refusal:
            await stubs.assets.ListAssetMetrics(request)
        assert list(refusal.violations) == ["time_range.start_time", "time_range.end_time", "metrics"]
        assert refusal.violations["metrics"] == "must have at most 1000 entries, has 1001"


class TestFilters:
    async def test_moments_without_any_of_the_metrics_are_left_out(self, stubs: Stubs) -> None:
        await emit(stubs, {"a": 1, "b": 2}, at=NOW)
        await emit(stubs, {"b": 3}, at=NOW + SECOND)
        await emit(stubs, {"c": "x", "a": 4}, at=NOW + 2 * SECOND)
        assert await moments(stubs, metrics=["a"]) == [(NOW, [("a", 1)]), (NOW + 2 * SECOND, [("a", 4)])]
        assert await moments(stubs, metrics=["c", "b"]) == [
            (NOW, [("b", 2)]),
            (NOW + SECOND, [("b", 3)]),
            (NOW + 2 * SECOND, [("c", "x")]),
        ]
        assert await moments(stubs, metrics=["a", "none", "a"]) == await moments(stubs, metrics=["a"])

    async def test_names_that_the_asset_never_reported_give_nothing(self, stubs: Stubs) -> None:
        await emit(stubs, {"a": 1})
        await emit(stubs, {"elsewhere": 1}, asset=OTHER)
        assert await moments(stubs, metrics=["none"]) == []
        assert await moments(stubs, metrics=["elsewhere"]) == []
        assert await moments(stubs, metrics=["A"]) == []

    async def test_a_page_of_a_rare_metric_is_full(self, stubs: Stubs) -> None:
        requests = []
        for n in range(600):
            values: dict[str, Scalar] = {"often": n}
            if n % 100 == 50:
                values["rare"] = n
            requests.append(emission(values, at=NOW - DAY + n * SECOND))
        await batch(stubs, requests)
        answer = await stubs.assets.ListAssetMetrics(question(metrics=["rare"], page_size=5))
        assert [scalar(moment.metrics[0].value) for moment in answer.moments] == [50, 150, 250, 350, 450]
        answer = await stubs.assets.ListAssetMetrics(
            question(metrics=["rare"], page_size=5, page_token=answer.next_page_token)
        )
        assert [scalar(moment.metrics[0].value) for moment in answer.moments] == [550]
        assert not answer.next_page_token


class TestPages:
    @pytest.mark.parametrize(("page_size", "pages_expected"), [(1_000, 3), (7, 358)])
    async def test_pages_hold_every_moment_once(self, stubs: Stubs, page_size: int, pages_expected: int) -> None:
        times = await self._emit_2500(stubs)
        found: list[int] = []
        count = 0
        async for page in pages(stubs, question(page_size=page_size)):
            count += 1
            found.extend(micros(moment.time) for moment in page.moments)
            assert len(page.moments) == page_size or not page.next_page_token
        assert found == times
        assert count == pages_expected

    async def test_pages_of_one_moment_hold_every_moment_once(self, stubs: Stubs) -> None:
        times = await self._emit_2500(stubs)
        found = await moments(stubs, start=times[1_200], end=times[1_500], page_size=1)
        assert [time for time, _ in found] == times[1_200:1_500]

    async def test_writes_between_pages_neither_hide_nor_repeat_what_was_there(self, stubs: Stubs) -> None:
        times = await self._emit_2500(stubs)
        found: list[int] = []
        number = 0
        async for page in pages(stubs, question(page_size=100)):
            found.extend(micros(moment.time) for moment in page.moments)
            last = micros(page.moments[-1].time)
            number += 1
            # One before what was read, one right after it, one at the moment that was read last.
            await emit(stubs, {"new": number}, at=last - MILLI)
            await emit(stubs, {"new": number}, at=last + MILLI)
            await emit(stubs, {f"another{number}": number}, at=last)
            assert number < 40, "the pages come to an end"
            if last >= times[-1]:
                break
        assert found == sorted(set(found))
        assert set(times) <= set(found)
        added = sorted(set(found) - set(times))
        assert len(added) == number - 1, "what is written ahead of a reader is read"

    async def _emit_2500(self, stubs: Stubs) -> list[int]:
        """Emits moments of 60 days, several a day, in random order; returns them."""
        times = sorted(NOW - 60 * DAY + n * 2_060 * SECOND for n in range(2_500))
        shuffled = list(times)
        random.Random(5).shuffle(shuffled)
        await batch(stubs, [emission({"n": n, "t": "x"}, at=time) for n, time in enumerate(shuffled)])
        return times

    async def test_sizes_are_100_by_default_and_1000_at_most(self, stubs: Stubs) -> None:
        await batch(stubs, [emission({"n": n}, at=NOW + n * MILLI) for n in range(1_001)])
        for asked, size in ((0, 100), (1, 1), (1_000, 1_000), (1_001, 1_000), (2**31 - 1, 1_000)):
            answer = await stubs.assets.ListAssetMetrics(question(page_size=asked))
            assert len(answer.moments) == size
            assert answer.next_page_token

    async def test_a_last_page_that_is_full_has_no_token(self, stubs: Stubs) -> None:
        await emit(stubs, {"n": 1})
        await emit(stubs, {"n": 2}, at=NOW + MILLI)
        answer = await stubs.assets.ListAssetMetrics(question(page_size=2))
        assert (len(answer.moments), answer.next_page_token) == (2, "")

    async def test_a_moment_that_is_too_large_for_an_answer_is_continued(self, stubs: Stubs) -> None:
        names = [f"metric {n:05}" for n in range(10_000)]
        text = "täxt" * 819 + "x"
        assert len(text.encode()) == 4_096
        for first in range(0, 10_000, 2_500):
            some = names[first : first + 2_500]
            await batch(stubs, [emission(dict.fromkeys(some, text), at=NOW)])
        await emit(stubs, {"before": 1}, at=NOW - SECOND)
        await emit(stubs, {"after": 1}, at=NOW + SECOND)
        parts: list[list[tuple[int, int]]] = []
        found: list[str] = []
        async for page in pages(stubs, question(page_size=1_000)):
            assert page.ByteSize() <= 4 * 1024 * 1024
            parts.append([(micros(moment.time), len(moment.metrics)) for moment in page.moments])
            for moment in page.moments:
                for metric in moment.metrics:
                    found.append(metric.name)
                    assert metric.name in ("before", "after") or metric.value.string_value == text
        assert found == ["before", *names, "after"]
        assert parts[0] == [(NOW - SECOND, 1)], "the moment begins a page"
        assert all(part[0][0] == NOW for part in parts[1:])
        assert len(parts) < 13, "pages are full"
        assert parts[-1][-1] == (NOW + SECOND, 1), "the rest of the moment shares its page with the next one"

    async def test_an_answer_stays_below_a_limit_that_was_made_small(self, start: Start) -> None:
        stubs = await start(limits={"max_response_bytes": 10_000})
        await batch(stubs, [emission({"text": "x" * (n % 3_000), "n": n}, at=NOW + n * MILLI) for n in range(300)])
        times: list[int] = []
        async for page in pages(stubs, question(page_size=1_000)):
            assert page.ByteSize() <= 10_000
            assert page.ByteSize() > 5_000 or not page.next_page_token
            times.extend(micros(moment.time) for moment in page.moments)
        assert times == [NOW + n * MILLI for n in range(300)]

    async def test_an_end_that_is_open_lets_a_reader_follow(self, stubs: Stubs) -> None:
        await emit(stubs, {"n": 1})
        await emit(stubs, {"n": 2}, at=NOW + MILLI)
        first = await stubs.assets.ListAssetMetrics(question(page_size=1))
        await emit(stubs, {"n": 3}, at=NOW + 2 * MILLI)
        request = question(page_size=10, page_token=first.next_page_token)
        rest = await stubs.assets.ListAssetMetrics(request)
        assert [scalar(moment.metrics[0].value) for moment in rest.moments] == [2, 3]

    async def test_a_token_belongs_to_its_request(self, stubs: Stubs) -> None:
        await emit(stubs, {"a": 1, "b": 1})
        await emit(stubs, {"a": 2, "b": 1}, at=NOW + MILLI)
        await emit(stubs, {"a": 2}, asset=OTHER)
        in_range = partial(question, start=NOW, end=NOW + SECOND)
        first = await stubs.assets.ListAssetMetrics(in_range(metrics=["a"], page_size=1))
        token = first.next_page_token
        again = in_range(name_of(URN), metrics=["a"], page_size=5, page_token=token)
        assert len((await stubs.assets.ListAssetMetrics(again)).moments) == 1, "size and form of the name may change"
        for other in (
            question(page_token=token),
            question(metrics=["a"], page_token=token),
            in_range(metrics=["b"], page_token=token),
            in_range(metrics=["a", "b"], page_token=token),
            question(metrics=["a"], page_token=token, start=NOW, end=NOW + HOUR),
            question(metrics=["a"], page_token=token, start=NOW - 1, end=NOW + SECOND),
            in_range(OTHER, metrics=["a"], page_token=token),
        ):
            with invalid("PAGE_TOKEN_MISMATCH") as refusal:
                await stubs.assets.ListAssetMetrics(other)
            assert refusal.metadata["field"] == "page_token"
        for bad in damaged(token):
            with invalid("PAGE_TOKEN_MISMATCH"):
                await stubs.assets.ListAssetMetrics(in_range(metrics=["a"], page_token=bad))

    async def test_a_deleted_asset_ends_a_reader(self, stubs: Stubs) -> None:
        await emit(stubs, {"a": 1})
        await emit(stubs, {"a": 2}, at=NOW + MILLI)
        first = await stubs.assets.ListAssetMetrics(question(page_size=1))
        await stubs.assets.DeleteAsset(pb.DeleteAssetRequest(asset=URN))
        with refused(StatusCode.NOT_FOUND, "ASSET_NOT_FOUND"):
            await stubs.assets.ListAssetMetrics(question(page_size=1, page_token=first.next_page_token))


class TestLatest:
    async def test_the_newest_value_of_each_metric_comes_with_its_age(self, stubs: Stubs, clock: FixedClock) -> None:
        await emit(stubs, {"z": 1, "a": 0.5, "t": "x"}, at=NOW - DAY)
        await emit(stubs, {"a": 7, "b": True}, at=NOW)
        await emit(stubs, {"t": "late"}, at=NOW - 2 * DAY)
        await emit(stubs, {"ahead": 1}, at=NOW + HOUR + MILLI)
        clock.micros = NOW + MINUTE + 5
        answer = await latest(stubs, name_of(URN))
        assert micros(answer.read_time) == NOW + MINUTE + 5
        (entry,) = answer.assets
        assert (entry.asset, entry.name) == (name_of(URN), name_of(URN))
        kinds = pb.AssetValueType
        assert [
            (
                metric.name,
                scalar(metric.value),
                kinds.Name(metric.value_type).removeprefix("ASSET_VALUE_TYPE_"),
                micros(metric.time),
                metric.age.ToMicroseconds(),
            )
            for metric in entry.metrics
        ] == [
            ("z", 1, "NUMBER", NOW - DAY, DAY + MINUTE + 5),
            ("a", 7, "NUMBER", NOW, MINUTE + 5),
            ("t", "x", "STRING", NOW - DAY, DAY + MINUTE + 5),
            ("b", True, "BOOLEAN", NOW, MINUTE + 5),
            ("ahead", 1, "NUMBER", NOW + HOUR + MILLI, -HOUR + MINUTE + 5 - MILLI),
        ]

    async def test_the_age_of_a_moment_before_1970(self, stubs: Stubs) -> None:
        await emit(stubs, {"n": 1}, at=MIN_MICROS)
        (metric,) = (await latest(stubs, URN)).assets[0].metrics
        assert metric.age.seconds == (NOW - MIN_MICROS) // SECOND
        assert micros(metric.time) == MIN_MICROS

    async def test_1000_assets_come_in_the_order_of_the_request(self, stubs: Stubs, clock: FixedClock) -> None:
        urns = [f"urn:x:{n}" for n in range(1_000)]
        await batch(
            stubs,
            [
                emission({"n": n, "even": n % 2 == 0, "name": urn}, asset=urn, at=NOW - n * SECOND)
                for n, urn in enumerate(urns)
            ],
        )
        random.Random(3).shuffle(urns)
        clock.micros = NOW + HOUR
        answer = await latest(stubs, *urns)
        assert [entry.asset for entry in answer.assets] == urns
        assert list(answer.unknown_assets) == []
        for entry in answer.assets:
            n = int(entry.asset.removeprefix("urn:x:"))
            assert entry.name == name_of(entry.asset)
            assert [(m.name, scalar(m.value)) for m in entry.metrics] == [
                ("n", n),
                ("even", n % 2 == 0),
                ("name", entry.asset),
            ]
            assert {metric.age.seconds for metric in entry.metrics} == {3_600 + n}

    async def test_unknown_assets_are_listed_as_they_were_named(self, stubs: Stubs) -> None:
        await emit(stubs, {"n": 1})
        answer = await latest(stubs, OTHER, name_of("urn:x:y"), URN, "urn:x:z")
        assert list(answer.unknown_assets) == [OTHER, name_of("urn:x:y"), "urn:x:z"]
        assert [entry.asset for entry in answer.assets] == [URN]

    async def test_only_the_metrics_that_are_asked_for(self, stubs: Stubs) -> None:
        await emit(stubs, {"a": 1, "b": 2, "c": 3})
        await emit(stubs, {"d": 1}, asset=OTHER)
        answer = await latest(stubs, URN, OTHER, metrics=["c", "a", "none"])
        assert [[m.name for m in entry.metrics] for entry in answer.assets] == [["a", "c"], []]

    async def test_a_known_asset_without_metrics_has_an_empty_entry(self, stubs: Stubs) -> None:
        await stubs.assets.CreateAsset(pb.CreateAssetRequest(asset=pb.Asset(urn=URN)))
        assert await newest(stubs) == {}

    async def test_all_that_is_wrong_is_told_at_once(self, stubs: Stubs) -> None:
        with invalid() as refusal:
            await latest(stubs, URN, "orders", name_of(URN), OTHER, OTHER, metrics=["", "a\0"])
        assert refusal.violations["assets[1]"].startswith("must be a URN")
        assert refusal.violations["assets[2]"] == f"names the same asset as assets[0], {name_of(URN)}"
        assert refusal.violations["assets[4]"] == f"names the same asset as assets[3], {name_of(OTHER)}"
        assert refusal.violations["metrics[0]"] == "must not be empty"
        assert list(refusal.violations) == ["assets[1]", "assets[2]", "assets[4]", "metrics[0]", "metrics[1]"]

    @pytest.mark.parametrize("count", [0, 1_001])
    async def test_1_to_1000_assets(self, stubs: Stubs, count: int) -> None:
        request = pb.GetLatestAssetMetricsRequest(assets=[f"urn:x:{n}" for n in range(count)])
        with invalid() as refusal:
            await stubs.assets.GetLatestAssetMetrics(request)
        assert refusal.violations == {"assets": f"must have 1 to 1000 entries, has {count}"}


class TestPartsWrittenElsewhere:
    async def test_only_the_assets_own_samples_are_read(self, stubs: Stubs) -> None:
        await emit(stubs, {"x": 1})
        request = metrics_service_pb2.WriteMetricsRequest()
        for part, metric in (("", "own"), ("p", "of a part")):
            observation = request.observations.add(subject=name_of(URN), part=part)
            observation.time.FromMicroseconds(NOW + 5)
            observation.values[metric].double_value = 0.5
        await stubs.metrics.WriteMetrics(request)
        assert await moments(stubs) == [(NOW, [("x", 1)]), (NOW + 5, [("own", 0.5)])]
        assert await newest(stubs) == {"x": 1, "own": 0.5}


numbers = st.one_of(
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([2**53 + 1, 2**63 - 1, -(2**63), -0.0, 0.1, 5e-324, 1.7976931348623157e308]),
)
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=50)
scalars: st.SearchStrategy[Scalar] = st.one_of(numbers, st.booleans(), texts)
metric_names = st.sampled_from(["rows", "état", "a b", "x/y", "%20", "null fraction"])
emissions = st.lists(
    st.tuples(
        st.sampled_from([-DAY, -MILLI, 0, NOW - DAY, NOW - 1, NOW, NOW + MILLI, NOW + HOUR]),
        st.dictionaries(metric_names, scalars, min_size=1, max_size=4),
    ),
    min_size=1,
    max_size=12,
)


numbered = itertools.count()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(emissions, st.integers(1, 5))
async def test_every_value_comes_back_as_it_was_sent(
    stubs: Stubs, emitted: list[tuple[int, dict[str, Scalar]]], page_size: int
) -> None:
    """The round trip of all types: in single blocks and in a frame of many moments, through blocks and latest."""
    for bulk in (False, True):
        asset = f"urn:x:{next(numbered)}"
        expected: dict[int, Samples] = {}
        order: list[str] = []
        newest_times: dict[str, int] = {}
        requests = []
        for time, values in emitted:
            at = time // MILLI * MILLI
            expected.setdefault(at, {}).update(values)
            order.extend(name for name in values if name not in order)
            for name in values:
                newest_times[name] = max(at, newest_times.get(name, at))
            kinds = {name: "STRING" for name, item in values.items() if isinstance(item, str)}
            requests.append(emission(values, asset=asset, at=time, types=kinds))
        if bulk:
            await batch(stubs, requests)
        else:
            for request in requests:
                await stubs.assets.EmitAssetMetrics(request)
        found = await moments(stubs, asset, start=MIN_MICROS, page_size=page_size)
        in_order = [(time, [(n, expected[time][n]) for n in order if n in expected[time]]) for time in sorted(expected)]
        assert repr(found) == repr(in_order), "the representation tells 1 from 1.0 and True, and 0.0 from -0.0"
        stored = [(name, expected[newest_times[name]][name]) for name in order]
        assert repr(list((await newest(stubs, asset)).items())) == repr(stored)
