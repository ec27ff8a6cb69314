"""What of a request travels on to the server: token, request id, and how long the call may take."""

from __future__ import annotations

import re

from starlette.requests import Request

from streamgauge_server.gateway.api import HttpFailure
from streamgauge_server.gateway.upstream import Passage

MAX_AUTHORIZATION_BYTES = 8_192
"""JWTs of generous providers have half of it."""

_PRINTABLE = re.compile(r"[\x20-\x7e]+")
_GRPC_TIMEOUT = re.compile(r"([0-9]{1,8})([HMSmun])")
_SECONDS = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}


def passage_of(request: Request, call_seconds: float) -> Passage:
    """Returns what travels on with the calls that a request makes.

    `call_seconds` bounds their time; a smaller `grpc-timeout` header, as Envoy and grpc-gateway honour it, wins.

    Raises:
        HttpFailure: 401, the authorization is none that gRPC could carry; 400, the header for the time is malformed.
    """
    metadata = [("x-request-id", request.state.request_id)]
    given = request.headers.getlist("authorization")
    if given:
        if len(given) > 1 or len(given[0]) > MAX_AUTHORIZATION_BYTES or not _PRINTABLE.fullmatch(given[0]):
            raise HttpFailure(
                401, f"authorization must stand there once, with at most {MAX_AUTHORIZATION_BYTES} printable characters"
            )
        metadata.append(("authorization", given[0]))
    return Passage(tuple(metadata), min(call_seconds, _asked_seconds(request, call_seconds)))


def _asked_seconds(request: Request, otherwise: float) -> float:
    asked = request.headers.get("grpc-timeout")
    if asked is None:
        return otherwise
    match = _GRPC_TIMEOUT.fullmatch(asked)
    if match is None:
        raise HttpFailure(400, "grpc-timeout must be up to eight digits and a unit out of H, M, S, m, u and n")
    return int(match[1]) * _SECONDS[match[2]]
