"""Importing frames: the columnar way in. Frames are checked, typed and encoded off the event loop, commits overlap."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType

import numpy as np

from streamgauge_server.model.clock import Clock
from streamgauge_server.model.entities import WRITE_SCOPE, Caller
from streamgauge_server.model.errors import DomainError, Reason, invalid_field
from streamgauge_server.model.limits import Limits
from streamgauge_server.model.names import SUBJECT_FORM, parse_subject
from streamgauge_server.model.values import first_type
from streamgauge_server.services.auth import require_scope
from streamgauge_server.services.descriptors import Descriptors
from streamgauge_server.services.frame_input import FrameInput, check_frame, typed_columns
from streamgauge_server.services.off_loop import off_loop
from streamgauge_server.services.subject_registry import SubjectRegistry
from streamgauge_server.services.write_checks import (
    MAX_ERRORS,
    ItemError,
    Refusals,
    part_problem,
)
from streamgauge_server.storage.blocks import SubjectGone, SubjectWrite
from streamgauge_server.storage.store import Store
from streamgauge_server.storage.subjects import SubjectKey
from streamgauge_server.timeseries.block import Block, encode_days
from streamgauge_server.timeseries.frame import UNKNOWN_START, Frame, build_frame

_IN_FLIGHT = 4
"""Messages of one stream that may wait for their commit at a time."""
_OFF_LOOP_SAMPLES = 2_000
"""Frames with more samples are encoded in a thread, so that other calls do not wait for them."""


@dataclass(frozen=True, slots=True)
class ImportOutcome:
    """What became of a stream of frames: counts, the first errors, and how many did not fit."""

    accepted: int
    rejected: int
    samples: int
    errors: Sequence[ItemError]
    errors_truncated: int


@dataclass(frozen=True, slots=True)
class _Ready:
    """A checked frame on its way to the store; `index` counts from the beginning of the stream."""

    index: int
    key: SubjectKey
    frame: Frame
    blocks: Sequence[Block]
    samples: int


class MetricsImporter:
    """Opens import sessions; one instance serves all callers."""

    def __init__(
        self, store: Store, clock: Clock, limits: Limits, descriptors: Descriptors, subjects: SubjectRegistry
    ) -> None:
        self.store = store
        self.clock = clock
        self.limits = limits
        self.descriptors = descriptors
        self.subjects = subjects

    def session(self, caller: Caller) -> ImportSession:
        """Returns a session for one stream, to be used as an async context manager."""
        return ImportSession(self, caller)


class ImportSession:
    """One stream of frames: `add` each message, then `finish`. Leaving early cancels what is not yet committed."""

    def __init__(self, importer: MetricsImporter, caller: Caller) -> None:
        self._importer = importer
        self._caller = caller
        self._commits: deque[asyncio.Task[None]] = deque()
        self._frames = 0
        self._rejected = 0
        self._samples = 0
        self._errors: list[ItemError] = []
        self._errors_truncated = 0

    async def __aenter__(self) -> ImportSession:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for commit in self._commits:
            commit.cancel()
        await asyncio.gather(*self._commits, return_exceptions=True)

    async def add(self, frames: Sequence[FrameInput]) -> None:
        """Takes one message. Returns when it may be followed by the next, not when it is durable.

        Raises:
            DomainError: INVALID_FIELD for an empty message, SCOPE_MISSING, SUBJECT_LIMIT, METRIC_LIMIT,
                STORE_UNAVAILABLE, also for earlier messages of the stream.
        """
        if not frames:
            raise invalid_field("frames", "must have at least 1 entry, has 0")
        refusals = Refusals()
        checked = self._checked(frames, refusals)
        self._frames += len(frames)
        await self._refuse_unknown([(index, key) for index, key, _ in checked], refusals)
        ready = [
            await self._ready(index, key, frame, typed)
            for index, key, frame in checked
            if index not in refusals.items and (typed := await self._typed(index, key, frame, refusals)) is not None
        ]
        self._settle(refusals)
        if ready:
            # The ids are found here and not in the task, so that messages are appended in the order of the stream.
            ids = await self._ids(ready)
            self._commits.append(asyncio.create_task(self._commit(ready, ids)))
        while len(self._commits) > _IN_FLIGHT or (self._commits and self._commits[0].done()):
            await self._commits.popleft()

    async def finish(self) -> ImportOutcome:
        """Waits until everything accepted is durable and returns the counts."""
        while self._commits:
            await self._commits.popleft()
        return ImportOutcome(
            self._frames - self._rejected, self._rejected, self._samples, self._errors, self._errors_truncated
        )

    def _settle(self, refusals: Refusals) -> None:
        """Counts what was refused and keeps the first errors."""
        self._rejected += len(refusals.items)
        errors = sorted([*self._errors, *refusals.errors], key=lambda error: error.index)
        self._errors = errors[:MAX_ERRORS]
        self._errors_truncated += len(errors) - len(self._errors)

    def _checked(self, frames: Sequence[FrameInput], refusals: Refusals) -> list[tuple[int, SubjectKey, FrameInput]]:
        """Checks what can be checked without knowing any subject or metric; scopes first."""
        names = [parse_subject(frame.subject) for frame in frames]
        for kind in {name.kind for name in names if name is not None}:
            require_scope(self._caller, WRITE_SCOPE[kind])
        now, limits = self._importer.clock.now(), self._importer.limits
        checked: list[tuple[int, SubjectKey, FrameInput]] = []
        for index, (frame, name) in enumerate(zip(frames, names, strict=True), self._frames):
            if name is None:
                refusals.add(index, frame.subject, "subject", SUBJECT_FORM)
            if problem := part_problem(frame.part):
                refusals.add(index, frame.subject, "part", problem)
            check_frame(index, frame, now, limits, refusals)
            if name is not None and index not in refusals.items:
                checked.append((index, SubjectKey(name, frame.part), frame))
        return checked

    async def _refuse_unknown(self, frames: Sequence[tuple[int, SubjectKey]], refusals: Refusals) -> None:
        """Refuses frames of subjects that do not exist and may not be registered by writing."""
        subjects = self._importer.subjects
        closed = {key.name for _, key in frames if not subjects.may_register(key.name)}
        unknown = await subjects.unknown(self._caller.tenant, closed) if closed else set()
        for index, key in frames:
            if key.name in unknown:
                refusals.add_unknown(index, key.name)

    async def _typed(self, index: int, key: SubjectKey, frame: FrameInput, refusals: Refusals) -> Frame | None:
        """Gives a checked frame its metrics' ids and types; returns None when it is refused."""
        tenant, kind, rows = self._caller.tenant, key.name.kind, len(frame.times)
        known = await self._importer.descriptors.by_name(tenant, kind, [column.metric for column in frame.columns])
        new = {
            column.metric: first_type(kind, column.type)
            for column in frame.columns
            if column.metric not in known and column.type is not None
        }
        typed = typed_columns(index, frame, known, refusals)
        if typed is None:
            return None
        if new:
            await self._importer.descriptors.ensure(tenant, kind, new)
            # Somebody else may have declared one of them with another type since. And what was known a moment ago need
            # not be at hand any more.
            known = await self._importer.descriptors.by_name(tenant, kind, [column.metric for column in frame.columns])
            typed = typed_columns(index, frame, known, refusals)
            if typed is None:
                return None
        start = UNKNOWN_START if frame.start_time is None else frame.start_time
        return build_frame(frame.times.astype(np.int64), np.full(rows, start, dtype=np.int64), typed)

    async def _ready(self, index: int, key: SubjectKey, frame: FrameInput, typed: Frame) -> _Ready:
        samples = frame.samples()
        blocks = await off_loop(lambda: encode_days(typed), heavy=samples > _OFF_LOOP_SAMPLES)
        self._samples += samples
        return _Ready(index, key, typed, blocks, samples)

    async def _ids(self, ready: Sequence[_Ready]) -> dict[SubjectKey, int] | None:
        """Returns the ids of subjects and parts, creating what is missing; None when one of them was just deleted."""
        try:
            return await self._importer.subjects.ids(self._caller.tenant, {item.key for item in ready})
        except SubjectGone as gone:
            self._importer.subjects.forget(gone.subject_ids)
            return None

    async def _commit(self, ready: Sequence[_Ready], ids: dict[SubjectKey, int] | None) -> None:
        """Appends frames and waits until they are durable."""
        if ids is not None and await self._append(ready, ids):
            return
        refusals = Refusals()
        await self._refuse_unknown([(item.index, item.key) for item in ready], refusals)
        self._settle(refusals)
        self._samples -= sum(item.samples for item in ready if item.index in refusals.items)
        left = [item for item in ready if item.index not in refusals.items]
        ids = await self._ids(left)
        if ids is None or not await self._append(left, ids):
            raise DomainError(Reason.WRITE_CONFLICT, "a subject was deleted while it was written to; try again")

    async def _append(self, ready: Sequence[_Ready], ids: dict[SubjectKey, int]) -> bool:
        """Tells whether the frames were stored; not so when a subject was deleted."""
        writes = [SubjectWrite(ids[item.key], list(item.blocks), frame=item.frame) for item in ready if item.blocks]
        try:
            if writes:
                await self._importer.store.blocks.append(writes)
        except SubjectGone as gone:
            self._importer.subjects.forget(gone.subject_ids)
            return False
        return True
