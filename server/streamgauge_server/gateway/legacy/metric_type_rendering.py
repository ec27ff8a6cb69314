"""The JSON of the legacy metric types API: messages in, what is printed out. Key order is part of the format."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from streamgauge.v1 import common_pb2
from streamgauge.v1 import metric_type_service_pb2 as pb

Json = dict[str, Any]

CHOICE_FIELDS: Mapping[str, Mapping[str, Any]] = {
    "job-types": {
        "name": "",
        "version": "",
        "title": "",
        "description": "",
        "is_active": False,
        "is_system": False,
        "is_paused": False,
        "is_published": False,
        "icon_code": "",
        "unmet_resources": None,
        "category": "",
        "author_name": "",
        "author_url": "",
        "is_long_running": False,
        "is_operational": False,
    },
    "ingests": {"name": "", "title": "", "description": "", "job": None},
    "errors": {
        "name": "",
        "title": "",
        "description": "",
        "job_type_name": None,
        "category": "",
        "is_builtin": True,
        "should_be_retried": False,
    },
}
"""The fields of built-in metric types' choices after `id`, in their order, with what stands where there is none."""

_MAX_WHOLE = 2**53
"""Up to here a double names one integer."""


def metric_type(message: pb.MetricType) -> Json:
    """Returns a metric type as the list has it. Columns that are answered only when named are not in the catalogue."""
    name = message.name.removeprefix("metricTypes/")
    return {
        "name": name,
        "title": message.title or name,
        "description": message.description or None,
        "filters": [{"param": one.param, "type": one.type} for one in message.filters],
        "groups": [
            {"name": group.group, "title": group.title or group.group, "description": group.description or None}
            for group in message.groups
        ],
        "columns": [column(one) for one in message.columns if not one.derived],
    }


def details(message: pb.MetricType, choices: Iterable[pb.MetricTypeChoice]) -> Json:
    """Returns a metric type with all its choices."""
    shown = metric_type(message)
    name = shown["name"] if message.built_in else ""
    return {**shown, "choices": [choice(name, one) for one in choices]}


def column(message: pb.MetricTypeColumn) -> Json:
    """Returns a column."""
    return {
        "name": message.column,
        "title": message.title or message.column,
        "description": message.description or None,
        "units": message.units or None,
        "group": message.group or None,
        "aggregate": pb.ColumnAggregate.Name(message.aggregate).removeprefix("COLUMN_AGGREGATE_").lower(),
    }


def choice(metric_type: str, message: pb.MetricTypeChoice) -> Json:
    """Returns a choice of the built-in metric type of this name, or ("") of a custom one.

    A custom one has its number, name and title, then its other fields by name: the contract keeps no order of them.
    """
    name = message.name.rpartition("/")[2]
    fields = {field: _plain(value) for field, value in sorted(message.fields.items())}
    if (known := CHOICE_FIELDS.get(metric_type)) is not None:
        fields["title"] = message.title
        return {"id": message.number, **{field: fields.get(field, default) for field, default in known.items()}}
    return {"id": message.number, "name": name, "title": message.title or name} | fields | {"id": message.number}


def plot(series: Sequence[pb.PlotSeries], *, apart: bool) -> list[Json]:
    """Returns the series of a plot; values tell their choice where choices were asked for, `apart` from each other."""
    return [_series(one, apart=apart) for one in series]


def _series(message: pb.PlotSeries, *, apart: bool) -> Json:
    values = []
    for one in message.values:
        shown: Json = {"datetime": _time(one.time), "value": _number(one.value)}
        if apart:
            shown["id"] = one.choice
        values.append(shown)
    return {
        "column": column(message.column),
        "min_x": _set(message, "min_x", _time),
        "max_x": _set(message, "max_x", _time),
        "min_y": _set(message, "min_y", _number),
        "max_y": _set(message, "max_y", _number),
        "values": values,
    }


def _set(message: Message, field: str, render: Any) -> Any:
    return render(getattr(message, field)) if message.HasField(field) else None


def _time(message: Timestamp) -> str:
    return _moment(message.seconds, message.nanos)


@lru_cache(maxsize=16_384)
def _moment(seconds: int, nanos: int) -> str:
    """Returns a date-time UTC, with a fraction where there is one. There are few, each in every series and choice."""
    at = datetime.fromtimestamp(seconds, UTC).replace(microsecond=nanos // 1_000, tzinfo=None)
    return at.isoformat() + "Z"


def _number(message: common_pb2.Value) -> int | float | None:
    """Returns a number. The sum of doubles may have become infinite, which JSON has no word for: null."""
    if message.WhichOneof("kind") == "int64_value":
        return message.int64_value
    return message.double_value if math.isfinite(message.double_value) else None


def _plain(value: Any) -> Any:
    """Returns a field of a choice: whole numbers as integers, which structs do not have."""
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) <= _MAX_WHOLE else value
