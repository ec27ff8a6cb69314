"""TLS and mTLS, with certificates made for the test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from streamgauge import AsyncClient, Client, UnavailableError, testing

from tests.rpc.certificates import Authority


@pytest.fixture
def authority() -> Authority:
    return Authority("test authority")


@pytest.fixture
def ca_file(authority: Authority, tmp_path: Path) -> Path:
    path = tmp_path / "ca.pem"
    path.write_bytes(authority.cert)
    return path


@pytest.fixture
def client_pair(authority: Authority, tmp_path: Path) -> tuple[Path, Path]:
    return authority.issue("client").write(tmp_path, "client")


def tls(authority: Authority, directory: Path, **more: Any) -> dict[str, Any]:
    cert, key = authority.issue("server").write(directory, "server")
    return {"cert": cert, "key": key, **more}


@pytest.fixture
def server(authority: Authority, tmp_path: Path) -> Iterator[testing.RunningServer]:
    with testing.server(tls=tls(authority, tmp_path)) as running:
        yield running


@pytest.fixture
def mutual(authority: Authority, ca_file: Path, tmp_path: Path) -> Iterator[testing.RunningServer]:
    with testing.server(tls=tls(authority, tmp_path, client_ca=ca_file)) as running:
        yield running


async def test_a_server_with_a_certificate_of_a_known_authority_is_trusted(
    server: testing.RunningServer, authority: Authority, ca_file: Path
) -> None:
    assert "tls" in server.client(tls=ca_file).server.info().features
    async with AsyncClient(server.target, tls=str(ca_file)) as aio:
        assert "tls" in (await aio.server.info()).features
    ready = grpc.ssl_channel_credentials(authority.cert)
    assert "tls" in server.client(tls=ready).server.info().features


def test_a_token_travels_over_tls(server: testing.RunningServer, ca_file: Path) -> None:
    new = server.client(tls=ca_file).tokens.create(["admin"])
    assert server.client(tls=ca_file, token=new.secret).server.info().scopes == ("admin",)


def test_a_server_of_an_unknown_authority_or_another_name_is_not_trusted(
    server: testing.RunningServer, ca_file: Path, tmp_path: Path
) -> None:
    stranger = tmp_path / "stranger.pem"
    stranger.write_bytes(Authority("stranger").cert)
    wrong: tuple[dict[str, Any], ...] = (
        {"tls": stranger},
        {"tls": True},
        {"tls": ca_file, "server_name": "metrics.internal"},
    )
    for arguments in wrong:
        with pytest.raises(UnavailableError):
            server.client(**arguments, timeout=1).server.info()
    assert "tls" in server.client(tls=ca_file, server_name="localhost").server.info().features


def test_a_client_shows_its_certificate_where_the_server_wants_one(
    mutual: testing.RunningServer, ca_file: Path, client_pair: tuple[Path, Path]
) -> None:
    assert "mtls" in mutual.client(tls=ca_file, client_cert=client_pair).server.info().features
    with pytest.raises(UnavailableError):
        mutual.client(tls=ca_file, timeout=1).server.info()


def test_the_environment_describes_a_tls_connection(
    mutual: testing.RunningServer, ca_file: Path, client_pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STREAMGAUGE_TARGET", mutual.target)
    monkeypatch.setenv("STREAMGAUGE_CA_FILE", str(ca_file))
    monkeypatch.setenv("STREAMGAUGE_CLIENT_CERT_FILE", str(client_pair[0]))
    monkeypatch.setenv("STREAMGAUGE_CLIENT_KEY_FILE", str(client_pair[1]))
    with Client.from_env() as client:
        assert "mtls" in client.server.info().features


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with Client("127.0.0.1:1", tls=tmp_path / "none.pem") as client, pytest.raises(FileNotFoundError, match="none"):
        client.server.info()
