"""The commands and their grpcurl lines against a server with TLS, client certificates and access tokens."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from streamgauge import testing

from tests.cli.conftest import CommandLine
from tests.rpc.certificates import Authority


@dataclass(frozen=True)
class Secured:
    """A server that wants a client certificate and a token."""

    cli: CommandLine
    tls: tuple[str, ...]
    """The options of a connection, without the token."""
    secret: str
    token_file: Path


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    directory = tmp_path_factory.mktemp("my files")  # with a blank, as people have them
    authority = Authority("test authority")
    ca = directory / "ca.pem"
    ca.write_bytes(authority.cert)
    cert, key = authority.issue("server").write(directory, "server")
    client_cert, client_key = authority.issue("client").write(directory, "client")
    settings = {"cert": cert, "key": key, "client_ca": ca}
    with testing.server(tls=settings) as server:
        client = server.client(tls=str(ca), client_cert=(str(client_cert), str(client_key)))
        secret = client.tokens.create(["read:source_metrics", "write:source_metrics"]).secret
        token_file = directory / "token"
        token_file.write_text(secret + "\n")
        options = ("--ca-file", str(ca), "--client-cert-file", str(client_cert), "--client-key-file", str(client_key))
        yield Secured(CommandLine(server.target), options, secret, token_file)


def test_certificate_and_token_open_the_server(secured: Secured, monkeypatch: pytest.MonkeyPatch) -> None:
    info = json.loads(secured.cli.ok("server", "info", *secured.tls, "--token", secured.secret, "-o", "json"))
    assert info["scopes"] == ["read:source_metrics", "write:source_metrics"]
    assert secured.cli("server", "info", *secured.tls, "--token-file", str(secured.token_file)).exit_code == 0
    monkeypatch.setenv("STREAMGAUGE_TOKEN", secured.secret)
    assert secured.cli("server", "info", *secured.tls).exit_code == 0


@pytest.mark.parametrize(
    ("token", "reason"), [((), "TOKEN_MISSING"), (("--token", "sg_nobody_knows_this"), "TOKEN_INVALID")]
)
def test_without_a_good_token_the_server_refuses(secured: Secured, token: tuple[str, ...], reason: str) -> None:
    result = secured.cli("server", "info", *secured.tls, *token)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"Error: {reason}: ")


def test_a_missing_scope_is_named(secured: Secured) -> None:
    result = secured.cli("latest", "jobs/1", *secured.tls, "--token", secured.secret)
    assert result.exit_code == 1
    assert "SCOPE_MISSING" in result.stderr
    assert "read:jobs" in result.stderr


def test_a_server_that_cannot_be_trusted_is_not_asked(secured: Secured) -> None:
    result = secured.cli("server", "info", "--tls", "--timeout", "1", "--token", secured.secret)
    assert result.exit_code == 3


def test_the_grpcurl_line_carries_certificates_but_never_the_token(
    secured: Secured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STREAMGAUGE_TOKEN", secured.secret)
    line = secured.cli.ok("server", "info", *secured.tls, "--timeout", "20", "--show-grpcurl")
    assert secured.secret not in line
    environment = {"PATH": f"{sys.prefix}/bin:/usr/bin:/bin", "STREAMGAUGE_TOKEN": secured.secret}
    done = subprocess.run(
        ["/bin/sh", "-c", line], capture_output=True, text=True, timeout=30, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["scopes"] == ["read:source_metrics", "write:source_metrics"]


def test_a_token_from_elsewhere_is_asked_for_in_the_environment(secured: Secured) -> None:
    result = secured.cli("server", "info", *secured.tls, "--token-file", str(secured.token_file), "--show-grpcurl")
    assert '-H "authorization: Bearer $STREAMGAUGE_TOKEN"' in result.stdout
    assert "STREAMGAUGE_TOKEN" in result.stderr
    assert secured.secret not in result.output
