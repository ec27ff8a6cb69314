"""What Django REST framework does around the answers of an API: JSON, pages by number, links, `detail` of errors."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from urllib.parse import urlencode

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response

from streamgauge_server.gateway.api import HttpFailure, http_status
from streamgauge_server.gateway.legacy.headers import refusal_headers
from streamgauge_server.gateway.upstream import Refused

T = TypeVar("T")

NOT_FOUND = "Not found."
INVALID_PAGE = "Invalid page."
NOT_ACCEPTABLE = "Could not satisfy the request Accept header."
SERVER_ERROR = "A server error occurred."
TOO_LARGE = "MESSAGE_TOO_LARGE"
"""The reason of the server for not sending an answer that is too large for one message."""
DEFAULT_PAGE_SIZE = 100
MAX_PAGE_SIZE = 1_000

_INTEGER = re.compile(r"\s*[+-]?[0-9]+\s*", re.ASCII)
_MANY_DIGITS = 18
_JSON = frozenset({"application/json", "application/*", "*/*", "*", ""})
"""Media ranges that JSON is in; an empty header asks for nothing."""
_HOST = re.compile(r"(?:[A-Za-z0-9._~-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")

Fetch = Callable[[int, str], Awaitable[tuple[Sequence[T], str, int]]]
"""Fetches up to so many items after a page token: the items, the token of what follows, and how many there are."""


@dataclass(frozen=True, slots=True)
class Paging:
    """Which page is asked for: its number, None for the last, and its size. A number that is none is 0.

    That there is no such page is told last, after everything else that may be wrong: see `resolved`.
    """

    number: int | None
    size: int

    @classmethod
    def of(cls, query: QueryParams) -> Paging:
        """Reads `page` and `page_size`; a size that is none is the default."""
        size = _integer(query.get("page_size", "")) or 0
        page = query.get("page", "1")
        number = None if page == "last" else _integer(page) or 0
        return cls(number, min(size, MAX_PAGE_SIZE) if size > 0 else DEFAULT_PAGE_SIZE)

    def resolved(self, total: int) -> tuple[int, int]:
        """Returns the page's number, and the number of the last page, of `total` items. One page may be empty.

        Raises:
            HttpFailure: 404 for one before the first or after the last.
        """
        last = max(-(-total // self.size), 1)
        number = last if self.number is None else self.number
        if not 1 <= number <= last:
            raise HttpFailure(404, INVALID_PAGE)
        return number, last


EVERYTHING = Paging(1, 2**63)
"""All items on one page."""


@dataclass(frozen=True, slots=True)
class Numbered(Generic[T]):
    """A page by its number, the number of the last one, and how many items there are on all of them."""

    items: Sequence[T]
    number: int
    last: int
    total: int


async def numbered(fetch: Fetch[T], paging: Paging) -> Numbered[T]:
    """Finds a page by its number in a list that is paged by tokens.

    What comes before the page is passed over by as few calls as the server allows; up to its 1,000th item a page is
    one call, unless the answer is too large for one message: then it comes in parts.

    Raises:
        HttpFailure: 404 when there is no such page.
        Refused: the server refused a call.
    """
    kept: list[T] = []
    position, token = 0, ""
    end = max(paging.number or 1, 1) * paging.size
    most = MAX_PAGE_SIZE
    while True:
        size = min(end - position, most)
        try:
            items, token, total = await fetch(size, token)
        except Refused as refused:
            if refused.reason != TOO_LARGE or size == 1:
                raise
            most = size // 2
            continue
        number, last = paging.resolved(total)
        end = min(number * paging.size, total)
        kept += items[max((number - 1) * paging.size - position, 0) : max(end - position, 0)]
        position += len(items)
        if not token or position >= end:
            return Numbered(kept, number, last, total)


def page_body(request: Request, path: str, page: Numbered[Any], results: Sequence[Any]) -> dict[str, Any]:
    """Returns the body of a page: how many items there are, links to the pages next to it, and its own.

    `path` is that of the list, percent-encoded.
    """
    base = f"{_origin(request)}{path}"
    query = request.query_params
    return {
        "count": page.total,
        "next": _link(base, query, page.number + 1) if page.number < page.last else None,
        "previous": _link(base, query, page.number - 1) if page.number > 1 else None,
        "results": results,
    }


def answer(content: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Returns a response with compact JSON. There is no NaN in it: a `ValueError` says who let one in."""
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    # As the framework does: JSON that is also JavaScript, in which these end lines.
    text = text.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    return Response(text, status, {"Vary": "Accept", **(headers or {})}, "application/json")


def negotiate(request: Request) -> None:
    """Refuses requests for anything but JSON, by `format` or by `Accept`. Parameters and weights do not matter.

    Raises:
        HttpFailure: 404 for a format that there is not, 406 when `Accept` leaves JSON out.
    """
    if request.query_params.get("format", "") not in ("", "json"):
        raise HttpFailure(404, NOT_FOUND)
    accepted = ",".join(request.headers.getlist("accept") or ["*/*"])
    if not any(one.partition(";")[0].strip().lower() in _JSON for one in accepted.split(",")):
        raise HttpFailure(406, NOT_ACCEPTABLE)


def tell_failure(request: Request, error: HttpFailure) -> Response:
    """Answers what the gateway itself refuses."""
    detail = error.message
    if error.status == 404 and detail != INVALID_PAGE:
        detail = NOT_FOUND
    elif error.status == 405:
        detail = f'Method "{request.method}" not allowed.'
    return answer({"detail": detail}, _status(error.status), error.headers)


def tell_refusal(refused: Refused, detail: str) -> Response:
    """Answers what the server refused."""
    # What is too large to be answered comes of what was asked.
    status = 400 if refused.reason == TOO_LARGE else _status(http_status(refused))
    return answer({"detail": detail}, status, refusal_headers(refused))


def _status(status: int) -> int:
    """Returns the status as this API has it: a caller who is not known is told the same as one who may not."""
    return 403 if status == 401 else status


def _integer(text: str) -> int | None:
    """Returns the integer that a parameter is, None when it is none; one with very many digits is only large."""
    if not _INTEGER.fullmatch(text):
        return None
    stripped = text.strip()
    if len(stripped) > _MANY_DIGITS:
        digits = stripped.lstrip("+-").lstrip("0")[: _MANY_DIGITS + 1] or "0"
        return -int(digits) if stripped.startswith("-") else int(digits)
    return int(stripped)


def _origin(request: Request) -> str:
    """Returns scheme and host of the request, as its sender sees them.

    The host is the header's, if it is one; otherwise the address that was connected to. `X-Forwarded-*` and
    `Forwarded` are not read: anybody can send them.
    """
    host = request.headers.get("host", "")
    if not _HOST.fullmatch(host):
        name, port = request.scope.get("server") or ("localhost", None)
        # The server of a unix socket is its path.
        host = "localhost" if name.startswith("/") else f"[{name}]" if ":" in name else name
        host += f":{port}" if port is not None else ""
    return f"{request.scope['scheme']}://{host}"


def _link(base: str, query: QueryParams, number: int) -> str:
    """Returns the link to another page: all parameters kept, names sorted, `page` left out on the first page."""
    kept = {name: query.getlist(name) for name in query if name != "page"}
    if number > 1:
        kept["page"] = [str(number)]
    encoded = urlencode(sorted(kept.items()), doseq=True)
    return f"{base}?{encoded}" if encoded else base
