"""Metric types and ingests into messages and back, and what is refused before it is sent."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from streamgauge import (
    ColumnAggregate,
    ErrorCategory,
    Ingest,
    JobExecution,
    JobReport,
    MetricTypeColumn,
    Plot,
    ingests,
)
from streamgauge import _job_codec as job_codec
from streamgauge import _metric_type_codec as codec
from streamgauge.v1 import job_service_pb2
from streamgauge.v1 import metric_type_service_pb2 as pb

T0 = datetime(2026, 3, 2, 2, tzinfo=UTC)


def plotted(*answers: pb.GetPlotDataResponse, choices: tuple[int, ...] = ()) -> Plot:
    return codec.plot(pb.GetPlotDataRequest(name="metricTypes/a", choices=choices), answers)


def test_a_value_of_zero_is_not_a_missing_one() -> None:
    answer = pb.GetPlotDataResponse()
    zero, empty = answer.series.add(), answer.series.add()
    zero.column.column, empty.column.column = "zero", "empty"
    zero.total.int64_value = zero.min_y.int64_value = 0
    zero.values.add().value.int64_value = 0
    plot = plotted(answer)
    assert (plot["zero"].total, plot["zero"].min_y, plot["zero"].values[0].value) == (0, 0, 0)
    assert (plot["empty"].total, plot["empty"].min_y, plot["empty"].min_x, plot["empty"].values) == (
        None,
        None,
        None,
        (),
    )


def test_a_plot_in_pages_is_as_old_as_its_oldest_page() -> None:
    first, second = pb.GetPlotDataResponse(), pb.GetPlotDataResponse()
    first.series.add().column.column = "a"
    second.series.add().column.column = "b"
    first.computed_at.FromDatetime(T0)
    second.computed_at.FromDatetime(T0.replace(minute=1))
    plot = plotted(first, second)
    assert (list(plot.series), plot.computed_at) == (["a", "b"], T0)


def test_a_value_that_is_no_number_is_not_passed_on() -> None:
    answer = pb.GetPlotDataResponse()
    answer.series.add().values.add().value.string_value = "x"
    with pytest.raises(TypeError, match="no number"):
        plotted(answer)


def test_members_that_this_version_does_not_know_are_unknown() -> None:
    message = pb.MetricType()
    message.columns.add().MergeFromString(b"\x30\x63")  # aggregate: 99
    assert codec.metric_type(message).columns[0].aggregate is ColumnAggregate.UNKNOWN
    error = job_service_pb2.CatalogError.FromString(b"\x28\x63")  # category: 99
    assert job_codec.catalog_error(error).category is ErrorCategory.UNKNOWN


def test_fields_of_a_choice_keep_their_types_and_are_in_the_order_of_their_names() -> None:
    message = pb.MetricTypeChoice()
    message.fields.update({"text": "x", "half": 0.5, "two": 2, "no": False, "none": None})
    fields = codec.choice(message).fields
    assert list(fields.items()) == [("half", 0.5), ("no", False), ("none", None), ("text", "x"), ("two", 2)]
    assert type(fields["two"]) is int


def test_a_filter_by_a_boolean_is_written_as_in_json() -> None:
    request = codec.get("a", {"is_active": True, "version": 2}, 0, "")
    assert list(request.choice_filters) == ["is_active=true", "version=2"]


def test_a_change_names_what_is_given_and_nothing_else() -> None:
    request = codec.update("power", "e", title="", columns=[MetricTypeColumn("a", "max")])
    assert list(request.update_mask.paths) == ["title", "columns"]
    assert (request.metric_type.name, request.metric_type.etag) == ("metricTypes/power", "e")
    assert request.metric_type.columns[0].aggregate == pb.COLUMN_AGGREGATE_MAX
    with pytest.raises(ValueError, match="give a field"):
        codec.update("power", "e")


def test_the_aggregate_of_a_newer_server_cannot_be_sent() -> None:
    with pytest.raises(ValueError, match="cannot be sent"):
        codec.create("a", columns=[MetricTypeColumn("a", ColumnAggregate.UNKNOWN)])


def test_an_error_that_is_not_told_is_not_taken_back() -> None:
    assert not job_codec.report(JobReport("a", "failed")).HasField("error")
    assert job_codec.report(JobReport("a", "failed", error="")).HasField("error")


def test_an_execution_without_an_aware_end_is_refused() -> None:
    with pytest.raises(ValueError, match="end_time must be timezone-aware"):
        job_codec.report(JobReport("a", "failed", executions=[JobExecution("1", "failed", T0.replace(tzinfo=None))]))


def test_ingests_are_cut_by_count_and_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    files = [Ingest("s", str(index), "ingested", T0) for index in range(5)]
    monkeypatch.setattr(ingests, "MAX_INGESTS", 2)
    assert [len(request.ingests) for request in ingests.requests(files)] == [2, 2, 1]
    monkeypatch.setattr(ingests, "MAX_REQUEST_BYTES", 1)
    assert [len(request.ingests) for request in ingests.requests(files)] == [1] * 5
    assert not list(ingests.requests([]))


def test_a_size_of_zero_is_sent_and_none_is_not() -> None:
    sized, unsized = (
        next(ingests.requests([Ingest("s", "a", "errored", T0, file_size=size)])).ingests[0] for size in (0, None)
    )
    assert (sized.source, sized.HasField("file_size"), unsized.HasField("file_size")) == ("sources/s", True, False)
    assert not sized.HasField("transfer_start_time")
