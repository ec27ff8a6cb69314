"""Importing frames: the columnar way in. Frames are checked, typed and encoded off the event loop, commits overlap."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamgauge_server.model.clock import MAX_MICROS, Clock
from streamgauge_server.model.entities import WRITE_SCOPE, Caller, MetricDescriptor
from streamgauge_server.model.errors import DomainError, Reason, invalid_field
from streamgauge_server.model.limits import Limits
from streamgauge_server.model.names import parse_subject
from streamgauge_server.model.values import ValueType
from streamgauge_server.services.auth import require_scope
from streamgauge_server.services.descriptors import Descriptors
from streamgauge_server.services.subject_registry import SubjectRegistry
from streamgauge_server.services.write_checks import (
    MAX_ERRORS,
    NOT_FOUND_REASON,
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


@dataclass(slots=True)
class ImportOutcome:
    """What became of a stream of frames."""

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
        self._commits: deque[asyncio.Task[None]] = deque()
        self._refusals = Refusals()
        self._frames = 0
        self._samples = 0

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
        first = self._frames
        self._frames += len(frames)
        keys = self._keys(frames, first)
        await self._refuse_unknown(frames, keys, first)
        ready: list[tuple[SubjectKey, Frame, list[Block]]] = []
        for offset, (frame, key) in enumerate(zip(frames, keys, strict=True)):
            if key is None or first + offset in self._refusals.items:
                continue
            built = await self._frame(first + offset, frame, key)
            if built is not None:
                self._samples += frame.samples()
                if built.columns:
                    ready.append((key, built, await self._encode(built, frame.samples())))
        if ready:
            self._commits.append(asyncio.create_task(self._commit(ready)))
        while len(self._commits) > _IN_FLIGHT or (self._commits and self._commits[0].done()):
            await self._commits.popleft()

    async def finish(self) -> ImportOutcome:
        """Waits until everything accepted is durable and returns the counts."""
        while self._commits:
            await self._commits.popleft()
        errors = self._refusals.errors
        rejected = len(self._refusals.items)
        return ImportOutcome(
            self._frames - rejected,
            rejected,
            self._samples,
            errors[:MAX_ERRORS],
            max(0, len(errors) - MAX_ERRORS),
        )

    def _keys(self, frames: Sequence[FrameInput], first: int) -> list[SubjectKey | None]:
        names = [parse_subject(frame.subject) for frame in frames]
        for kind in {name.kind for name in names if name is not None}:
            require_scope(self._caller, WRITE_SCOPE[kind])
        keys: list[SubjectKey | None] = []
        for offset, (frame, name) in enumerate(zip(frames, names, strict=True)):
            if name is None:
                self._refusals.add(first + offset, frame.subject, "subject", SUBJECT_FORM)
            if problem := part_problem(frame.part):
                self._refusals.add(first + offset, frame.subject, "part", problem)
            keys.append(None if name is None else SubjectKey(name, frame.part))
        return keys

    async def _refuse_unknown(
        self, frames: Sequence[FrameInput], keys: Sequence[SubjectKey | None], first: int
    ) -> None:
        subjects = self._importer.subjects
        closed = {key.name for key in keys if key is not None and not subjects.may_register(key.name)}
        unknown = await subjects.unknown(self._caller.tenant, closed) if closed else set()
        for offset, (frame, key) in enumerate(zip(frames, keys, strict=True)):
            if key is not None and key.name in unknown:
                message = f"there is no {key.name}, and a write does not register it"
                reason = NOT_FOUND_REASON[key.name.kind]
                self._refusals.add(first + offset, frame.subject, "subject", message, reason=reason)

    async def _frame(self, index: int, frame: FrameInput, key: SubjectKey) -> Frame | None:
        """Checks and types one frame; returns None when it is refused."""
        if not self._check_shape(index, frame):
            return None
        tenant, kind = self._caller.tenant, key.name.kind
        columns = {column.metric: column for column in frame.columns}
        known = await self._importer.descriptors.by_name(tenant, kind, columns)
        new = {m: c.type for m, c in columns.items() if m not in known and c.type is not None}
        refused = False
        for metric, column in columns.items():
            if metric in known and column.type != known[metric].value_type:
                refused |= not self._convertible(index, frame, column, known[metric])
        if refused:
            return None
        if new:
            known = await self._importer.descriptors.ensure(tenant, kind, new)
        times = frame.times.astype(np.int64)
        start = UNKNOWN_START if frame.start_time is None else frame.start_time
        typed = {}
        for metric, column in columns.items():
            descriptor = known[metric]
            built = _column(column, descriptor, len(times))
            if built is not None:
                typed[descriptor.id] = built
        return build_frame(times, np.full(len(times), start, dtype=np.int64), typed)

    def _check_shape(self, index: int, frame: FrameInput) -> bool:
        """Checks everything about a frame that needs no descriptor."""
        limits, refusals = self._importer.limits, self._refusals
        before = len(refusals.errors)

        def refuse(path: str, problem: str | None, metric: str = "") -> None:
            if problem:
                refusals.add(index, frame.subject, path, problem, metric=metric)

        rows, samples = len(frame.times), frame.samples()
        if not rows:
            refuse("time_unix_micros", "must have at least 1 entry, has 0")
        if not 1 <= len(frame.columns) <= limits.max_metrics_per_observation:
            limit = limits.max_metrics_per_observation
            refuse("columns", f"must have 1 to {limit} entries, has {len(frame.columns)}")
        if max(samples, rows) > limits.max_samples_per_frame:
            refuse("columns", f"must have at most {limits.max_samples_per_frame} samples, has {max(samples, rows)}")
        elif rows:
            now = self._importer.clock.now()
            newest, earliest = int(frame.times.max()), int(frame.times.min())
            refuse(
                f"time_unix_micros[{int(frame.times.argmax())}]",
                "must not be after the year 9999" if newest >= MAX_MICROS else time_problem(newest, now, limits),
            )
            if frame.start_time is not None:
                refuse("start_time", start_problem(frame.start_time, earliest))
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
        return len(refusals.errors) == before

    def _convertible(self, index: int, frame: FrameInput, column: ColumnInput, descriptor: MetricDescriptor) -> bool:
        if _convert(column, descriptor) is not None:
            return True
        actual = "unset" if column.type is None else column.type.name
        self._refusals.add(
            index,
            frame.subject,
            f'columns["{column.metric}"]',
            f"must be {descriptor.value_type.name}, is {actual} and cannot be converted without loss",
            metric=column.metric,
            reason=Reason.VALUE_TYPE_MISMATCH,
        )
        return False

    async def _encode(self, frame: Frame, samples: int) -> list[Block]:
        if samples > _OFF_LOOP_SAMPLES:
            return await asyncio.to_thread(_encode_days, frame)
        return _encode_days(frame)

    async def _commit(self, ready: Sequence[tuple[SubjectKey, Frame, list[Block]]]) -> None:
        subjects, tenant = self._importer.subjects, self._caller.tenant
        for last_try in (False, True):
            ids = await subjects.ids(tenant, {key for key, _, _ in ready})
            writes = [SubjectWrite(ids[key], blocks, frame=frame) for key, frame, blocks in ready]
            try:
                await self._importer.store.blocks.append(writes)
            except SubjectGone as gone:
                subjects.forget(gone.subject_ids)
                if last_try:
                    raise DomainError(
                        Reason.WRITE_CONFLICT, "a subject was deleted while it was written to; try again"
                    ) from gone
            else:
                return


def _encode_days(frame: Frame) -> list[Block]:
    return [encode(part) for _, part in split_days(frame)]


def _wrong_shape(column: ColumnInput, rows: int) -> tuple[str, str] | None:
    """Returns the wrong field of a column's shape and what is wrong."""
    count = len(column.values)
    if column.type is None or not count:
        return "values", "must have exactly one of doubles, ints, bools, strings, with at least 1 value"
    if column.rows is None:
        if count != rows:
            return "values", f"must have {rows} values, one for each row, has {count}"
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
            return f"values[{wrong[0]}]", f"must be finite, is {column.values[wrong[0]]}"
    elif column.type == ValueType.STRING:
        for position, text in enumerate(column.values):
            if problem := value_problem(text, limits):
                return f"values[{position}]", problem
    return None


def _convert(column: ColumnInput, descriptor: MetricDescriptor) -> NDArray[Any] | None:
    """Returns the values as the metric's type, or None where that would lose anything.

    Values that mean "no value" pass unconverted types: they are dropped afterwards.
    """
    values, target = column.values, descriptor.value_type
    if column.type == target:
        return values
    if column.type == ValueType.DOUBLE and target == ValueType.INT64:
        if bool((np.floor(values) == values).all()) and bool((np.abs(values) < 2.0**63).all()):
            return values.astype(np.int64)
    elif column.type == ValueType.INT64 and target == ValueType.DOUBLE:
        doubles = values.astype(np.float64)
        if bool((np.abs(doubles) < 2.0**63).all()) and bool((doubles.astype(np.int64) == values).all()):
            return doubles
    elif (
        column.type in (ValueType.INT64, ValueType.DOUBLE)
        and target == ValueType.BOOL
        and bool(((values == 0) | (values == 1)).all())
    ):
        ones: NDArray[np.bool_] = values == 1
        return ones
    return None


def _column(column: ColumnInput, descriptor: MetricDescriptor, rows: int) -> Column | None:
    """Returns a typed column of full length without what means "no value", or None where nothing is left."""
    values = _convert(column, descriptor)
    if values is None:
        raise AssertionError(f"column {column.metric} was not checked")
    at = column.rows
    if descriptor.no_value is not None:
        keep = values != descriptor.no_value
        if not keep.all():
            at = (np.arange(rows, dtype=np.uint32) if at is None else at)[keep]
            values = values[keep]
    if not len(values):
        return None
    if at is None or len(at) == rows:
        return Column(descriptor.value_type, values, None)
    full = np.zeros(rows, dtype=values.dtype)
    present = np.zeros(rows, dtype=np.bool_)
    full[at] = values
    present[at] = True
    return Column(descriptor.value_type, full, present)
