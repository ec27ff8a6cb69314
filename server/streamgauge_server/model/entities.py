"""The things that are kept: sources, descriptors, tokens, and who is calling."""

from __future__ import annotations

from dataclasses import dataclass, field

from streamgauge_server.model.values import (
    Aggregate,
    Direction,
    MetricKind,
    PartCombination,
    Scalar,
    SubjectKind,
    ValueType,
)

SCOPES = (
    "read:source_metrics",
    "write:source_metrics",
    "read:jobs",
    "write:jobs",
    "stop:jobs",
    "read:asset_metrics",
    "write:asset_metrics",
    "read:metric_types",
    "write:metric_types",
    "admin",
)
"""Every scope there is. `admin` includes all others."""

READ_SCOPE = {
    SubjectKind.SOURCE: "read:source_metrics",
    SubjectKind.JOB: "read:jobs",
    SubjectKind.ASSET: "read:asset_metrics",
    SubjectKind.METRIC_TYPE_CHOICE: "read:metric_types",
}
WRITE_SCOPE = {
    SubjectKind.SOURCE: "write:source_metrics",
    SubjectKind.JOB: "write:jobs",
    SubjectKind.ASSET: "write:asset_metrics",
    SubjectKind.METRIC_TYPE_CHOICE: "write:metric_types",
}

DEFAULT_TENANT = "default"
"""The tenant of a server that asks for no token."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who is calling: the tenant and what the token allows."""

    tenant: str
    scopes: frozenset[str]
    token_id: str = ""

    def may(self, scope: str) -> bool:
        """Tells whether the caller has a scope."""
        return scope in self.scopes or "admin" in self.scopes


@dataclass(frozen=True, slots=True)
class Source:
    """A streaming source. Times in microseconds; `number` is the subject's id in the store."""

    id: str
    number: int
    display_name: str
    connector_class: str
    labels: dict[str, str]
    etag: str
    create_time: int
    update_time: int


SOURCE_CHANGEABLE = ("display_name", "connector_class", "labels")
"""Fields of a source that an update may name."""


@dataclass(frozen=True, slots=True)
class Asset:
    """A data asset. `id` is derived from the URN (`assets.asset_id`). Times in microseconds."""

    id: str
    urn: str
    platform: str
    labels: dict[str, str]
    etag: str
    create_time: int
    update_time: int


ASSET_CHANGEABLE = ("labels",)
"""Fields of an asset that an update may name."""


ASSET_CHANGEABLE = ("labels",)
"""Fields of an asset that an update may name."""


@dataclass(frozen=True, slots=True)
class MetricDescriptor:
    """What a metric is, for all subjects of one kind of one tenant. `id` is what blocks refer to.

    `sample_retention` and `summary_retention` are whole days in microseconds, None where the setting for the kind
    holds. `restricted` tells whether any number is "no value" or beyond a limit: one look for writes, of which most are
    not.
    """

    id: int
    kind_of_subject: SubjectKind
    metric: str
    display_name: str
    description: str
    unit: str
    kind: MetricKind
    value_type: ValueType
    window_aggregate: Aggregate
    summary_aggregate: Aggregate
    part_combination: PartCombination
    state_order: tuple[str, ...] = ()
    no_value: float | None = None
    min_value: float | None = None
    max_value: float | None = None
    direction: Direction = Direction.UNSPECIFIED
    sample_retention: int | None = None
    summary_retention: int | None = None
    built_in: bool = False
    etag: str = ""
    create_time: int = 0
    update_time: int = 0
    restricted: bool = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        restricted = any(limit is not None for limit in (self.no_value, self.min_value, self.max_value))
        object.__setattr__(self, "restricted", restricted)


DESCRIPTOR_CHANGEABLE = (
    "display_name",
    "description",
    "unit",
    "kind",
    "value_type",
    "window_aggregate",
    "summary_aggregate",
    "part_combination",
    "state_order",
    "no_value",
    "min_value",
    "max_value",
    "direction",
    "sample_retention",
    "summary_retention",
)
"""Fields of a descriptor that an update may name."""


@dataclass(frozen=True, slots=True)
class Token:
    """An access token without its secret. Times in microseconds, None where it never happens or has not happened."""

    id: str
    tenant: str
    display_name: str
    scopes: frozenset[str]
    create_time: int
    expire_time: int | None = None
    revoke_time: int | None = None


@dataclass(slots=True)
class Observation:
    """The values of one subject or part at one moment, as decoded at the edge. Times in microseconds or None."""

    subject: str
    part: str = ""
    time: int | None = None
    start_time: int | None = None
    values: dict[str, Scalar] = field(default_factory=dict)
