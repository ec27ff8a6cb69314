"""The deadlines and retries of every method, out of the one file that all languages share (`sdk/service_config.json`).

The file is a gRPC service config. This SDK carries the policies out itself rather than leaving them to the channel:
gRPC does not retry a request over 256 KiB (its replay buffer), does not read `google.rpc.RetryInfo`, and takes the
file's timeout as an upper bound, so that a caller could not ask for more. The channel gets only the balancing policy.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from typing import Any

import grpc

WRITE_METRICS = "/streamgauge.v1.MetricsService/WriteMetrics"
IMPORT_METRICS = "/streamgauge.v1.MetricsService/ImportMetrics"
BATCH_EMIT = "/streamgauge.v1.AssetMetricService/BatchEmitAssetMetrics"


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """When to try again: see gRPC's service config. Durations in seconds."""

    max_attempts: int
    initial_backoff: float
    max_backoff: float
    multiplier: float
    codes: frozenset[grpc.StatusCode]


@dataclass(frozen=True, slots=True)
class MethodPolicy:
    """How a method is called: its default deadline in seconds, and its retries; no policy means that it is not retried.

    Only calls that may be repeated have a policy: reads, a revocation, and writes by their request id.
    """

    timeout: float | None
    retry: RetryPolicy | None


@dataclass(frozen=True, slots=True)
class ServiceConfig:
    """The file, read. `channel` is the part that is the channel's own business, as JSON."""

    methods: dict[str, MethodPolicy]
    channel: str

    def policy(self, path: str) -> MethodPolicy:
        """Returns the policy of a method by its full path, such as `/streamgauge.v1.SourceService/GetSource`."""
        return self.methods[path]

    def writes(self, path: str) -> tuple[MethodPolicy, RetryPolicy]:
        """Returns how a writer sends by a method: the method's policy without its retries, and its back-off."""
        policy = self.policy(path)
        if policy.retry is None:
            raise ValueError(f"the service config has no retryPolicy for {path}")
        return replace(policy, retry=None), policy.retry


def _seconds(duration: str) -> float:
    return float(duration.removesuffix("s"))


def _retry(policy: dict[str, Any]) -> RetryPolicy:
    return RetryPolicy(
        max_attempts=policy["maxAttempts"],
        initial_backoff=_seconds(policy["initialBackoff"]),
        max_backoff=_seconds(policy["maxBackoff"]),
        multiplier=float(policy["backoffMultiplier"]),
        codes=frozenset(grpc.StatusCode[name] for name in policy["retryableStatusCodes"]),
    )


def parse(text: str) -> ServiceConfig:
    """Returns the policies of a gRPC service config in JSON."""
    document = json.loads(text)
    methods: dict[str, MethodPolicy] = {}
    for entry in document["methodConfig"]:
        policy = MethodPolicy(
            timeout=_seconds(entry["timeout"]) if "timeout" in entry else None,
            retry=_retry(entry["retryPolicy"]) if "retryPolicy" in entry else None,
        )
        for name in entry["name"]:
            methods[f"/{name['service']}/{name['method']}"] = policy
    channel = {key: value for key, value in document.items() if key != "methodConfig"}
    return ServiceConfig(methods, json.dumps(channel))


@cache
def load() -> ServiceConfig:
    """Returns the config that ships with the SDK."""
    return parse(resources.files("streamgauge").joinpath("service_config.json").read_text("utf-8"))
