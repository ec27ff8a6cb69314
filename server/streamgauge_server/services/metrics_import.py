"""Importing frames: the columnar way in. Frames are checked and typed as they come, merged and encoded in threads.

While one batch is encoded and another one committed, the next one is read.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType

import numpy as np

from streamgauge_server.model.clock import MICROS_PER_DAY, Clock
from streamgauge_server.model.entities import WRITE_SCOPE, Caller
from streamgauge_server.model.errors import DomainError, Reason, invalid_field
from streamgauge_server.model.limits import Limits
from streamgauge_server.model.names import SUBJECT_FORM, parse_subject
from streamgauge_server.model.values import first_type
from streamgauge_server.services.auth import require_scope
from streamgauge_server.services.descriptors import Descriptors
from streamgauge_server.services.frame_input import FrameInput, check_frame, typed_columns
from streamgauge_server.services.import_buffer import (
    AcceptedFrame,
    Encoded,
    ImportBuffer,
    SubjectFrames,
    encode_subject,
)
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
from streamgauge_server.timeseries.frame import UNKNOWN_START, Frame, build_frame

_IN_FLIGHT = 3
"""Batches of one stream that may wait for their encoding and commit at a time."""
_OFF_LOOP_SAMPLES = 2_000
"""Batches with more samples are encoded in a thread, so that other calls do not wait for them."""
_LINGER = 1.0
"""Seconds that frames wait for others of their day when a stream pauses."""


@dataclass(frozen=True, slots=True)
class ImportOutcome:
    """What became of a stream of frames: counts, the first errors, and how many did not fit."""

    accepted: int
    rejected: int
    samples: int
    errors: Sequence[ItemError]
    errors_truncated: int


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
        self._buffer = ImportBuffer()
        self._turn = asyncio.Lock()
        self._pause: asyncio.TimerHandle | None = None
        self._saving: deque[asyncio.Task[None]] = deque()
        self._submitted = asyncio.Event()  # of the last batch
        self._submitted.set()
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
        self._stop_waiting()
        for saving in self._saving:
            saving.cancel()
        await asyncio.gather(*self._saving, return_exceptions=True)

    async def add(self, frames: Sequence[FrameInput]) -> None:
        """Takes one message. Returns when it may be followed by the next, not when it is durable.

        Raises:
            DomainError: INVALID_FIELD for an empty message, SCOPE_MISSING, SUBJECT_LIMIT, METRIC_LIMIT,
                STORE_UNAVAILABLE, also for earlier messages of the stream.
        """
        if not frames:
            raise invalid_field("frames", "must have at least 1 entry, has 0")
        async with self._turn:
            self._stop_waiting()
            await self._take(frames)
            self._save(self._buffer.take_due())
            if self._buffer:
                self._pause = asyncio.get_running_loop().call_later(_LINGER, self._on_pause)
        while len(self._saving) > _IN_FLIGHT or (self._saving and self._saving[0].done()):
            await self._saving.popleft()

    async def finish(self) -> ImportOutcome:
        """Waits until everything accepted is durable and returns the counts."""
        self._stop_waiting()
        await self._save_all()
        while self._saving:
            await self._saving.popleft()
        return ImportOutcome(
            self._frames - self._rejected, self._rejected, self._samples, self._errors, self._errors_truncated
        )

    async def _take(self, frames: Sequence[FrameInput]) -> None:
        """Checks the frames of a message and buffers those that are accepted."""
        refusals = Refusals()
        checked = self._checked(frames, refusals)
        self._frames += len(frames)
        await self._refuse_unknown([(index, key) for index, key, _ in checked], refusals)
        today = self._importer.clock.now() // MICROS_PER_DAY
        for index, key, given in checked:
            if index not in refusals.items and (typed := await self._typed(index, key, given, refusals)) is not None:
                samples = given.samples()
                self._samples += samples
                self._buffer.add(AcceptedFrame(index, key, typed, samples), today)
        self._settle(refusals)

    def _stop_waiting(self) -> None:
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None

    def _on_pause(self) -> None:
        """The stream has paused: what it has sent does not wait for more."""
        self._saving.append(asyncio.create_task(self._save_all()))

    async def _save_all(self) -> None:
        async with self._turn:
            self._save(self._buffer.take_all())

    def _save(self, due: Sequence[SubjectFrames]) -> None:
        """Begins to store a batch, after those before it."""
        if due:
            before, self._submitted = self._submitted, asyncio.Event()
            self._saving.append(asyncio.create_task(self._stored(due, before, self._submitted)))

    async def _stored(self, due: Sequence[SubjectFrames], before: asyncio.Event, submitted: asyncio.Event) -> None:
        """Encodes a batch and returns when it is durable. It is handed to the store after the batch before it."""
        try:
            heavy = sum(frames.samples for frames in due) > _OFF_LOOP_SAMPLES
            encoded = await off_loop(lambda: [encode_subject(frames) for frames in due], heavy=heavy)
            await before.wait()
            ids = await self._ids(encoded)
            commit = asyncio.create_task(self._commit(encoded, ids))
        finally:
            submitted.set()
        await commit

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
            check_frame(index, frame, None if name is None else name.kind, now, limits, refusals)
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
        typed = typed_columns(index, frame, known, refusals, self._importer.descriptors.ages())
        if typed is None:
            return None
        if new:
            await self._importer.descriptors.ensure(tenant, kind, new)
            # Somebody else may have declared one of them with another type since. And what was known a moment ago need
            # not be at hand any more.
            known = await self._importer.descriptors.by_name(tenant, kind, [column.metric for column in frame.columns])
            typed = typed_columns(index, frame, known, refusals, self._importer.descriptors.ages())
            if typed is None:
                return None
        start = UNKNOWN_START if frame.start_time is None else frame.start_time
        return build_frame(frame.times, np.full(rows, start, dtype=np.int64), typed)

    async def _ids(self, encoded: Sequence[Encoded]) -> dict[SubjectKey, int] | None:
        """Returns the ids of subjects and parts, creating what is missing; None when one of them was just deleted."""
        try:
            return await self._importer.subjects.ids(self._caller.tenant, {one.of.key for one in encoded})
        except SubjectGone as gone:
            self._importer.subjects.forget(gone.subject_ids)
            return None

    async def _commit(self, encoded: Sequence[Encoded], ids: dict[SubjectKey, int] | None) -> None:
        """Appends frames and waits until they are durable."""
        if ids is not None and await self._append(encoded, ids):
            return
        refusals = Refusals()
        accepted = [frame for one in encoded for frame in one.of.accepted]
        await self._refuse_unknown([(frame.index, frame.key) for frame in accepted], refusals)
        self._settle(refusals)
        self._samples -= sum(frame.samples for frame in accepted if frame.index in refusals.items)
        left = [one for one in encoded if one.of.accepted[0].index not in refusals.items]
        ids = await self._ids(left)
        if ids is None or not await self._append(left, ids):
            raise DomainError(Reason.WRITE_CONFLICT, "a subject was deleted while it was written to; try again")

    async def _append(self, encoded: Sequence[Encoded], ids: dict[SubjectKey, int]) -> bool:
        """Tells whether the frames were stored; not so when a subject was deleted."""
        writes = [SubjectWrite(ids[one.of.key], list(one.blocks), frame=one.frame) for one in encoded if one.blocks]
        try:
            if writes:
                await self._importer.store.blocks.append(writes)
        except SubjectGone as gone:
            self._importer.subjects.forget(gone.subject_ids)
            return False
        return True
