"""The settings of a Flink cluster, and how they are written in one line."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from streamgauge_server.flink.addresses import base_url
from streamgauge_server.model.entities import DEFAULT_TENANT
from streamgauge_server.model.names import MAX_NAME_BYTES, text_problem

FORM = "NAME=URL[,URL...] [OPTION=VALUE ...]"
BETWEEN = ";"
"""What separates clusters in one text."""


class ClusterSettings(BaseModel):
    """A Flink cluster whose jobs are followed. Secrets are in files or environment variables, never here."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(description="What jobs name it by, and metrics; unique within the tenant.")
    urls: tuple[str, ...] = Field(
        min_length=1,
        description="Addresses of its REST API, several with high availability; each may have a path.",
    )
    tenant: str = Field(default=DEFAULT_TENANT, description="Whose jobs run there.")
    registration: Literal["all", "known"] = Field(
        default="all", description="Whether every job found there is registered, or only registered ones are followed."
    )
    poll_seconds: float = Field(default=10.0, ge=0.1, le=3_600, description="The time from one poll to the next.")
    requests_per_second: float = Field(
        default=20.0, gt=0, le=10_000, description="How many requests a second reading details may cost the cluster."
    )
    token_file: Path | None = Field(default=None, description="File with a bearer token.")
    token_variable: str | None = Field(default=None, description="Environment variable with a bearer token.")
    user: str | None = Field(default=None, description="User of HTTP basic authentication.")
    password_file: Path | None = Field(default=None, description="File with the user's password.")
    password_variable: str | None = Field(default=None, description="Environment variable with the user's password.")
    ca_file: Path | None = Field(default=None, description="PEM file with authorities to trust, not the system's.")
    client_cert_file: Path | None = Field(default=None, description="PEM file with a client certificate chain.")
    client_key_file: Path | None = Field(default=None, description="PEM file with the client certificate's key.")

    @field_validator("name", "tenant")
    @classmethod
    def _nameable(cls, text: str) -> str:
        if problem := text_problem(text, MAX_NAME_BYTES, required=True):
            raise ValueError(problem)
        return text

    @field_validator("urls")
    @classmethod
    def _addresses(cls, urls: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(base_url(url) for url in urls)

    @model_validator(mode="after")
    def _consistent(self) -> ClusterSettings:
        tokens = [given for given in (self.token_file, self.token_variable) if given is not None]
        passwords = [given for given in (self.password_file, self.password_variable) if given is not None]
        if len(tokens) > 1 or len(passwords) > 1:
            raise ValueError("a secret comes from a file or from a variable, not from both")
        if (self.user is None) != (not passwords):
            raise ValueError("a user and a password (password_file or password_variable) go together")
        if tokens and self.user is not None:
            raise ValueError("a token and a user exclude each other")
        if (self.client_cert_file is None) != (self.client_key_file is None):
            raise ValueError("client_cert_file and client_key_file go together; one of them is missing")
        return self

    def __str__(self) -> str:
        given = ((name, getattr(self, name)) for name in type(self).model_fields if name not in ("name", "urls"))
        words = (f"{name}={value}" for name, value in given if value != type(self).model_fields[name].default)
        return " ".join([f"{self.name}={','.join(self.urls)}", *words])


def parse_clusters(given: Any) -> Any:
    """Returns what settings of clusters are made of: of one text with all of them, or of a list with some as texts.

    Raises:
        ValueError: a text is not of the form; it is not told, for people put passwords where none should be.
    """
    if isinstance(given, str):
        given = [line for part in given.split(BETWEEN) if (line := part.strip())]
    if isinstance(given, Iterable) and not isinstance(given, dict):
        return [_parsed(one) if isinstance(one, str) else one for one in given]
    return given


def _parsed(text: str) -> dict[str, Any]:
    first, *options = text.split()
    name, equals, urls = first.partition("=")
    if not equals:
        raise ValueError(f"a cluster must have the form {FORM}")
    found: dict[str, Any] = {"name": name, "urls": [url for url in urls.split(",") if url]}
    for option in options:
        key, equals, value = option.partition("=")
        if not equals or key in found or key not in ClusterSettings.model_fields:
            known = ", ".join(one for one in ClusterSettings.model_fields if one not in ("name", "urls"))
            raise ValueError(f"after its addresses a cluster must have options OPTION=VALUE, each once, out of {known}")
        found[key] = value
    return found
