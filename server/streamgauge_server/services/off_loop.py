"""Computations that would keep other calls waiting run in a thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

MANY_VALUES = 20_000
"""Values of one write that are worth a thread: about 20 ms of work, where handing over costs 0.1 ms."""


async def off_loop(work: Callable[[], T], *, heavy: bool) -> T:
    """Runs a computation, in a thread if it is heavy. It must not touch what the event loop may change meanwhile."""
    return await asyncio.to_thread(work) if heavy else work()
