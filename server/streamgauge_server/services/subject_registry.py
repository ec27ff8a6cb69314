"""Which subject is which id: a cache in front of the store, and the rule who may register by writing."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from streamgauge_server.model.limits import Limits
from streamgauge_server.model.names import SubjectName
from streamgauge_server.model.values import SubjectKind
from streamgauge_server.storage.blocks import SubjectGone
from streamgauge_server.storage.store import Store
from streamgauge_server.storage.subjects import NO_ASSETS, NewAsset, SubjectKey

_MAX_ENTRIES = 200_000

REGISTERED_BY_WRITE = frozenset({SubjectKind.SOURCE})
"""Kinds whose subjects come into being with their first write, if the setting allows it. Not so assets: only an emit
knows their URNs, and hands over those that it may register."""


class SubjectRegistry:
    """Finds and registers subjects for writers.

    A cached id may be stale when another server has deleted the subject: the store then refuses the write with
    `SubjectGone`, and the writer calls `forget` and resolves again. Readers do not use this cache.
    """

    def __init__(self, store: Store, limits: Limits, *, open_registration: bool) -> None:
        self._store = store
        self._limits = limits
        self.open_registration = open_registration
        self._ids: dict[tuple[str, SubjectName, str], int] = {}

    def may_register(self, name: SubjectName) -> bool:
        """Tells whether a first write that knows no more than this name brings the subject into being."""
        return self.open_registration and name.kind in REGISTERED_BY_WRITE

    async def unknown(self, tenant: str, names: Collection[SubjectName]) -> set[SubjectName]:
        """Returns those of the subjects that do not exist."""
        asked = {SubjectKey(name, "") for name in names if (tenant, name, "") not in self._ids}
        if not asked:
            return set()
        found = await self._store.subjects.resolve(tenant, asked)
        self._remember(tenant, found.items())
        return {key.name for key in asked if key not in found}

    def known(self, tenant: str, keys: Iterable[SubjectKey]) -> dict[SubjectKey, int]:
        """Returns the ids of those subjects and parts that are cached."""
        found: dict[SubjectKey, int] = {}
        for key in keys:
            id_ = self._ids.get((tenant, *key))
            if id_ is not None:
                found[key] = id_
        return found

    async def ids(
        self, tenant: str, keys: Collection[SubjectKey], assets: Mapping[str, NewAsset] = NO_ASSETS
    ) -> dict[SubjectKey, int]:
        """Returns the ids of subjects and parts, creating what is missing; an asset only if it is in `assets`, by id.

        Raises:
            SubjectGone: a subject that may not be registered was deleted by another server, or never was.
            DomainError: SUBJECT_LIMIT.
        """
        ids = self.known(tenant, keys)
        if len(ids) < len(keys):
            missing = [key for key in keys if key not in ids]
            await self._check_closed(tenant, missing, assets)
            registered = await self._store.subjects.register(tenant, missing, limits=self._limits, assets=assets)
            self._remember(tenant, registered.items())
            ids.update(registered)
        return ids

    async def _check_closed(self, tenant: str, missing: Collection[SubjectKey], assets: Mapping[str, NewAsset]) -> None:
        """Makes sure that parts are not added to a subject that is gone and may not come back by writing."""
        closed = {
            SubjectKey(key.name, "")
            for key in missing
            if not (key.name.id in assets if key.name.kind == SubjectKind.ASSET else self.may_register(key.name))
        }
        if closed:
            found = await self._store.subjects.resolve(tenant, closed)
            if gone := closed - found.keys():
                raise SubjectGone(set(self.known(tenant, gone).values()))

    def forget(self, subject_ids: Collection[int]) -> None:
        """Drops subjects that turned out to be gone, with all of their parts: they are deleted together."""
        ids = set(subject_ids)
        gone = {key[:2] for key, id_ in self._ids.items() if id_ in ids}
        self._ids = {key: id_ for key, id_ in self._ids.items() if key[:2] not in gone}

    def forget_name(self, tenant: str, name: SubjectName) -> None:
        """Drops a subject that this server deletes, with its parts."""
        self._ids = {key: id_ for key, id_ in self._ids.items() if key[:2] != (tenant, name)}

    def _remember(self, tenant: str, found: Iterable[tuple[SubjectKey, int]]) -> None:
        if len(self._ids) >= _MAX_ENTRIES:
            self._ids.clear()
        for key, subject_id in found:
            self._ids[tenant, *key] = subject_id
