"""The catalog: the metric types that ship with the server, exactly, and its pages."""

from __future__ import annotations

from google.protobuf.json_format import MessageToDict
from grpc import StatusCode
from streamgauge.v1 import metric_type_service_pb2 as pb

from tests.rpc.serving import Stubs, invalid, refused

TIMES = ("queue_time", "pre_time", "job_time", "post_time", "run_time", "stage_time")
PARTS = ("sum", "min", "max", "avg")


def of_measures(units: str, *measures: str) -> list[tuple[str, str, str, str]]:
    return [(f"{measure}_{part}", units, measure, part) for measure in measures for part in PARTS]


def counts(group: str, *names: str) -> list[tuple[str, str, str, str]]:
    return [(f"{name}_count", "count", group, "sum") for name in names]


COLUMNS = {
    "job-types": [
        *counts("overview", "completed", "failed", "canceled", "total"),
        *counts("errors", "error_system", "error_data", "error_algorithm"),
        *of_measures("seconds", *TIMES),
    ],
    "ingests": [
        *counts("overview", "deferred", "ingested", "errored", "duplicate", "total"),
        *of_measures("bytes", "file_size"),
        *of_measures("seconds", "transfer_time", "ingest_time"),
    ],
    "errors": counts("overview", "total"),
}
DERIVED = {
    "job-types": {
        *(f"{time}_{part}" for time in TIMES for part in ("p50", "p95")),
        *(f"{what}_rate" for what in ("failed", "canceled", "error_system", "error_data", "error_algorithm")),
    },
    "ingests": {"transfer_time_p50", "transfer_time_p95", "ingest_time_p50", "ingest_time_p95", "errored_rate"},
    "errors": set(),
}
GROUPS = {
    "job-types": ["overview", "errors", *TIMES],
    "ingests": ["overview", "file_size", "transfer_time", "ingest_time"],
    "errors": ["overview"],
}
FILTERS = {"job-types": ["name", "version"], "ingests": ["name"], "errors": ["name", "category"]}


async def listed(stubs: Stubs, **arguments: int | str) -> pb.ListMetricTypesResponse:
    answer: pb.ListMetricTypesResponse = await stubs.metric_types.ListMetricTypes(
        pb.ListMetricTypesRequest(**arguments)  # type: ignore[arg-type]
    )
    return answer


async def test_the_built_in_types_are_exactly_these(stubs: Stubs) -> None:
    types = (await listed(stubs)).metric_types
    assert [one.name for one in types] == ["metricTypes/job-types", "metricTypes/ingests", "metricTypes/errors"]
    assert [one.title for one in types] == ["Job Types", "Ingests", "Errors"]
    for one in types:
        name = one.name.removeprefix("metricTypes/")
        assert [
            (
                column.column,
                column.units,
                column.group,
                pb.ColumnAggregate.Name(column.aggregate).removeprefix("COLUMN_AGGREGATE_").lower(),
            )
            for column in one.columns
            if not column.derived
        ] == COLUMNS[name]
        assert {column.column for column in one.columns if column.derived} == DERIVED[name]
        assert [group.group for group in one.groups] == GROUPS[name]
        assert [(filter_.param, filter_.type) for filter_ in one.filters] == [(p, "string") for p in FILTERS[name]]
        assert one.built_in
        assert one.description
        assert all(column.title and column.description for column in one.columns)
        assert all(group.title and group.description for group in one.groups)
        assert not one.etag
        assert not one.HasField("create_time")
    assert [len(COLUMNS[name]) for name in ("job-types", "ingests", "errors")] == [31, 17, 1]


async def test_titles_of_columns_say_group_and_part(stubs: Stubs) -> None:
    (job_types, ingests, _) = (await listed(stubs)).metric_types
    titles = {column.column: column.title for column in [*ingests.columns, *job_types.columns]}
    assert titles["stage_time_max"] == "Stage Time (Max)"
    assert titles["pre_time_avg"] == "Pre-task Time (Avg)"
    assert titles["job_time_sum"] == "Job Task Time (Sum)"
    assert titles["file_size_min"] == "File Size (Min)"
    assert titles["error_algorithm_count"] == "Algorithm Error Count"


async def test_custom_types_follow_the_built_in_ones_by_name(stubs: Stubs) -> None:
    for id_ in ("water", "heat", "errors2"):
        await stubs.metric_types.CreateMetricType(
            pb.CreateMetricTypeRequest(
                metric_type_id=id_,
                metric_type=pb.MetricType(columns=[pb.MetricTypeColumn(column="x", aggregate=pb.COLUMN_AGGREGATE_SUM)]),
            )
        )
    names: list[str] = []
    for size in (1, 2, 4, 100):
        token, names = "", []
        while True:
            page = await listed(stubs, page_size=size, page_token=token)
            assert page.total_size == 6
            assert len(page.metric_types) <= size
            names += [one.name.removeprefix("metricTypes/") for one in page.metric_types]
            token = page.next_page_token
            if not token:
                break
        assert names == ["job-types", "ingests", "errors", "errors2", "heat", "water"]


async def test_the_choices_of_errors_are_the_built_in_ones(stubs: Stubs) -> None:
    get = pb.GetMetricTypeRequest
    answer = await stubs.metric_types.GetMetricType(get(name="metricTypes/errors"))
    names = [choice.name.removeprefix("metricTypes/errors/choices/") for choice in answer.choices]
    assert names[:3] == ["unknown", "database", "database-operation"]
    assert {"timeout", "node-lost", "missing-required-output", "unexpected-multiple-outputs"} < set(names)
    assert answer.total_choices == len(names) == 27
    numbers = [choice.number for choice in answer.choices]
    assert numbers == sorted(set(numbers))
    assert min(numbers) > 0
    assert MessageToDict(answer.choices[0].fields) == {
        "name": "unknown",
        "title": answer.choices[0].title,
        "description": answer.choices[0].fields["description"],
        "job_type_name": None,
        "category": "SYSTEM",
        "is_builtin": True,
        "should_be_retried": True,
    }
    found = await stubs.metric_types.GetMetricType(
        get(name="metricTypes/errors", choice_filters=["category=ALGORITHM"])
    )
    assert found.total_choices == 5
    assert {choice.fields["category"] for choice in found.choices} == {"ALGORITHM"}
    both = get(name="metricTypes/errors", choice_filters=["category=ALGORITHM", "name=timeout"])
    assert [choice.number for choice in (await stubs.metric_types.GetMetricType(both)).choices] == [
        choice.number for choice in answer.choices if choice.fields["name"] == "timeout"
    ]
    neither = get(name="metricTypes/errors", choice_filters=["category=ALGORITHM", "name=unknown"])
    assert (await stubs.metric_types.GetMetricType(neither)).total_choices == 0


async def test_choices_come_in_pages_bound_to_the_filters(stubs: Stubs) -> None:
    request = pb.GetMetricTypeRequest(name="metricTypes/errors", choice_filters=["category=SYSTEM"], page_size=8)
    numbers: list[int] = []
    while True:
        page = await stubs.metric_types.GetMetricType(request)
        assert page.total_choices == 22
        numbers += [choice.number for choice in page.choices]
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    assert numbers == sorted(set(numbers))
    assert len(numbers) == 22
    del request.choice_filters[:]
    with refused(StatusCode.INVALID_ARGUMENT, "PAGE_TOKEN_MISMATCH"):
        await stubs.metric_types.GetMetricType(request)


async def test_bad_filters_are_told_one_by_one(stubs: Stubs) -> None:
    filters = ["name", "colour=red", "name=a", "name=b", "version=1"]
    with invalid() as refusal:
        await stubs.metric_types.GetMetricType(
            pb.GetMetricTypeRequest(name="metricTypes/errors", choice_filters=filters)
        )
    assert sorted(refusal.violations) == [f"choice_filters[{position}]" for position in (0, 1, 3, 4)]
    assert "name, category" in refusal.violations["choice_filters[1]"]
    with invalid() as refusal:
        await stubs.metric_types.GetMetricType(
            pb.GetMetricTypeRequest(name="errors", choice_filters=["name=a"] * 21, page_size=-1)
        )
    assert set(refusal.violations) == {"name", "choice_filters", "page_size"}


async def test_an_unknown_type_is_not_found(stubs: Stubs) -> None:
    with refused(StatusCode.NOT_FOUND, "METRIC_TYPE_NOT_FOUND") as refusal:
        await stubs.metric_types.GetMetricType(pb.GetMetricTypeRequest(name="metricTypes/nope"))
    assert refusal.metadata["name"] == "metricTypes/nope"
