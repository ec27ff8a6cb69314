"""Answers of the sources API out of messages, as golden files have them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from starlette.responses import JSONResponse
from streamgauge.v1 import common_pb2
from streamgauge.v1 import source_service_pb2 as pb
from streamgauge_server.gateway.legacy.sources_rendering import is_empty, render

from tests.gateway.golden_files import check_golden, golden_cases
from tests.rpc.messages import Scalar, value

SIX = 1_740_895_200
"""2025-03-02T06:00:00Z."""
HOUR = 3_600
TOPIC = "source_67adcd1e4ddd8fe6b1f8d7a9.public."


def labelled(answer: pb.GetSourceMetricsResponse, **units: str) -> pb.GetSourceMetricsResponse:
    for metric, unit in units.items():
        answer.metadata[metric].display_name = f"Name of {metric}"
        answer.metadata[metric].unit = unit
    return answer


def latest(**values: Scalar | None) -> pb.GetSourceMetricsResponse:
    answer = pb.GetSourceMetricsResponse(source="sources/a", time_type=pb.TIME_TYPE_LATEST)
    for metric, item in values.items():
        answer.latest.add(metric=metric, value=None if item is None else value(item), time=Timestamp(seconds=SIX))
    return labelled(answer, **dict.fromkeys(values, "count"))


def snapshots() -> pb.GetSourceMetricsResponse:
    answer = latest(snapshotStatus=None, snapshotSubmitTime="2025-03-02T06:00:00Z", byteTotal=1)
    answer.snapshot_status.add(status="completed", topic_id=TOPIC + "customers", time=Timestamp(seconds=SIX))
    answer.snapshot_status.add(
        status="running", topic_id=TOPIC + "örders", submit_time=Timestamp(seconds=SIX + 1, nanos=999_999_000)
    )
    return answer


def timeseries(*columns: common_pb2.WindowColumn, windows: int = 3) -> pb.GetSourceMetricsResponse:
    answer = pb.GetSourceMetricsResponse(source="sources/a", time_type=pb.TIME_TYPE_TIMESERIES, timeseries=columns)
    answer.window_bounds.extend(Timestamp(seconds=SIX + HOUR * i) for i in range(windows + 1))
    return labelled(answer, **{column.metric: "bytes" for column in columns})


def ints(metric: str, *values: int, windows: tuple[int, ...] = ()) -> common_pb2.WindowColumn:
    return common_pb2.WindowColumn(metric=metric, ints=common_pb2.Int64Array(values=values), windows=windows)


def every_type() -> pb.GetSourceMetricsResponse:
    return timeseries(
        common_pb2.WindowColumn(metric="doubles", doubles=common_pb2.DoubleArray(values=[0.1, 1e300, 2.0])),
        common_pb2.WindowColumn(metric="bools", bools=common_pb2.BoolArray(values=[True, False]), windows=[0, 2]),
        common_pb2.WindowColumn(metric="texts", strings=common_pb2.StringArray(values=["Äctive"]), windows=[1]),
        ints("large", 2**63 - 1, -(2**63), 0),
    )


def before_1970() -> pb.GetSourceMetricsResponse:
    answer = timeseries(ints("byteTotal", 7), windows=1)
    del answer.window_bounds[:]
    answer.window_bounds.extend(Timestamp(seconds=seconds) for seconds in (-3 * 86_400, 4 * 86_400))
    return answer


def timesummary() -> pb.GetSourceMetricsResponse:
    answer = pb.GetSourceMetricsResponse(source="sources/a", time_type=pb.TIME_TYPE_TIMESUMMARY)
    answer.timesummary.add(metric="byteTotal", value=value(1_500), sample_count=3)
    answer.timesummary.add(metric="StreamingConnected", value=value(0.75), sample_count=4)
    answer.timesummary.add(metric="recordRetryTotal")
    return labelled(answer, byteTotal="bytes", StreamingConnected="boolean", recordRetryTotal="count")


CASES: Mapping[str, Callable[[], pb.GetSourceMetricsResponse]] = {
    "latest": lambda: latest(byteTotal=2**53 + 1, StreamingConnected=True, SnapshotRunning=False, state="Streaming"),
    "latest-without-values": lambda: latest(byteTotal=None, state=None, snapshotStatus=None),
    "latest-snapshot-status": snapshots,
    "timeseries-with-gaps": lambda: timeseries(ints("byteTotal", 20, 35, windows=(0, 2))),
    "timeseries-of-every-window": lambda: timeseries(ints("byteTotal", 20, 0, 35)),
    "timeseries-without-values": lambda: timeseries(ints("byteTotal"), common_pb2.WindowColumn(metric="latency")),
    "timeseries-of-every-type": every_type,
    "timeseries-from-a-week-before-1970": before_1970,
    "timesummary": timesummary,
}


@pytest.mark.parametrize("case", CASES)
def test_an_answer_is_rendered_as_its_golden_file_has_it(case: str) -> None:
    check_golden("sources", case, bytes(JSONResponse(render(CASES[case]())).body))


def test_every_golden_file_has_its_case() -> None:
    assert golden_cases("sources") == set(CASES)


def test_the_time_of_submission_is_a_metric_of_its_own_only_by_name() -> None:
    assert "snapshotSubmitTime" not in render(snapshots())["data"]
    assert render(snapshots(), named=frozenset({"snapshotSubmitTime"}))["data"]["snapshotSubmitTime"]


def test_an_answer_is_empty_without_any_value() -> None:
    empty = {case for case in CASES if is_empty(render(CASES[case]()))}
    assert empty == {"latest-without-values", "timeseries-without-values"}
