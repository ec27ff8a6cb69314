"""Writing observations: check, type, group by subject, encode, and hand over to the group commit."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from streamgauge_server.model.clock import Clock
from streamgauge_server.model.entities import WRITE_SCOPE, Caller, Observation
from streamgauge_server.model.errors import DomainError, Reason, invalid_field
from streamgauge_server.model.limits import Limits
from streamgauge_server.model.names import SUBJECT_FORM, parse_subject
from streamgauge_server.model.values import SubjectKind
from streamgauge_server.services.auth import require_scope
from streamgauge_server.services.descriptors import Descriptors
from streamgauge_server.services.idempotency import Idempotency
from streamgauge_server.services.off_loop import MANY_VALUES, off_loop
from streamgauge_server.services.row_types import declare_new, refuse_values, type_rows
from streamgauge_server.services.rows import Row, encode_rows
from streamgauge_server.services.subject_registry import SubjectRegistry
from streamgauge_server.services.write_checks import (
    MAX_ERRORS,
    ItemError,
    Refusals,
    batch_error,
    part_problem,
    start_problem,
    time_problem,
)
from streamgauge_server.storage.blocks import RequestRecord, SubjectGone
from streamgauge_server.storage.store import Store
from streamgauge_server.storage.subjects import SubjectKey
from streamgauge_server.timeseries.frame import UNKNOWN_START


@dataclass(frozen=True, slots=True)
class WriteOutcome:
    """What became of a batch of observations: counts of items, the first errors, and how many did not fit."""

    accepted: int
    rejected: int
    errors: Sequence[ItemError] = ()
    errors_truncated: int = 0


class MetricsWriter:
    """Writes observations; one instance serves all callers."""

    def __init__(
        self, store: Store, clock: Clock, limits: Limits, descriptors: Descriptors, subjects: SubjectRegistry
    ) -> None:
        self._store = store
        self._clock = clock
        self._limits = limits
        self._descriptors = descriptors
        self._subjects = subjects

    async def write(
        self,
        caller: Caller,
        observations: Sequence[Observation],
        *,
        atomic: bool = False,
        validate_only: bool = False,
        idempotency: Idempotency | None = None,
        field: str = "observations",
    ) -> WriteOutcome:
        """Writes observations and returns when they are durable.

        An observation is stored whole or not at all; a bad one does not hold up the others unless `atomic`. `field` is
        what the caller's request calls them, for errors.

        Raises:
            DomainError: INVALID_FIELD for the batch as a whole or with `atomic`, SCOPE_MISSING, REQUEST_ID_REUSED,
                SUBJECT_LIMIT, METRIC_LIMIT, STORE_UNAVAILABLE.
        """
        count = len(observations)
        if not 1 <= count <= self._limits.max_observations_per_write:
            raise invalid_field(field, f"must have 1 to {self._limits.max_observations_per_write} entries, has {count}")
        if idempotency is not None and (problem := idempotency.problem()):
            raise invalid_field("request_id", problem)
        refusals = Refusals()
        heavy = count > 1 and sum(len(observation.values) for observation in observations) > MANY_VALUES
        rows = await off_loop(lambda: self._checked(caller, observations, refusals), heavy=heavy)
        if idempotency is not None:
            # A repeat must not even declare a metric or register a subject. Repeats at the same time are told apart by
            # the append.
            earlier = await self._store.blocks.find_request(caller.tenant, idempotency.request_id)
            if earlier is not None:
                return _answer(earlier, idempotency)
        await self._refuse_unknown(caller, rows, refusals)
        new = await type_rows(self._descriptors, caller.tenant, rows, refusals, heavy=heavy)
        _refuse_batch(atomic, refusals, field)
        if validate_only:
            return _outcome(count, refusals)
        await declare_new(self._descriptors, caller.tenant, rows, new, refusals)
        for last_try in (False, True):
            _refuse_batch(atomic, refusals, field)
            outcome = _outcome(count, refusals)
            accepted = [row for row in rows if row.index not in refusals.items]
            try:
                record = _record(caller, idempotency, outcome)
                earlier = await self._append(caller, accepted, record, heavy=heavy)
            except SubjectGone as gone:
                self._subjects.forget(gone.subject_ids)
                if last_try:
                    raise DomainError(
                        Reason.WRITE_CONFLICT, "a subject was deleted while it was written to; try again"
                    ) from gone
                await self._refuse_unknown(caller, accepted, refusals)
            else:
                break
        return outcome if earlier is None or idempotency is None else _answer(earlier, idempotency)

    def _checked(self, caller: Caller, observations: Sequence[Observation], refusals: Refusals) -> list[Row]:
        """Checks what can be checked without knowing any metric; scopes first."""
        now = self._clock.now()
        keys: list[SubjectKey | None] = []
        kinds: set[SubjectKind] = set()
        for observation in observations:
            name = parse_subject(observation.subject)
            keys.append(None if name is None else SubjectKey(name, observation.part))
            if name is not None:
                kinds.add(name.kind)
        for kind in kinds:
            require_scope(caller, WRITE_SCOPE[kind])
        rows: list[Row] = []
        for index, (observation, key) in enumerate(zip(observations, keys, strict=True)):
            time = now if observation.time is None else observation.time
            row = self._row(index, observation, key, time, now, refusals)
            if row is not None:
                rows.append(row)
        return rows

    def _row(
        self, index: int, observation: Observation, key: SubjectKey | None, time: int, now: int, refusals: Refusals
    ) -> Row | None:
        subject, values, start = observation.subject, observation.values, observation.start_time
        before = len(refusals.errors)
        if key is None:
            refusals.add(index, subject, "subject", SUBJECT_FORM)
        if observation.part and (problem := part_problem(observation.part)):
            refusals.add(index, subject, "part", problem)
        if problem := time_problem(time, now, self._limits):
            refusals.add(index, subject, "time", problem)
        if start is not None and (problem := start_problem(start, time)):
            refusals.add(index, subject, "start_time", problem)
        if not 1 <= len(values) <= self._limits.max_metrics_per_observation:
            limit = self._limits.max_metrics_per_observation
            refusals.add(index, subject, "values", f"must have 1 to {limit} entries, has {len(values)}")
        else:
            refuse_values(index, subject, values, self._limits, refusals)
        if key is None or len(refusals.errors) > before:
            return None
        return Row(index, key, time, UNKNOWN_START if start is None else start, values)

    async def _refuse_unknown(self, caller: Caller, rows: list[Row], refusals: Refusals) -> None:
        """Refuses rows of subjects that do not exist and may not be registered by writing."""
        names = {row.key.name for row in rows if not self._subjects.may_register(row.key.name)}
        if not names:
            return
        unknown = await self._subjects.unknown(caller.tenant, names)
        for row in rows:
            if row.key.name in unknown:
                refusals.add_unknown(row.index, row.key.name)

    async def _append(
        self, caller: Caller, rows: Sequence[Row], request: RequestRecord | None, *, heavy: bool
    ) -> RequestRecord | None:
        """Appends rows and waits for the commit; returns the earlier record if the request id is known.

        Raises:
            SubjectGone: a subject was deleted.
        """
        ids = await self._subjects.ids(caller.tenant, {row.key for row in rows})
        writes = await off_loop(lambda: encode_rows(rows, ids), heavy=heavy)
        if not writes and request is None:
            return None
        return await self._store.blocks.append(writes, request)


def _refuse_batch(atomic: bool, refusals: Refusals, field: str) -> None:
    if atomic and refusals.errors:
        raise batch_error(_by_index(refusals.errors), field)


def _by_index(errors: Sequence[ItemError]) -> list[ItemError]:
    return sorted(errors, key=lambda error: error.index)


def _outcome(count: int, refusals: Refusals) -> WriteOutcome:
    errors = _by_index(refusals.errors)
    rejected = len(refusals.items)
    return WriteOutcome(count - rejected, rejected, errors[:MAX_ERRORS], max(0, len(errors) - MAX_ERRORS))


def _record(caller: Caller, idempotency: Idempotency | None, outcome: WriteOutcome) -> RequestRecord | None:
    """Returns what is kept of an answer so that a repeat gets the same."""
    if idempotency is None:
        return None
    response = {
        "accepted": outcome.accepted,
        "rejected": outcome.rejected,
        "truncated": outcome.errors_truncated,
        "errors": [[e.index, e.subject, e.metric, e.path, e.reason.name, e.message] for e in outcome.errors],
    }
    return idempotency.record(caller.tenant, json.dumps(response).encode())


def _answer(stored: RequestRecord, repeat: Idempotency) -> WriteOutcome:
    """Returns the first answer to a request id.

    Raises:
        DomainError: REQUEST_ID_REUSED when it came with another body.
    """
    response = json.loads(repeat.first_answer(stored))
    errors = [ItemError(i, s, m, p, Reason[r], text) for i, s, m, p, r, text in response["errors"]]
    return WriteOutcome(response["accepted"], response["rejected"], errors, response["truncated"])
