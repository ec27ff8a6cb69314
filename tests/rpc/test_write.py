"""`WriteMetrics`: what is stored, what is refused, and that nothing is stored that was refused."""

from __future__ import annotations

import asyncio

import pytest
from grpc import StatusCode
from streamgauge.v1 import common_pb2, errors_pb2, metrics_service_pb2, source_service_pb2
from streamgauge_server.model.clock import FixedClock
from streamgauge_server.model.limits import Limits

from tests.rpc.messages import (
    DAY,
    HOUR,
    NOW,
    SECOND,
    Scalar,
    ask,
    latest_of,
    query,
    row,
    series_of,
    value,
    values_of,
    write,
)
from tests.rpc.serving import Start, Stubs, invalid, refused


async def latest(stubs: Stubs, source: str = "sources/a", metrics: tuple[str, ...] = ()) -> dict[str, Scalar | None]:
    request = metrics_service_pb2.GetLatestMetricsRequest(subjects=[source], metrics=metrics)
    (answer,) = (await stubs.metrics.GetLatestMetrics(request)).subjects
    return latest_of(answer)


async def source_names(stubs: Stubs) -> list[str]:
    answer = await stubs.sources.ListSources(source_service_pb2.ListSourcesRequest())
    return [source.name for source in answer.sources]


async def metric_names(stubs: Stubs) -> set[str]:
    """The metrics of sources that are not built in."""
    request = metrics_service_pb2.ListMetricDescriptorsRequest(page_size=1000)
    answer = await stubs.metrics.ListMetricDescriptors(request)
    return {entry.metric for entry in answer.metric_descriptors if not entry.built_in}


async def assert_empty(stubs: Stubs) -> None:
    """Nothing was stored: no source, no metric."""
    assert await source_names(stubs) == []
    assert await metric_names(stubs) == set()


async def test_every_type_of_value_comes_back_as_it_was_written(stubs: Stubs) -> None:
    values: dict[str, Scalar] = {
        "largest": 2**63 - 1,
        "smallest": -(2**63),
        "double": 0.1,
        "tiny": 5e-324,
        "huge": -1.7976931348623157e308,
        "zero": 0,
        "yes": True,
        "no": False,
        "text": "grüße 👋",
        "empty": "",
    }
    answer = await stubs.metrics.WriteMetrics(write(row(values)))
    assert (answer.accepted_count, answer.rejected_count) == (1, 0)
    read = await latest(stubs)
    assert read == values
    assert {name: type(item) for name, item in read.items()} == {name: type(item) for name, item in values.items()}


async def test_the_first_write_registers_the_source_and_its_metrics(stubs: Stubs) -> None:
    await stubs.metrics.WriteMetrics(write(row({"rows": 5, "note": "x", "ready": True, "load": 0.5})))
    assert await source_names(stubs) == ["sources/a"]
    found = {}
    for metric in ("rows", "note", "ready", "load"):
        request = metrics_service_pb2.GetMetricDescriptorRequest(name=f"metricDescriptors/sources/{metric}")
        descriptor = (await stubs.metrics.GetMetricDescriptor(request)).metric_descriptor
        found[metric] = (
            common_pb2.MetricKind.Name(descriptor.kind).removeprefix("METRIC_KIND_"),
            common_pb2.ValueType.Name(descriptor.value_type).removeprefix("VALUE_TYPE_"),
            common_pb2.PartCombination.Name(descriptor.part_combination).removeprefix("PART_COMBINATION_"),
        )
    assert found == {
        "rows": ("GAUGE", "INT64", "SUM"),
        "note": ("TEXT", "STRING", "LAST"),
        "ready": ("GAUGE", "BOOL", "MAX"),
        "load": ("GAUGE", "DOUBLE", "SUM"),
    }


async def test_a_closed_server_refuses_unknown_sources_item_by_item(start: Start) -> None:
    stubs = await start(subject_registration="closed")
    await stubs.sources.CreateSource(source_service_pb2.CreateSourceRequest(source_id="known"))
    answer = await stubs.metrics.WriteMetrics(
        write(row({"x": 1}, subject="sources/known"), row({"y": 1}, subject="sources/unknown"))
    )
    assert (answer.accepted_count, answer.rejected_count) == (1, 1)
    (error,) = answer.errors
    assert (error.index, error.subject) == (1, "sources/unknown")
    assert error.reason == errors_pb2.ERROR_REASON_SOURCE_NOT_FOUND
    assert await source_names(stubs) == ["sources/known"]
    assert await metric_names(stubs) == {"x"}


async def test_subjects_of_other_kinds_are_not_registered_by_a_write(stubs: Stubs) -> None:
    answer = await stubs.metrics.WriteMetrics(
        write(
            row({"x": 1}, subject="jobs/j"),
            row({"x": 1}, subject="assets/j"),
            row({"x": 1}, subject="metricTypes/t/choices/c"),
        )
    )
    assert [error.reason for error in answer.errors] == [
        errors_pb2.ERROR_REASON_JOB_NOT_FOUND,
        errors_pb2.ERROR_REASON_ASSET_NOT_FOUND,
        errors_pb2.ERROR_REASON_METRIC_TYPE_NOT_FOUND,
    ]
    await assert_empty(stubs)


async def test_an_observation_without_a_time_has_the_servers(stubs: Stubs) -> None:
    await stubs.metrics.WriteMetrics(write(row({"x": 1}, at=None)))
    answer = await stubs.sources.GetSourceMetrics(ask("LATEST"))
    (entry,) = (entry for entry in answer.latest if entry.metric == "x")
    assert entry.time.ToMicroseconds() == NOW


async def test_digits_below_a_microsecond_are_cut(stubs: Stubs) -> None:
    observation = row({"x": 1})
    observation.time.nanos = 1_999
    observation.start_time.CopyFrom(observation.time)
    observation.start_time.nanos = 1_001
    await stubs.metrics.WriteMetrics(write(observation))
    answer = await stubs.sources.GetSourceMetrics(ask("LATEST"))
    (entry,) = (entry for entry in answer.latest if entry.metric == "x")
    assert (entry.time.nanos, entry.start_time.nanos) == (1_000, 1_000)


async def test_the_later_of_two_writes_to_a_moment_stands_and_other_metrics_stay(stubs: Stubs) -> None:
    await stubs.metrics.WriteMetrics(write(row({"a": 1, "b": 1, "c": 1})))
    await stubs.metrics.WriteMetrics(write(row({"b": 2, "c": 2, "d": 2})))
    assert await latest(stubs) == {"a": 1, "b": 2, "c": 2, "d": 2}
    answer = await stubs.metrics.QueryMetrics(query(start=NOW, end=NOW + 1, aggregates=["LAST", "COUNT"]))
    found = {(c.metric, c.aggregate): values_of(c)[0] for c in answer.series[0].columns}
    assert {metric: found[metric, common_pb2.AGGREGATE_LAST] for metric in "abcd"} == {"a": 1, "b": 2, "c": 2, "d": 2}
    assert {metric: found[metric, common_pb2.AGGREGATE_COUNT] for metric in "abcd"} == dict.fromkeys("abcd", 1)


async def test_within_a_batch_the_later_row_of_a_moment_stands(stubs: Stubs) -> None:
    answer = await stubs.metrics.WriteMetrics(write(row({"a": 1, "b": 1}), row({"a": 2}), row({"a": 3}, at=NOW - 1)))
    assert answer.accepted_count == 3
    assert await latest(stubs) == {"a": 2, "b": 1}


async def test_a_late_sample_does_not_become_the_newest(stubs: Stubs) -> None:
    await stubs.metrics.WriteMetrics(write(row({"x": 2})))
    await stubs.metrics.WriteMetrics(write(row({"x": 1}, at=NOW - HOUR)))
    assert await latest(stubs) == {"x": 2}
    answer = await stubs.sources.GetSourceMetrics(ask(start=NOW - HOUR, end=NOW + 1, metrics=["x"]))
    assert series_of(answer)["x"] == [1, 2]


async def test_numbers_become_the_metrics_type_where_nothing_is_lost(stubs: Stubs) -> None:
    await stubs.metrics.WriteMetrics(write(row({"int": 1, "double": 1.5, "bool": True})))
    answer = await stubs.metrics.WriteMetrics(
        write(
            row({"int": 2.0, "double": 2, "bool": 1}, at=NOW + 1),
            row({"bool": 0.0}, at=NOW + 2),
            row({"int": 2.5}),
            row({"int": 2.0**63}),
            row({"int": True}),
            row({"int": "1"}),
            row({"double": 2**53 + 1}),
            row({"double": False}),
            row({"bool": 2}),
            row({"bool": 0.5}),
            row({"bool": "true"}),
        )
    )
    assert (answer.accepted_count, answer.rejected_count) == (2, 9)
    assert {error.reason for error in answer.errors} == {errors_pb2.ERROR_REASON_VALUE_TYPE_MISMATCH}
    assert [error.index for error in answer.errors] == list(range(2, 11))
    assert answer.errors[0].message == ('values["int"]: must be INT64, is DOUBLE and cannot be converted without loss')
    assert await latest(stubs) == {"int": 2, "double": 2.0, "bool": False}


async def test_the_first_accepted_value_gives_a_new_metric_its_type(stubs: Stubs) -> None:
    answer = await stubs.metrics.WriteMetrics(
        write(row({"new": "word", "byteTotal": "bad"}), row({"new": 1}), row({"new": 1.5}), row({"new": True}))
    )
    assert [(error.index, error.metric) for error in answer.errors] == [(0, "byteTotal"), (2, "new"), (3, "new")]
    assert await latest(stubs) == {"new": 1}


async def test_a_mix_of_types_inside_one_batch_is_refused_by_the_item(stubs: Stubs) -> None:
    answer = await stubs.metrics.WriteMetrics(
        write(row({"x": 1}, subject="sources/a"), row({"x": "one"}, subject="sources/b"))
    )
    assert (answer.accepted_count, answer.rejected_count) == (1, 1)
    assert await source_names(stubs) == ["sources/a"]


@pytest.mark.parametrize("absent", [-1, -1.0])
async def test_the_number_that_means_no_value_is_never_stored(stubs: Stubs, absent: float) -> None:
    lag = "StreamingMilliSecondsBehindSource"
    answer = await stubs.metrics.WriteMetrics(write(row({lag: absent, "byteTotal": 5}), row({lag: 7}, at=NOW - 1)))
    assert answer.accepted_count == 2
    assert await latest(stubs, metrics=(lag, "byteTotal")) == {lag: 7, "byteTotal": 5}
    summary = await stubs.sources.GetSourceMetrics(ask("TIMESUMMARY", end=NOW + 1, metrics=[lag]))
    assert summary.timesummary[0].sample_count == 1


async def test_an_observation_of_nothing_but_no_value_registers_its_source(stubs: Stubs) -> None:
    answer = await stubs.metrics.WriteMetrics(write(row({"latency": -1})))
    assert answer.accepted_count == 1
    assert await source_names(stubs) == ["sources/a"]
    assert (await latest(stubs)) == {}


async def test_parts_are_kept_apart(stubs: Stubs) -> None:
    await stubs.metrics.WriteMetrics(
        write(row({"byteTotal": 5}, part="task=0"), row({"byteTotal": 7}, part="task=1"), row({"byteTotal": 1}))
    )
    assert await latest(stubs) == {"byteTotal": 13}
    request = metrics_service_pb2.GetLatestMetricsRequest(subjects=["sources/a"], by_part=True)
    answer = await stubs.metrics.GetLatestMetrics(request)
    assert [(entry.part, latest_of(entry)) for entry in answer.subjects] == [
        ("", {"byteTotal": 1}),
        ("task=0", {"byteTotal": 5}),
        ("task=1", {"byteTotal": 7}),
    ]


async def test_names_of_sources_metrics_and_parts_differ_by_case(stubs: Stubs) -> None:
    await stubs.metrics.WriteMetrics(
        write(row({"x": 1, "X": 2}, subject="sources/A"), row({"x": 3}, subject="sources/a", part="P"))
    )
    assert await latest(stubs, "sources/A") == {"x": 1, "X": 2}
    assert await latest(stubs, "sources/a") == {"x": 3}


async def test_one_bad_value_refuses_its_whole_observation(stubs: Stubs) -> None:
    answer = await stubs.metrics.WriteMetrics(write(row({"good": 1, "bad": float("nan")}), row({"other": 1})))
    assert (answer.accepted_count, answer.rejected_count) == (1, 1)
    assert await metric_names(stubs) == {"other"}


async def test_all_that_is_wrong_with_an_observation_is_told(stubs: Stubs) -> None:
    bad = row({"nan": float("nan"), "long": "x" * 5_000, "": 1}, subject="nonsense", part="p\n", at=-1, start=-2)
    answer = await stubs.metrics.WriteMetrics(write(row({"ok": 1}), bad))
    assert {error.index for error in answer.errors} == {1}
    paths = {error.message.partition(":")[0] for error in answer.errors}
    assert paths == {"subject", "part", "time", "start_time", 'values["nan"]', 'values["long"]', 'values[""]'}
    assert {error.metric for error in answer.errors} == {"", "nan", "long"}
    assert (answer.accepted_count, answer.rejected_count) == (1, 1)


class TestAtomic:
    async def test_one_bad_observation_refuses_all(self, stubs: Stubs) -> None:
        with invalid() as refusal:
            await stubs.metrics.WriteMetrics(
                write(row({"new": 1}), row({"x": float("inf")}), row({"y": 1}, at=-1), atomic=True)
            )
        assert refusal.violations == {
            'observations[1].values["x"]': "must be finite, is inf",
            "observations[2].time": "must not be before 1970-01-01T00:00:00Z",
        }
        await assert_empty(stubs)

    async def test_a_type_mismatch_says_metric_and_types(self, stubs: Stubs) -> None:
        with invalid("VALUE_TYPE_MISMATCH") as refusal:
            await stubs.metrics.WriteMetrics(write(row({"new": 1}), row({"byteTotal": "x"}), atomic=True))
        assert refusal.metadata.items() >= {"metric": "byteTotal", "expected": "INT64", "actual": "STRING"}.items()
        assert list(refusal.violations) == ['observations[1].values["byteTotal"]']
        await assert_empty(stubs)

    async def test_a_subject_that_may_not_be_registered_refuses_all(self, stubs: Stubs) -> None:
        with invalid() as refusal:
            await stubs.metrics.WriteMetrics(write(row({"new": 1}), row({"x": 1}, subject="jobs/j"), atomic=True))
        assert refusal.reasons == {"observations[1].subject": "JOB_NOT_FOUND"}
        await assert_empty(stubs)

    async def test_a_good_batch_goes_through(self, stubs: Stubs) -> None:
        answer = await stubs.metrics.WriteMetrics(write(row({"x": 1}), row({"x": 2}, at=NOW + 1), atomic=True))
        assert answer.accepted_count == 2
        assert await latest(stubs) == {"x": 2}

    async def test_more_violations_than_a_status_holds_are_counted(self, stubs: Stubs) -> None:
        rows = [row({"x": 1}, at=-1) for _ in range(3_000)]
        with invalid() as refusal:
            await stubs.metrics.WriteMetrics(write(*rows, atomic=True))
        assert len(refusal.violations) + int(refusal.metadata["violations_omitted"]) == 3_000


class TestValidateOnly:
    async def test_a_good_batch_is_counted_and_nothing_is_stored(self, stubs: Stubs) -> None:
        answer = await stubs.metrics.WriteMetrics(write(row({"new": 1, "byteTotal": 5}), validate_only=True))
        assert (answer.accepted_count, answer.rejected_count) == (1, 0)
        await assert_empty(stubs)

    async def test_a_bad_item_is_told_and_nothing_is_stored(self, stubs: Stubs) -> None:
        answer = await stubs.metrics.WriteMetrics(write(row({"new": 1}), row({"new": "x"}), validate_only=True))
        assert (answer.accepted_count, answer.rejected_count) == (1, 1)
        await assert_empty(stubs)

    async def test_a_stored_source_keeps_its_values(self, stubs: Stubs) -> None:
        await stubs.metrics.WriteMetrics(write(row({"x": 1})))
        await stubs.metrics.WriteMetrics(write(row({"x": 2, "y": 1}, at=NOW + 1), validate_only=True))
        assert await latest(stubs) == {"x": 1}

    async def test_its_request_id_is_not_used_up(self, stubs: Stubs) -> None:
        await stubs.metrics.WriteMetrics(write(row({"x": 1}), validate_only=True, request_id="r"))
        answer = await stubs.metrics.WriteMetrics(write(row({"x": 1}), request_id="r"))
        assert answer.accepted_count == 1
        assert await latest(stubs) == {"x": 1}


class TestRequestId:
    async def test_a_repeat_gets_the_first_answer_and_writes_nothing(self, stubs: Stubs) -> None:
        request = write(row({"x": 1, "y": 1}), row({"x": "one"}), request_id="r-1")
        first = await stubs.metrics.WriteMetrics(request)
        assert (first.accepted_count, first.rejected_count, len(first.errors)) == (1, 1, 1)
        await stubs.metrics.WriteMetrics(write(row({"x": 2})))
        assert await stubs.metrics.WriteMetrics(request) == first
        assert await latest(stubs) == {"x": 2, "y": 1}

    async def test_a_repeat_does_not_bring_a_deleted_source_back(self, stubs: Stubs) -> None:
        request = write(row({"x": 1}), request_id="r-1")
        await stubs.metrics.WriteMetrics(request)
        await stubs.sources.DeleteSource(source_service_pb2.DeleteSourceRequest(name="sources/a"))
        assert (await stubs.metrics.WriteMetrics(request)).accepted_count == 1
        assert await source_names(stubs) == []

    async def test_another_body_is_refused_and_changes_nothing(self, stubs: Stubs) -> None:
        await stubs.metrics.WriteMetrics(write(row({"x": 1}), request_id="r-1"))
        with invalid("REQUEST_ID_REUSED") as refusal:
            await stubs.metrics.WriteMetrics(write(row({"y": 1}, subject="sources/b"), request_id="r-1"))
        assert refusal.metadata["request_id_field"] == "r-1"
        assert list(refusal.violations) == ["request_id"]
        assert await source_names(stubs) == ["sources/a"]
        assert await metric_names(stubs) == {"x"}

    async def test_concurrent_repeats_write_once_and_agree(self, stubs: Stubs) -> None:
        request = write(row({"x": 1}, at=None), request_id="r-1")
        answers = await asyncio.gather(*(stubs.metrics.WriteMetrics(request) for _ in range(20)))
        assert all(answer == answers[0] for answer in answers)
        counted = await stubs.metrics.QueryMetrics(query(end=NOW + 1, aggregates=["COUNT"]))
        assert values_of(counted.series[0].columns[0]) == [1]

    async def test_of_concurrent_other_bodies_one_wins_and_the_others_are_refused(self, stubs: Stubs) -> None:
        requests = [write(row({"x": n}, at=NOW + n), request_id="r-1") for n in range(10)]
        answers = await asyncio.gather(
            *(stubs.metrics.WriteMetrics(request) for request in requests), return_exceptions=True
        )
        assert sum(not isinstance(answer, Exception) for answer in answers) == 1
        counted = await stubs.metrics.QueryMetrics(query(end=NOW + 100, aggregates=["COUNT"]))
        assert values_of(counted.series[0].columns[0]) == [1]

    async def test_after_24_hours_the_id_is_free_again(self, stubs: Stubs, clock: FixedClock) -> None:
        await stubs.metrics.WriteMetrics(write(row({"x": 1}), request_id="r-1"))
        clock.micros += DAY + SECOND
        answer = await stubs.metrics.WriteMetrics(write(row({"x": 2}, at=NOW + 1), request_id="r-1"))
        assert answer.accepted_count == 1
        assert await latest(stubs) == {"x": 2}

    async def test_a_request_that_failed_does_not_use_up_its_id(self, stubs: Stubs) -> None:
        with invalid():
            await stubs.metrics.WriteMetrics(write(row({"x": float("nan")}), atomic=True, request_id="r-1"))
        await stubs.metrics.WriteMetrics(write(row({"x": 1}), request_id="r-1"))
        assert await latest(stubs) == {"x": 1}


class TestLimits:
    async def test_5000_observations_pass_and_5001_do_not(self, stubs: Stubs) -> None:
        rows = [row({"x": n}, at=NOW - n) for n in range(5_001)]
        with invalid() as refusal:
            await stubs.metrics.WriteMetrics(write(*rows))
        assert refusal.violations == {"observations": "must have 1 to 5000 entries, has 5001"}
        await assert_empty(stubs)
        answer = await stubs.metrics.WriteMetrics(write(*rows[:5_000]))
        assert answer.accepted_count == 5_000

    async def test_a_heavy_batch_is_stored_and_refused_as_a_light_one_is(self, stubs: Stubs) -> None:
        """Beyond 20,000 values a write is checked and encoded off the event loop."""
        values: dict[str, Scalar] = {f"m{n}": n for n in range(50)}
        rows = [row(values, at=NOW - n) for n in range(600)]
        rows[7].values["m7"].CopyFrom(value(float("nan")))
        rows[8].values["m8"].CopyFrom(value("text"))
        answer = await stubs.metrics.WriteMetrics(write(*rows))
        assert [(error.index, error.metric) for error in answer.errors] == [(7, "m7"), (8, "m8")]
        counted = await stubs.metrics.QueryMetrics(query(end=NOW + 1, aggregates=["COUNT"]))
        assert {values_of(column)[0] for column in counted.series[0].columns} == {598}
        assert await latest(stubs) == values

    async def test_an_empty_batch_is_refused(self, stubs: Stubs) -> None:
        with invalid() as refusal:
            await stubs.metrics.WriteMetrics(write())
        assert refusal.violations == {"observations": "must have 1 to 5000 entries, has 0"}

    async def test_the_first_hundred_errors_are_listed_and_the_rest_counted(self, stubs: Stubs) -> None:
        rows = [row({"x": 1}, at=-1, part="\n") for _ in range(5_000)]
        answer = await stubs.metrics.WriteMetrics(write(*rows))
        assert (answer.accepted_count, answer.rejected_count) == (0, 5_000)
        assert (len(answer.errors), answer.errors_truncated) == (100, 9_900)
        assert [error.index for error in answer.errors] == [n // 2 for n in range(100)]
        await assert_empty(stubs)

    async def test_what_errors_repeat_of_a_request_is_cut(self, stubs: Stubs) -> None:
        rows = [row({"m" * 50_000: 1}, subject="s" * 50_000) for _ in range(100)]
        answer = await stubs.metrics.WriteMetrics(write(*rows))
        assert answer.rejected_count == 100
        assert all(len(error.subject) == 255 for error in answer.errors)
        assert {len(error.metric) for error in answer.errors} == {0, 255}
        assert answer.ByteSize() < 200_000

    async def test_as_many_metrics_as_allowed_pass_and_one_more_does_not(self, start: Start) -> None:
        stubs = await start(limits=Limits(max_metrics_per_observation=3))
        answer = await stubs.metrics.WriteMetrics(write(row({"a": 1, "b": 1, "c": 1, "d": 1}), row()))
        assert [error.message for error in answer.errors] == [
            "values: must have 1 to 3 entries, has 4",
            "values: must have 1 to 3 entries, has 0",
        ]
        assert (await stubs.metrics.WriteMetrics(write(row({"a": 1, "b": 1, "c": 1})))).accepted_count == 1

    async def test_the_limit_of_subjects_is_a_status_and_stores_nothing(self, start: Start) -> None:
        stubs = await start(limits=Limits(max_subjects_per_tenant=2))
        with refused(StatusCode.RESOURCE_EXHAUSTED, "SUBJECT_LIMIT") as refusal:
            await stubs.metrics.WriteMetrics(write(*(row({"x": 1}, subject=f"sources/{n}") for n in range(3))))
        assert refusal.metadata["limit"] == "2"
        assert await source_names(stubs) == []
        await stubs.metrics.WriteMetrics(write(*(row({"x": 1}, subject=f"sources/{n}") for n in range(2))))
        with refused(StatusCode.RESOURCE_EXHAUSTED, "SUBJECT_LIMIT"):
            await stubs.sources.CreateSource(source_service_pb2.CreateSourceRequest(source_id="more"))
        await stubs.sources.DeleteSource(source_service_pb2.DeleteSourceRequest(name="sources/0"))
        await stubs.sources.CreateSource(source_service_pb2.CreateSourceRequest(source_id="more"))

    async def test_the_limit_of_parts_is_a_status(self, start: Start) -> None:
        stubs = await start(limits=Limits(max_parts_per_subject=2))
        await stubs.metrics.WriteMetrics(write(row({"x": 1}), row({"x": 1}, part="1"), row({"x": 1}, part="2")))
        with refused(StatusCode.RESOURCE_EXHAUSTED, "SUBJECT_LIMIT"):
            await stubs.metrics.WriteMetrics(write(row({"x": 1}, part="3")))

    async def test_the_limit_of_metrics_is_a_status_and_stores_nothing(self, start: Start) -> None:
        stubs = await start(limits=Limits(max_metrics_per_tenant=2))
        with refused(StatusCode.RESOURCE_EXHAUSTED, "METRIC_LIMIT"):
            await stubs.metrics.WriteMetrics(write(row({"a": 1, "b": 1, "c": 1})))
        await assert_empty(stubs)
        answer = await stubs.metrics.WriteMetrics(write(row({"a": 1, "b": 1, "byteTotal": 1})))
        assert answer.accepted_count == 1


async def test_writes_to_one_source_from_many_callers_are_all_kept(stubs: Stubs) -> None:
    await asyncio.gather(
        *(stubs.metrics.WriteMetrics(write(row({"x": n}, at=NOW - n * SECOND))) for n in range(100)),
    )
    counted = await stubs.metrics.QueryMetrics(query(end=NOW + 1, aggregates=["COUNT", "SUM"]))
    assert [values_of(column) for column in counted.series[0].columns] == [[100], [4950]]


async def test_a_source_deleted_under_a_writer_begins_anew(stubs: Stubs) -> None:
    for n in range(5):
        await stubs.metrics.WriteMetrics(write(row({f"x{n}": 1})))
        await stubs.sources.DeleteSource(source_service_pb2.DeleteSourceRequest(name="sources/a"))
    await stubs.metrics.WriteMetrics(write(row({"y": 1})))
    assert await latest(stubs) == {"y": 1}


async def test_two_servers_on_one_store_see_each_others_sources(start: Start, shared_url: str) -> None:
    one, other = await start(database=shared_url), await start(database=shared_url)
    await one.metrics.WriteMetrics(write(row({"x": 1})))
    await other.metrics.WriteMetrics(write(row({"x": 2}, at=NOW + 1)))
    assert await latest(one) == {"x": 2}
    await other.sources.DeleteSource(source_service_pb2.DeleteSourceRequest(name="sources/a"))
    # `one` still has the id of the deleted source at hand: it finds out, and registers it again.
    await one.metrics.WriteMetrics(write(row({"z": 3})))
    assert await latest(other) == {"z": 3}


async def test_a_closed_server_refuses_a_source_that_was_deleted_by_another(start: Start, shared_url: str) -> None:
    one = await start(database=shared_url, subject_registration="closed")
    other = await start(database=shared_url)
    await one.sources.CreateSource(source_service_pb2.CreateSourceRequest(source_id="a"))
    await one.metrics.WriteMetrics(write(row({"x": 1})))
    await other.sources.DeleteSource(source_service_pb2.DeleteSourceRequest(name="sources/a"))
    answer = await one.metrics.WriteMetrics(write(row({"x": 2}), row({"x": 2}, part="new")))
    assert {error.reason for error in answer.errors} == {errors_pb2.ERROR_REASON_SOURCE_NOT_FOUND}
    assert (answer.accepted_count, answer.rejected_count) == (0, 2)


@pytest.mark.parametrize("parts", [("known",), ("new",), ("known", "new")])
async def test_so_it_refuses_parts_of_a_source_that_was_deleted_by_another(
    start: Start, shared_url: str, parts: tuple[str, ...]
) -> None:
    one = await start(database=shared_url, subject_registration="closed")
    other = await start(database=shared_url)
    await one.sources.CreateSource(source_service_pb2.CreateSourceRequest(source_id="a"))
    await one.metrics.WriteMetrics(write(row({"x": 1}, part="known")))
    await other.sources.DeleteSource(source_service_pb2.DeleteSourceRequest(name="sources/a"))
    answer = await one.metrics.WriteMetrics(write(*(row({"x": 2}, part=part) for part in parts)))
    assert {error.reason for error in answer.errors} == {errors_pb2.ERROR_REASON_SOURCE_NOT_FOUND}
    assert answer.rejected_count == len(parts)
    assert await source_names(other) == []


async def test_a_value_without_a_member_is_refused(stubs: Stubs) -> None:
    observation = row({"x": 1})
    observation.values["y"].CopyFrom(common_pb2.Value())
    answer = await stubs.metrics.WriteMetrics(write(observation))
    assert [error.message for error in answer.errors] == [
        'values["y"]: must have exactly one of double_value, int64_value, bool_value, string_value'
    ]
