"""Retention at the edge: limits of metrics, what is refused, what goes, and what is answered afterwards."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from grpc import StatusCode
from streamgauge.v1 import asset_metric_service_pb2, common_pb2
from streamgauge.v1 import metrics_service_pb2 as pb
from streamgauge_server.model.clock import FixedClock

from tests.rpc.asset_messages import emit, moments
from tests.rpc.messages import DAY, HOUR, MINUTE, NOW, TODAY, row, stamp, write
from tests.rpc.serving import Start, Stubs, invalid, refused
from tests.rpc.test_asset_corrections import correction
from tests.rpc.test_asset_scopes import token

SOURCE, ASSET = common_pb2.SUBJECT_KIND_SOURCE, common_pb2.SUBJECT_KIND_ASSET
LIMITS: dict[str, Any] = {
    "watch_horizon_seconds": 0,
    "retention": {"gauge": {"sample_days": 7, "summary_days": 30}},
}


async def limit(
    stubs: Stubs,
    metric: str,
    *,
    samples: float | None = None,
    summaries: float | None = None,
    paths: tuple[str, ...] = ("sample_retention", "summary_retention"),
    kind: str = "sources",
    **fields: Any,
) -> common_pb2.MetricDescriptor:
    descriptor = common_pb2.MetricDescriptor(name=f"metricDescriptors/{kind}/{metric}", **fields)
    for field, days in (("sample_retention", samples), ("summary_retention", summaries)):
        if days is not None:
            getattr(descriptor, field).CopyFrom(Duration(seconds=int(days * 86_400)))
    request = pb.UpdateMetricDescriptorRequest(
        metric_descriptor=descriptor, update_mask=FieldMask(paths=paths), allow_missing="value_type" in paths
    )
    answer: common_pb2.MetricDescriptor = (await stubs.metrics.UpdateMetricDescriptor(request)).metric_descriptor
    return answer


async def count_by(stubs: Stubs, start: int, end: int, unit: int, subject: str = "sources/a") -> list[int]:
    """Returns how many samples each window has, of the metric `level`."""
    request = pb.QueryMetricsRequest(
        subjects=[subject],
        metrics=["level"],
        aggregates=[common_pb2.AGGREGATE_COUNT],
        window=common_pb2.Window(count=1, unit=unit),  # type: ignore[arg-type]
    )
    request.time_range.start_time.CopyFrom(stamp(start))
    request.time_range.end_time.CopyFrom(stamp(end))
    answer = await stubs.metrics.QueryMetrics(request)
    counts = [0] * (len(answer.window_bounds) - 1)
    for series in answer.series:
        for column in series.columns:
            values = column.ints.values
            places = column.windows if len(values) < len(counts) else range(len(counts))
            for place, value in zip(places, values, strict=True):
                counts[place] = value
    return counts


async def test_limits_of_a_metric_are_kept_and_told(start: Start) -> None:
    stubs = await start()
    answer = await limit(
        stubs,
        "level",
        samples=7,
        summaries=30,
        value_type=2,
        paths=("value_type", "sample_retention", "summary_retention"),
    )
    assert (answer.sample_retention.seconds, answer.summary_retention.seconds) == (7 * 86_400, 30 * 86_400)
    answer = await limit(stubs, "level", paths=("summary_retention",))
    assert answer.sample_retention.seconds == 7 * 86_400
    assert not answer.HasField("summary_retention")
    built_in = await limit(stubs, "SnapshotTotalNumberOfEventsSeen", samples=400)
    assert built_in.built_in
    assert built_in.sample_retention.seconds == 400 * 86_400


@pytest.mark.parametrize(
    ("samples", "summaries", "field", "words"),
    [
        (0, None, "sample_retention", "whole days from 1 to 36,500, is 0 days"),
        (36_501, None, "sample_retention", "is 36501 days"),
        (1.5, None, "sample_retention", "is 1.5 days"),
        (-1, None, "sample_retention", "is -1 days"),
        (30, 29, "summary_retention", "must not be less than the 30 days of samples, is 29 days"),
        (None, 6, "summary_retention", "less than the 7 days of samples, is 6 days (the setting for kind GAUGE"),
        (31, None, "sample_retention", "less than the 31 days of samples, is 30 days (the setting"),
    ],
)
async def test_limits_that_make_no_sense_are_refused(
    start: Start, samples: float | None, summaries: float | None, field: str, words: str
) -> None:
    stubs = await start(**LIMITS)
    await stubs.metrics.WriteMetrics(write(row({"level": 1})))
    with invalid() as refusal:
        await limit(stubs, "level", samples=samples, summaries=summaries)
    assert words in refusal.violations[f"metric_descriptor.{field}"]


async def test_summaries_cannot_go_where_samples_stay(start: Start) -> None:
    stubs = await start()
    await stubs.metrics.WriteMetrics(write(row({"level": 1})))
    with invalid() as refusal:
        await limit(stubs, "level", summaries=30)
    assert "needs a limit of samples as well" in refusal.violations["metric_descriptor.summary_retention"]


async def test_samples_that_are_too_old_are_refused_one_by_one(start: Start) -> None:
    stubs = await start(**LIMITS)
    await stubs.metrics.WriteMetrics(write(row({"level": 1, "state": "ok"})))
    floor = TODAY - 7 * DAY
    answer = await stubs.metrics.WriteMetrics(
        pb.WriteMetricsRequest(
            observations=[row({"level": 1}, at=floor), row({"level": 1}, at=floor - 1), row({"state": "x"}, at=0)]
        )
    )
    assert (answer.accepted_count, answer.rejected_count) == (2, 1)
    (error,) = answer.errors
    assert (error.index, error.metric) == (1, "level")
    assert "2025-12-25T00:00:00" in error.message
    assert "7.5 days old" in error.message


async def test_frames_with_samples_that_are_too_old_are_refused(start: Start) -> None:
    stubs = await start(**LIMITS)
    await limit(stubs, "other", samples=3, value_type=2, paths=("value_type", "sample_retention"))
    times = [NOW - 5 * DAY, NOW]

    async def messages() -> Any:
        for columns in (
            [common_pb2.Column(metric="level", ints=common_pb2.Int64Array(values=[1, 2]))],
            [common_pb2.Column(metric="other", ints=common_pb2.Int64Array(values=[1, 2]))],
            [common_pb2.Column(metric="other", ints=common_pb2.Int64Array(values=[2]), rows=[1])],
        ):
            frame = common_pb2.Frame(subject="sources/a", time_unix_micros=times, columns=columns)
            yield pb.ImportMetricsRequest(frames=[frame])

    answer = await stubs.metrics.ImportMetrics(messages())
    assert (answer.accepted_frame_count, answer.rejected_frame_count) == (2, 1)
    assert "5 days old" in answer.errors[0].message


async def test_emits_that_are_too_old_are_refused(start: Start) -> None:
    stubs = await start(**LIMITS)
    await emit(stubs, {"level": 1}, at=NOW)
    with invalid() as refusal:
        await emit(stubs, {"level": 1}, at=NOW - 8 * DAY)
    assert "no older samples of 'level' are kept" in refusal.violations["time"]


async def test_what_goes_is_foretold_and_hours_stay(start: Start, clock: FixedClock) -> None:
    stubs = await start(**LIMITS)
    for day in range(3):
        times = range(TODAY - day * DAY - DAY, TODAY - day * DAY, 30 * MINUTE)
        await stubs.metrics.WriteMetrics(
            pb.WriteMetricsRequest(observations=[row({"level": 1}, at=at) for at in times])
        )
    clock.micros += 9 * DAY
    hours = await count_by(stubs, TODAY - 3 * DAY, TODAY, 2)
    assert hours == [2] * 72
    preview = await stubs.metrics.ApplyRetention(pb.ApplyRetentionRequest(validate_only=True))
    assert len(await exported(stubs)) == 144
    answer = await stubs.metrics.ApplyRetention(pb.ApplyRetentionRequest())
    assert answer == preview
    (counts,) = answer.counts
    assert (counts.subject_kind, counts.subject_count) == (SOURCE, 1)
    assert (counts.day_count, counts.sample_count, counts.summary_count) == (3, 144, 0)
    assert await stubs.metrics.ApplyRetention(pb.ApplyRetentionRequest()) == pb.ApplyRetentionResponse()
    assert await count_by(stubs, TODAY - 3 * DAY, TODAY, 2) == hours
    assert await count_by(stubs, TODAY - DAY, TODAY - DAY + 2 * HOUR, 1) == [2] + [0] * 59 + [2] + [0] * 59
    assert await count_by(stubs, TODAY - DAY + 15 * MINUTE, TODAY - DAY + 75 * MINUTE, 2) == [0, 2]
    assert await exported(stubs) == []
    clock.micros += 30 * DAY
    (counts,) = (await stubs.metrics.ApplyRetention(pb.ApplyRetentionRequest())).counts
    assert (counts.day_count, counts.sample_count, counts.summary_count) == (3, 0, 72)
    assert await count_by(stubs, TODAY - 3 * DAY, TODAY, 2) == [0] * 72


async def exported(stubs: Stubs) -> list[int]:
    times: list[int] = []
    async for message in stubs.metrics.ExportMetrics(pb.ExportMetricsRequest(subject_kind=SOURCE)):
        for frame in message.frames:
            times += frame.time_unix_micros
    return times


async def test_only_administrators_apply_it(start: Start, clock: FixedClock) -> None:
    stubs = await start(**LIMITS, auth="required")
    for scope in ("write:source_metrics", "read:source_metrics"):
        with refused(StatusCode.PERMISSION_DENIED, "SCOPE_MISSING"):
            await stubs.metrics.ApplyRetention(pb.ApplyRetentionRequest(), metadata=await token(stubs, clock, scope))


async def test_hours_of_assets_without_samples_are_deleted_as_a_whole(start: Start, clock: FixedClock) -> None:
    stubs = await start(**LIMITS)
    for minute in range(0, 240, 10):
        await emit(stubs, {"level": minute}, at=TODAY + minute * MINUTE)
    clock.micros += 9 * DAY
    (counts,) = (await stubs.metrics.ApplyRetention(pb.ApplyRetentionRequest())).counts
    assert (counts.subject_kind, counts.sample_count) == (ASSET, 24)
    assert await moments(stubs) == []
    with invalid("INVALID_TIME_RANGE") as refusal:
        await stubs.assets.DeleteAssetMetrics(correction(start=TODAY, end=TODAY + 90 * MINUTE))
    assert "begin and end the range on full hours" in refusal.violations["time_range"]
    answer = await stubs.assets.DeleteAssetMetrics(correction(start=TODAY + HOUR, end=TODAY + 2 * HOUR))
    assert answer.deleted_value_count == 6
    name = next(iter((await stubs.assets.ListAssets(asset_metric_service_pb2.ListAssetsRequest())).assets)).name
    assert await count_by(stubs, TODAY, TODAY + 4 * HOUR, 2, name) == [6, 0, 6, 6]
    answer = await stubs.assets.DeleteAssetMetrics(correction(start=TODAY + 3 * HOUR))
    assert answer.deleted_value_count == 6
    assert await newest_of(stubs, name) == 170


async def newest_of(stubs: Stubs, name: str) -> int:
    answer = await stubs.metrics.GetLatestMetrics(pb.GetLatestMetricsRequest(subjects=[name]))
    value: int = answer.subjects[0].values[0].value.int64_value
    return value


async def test_the_time_that_values_stood_is_told_of_samples_alone(start: Start, clock: FixedClock) -> None:
    stubs = await start(watch_horizon_seconds=0, retention={"text": {"sample_days": 7}})
    for day, states in ((0, ("on", "off", "on")), (1, ("off", "on", "off"))):
        for hour, state in zip((0, 6, 18), states, strict=True):
            await stubs.metrics.WriteMetrics(write(row({"phase": state}, at=TODAY + (day - 2) * DAY + hour * HOUR)))
    clock.micros = TODAY + 6 * DAY + HOUR
    assert await stood(stubs, "on") == [12 * 3600, 12 * 3600, 0]
    (counts,) = (await stubs.metrics.ApplyRetention(pb.ApplyRetentionRequest())).counts
    assert (counts.day_count, counts.sample_count) == (1, 3)
    # Of the first day the last sample is known, and what came after it.
    assert await stood(stubs, "on") == [6 * 3600, 12 * 3600, 0]
    assert await stood(stubs, "off") == [0, 12 * 3600, 24 * 3600]


async def stood(stubs: Stubs, state: str) -> list[float]:
    request = pb.QueryMetricsRequest(
        subjects=["sources/a"],
        aggregates=[common_pb2.AGGREGATE_TIME_IN_VALUE],
        window=common_pb2.Window(count=1, unit=common_pb2.WINDOW_UNIT_DAY),
    )
    request.time_range.start_time.CopyFrom(stamp(TODAY - 2 * DAY))
    request.time_range.end_time.CopyFrom(stamp(TODAY + DAY))
    answer = await stubs.metrics.QueryMetrics(request)
    seconds = [0.0] * 3
    for column in answer.series[0].columns:
        if column.of_value.string_value == state:
            values = column.doubles.values
            for place, value in zip(column.windows if len(values) < 3 else range(3), values, strict=True):
                seconds[place] = value
    return seconds
