"""The settings of the HTTP gateway."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic_settings import NoDecode


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class LegacySettings(_Section):
    """One of the four legacy APIs."""

    enabled: bool = Field(default=True, description="Whether the gateway serves this API.")
    prefix: str = Field(
        default="", description="What its paths begin with, for example /streamkap. Nothing by default."
    )

    @field_validator("prefix")
    @classmethod
    def _a_path(cls, prefix: str) -> str:
        stripped = prefix.rstrip("/")
        if stripped and (not stripped.startswith("/") or "//" in stripped or not _plain(stripped)):
            raise ValueError(f"must be a path such as /streamkap, of letters, digits, - . _ ~ and /, is {prefix!r}")
        return stripped


class UpstreamSettings(_Section):
    """The gRPC server behind `streamgauge-server gateway`. A gateway that is part of a server needs none of this."""

    address: str | None = Field(default=None, description="Where the server is: host:port or unix:/path.")
    tls: bool = Field(default=False, description="Whether it speaks TLS; with a ca, cert or server_name it does.")
    ca: Path | None = Field(default=None, description="PEM file with authorities to trust, not the system's.")
    cert: Path | None = Field(default=None, description="PEM file with the gateway's client certificate chain.")
    key: Path | None = Field(default=None, description="PEM file with that certificate's private key.")
    server_name: str | None = Field(
        default=None, description="The name that the server's certificate must have, if not the address's host."
    )

    @model_validator(mode="after")
    def _complete(self) -> UpstreamSettings:
        if (self.cert is None) != (self.key is None):
            raise ValueError("cert and key go together; one of them is missing")
        return self

    @property
    def secured(self) -> bool:
        """Tells whether TLS is spoken with the server."""
        return self.tls or self.ca is not None or self.cert is not None or self.server_name is not None


def _list_of_text(given: Any) -> Any:
    """Takes one text with all of them, separated by commas, for a list: so they are written in the environment."""
    if isinstance(given, str):
        return [part for one in given.split(",") if (part := one.strip())]
    if isinstance(given, Iterable) and not isinstance(given, dict):
        return list(given)
    return given


class HttpSettings(_Section):
    """The HTTP gateway: REST, the legacy APIs, their documents, health and Prometheus metrics."""

    port: int | None = Field(
        default=None, ge=0, le=65_535, description="Port of the gateway; 0 takes a free one. Off by default."
    )
    host: str = Field(default="127.0.0.1", description="Address that the gateway listens on.")
    cors_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="Origins whose pages may call the gateway, for example https://ui.example; * is all. In one text "
        "separated by commas, or a list.",
    )
    trusted_proxies: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="Addresses or networks of proxies whose X-Forwarded-For and X-Forwarded-Proto count; * is all. In "
        "one text separated by commas, or a list.",
    )
    metrics: Literal["auto", "open", "off"] = Field(
        default="auto",
        description="Who gets /metrics: everybody (open), nobody (off), or, as it names tenants, everybody as long as "
        "only this machine reaches the gateway (auto).",
    )
    max_body_bytes: int = Field(
        default=16 * 1024 * 1024, ge=1, description="Size of the body of a request; larger ones are refused with 413."
    )
    receive_seconds: float = Field(
        default=10.0, gt=0, description="How long a client may take to send a request: its head, and each piece of it."
    )
    call_seconds: float = Field(default=30.0, gt=0, description="Time of a unary call to the server.")
    gzip_min_bytes: int = Field(
        default=1_024, ge=1, description="Answers from this size on are compressed for clients that take gzip."
    )
    sources: LegacySettings = Field(default_factory=LegacySettings, description="/sources/{id}/metrics.")
    jobs: LegacySettings = Field(default_factory=LegacySettings, description="/job/, /jobs/ and /metainfo/.")
    metric_types: LegacySettings = Field(default_factory=LegacySettings, description="/v6/metrics/ and /v7/metrics/.")
    assets: LegacySettings = Field(default_factory=LegacySettings, description="/api/xdg/v1/asset/{urn}/metric.")
    upstream: UpstreamSettings = Field(
        default_factory=UpstreamSettings, description="The server behind a gateway that runs alone."
    )

    @field_validator("cors_origins", "trusted_proxies", mode="before")
    @classmethod
    def _texts(cls, given: Any) -> Any:
        return _list_of_text(given)


def _plain(path: str) -> bool:
    return path.isascii() and all(letter.isalnum() or letter in "-._~/" for letter in path)
