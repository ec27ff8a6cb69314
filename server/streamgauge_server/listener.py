"""Where the server listens, and what keeps that from being more open than somebody meant."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import structlog

from streamgauge_server.settings import Settings, TlsSettings, is_loopback, is_unix
from streamgauge_server.startup import StartError

_HTTP_BACKLOG = 2_048

_log = structlog.stdlib.get_logger("streamgauge.server")


def check_exposure(settings: Settings, *, authenticated: bool) -> None:
    """Keeps a server that anybody may use, or listen in to, on this machine, unless told otherwise.

    `authenticated` says whether callers must show a token.

    Raises:
        StartError: the address is reached from elsewhere, without TLS or without authentication, and not `insecure`.
    """
    # A client certificate that we ask for authenticates its bearer.
    open_to_all = not authenticated and settings.tls.client_ca is None
    beyond = [] if settings.loopback_only else [settings.listen]
    if settings.http.port is not None and not is_loopback(settings.http.host):
        beyond.append(f"{settings.http.host} (HTTP)")
    if not beyond:
        if open_to_all:
            _log.info(
                "no authentication: listening for this machine only, whose users may read and write everything",
                listen=settings.listen,
            )
        return
    trouble = []
    if open_to_all:
        trouble.append("no authentication (create a token: streamgauge-server token create --scope admin)")
    if not settings.tls.enabled:
        trouble.append("no TLS (set tls.cert and tls.key)")
    refuse_exposure(" and ".join(beyond), trouble, insecure=settings.insecure)


def refuse_exposure(address: str, trouble: Sequence[str], *, insecure: bool) -> None:
    """Refuses to listen beyond this machine while there is trouble, unless `insecure` says that it is none.

    Raises:
        StartError: there is trouble.
    """
    if trouble and not insecure:
        raise StartError(
            f"refusing to listen on {address} with {' and '.join(trouble)}; listen on 127.0.0.1, or pass "
            "--insecure if something else protects this address"
        )
    if trouble:
        _log.warning("listening beyond this machine as told by --insecure", listen=address, trouble=list(trouble))


def grpc_options(settings: Settings, *, shared: bool) -> list[tuple[str, Any]]:
    """Returns the options of the gRPC server; `shared` lets other processes listen on the same port."""
    return [
        # gRPC refuses a message without its reason and size. So it lets in twice as much, and the interceptor refuses.
        ("grpc.max_receive_message_length", 2 * settings.limits.max_request_bytes),
        ("grpc.max_send_message_length", settings.limits.max_response_bytes),
        # Without this, a second server on the same port would start and silently take half of the connections.
        ("grpc.so_reuseport", 1 if shared else 0),
        # Clients behind balancers that drop idle connections ping often. gRPC's default closes theirs for it.
        ("grpc.http2.min_recv_ping_interval_without_data_ms", 5_000),
        ("grpc.keepalive_permit_without_calls", 1),
        # Finds out within 80 s that the peer of an open stream has vanished.
        ("grpc.keepalive_time_ms", 60_000),
        ("grpc.keepalive_timeout_ms", 20_000),
    ]


def bind(server: grpc.aio.Server, settings: Settings) -> int:
    """Binds a server to its address and returns the port, 0 for a unix socket.

    Raises:
        StartError: the address is taken, or the certificates cannot be read.
    """
    try:
        if settings.tls.enabled:
            port = server.add_secure_port(settings.listen, _credentials(settings.tls))
        else:
            port = server.add_insecure_port(settings.listen)
    except RuntimeError as error:
        raise StartError(
            f"cannot listen on {settings.listen}: another program uses it, or this machine has no such address"
        ) from error
    return 0 if is_unix(settings.listen) else port


def bind_http(host: str, port: int, *, shared: bool) -> socket.socket:
    """Returns a socket that listens for HTTP; `shared` lets other processes bind the same port.

    Raises:
        StartError: the address is taken, or none of this machine's.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        # The protocol must be told: without it asyncio does not see TCP, and leaves Nagle's algorithm on.
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if shared:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            listener.bind(address)
            # Now, for with SO_REUSEADDR it is this that fails where another program listens.
            listener.listen(_HTTP_BACKLOG)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        raise StartError(f"cannot listen on {host}:{port} for HTTP: {error.strerror}") from error
    return listener


def http_tls(tls: TlsSettings) -> ssl.SSLContext | None:
    """Returns what HTTPS needs out of the same certificates that gRPC has, None without them.

    Raises:
        StartError: the certificates cannot be read.
    """
    if tls.cert is None or tls.key is None:
        return None
    _check(tls.cert, tls.key, tls.client_ca)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(tls.cert, tls.key)
    context.set_alpn_protocols(["http/1.1"])
    if tls.client_ca is not None:
        context.load_verify_locations(tls.client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _credentials(tls: TlsSettings) -> grpc.ServerCredentials:
    if tls.cert is None or tls.key is None:
        raise StartError("tls.cert and tls.key are not set")
    _check(tls.cert, tls.key, tls.client_ca)
    client_ca = tls.client_ca.read_bytes() if tls.client_ca else None
    return grpc.ssl_server_credentials(
        [(tls.key.read_bytes(), tls.cert.read_bytes())],
        root_certificates=client_ca,
        require_client_auth=client_ca is not None,
    )


def _check(cert: Path, key: Path, client_ca: Path | None) -> None:
    """Finds out what is wrong with the files; gRPC itself says no more than that it cannot listen."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        for path in (cert, key, *([client_ca] if client_ca else [])):
            path.open("rb").close()
    except OSError as error:
        raise StartError(f"cannot read {error.filename}: {error.strerror}") from error
    try:
        # An empty password, so that nobody is asked for one: gRPC does not take encrypted keys either.
        context.load_cert_chain(cert, key, password="")
    except (ssl.SSLError, ValueError) as error:
        raise StartError(f"{cert} and {key} are not a certificate and its unencrypted key (PEM): {error}") from error
    if client_ca is not None:
        try:
            context.load_verify_locations(client_ca)
        except (ssl.SSLError, ValueError) as error:
            raise StartError(f"{client_ca} holds no certificates (PEM): {error}") from error
