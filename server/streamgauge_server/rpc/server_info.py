"""`ServerService` at the gRPC edge: convert, call, convert."""

from __future__ import annotations

from typing import Any

import grpc
import grpc.aio
from streamgauge.v1 import server_service_pb2 as pb
from streamgauge.v1 import server_service_pb2_grpc as pb_grpc

from streamgauge_server.rpc import convert
from streamgauge_server.rpc.context import current_caller
from streamgauge_server.rpc.convert_jobs import cluster_message
from streamgauge_server.services.server_info import ServerInfoReader


class ServerInfoServicer(pb_grpc.ServerServiceServicer):
    """Serves `streamgauge.v1.ServerService`."""

    def __init__(self, reader: ServerInfoReader) -> None:
        self._reader = reader

    async def GetServerInfo(  # noqa: N802
        self, request: pb.GetServerInfoRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.GetServerInfoResponse:
        """Returns version, limits in force, store and features."""
        info = await self._reader.read(current_caller())
        return pb.GetServerInfoResponse(
            version=info.version,
            limits=[pb.Limit(name=name, value=value, unit=unit) for name, value, unit in info.limits.items()],
            store=pb.StoreInfo(
                engine=info.store.engine, version=info.store.version, schema_revision=info.store.schema_revision
            ),
            features=info.features,
            tenant=info.caller.tenant,
            scopes=sorted(info.caller.scopes),
            server_time=convert.timestamp(info.server_time),
            start_time=convert.timestamp(info.start_time),
            clusters=map(cluster_message, info.clusters),
        )
