"""Job types: the kinds of jobs by which their runs are counted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from streamgauge_server.model.entities import Caller
from streamgauge_server.model.errors import Violation, invalid
from streamgauge_server.model.jobs import JobType
from streamgauge_server.model.names import MAX_NAME_BYTES, id_problem, text_problem
from streamgauge_server.services.auth import require_scope
from streamgauge_server.services.page_tokens import (
    cut_page,
    damaged_token,
    page_size_of,
    page_size_problems,
    request_digest,
    token_after,
)
from streamgauge_server.storage.store import Store

READ, WRITE = "read:jobs", "write:jobs"

_COLLECTION = "jobTypes/"
_MAX_BYTES = {
    "type_name": MAX_NAME_BYTES,
    "version": 64,
    "title": MAX_NAME_BYTES,
    "description": 4_096,
    "category": MAX_NAME_BYTES,
    "author_name": MAX_NAME_BYTES,
    "author_url": 1_024,
    "icon_code": 64,
    "unmet_resources": 1_024,
}
"""The texts of a job type and their bounds."""


@dataclass(frozen=True, slots=True)
class JobTypePage:
    """A page of job types, the token of the next one (empty on the last), and how many there are over all pages."""

    job_types: Sequence[JobType]
    next_page_token: str
    total: int


class JobTypes:
    """Creates, reads and changes job types; one instance serves all callers.

    What the edge found wrong with a request is handed in as `problems`, and told along with what is found here.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    async def create(self, caller: Caller, id: str, fields: Mapping[str, Any]) -> JobType:
        """Registers a job type; `fields` holds those of JOB_TYPE_CHANGEABLE that are given.

        Raises:
            DomainError: SCOPE_MISSING, INVALID_FIELD, JOB_TYPE_ALREADY_EXISTS.
        """
        require_scope(caller, WRITE)
        problems = _problems({"type_name": "", **fields})
        if problem := id_problem(id):
            problems.insert(0, Violation("job_type_id", problem))
        if problems:
            raise invalid(problems)
        return await self._store.job_types.create(caller.tenant, id, fields)

    async def get(self, caller: Caller, name: str) -> JobType:
        """Returns the job type with resource name `name`.

        Raises:
            DomainError: SCOPE_MISSING, INVALID_FIELD, JOB_TYPE_NOT_FOUND.
        """
        require_scope(caller, READ)
        id_, problem = job_type_id(name, "name")
        if problem is not None:
            raise invalid([problem])
        return await self._store.job_types.get(caller.tenant, id_)

    async def list(
        self, caller: Caller, *, type_name: str, version: str, active_only: bool, page_size: int, page_token: str
    ) -> JobTypePage:
        """Returns a page of the job types that the filters let through, by id.

        Raises:
            DomainError: SCOPE_MISSING, INVALID_FIELD, PAGE_TOKEN_MISMATCH.
        """
        require_scope(caller, READ)
        problems = page_size_problems(page_size)
        for field, text in (("type_name", type_name), ("version", version)):
            if problem := text_problem(text, _MAX_BYTES[field]):
                problems.append(Violation(field, problem))
        if problems:
            raise invalid(problems)
        size = page_size_of(page_size)
        digest = request_digest("ListJobTypes", type_name, version, str(active_only))
        after = token_after(page_token, digest, keys=1)
        if after and id_problem(after[0]):
            raise damaged_token()
        found = await self._store.job_types.list(
            caller.tenant,
            type_name=type_name,
            version=version,
            active_only=active_only,
            after_id=after[0] if after else "",
            limit=size + 1,
        )
        total = await self._store.job_types.count(
            caller.tenant, type_name=type_name, version=version, active_only=active_only
        )
        page, token = cut_page(found, size, digest, lambda job_type: [job_type.id])
        return JobTypePage(page, token, total)

    async def update(
        self, caller: Caller, name: str, changes: Mapping[str, Any], etag: str, problems: Sequence[Violation] = ()
    ) -> JobType:
        """Changes those fields of a job type that `changes` has, out of JOB_TYPE_CHANGEABLE.

        Raises:
            DomainError: SCOPE_MISSING, INVALID_FIELD, JOB_TYPE_NOT_FOUND, ETAG_MISMATCH, JOB_TYPE_ALREADY_EXISTS when
                type name and version are another's.
        """
        require_scope(caller, WRITE)
        id_, problem = job_type_id(name, "job_type.name")
        found = [*([] if problem is None else [problem]), *problems, *_problems(changes)]
        if found:
            raise invalid(found)
        return await self._store.job_types.update(caller.tenant, id_, changes, etag=etag)


def job_type_id(name: str, field: str) -> tuple[str, Violation | None]:
    """Returns the id of a job type's resource name, and what is wrong with it."""
    id_ = name.removeprefix(_COLLECTION)
    if not name.startswith(_COLLECTION) or id_problem(id_):
        return "", Violation(field, "must be the resource name of a job type, 'jobTypes/{job_type}'")
    return id_, None


def type_id(name: str) -> str:
    """Returns the id in a resource name of a job type, which was found right; empty for none."""
    return name.removeprefix(_COLLECTION)


def _problems(fields: Mapping[str, Any]) -> list[Violation]:
    """Returns what is wrong with the fields of a job type that are given."""
    return [
        Violation(f"job_type.{field}", problem)
        for field, limit in _MAX_BYTES.items()
        if field in fields and (problem := text_problem(fields[field], limit, required=field == "type_name"))
    ]
