"""Addresses of a cluster's REST API, and how to trust and to be trusted there. They come from administrators alone."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Tls:
    """Files in PEM: authorities to trust instead of the system's, and a certificate with its key to be known by."""

    ca_file: Path | None = None
    certificate_file: Path | None = None
    key_file: Path | None = None

    def context(self) -> ssl.SSLContext:
        """Returns what the client connects with.

        Raises:
            OSError, ssl.SSLError: a file cannot be read or used.
        """
        context = ssl.create_default_context(cafile=self.ca_file)
        if self.certificate_file is not None:
            context.load_cert_chain(self.certificate_file, self.key_file)
        return context


def base_url(text: str) -> str:
    """Returns the address that paths are appended to: `http://jobmanager:8081`, `https://proxy/flink/orders/v1`.

    Raises:
        ValueError: the text is no such address. Credentials in it are refused too: addresses get into logs.
    """
    try:
        parts = urlsplit(text.strip())
        port = parts.port
    except ValueError as error:
        raise ValueError("the address of a cluster is malformed") from error
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("the address of a cluster must be http://host[:port][/prefix] or https://...")
    if parts.username is not None or parts.password is not None:
        raise ValueError("the address of a cluster must not contain credentials: they are settings of their own")
    if parts.query or parts.fragment:
        raise ValueError("the address of a cluster must not have a query or a fragment")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}{'' if port is None else f':{port}'}{parts.path.rstrip('/')}"
