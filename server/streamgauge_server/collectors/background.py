"""What goes on as long as a server does: tasks whose death is told, and work within a share of a core."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any

import structlog

LONGEST_REST_SECONDS = 5.0
"""After a piece of work that took unusually long the rest is cut to this."""

_log = structlog.stdlib.get_logger("streamgauge.background")


def begin(work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
    """Starts a task that is to end by `end` only; should it die before, the log says of what."""
    task = asyncio.create_task(work, name=name)
    task.add_done_callback(_tell_death)
    return task


async def end(tasks: Iterable[asyncio.Task[None]]) -> None:
    """Ends tasks; a transaction under way is committed or not, as the store sees fit."""
    tasks = list(tasks)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def rest(seconds: float, share: float) -> None:
    """Rests after work of so many seconds as long as keeps it within a share of a core."""
    await asyncio.sleep(min(seconds * (1 / share - 1), LONGEST_REST_SECONDS))


def _tell_death(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.error("a task of the server has died", task=task.get_name(), exc_info=error)
