"""`GetSourceMetricsResponse` as the JSON of `/sources/{source_id}/metrics`. Pure functions."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, TypeAlias

from google.protobuf.timestamp_pb2 import Timestamp
from streamgauge.v1 import common_pb2
from streamgauge.v1 import source_service_pb2 as pb

Scalar: TypeAlias = int | float | str | None

SNAPSHOT_STATUS = "snapshotStatus"
SNAPSHOT_SUBMIT_TIME = "snapshotSubmitTime"
"""What writers tell the server of `submit_timestamp` by; it is answered there, not as a metric of its own."""

_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001  # UTC throughout, and printed without an offset


def render(answer: pb.GetSourceMetricsResponse, *, named: frozenset[str] = frozenset()) -> dict[str, Any]:
    """Returns the answer as `{"data": ..., "metadata": ...}`.

    `named` are the metrics that the query asks for by name.
    """
    if answer.time_type == pb.TIME_TYPE_LATEST:
        data = _latest(answer, named)
    elif answer.time_type == pb.TIME_TYPE_TIMESUMMARY:
        data = {summary.metric: scalar(summary.value) for summary in answer.timesummary}
    else:
        data = _timeseries(answer)
    return {
        "data": data,
        "metadata": {
            metric: {"name": answer.metadata[metric].display_name, "unit": answer.metadata[metric].unit}
            for metric in data
        },
    }


def is_empty(document: dict[str, Any]) -> bool:
    """Tells whether a rendered answer has no value at all."""
    return not any(value is not None and value != [] for value in document["data"].values())


def scalar(value: common_pb2.Value) -> Scalar:
    """Returns a value: booleans as 0 and 1, None where there is none."""
    kind = value.WhichOneof("kind")
    if kind is None:
        return None
    if kind == "bool_value":
        return int(value.bool_value)
    found: Scalar = getattr(value, kind)
    return found


def clock_time(timestamp: Timestamp) -> str:
    """Returns `YYYY-MM-DD HH:MM:SS` in UTC; fractions of a second are cut."""
    return (_EPOCH + timedelta(seconds=timestamp.seconds)).isoformat(" ")


def _latest(answer: pb.GetSourceMetricsResponse, named: frozenset[str]) -> dict[str, Any]:
    data: dict[str, Any] = {}
    for entry in answer.latest:
        if entry.metric == SNAPSHOT_STATUS:
            data[entry.metric] = [_snapshot_status(topic) for topic in answer.snapshot_status]
        elif entry.metric != SNAPSHOT_SUBMIT_TIME or SNAPSHOT_SUBMIT_TIME in named:
            data[entry.metric] = scalar(entry.value)
    return data


def _snapshot_status(topic: pb.SnapshotStatus) -> dict[str, str | None]:
    submitted = clock_time(topic.submit_time) if topic.HasField("submit_time") else None
    return {"status": topic.status, "topic_id": topic.topic_id, "submit_timestamp": submitted}


def _timeseries(answer: pb.GetSourceMetricsResponse) -> dict[str, list[dict[str, Any]]]:
    """Returns an entry per window and metric, null where a window has no value; an empty list where none has one."""
    begins = [clock_time(bound) for bound in answer.window_bounds[:-1]]
    data: dict[str, list[dict[str, Any]]] = {}
    for column in answer.timeseries:
        values = _values(column)
        if not values:
            data[column.metric] = []
            continue
        by_window = dict(zip(column.windows or range(len(begins)), values, strict=True))
        data[column.metric] = [
            {"timestamp": begin, "value": by_window.get(window)} for window, begin in enumerate(begins)
        ]
    return data


def _values(column: common_pb2.WindowColumn) -> list[int | float | str]:
    member = column.WhichOneof("values")
    if member is None:
        return []
    if member == "bools":
        return [int(value) for value in column.bools.values]
    return list(getattr(column, member).values)
