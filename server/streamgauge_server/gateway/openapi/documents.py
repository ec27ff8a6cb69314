"""What tells of the other APIs: /openapi.json for programs, /docs for people."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from functools import cache

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from streamgauge_server.gateway.api import Api, Route
from streamgauge_server.gateway.openapi.document import contract, document
from streamgauge_server.gateway.openapi.page import page, policy, style

OPENAPI = "/openapi.json"
DOCS = "/docs"


def api(apis: Sequence[Api], tell: Callable[[Request, Exception], Response]) -> Api:
    """Returns the API. Both answers are made when they are first asked for, beside the event loop, and then kept.

    `apis` are what the documents are of; `tell` renders errors.
    """

    @cache
    def described() -> bytes:
        return json.dumps(document(apis, contract()), ensure_ascii=False, separators=(",", ":")).encode()

    @cache
    def shown() -> str:
        return page(json.loads(described()), style(), OPENAPI)

    headers = {
        "Content-Security-Policy": policy(style()),
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
    }

    async def openapi_json(request: Request, variables: Mapping[str, str]) -> Response:
        return Response(await asyncio.to_thread(described), media_type="application/json")

    async def docs(request: Request, variables: Mapping[str, str]) -> Response:
        return HTMLResponse(await asyncio.to_thread(shown), headers=headers)

    return Api("documents", [Route("GET", OPENAPI, openapi_json), Route("GET", DOCS, docs)], ("docs",), tell)
