"""Where a server listens: TLS, client certificates, unix sockets, taken ports, and what is too open."""

from __future__ import annotations

import socket
import tempfile
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from streamgauge.v1 import server_service_pb2, source_service_pb2
from streamgauge_server.app import App
from streamgauge_server.listener import check_exposure
from streamgauge_server.model.clock import FixedClock
from streamgauge_server.settings import Settings
from streamgauge_server.startup import StartError
from structlog.testing import capture_logs

from tests.rpc.certificates import Authority
from tests.rpc.serving import Start, Stubs, refused

ABOUT = server_service_pb2.GetServerInfoRequest()
MEMORY = "sqlite://:memory:"


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority("test authority")


@pytest.fixture
def tls(authority: Authority, tmp_path: Path) -> dict[str, Path]:
    """The settings of a server with a certificate."""
    cert, key = authority.issue("server").write(tmp_path, "server")
    return {"cert": cert, "key": key}


def secured(stubs: Stubs, **credentials: Any) -> grpc.aio.Channel:
    assert stubs.app is not None
    return grpc.aio.secure_channel(stubs.app.address, grpc.ssl_channel_credentials(**credentials))


async def test_tls_is_spoken_with_the_certificate_that_is_configured(
    start: Start, authority: Authority, tls: dict[str, Path]
) -> None:
    stubs = await start(tls=tls)
    async with secured(stubs, root_certificates=authority.cert) as channel:
        answer = await Stubs(channel).server.GetServerInfo(ABOUT)
    assert "tls" in answer.features
    for other in (
        secured(stubs, root_certificates=Authority("another").cert),
        grpc.aio.insecure_channel(stubs.app.address if stubs.app else ""),
    ):
        async with other as channel:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await Stubs(channel).server.GetServerInfo(ABOUT)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_with_client_ca_a_client_without_its_certificate_is_not_served(
    start: Start, authority: Authority, tls: dict[str, Path], tmp_path: Path
) -> None:
    clients = Authority("clients")
    ca = tmp_path / "clients.pem"
    ca.write_bytes(clients.cert)
    stubs = await start(tls={**tls, "client_ca": ca})
    good, bad = clients.issue("collector"), Authority("strangers").issue("collector")
    async with secured(
        stubs, root_certificates=authority.cert, private_key=good.key, certificate_chain=good.cert
    ) as channel:
        answer = await Stubs(channel).server.GetServerInfo(ABOUT)
    assert {"tls", "mtls"} <= set(answer.features)
    for other in (
        secured(stubs, root_certificates=authority.cert),
        secured(stubs, root_certificates=authority.cert, private_key=bad.key, certificate_chain=bad.cert),
    ):
        async with other as channel:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await Stubs(channel).server.GetServerInfo(ABOUT)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_certificates_that_cannot_be_read_keep_the_server_from_starting(
    start: Start, tls: dict[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(StartError, match=r"none\.pem"):
        await start(tls={**tls, "cert": tmp_path / "none.pem"})


async def test_certificates_that_are_none_keep_the_server_from_starting(start: Start, tls: dict[str, Path]) -> None:
    tls["cert"].write_text("nothing of a certificate")
    with pytest.raises(StartError, match=r"server\.pem"):
        await start(tls=tls)


async def test_a_key_of_another_certificate_keeps_the_server_from_starting(
    start: Start, authority: Authority, tls: dict[str, Path], tmp_path: Path
) -> None:
    _, other_key = authority.issue("other").write(tmp_path, "other")
    with pytest.raises(StartError, match=r"other\.key"):
        await start(tls={**tls, "key": other_key})


async def test_client_authorities_that_are_none_keep_the_server_from_starting(
    start: Start, tls: dict[str, Path]
) -> None:
    with pytest.raises(StartError, match=r"server\.key"):
        await start(tls={**tls, "client_ca": tls["key"]})


async def test_a_unix_socket_serves(start: Start) -> None:
    # The path of a socket is short, and those of pytest's directories are not.
    with tempfile.TemporaryDirectory(prefix="sg-") as directory:
        stubs = await start(listen=f"unix:{directory}/s")
        assert stubs.app is not None
        assert stubs.app.port == 0
        assert (await stubs.server.GetServerInfo(ABOUT)).tenant == "default"
        await stubs.app.stop(0)


async def test_a_taken_port_is_told_and_nothing_is_left_behind(start: Start, clock: FixedClock) -> None:
    stubs = await start()
    assert stubs.app is not None
    taken = stubs.app.address
    with pytest.raises(StartError, match=taken):
        await App(Settings(listen=taken, database=MEMORY), clock=clock).start()
    assert (await stubs.server.GetServerInfo(ABOUT)).tenant == "default"


async def test_a_taken_metrics_port_is_told(clock: FixedClock) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        settings = Settings(listen="127.0.0.1:0", database=MEMORY, metrics_port=port)
        with pytest.raises(StartError, match=f"metrics on 127.0.0.1:{port}"):
            await App(settings, clock=clock).start()


@pytest.mark.parametrize(
    ("settings", "authenticated", "missing"),
    [
        ({}, False, ["no authentication", "no TLS"]),
        ({}, True, ["no TLS"]),
        ({"tls": {"cert": "c", "key": "k"}}, False, ["no authentication"]),
        ({"tls": {"cert": "c", "key": "k"}}, True, []),
        ({"tls": {"cert": "c", "key": "k", "client_ca": "a"}}, False, []),
        ({"insecure": True}, False, []),
    ],
)
def test_beyond_this_machine_a_server_wants_tls_and_authentication(
    settings: dict[str, Any], authenticated: bool, missing: list[str]
) -> None:
    exposed = Settings(listen="0.0.0.0:50051", **settings)
    if not missing:
        with capture_logs() as lines:
            check_exposure(exposed, authenticated=authenticated)
        assert bool(lines) == exposed.insecure
        return
    with pytest.raises(StartError) as caught:
        check_exposure(exposed, authenticated=authenticated)
    told = str(caught.value)
    assert [reason for reason in ("no authentication", "no TLS") if reason in told] == missing
    assert "--insecure" in told


def test_an_open_server_on_this_machine_says_so() -> None:
    for authenticated in (False, True):
        with capture_logs() as lines:
            check_exposure(Settings(), authenticated=authenticated)
        assert ["no authentication" in line["event"] for line in lines] == ([] if authenticated else [True])


async def test_an_exposed_server_does_not_start(clock: FixedClock) -> None:
    with pytest.raises(StartError, match="refusing to listen"):
        await App(Settings(listen="0.0.0.0:0", database=MEMORY), clock=clock).start()


async def test_a_request_over_its_bound_is_refused_and_the_connection_lives_on(start: Start) -> None:
    stubs = await start(limits={"max_request_bytes": 10_000})
    request = source_service_pb2.CreateSourceRequest(source_id="a")
    request.source.display_name = "x" * 15_000
    with refused(grpc.StatusCode.RESOURCE_EXHAUSTED, "MESSAGE_TOO_LARGE") as refusal:
        await stubs.sources.CreateSource(request)
    assert (refusal.metadata["limit"], refusal.metadata["actual"]) == ("10000", str(request.ByteSize()))
    request.source.display_name = "x" * 25_000  # so large that gRPC itself refuses it
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stubs.sources.CreateSource(request)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    with refused(grpc.StatusCode.NOT_FOUND, "SOURCE_NOT_FOUND"):
        await stubs.sources.GetSource(source_service_pb2.GetSourceRequest(name="sources/a"))
