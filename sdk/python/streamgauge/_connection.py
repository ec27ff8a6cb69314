"""Where the server is and how to reach it: target, TLS, token, and what may go over plaintext."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import grpc

from streamgauge import _service_config
from streamgauge._version import __version__

Token: TypeAlias = str | Callable[[], str]
"""The secret, or a function that returns the current one (asked at every call; it should be quick)."""
Tls: TypeAlias = bool | str | os.PathLike[str] | grpc.ChannelCredentials
"""False: plaintext. True: TLS with the system's authorities. A path: those of this PEM file. Or ready credentials."""
CertificatePair: TypeAlias = tuple[str | os.PathLike[str], str | os.PathLike[str]]
"""Paths of the client's certificate chain and private key, PEM."""

DEFAULT_TARGET = "127.0.0.1:50051"

_TRUE, _FALSE = frozenset({"1", "true", "yes", "on"}), frozenset({"", "0", "false", "no", "off"})


@dataclass(frozen=True, slots=True)
class Connection:
    """The checked arguments of a client. ValueError for what does not go together."""

    target: str = DEFAULT_TARGET
    token: Token | None = field(default=None, repr=False)
    tls: Tls = False
    client_cert: CertificatePair | None = None
    server_name: str | None = None
    timeout: float | None = None
    allow_insecure_token: bool = False
    options: Sequence[tuple[str, Any]] = ()

    def __post_init__(self) -> None:
        if not self.target:
            raise ValueError("target must not be empty, for example '127.0.0.1:50051'")
        if self.timeout is not None and not self.timeout > 0:
            raise ValueError(f"timeout must be above 0 seconds; got {self.timeout}")
        if self.client_cert is not None and (self.tls is False or isinstance(self.tls, grpc.ChannelCredentials)):
            raise ValueError("client_cert needs tls=True or tls=<path of the authorities>")
        in_plaintext = self.token is not None and self.tls is False and not is_loopback(self.target)
        if in_plaintext and not self.allow_insecure_token:
            raise ValueError(
                f"refusing to send a token in plaintext to {self.target}: use tls=True, or say "
                "allow_insecure_token=True if the way there is safe by other means"
            )

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """Returns what every call carries."""
        if self.token is None:
            return ()
        secret = self.token if isinstance(self.token, str) else self.token()
        return (("authorization", f"Bearer {secret}"),)

    def credentials(self) -> grpc.ChannelCredentials | None:
        """Returns the channel's credentials, None for plaintext. OSError when a file cannot be read."""
        if self.tls is False:
            return None
        if isinstance(self.tls, grpc.ChannelCredentials):
            return self.tls
        authorities = None if self.tls is True else Path(self.tls).read_bytes()
        if self.client_cert is None:
            return grpc.ssl_channel_credentials(authorities)
        certificate, key = (Path(path).read_bytes() for path in self.client_cert)
        return grpc.ssl_channel_credentials(authorities, private_key=key, certificate_chain=certificate)

    def channel_options(self) -> list[tuple[str, Any]]:
        """Returns the channel's options: ours first, so that the caller's, which come later, stand."""
        ours: list[tuple[str, Any]] = [
            ("grpc.primary_user_agent", f"streamgauge-python/{__version__}"),
            ("grpc.service_config", _service_config.load().channel),
            # The server bounds both, and names its bound; the channel's 4 MiB would cut in with a nameless error.
            ("grpc.max_receive_message_length", -1),
            ("grpc.max_send_message_length", -1),
            # A forked child must not find the parent's connections in the pool that channels share by default.
            ("grpc.use_local_subchannel_pool", 1),
            # gRPC waits a second before it connects again, longer than our first retries.
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.min_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 5_000),
        ]
        if self.server_name is not None:
            ours.append(("grpc.ssl_target_name_override", self.server_name))
        if is_loopback(self.target):
            # A proxy from the environment would see a plaintext token, and could not reach our loopback anyway.
            ours.append(("grpc.enable_http_proxy", 0))
        return [*ours, *self.options]


def is_loopback(target: str) -> bool:
    """Tells whether every address of a gRPC target is this very machine: unix sockets, `localhost`, 127/8 and ::1."""
    scheme, separator, rest = target.partition(":")
    if separator and scheme in ("unix", "unix-abstract"):
        return True
    if separator and scheme in ("dns", "ipv4", "ipv6"):
        # An authority (dns://8.8.8.8/localhost) names a foreign resolver, whose word on localhost is not ours.
        if rest.startswith("//"):
            authority, _, rest = rest.removeprefix("//").partition("/")
            if authority:
                return False
        addresses = rest.split(",")
    else:
        addresses = [target]
    return all(_is_loopback_host(_host(address)) for address in addresses)


def _host(address: str) -> str:
    bracketed = re.fullmatch(r"\[([^\]]*)\](?::\d+)?", address)
    if bracketed:
        return bracketed.group(1)
    host, colon, port = address.rpartition(":")
    return host if colon and ":" not in host and port.isdigit() else address


def _is_loopback_host(host: str) -> bool:
    if host.lower() in ("localhost", "localhost."):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def from_env(environ: Mapping[str, str]) -> dict[str, Any]:
    """Returns the arguments of a client that the environment tells. ValueError names the variable that is wrong.

    `STREAMGAUGE_TARGET`, `STREAMGAUGE_TOKEN` or `STREAMGAUGE_TOKEN_FILE`, `STREAMGAUGE_TLS` (a boolean),
    `STREAMGAUGE_CA_FILE` (implies TLS), `STREAMGAUGE_CLIENT_CERT_FILE` with `STREAMGAUGE_CLIENT_KEY_FILE`,
    `STREAMGAUGE_SERVER_NAME`, `STREAMGAUGE_TIMEOUT` (seconds), `STREAMGAUGE_ALLOW_INSECURE_TOKEN` (a boolean).
    """
    arguments: dict[str, Any] = {}
    if target := environ.get("STREAMGAUGE_TARGET"):
        arguments["target"] = target
    token, token_file = environ.get("STREAMGAUGE_TOKEN"), environ.get("STREAMGAUGE_TOKEN_FILE")
    if token and token_file:
        raise ValueError("STREAMGAUGE_TOKEN and STREAMGAUGE_TOKEN_FILE are both set; set one of them")
    if token:
        arguments["token"] = token
    elif token_file:
        # Read at every call: mounted secrets are rotated under a running program.
        arguments["token"] = lambda: Path(token_file).read_text("utf-8").strip()
    if ca_file := environ.get("STREAMGAUGE_CA_FILE"):
        arguments["tls"] = ca_file
    if "STREAMGAUGE_TLS" in environ:
        wanted = _boolean(environ, "STREAMGAUGE_TLS")
        if ca_file and not wanted:
            raise ValueError("STREAMGAUGE_TLS is off, but STREAMGAUGE_CA_FILE is set")
        arguments["tls"] = ca_file or wanted
    certificate, key = environ.get("STREAMGAUGE_CLIENT_CERT_FILE"), environ.get("STREAMGAUGE_CLIENT_KEY_FILE")
    if bool(certificate) != bool(key):
        raise ValueError("STREAMGAUGE_CLIENT_CERT_FILE and STREAMGAUGE_CLIENT_KEY_FILE go together; one is missing")
    if certificate:
        arguments["client_cert"] = (certificate, key)
    if server_name := environ.get("STREAMGAUGE_SERVER_NAME"):
        arguments["server_name"] = server_name
    if timeout := environ.get("STREAMGAUGE_TIMEOUT"):
        try:
            arguments["timeout"] = float(timeout)
        except ValueError:
            raise ValueError(f"STREAMGAUGE_TIMEOUT must be a number of seconds; got {timeout!r}") from None
    if _boolean(environ, "STREAMGAUGE_ALLOW_INSECURE_TOKEN"):
        arguments["allow_insecure_token"] = True
    return arguments


def _boolean(environ: Mapping[str, str], name: str) -> bool:
    text = environ.get(name, "").strip().lower()
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise ValueError(f"{name} must be true or false; got {environ[name]!r}")
