"""Messages of any type, made by hypothesis from the type's descriptor."""

from __future__ import annotations

import importlib
import math
import pkgutil
from collections.abc import Iterator
from functools import cache
from typing import Any

import streamgauge.v1
from google.protobuf import wrappers_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message_factory import GetMessageClass
from google.rpc import error_details_pb2, status_pb2
from hypothesis import strategies as st

_MAX_DEPTH = 2
_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
_NAMES = st.from_regex(r"[a-z]{1,3}(_[a-z]{1,3}){0,2}", fullmatch=True)
_SIGNED_32, _SIGNED_64 = st.integers(-(2**31), 2**31 - 1), st.integers(-(2**63), 2**63 - 1)
_UNSIGNED_32, _UNSIGNED_64 = st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1)
_NAN = st.just(math.nan)
"""There are many of them, and JSON has one."""
_SCALARS: dict[int, st.SearchStrategy[Any]] = {
    FieldDescriptor.TYPE_DOUBLE: st.floats(allow_nan=False) | _NAN,
    FieldDescriptor.TYPE_FLOAT: st.floats(allow_nan=False, width=32) | _NAN,
    FieldDescriptor.TYPE_INT32: _SIGNED_32,
    FieldDescriptor.TYPE_SINT32: _SIGNED_32,
    FieldDescriptor.TYPE_SFIXED32: _SIGNED_32,
    FieldDescriptor.TYPE_INT64: _SIGNED_64,
    FieldDescriptor.TYPE_SINT64: _SIGNED_64,
    FieldDescriptor.TYPE_SFIXED64: _SIGNED_64,
    FieldDescriptor.TYPE_UINT32: _UNSIGNED_32,
    FieldDescriptor.TYPE_FIXED32: _UNSIGNED_32,
    FieldDescriptor.TYPE_UINT64: _UNSIGNED_64,
    FieldDescriptor.TYPE_FIXED64: _UNSIGNED_64,
    FieldDescriptor.TYPE_BOOL: st.booleans(),
    FieldDescriptor.TYPE_STRING: _TEXT,
    FieldDescriptor.TYPE_BYTES: st.binary(max_size=5),
}
_NANOS = st.one_of(st.just(0), st.integers(0, 999).map(lambda milli: milli * 1_000_000), st.integers(0, 999_999_999))
_FINITE = st.floats(allow_nan=False, allow_infinity=False)


def types() -> list[Any]:
    """Returns the class of every message of the contract, of the details of errors, and of the wrappers."""
    files = [
        importlib.import_module(f"streamgauge.v1.{info.name}").DESCRIPTOR
        for info in pkgutil.iter_modules(streamgauge.v1.__path__)
        if info.name.endswith("_pb2")
    ]
    files += [error_details_pb2.DESCRIPTOR, status_pb2.DESCRIPTOR, wrappers_pb2.DESCRIPTOR]
    return [
        GetMessageClass(found)
        for file in files
        for descriptor in file.message_types_by_name.values()
        for found in _with_nested(descriptor)
    ]


@cache
def messages(descriptor: Any, depth: int = 0) -> st.SearchStrategy[Any]:
    """Makes messages of a type; those that hold messages hold none from some depth on."""
    special = _SPECIAL.get(descriptor.full_name)
    if special is not None:
        return special
    fields = [field for field in descriptor.fields if depth < _MAX_DEPTH or field.message_type is None]
    groups: dict[str, list[FieldDescriptor]] = {}
    for field in fields:
        groups.setdefault(field.containing_oneof.name if field.containing_oneof else field.name, []).append(field)
    # One member of each oneof at most.
    chosen = [st.one_of(st.none(), *(_given(field, depth) for field in group)) for group in groups.values()]
    make = GetMessageClass(descriptor)
    return st.tuples(*chosen).map(lambda given: make(**dict(pair for pair in given if pair is not None)))


def _given(field: FieldDescriptor, depth: int) -> st.SearchStrategy[tuple[str, Any]]:
    return _values(field, depth).map(lambda value: (field.name, value))


def _values(field: FieldDescriptor, depth: int) -> st.SearchStrategy[Any]:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        key, value = field.message_type.fields_by_name["key"], field.message_type.fields_by_name["value"]
        return st.dictionaries(_one(key, depth), _one(value, depth), max_size=2)
    one = _one(field, depth)
    return st.lists(one, max_size=2) if field.is_repeated else one


def _one(field: FieldDescriptor, depth: int) -> st.SearchStrategy[Any]:
    if field.message_type is not None:
        return messages(field.message_type, depth + 1)
    if field.enum_type is not None:
        return st.one_of(st.sampled_from(sorted(field.enum_type.values_by_number)), st.integers(900, 999))
    return _SCALARS[field.type]


def _duration(parts: tuple[int, int, bool]) -> Any:
    seconds, nanos, negative = parts
    sign = -1 if negative else 1
    return {"seconds": sign * seconds, "nanos": sign * nanos}


_JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), _FINITE, _TEXT),
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(_TEXT, inner, max_size=2)),
    max_leaves=5,
)
_SPECIAL: dict[str, st.SearchStrategy[Any]] = {
    "google.protobuf.Timestamp": st.fixed_dictionaries(
        {"seconds": st.integers(-62_135_596_800, 253_402_300_799), "nanos": _NANOS}
    ),
    "google.protobuf.Duration": st.tuples(st.integers(0, 315_575_999_999), _NANOS, st.booleans()).map(_duration),
    "google.protobuf.FieldMask": st.lists(_NAMES, max_size=2).map(lambda paths: {"paths": paths}),
    "google.protobuf.Struct": st.dictionaries(_TEXT, _JSON, max_size=2),
    "google.protobuf.Any": st.just({}),
}
"""Messages whose fields may not be just anything, as the values that a constructor takes."""


def _with_nested(descriptor: Descriptor) -> Iterator[Descriptor]:
    if not descriptor.GetOptions().map_entry:
        yield descriptor
    for nested in descriptor.nested_types:
        yield from _with_nested(nested)
