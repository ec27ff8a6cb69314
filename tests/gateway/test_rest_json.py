"""Messages to JSON and back: as protobuf's own implementation does it, and stricter on the way in."""

from __future__ import annotations

import json
from typing import Any

import pytest
from google.protobuf import any_pb2, duration_pb2, field_mask_pb2, json_format, struct_pb2, timestamp_pb2, wrappers_pb2
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from streamgauge.v1 import common_pb2, job_service_pb2, metric_type_service_pb2, metrics_service_pb2, source_service_pb2
from streamgauge_server.gateway.rest.printing import json_bytes, json_object
from streamgauge_server.gateway.rest.reading import read_message
from streamgauge_server.gateway.rest.violations import Violations

from tests.gateway.made_messages import messages, types

FIELD = FieldDescriptorProto


def every_kind() -> Any:
    """Returns the class of a message with a field of every type, some of which the contract does not have."""
    file = FileDescriptorProto(name="every.proto", package="test", syntax="proto3")
    message = file.message_type.add(name="Every")
    kinds = [kind for kind in range(1, 19) if kind not in (FIELD.TYPE_GROUP, FIELD.TYPE_MESSAGE, FIELD.TYPE_ENUM)]
    for kind in kinds:
        message.field.add(name=f"one_{kind}", number=kind, type=kind, label=FIELD.LABEL_OPTIONAL)
        message.field.add(name=f"many_{kind}", number=100 + kind, type=kind, label=FIELD.LABEL_REPEATED)
    for kind in (FIELD.TYPE_INT32, FIELD.TYPE_UINT64, FIELD.TYPE_BOOL, FIELD.TYPE_STRING):
        entry = message.nested_type.add(name=f"Map{kind}Entry")
        entry.options.map_entry = True
        entry.field.add(name="key", number=1, type=kind, label=FIELD.LABEL_OPTIONAL)
        entry.field.add(name="value", number=2, type=FIELD.TYPE_BYTES, label=FIELD.LABEL_OPTIONAL)
        message.field.add(
            name=f"map{kind}",
            number=200 + kind,
            type=FIELD.TYPE_MESSAGE,
            type_name=f".test.Every.Map{kind}Entry",
            label=FIELD.LABEL_REPEATED,
        )
    message.field.add(
        name="again", number=300, type=FIELD.TYPE_MESSAGE, type_name=".test.Every", label=FIELD.LABEL_OPTIONAL
    )
    pool = DescriptorPool()
    pool.Add(file)
    return GetMessageClass(pool.FindMessageTypeByName("test.Every"))


TYPES = [*types(), every_kind()]


def read(make: Any, value: Any) -> tuple[Any, dict[str, str]]:
    """Returns a message read from JSON, and what is wrong by field."""
    message, violations = make(), Violations()
    read_message(message, value, "", violations)
    return message, {violation.field: violation.description for violation in violations.found}


@pytest.mark.parametrize("make", TYPES, ids=lambda make: str(make.DESCRIPTOR.full_name))
@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(data=st.data())
def test_a_message_of_any_type_is_printed_as_protobuf_does_and_read_back(make: Any, data: st.DataObject) -> None:
    made = data.draw(messages(make.DESCRIPTOR))
    expected = json_format.MessageToDict(made)
    assert json_object(made) == expected
    assert json.loads(json_bytes(made)) == expected
    back, wrong = read(make, expected)
    assert wrong == {}
    # Of bytes: a NaN is not equal to itself.
    assert back.SerializeToString(deterministic=True) == made.SerializeToString(deterministic=True)


@pytest.mark.parametrize(
    "made",
    [
        timestamp_pb2.Timestamp(seconds=-62_135_596_800),
        timestamp_pb2.Timestamp(seconds=253_402_300_799, nanos=999_999_999),
        timestamp_pb2.Timestamp(nanos=1_000_000),
        duration_pb2.Duration(seconds=-1, nanos=-500_000_000),
        duration_pb2.Duration(nanos=-1_000),
        field_mask_pb2.FieldMask(paths=["display_name", "a.b_c"]),
        struct_pb2.Value(list_value=struct_pb2.ListValue(values=[struct_pb2.Value(number_value=0.1)])),
        wrappers_pb2.FloatValue(value=0.1),
        wrappers_pb2.FloatValue(value=16777217.0),
        wrappers_pb2.Int64Value(),
        common_pb2.DoubleArray(values=[1.0, 1e300, 1e308, 1e308]),
        common_pb2.DoubleArray(values=[1.0, float("nan"), float("inf"), float("-inf")]),
    ],
    ids=str,
)
def test_values_at_the_edges_are_printed_as_protobuf_does(made: Any) -> None:
    assert json_object(made) == json_format.MessageToDict(made)


def test_a_packed_message_is_printed_and_read_with_its_type() -> None:
    packed = any_pb2.Any()
    packed.Pack(common_pb2.Value(int64_value=1))
    expected = {"@type": "type.googleapis.com/streamgauge.v1.Value", "int64Value": "1"}
    assert json_object(packed) == expected
    assert read(any_pb2.Any, expected) == (packed, {})


def test_equal_messages_are_equal_bytes_whatever_the_order_of_a_map() -> None:
    names = [f"k{number}" for number in range(20)]
    printed = {
        json_bytes(source_service_pb2.Source(labels=dict.fromkeys(order, "x"))) for order in (names, names[::-1])
    }
    assert len(printed) == 1


def test_fields_go_by_their_names_in_json_and_in_the_proto() -> None:
    for name in ("displayName", "display_name"):
        assert read(source_service_pb2.Source, {name: "x"}) == (source_service_pb2.Source(display_name="x"), {})


@pytest.mark.parametrize(
    "text", ["2026-01-01T14:00:00.5+02:00", "2026-01-01t12:00:00.500z", "2026-01-01T11:30:00.5-00:30"]
)
def test_a_time_may_have_an_offset(text: str) -> None:
    read_back, wrong = read(common_pb2.TimeRange, {"startTime": text})
    assert wrong == {}
    assert read_back.start_time == timestamp_pb2.Timestamp(seconds=1_767_268_800, nanos=500_000_000)


@pytest.mark.parametrize(
    ("given", "stored"),
    [(7, 7), ("7", 7), (7.0, 7), (7e2, 700), (2**63 - 1, 2**63 - 1), (str(-(2**63)), -(2**63))],
)  # fmt: skip
def test_an_integer_may_be_a_number_or_a_text(given: Any, stored: int) -> None:
    assert read(common_pb2.Value, {"int64Value": given}) == (common_pb2.Value(int64_value=stored), {})


def test_null_is_as_if_the_field_were_not_there_and_a_value_in_a_struct() -> None:
    assert read(source_service_pb2.Source, {"displayName": None, "labels": None}) == (source_service_pb2.Source(), {})
    assert read(common_pb2.Value, {"int64Value": None, "doubleValue": 1}) == (common_pb2.Value(double_value=1), {})
    choice, wrong = read(metric_type_service_pb2.MetricTypeChoice, {"fields": {"a": None}})
    assert wrong == {}
    assert choice.fields["a"] is None


def test_everything_that_is_wrong_is_told_at_once_with_its_path() -> None:
    _, wrong = read(
        metrics_service_pb2.WriteMetricsRequest,
        {
            "observations": [
                {
                    "subject": 5,
                    "time": "2026-01-01",
                    "values": {"a b": {"int64Value": "1", "doubleValue": 2}, "c": {"x": 1}},
                },
                None,
                {"startTime": "2026-02-30T00:00:00Z", "start_time": None, "part": "\ud800"},
            ],
            "nope": 1,
        },
    )
    assert wrong == {
        "observations[0].subject": "must be a string, is 5",
        "observations[0].time": "must be a time such as 2026-01-01T12:00:00Z, is '2026-01-01'",
        'observations[0].values["a b"].double_value': "is given together with int64_value; give one of them",
        'observations[0].values["c"].x': "is no field of Value",
        "observations[1]": "must be an object, is null",
        "observations[2].start_time": "is given twice, by both of its names",
        "observations[2].part": "must be Unicode text: it has half of a surrogate pair",
        "nope": "is no field of WriteMetricsRequest",
    }


@pytest.mark.parametrize(
    ("make", "value", "field", "description"),
    [
        (common_pb2.Value, {"int64Value": 2**63}, "int64_value", "must be between -9223372036854775808 and"),
        (common_pb2.Value, {"int64Value": 1.5}, "int64_value", "must be an integer, is 1.5"),
        (common_pb2.Value, {"int64Value": 1e17}, "int64_value", "must be an integer, is 1e+17"),
        (common_pb2.Value, {"int64Value": True}, "int64_value", "must be an integer, is true"),
        (common_pb2.Value, {"int64Value": "1_0"}, "int64_value", "must be an integer, is '1_0'"),
        (common_pb2.Value, {"int64Value": "٣"}, "int64_value", "must be an integer, is '٣'"),
        (common_pb2.Value, {"doubleValue": "1_0"}, "double_value", "must be a number, is '1_0'"),
        (common_pb2.Value, {"doubleValue": "0x1"}, "double_value", "must be a number, is '0x1'"),
        (common_pb2.Value, {"doubleValue": " 1"}, "double_value", "must be a number, is ' 1'"),
        (common_pb2.Value, {"doubleValue": float("inf")}, "double_value", "must be a number that a double can hold"),
        (common_pb2.Value, {"doubleValue": 10**400}, "double_value", "must be a number that a double can hold"),
        (common_pb2.Value, {"doubleValue": "1e999"}, "double_value", "must be a number that a double can hold"),
        (common_pb2.Value, {"doubleValue": True}, "double_value", "must be a number, is true"),
        (common_pb2.Value, {"boolValue": "true"}, "bool_value", "must be true or false, is 'true'"),
        (common_pb2.Value, {"boolValue": 1}, "bool_value", "must be true or false, is 1"),
        (common_pb2.Value, [], "", "must be an object, is an array"),
        (common_pb2.Window, {"unit": "HOUR"}, "unit", "must be one of WINDOW_UNIT_UNSPECIFIED, WINDOW_UNIT_MINUTE"),
        (common_pb2.Window, {"unit": 2**31}, "unit", "must be between -2147483648 and 2147483647, is 2147483648"),
        (common_pb2.Window, {"count": 2**31}, "count", "must be between -2147483648 and 2147483647, is 2147483648"),
        (common_pb2.DoubleArray, {"values": 1}, "values", "must be an array, is 1"),
        (common_pb2.DoubleArray, {"values": [1, None, "x"]}, "values[1]", "must be a number, is null"),
        (
            common_pb2.Frame,
            {"timeUnixMicros": [-1]},
            "time_unix_micros[0]",
            "must be between 0 and 18446744073709551615",
        ),
        (common_pb2.TimeRange, {"startTime": 1}, "start_time", "must be a time such as 2026-01-01T12:00:00Z, is 1"),
        (common_pb2.TimeRange, {"startTime": "2026-01-01T12:00:00"}, "start_time", "must be a time such as"),
        (common_pb2.TimeRange, {"startTime": "2026-01-01T12:00:60Z"}, "start_time", "must be a time such as"),
        (
            common_pb2.TimeRange,
            {"startTime": "2026-01-01T12:00:00.1234567890Z"},
            "start_time",
            "must be a time such as",
        ),
        (
            common_pb2.TimeRange,
            {"startTime": "0001-01-01T00:00:00+01:00"},
            "start_time",
            "must be in the years 1 to 9999",
        ),
        (
            common_pb2.TimeRange,
            {"startTime": "2026-01-01T12:00:00+19:00"},
            "start_time",
            "must have an offset of at most",
        ),
        (job_service_pb2.StopJobRequest, {"wait": "1m"}, "wait", "must be a duration in seconds such as 1.5s, is '1m'"),
        (job_service_pb2.StopJobRequest, {"wait": "315576000001s"}, "wait", "must be at most 315576000000s"),
        (source_service_pb2.Source, {"labels": []}, "labels", "must be an object, is an array"),
        (source_service_pb2.Source, {"labels": {"a": None}}, 'labels["a"]', "must be a string, is null"),
        (source_service_pb2.UpdateSourceRequest, {"updateMask": "a b"}, "update_mask", "must be the names of fields"),
        (wrappers_pb2.BytesValue, "a", "", "must be base64, is 'a'"),
        (wrappers_pb2.BytesValue, "a$b=", "", "must be base64, is 'a$b='"),
        (wrappers_pb2.FloatValue, 1e39, "", "must be a number that a float can hold"),
        (any_pb2.Any, {"@type": "type.googleapis.com/no.Such"}, "", "Can not find message descriptor"),
    ],
)
def test_what_is_not_of_the_type_is_refused(make: Any, value: Any, field: str, description: str) -> None:
    _, wrong = read(make, value)
    assert wrong[field].startswith(description)


@pytest.mark.parametrize("text", ["_-8", "_-8=", "/+8=", "/+8"])
def test_bytes_may_be_of_either_alphabet_with_or_without_padding(text: str) -> None:
    assert read(wrappers_pb2.BytesValue, text) == (wrappers_pb2.BytesValue(value=b"\xff\xef"), {})


def test_a_struct_is_bounded_in_depth_and_can_still_be_sent() -> None:
    def nested(depth: int) -> dict[str, Any]:
        value: Any = 1
        for _ in range(depth):
            value = {"a": value}
        return {"metricType": {}, "fields": value}

    choice, wrong = read(metric_type_service_pb2.MetricTypeChoice, {"fields": nested(30)["fields"]})
    assert wrong == {}
    request = metric_type_service_pb2.CreateMetricTypeChoiceRequest(choice=choice)
    assert metric_type_service_pb2.CreateMetricTypeChoiceRequest.FromString(request.SerializeToString()) == request
    _, wrong = read(metric_type_service_pb2.MetricTypeChoice, {"fields": nested(31)["fields"]})
    assert wrong == {"fields": "is nested deeper than 30"}


def test_a_message_of_its_own_type_is_bounded_in_depth() -> None:
    value: dict[str, Any] = {}
    for _ in range(40):
        value = {"again": value}
    _, wrong = read(every_kind(), value)
    assert list(wrong.values()) == ["is nested deeper than 30"]
