"""Assets: the catalog of what metrics are emitted on, and how requests name an asset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from streamgauge_server.model.assets import ID_DIGITS, asset_id, platform_of, urn_problem
from streamgauge_server.model.entities import Asset, Caller
from streamgauge_server.model.errors import DomainError, Reason, Violation, invalid
from streamgauge_server.model.limits import Limits
from streamgauge_server.model.names import COLLECTIONS, SubjectName, parse_subject, text_problem
from streamgauge_server.model.values import SubjectKind
from streamgauge_server.services.auth import require_scope
from streamgauge_server.services.labels import label_filter, label_filter_problems, label_problems
from streamgauge_server.services.page_tokens import (
    cut_page,
    damaged_token,
    page_size_of,
    page_size_problems,
    request_digest,
    token_after,
)
from streamgauge_server.services.subject_registry import SubjectRegistry
from streamgauge_server.storage.assets import NewAsset, page_key
from streamgauge_server.storage.store import Store
from streamgauge_server.storage.tables import URN_HEAD_LENGTH

READ, WRITE = "read:asset_metrics", "write:asset_metrics"

_PREFIX = COLLECTIONS[SubjectKind.ASSET] + "/"


@dataclass(frozen=True, slots=True)
class AssetFilter:
    """Which assets a list returns: of a platform, with a URN that begins so, with all labels (`key=value`)."""

    platform: str = ""
    urn_prefix: str = ""
    labels: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class AssetPage:
    """A page of assets, the token of the next one (empty on the last), and how many the filter lets through in all."""

    assets: Sequence[Asset]
    next_page_token: str
    total: int


class AssetCatalog:
    """Creates, reads, changes and deletes assets; one instance serves all callers.

    Arguments called `asset` are fields of requests: a URN or a resource name, see `resolve_asset`. What the edge found
    wrong with a request is handed in as `problems`, and told along with what is found here.
    """

    def __init__(self, store: Store, limits: Limits, subjects: SubjectRegistry) -> None:
        self._store = store
        self._limits = limits
        self._subjects = subjects

    def resolve(self, asset: str, field: str = "asset") -> SubjectName | Violation:
        """Returns the subject that field `field` of a request names, or what is wrong with it."""
        return resolve_asset(asset, field, self._limits.max_urn_bytes)

    async def create(self, caller: Caller, urn: str, labels: Mapping[str, str]) -> Asset:
        """Registers an asset.

        Raises:
            DomainError: SCOPE_MISSING, INVALID_FIELD, ASSET_ALREADY_EXISTS, SUBJECT_LIMIT.
        """
        require_scope(caller, WRITE)
        problems = label_problems(labels, "asset.labels")
        if problem := urn_problem(urn, self._limits.max_urn_bytes):
            problems.insert(0, Violation("asset.urn", problem))
        if problems:
            raise invalid(problems)
        new = NewAsset(asset_id(urn), urn, platform_of(urn), labels)
        return await self._store.assets.create(caller.tenant, new, limits=self._limits)

    async def get(self, caller: Caller, asset: str) -> Asset:
        """Returns an asset.

        Raises:
            DomainError: SCOPE_MISSING, INVALID_FIELD, ASSET_NOT_FOUND, also for another tenant's asset.
        """
        require_scope(caller, READ)
        return await self._store.assets.get(caller.tenant, self._resolved(asset).id)

    async def list(self, caller: Caller, only: AssetFilter, *, page_size: int, page_token: str) -> AssetPage:
        """Returns a page of the assets that the filter lets through, by URN.

        `page_size` and `page_token` are those of the request.

        Raises:
            DomainError: SCOPE_MISSING, INVALID_FIELD, PAGE_TOKEN_MISMATCH.
        """
        require_scope(caller, READ)
        if problems := [*page_size_problems(page_size), *self._filter_problems(only)]:
            raise invalid(problems)
        size = page_size_of(page_size)
        digest = request_digest("ListAssets", *only.labels, "", only.platform, only.urn_prefix)
        after = _list_key(token_after(page_token, digest, keys=2))
        labels = label_filter(only.labels)
        assets = self._store.assets
        found = await assets.list(
            caller.tenant,
            platform=only.platform,
            urn_prefix=only.urn_prefix,
            labels=labels,
            after=after,
            limit=size + 1,
        )
        total = await assets.count(caller.tenant, platform=only.platform, urn_prefix=only.urn_prefix, labels=labels)
        page, token = cut_page(found, size, digest, page_key)
        return AssetPage(page, token, total)

    async def update(
        self,
        caller: Caller,
        name: str,
        changes: Mapping[str, Any],
        etag: str,
        problems: Sequence[Violation] = (),
    ) -> Asset:
        """Changes those fields of the asset with resource name `name` that `changes` has, out of ASSET_CHANGEABLE.

        Raises:
            DomainError: SCOPE_MISSING, INVALID_FIELD, ASSET_NOT_FOUND, ETAG_MISMATCH.
        """
        require_scope(caller, WRITE)
        found = [*problems, *label_problems(changes.get("labels", {}), "asset.labels")]
        subject = parse_subject(name)
        if subject is None or subject.kind != SubjectKind.ASSET:
            description = "must be the resource name of an asset, 'assets/{asset}'"
            raise invalid([Violation("asset.name", description), *found])
        if found:
            raise invalid(found)
        return await self._store.assets.update(caller.tenant, subject.id, changes, etag=etag)

    async def delete(self, caller: Caller, asset: str, etag: str) -> None:
        """Deletes an asset with its parts and metrics; one created later under the same URN starts empty.

        Raises:
            DomainError: SCOPE_MISSING, INVALID_FIELD, ASSET_NOT_FOUND, ETAG_MISMATCH.
        """
        require_scope(caller, WRITE)
        subject = self._resolved(asset)
        await self._store.assets.delete(caller.tenant, subject.id, etag=etag)
        self._subjects.forget_name(caller.tenant, subject)

    def _resolved(self, asset: str) -> SubjectName:
        subject = self.resolve(asset)
        if isinstance(subject, Violation):
            raise invalid([subject])
        return subject

    def _filter_problems(self, only: AssetFilter) -> Sequence[Violation]:
        found: list[Violation] = []
        for field, text in (("platform", only.platform), ("urn_prefix", only.urn_prefix)):
            if problem := text_problem(text, self._limits.max_urn_bytes):
                found.append(Violation(field, problem))
        return found + label_filter_problems(only.labels)


def is_resource_name(asset: str) -> bool:
    """Tells whether a field that names an asset holds a resource name; all else is a URN."""
    return asset.startswith(_PREFIX)


def resolve_asset(asset: str, field: str, max_urn_bytes: int) -> SubjectName | Violation:
    """Returns the subject that a field of a request names, by resource name or by URN, or what is wrong with it.

    Nothing is looked up: the id of an asset is derived from its URN.
    """
    if is_resource_name(asset):
        return parse_subject(asset) or Violation(
            field, f"must be 'assets/' and the {ID_DIGITS} hexadecimal digits of an asset, or a URN"
        )
    if len(asset) <= _KEPT_CHARACTERS and 4 * len(asset) <= max_urn_bytes:
        found = _kept_asset_of(asset)
    else:
        found = _asset_of(asset, max_urn_bytes)
    return Violation(field, found) if isinstance(found, str) else found


_KEPT_CHARACTERS = 256
"""URNs up to this length are kept with what they name; their size is not worth counting."""


def _asset_of(urn: str, max_bytes: int) -> SubjectName | str:
    """Returns the asset that a URN names, or what is wrong with the URN."""
    return urn_problem(urn, max_bytes) or SubjectName(SubjectKind.ASSET, asset_id(urn))


# The same assets are emitted on and read again and again, and a digest and two patterns cost as much as all else that
# is done for one of many assets.
@lru_cache(maxsize=32_768)
def _kept_asset_of(urn: str) -> SubjectName | str:
    return _asset_of(urn, 4 * _KEPT_CHARACTERS)


def asset_not_found(subject: SubjectName) -> DomainError:
    """The error of an asset that does not exist."""
    return DomainError(Reason.ASSET_NOT_FOUND, f"there is no {subject}", metadata={"name": str(subject)})


def _list_key(token: tuple[str, ...]) -> tuple[str, str] | None:
    """Returns the sort key that a page token holds, None for the first page."""
    if not token:
        return None
    head, id_ = token
    if text_problem(head, 4 * URN_HEAD_LENGTH, required=True) or parse_subject(_PREFIX + id_) is None:
        raise damaged_token()
    return head, id_
