"""The clusters that this server's settings name, and how each of them is reached."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from streamgauge_server.flink.addresses import Tls
from streamgauge_server.flink.client import FlinkClient
from streamgauge_server.flink.credentials import Credentials
from streamgauge_server.flink.failures import MAX_STACK_BYTES

ClusterKey = tuple[str, str]
"""Tenant and name of a cluster."""


@dataclass(frozen=True, slots=True)
class ClusterConfig:
    """A cluster as an administrator has described it. Secrets are not part of its `repr`.

    `register_all`: jobs that nobody has registered are registered by the collector. `poll_seconds` is the time from
    one poll to the next, `requests_per_second` bounds what details cost the cluster.
    """

    name: str
    tenant: str
    base_urls: Sequence[str]
    register_all: bool = True
    poll_seconds: float = 10.0
    requests_per_second: float = 20.0
    max_stacktrace_bytes: int = MAX_STACK_BYTES
    credentials: Credentials | None = field(default=None, repr=False)
    tls: Tls | None = None

    @property
    def key(self) -> ClusterKey:
        """Tenant and name."""
        return self.tenant, self.name

    def client(self) -> FlinkClient:
        """Returns a client to the cluster, for whoever closes it.

        Raises:
            ValueError: an address is malformed.
            OSError, ssl.SSLError: a certificate cannot be read or used.
        """
        return FlinkClient(
            self.base_urls,
            credentials=self.credentials,
            tls=self.tls,
            max_stack_bytes=self.max_stacktrace_bytes,
        )


class Clusters(Mapping[ClusterKey, FlinkClient]):
    """Clients of clusters by tenant and name. `await close()` closes their connections."""

    def __init__(self, configs: Iterable[ClusterConfig] = ()) -> None:
        """`configs` as for `ClusterConfig.client`, which tells what is raised."""
        self.configs = {config.key: config for config in configs}
        """The descriptions of the clusters."""
        self._clients = {key: config.client() for key, config in self.configs.items()}

    def __getitem__(self, key: ClusterKey) -> FlinkClient:
        return self._clients[key]

    def __iter__(self) -> Iterator[ClusterKey]:
        return iter(self._clients)

    def __len__(self) -> int:
        return len(self._clients)

    async def close(self) -> None:
        """Closes all connections."""
        for client in self._clients.values():
            await client.close()
