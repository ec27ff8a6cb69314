"""Metric descriptors: what a metric is, looked up by every write and every read."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from streamgauge_server.model.clock import MICROS_PER_SECOND, Clock
from streamgauge_server.model.entities import READ_SCOPE, WRITE_SCOPE, Caller, MetricDescriptor
from streamgauge_server.model.errors import DomainError, Reason, Violation
from streamgauge_server.model.limits import Limits
from streamgauge_server.model.retention import EVERYTHING, RetentionRules
from streamgauge_server.model.values import SubjectKind, ValueType, default_kind, first_type
from streamgauge_server.services.auth import require_scope
from streamgauge_server.services.descriptor_rules import checked_changes, declared_descriptor
from streamgauge_server.services.write_checks import age_problem
from streamgauge_server.storage.metrics import metric_not_found
from streamgauge_server.storage.store import Store

_FRESH_FOR = 5 * MICROS_PER_SECOND
"""How long a descriptor is used without asking the store. This server's own update is seen at once, another server's
within this time: until then it checks writes by what was declared before. What stored samples depend on, a metric's id,
never changes, and their type is stored with them."""


@dataclass(slots=True)
class _Known:
    by_name: dict[str, MetricDescriptor]
    by_id: dict[int, MetricDescriptor]
    loaded_at: int


class Ages:
    """How old samples may be that are written at one moment, by metric."""

    def __init__(self, rules: RetentionRules, now: int) -> None:
        self._rules = rules
        self._now = now
        self.limited = rules.limits_samples
        """Whether there are limits beside those that metrics have of their own."""
        self._floors: dict[int, int | None] = {}

    def limits(self, descriptor: MetricDescriptor) -> bool:
        """Tells whether there may be a limit for a metric."""
        return self.limited or descriptor.sample_retention is not None

    def problem(self, descriptor: MetricDescriptor, time: int) -> str | None:
        """Returns what is wrong with the moment of a sample: that samples so old are not kept."""
        if not self.limits(descriptor):
            return None
        floors = self._floors
        if descriptor.id not in floors:
            floors[descriptor.id] = self._rules.floor(descriptor, self._now)
        return age_problem(descriptor, time, floors[descriptor.id], self._now)


class Descriptors:
    """Looks up, creates on first sight, lists and changes descriptors.

    Keeps what it has seen per tenant and kind of subject; a miss always asks the store.
    """

    def __init__(self, store: Store, clock: Clock, limits: Limits, retention: RetentionRules = EVERYTHING) -> None:
        self.retention = retention
        """How long observations are kept of metrics that do not say otherwise."""
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

    def ages(self) -> Ages:
        """Returns how old samples may be at this moment."""
        return Ages(self.retention, self._clock.now())

    async def by_name(self, tenant: str, kind: SubjectKind, metrics: Collection[str]) -> Mapping[str, MetricDescriptor]:
        """Returns descriptors by metric name; names that nobody wrote or declared are missing.

        The mapping may hold more than was asked for.
        """
        known = self._cache(tenant, kind)
        missing = [m for m in metrics if m not in known.by_name]
        if missing:
            self._remember(kind, known, (await self._store.metrics.get_many(tenant, kind, missing)).values())
        return known.by_name

    async def ids_of(self, tenant: str, kind: SubjectKind, metrics: Collection[str]) -> set[int] | None:
        """Returns the ids of the metrics that a request names, None for all where it names none.

        Names that nobody wrote or declared are left out.
        """
        if not metrics:
            return None
        known = await self.by_name(tenant, kind, metrics)
        return {known[metric].id for metric in metrics if metric in known}

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

        `wanted` are the types of their samples. Metrics of assets begin as gauges of any type; those of others are of
        the type of their first sample, numbers and booleans as gauges, text as TEXT.

        Raises:
            DomainError: METRIC_LIMIT when the tenant has as many metrics as allowed.
        """
        by_name = await self.by_name(tenant, kind, wanted)
        types = {m: first_type(kind, sample_type) for m, sample_type in wanted.items() if m not in by_name}
        new = [(metric, default_kind(value_type), value_type) for metric, value_type in types.items()]
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
        *,
        allow_missing: bool = False,
    ) -> MetricDescriptor:
        """Changes the fields of a descriptor that `changes` names; with `allow_missing` declares one that is missing.

        `problems` are told along with what is wrong with the changes.

        A changed kind brings its defaults for aggregates and combination that are not given, a changed type those that
        were the defaults of the old one, and a kind where the old one does not fit. What is wrong with a change is
        judged by the descriptor that is changed, also where somebody else changes it at the same time. Of two that
        declare a metric at the same time one creates it, the other's fields are changes of it.

        Raises:
            DomainError: SCOPE_MISSING, METRIC_NOT_FOUND, METRIC_LIMIT, ETAG_MISMATCH, INVALID_FIELD and
                AGGREGATE_NOT_ALLOWED.
        """
        require_scope(caller, WRITE_SCOPE[kind])
        store, tenant = self._store.metrics, caller.tenant
        stored: MetricDescriptor | None = None
        while stored is None:
            current = (await store.get_many(tenant, kind, [metric])).get(metric)
            if current is None:
                if etag or not allow_missing:  # an etag is that of a descriptor which was there
                    raise metric_not_found(kind, metric)
                declared = declared_descriptor(kind, metric, changes, problems, self.retention)
                stored = await store.declare(tenant, declared, limits=self._limits)
            else:
                checked = checked_changes(changes, current, problems, self.retention)
                try:
                    stored = await store.update(tenant, kind, metric, checked, etag=etag or current.etag)
                except DomainError as error:
                    if etag or error.reason != Reason.ETAG_MISMATCH:
                        raise
        self._remember(kind, self._cache(tenant, kind), [stored])
        return stored
