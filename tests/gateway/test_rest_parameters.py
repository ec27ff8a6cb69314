"""Texts of paths and queries into fields: which names there are, what a value may be, what collides."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import Default, DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from streamgauge_server.gateway.rest.contract import Binding, bindings
from streamgauge_server.gateway.rest.parameters import Parameters
from streamgauge_server.gateway.rest.requests import Requests
from streamgauge_server.gateway.rest.violations import Violations
from streamgauge_server.gateway.templates import Template

FIELD = FieldDescriptorProto
WELL_KNOWN = ("timestamp", "duration", "field_mask", "wrappers", "struct")


def request_class() -> Any:
    """Returns a message with a field of every sort that a query may or may not name."""
    file = FileDescriptorProto(name="sorts.proto", package="test", syntax="proto3")
    pool = DescriptorPool()
    for name in WELL_KNOWN:
        file.dependency.append(f"google/protobuf/{name}.proto")
        known = FileDescriptorProto()
        Default().FindFileByName(file.dependency[-1]).CopyToProto(known)
        pool.Add(known)
    colour = file.enum_type.add(name="Colour")
    colour.value.add(name="COLOUR_UNSPECIFIED", number=0)
    colour.value.add(name="COLOUR_RED", number=1)
    message = file.message_type.add(name="Sorts")
    entry = message.nested_type.add(name="LabelsEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, type=FIELD.TYPE_STRING, label=FIELD.LABEL_OPTIONAL)
    entry.field.add(name="value", number=2, type=FIELD.TYPE_STRING, label=FIELD.LABEL_OPTIONAL)
    message.oneof_decl.add(name="kind")
    add(message, "name", FIELD.TYPE_STRING)
    add(message, "page_size", FIELD.TYPE_INT32)
    add(message, "big", FIELD.TYPE_UINT64)
    add(message, "ratio", FIELD.TYPE_DOUBLE)
    add(message, "is_on", FIELD.TYPE_BOOL)
    add(message, "raw", FIELD.TYPE_BYTES)
    add(message, "colour", FIELD.TYPE_ENUM, ".test.Colour")
    add(message, "cursor_text", FIELD.TYPE_STRING).json_name = "cursor"
    add(message, "metrics", FIELD.TYPE_STRING, many=True)
    add(message, "colours", FIELD.TYPE_ENUM, ".test.Colour", many=True)
    add(message, "at", FIELD.TYPE_MESSAGE, ".google.protobuf.Timestamp")
    add(message, "ats", FIELD.TYPE_MESSAGE, ".google.protobuf.Timestamp", many=True)
    add(message, "for_long", FIELD.TYPE_MESSAGE, ".google.protobuf.Duration")
    add(message, "mask", FIELD.TYPE_MESSAGE, ".google.protobuf.FieldMask")
    add(message, "maybe", FIELD.TYPE_MESSAGE, ".google.protobuf.BoolValue")
    add(message, "count", FIELD.TYPE_MESSAGE, ".google.protobuf.Int64Value")
    add(message, "free", FIELD.TYPE_MESSAGE, ".google.protobuf.Struct")
    add(message, "inner", FIELD.TYPE_MESSAGE, ".test.Sorts")
    add(message, "inners", FIELD.TYPE_MESSAGE, ".test.Sorts", many=True)
    add(message, "labels", FIELD.TYPE_MESSAGE, ".test.Sorts.LabelsEntry", many=True)
    add(message, "left", FIELD.TYPE_STRING).oneof_index = 0
    add(message, "right", FIELD.TYPE_MESSAGE, ".google.protobuf.Duration").oneof_index = 0
    pool.Add(file)
    return GetMessageClass(pool.FindMessageTypeByName("test.Sorts"))


def add(message: DescriptorProto, name: str, kind: Any, type_name: str = "", *, many: bool = False) -> Any:
    label = FIELD.LABEL_REPEATED if many else FIELD.LABEL_OPTIONAL
    return message.field.add(
        name=name, number=len(message.field) + 1, type=kind, type_name=type_name or None, label=label
    )


SORTS = request_class()


def parameters(body: str = "") -> Parameters:
    method: Any = SimpleNamespace(input_type=SORTS.DESCRIPTOR)
    return Parameters(Binding(method, "GET", "/v1/sorts", body))


def bound(query: str | bytes, *, body: str = "", variables: dict[str, str] | None = None) -> tuple[Any, dict[str, str]]:
    """Returns the message that a query makes, and what is wrong by parameter."""
    message, violations = SORTS(), Violations()
    raw = query.encode() if isinstance(query, str) else query
    parameters(body).set_query(message, raw, variables or {}, violations)
    return message, {violation.field: violation.description for violation in violations.found}


@pytest.mark.parametrize(
    ("query", "fields"),
    [
        ("", {}),
        ("&&", {}),
        ("name=", {"name": ""}),
        ("name=a+b%20c%2B%26%3D=d", {"name": "a b c+&==d"}),
        ("n%61me=x", {"name": "x"}),
        ("page_size=7", {"page_size": 7}),
        ("pageSize=-7", {"page_size": -7}),
        ("big=18446744073709551615", {"big": 2**64 - 1}),
        ("ratio=1e-3", {"ratio": 0.001}),
        ("ratio=Infinity", {"ratio": float("inf")}),
        ("isOn=true", {"is_on": True}),
        ("is_on=false", {"is_on": False}),
        ("raw=_-8", {"raw": b"\xff\xef"}),
        ("colour=COLOUR_RED", {"colour": 1}),
        ("colour=1", {"colour": 1}),
        ("colour=9", {"colour": 9}),
        ("cursor=x", {"cursor_text": "x"}),
        ("cursor_text=x", {"cursor_text": "x"}),
        ("metrics=a&name=n&metrics=b", {"metrics": ["a", "b"], "name": "n"}),
        ("colours=1&colours=COLOUR_UNSPECIFIED", {"colours": [1, 0]}),
        ("at=2026-01-01T12:00:00.5Z", {"at": {"seconds": 1_767_268_800, "nanos": 500_000_000}}),
        ("at=2026-01-01T14:00:00%2B02:00", {"at": {"seconds": 1_767_268_800}}),
        ("ats=2026-01-01T12:00:00Z&ats=1970-01-01T00:00:00Z", {"ats": [{"seconds": 1_767_268_800}, {}]}),
        ("forLong=-1.5s", {"for_long": {"seconds": -1, "nanos": -500_000_000}}),
        ("mask=displayName,a.bC,d_e", {"mask": {"paths": ["display_name", "a.b_c", "d_e"]}}),
        ("mask=*", {"mask": {"paths": ["*"]}}),
        ("mask=", {"mask": {}}),
        ("maybe=false", {"maybe": {"value": False}}),
        ("count=0", {"count": {"value": 0}}),
        ("inner.pageSize=1&inner.inner.name=x", {"inner": {"page_size": 1, "inner": {"name": "x"}}}),
        ("left=x", {"left": "x"}),
        ("right=1s", {"right": {"seconds": 1}}),
    ],
)
def test_a_query_sets_fields(query: str, fields: dict[str, Any]) -> None:
    assert bound(query) == (SORTS(**fields), {})


@pytest.mark.parametrize(
    ("query", "field", "description"),
    [
        ("nope=1", "nope", "is no field of Sorts"),
        ("Name=1", "Name", "is no field of Sorts"),
        ("=1", "", "is no field of Sorts"),
        ("inner.nope=1", "inner.nope", "is no field of Sorts"),
        ("name.x=1", "name.x", "is no field: name has none"),
        ("at.seconds=1", "at.seconds", "is no field: at has none"),
        ("inner.=1", "inner.", "is no field of Sorts"),
        (".name=1", ".name", "is no field of Sorts"),
        ("page_size=1&pageSize=1", "pageSize", "is given twice, and takes one value"),
        ("at=1970-01-01T00:00:00Z&at=1970-01-01T00:00:00Z", "at", "is given twice, and takes one value"),
        ("page_size=", "page_size", "must be an integer, is ''"),
        ("page_size=1.0", "page_size", "must be an integer, is '1.0'"),
        ("page_size=%2B1", "page_size", "must be an integer, is '+1'"),
        ("big=-1", "big", "must be between 0 and 18446744073709551615, is -1"),
        ("ratio=1e999", "ratio", "must be a number that a double can hold"),
        ("isOn", "isOn", "must be true or false, is ''"),
        ("isOn=1", "isOn", "must be true or false, is '1'"),
        ("isOn=TRUE", "isOn", "must be true or false, is 'TRUE'"),
        ("colour=RED", "colour", "must be one of COLOUR_UNSPECIFIED, COLOUR_RED, is 'RED'"),
        ("colour=4294967296", "colour", "must be between -2147483648 and 2147483647, is 4294967296"),
        ("raw=a", "raw", "must be base64, is 'a': it has one letter too many"),
        ("at=2026-01-01T14:00:00+02:00", "at",
         "must be a time such as 2026-01-01T12:00:00Z, is '2026-01-01T14:00:00 02:00'; in a query, + is written %2B"),
        ("forLong=1m", "forLong", "must be a duration in seconds such as 1.5s, is '1m'"),
        ("mask=a b", "mask", "must be the names of fields with commas between them, is 'a b'"),
        ("maybe=x", "maybe", "must be true or false, is 'x'"),
        ("labels=a", "labels", "cannot be given in a query: it is a map"),
        ("labels.a=b", "labels.a", "cannot be given in a query: labels is a map"),
        ("inners=a", "inners", "cannot be given in a query: it is a list of messages"),
        ("inners.name=a", "inners.name", "cannot be given in a query: inners is a list of messages"),
        ("inner=a", "inner", "cannot be given in a query: it is a message; give its fields, as inner.name=value"),
        ("free=1", "free", "cannot be given in a query: it is a message; give its fields, as free.name=value"),
        ("left=a&right=1s", "right", "is given together with left; give one of them"),
        (".".join(["inner"] * 8) + ".name=x", "inner.inner.inner.inner.inner.inner.inner.inner.name",
         "names a field deeper than 8"),
        (b"name=%ff", "name", "is not percent-encoded UTF-8"),
        (b"name=\xff", "name", "is not percent-encoded UTF-8"),
        (b"n%ffame=x", "n%ffame", "is not percent-encoded UTF-8"),
        ("name=100%", "name", "is not percent-encoded: a % stands for nothing; % itself is %25"),
    ],
)  # fmt: skip
def test_what_no_field_takes_is_refused(query: str | bytes, field: str, description: str) -> None:
    assert bound(query)[1] == {field: description}


def test_everything_that_is_wrong_with_a_query_is_told_at_once() -> None:
    _, wrong = bound("nope=1&page_size=x&at=y&name=a&name=b&left=a&right=1s")
    assert sorted(wrong) == ["at", "name", "nope", "page_size", "right"]


def test_what_path_or_body_give_is_not_taken_from_the_query() -> None:
    path = {"inner.name": "a"}
    assert bound("inner.name=a", variables=path)[1] == {"inner.name": "is given by the path; leave it out of the query"}
    assert bound("page_size=1", body="*")[1] == {
        "page_size": "is not taken from the query: the body is the whole request"
    }
    assert bound("inner.pageSize=1&pageSize=2", body="inner") == (
        SORTS(page_size=2),
        {"inner.pageSize": "is not taken from the query: the body is inner"},
    )


def test_the_path_sets_what_the_body_leaves_open_and_refuses_what_contradicts_it() -> None:
    for given, wrong in (("", []), ("a", []), ("b", ["is 'b' in the body and 'a' in the path"])):
        message, violations = SORTS(), Violations()
        message.inner.name = given
        parameters("inner").set_path(message, {"inner.name": "a"}, violations)
        assert [violation.description for violation in violations.found] == wrong
        assert message.inner.name == "a"


def test_a_path_may_set_other_types_than_text() -> None:
    message, violations = SORTS(), Violations()
    parameters().set_path(message, {"page_size": "7", "colour": "COLOUR_RED", "big": "x"}, violations)
    assert message == SORTS(page_size=7, colour=1)
    assert [(found.field, found.description) for found in violations.found] == [("big", "must be an integer, is 'x'")]


def test_every_binding_of_the_contract_can_be_served() -> None:
    found = bindings()
    for binding in found:
        Requests(binding)
        message, violations = GetMessageClass(binding.method.input_type)(), Violations()
        variables = {variable.field: "x" for variable in Template.parse(binding.template).variables}
        Parameters(binding).set_path(message, variables, violations)
        assert violations.found == [], binding
    assert {(binding.verb, binding.template) for binding in found} >= {
        ("GET", "/v1/{asset=assets/*}/metrics"),
        ("GET", "/v1/assets:metrics"),
        ("PATCH", "/v1/{metric_descriptor.name=metricDescriptors/*/**}"),
    }
