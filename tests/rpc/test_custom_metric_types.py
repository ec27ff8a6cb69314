"""Custom metric types: their life, their choices and values; otherwise they are as the built-in ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict
from grpc import StatusCode
from streamgauge.v1 import common_pb2, metrics_service_pb2
from streamgauge.v1 import metric_type_service_pb2 as pb

from tests.rpc.figure_messages import asked, by_choice, figures, plotted, points, totals
from tests.rpc.messages import DAY, HOUR, MINUTE, NOW, TODAY, Scalar, row, scalar, stamp, value, write
from tests.rpc.serving import Start, Stubs, invalid, refused

SUM, MIN, MAX, AVG = "SUM", "MIN", "MAX", "AVG"
COLUMNS = (("kwh", SUM, "use"), ("kwh_min", MIN, "use"), ("kwh_max", MAX, "use"), ("price", AVG, ""))


def column(name: str, aggregate: str = SUM, group: str = "") -> pb.MetricTypeColumn:
    return pb.MetricTypeColumn(
        column=name, group=group, aggregate=pb.ColumnAggregate.Value(f"COLUMN_AGGREGATE_{aggregate}")
    )


async def create(stubs: Stubs, id: str = "power", **fields: Any) -> pb.MetricType:
    fields.setdefault("columns", [column(*one) for one in COLUMNS])
    fields.setdefault("groups", [pb.MetricTypeGroup(group="use", title="Use")])
    fields.setdefault("filters", [pb.MetricTypeFilter(param="site"), pb.MetricTypeFilter(param="phase", type="int")])
    request = pb.CreateMetricTypeRequest(metric_type_id=id, metric_type=pb.MetricType(**fields))
    return (await stubs.metric_types.CreateMetricType(request)).metric_type


async def choose(stubs: Stubs, id: str, *, of: str = "power", title: str = "", **fields: Any) -> int:
    """Creates a choice and returns its number."""
    choice = pb.MetricTypeChoice(title=title)
    choice.fields.update(fields)
    request = pb.CreateMetricTypeChoiceRequest(parent=f"metricTypes/{of}", choice_id=id, choice=choice)
    return (await stubs.metric_types.CreateMetricTypeChoice(request)).choice.number


def values(choice: str, at: int | None = NOW, **scalars: Scalar) -> pb.MetricTypeValues:
    message = pb.MetricTypeValues(choice=choice, values={name: value(one) for name, one in scalars.items()})
    if at is not None:
        message.time.CopyFrom(stamp(at))
    return message


async def put(stubs: Stubs, *entries: pb.MetricTypeValues, of: str = "power") -> int:
    request = pb.WriteMetricTypeValuesRequest(name=f"metricTypes/{of}", values=entries)
    return (await stubs.metric_types.WriteMetricTypeValues(request)).value_count


async def choices(stubs: Stubs, *filters: str, of: str = "power") -> Sequence[pb.MetricTypeChoice]:
    request = pb.GetMetricTypeRequest(name=f"metricTypes/{of}", choice_filters=filters)
    answer = await stubs.metric_types.GetMetricType(request)
    assert answer.total_choices == len(answer.choices)
    return answer.choices


async def change(stubs: Stubs, *paths: str, etag: str = "", **fields: Any) -> pb.MetricType:
    request = pb.UpdateMetricTypeRequest(metric_type=pb.MetricType(name="metricTypes/power", etag=etag, **fields))
    request.update_mask.paths.extend(paths)
    return (await stubs.metric_types.UpdateMetricType(request)).metric_type


async def test_a_type_is_stored_as_it_is_told(stubs: Stubs) -> None:
    told = pb.MetricTypeColumn(
        column="kwh", title="kWh", description="Used.", units="kWh", group="use", aggregate=pb.COLUMN_AGGREGATE_SUM
    )
    made = await create(stubs, title="Power", description="What is used.", columns=[told], built_in=True, etag="x")
    answer = await stubs.metric_types.GetMetricType(pb.GetMetricTypeRequest(name="metricTypes/power"))
    assert answer.metric_type == made
    assert (made.name, made.title, made.description) == ("metricTypes/power", "Power", "What is used.")
    assert list(made.columns) == [told]
    assert [(one.param, one.type) for one in made.filters] == [("site", "string"), ("phase", "int")]
    assert not made.built_in
    assert made.etag not in ("", "x")
    assert made.create_time == made.update_time == stamp(NOW)
    assert (await create(stubs, "untitled")).title == "untitled"


async def test_names_clash_with_others_and_with_built_in_ones(stubs: Stubs) -> None:
    await create(stubs)
    for id_ in ("power", "job-types", "ingests", "errors"):
        with refused(StatusCode.ALREADY_EXISTS, "METRIC_TYPE_ALREADY_EXISTS") as refusal:
            await create(stubs, id_)
        assert refusal.metadata["name"] == f"metricTypes/{id_}"


async def test_choices_have_fields_by_which_they_are_found(stubs: Stubs) -> None:
    await create(stubs)
    first = await choose(stubs, "hall", title="Hall", site="north", phase=1, cold=True, note=None)
    second = await choose(stubs, "yard", site="north", phase=2.5)
    third = await choose(stubs, "roof", site="south", phase=1)
    assert first < second < third
    found = await choices(stubs)
    assert [(one.name, one.number) for one in found] == [
        ("metricTypes/power/choices/hall", first),
        ("metricTypes/power/choices/yard", second),
        ("metricTypes/power/choices/roof", third),
    ]
    assert MessageToDict(found[0].fields) == {"site": "north", "phase": 1.0, "cold": True, "note": None}
    assert [one.number for one in await choices(stubs, "site=north")] == [first, second]
    assert [one.number for one in await choices(stubs, "phase=1")] == [first, third]
    assert [one.number for one in await choices(stubs, "phase=2.5", "site=north")] == [second]
    assert list(await choices(stubs, "phase=1.0")) == []
    with refused(StatusCode.ALREADY_EXISTS, "METRIC_TYPE_ALREADY_EXISTS"):
        await choose(stubs, "hall")
    await create(stubs, "heat")
    assert await choose(stubs, "hall", of="heat") > third


async def test_values_plot_by_the_aggregate_of_their_column(stubs: Stubs) -> None:
    await create(stubs)
    hall, yard = await choose(stubs, "hall"), await choose(stubs, "yard")
    for at, number in ((TODAY, 5), (TODAY + MINUTE, 0), (TODAY + HOUR, 9)):
        await put(stubs, values("hall", at, kwh=number, kwh_min=number, kwh_max=number, price=number))
    written = await put(
        stubs,
        values("yard", TODAY + 2, kwh=-7, kwh_min=-7, kwh_max=-7, price=-7),
        values("yard", TODAY + DAY // 4, price=1),
    )
    assert written == 5
    apart = await plotted(stubs, "power", "kwh", "price", choices=[yard, hall, 12345])
    assert by_choice(apart["kwh"]) == [(TODAY, hall, 5), (TODAY, yard, -7), (TODAY + HOUR, hall, 9)]
    assert by_choice(apart["price"]) == [
        (TODAY, hall, 2),
        (TODAY, yard, -7),
        (TODAY + HOUR, hall, 9),
        (TODAY + 6 * HOUR, yard, 1),
    ]
    assert await figures(stubs, "power") == {
        "kwh": [(TODAY, -2), (TODAY + HOUR, 9)],
        "kwh_min": [(TODAY, -7), (TODAY + HOUR, 9)],
        "kwh_max": [(TODAY, 5), (TODAY + HOUR, 9)],
        "price": [(TODAY, 0), (TODAY + HOUR, 9), (TODAY + 6 * HOUR, 1)],
    }
    days = {"kwh": [(TODAY, 7)], "kwh_min": [(TODAY, -7)], "kwh_max": [(TODAY, 9)], "price": [(TODAY, 1)]}
    assert await figures(stubs, "power", every="DAY") == days
    assert await totals(stubs, "power") == {name: found[0][1] for name, found in days.items()}
    one = (await plotted(stubs, "power", "kwh"))["kwh"]
    assert (scalar(one.min_y), scalar(one.max_y)) == (-2, 9)


async def test_averages_are_of_all_values_not_of_averages_and_cut_towards_zero(stubs: Stubs) -> None:
    await create(stubs)
    await choose(stubs, "hall")
    await choose(stubs, "yard")
    await put(stubs, *(values("hall", TODAY + n, price=-10) for n in range(9)), values("yard", TODAY, price=-115))
    assert await figures(stubs, "power", "price") == {"price": [(TODAY, -20)]}
    await put(stubs, values("yard", TODAY, price=-114))
    assert await figures(stubs, "power", "price") == {"price": [(TODAY, -20)]}


async def test_doubles_stay_doubles(stubs: Stubs) -> None:
    await create(stubs)
    await choose(stubs, "hall")
    await choose(stubs, "yard")
    await put(stubs, values("hall", TODAY, kwh=1, price=1), values("yard", TODAY, kwh=0.5, price=2))
    assert await figures(stubs, "power", "kwh", "price") == {"kwh": [(TODAY, 1.5)], "price": [(TODAY, 1)]}
    await put(stubs, values("hall", TODAY + HOUR, kwh=3))
    found = (await figures(stubs, "power", "kwh"))["kwh"]
    assert found == [(TODAY, 1.5), (TODAY + HOUR, 3.0)]
    assert {type(number) for _, number in found} == {float}


async def test_a_value_written_again_replaces_the_one_before(stubs: Stubs) -> None:
    await create(stubs)
    await choose(stubs, "hall")
    await put(stubs, values("hall", TODAY, kwh=5, price=5))
    await put(stubs, values("hall", TODAY, kwh=2))
    assert await put(stubs, values("hall", TODAY + 1, kwh=1), values("hall", TODAY + 1, kwh=4)) == 1
    assert await figures(stubs, "power", "kwh", "price") == {"kwh": [(TODAY, 6)], "price": [(TODAY, 5)]}


async def test_values_are_observations_of_the_choice(stubs: Stubs) -> None:
    await create(stubs)
    hall = await choose(stubs, "hall")
    subject = "metricTypes/power/choices/hall"
    await stubs.metrics.WriteMetrics(write(row({"kwh": 3.5, "other": True}, subject=subject, at=TODAY)))
    await put(stubs, values("hall", TODAY + 1, kwh=4))
    series = await plotted(stubs, "power", "kwh", choices=[hall])
    assert by_choice(series["kwh"]) == [(TODAY, hall, 7.5)]
    query = metrics_service_pb2.QueryMetricsRequest(
        subjects=[subject], metrics=["kwh"], aggregates=[common_pb2.AGGREGATE_SUM]
    )
    (answer,) = (await stubs.metrics.QueryMetrics(query)).series
    assert list(answer.columns[0].doubles.values) == [7.5]


async def test_without_a_time_values_are_of_now(stubs: Stubs) -> None:
    await create(stubs)
    await choose(stubs, "hall")
    await put(stubs, values("hall", None, kwh=1))
    answer = await stubs.metric_types.GetPlotData(asked("power", "kwh"))
    assert points(answer.series[0]) == [(NOW, 1)]


async def test_ranges_windows_and_groups_are_as_for_built_in_types(stubs: Stubs) -> None:
    await create(stubs)
    await choose(stubs, "hall")
    moments = [TODAY - 40 * DAY + hour * 7 * HOUR for hour in range(135)]
    await put(stubs, *(values("hall", at, kwh=1) for at in moments))
    start, end = TODAY - 20 * DAY + 5 * HOUR, TODAY - 3 * DAY - HOUR
    for unit in ("HOUR", "DAY", "WEEK", "MONTH"):
        series = (await plotted(stubs, "power", "kwh", start=start, end=end, every=unit))["kwh"]
        inside = sum(start <= at < end for at in moments)
        assert sum(number for _, number in points(series)) == series.total.int64_value == inside  # type: ignore[misc]
    assert list(await plotted(stubs, "power", "price", groups=["use"])) == ["price", "kwh", "kwh_min", "kwh_max"]
    series = (await plotted(stubs, "power", "kwh", start=TODAY + 1, end=TODAY + 2))["kwh"]
    assert not series.values
    assert not series.HasField("total")


async def test_windows_with_data_are_bounded(start: Start) -> None:
    stubs = await start(limits={"max_windows": 10})
    await create(stubs)
    await choose(stubs, "hall")
    await put(stubs, *(values("hall", TODAY - n * 30 * DAY, kwh=1) for n in range(11)))
    with invalid("TOO_MANY_WINDOWS") as refusal:
        await stubs.metric_types.GetPlotData(asked("power", "kwh"))
    assert refusal.metadata["actual"] == "11"
    found = await figures(stubs, "power", "kwh", start=TODAY - 299 * DAY)
    assert len(found["kwh"]) == 10


async def test_values_are_stored_all_or_none_and_all_that_is_wrong_is_told(stubs: Stubs) -> None:
    await create(stubs)
    await choose(stubs, "hall")
    wrong = values("hall", NOW + DAY, kwh="much", price=True, kwh_min=float("nan"), nope=1)
    wrong.values["kwh_max"].SetInParent()
    with refused(StatusCode.INVALID_ARGUMENT, "VALUE_TYPE_MISMATCH") as mismatch:
        await put(stubs, values("hall", NOW, kwh="much"))
    assert mismatch.metadata["expected"] == "NUMBER"
    with invalid() as refusal:
        await put(stubs, values("hall", kwh=1), wrong, values("a b", kwh=1), values("hall"), values("cellar", kwh=1))
    assert refusal.reasons == {
        "values[1].time": "INVALID_FIELD",
        'values[1].values["kwh"]': "VALUE_TYPE_MISMATCH",
        'values[1].values["price"]': "VALUE_TYPE_MISMATCH",
        'values[1].values["kwh_min"]': "INVALID_FIELD",
        'values[1].values["kwh_max"]': "INVALID_FIELD",
        'values[1].values["nope"]': "INVALID_FIELD",
        "values[2].choice": "INVALID_FIELD",
        "values[3].values": "INVALID_FIELD",
        "values[4].choice": "METRIC_TYPE_NOT_FOUND",
    }
    assert await figures(stubs, "power", "kwh") == {"kwh": []}
    with refused(StatusCode.NOT_FOUND, "METRIC_TYPE_NOT_FOUND") as missing:
        await put(stubs, values("cellar", kwh=1))
    assert missing.metadata["name"] == "metricTypes/power/choices/cellar"
    with refused(StatusCode.NOT_FOUND, "METRIC_TYPE_NOT_FOUND"):
        await put(stubs, values("hall", kwh=1), of="heat")
    for of in ("job-types", "a/b"):
        with invalid() as refusal:
            await put(stubs, values("hall", kwh=1), of=of)
        assert list(refusal.violations) == ["name"]
    for count in (0, 5_001):
        with invalid() as refusal:
            await put(stubs, *[values("hall", kwh=1)] * count)
        assert list(refusal.violations) == ["values"]


async def test_everything_that_is_wrong_with_a_type_is_told(stubs: Stubs) -> None:
    filters = [pb.MetricTypeFilter(param="a"), pb.MetricTypeFilter(param="a", type="text"), pb.MetricTypeFilter()]
    groups = [pb.MetricTypeGroup(group="g"), pb.MetricTypeGroup(group="g", title="x" * 256)]
    columns = [
        column("a", "P50"),
        column("b", "RATIO"),
        pb.MetricTypeColumn(column="a", group="h", units="u" * 65),
        pb.MetricTypeColumn(column="c" * 65, aggregate=17, description="d" * 4_097),  # type: ignore[arg-type]
    ]
    with invalid() as refusal:
        await create(stubs, "a/b", title="\n", filters=filters, groups=groups, columns=columns)
    assert set(refusal.violations) == {
        "metric_type_id",
        "metric_type.title",
        "metric_type.filters[1].param",
        "metric_type.filters[1].type",
        "metric_type.filters[2].param",
        "metric_type.groups[1].group",
        "metric_type.groups[1].title",
        "metric_type.columns[0].aggregate",
        "metric_type.columns[1].aggregate",
        "metric_type.columns[2].column",
        "metric_type.columns[2].group",
        "metric_type.columns[2].units",
        "metric_type.columns[2].aggregate",
        "metric_type.columns[3].column",
        "metric_type.columns[3].aggregate",
        "metric_type.columns[3].description",
    }
    assert "SUM, MIN, MAX, AVG" in refusal.violations["metric_type.columns[0].aggregate"]
    many = [column(f"c{n}") for n in range(201)]
    with invalid() as refusal:
        await create(stubs, columns=many, filters=[filters[0]] * 21, groups=[groups[0]] * 51)
    assert set(refusal.violations) == {f"metric_type.{field}" for field in ("columns", "filters", "groups")}
    with invalid() as refusal:
        await create(stubs, columns=[])
    assert set(refusal.violations) == {"metric_type.columns"}


async def test_everything_that_is_wrong_with_a_choice_is_told(stubs: Stubs) -> None:
    await create(stubs)
    more: dict[str, Any] = {"k" * 65: 1, "long": "x" * 4_097}
    with invalid() as refusal:
        await choose(stubs, "", title="t" * 256, nested={"a": 1}, listed=[1], **more)
    assert set(refusal.violations) == {
        "choice_id",
        "choice.title",
        'choice.fields["nested"]',
        'choice.fields["listed"]',
        f'choice.fields["{"k" * 64}"]',
        'choice.fields["long"]',
    }
    many: dict[str, Any] = {f"f{n}": n for n in range(51)}
    with invalid() as refusal:
        await choose(stubs, "hall", **many)
    assert set(refusal.violations) == {"choice.fields"}
    with invalid() as refusal:
        await choose(stubs, "hall", of="ingests")
    assert set(refusal.violations) == {"parent"}
    with refused(StatusCode.NOT_FOUND, "METRIC_TYPE_NOT_FOUND"):
        await choose(stubs, "hall", of="heat")


async def test_a_column_may_not_be_a_metric_that_holds_texts(stubs: Stubs) -> None:
    await create(stubs)
    await choose(stubs, "hall")
    subject = "metricTypes/power/choices/hall"
    await stubs.metrics.WriteMetrics(write(row({"colour": "red", "open": True}, subject=subject)))
    with invalid() as refusal:
        await create(stubs, "heat", columns=[column("kwh"), column("colour"), column("open")])
    assert set(refusal.violations) == {"metric_type.columns[1].column", "metric_type.columns[2].column"}


async def test_a_column_is_a_metric_that_can_be_described(stubs: Stubs) -> None:
    await create(stubs)
    name = "metricDescriptors/metricTypes/kwh"
    request = metrics_service_pb2.UpdateMetricDescriptorRequest(
        metric_descriptor=common_pb2.MetricDescriptor(name=name, unit="kWh", min_value=0)
    )
    request.update_mask.paths.extend(["unit", "min_value"])
    described = (await stubs.metrics.UpdateMetricDescriptor(request)).metric_descriptor
    assert (described.unit, described.value_type) == ("kWh", common_pb2.VALUE_TYPE_NUMBER)
    await choose(stubs, "hall")
    with invalid() as refusal:
        await put(stubs, values("hall", kwh=1), values("hall", NOW - 1, kwh=-1))
    assert list(refusal.violations) == ['values[1].values["kwh"]']
    assert await totals(stubs, "power", "kwh") == {"kwh": None}


async def test_an_update_changes_what_the_mask_names(stubs: Stubs) -> None:
    made = await create(stubs, title="Power", description="d")
    changed = await change(stubs, "title", title="Energy", description="ignored")
    assert (changed.title, changed.description) == ("Energy", "d")
    assert changed.columns == made.columns
    assert changed.etag != made.etag
    with refused(StatusCode.ABORTED, "ETAG_MISMATCH"):
        await change(stubs, "title", title="x", etag=made.etag)
    grown = await change(stubs, "columns", columns=[*made.columns, column("loss", MAX)], etag=changed.etag)
    assert [one.column for one in grown.columns][-1] == "loss"
    with invalid() as refusal:
        await change(stubs, "columns", "nope", "name", columns=[column("x", group="none")])
    assert set(refusal.violations) == {
        "update_mask.paths[1]",
        "update_mask.paths[2]",
        "metric_type.columns[0].group",
    }
    with invalid() as refusal:
        await change(stubs, "groups", groups=[])
    assert set(refusal.violations) == {f"metric_type.columns[{n}].group" for n in range(3)}
    with invalid() as refusal:
        request = pb.UpdateMetricTypeRequest(metric_type=pb.MetricType(name="metricTypes/errors", title="x"))
        request.update_mask.paths.append("title")
        await stubs.metric_types.UpdateMetricType(request)
    assert set(refusal.violations) == {"metric_type.name"}


async def test_a_column_with_values_stays_and_keeps_its_aggregate(stubs: Stubs) -> None:
    made = await create(stubs)
    await choose(stubs, "hall")
    await put(stubs, values("hall", kwh=1))
    for columns in (made.columns[1:], [column("kwh", MAX, "use"), *made.columns[1:]]):
        with refused(StatusCode.FAILED_PRECONDITION, "METRIC_TYPE_IN_USE") as refusal:
            await change(stubs, "columns", columns=columns)
        assert refusal.metadata["name"] == "metricTypes/power"
    kept = await change(stubs, "columns", columns=[made.columns[0], column("price", MIN)])
    assert [one.column for one in kept.columns] == ["kwh", "price"]
    assert await figures(stubs, "power") == {"kwh": [(NOW, 1)], "price": []}


async def remove(stubs: Stubs, id: str = "power", **fields: Any) -> None:
    await stubs.metric_types.DeleteMetricType(pb.DeleteMetricTypeRequest(name=f"metricTypes/{id}", **fields))


async def remove_choice(stubs: Stubs, id: str, *, force: bool = False) -> None:
    name = f"metricTypes/power/choices/{id}"
    await stubs.metric_types.DeleteMetricTypeChoice(pb.DeleteMetricTypeChoiceRequest(name=name, force=force))


async def test_a_choice_with_values_is_deleted_only_by_force(stubs: Stubs) -> None:
    await create(stubs)
    await choose(stubs, "hall")
    await choose(stubs, "idle")
    await put(stubs, values("hall", kwh=1))
    await remove_choice(stubs, "idle")
    with refused(StatusCode.FAILED_PRECONDITION, "METRIC_TYPE_IN_USE"):
        await remove_choice(stubs, "hall")
    assert (await totals(stubs, "power", "kwh")) == {"kwh": 1}
    await remove_choice(stubs, "hall", force=True)
    assert list(await choices(stubs)) == []
    assert (await totals(stubs, "power", "kwh")) == {"kwh": None}
    with refused(StatusCode.NOT_FOUND, "METRIC_TYPE_NOT_FOUND"):
        await remove_choice(stubs, "hall")
    with refused(StatusCode.NOT_FOUND, "METRIC_TYPE_NOT_FOUND"):
        await put(stubs, values("hall", kwh=1))
    await choose(stubs, "hall")
    assert (await totals(stubs, "power", "kwh")) == {"kwh": None}
    assert await put(stubs, values("hall", kwh=2)) == 1


async def test_a_type_with_values_is_deleted_only_by_force(stubs: Stubs) -> None:
    made = await create(stubs)
    await choose(stubs, "hall")
    await put(stubs, values("hall", kwh=1))
    with refused(StatusCode.FAILED_PRECONDITION, "METRIC_TYPE_IN_USE"):
        await remove(stubs)
    with refused(StatusCode.ABORTED, "ETAG_MISMATCH"):
        await remove(stubs, force=True, etag=made.etag + "0")
    await remove(stubs, force=True, etag=made.etag)
    with refused(StatusCode.NOT_FOUND, "METRIC_TYPE_NOT_FOUND"):
        await remove(stubs)
    await create(stubs)
    assert list(await choices(stubs)) == []
    await choose(stubs, "hall")
    assert await put(stubs, values("hall", kwh=3)) == 1
    assert await totals(stubs, "power", "kwh") == {"kwh": 3}
    await create(stubs, "heat")
    await choose(stubs, "hall", of="heat")
    await remove(stubs, "heat")


@pytest.mark.parametrize("name", ["errors", "job-types", "", "a/b"])
async def test_built_in_types_and_bad_names_cannot_be_deleted(stubs: Stubs, name: str) -> None:
    with invalid() as refusal:
        await remove(stubs, name)
    assert list(refusal.violations) == ["name"]
    with invalid() as refusal:
        request = pb.DeleteMetricTypeChoiceRequest(name=f"metricTypes/{name}/choices/x/y")
        await stubs.metric_types.DeleteMetricTypeChoice(request)
    assert list(refusal.violations) == ["name"]


async def test_custom_types_cannot_be_recalculated(stubs: Stubs) -> None:
    await create(stubs)
    request = pb.RecalculateMetricTypeRequest(name="metricTypes/power")
    request.time_range.start_time.CopyFrom(stamp(TODAY))
    request.time_range.end_time.CopyFrom(stamp(NOW))
    with invalid() as refusal:
        await stubs.metric_types.RecalculateMetricType(request)
    assert list(refusal.violations) == ["name"]
