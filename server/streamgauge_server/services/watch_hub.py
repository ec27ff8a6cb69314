"""One reader at the end of the log for all who watch it in this process."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import structlog

from streamgauge_server.model.names import SubjectName
from streamgauge_server.model.values import SubjectKind
from streamgauge_server.services.watch_reader import News, NewsBatch, WatchReader
from streamgauge_server.storage.change_log import ChangeLog, LogPosition
from streamgauge_server.storage.subjects import SubjectKey

MAX_WAITING_BYTES = 32 * 2**20
MAX_WAITING_BATCHES = 1_000
"""What may wait for one watcher. What waits is shared with other watchers of the same subjects."""
_POLL_SECONDS = 1.0
"""How soon commits of other processes are seen of which nobody tells."""
_PAUSE_SECONDS = 0.05
"""How far apart reads begin at least: what is committed alone is told at once, many commits a few at a time."""

_log = structlog.stdlib.get_logger("streamgauge.watch")


class SlowWatcher(Exception):
    """A watcher did not take what was waiting for it."""


@dataclass(frozen=True, slots=True)
class WatchFilter:
    """Which subjects of a tenant are watched: those with some names, or those of some kinds."""

    tenant: str
    names: Collection[SubjectName]
    kinds: Collection[SubjectKind]

    def wants(self, tenant: str, key: SubjectKey) -> bool:
        """Tells whether a subject is watched."""
        return tenant == self.tenant and (key.name in self.names if self.names else key.name.kind in self.kinds)


class Watcher:
    """What waits for one who watches. Filled by the hub, taken by the watcher's own call."""

    def __init__(self, wanted: WatchFilter) -> None:
        self.wanted = wanted
        self._waiting: deque[NewsBatch] = deque()
        self._size = 0
        self._news = asyncio.Event()
        self._failure: Exception | None = None

    @property
    def idle(self) -> bool:
        """Whether nothing waits."""
        return not self._waiting and self._failure is None

    def offer(self, news: Sequence[News], batch: NewsBatch) -> bool:
        """Adds what is wanted of a batch; False when there is no room for it, and the watcher fails."""
        self._waiting.append(NewsBatch(news, batch.through, batch.more))
        self._size += sum(one.size for one in news)
        if len(self._waiting) > 1 and (self._size > MAX_WAITING_BYTES or len(self._waiting) > MAX_WAITING_BATCHES):
            self._waiting.clear()
            self.fail(SlowWatcher())
            return False
        self._news.set()
        return True

    def fail(self, failure: Exception) -> None:
        """Has `next` raise an error after what waits."""
        self._failure = failure
        self._news.set()

    async def next(self, seconds: float) -> NewsBatch | None:
        """Returns what comes next, None when nothing comes for so long.

        Raises:
            SlowWatcher: too much was waiting; it is gone.
            Exception: what the hub failed with.
        """
        if self.idle and seconds > 0:
            self._news.clear()
            await either(self._news, seconds)
        if self._waiting:
            batch = self._waiting.popleft()
            self._size -= sum(one.size for one in batch.news)
            return batch
        if self._failure is not None:
            raise self._failure
        return None


class WatchHub:
    """Reads the log at its end, for as long as anybody watches, and gives everyone what they want of it."""

    def __init__(self, log: ChangeLog, reader: WatchReader) -> None:
        self._log = log
        self._reader = reader
        self._watchers: set[Watcher] = set()
        self._position: LogPosition | None = None
        self._reading = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._news = asyncio.Event()

    async def join(self, watcher: Watcher, position: LogPosition) -> LogPosition | None:
        """Gives a watcher everything from now on, if it has everything before.

        Returns None then, and otherwise the place up to which it has to read for itself first.
        """
        async with self._reading:  # what is being read is not for those who come meanwhile
            if self._position is None:
                self._position = position
                self._log.listen(self._news.set)
                self._task = asyncio.create_task(self._run(), name="watch hub")
            elif position < self._position:
                return self._position
            self._watchers.add(watcher)
            return None

    async def leave(self, watcher: Watcher) -> None:
        """Gives a watcher nothing more. After the last one nothing is read any more."""
        self._watchers.discard(watcher)
        if not self._watchers and self._task is not None:
            task = self._task
            self._end()
            task.cancel()
            await asyncio.wait([task])

    def position_of(self, watcher: Watcher) -> LogPosition | None:
        """Returns as far as which place a watcher has everything, None while something waits for it."""
        return self._position if watcher.idle and watcher in self._watchers else None

    def _end(self) -> None:
        self._log.ignore(self._news.set)
        self._task = self._position = None

    async def _run(self) -> None:
        others = asyncio.create_task(self._log.hear(self._news.set), name="watch hub, other servers")
        try:
            await self._follow()
        except Exception as failure:
            if self._task is asyncio.current_task():
                self._end()
            # Told to everyone: each call ends with it, and the next one begins anew.
            watchers, self._watchers = self._watchers, set()
            for watcher in watchers:
                watcher.fail(failure)
        finally:
            others.cancel()
            await asyncio.wait([others])
            if not others.cancelled() and (error := others.exception()) is not None:
                _log.error("not listening to other servers", exc_info=error)

    async def _follow(self) -> None:
        loop = asyncio.get_running_loop()
        while (position := self._position) is not None:
            pause_until = loop.time() + _PAUSE_SECONDS
            self._news.clear()
            async with self._reading:
                batch = await self._reader.read(self._wanted, position)
                self._position = batch.through
                for watcher in list(self._watchers):
                    news = [one for one in batch.news if watcher.wanted.wants(one.tenant, one.key)]
                    if news and not watcher.offer(news, batch):
                        self._watchers.discard(watcher)
            if not batch.more:
                await either(self._news, _POLL_SECONDS)
                await asyncio.sleep(pause_until - loop.time())

    def _wanted(self, tenant: str, key: SubjectKey) -> bool:
        return any(watcher.wanted.wants(tenant, key) for watcher in self._watchers)


async def either(event: asyncio.Event, seconds: float) -> None:
    """Returns when the event is set or the time is over."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
