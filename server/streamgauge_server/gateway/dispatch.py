"""The innermost layer: finds what answers a request, lets it answer, and has failures told by its API."""

from __future__ import annotations

import structlog
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from streamgauge_server.gateway import damage
from streamgauge_server.gateway.api import Api, HttpFailure
from streamgauge_server.gateway.passing import passage_of
from streamgauge_server.gateway.routing import Router
from streamgauge_server.gateway.upstream import Refused

_log = structlog.stdlib.get_logger("streamgauge.gateway")


class Dispatch:
    """Answers requests. `request.state` then tells `api` and `template`, for those who count."""

    def __init__(self, router: Router, call_seconds: float) -> None:
        """`call_seconds` is the time of a call to the server."""
        self._router = router
        self._call_seconds = call_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request."""
        request = Request(scope, receive)
        destination = self._router.find(scope["method"], scope["raw_path"])
        request.state.api = destination.api.name
        request.state.template = destination.template
        try:
            request.state.passage = passage_of(request, self._call_seconds)
            response = await destination.handler(request, destination.variables)
            if damaged := request.state.passage.damage.header():
                response.headers[damage.HEADER] = damaged
        except ClientDisconnect:
            return  # amid the body: nobody is there to be answered
        except Exception as error:
            response = _told(destination.api, request, error)
        await response(scope, receive, send)


def _told(api: Api, request: Request, error: Exception) -> Response:
    """Returns what the API tells about a failure. Nothing of an unexpected one gets outside; the log has it."""
    try:
        response = api.tell(request, error)
    except Exception:
        _log.exception("an API could not tell a failure", api=api.name, request_id=request.state.request_id)
        response = JSONResponse({"code": 13, "message": "internal error", "details": []}, status_code=500)
    if isinstance(error, HttpFailure):
        for name, value in error.headers.items():
            response.headers[name] = value
    elif response.status_code == 500 and not isinstance(error, Refused):
        _log.error(
            "unexpected failure of a request",
            api=api.name,
            route=request.state.template,
            request_id=request.state.request_id,
            exc_info=error,
        )
    if response.status_code == 401:
        # RFC 9110 wants it on every 401.
        response.headers.setdefault("WWW-Authenticate", "Bearer")
    return response
