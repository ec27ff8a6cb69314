"""The call under way: who calls, under which request id, and how it ended."""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextvars import ContextVar
from dataclasses import dataclass, field

import grpc

from streamgauge_server.model.entities import Caller
from streamgauge_server.storage.damage_log import NamedDamage


@dataclass(frozen=True, slots=True)
class Method:
    """A method of the server. `name` is the path of its calls, `/package.Service/Method`."""

    name: str
    request_streaming: bool
    response_streaming: bool

    @property
    def streaming(self) -> bool:
        """Tells whether either side streams."""
        return self.request_streaming or self.response_streaming

    @property
    def kind(self) -> str:
        """The call kind as gRPC's metrics name it, for example `unary` or `server_stream`."""
        if self.request_streaming:
            return "bidi_stream" if self.response_streaming else "client_stream"
        return "server_stream" if self.response_streaming else "unary"


@dataclass(slots=True)
class Call:
    """One call, filled in by the steps around it.

    `started` is a reading of the monotonic clock in seconds. `code` and `reason` say how the call ended; they are set
    before the outer steps go on. Sizes are bytes of serialised messages; streams are not counted. `metadata` is what
    the client sent, its token among it: never log it. `damage` is what was met, each once, None for nothing.
    """

    method: Method
    request_id: str = ""
    started: float = field(default_factory=time.perf_counter)
    metadata: Iterable[tuple[str, str | bytes]] = ()
    caller: Caller | None = None
    code: grpc.StatusCode = grpc.StatusCode.OK
    reason: str = ""
    request_bytes: int = 0
    response_bytes: int = 0
    damage: dict[NamedDamage, None] | None = None


_current: ContextVar[Call] = ContextVar("streamgauge_call")


def enter(call: Call) -> None:
    """Makes `call` the current one of this task. grpc.aio runs every call in a task of its own: nothing to undo."""
    _current.set(call)


def current_call() -> Call:
    """Returns the call under way.

    Raises:
        LookupError: outside of a call.
    """
    return _current.get()


def find_call() -> Call | None:
    """Returns the call under way, None outside of one."""
    return _current.get(None)


def current_caller() -> Caller:
    """Returns who is calling.

    Raises:
        LookupError: outside of a call, or in a method that asks nobody who they are (see `rpc.scopes`).
    """
    caller = _current.get().caller
    if caller is None:
        raise LookupError(f"{_current.get().method.name} is open: it has no caller")
    return caller
