"""Importing frames: the columnar way in. Frames are checked, typed and encoded off the event loop, commits overlap."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamgauge_server.model.clock import Clock
from streamgauge_server.model.entities import WRITE_SCOPE, Caller, MetricDescriptor
from streamgauge_server.model.errors import DomainError, Reason, invalid_field
from streamgauge_server.model.limits import Limits
from streamgauge_server.model.names import parse_subject
from streamgauge_server.model.values import ValueType, convert_lossless
from streamgauge_server.services.auth import require_scope
from streamgauge_server.services.descriptors import Descriptors
from streamgauge_server.services.subject_registry import SubjectRegistry
from streamgauge_server.services.write_checks import (
    MAX_ERRORS,
    SUBJECT_FORM,
    ItemError,
    Refusals,
    metric_problem,
    part_problem,
    start_problem,
    time_problem,
    value_problem,
)
from streamgauge_server.storage.blocks import SubjectGone, SubjectWrite
from streamgauge_server.storage.store import Store
from streamgauge_server.storage.subjects import SubjectKey
from streamgauge_server.timeseries.block import Block, encode
from streamgauge_server.timeseries.frame import UNKNOWN_START, Column, Frame, build_frame, split_days

_IN_FLIGHT = 4
"""Messages of one stream that may wait for their commit at a time."""
_OFF_LOOP_SAMPLES = 2_000
"""Frames with more samples are encoded in a thread, so that other calls do not wait for them."""


@dataclass(frozen=True, slots=True)
class ColumnInput:
    """One metric of a frame as decoded at the edge; `rows` is None where every row has a value."""

    metric: str
    type: ValueType | None
    values: NDArray[Any]
    rows: NDArray[np.uint32] | None


@dataclass(frozen=True, slots=True)
class FrameInput:
    """A frame as decoded at the edge; `times` in unsigned microseconds, in any order."""

    subject: str
    part: str
    start_time: int | None
    times: NDArray[np.uint64]
    columns: Sequence[ColumnInput]

    def samples(self) -> int:
        """Returns how many values the frame holds."""
        return sum(len(column.values) for column in self.columns)


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
            _check_shape(index, frame, now, limits, refusals)
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
        new = {c.metric: c.type for c in frame.columns if c.metric not in known and c.type is not None}
        typed = _typed_columns(index, frame, known, refusals)
        if typed is None:
            return None
        if new:
            known = await self._importer.descriptors.ensure(tenant, kind, new)
            # Somebody else may have declared one of them with another type since.
            typed = _typed_columns(index, frame, known, refusals)
            if typed is None:
                return None
        start = UNKNOWN_START if frame.start_time is None else frame.start_time
        return build_frame(frame.times.astype(np.int64), np.full(rows, start, dtype=np.int64), typed)

    async def _ready(self, index: int, key: SubjectKey, frame: FrameInput, typed: Frame) -> _Ready:
        samples = frame.samples()
        if not typed.columns:
            blocks: list[Block] = []
        elif samples > _OFF_LOOP_SAMPLES:
            blocks = await asyncio.to_thread(_encode_days, typed)
        else:
            blocks = _encode_days(typed)
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


def _encode_days(frame: Frame) -> list[Block]:
    return [encode(part) for _, part in split_days(frame)]


_MEMBERS = {
    ValueType.DOUBLE: "doubles",
    ValueType.INT64: "ints",
    ValueType.BOOL: "bools",
    ValueType.STRING: "strings",
}


def _check_shape(index: int, frame: FrameInput, now: int, limits: Limits, refusals: Refusals) -> None:
    """Checks everything about a frame that needs neither its subject nor its descriptors."""

    def refuse(path: str, problem: str | None, metric: str = "") -> None:
        if problem:
            refusals.add(index, frame.subject, path, problem, metric=metric)

    rows, samples = len(frame.times), frame.samples()
    if not 1 <= len(frame.columns) <= limits.max_metrics_per_observation:
        limit = limits.max_metrics_per_observation
        refuse("columns", f"must have 1 to {limit} entries, has {len(frame.columns)}")
    if max(samples, rows) > limits.max_samples_per_frame:
        refuse("columns", f"must have at most {limits.max_samples_per_frame} samples, has {max(samples, rows)}")
        return
    if rows:
        newest, earliest = int(frame.times.max()), int(frame.times.min())
        refuse(f"time_unix_micros[{int(frame.times.argmax())}]", time_problem(newest, now, limits))
        if frame.start_time is not None:
            refuse("start_time", start_problem(frame.start_time, earliest))
    else:
        refuse("time_unix_micros", "must have at least 1 entry, has 0")
    seen: set[str] = set()
    for position, column in enumerate(frame.columns):
        path = f"columns[{position}]"
        refuse(f"{path}.metric", metric_problem(column.metric), column.metric)
        if column.metric in seen:
            refuse(f"{path}.metric", "must be unique in its frame", column.metric)
        seen.add(column.metric)
        wrong = _wrong_shape(column, rows) or _wrong_value(column, limits)
        if wrong is not None:
            refuse(f"{path}.{wrong[0]}", wrong[1], column.metric)


def _wrong_shape(column: ColumnInput, rows: int) -> tuple[str, str] | None:
    """Returns the wrong field of a column's shape and what is wrong."""
    count = len(column.values)
    if column.type is None or not count:
        return "values", "must have exactly one of doubles, ints, bools, strings, with at least 1 value"
    if column.rows is None:
        if count != rows:
            return f"{_MEMBERS[column.type]}.values", f"must have {rows} values, one for each row, has {count}"
    elif len(column.rows) != count:
        return "rows", f"must name {count} rows, one for each value, names {len(column.rows)}"
    elif int(column.rows[-1]) >= rows or bool((np.diff(column.rows.astype(np.int64)) <= 0).any()):
        return "rows", f"must rise strictly and stay below {rows}"
    return None


def _wrong_value(column: ColumnInput, limits: Limits) -> tuple[str, str] | None:
    """Returns the first wrong value and what is wrong."""
    if column.type == ValueType.DOUBLE:
        wrong = np.flatnonzero(~np.isfinite(column.values))
        if len(wrong):
            return f"doubles.values[{wrong[0]}]", f"must be finite, is {column.values[wrong[0]]}"
    elif column.type == ValueType.STRING:
        for position, text in enumerate(column.values):
            if problem := value_problem(text, limits):
                return f"strings.values[{position}]", problem
    return None


def _typed_columns(
    index: int, frame: FrameInput, known: Mapping[str, MetricDescriptor], refusals: Refusals
) -> dict[int, Column] | None:
    """Returns the columns of known metrics by id; None, with all reasons told, where one cannot become its type."""
    typed: dict[int, Column] = {}
    accepted = True
    for position, given in enumerate(frame.columns):
        descriptor = known.get(given.metric)
        if descriptor is None or given.type is None:
            continue
        column = _without(given, descriptor.no_value, len(frame.times))
        values = _convert(column.values, given.type, descriptor.value_type)
        if values is None:
            path = f"columns[{position}].{_MEMBERS[given.type]}"
            refusals.add_type_mismatch(index, frame.subject, path, given.metric, descriptor.value_type, given.type)
            accepted = False
        elif len(values):
            typed[descriptor.id] = _spread(values, column.rows, descriptor.value_type, len(frame.times))
    return typed if accepted else None


def _without(column: ColumnInput, no_value: float | None, rows: int) -> ColumnInput:
    """Returns a column without the samples that mean "no value"."""
    if no_value is None or column.type not in (ValueType.DOUBLE, ValueType.INT64):
        return column
    if column.type == ValueType.INT64:
        # Compared as doubles, neighbours of a large "no value" would be dropped along.
        exact = convert_lossless(no_value, ValueType.INT64)
        keep = np.ones(len(column.values), np.bool_) if exact is None else column.values != exact
    else:
        keep = column.values != no_value
    if keep.all():
        return column
    at = np.arange(rows, dtype=np.uint32) if column.rows is None else column.rows
    return replace(column, values=column.values[keep], rows=at[keep])


def _convert(values: NDArray[Any], given: ValueType, target: ValueType) -> NDArray[Any] | None:
    """Returns values as another type, or None where that would lose anything: `convert_lossless` for arrays."""
    if given == target:
        return values
    if given == ValueType.DOUBLE and target == ValueType.INT64:
        if bool(((np.floor(values) == values) & _in_int64(values)).all()):
            return values.astype(np.int64)
    elif given == ValueType.INT64 and target == ValueType.DOUBLE:
        doubles = values.astype(np.float64)
        if bool(_in_int64(doubles).all()) and bool((doubles.astype(np.int64) == values).all()):
            return doubles
    elif (
        given in (ValueType.INT64, ValueType.DOUBLE)
        and target == ValueType.BOOL
        and bool(((values == 0) | (values == 1)).all())
    ):
        ones: NDArray[np.bool_] = values == 1
        return ones
    return None


def _in_int64(values: NDArray[np.float64]) -> NDArray[np.bool_]:
    inside: NDArray[np.bool_] = (values >= -(2.0**63)) & (values < 2.0**63)
    return inside


def _spread(values: NDArray[Any], at: NDArray[np.uint32] | None, value_type: ValueType, rows: int) -> Column:
    """Returns a column of full length."""
    if at is None or len(at) == rows:
        return Column(value_type, values, None)
    full = np.zeros(rows, dtype=values.dtype)
    present = np.zeros(rows, dtype=np.bool_)
    full[at] = values
    present[at] = True
    return Column(value_type, full, present)
