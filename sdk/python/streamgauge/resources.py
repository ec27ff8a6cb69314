"""The things that the server keeps: sources, assets, metric descriptors, tokens, and what it says of itself.

All times are timezone-aware, UTC, with microseconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from streamgauge.enums import Aggregate, MetricDirection, MetricKind, PartCombination, SubjectKind, ValueType


@dataclass(frozen=True, slots=True)
class Source:
    """A streaming source, such as a Debezium connector.

    `name` is the resource name (`sources/orders`), `number` an integer that identifies the source for as long as it
    exists, `etag` changes with every update.
    """

    name: str
    number: int
    display_name: str
    connector_class: str
    labels: Mapping[str, str]
    etag: str
    create_time: datetime
    update_time: datetime

    @property
    def id(self) -> str:
        """The last part of the name."""
        return self.name.rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class Asset:
    """A data asset, such as a table or a dashboard.

    It is known by its `urn`. `name` is the resource name (`assets/` and 40 hexadecimal digits), derived from the URN;
    `platform` is what the URN names, such as `postgres`, empty when it names none; `etag` changes with every update.
    """

    name: str
    urn: str
    platform: str
    labels: Mapping[str, str]
    etag: str
    create_time: datetime
    update_time: datetime

    @property
    def id(self) -> str:
        """The last part of the name."""
        return self.name.rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class MetricDescriptor:
    """What a metric is, for all subjects of one kind.

    `window_aggregate` and `summary_aggregate` are what a query computes when it names no aggregate; `no_value` is the
    number that means "no value" and is dropped on write. Numbers outside `min_value` to `max_value` are refused on
    write; None is no bound. `direction` says which way the metric gets better, None that nobody has said.
    Samples go after `sample_retention`, and the summaries that are left of them after `summary_retention`; None is what
    the server has for metrics of this kind.
    """

    name: str
    metric: str
    subject_kind: SubjectKind
    display_name: str
    description: str
    unit: str
    kind: MetricKind
    value_type: ValueType
    window_aggregate: Aggregate
    summary_aggregate: Aggregate
    part_combination: PartCombination
    state_order: tuple[str, ...]
    no_value: float | None
    built_in: bool
    etag: str
    create_time: datetime | None
    update_time: datetime | None
    min_value: float | None = None
    max_value: float | None = None
    direction: MetricDirection | None = None
    sample_retention: timedelta | None = None
    summary_retention: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Token:
    """An access token without its secret. `expire_time` is None when it never expires, `revoke_time` while it works."""

    name: str
    display_name: str
    scopes: tuple[str, ...]
    tenant: str
    expire_time: datetime | None
    create_time: datetime
    revoke_time: datetime | None

    @property
    def id(self) -> str:
        """The last part of the name, which is also the readable part of the secret."""
        return self.name.rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class NewToken:
    """A token just created. `secret` is told once and kept nowhere; it does not show in `repr()`."""

    token: Token
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Limit:
    """One limit of the server: `value` in `unit`."""

    name: str
    value: int
    unit: str


@dataclass(frozen=True, slots=True)
class StoreInfo:
    """The database behind the server: `sqlite` or `postgresql`, its version and the revision of the schema."""

    engine: str
    version: str
    schema_revision: str


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """What the server says of itself: version, limits by name, store, features, and who the caller is to it."""

    version: str
    limits: Mapping[str, Limit]
    store: StoreInfo
    features: tuple[str, ...]
    tenant: str
    scopes: tuple[str, ...]
    server_time: datetime
    start_time: datetime
