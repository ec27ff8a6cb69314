"""Tells those who wait for news of this process's commits."""

from __future__ import annotations

from collections.abc import Callable


class CommitSignal:
    """Calls its listeners after every commit of this process. With nobody listening it costs nothing."""

    def __init__(self) -> None:
        self._listeners: list[Callable[[], None]] = []

    def add(self, listener: Callable[[], None]) -> None:
        """Adds a listener. It is called on the event loop, must be quick and must not raise."""
        self._listeners.append(listener)

    def remove(self, listener: Callable[[], None]) -> None:
        """Removes a listener."""
        self._listeners.remove(listener)

    def fire(self) -> None:
        """Calls the listeners. Called by the database after a commit."""
        for listener in self._listeners:
            listener()
