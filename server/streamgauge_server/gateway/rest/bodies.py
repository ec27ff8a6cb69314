"""Bodies of requests: their content type, and JSON that can be read in one way only."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any, NoReturn

from starlette.requests import Request

from streamgauge_server.gateway.api import HttpFailure
from streamgauge_server.gateway.rest.violations import InvalidRequest, Violation

JSON = "application/json"
NDJSON = "application/x-ndjson"


def media_type(request: Request, *accepted: str) -> str:
    """Returns the content type of a body, in lower case and without parameters.

    A type is asked for although there is but one: a page of another origin cannot send it without asking first.

    Raises:
        HttpFailure: 415, it is none of `accepted`, not UTF-8, or compressed.
    """
    kind, _, parameters = request.headers.get("content-type", "").partition(";")
    kind = kind.strip().lower()
    if kind not in accepted:
        raise HttpFailure(415, f"the body must be of content type {' or '.join(accepted)}, is {kind[:64] or 'of none'}")
    for parameter in parameters.split(";"):
        name, _, value = parameter.strip().partition("=")
        if name.lower() == "charset" and value.strip('"').lower() not in ("utf-8", "utf8"):
            raise HttpFailure(415, f"the body must be UTF-8, is {value[:64]}")
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise HttpFailure(415, "a compressed body is not read; send it as it is")
    return kind


def read_json(body: bytes, where: str = "the body") -> Any:
    """Reads JSON strictly: UTF-8, no name twice in an object, no NaN.

    Raises:
        InvalidRequest: it is not JSON; `where` says what.
    """
    try:
        return json.loads(body.decode("utf-8"), object_pairs_hook=_object, parse_constant=_no_constant)
    except UnicodeDecodeError as error:
        reason = f"is not UTF-8 at byte {error.start}"
    except RecursionError:
        reason = "is nested too deeply"
    except ValueError as error:
        reason = f"is not JSON: {error}"
    raise InvalidRequest([Violation("", f"{where} {reason}")])


async def lines(request: Request) -> AsyncIterator[bytes]:
    """Yields the lines of a body as they come in, without those that are blank."""
    rest = b""
    async for chunk in request.stream():
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            if line.strip():
                yield line
    if rest.strip():
        yield rest


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"an object has the name {twice[:64]!r} twice")
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number; as text it is one")
