"""A lean HTTP/1.1 client that sends prepared requests in a closed loop: the counterpart of `http2` for REST.

A caller has a connection of its own, which stays open, and sends its next request as soon as it has its answer. Answers
need a status of 200 and a Content-Length.
"""

from __future__ import annotations

import asyncio
import time
from functools import partial

from tests.bench.http2 import GeneratorError, Load

_OK = b"HTTP/1.1 200 "
_END_OF_HEAD = b"\r\n\r\n"
_LENGTH = b"content-length:"


class Connection(asyncio.Protocol):
    """One caller."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._buffer = bytearray()
        self._started = 0.0
        self._waiting = False
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Sends the first request."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._call()

    def data_received(self, data: bytes) -> None:
        """Takes what has come; sends the next request when the answer is whole."""
        self._buffer += data
        head = self._buffer.find(_END_OF_HEAD)
        if head < 0:
            return
        try:
            length = _content_length(bytes(self._buffer[:head]))
        except GeneratorError as error:
            self._end(error)
            return
        end = head + len(_END_OF_HEAD) + length
        if len(self._buffer) < end:
            return
        tally = self._load.tally
        if not self._buffer.startswith(_OK):
            tally.fail(bytes(self._buffer[:end]).decode("latin-1"))
        elif length < self._load.minimum_bytes:
            tally.fail(f"answer of {length} bytes")
        else:
            tally.latencies.append(time.perf_counter() - self._started)
        del self._buffer[:end]
        self._waiting = False
        self._call()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tells the waiting side when an answer was still to come."""
        self._end(GeneratorError(f"connection lost: {exc}") if self._waiting else None)

    def _call(self) -> None:
        request = self._load.next_body()
        if request is None:
            self._end(None)
            return
        self._waiting = True
        self._started = time.perf_counter()
        self._transport.write(request)

    def _end(self, error: GeneratorError | None) -> None:
        if not self.done.done():
            if error is None:
                self.done.set_result(None)
            else:
                self.done.set_exception(error)
            self._transport.close()


def request(host: str, path: str) -> bytes:
    """Returns a GET as it is sent."""
    return f"GET {path} HTTP/1.1\r\nHost: {host}\r\nAccept: application/json\r\n\r\n".encode("ascii")


def _content_length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n")[1:]:
        if line.startswith(_LENGTH):
            return int(line.removeprefix(_LENGTH))
    raise GeneratorError(f"an answer without a length: {head!r}")


def _same(protocol: Connection) -> Connection:
    return protocol


async def drive(target: str, load: Load, *, callers: int) -> float:
    """Runs a load, one connection for each caller, until it ends; returns how long it took in seconds.

    Raises:
        GeneratorError: a connection broke, or an answer cannot be read.
    """
    host, _, port = target.rpartition(":")
    loop = asyncio.get_running_loop()
    started = time.perf_counter()
    protocols = [Connection(load) for _ in range(callers)]
    for protocol in protocols:
        await loop.create_connection(partial(_same, protocol), host, int(port))
    await asyncio.gather(*(protocol.done for protocol in protocols))
    return time.perf_counter() - started
