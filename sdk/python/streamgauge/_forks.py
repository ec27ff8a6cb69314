"""What must be done when the process forks.

A gRPC channel, a thread and a lock that was held do not survive a fork. Clients and writers register here and begin
anew in the child. And a fork amid a call of another thread leaves the child with gRPC's insides in pieces (measured
with grpcio 1.85: one child in thirty crashes), so calls pass a gate that a fork closes first.
"""

from __future__ import annotations

import os
import threading
import weakref
from types import TracebackType
from typing import Protocol

GATE_SECONDS = 3.0
"""How long a fork waits for calls under way before it goes ahead: the parent must not hang for its child's sake."""


class ForkAware(Protocol):
    """Something that has to begin anew in a forked child."""

    def reset_after_fork(self) -> None:
        """Drops what does not survive a fork. Called in the child, where one thread runs and nothing may block."""


class Interruptible(Protocol):
    """A call that may last for ever, so that a fork cannot wait for it."""

    def interrupt(self) -> None:
        """Ends the call: whoever waits for it gets an error after which it may be made again."""


class Gate:
    """Keeps forks and calls apart: `with gate:` around a call. A fork waits for those inside and holds back others."""

    def __init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self._changed = threading.Condition()
        self._inside = 0
        self._forks = 0
        self._endless: weakref.WeakSet[Interruptible] = weakref.WeakSet()

    def __enter__(self) -> None:
        with self._changed:
            while self._forks:
                self._changed.wait()
            self._inside += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._changed:
            self._inside -= 1
            if not self._inside:
                self._changed.notify_all()

    def add(self, call: Interruptible) -> None:
        """Has a call interrupted by every fork for as long as it lives."""
        with self._changed:
            self._endless.add(call)

    def close(self) -> None:
        """Closes the gate and waits until nobody is inside, or `GATE_SECONDS`. Before a fork."""
        self._changed.acquire()
        self._forks += 1
        for call in list(self._endless):
            call.interrupt()
        self._changed.wait_for(lambda: not self._inside, GATE_SECONDS)

    def open(self) -> None:
        """Opens the gate again. After a fork, in the parent, by the thread that closed it."""
        self._forks -= 1
        self._changed.notify_all()
        self._changed.release()

    def reset_after_fork(self) -> None:
        """Makes the gate new. After a fork, in the child, where nobody is inside."""
        self._begin()


gate = Gate()
_known: weakref.WeakSet[ForkAware] = weakref.WeakSet()


def register(thing: ForkAware) -> None:
    """Has `reset_after_fork` called in every forked child for as long as `thing` lives."""
    _known.add(thing)


def _reset_all() -> None:
    gate.reset_after_fork()
    for thing in list(_known):
        thing.reset_after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=gate.close, after_in_parent=gate.open, after_in_child=_reset_all)
