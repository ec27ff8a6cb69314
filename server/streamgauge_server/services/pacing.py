"""How long work that is done a piece at a time goes on in one go."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

Pace = Callable[[float], Awaitable[None]]
"""Is awaited after each piece of work, with the seconds that it took."""


async def at_once(seconds: float) -> None:
    """Goes on without a pause."""
