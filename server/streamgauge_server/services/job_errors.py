"""The catalog of errors by which failures of jobs are counted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from streamgauge_server.model.entities import Caller
from streamgauge_server.model.errors import Violation, invalid
from streamgauge_server.model.job_errors import ErrorCategory, ErrorInfo
from streamgauge_server.model.names import MAX_NAME_BYTES, id_problem, text_problem
from streamgauge_server.services.auth import require_scope
from streamgauge_server.services.job_types import READ, WRITE
from streamgauge_server.services.page_tokens import (
    cut_page,
    number_in,
    page_size_of,
    page_size_problems,
    request_digest,
    token_after,
)
from streamgauge_server.storage.store import Store

MAX_DESCRIPTION_BYTES = 4_096


@dataclass(frozen=True, slots=True)
class ErrorPage:
    """A page of errors, the token of the next one (empty on the last), and how many there are over all pages."""

    errors: Sequence[ErrorInfo]
    next_page_token: str
    total: int


class JobErrors:
    """Lists and creates errors; one instance serves all callers.

    What the edge found wrong with a request is handed in as `problems`, and told along with what is found here.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    async def create(self, caller: Caller, error: ErrorInfo, problems: Sequence[Violation] = ()) -> ErrorInfo:
        """Adds an error; its number and whether it is built in are not taken from `error`.

        Raises:
            DomainError: SCOPE_MISSING, INVALID_FIELD, JOB_ERROR_ALREADY_EXISTS.
        """
        require_scope(caller, WRITE)
        checks = {
            "error": id_problem(error.error),
            "title": text_problem(error.title, MAX_NAME_BYTES),
            "description": text_problem(error.description, MAX_DESCRIPTION_BYTES),
            "job_type_name": text_problem(error.job_type_name, MAX_NAME_BYTES),
        }
        wrong = [Violation(f"error.{field}", problem) for field, problem in checks.items() if problem]
        if wrong or problems:
            raise invalid([*wrong, *problems])
        return await self._store.job_errors.create(caller.tenant, error)

    async def list(
        self,
        caller: Caller,
        *,
        category: ErrorCategory | None,
        built_in_only: bool,
        page_size: int,
        page_token: str,
        problems: Sequence[Violation] = (),
    ) -> ErrorPage:
        """Returns a page of errors, the built-in ones first, then by number, of a category if one is given.

        Raises:
            DomainError: SCOPE_MISSING, INVALID_FIELD, PAGE_TOKEN_MISMATCH.
        """
        require_scope(caller, READ)
        if found := [*page_size_problems(page_size), *problems]:
            raise invalid(found)
        size = page_size_of(page_size)
        digest = request_digest("ListErrors", "" if category is None else category.name, str(built_in_only))
        after = _after(token_after(page_token, digest, keys=2))
        errors = await self._store.job_errors.list(
            caller.tenant, category=category, built_in_only=built_in_only, after=after, limit=size + 1
        )
        total = await self._store.job_errors.count(caller.tenant, category=category, built_in_only=built_in_only)
        page, token = cut_page(errors, size, digest, _key)
        return ErrorPage(page, token, total)


def _key(error: ErrorInfo) -> Sequence[str]:
    return ["built in" if error.built_in else "", str(error.number)]


def _after(key: Sequence[str]) -> ErrorInfo | None:
    """Returns the error after which a page begins, as far as its place goes."""
    if not key:
        return None
    built_in, number = key
    return ErrorInfo(number_in(number, smallest=0), "", ErrorCategory.SYSTEM, built_in=bool(built_in))
