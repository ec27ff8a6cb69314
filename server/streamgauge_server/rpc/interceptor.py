"""The server's one interceptor: all steps around every call, for the four kinds of calls.

gRPC runs its interceptors once per call, and each costs as much as all steps together. So there is one, it finds the
finished handler of a method in a dict, and the steps are woven into that handler when the method is registered.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from typing import Any, TypeAlias

import grpc
import grpc.aio

from streamgauge_server.model.errors import DomainError, Reason
from streamgauge_server.rpc.context import Call, Method
from streamgauge_server.rpc.errors import ServicerContext
from streamgauge_server.rpc.steps import Handler, Step

_RpcHandler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"


class StepInterceptor(grpc.aio.ServerInterceptor):
    """Serves the registered methods with the steps around them; other methods are UNIMPLEMENTED."""

    def __init__(self, steps: Sequence[Step], *, max_request_bytes: int, max_response_bytes: int) -> None:
        """`steps` from the outermost to the innermost; the bounds are of single messages."""
        self.steps = tuple(steps)
        self._max_request_bytes = max_request_bytes
        self._max_response_bytes = max_response_bytes
        self._handlers: dict[str, _RpcHandler] = {}

    @property
    def methods(self) -> Sequence[str]:
        """The registered methods by their full names."""
        return tuple(self._handlers)

    def register(self, service: str, handlers: Mapping[str, _RpcHandler]) -> None:
        """Adds the methods of a service.

        Raises:
            TypeError: a method is not asynchronous, which a method that nobody has written is not either.
            LookupError: a step does not know the method.
        """
        for name, handler in handlers.items():
            method = Method(f"/{service}/{name}", bool(handler.request_streaming), bool(handler.response_streaming))
            self._handlers[method.name] = self._wrapped(method, handler)

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[_RpcHandler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> _RpcHandler | None:
        """Returns the finished handler of the method that is called."""
        handler = self._handlers.get(handler_call_details.method)
        # No handler of ours: the server has no other, and answers UNIMPLEMENTED.
        return handler if handler is not None else await continuation(handler_call_details)

    def _wrapped(self, method: Method, handler: _RpcHandler) -> _RpcHandler:
        parse = _bounded(handler.request_deserializer or bytes, self._max_request_bytes)
        innermost, serialise = _innermost(method, handler, parse, self._max_response_bytes)
        chain = innermost
        for step in reversed(self.steps):
            chain = step.wrap(method, chain)

        async def entry(request: Any, context: ServicerContext) -> Any:
            return await chain(Call(method), request, context)

        make = _MAKERS[method.request_streaming, method.response_streaming]
        return make(entry, parse if method.request_streaming else None, serialise)


_MAKERS: dict[tuple[bool, bool], Callable[..., _RpcHandler]] = {
    (False, False): grpc.unary_unary_rpc_method_handler,
    (False, True): grpc.unary_stream_rpc_method_handler,
    (True, False): grpc.stream_unary_rpc_method_handler,
    (True, True): grpc.stream_stream_rpc_method_handler,
}


def _bounded(parse: Callable[[bytes], Any], max_bytes: int) -> Callable[[bytes], Any]:
    """Returns a parser that refuses larger messages."""

    def bounded(message: bytes) -> Any:
        if len(message) > max_bytes:
            raise DomainError(
                Reason.MESSAGE_TOO_LARGE,
                f"the request has {len(message)} bytes, allowed are {max_bytes} (max_request_bytes): send less at once",
                metadata={"field": "request", "limit": str(max_bytes), "actual": str(len(message))},
            )
        return parse(message)

    return bounded


def _innermost(
    method: Method, handler: _RpcHandler, parse: Callable[[bytes], Any], max_response_bytes: int
) -> tuple[Handler, Callable[[Any], bytes] | None]:
    """Returns the handler that calls the servicer, and the serialiser that is left to gRPC.

    Messages are parsed and serialised here rather than by gRPC, inside of error mapping: what cannot be parsed and what
    is too large then ends with a reason as every other error does.
    """
    behaviour: Any = handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
    serialise: Callable[[Any], bytes] = handler.response_serializer or bytes
    streams_in = method.request_streaming

    def message_of(call: Call, request: Any) -> Any:
        if streams_in:
            return request
        call.request_bytes = len(request)
        return parse(request)

    def answer_of(response: Any) -> bytes:
        answer = serialise(response)
        if len(answer) > max_response_bytes:
            raise DomainError(
                Reason.MESSAGE_TOO_LARGE,
                f"the response has {len(answer)} bytes, allowed are {max_response_bytes} (max_response_bytes): "
                "ask for less at once",
                metadata={"field": "response", "limit": str(max_response_bytes), "actual": str(len(answer))},
            )
        return answer

    async def unary(call: Call, request: Any, context: ServicerContext) -> bytes:
        answer = answer_of(await behaviour(message_of(call, request), context))
        call.response_bytes = len(answer)
        return answer

    async def streaming(call: Call, request: Any, context: ServicerContext) -> None:
        async with aclosing(behaviour(message_of(call, request), context)) as responses:
            async for response in responses:
                await context.write(answer_of(response))

    async def writing(call: Call, request: Any, context: ServicerContext) -> None:
        await behaviour(message_of(call, request), context)

    if inspect.isasyncgenfunction(behaviour):
        return streaming, None
    if not inspect.iscoroutinefunction(behaviour):
        raise TypeError(f"{method.name} is not implemented as a coroutine or an asynchronous generator")
    # A coroutine that answers a stream writes its messages to the context itself, as gRPC's health service does.
    return (writing, handler.response_serializer) if method.response_streaming else (unary, None)


class Registrar:
    """Adds servicers to the interceptor, standing in for the server where generated code adds them to one.

    The methods go to the interceptor alone. A server that has handlers of its own is slower: with methods registered,
    gRPC waits for the next call of each method apart.
    """

    def __init__(self, interceptor: StepInterceptor) -> None:
        self._interceptor = interceptor

    def add(self, add_to_server: Callable[[Any, Any], Any], servicer: object) -> None:
        """Adds a servicer by the generated `add_XServicer_to_server`."""
        add_to_server(servicer, self)

    def add_registered_method_handlers(self, service_name: str, method_handlers: Mapping[str, _RpcHandler]) -> None:
        """Adds the methods of a service. Called by generated code."""
        self._interceptor.register(service_name, method_handlers)

    def add_generic_rpc_handlers(self, generic_rpc_handlers: Iterable[grpc.GenericRpcHandler]) -> None:
        """Does nothing: the same methods come by `add_registered_method_handlers`. Called by generated code."""
