"""Every setting of the server, with its default and its meaning. `configuration` gathers them from their sources."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import fields
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic_settings import NoDecode

from streamgauge_server.cluster_settings import BETWEEN, FORM, ClusterSettings, parse_clusters
from streamgauge_server.http_settings import HttpSettings
from streamgauge_server.model.clock import MICROS_PER_SECOND
from streamgauge_server.model.limits import Limits
from streamgauge_server.model.retention import MAX_DAYS, Retention, RetentionRules
from streamgauge_server.model.values import MetricKind


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TlsSettings(_Section):
    """Transport security. Without certificate and key the server speaks plain text."""

    cert: Path | None = Field(default=None, description="PEM file with the server's certificate chain.")
    key: Path | None = Field(default=None, description="PEM file with the certificate's private key.")
    client_ca: Path | None = Field(
        default=None,
        description="PEM file with the authorities of client certificates; with it, every client must show one.",
    )

    @model_validator(mode="after")
    def _complete(self) -> TlsSettings:
        if (self.cert is None) != (self.key is None):
            raise ValueError("cert and key go together; one of them is missing")
        if self.client_ca is not None and self.cert is None:
            raise ValueError("client_ca needs cert and key")
        return self

    @property
    def enabled(self) -> bool:
        """Tells whether the server speaks TLS."""
        return self.cert is not None


class OpenIdSettings(_Section):
    """An OpenID provider whose JWTs are accepted beside tokens. `issuer`, `audience` and `jwks_url` go together."""

    issuer: str | None = Field(default=None, description="The `iss` claim that tokens must have.")
    audience: str | None = Field(default=None, description="The `aud` claim that tokens must have.")
    jwks_url: str | None = Field(
        default=None, description="Where the provider publishes its keys, for example https://id.example/keys."
    )
    tenant_claim: str = Field(default="tenant", description="The claim that names the tenant.")
    scopes_claim: str = Field(
        default="scope", description="The claim that lists the scopes, as a list or in one string."
    )

    @model_validator(mode="after")
    def _complete(self) -> OpenIdSettings:
        if len({value is None for value in (self.issuer, self.audience, self.jwks_url)}) > 1:
            raise ValueError("issuer, audience and jwks_url go together; some of them are missing")
        if self.jwks_url is not None and urlsplit(self.jwks_url).scheme not in ("http", "https"):
            raise ValueError("jwks_url must begin with https:// or http://")
        return self

    @property
    def enabled(self) -> bool:
        """Tells whether JWTs are accepted."""
        return self.issuer is not None


class LogSettings(_Section):
    """What is logged, to standard error."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Lines below this are dropped."
    )
    format: Literal["auto", "json", "console"] = Field(
        default="auto", description="json is one object per line; auto is console on a terminal and json elsewhere."
    )
    access: Literal["all", "failures", "off"] = Field(
        default="failures",
        description="Which calls get a line: all, those that failed or (unary) took over a second, or none.",
    )


class CompactionSettings(_Section):
    """Compaction: small blocks of hours and days that are closed become one, in the background of `serve`."""

    enabled: bool = Field(default=True, description="Whether `serve` compacts.")
    share: float = Field(
        default=0.1, gt=0, le=1, description="The part of one core that it may take, in one worker of a server."
    )


class KindRetentionSettings(_Section):
    """How long observations of metrics of a kind are kept. Off by default."""

    sample_days: int | None = Field(
        default=None, ge=1, le=MAX_DAYS, description="Days after which samples go and summaries by hour stay."
    )
    summary_days: int | None = Field(
        default=None, ge=1, le=MAX_DAYS, description="Days after which summaries go too, not less than sample_days."
    )

    @model_validator(mode="after")
    def _consistent(self) -> KindRetentionSettings:
        if problem := self.limits.problem():
            raise ValueError(f"summary_days {problem}")
        return self

    @property
    def limits(self) -> Retention:
        """The limits."""
        return Retention(self.sample_days, self.summary_days)


class RetentionSettings(_Section):
    """How long observations are kept, by kind of metric; a metric's descriptor may say otherwise. Off by default."""

    share: float = Field(
        default=0.1, gt=0, le=1, description="The part of one core that letting go may take, in one worker of a server."
    )
    gauge: KindRetentionSettings = Field(default_factory=KindRetentionSettings, description="Of gauges.")
    counter: KindRetentionSettings = Field(default_factory=KindRetentionSettings, description="Of counters.")
    state: KindRetentionSettings = Field(default_factory=KindRetentionSettings, description="Of states.")
    text: KindRetentionSettings = Field(default_factory=KindRetentionSettings, description="Of texts.")

    @property
    def rules(self) -> RetentionRules:
        """The limits of every kind."""
        return RetentionRules({kind: getattr(self, kind.name.lower()).limits for kind in MetricKind})


class Settings(_Section):
    """All settings. An instance is valid and does not change."""

    listen: str = Field(
        default="127.0.0.1:50051",
        description="Address of the gRPC server: host:port, [::1]:port or unix:/path. Port 0 takes a free one.",
    )
    database: str = Field(
        default="sqlite:///streamgauge.db",
        description="URL of the store: sqlite:///file, sqlite://:memory: or postgresql://user:password@host/name.",
    )
    database_pool_size: int = Field(default=4, ge=1, description="How many reads run at the same time in one process.")
    migrate: Literal["auto", "always", "never"] = Field(
        default="auto", description="Whether `serve` migrates the schema before it starts; auto does so for SQLite."
    )
    subject_registration: Literal["open", "closed"] = Field(
        default="open", description="Whether a write to an unknown subject registers it (open) or is refused (closed)."
    )
    asset_registration: Literal["open", "closed"] = Field(
        default="open", description="Whether an emit on an unknown asset registers it (open) or is refused (closed)."
    )
    single_emit: Literal["on", "off"] = Field(
        default="on", description="Whether the deprecated EmitAssetMetric, one metric as text, is served or refused."
    )
    auth: Literal["auto", "required", "off"] = Field(
        default="auto", description="When callers must show a token; auto is as soon as a token was ever created."
    )
    insecure: bool = Field(
        default=False,
        description="Listen beyond loopback although there is no TLS or no authentication. At your own risk.",
    )
    workers: int = Field(default=1, ge=1, le=256, description="How many processes share the port (Linux, TCP only).")
    metrics_port: int | None = Field(
        default=None,
        ge=0,
        le=65_535,
        description="Port of the Prometheus endpoint; worker n takes this port + n. Off by default.",
    )
    metrics_host: str = Field(default="127.0.0.1", description="Address of the Prometheus endpoint.")
    health_interval_seconds: float = Field(
        default=5.0, gt=0, description="How often the store is asked whether it answers; health follows it."
    )
    stop_delay_seconds: float = Field(
        default=0.0,
        ge=0,
        description="How long a stopping server goes on after health says NOT_SERVING, for load balancers.",
    )
    stop_grace_seconds: float = Field(
        default=10.0, ge=0, description="How long a stopping server waits for unary calls under way."
    )
    clusters: Annotated[tuple[ClusterSettings, ...], NoDecode] = Field(
        default=(),
        description="The Flink clusters whose jobs can be asked about and stopped, and are followed where `collect` is "
        f"on: each {FORM}, in one text separated by `{BETWEEN}`, or tables.",
    )
    collect: bool = Field(default=True, description="Whether `serve` follows the jobs of the clusters.")
    http: HttpSettings = Field(default_factory=HttpSettings, description="The HTTP gateway.")
    watch_horizon_seconds: float = Field(
        default=3_600.0,
        ge=0,
        description="How long a watcher may be away: what has been committed for longer may be compacted, and a cursor "
        "from before that be refused.",
    )
    compaction: CompactionSettings = Field(
        default_factory=CompactionSettings, description="Small blocks become large ones."
    )
    retention: RetentionSettings = Field(
        default_factory=RetentionSettings, description="How long samples and summaries are kept."
    )
    tls: TlsSettings = Field(default_factory=TlsSettings, description="Transport security.")
    openid: OpenIdSettings = Field(default_factory=OpenIdSettings, description="An OpenID provider.")
    log: LogSettings = Field(default_factory=LogSettings, description="Logging.")
    limits: Limits = Field(default_factory=Limits, description="Bounds on requests, answers and growth.")

    @field_validator("clusters", mode="before")
    @classmethod
    def _clusters_of_text(cls, given: Any) -> Any:
        return parse_clusters(given)

    @field_validator("clusters")
    @classmethod
    def _clusters_named_once(cls, clusters: tuple[ClusterSettings, ...]) -> tuple[ClusterSettings, ...]:
        names = [(cluster.tenant, cluster.name) for cluster in clusters]
        for tenant, name in names:
            if names.count((tenant, name)) > 1:
                raise ValueError(f"two clusters of tenant {tenant} are called {name}")
        return clusters

    @field_validator("limits", mode="before")
    @classmethod
    def _known_limits(cls, given: Any) -> Any:
        """Refuses unknown limits, which a plain dataclass would let pass."""
        if isinstance(given, Mapping):
            known = [limit.name for limit in fields(Limits)]
            for name in given:
                if name not in known:
                    close = get_close_matches(str(name), known, n=1)
                    raise ValueError(f"there is no limit {name}" + (f"; did you mean {close[0]}?" if close else ""))
        return given

    @field_validator("limits")
    @classmethod
    def _positive_limits(cls, limits: Limits) -> Limits:
        for name, value, _ in limits.items():
            if value < 1:
                raise ValueError(f"{name} must be at least 1, is {value}")
        return limits

    @model_validator(mode="after")
    def _consistent(self) -> Settings:
        if is_unix(self.listen):
            if self.workers > 1:
                raise ValueError("several workers cannot share a unix socket; listen on a port or use one worker")
        else:
            host, port = split_address(self.listen)
            if not host or not port.isdecimal() or int(port) > 65_535:
                raise ValueError(f"listen must be host:port, [::1]:port or unix:/path, is {self.listen!r}")
        if self.metrics_port and self.metrics_port + self.workers - 1 > 65_535:
            raise ValueError("metrics_port leaves no room for a port per worker")
        if self.workers > 1 and self.database.partition("://")[2] in ("", ":memory:", "/:memory:"):
            raise ValueError("several workers cannot share a database in memory")
        return self

    @property
    def watch_horizon(self) -> int:
        """The watch horizon in microseconds."""
        return int(self.watch_horizon_seconds * MICROS_PER_SECOND)

    @property
    def loopback_only(self) -> bool:
        """Tells whether only this machine reaches the server."""
        if is_unix(self.listen):
            return True
        return is_loopback(split_address(self.listen)[0])


def is_unix(address: str) -> bool:
    """Tells whether an address is a unix socket."""
    return address.startswith("unix:")


def is_loopback(host: str) -> bool:
    """Tells whether only this machine reaches a host, a name or an address, perhaps in brackets."""
    bare = host.strip("[]")
    if bare == "localhost":
        return True
    try:
        return ipaddress.ip_address(bare).is_loopback
    except ValueError:
        return False


def split_address(address: str) -> tuple[str, str]:
    """Returns host and port of `host:port` or `[::1]:port`, unchecked."""
    host, _, port = address.rpartition(":")
    return host, port
