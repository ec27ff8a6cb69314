"""Metric types into messages and back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from google.protobuf import struct_pb2
from google.protobuf.field_mask_pb2 import FieldMask

from streamgauge import metric_type_results as results
from streamgauge._decode import by_number, maybe, moment, scalar
from streamgauge._encode import enum_number, names, put_time, put_value, time_range, window
from streamgauge.enums import ColumnAggregate, WindowUnit
from streamgauge.metric_type_results import FieldValue, MetricTypeColumn, MetricTypeFilter, MetricTypeGroup
from streamgauge.names import choice_name, metric_type_name
from streamgauge.observations import Window
from streamgauge.paging import Page
from streamgauge.v1 import common_pb2
from streamgauge.v1 import metric_type_service_pb2 as pb

_AGGREGATES = by_number(ColumnAggregate, pb.ColumnAggregate, "COLUMN_AGGREGATE_")


# --- Answers ---------------------------------------------------------------------------------------------------------


def _column(message: pb.MetricTypeColumn) -> MetricTypeColumn:
    return MetricTypeColumn(
        column=message.column,
        aggregate=_AGGREGATES.get(message.aggregate, ColumnAggregate.UNKNOWN),
        title=message.title,
        description=message.description,
        units=message.units,
        group=message.group,
        derived=message.derived,
    )


def metric_type(message: pb.MetricType) -> results.MetricType:
    """Returns a metric type."""
    return results.MetricType(
        name=message.name,
        title=message.title,
        description=message.description,
        filters=tuple(MetricTypeFilter(one.param, one.type) for one in message.filters),
        groups=tuple(MetricTypeGroup(one.group, one.title, one.description) for one in message.groups),
        columns=tuple(map(_column, message.columns)),
        built_in=message.built_in,
        etag=message.etag,
        create_time=maybe(message, "create_time"),
        update_time=maybe(message, "update_time"),
    )


def metric_types_page(message: pb.ListMetricTypesResponse) -> Page[results.MetricType]:
    """Returns a page of metric types."""
    return Page(tuple(map(metric_type, message.metric_types)), message.next_page_token, message.total_size)


def _field(message: struct_pb2.Value) -> FieldValue:
    """Returns a field of a choice. Numbers travel as doubles; whole ones are integers again."""
    kind = message.WhichOneof("kind")
    if kind == "number_value":
        number = message.number_value
        return int(number) if number.is_integer() else number
    return None if kind in (None, "null_value") else getattr(message, kind)


def choice(message: pb.MetricTypeChoice) -> results.MetricTypeChoice:
    """Returns a choice, its fields by name: a map has no order on its way."""
    fields = {name: _field(value) for name, value in sorted(message.fields.fields.items())}
    return results.MetricTypeChoice(message.name, message.number, message.title, fields)


def choices_page(message: pb.GetMetricTypeResponse) -> Page[results.MetricTypeChoice]:
    """Returns a page of choices."""
    return Page(tuple(map(choice, message.choices)), message.next_page_token, message.total_choices)


def _number(message: Any, field: str) -> float | None:
    return _plotted(getattr(message, field)) if message.HasField(field) else None


def _plotted(message: common_pb2.Value) -> float:
    value = scalar(message)
    if isinstance(value, (int, float)):
        return value
    raise TypeError(f"the server answered with a value that is no number: {message}")


def _series(message: pb.PlotSeries) -> results.PlotSeries:
    return results.PlotSeries(
        column=_column(message.column),
        values=tuple(
            results.PlotValue(moment(value.time), _plotted(value.value), value.choice) for value in message.values
        ),
        min_x=maybe(message, "min_x"),
        max_x=maybe(message, "max_x"),
        min_y=_number(message, "min_y"),
        max_y=_number(message, "max_y"),
        total=_number(message, "total"),
    )


def plot(request: pb.GetPlotDataRequest, pages: Iterable[pb.GetPlotDataResponse]) -> results.Plot:
    """Returns the plot out of its pages. It is as old as the oldest of them."""
    answers = list(pages)
    series = [_series(one) for answer in answers for one in answer.series]
    return results.Plot(
        metric_type=request.name,
        choices=tuple(request.choices),
        series={one.column.column: one for one in series},
        computed_at=min(moment(answer.computed_at) for answer in answers),
    )


def recalculated(message: pb.RecalculateMetricTypeResponse) -> results.Recalculated:
    """Returns what a recalculation found."""
    return results.Recalculated(message.checked_count, message.changed_count)


# --- Requests --------------------------------------------------------------------------------------------------------


def get(name: str, filters: Mapping[str, object] | None, page_size: int, page_token: str) -> pb.GetMetricTypeRequest:
    """Returns the request for a metric type with a page of its choices."""
    return pb.GetMetricTypeRequest(
        name=metric_type_name(name),
        choice_filters=[f"{param}={_text(value)}" for param, value in (filters or {}).items()],
        page_size=page_size,
        page_token=page_token,
    )


def _text(value: object) -> str:
    """Returns a filter's value as the contract compares it: booleans as JSON has them."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def plot_request(
    name: str,
    *,
    columns: Iterable[str],
    groups: Iterable[str],
    choices: Iterable[int],
    start: datetime | None,
    end: datetime | None,
    window_: Window | WindowUnit | str,
    page_size: int,
) -> pb.GetPlotDataRequest:
    """Returns the request for a plot's first page."""
    return pb.GetPlotDataRequest(
        name=metric_type_name(name),
        columns=names(columns),
        groups=names(groups),
        choices=choices,
        time_range=time_range(start, end),
        window=window(window_),
        page_size=page_size,
    )


def _columns(given: Iterable[MetricTypeColumn]) -> list[pb.MetricTypeColumn]:
    return [
        pb.MetricTypeColumn(
            column=one.column,
            title=one.title,
            description=one.description,
            units=one.units,
            group=one.group,
            aggregate=enum_number(ColumnAggregate, one.aggregate),
        )
        for one in given
    ]


def fill(
    message: pb.MetricType,
    *,
    title: str | None = None,
    description: str | None = None,
    filters: Iterable[MetricTypeFilter] | None = None,
    groups: Iterable[MetricTypeGroup] | None = None,
    columns: Iterable[MetricTypeColumn] | None = None,
) -> list[str]:
    """Sets what is given of a metric type and returns the names of its fields."""
    paths = []
    if title is not None:
        message.title = title
        paths.append("title")
    if description is not None:
        message.description = description
        paths.append("description")
    if filters is not None:
        message.filters.extend(pb.MetricTypeFilter(param=one.param, type=one.type) for one in filters)
        paths.append("filters")
    if groups is not None:
        message.groups.extend(
            pb.MetricTypeGroup(group=one.group, title=one.title, description=one.description) for one in groups
        )
        paths.append("groups")
    if columns is not None:
        message.columns.extend(_columns(columns))
        paths.append("columns")
    return paths


def create(metric_type_id: str, **fields: Any) -> pb.CreateMetricTypeRequest:
    """Returns the request that creates a metric type."""
    request = pb.CreateMetricTypeRequest(metric_type_id=metric_type_id)
    fill(request.metric_type, **fields)
    return request


def update(name: str, etag: str, **fields: Any) -> pb.UpdateMetricTypeRequest:
    """Returns the request that changes a metric type. ValueError when nothing is to change."""
    request = pb.UpdateMetricTypeRequest(metric_type=pb.MetricType(name=metric_type_name(name), etag=etag))
    paths = fill(request.metric_type, **fields)
    if not paths:  # an empty mask would mean every field
        raise ValueError("give a field to change: title, description, filters, groups or columns")
    request.update_mask.CopyFrom(FieldMask(paths=paths))
    return request


def create_choice(
    name: str, choice_id: str, title: str, fields: Mapping[str, FieldValue] | None
) -> pb.CreateMetricTypeChoiceRequest:
    """Returns the request that creates a choice."""
    request = pb.CreateMetricTypeChoiceRequest(parent=metric_type_name(name), choice_id=choice_id)
    request.choice.title = title
    request.choice.fields.update(fields or {})
    return request


def delete_choice(name: str, choice_id: str, force: bool) -> pb.DeleteMetricTypeChoiceRequest:
    """Returns the request that deletes a choice."""
    return pb.DeleteMetricTypeChoiceRequest(name=choice_name(name, choice_id), force=force)


def write_values(name: str, values: Iterable[results.MetricTypeValues]) -> pb.WriteMetricTypeValuesRequest:
    """Returns the request that writes values. ValueError, TypeError for what cannot be sent, with its place."""
    request = pb.WriteMetricTypeValuesRequest(name=metric_type_name(name))
    for index, given in enumerate(values):
        message = request.values.add(choice=given.choice)
        if given.time is not None:
            put_time(message.time, given.time, f"values[{index}].time")
        for column, value in given.values.items():
            put_value(message.values[column], value, f"values[{index}].values[{column!r}]")
    return request


def recalculate(name: str, start: datetime, end: datetime, validate_only: bool) -> pb.RecalculateMetricTypeRequest:
    """Returns the request to compute figures anew."""
    return pb.RecalculateMetricTypeRequest(
        name=metric_type_name(name), time_range=time_range(start, end), validate_only=validate_only
    )
