"""Sources: the catalog of what streams, and its metrics as time series, summaries and latest values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from streamgauge_server.model.entities import Caller, Source
from streamgauge_server.model.errors import Violation, invalid
from streamgauge_server.model.limits import Limits
from streamgauge_server.model.names import MAX_NAME_BYTES, SubjectName, id_problem, text_problem
from streamgauge_server.model.values import SubjectKind
from streamgauge_server.services.auth import require_scope
from streamgauge_server.services.labels import label_filter, label_filter_problems, label_problems
from streamgauge_server.services.subject_registry import SubjectRegistry
from streamgauge_server.storage.store import Store

READ, WRITE = "read:source_metrics", "write:source_metrics"


@dataclass(frozen=True, slots=True)
class SourcePage:
    """A page of sources, whether more follow, and how many the filters let through in all."""

    sources: Sequence[Source]
    more: bool
    total: int


class Sources:
    """Creates, reads, changes and deletes sources; one instance serves all callers."""

    def __init__(self, store: Store, limits: Limits, subjects: SubjectRegistry) -> None:
        self._store = store
        self._limits = limits
        self._subjects = subjects

    async def create(self, caller: Caller, source_id: str, fields: Mapping[str, Any]) -> Source:
        """Registers a source; `fields` holds those of SOURCE_CHANGEABLE that are given.

        Raises:
            DomainError: SCOPE_MISSING, INVALID_FIELD, SOURCE_ALREADY_EXISTS, SUBJECT_LIMIT.
        """
        require_scope(caller, WRITE)
        problems = source_problems(fields)
        if problem := id_problem(source_id):
            problems.insert(0, Violation("source_id", problem))
        if problems:
            raise invalid(problems)
        return await self._store.sources.create(
            caller.tenant,
            source_id,
            display_name=fields.get("display_name", ""),
            connector_class=fields.get("connector_class", ""),
            labels=fields.get("labels", {}),
            limits=self._limits,
        )

    async def get(self, caller: Caller, source_id: str) -> Source:
        """Returns a source.

        Raises:
            DomainError: SCOPE_MISSING, SOURCE_NOT_FOUND, also for another tenant's source.
        """
        require_scope(caller, READ)
        return await self._store.sources.get(caller.tenant, source_id)

    async def list(
        self, caller: Caller, *, labels: Sequence[str], connector_class: str, after: str, page_size: int
    ) -> SourcePage:
        """Returns a page of the sources after id `after` that have all `labels` (`key=value`) and the class.

        Raises:
            DomainError: SCOPE_MISSING, INVALID_FIELD for a malformed label.
        """
        require_scope(caller, READ)
        if problems := filter_problems(labels, connector_class):
            raise invalid(problems)
        wanted = label_filter(labels)
        found = await self._store.sources.list(
            caller.tenant, labels=wanted, connector_class=connector_class, after_id=after, limit=page_size + 1
        )
        total = await self._store.sources.count(caller.tenant, labels=wanted, connector_class=connector_class)
        return SourcePage(found[:page_size], len(found) > page_size, total)

    async def update(self, caller: Caller, source_id: str, changes: Mapping[str, Any], etag: str) -> Source:
        """Changes the fields of a source that `changes` names.

        Raises:
            DomainError: SCOPE_MISSING, INVALID_FIELD, SOURCE_NOT_FOUND, ETAG_MISMATCH.
        """
        require_scope(caller, WRITE)
        if problems := source_problems(changes):
            raise invalid(problems)
        return await self._store.sources.update(caller.tenant, source_id, changes, etag=etag)

    async def delete(self, caller: Caller, source_id: str, etag: str) -> None:
        """Deletes a source with its parts and metrics.

        Raises:
            DomainError: SCOPE_MISSING, SOURCE_NOT_FOUND, ETAG_MISMATCH.
        """
        require_scope(caller, WRITE)
        await self._store.sources.delete(caller.tenant, source_id, etag=etag)
        self._subjects.forget_name(caller.tenant, SubjectName(SubjectKind.SOURCE, source_id))


def source_problems(fields: Mapping[str, Any]) -> list[Violation]:
    """Returns what is wrong with the fields of a source, those of SOURCE_CHANGEABLE that are given."""
    found = [
        Violation(f"source.{field}", problem)
        for field in ("display_name", "connector_class")
        if (problem := text_problem(fields.get(field, ""), MAX_NAME_BYTES))
    ]
    return found + label_problems(fields.get("labels", {}), "source.labels")


def filter_problems(labels: Sequence[str], connector_class: str) -> list[Violation]:
    """Returns what is wrong with the filters of a list."""
    found = label_filter_problems(labels)
    if problem := text_problem(connector_class, MAX_NAME_BYTES):
        found.append(Violation("connector_class", problem))
    return found
