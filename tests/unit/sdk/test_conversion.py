"""Python values into requests, and answers into dataclasses."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta, timezone
from enum import StrEnum
from typing import Any

import numpy as np
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st
from streamgauge import (
    KEEP,
    Aggregate,
    CounterMode,
    MetricKind,
    Observation,
    PartCombination,
    SubjectKind,
    TimeType,
    ValueType,
    Window,
    WindowUnit,
    _decode,
    _encode,
    descriptors,
    metrics,
    sources,
    tokens,
)
from streamgauge.names import descriptor_name, source_name, token_name
from streamgauge.v1 import common_pb2, errors_pb2, metrics_service_pb2, source_service_pb2, token_service_pb2

T0 = datetime(2026, 11, 1, 12, 30, 15, 123_456, tzinfo=UTC)
SCALARS = (
    st.floats(allow_nan=False)
    | st.integers(-(2**63), 2**63 - 1)
    | st.booleans()
    | st.text(st.characters(exclude_categories=["Cs"]))
)


def encode(values: dict[str, Any], time: datetime | None = None) -> common_pb2.Observation:
    return _encode.observation("sources/orders", values, time, "", None)


# --- Values and times ------------------------------------------------------------------------------------------------


@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=5), SCALARS, max_size=5))
def test_values_come_back_as_they_went_with_their_type(values: dict[str, Any]) -> None:
    read = _decode.observation(common_pb2.Observation.FromString(encode(values).SerializeToString()))
    assert {k: (type(v), v) for k, v in read.values.items()} == {k: (type(v), v) for k, v in values.items()}


@given(st.datetimes(datetime(1, 1, 2), timezones=st.just(UTC)))  # noqa: DTZ001 (hypothesis adds the zone)
def test_moments_come_back_to_the_microsecond(moment: datetime) -> None:
    message = _encode.timestamp(moment, "time")
    assert 0 <= message.nanos < 1_000_000_000
    assert _decode.moment(message) == moment
    assert _encode.micros(moment, "time") == message.seconds * 1_000_000 + message.nanos // 1_000


def test_moments_of_other_zones_become_utc() -> None:
    there = T0.astimezone(timezone(timedelta(hours=5, minutes=30)))
    back = _decode.moment(_encode.timestamp(there, "time"))
    assert (back, back.tzinfo) == (T0, UTC)


def test_finer_digits_of_a_moment_are_cut_and_what_is_after_year_9999_is_its_end() -> None:
    assert _decode.moment(Timestamp(seconds=1, nanos=1_999)).microsecond == 1
    assert _decode.moment(Timestamp(seconds=253_402_300_800)) == datetime.max.replace(tzinfo=UTC)


@pytest.mark.parametrize("field", ["time", "start_time"])
def test_a_naive_datetime_is_refused_with_the_name_of_the_argument(field: str) -> None:
    naive = datetime(2026, 1, 1)  # noqa: DTZ001 (the point of the test)
    arguments: dict[str, Any] = {"time": None, "start_time": None, field: naive}
    with pytest.raises(ValueError, match=f"{field} must be timezone-aware"):
        _encode.observations([Observation("sources/orders", {"a": 1}, **arguments)])


def test_numpy_scalars_are_taken_as_the_python_scalars_that_they_are() -> None:
    values = {"i": np.int32(-5), "u": np.uint8(7), "f": np.float32(0.5), "d": np.float64(1.5), "b": np.bool_(True)}
    read = _decode.observation(encode(values)).values
    assert {k: (type(v), v) for k, v in read.items()} == {
        "i": (int, -5),
        "u": (int, 7),
        "f": (float, 0.5),
        "d": (float, 1.5),
        "b": (bool, True),
    }


@pytest.mark.parametrize("value", [None, b"bytes", [1], {"a": 1}, 1j, T0, object()])
def test_what_is_no_value_is_refused_with_the_name_of_the_metric(value: Any) -> None:
    with pytest.raises(TypeError, match=r"values\['load'\] must be a float, int, bool or str; got "):
        encode({"load": value})


@pytest.mark.parametrize("value", [2**63, -(2**63) - 1, np.uint64(2**63)])
def test_an_integer_over_64_bits_is_refused_with_the_name_of_the_metric(value: Any) -> None:
    with pytest.raises(ValueError, match=r"values\['total'\] does not fit into 64 bits"):
        encode({"total": value})


def test_an_unset_time_stays_unset_so_that_the_server_takes_its_clock() -> None:
    assert not encode({"a": 1}).HasField("time")
    assert encode({"a": 1}, T0).HasField("time")


# --- Closed sets -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind",
    [SubjectKind, MetricKind, ValueType, Aggregate, PartCombination, CounterMode, WindowUnit, TimeType],
)
def test_every_closed_set_has_every_member_of_the_contract(kind: type[StrEnum]) -> None:
    wrapper, prefix = _encode._PREFIXES[kind.__name__]
    ours = {prefix + member.name for member in kind if member.name != "UNKNOWN"}
    assert ours == {value.name for value in wrapper.DESCRIPTOR.values if value.number != 0}


def test_members_are_taken_as_strings_and_none_is_the_servers_default() -> None:
    assert _encode.enum_number(WindowUnit, "hour") == _encode.enum_number(WindowUnit, WindowUnit.HOUR) == 2
    assert _encode.enum_number(WindowUnit, None) == 0


def test_a_word_that_is_no_member_and_unknown_are_refused() -> None:
    with pytest.raises(ValueError, match="'fortnight' is not a valid WindowUnit"):
        _encode.enum_number(WindowUnit, "fortnight")
    with pytest.raises(ValueError, match=r"Aggregate\.UNKNOWN .* cannot be sent"):
        _encode.enum_number(Aggregate, Aggregate.UNKNOWN)


def test_members_of_a_newer_server_are_unknown() -> None:
    message = common_pb2.MetricDescriptor(kind=99, value_type=99, window_aggregate=99, part_combination=99)  # type: ignore[arg-type]
    read = _decode.descriptor(message)
    assert (read.kind, read.value_type, read.window_aggregate, read.part_combination) == (
        MetricKind.UNKNOWN,
        ValueType.UNKNOWN,
        Aggregate.UNKNOWN,
        PartCombination.UNKNOWN,
    )
    errors = [metrics_service_pb2.WriteError(reason=9_999)]  # type: ignore[arg-type]
    assert _decode.write_errors(errors)[0].reason == "9999"


# --- Names -----------------------------------------------------------------------------------------------------------


def test_ids_become_names_and_names_stay() -> None:
    assert source_name("orders") == source_name("sources/orders") == "sources/orders"
    assert token_name("t") == token_name("tokens/t") == "tokens/t"
    assert descriptor_name("byteTotal") == "metricDescriptors/sources/byteTotal"
    assert descriptor_name("a/b", "jobs") == "metricDescriptors/jobs/a/b"
    assert descriptor_name("metricDescriptors/jobs/x") == "metricDescriptors/jobs/x"


# --- Requests --------------------------------------------------------------------------------------------------------


def test_an_update_names_just_the_fields_that_were_given() -> None:
    request = sources._update("orders", "Orders", None, {"a": "b"}, "e1")
    assert list(request.update_mask.paths) == ["display_name", "labels"]
    assert (request.source.name, request.source.display_name, request.source.etag) == ("sources/orders", "Orders", "e1")
    cleared = sources._update("orders", "", "", {}, "")
    assert list(cleared.update_mask.paths) == ["display_name", "connector_class", "labels"]


def test_an_update_of_nothing_is_refused_since_an_empty_mask_means_everything() -> None:
    with pytest.raises(ValueError, match="nothing to update"):
        sources._update("orders", None, None, None, "e1")
    with pytest.raises(ValueError, match="nothing to update"):
        update_descriptor(etag="e1")


def update_descriptor(
    value_type: str | None = None, **changes: Any
) -> metrics_service_pb2.UpdateMetricDescriptorRequest:
    return descriptors._update("metricDescriptors/sources/x", value_type, changes)  # type: ignore[arg-type]


def test_a_descriptor_is_updated_in_every_field() -> None:
    request = update_descriptor(
        display_name="",
        description="d",
        unit="u",
        kind="counter",
        window_aggregate="increase",
        summary_aggregate=Aggregate.MAX,
        part_combination="sum",
        state_order=["a", "b"],
        no_value=-1.0,
        value_type="number",
        min_value=0,
        max_value=1.5,
        direction="lower_is_better",
        sample_retention=timedelta(days=30),
        summary_retention=timedelta(days=730),
        etag="e",
    )
    message = request.metric_descriptor
    assert len(request.update_mask.paths) == 15
    assert (message.sample_retention.seconds, message.summary_retention.seconds) == (30 * 86_400, 730 * 86_400)
    assert (message.value_type, message.min_value, message.max_value, message.direction) == (5, 0.0, 1.5, 2)
    assert (message.etag, request.allow_missing) == ("e", False)
    assert (message.kind, message.window_aggregate, message.summary_aggregate, message.part_combination) == (2, 8, 4, 1)
    assert (list(message.state_order), message.no_value) == (["a", "b"], -1.0)


def test_the_mark_of_no_value_is_kept_unless_it_is_named_and_none_takes_it_away() -> None:
    assert list(update_descriptor(unit="u").update_mask.paths) == ["unit"]
    cleared = update_descriptor(no_value=None)
    assert list(cleared.update_mask.paths) == ["no_value"]
    assert not cleared.metric_descriptor.HasField("no_value")


def test_bounds_and_direction_are_kept_unless_they_are_named_and_none_takes_them_away() -> None:
    request = update_descriptor(min_value=KEEP, max_value=None, direction=None, unit=None)
    assert list(request.update_mask.paths) == ["max_value", "direction"]
    assert request.metric_descriptor == common_pb2.MetricDescriptor(name="metricDescriptors/sources/x")


def test_a_limit_of_retention_is_a_timedelta_and_none_takes_it_away() -> None:
    request = update_descriptor(sample_retention=None, summary_retention=KEEP)
    assert list(request.update_mask.paths) == ["sample_retention"]
    assert not request.metric_descriptor.HasField("sample_retention")
    with pytest.raises(TypeError, match="sample_retention must be a timedelta"):
        update_descriptor(sample_retention=30)


def test_a_field_that_a_descriptor_does_not_have_is_refused() -> None:
    with pytest.raises(TypeError, match="no colour"):
        update_descriptor(colour="red")
    with pytest.raises(ValueError, match="nothing to update"):
        update_descriptor(etag="e")


def test_a_declaration_may_be_of_a_metric_that_was_never_written() -> None:
    request = descriptors._update("metricDescriptors/assets/x", "bool", {}, declare=True)
    assert (request.allow_missing, list(request.update_mask.paths)) == (True, ["value_type"])
    assert request.metric_descriptor.value_type == 3


def test_a_question_about_a_source_leaves_everything_to_the_servers_defaults_that_is_not_given() -> None:
    assert sources._metrics("orders", "latest") == source_service_pb2.GetSourceMetricsRequest(
        source="sources/orders",
        time_type=source_service_pb2.TIME_TYPE_LATEST,
    )
    request = sources._metrics(
        "orders",
        TimeType.TIMESERIES,
        interval=0,
        unit="week",
        start=T0,
        end=T0 + timedelta(days=1),
        metrics="*",
        counter_mode="raw",
    )
    assert request.HasField("time_interval")  # an explicit 0 is told, and refused by the server
    assert (request.time_interval, request.time_unit, request.counter_mode) == (0, 4, 3)
    assert list(request.metrics) == ["*"]
    assert _decode.moment(request.timestamp_to) - _decode.moment(request.timestamp_from) == timedelta(days=1)


def test_a_query_takes_windows_as_units_or_counts_and_single_words_as_lists_of_one() -> None:
    request = metrics._query("sources/a", "m", T0, None, "day", "increase", None, True)
    assert (list(request.subjects), list(request.metrics), list(request.aggregates)) == (["sources/a"], ["m"], [8])
    assert (request.window.count, request.window.unit, request.by_part) == (1, 3, True)
    assert request.time_range.HasField("start_time")
    assert not request.time_range.HasField("end_time")
    assert metrics._query([], [], None, None, Window("minute", 15), [], None, False).window.count == 15
    plain = metrics._query(["sources/a"], [], None, None, None, [], None, False)
    assert plain == metrics_service_pb2.QueryMetricsRequest(subjects=["sources/a"])


def test_a_token_request_has_what_was_asked() -> None:
    request = tokens._create("admin", "ops", T0)
    assert (list(request.token.scopes), request.token.display_name) == (["admin"], "ops")
    assert _decode.moment(request.token.expire_time) == T0


# --- Answers ---------------------------------------------------------------------------------------------------------


def bounds(count: int) -> list[Timestamp]:
    return [_encode.timestamp(T0 + timedelta(hours=hour), "t") for hour in range(count)]


def test_a_column_has_a_value_or_none_for_every_window() -> None:
    last = common_pb2.AGGREGATE_LAST
    column = common_pb2.WindowColumn
    columns = [
        column(metric="all", aggregate=common_pb2.AGGREGATE_SUM, ints=common_pb2.Int64Array(values=[1, 2, 3])),
        column(metric="some", aggregate=last, doubles=common_pb2.DoubleArray(values=[0.5, 0.0]), windows=[0, 2]),
        column(metric="none", aggregate=last, strings=common_pb2.StringArray()),
        column(metric="untyped", aggregate=last),
        column(metric="flag", aggregate=last, bools=common_pb2.BoolArray(values=[False]), windows=[1]),
    ]
    answer = source_service_pb2.GetSourceMetricsResponse(
        source="sources/orders",
        time_type=source_service_pb2.TIME_TYPE_TIMESERIES,
        window=common_pb2.Window(count=1, unit=common_pb2.WINDOW_UNIT_HOUR),
        window_bounds=bounds(4),
        timeseries=columns,
    )
    series = _decode.time_series(answer)
    assert {name: found.values for name, found in series.columns.items()} == {
        "all": (1, 2, 3),
        "some": (0.5, None, 0.0),
        "none": (None, None, None),
        "untyped": (None, None, None),
        "flag": (None, False, None),
    }
    assert [found.value_type for found in series.columns.values()] == [
        ValueType.INT64,
        ValueType.DOUBLE,
        ValueType.STRING,
        ValueType.UNKNOWN,
        ValueType.BOOL,
    ]
    assert series.window == Window(WindowUnit.HOUR, 1)
    assert next(series.points("some")) == (T0, 0.5)
    assert series["all"].aggregate is Aggregate.SUM
    with pytest.raises(KeyError):
        series["absent"]


def test_integers_of_an_answer_keep_all_64_bits() -> None:
    top = 2**63 - 1
    value = common_pb2.Value(int64_value=top)
    answer = source_service_pb2.GetSourceMetricsResponse(
        time_type=source_service_pb2.TIME_TYPE_LATEST, latest=[common_pb2.LatestValue(metric="m", value=value)]
    )
    assert _decode.latest(answer)["m"].value == top


def test_an_answer_of_a_time_type_that_is_not_known_is_refused() -> None:
    answer = source_service_pb2.GetSourceMetricsResponse(time_type=77)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="unknown time type 77"):
        _decode.source_metrics(answer)


def test_a_latest_value_that_is_not_there_is_none_throughout() -> None:
    answer = source_service_pb2.GetSourceMetricsResponse(latest=[common_pb2.LatestValue(metric="m")])
    value = _decode.latest(answer)["m"]
    assert (value.value, value.raw_value, value.time, value.start_time) == (None, None, None, None)


def test_a_query_column_is_found_by_metric_and_aggregate() -> None:
    columns = [
        common_pb2.WindowColumn(metric="m", aggregate=aggregate, doubles=common_pb2.DoubleArray(values=[value]))
        for aggregate, value in ((common_pb2.AGGREGATE_MIN, 1.0), (common_pb2.AGGREGATE_MAX, 2.0))
    ]
    answer = metrics_service_pb2.QueryMetricsResponse(
        window_bounds=bounds(2), series=[metrics_service_pb2.Series(subject="sources/a", columns=columns)]
    )
    series = _decode.query_result(answer).series[0]
    assert series.column("m").values == (1.0,)
    assert series.column("m", "max").values == (2.0,)
    with pytest.raises(KeyError):
        series.column("m", "sum")


def test_a_secret_does_not_show_in_the_text_of_a_new_token() -> None:
    from streamgauge import NewToken

    new = NewToken(_decode.token(token_service_pb2.Token(name="tokens/t")), "very secret")
    assert "very secret" not in repr(new)
    assert new.token.id == "t"


def test_every_result_can_say_that_items_were_refused() -> None:
    from streamgauge import RejectedItemsError, WriteResult

    message = metrics_service_pb2.WriteMetricsResponse(accepted_count=1, rejected_count=2)
    message.errors.add(index=1, message="too long", reason=errors_pb2.ERROR_REASON_INVALID_FIELD)
    result = _decode.write_result(message, "r1")
    with pytest.raises(RejectedItemsError, match="2 items were refused; the first: too long") as caught:
        result.raise_for_rejected()
    assert caught.value.result is result
    WriteResult(accepted=1, rejected=0).raise_for_rejected()


def test_infinities_and_nan_are_left_to_the_server_to_refuse() -> None:
    read = encode({"a": math.inf, "b": math.nan}).values
    assert read["a"].double_value == math.inf
    assert math.isnan(read["b"].double_value)
