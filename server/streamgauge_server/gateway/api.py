"""What an HTTP API of the gateway is: routes, each with a handler, and a way to tell what went wrong."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from streamgauge_server.gateway.upstream import Refused


class Slash(Enum):
    """What becomes of the slash at the end of a path."""

    OPTIONAL = "optional"
    """With and without it are the same."""
    REDIRECT = "redirect"
    """The route is with it; without it the answer is a 301 to the path with it, the query kept."""


class HttpFailure(Exception):
    """The gateway itself refuses a request: `status`, what it says to people, and further headers."""

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = dict(headers or {})


Handler = Callable[[Request, Mapping[str, str]], Awaitable[Response]]
"""Answers a request. The mapping has the variables of the route's path, percent-decoded exactly once, checked to be
UTF-8. What the handler raises, `Refused`, `HttpFailure` or the API's own exceptions, goes to the API's `tell`."""


@dataclass(frozen=True, slots=True)
class Route:
    """One path with one verb.

    `template` is in the language of `google.api.http`, for example `/v1/{name=sources/*}:reset`: `{x}` is one segment,
    `{x=**}` the rest. `operation` is the route's OpenAPI 3.1 operation object, None for a route that the documents
    leave out.
    """

    verb: str
    template: str
    handler: Handler
    slash: Slash = Slash.OPTIONAL
    operation: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Api:
    """Routes that share their kind of errors.

    `roots` are the first path segments (below the API's prefix) in which it also tells about paths that are no route
    of anybody and verbs that a path does not have; `tell` turns whatever a handler raised, or an `HttpFailure` of the
    gateway itself, into an answer. `schemas` are OpenAPI components that the operations refer to.
    """

    name: str
    routes: Sequence[Route]
    roots: Sequence[str]
    tell: Callable[[Request, Exception], Response]
    prefix: str = ""
    schemas: Mapping[str, Any] = field(default_factory=dict)


HTTP_STATUS_OF = {
    1: 499, 2: 500, 3: 400, 4: 504, 5: 404, 6: 409, 7: 403, 8: 429, 9: 400, 10: 409, 11: 400, 12: 501, 13: 500, 14: 503,
    15: 500, 16: 401,
}  # fmt: skip
"""HTTP status of each gRPC status code, as `google.rpc.Code` says."""


def http_status(refused: Refused) -> int:
    """Returns the HTTP status of a refusal."""
    return HTTP_STATUS_OF.get(refused.code.value[0], 500)
