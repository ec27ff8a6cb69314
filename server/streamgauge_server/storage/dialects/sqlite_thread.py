"""Threads that own one SQLite connection each.

A transaction runs as one job in such a thread. That costs one change of threads for all of its statements, where a
driver with awaitable statements (aiosqlite) pays one for each.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, Generic, Protocol, TypeVar

from streamgauge_server.storage.errors import closed

T = TypeVar("T")


class Interruptible(Protocol):
    """A connection whose running statement can be stopped from another thread."""

    def interrupt(self) -> None:
        """Stops the running statement, if there is one."""
        ...

    def close(self) -> None:
        """Closes the connection."""
        ...


C = TypeVar("C", bound=Interruptible)


class _Job(Generic[C]):
    __slots__ = ("answer", "loop", "work")

    def __init__(self, work: Callable[[C], Any], loop: asyncio.AbstractEventLoop) -> None:
        self.work = work
        self.loop = loop
        self.answer: asyncio.Future[Any] = loop.create_future()

    def settle(self, result: Any, error: BaseException | None) -> None:
        """Tells the event loop; a loop that was closed meanwhile has nobody left to tell."""
        with contextlib.suppress(RuntimeError):
            self.loop.call_soon_threadsafe(self._answer, result, error)

    def _answer(self, result: Any, error: BaseException | None) -> None:
        if self.answer.done():
            return
        if error is None:
            self.answer.set_result(result)
        else:
            self.answer.set_exception(error)


class ConnectionThreads(Generic[C]):
    """`count` threads that take jobs from one queue, each with a connection of its own, opened at its first job.

    A job that fails with `broken(error)` costs its thread the connection; the next job opens a new one.
    """

    def __init__(
        self, connect: Callable[[], C], count: int, name: str, broken: Callable[[BaseException], bool]
    ) -> None:
        self._connect = connect
        self._broken = broken
        self._jobs: SimpleQueue[_Job[C] | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._running: dict[asyncio.Future[Any], C] = {}
        self._closed = False
        self._threads = [
            threading.Thread(target=self._serve, name=f"{name}-{number}", daemon=True) for number in range(count)
        ]
        for thread in self._threads:
            thread.start()

    async def run(self, work: Callable[[C], T], *, interruptible: bool = False) -> T:
        """Runs a job and returns its result.

        A caller that is cancelled takes back a job that has not begun; one that runs goes on unless it is
        `interruptible`.

        Raises:
            DomainError: SHUTTING_DOWN after `close`; and whatever the job raises.
        """
        if self._closed:
            raise closed()
        job = _Job(work, asyncio.get_running_loop())
        self._jobs.put(job)
        try:
            result: T = await job.answer
        except asyncio.CancelledError:
            if interruptible:
                with self._lock:
                    if (connection := self._running.get(job.answer)) is not None:
                        connection.interrupt()
            raise
        return result

    async def close(self) -> None:
        """Finishes the jobs that wait, closes the connections and ends the threads. A second time changes nothing."""
        if self._closed:
            return
        self._closed = True
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            await asyncio.to_thread(thread.join)

    def _serve(self) -> None:
        connection: C | None = None
        while (job := self._jobs.get()) is not None:
            if job.answer.cancelled():
                continue
            result, error = None, None
            try:
                if connection is None:
                    connection = self._connect()
                with self._lock:
                    self._running[job.answer] = connection
                try:
                    result = job.work(connection)
                finally:
                    with self._lock:
                        del self._running[job.answer]
            except BaseException as caught:  # the caller gets it, whatever it is
                error = caught
                if connection is not None and self._broken(caught):
                    with contextlib.suppress(Exception):  # it was given up because it does not work
                        connection.close()
                    connection = None
            job.settle(result, error)
            del job, result, error
        if connection is not None:
            connection.close()
