"""`client.metric_types`, `client.job_errors` and the records behind figures, against a real server."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from streamgauge import (
    ColumnAggregate,
    ErrorCategory,
    EtagMismatchError,
    ExecutionTask,
    Ingest,
    IngestStatus,
    InvalidArgumentError,
    InvalidTimeRangeError,
    JobErrorAlreadyExistsError,
    JobExecution,
    JobOutcome,
    MetricType,
    MetricTypeAlreadyExistsError,
    MetricTypeColumn,
    MetricTypeFilter,
    MetricTypeGroup,
    MetricTypeInUseError,
    MetricTypeNotFoundError,
    MetricTypeValues,
    ReportedIngests,
    TaskKind,
    Window,
)

from tests.sdk.conftest import done, everything, pages

T0 = datetime(2026, 3, 2, 2, tzinfo=UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


def at(minutes: float) -> datetime:
    return T0 + minutes * MINUTE


# --- Records and their figures ---------------------------------------------------------------------------------------


async def report_a_run(api: Any) -> None:
    """One run of job type `load` whose first execution fails at 02:03 and whose second takes 3 minutes."""
    await done(api.job_types.create("load", "load", version="2"))
    executions = [
        JobExecution("1", "failed", at(3), start_time=at(0), error="node-lost"),
        JobExecution(
            "2",
            JobOutcome.COMPLETED,
            at(7),
            queue_time=at(3),
            start_time=at(4),
            tasks=[ExecutionTask(TaskKind.MAIN, at(4.5), at(6.5)), ExecutionTask("post", at(6.5), at(7))],
        ),
    ]
    await done(
        api.jobs.report(
            "weekly", "finished", run_id="1", start_time=at(0), end_time=at(7), job_type="load", executions=executions
        )
    )


async def test_figures_of_executions_are_plotted(api: Any) -> None:
    await report_a_run(api)
    columns = ["run_time_avg", "queue_time_avg", "job_time_avg", "run_time_p95", "failed_rate"]
    plot = await done(api.metric_types.plot("job-types", columns=columns, start=T0, end=T0 + DAY))
    assert list(plot.series) == columns
    assert {name: plot[name].total for name in columns[:3]} == {
        "run_time_avg": 180,
        "queue_time_avg": 60,
        "job_time_avg": 120,
    }
    assert plot["run_time_p95"].total == pytest.approx(180, rel=0.02)
    series = plot["run_time_avg"]
    ((time, value, choice),) = [(one.time, one.value, one.choice) for one in series.values]
    assert (time, value, choice, type(value)) == (T0, 180, 0, int)
    assert (series.min_x, series.max_x, series.min_y, series.max_y) == (T0, T0, 180, 180)
    assert (series.column.units, series.column.aggregate, series.column.derived) == (
        "seconds",
        ColumnAggregate.AVG,
        False,
    )
    assert plot["failed_rate"].total == 0.0
    assert isinstance(plot["failed_rate"].total, float)
    assert plot.times == (T0,)
    assert plot.computed_at.tzinfo is UTC


async def test_choices_are_answered_one_by_one_and_a_dataframe_has_a_column_for_each(api: Any) -> None:
    await report_a_run(api)
    (load,) = await everything(api.metric_types.choices("job-types", filters={"name": "load"}))
    unknown = load.number + 1_000
    plot = await done(
        api.metric_types.plot(
            "metricTypes/job-types",
            columns="run_time_avg",
            choices=[load.number, unknown],
            window=Window("week"),
        )
    )
    assert [(value.choice, value.value) for value in plot["run_time_avg"].values] == [(load.number, 180)]
    frame = plot.to_dataframe()
    assert list(frame.columns) == [("run_time_avg", load.number), ("run_time_avg", unknown)]
    assert frame.iloc[0, 0] == 180
    assert frame.iloc[:, 1].isna().all()
    assert str(frame.index.dtype) == "datetime64[us, UTC]"


async def test_a_plot_in_pages_of_columns_is_put_together(api: Any) -> None:
    await report_a_run(api)
    whole = await done(api.metric_types.plot("job-types", start=T0, end=T0 + DAY, window="day"))
    cut = await done(api.metric_types.plot("job-types", start=T0, end=T0 + DAY, window="day", page_size=3))
    assert list(cut.series) == list(whole.series)
    assert len(whole.series) > 6
    assert cut.series == whole.series
    assert whole.times == (T0.replace(hour=0),)
    frame = whole.to_dataframe()
    assert frame["run_time_avg"].tolist() == [180]
    assert str(frame["run_time_avg"].dtype) == "Int64"


async def test_a_group_is_plotted_and_an_empty_plot_has_no_bounds(api: Any) -> None:
    (kind,) = [one for one in await everything(api.metric_types.list()) if one.id == "errors"]
    plot = await done(api.metric_types.plot("errors", groups=[kind.groups[0].group], window="month"))
    assert plot.series
    assert {column.column for column in kind.columns} >= set(plot.series)
    for series in plot.series.values():
        assert (series.values, series.min_x, series.max_y, series.total) == ((), None, None, None)
    assert plot.to_dataframe().empty


async def test_wrong_questions_about_a_plot_are_typed_errors(api: Any) -> None:
    with pytest.raises(MetricTypeNotFoundError):
        await done(api.metric_types.plot("nobody"))
    with pytest.raises(InvalidTimeRangeError):
        await done(api.metric_types.plot("errors", start=T0, end=T0))
    with pytest.raises(InvalidArgumentError) as caught:
        await done(api.metric_types.plot("errors", columns=["nothing"], groups=["no group"]))
    assert len(caught.value.violations) == 2


async def test_a_recalculation_finds_that_figures_and_records_agree(api: Any) -> None:
    await report_a_run(api)
    for validate_only in (True, False):
        told = await done(api.metric_types.recalculate("job-types", T0, T0 + DAY, validate_only=validate_only))
        assert told.checked > 0
        assert told.changed == 0


async def test_the_error_of_a_run_counts_and_an_unknown_one_is_refused(api: Any) -> None:
    await done(api.job_types.create("load", "load"))
    fields = {"run_id": "1", "start_time": at(0), "end_time": at(1), "job_type": "load"}
    with pytest.raises(InvalidArgumentError):
        await done(api.jobs.report("weekly", "failed", error="no such thing", **fields))
    await done(api.jobs.report("weekly", "failed", error="node-lost", **fields))
    plot = await done(api.metric_types.plot("job-types", columns=["failed_rate"], window="day"))
    assert plot["failed_rate"].total == 1.0


async def test_ingests_are_reported_once_and_counted(api: Any) -> None:
    await done(api.sources.create("landing"))
    files = [
        Ingest("landing", "a.csv", "ingested", at(1), file_size=100, ingest_start_time=at(0.5)),
        Ingest("sources/landing", "b.csv", IngestStatus.ERRORED, at(2), file_size=0),
    ]
    assert await done(api.sources.report_ingests(files)) == ReportedIngests(created=2)
    assert await done(api.sources.report_ingests(files)) == ReportedIngests()
    moved = [Ingest("landing", "b.csv", "duplicate", at(2), file_size=0)]
    assert await done(api.sources.report_ingests(iter(moved))) == ReportedIngests(changed=1)
    assert await done(api.sources.report_ingests([])) == ReportedIngests()
    plot = await done(api.metric_types.plot("ingests", columns=["ingest_time_avg"]))
    assert plot["ingest_time_avg"].total == 30
    wrong = [Ingest("new", "", "ingested", at(1)), Ingest("new", "a", "ingested", at(1), file_size=-1)]
    with pytest.raises(InvalidArgumentError) as caught:
        await done(api.sources.report_ingests(wrong))
    assert len(caught.value.violations) == 2
    await done(api.sources.report_ingests([Ingest("new", "a", "ingested", at(1))]))
    assert (await done(api.sources.get("new"))).id == "new"


# --- The catalog of errors -------------------------------------------------------------------------------------------


async def test_errors_are_added_and_listed(api: Any) -> None:
    built_in = await everything(api.job_errors.list(built_in_only=True))
    assert built_in
    assert all(error.built_in for error in built_in)
    made = await done(api.job_errors.create("bad-header", "data", title="No header", should_be_retried=True))
    assert (made.error, made.category, made.title, made.built_in, made.should_be_retried) == (
        "bad-header",
        ErrorCategory.DATA,
        "No header",
        False,
        True,
    )
    with pytest.raises(JobErrorAlreadyExistsError):
        await done(api.job_errors.create("bad-header", ErrorCategory.DATA))
    assert await everything(api.job_errors.list(page_size=2)) == [*built_in, made]
    of_data = await everything(api.job_errors.list(category="data"))
    assert made in of_data
    assert {error.category for error in of_data} == {ErrorCategory.DATA}


# --- Custom metric types ---------------------------------------------------------------------------------------------


async def power(api: Any) -> MetricType:
    made: MetricType = await done(
        api.metric_types.create(
            "power",
            [
                MetricTypeColumn("kwh", "sum", units="kWh", group="energy"),
                MetricTypeColumn("load", ColumnAggregate.AVG, title="Load", units="kW"),
            ],
            title="Power",
            groups=[MetricTypeGroup("energy", "Energy")],
            filters=[MetricTypeFilter("site")],
        )
    )
    return made


async def test_a_metric_type_is_created_read_changed_listed_and_deleted(api: Any) -> None:
    made = await power(api)
    assert (made.name, made.id, made.title, made.built_in) == ("metricTypes/power", "power", "Power", False)
    assert [(one.column, one.aggregate, one.group) for one in made.columns] == [
        ("kwh", ColumnAggregate.SUM, "energy"),
        ("load", ColumnAggregate.AVG, ""),
    ]
    assert (made.groups, made.filters) == ((MetricTypeGroup("energy", "Energy"),), (MetricTypeFilter("site"),))
    with pytest.raises(MetricTypeAlreadyExistsError):
        await power(api)
    assert await done(api.metric_types.get("power")) == made
    (first, second) = await pages(api.metric_types.list(page_size=3))
    assert [one.id for one in (*first.items, *second.items)] == ["job-types", "ingests", "errors", "power"]
    assert (first.total_size, first.items[0].create_time, first.items[0].built_in) == (4, None, True)

    changed = await done(api.metric_types.update("power", title="Electricity", etag=made.etag))
    assert (changed.title, changed.columns) == ("Electricity", made.columns)
    with pytest.raises(EtagMismatchError):
        await done(api.metric_types.update("power", title="x", etag=made.etag))
    with pytest.raises(ValueError, match="give a field"):
        await done(api.metric_types.update("power"))
    with pytest.raises(InvalidArgumentError):
        await done(api.metric_types.update("errors", title="x"))
    await done(api.metric_types.delete("power", etag=changed.etag))
    with pytest.raises(MetricTypeNotFoundError):
        await done(api.metric_types.get("metricTypes/power"))


async def test_values_are_written_all_or_none_and_plotted_by_choice(api: Any) -> None:
    await power(api)
    fields = {"site": "north", "floor": 2, "height": 2.5, "open": True, "owner": None}
    hall = await done(api.metric_types.create_choice("power", "hall", title="Hall", fields=fields))
    yard = await done(api.metric_types.create_choice("power", "yard", fields={"site": "south"}))
    assert (hall.name, hall.id, hall.title, hall.fields) == ("metricTypes/power/choices/hall", "hall", "Hall", fields)
    assert type(hall.fields["floor"]) is int
    with pytest.raises(MetricTypeAlreadyExistsError):
        await done(api.metric_types.create_choice("power", "hall"))
    assert await everything(api.metric_types.choices("power", filters={"site": "north"})) == [hall]
    assert [len(page.items) for page in await pages(api.metric_types.choices("power", page_size=1))] == [1, 1]
    with pytest.raises(InvalidArgumentError):
        await everything(api.metric_types.choices("power", filters={"nothing": 1}))

    values = [
        MetricTypeValues("hall", {"kwh": 12, "load": 1.5}, time=at(0)),
        MetricTypeValues("hall", {"load": 2.5}, time=at(30)),
        MetricTypeValues("yard", {"kwh": 3}, time=at(60)),
    ]
    assert await done(api.metric_types.write_values("power", values)) == 4
    assert await done(api.metric_types.write_values("power", values)) == 4  # the same again replaces itself
    with pytest.raises(MetricTypeNotFoundError):
        await done(api.metric_types.write_values("power", [*values, MetricTypeValues("nobody", {"kwh": 9})]))
    plot = await done(api.metric_types.plot("power", choices=[hall.number, yard.number], end=T0 + DAY))
    assert [(one.time, one.choice, one.value) for one in plot["kwh"].values] == [
        (T0, hall.number, 12),
        (T0 + HOUR, yard.number, 3),
    ]
    assert plot["kwh"].total == 15
    together = await done(api.metric_types.plot("power", window="day", end=T0 + DAY))
    assert (together["kwh"].total, together["load"].total) == (15, 2.0)
    assert together.to_dataframe()["load"].tolist() == [2.0]

    with pytest.raises(MetricTypeInUseError):
        await done(api.metric_types.delete_choice("power", "hall"))
    await done(api.metric_types.delete_choice("power", hall.name, force=True))
    with pytest.raises(MetricTypeInUseError):
        await done(api.metric_types.delete("power"))
    await done(api.metric_types.delete("power", force=True))


async def test_a_value_that_is_no_number_is_refused(api: Any) -> None:
    await power(api)
    await done(api.metric_types.create_choice("power", "hall"))
    with pytest.raises(InvalidArgumentError):
        await done(api.metric_types.write_values("power", [MetricTypeValues("hall", {"kwh": "much"})]))  # type: ignore[dict-item]
    with pytest.raises(TypeError, match=r"values\[0\].values\['kwh'\]"):
        await done(api.metric_types.write_values("power", [MetricTypeValues("hall", {"kwh": None})]))  # type: ignore[dict-item]
