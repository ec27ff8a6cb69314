"""What the contract's descriptors say of REST: a binding for every HTTP rule of every method."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import streamgauge.v1
from google.api import annotations_pb2, http_pb2
from google.protobuf.descriptor import MethodDescriptor

_HTTP: Any = annotations_pb2.http

WHOLE_BODY = "*"


@dataclass(frozen=True, slots=True)
class Binding:
    """One way to call a method: an HTTP verb, a path template, and where the body goes.

    `body` is `*` when the body is the whole request, the name of the field that it is, or empty when there is none.
    """

    method: MethodDescriptor
    verb: str
    template: str
    body: str


def bindings() -> list[Binding]:
    """Returns the bindings of all methods of all services, additional ones included, in the order of the files.

    Raises:
        ValueError: a rule asks for what the gateway does not do, or names a field that is none.
    """
    return [binding for method in _methods() for binding in _bindings_of(method)]


def _methods() -> Iterator[MethodDescriptor]:
    for module in sorted(info.name for info in pkgutil.iter_modules(streamgauge.v1.__path__)):
        if module.endswith("_pb2"):
            file: Any = importlib.import_module(f"streamgauge.v1.{module}").DESCRIPTOR
            for service in file.services_by_name.values():
                yield from service.methods


def _bindings_of(method: MethodDescriptor) -> Iterator[Binding]:
    options = method.GetOptions()
    if not options.HasExtension(_HTTP):
        return
    first: http_pb2.HttpRule = options.Extensions[_HTTP]
    for rule in (first, *first.additional_bindings):
        if rule.response_body:
            raise ValueError(f"{method.full_name}: response_body is not served")
        if rule.body not in ("", WHOLE_BODY) and rule.body not in method.input_type.fields_by_name:
            raise ValueError(f"{method.full_name}: the body {rule.body!r} is no field of the request")
        pattern = rule.WhichOneof("pattern")
        if pattern == "custom":
            yield Binding(method, rule.custom.kind, rule.custom.path, rule.body)
        elif pattern is not None:
            yield Binding(method, pattern.upper(), getattr(rule, pattern), rule.body)
