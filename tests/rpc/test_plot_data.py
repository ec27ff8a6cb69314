"""Plots: columns and their order, windows, ranges, bounds, pages, derived columns, and everything that is refused."""

from __future__ import annotations

import random
from datetime import UTC, datetime

import pytest
from grpc import StatusCode
from streamgauge.v1 import metric_type_service_pb2 as pb
from streamgauge_server.model.clock import FixedClock

from tests.rpc.figure_messages import (
    asked,
    by_choice,
    figures,
    ingest,
    plotted,
    points,
    report,
    time_range,
    totals,
)
from tests.rpc.messages import DAY, HOUR, MINUTE, NOW, SECOND, TODAY, micros, scalar
from tests.rpc.serving import Start, Stubs, invalid, refused
from tests.rpc.test_metric_type_catalog import COLUMNS, DERIVED


def at(*parts: int) -> int:
    """Returns a moment UTC in microseconds."""
    return round(datetime(*parts, tzinfo=UTC).timestamp()) * SECOND  # type: ignore[arg-type, misc]


async def filed(stubs: Stubs, *moments: int, source: str = "landing", size: int | None = None) -> None:
    """Reports a file for each moment."""
    await report(
        stubs, *(ingest(f"{moment}-{n}", at=moment, source=source, size=size) for n, moment in enumerate(moments))
    )


async def test_nothing_named_is_every_column_that_is_not_derived(stubs: Stubs) -> None:
    for name, columns in COLUMNS.items():
        assert list(await plotted(stubs, name)) == [column for column, *_ in columns]


async def test_named_columns_come_first_as_named_then_those_of_groups_as_in_the_catalog(stubs: Stubs) -> None:
    names = ["total_count", "run_time_p95", "error_data_count", "total_count"]
    found = await plotted(stubs, "job-types", *names, groups=["errors", "overview"])
    assert list(found) == [
        "total_count",
        "run_time_p95",
        "error_data_count",
        "completed_count",
        "failed_count",
        "canceled_count",
        "error_system_count",
        "error_algorithm_count",
    ]
    assert list(await plotted(stubs, "job-types", groups=["queue_time"])) == [
        f"queue_time_{part}" for part in ("sum", "min", "max", "avg")
    ]
    assert DERIVED["job-types"] >= {"queue_time_p50"}


async def test_series_tell_their_column(stubs: Stubs) -> None:
    series = (await plotted(stubs, "ingests", "file_size_avg"))["file_size_avg"]
    (types,) = [
        one
        for one in (await stubs.metric_types.ListMetricTypes(pb.ListMetricTypesRequest())).metric_types
        if one.name.endswith("ingests")
    ]
    assert series.column == next(column for column in types.columns if column.column == "file_size_avg")


async def test_days_weeks_and_months_begin_where_the_calendar_says(stubs: Stubs) -> None:
    moments = [
        at(2024, 2, 28, 23, 59, 59),
        at(2024, 2, 29),
        at(2024, 2, 29, 23, 30),
        at(2024, 3, 1),
        at(2024, 3, 3, 23),
        at(2024, 3, 4),
        at(2024, 12, 31, 23, 59),
        at(2025, 1, 1),
        at(2025, 2, 28, 12),
        at(2025, 3, 1),
    ]
    await filed(stubs, *moments)
    name = "total_count"
    assert (await figures(stubs, "ingests", name, every="DAY"))[name] == [
        (at(2024, 2, 28), 1),
        (at(2024, 2, 29), 2),
        (at(2024, 3, 1), 1),
        (at(2024, 3, 3), 1),
        (at(2024, 3, 4), 1),
        (at(2024, 12, 31), 1),
        (at(2025, 1, 1), 1),
        (at(2025, 2, 28), 1),
        (at(2025, 3, 1), 1),
    ]
    assert (await figures(stubs, "ingests", name, every="WEEK"))[name] == [
        (at(2024, 2, 26), 5),
        (at(2024, 3, 4), 1),
        (at(2024, 12, 30), 2),
        (at(2025, 2, 24), 2),
    ]
    assert (await figures(stubs, "ingests", name, every="MONTH"))[name] == [
        (at(2024, 2, 1), 3),
        (at(2024, 3, 1), 3),
        (at(2024, 12, 1), 1),
        (at(2025, 1, 1), 1),
        (at(2025, 2, 1), 1),
        (at(2025, 3, 1), 1),
    ]
    assert (await figures(stubs, "ingests", name, every=(3, "MONTH")))[name] == [
        (at(2024, 1, 1), 6),
        (at(2024, 10, 1), 1),
        (at(2025, 1, 1), 3),
    ]
    assert (await figures(stubs, "ingests", name, every=(6, "HOUR"), start=at(2025, 1, 1)))[name] == [
        (at(2025, 1, 1), 1),
        (at(2025, 2, 28, 12), 1),
        (at(2025, 3, 1), 1),
    ]


async def test_the_range_is_half_open_on_the_beginnings_of_hours(stubs: Stubs) -> None:
    await filed(stubs, *(TODAY + hour * HOUR + 59 * MINUTE for hour in range(5)))

    async def hours(start: int | None, end: int | None) -> list[int]:
        found = await figures(stubs, "ingests", "total_count", start=start, end=end)
        return [(time - TODAY) // HOUR for time, _ in found["total_count"]]

    assert await hours(TODAY + HOUR, TODAY + 3 * HOUR) == [1, 2]
    assert await hours(TODAY + HOUR + 1, TODAY + 3 * HOUR + 1) == [2, 3]
    assert await hours(TODAY + HOUR - 1, TODAY + 3 * HOUR - 1) == [1, 2]
    assert await hours(None, TODAY + HOUR) == [0]
    assert await hours(TODAY + 4 * HOUR, None) == [4]
    assert await hours(TODAY + 10, TODAY + 20) == []


async def test_longer_windows_are_cut_to_the_hours_of_the_range(stubs: Stubs) -> None:
    moments = [TODAY - 4 * DAY + hour * HOUR for hour in range(4 * 24)]
    await filed(stubs, *moments)
    cases = [
        (TODAY - 3 * DAY, TODAY - DAY),
        (TODAY - 3 * DAY - 5 * HOUR, TODAY - DAY + 7 * HOUR),
        (TODAY - 2 * DAY + HOUR, TODAY - 2 * DAY + 3 * HOUR),
        (TODAY - 2 * DAY + HOUR, TODAY - DAY),
        (TODAY - 2 * DAY, TODAY - 2 * DAY + HOUR),
    ]
    for unit in ("DAY", "WEEK", "MONTH"):
        for start, end in cases:
            series = (await plotted(stubs, "ingests", "total_count", every=unit, start=start, end=end))["total_count"]
            inside = sum(start <= moment < end for moment in moments)
            assert sum(value for _, value in points(series)) == series.total.int64_value == inside  # type: ignore[misc]
    cut = await figures(stubs, "ingests", "total_count", every="DAY", start=cases[1][0], end=cases[1][1])
    assert cut["total_count"] == [
        (TODAY - 4 * DAY, 5),
        (TODAY - 3 * DAY, 24),
        (TODAY - 2 * DAY, 24),
        (TODAY - DAY, 7),
    ]


async def test_what_ends_now_is_in_the_answer_and_what_the_answer_holds_is_dated(
    stubs: Stubs, clock: FixedClock
) -> None:
    await report(stubs, ingest("a", at=NOW), ingest("b", at=NOW - 5 * DAY))
    answer = await stubs.metric_types.GetPlotData(asked("ingests", "total_count"))
    assert micros(answer.computed_at) == NOW
    assert points(answer.series[0]) == [(NOW - 5 * DAY, 1), (NOW, 1)]
    clock.micros += HOUR
    await report(stubs, ingest("c", at=NOW + MINUTE))
    later = await stubs.metric_types.GetPlotData(asked("ingests", "total_count"))
    assert points(later.series[0]) == [(NOW - 5 * DAY, 1), (NOW, 2)]
    assert micros(later.computed_at) == NOW + HOUR


async def test_bounds_are_those_of_the_values_and_zero_is_one(stubs: Stubs) -> None:
    sizes = [(0, 0), (0, 8), (1, 220), (1, 1100), (2, 5), (3, None)]
    await report(stubs, *(ingest(str(n), at=TODAY + hour * HOUR, size=size) for n, (hour, size) in enumerate(sizes)))
    found = await plotted(stubs, "ingests", "file_size_sum", "file_size_min", "errored_count")
    total, least, errored = found["file_size_sum"], found["file_size_min"], found["errored_count"]
    assert points(total) == [(TODAY, 8), (TODAY + HOUR, 1320), (TODAY + 2 * HOUR, 5)]
    assert (scalar(total.min_y), scalar(total.max_y), scalar(total.total)) == (5, 1320, 1333)
    assert (micros(total.min_x), micros(total.max_x)) == (TODAY, TODAY + 2 * HOUR)
    assert (scalar(least.min_y), scalar(least.max_y), scalar(least.total)) == (0, 220, 0)
    assert (scalar(errored.min_y), scalar(errored.max_y), scalar(errored.total)) == (0, 0, 0)
    assert micros(errored.max_x) == TODAY + 3 * HOUR


async def test_values_are_sorted_by_time_then_choice(stubs: Stubs) -> None:
    for source in ("one", "two", "three"):
        await filed(stubs, TODAY, TODAY + 5 * HOUR, TODAY + HOUR, source=source)
    get = pb.GetMetricTypeRequest(name="metricTypes/ingests")
    numbers = [choice.number for choice in (await stubs.metric_types.GetMetricType(get)).choices]
    series = (await plotted(stubs, "ingests", "total_count", choices=[*reversed(numbers)]))["total_count"]
    assert by_choice(series) == [(TODAY + hour * HOUR, number, 1) for hour in (0, 1, 5) for number in numbers]
    days = (await plotted(stubs, "ingests", "total_count", choices=numbers[:2], every="DAY"))["total_count"]
    assert by_choice(days) == [(TODAY, number, 3) for number in numbers[:2]]


async def test_columns_come_in_pages(stubs: Stubs) -> None:
    await filed(stubs, NOW, size=4)
    request = asked("ingests", groups=["file_size", "overview"], end=NOW + HOUR, every="DAY", page_size=4)
    found: list[str] = []
    while True:
        page = await stubs.metric_types.GetPlotData(request)
        assert page.total_size == 9
        assert all(len(series.values) == 1 for series in page.series)
        found += [series.column.column for series in page.series]
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    assert found == [column for column, _, group, _ in COLUMNS["ingests"] if group in ("file_size", "overview")]
    for other in (
        asked("ingests", groups=["file_size"], end=NOW + HOUR, every="DAY"),
        asked("ingests", groups=["file_size", "overview"], end=NOW + HOUR, every="WEEK"),
        asked("ingests", groups=["file_size", "overview"], end=NOW + HOUR, every="DAY", choices=[1]),
        asked("ingests", groups=["file_size", "overview"], end=NOW, every="DAY"),
        asked("ingests", "file_size", groups=["overview"], end=NOW + HOUR, every="DAY"),
    ):
        other.page_token = request.page_token
        if "file_size" in other.columns:
            other.columns[:] = ["file_size_sum"]
        with refused(StatusCode.INVALID_ARGUMENT, "PAGE_TOKEN_MISMATCH"):
            await stubs.metric_types.GetPlotData(other)


async def test_percentiles_are_within_one_per_cent_over_any_windows(stubs: Stubs) -> None:
    chance = random.Random(7)
    lengths = [round(chance.lognormvariate(5, 1.5) * SECOND) for _ in range(2_000)]
    await report(
        stubs,
        *(
            ingest(str(n), at=TODAY + n % 12 * HOUR, transfer=(TODAY - length, TODAY), began=None)
            for n, length in enumerate(lengths)
        ),
    )

    def exact(values: list[int], share: float) -> float:
        return sorted(values)[int(share * (len(values) - 1))] / SECOND

    def close(told: object, wanted: float) -> bool:
        # Besides, fractions of a second are cut off.
        return isinstance(told, int) and wanted * 0.99 - 1 <= told <= wanted * 1.01

    for every in ("HOUR", "DAY", "MONTH"):
        found = await plotted(stubs, "ingests", "transfer_time_p50", "transfer_time_p95", every=every)
        for column, share in (("transfer_time_p50", 0.5), ("transfer_time_p95", 0.95)):
            series = found[column]
            assert len(series.values) == (12 if every == "HOUR" else 1)
            assert close(scalar(series.total), exact(lengths, share))
            if every == "HOUR":
                for hour, one in enumerate(series.values):
                    assert close(scalar(one.value), exact(lengths[hour::12], share))


async def test_rates_are_doubles_of_the_counts_together(stubs: Stubs) -> None:
    statuses = ["ERRORED", "INGESTED", "INGESTED", "DEFERRED"]
    await report(stubs, *(ingest(str(n), status) for n, status in enumerate(statuses)))
    await report(stubs, ingest("later", "ERRORED", at=NOW - HOUR))
    series = (await plotted(stubs, "ingests", "errored_rate"))["errored_rate"]
    assert points(series) == [(NOW - HOUR, 1.0), (NOW, 0.25)]
    assert all(isinstance(value, float) for _, value in points(series))
    assert scalar(series.total) == 0.4
    assert (await totals(stubs, "ingests", "errored_rate", every="DAY")) == {"errored_rate": 0.4}


async def test_everything_that_is_wrong_is_told_at_once(stubs: Stubs) -> None:
    request = asked(
        "job-types",
        "total_count",
        "nope",
        "",
        groups=["errors", "bad"],
        choices=[*range(1_001)],
        start=NOW,
        end=NOW,
        every=(0, "MINUTE"),
        page_size=-1,
    )
    request.window.count = -3
    with invalid() as refusal:
        await stubs.metric_types.GetPlotData(request)
    assert set(refusal.violations) == {
        "columns[1]",
        "columns[2]",
        "groups[1]",
        "choices",
        "time_range.start_time",
        "window.unit",
        "window.count",
        "page_size",
    }
    assert refusal.reasons["time_range.start_time"] == "INVALID_TIME_RANGE"


@pytest.mark.parametrize(("first", "end"), [(NOW, NOW), (NOW, NOW - 1), (NOW + DAY, None)])
async def test_empty_and_reversed_ranges_are_refused(stubs: Stubs, first: int, end: int | None) -> None:
    with invalid("INVALID_TIME_RANGE"):
        await stubs.metric_types.GetPlotData(asked("errors", start=first, end=end))


async def test_a_bad_moment_or_unit_is_told(stubs: Stubs) -> None:
    request = asked("errors", start=NOW - DAY)
    request.time_range.end_time.nanos = -1
    request.window.count = 1
    with invalid() as refusal:
        await stubs.metric_types.GetPlotData(request)
    assert set(refusal.violations) == {"time_range.end_time", "window.unit"}


async def test_too_many_windows_with_data_are_refused_however_long_the_range(start: Start) -> None:
    stubs = await start(limits={"max_windows": 10})
    await filed(stubs, *(TODAY - hour * HOUR for hour in range(11)))
    with invalid("TOO_MANY_WINDOWS") as refusal:
        await stubs.metric_types.GetPlotData(asked("ingests", "total_count"))
    assert (refusal.metadata["limit"], refusal.metadata["actual"]) == ("10", "11")
    assert len((await figures(stubs, "ingests", "total_count", start=TODAY - 9 * HOUR))["total_count"]) == 10
    assert len((await figures(stubs, "ingests", "total_count", every="DAY"))["total_count"]) == 2


async def test_an_unknown_type_is_not_found_and_a_bad_name_is_told(stubs: Stubs) -> None:
    with refused(StatusCode.NOT_FOUND, "METRIC_TYPE_NOT_FOUND"):
        await stubs.metric_types.GetPlotData(asked("nope", "total_count"))
    with invalid("INVALID_TIME_RANGE"):
        await stubs.metric_types.GetPlotData(asked("nope", start=NOW, end=NOW))
    with invalid() as refusal:
        await stubs.metric_types.GetPlotData(pb.GetPlotDataRequest(name="job-types"))
    assert list(refusal.violations) == ["name"]


async def recalculated(stubs: Stubs, start: int, end: int, **fields: bool) -> tuple[int, int]:
    request = pb.RecalculateMetricTypeRequest(name="metricTypes/ingests", time_range=time_range(start, end), **fields)
    answer = await stubs.metric_types.RecalculateMetricType(request)
    return answer.checked_count, answer.changed_count


async def test_figures_are_what_the_records_say(stubs: Stubs) -> None:
    await filed(stubs, TODAY, TODAY + HOUR, TODAY - DAY, size=3)
    await filed(stubs, TODAY, source="other")
    await report(stubs, ingest(f"{TODAY}-0", at=TODAY + 2 * HOUR, size=9))
    assert await recalculated(stubs, TODAY - 2 * DAY, NOW) == (4, 0)
    assert await recalculated(stubs, TODAY + 10, TODAY + 20) == (1, 0)
    before = await plotted(stubs, "ingests")
    assert await recalculated(stubs, TODAY - 2 * DAY, NOW, validate_only=True) == (4, 0)
    assert await plotted(stubs, "ingests") == before


async def test_what_cannot_be_recalculated_is_refused(stubs: Stubs) -> None:
    bad = pb.RecalculateMetricTypeRequest(name="metricTypes/ingests")
    with invalid() as refusal:
        await stubs.metric_types.RecalculateMetricType(bad)
    assert set(refusal.violations) == {"time_range.start_time", "time_range.end_time"}
    bad.time_range.CopyFrom(time_range(TODAY - 367 * DAY, TODAY))
    with invalid() as refusal:
        await stubs.metric_types.RecalculateMetricType(bad)
    assert set(refusal.violations) == {"time_range"}
    bad.time_range.CopyFrom(time_range(TODAY, TODAY - 1))
    with invalid("INVALID_TIME_RANGE"):
        await stubs.metric_types.RecalculateMetricType(bad)
    bad.time_range.CopyFrom(time_range(TODAY - DAY, TODAY))
    bad.name = "metricTypes/nope"
    with refused(StatusCode.NOT_FOUND, "METRIC_TYPE_NOT_FOUND"):
        await stubs.metric_types.RecalculateMetricType(bad)
