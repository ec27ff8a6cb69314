"""The steps around every call, from the outermost to the innermost.

A step wraps a handler in another one. All four kinds of calls have the same handler, a coroutine: answers of streams
are written by the innermost handler, so that a unary call passes nothing but plain coroutines, each worth well under a
microsecond. Every step adds itself once per method, when the method is registered.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

import grpc
import grpc.aio

from streamgauge_server.model.errors import DomainError, Reason
from streamgauge_server.rpc.context import Call, Method, enter
from streamgauge_server.rpc.damage import trailers
from streamgauge_server.rpc.errors import REQUEST_ID_KEY, ServicerContext, fail
from streamgauge_server.rpc.scopes import AUTHENTICATED, OPEN
from streamgauge_server.services.auth import Authenticator, require_scope

Handler = Callable[[Call, Any, ServicerContext], Awaitable[Any]]
"""Handles a call: the request (bytes, or an iterator of messages) in; serialised answer out, None where it streams."""

_REQUEST_ID = re.compile(r"[A-Za-z0-9._~:/+=@-]{1,128}")
_SHUTDOWN_RETRY_SECONDS = 1.0


class Step(Protocol):
    """Something that happens around every call."""

    @property
    def name(self) -> str:
        """The step's name, for the order that a test asserts."""
        ...

    def wrap(self, method: Method, call_next: Handler) -> Handler:
        """Returns a handler that does this step around `call_next`, or `call_next` where there is nothing to do."""
        ...


class RequestContextStep:
    """Gives the call its request id, the caller's own where it is sane, and returns it as a trailer.

    And beside it what of the stored the answer may lack, because it is damaged.
    """

    name = "request_context"

    def wrap(self, method: Method, call_next: Handler) -> Handler:
        """Returns the handler that enters the call."""

        async def in_context(call: Call, request: Any, context: ServicerContext) -> Any:
            request_id = ""
            # Made anew with every call of `invocation_metadata`, which costs as much as a step.
            call.metadata = metadata = context.invocation_metadata() or ()
            for key, value in metadata:
                if key == REQUEST_ID_KEY and isinstance(value, str) and _REQUEST_ID.fullmatch(value):
                    request_id = value
            call.request_id = request_id = request_id or os.urandom(12).hex()
            context.set_trailing_metadata(((REQUEST_ID_KEY, request_id),))
            enter(call)
            answer = await call_next(call, request, context)
            if call.damage is not None:
                context.set_trailing_metadata(((REQUEST_ID_KEY, request_id), *trailers(call)))
            return answer

        return in_context


class _Cap:
    """A bound on the time of calls, and the calls under way that it bounds.

    They all have the same time, so the first to begin is the first to expire: one timer for all of them, where a timer
    per call would cost more than all other steps.
    """

    def __init__(self, seconds: float, expire: Callable[[asyncio.Task[Any]], None]) -> None:
        """`expire` is called with the task of a call that takes longer."""
        self.seconds = seconds
        self._expire_task = expire
        self._expiries: dict[asyncio.Task[Any], float] = {}
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, task: asyncio.Task[Any]) -> None:
        loop = task.get_loop()
        self._expiries[task] = expiry = loop.time() + self.seconds
        if self._timer is None:
            self._timer = loop.call_at(expiry, self._expire, loop)

    def end(self, task: asyncio.Task[Any]) -> None:
        self._expiries.pop(task, None)

    def _expire(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        now = loop.time()
        for task, expiry in list(self._expiries.items()):
            if expiry > now:
                self._timer = loop.call_at(expiry, self._expire, loop)
                break
            del self._expiries[task]
            self._expire_task(task)


class DeadlineStep:
    """Bounds the time of a call: unary ones by the server's cap, streams by the server's stop."""

    name = "deadline"

    def __init__(self, max_call_seconds: float, waits: Mapping[str, float] | None = None) -> None:
        """`waits` has the methods whose calls may wait for something: how many seconds beyond the cap, by full name."""
        self._waits = waits or {}
        self._caps = {extra: _Cap(max_call_seconds + extra, self._stop_task) for extra in {0.0, *self._waits.values()}}
        self._streams: set[asyncio.Task[Any]] = set()
        self._stopped: set[asyncio.Task[Any]] = set()
        """Tasks that this step has cancelled."""
        self._draining = False

    def drain(self) -> None:
        """Ends all streams with SHUTTING_DOWN, and every stream that begins from now on. Unary calls go on."""
        self._draining = True
        for task in self._streams - self._stopped:
            self._stop_task(task)

    def wrap(self, method: Method, call_next: Handler) -> Handler:
        """Returns the handler with the bound that fits the kind of call."""
        if method.streaming:
            return self._until_drained(call_next)
        return self._capped(call_next, self._caps[self._waits.get(method.name, 0.0)])

    def _capped(self, call_next: Handler, cap: _Cap) -> Handler:
        seconds = cap.seconds

        async def capped(call: Call, request: Any, context: ServicerContext) -> Any:
            remaining = context.time_remaining()
            if remaining is not None and remaining <= seconds:
                # At the caller's own deadline gRPC cancels this task, and the caller has its status without us.
                try:
                    return await call_next(call, request, context)
                except asyncio.CancelledError:
                    _note_cancellation(call, context)
                    raise
            task = _current_task()
            cap.begin(task)
            try:
                return await call_next(call, request, context)
            except asyncio.CancelledError:
                if not self._take_back(task, call, context):
                    raise
                await fail(context, call, _too_long(seconds))
            finally:
                cap.end(task)
                self._stopped.discard(task)

        return capped

    def _take_back(self, task: asyncio.Task[Any], call: Call, context: ServicerContext) -> bool:
        """Takes a cancellation back that came from here, so that the call can tell why. False for any other.

        A call that is just telling its own error has nothing else to tell.
        """
        if task not in self._stopped or context.done():
            _note_cancellation(call, context)
            return False
        task.uncancel()
        return True

    def _stop_task(self, task: asyncio.Task[Any]) -> None:
        self._stopped.add(task)
        task.cancel()

    def _until_drained(self, call_next: Handler) -> Handler:
        async def until_drained(call: Call, request: Any, context: ServicerContext) -> Any:
            if self._draining:
                await fail(context, call, shutting_down())
            task = _current_task()
            self._streams.add(task)
            try:
                return await call_next(call, request, context)
            except asyncio.CancelledError:
                if not self._take_back(task, call, context):
                    raise
                await fail(context, call, shutting_down())
            finally:
                self._streams.discard(task)
                self._stopped.discard(task)

        return until_drained


class AuthenticationStep:
    """Finds out who calls, and refuses callers without the scope that the method asks for."""

    name = "authentication"

    def __init__(self, authenticator: Authenticator, scopes: Mapping[str, str]) -> None:
        self._authenticator = authenticator
        self._scopes = scopes

    def wrap(self, method: Method, call_next: Handler) -> Handler:
        """Returns the handler that authenticates first.

        Raises:
            LookupError: the table of scopes does not have the method.
        """
        needed = self._scopes.get(method.name)
        if needed is None:
            raise LookupError(f"{method.name} is not in the table of scopes")
        if needed == OPEN:
            return call_next
        scope = None if needed == AUTHENTICATED else needed
        authenticate = self._authenticator.authenticate

        async def authenticated(call: Call, request: Any, context: ServicerContext) -> Any:
            try:
                caller = call.caller = await authenticate(_authorization(call))
                if scope is not None:
                    require_scope(caller, scope)
            except Exception as error:
                await fail(context, call, error)
            return await call_next(call, request, context)

        return authenticated


class ErrorMappingStep:
    """Turns what a servicer raises into a status with details. Innermost, so that no outer step sees a bare error."""

    name = "error_mapping"

    def wrap(self, method: Method, call_next: Handler) -> Handler:
        """Returns the handler that maps errors."""

        async def mapped(call: Call, request: Any, context: ServicerContext) -> Any:
            try:
                return await call_next(call, request, context)
            except grpc.aio.UsageError as error:
                await fail(context, call, error)
            except grpc.aio.BaseError:
                # The servicer aborted by itself, or the transport broke: there is nothing to add.
                code = context.code()
                call.code = code if isinstance(code, grpc.StatusCode) else grpc.StatusCode.UNKNOWN
                raise
            except Exception as error:
                await fail(context, call, error)

        return mapped


def shutting_down() -> DomainError:
    """The error of a call that a stopping server cannot finish."""
    return DomainError(Reason.SHUTTING_DOWN, "the server is stopping; try again", retry_after=_SHUTDOWN_RETRY_SECONDS)


def _too_long(seconds: float) -> DomainError:
    return DomainError(
        Reason.DEADLINE_EXCEEDED,
        f"the call was not done within the server's limit of {seconds:g} s (max_call_seconds)",
        metadata={"limit_seconds": f"{seconds:g}"},
    )


_DEADLINE_SLACK = 0.05
"""Seconds. The caller's clock runs since it sent the call and the server's since it came in, so that a caller at its
deadline cancels a little before the server gets there."""


def _note_cancellation(call: Call, context: ServicerContext) -> None:
    if call.code is not grpc.StatusCode.OK:
        return
    remaining = context.time_remaining()
    expired = remaining is not None and remaining <= _DEADLINE_SLACK
    call.code = grpc.StatusCode.DEADLINE_EXCEEDED if expired else grpc.StatusCode.CANCELLED


def _current_task() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    if task is None:
        raise RuntimeError("a call runs in a task")
    return task


def _authorization(call: Call) -> str | None:
    for key, value in call.metadata:
        if key == "authorization":
            return value if isinstance(value, str) else value.decode("latin-1")
    return None
