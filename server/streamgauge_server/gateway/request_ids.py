"""The request id: the caller's own where it is sane, else a new one. It is on every answer, and travels on."""

from __future__ import annotations

import os
import re

from starlette.types import ASGIApp, Message, Receive, Scope, Send

REQUEST_ID_HEADER = b"x-request-id"

SANE_REQUEST_ID = re.compile(rb"[A-Za-z0-9._~:/+=@-]{1,128}")
"""What the gRPC server takes over as well."""


def new_request_id() -> str:
    """Returns an id that nobody has."""
    return os.urandom(12).hex()


class RequestIds:
    """Gives every request its id, as `request.state.request_id`, and every answer the header."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Lets a request pass, with its id."""
        request_id = ""
        for name, value in scope["headers"]:
            if name == REQUEST_ID_HEADER and SANE_REQUEST_ID.fullmatch(value):
                request_id = value.decode("ascii")
        request_id = request_id or new_request_id()
        scope.setdefault("state", {})["request_id"] = request_id
        header = (REQUEST_ID_HEADER, request_id.encode("ascii"))

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), header]
            await send(message)

        await self._app(scope, receive, send_with_id)
