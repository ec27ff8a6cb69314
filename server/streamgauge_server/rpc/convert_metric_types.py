"""Between the messages of `MetricTypeService` and dataclasses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from google.protobuf.struct_pb2 import Struct
from streamgauge.v1 import metric_type_service_pb2 as pb

from streamgauge_server.model.metric_types import Choice, Column, Filter, Group, MetricTypeInfo
from streamgauge_server.model.values import INT64_MAX
from streamgauge_server.rpc import convert
from streamgauge_server.services.plot_series import Cell, PlotSeries

_MAX_WHOLE = 2**53
"""Up to here a double names one integer."""


def type_message(metric_type: MetricTypeInfo) -> pb.MetricType:
    """Returns a metric type."""
    message = pb.MetricType(
        name=f"metricTypes/{metric_type.name}",
        title=metric_type.title,
        description=metric_type.description,
        filters=[pb.MetricTypeFilter(param=one.param, type=one.type) for one in metric_type.filters],
        groups=[
            pb.MetricTypeGroup(group=group.group, title=group.title, description=group.description)
            for group in metric_type.groups
        ],
        columns=[column_message(column) for column in metric_type.columns],
        built_in=metric_type.built_in,
        etag=metric_type.etag,
    )
    if not metric_type.built_in:
        convert.fill_timestamp(message.create_time, metric_type.create_time)
        convert.fill_timestamp(message.update_time, metric_type.update_time)
    return message


def type_fields(message: pb.MetricType, names: Sequence[str]) -> dict[str, Any]:
    """Returns named fields of a metric type; what is wrong with them is for the service to say."""
    found: dict[str, Any] = {
        "title": message.title,
        "description": message.description,
        "filters": tuple(Filter(one.param, one.type or "string") for one in message.filters),
        "groups": tuple(Group(one.group, one.title, one.description) for one in message.groups),
        "columns": tuple(
            Column(one.column, one.title, one.description, one.units, one.group, one.aggregate)  # type: ignore[arg-type]
            for one in message.columns
        ),
    }
    return {name: found[name] for name in names}


def column_message(column: Column) -> pb.MetricTypeColumn:
    """Returns a column."""
    return pb.MetricTypeColumn(
        column=column.name,
        title=column.title,
        description=column.description,
        units=column.units,
        group=column.group,
        aggregate=int(column.aggregate),  # type: ignore[arg-type]
        derived=column.derived,
    )


def choice_message(metric_type: str, choice: Choice) -> pb.MetricTypeChoice:
    """Returns a choice of a metric type."""
    message = pb.MetricTypeChoice(
        name=f"metricTypes/{metric_type}/choices/{choice.id}", number=choice.number, title=choice.title
    )
    message.fields.update(choice.fields)
    return message


def choice_fields(message: Struct) -> dict[str, Any]:
    """Returns the fields of a choice as plain values: whole numbers as integers, what is no plain value as it came."""
    found: dict[str, Any] = {}
    for name, value in message.fields.items():
        kind = value.WhichOneof("kind")
        found[name] = None if kind in (None, "null_value") else _plain(getattr(value, kind))
    return found


def _plain(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) <= _MAX_WHOLE else value


def fill_series(answer: pb.GetPlotDataResponse, series: Sequence[PlotSeries]) -> None:
    """Adds series to an answer.

    What columns with the same cells have in common is made once and copied: there may be thousands of values, and it is
    most of the work to make their messages.
    """
    frames: dict[int, pb.PlotSeries] = {}
    for one in series:
        frame = frames.get(id(one.cells))
        if frame is None:
            frame = frames[id(one.cells)] = _frame(one.cells)
        message = answer.series.add()
        message.CopyFrom(frame)
        message.column.CopyFrom(column_message(one.column))
        if (bounds := one.bounds) is None:
            continue
        convert.fill_value(message.min_y, bounds[0])
        convert.fill_value(message.max_y, bounds[1])
        if one.total is not None:
            convert.fill_value(message.total, one.total)
        if all(isinstance(bound, int) and abs(bound) <= INT64_MAX for bound in bounds) and _whole(one.values):
            for entry, value in zip(message.values, one.values, strict=True):
                entry.value.int64_value = value  # type: ignore[assignment]
        else:
            for entry, value in zip(message.values, one.values, strict=True):
                convert.fill_value(entry.value, value)


def _frame(cells: Sequence[Cell]) -> pb.PlotSeries:
    """Returns a series without a column and without numbers."""
    message = pb.PlotSeries()
    add = message.values.add
    for time, choice in cells:
        convert.fill_timestamp(add(choice=choice).time, time)
    if cells:
        convert.fill_timestamp(message.min_x, cells[0][0])
        convert.fill_timestamp(message.max_x, cells[-1][0])
    return message


def _whole(values: Sequence[float]) -> bool:
    return set(map(type, values)) == {int}
