"""Exporting samples: everything that stands, in column form, a day of a subject at a time."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from streamgauge_server.model.clock import MAX_MICROS, MICROS_PER_DAY, MIN_MICROS, isoformat
from streamgauge_server.model.entities import READ_SCOPE, Caller
from streamgauge_server.model.errors import Violation, invalid
from streamgauge_server.model.limits import Limits
from streamgauge_server.model.names import SubjectName, metric_list_problems, parse_subject, subject_list_problems
from streamgauge_server.model.values import SubjectKind
from streamgauge_server.services.auth import require_scope
from streamgauge_server.services.descriptors import Descriptors
from streamgauge_server.services.export_days import DayPart, StoredDay, decode_day
from streamgauge_server.services.export_messages import ExportMessages, ExportPart
from streamgauge_server.services.export_subjects import ExportSubjects, NamedSubjects, Page, SubjectsOfKind
from streamgauge_server.services.frame_output import FrameBounds, FrameOutput, output_frames
from streamgauge_server.services.off_loop import off_loop
from streamgauge_server.services.page_tokens import damaged_token, number_in, request_digest, token_after, token_for
from streamgauge_server.services.time_ranges import range_problem
from streamgauge_server.storage.damage_log import of_samples
from streamgauge_server.storage.database import SubjectDay
from streamgauge_server.storage.day_rounds import rounds
from streamgauge_server.storage.store import Store
from streamgauge_server.storage.subject_days import DayExtent
from streamgauge_server.storage.subjects import SubjectKey

_CELLS_AT_ONCE = 500_000
"""Rows by metrics that are decoded and encoded in one go."""
_PARTS_AT_ONCE = 500
_OFF_LOOP_BYTES = 1 << 14
"""Blocks of more bytes than this are decoded in a thread, so that other calls do not wait for them."""
_FIRST_DAY, _LAST_DAY = MIN_MICROS // MICROS_PER_DAY, MAX_MICROS // MICROS_PER_DAY


@dataclass(frozen=True, slots=True)
class ExportAsked:
    """What is asked. Times in microseconds, None where the range is open; the cursor is empty at the beginning."""

    subjects: Sequence[str]
    kind: SubjectKind | None
    metrics: Sequence[str] = ()
    start: int | None = None
    end: int | None = None
    cursor: str = ""

    @property
    def low(self) -> int:
        """The first moment that is asked for."""
        return MIN_MICROS if self.start is None else self.start

    @property
    def high(self) -> int:
        """The first moment after."""
        return MAX_MICROS if self.end is None else self.end


@dataclass(frozen=True, slots=True)
class _Position:
    """As far as a day of a subject or part everything was sent."""

    key: SubjectKey
    day: int


@dataclass(frozen=True, slots=True)
class _Day:
    """A day to send; `whole` is how many subjects and parts of its page are sent whole with it."""

    key: SubjectKey
    extent: DayExtent
    whole: int


_Metrics = Mapping[SubjectKind, Collection[int] | None]
_Sent = tuple[DayPart, list[FrameOutput]]


class MetricsExport:
    """Streams samples out; one instance serves all callers."""

    def __init__(self, store: Store, limits: Limits, descriptors: Descriptors) -> None:
        self._store = store
        self._limits = limits
        self._bounds = FrameBounds.of(limits)
        self._descriptors = descriptors

    async def export(
        self, caller: Caller, asked: ExportAsked, problems: Sequence[Violation] = ()
    ) -> AsyncGenerator[ExportPart, None]:
        """Yields all samples that stand of the subjects asked for, at least one message.

        A day of a subject is read in one statement, so its samples are those of one moment. A day that does not fit
        into a message begins one of its own, and the cursor changes with its last one: a day that was cut comes again.
        `problems` are what the edge found wrong.

        Memory holds one day of one subject as stored, and of its samples as many as are decoded at once.

        Raises:
            DomainError: SCOPE_MISSING, INVALID_FIELD, INVALID_TIME_RANGE, PAGE_TOKEN_MISMATCH, STORE_UNAVAILABLE.
        """
        names = [name for subject in asked.subjects if (name := parse_subject(subject)) is not None]
        kinds = {name.kind for name in names} | ({asked.kind} if asked.kind is not None else set())
        for kind in kinds:
            require_scope(caller, READ_SCOPE[kind])
        if found := [*problems, *self._problems(asked)]:
            raise invalid(found)
        digest = _digest(caller.tenant, asked)
        position = _position(token_after(asked.cursor, digest, keys=4, field="cursor"))
        subjects, unknown = await self._subjects(caller.tenant, asked.kind, names)
        metrics = {kind: await self._descriptors.ids_of(caller.tenant, kind, asked.metrics) for kind in kinds}
        count = await subjects.count()
        done = 0 if position is None else await subjects.count(position.key)
        messages = ExportMessages(
            asked.cursor, count=count, done=done, unknown=[str(name) for name in unknown], size=self._bounds.size
        )
        async for page in subjects.pages(None if position is None else position.key):
            days = await self._days(page, asked, position)
            whole = {(day.key, day.extent.day): done + day.whole for day in days}
            async for part, frames in self._sent(caller.tenant, days, asked, metrics):
                for full in messages.add(frames, last=part.last):
                    yield full
                if part.last:
                    cursor = token_for(digest, _sort_key(part.key, part.day))
                    damaged = _damaged_day(part) if part.damaged else None
                    for full in messages.day_done(cursor, whole[part.key, part.day], damaged):
                        yield full
            done += len(page)
        yield messages.rest(done)

    def _problems(self, asked: ExportAsked) -> list[Violation]:
        """Returns what is wrong with a request, as far as that can be told without its subjects."""
        found: list[Violation] = []
        if asked.subjects:
            found.extend(subject_list_problems(asked.subjects, self._limits.max_subjects_per_query))
            if asked.kind is not None:
                found.append(Violation("subject_kind", "must not be set together with subjects"))
        elif asked.kind is None:
            found.append(Violation("subject_kind", "must be set when there are no subjects"))
        found.extend(metric_list_problems(asked.metrics))
        problem = range_problem(asked.low, asked.high, "time_range.start_time", "time_range.end_time")
        return found if problem is None else [*found, problem]

    async def _subjects(
        self, tenant: str, kind: SubjectKind | None, names: Sequence[SubjectName]
    ) -> tuple[ExportSubjects, list[SubjectName]]:
        """Returns the subjects to send, and those of the request that do not exist."""
        if kind is not None:
            return SubjectsOfKind(self._store, tenant, kind), []
        parts = await self._store.subjects.parts(tenant, names)
        return NamedSubjects(parts), [name for name in names if name not in parts]

    async def _days(self, page: Page, asked: ExportAsked, position: _Position | None) -> list[_Day]:
        """Returns the days to send of a page of subjects and parts, in their order."""
        low, high = asked.low // MICROS_PER_DAY, (asked.high - 1) // MICROS_PER_DAY
        by_subject: dict[int, list[DayExtent]] = {}
        for extent in await self._store.subject_days.extents([id_ for _, id_ in page], low, high):
            by_subject.setdefault(extent.subject_id, []).append(extent)
        days: list[_Day] = []
        for place, (key, id_) in enumerate(page):
            extents = by_subject.get(id_, [])
            if position is not None and key == position.key:
                extents = [extent for extent in extents if extent.day > position.day]
            days.extend(_Day(key, extent, place) for extent in extents[:-1])
            days.extend(_Day(key, extent, place + 1) for extent in extents[-1:])
        return days

    async def _sent(
        self, tenant: str, days: Sequence[_Day], asked: ExportAsked, metrics: _Metrics
    ) -> AsyncIterator[_Sent]:
        """Yields days, each in one or several parts, with their frames."""
        of = {(day.extent.subject_id, day.extent.day): day for day in days}
        ids = {day.key: day.extent.subject_id for day in days}
        for keys in rounds((day.extent.subject_id, day.extent.day, day.extent.size) for day in days):
            blocks: dict[SubjectDay, dict[int, bytes]] = {key: {} for key in keys}
            for subject_id, day, seq, _, _, _, data in await self._store.subject_days.blocks(
                keys, asked.low, asked.high
            ):
                blocks[subject_id, day][seq] = data
            stored = [StoredDay(of[key].key, key[1], of[key].extent.rows, held) for key, held in blocks.items()]
            parts = _decoded(stored, asked, metrics)
            heavy = sum(of[key].extent.size for key in keys) > _OFF_LOOP_BYTES
            while batch := await off_loop(partial(_some, parts), heavy=heavy):
                for part in batch:
                    if part.damaged:
                        await self._store.damage.note(of_samples(ids[part.key], part.day, part.damaged))
                names = {kind: await self._names(tenant, kind, batch) for kind in metrics}
                for sent in await off_loop(partial(self._output, batch, names), heavy=heavy):
                    yield sent

    async def _names(self, tenant: str, kind: SubjectKind, parts: Sequence[DayPart]) -> dict[int, str]:
        """Returns the names of the metrics of subjects of a kind by id."""
        ids = {metric for part in parts if part.key.name.kind == kind for metric in part.frame.columns}
        known = await self._descriptors.by_id(tenant, kind, ids)
        return {id_: known[id_].metric for id_ in ids if id_ in known}

    def _output(self, parts: Sequence[DayPart], names: Mapping[SubjectKind, Mapping[int, str]]) -> list[_Sent]:
        return [(part, output_frames(part.key, part.frame, names[part.key.name.kind], self._bounds)) for part in parts]


def _decoded(stored: Sequence[StoredDay], asked: ExportAsked, metrics: _Metrics) -> Iterator[DayPart]:
    for day in stored:
        yield from decode_day(day, metrics[day.key.name.kind], asked.low, asked.high)


def _some(parts: Iterator[DayPart]) -> list[DayPart]:
    """Returns the next parts, as many as are worked on in one go."""
    taken: list[DayPart] = []
    cells = 0
    for part in parts:
        taken.append(part)
        cells += len(part.frame.times) * len(part.frame.columns)
        if cells >= _CELLS_AT_ONCE or len(taken) >= _PARTS_AT_ONCE:
            break
    return taken


def _damaged_day(part: DayPart) -> str:
    return f"{part.key.name} {isoformat(part.day * MICROS_PER_DAY)[:10]}"


def _digest(tenant: str, asked: ExportAsked) -> bytes:
    """Returns what binds a cursor to a request: everything but the cursor, lists in any order."""
    kind = "" if asked.kind is None else str(int(asked.kind))
    lists = [str(len(asked.subjects)), *sorted(asked.subjects), *sorted(set(asked.metrics))]
    return request_digest("ExportMetrics", tenant, kind, str(asked.low), str(asked.high), *lists)


def _sort_key(key: SubjectKey, day: int) -> tuple[str, str, str, str]:
    return str(int(key.name.kind)), key.name.id, key.part, str(day)


def _position(after: Sequence[str]) -> _Position | None:
    """Returns the position of a cursor, None for the beginning."""
    if not after:
        return None
    number, name, part, day = after
    kinds = {str(int(kind)): kind for kind in SubjectKind}
    if number not in kinds:
        raise damaged_token("cursor")
    last = number_in(day, smallest=_FIRST_DAY, largest=_LAST_DAY, field="cursor")
    return _Position(SubjectKey(SubjectName(kinds[number], name), part), last)
