"""The connection of a client: uvicorn's, which bounds neither heads nor pipelines nor readers, with those bounds.

Without them a client that sends a head byte by byte, or one without an end, that piles up requests, or that does not
read what it asked for, would hold a connection and its memory for as long as it likes.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httptools
import structlog
from uvicorn import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from streamgauge_server.gateway.request_ids import new_request_id

MAX_HEAD_BYTES = 64 * 1024
"""Of the target and all headers together; URNs and tokens are long, and heads are held in memory."""
MAX_HEADERS = 200
MAX_PIPELINED = 100
"""How many requests of a connection may wait for the one under way."""

_log = structlog.stdlib.get_logger("streamgauge.access")


class ProtocolConfig(Config):
    """uvicorn's configuration and ours."""

    receive_seconds: float
    """How long a client may take for a head, or to go on reading."""
    closed: asyncio.Event
    """Set whenever a connection has ended."""


class _Unacceptable(Exception):
    """A head that the parser would let pass."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class HttpProtocol(HttpToolsProtocol):
    """One connection."""

    def __init__(
        self,
        config: ProtocolConfig,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._seconds = config.receive_seconds
        self._closed = config.closed
        self._head_timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None
        self._in_head = False
        self._unparsed_bytes = 0
        self._head_bytes = 0
        self._hosts = 0
        self._cycles: list[RequestResponseCycle] = []
        self._unacceptable: _Unacceptable | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begins to wait for the first head."""
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Ends everything that waits for this client."""
        self._stop_awaiting_head()
        if self._write_timer is not None:
            self._write_timer.cancel()
        super().connection_lost(exc)
        # uvicorn tells the request that came last, which is not the one under way when they are pipelined.
        for cycle in self._cycles:
            cycle.disconnected = True
            cycle.message_event.set()
        self._closed.set()

    def data_received(self, data: bytes) -> None:
        """Parses what came; requests begin in the callbacks."""
        if self.transport.is_closing():
            return
        self._unset_keepalive_if_required()
        if self._head_timer is None and not self._busy():
            self._await_head()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # Nobody here speaks anything else, so the request is answered as it is. The parser takes no other.
            self.cycle.keep_alive = False
        except httptools.HttpParserError as error:
            refused = self._unacceptable
            self._refuse(refused.status if refused else 400, str(refused or error))
        else:
            if self._in_head:
                self._unparsed_bytes += len(data)
                if self._unparsed_bytes > MAX_HEAD_BYTES:
                    self._refuse(431, f"the head of a request may have {MAX_HEAD_BYTES} bytes")

    def on_message_begin(self) -> None:
        """A head begins."""
        super().on_message_begin()
        self._in_head = True
        self._unparsed_bytes = self._head_bytes = self._hosts = 0

    def on_url(self, url: bytes) -> None:
        """A piece of the target."""
        self._head_bytes += len(url)
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header; those that follow a chunked body are no part of the request and are dropped."""
        if self._in_head:
            self._head_bytes += len(name) + len(value)
            self._hosts += name.lower() == b"host"
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head is whole: the request begins, unless something is wrong with it."""
        self._in_head = False
        self._stop_awaiting_head()
        try:
            self._check_head()
        except _Unacceptable as error:
            # The parser tells no more than that a callback failed.
            self._unacceptable = error
            raise
        super().on_headers_complete()
        self._cycles.append(self.cycle)

    def on_message_complete(self) -> None:
        """The body is whole. When its request was answered before, the connection is idle from here."""
        if self.cycle.response_complete and not self.transport.is_closing():
            self._stop_awaiting_head()
            self._unset_keepalive_if_required()
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """A request is answered, the next one in line begins; more are not read until none waits."""
        super().on_response_complete()
        self._cycles = [cycle for cycle in self._cycles if not cycle.response_complete]
        if self.pipeline:
            self.flow.pause_reading()

    def pause_writing(self) -> None:
        """The client does not keep up with what is sent to it."""
        super().pause_writing()
        self._watch_writing(None)

    def resume_writing(self) -> None:
        """The client has caught up."""
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None
        super().resume_writing()

    def _busy(self) -> bool:
        return bool(self.pipeline) or (self.cycle is not None and not self.cycle.response_complete)

    def _check_head(self) -> None:
        if self._head_bytes > MAX_HEAD_BYTES:
            raise _Unacceptable(431, f"the head of a request may have {MAX_HEAD_BYTES} bytes")
        if len(self.headers) > MAX_HEADERS:
            raise _Unacceptable(431, f"a request may have {MAX_HEADERS} headers")
        version = self.parser.get_http_version()
        if version not in ("1.0", "1.1"):
            raise _Unacceptable(505, "HTTP/1.1 is spoken here")
        if self._hosts != 1 and (self._hosts or version != "1.0"):
            raise _Unacceptable(400, "a request must have one Host header")
        if len(self.pipeline) >= MAX_PIPELINED:
            raise _Unacceptable(400, f"{MAX_PIPELINED} requests wait already")

    def _await_head(self) -> None:
        self._head_timer = self.loop.call_later(self._seconds, self._head_is_late)

    def _stop_awaiting_head(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _head_is_late(self) -> None:
        self._head_timer = None
        if self._in_head:
            self._refuse(408, f"the head of the request did not come within {self._seconds:g} s")
        else:
            self.transport.close()

    def _watch_writing(self, before: int | None) -> None:
        """Aborts the connection of a client that reads nothing for a while; one that reads slowly is none."""
        waiting = self.transport.get_write_buffer_size()
        if waiting == before:
            self.transport.abort()
        else:
            self._write_timer = self.loop.call_later(self._seconds, self._watch_writing, waiting)

    def _refuse(self, status: int, message: str) -> None:
        """Answers what never became a request, unless another answer is under way, and closes the connection."""
        if self.transport.is_closing():
            return
        request_id = new_request_id()
        _log.info("refused", status=status, problem=message, request_id=request_id, peer=self.client)
        if not self.pipeline and (not self._busy() or not self.cycle.response_started):
            body = json.dumps({"code": 3, "message": message, "details": []}).encode()
            headers = [
                *self.server_state.default_headers,
                (b"content-type", b"application/json"),
                (b"content-length", b"%d" % len(body)),
                (b"connection", b"close"),
                (b"x-request-id", request_id.encode()),
            ]
            head = b"".join(b"%s: %s\r\n" % header for header in headers)
            self.transport.write(STATUS_LINE[status] + head + b"\r\n" + body)
        self.transport.close()
