"""The grpcurl command that asks what a command of this program asks."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass

from google.protobuf import json_format
from google.protobuf.message import Message

TOKEN_HEADER = '-H "authorization: Bearer $STREAMGAUGE_TOKEN"'
"""The token stays in the environment: a printed secret ends up in scrollbacks, tickets and shell histories."""


@dataclass(frozen=True, slots=True)
class Server:
    """How to reach the server."""

    target: str
    tls: bool = False
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    server_name: str | None = None
    max_time: float | None = None
    with_token: bool = False


def command(server: Server, method: str, request: Message, program: str = "grpcurl") -> str:
    """Returns the line for a shell. `method` is `/package.Service/Method`; the server must serve reflection."""
    words = [shlex.quote(program)]
    if server.tls:
        files = {"-cacert": server.ca_file, "-cert": server.cert_file, "-key": server.key_file}
        for flag, value in (files | {"-servername": server.server_name}).items():
            words += [flag, shlex.quote(value)] if value is not None else []
    else:
        words.append("-plaintext")
    if server.max_time is not None:
        words += ["-max-time", f"{server.max_time:g}"]
    if server.with_token:
        words.append(TOKEN_HEADER)
    body = json.dumps(json_format.MessageToDict(request), ensure_ascii=False)
    if body != "{}":
        words += ["-d", shlex.quote(body)]
    scheme, _, address = server.target.partition(":")
    if scheme == "unix":
        words.append("-unix")
    else:
        address = server.target.removeprefix("dns:///").removeprefix("dns:")
    words += [shlex.quote(address), method.lstrip("/")]
    return " ".join(words)
