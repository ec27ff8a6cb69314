"""What must be told when the process forks: clients and writers, which begin anew in the child.

A gRPC channel, a thread and a lock that was held do not survive a fork. Whoever has one registers here.
"""

from __future__ import annotations

import os
import weakref
from typing import Protocol


class ForkAware(Protocol):
    """Something that has to begin anew in a forked child."""

    def reset_after_fork(self) -> None:
        """Drops what does not survive a fork. Called in the child, where one thread runs and nothing may block."""


_known: weakref.WeakSet[ForkAware] = weakref.WeakSet()


def register(thing: ForkAware) -> None:
    """Has `reset_after_fork` called in every forked child for as long as `thing` lives."""
    _known.add(thing)


def _reset_all() -> None:
    for thing in list(_known):
        thing.reset_after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_all)
