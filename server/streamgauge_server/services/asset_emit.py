"""Emitting metrics on assets: check, type, register, encode, and hand over to the group commit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import replace
from functools import partial
from itertools import groupby
from typing import TypeVar

from streamgauge_server.model.assets import platform_of
from streamgauge_server.model.clock import Clock
from streamgauge_server.model.entities import READ_SCOPE, WRITE_SCOPE, Caller
from streamgauge_server.model.errors import DomainError, Reason, Violation, invalid
from streamgauge_server.model.limits import Limits
from streamgauge_server.model.names import SubjectName
from streamgauge_server.model.values import SubjectKind, ValueType
from streamgauge_server.services.asset_reads import AssetReader, HistoryQuestion
from streamgauge_server.services.asset_values import asset_type_of
from streamgauge_server.services.auth import require_scope
from streamgauge_server.services.descriptors import Descriptors
from streamgauge_server.services.emit_answers import (
    EmitOutcomes,
    Emitted,
    EmittedMetric,
    answer_size,
    emitted,
    kept_emitted,
    kept_outcomes,
    outcomes,
    serialise,
)
from streamgauge_server.services.emit_checks import Draft, EmitInput, MetricInput, add_types, checked
from streamgauge_server.services.idempotency import Idempotency
from streamgauge_server.services.off_loop import off_loop
from streamgauge_server.services.rows import Row, encode_rows
from streamgauge_server.services.subject_registry import SubjectRegistry
from streamgauge_server.storage.assets import NewAsset
from streamgauge_server.storage.blocks import RequestRecord, SubjectGone, SubjectWrite
from streamgauge_server.storage.store import Store
from streamgauge_server.storage.subjects import SubjectKey
from streamgauge_server.timeseries.frame import UNKNOWN_START

_ASSET = SubjectKind.ASSET
_FIELDS_OF_ONE = {"metrics[0].name": "metric", "metrics[0].value": "value"}
"""Fields of `EmitAssetMetric` by those of the emit that it is carried out as."""

_MANY_METRICS = 2_500
"""Metrics of a batch that are worth a thread, as `off_loop.MANY_VALUES`: each is typed and answered, and every emit
costs as much as two more of them."""

_Answer = TypeVar("_Answer", Emitted, EmitOutcomes)


class AssetEmitter:
    """Emits metrics on assets; one instance serves all callers.

    An emit is stored whole or not at all. Its metrics are merged with those that the asset has at the same millisecond:
    they are another block of the same moment, and of blocks the one that was committed later stands, name by name.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        limits: Limits,
        descriptors: Descriptors,
        subjects: SubjectRegistry,
        reader: AssetReader,
        *,
        open_registration: bool,
    ) -> None:
        """With `open_registration` an emit under a URN that is not known registers the asset.

        `reader` reads merged metrics back.
        """
        self._store = store
        self._clock = clock
        self._limits = limits
        self._descriptors = descriptors
        self._subjects = subjects
        self._reader = reader
        self._open_registration = open_registration

    async def emit(
        self,
        caller: Caller,
        emit: EmitInput,
        *,
        validate_only: bool = False,
        merged: bool = False,
        idempotency: Idempotency | None = None,
    ) -> Emitted:
        """Emits metrics on one asset and returns when they are durable.

        With `merged` the answer has all metrics of the asset at this moment, as they are when it is made; that asks for
        the scope of a read. They do not go together with `validate_only`.

        Raises:
            DomainError: INVALID_FIELD or VALUE_TYPE_MISMATCH with everything that is wrong, ASSET_NOT_FOUND,
                MESSAGE_TOO_LARGE for an answer that would be too large, SCOPE_MISSING, REQUEST_ID_REUSED,
                SUBJECT_LIMIT, METRIC_LIMIT, WRITE_CONFLICT, STORE_UNAVAILABLE.
        """
        require_scope(caller, WRITE_SCOPE[_ASSET])
        if merged:
            require_scope(caller, READ_SCOPE[_ASSET])
        draft = checked(0, emit, self._clock.now(), self._limits)
        if idempotency is not None and (problem := idempotency.problem()):
            draft.violations.append(Violation("request_id", problem))
            idempotency = None
        answer = await self._carry_out(
            caller.tenant,
            [draft],
            lambda: emitted(draft),
            kept_emitted,
            all_or_nothing=True,
            validate_only=validate_only,
            idempotency=idempotency,
        )
        return await self._merged(caller, answer) if merged else answer

    async def emit_one(self, caller: Caller, asset: str, time: int | None, metric: str, text: str) -> Emitted:
        """Emits one metric whose value is text and whose type is guessed: the deprecated form.

        Raises:
            DomainError: as `emit`; fields are named as this form has them.
        """
        try:
            return await self.emit(caller, EmitInput(asset, time, [MetricInput(metric, text)]))
        except DomainError as error:
            if not error.violations:
                raise
            named = [replace(v, field=_FIELDS_OF_ONE.get(v.field, v.field)) for v in error.violations]
            raise invalid(named) from error

    async def emit_batch(
        self,
        caller: Caller,
        emits: Sequence[EmitInput],
        *,
        validate_only: bool = False,
        errors_only: bool = False,
        idempotency: Idempotency | None = None,
    ) -> EmitOutcomes:
        """Emits metrics on many assets and returns when all that were accepted are durable.

        An emit that is refused does not hold up the others. Emits on the same asset and moment are merged in their
        order. With `errors_only` the outcomes are those of refused emits.

        Raises:
            DomainError: INVALID_FIELD for the batch as a whole, MESSAGE_TOO_LARGE for an answer that would be too
                large, SCOPE_MISSING, REQUEST_ID_REUSED, SUBJECT_LIMIT, METRIC_LIMIT, WRITE_CONFLICT, STORE_UNAVAILABLE.
        """
        require_scope(caller, WRITE_SCOPE[_ASSET])
        count = sum(len(emit.metrics) for emit in emits)
        problems = self._batch_problems(len(emits), count)
        if idempotency is not None and (problem := idempotency.problem()):
            problems.append(Violation("request_id", problem))
        if problems:
            raise invalid(problems)
        heavy = count + 2 * len(emits) > _MANY_METRICS
        now = self._clock.now()
        drafts = await off_loop(
            lambda: [checked(index, emit, now, self._limits) for index, emit in enumerate(emits)], heavy=heavy
        )
        return await self._carry_out(
            caller.tenant,
            drafts,
            lambda: outcomes(drafts, errors_only=errors_only),
            kept_outcomes,
            all_or_nothing=False,
            validate_only=validate_only,
            idempotency=idempotency,
            heavy=heavy,
        )

    def _batch_problems(self, emits: int, metrics: int) -> list[Violation]:
        found: list[Violation] = []
        limits = self._limits
        if not 1 <= emits <= limits.max_observations_per_write:
            found.append(
                Violation("requests", f"must have 1 to {limits.max_observations_per_write} entries, has {emits}")
            )
        if metrics > limits.max_samples_per_frame:
            found.append(
                Violation(
                    "requests", f"must have at most {limits.max_samples_per_frame} metrics in all, have {metrics}"
                )
            )
        return found

    async def _carry_out(
        self,
        tenant: str,
        drafts: Sequence[Draft],
        answer: Callable[[], _Answer],
        kept: Callable[[bytes], _Answer],
        *,
        all_or_nothing: bool,
        validate_only: bool,
        idempotency: Idempotency | None,
        heavy: bool = False,
    ) -> _Answer:
        """Types and stores those drafts in which nothing is wrong; what is wrong is added to their violations.

        Returns what `answer` makes of the drafts in the end, or what `kept` makes of the first answer to this request.
        """
        if idempotency is not None:
            # A repeat must not even declare a metric or register an asset. Repeats at the same time are told apart by
            # the append.
            earlier = await self._store.blocks.find_request(tenant, idempotency.request_id)
            if earlier is not None:
                return kept(idempotency.first_answer(earlier))
        names = {metric.name for draft in drafts for metric in draft.metrics}
        known = await self._descriptors.by_name(tenant, _ASSET, names)
        await off_loop(
            partial(add_types, drafts, dict(known) if heavy else known, self._descriptors.ages()), heavy=heavy
        )
        await self._find_assets(tenant, drafts)
        if all_or_nothing:
            _raise_first(drafts)
        found = await off_loop(answer, heavy=heavy)
        self._check_size(found)
        if validate_only:
            return found
        changed = await self._declare(tenant, drafts, heavy=heavy)
        for last_try in (False, True):
            if all_or_nothing:
                _raise_first(drafts)
            if changed:
                found = await off_loop(answer, heavy=heavy)
            accepted = [draft for draft in drafts if not draft.violations]
            record = None if idempotency is None else idempotency.record(tenant, serialise(found))
            try:
                earlier = await self._append(tenant, accepted, record, heavy=heavy)
            except SubjectGone as gone:
                self._subjects.forget(gone.subject_ids)
                if last_try:
                    raise DomainError(
                        Reason.WRITE_CONFLICT, "an asset was deleted while metrics were emitted on it; try again"
                    ) from gone
                await self._find_assets(tenant, accepted)
                changed = True
            else:
                break
        return found if earlier is None or idempotency is None else kept(idempotency.first_answer(earlier))

    async def _declare(self, tenant: str, drafts: Sequence[Draft], *, heavy: bool) -> bool:
        """Declares metrics that are seen for the first time, of any type, and gives their values ids.

        Somebody else may have declared one to be of some type since: its values are checked once more. Returns whether
        there were any.
        """
        late = [draft for draft in drafts if draft.undeclared and not draft.violations]
        if not late:
            return False
        new = dict.fromkeys((name for draft in late for name in draft.undeclared), ValueType.ANY)
        await self._descriptors.ensure(tenant, _ASSET, new)
        known = await self._descriptors.by_name(tenant, _ASSET, {name for draft in late for name in draft.typed})
        await off_loop(partial(add_types, late, dict(known) if heavy else known, self._descriptors.ages()), heavy=heavy)
        return True

    async def _merged(self, caller: Caller, answer: Emitted) -> Emitted:
        """Returns the answer with all metrics of its moment; with its own and a warning if those are too many."""
        question = HistoryQuestion(answer.asset, answer.time, answer.time + 1, page_size=1)
        page = await self._reader.history(caller, question)
        if page.next_page_token:
            warning = "the metrics of this moment are too many for one answer: these are the submitted ones"
            return replace(answer, warnings=[*answer.warnings, warning])
        guessed = {metric.name for metric in answer.metrics if metric.guessed}
        metrics = [
            EmittedMetric(name, value, asset_type_of(value), name in guessed)
            for moment in page.moments
            for name, value in moment.samples
        ]
        return replace(answer, metrics=metrics)

    async def _find_assets(self, tenant: str, drafts: Sequence[Draft]) -> None:
        """Looks up the URNs of assets that are named by resource name, and refuses assets that must exist and do not.

        They come last among the violations: what is wrong with the request itself decides the status of an emit.
        """
        by_name = {draft.subject.id for draft in drafts if draft.subject is not None and draft.named}
        found = await self._store.assets.get_many(tenant, by_name) if by_name else {}
        closed: set[SubjectName] = set()
        if not self._open_registration:
            by_urn = {draft.subject for draft in drafts if draft.subject is not None and not draft.named}
            closed = await self._subjects.unknown(tenant, by_urn) if by_urn else set()
        for draft in drafts:
            subject = draft.subject
            if subject is None:
                continue
            if draft.named and subject.id in found:
                draft.urn = found[subject.id].urn
            elif draft.named or subject in closed:
                how = "" if draft.named else ", and an emit does not register it (asset_registration is closed)"
                problem = f"there is no {subject}{how}"
                draft.violations.append(Violation("asset", problem, Reason.ASSET_NOT_FOUND, {"name": str(subject)}))

    def _check_size(self, answer: Emitted | EmitOutcomes) -> None:
        """Refuses what would have too large an answer before it is stored: told later, it would pass for not stored.

        Raises:
            DomainError: MESSAGE_TOO_LARGE.
        """
        parts = [answer] if isinstance(answer, Emitted) else [outcome for _, outcome in answer.outcomes]
        size, limit = sum(map(answer_size, parts)), self._limits.max_response_bytes
        if size > limit:
            raise DomainError(
                Reason.MESSAGE_TOO_LARGE,
                f"the answer could have {size} bytes, allowed are {limit} (max_response_bytes): emit less at once, or "
                "in a batch with errors_only",
                metadata={"field": "response", "limit": str(limit), "actual": str(size)},
            )

    async def _append(
        self, tenant: str, drafts: Sequence[Draft], record: RequestRecord | None, *, heavy: bool
    ) -> RequestRecord | None:
        """Registers assets, appends their metrics, and waits for the commit.

        Raises:
            SubjectGone: an asset that may not be registered was deleted, or any while it was written to.
        """
        rows = [
            (draft.run_id, Row(draft.index, SubjectKey(draft.subject, ""), draft.time, UNKNOWN_START, {}, draft.stored))
            for draft in drafts
            if draft.subject is not None
        ]
        ids = await self._subject_ids(tenant, drafts, {row.key for _, row in rows})

        def encoded() -> list[SubjectWrite]:
            # Of one subject's writes the later ones win, so that they must not be gathered by run across others.
            return [
                write
                for run_id, group in groupby(rows, key=lambda row: row[0])
                for write in encode_rows([row for _, row in group], ids, run_id)
            ]

        writes = await off_loop(encoded, heavy=heavy)
        if not writes and record is None:
            return None
        return await self._store.blocks.append(writes, record)

    async def _subject_ids(
        self, tenant: str, drafts: Sequence[Draft], keys: Set[SubjectKey]
    ) -> Mapping[SubjectKey, int]:
        """Returns the ids of all assets, which are registered where that is open to all.

        Raises:
            SubjectGone: an asset that may not be registered was deleted.
        """
        known = self._subjects.known(tenant, keys)
        if len(known) == len(keys):
            return known
        missing = keys - known.keys()
        assets: dict[str, NewAsset] = {}
        if self._open_registration:
            for draft in drafts:
                if draft.subject is not None and not draft.named and SubjectKey(draft.subject, "") in missing:
                    id_ = draft.subject.id
                    assets[id_] = NewAsset(id_, draft.urn, platform_of(draft.urn))
        return known | await self._subjects.ids(tenant, missing, assets)


def _raise_first(drafts: Sequence[Draft]) -> None:
    """Raises what is wrong with the first draft that is not right.

    Raises:
        DomainError: the first violation gives the reason.
    """
    for draft in drafts:
        if draft.violations:
            raise invalid(draft.violations)
