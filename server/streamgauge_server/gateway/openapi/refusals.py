"""What an operation may be refused with: the answers of the document that are `google.rpc.Status`.

Which reasons there are, with their status codes, is told by the comments of `ErrorReason`; which of them an operation
has, by the comments of its method and of the fields of its request.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import grpc

from streamgauge_server.gateway.api import HTTP_STATUS_OF
from streamgauge_server.gateway.openapi.contract import Contract, first_sentence

REASONS = "streamgauge.v1.ErrorReason"
_PREFIX = "ERROR_REASON_"

ALWAYS = (
    *("INVALID_FIELD", "TOKEN_MISSING", "TOKEN_INVALID", "TOKEN_EXPIRED", "SCOPE_MISSING", "RATE_LIMITED"),
    *("MESSAGE_TOO_LARGE", "INTERNAL", "STORE_UNAVAILABLE", "SHUTTING_DOWN", "IDENTITY_PROVIDER_UNAVAILABLE"),
    "DEADLINE_EXCEEDED",
)
"""Reasons that every call may be refused with."""

_OF_WRITES = "WRITE_CONFLICT"

_OF_HEADS = {431: "The target and the headers are larger than the gateway takes."}
"""What the gateway itself refuses, on any path."""

_OF_BODIES = {
    408: "The request did not arrive in time.",
    413: "The body is larger than the gateway takes.",
    415: "The body is of a content type that is not read here.",
}
"""What it refuses on paths with a body."""

_WORD = re.compile(r"\b[A-Z][A-Z_]{3,}\b")


HEAD_TOO_LARGE = {"431": {"$ref": "#/components/responses/Refused431"}}
"""The answer by which any operation of any API may refuse: before it is known whose request it is."""


class Refusals:
    """The answers by which operations refuse. Those that every operation has are `components`, by name."""

    def __init__(self, contract: Contract, status: Mapping[str, Any]) -> None:
        """`status` is the schema of the body."""
        self._status = status
        self._reasons: dict[str, tuple[int, str]] = {}
        for value in contract.enums[REASONS].value:
            code, colon, told = contract.comment(f"{REASONS}.{value.name}").partition(": ")
            if colon and hasattr(grpc.StatusCode, code):
                http = HTTP_STATUS_OF[grpc.StatusCode[code].value[0]]
                self._reasons[value.name.removeprefix(_PREFIX)] = http, first_sentence(told)
        self._always = self._described(frozenset(ALWAYS)) | _OF_HEADS | _OF_BODIES
        self.components = {_name(status): self._response(told) for status, told in self._always.items()}

    def responses(self, comments: Iterable[str], resource: str, *, writes: bool, body: bool) -> dict[str, Any]:
        """Returns the refusals of an operation by HTTP status.

        `comments` are those of its method and request, `resource` says what it is about, as `metric_type`, empty when
        that is nothing that has a name.
        """
        named = {word for comment in comments for word in _WORD.findall(comment)}
        named.add(f"{resource.upper()}_NOT_FOUND")
        if writes:
            named.add(_OF_WRITES)
        told = self._described(named.union(ALWAYS)) | _OF_HEADS | (_OF_BODIES if body else {})
        return {
            str(status): {"$ref": f"#/components/responses/{_name(status)}"}
            if told[status] == self._always.get(status)
            else self._response(told[status])
            for status in sorted(told)
        }

    def _described(self, reasons: Collection[str]) -> dict[int, str]:
        lines: dict[int, list[str]] = {}
        for reason, (status, told) in self._reasons.items():
            if reason in reasons:
                lines.setdefault(status, []).append(f"- `{reason}`: {told}.")
        return {status: "\n".join(["Refused:", "", *told]) for status, told in lines.items()}

    def _response(self, description: str) -> dict[str, Any]:
        return {
            "description": description,
            "headers": {"X-Request-Id": {"$ref": "#/components/headers/X-Request-Id"}},
            "content": {"application/json": {"schema": dict(self._status)}},
        }


def _name(status: int) -> str:
    return f"Refused{status}"
