"""A lean gRPC client that makes unary calls in a closed loop, for one purpose: to cost less than what it measures.

A generator on grpc.aio spends as much on a call as the server spends on an empty one. On the same few cores it would be
the bottleneck, lower the ceiling and so flatter every ratio. This one speaks just enough HTTP/2 (RFC 9113) for unary
calls over plain text: requests are prepared bytes, headers are literals that need no compression state (RFC 7541,
6.2.2), and every answer is checked for its status and its size.
"""

from __future__ import annotations

import asyncio
import struct
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
FRAME_HEAD = struct.Struct(">HBBBI")
"""Length (16 high bits, 8 low bits), type, flags, stream."""

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
END_STREAM = ACK = 0x1
END_HEADERS = 0x4
HEADER_TABLE_SIZE, ENABLE_PUSH, INITIAL_WINDOW_SIZE = 1, 2, 4
DEFAULT_WINDOW = 65_535
MAX_WINDOW = 2**31 - 1
MAX_FRAME = 16_384

STATUS_OK = b"\x0bgrpc-status\x010"
"""How a server that may keep no compression state writes `grpc-status: 0`."""
DEADLINE = "30S"


class GeneratorError(Exception):
    """The connection broke, or the server did what this client does not understand."""


@dataclass(slots=True)
class Tally:
    """What happened."""

    latencies: list[float] = field(default_factory=list)
    """Seconds from the first byte of a request to the last of its answer, of the calls that went well."""
    failed: int = 0
    first_failure: str = ""

    def fail(self, why: str) -> None:
        """Counts a call that did not go well."""
        self.failed += 1
        self.first_failure = self.first_failure or why


class Load:
    """What the callers share: the requests still to send, the moment to stop, and the tally.

    A request is a gRPC message with its prefix, at most `MAX_FRAME` bytes.
    """

    def __init__(self, bodies: Iterator[bytes], stop_at: float, minimum_bytes: int) -> None:
        self._bodies = bodies
        self._stop_at = stop_at
        self.minimum_bytes = minimum_bytes
        self.tally = Tally()

    def next_body(self) -> bytes | None:
        """Returns the next request, or None when it is time to stop."""
        return next(self._bodies, None) if time.perf_counter() < self._stop_at else None


@dataclass(slots=True)
class _Call:
    started: float
    received: int = 0


class Connection(asyncio.Protocol):
    """One connection with some callers, each of which sends its next request as soon as it has its answer."""

    def __init__(self, authority: str, method: str, callers: int, load: Load) -> None:
        self._headers = header_block(authority, method)
        self._callers = callers
        self._load = load
        self._calls: dict[int, _Call] = {}
        self._held: deque[bytes] = deque()
        self._next_stream = 1
        self._send_window = DEFAULT_WINDOW
        self._unacknowledged = 0
        self._buffer = bytearray()
        self._out: list[bytes] = []
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greets the server and sends the first request of every caller."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        settings = {HEADER_TABLE_SIZE: 0, ENABLE_PUSH: 0, INITIAL_WINDOW_SIZE: MAX_WINDOW}
        self._out.append(PREFACE)
        self._out.append(frame(SETTINGS, 0, 0, b"".join(struct.pack(">HI", *item) for item in settings.items())))
        self._out.append(frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", MAX_WINDOW - DEFAULT_WINDOW)))
        for _ in range(self._callers):
            self._call()
        self._flush()

    def data_received(self, data: bytes) -> None:
        """Takes what has come, and answers it."""
        self._buffer += data
        buffer, at, end = self._buffer, 0, len(self._buffer)
        try:
            while end - at >= 9:
                high, low, kind, flags, stream = FRAME_HEAD.unpack_from(buffer, at)
                length = (high << 8) | low
                if end - at < 9 + length:
                    break
                self._take(kind, flags, stream & MAX_WINDOW, buffer[at + 9 : at + 9 + length])
                at += 9 + length
        except GeneratorError as error:
            self._end(error)
            return
        del buffer[:at]
        self._flush()
        if not self._calls and not self._held:
            self._end(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tells the waiting side when calls were still open."""
        self._end(GeneratorError(f"connection lost with {len(self._calls)} open calls: {exc}"))

    def _take(self, kind: int, flags: int, stream: int, payload: bytearray) -> None:
        if kind == DATA:
            self._calls[stream].received += len(payload)
            self._unacknowledged += len(payload)
            if flags & END_STREAM:
                self._finish(stream, "answered without a status")
        elif kind == HEADERS:
            if not flags & END_HEADERS:
                raise GeneratorError("headers in several frames")
            if flags & END_STREAM:
                self._finish(stream, "" if STATUS_OK in payload else f"trailers {bytes(payload)!r}")
        elif kind == RST_STREAM:
            self._finish(stream, f"stream reset with {payload.hex()}")
        elif kind == SETTINGS:
            if not flags & ACK:
                self._out.append(frame(SETTINGS, ACK, 0, b""))
        elif kind == PING:
            if not flags & ACK:
                self._out.append(frame(PING, ACK, 0, bytes(payload)))
        elif kind == WINDOW_UPDATE:
            if stream == 0:
                self._send_window += int.from_bytes(payload)
                self._send_held()
        elif kind in (GOAWAY, CONTINUATION):
            raise GeneratorError(f"frame of type {kind}: {bytes(payload)!r}")

    def _finish(self, stream: int, failure: str) -> None:
        call = self._calls.pop(stream)
        tally = self._load.tally
        if failure:
            tally.fail(failure)
        elif call.received < self._load.minimum_bytes:
            tally.fail(f"answer of {call.received} bytes")
        else:
            tally.latencies.append(time.perf_counter() - call.started)
        self._call()

    def _call(self) -> None:
        body = self._load.next_body()
        if body is None:
            return
        if self._held or len(body) > self._send_window:
            self._held.append(body)
        else:
            self._send(body)

    def _send_held(self) -> None:
        while self._held and len(self._held[0]) <= self._send_window:
            self._send(self._held.popleft())

    def _send(self, body: bytes) -> None:
        stream = self._next_stream
        self._next_stream += 2
        self._send_window -= len(body)
        self._calls[stream] = _Call(time.perf_counter())
        self._out.append(frame(HEADERS, END_HEADERS, stream, self._headers) + frame(DATA, END_STREAM, stream, body))

    def _flush(self) -> None:
        if self._unacknowledged > MAX_WINDOW // 2:
            self._out.append(frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", self._unacknowledged)))
            self._unacknowledged = 0
        if self._out:
            self._transport.write(b"".join(self._out))
            self._out.clear()

    def _end(self, error: GeneratorError | None) -> None:
        if not self.done.done():
            if error is None:
                self.done.set_result(None)
            else:
                self.done.set_exception(error)
            self._transport.close()


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """Returns an HTTP/2 frame."""
    return FRAME_HEAD.pack(len(payload) >> 8, len(payload) & 0xFF, kind, flags, stream) + payload


def header_block(authority: str, method: str) -> bytes:
    """Returns the headers of a gRPC call: indexes into the static table and literals that nobody has to remember."""

    def literal(text: str) -> bytes:
        if len(text) >= 127:
            raise GeneratorError(f"header value of {len(text)} bytes")
        return bytes([len(text)]) + text.encode("ascii")

    fields = {"content-type": "application/grpc", "te": "trailers", "grpc-timeout": DEADLINE}
    return b"".join(
        [
            b"\x83\x86",  # :method POST, :scheme http
            b"\x04" + literal(method),  # :path
            b"\x01" + literal(authority),  # :authority
            *(b"\x00" + literal(name) + literal(value) for name, value in fields.items()),
        ]
    )


def _same(protocol: Connection) -> Connection:
    return protocol


async def drive(target: str, method: str, load: Load, *, callers: int, connections: int) -> float:
    """Runs a load over some connections until it ends; returns how long it took in seconds.

    Raises:
        GeneratorError: a connection broke.
    """
    host, _, port = target.rpartition(":")
    loop = asyncio.get_running_loop()
    started = time.perf_counter()
    protocols = [
        Connection(target, method, callers * (i + 1) // connections - callers * i // connections, load)
        for i in range(connections)
    ]
    for protocol in protocols:
        await loop.create_connection(partial(_same, protocol), host, int(port))
    await asyncio.gather(*(protocol.done for protocol in protocols))
    return time.perf_counter() - started
