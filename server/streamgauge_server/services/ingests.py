"""Reports of files that sources ingested, or failed to: checked, and stored whole or not at all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from streamgauge_server.model.clock import Clock
from streamgauge_server.model.entities import Caller
from streamgauge_server.model.errors import DomainError, Reason, Violation, invalid, invalid_field
from streamgauge_server.model.ingests import Ingest, IngestStatus
from streamgauge_server.model.limits import Limits
from streamgauge_server.model.names import MAX_NAME_BYTES, SubjectName, parse_subject, text_problem
from streamgauge_server.model.values import INT64_MAX, SubjectKind
from streamgauge_server.services.auth import require_scope
from streamgauge_server.services.sources import WRITE
from streamgauge_server.services.subject_registry import SubjectRegistry
from streamgauge_server.services.write_checks import time_problem
from streamgauge_server.storage.ingests import ReportedIngests
from streamgauge_server.storage.records import SubjectGone
from streamgauge_server.storage.store import Store
from streamgauge_server.storage.subjects import SubjectKey

MAX_INGESTS = 5_000

_OPTIONAL_TIMES = ("transfer_start_time", "transfer_end_time", "ingest_start_time")


@dataclass(frozen=True, slots=True)
class ReportedIngest:
    """An ingest as decoded at the edge. Times in microseconds; None is what it does not tell.

    `source` is a resource name, `status` the contract's number.
    """

    source: str
    ingest_id: str
    status: int
    end_time: int | None
    file_size: int | None = None
    transfer_start_time: int | None = None
    transfer_end_time: int | None = None
    ingest_start_time: int | None = None


class Ingests:
    """Takes in reports; one instance serves all callers."""

    def __init__(self, store: Store, clock: Clock, limits: Limits, subjects: SubjectRegistry) -> None:
        self._store = store
        self._clock = clock
        self._limits = limits
        self._subjects = subjects

    async def report(self, caller: Caller, ingests: Sequence[ReportedIngest]) -> ReportedIngests:
        """Stores ingests, all or none of them, and returns how many were new and how many changed.

        Of several with one source and id the last one stands. Sources that are not known are registered.

        Raises:
            DomainError: SCOPE_MISSING, INVALID_FIELD with all that is wrong, SOURCE_NOT_FOUND where sources are not
                registered by writing, SUBJECT_LIMIT, WRITE_CONFLICT when sources are deleted all the while,
                STORE_UNAVAILABLE.
        """
        require_scope(caller, WRITE)
        if not 1 <= len(ingests) <= MAX_INGESTS:
            raise invalid_field("ingests", f"must have 1 to {MAX_INGESTS} entries, has {len(ingests)}")
        now = self._clock.now()
        if problems := [
            Violation(f"ingests[{index}].{field}", problem)
            for index, ingest in enumerate(ingests)
            for field, problem in self._problems(ingest, now)
        ]:
            raise invalid(problems)
        subjects = [name for ingest in ingests if (name := parse_subject(ingest.source)) is not None]
        for last_try in (False, True):
            await self._refuse_unknown(caller, subjects)
            try:
                ids = await self._subjects.ids(caller.tenant, {SubjectKey(name, "") for name in subjects})
                records = [
                    _record(ids[SubjectKey(name, "")], ingest) for name, ingest in zip(subjects, ingests, strict=True)
                ]
                return await self._store.ingests.report(caller.tenant, records)
            except SubjectGone as gone:
                self._subjects.forget(gone.subject_ids)
                if last_try:
                    raise DomainError(
                        Reason.WRITE_CONFLICT, "a source was deleted while its ingests were reported; try again"
                    ) from gone
        raise AssertionError("the last try returns or raises")

    async def _refuse_unknown(self, caller: Caller, subjects: Sequence[SubjectName]) -> None:
        closed = {name for name in subjects if not self._subjects.may_register(name)}
        unknown = await self._subjects.unknown(caller.tenant, closed) if closed else set()
        if unknown:
            raise invalid(
                [
                    Violation(
                        f"ingests[{index}].source", f"there is no {name}", Reason.SOURCE_NOT_FOUND, {"name": str(name)}
                    )
                    for index, name in enumerate(subjects)
                    if name in unknown
                ]
            )

    def _problems(self, ingest: ReportedIngest, now: int) -> list[tuple[str, str]]:
        found: list[tuple[str, str | None]] = []
        subject = parse_subject(ingest.source)
        if subject is None or subject.kind != SubjectKind.SOURCE:
            found.append(("source", "must be the resource name of a source, 'sources/{source}'"))
        found.append(("ingest_id", text_problem(ingest.ingest_id, MAX_NAME_BYTES, required=True)))
        if ingest.status not in tuple(IngestStatus):
            names = ", ".join(status.name for status in IngestStatus)
            found.append(("status", f"must be one of {names}, is {ingest.status}"))
        if ingest.end_time is None:
            found.append(("end_time", "is required"))
        else:
            found.append(("end_time", time_problem(ingest.end_time, now, self._limits)))
        if ingest.file_size is not None and not 0 <= ingest.file_size <= INT64_MAX:
            found.append(("file_size", f"must not be negative, is {ingest.file_size}"))
        for field in _OPTIONAL_TIMES:
            time: int | None = getattr(ingest, field)
            if time is not None:
                found.append((field, time_problem(time, now, self._limits)))
        return [(field, problem) for field, problem in found if problem]


def _record(source: int, ingest: ReportedIngest) -> Ingest:
    if ingest.end_time is None:
        raise ValueError("an ingest without an end was not refused")
    return Ingest(
        source,
        ingest.ingest_id,
        IngestStatus(ingest.status),
        ingest.end_time,
        ingest.file_size,
        ingest.transfer_start_time,
        ingest.transfer_end_time,
        ingest.ingest_start_time,
    )
