"""The settings of the HTTP gateway."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, field_validator


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


class HttpSettings(_Section):
    """The HTTP gateway: REST, the legacy APIs, their documents, health and Prometheus metrics."""

    port: int | None = Field(
        default=None, ge=0, le=65_535, description="Port of the gateway; 0 takes a free one. Off by default."
    )
    host: str = Field(default="127.0.0.1", description="Address that the gateway listens on.")
    cors_origins: tuple[str, ...] = Field(
        default=(), description="Origins whose pages may call the gateway, for example https://ui.example; * is all."
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


def _plain(path: str) -> bool:
    return path.isascii() and all(letter.isalnum() or letter in "-._~/" for letter in path)
