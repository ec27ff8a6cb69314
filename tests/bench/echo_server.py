"""The ceiling: a server on the same runtime whose one method does nothing."""

from __future__ import annotations

import asyncio

import grpc
import grpc.aio
from google.protobuf.empty_pb2 import Empty
from streamgauge_server.listener import grpc_options
from streamgauge_server.settings import Settings

SERVICE, METHOD = "streamgauge.bench.Echo", "Echo"
PATH = f"/{SERVICE}/{METHOD}"


async def echo(request: Empty, context: grpc.aio.ServicerContext[Empty, Empty]) -> Empty:
    """Returns nothing, at once."""
    return Empty()


async def main() -> None:
    """Serves on a free port of loopback, prints it, and stays until the process is ended."""
    handler = grpc.unary_unary_rpc_method_handler(echo, Empty.FromString, Empty.SerializeToString)
    server = grpc.aio.server(options=grpc_options(Settings(), shared=False))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {METHOD: handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"127.0.0.1:{port}", flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(main())
