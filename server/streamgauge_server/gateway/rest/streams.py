"""Streams over HTTP: answers line by line as they come, and bodies that become a stream of messages."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

import grpc
import grpc.aio
from google.protobuf.message import Message
from google.rpc import code_pb2, status_pb2
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from streamgauge_server.gateway.rest.bodies import NDJSON
from streamgauge_server.gateway.rest.printing import json_bytes
from streamgauge_server.gateway.rest.refusals import error_line
from streamgauge_server.gateway.upstream import Refused, Upstream


class NdjsonResponse(StreamingResponse):
    """The messages of a server's stream, one line each. A failure is a last line, `{"error": <google.rpc.Status>}`."""

    def __init__(self, lines: AsyncIterator[bytes], call: Any, headers: Mapping[str, str]) -> None:
        super().__init__(lines, headers={"Cache-Control": "no-store", **headers}, media_type=NDJSON)
        self._call = call

    @classmethod
    async def begin(cls, request: Request, upstream: Upstream, call: Any, headers: Mapping[str, str]) -> NdjsonResponse:
        """Waits for the first message of a call and returns the answer.

        Raises:
            Refused: the call failed before there was a message.
        """
        first = await upstream.read(upstream.reading(call))
        return cls(_lines(request, upstream, call, first), call, headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends the lines. The call ends with the answer, also when the client goes before it has begun."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._call.cancel()


async def _lines(request: Request, upstream: Upstream, call: Any, first: Any) -> AsyncIterator[bytes]:
    message = first
    try:
        while message is not grpc.aio.EOF:
            yield json_bytes(message) + b"\n"
            message = await upstream.read(call)
    except Refused as error:
        yield error_line(request, error)


async def upload(call: Any, messages: AsyncIterator[Message], seconds: float) -> Message:
    """Sends messages and returns the answer, for which it waits `seconds` after the last one.

    Raises:
        Refused: the call failed, perhaps before all messages were sent.
    """
    try:
        return await _upload(call, messages, seconds)
    except grpc.aio.AioRpcError as error:
        raise Refused.from_error(error) from error
    finally:
        call.cancel()


async def _upload(call: Any, messages: AsyncIterator[Message], seconds: float) -> Message:
    async for message in messages:
        try:
            await call.write(message)
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            break  # the call is over already; awaiting it says why
    else:
        await call.done_writing()
    try:
        async with asyncio.timeout(seconds):
            answer: Message = await call
    except TimeoutError as error:
        status = status_pb2.Status(code=code_pb2.DEADLINE_EXCEEDED, message=f"no answer within {seconds:g} s")
        raise Refused(grpc.StatusCode.DEADLINE_EXCEEDED, status) from error
    return answer
