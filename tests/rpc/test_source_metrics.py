"""`GetSourceMetrics`: time series, summaries and latest values, and the rules of counters, parts and absence."""

from __future__ import annotations

from itertools import pairwise

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from grpc import StatusCode
from streamgauge.v1 import common_pb2, metrics_service_pb2
from streamgauge.v1 import source_service_pb2 as pb
from streamgauge_server.model.clock import FixedClock
from streamgauge_server.model.source_catalog import SOURCE_METRICS

from tests.rpc.messages import (
    DAY,
    HOUR,
    MINUTE,
    NOW,
    SECOND,
    TODAY,
    Scalar,
    ask,
    latest_of,
    micros,
    row,
    series_of,
    summary_of,
    values_of,
    write,
)
from tests.rpc.serving import Stubs, invalid, refused

BYTES = "byteTotal"
LAG = "StreamingMilliSecondsBehindSource"
TWELVE = [
    "SnapshotTotalNumberOfEventsSeen",
    "SnapshotMilliSecondsSinceLastEvent",
    "StreamingMilliSecondsBehindSource",
    "StreamingMilliSecondsSinceLastEvent",
    "StreamingTotalNumberOfCreateEventsSeen",
    "StreamingTotalNumberOfUpdateEventsSeen",
    "StreamingTotalNumberOfDeleteEventsSeen",
    "sourceRecordWriteTotal",
    "byteTotal",
    "recordSendTotal",
    "recordRetryTotal",
    "recordWrittenTotal",
]
METADATA = {
    "SnapshotTotalNumberOfEventsSeen": ("Events (Snapshot)", "count"),
    "SnapshotMilliSecondsSinceLastEvent": ("Time Since Last Snapshot Event", "milliseconds"),
    "SnapshotRunning": ("Snapshot Running?", "boolean"),
    "SnapshotCompleted": ("Snapshot Completed?", "boolean"),
    "StreamingMilliSecondsBehindSource": ("Latency Behind Source", "milliseconds"),
    "StreamingMilliSecondsSinceLastEvent": ("Time Since Last Streaming Event", "milliseconds"),
    "StreamingConnected": ("Streaming Connected?", "boolean"),
    "StreamingTotalNumberOfCreateEventsSeen": ("Events (Create)", "count"),
    "StreamingTotalNumberOfUpdateEventsSeen": ("Events (Update)", "count"),
    "StreamingTotalNumberOfDeleteEventsSeen": ("Events (Delete)", "count"),
    "StreamingLastEvent": ("Last Streaming Event", "id"),
    "sourceRecordWriteTotal": ("Events Written", "count"),
    "byteTotal": ("Volume", "bytes"),
    "recordSendTotal": ("Received", "count"),
    "recordRetryTotal": ("Retried", "count"),
    "recordWrittenTotal": ("Events Written", "count"),
    "latency": ("Source Latency", "milliseconds"),
    "state": ("Enabled State", "enum"),
    "streamingState": ("Streaming State", "enum"),
    "snapshotState": ("Snapshot State", "enum"),
    "snapshotStatus": ("Snapshot Status", "enum"),
    "connector_status": ("Source State", "enum"),
}
"""Table 3.1 of the specification, by hand: what the catalog in the code has to say."""


async def put(stubs: Stubs, *samples: tuple[int, float | bool | str], metric: str = BYTES, **options: object) -> None:
    """Writes samples (moment, value) of one metric, one observation each, in this order."""
    rows = [row({metric: value}, at=at, **options) for at, value in samples]  # type: ignore[arg-type]
    answer = await stubs.metrics.WriteMetrics(write(*rows))
    assert answer.accepted_count == len(rows), answer.errors


async def series(stubs: Stubs, metric: str = BYTES, **asked: object) -> list[Scalar | None]:
    answer = await stubs.sources.GetSourceMetrics(ask(metrics=[metric], **asked))  # type: ignore[arg-type]
    return series_of(answer)[metric]


async def summary(stubs: Stubs, metric: str = BYTES, **asked: object) -> pb.SourceMetricSummary:
    answer = await stubs.sources.GetSourceMetrics(ask("TIMESUMMARY", metrics=[metric], **asked))  # type: ignore[arg-type]
    (entry,) = answer.timesummary
    return entry


async def latest(stubs: Stubs, metric: str = BYTES, mode: str | None = None) -> Scalar | None:
    answer = await stubs.sources.GetSourceMetrics(ask("LATEST", metrics=[metric], mode=mode))
    return latest_of(answer)[metric]


async def describe(stubs: Stubs, metric: str, *, kind: str | None = None, parts: str | None = None) -> None:
    """Changes a metric's kind or how its parts combine."""
    descriptor = common_pb2.MetricDescriptor(name=f"metricDescriptors/sources/{metric}")
    paths = []
    if kind:
        descriptor.kind = common_pb2.MetricKind.Value(f"METRIC_KIND_{kind}")
        paths.append("kind")
    if parts:
        descriptor.part_combination = common_pb2.PartCombination.Value(f"PART_COMBINATION_{parts}")
        paths.append("part_combination")
    request = metrics_service_pb2.UpdateMetricDescriptorRequest(
        metric_descriptor=descriptor, update_mask=FieldMask(paths=paths)
    )
    await stubs.metrics.UpdateMetricDescriptor(request)


class TestTheAnswer:
    async def test_a_time_series_holds_exactly_the_twelve(self, stubs: Stubs) -> None:
        values: dict[str, Scalar] = {"own": 1, "latency": 5, "StreamingConnected": True, "state": "Streaming", BYTES: 1}
        await stubs.metrics.WriteMetrics(write(row(values, at=NOW - 1)))
        answer = await stubs.sources.GetSourceMetrics(ask())
        assert [column.metric for column in answer.timeseries] == TWELVE
        assert set(answer.metadata) == set(TWELVE)
        assert not answer.timesummary
        assert not answer.latest

    async def test_a_summary_holds_exactly_the_twelve(self, stubs: Stubs) -> None:
        await put(stubs, (NOW - 1, 1))
        answer = await stubs.sources.GetSourceMetrics(ask("TIMESUMMARY"))
        assert [entry.metric for entry in answer.timesummary] == TWELVE
        assert set(answer.metadata) == set(TWELVE)
        assert not answer.timeseries
        assert not answer.window_bounds
        assert not answer.HasField("window")

    async def test_latest_holds_the_22_and_all_others_of_the_source(self, stubs: Stubs) -> None:
        await stubs.metrics.WriteMetrics(
            write(row({"zeta": 1, "alpha": "x"}), row({"foreign": 1}, subject="sources/b"))
        )
        answer = await stubs.sources.GetSourceMetrics(ask("LATEST"))
        assert [entry.metric for entry in answer.latest] == [*METADATA, "alpha", "zeta"]
        assert set(answer.metadata) == {*METADATA, "alpha", "zeta"}
        assert latest_of(answer) == {**dict.fromkeys(METADATA), "alpha": "x", "zeta": 1}
        assert not answer.HasField("time_range")
        assert not answer.timeseries

    async def test_metadata_is_that_of_the_specification(self, stubs: Stubs) -> None:
        await put(stubs, (NOW, 1))
        answer = await stubs.sources.GetSourceMetrics(ask("LATEST", metrics=list(METADATA)))
        assert {name: (entry.display_name, entry.unit) for name, entry in answer.metadata.items()} == METADATA
        assert len(SOURCE_METRICS) == 22

    async def test_metadata_tells_kind_and_type(self, stubs: Stubs) -> None:
        await stubs.metrics.WriteMetrics(write(row({"own": 1.5})))
        answer = await stubs.sources.GetSourceMetrics(ask("LATEST"))
        found = {name: (entry.kind, entry.value_type) for name, entry in answer.metadata.items()}
        assert found[BYTES] == (common_pb2.METRIC_KIND_COUNTER, common_pb2.VALUE_TYPE_INT64)
        assert found["StreamingConnected"] == (common_pb2.METRIC_KIND_GAUGE, common_pb2.VALUE_TYPE_BOOL)
        assert found["state"] == (common_pb2.METRIC_KIND_STATE, common_pb2.VALUE_TYPE_STRING)
        assert found["StreamingLastEvent"] == (common_pb2.METRIC_KIND_TEXT, common_pb2.VALUE_TYPE_STRING)
        assert found["own"] == (common_pb2.METRIC_KIND_GAUGE, common_pb2.VALUE_TYPE_DOUBLE)

    async def test_only_the_metrics_that_are_named_are_answered_in_their_order(self, stubs: Stubs) -> None:
        await stubs.metrics.WriteMetrics(write(row({"own": 1, BYTES: 2, "text": "x"}, at=NOW - 1)))
        names = ["own", BYTES, "latency", "never_written", "own"]
        answer = await stubs.sources.GetSourceMetrics(ask(metrics=names))
        assert [column.metric for column in answer.timeseries] == ["own", BYTES, "latency"]
        assert set(answer.metadata) == {"own", BYTES, "latency"}
        answer = await stubs.sources.GetSourceMetrics(ask("TIMESUMMARY", metrics=names))
        assert summary_of(answer) == {"own": 1, BYTES: 0, "latency": None}
        answer = await stubs.sources.GetSourceMetrics(ask("LATEST", metrics=names))
        assert latest_of(answer) == {"own": 1, BYTES: 2, "latency": None}
        assert set(answer.metadata) == {"own", BYTES, "latency"}

    async def test_a_star_is_every_metric_of_the_source(self, stubs: Stubs) -> None:
        values: dict[str, Scalar] = {"own": 1, BYTES: 2, "text": "x", "StreamingConnected": True}
        await stubs.metrics.WriteMetrics(write(row(values, at=NOW - 1)))
        answer = await stubs.sources.GetSourceMetrics(ask(metrics=["*"]))
        assert set(series_of(answer)) == set(values)
        assert set(answer.metadata) == set(values)
        answer = await stubs.sources.GetSourceMetrics(ask("TIMESUMMARY", metrics=["*"]))
        assert summary_of(answer) == {"own": 1, BYTES: 0, "text": "x", "StreamingConnected": 1.0}
        answer = await stubs.sources.GetSourceMetrics(ask("LATEST", metrics=["*"]))
        assert set(latest_of(answer)) == {*METADATA, "own", "text"}

    async def test_a_known_source_without_samples_answers_with_nothing(self, stubs: Stubs) -> None:
        await stubs.sources.CreateSource(pb.CreateSourceRequest(source_id="a"))
        answer = await stubs.sources.GetSourceMetrics(ask())
        assert {column.metric for column in answer.timeseries} == set(TWELVE)
        assert not any(values_of(column) or column.windows for column in answer.timeseries)
        assert {column.WhichOneof("values") for column in answer.timeseries} == {"ints"}, (
            "the type is told all the same"
        )
        answer = await stubs.sources.GetSourceMetrics(ask("TIMESUMMARY"))
        for entry in answer.timesummary:
            assert not entry.HasField("value")
            assert not entry.HasField("first_time")
            assert not entry.HasField("last_time")
            assert (entry.sample_count, entry.reset_count) == (0, 0)
        answer = await stubs.sources.GetSourceMetrics(ask("LATEST"))
        assert latest_of(answer) == dict.fromkeys(METADATA)
        assert not any(entry.HasField("time") or entry.HasField("raw_value") for entry in answer.latest)
        assert set(answer.metadata) == set(METADATA)

    async def test_samples_outside_of_the_range_are_no_samples(self, stubs: Stubs) -> None:
        await put(stubs, (NOW - 2 * DAY, 1), (NOW, 5))
        answer = await stubs.sources.GetSourceMetrics(ask())
        assert set(series_of(answer)[BYTES]) == {None}

    @pytest.mark.parametrize("time_type", ["TIMESERIES", "TIMESUMMARY", "LATEST"])
    async def test_an_unknown_source_is_not_found(self, stubs: Stubs, time_type: str) -> None:
        with refused(StatusCode.NOT_FOUND, "SOURCE_NOT_FOUND") as refusal:
            await stubs.sources.GetSourceMetrics(ask(time_type))
        assert refusal.metadata["name"] == "sources/a"


class TestRangeAndWindows:
    async def test_the_defaults_are_a_series_by_the_hour_of_the_last_24(self, stubs: Stubs) -> None:
        await put(stubs, (NOW - 1, 1))
        answer = await stubs.sources.GetSourceMetrics(pb.GetSourceMetricsRequest(source="sources/a"))
        assert answer.source == "sources/a"
        assert answer.time_type == pb.TIME_TYPE_TIMESERIES
        assert (micros(answer.time_range.start_time), micros(answer.time_range.end_time)) == (NOW - DAY, NOW)
        assert (answer.window.count, answer.window.unit) == (1, common_pb2.WINDOW_UNIT_HOUR)
        bounds = [micros(bound) for bound in answer.window_bounds]
        assert bounds == list(range(NOW - DAY, NOW + 1, HOUR))

    async def test_from_and_to_have_their_defaults_independently(self, stubs: Stubs, clock: FixedClock) -> None:
        await put(stubs, (NOW - 1, 1))
        answer = await stubs.sources.GetSourceMetrics(ask(start=NOW - 2 * HOUR))
        assert (micros(answer.time_range.start_time), micros(answer.time_range.end_time)) == (NOW - 2 * HOUR, NOW)
        answer = await stubs.sources.GetSourceMetrics(ask(end=NOW - HOUR))
        assert (micros(answer.time_range.start_time), micros(answer.time_range.end_time)) == (NOW - DAY, NOW - HOUR)
        with invalid("INVALID_TIME_RANGE") as refusal:
            await stubs.sources.GetSourceMetrics(ask(end=NOW - 2 * DAY))
        assert refusal.metadata["start_time"] == "2025-12-31T12:00:00Z"
        assert refusal.metadata["end_time"] == "2025-12-30T12:00:00Z"
        clock.micros += MINUTE
        answer = await stubs.sources.GetSourceMetrics(ask())
        assert micros(answer.time_range.end_time) == NOW + MINUTE

    @pytest.mark.parametrize("time_type", ["TIMESERIES", "TIMESUMMARY"])
    async def test_reversed_and_empty_ranges_name_both_values(self, stubs: Stubs, time_type: str) -> None:
        await put(stubs, (NOW - 1, 1))
        for start, end, word in ((NOW, NOW - 1, "reversed"), (NOW, NOW, "empty")):
            with invalid("INVALID_TIME_RANGE") as refusal:
                await stubs.sources.GetSourceMetrics(ask(time_type, start=start, end=end))
            (description,) = refusal.violations.values()
            assert list(refusal.violations) == ["timestamp_from"]
            assert refusal.metadata["start_time"] in description
            assert refusal.metadata["end_time"] in description
            assert word in description
            assert description in refusal.message

    async def test_latest_has_no_range(self, stubs: Stubs) -> None:
        await put(stubs, (NOW - 40 * DAY, 5))
        answer = await stubs.sources.GetSourceMetrics(ask("LATEST", start=NOW, end=NOW - DAY, metrics=[BYTES]))
        assert latest_of(answer) == {BYTES: 5}

    async def test_the_range_is_half_open(self, stubs: Stubs) -> None:
        await put(stubs, (NOW - HOUR, 1), (NOW - 1, 2), (NOW, 4), metric="x")
        assert await series(stubs, "x", start=NOW - HOUR, end=NOW) == [2]
        entry = await summary(stubs, "x", start=NOW - HOUR, end=NOW)
        assert entry.sample_count == 2

    async def test_windows_are_aligned_and_hold_only_samples_of_the_range(self, stubs: Stubs) -> None:
        hour = NOW - 2 * HOUR
        samples = ((hour, 100), (hour + 10 * MINUTE, 10), (hour + 40 * MINUTE, 1), (hour + 70 * MINUTE, 5))
        await put(stubs, *samples, metric="x")
        start, end = hour + 5 * MINUTE, hour + 65 * MINUTE
        answer = await stubs.sources.GetSourceMetrics(ask(start=start, end=end, metrics=["x"]))
        assert [micros(bound) for bound in answer.window_bounds] == [hour, hour + HOUR, hour + 2 * HOUR]
        assert series_of(answer)["x"] == [1, None]
        assert (micros(answer.time_range.start_time), micros(answer.time_range.end_time)) == (start, end)

    @pytest.mark.parametrize(
        ("every", "bounds"),
        [
            ((15, "MINUTE"), ["2025-12-31T23:45", "2026-01-01T00:00", "2026-01-01T00:15", "2026-01-01T00:30"]),
            ((7, "HOUR"), ["2025-12-31T17:00", "2026-01-01T00:00", "2026-01-01T07:00"]),
            ((1, "DAY"), ["2025-12-31T00:00", "2026-01-01T00:00", "2026-01-02T00:00"]),
            ((1, "WEEK"), ["2025-12-29T00:00", "2026-01-05T00:00"]),
            ((2, "WEEK"), ["2025-12-29T00:00", "2026-01-12T00:00"]),
            ((1, "MONTH"), ["2025-12-01T00:00", "2026-01-01T00:00", "2026-02-01T00:00"]),
            ((5, "MONTH"), ["2025-11-01T00:00", "2026-04-01T00:00"]),
        ],
    )
    async def test_windows_follow_the_calendar(self, stubs: Stubs, every: tuple[int, str], bounds: list[str]) -> None:
        await put(stubs, (TODAY - 5 * MINUTE, 1), (TODAY + 5 * MINUTE, 2), (TODAY + 20 * MINUTE, 4), metric="x")
        answer = await stubs.sources.GetSourceMetrics(
            ask(start=TODAY - 6 * MINUTE, end=TODAY + 21 * MINUTE, every=every, metrics=["x"])
        )
        assert [bound.ToJsonString()[:16] for bound in answer.window_bounds] == bounds
        assert (answer.window.count, answer.window.unit) == (
            every[0],
            common_pb2.WindowUnit.Value(f"WINDOW_UNIT_{every[1]}"),
        )
        # Every sample is the last of the window it is in, so the windows must agree with the bounds.
        samples = {TODAY - 5 * MINUTE: 1, TODAY + 5 * MINUTE: 2, TODAY + 20 * MINUTE: 4}
        expected: list[Scalar | None] = []
        edges = [micros(bound) for bound in answer.window_bounds]
        for low, high in pairwise(edges):
            inside = [value for at, value in samples.items() if low <= at < high]
            expected.append(inside[-1] if inside else None)
        assert series_of(answer)["x"] == expected

    async def test_month_windows_at_the_end_of_all_time(self, stubs: Stubs) -> None:
        await put(stubs, (0, 7), metric="x")
        last = 253_402_300_799 * SECOND
        answer = await stubs.sources.GetSourceMetrics(ask(start=0, end=last, every=(10_000, "MONTH"), metrics=["x"]))
        assert series_of(answer)["x"][0] == 7
        assert answer.window_bounds[-1].ToJsonString() == "9999-12-31T23:59:59.999999Z"

    async def test_a_week_window_may_begin_before_1970(self, stubs: Stubs) -> None:
        await put(stubs, (0, 7), metric="x")
        answer = await stubs.sources.GetSourceMetrics(ask(start=0, end=1, every=(1, "WEEK"), metrics=["x"]))
        assert answer.window_bounds[0].ToJsonString() == "1969-12-29T00:00:00Z"
        assert series_of(answer)["x"] == [7]

    async def test_11000_windows_pass_and_11001_do_not(self, stubs: Stubs) -> None:
        await put(stubs, (NOW - MINUTE, 1), metric="x")
        answer = await stubs.sources.GetSourceMetrics(
            ask(start=NOW - 11_000 * MINUTE, end=NOW, every=(1, "MINUTE"), metrics=["x"])
        )
        assert len(answer.window_bounds) == 11_001
        assert list(answer.timeseries[0].windows) == [10_999]
        with invalid("TOO_MANY_WINDOWS") as refusal:
            await stubs.sources.GetSourceMetrics(
                ask(start=NOW - 11_000 * MINUTE - 1, end=NOW, every=(1, "MINUTE"), metrics=["x"])
            )
        assert (refusal.metadata["limit"], refusal.metadata["actual"]) == ("11000", "11001")
        assert list(refusal.violations) == ["time_interval"]

    async def test_a_summary_has_no_limit_of_windows(self, stubs: Stubs) -> None:
        await put(stubs, (NOW - 1, 1), metric="x")
        entry = await summary(stubs, "x", start=0, end=NOW)
        assert entry.value.int64_value == 1


class TestCounters:
    async def test_windows_hold_increases_and_the_first_sample_ever_adds_nothing(self, stubs: Stubs) -> None:
        start = NOW - 4 * HOUR
        await put(stubs, (start, 100), (start + 1, 110), (start + HOUR, 150), (start + 3 * HOUR, 150))
        assert await series(stubs, start=start, end=NOW) == [10, 40, None, 0]
        entry = await summary(stubs, start=start, end=NOW)
        assert (entry.value.int64_value, entry.sample_count, entry.reset_count) == (50, 4, 0)
        assert (micros(entry.first_time), micros(entry.last_time)) == (start, start + 3 * HOUR)
        assert entry.aggregate == common_pb2.AGGREGATE_INCREASE
        assert await latest(stubs) == 150

    @pytest.mark.parametrize("gap", [1, HOUR, DAY, 2 * DAY, 40 * DAY, 400 * DAY, 4_000 * DAY])
    async def test_the_last_sample_before_the_range_is_the_baseline_over_any_gap(self, stubs: Stubs, gap: int) -> None:
        start = NOW - HOUR
        await put(stubs, (start - gap - HOUR, 1), (start - gap, 100), (start, 103), (start + 1, 110))
        assert await series(stubs, start=start, end=NOW) == [10]
        assert (await summary(stubs, start=start, end=NOW)).value.int64_value == 10

    async def test_each_metric_has_its_own_baseline(self, stubs: Stubs) -> None:
        start = NOW - HOUR
        await put(stubs, (start - 100 * DAY, 100))
        await put(stubs, (start - 10, 5), metric="recordSendTotal")
        await stubs.metrics.WriteMetrics(
            write(row({BYTES: 101, "recordSendTotal": 7, "recordRetryTotal": 9}, at=start))
        )
        answer = await stubs.sources.GetSourceMetrics(ask(start=start, end=NOW))
        found = series_of(answer)
        assert (found[BYTES], found["recordSendTotal"], found["recordRetryTotal"]) == ([1], [2], [0])

    async def test_an_increase_belongs_to_the_window_of_the_later_sample(self, stubs: Stubs) -> None:
        start = NOW - 3 * HOUR
        await put(stubs, (start, 10), (start + 2 * HOUR, 30))
        assert await series(stubs, start=start, end=NOW) == [0, None, 20]

    async def test_a_fall_is_a_reset_and_the_whole_new_value_counts(self, stubs: Stubs) -> None:
        start = NOW - 2 * HOUR
        await put(stubs, (start, 100), (start + 1, 120), (start + 2, 7), (start + HOUR, 9))
        assert await series(stubs, start=start, end=NOW) == [27, 2]
        entry = await summary(stubs, start=start, end=NOW)
        assert (entry.value.int64_value, entry.reset_count) == (29, 1)
        assert await latest(stubs) == 129

    async def test_a_reset_between_baseline_and_range_counts_whole(self, stubs: Stubs) -> None:
        start = NOW - HOUR
        await put(stubs, (start - 1, 100), (start, 7))
        entry = await summary(stubs, start=start, end=NOW)
        assert (entry.value.int64_value, entry.reset_count) == (7, 1)

    async def test_a_changed_start_time_is_a_reset_though_the_value_rose(self, stubs: Stubs) -> None:
        start = NOW - HOUR
        await put(stubs, (start, 100), start=1)
        await put(stubs, (start + 10, 130), start=start + 5)
        await put(stubs, (start + 20, 140), start=start + 5)
        entry = await summary(stubs, start=start, end=NOW)
        assert (entry.value.int64_value, entry.reset_count) == (140, 1)
        assert await series(stubs, start=start + 1, end=NOW) == [140]
        assert await latest(stubs) == 240

    async def test_an_untold_start_time_is_no_reset(self, stubs: Stubs) -> None:
        start = NOW - HOUR
        await put(stubs, (start, 100), start=1)
        await put(stubs, (start + 10, 130))
        entry = await summary(stubs, start=start, end=NOW)
        assert (entry.value.int64_value, entry.reset_count) == (30, 0)

    async def test_the_summary_equals_the_sum_of_the_windows(self, stubs: Stubs) -> None:
        start = NOW - DAY
        await put(stubs, *((start + n * 37 * MINUTE, (n * 7_919) % 1_000) for n in range(38)))
        windows = await series(stubs, start=start + HOUR, end=NOW)
        entry = await summary(stubs, start=start + HOUR, end=NOW)
        assert sum(value for value in windows if isinstance(value, int)) == entry.value.int64_value
        assert entry.reset_count > 5

    async def test_cumulative_is_the_total_since_the_first_sample_ever(self, stubs: Stubs) -> None:
        start = NOW - 4 * HOUR
        await put(
            stubs, (start - 100 * DAY, 50), (start - DAY, 80), (start, 5), (start + HOUR, 7), (start + 3 * HOUR, 2)
        )
        assert await series(stubs, start=start, end=NOW, mode="CUMULATIVE") == [85, 87, None, 89]
        entry = await summary(stubs, start=start, end=NOW, mode="CUMULATIVE")
        assert (entry.value.int64_value, entry.sample_count, entry.reset_count) == (89, 3, 2)
        assert (micros(entry.first_time), micros(entry.last_time)) == (start, start + 3 * HOUR)
        assert entry.aggregate == common_pb2.AGGREGATE_LAST
        assert await latest(stubs, mode="CUMULATIVE") == 89

    async def test_cumulative_from_the_beginning_of_time(self, stubs: Stubs) -> None:
        await put(stubs, (0, 5), (1, 6))
        assert await series(stubs, start=0, end=HOUR, mode="CUMULATIVE") == [6]
        assert await series(stubs, start=1, end=HOUR, mode="CUMULATIVE") == [6]

    async def test_raw_is_the_reading_as_written(self, stubs: Stubs) -> None:
        start = NOW - 2 * HOUR
        await put(stubs, (start, 100), (start + 2, 7), (start + HOUR, 9))
        assert await series(stubs, start=start, end=NOW, mode="RAW") == [7, 9]
        assert (await summary(stubs, start=start, end=NOW, mode="RAW")).value.int64_value == 9
        assert await latest(stubs, mode="RAW") == 9

    async def test_other_metrics_read_the_same_in_every_mode(self, stubs: Stubs) -> None:
        start = NOW - 2 * HOUR
        await put(stubs, (start - HOUR, 99), (start, 5), (start + HOUR, 3), metric=LAG)
        for mode in ("INCREASE", "CUMULATIVE", "RAW"):
            assert await series(stubs, LAG, start=start, end=NOW, mode=mode) == [5, 3]
            assert (await summary(stubs, LAG, start=start, end=NOW, mode=mode)).value.int64_value == 5
            assert await latest(stubs, LAG, mode=mode) == 3

    async def test_increases_of_integers_are_exact_and_become_doubles_beyond_64_bits(self, stubs: Stubs) -> None:
        start, top = NOW - HOUR, 2**63 - 1
        await put(stubs, (start, top - 2), (start + 1, top))
        assert await series(stubs, start=start, end=NOW) == [2]
        await put(stubs, (start + 2, 0), (start + 3, top), (start + 4, 0), (start + 5, top))
        entry = await summary(stubs, start=start, end=NOW)
        assert entry.value.double_value == float(2 * top + 2)
        assert await series(stubs, start=start, end=NOW) == [float(2 * top + 2)]
        assert await latest(stubs) == float(3 * top)

    async def test_a_counter_of_doubles(self, stubs: Stubs) -> None:
        start = NOW - HOUR
        await put(stubs, (start, 1.5), (start + 1, 2.25), (start + 2, 0.5), metric="cpu_seconds")
        await describe(stubs, "cpu_seconds", kind="COUNTER")
        assert await series(stubs, "cpu_seconds", start=start, end=NOW) == [1.25]
        assert await latest(stubs, "cpu_seconds") == 2.75

    async def test_a_descriptor_that_becomes_a_counter_changes_what_is_read(self, stubs: Stubs) -> None:
        start = NOW - HOUR
        await put(stubs, (start, 100), (start + 1, 7), metric="own")
        assert await series(stubs, "own", start=start, end=NOW) == [7]
        await describe(stubs, "own", kind="COUNTER")
        assert await series(stubs, "own", start=start, end=NOW) == [7]
        assert await latest(stubs, "own") == 107
        assert (await summary(stubs, "own", start=start, end=NOW)).reset_count == 1
        await put(stubs, (start + 2, 9), metric="own")
        assert await series(stubs, "own", start=start, end=NOW) == [9]
        await describe(stubs, "own", kind="GAUGE")
        assert await latest(stubs, "own") == 9
        assert (await summary(stubs, "own", start=start, end=NOW)).reset_count == 0


class TestLatest:
    async def test_the_reading_its_time_and_its_start_stand_beside_the_total(self, stubs: Stubs) -> None:
        await put(stubs, (NOW - 2, 100), start=5)
        await put(stubs, (NOW - 1, 3), start=NOW - 2)
        answer = await stubs.sources.GetSourceMetrics(ask("LATEST", metrics=[BYTES]))
        (entry,) = answer.latest
        assert (entry.value.int64_value, entry.raw_value.int64_value) == (103, 3)
        assert (micros(entry.time), micros(entry.start_time)) == (NOW - 1, NOW - 2)

    async def test_an_untold_start_is_not_set(self, stubs: Stubs) -> None:
        await put(stubs, (NOW, 1))
        answer = await stubs.sources.GetSourceMetrics(ask("LATEST", metrics=[BYTES]))
        assert not answer.latest[0].HasField("start_time")

    async def test_the_total_is_right_after_late_data(self, stubs: Stubs) -> None:
        await put(stubs, (NOW - 10, 100), (NOW, 20))
        assert await latest(stubs) == 120
        await put(stubs, (NOW - 5, 150))
        assert await latest(stubs) == 170
        await put(stubs, (NOW - 20, 90))
        assert await latest(stubs) == 170
        await put(stubs, (NOW + 1, 25))
        assert await latest(stubs) == 175

    async def test_the_total_is_right_after_overwritten_data(self, stubs: Stubs) -> None:
        await put(stubs, (NOW - 10, 100), (NOW, 20))
        await put(stubs, (NOW - 10, 10))
        assert await latest(stubs) == 20
        await put(stubs, (NOW, 5))
        assert await latest(stubs) == 15
        await put(stubs, (NOW, 5))
        assert await latest(stubs) == 15

    async def test_the_total_of_several_parts_adds_their_totals(self, stubs: Stubs) -> None:
        await put(stubs, (NOW - 10, 100), (NOW - 8, 20), part="task=0")
        await put(stubs, (NOW - 9, 1_000), (NOW - 7, 1_500), part="task=1")
        await put(stubs, (NOW - 20, 50), part="task=0")
        answer = await stubs.sources.GetSourceMetrics(ask("LATEST", metrics=[BYTES]))
        (entry,) = answer.latest
        assert entry.value.int64_value == 120 + 1_500
        assert not entry.HasField("raw_value")
        assert micros(entry.time) == NOW - 7
        assert await latest(stubs, mode="RAW") == 20 + 1_500

    async def test_readings_agree_after_many_late_writes_in_any_order(self, stubs: Stubs) -> None:
        values = [5, 9, 2, 2, 7, 1, 30, 4]
        order = [3, 0, 7, 5, 1, 6, 2, 4]
        for position in order:
            await put(stubs, (NOW - 100 + position, values[position]))
            await latest(stubs)
        assert await latest(stubs) == 5 + 4 + 2 + 0 + 5 + 1 + 29 + 4


class TestParts:
    async def test_increases_are_taken_per_part_and_then_added(self, stubs: Stubs) -> None:
        start = NOW - 2 * HOUR
        # Part 1 resets while part 0 grows by more than part 1 loses: the sum only grows, so the reset would hide in it.
        await put(stubs, (start, 100), (start + 10, 200), (start + HOUR, 300), part="0")
        await put(stubs, (start, 50), (start + 10, 10), (start + HOUR, 15), part="1")
        assert await series(stubs, start=start, end=NOW) == [100 + 10, 100 + 5]
        entry = await summary(stubs, start=start, end=NOW)
        assert (entry.value.int64_value, entry.reset_count, entry.sample_count) == (215, 1, 6)
        assert await latest(stubs) == 300 + 65

    async def test_a_part_without_samples_in_a_window_adds_nothing(self, stubs: Stubs) -> None:
        start = NOW - 2 * HOUR
        await put(stubs, (start, 1), (start + 1, 3), part="0")
        await put(stubs, (start + HOUR, 10), (start + HOUR + 1, 15), part="1")
        assert await series(stubs, start=start, end=NOW) == [2, 5]

    async def test_cumulative_totals_of_parts_add_and_a_silent_part_keeps_its_total(self, stubs: Stubs) -> None:
        start = NOW - 3 * HOUR
        await put(stubs, (start - DAY, 100), part="0")
        await put(stubs, (start - DAY, 7), (start + HOUR, 9), part="1")
        assert await series(stubs, start=start, end=NOW, mode="CUMULATIVE") == [None, 109, None]

    async def test_built_in_metrics_combine_as_the_specification_says(self, stubs: Stubs) -> None:
        at = NOW - 1
        one: dict[str, Scalar] = {
            LAG: 5,
            "StreamingMilliSecondsSinceLastEvent": 10,
            "SnapshotMilliSecondsSinceLastEvent": 10,
            "latency": 1,
            "SnapshotRunning": True,
            "SnapshotCompleted": True,
            "StreamingConnected": True,
            "connector_status": "Active",
            "streamingState": "connected",
            "recordSendTotal": 3,
        }
        other: dict[str, Scalar] = {
            LAG: 500,
            "StreamingMilliSecondsSinceLastEvent": 20,
            "SnapshotMilliSecondsSinceLastEvent": 20,
            "latency": 2,
            "SnapshotRunning": False,
            "SnapshotCompleted": False,
            "StreamingConnected": False,
            "connector_status": "Broken",
            "streamingState": "disconnected",
            "recordSendTotal": 4,
        }
        combined: dict[str, Scalar] = {
            LAG: 500,
            "StreamingMilliSecondsSinceLastEvent": 10,
            "SnapshotMilliSecondsSinceLastEvent": 20,
            "latency": 2,
            "SnapshotRunning": True,
            "SnapshotCompleted": False,
            "StreamingConnected": False,
            "connector_status": "Broken",
            "streamingState": "disconnected",
            "recordSendTotal": 7,
        }
        await stubs.metrics.WriteMetrics(write(row(one, at=at, part="0"), row(other, at=at, part="1")))
        answer = await stubs.sources.GetSourceMetrics(ask("LATEST", metrics=list(combined)))
        assert latest_of(answer) == combined
        answer = await stubs.sources.GetSourceMetrics(ask(start=at, end=NOW, metrics=list(combined)))
        assert {name: values[0] for name, values in series_of(answer).items()} == {**combined, "recordSendTotal": 0}

    @pytest.mark.parametrize(
        ("words", "worst"),
        [
            (["Active", "Starting"], "Starting"),
            (["Starting", "Unassigned"], "Unassigned"),
            (["Unassigned", "Paused"], "Paused"),
            (["Paused", "Stopped"], "Stopped"),
            (["Stopped", "Broken"], "Broken"),
            (["Broken", "Active", "Unheard-of"], "Broken"),
            (["Unheard-of", "Active"], "Active"),
        ],
    )
    async def test_the_worst_word_stands(self, stubs: Stubs, words: list[str], worst: str) -> None:
        rows = [row({"connector_status": word}, part=str(n), at=NOW - 1) for n, word in enumerate(words)]
        await stubs.metrics.WriteMetrics(write(*rows))
        assert await latest(stubs, "connector_status") == worst
        assert await series(stubs, "connector_status", start=NOW - 1, end=NOW) == [worst]

    async def test_the_newest_text_stands(self, stubs: Stubs) -> None:
        await put(stubs, (NOW - 2, "old"), metric="StreamingLastEvent", part="1")
        await put(stubs, (NOW - 1, "new"), metric="StreamingLastEvent", part="0")
        assert await latest(stubs, "StreamingLastEvent") == "new"
        answer = await stubs.sources.GetSourceMetrics(ask("LATEST", metrics=["StreamingLastEvent"]))
        assert answer.latest[0].raw_value.string_value == "new"
        assert await series(stubs, "StreamingLastEvent", start=NOW - 3, end=NOW) == ["new"]

    async def test_of_two_newest_texts_the_last_part_by_name_stands_in_every_answer(self, stubs: Stubs) -> None:
        for part in ("2", "1", "3", "0"):
            await put(stubs, (NOW - 1, f"of {part}"), metric="StreamingLastEvent", part=part)
        assert await latest(stubs, "StreamingLastEvent") == "of 3"
        assert await series(stubs, "StreamingLastEvent", start=NOW - 1, end=NOW) == ["of 3"]

    async def test_a_counter_whose_newest_part_stands_reads_that_parts_total(self, stubs: Stubs) -> None:
        await describe(stubs, BYTES, parts="LAST")
        await put(stubs, (NOW - 5, 100), (NOW - 3, 7), part="0")
        await put(stubs, (NOW - 4, 1_000), part="1")
        assert await latest(stubs) == 107
        assert await latest(stubs, mode="RAW") == 7
        assert await series(stubs, start=NOW - 10, end=NOW, mode="CUMULATIVE") == [107]

    async def test_a_descriptor_says_how_parts_combine(self, stubs: Stubs) -> None:
        await put(stubs, (NOW - 2, 3), metric="own", part="0")
        await put(stubs, (NOW - 1, 4), metric="own", part="1")
        for combination, value in (("SUM", 7), ("MAX", 4), ("MIN", 3), ("LAST", 4)):
            await describe(stubs, "own", parts=combination)
            assert await latest(stubs, "own") == value
            assert await series(stubs, "own", start=NOW - 2, end=NOW) == [value]


class TestAbsence:
    async def test_a_window_without_samples_is_missing_and_one_without_growth_is_zero(self, stubs: Stubs) -> None:
        start = NOW - 3 * HOUR
        await put(stubs, (start, 5), (start + 2 * HOUR, 5))
        answer = await stubs.sources.GetSourceMetrics(ask(start=start, end=NOW, metrics=[BYTES]))
        (column,) = answer.timeseries
        assert list(column.windows) == [0, 2]
        assert list(column.ints.values) == [0, 0]

    async def test_a_column_with_every_window_lists_none(self, stubs: Stubs) -> None:
        start = NOW - 2 * HOUR
        await put(stubs, (start, 5), (start + HOUR, 5))
        answer = await stubs.sources.GetSourceMetrics(ask(start=start, end=NOW, metrics=[BYTES]))
        (column,) = answer.timeseries
        assert (list(column.windows), list(column.ints.values)) == ([], [0, 0])

    async def test_minus_one_is_dropped_before_any_aggregation(self, stubs: Stubs) -> None:
        start = NOW - 2 * HOUR
        await put(stubs, (start, -1), (start + 1, 8), (start + 2, -1.0), (start + HOUR, -1), metric=LAG)
        assert await series(stubs, LAG, start=start, end=NOW) == [8, None]
        assert await latest(stubs, LAG) == 8

    async def test_lag_is_the_largest_of_a_window(self, stubs: Stubs) -> None:
        start = NOW - HOUR
        await put(stubs, (start, 10), (start + 1, 900), (start + 2, 20), metric=LAG)
        assert await series(stubs, LAG, start=start, end=NOW) == [900]
        assert (await summary(stubs, LAG, start=start, end=NOW)).aggregate == common_pb2.AGGREGATE_MAX

    async def test_connected_is_the_worst_of_a_window_and_a_fraction_of_the_range(self, stubs: Stubs) -> None:
        start = NOW - HOUR
        await put(stubs, *((start + n, n != 2) for n in range(4)), metric="StreamingConnected")
        assert await series(stubs, "StreamingConnected", start=start, end=NOW) == [False]
        assert (await summary(stubs, "StreamingConnected", start=start, end=NOW)).value.double_value == 0.75
        assert await latest(stubs, "StreamingConnected") is True


class TestWhatDebeziumForgets:
    async def test_a_completed_snapshot_is_remembered_after_a_restart(self, stubs: Stubs) -> None:
        await put(stubs, (NOW - 3, False), (NOW - 2, True), (NOW - 1, False), metric="SnapshotCompleted")
        answer = await stubs.sources.GetSourceMetrics(ask("LATEST", metrics=["SnapshotCompleted"]))
        (entry,) = answer.latest
        assert (entry.value.bool_value, entry.raw_value.bool_value) == (True, False)
        assert await latest(stubs, "SnapshotCompleted", mode="RAW") is False

    async def test_a_snapshot_that_never_completed_reads_so(self, stubs: Stubs) -> None:
        await put(stubs, (NOW - 3, False), (NOW - 1, False), metric="SnapshotCompleted")
        assert await latest(stubs, "SnapshotCompleted") is False

    async def test_it_is_remembered_when_the_true_reading_arrives_late(self, stubs: Stubs) -> None:
        await put(stubs, (NOW - 1, False), metric="SnapshotCompleted")
        await put(stubs, (NOW - 9, True), metric="SnapshotCompleted")
        assert await latest(stubs, "SnapshotCompleted") is True
        await put(stubs, (NOW - 9, False), metric="SnapshotCompleted")
        assert await latest(stubs, "SnapshotCompleted") is False, "the reading was taken back"

    async def test_it_is_remembered_when_every_part_completed_once(self, stubs: Stubs) -> None:
        await put(stubs, (NOW - 3, True), (NOW - 1, False), metric="SnapshotCompleted", part="0")
        await put(stubs, (NOW - 2, True), metric="SnapshotCompleted", part="1")
        assert await latest(stubs, "SnapshotCompleted") is True
        await put(stubs, (NOW - 2, False), metric="SnapshotCompleted", part="2")
        assert await latest(stubs, "SnapshotCompleted") is False

    async def test_skipped_does_not_overwrite_a_remembered_completed(self, stubs: Stubs) -> None:
        await put(stubs, (NOW - 3, "skipped"), metric="snapshotState")
        assert await latest(stubs, "snapshotState") == "skipped"
        await put(stubs, (NOW - 2, True), (NOW - 1, False), metric="SnapshotCompleted")
        assert await latest(stubs, "snapshotState") == "completed"
        assert await latest(stubs, "snapshotState", mode="RAW") == "skipped"
        await put(stubs, (NOW, "running"), metric="snapshotState")
        assert await latest(stubs, "snapshotState") == "running"

    async def test_skipped_does_not_overwrite_a_completed_state(self, stubs: Stubs) -> None:
        await put(stubs, (NOW - 2, "completed"), (NOW - 1, "skipped"), metric="snapshotState")
        await put(stubs, (NOW - 2, True), metric="SnapshotCompleted")
        assert await latest(stubs, "snapshotState") == "completed"

    async def test_the_lag_stands_for_a_latency_that_is_not_written(self, stubs: Stubs) -> None:
        start = NOW - 2 * HOUR
        await put(stubs, (start, 5), (start + HOUR, 7), metric=LAG)
        assert await latest(stubs, "latency") == 7
        assert await series(stubs, "latency", start=start, end=NOW) == [5, 7]
        entry = await summary(stubs, "latency", start=start, end=NOW)
        assert (entry.value.int64_value, entry.sample_count) == (7, 2)
        answer = await stubs.sources.GetSourceMetrics(ask(start=start, end=NOW, metrics=["latency"]))
        assert set(answer.metadata) == {"latency"}
        await put(stubs, (start, 99), metric="latency")
        assert await latest(stubs, "latency") == 99
        assert await series(stubs, "latency", start=start, end=NOW) == [99, None]


class TestSnapshotStatus:
    async def test_every_topic_is_listed_once_in_order(self, stubs: Stubs) -> None:
        status = "snapshotStatus"
        await stubs.metrics.WriteMetrics(
            write(
                row({status: "running"}, part="task=0,topic=source_1.public.b", at=NOW - 5),
                row({status: "completed"}, part="topic=source_1.public.a", at=NOW - 4),
                row({status: "pending"}, part="task=1,topic=source_1.public.b", at=NOW - 3),
                row({status: "own word"}, part="anything", at=NOW - 2),
                row({"other": 1}, part="task=7"),
            )
        )
        answer = await stubs.sources.GetSourceMetrics(ask("LATEST"))
        assert [(s.topic_id, s.status, micros(s.time)) for s in answer.snapshot_status] == [
            ("anything", "own word", NOW - 2),
            ("source_1.public.a", "completed", NOW - 4),
            ("source_1.public.b", "pending", NOW - 3),
        ]
        assert not any(s.HasField("submit_time") for s in answer.snapshot_status)
        assert latest_of(answer)[status] is None, "a list has no single value"

    async def test_a_submit_time_is_told_where_it_was_written(self, stubs: Stubs) -> None:
        values: dict[str, Scalar] = {"snapshotStatus": "running", "snapshotSubmitTime": "2026-01-01T11:00:00+01:00"}
        await stubs.metrics.WriteMetrics(
            write(row(values, part="topic=t"), row(values | {"snapshotSubmitTime": "soon"}, part="topic=u"))
        )
        answer = await stubs.sources.GetSourceMetrics(ask("LATEST"))
        one, other = answer.snapshot_status
        assert one.submit_time.ToJsonString() == "2026-01-01T10:00:00Z"
        assert not other.HasField("submit_time")

    async def test_it_is_answered_only_when_it_is_asked_for(self, stubs: Stubs) -> None:
        await put(stubs, (NOW, "running"), metric="snapshotStatus", part="topic=t")
        answer = await stubs.sources.GetSourceMetrics(ask("LATEST", metrics=[BYTES]))
        assert not answer.snapshot_status
        answer = await stubs.sources.GetSourceMetrics(ask("LATEST", metrics=["snapshotStatus"]))
        assert len(answer.snapshot_status) == 1

    async def test_in_a_series_several_topics_have_no_single_value(self, stubs: Stubs) -> None:
        await put(stubs, (NOW - 1, "running"), metric="snapshotStatus", part="topic=t")
        await put(stubs, (NOW - 1, "completed"), metric="snapshotStatus", part="topic=u")
        answer = await stubs.sources.GetSourceMetrics(ask(metrics=["snapshotStatus", BYTES]))
        assert [column.metric for column in answer.timeseries] == [BYTES]


class TestBadQuestions:
    async def test_all_that_is_wrong_is_told_at_once(self, stubs: Stubs) -> None:
        request = ask(source="nonsense", start=NOW, end=NOW - 1, metrics=["", "x\0"], every=(0, "HOUR"))
        request.time_type = 9  # type: ignore[assignment]
        request.time_unit = 6  # type: ignore[assignment]
        request.counter_mode = -1  # type: ignore[assignment]
        with invalid() as refusal:
            await stubs.sources.GetSourceMetrics(request)
        assert refusal.violations == {
            "source": "must be the resource name of a source, 'sources/{source}'",
            "time_type": "must be one of TIMESERIES, TIMESUMMARY, LATEST, is 9",
            "time_unit": "must be one of MINUTE, HOUR, DAY, WEEK, MONTH, is 6",
            "counter_mode": "must be one of INCREASE, CUMULATIVE, RAW, is -1",
            "metrics[0]": "must not be empty",
            "metrics[1]": "must not hold control characters",
            "time_interval": "must be 1 to 10000, is 0",
            "timestamp_from": refusal.violations["timestamp_from"],
        }
        assert refusal.reasons["timestamp_from"] == "INVALID_TIME_RANGE"

    @pytest.mark.parametrize("interval", [0, -1, 10_001, 2**31 - 1, -(2**31)])
    async def test_intervals_out_of_bounds_are_refused(self, stubs: Stubs, interval: int) -> None:
        with invalid() as refusal:
            await stubs.sources.GetSourceMetrics(ask(every=(interval, "MONTH")))
        assert refusal.violations == {"time_interval": f"must be 1 to 10000, is {interval}"}

    async def test_an_interval_of_10000_passes(self, stubs: Stubs) -> None:
        await put(stubs, (NOW - 1, 1))
        assert await series(stubs, every=(10_000, "WEEK")) == [0]

    @pytest.mark.parametrize(
        ("seconds", "nanos"),
        [(-1, 0), (-1, 999_999_999), (253_402_300_800, 0), (2**62, 0), (0, -1), (0, 1_000_000_000), (-(2**63), 0)],
    )
    async def test_moments_that_are_none_are_refused(self, stubs: Stubs, seconds: int, nanos: int) -> None:
        request = ask()
        for moment in (request.timestamp_from, request.timestamp_to):
            moment.seconds, moment.nanos = seconds, nanos
        with invalid() as refusal:
            await stubs.sources.GetSourceMetrics(request)
        assert refusal.violations.keys() == {"timestamp_from", "timestamp_to"}

    async def test_1000_metrics_pass_and_1001_do_not(self, stubs: Stubs) -> None:
        await put(stubs, (NOW - 1, 1))
        names = [BYTES, *(f"m{n}" for n in range(1_000))]
        await stubs.sources.GetSourceMetrics(ask(metrics=names[:1_000]))
        with invalid() as refusal:
            await stubs.sources.GetSourceMetrics(ask(metrics=names))
        assert refusal.violations == {"metrics": "must have at most 1000 entries, has 1001"}
