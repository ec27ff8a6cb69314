"""Watching metrics: samples as they are committed, from a cursor on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass, field

from streamgauge_server.model.clock import MICROS_PER_SECOND
from streamgauge_server.model.entities import READ_SCOPE, Caller
from streamgauge_server.model.errors import DomainError, Reason, Violation, invalid
from streamgauge_server.model.limits import Limits
from streamgauge_server.model.names import metric_list_problems, parse_subject, subject_list_problems
from streamgauge_server.model.values import SubjectKind
from streamgauge_server.services.auth import require_scope
from streamgauge_server.services.descriptors import Descriptors
from streamgauge_server.services.frame_output import FrameBounds, FrameOutput, output_frames
from streamgauge_server.services.off_loop import off_loop
from streamgauge_server.services.page_tokens import number_in, request_digest, token_after, token_for
from streamgauge_server.services.watch_hub import SlowWatcher, Watcher, WatchFilter, WatchHub
from streamgauge_server.services.watch_reader import News, WatchReader
from streamgauge_server.storage.change_log import LogExpired, LogPosition, whole
from streamgauge_server.storage.store import Store

DEFAULT_HEARTBEAT = 15 * MICROS_PER_SECOND
HEARTBEATS = range(MICROS_PER_SECOND, 300 * MICROS_PER_SECOND + 1)
"""How long a silence may last, in microseconds."""
_MAX_FRAMES = 4_096
_OFF_LOOP_BYTES = 1 << 18
"""More news than this are made into frames in a thread."""


@dataclass(frozen=True, slots=True)
class WatchAsked:
    """What is asked. `heartbeat` is in microseconds, None for the default; the cursor is empty for "from now on"."""

    subjects: Sequence[str]
    kinds: Sequence[SubjectKind]
    metrics: Sequence[str] = ()
    cursor: str = ""
    heartbeat: int | None = None


@dataclass(frozen=True, slots=True)
class WatchPart:
    """One message of a watch: frames (none in a heartbeat) and where to go on after it."""

    frames: Sequence[FrameOutput]
    cursor: str


@dataclass(slots=True)
class _Watch:
    """One stream: what it tells, and where it is."""

    tenant: str
    metrics: frozenset[str]
    digest: bytes
    store_id: str
    silence: float
    """How long it may be silent, in seconds."""
    position: LogPosition
    due: float = field(init=False)

    def __post_init__(self) -> None:
        self._told()

    @property
    def cursor(self) -> str:
        """The cursor behind what was told."""
        return self.cursor_at(self.position)

    def cursor_at(self, place: LogPosition) -> str:
        """Returns the cursor behind a place of the log."""
        return token_for(self.digest, (self.store_id, str(place.position), str(place.seq)))

    def part(self, frames: Sequence[FrameOutput]) -> WatchPart:
        """Returns a message with frames."""
        self._told()
        return WatchPart(frames, self.cursor)

    def heartbeat(self) -> WatchPart:
        """Returns a message without frames."""
        return self.part(())

    def rest(self) -> float:
        """Returns how long it may still be silent, in seconds."""
        return self.due - asyncio.get_running_loop().time()

    def is_due(self) -> bool:
        """Tells whether it is time for a heartbeat."""
        return self.rest() <= 0

    def _told(self) -> None:
        self.due = asyncio.get_running_loop().time() + self.silence


_FOLDED = "what was written after this cursor cannot be told one by one any more"
_OTHER_STORE = "this cursor is one of another store, which this one may be a copy of"


def _expired(why: str, oldest: str) -> DomainError:
    return DomainError(
        Reason.CURSOR_EXPIRED,
        f"{why}: export what is stored, and watch from the oldest cursor on",
        metadata={"oldest_cursor": oldest},
    )


class MetricsWatch:
    """Streams samples to watchers; one instance serves all callers.

    A watcher reads the log by itself from its cursor to where the hub is, and from there on takes what the hub reads
    for all.
    """

    def __init__(self, store: Store, limits: Limits, descriptors: Descriptors) -> None:
        self._log = store.change_log
        self._limits = limits
        self._bounds = FrameBounds.of(limits)
        self._descriptors = descriptors
        self._reader = WatchReader(self._log, store.damage)
        self._hub = WatchHub(self._log, self._reader)

    async def watch(
        self, caller: Caller, asked: WatchAsked, problems: Sequence[Violation] = ()
    ) -> AsyncGenerator[WatchPart, None]:
        """Yields what is committed of some subjects, for as long as it is iterated.

        The first message comes at once and has a cursor, so that nothing after the call is missed. Frames that do not
        fit into a message come in several, of which the last one has a new cursor. `problems` are what the edge found
        wrong.

        Raises:
            DomainError: SCOPE_MISSING, INVALID_FIELD, PAGE_TOKEN_MISMATCH for a damaged cursor, CURSOR_EXPIRED
                (also for a cursor of another store), SLOW_CONSUMER, STORE_UNAVAILABLE.
        """
        names = {name for subject in asked.subjects if (name := parse_subject(subject)) is not None}
        for kind in {name.kind for name in names} | set(asked.kinds):
            require_scope(caller, READ_SCOPE[kind])
        if found := [*problems, *self._problems(asked)]:
            raise invalid(found)
        watcher = Watcher(WatchFilter(caller.tenant, names, frozenset(asked.kinds)))
        watch = await self._begin(caller.tenant, asked)
        yield WatchPart((), watch.cursor)
        try:
            async for part in self._catch_up(watch, watcher):
                yield part
            async for part in self._follow(watch, watcher):
                yield part
        except LogExpired as expired:
            raise _expired(_FOLDED, watch.cursor_at(expired.oldest)) from expired
        except SlowWatcher as slow:
            raise DomainError(
                Reason.SLOW_CONSUMER,
                "more is written than is read: go on from the cursor",
                metadata={"cursor": watch.cursor},
            ) from slow
        finally:
            await self._hub.leave(watcher)

    def _problems(self, asked: WatchAsked) -> list[Violation]:
        found: list[Violation] = []
        if asked.subjects:
            found.extend(subject_list_problems(asked.subjects, self._limits.max_subjects_per_query))
            if asked.kinds:
                found.append(Violation("subject_kinds", "must be empty together with subjects"))
        elif not asked.kinds:
            found.append(Violation("subject_kinds", "must not be empty when there are no subjects"))
        found.extend(metric_list_problems(asked.metrics))
        if asked.heartbeat is not None and asked.heartbeat not in HEARTBEATS:
            seconds = asked.heartbeat / MICROS_PER_SECOND
            found.append(Violation("heartbeat", f"must be 1 s to 300 s, is {seconds:.16g} s"))
        return found

    async def _begin(self, tenant: str, asked: WatchAsked) -> _Watch:
        """Returns a watch at the place where it begins.

        Raises:
            DomainError: PAGE_TOKEN_MISMATCH, CURSOR_EXPIRED.
        """
        state, newest = await self._log.state()
        digest = request_digest("WatchMetrics", tenant)
        silence = (DEFAULT_HEARTBEAT if asked.heartbeat is None else asked.heartbeat) / MICROS_PER_SECOND
        watch = _Watch(tenant, frozenset(asked.metrics), digest, state.store_id, silence, newest)
        after = token_after(asked.cursor, digest, keys=3, field="cursor")
        if after:
            store_id, position, seq = after
            oldest = whole(state.folded_position)
            if store_id != state.store_id:
                raise _expired(_OTHER_STORE, watch.cursor_at(oldest))
            last = max(state.final_position, newest.position)
            watch.position = LogPosition(
                number_in(position, smallest=0, largest=last, field="cursor"),
                number_in(seq, smallest=0, field="cursor"),
            )
            if watch.position < oldest:
                raise _expired(_FOLDED, watch.cursor_at(oldest))
        return watch

    async def _catch_up(self, watch: _Watch, watcher: Watcher) -> AsyncGenerator[WatchPart, None]:
        """Yields what was committed before the place where the hub is, which the watcher joins then."""
        while (until := await self._hub.join(watcher, watch.position)) is not None:
            batch = await self._reader.read(watcher.wanted.wants, watch.position, until)
            through = batch.through if batch.more else until
            async for part in self._parts(watch, batch.news, through):
                yield part
            if watch.is_due():
                yield watch.heartbeat()

    async def _follow(self, watch: _Watch, watcher: Watcher) -> AsyncGenerator[WatchPart, None]:
        """Yields what the hub reads, and heartbeats."""
        while True:
            batch = await watcher.next(watch.rest())
            if batch is not None:
                async for part in self._parts(watch, batch.news, max(watch.position, batch.through)):
                    yield part
            elif watch.is_due():
                watch.position = max(watch.position, self._hub.position_of(watcher) or watch.position)
                yield watch.heartbeat()

    async def _parts(self, watch: _Watch, news: Sequence[News], through: LogPosition) -> AsyncIterator[WatchPart]:
        """Yields news in messages, the last of which has the cursor behind `through`, and moves the watch there."""
        frames: list[FrameOutput] = []
        room = self._bounds.size
        for one in news:
            for frame in await self._frames(watch, one):
                if frames and (frame.size > room or len(frames) >= _MAX_FRAMES):
                    yield watch.part(frames)
                    frames, room = [], self._bounds.size
                frames.append(frame)
                room -= frame.size
        watch.position = through
        if frames:
            yield watch.part(frames)

    async def _frames(self, watch: _Watch, news: News) -> Sequence[FrameOutput]:
        """Returns what is sent of news to a watcher."""
        if not watch.metrics and news.whole is not None:
            return news.whole
        known = await self._descriptors.by_id(watch.tenant, news.key.name.kind, news.frame.columns)
        names = {
            id_: known[id_].metric
            for id_ in news.frame.columns
            if id_ in known and (not watch.metrics or known[id_].metric in watch.metrics)
        }
        if not names:
            return ()
        frames = await off_loop(
            lambda: output_frames(news.key, news.frame, names, self._bounds), heavy=news.size > _OFF_LOOP_BYTES
        )
        if not watch.metrics:
            news.whole = frames
        return frames
