"""Group read: look-ups that arrive while a statement runs share the next one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any, Generic, TypeVar

from streamgauge_server.storage.errors import is_store_unavailable

K = TypeVar("K")
V = TypeVar("V")

MAX_KEYS = 1_000
"""Keys in one statement, unless a single caller asks for more."""


class _Group(Generic[K, V]):
    __slots__ = ("callers", "keys", "task")

    def __init__(self) -> None:
        self.keys: set[K] = set()
        self.callers: dict[asyncio.Future[Mapping[K, V]], Collection[K]] = {}
        self.task: asyncio.Task[None] | None = None


class GroupRead(Generic[K, V]):
    """Coalesces look-ups by key. One statement is under way at a time; a caller sees what is committed when it asks.

    When every caller of a statement is cancelled, so is the statement. Keys that the database refuses fail their own
    caller alone.
    """

    def __init__(self, fetch: Callable[[Collection[K]], Awaitable[Mapping[K, V]]]) -> None:
        self._fetch = fetch
        self._waiting: list[_Group[K, V]] = []
        self._running: _Group[K, V] | None = None

    async def get(self, keys: Collection[K]) -> Mapping[K, V]:
        """Returns the values of keys that have one; the mapping may hold others' keys as well."""
        if not keys:
            return {}
        group = self._waiting[-1] if self._waiting else None
        if group is None or len(group.keys) + len(keys) > MAX_KEYS:
            group = _Group()
            self._waiting.append(group)
        group.keys.update(keys)
        answer: asyncio.Future[Mapping[K, V]] = asyncio.get_running_loop().create_future()
        group.callers[answer] = keys
        self._start()
        try:
            return await answer
        except asyncio.CancelledError:
            self._leave(group, answer)
            raise

    def _start(self) -> None:
        if self._running is None and self._waiting:
            self._running = group = self._waiting.pop(0)
            group.task = asyncio.create_task(self._run(group), name="group-read")

    def _leave(self, group: _Group[K, V], answer: asyncio.Future[Mapping[K, V]]) -> None:
        del group.callers[answer]
        if group.callers:
            return
        if group.task is not None:
            group.task.cancel()
        else:
            self._waiting.remove(group)

    async def _run(self, group: _Group[K, V]) -> None:
        try:
            found = await self._fetch(group.keys)
        except Exception as error:
            if len(group.callers) == 1 or is_store_unavailable(error):
                for answer in group.callers:
                    _fail(answer, error)
            else:
                for answer, keys in list(group.callers.items()):
                    await self._answer_alone(answer, keys)
        else:
            for answer in group.callers:
                if not answer.done():
                    answer.set_result(found)
        finally:
            self._running = None
            self._start()

    async def _answer_alone(self, answer: asyncio.Future[Mapping[K, V]], keys: Collection[K]) -> None:
        try:
            found = await self._fetch(keys)
        except Exception as error:
            _fail(answer, error)
        else:
            if not answer.done():
                answer.set_result(found)


def _fail(answer: asyncio.Future[Any], error: Exception) -> None:
    if not answer.done():
        answer.set_exception(error)
