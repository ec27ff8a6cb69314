"""Reflection and channelz, as the tools of the trade use them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_channelz.v1 import channelz_pb2, channelz_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2
from streamgauge_server.service_graph import SERVICES

V1, V1ALPHA = "grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"


async def ask(channel: Any, service: str, **question: Any) -> reflection_pb2.ServerReflectionResponse:
    stub = channel.stream_stream(
        f"/{service}/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )
    answers: Sequence[reflection_pb2.ServerReflectionResponse] = [
        answer async for answer in stub(iter([reflection_pb2.ServerReflectionRequest(**question)]))
    ]
    (answer,) = answers
    return answer


@pytest.mark.parametrize("version", [V1, V1ALPHA])
async def test_all_services_are_listed_in_both_versions(channel: grpc.aio.Channel, version: str) -> None:
    answer = await ask(channel, version, list_services="")
    assert {service.name for service in answer.list_services_response.service} == {
        *SERVICES,
        "grpc.health.v1.Health",
        "grpc.channelz.v1.Channelz",
        V1ALPHA,
    }


@pytest.mark.parametrize(
    "symbol",
    [
        "streamgauge.v1.SourceService",
        "streamgauge.v1.SourceService.GetSource",
        "streamgauge.v1.GetSourceRequest",
        "streamgauge.v1.Source.display_name",
        "google.rpc.ErrorInfo",
        "grpc.health.v1.Health.Check",
        V1ALPHA,
    ],
)
async def test_services_methods_messages_and_fields_are_described(channel: grpc.aio.Channel, symbol: str) -> None:
    answer = await ask(channel, V1ALPHA, file_containing_symbol=symbol)
    files = [FileDescriptorProto.FromString(f) for f in answer.file_descriptor_response.file_descriptor_proto]
    assert any(symbol.startswith(f"{file.package}.") for file in files)


@pytest.mark.parametrize("symbol", ["streamgauge.v1.SourceService.Nothing", "streamgauge.v1.Nothing", ""])
async def test_what_is_not_there_is_not_found(channel: grpc.aio.Channel, symbol: str) -> None:
    answer = await ask(channel, V1ALPHA, file_containing_symbol=symbol)
    assert answer.error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]


async def test_channelz_tells_of_this_server(channel: Any) -> None:
    stub: Any = channelz_pb2_grpc.ChannelzStub(channel)
    answer = await stub.GetServers(channelz_pb2.GetServersRequest())
    assert any(server.data.calls_started for server in answer.server)
