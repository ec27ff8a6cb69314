"""`MetricTypeService` at the gRPC edge: convert, call, convert."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import grpc.aio
from streamgauge.v1 import metric_type_service_pb2 as pb
from streamgauge.v1 import metric_type_service_pb2_grpc as pb_grpc

from streamgauge_server.model.metric_types import METRIC_TYPE_CHANGEABLE
from streamgauge_server.model.windows import Window, WindowUnit
from streamgauge_server.rpc import convert
from streamgauge_server.rpc import convert_metric_types as types
from streamgauge_server.rpc.context import current_caller
from streamgauge_server.services.metric_type_choices import MetricTypeChoices
from streamgauge_server.services.metric_type_values import ChoiceValues, MetricTypeValues
from streamgauge_server.services.metric_types import MetricTypes
from streamgauge_server.services.plot_data import PlotAsked, PlotData

_Context = grpc.aio.ServicerContext[Any, Any]


@dataclass(frozen=True, slots=True)
class MetricTypeParts:
    """The services behind `MetricTypeService`."""

    types: MetricTypes
    choices: MetricTypeChoices
    plots: PlotData
    values: MetricTypeValues


class MetricTypeServicer(pb_grpc.MetricTypeServiceServicer):
    """Serves `streamgauge.v1.MetricTypeService`."""

    def __init__(self, parts: MetricTypeParts) -> None:
        self._parts = parts

    async def ListMetricTypes(  # noqa: N802
        self, request: pb.ListMetricTypesRequest, context: _Context
    ) -> pb.ListMetricTypesResponse:
        """Lists metric types."""
        page = await self._parts.types.list(
            current_caller(), page_size=request.page_size, page_token=request.page_token
        )
        return pb.ListMetricTypesResponse(
            metric_types=[types.type_message(one) for one in page.metric_types],
            next_page_token=page.next_page_token,
            total_size=page.total,
        )

    async def GetMetricType(self, request: pb.GetMetricTypeRequest, context: _Context) -> pb.GetMetricTypeResponse:  # noqa: N802
        """Returns a metric type with a page of its choices."""
        page = await self._parts.choices.page(
            current_caller(),
            request.name,
            request.choice_filters,
            page_size=request.page_size,
            page_token=request.page_token,
        )
        return pb.GetMetricTypeResponse(
            metric_type=types.type_message(page.metric_type),
            choices=[types.choice_message(page.metric_type.name, choice) for choice in page.choices],
            next_page_token=page.next_page_token,
            total_choices=page.total,
        )

    async def GetPlotData(self, request: pb.GetPlotDataRequest, context: _Context) -> pb.GetPlotDataResponse:  # noqa: N802
        """Returns figures over windows."""
        violations = convert.Violations()
        asked = PlotAsked(
            name=request.name,
            columns=tuple(request.columns),
            groups=tuple(request.groups),
            choices=tuple(request.choices),
            start=violations.moment(request.time_range, "start_time", "time_range."),
            end=violations.moment(request.time_range, "end_time", "time_range."),
            window=_window(request, violations),
            page_size=request.page_size,
            page_token=request.page_token,
            problems=tuple(violations.found),
        )
        page = await self._parts.plots.plot(current_caller(), asked)
        answer = pb.GetPlotDataResponse(
            next_page_token=page.next_page_token, total_size=page.total, computed_at=convert.timestamp(page.computed_at)
        )
        types.fill_series(answer, page.series)
        return answer

    async def CreateMetricType(  # noqa: N802
        self, request: pb.CreateMetricTypeRequest, context: _Context
    ) -> pb.CreateMetricTypeResponse:
        """Creates a custom metric type."""
        fields = types.type_fields(request.metric_type, METRIC_TYPE_CHANGEABLE)
        stored = await self._parts.types.create(current_caller(), request.metric_type_id, fields)
        return pb.CreateMetricTypeResponse(metric_type=types.type_message(stored))

    async def UpdateMetricType(  # noqa: N802
        self, request: pb.UpdateMetricTypeRequest, context: _Context
    ) -> pb.UpdateMetricTypeResponse:
        """Changes a custom metric type."""
        violations = convert.Violations()
        names = violations.masked(request.update_mask, METRIC_TYPE_CHANGEABLE)
        stored = await self._parts.types.update(
            current_caller(),
            request.metric_type.name,
            types.type_fields(request.metric_type, names),
            request.metric_type.etag,
            violations.found,
        )
        return pb.UpdateMetricTypeResponse(metric_type=types.type_message(stored))

    async def DeleteMetricType(  # noqa: N802
        self, request: pb.DeleteMetricTypeRequest, context: _Context
    ) -> pb.DeleteMetricTypeResponse:
        """Deletes a custom metric type."""
        await self._parts.types.delete(current_caller(), request.name, request.etag, force=request.force)
        return pb.DeleteMetricTypeResponse()

    async def CreateMetricTypeChoice(  # noqa: N802
        self, request: pb.CreateMetricTypeChoiceRequest, context: _Context
    ) -> pb.CreateMetricTypeChoiceResponse:
        """Creates a choice of a custom metric type."""
        metric_type, choice = await self._parts.choices.create(
            current_caller(),
            request.parent,
            request.choice_id,
            request.choice.title,
            types.choice_fields(request.choice.fields),
        )
        return pb.CreateMetricTypeChoiceResponse(choice=types.choice_message(metric_type, choice))

    async def DeleteMetricTypeChoice(  # noqa: N802
        self, request: pb.DeleteMetricTypeChoiceRequest, context: _Context
    ) -> pb.DeleteMetricTypeChoiceResponse:
        """Deletes a choice of a custom metric type."""
        await self._parts.choices.delete(current_caller(), request.name, force=request.force)
        return pb.DeleteMetricTypeChoiceResponse()

    async def WriteMetricTypeValues(  # noqa: N802
        self, request: pb.WriteMetricTypeValuesRequest, context: _Context
    ) -> pb.WriteMetricTypeValuesResponse:
        """Writes values of a custom metric type."""
        values = [
            ChoiceValues(
                one.choice,
                convert.optional_micros(one, "time"),
                {column: convert.sample(one.values[column]) for column in one.values},
            )
            for one in request.values
        ]
        stored = await self._parts.values.write(current_caller(), request.name, values)
        return pb.WriteMetricTypeValuesResponse(value_count=stored)

    async def RecalculateMetricType(  # noqa: N802
        self, request: pb.RecalculateMetricTypeRequest, context: _Context
    ) -> pb.RecalculateMetricTypeResponse:
        """Computes the figures of a range anew."""
        violations = convert.Violations()
        for field in ("start_time", "end_time"):
            if not request.time_range.HasField(field):
                violations.add(f"time_range.{field}", "is required")
        start = violations.moment(request.time_range, "start_time", "time_range.")
        end = violations.moment(request.time_range, "end_time", "time_range.")
        checked, changed = await self._parts.plots.recalculate(
            current_caller(), request.name, start, end, violations.found, validate_only=request.validate_only
        )
        return pb.RecalculateMetricTypeResponse(checked_count=checked, changed_count=changed)


def _window(request: pb.GetPlotDataRequest, violations: convert.Violations) -> Window:
    """Returns the windows of a plot, hours by default."""
    if not request.HasField("window"):
        return Window(WindowUnit.HOUR)
    unit = violations.required_enum(request.window, "unit", WindowUnit, "window.")
    return Window(unit or WindowUnit.HOUR, request.window.count if request.window.count else 1)
