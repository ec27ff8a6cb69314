"""HTTP answers of the jobs API: JSON that nobody keeps."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

from starlette.responses import Response, StreamingResponse

JSON = "application/json"

# A GET stops jobs, and a state is old soon: no cache may answer for us.
_NEVER_KEPT = {"Cache-Control": "no-store"}


def encoded(content: object) -> bytes:
    """Returns compact JSON in UTF-8."""
    return json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def answer(content: Mapping[str, Any], status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Returns an answer."""
    return Response(encoded(content), status, {**_NEVER_KEPT, **(headers or {})}, JSON)


def streamed(pieces: AsyncIterator[bytes]) -> Response:
    """Returns an answer whose JSON comes in pieces.

    When they fail the connection is cut, so that nobody takes what has been sent for all.
    """
    return StreamingResponse(pieces, headers=_NEVER_KEPT, media_type=JSON)
