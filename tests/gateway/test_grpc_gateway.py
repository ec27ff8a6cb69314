"""grpc-gateway works with the contract: its generated code is built into a program and called over HTTP.

The generators read the descriptor set that the project ships, so that no protoc is needed. What Go fetches and builds
it keeps in its own caches: the first run takes a minute or two, further ones a few seconds.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from google.protobuf.compiler.plugin_pb2 import CodeGeneratorRequest, CodeGeneratorResponse
from google.protobuf.descriptor_pb2 import FileDescriptorSet

from tests.gateway.serving import Gateway

pytestmark = pytest.mark.timeout(900)

SOURCES = Path(__file__).parent / "grpc_gateway"
DESCRIPTOR_SET = Path(__file__).resolve().parents[2] / "server/streamgauge_server/gateway/streamgauge.binpb"
MODULE = "streamgauge.dev/sdk/go"
PLUGINS = ("protoc-gen-go", "protoc-gen-go-grpc", "protoc-gen-grpc-gateway")


def go(directory: Path, *arguments: str, given: bytes = b"") -> bytes:
    """Runs a Go command and returns what it writes. Without Go the test is skipped, on CI it fails."""
    if shutil.which("go") is None:
        reason = "no Go found: it builds the program around grpc-gateway"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    done = subprocess.run(["go", *arguments], cwd=directory, input=given, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def generate(plugin: str, directory: Path) -> None:
    """Has a plugin of protoc write its code of the contract, as protoc itself would ask it to."""
    described = FileDescriptorSet.FromString(DESCRIPTOR_SET.read_bytes())
    request = CodeGeneratorRequest(
        parameter=f"module={MODULE}",
        proto_file=described.file,
        file_to_generate=[file.name for file in described.file if file.package == "streamgauge.v1"],
    )
    response = CodeGeneratorResponse.FromString(go(directory, "tool", plugin, given=request.SerializeToString()))
    assert not response.error
    for file in response.file:
        target = directory / file.name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(file.content, encoding="utf-8")


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program, generated and built."""
    directory = tmp_path_factory.mktemp("grpc_gateway") / "module"
    shutil.copytree(SOURCES, directory)
    for plugin in PLUGINS:
        generate(plugin, directory)
    go(directory, "build", "-o", "gateway", ".")
    return directory / "gateway"


@pytest.fixture(scope="module")
def client(program: Path, gateway: Gateway) -> Iterator[httpx.Client]:
    with subprocess.Popen([program, gateway.app.address], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            address = process.stdout.readline().strip()
            with httpx.Client(base_url=f"http://{address}", timeout=30) as client:
                yield client
        finally:
            process.terminate()


def test_calls_of_every_kind_of_binding_are_answered(client: httpx.Client) -> None:
    created = client.post("/v1/sources?sourceId=a", json={"displayName": "A"})
    assert created.status_code == 200, created.text
    assert created.json()["source"]["name"] == "sources/a"
    observation = {"subject": "sources/a", "time": "2026-01-01T11:00:00Z", "values": {"x": {"int64Value": "7"}}}
    written = client.post("/v1/metrics:write", json={"observations": [observation]})
    assert written.json()["acceptedCount"] == "1"
    latest = client.get("/v1/sources/a/metrics?time_type=TIME_TYPE_LATEST&metrics=x").json()["latest"]
    assert [value["value"] for value in latest] == [{"int64Value": "7"}]
    assert client.patch("/v1/sources/a", json={"displayName": "B"}).json()["source"]["displayName"] == "B"
    assert client.get("/v1/metricDescriptors/sources/x").json()["metricDescriptor"]["metric"] == "x"
    client.post("/v1/assets", json={"urn": "urn:li:table"})
    assert client.get("/v1/assets:get?asset=urn:li:table").json()["asset"]["urn"] == "urn:li:table"
    assert client.delete("/v1/assets:delete?asset=urn:li:table").status_code == 200


def test_refusals_have_the_status_and_the_details_of_the_gateway(client: httpx.Client, gateway: Gateway) -> None:
    for path in ("/v1/sources/none", "/v1/sources?pageSize=-1"):
        theirs, ours = client.get(path), gateway.http.get(path)
        assert theirs.status_code == ours.status_code
        told = [[detail["@type"] for detail in answer.json()["details"]] for answer in (theirs, ours)]
        assert told[0] == told[1]
        assert theirs.json()["message"] == ours.json()["message"]


def test_streams_go_both_ways(client: httpx.Client) -> None:
    column = {"metric": "x", "ints": {"values": ["1"]}}
    message = {"frames": [{"subject": "sources/s", "timeUnixMicros": ["1767268700000000"], "columns": [column]}]}
    sent = client.post("/v1/metrics:import", content=json.dumps(message) * 2)
    assert sent.json()["acceptedFrameCount"] == "2"
    with client.stream("GET", "/v1/jobs:watch?includeCurrent=true&heartbeat=1s") as answer:
        # Each message is the member `result` of its line; the gateway of the server has the message itself there.
        assert "cursor" in json.loads(next(answer.iter_lines()))["result"]
