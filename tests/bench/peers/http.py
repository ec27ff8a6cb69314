"""HTTP clients of the bench: bodies posted over several connections, single questions, and latencies by h2load."""

from __future__ import annotations

import http.client
import json
import re
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

CONNECTIONS = 2
"""Connections over which bodies are posted at once: as many as the bench's machine has processors."""

TIMEOUT = 900


class CallFailed(Exception):
    """A system refused or did not understand what it was asked."""


def request(port: int, method: str, path: str, body: bytes | None = None) -> bytes:
    """Makes one request and returns the answer's body.

    Raises:
        CallFailed: the answer is no success.
        OSError: there is no answer.
    """
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)) as connection:
        connection.request(method, path, body)
        return _answer(connection, path)


def asked(port: int, path: str, parameters: Mapping[str, str]) -> Any:
    """Returns the JSON that answers a query."""
    return json.loads(request(port, "GET", f"{path}?{urlencode(parameters)}"))


def post_waves(port: int, path: str, waves: Sequence[Sequence[bytes]], headers: Mapping[str, str]) -> float:
    """Posts bodies, those of a wave at once, each over a connection of its own, and wave after wave.

    Returns the seconds until the last one was answered with a success.
    """
    width = max(map(len, waves))
    connections = [http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT) for _ in range(width)]

    def post(connection: http.client.HTTPConnection, body: bytes) -> None:
        connection.request("POST", path, body, dict(headers))
        _answer(connection, path)

    with ThreadPoolExecutor(width) as threads:
        begun = time.perf_counter()
        for wave in waves:
            list(threads.map(post, connections, wave))
        seconds = time.perf_counter() - begun
    for connection in connections:
        connection.close()
    return seconds


def post_all(port: int, path: str, bodies: Sequence[bytes], headers: Mapping[str, str] | None = None) -> float:
    """Posts bodies over `CONNECTIONS` connections, each its share one after the other; returns the seconds it took."""

    def post(share: Sequence[bytes]) -> None:
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)) as connection:
            for body in share:
                connection.request("POST", path, body, dict(headers or {}))
                _answer(connection, path)

    shares = [list(islice(bodies, first, None, CONNECTIONS)) for first in range(CONNECTIONS)]
    with ThreadPoolExecutor(CONNECTIONS) as threads:
        begun = time.perf_counter()
        list(threads.map(post, shares))
        return time.perf_counter() - begun


def _answer(connection: http.client.HTTPConnection, path: str) -> bytes:
    response = connection.getresponse()
    body = response.read()
    if response.status >= 300:
        raise CallFailed(f"{path}: {response.status} {body[:500]!r}")
    return body


def latencies(url: str, calls: int, *, body: bytes | None = None, grpc: bool = False, callers: int = 1) -> list[float]:
    """Makes calls with h2load, `callers` at a time, each over a connection of its own; returns the seconds of each.

    One generator, written in C, for all systems: HTTP/1.1 for those that speak it, HTTP/2 for gRPC.

    Raises:
        CallFailed: a call failed.
    """
    with tempfile.TemporaryDirectory(prefix="streamgauge-h2load-") as directory:
        log = Path(directory, "log")
        command = ["h2load", "-n", str(calls), "-c", str(callers), "-m", "1", f"--log-file={log}"]
        if grpc:
            command += ["-H", "content-type: application/grpc", "-H", "te: trailers"]
        else:
            command.append("--h1")
        if body is not None:
            sent = Path(directory, "body")
            sent.write_bytes(body)
            command += ["-d", str(sent)]
        told = subprocess.run([*command, url], capture_output=True, text=True, check=True).stdout
        counts = re.search(r"(\d+) succeeded, (\d+) failed, (\d+) errored", told)
        if counts is None or int(counts[1]) != calls:
            raise CallFailed(f"{url}: {told[-1000:]}")
        rows = [line.split("\t") for line in log.read_text().splitlines()]
    return [int(micros) / 1e6 for _, _, micros in rows]
