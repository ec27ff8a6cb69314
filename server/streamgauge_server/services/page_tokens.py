"""Page sizes and page tokens of lists: a token is bound to the arguments of the list that it continues."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Callable, Sequence
from typing import TypeVar

from google.protobuf.message import DecodeError

from streamgauge_server.internal.page_token_pb2 import PageToken
from streamgauge_server.model.errors import DomainError, Reason, Violation, invalid
from streamgauge_server.model.values import INT64_MAX

DEFAULT_PAGE_SIZE = 100
MAX_PAGE_SIZE = 1_000

_NUMBER = re.compile(r"-?[0-9]{1,19}")

T = TypeVar("T")


def page_size_problems(requested: int) -> list[Violation]:
    """Returns what is wrong with a page size: that it is negative."""
    return [Violation("page_size", f"must not be negative, is {requested}")] if requested < 0 else []


def page_size_of(requested: int) -> int:
    """Returns the page size in force: 0 is 100, above 1,000 is 1,000 (AIP-158).

    Raises:
        DomainError: INVALID_FIELD for a negative one.
    """
    if problems := page_size_problems(requested):
        raise invalid(problems)
    return min(requested or DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE)


def request_digest(*arguments: str) -> bytes:
    """Returns 16 bytes that stand for the arguments of a list: its name and everything but page size and token."""
    digest = hashlib.sha256()
    for argument in arguments:
        encoded = argument.encode("utf-8", "surrogatepass")
        digest.update(len(encoded).to_bytes(8, "big"))
        digest.update(encoded)
    return digest.digest()[:16]


def cut_page(
    found: Sequence[T], size: int, digest: bytes, key: Callable[[T], Sequence[str]]
) -> tuple[Sequence[T], str]:
    """Returns a page of up to `size` rows, and the token of the next page, empty on the last one.

    `found` has one row more where there is a next page; `key` is the sort key of a row.
    """
    page = found[:size]
    return page, token_for(digest, key(page[-1])) if len(found) > size else ""


def token_for(digest: bytes, after: Sequence[str]) -> str:
    """Returns the token of the page after the row with sort key `after`, one entry per key column."""
    message = PageToken(request_digest=digest, after=after)
    return base64.urlsafe_b64encode(message.SerializeToString()).decode("ascii").rstrip("=")


def token_after(token: str, digest: bytes, *, keys: int, field: str = "page_token") -> tuple[str, ...]:
    """Returns the sort key after which the page begins, `keys` entries long; empty for the first page.

    Raises:
        DomainError: PAGE_TOKEN_MISMATCH when the token is damaged or was given out for other arguments.
    """
    if not token:
        return ()
    try:
        message = PageToken.FromString(base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True))
    except (binascii.Error, ValueError, DecodeError) as error:
        raise damaged_token(field) from error
    if message.request_digest != digest:
        raise _mismatch(field, "belongs to a request with other arguments")
    if len(message.after) != keys:
        raise damaged_token(field)
    return tuple(message.after)


def number_in(key: str, *, smallest: int = -INT64_MAX, largest: int = INT64_MAX, field: str = "page_token") -> int:
    """Returns an entry of a sort key that is a number. A token may be forged, so it is as bounded as its column.

    Raises:
        DomainError: PAGE_TOKEN_MISMATCH when it is no number, or out of bounds.
    """
    if not _NUMBER.fullmatch(key) or not smallest <= int(key) <= largest:
        raise damaged_token(field)
    return int(key)


def damaged_token(field: str = "page_token") -> DomainError:
    """The error of a token that does not hold what it should; for callers that parse the sort key further."""
    return _mismatch(field, "is damaged")


def _mismatch(field: str, description: str) -> DomainError:
    return DomainError(
        Reason.PAGE_TOKEN_MISMATCH,
        f"{field}: {description}",
        metadata={"field": field},
        violations=[Violation(field, description, Reason.PAGE_TOKEN_MISMATCH)],
    )
