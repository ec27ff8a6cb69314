"""Metric descriptors: what a metric is, looked up by every write and every read."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from streamgauge_server.model.clock import MICROS_PER_SECOND, Clock
from streamgauge_server.model.entities import READ_SCOPE, WRITE_SCOPE, Caller, MetricDescriptor
from streamgauge_server.model.errors import Reason, Violation, invalid
from streamgauge_server.model.limits import Limits
from streamgauge_server.model.names import MAX_NAME_BYTES, text_problem
from streamgauge_server.model.values import (
    ALLOWED_AGGREGATES,
    Aggregate,
    MetricKind,
    PartCombination,
    SubjectKind,
    ValueType,
    default_reading,
)
from streamgauge_server.services.auth import require_scope
from streamgauge_server.storage.store import Store

FIXED_IF_BUILT_IN = frozenset({"kind", "no_value"})

MAX_UNIT_BYTES = 64
MAX_DESCRIPTION_BYTES = 4_096
MAX_STATES = 100

_FRESH_FOR = 5 * MICROS_PER_SECOND
"""How long a descriptor is used without asking the store. Another server's update is seen within this time; id and
value type, on which stored samples depend, never change."""


@dataclass(slots=True)
class _Known:
    by_name: dict[str, MetricDescriptor]
    by_id: dict[int, MetricDescriptor]
    loaded_at: int


class Descriptors:
    """Looks up, creates on first sight, lists and changes descriptors.

    Keeps what it has seen per tenant and kind of subject; a miss always asks the store.
    """

    def __init__(self, store: Store, clock: Clock, limits: Limits) -> None:
        self._store = store
        self._clock = clock
        self._limits = limits
        self._known: dict[tuple[str, SubjectKind], _Known] = {}

    def _cache(self, tenant: str, kind: SubjectKind) -> _Known:
        now = self._clock.now()
        known = self._known.get((tenant, kind))
        if known is None or not 0 <= now - known.loaded_at < _FRESH_FOR:
            known = _Known({}, {}, now)
            self._known[tenant, kind] = known
        return known

    def _remember(self, kind: SubjectKind, known: _Known, found: Iterable[MetricDescriptor]) -> None:
        for descriptor in found:
            if descriptor.kind_of_subject == kind:
                known.by_name[descriptor.metric] = descriptor
                known.by_id[descriptor.id] = descriptor

    async def by_name(self, tenant: str, kind: SubjectKind, metrics: Collection[str]) -> Mapping[str, MetricDescriptor]:
        """Returns descriptors by metric name; names that nobody wrote or declared are missing.

        The mapping may hold more than was asked for.
        """
        known = self._cache(tenant, kind)
        missing = [m for m in metrics if m not in known.by_name]
        if missing:
            self._remember(kind, known, (await self._store.metrics.get_many(tenant, kind, missing)).values())
        return known.by_name

    async def by_id(self, tenant: str, kind: SubjectKind, ids: Collection[int]) -> Mapping[int, MetricDescriptor]:
        """Returns descriptors by id, as blocks refer to them; those of other kinds of subjects are missing.

        The mapping may hold more than was asked for.
        """
        known = self._cache(tenant, kind)
        missing = [i for i in ids if i not in known.by_id]
        if missing:
            self._remember(kind, known, (await self._store.metrics.by_ids(tenant, missing)).values())
        return known.by_id

    async def ensure(
        self, tenant: str, kind: SubjectKind, wanted: Mapping[str, ValueType]
    ) -> Mapping[str, MetricDescriptor]:
        """Returns descriptors by name and creates those of metrics that are seen for the first time.

        Numbers and booleans begin as gauges, text as TEXT.

        Raises:
            DomainError: METRIC_LIMIT when the tenant has as many metrics as allowed.
        """
        by_name = await self.by_name(tenant, kind, wanted)
        new = [
            (metric, MetricKind.TEXT if value_type == ValueType.STRING else MetricKind.GAUGE, value_type)
            for metric, value_type in wanted.items()
            if metric not in by_name
        ]
        if new:
            created = await self._store.metrics.ensure(tenant, kind, new, limits=self._limits)
            self._remember(kind, self._cache(tenant, kind), created.values())
            return {**by_name, **created}
        return by_name

    async def get(self, caller: Caller, kind: SubjectKind, metric: str) -> MetricDescriptor:
        """Returns one descriptor.

        Raises:
            DomainError: SCOPE_MISSING, METRIC_NOT_FOUND.
        """
        require_scope(caller, READ_SCOPE[kind])
        return await self._store.metrics.get(caller.tenant, kind, metric)

    async def list(
        self,
        caller: Caller,
        kind: SubjectKind | None,
        after: tuple[SubjectKind, str] | None,
        limit: int,
    ) -> list[MetricDescriptor]:
        """Returns descriptors by subject kind and name, those of every kind that the caller may read without `kind`."""
        if kind is not None:
            require_scope(caller, READ_SCOPE[kind])
            kinds = [kind]
        else:
            kinds = [k for k in SubjectKind if caller.may(READ_SCOPE[k])]
            if not kinds:
                require_scope(caller, READ_SCOPE[SubjectKind.SOURCE])
        return await self._store.metrics.list(caller.tenant, kinds, after=after, limit=limit)

    async def update(
        self,
        caller: Caller,
        kind: SubjectKind,
        metric: str,
        changes: Mapping[str, Any],
        etag: str,
        problems: Sequence[Violation] = (),
    ) -> MetricDescriptor:
        """Changes the fields of a descriptor that `changes` names.

        `problems` are told along with what is wrong with the changes.

        A changed kind brings the defaults of the new kind for aggregates and combination that are not given.

        Raises:
            DomainError: SCOPE_MISSING, METRIC_NOT_FOUND, ETAG_MISMATCH, INVALID_FIELD and AGGREGATE_NOT_ALLOWED.
        """
        require_scope(caller, WRITE_SCOPE[kind])
        current = await self._store.metrics.get(caller.tenant, kind, metric)
        changes = dict(changes)
        _fill_defaults(changes, current)
        violations = [*problems, *_violations(changes, current)]
        if violations:
            raise invalid(violations)
        updated = await self._store.metrics.update(caller.tenant, kind, metric, changes, etag=etag)
        self._remember(kind, self._cache(caller.tenant, kind), [updated])
        return updated


def aggregate_problem(field: str, aggregate: Aggregate, metric: str, kind: MetricKind) -> Violation:
    """Returns the violation of an aggregate that makes no sense for a metric's kind."""
    allowed = ", ".join(sorted(a.name for a in ALLOWED_AGGREGATES[kind]))
    return Violation(
        field,
        f"{aggregate.name} makes no sense for {metric!r}, a {kind.name}: use one of {allowed}",
        Reason.AGGREGATE_NOT_ALLOWED,
        {"metric": metric, "aggregate": aggregate.name, "kind": kind.name},
    )


def _fill_defaults(changes: dict[str, Any], current: MetricDescriptor) -> None:
    """Replaces "not set" by the default of the kind, and moves the aggregates along with a changed kind."""
    kind = changes.get("kind") or current.kind
    if "kind" in changes:
        changes["kind"] = kind
    fields = ("window_aggregate", "summary_aggregate", "part_combination")
    preferred = dict(zip(fields, default_reading(kind, current.value_type), strict=True))
    for field, default in preferred.items():
        if changes.get(field, default) is None or (kind != current.kind and field not in changes):
            changes[field] = default
    if "display_name" in changes and not changes["display_name"]:
        changes["display_name"] = current.metric


def _violations(changes: Mapping[str, Any], current: MetricDescriptor) -> Sequence[Violation]:
    found: list[Violation] = []

    def refuse(field: str, problem: str | None) -> None:
        if problem:
            found.append(Violation(f"metric_descriptor.{field}", problem))

    if current.built_in:
        for field in FIXED_IF_BUILT_IN & changes.keys():
            if changes[field] != getattr(current, field):
                refuse(field, f"cannot be changed: {current.metric} is built in")
    for field, limit in (
        ("display_name", MAX_NAME_BYTES),
        ("description", MAX_DESCRIPTION_BYTES),
        ("unit", MAX_UNIT_BYTES),
    ):
        refuse(field, text_problem(changes.get(field, ""), limit))
    numeric = current.value_type in (ValueType.DOUBLE, ValueType.INT64)
    no_value = changes.get("no_value")
    if no_value is not None and not math.isfinite(no_value):
        refuse("no_value", f"must be finite, is {no_value}")
    elif no_value is not None and not numeric:
        refuse("no_value", f"needs numbers, the values are {current.value_type.name}")
    states = changes.get("state_order", ())
    if len(states) > MAX_STATES:
        refuse("state_order", f"must have at most {MAX_STATES} entries, has {len(states)}")
    if len(set(states)) != len(states):
        refuse("state_order", "must not name a state twice")
    for i, state in enumerate(states[:MAX_STATES]):
        refuse(f"state_order[{i}]", text_problem(state, MAX_NAME_BYTES, required=True))

    kind = changes.get("kind", current.kind)
    if kind == MetricKind.COUNTER and not numeric:
        refuse("kind", f"COUNTER needs numbers, the values are {current.value_type.name}")
    if (kind in (MetricKind.STATE, MetricKind.TEXT)) != (current.value_type == ValueType.STRING):
        refuse("kind", f"{kind.name} does not fit values of type {current.value_type.name}")
    for field in ("window_aggregate", "summary_aggregate"):
        aggregate = changes.get(field, getattr(current, field))
        if aggregate not in ALLOWED_AGGREGATES[kind]:
            found.append(aggregate_problem(f"metric_descriptor.{field}", aggregate, current.metric, kind))
    combination = changes.get("part_combination", current.part_combination)
    text = current.value_type == ValueType.STRING
    if text and combination in (PartCombination.SUM, PartCombination.MAX, PartCombination.MIN):
        refuse("part_combination", f"{combination.name} needs numbers")
    if not text and combination in (PartCombination.WORST, PartCombination.UNION):
        refuse("part_combination", f"{combination.name} needs text")
    return found
