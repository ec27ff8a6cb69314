"""Metric descriptors: listed, read, changed, and what a change does to reads and writes."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from grpc import StatusCode
from streamgauge.v1 import common_pb2, source_service_pb2
from streamgauge.v1 import metrics_service_pb2 as pb
from streamgauge_server.internal.page_token_pb2 import PageToken
from streamgauge_server.model.clock import FixedClock
from streamgauge_server.model.job_catalog import JOB_METRICS
from streamgauge_server.model.source_catalog import SOURCE_METRICS

from tests.rpc.messages import HOUR, NOW, SECOND, Scalar, ask, latest_of, row, series_of, write
from tests.rpc.serving import Start, Stubs, invalid, refused


def name_of(metric: str) -> str:
    return f"metricDescriptors/sources/{metric}"


async def get(stubs: Stubs, metric: str) -> common_pb2.MetricDescriptor:
    request = pb.GetMetricDescriptorRequest(name=name_of(metric))
    return (await stubs.metrics.GetMetricDescriptor(request)).metric_descriptor


async def update(stubs: Stubs, metric: str, *paths: str, **fields: Any) -> common_pb2.MetricDescriptor:
    """Changes fields; the mask is `paths`, by default the fields that are given."""
    request = pb.UpdateMetricDescriptorRequest(
        metric_descriptor=common_pb2.MetricDescriptor(name=name_of(metric), **fields),
        update_mask=FieldMask(paths=paths or [field for field in fields if field != "etag"]),
    )
    return (await stubs.metrics.UpdateMetricDescriptor(request)).metric_descriptor


async def everything(stubs: Stubs, page_size: int = 1_000, **fields: Any) -> list[common_pb2.MetricDescriptor]:
    found: list[common_pb2.MetricDescriptor] = []
    token = ""
    while True:
        request = pb.ListMetricDescriptorsRequest(page_size=page_size, page_token=token, **fields)
        answer = await stubs.metrics.ListMetricDescriptors(request)
        assert len(answer.metric_descriptors) <= page_size
        found.extend(answer.metric_descriptors)
        token = answer.next_page_token
        if not token:
            return found


async def put(stubs: Stubs, values: dict[str, Scalar], at: int = NOW - 1, **fields: Any) -> None:
    answer = await stubs.metrics.WriteMetrics(write(row(values, at=at, **fields)))
    assert answer.rejected_count == 0, answer.errors


class TestRead:
    async def test_the_built_in_ones_are_there_before_anything_is_written(self, stubs: Stubs) -> None:
        found = await everything(stubs, subject_kind=common_pb2.SUBJECT_KIND_SOURCE)
        of_jobs = await everything(stubs, subject_kind=common_pb2.SUBJECT_KIND_JOB)
        assert [d.metric for d in found] == sorted((m.metric for m in SOURCE_METRICS), key=str.encode)
        assert [d.metric for d in of_jobs] == sorted((m.metric for m in JOB_METRICS), key=str.encode)
        assert all(d.built_in for d in (*found, *of_jobs))
        assert all(d.name == name_of(d.metric) for d in found)
        assert all(d.name == f"metricDescriptors/jobs/{d.metric}" for d in of_jobs)
        assert all(d.subject_kind == common_pb2.SUBJECT_KIND_SOURCE for d in found)
        descriptor = await get(stubs, "byteTotal")
        assert descriptor in found
        assert (descriptor.display_name, descriptor.unit) == ("Volume", "bytes")
        assert (descriptor.kind, descriptor.value_type) == (common_pb2.METRIC_KIND_COUNTER, common_pb2.VALUE_TYPE_INT64)
        assert descriptor.window_aggregate == descriptor.summary_aggregate == common_pb2.AGGREGATE_INCREASE
        assert descriptor.part_combination == common_pb2.PART_COMBINATION_SUM
        assert descriptor.description
        assert descriptor.etag
        assert descriptor.create_time.ToMicroseconds() == NOW
        assert not descriptor.HasField("no_value")
        assert (await get(stubs, "latency")).no_value == -1.0
        assert list((await get(stubs, "connector_status")).state_order)[-1] == "Broken"

    async def test_a_metric_that_was_never_written_is_not_found(self, stubs: Stubs) -> None:
        with refused(StatusCode.NOT_FOUND, "METRIC_NOT_FOUND") as refusal:
            await get(stubs, "never")
        assert refusal.metadata["name"] == "metricDescriptors/sources/never"
        with refused(StatusCode.NOT_FOUND, "METRIC_NOT_FOUND"):
            await update(stubs, "never", unit="x")

    @pytest.mark.parametrize(
        "name",
        ["", "x", "metricDescriptors/", "metricDescriptors/sources", "metricDescriptors/sources/", "metrics/sources/x",
         "metricDescriptors/things/x", "metricDescriptors/sources/\0", "metricDescriptors/sources/" + "x" * 256],
    )  # fmt: skip
    async def test_malformed_names_are_refused(self, stubs: Stubs, name: str) -> None:
        with invalid() as refusal:
            await stubs.metrics.GetMetricDescriptor(pb.GetMetricDescriptorRequest(name=name))
        assert list(refusal.violations) == ["name"]
        with invalid() as refusal:
            await stubs.metrics.UpdateMetricDescriptor(
                pb.UpdateMetricDescriptorRequest(metric_descriptor=common_pb2.MetricDescriptor(name=name))
            )
        assert list(refusal.violations) == ["metric_descriptor.name"]

    @pytest.mark.parametrize("metric", ["a/b/c", "ä ö", "%", "*", "x" * 255, "ü" * 255, "a,b=c", "'; --", "..", "A"])
    async def test_any_text_without_control_characters_is_a_name(self, stubs: Stubs, metric: str) -> None:
        await put(stubs, {metric: 1})
        assert (await get(stubs, metric)).metric == metric
        if metric != "*":  # in a list of metrics it stands for all of them
            answer = await stubs.sources.GetSourceMetrics(ask("LATEST", metrics=[metric]))
            assert latest_of(answer) == {metric: 1}


class TestList:
    async def test_pages_are_in_the_order_of_names_and_hold_everything_once(self, stubs: Stubs) -> None:
        await put(stubs, dict.fromkeys(("b", "B", "a/b", "ä", "a b"), 1))
        whole = await everything(stubs)
        order = [(d.subject_kind, d.metric.encode()) for d in whole]
        assert order == sorted(order)
        assert len(whole) == 5 + len(SOURCE_METRICS) + len(JOB_METRICS)
        for size in (1, 5, len(whole)):
            assert await everything(stubs, page_size=size) == whole

    async def test_sizes_are_100_by_default_and_1000_at_most(self, stubs: Stubs) -> None:
        await put(stubs, {f"m{n}": n for n in range(1_000)})
        for asked, given in ((0, 100), (1_000, 1_000), (5_000, 1_000)):
            answer = await stubs.metrics.ListMetricDescriptors(pb.ListMetricDescriptorsRequest(page_size=asked))
            assert len(answer.metric_descriptors) == given
        with invalid() as refusal:
            await stubs.metrics.ListMetricDescriptors(pb.ListMetricDescriptorsRequest(page_size=-5))
        assert refusal.violations == {"page_size": "must not be negative, is -5"}

    async def test_by_kind(self, stubs: Stubs) -> None:
        assert len(await everything(stubs, subject_kind=common_pb2.SUBJECT_KIND_SOURCE)) == 22
        assert await everything(stubs, subject_kind=common_pb2.SUBJECT_KIND_ASSET) == []
        request = pb.ListMetricDescriptorsRequest(page_size=-1)
        request.subject_kind = 9  # type: ignore[assignment]
        with invalid() as refusal:
            await stubs.metrics.ListMetricDescriptors(request)
        assert set(refusal.violations) == {"subject_kind", "page_size"}

    async def test_tokens_of_other_arguments_and_forged_ones_are_refused(self, stubs: Stubs) -> None:
        request = pb.ListMetricDescriptorsRequest(page_size=1)
        token = (await stubs.metrics.ListMetricDescriptors(request)).next_page_token
        genuine = PageToken.FromString(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
        digest = genuine.request_digest
        forged = [
            encoded(PageToken(request_digest=digest, after=after))
            for after in (
                ["1"],
                ["9", "x"],
                ["0", "x"],
                ["", ""],
                ["1", "\0"],
                ["1", ""],
                ["1", "x" * 256],
                ["1", "x", "y"],
            )
        ]
        kind = common_pb2.SUBJECT_KIND_SOURCE
        with invalid("PAGE_TOKEN_MISMATCH"):
            await stubs.metrics.ListMetricDescriptors(
                pb.ListMetricDescriptorsRequest(page_token=token, subject_kind=kind)
            )
        for bad in [*forged, "x", token[:-2], "\0", token * 2]:
            with invalid("PAGE_TOKEN_MISMATCH") as refusal:
                await stubs.metrics.ListMetricDescriptors(pb.ListMetricDescriptorsRequest(page_token=bad))
            assert list(refusal.violations) == ["page_token"]


def encoded(token: PageToken) -> str:
    return base64.urlsafe_b64encode(token.SerializeToString()).decode().rstrip("=")


class TestUpdate:
    async def test_only_the_fields_of_the_mask_change(self, stubs: Stubs, clock: FixedClock) -> None:
        await put(stubs, {"own": 1})
        before = await get(stubs, "own")
        clock.micros += SECOND
        after = await update(stubs, "own", "unit", unit="rows", display_name="ignored", description="ignored")
        assert (after.unit, after.display_name, after.description) == ("rows", "own", "")
        assert after.etag != before.etag
        assert after.create_time == before.create_time
        assert after.update_time.ToMicroseconds() == NOW + SECOND
        assert await get(stubs, "own") == after

    @pytest.mark.parametrize("mask", [[], ["*"]])
    async def test_without_a_mask_all_fields_change(self, stubs: Stubs, mask: list[str]) -> None:
        await put(stubs, {"own": 1})
        await update(stubs, "own", unit="rows", description="old", no_value=-1.0, display_name="Own")
        request = pb.UpdateMetricDescriptorRequest(
            metric_descriptor=common_pb2.MetricDescriptor(name=name_of("own"), description="new"),
            update_mask=FieldMask(paths=mask),
        )
        after = (await stubs.metrics.UpdateMetricDescriptor(request)).metric_descriptor
        assert (after.unit, after.description, after.display_name) == ("", "new", "own")
        assert not after.HasField("no_value")
        assert after.kind == common_pb2.METRIC_KIND_GAUGE

    async def test_a_descriptor_may_be_sent_back_whole(self, stubs: Stubs) -> None:
        for metric in ("byteTotal", "latency", "connector_status", "SnapshotRunning"):
            before = await get(stubs, metric)
            request = pb.UpdateMetricDescriptorRequest(metric_descriptor=before)
            after = (await stubs.metrics.UpdateMetricDescriptor(request)).metric_descriptor
            assert after.etag != before.etag
            after.etag = before.etag
            assert after == before

    async def test_a_stale_etag_is_refused(self, stubs: Stubs) -> None:
        await put(stubs, {"own": 1})
        stale = (await get(stubs, "own")).etag
        fresh = (await update(stubs, "own", unit="a", etag=stale)).etag
        with refused(StatusCode.ABORTED, "ETAG_MISMATCH") as refusal:
            await update(stubs, "own", unit="b", etag=stale)
        assert (refusal.metadata["name"], refusal.metadata["etag"]) == (name_of("own"), fresh)
        assert (await get(stubs, "own")).unit == "a"

    async def test_of_concurrent_updates_with_one_etag_one_wins(self, stubs: Stubs) -> None:
        etag = (await get(stubs, "byteTotal")).etag
        results = await asyncio.gather(
            *(update(stubs, "byteTotal", unit=str(n), etag=etag) for n in range(10)), return_exceptions=True
        )
        assert sum(isinstance(result, common_pb2.MetricDescriptor) for result in results) == 1

    async def test_texts_at_their_limits_pass_and_over_them_are_told_at_once(self, stubs: Stubs) -> None:
        await put(stubs, {"state_": "x"})
        states = [f"{n:03}" + "s" * 252 for n in range(100)]
        fields: dict[str, Any] = {
            "display_name": "d" * 255,
            "description": "d" * 4_096,
            "unit": "u" * 64,
            "kind": common_pb2.METRIC_KIND_STATE,
            "state_order": states,
        }
        after = await update(stubs, "state_", **fields)
        assert list(after.state_order) == states
        before = await get(stubs, "state_")
        with invalid() as refusal:
            await update(
                stubs,
                "state_",
                "display_name", "description", "unit", "state_order", "name", "etag", "built_in",
                display_name="d" * 256,
                description="\0",
                unit="u" * 65,
                state_order=["", "x", "x", "y" * 256],
            )  # fmt: skip
        assert refusal.violations.keys() == {
            "update_mask.paths[4]",
            "update_mask.paths[5]",
            "update_mask.paths[6]",
            "metric_descriptor.display_name",
            "metric_descriptor.description",
            "metric_descriptor.unit",
            "metric_descriptor.state_order",
            "metric_descriptor.state_order[0]",
            "metric_descriptor.state_order[3]",
        }
        with invalid() as refusal:
            await update(stubs, "state_", state_order=[*states, "more"])
        assert refusal.violations == {"metric_descriptor.state_order": "must have at most 100 entries, has 101"}
        assert await get(stubs, "state_") == before

    async def test_unknown_enum_numbers_are_refused(self, stubs: Stubs) -> None:
        await put(stubs, {"own": 1})
        descriptor = common_pb2.MetricDescriptor(name=name_of("own"))
        for field in ("kind", "window_aggregate", "summary_aggregate", "part_combination"):
            setattr(descriptor, field, 99)
        with invalid() as refusal:
            await stubs.metrics.UpdateMetricDescriptor(pb.UpdateMetricDescriptorRequest(metric_descriptor=descriptor))
        assert set(refusal.violations) == {
            f"metric_descriptor.{field}"
            for field in ("kind", "window_aggregate", "summary_aggregate", "part_combination")
        }

    async def test_kind_and_no_value_of_built_in_metrics_stay(self, stubs: Stubs) -> None:
        before = await get(stubs, "latency")
        with invalid() as refusal:
            await update(stubs, "latency", kind=common_pb2.METRIC_KIND_COUNTER, no_value=0.0)
        assert set(refusal.violations) == {"metric_descriptor.kind", "metric_descriptor.no_value"}
        with invalid():
            await update(stubs, "latency", "no_value")
        assert await get(stubs, "latency") == before
        after = await update(
            stubs,
            "latency",
            display_name="Lag",
            description="D",
            unit="ms",
            window_aggregate=common_pb2.AGGREGATE_AVG,
            summary_aggregate=common_pb2.AGGREGATE_MIN,
            part_combination=common_pb2.PART_COMBINATION_MIN,
        )
        assert (after.display_name, after.unit, after.no_value) == ("Lag", "ms", -1.0)

    @pytest.mark.parametrize(
        ("value", "kind"),
        [
            (1, "STATE"),
            (1, "TEXT"),
            (1.5, "STATE"),
            (True, "COUNTER"),
            (True, "TEXT"),
            ("x", "GAUGE"),
            ("x", "COUNTER"),
        ],
    )
    async def test_kinds_that_do_not_fit_the_values_are_refused(self, stubs: Stubs, value: Scalar, kind: str) -> None:
        await put(stubs, {"own": value})
        with invalid() as refusal:
            await update(stubs, "own", kind=common_pb2.MetricKind.Value(f"METRIC_KIND_{kind}"))
        assert "metric_descriptor.kind" in refusal.violations

    @pytest.mark.parametrize(("value", "aggregate"), [(1, "INCREASE"), (1, "RATE"), ("x", "SUM"), ("x", "MAX")])
    async def test_aggregates_that_do_not_fit_the_kind_are_refused(
        self, stubs: Stubs, value: Scalar, aggregate: str
    ) -> None:
        await put(stubs, {"own": value})
        for field in ("window_aggregate", "summary_aggregate"):
            with invalid("AGGREGATE_NOT_ALLOWED") as refusal:
                await update(stubs, "own", **{field: common_pb2.Aggregate.Value(f"AGGREGATE_{aggregate}")})
            assert list(refusal.violations) == [f"metric_descriptor.{field}"]
            assert refusal.metadata["aggregate"] == aggregate
            assert refusal.metadata["metric"] == "own"

    @pytest.mark.parametrize(("value", "combination"), [(1, "WORST"), (1, "UNION"), ("x", "SUM"), ("x", "MAX")])
    async def test_combinations_that_do_not_fit_the_values_are_refused(
        self, stubs: Stubs, value: Scalar, combination: str
    ) -> None:
        await put(stubs, {"own": value})
        with invalid() as refusal:
            await update(
                stubs, "own", part_combination=common_pb2.PartCombination.Value(f"PART_COMBINATION_{combination}")
            )
        assert list(refusal.violations) == ["metric_descriptor.part_combination"]

    @pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
    async def test_a_no_value_is_a_finite_number(self, stubs: Stubs, number: float) -> None:
        await put(stubs, {"own": 1})
        with invalid() as refusal:
            await update(stubs, "own", no_value=number)
        assert list(refusal.violations) == ["metric_descriptor.no_value"]

    async def test_a_no_value_needs_numbers(self, stubs: Stubs) -> None:
        await put(stubs, {"text": "x", "flag": True})
        for metric in ("text", "flag"):
            with invalid() as refusal:
                await update(stubs, metric, no_value=1.0)
            assert list(refusal.violations) == ["metric_descriptor.no_value"]


class TestWhatAChangeDoes:
    async def test_texts_show_in_the_metadata_of_reads(self, stubs: Stubs) -> None:
        await put(stubs, {"own": 1})
        await update(stubs, "own", display_name="Own Metric", unit="rows")
        answer = await stubs.sources.GetSourceMetrics(ask("LATEST", metrics=["own"]))
        assert (answer.metadata["own"].display_name, answer.metadata["own"].unit) == ("Own Metric", "rows")

    async def test_a_changed_kind_brings_its_default_aggregates(self, stubs: Stubs) -> None:
        await put(stubs, {"own": 1})
        after = await update(stubs, "own", kind=common_pb2.METRIC_KIND_COUNTER)
        assert after.window_aggregate == after.summary_aggregate == common_pb2.AGGREGATE_INCREASE
        after = await update(stubs, "own", kind=common_pb2.METRIC_KIND_GAUGE)
        assert after.window_aggregate == after.summary_aggregate == common_pb2.AGGREGATE_LAST
        after = await update(
            stubs, "own", kind=common_pb2.METRIC_KIND_COUNTER, window_aggregate=common_pb2.AGGREGATE_RATE
        )
        assert after.window_aggregate == common_pb2.AGGREGATE_RATE
        assert after.summary_aggregate == common_pb2.AGGREGATE_INCREASE

    async def test_a_changed_aggregate_is_what_reads_answer(self, stubs: Stubs) -> None:
        for n, value in enumerate([5, 9, 2]):
            await put(stubs, {"own": value}, at=NOW - 10 + n)
        for aggregate, expected in (("MAX", 9), ("MIN", 2), ("SUM", 16), ("COUNT", 3), ("FIRST", 5), ("LAST", 2)):
            await update(stubs, "own", window_aggregate=common_pb2.Aggregate.Value(f"AGGREGATE_{aggregate}"))
            answer = await stubs.sources.GetSourceMetrics(ask(start=NOW - HOUR, end=NOW, metrics=["own"]))
            assert series_of(answer)["own"] == [expected]

    async def test_a_no_value_is_dropped_from_then_on(self, stubs: Stubs) -> None:
        await put(stubs, {"own": -9}, at=NOW - 3)
        await update(stubs, "own", no_value=-9.0)
        await put(stubs, {"own": -9}, at=NOW - 2)
        await put(stubs, {"own": -9.0}, at=NOW - 1)
        answer = await stubs.sources.GetSourceMetrics(ask("TIMESUMMARY", metrics=["own"]))
        assert answer.timesummary[0].sample_count == 1, "stored samples stay as they are"

    async def test_a_state_order_decides_which_part_stands(self, stubs: Stubs) -> None:
        await put(stubs, {"own": "good"}, part="0")
        await put(stubs, {"own": "bad"}, part="1")
        await update(stubs, "own", kind=common_pb2.METRIC_KIND_STATE, state_order=["good", "bad"])
        answer = await stubs.sources.GetSourceMetrics(ask("LATEST", metrics=["own"]))
        assert latest_of(answer) == {"own": "bad"}
        await update(stubs, "own", state_order=["bad", "good"])
        answer = await stubs.sources.GetSourceMetrics(ask("LATEST", metrics=["own"]))
        assert latest_of(answer) == {"own": "good"}

    async def test_another_server_sees_a_change_within_five_seconds(
        self, start: Start, shared_url: str, clock: FixedClock
    ) -> None:
        one, other = await start(database=shared_url), await start(database=shared_url)
        await put(one, {"own": 1})
        await other.sources.GetSourceMetrics(ask("LATEST"))
        await update(one, "own", unit="rows")
        clock.micros += 5 * SECOND
        answer = await other.sources.GetSourceMetrics(ask("LATEST"))
        assert answer.metadata["own"].unit == "rows"

    async def test_of_two_servers_that_see_a_metric_first_one_gives_it_its_type(
        self, start: Start, shared_url: str
    ) -> None:
        servers = [await start(database=shared_url) for _ in range(2)]
        values: tuple[Scalar, ...] = (1, "one")
        answers = await asyncio.gather(
            *(
                server.metrics.WriteMetrics(write(row({f"m{n}": value for n in range(50)}, subject=f"sources/{i}")))
                for i, (server, value) in enumerate(zip(servers, values, strict=True))
            )
        )
        assert sorted(answer.accepted_count for answer in answers) == [0, 1]
        loser = answers[0] if answers[0].rejected_count else answers[1]
        assert len(loser.errors) == 50

    async def test_descriptors_outlive_their_sources(self, stubs: Stubs) -> None:
        await put(stubs, {"own": 1})
        await stubs.sources.DeleteSource(source_service_pb2.DeleteSourceRequest(name="sources/a"))
        assert (await get(stubs, "own")).metric == "own"
        answer = await stubs.metrics.WriteMetrics(write(row({"own": "text"})))
        assert answer.rejected_count == 1, "the type is fixed"
