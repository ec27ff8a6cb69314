"""Reflection, in both of its versions, and channelz."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import grpc
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import FileDescriptor
from grpc_channelz.v1 import channelz, channelz_pb2, channelz_pb2_grpc
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc
from grpc_reflection.v1alpha._async import ReflectionServicer

from streamgauge_server.rpc.interceptor import Registrar, StepInterceptor

_REFLECTION_V1 = "grpc.reflection.v1.ServerReflection"
HEALTH = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
CHANNELZ = channelz_pb2.DESCRIPTOR.services_by_name["Channelz"].full_name


class _Descriptors:
    """The default pool, which also finds the file of a method: protobuf's own looks for everything but methods."""

    def __init__(self) -> None:
        self._pool = descriptor_pool.Default()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pool, name)

    def FindFileContainingSymbol(self, symbol: str) -> FileDescriptor:  # noqa: N802
        """Returns the file that defines a symbol. KeyError when none does."""
        service, _, method = symbol.rpartition(".")
        try:
            found = self._pool.FindServiceByName(service)
        except KeyError:
            return self._pool.FindFileContainingSymbol(symbol)
        if method not in found.methods_by_name:
            raise KeyError(symbol)
        return found.file


class _AsReflectionV1(Registrar):
    """Registers the methods of v1alpha under the name of v1: the two differ in nothing else."""

    def add_registered_method_handlers(
        self, service_name: str, method_handlers: Mapping[str, grpc.RpcMethodHandler[Any, Any]]
    ) -> None:
        super().add_registered_method_handlers(_REFLECTION_V1, method_handlers)


def add_reflection(interceptor: StepInterceptor, services: Sequence[str]) -> None:
    """Adds reflection over `services`, health and channelz; new clients ask v1 first, older ones v1alpha."""
    servicer = ReflectionServicer([*services, HEALTH, CHANNELZ, reflection.SERVICE_NAME], _Descriptors())
    for registrar in (Registrar(interceptor), _AsReflectionV1(interceptor)):
        registrar.add(reflection_pb2_grpc.add_ServerReflectionServicer_to_server, servicer)


def add_channelz(interceptor: StepInterceptor) -> None:
    """Adds channelz: connections, calls and sockets of this process."""
    Registrar(interceptor).add(channelz_pb2_grpc.add_ChannelzServicer_to_server, channelz.aio.ChannelzServicer())
