"""A small Flink of our own: an HTTP server in the test's event loop that replays recordings, and that can misbehave."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from types import TracebackType

from tests.flink.recordings import Recording, recordings

JSON = "application/json; charset=UTF-8"


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it arrived; `target` is path and query, `headers` have lower-case names."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]


@dataclass(frozen=True, slots=True)
class Answer:
    """What is sent back."""

    body: bytes = b"{}"
    status: int = 200
    content_type: str = JSON
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, content: object, status: int = 200) -> Answer:
        return cls(json.dumps(content).encode(), status)

    @classmethod
    def error(cls, status: int, *errors: str) -> Answer:
        return cls.of({"errors": list(errors)}, status)


Behaviour = Callable[[Request, asyncio.StreamWriter], Awaitable[None]]
"""Writes an answer, or what it takes for one, by hand. The connection is closed after it."""


class FakeFlink:
    """`async with FakeFlink() as fake`. What it answers is looked up in this order: `behaviour`, `answers`, `respond`.

    `answers` are by method and target, and by method and path where the query does not matter.
    """

    def __init__(self, prefix: str = "", tls: ssl.SSLContext | None = None) -> None:
        self.requests: list[Request] = []
        self.answers: dict[tuple[str, str], Answer] = {}
        self.respond: Callable[[Request], Answer | None] = lambda _: None
        self._behaviours: list[tuple[Behaviour, int | None]] = []
        self._prefix = prefix
        self._tls = tls
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._port = 0
        self._arrival = asyncio.Event()

    @property
    def base_url(self) -> str:
        return f"http{'' if self._tls is None else 's'}://127.0.0.1:{self._port}{self._prefix}"

    async def __aenter__(self) -> FakeFlink:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listens, after a stop on the same port again."""
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", self._port, ssl=self._tls)
        self._port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Closes the port and all connections: requests are refused."""
        if self._server is None:
            return
        self._server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        await self._server.wait_closed()
        self._server = None

    def replay(self, version: str) -> None:
        """Answers as the recordings of a version do; of several about one target, as the last of them."""
        for one in recordings(version):
            self.play(one)

    def play(self, one: Recording, target: str = "") -> None:
        """Answers one request as a recording does."""
        self.answers[one.method, target or one.target] = Answer(one.body, one.status, one.content_type)

    def misbehave(self, behaviour: Behaviour, times: int | None = None) -> None:
        """Lets a behaviour have the next requests, so many of them or all, and then be as it was before."""
        self._behaviours.append((behaviour, times))

    def behave(self) -> None:
        """Ends all misbehaviour, for requests to come."""
        self._behaviours.clear()

    def targets(self, method: str = "GET") -> list[str]:
        """Returns what was asked for, in order."""
        return [request.target for request in self.requests if request.method == method]

    async def received(self, number: int) -> None:
        """Waits until so many requests have arrived."""
        while len(self.requests) < number:
            self._arrival.clear()
            await self._arrival.wait()

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while (request := await _read(reader)) is not None:
                self.requests.append(request)
                self._arrival.set()
                behaviour = self._next_behaviour()
                if behaviour is not None:
                    await behaviour(request, writer)
                    return
                await send(writer, self._answer(request))
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client has gone, as it does after a timeout
        finally:
            writer.transport.abort()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    def _next_behaviour(self) -> Behaviour | None:
        if not self._behaviours:
            return None
        behaviour, times = self._behaviours[0]
        if times is not None:
            if times == 1:
                self._behaviours.pop(0)
            else:
                self._behaviours[0] = (behaviour, times - 1)
        return behaviour

    def _answer(self, request: Request) -> Answer:
        if not request.target.startswith(self._prefix):
            return Answer(b"<html><h1>404 Not Found</h1></html>", 404, "text/html")
        told = request.target.removeprefix(self._prefix)
        for key in (told, told.partition("?")[0]):
            if answer := self.answers.get((request.method, key)):
                return answer
        inside = Request(request.method, told, request.headers, request.body)
        return self.respond(inside) or Answer.error(404, f"Unable to load requested file {told}.")


async def send(writer: asyncio.StreamWriter, answer: Answer) -> None:
    """Sends an answer."""
    writer.write(head(answer, len(answer.body)) + answer.body)
    await writer.drain()


def head(answer: Answer, length: int) -> bytes:
    """Returns status line and headers, for a body of a length."""
    lines = [
        f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}",
        f"content-type: {answer.content_type}",
        f"content-length: {length}",
        *(f"{name}: {value}" for name, value in answer.headers.items()),
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def saying(answer: Answer) -> Behaviour:
    """Answers everything alike."""

    async def behave(_: Request, writer: asyncio.StreamWriter) -> None:
        await send(writer, answer)
        writer.close()
        await writer.wait_closed()

    return behave


def saying_bytes(raw: bytes) -> Behaviour:
    """Sends bytes that may be anything, and closes the connection."""

    async def behave(_: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(raw)
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    return behave


async def never_answer(_: Request, writer: asyncio.StreamWriter) -> None:
    """Takes the request and says nothing, as a JobManager does that was stopped by SIGSTOP."""
    await asyncio.Event().wait()


async def half_a_body(_: Request, writer: asyncio.StreamWriter) -> None:
    """Promises more than it sends, and closes the connection."""
    writer.write(head(Answer(), 1_000) + b'{"jobs":[')
    await writer.drain()
    writer.close()
    await writer.wait_closed()


async def drop(_: Request, writer: asyncio.StreamWriter) -> None:
    """Closes the connection without a word."""


async def endless_body(_: Request, writer: asyncio.StreamWriter) -> None:
    """Sends for ever."""
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n")
    piece = b" " * 65_536
    while True:
        writer.write(b"10000\r\n" + piece + b"\r\n")
        await writer.drain()


async def dripping_body(_: Request, writer: asyncio.StreamWriter) -> None:
    """Sends a byte now and then, so that no single read takes long."""
    writer.write(head(Answer(), 1_000_000))
    while True:
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.01)


HTML = saying(Answer(b"<html><body>Please log in</body></html>", content_type="text/html"))
NOT_JSON = saying(Answer(b'{"jobs": [}'))
LEADER_ELECTION = saying(
    Answer.error(503, "Service temporarily unavailable due to an ongoing leader election. Please refresh.")
)


def redirect(to: str) -> Behaviour:
    """Sends clients elsewhere."""
    return saying(Answer(b"", 302, headers={"location": to}))


async def _read(reader: asyncio.StreamReader) -> Request | None:
    words = (await reader.readline()).decode("latin-1").split()
    if len(words) != 3 or not words[2].startswith("HTTP/"):
        return None  # the end, or no HTTP: what TLS begins with may well have three words
    method, target, _ = words
    headers: dict[str, str] = {}
    while (line := await reader.readline()) not in (b"\r\n", b""):
        name, _, value = line.decode("latin-1").partition(":")
        headers[name.lower()] = value.strip()
    return Request(method, target, headers, await reader.readexactly(int(headers.get("content-length", 0))))
