"""Arguments of a client: what goes together, what the environment says, and where a token may go."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import grpc
import pytest
from streamgauge import AsyncClient, Client
from streamgauge._connection import Connection, from_env, is_loopback
from streamgauge._version import __version__
from streamgauge.v1 import source_service_pb2

from tests.unit.sdk.scripts import Call, scripted_server

SOURCE = source_service_pb2.GetSourceResponse(source=source_service_pb2.Source(name="sources/orders"))


def answer(request: Any, context: grpc.ServicerContext) -> source_service_pb2.GetSourceResponse:
    return SOURCE


@pytest.mark.parametrize(
    "target",
    [
        "localhost:1",
        "LOCALHOST",
        "127.0.0.1:50051",
        "127.8.9.1:1",
        "[::1]:1",
        "::1",
        "dns:///localhost:1",
        "dns:localhost:1",
        "ipv4:127.0.0.1:1,127.0.0.2:2",
        "ipv6:[::1]:1",
        "unix:/run/x.sock",
        "unix:///run/x.sock",
        "unix-abstract:x",
    ],
)
def test_loopback_targets_are_known(target: str) -> None:
    assert is_loopback(target)
    Connection(target, token="secret")


@pytest.mark.parametrize(
    "target",
    [
        "example.com:1",
        "localhost.example.com:1",
        "127.0.0.1.example.com:1",
        "10.0.0.1:1",
        "0.0.0.0:1",
        "[::]:1",
        "[2001:db8::1]:1",
        "ipv4:127.0.0.1:1,10.0.0.1:1",
        "dns://8.8.8.8/localhost:1",
        "xds:///localhost:1",
        "passthrough:///localhost:1",
    ],
)
def test_a_token_is_not_sent_in_plaintext_to_any_other_target(target: str) -> None:
    assert not is_loopback(target)
    with pytest.raises(ValueError, match="in plaintext"):
        Client(target, token="secret")
    with pytest.raises(ValueError, match="in plaintext"):
        AsyncClient(target, token=lambda: "secret")
    Client(target, token="secret", tls=True)
    Client(target, token="secret", allow_insecure_token=True)
    Client(target)


def test_a_token_travels_as_a_bearer_token_with_every_call_and_is_asked_for_anew() -> None:
    given: list[str] = []

    def token() -> str:
        given.append(f"secret-{len(given)}")
        return given[-1]

    with scripted_server(GetSource=answer) as server, Client(server.target, token=token) as client:
        client.sources.get("a")
        client.sources.get("a")
    first, second = [call.metadata["authorization"] for call in server.calls]
    # An attempt that did not reach the server has asked as well.
    assert first != second == f"Bearer {given[-1]}"
    assert first in [f"Bearer {secret}" for secret in given]


async def test_the_asyncio_client_sends_the_token_too() -> None:
    with scripted_server(GetSource=answer) as server:
        async with AsyncClient(server.target, token="secret") as client:
            await client.sources.get("a")
    assert server.calls[0].metadata["authorization"] == "Bearer secret"


def test_a_client_names_itself() -> None:
    with scripted_server(GetSource=answer) as server, Client(server.target) as client:
        client.sources.get("a")
    agent = server.calls[0].metadata["user-agent"]
    assert isinstance(agent, str)
    assert agent.startswith(f"streamgauge-python/{__version__} ")


def test_a_token_does_not_show_in_the_clients_texts() -> None:
    client = Client("127.0.0.1:1", token="secret")
    assert "secret" not in repr(client)
    assert "secret" not in repr(client._channel.connection)


def test_a_loopback_target_is_reached_past_a_proxy_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    with scripted_server(GetSource=answer) as server:
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
        with Client(server.target, timeout=10) as client:
            client.sources.get("a")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"target": ""}, "target must not be empty"),
        ({"timeout": 0}, "timeout must be above 0"),
        ({"timeout": -1.0}, "timeout must be above 0"),
        ({"timeout": float("nan")}, "timeout must be above 0"),
        ({"client_cert": ("a", "b")}, "client_cert needs tls"),
        ({"client_cert": ("a", "b"), "tls": grpc.ssl_channel_credentials()}, "client_cert needs tls"),
    ],
)
def test_arguments_that_do_not_go_together_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Client(**arguments)


def test_the_environment_gives_every_argument(tmp_path: Path) -> None:
    assert from_env({}) == {}
    assert from_env(
        {
            "STREAMGAUGE_TARGET": "metrics.example:443",
            "STREAMGAUGE_TOKEN": "secret",
            "STREAMGAUGE_CA_FILE": "/ca.pem",
            "STREAMGAUGE_CLIENT_CERT_FILE": "/cert.pem",
            "STREAMGAUGE_CLIENT_KEY_FILE": "/key.pem",
            "STREAMGAUGE_SERVER_NAME": "metrics",
            "STREAMGAUGE_TIMEOUT": "2.5",
            "STREAMGAUGE_ALLOW_INSECURE_TOKEN": "yes",
        }
    ) == {
        "target": "metrics.example:443",
        "token": "secret",
        "tls": "/ca.pem",
        "client_cert": ("/cert.pem", "/key.pem"),
        "server_name": "metrics",
        "timeout": 2.5,
        "allow_insecure_token": True,
    }
    assert from_env({"STREAMGAUGE_TLS": "true"}) == {"tls": True}
    assert from_env({"STREAMGAUGE_TLS": "0"}) == {"tls": False}
    assert from_env({"STREAMGAUGE_TLS": "1", "STREAMGAUGE_CA_FILE": "/ca.pem"}) == {"tls": "/ca.pem"}


def test_a_token_file_is_read_at_every_call(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("one\n")
    connection = Connection(**from_env({"STREAMGAUGE_TOKEN_FILE": str(path)}))
    assert connection.metadata() == (("authorization", "Bearer one"),)
    path.write_text("two\n")
    assert connection.metadata() == (("authorization", "Bearer two"),)


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"STREAMGAUGE_TOKEN": "a", "STREAMGAUGE_TOKEN_FILE": "b"}, "STREAMGAUGE_TOKEN and STREAMGAUGE_TOKEN_FILE"),
        ({"STREAMGAUGE_CLIENT_CERT_FILE": "a"}, "go together"),
        ({"STREAMGAUGE_CLIENT_KEY_FILE": "a"}, "go together"),
        ({"STREAMGAUGE_TLS": "maybe"}, "STREAMGAUGE_TLS must be true or false; got 'maybe'"),
        ({"STREAMGAUGE_TLS": "off", "STREAMGAUGE_CA_FILE": "a"}, "STREAMGAUGE_TLS is off"),
        ({"STREAMGAUGE_TIMEOUT": "soon"}, "STREAMGAUGE_TIMEOUT must be a number of seconds; got 'soon'"),
        ({"STREAMGAUGE_ALLOW_INSECURE_TOKEN": "2"}, "STREAMGAUGE_ALLOW_INSECURE_TOKEN must be true or false"),
    ],
)
def test_a_wrong_variable_is_named(environment: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        from_env(environment)


def test_from_env_takes_the_process_environment_and_overrides_stand_over_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMGAUGE_TARGET", "127.0.0.1:7")
    monkeypatch.setenv("STREAMGAUGE_TIMEOUT", "3")
    assert Client.from_env().target == "127.0.0.1:7"
    assert Client.from_env(target="127.0.0.1:8")._channel.connection.timeout == 3
    assert AsyncClient.from_env(target="127.0.0.1:8").target == "127.0.0.1:8"


def test_a_token_of_the_environment_is_not_sent_in_plaintext_either(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMGAUGE_TARGET", "metrics.example:50051")
    monkeypatch.setenv("STREAMGAUGE_TOKEN", "secret")
    with pytest.raises(ValueError, match="in plaintext"):
        Client.from_env()


def test_a_closed_client_says_so() -> None:
    with scripted_server(GetSource=answer) as server:
        client = Client(server.target)
        client.sources.get("a")
        client.close()
        client.close()
        with pytest.raises(RuntimeError, match="the client is closed"):
            client.sources.get("a")


async def test_a_closed_asyncio_client_says_so() -> None:
    with scripted_server(GetSource=answer) as server:
        client = AsyncClient(server.target)
        await client.sources.get("a")
        await client.close()
        await client.close()
        with pytest.raises(RuntimeError, match="the client is closed"):
            await client.sources.get("a")


async def test_an_asyncio_client_belongs_to_one_event_loop() -> None:
    with scripted_server(GetSource=answer) as server:
        async with AsyncClient(server.target) as client:
            await client.sources.get("a")
            raised: list[BaseException] = []

            def elsewhere() -> None:
                try:
                    asyncio.run(client.sources.get("a"))
                except RuntimeError as error:
                    raised.append(error)

            thread = threading.Thread(target=elsewhere)
            thread.start()
            await asyncio.to_thread(thread.join)
            assert "another" in str(raised[0]) or "one for each loop" in str(raised[0])
            await client.sources.get("a")


def test_one_client_serves_many_threads() -> None:
    with scripted_server(GetSource=answer) as server, Client(server.target) as client:
        threads = [threading.Thread(target=client.sources.get, args=("a",)) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    calls: list[Call] = server.calls
    assert len(calls) == 16
