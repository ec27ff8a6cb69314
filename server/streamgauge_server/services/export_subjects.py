"""Which subjects an export has, in the order in which they are sent: by kind, name and part."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Protocol

from streamgauge_server.model.names import SubjectName
from streamgauge_server.model.values import SubjectKind
from streamgauge_server.storage.store import Store
from streamgauge_server.storage.subjects import SubjectKey

_PAGE = 64
"""Subjects and parts whose days are looked up at once."""

Page = list[tuple[SubjectKey, int]]
"""Subjects and parts with their ids."""


class ExportSubjects(Protocol):
    """The subjects and parts of an export."""

    async def count(self, before: SubjectKey | None = None) -> int:
        """Returns how many there are, in all or before one."""
        ...

    def pages(self, first: SubjectKey | None) -> AsyncIterator[Page]:
        """Yields all from `first` on, some at a time."""
        ...


class NamedSubjects:
    """The subjects that a request names, as far as they exist, with their parts."""

    def __init__(self, parts: Mapping[SubjectName, Mapping[str, int]]) -> None:
        found = [(SubjectKey(name, part), id_) for name, ids in parts.items() for part, id_ in ids.items()]
        self._found = sorted(found, key=lambda one: _order(one[0]))

    async def count(self, before: SubjectKey | None = None) -> int:
        """See `ExportSubjects.count`."""
        if before is None:
            return len(self._found)
        return sum(_order(key) < _order(before) for key, _ in self._found)

    async def pages(self, first: SubjectKey | None) -> AsyncIterator[Page]:
        """See `ExportSubjects.pages`."""
        left = [one for one in self._found if first is None or _order(one[0]) >= _order(first)]
        for place in range(0, len(left), _PAGE):
            yield left[place : place + _PAGE]


class SubjectsOfKind:
    """All subjects of one kind and their parts. Those that are registered meanwhile may be among them."""

    def __init__(self, store: Store, tenant: str, kind: SubjectKind) -> None:
        self._days = store.subject_days
        self._tenant = tenant
        self._kind = kind

    async def count(self, before: SubjectKey | None = None) -> int:
        """See `ExportSubjects.count`."""
        return await self._days.count(self._tenant, self._kind, before)

    async def pages(self, first: SubjectKey | None) -> AsyncIterator[Page]:
        """See `ExportSubjects.pages`."""
        while True:
            page = await self._days.page(self._tenant, self._kind, first, _PAGE + 1)
            if page:
                yield page[:_PAGE]
            if len(page) <= _PAGE:
                return
            first = page[-1][0]


def _order(key: SubjectKey) -> tuple[int, str, str]:
    return key.name.kind, key.name.id, key.part
