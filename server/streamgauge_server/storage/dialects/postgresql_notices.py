"""Notices between servers that share a database: that there is something new, sent after the commit.

A notice is a hint and nothing more, so it is a transaction of its own: within the append it would take a lock of the
whole cluster at the commit. It need not be durable, so its commit waits for no disk. Many commits share one.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from typing import Any

import structlog

from streamgauge_server.model.errors import DomainError
from streamgauge_server.storage.dialects.postgresql_statements import Driver

CHANNEL = "streamgauge_blocks"
INTERVAL_SECONDS = 0.1
"""How far apart notices are at least."""

_NOTIFY = "SELECT set_config('synchronous_commit', 'off', true), pg_notify($1, $2)"

_log = structlog.stdlib.get_logger("streamgauge.store")

Run = Callable[[Callable[[Driver], Awaitable[Any]]], Awaitable[Any]]


class Notices:
    """Sends notices, and hears those of other processes."""

    def __init__(self, run: Run) -> None:
        """`run` runs a function of a connection."""
        self._run = run
        self._sender = secrets.token_hex(8)
        self._waiting = False
        self._task: asyncio.Task[None] | None = None

    def send(self) -> None:
        """Tells the others soon that there is something new."""
        self._waiting = True
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._send(), name="notices")

    async def hear(self, connection: Driver, listener: Callable[[], None]) -> None:
        """Calls a listener for each notice of another process, and at first; returns when the connection is lost."""
        lost = asyncio.Event()

        def noticed(_: object, __: int, ___: str, sender: object) -> None:
            if sender != self._sender:
                listener()

        connection.add_termination_listener(lambda _: lost.set())
        await connection.add_listener(CHANNEL, noticed)
        listener()
        await lost.wait()

    async def close(self) -> None:
        """Ends sending."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _send(self) -> None:
        while self._waiting:
            self._waiting = False
            try:
                await self._run(lambda connection: connection.execute(_NOTIFY, CHANNEL, self._sender))
            except DomainError as error:
                # The others look by themselves every second.
                _log.debug("notice not sent", error=str(error))
            await asyncio.sleep(INTERVAL_SECONDS)
