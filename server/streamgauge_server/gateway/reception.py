"""How a request comes in: its body bounded in size and time, and its work ended when the client goes away."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from streamgauge_server.gateway.api import HttpFailure

_DISCONNECT: Message = {"type": "http.disconnect"}


class Reception:
    """Hands bodies on piece by piece, and cancels what works for a client that has gone.

    Reading a body raises `HttpFailure`: 413 as soon as it is too large, by what it declares or by what came, and 408
    when the next piece does not come in time.
    """

    def __init__(self, app: ASGIApp, *, max_body_bytes: int, receive_seconds: float) -> None:
        self._app = app
        self._max_body_bytes = max_body_bytes
        self._receive_seconds = receive_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Lets a request pass, read and watched by us."""
        incoming = _Incoming(scope, receive, send, self._max_body_bytes, self._receive_seconds)
        task = _current_task()
        watch = asyncio.create_task(incoming.cancel_when_gone(task), name="watch the client")
        try:
            await self._app(scope, incoming.receive, incoming.send)
        except asyncio.CancelledError:
            # Ours, and only ours: there is nobody to answer any more.
            if not incoming.gone.is_set() or task.uncancel() > 0:
                raise
        finally:
            watch.cancel()


class _Incoming:
    """The request's messages, read by the application up to the body's end, and from then on by the watch."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, max_bytes: int, seconds: float) -> None:
        headers = dict(scope["headers"])
        self._receive = receive
        self._send = send
        self._max_bytes = max_bytes
        self._seconds = seconds
        self._declared = int(headers.get(b"content-length", b"0"))
        self._got = 0
        self._reading = False
        self._asks = headers.get(b"expect", b"").lower() == b"100-continue"
        self._ended = asyncio.Event()
        if not self._declared and b"transfer-encoding" not in headers:
            self._ended.set()
        self._empty_told = not self._ended.is_set()
        self._answered = False
        self.gone = asyncio.Event()

    async def receive(self) -> Message:
        """Returns the next piece of the body, and after the last one waits until the client has gone."""
        if not self._empty_told:
            self._empty_told = True
            return {"type": "http.request", "body": b"", "more_body": False}
        if self._ended.is_set():
            await self.gone.wait()
            return _DISCONNECT
        if self._declared > self._max_bytes:
            raise self._too_large()
        self._reading = True
        try:
            async with asyncio.timeout(self._seconds):
                message = await self._receive()
        except TimeoutError as error:
            text = f"the next piece of the body did not come within {self._seconds:g} s"
            raise HttpFailure(408, text, {"Connection": "close"}) from error
        if message["type"] == "http.request":
            self._note(message)
            if self._got > self._max_bytes:
                raise self._too_large()
        return message

    async def send(self, message: Message) -> None:
        """Sends a message of the answer.

        A client that waits to be asked for the body may still send it or not once it has another answer, so that no
        further request can be told from it: the connection ends. Another one's body is read to its end, though not
        kept: closing a connection with something unread resets it, and the answer may never be seen.
        """
        if message["type"] == "http.response.start":
            if self._unasked:
                message["headers"] = [*message.get("headers", ()), (b"connection", b"close")]
            await self._send(message)
        elif message.get("more_body", False):
            await self._send(message)
        else:
            self._answered = True
            if not self._ended.is_set() and not self._unasked:
                await self._send({**message, "more_body": True})
                await self._discard()
                message = {"type": "http.response.body", "body": b"", "more_body": False}
            await self._send(message)

    @property
    def _unasked(self) -> bool:
        return self._asks and not self._reading

    async def _discard(self) -> None:
        """Reads the rest of the body, if it is not too long and comes soon."""
        try:
            async with asyncio.timeout(self._seconds):
                while not self._ended.is_set() and self._got <= self._max_bytes:
                    message = await self._receive()
                    if message["type"] == "http.disconnect":
                        break
                    self._note(message)
        except TimeoutError:
            return  # the connection has bounds of its own

    def _note(self, message: Message) -> None:
        self._got += len(message.get("body", b""))
        if not message.get("more_body", False):
            self._ended.set()

    async def cancel_when_gone(self, task: asyncio.Task[Any]) -> None:
        """Cancels a task when the client goes away before it was answered."""
        await self._ended.wait()
        while (await self._receive())["type"] != "http.disconnect":
            continue  # the empty body of a request without one
        # Servers also say so after the answer.
        if not self._answered:
            self.gone.set()
            task.cancel()

    def _too_large(self) -> HttpFailure:
        return HttpFailure(413, f"the body may have {self._max_bytes} bytes")


def _current_task() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    if task is None:
        raise RuntimeError("requests are answered in tasks")
    return task
