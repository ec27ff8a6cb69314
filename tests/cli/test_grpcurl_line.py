"""The grpcurl line is quoted for a shell and never holds a secret."""

from __future__ import annotations

import json
import shlex

from streamgauge.cli.grpcurl import Server, command
from streamgauge.v1 import server_service_pb2, source_service_pb2

METHOD = "/streamgauge.v1.SourceService/GetSource"


def test_a_plain_server() -> None:
    line = command(Server("localhost:50051"), METHOD, source_service_pb2.GetSourceRequest(name="sources/a"))
    assert line == (
        """grpcurl -plaintext -d '{"name": "sources/a"}' localhost:50051 streamgauge.v1.SourceService/GetSource"""
    )


def test_an_empty_request_needs_no_body() -> None:
    line = command(
        Server("h:1"), "/streamgauge.v1.ServerService/GetServerInfo", server_service_pb2.GetServerInfoRequest()
    )
    assert line == "grpcurl -plaintext h:1 streamgauge.v1.ServerService/GetServerInfo"


def test_quotes_blanks_and_other_alphabets_survive_the_shell() -> None:
    name = """it's "a" $HOME `x` \\ 数"""
    words = shlex.split(command(Server("h:1"), METHOD, source_service_pb2.GetSourceRequest(name=name)))
    assert json.loads(words[words.index("-d") + 1]) == {"name": name}


def test_tls_with_its_files_and_a_token_from_the_environment() -> None:
    server = Server("h:443", tls=True, ca_file="my ca.pem", cert_file="c.pem", key_file="k.pem", with_token=True)
    line = command(server, METHOD, source_service_pb2.GetSourceRequest())
    assert line == (
        "grpcurl -cacert 'my ca.pem' -cert c.pem -key k.pem "
        '-H "authorization: Bearer $STREAMGAUGE_TOKEN" h:443 streamgauge.v1.SourceService/GetSource'
    )
