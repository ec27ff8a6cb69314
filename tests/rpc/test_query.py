"""`QueryMetrics`: aggregates over windows, ranges, many subjects, parts."""

from __future__ import annotations

import asyncio

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from grpc import StatusCode
from streamgauge.v1 import common_pb2, source_service_pb2
from streamgauge.v1 import metrics_service_pb2 as pb
from streamgauge_server.model.clock import FixedClock

from tests.rpc.messages import (
    DAY,
    HOUR,
    MINUTE,
    NOW,
    SECOND,
    Scalar,
    ask,
    batch,
    column,
    columns_of,
    frame,
    micros,
    query,
    row,
    write,
)
from tests.rpc.serving import Stubs, invalid, refused

ALL = ["COUNT", "SUM", "MIN", "MAX", "AVG", "FIRST", "LAST"]


async def declare(stubs: Stubs, metric: str, kind: str | None = None, parts: str | None = None) -> None:
    descriptor = common_pb2.MetricDescriptor(name=f"metricDescriptors/sources/{metric}")
    paths = []
    if kind is not None:
        descriptor.kind = common_pb2.MetricKind.Value(f"METRIC_KIND_{kind}")
        paths.append("kind")
    if parts is not None:
        descriptor.part_combination = common_pb2.PartCombination.Value(f"PART_COMBINATION_{parts}")
        paths.append("part_combination")
    await stubs.metrics.UpdateMetricDescriptor(
        pb.UpdateMetricDescriptorRequest(metric_descriptor=descriptor, update_mask=FieldMask(paths=paths))
    )


async def put(stubs: Stubs, *rows: common_pb2.Observation) -> None:
    answer = await stubs.metrics.WriteMetrics(write(*rows))
    assert answer.accepted_count == len(rows), answer.errors


class TestAggregates:
    async def test_of_integers(self, stubs: Stubs) -> None:
        await put(stubs, *(row({"x": n}, at=NOW - 10 + at) for at, n in enumerate([4, -2, 9, 3])))
        answer = await stubs.metrics.QueryMetrics(query(metrics=["x"], aggregates=ALL))
        found = {key[3]: values for key, values in columns_of(answer).items()}
        assert found == {"COUNT": [4], "SUM": [14], "MIN": [-2], "MAX": [9], "AVG": [3.5], "FIRST": [4], "LAST": [3]}
        types = {c.aggregate: c.WhichOneof("values") for c in answer.series[0].columns}
        assert types.pop(common_pb2.AGGREGATE_AVG) == "doubles"
        assert set(types.values()) == {"ints"}

    async def test_sums_of_integers_are_exact_and_become_doubles_beyond_64_bits(self, stubs: Stubs) -> None:
        await put(stubs, row({"x": 2**62 + 1}, at=NOW - 2 * HOUR), row({"x": 2**62 - 2}, at=NOW - 2 * HOUR + 1))
        window = query(start=NOW - 2 * HOUR, end=NOW, window=(1, "HOUR"), aggregates=["SUM"])
        answer = await stubs.metrics.QueryMetrics(window)
        assert columns_of(answer)["sources/a", "", "x", "SUM"] == [2**63 - 1, None]
        await put(stubs, row({"x": 2**62}, at=NOW - 1), row({"x": 2**62}, at=NOW - 2))
        answer = await stubs.metrics.QueryMetrics(window)
        assert columns_of(answer)["sources/a", "", "x", "SUM"] == [float(2**63 - 1), float(2**63)]

    async def test_of_doubles(self, stubs: Stubs) -> None:
        await put(stubs, *(row({"x": n}, at=NOW - 10 + at) for at, n in enumerate([0.5, -2.0, 9.25])))
        answer = await stubs.metrics.QueryMetrics(query(aggregates=ALL))
        found = {key[3]: values[0] for key, values in columns_of(answer).items()}
        assert found == {"COUNT": 3, "SUM": 7.75, "MIN": -2.0, "MAX": 9.25, "AVG": 7.75 / 3, "FIRST": 0.5, "LAST": 9.25}

    async def test_of_booleans(self, stubs: Stubs) -> None:
        await put(stubs, *(row({"x": n}, at=NOW - 10 + at) for at, n in enumerate([True, False, True, True])))
        answer = await stubs.metrics.QueryMetrics(query(aggregates=ALL))
        found = {key[3]: values[0] for key, values in columns_of(answer).items()}
        assert found == {"COUNT": 4, "SUM": 3, "MIN": False, "MAX": True, "AVG": 0.75, "FIRST": True, "LAST": True}
        assert type(found["SUM"]) is int
        assert type(found["MIN"]) is bool

    async def test_of_texts(self, stubs: Stubs) -> None:
        await put(stubs, *(row({"x": n}, at=NOW - 10 + at) for at, n in enumerate(["b", "a", "", "c"])))
        answer = await stubs.metrics.QueryMetrics(query(aggregates=["COUNT", "FIRST", "LAST"]))
        found = {key[3]: values[0] for key, values in columns_of(answer).items()}
        assert found == {"COUNT": 4, "FIRST": "b", "LAST": "c"}

    async def test_increase_and_rate_of_a_counter(self, stubs: Stubs) -> None:
        start = NOW - 90 * MINUTE
        await put(
            stubs,
            row({"byteTotal": 100}, at=start - DAY),
            row({"byteTotal": 160}, at=start + 10 * MINUTE),
            row({"byteTotal": 70}, at=NOW - 30 * MINUTE),
        )
        request = query(start=start, end=NOW, window=(1, "HOUR"), aggregates=["INCREASE", "RATE"])
        found = columns_of(await stubs.metrics.QueryMetrics(request))
        assert found["sources/a", "", "byteTotal", "INCREASE"] == [60, 70]
        # The first window is cut by the range to half an hour.
        assert found["sources/a", "", "byteTotal", "RATE"] == [60 / 1_800, 70 / 3_600]

    async def test_without_aggregates_each_metric_has_its_own_default(self, stubs: Stubs) -> None:
        lag = "StreamingMilliSecondsBehindSource"
        values: dict[str, Scalar] = {"byteTotal": 5, lag: 9, "StreamingConnected": True, "state": "s", "own": 1}
        await put(stubs, row(values, at=NOW - 2), row({lag: 3, "byteTotal": 6, "own": 2}, at=NOW - 1))
        whole = columns_of(await stubs.metrics.QueryMetrics(query()))
        assert {(metric, aggregate): values[0] for (_, _, metric, aggregate), values in whole.items()} == {
            ("byteTotal", "INCREASE"): 1,
            (lag, "MAX"): 9,
            ("StreamingConnected", "AVG"): 1.0,
            ("state", "LAST"): "s",
            ("own", "LAST"): 2,
        }
        windows = columns_of(await stubs.metrics.QueryMetrics(query(window=(1, "WEEK"))))
        assert windows["sources/a", "", "StreamingConnected", "MIN"] == [True]

    async def test_what_makes_no_sense_is_left_out_for_metrics_that_were_not_named(self, stubs: Stubs) -> None:
        await put(stubs, row({"byteTotal": 5, "own": 1, "text": "x"}, at=NOW - 1))
        found = columns_of(await stubs.metrics.QueryMetrics(query(aggregates=["RATE", "MAX", "LAST"])))
        assert {(metric, aggregate) for _, _, metric, aggregate in found} == {
            ("byteTotal", "RATE"),
            ("byteTotal", "MAX"),
            ("byteTotal", "LAST"),
            ("own", "MAX"),
            ("own", "LAST"),
            ("text", "LAST"),
        }

    async def test_what_makes_no_sense_is_refused_for_metrics_that_were_named(self, stubs: Stubs) -> None:
        await put(stubs, row({"byteTotal": 5, "own": 1, "text": "x"}, at=NOW - 1))
        with invalid("AGGREGATE_NOT_ALLOWED") as refusal:
            await stubs.metrics.QueryMetrics(
                query(metrics=["byteTotal", "own", "text", "never"], aggregates=["LAST", "MAX", "INCREASE"])
            )
        assert refusal.metadata.items() >= {"metric": "own", "aggregate": "INCREASE", "kind": "GAUGE"}.items()
        assert set(refusal.violations) == {"aggregates[1]", "aggregates[2]"}
        assert set(refusal.reasons.values()) == {"AGGREGATE_NOT_ALLOWED"}

    async def test_counter_modes_apply_to_defaults_only(self, stubs: Stubs) -> None:
        await put(stubs, row({"byteTotal": 5}, at=NOW - 3), row({"byteTotal": 2}, at=NOW - 2))
        for mode, aggregate, read in (("INCREASE", "INCREASE", 2), ("CUMULATIVE", "LAST", 7), ("RAW", "LAST", 2)):
            found = columns_of(await stubs.metrics.QueryMetrics(query(mode=mode)))
            assert found == {("sources/a", "", "byteTotal", aggregate): [read]}
            found = columns_of(await stubs.metrics.QueryMetrics(query(mode=mode, aggregates=["LAST", "INCREASE"])))
            assert [values for _, values in sorted(found.items())] == [[2], [2]]


class TestSubjects:
    async def test_many_subjects_are_answered_in_the_order_of_the_request(self, stubs: Stubs) -> None:
        names = [f"sources/{n:03}" for n in range(300)]
        await put(stubs, *(row({"x": n}, subject=name, at=NOW - 1) for n, name in enumerate(names)))
        order = [names[n * 7 % 300] for n in range(300)]
        answer = await stubs.metrics.QueryMetrics(query(*order))
        assert [series.subject for series in answer.series] == order
        assert columns_of(answer) == {(name, "", "x", "LAST"): [names.index(name)] for name in order}
        assert set(answer.metadata) == {"sources/x"}

    async def test_unknown_subjects_are_listed(self, stubs: Stubs) -> None:
        await put(stubs, row({"x": 1}, at=NOW - 1))
        answer = await stubs.metrics.QueryMetrics(query("sources/none", "sources/a", "jobs/j", "assets/b"))
        assert [series.subject for series in answer.series] == ["sources/a"]
        assert list(answer.unknown_subjects) == ["sources/none", "jobs/j", "assets/b"]

    async def test_a_known_subject_without_samples_has_an_empty_series(self, stubs: Stubs) -> None:
        await stubs.sources.CreateSource(source_service_pb2.CreateSourceRequest(source_id="a"))
        answer = await stubs.metrics.QueryMetrics(query())
        assert [(series.subject, series.part, list(series.columns)) for series in answer.series] == [
            ("sources/a", "", [])
        ]
        answer = await stubs.metrics.QueryMetrics(query(metrics=["byteTotal", "never"], by_part=True))
        assert columns_of(answer) == {("sources/a", "", "byteTotal", "INCREASE"): [None]}
        assert set(answer.metadata) == {"sources/byteTotal"}

    async def test_each_subject_has_its_own_baseline(self, stubs: Stubs) -> None:
        start = NOW - HOUR
        for source, gap in (("a", DAY), ("b", 50 * DAY), ("c", 500 * DAY)):
            subject = f"sources/{source}"
            await put(stubs, row({"byteTotal": 10}, subject=subject, at=start - gap))
            await put(stubs, row({"byteTotal": 15}, subject=subject, at=start))
        await put(stubs, row({"byteTotal": 99}, subject="sources/d", at=start))
        answer = await stubs.metrics.QueryMetrics(query(*(f"sources/{s}" for s in "abcd"), start=start, end=NOW))
        assert [values for _, values in sorted(columns_of(answer).items())] == [[5], [5], [5], [0]]

    async def test_metadata_is_there_for_every_metric_in_the_answer(self, stubs: Stubs) -> None:
        await put(stubs, row({"byteTotal": 1, "own": 1.5}, at=NOW - 1))
        answer = await stubs.metrics.QueryMetrics(query())
        assert {name: (m.display_name, m.unit) for name, m in answer.metadata.items()} == {
            "sources/byteTotal": ("Volume", "bytes"),
            "sources/own": ("own", ""),
        }

    async def test_only_named_metrics_are_answered(self, stubs: Stubs) -> None:
        await put(stubs, row({"a": 1, "b": 2, "c": 3}, at=NOW - 1))
        answer = await stubs.metrics.QueryMetrics(query(metrics=["c", "a", "c"]))
        assert [c.metric for c in answer.series[0].columns] == ["c", "a"]

    async def test_a_large_query_lets_other_calls_through_and_answers_the_same(self, stubs: Stubs) -> None:
        names = [f"sources/{n:03}" for n in range(100)]
        times = [NOW - n * HOUR for n in range(1, 50)]
        frames = [frame(times, column("byteTotal", list(range(49, 0, -1))), subject=name) for name in names]
        await stubs.metrics.ImportMetrics(iter([batch(*frames)]))
        request = query(*names, start=NOW - 700 * HOUR, end=NOW, window=(1, "HOUR"))
        large, latest = await asyncio.gather(
            stubs.metrics.QueryMetrics(request), stubs.sources.GetSourceMetrics(ask("LATEST", source=names[0]))
        )
        assert latest.latest
        alone = query(names[42], start=NOW - 700 * HOUR, end=NOW, window=(1, "HOUR"))
        (expected,) = (await stubs.metrics.QueryMetrics(alone)).series
        assert len(large.series) == 100
        assert all(series.columns == expected.columns for series in large.series)


class TestParts:
    async def fill(self, stubs: Stubs) -> None:
        await put(
            stubs,
            row({"byteTotal": 1, "x": 1}, part="0", at=NOW - 3),
            row({"byteTotal": 5, "x": 8}, part="0", at=NOW - 2),
            row({"byteTotal": 10, "x": 5, "t": "b"}, part="1", at=NOW - 2),
            row({"byteTotal": 7}, part="1", at=NOW - 1),
        )

    async def test_they_are_combined_by_default(self, stubs: Stubs) -> None:
        await self.fill(stubs)
        found = columns_of(await stubs.metrics.QueryMetrics(query()))
        assert found == {
            ("sources/a", "", "byteTotal", "INCREASE"): [4 + 7],
            ("sources/a", "", "x", "LAST"): [13],
            ("sources/a", "", "t", "LAST"): ["b"],
        }

    async def test_they_are_apart_by_part(self, stubs: Stubs) -> None:
        await self.fill(stubs)
        answer = await stubs.metrics.QueryMetrics(query(by_part=True))
        assert [series.part for series in answer.series] == ["0", "1"], "nothing was written to the subject as a whole"
        assert columns_of(answer) == {
            ("sources/a", "0", "byteTotal", "INCREASE"): [4],
            ("sources/a", "0", "t", "LAST"): [None],
            ("sources/a", "0", "x", "LAST"): [8],
            ("sources/a", "1", "byteTotal", "INCREASE"): [7],
            ("sources/a", "1", "t", "LAST"): ["b"],
            ("sources/a", "1", "x", "LAST"): [5],
        }
        await put(stubs, row({"byteTotal": 3}, at=NOW - 1))
        answer = await stubs.metrics.QueryMetrics(query(by_part=True))
        assert [series.part for series in answer.series] == ["", "0", "1"]

    async def test_counts_add_whatever_the_combination(self, stubs: Stubs) -> None:
        await self.fill(stubs)
        for parts in ("MAX", "MIN", "LAST", "SUM"):
            await declare(stubs, "x", parts=parts)
            found = columns_of(await stubs.metrics.QueryMetrics(query(metrics=["x"], aggregates=["COUNT", "LAST"])))
            assert found["sources/a", "", "x", "COUNT"] == [3]
            expected = {"SUM": 13, "MAX": 8, "MIN": 5, "LAST": found["sources/a", "", "x", "LAST"][0]}
            assert found["sources/a", "", "x", "LAST"] == [expected[parts]]

    async def test_union_has_values_by_part_only(self, stubs: Stubs) -> None:
        await put(stubs, row({"snapshotStatus": "x"}, part="0", at=NOW - 1))
        await put(stubs, row({"snapshotStatus": "y"}, part="1", at=NOW - 1))
        assert columns_of(await stubs.metrics.QueryMetrics(query())) == {}
        found = columns_of(await stubs.metrics.QueryMetrics(query(by_part=True)))
        assert found == {
            ("sources/a", "0", "snapshotStatus", "LAST"): ["x"],
            ("sources/a", "1", "snapshotStatus", "LAST"): ["y"],
        }


class TestRange:
    async def test_defaults(self, stubs: Stubs, clock: FixedClock) -> None:
        await put(stubs, row({"x": 1}))
        clock.micros += 1
        answer = await stubs.metrics.QueryMetrics(query())
        assert (micros(answer.time_range.start_time), micros(answer.time_range.end_time)) == (NOW - DAY + 1, NOW + 1)
        assert [micros(bound) for bound in answer.window_bounds] == [NOW - DAY + 1, NOW + 1]
        answer = await stubs.metrics.QueryMetrics(query(start=NOW - 1))
        assert micros(answer.time_range.start_time) == NOW - 1
        with invalid("INVALID_TIME_RANGE") as refusal:
            await stubs.metrics.QueryMetrics(query(end=NOW - DAY))
        assert list(refusal.violations) == ["time_range.start_time"]

    async def test_a_window_count_of_0_is_1(self, stubs: Stubs) -> None:
        await put(stubs, row({"x": 1}, at=NOW - 1))
        answer = await stubs.metrics.QueryMetrics(query(start=NOW - HOUR, end=NOW, window=(0, "HOUR")))
        assert len(answer.window_bounds) == 2

    async def test_11000_windows_pass_and_11001_do_not(self, stubs: Stubs) -> None:
        await put(stubs, row({"x": 1}, at=NOW - 1))
        start = NOW - 11_000 * HOUR
        answer = await stubs.metrics.QueryMetrics(query(start=start, end=NOW, window=(1, "HOUR")))
        assert len(answer.window_bounds) == 11_001
        with invalid("TOO_MANY_WINDOWS") as refusal:
            await stubs.metrics.QueryMetrics(query(start=start, end=NOW + 1, window=(1, "HOUR")))
        assert (refusal.metadata["limit"], refusal.metadata["actual"]) == ("11000", "11001")
        assert list(refusal.violations) == ["window"]
        with invalid("TOO_MANY_WINDOWS") as refusal:
            await stubs.metrics.QueryMetrics(query(start=0, end=253_402_300_799 * SECOND, window=(1, "MINUTE")))
        assert refusal.metadata["actual"] == str(253_402_300_800 // 60)


class TestBadQuestions:
    async def test_all_that_is_wrong_is_told_at_once(self, stubs: Stubs) -> None:
        request = query("nonsense", "sources/a", "sources/a", metrics=["\0"], start=5, end=5, window=(10_001, "HOUR"))
        request.aggregates.extend([1, 1, 77])  # type: ignore[list-item]
        request.counter_mode = 9  # type: ignore[assignment]
        request.window.unit = 0  # type: ignore[assignment]
        with invalid() as refusal:
            await stubs.metrics.QueryMetrics(request)
        assert refusal.violations.keys() == {
            "window.unit",
            "aggregates[1]",
            "aggregates[2]",
            "counter_mode",
            "subjects[0]",
            "subjects[2]",
            "metrics[0]",
            "window.count",
            "time_range.start_time",
        }

    async def test_a_window_without_a_unit_is_refused(self, stubs: Stubs) -> None:
        request = query()
        request.window.count = 1
        with invalid() as refusal:
            await stubs.metrics.QueryMetrics(request)
        assert list(refusal.violations) == ["window.unit"]

    @pytest.mark.parametrize("count", [-1, 10_001, -(2**31)])
    async def test_window_counts_out_of_bounds_are_refused(self, stubs: Stubs, count: int) -> None:
        with invalid() as refusal:
            await stubs.metrics.QueryMetrics(query(window=(count, "HOUR")))
        assert refusal.violations == {"window.count": f"must be 1 to 10000, is {count}"}

    async def test_a_bad_moment_is_told_without_a_range_made_of_it(self, stubs: Stubs) -> None:
        request = query(end=5)
        request.time_range.start_time.seconds = -1
        with invalid() as refusal:
            await stubs.metrics.QueryMetrics(request)
        assert list(refusal.violations) == ["time_range.start_time"]
        assert list(refusal.reasons.values()) == ["INVALID_FIELD"]

    async def test_1000_subjects_pass_and_1001_and_none_do_not(self, stubs: Stubs) -> None:
        names = [f"sources/{n}" for n in range(1_001)]
        answer = await stubs.metrics.QueryMetrics(query(*names[:1_000]))
        assert len(answer.unknown_subjects) == 1_000
        with invalid() as refusal:
            await stubs.metrics.QueryMetrics(query(*names))
        assert refusal.violations == {"subjects": "must have 1 to 1000 entries, has 1001"}
        with invalid() as refusal:
            await stubs.metrics.QueryMetrics(pb.QueryMetricsRequest())
        assert refusal.violations == {"subjects": "must have 1 to 1000 entries, has 0"}

    async def test_an_answer_over_4_mib_is_refused_with_limit_and_actual(self, stubs: Stubs) -> None:
        times = [NOW - n * MINUTE for n in range(10_000)]
        text = ["x" * 1_000] * 10_000
        await stubs.metrics.ImportMetrics(iter([batch(frame(times, column("t", text)))]))
        with refused(StatusCode.RESOURCE_EXHAUSTED, "MESSAGE_TOO_LARGE") as refusal:
            await stubs.metrics.QueryMetrics(query(start=NOW - 10_000 * MINUTE, end=NOW, window=(1, "MINUTE")))
        assert refusal.metadata["field"] == "response"
        assert refusal.metadata["limit"] == str(4 * 1024 * 1024)
        assert int(refusal.metadata["actual"]) > 9_000_000
        answer = await stubs.metrics.QueryMetrics(query(start=NOW - 10_000 * MINUTE, end=NOW, window=(1, "HOUR")))
        assert len(answer.window_bounds) == 168, "the server goes on"
