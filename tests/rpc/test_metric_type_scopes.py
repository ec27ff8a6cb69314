"""Who may call MetricTypeService and report ingests: scopes, and what a tenant sees of another's."""

from __future__ import annotations

from typing import Any

import pytest
from grpc import StatusCode
from streamgauge.v1 import job_service_pb2 as jobs
from streamgauge.v1 import metric_type_service_pb2 as pb
from streamgauge.v1 import source_service_pb2 as sources
from streamgauge_server.model.clock import FixedClock

from tests.rpc.figure_messages import asked, ingest, points, time_range
from tests.rpc.messages import DAY, NOW, row, value, write
from tests.rpc.serving import Start, refused
from tests.rpc.test_asset_scopes import token

READ, WRITE = "read:metric_types", "write:metric_types"
COLUMN = pb.MetricTypeColumn(column="kwh", aggregate=pb.COLUMN_AGGREGATE_SUM)
TYPE = pb.CreateMetricTypeRequest(metric_type_id="power", metric_type=pb.MetricType(columns=[COLUMN]))
HALL = pb.CreateMetricTypeChoiceRequest(parent="metricTypes/power", choice_id="hall")
VALUES = pb.WriteMetricTypeValuesRequest(
    name="metricTypes/power", values=[pb.MetricTypeValues(choice="hall", values={"kwh": value(1)})]
)

CALLS: dict[str, tuple[str, Any]] = {
    "ListMetricTypes": (READ, pb.ListMetricTypesRequest()),
    "GetMetricType": (READ, pb.GetMetricTypeRequest(name="metricTypes/power")),
    "GetPlotData": (READ, asked("power")),
    "CreateMetricType": (WRITE, pb.CreateMetricTypeRequest(metric_type_id="heat", metric_type=TYPE.metric_type)),
    "UpdateMetricType": (
        WRITE,
        pb.UpdateMetricTypeRequest(metric_type=pb.MetricType(name="metricTypes/power", columns=[COLUMN])),
    ),
    "DeleteMetricType": (WRITE, pb.DeleteMetricTypeRequest(name="metricTypes/power")),
    "CreateMetricTypeChoice": (
        WRITE,
        pb.CreateMetricTypeChoiceRequest(parent="metricTypes/power", choice_id="yard"),
    ),
    "DeleteMetricTypeChoice": (
        WRITE,
        pb.DeleteMetricTypeChoiceRequest(name="metricTypes/power/choices/hall"),
    ),
    "WriteMetricTypeValues": (WRITE, VALUES),
    "RecalculateMetricType": (
        WRITE,
        pb.RecalculateMetricTypeRequest(name="metricTypes/errors", time_range=time_range(NOW - DAY, NOW)),
    ),
}


def test_every_method_has_its_scope() -> None:
    service = pb.DESCRIPTOR.services_by_name["MetricTypeService"]
    assert {method.name for method in service.methods} == CALLS.keys()


@pytest.mark.parametrize("method", CALLS)
async def test_a_method_needs_its_scope_and_no_other(start: Start, clock: FixedClock, method: str) -> None:
    stubs = await start(auth="required")
    writer = await token(stubs, clock, WRITE)
    await stubs.metric_types.CreateMetricType(TYPE, metadata=writer)
    await stubs.metric_types.CreateMetricTypeChoice(HALL, metadata=writer)
    needed, message = CALLS[method]
    call = getattr(stubs.metric_types, method)
    with refused(StatusCode.UNAUTHENTICATED, "TOKEN_MISSING"):
        await call(message)
    lacking = {READ, WRITE, "read:jobs", "write:jobs", "write:source_metrics", "write:asset_metrics"} - {needed}
    with refused(StatusCode.PERMISSION_DENIED, "SCOPE_MISSING") as refusal:
        await call(message, metadata=await token(stubs, clock, *lacking))
    assert refusal.metadata["scope"] == needed
    await call(message, metadata=await token(stubs, clock, needed))


async def test_ingests_are_reported_with_the_scope_of_sources(start: Start, clock: FixedClock) -> None:
    stubs = await start(auth="required")
    request = sources.ReportIngestsRequest(ingests=[ingest("a")])
    with refused(StatusCode.PERMISSION_DENIED, "SCOPE_MISSING") as refusal:
        await stubs.sources.ReportIngests(request, metadata=await token(stubs, clock, WRITE, "write:jobs"))
    assert refusal.metadata["scope"] == "write:source_metrics"
    await stubs.sources.ReportIngests(request, metadata=await token(stubs, clock, "write:source_metrics"))


async def test_another_tenants_types_choices_and_figures_do_not_exist(start: Start, clock: FixedClock) -> None:
    stubs = await start(auth="required")
    mine, theirs = await token(stubs, clock, "admin"), await token(stubs, clock, "admin", tenant="other")
    types = stubs.metric_types
    await types.CreateMetricType(TYPE, metadata=mine)
    number = (await types.CreateMetricTypeChoice(HALL, metadata=mine)).choice.number
    await types.WriteMetricTypeValues(VALUES, metadata=mine)
    await stubs.sources.ReportIngests(sources.ReportIngestsRequest(ingests=[ingest("a")]), metadata=mine)
    await stubs.jobs.CreateError(
        jobs.CreateErrorRequest(error=jobs.CatalogError(error="own", category=jobs.ERROR_CATEGORY_DATA)), metadata=mine
    )
    for method in ("GetMetricType", "GetPlotData", "UpdateMetricType", "DeleteMetricType", "WriteMetricTypeValues"):
        with refused(StatusCode.NOT_FOUND, "METRIC_TYPE_NOT_FOUND"):
            await getattr(types, method)(CALLS[method][1], metadata=theirs)
    assert (await types.ListMetricTypes(pb.ListMetricTypesRequest(), metadata=theirs)).total_size == 3
    found = await types.GetPlotData(asked("ingests", "total_count"), metadata=theirs)
    assert points(found.series[0]) == []
    ingests = pb.GetMetricTypeRequest(name="metricTypes/ingests")
    source = (await types.GetMetricType(ingests, metadata=mine)).choices[0].number
    found = await types.GetPlotData(asked("ingests", "total_count", choices=[source]), metadata=theirs)
    assert points(found.series[0]) == []
    assert (await types.GetMetricType(ingests, metadata=theirs)).total_choices == 0
    listed = await stubs.jobs.ListErrors(jobs.ListErrorsRequest(), metadata=theirs)
    assert "own" not in {error.error for error in listed.errors}
    # The same names are free, and what is written there is the other tenant's alone.
    await types.CreateMetricType(TYPE, metadata=theirs)
    found = await types.GetPlotData(asked("power", choices=[number]), metadata=theirs)
    assert not found.series[0].values
    subject = "metricTypes/power/choices/hall"
    refusal = await stubs.metrics.WriteMetrics(write(row({"kwh": 1}, subject=subject)), metadata=theirs)
    assert refusal.rejected_count == 1
    found = await types.GetPlotData(asked("power"), metadata=mine)
    assert [one.value.int64_value for one in found.series[0].values] == [1]
