"""The catalog of metric types: those that ship with the server, and custom ones."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from streamgauge_server.model.entities import Caller
from streamgauge_server.model.errors import Violation, invalid
from streamgauge_server.model.limits import Limits
from streamgauge_server.model.metric_types import BUILT_IN, MetricTypeInfo
from streamgauge_server.model.names import id_problem
from streamgauge_server.model.values import NUMERIC, MetricKind, SubjectKind, ValueType
from streamgauge_server.services.auth import require_scope
from streamgauge_server.services.metric_type_rules import type_id, type_problems
from streamgauge_server.services.page_tokens import cut_page, damaged_token, page_size_of, request_digest, token_after
from streamgauge_server.services.subject_registry import SubjectRegistry
from streamgauge_server.storage.store import Store

READ, WRITE = "read:metric_types", "write:metric_types"

_BUILT_IN = {metric_type.name: metric_type for metric_type in BUILT_IN}


@dataclass(frozen=True, slots=True)
class MetricTypePage:
    """A page of metric types, the token of the next one (empty on the last), and how many there are over all pages."""

    metric_types: Sequence[MetricTypeInfo]
    next_page_token: str
    total: int


class MetricTypes:
    """Lists, creates and changes metric types; one instance serves all callers.

    What the edge found wrong with a request is handed in as `problems`, and told along with what is found here.
    """

    def __init__(self, store: Store, limits: Limits, subjects: SubjectRegistry) -> None:
        self._store = store
        self._limits = limits
        self._subjects = subjects

    async def list(self, caller: Caller, *, page_size: int, page_token: str) -> MetricTypePage:
        """Returns a page of metric types: the built-in ones, then custom ones by name.

        Raises:
            DomainError: SCOPE_MISSING, INVALID_FIELD, PAGE_TOKEN_MISMATCH.
        """
        require_scope(caller, READ)
        size = page_size_of(page_size)
        digest = request_digest("ListMetricTypes")
        after = token_after(page_token, digest, keys=1)
        if after and id_problem(after[0]):
            raise damaged_token()
        built_in = list(BUILT_IN)
        if after:
            names = [metric_type.name for metric_type in built_in]
            built_in = built_in[names.index(after[0]) + 1 :] if after[0] in names else []
        last = after[0] if after and after[0] not in _BUILT_IN else ""
        custom = await self._store.metric_types.list(caller.tenant, after=last, limit=size + 1)
        total = len(BUILT_IN) + await self._store.metric_types.count(caller.tenant)
        found = [*built_in, *custom]
        page, token = cut_page(found, size, digest, lambda metric_type: [metric_type.name])
        return MetricTypePage(page, token, total)

    async def get(self, caller: Caller, id: str) -> MetricTypeInfo:
        """Returns a metric type by id. The caller's scope is for the caller of this to check.

        Raises:
            DomainError: METRIC_TYPE_NOT_FOUND, also for another tenant's metric type.
        """
        built_in = _BUILT_IN.get(id)
        return await self._store.metric_types.get(caller.tenant, id) if built_in is None else built_in

    async def custom(self, caller: Caller, name: str, field: str) -> MetricTypeInfo:
        """Returns the custom metric type with resource name `name`, which stands in `field` of the request.

        Raises:
            DomainError: INVALID_FIELD, also for a built-in one, METRIC_TYPE_NOT_FOUND.
        """
        id_, problems = custom_id(name, field)
        if problems:
            raise invalid(problems)
        return await self._store.metric_types.get(caller.tenant, id_)

    async def create(self, caller: Caller, id: str, fields: Mapping[str, Any]) -> MetricTypeInfo:
        """Creates a custom metric type; `fields` holds those of METRIC_TYPE_CHANGEABLE.

        Raises:
            DomainError: SCOPE_MISSING, INVALID_FIELD, METRIC_TYPE_ALREADY_EXISTS, METRIC_LIMIT.
        """
        require_scope(caller, WRITE)
        problems = type_problems(fields, [group.group for group in fields["groups"]])
        if problem := id_problem(id):
            problems.insert(0, Violation("metric_type_id", problem))
        if problems:
            raise invalid(problems)
        if not fields["title"]:
            fields = {**fields, "title": id}
        await self._declare(caller, [column.name for column in fields["columns"]])
        return await self._store.metric_types.create(caller.tenant, MetricTypeInfo(id, **fields))

    async def update(
        self, caller: Caller, name: str, changes: Mapping[str, Any], etag: str, problems: Sequence[Violation] = ()
    ) -> MetricTypeInfo:
        """Changes those fields of a custom metric type that `changes` has, out of METRIC_TYPE_CHANGEABLE.

        Raises:
            DomainError: SCOPE_MISSING, INVALID_FIELD, METRIC_TYPE_NOT_FOUND, ETAG_MISMATCH, METRIC_TYPE_IN_USE when a
                column that has values would go or change its aggregate, METRIC_LIMIT.
        """
        require_scope(caller, WRITE)
        id_, wrong = custom_id(name, "metric_type.name")
        found = [*wrong, *problems]
        if wrong:
            raise invalid([*found, *type_problems(changes, [group.group for group in changes.get("groups", ())])])
        current = await self._store.metric_types.get(caller.tenant, id_)
        groups = [group.group for group in changes.get("groups", current.groups)]
        # Columns that stay may belong to groups that go.
        found.extend(type_problems({"columns": current.columns, **changes}, groups))
        if found:
            raise invalid(found)
        await self._declare(caller, [column.name for column in changes.get("columns", ())])
        return await self._store.metric_types.update(caller.tenant, id_, changes, etag=etag)

    async def delete(self, caller: Caller, name: str, etag: str, *, force: bool) -> None:
        """Deletes a custom metric type with its choices, and with its values where that is forced.

        Raises:
            DomainError: SCOPE_MISSING, INVALID_FIELD, METRIC_TYPE_NOT_FOUND, ETAG_MISMATCH, METRIC_TYPE_IN_USE.
        """
        require_scope(caller, WRITE)
        id_, problems = custom_id(name, "name")
        if problems:
            raise invalid(problems)
        choices = await self._store.metric_types.choices_by_number(caller.tenant, id_)
        await self._store.metric_types.delete(caller.tenant, id_, etag=etag, force=force)
        self._subjects.forget({choice.number for choice in choices})

    async def _declare(self, caller: Caller, columns: Collection[str]) -> None:
        """Makes sure that columns are metrics that hold numbers.

        Raises:
            DomainError: INVALID_FIELD for one of which texts or booleans were written before, METRIC_LIMIT.
        """
        wanted = [(column, MetricKind.GAUGE, ValueType.NUMBER) for column in columns]
        metrics = await self._store.metrics.ensure(
            caller.tenant, SubjectKind.METRIC_TYPE_CHOICE, wanted, limits=self._limits
        )
        problems = [
            Violation(
                f"metric_type.columns[{position}].column",
                f"the metric {column!r} of metric types is of type {metric.value_type.name} already",
            )
            for position, column in enumerate(columns)
            if (metric := metrics[column]).value_type not in NUMERIC
        ]
        if problems:
            raise invalid(problems)


def custom_id(name: str, field: str) -> tuple[str, list[Violation]]:
    """Returns the id of a custom metric type's resource name, and what is wrong with it."""
    id_, problems = type_id(name, field)
    if id_ in _BUILT_IN:
        return "", [Violation(field, f"{name} is built in and cannot be changed or written to")]
    return id_, problems
