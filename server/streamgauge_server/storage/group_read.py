"""Group read: look-ups that arrive while a statement runs share the next one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")

MAX_KEYS = 1_000
"""Keys in one statement, unless a single caller asks for more."""


class _Group(Generic[K, V]):
    __slots__ = ("answers", "keys", "task")

    def __init__(self) -> None:
        self.keys: set[K] = set()
        self.answers: set[asyncio.Future[Mapping[K, V]]] = set()
        self.task: asyncio.Task[None] | None = None


class GroupRead(Generic[K, V]):
    """Coalesces look-ups by key. One statement is under way at a time; a caller sees what is committed when it asks."""

    def __init__(self, fetch: Callable[[Collection[K]], Awaitable[Mapping[K, V]]]) -> None:
        self._fetch = fetch
        self._waiting: list[_Group[K, V]] = []
        self._running: _Group[K, V] | None = None

    async def get(self, keys: Collection[K]) -> Mapping[K, V]:
        """Returns the values of keys that have one; the mapping may hold others' keys as well.

        When every caller of a statement is cancelled, so is the statement.
        """
        group = self._waiting[-1] if self._waiting else None
        if group is None or len(group.keys) + len(keys) > MAX_KEYS:
            group = _Group()
            self._waiting.append(group)
        group.keys.update(keys)
        answer: asyncio.Future[Mapping[K, V]] = asyncio.get_running_loop().create_future()
        group.answers.add(answer)
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
        group.answers.discard(answer)
        if not group.answers:
            if group.task is not None:
                group.task.cancel()
            else:
                self._waiting.remove(group)

    async def _run(self, group: _Group[K, V]) -> None:
        try:
            found = await self._fetch(group.keys)
        except Exception as error:
            for answer in group.answers:
                if not answer.done():
                    answer.set_exception(error)
        else:
            for answer in group.answers:
                if not answer.done():
                    answer.set_result(found)
        finally:
            self._running = None
            self._start()
