"""One request to a cluster: bounded in time and size, over several addresses, its failure told in words of our own."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import ssl
from collections.abc import Iterator, Mapping, Sequence
from http import HTTPStatus

import httpx

from streamgauge_server.flink.addresses import Tls, base_url
from streamgauge_server.flink.credentials import Credentials
from streamgauge_server.flink.errors import Cause, FlinkError, NotFound, Refused, TooLarge, Unreachable, first_line

CONNECT_SECONDS, READ_SECONDS = 2.0, 5.0
MAX_BODY = 16 * 1024 * 1024
KEEP_ALIVE_SECONDS = 30.0
MAX_CONNECTIONS = 4
"""Flink answers REST requests in four threads by default."""

_WORTH_A_THREAD = 256 * 1024
"""Bytes of JSON that take milliseconds to read."""

_WRONG_PATH = ("Unable to load requested file ", "Not found: /")
"""How Flink's 404 begins where the path, and not the job, is unknown to it."""

_JOB_UNKNOWN = "FlinkJobNotFoundException"
"""Not every endpoint answers 404 for an unknown job: that of its status answers 500."""
_INTERNAL, _ON_SERVER = "Internal server error.", "<Exception on server side:\n"
_HEAD = 1_000
"""Characters of an error, in which its class and message are."""

_REFUSALS = frozenset({HTTPStatus.BAD_REQUEST, HTTPStatus.CONFLICT})


class Transport:
    """Sends requests to the first address that answers, beginning with the one that did last.

    Requests that change something go on to the next address only if the cluster cannot have received them.
    """

    def __init__(
        self,
        base_urls: Sequence[str],
        *,
        credentials: Credentials | None,
        tls: Tls | None,
        connect_timeout: float,
        read_timeout: float,
        max_body: int,
    ) -> None:
        self._base_urls = [base_url(url) for url in base_urls]
        if not self._base_urls:
            raise ValueError("a cluster needs an address")
        self._preferred = 0
        self.sent = 0
        """How many requests have been sent."""
        # Waiting for a free connection must not count as the cluster's slowness.
        self._slots = asyncio.Semaphore(MAX_CONNECTIONS)
        self._credentials = credentials
        self._max_body = max_body
        # A server that sends a byte every few seconds would get around the timeout of a single read.
        self._whole_timeout = connect_timeout + read_timeout
        self._http = httpx.AsyncClient(
            # Compressed answers would get around the bound of a body.
            headers={"accept": "application/json", "accept-encoding": "identity"},
            verify=(tls or Tls()).context() if any(url.startswith("https") for url in self._base_urls) else False,
            timeout=httpx.Timeout(read_timeout, connect=connect_timeout, pool=None),
            limits=httpx.Limits(max_keepalive_connections=MAX_CONNECTIONS, keepalive_expiry=KEEP_ALIVE_SECONDS),
            follow_redirects=False,
            trust_env=False,
        )

    async def close(self) -> None:
        """Closes all connections."""
        await self._http.aclose()

    async def request(self, method: str, target: str, body: Mapping[str, object] | None = None) -> object:
        """Returns the JSON of an answer; `target` is path and query.

        Raises:
            Unreachable, NotFound, Refused, TooLarge: see there.
        """
        failures: list[Unreachable] = []
        for index in self._order():
            try:
                answer = await self._attempt(method, self._base_urls[index] + target, body)
            except Unreachable as error:
                failures.append(error)
                if error.may_have_arrived and method != "GET":
                    break
            except FlinkError:
                self._preferred = index
                raise
            else:
                self._preferred = index
                return answer
        raise _joined(failures)

    def _order(self) -> Iterator[int]:
        first = self._preferred
        yield first
        yield from (index for index in range(len(self._base_urls)) if index != first)

    async def _attempt(self, method: str, url: str, body: Mapping[str, object] | None) -> object:
        if self._credentials is None:
            return await _meaning(*await self._exchange(method, url, body, {}))
        authorization = self._credentials.authorization
        status, raw = await self._exchange(method, url, body, {"authorization": authorization})
        if status == HTTPStatus.UNAUTHORIZED:
            # Whoever refuses it has not acted on the request.
            try:
                renewed = await self._credentials.renew(authorization)
            except (OSError, ValueError) as error:
                reason = f"the cluster answered with HTTP status {status}, and the secret cannot be read anew"
                raise Unreachable(Cause.STATUS, reason, may_have_arrived=False) from error
            if renewed:
                headers = {"authorization": self._credentials.authorization}
                status, raw = await self._exchange(method, url, body, headers)
        return await _meaning(status, raw)

    async def _exchange(
        self, method: str, url: str, body: Mapping[str, object] | None, headers: Mapping[str, str]
    ) -> tuple[int, bytes]:
        """Sends one request and returns status and body of the answer."""
        self.sent += 1
        try:
            async with (
                self._slots,
                asyncio.timeout(self._whole_timeout),
                self._http.stream(method, url, json=body, headers=headers) as response,
            ):
                return response.status_code, await self._body(response)
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise _not_connected(error) from None
        except (TimeoutError, httpx.TimeoutException):
            raise Unreachable(Cause.TIMEOUT, "the cluster did not answer in time", may_have_arrived=True) from None
        except httpx.HTTPError as error:
            reason = f"the connection broke off ({type(error).__name__})"
            raise Unreachable(Cause.CONNECTION, reason, may_have_arrived=True) from None

    async def _body(self, response: httpx.Response) -> bytes:
        if response.headers.get("content-encoding", "identity") != "identity":
            raise _not_flink("the answer is compressed, which was not asked for")
        chunks: list[bytes] = []
        size = 0
        async for chunk in response.aiter_raw():
            size += len(chunk)
            if size > self._max_body:
                raise TooLarge(f"the cluster's answer is larger than {self._max_body} bytes")
            chunks.append(chunk)
        return b"".join(chunks)


async def _meaning(status: int, raw: bytes) -> object:
    """Returns the JSON of a successful answer, raises what another one means."""
    try:
        answer: object = await asyncio.to_thread(json.loads, raw) if len(raw) > _WORTH_A_THREAD else json.loads(raw)
    except (ValueError, RecursionError):
        if _succeeded(status):
            raise _not_flink("the answer is not JSON") from None
        answer = None
    if _succeeded(status):
        return answer
    errors = _errors(answer)
    told = _told(errors)
    if any(_JOB_UNKNOWN in error for error in errors):
        raise NotFound(told)
    if status == HTTPStatus.NOT_FOUND:
        if told and not told.startswith(_WRONG_PATH):
            raise NotFound(told)
        # Another server's 404, or Flink's under a wrong prefix, says nothing about a job.
        raise _not_flink("the address does not lead to Flink's REST API (404)")
    if status in _REFUSALS and told:
        raise Refused(status, told)
    reason = f"the cluster answered with HTTP status {status}"
    raise Unreachable(Cause.STATUS, f"{reason}: {told}" if told else reason, may_have_arrived=_reached_flink(status))


def _succeeded(status: int) -> bool:
    return HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES


def _reached_flink(status: int) -> bool:
    # 503 is said while no JobManager leads, by Flink and by proxies before it: then nobody has acted on the request.
    return status >= HTTPStatus.INTERNAL_SERVER_ERROR and status != HTTPStatus.SERVICE_UNAVAILABLE


def _errors(answer: object) -> list[str]:
    """Returns the heads of Flink's errors, none if the answer is something else."""
    errors = answer.get("errors") if isinstance(answer, dict) else None
    if not isinstance(errors, list):
        return []
    return [error[:_HEAD].removeprefix(_ON_SERVER) for error in errors if isinstance(error, str)]


def _told(errors: Sequence[str]) -> str:
    """Returns the line that says most: the first one, or what follows a mere `Internal server error.`."""
    lines = [line for error in errors if (line := first_line(error))]
    return next((line for line in lines if line != _INTERNAL), "".join(lines[:1]))


def _not_connected(error: httpx.TransportError) -> Unreachable:
    if isinstance(error, httpx.TimeoutException):
        return Unreachable(Cause.TIMEOUT, "the cluster did not accept a connection in time", may_have_arrived=False)
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLError):
            reason = f"TLS with the cluster failed: {getattr(cause, 'verify_message', '') or cause.reason}"
            return Unreachable(Cause.CONNECTION, reason, may_have_arrived=False)
        if isinstance(cause, socket.gaierror):
            return Unreachable(Cause.CONNECTION, "no connection: the host is unknown", may_have_arrived=False)
        if isinstance(cause, OSError) and cause.errno:
            # The error's own text may name the address.
            reason = f"no connection: {os.strerror(cause.errno)}"
            return Unreachable(Cause.CONNECTION, reason, may_have_arrived=False)
        cause = cause.__cause__ or cause.__context__
    return Unreachable(Cause.CONNECTION, "no connection", may_have_arrived=False)


def _not_flink(reason: str) -> Unreachable:
    return Unreachable(Cause.NOT_FLINK, reason, may_have_arrived=True)


def _joined(failures: Sequence[Unreachable]) -> Unreachable:
    """Returns one error for those of several addresses: of the kind of the last, with all reasons."""
    reasons = "; ".join(dict.fromkeys(failure.reason for failure in failures))
    arrived = any(failure.may_have_arrived for failure in failures)
    return Unreachable(failures[-1].cause, reasons, may_have_arrived=arrived)
