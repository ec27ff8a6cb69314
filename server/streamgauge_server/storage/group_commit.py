"""Group commit: whatever writes are waiting share one transaction, and each is answered after the commit."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from streamgauge_server.storage.errors import closed, is_store_unavailable
from streamgauge_server.storage.records import Append, Outcome, RequestRecord, SubjectGone

MAX_BLOCKS = 1_000
"""Blocks in one transaction, unless a single append has more."""
MAX_WAITING_BLOCKS = 20_000
MAX_WAITING_BYTES = 128 * 1024 * 1024
"""What may wait for its commit before further callers are held back."""
MAX_LINGER = 0.005
"""The longest time in seconds that a transaction waits for more callers."""

Commit = Callable[[Sequence[Append]], Awaitable[Sequence[Outcome]]]


@dataclass(slots=True, eq=False)
class _Waiting:
    append: Append
    answer: asyncio.Future[Outcome]


class GroupCommit:
    """The one writer of a process.

    A caller that is cancelled before its append was taken into a transaction has written nothing; once taken, the
    append goes through with the others. An append that the database refuses fails alone: the group is split until the
    bad one stands by itself.
    """

    def __init__(self, commit: Commit, *, linger: float = MAX_LINGER) -> None:
        self._commit = commit
        self._max_linger = linger
        self._waiting: deque[_Waiting] = deque()
        self._waiting_blocks = 0
        self._waiting_bytes = 0
        self._held_back: deque[asyncio.Future[None]] = deque()
        self._wake_at = 1
        self._woken = asyncio.Event()
        self._closing = False
        self._task: asyncio.Task[None] | None = None
        self._last_group = 1
        self._last_duration = 0.0

    async def submit(self, append: Append) -> RequestRecord | None:
        """Returns when the append is durable, with the earlier record if its idempotency key is known.

        Raises:
            SubjectGone: a subject does not exist.
            DomainError: STORE_UNAVAILABLE, SHUTTING_DOWN.
        """
        while not self._closing and (self._held_back or not self._has_room(append)):
            await self._room()
        if self._closing:
            raise closed()
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="group-commit")
        entry = _Waiting(append, asyncio.get_running_loop().create_future())
        self._waiting.append(entry)
        self._waiting_blocks += append.block_count
        self._waiting_bytes += append.size
        if len(self._waiting) >= self._wake_at:
            self._woken.set()
        outcome = await entry.answer
        if isinstance(outcome, SubjectGone):
            raise outcome
        return outcome

    @property
    def waiting(self) -> int:
        """How many appends wait for the next transaction."""
        return len(self._waiting) + len(self._held_back)

    async def close(self) -> None:
        """Refuses new appends, commits those that wait, and stops."""
        self._closing = True
        self._woken.set()
        self._let_in()
        if self._task is not None:
            await self._task

    def _has_room(self, append: Append) -> bool:
        return not self._waiting or (
            self._waiting_blocks + append.block_count <= MAX_WAITING_BLOCKS
            and self._waiting_bytes + append.size <= MAX_WAITING_BYTES
        )

    async def _room(self) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._held_back.append(turn)
        try:
            await turn
        finally:
            if turn in self._held_back:
                self._held_back.remove(turn)

    def _let_in(self) -> None:
        """Lets those who were held back try again, in their order."""
        while self._held_back:
            turn = self._held_back.popleft()
            if not turn.done():
                turn.set_result(None)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            if not self._waiting:
                if self._closing:
                    return
                self._wake_at = 1
                self._woken.clear()
                await self._woken.wait()
                continue
            await self._linger()
            group = self._take()
            if group:
                started = loop.time()
                await self._commit_group(group)
                self._last_duration = loop.time() - started
                self._last_group = len(group)

    async def _linger(self) -> None:
        """Waits a moment for callers that are likely to come back, so that they share one transaction.

        The callers of the group before usually return at once with their next append. Waiting for them pays while it
        takes no longer than the commit that it saves.
        """
        patience = min(self._max_linger, self._last_duration)
        if self._closing or patience <= 0 or len(self._waiting) >= self._last_group:
            return
        self._wake_at = self._last_group
        self._woken.clear()
        try:
            async with asyncio.timeout(patience):
                await self._woken.wait()
        except TimeoutError:
            pass

    def _take(self) -> list[_Waiting]:
        group: list[_Waiting] = []
        blocks = 0
        while self._waiting:
            append = self._waiting[0].append
            if group and blocks + append.block_count > MAX_BLOCKS:
                break
            entry = self._waiting.popleft()
            self._waiting_blocks -= append.block_count
            self._waiting_bytes -= append.size
            if not entry.answer.cancelled():
                blocks += append.block_count
                group.append(entry)
        self._let_in()
        return group

    async def _commit_group(self, group: Sequence[_Waiting]) -> None:
        try:
            outcomes = await self._commit([entry.append for entry in group])
        except Exception as error:
            if len(group) == 1 or is_store_unavailable(error):
                for entry in group:
                    if not entry.answer.cancelled():
                        entry.answer.set_exception(error)
                return
            middle = len(group) // 2
            await self._commit_group(group[:middle])
            await self._commit_group(group[middle:])
            return
        for entry, outcome in zip(group, outcomes, strict=True):
            if not entry.answer.cancelled():
                entry.answer.set_result(outcome)
