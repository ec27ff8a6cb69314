"""Where the gateway listens, TLS, a server elsewhere, several workers, and how all of it starts and stops."""

from __future__ import annotations

import json
import socket
import ssl
from pathlib import Path
from typing import Any

import httpx
import pytest
from streamgauge_server.listener import bind_http
from streamgauge_server.settings import Settings
from streamgauge_server.startup import StartError

from tests.gateway.serving import running
from tests.rpc.certificates import Authority
from tests.rpc.processes import ServerProcess, run


def trusting(authority: Authority) -> ssl.SSLContext:
    return ssl.create_default_context(cadata=authority.cert.decode())


def url_of(process: ServerProcess, count: int = 1) -> str:
    return str(process.wait_for("serving HTTP", count)["url"])


def start(tmp_path: Path, *arguments: str, program: str = "serve") -> ServerProcess:
    where = ("--listen", "127.0.0.1:0", "--database", f"sqlite:///{tmp_path}/store.db") if program == "serve" else ()
    return ServerProcess(*where, "--http-port", "0", *arguments, cwd=tmp_path, program=program)


def test_the_gateway_reaches_a_server_that_demands_certificates_and_demands_them_itself(tmp_path: Path) -> None:
    authority, clients = Authority("servers"), Authority("clients")
    cert, key = authority.issue("server").write(tmp_path, "server")
    client_cert, client_key = clients.issue("client").write(tmp_path, "client")
    (tmp_path / "ca.pem").write_bytes(clients.cert)
    with running(tls={"cert": cert, "key": key, "client_ca": tmp_path / "ca.pem"}) as gateway:
        url = f"https://127.0.0.1:{gateway.port}/v1/server"
        context = trusting(authority)
        with pytest.raises(httpx.HTTPError):
            httpx.get(url, verify=context)
        context.load_cert_chain(client_cert, client_key)
        answer = httpx.get(url, verify=context)
        assert (answer.status_code, "mtls" in answer.json()["features"]) == (200, True)
        with pytest.raises(httpx.HTTPError):
            gateway.http.get("/v1/server")


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")  # it is what the test is about
def test_tls_before_1_2_is_not_spoken(tmp_path: Path) -> None:
    authority = Authority("servers")
    cert, key = authority.issue("server").write(tmp_path, "server")
    context = trusting(authority)
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    with (
        running(tls={"cert": cert, "key": key}) as gateway,
        socket.create_connection(("127.0.0.1", gateway.port)) as plain,
        pytest.raises(ssl.SSLError),
    ):
        context.wrap_socket(plain, server_hostname="localhost")


def test_a_port_that_is_taken_stops_the_start_with_its_name() -> None:
    with running() as gateway:
        with pytest.raises(StartError, match=f"cannot listen on 127.0.0.1:{gateway.port} for HTTP"):
            bind_http("127.0.0.1", gateway.port, shared=False)
        with pytest.raises(StartError, match="for HTTP"), running(http={"port": gateway.port}):
            pass


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
def test_http_beyond_this_machine_needs_tls_and_authentication(host: str) -> None:
    with pytest.raises(StartError, match=r"HTTP\) with no authentication .* and no TLS"), running(http={"host": host}):
        pass


def test_the_gateway_listens_beyond_this_machine_when_told() -> None:
    with running(http={"host": "0.0.0.0"}, insecure=True) as gateway:
        assert gateway.http.get("/readyz").status_code == 200
        # It names tenants: not for everybody, unless somebody says so.
        assert gateway.http.get("/metrics").status_code == 404


def test_apis_can_be_switched_off_and_moved() -> None:
    with running(http={"jobs": {"enabled": False}, "sources": {"prefix": "/streamkap"}}) as gateway:
        assert gateway.http.get("/jobs/overview/").status_code == 404
        assert gateway.http.get("/sources/x/metrics").json()["message"] == "there is nothing at this path"
        assert gateway.http.get("/streamkap/sources/x/metrics").json() == {"detail": "there is no source x"}


def test_prefixes_that_make_two_routes_one_stop_the_start() -> None:
    with pytest.raises(StartError, match="GET /v1/sources/"), running(http={"sources": {"prefix": "/v1"}}):
        pass


@pytest.mark.parametrize("prefix", ["streamkap", "/a//b", "/a b", "/ü", "/a?b", "/{x}"])
def test_a_prefix_is_a_plain_path(prefix: str) -> None:
    with pytest.raises(ValueError, match="must be a path such as /streamkap"):
        Settings(http={"sources": {"prefix": prefix}})  # type: ignore[arg-type]


def test_a_token_travels_on_through_a_gateway_before_a_server_elsewhere(tmp_path: Path) -> None:
    authority, own = Authority("servers"), Authority("gateways")
    cert, key = authority.issue("server").write(tmp_path, "server")
    own_cert, own_key = own.issue("gateway").write(tmp_path, "gateway")
    (tmp_path / "ca.pem").write_bytes(authority.cert)
    store = ("--database", f"sqlite:///{tmp_path}/store.db")
    secret = run("token", "create", "--scope", "admin", *store, cwd=tmp_path).stdout.strip()
    with ServerProcess(
        "--listen", "127.0.0.1:0", "--tls-cert", str(cert), "--tls-key", str(key), *store, cwd=tmp_path
    ) as server:
        upstream = ("--upstream", server.address(), "--upstream-ca", str(tmp_path / "ca.pem"))
        https = ("--tls-cert", str(own_cert), "--tls-key", str(own_key))
        with start(tmp_path, *upstream, *https, program="gateway") as gateway:
            url = url_of(gateway)
            with httpx.Client(base_url=url, verify=trusting(own)) as http:
                assert http.get("/readyz").json() == {"status": "ready"}
                refused = http.get("/v1/sources")
                assert (refused.status_code, refused.json()["code"]) == (401, 16)
                bearer = {"authorization": f"Bearer {secret}"}
                assert (
                    http.post("/v1/sources?sourceId=a", json={}, headers=bearer).json()["source"]["name"] == "sources/a"
                )
                assert http.get("/sources/a/metrics", headers=bearer).status_code == 200
                assert "http_server_requests_total" in http.get("/metrics").text
                server.terminate()
                assert server.wait() == 0
                gone = http.get("/readyz")
                assert (gone.status_code, gone.json()["status"]) == (503, "not ready")
                assert http.get("/healthz").status_code == 200
                unavailable = http.get("/v1/sources", headers=bearer)
                assert (unavailable.status_code, unavailable.json()["code"]) == (503, 14)
            gateway.terminate()
            assert gateway.wait() == 0
    assert [line for line in gateway.lines if line.get("raw")] == []


def test_streams_through_a_gateway_elsewhere_end_with_it_and_say_so(tmp_path: Path) -> None:
    with running() as server, start(tmp_path, "--upstream", server.app.address, program="gateway") as gateway:
        with httpx.stream("GET", f"{url_of(gateway)}/v1/jobs:watch?heartbeat=1s", timeout=60) as answer:
            lines = answer.iter_lines()
            assert "cursor" in json.loads(next(lines))
            gateway.terminate()
            last = [json.loads(line) for line in lines][-1]
        assert last["error"]["code"] == 14
        assert "stopping" in last["error"]["message"]
        assert gateway.wait() == 0
    assert [line for line in gateway.lines if line.get("level") == "error"] == []


def test_a_server_that_stops_ends_streams_and_answers_what_is_under_way(tmp_path: Path) -> None:
    with start(tmp_path, "--workers", "2", "--log-access", "all") as server:
        url = url_of(server, 2)
        with httpx.stream("GET", f"{url}/v1/jobs:watch?heartbeat=1s", timeout=60) as answer:
            lines = answer.iter_lines()
            next(lines)
            # A request whose body is not whole yet is under way.
            half = _half_a_request(url)
            server.terminate()
            server.wait_for("stopping", 2)
            half.sendall(b"{}")
            assert b"HTTP/1.1 200 " in b"".join(iter(lambda: half.recv(65_536), b""))
            half.close()
            last = [json.loads(line) for line in lines][-1]
        assert last["error"]["details"][0]["reason"] == "SHUTTING_DOWN"
        assert server.wait() == 0
    assert [line for line in server.lines if line.get("level") == "error"] == []


def _half_a_request(url: str) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", httpx.URL(url).port or 0), timeout=60)
    connection.sendall(
        b"POST /v1/sources?sourceId=a HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
        b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n"
    )
    assert connection.recv(65_536).startswith(b"HTTP/1.1 100 ")
    return connection


def test_workers_share_the_port(tmp_path: Path) -> None:
    with start(tmp_path, "--workers", "2", "--log-access", "all") as server:
        url = url_of(server, 2)
        assert url == url_of(server, 1)
        for _ in range(40):  # the kernel spreads connections; one of the two gets all of them once in 2^39
            assert httpx.get(f"{url}/v1/server").status_code == 200
        server.terminate()
        assert server.wait() == 0
    served: set[Any] = {line["worker"] for line in server.lines if line["event"] == "request"}
    assert served == {0, 1}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "name the server: --upstream"),
        (("--upstream", "127.0.0.1:1", "--http-host", "0.0.0.0"), "no TLS"),
        (("--upstream", "127.0.0.1:1", "--upstream-ca", "nowhere.pem"), "nowhere.pem"),
        (("--upstream", "127.0.0.1:1", "--upstream-cert", "a.pem"), "cert and key go together"),
    ],
)
def test_a_gateway_that_cannot_be_sound_does_not_start(arguments: tuple[str, ...], told: str, tmp_path: Path) -> None:
    done = run("gateway", "--http-port", "0", *arguments, cwd=tmp_path)
    assert done.returncode != 0
    assert told in done.stderr
