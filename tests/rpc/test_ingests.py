"""Files that sources ingest: reports, and the figures that they make."""

from __future__ import annotations

from grpc import StatusCode
from streamgauge.v1 import metric_type_service_pb2, source_service_pb2

from tests.rpc.figure_messages import by_choice, figures, ingest, plotted, report, totals
from tests.rpc.messages import DAY, HOUR, NOW, SECOND, TODAY
from tests.rpc.serving import Start, Stubs, invalid, refused

COUNTS = ("deferred_count", "ingested_count", "errored_count", "duplicate_count", "total_count")


async def source_numbers(stubs: Stubs, *sources: str) -> list[int]:
    return [
        (await stubs.sources.GetSource(source_service_pb2.GetSourceRequest(name=f"sources/{name}"))).source.number
        for name in sources
    ]


async def test_files_count_by_their_status_in_the_hour_of_their_end(stubs: Stubs) -> None:
    statuses = ["INGESTED", "INGESTED", "DEFERRED", "ERRORED", "DUPLICATE", "DUPLICATE", "DUPLICATE"]
    assert await report(stubs, *(ingest(str(n), status) for n, status in enumerate(statuses))) == (7, 0)
    assert await report(stubs, ingest("early", at=NOW - 1)) == (1, 0)
    found = await figures(stubs, "ingests", *COUNTS)
    earlier = NOW - HOUR
    assert found == {
        "deferred_count": [(earlier, 0), (NOW, 1)],
        "ingested_count": [(earlier, 1), (NOW, 2)],
        "errored_count": [(earlier, 0), (NOW, 1)],
        "duplicate_count": [(earlier, 0), (NOW, 3)],
        "total_count": [(earlier, 1), (NOW, 7)],
    }


async def test_sizes_of_all_files_are_measured_and_zero_is_a_size(stubs: Stubs) -> None:
    sizes = [("INGESTED", 200), ("ERRORED", 100), ("DEFERRED", 101), ("DUPLICATE", 0), ("INGESTED", None)]
    await report(stubs, *(ingest(str(n), status, size=size) for n, (status, size) in enumerate(sizes)))
    assert await totals(stubs, "ingests", groups=["file_size"]) == {
        "file_size_sum": 401,
        "file_size_min": 0,
        "file_size_max": 200,
        "file_size_avg": 100,
    }


async def test_transfers_of_all_files_are_measured_and_a_negative_length_is_zero(stubs: Stubs) -> None:
    await report(
        stubs,
        ingest("a", transfer=(NOW - 10 * SECOND, NOW)),
        ingest("b", "ERRORED", transfer=(NOW - 5 * SECOND, NOW - 6 * SECOND)),
        ingest("c", "DUPLICATE"),
    )
    assert await totals(stubs, "ingests", groups=["transfer_time"]) == {
        "transfer_time_sum": 10,
        "transfer_time_min": 0,
        "transfer_time_max": 10,
        "transfer_time_avg": 5,
    }


async def test_ingest_time_is_that_of_ingested_files(stubs: Stubs) -> None:
    await report(
        stubs,
        ingest("a", began=NOW - 1_900_000),
        ingest("b", began=NOW - 1_800_000),
        ingest("c", "ERRORED", began=NOW - HOUR),
        ingest("d"),
    )
    assert await totals(stubs, "ingests", groups=["ingest_time"]) == {
        "ingest_time_sum": 3,
        "ingest_time_min": 1,
        "ingest_time_max": 1,
        "ingest_time_avg": 1,
    }


async def test_without_measurements_there_is_no_value(stubs: Stubs) -> None:
    await report(stubs, ingest("a"))
    for column, series in (await plotted(stubs, "ingests")).items():
        if column.endswith("_count"):
            assert len(series.values) == 1
        else:
            assert not series.values, column
            assert not any(series.HasField(field) for field in ("min_x", "max_x", "min_y", "max_y", "total"))


async def test_a_report_that_comes_twice_changes_nothing(stubs: Stubs) -> None:
    files = [ingest("a", size=3, began=NOW - SECOND), ingest("b", "ERRORED", transfer=(NOW - SECOND, NOW))]
    assert await report(stubs, *files) == (2, 0)
    before = await plotted(stubs, "ingests")
    assert await report(stubs, *files) == (0, 0)
    assert await plotted(stubs, "ingests") == before


async def test_of_one_file_told_twice_in_a_report_the_last_stands(stubs: Stubs) -> None:
    assert await report(stubs, ingest("a", "ERRORED"), ingest("a", "INGESTED")) == (1, 0)
    assert await totals(stubs, "ingests", *COUNTS) == dict(zip(COUNTS, (0, 1, 0, 0, 1), strict=True))


async def test_a_correction_moves_a_file_to_another_hour_and_status(stubs: Stubs) -> None:
    yesterday = TODAY - HOUR
    await report(stubs, ingest("a", "ERRORED", at=yesterday, size=10), ingest("b", at=yesterday, size=4))
    assert await report(stubs, ingest("a", "INGESTED", at=NOW, size=12)) == (0, 1)
    found = await figures(stubs, "ingests", *COUNTS[1:3], "file_size_max", "file_size_min")
    assert found == {
        "ingested_count": [(yesterday, 1), (NOW, 1)],
        "errored_count": [(yesterday, 0), (NOW, 0)],
        "file_size_max": [(yesterday, 4), (NOW, 12)],
        "file_size_min": [(yesterday, 4), (NOW, 12)],
    }
    days = await figures(stubs, "ingests", "total_count", every="DAY")
    assert days == {"total_count": [(TODAY - DAY, 1), (TODAY, 1)]}


async def test_an_hour_that_a_correction_leaves_empty_is_gone(stubs: Stubs) -> None:
    await report(stubs, ingest("a", at=NOW - 5 * HOUR))
    await report(stubs, ingest("a", at=NOW))
    assert await figures(stubs, "ingests", "total_count") == {"total_count": [(NOW, 1)]}


async def test_each_source_has_figures_of_its_own(stubs: Stubs) -> None:
    await report(stubs, ingest("a", size=1), ingest("a", source="other", size=5), ingest("b", source="other", size=6))
    landing, other = await source_numbers(stubs, "landing", "other")
    series = await plotted(stubs, "ingests", "total_count", "file_size_avg", choices=[other, landing, other, 0, -1])
    assert by_choice(series["total_count"]) == sorted([(NOW, landing, 1), (NOW, other, 2)])
    assert by_choice(series["file_size_avg"]) == sorted([(NOW, landing, 1), (NOW, other, 5)])
    assert series["file_size_avg"].total.int64_value == 4


async def test_the_choices_are_the_sources_that_have_any(stubs: Stubs) -> None:
    await stubs.sources.CreateSource(source_service_pb2.CreateSourceRequest(source_id="idle"))
    await report(stubs, ingest("a"))
    await report(stubs, ingest("a", source="other"))
    get = metric_type_service_pb2.GetMetricTypeRequest
    answer = await stubs.metric_types.GetMetricType(get(name="metricTypes/ingests"))
    assert [choice.name for choice in answer.choices] == [
        "metricTypes/ingests/choices/landing",
        "metricTypes/ingests/choices/other",
    ]
    assert [choice.number for choice in answer.choices] == await source_numbers(stubs, "landing", "other")
    one = await stubs.metric_types.GetMetricType(get(name="metricTypes/ingests", choice_filters=["name=other"]))
    assert [choice.title for choice in one.choices] == ["other"]
    assert one.total_choices == 1


async def test_a_deleted_source_leaves_the_figures(stubs: Stubs) -> None:
    await report(stubs, ingest("a"), ingest("a", source="other"))
    await stubs.sources.DeleteSource(source_service_pb2.DeleteSourceRequest(name="sources/other"))
    assert await totals(stubs, "ingests", "total_count") == {"total_count": 1}
    assert await report(stubs, ingest("a", source="other")) == (1, 0)


async def test_unknown_sources_are_refused_where_writes_do_not_register(start: Start) -> None:
    stubs = await start(subject_registration="closed")
    with refused(StatusCode.NOT_FOUND, "SOURCE_NOT_FOUND") as refusal:
        await report(stubs, ingest("a"), ingest("b", source="other"))
    assert list(refusal.violations) == ["ingests[0].source", "ingests[1].source"]
    await stubs.sources.CreateSource(source_service_pb2.CreateSourceRequest(source_id="landing"))
    assert await report(stubs, ingest("a")) == (1, 0)


async def test_everything_that_is_wrong_is_told_and_nothing_is_stored(stubs: Stubs) -> None:
    wrong = source_service_pb2.Ingest(source="jobs/a", file_size=-1)
    early, late = ingest("a", at=-1), ingest("b", transfer=(NOW, NOW + DAY), began=NOW + DAY)
    with invalid() as refusal:
        await report(stubs, ingest("fine"), wrong, early, late, ingest("x" * 256), ingest("a\nb", at=None))
    assert set(refusal.violations) == {
        "ingests[1].source",
        "ingests[1].ingest_id",
        "ingests[1].status",
        "ingests[1].end_time",
        "ingests[1].file_size",
        "ingests[2].end_time",
        "ingests[3].transfer_end_time",
        "ingests[3].ingest_start_time",
        "ingests[4].ingest_id",
        "ingests[5].ingest_id",
        "ingests[5].end_time",
    }
    assert await figures(stubs, "ingests", "total_count") == {"total_count": []}


async def test_a_report_has_at_least_one_file_and_at_most_5000(stubs: Stubs) -> None:
    for count in (0, 5_001):
        with invalid() as refusal:
            await report(stubs, *[ingest("a")] * count)
        assert list(refusal.violations) == ["ingests"]
