"""Work that takes long is done in a thread, so that other requests do not wait for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

_Result = TypeVar("_Result")


async def off_loop(work: Callable[[], _Result], *, heavy: bool) -> _Result:
    """Does work, in a thread where it is heavy: more than some ten milliseconds."""
    return await asyncio.to_thread(work) if heavy else work()
