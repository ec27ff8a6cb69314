"""VictoriaMetrics, a single node."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from tests.bench.peers.encodings import json_lines
from tests.bench.peers.http import post_all, request
from tests.bench.peers.peer import Loaded, tree_bytes, wait_until_still
from tests.bench.peers.promql import PromQlPeer
from tests.bench.workload import Readings

_MERGES = re.compile(rb"^vm_active_merges\{.*\} (\d+)$", re.MULTILINE)


class VictoriaMetrics(PromQlPeer):
    """Loaded by `/api/v1/import`, durable and visible after `/internal/force_flush`."""

    name = "victoriametrics"
    title = "VictoriaMetrics"
    query_options = MappingProxyType({"nocache": "1"})
    """Without the cache of answers, and the moving of ranges that makes it useful."""
    note = (
        "VictoriaMetrics: JSON lines by /api/v1/import over 2 connections; durable and visible with "
        "/internal/force_flush; bytes after /internal/force_merge, without its cache directory"
    )

    def command(self) -> tuple[list[str], Mapping[str, str] | None]:
        store = str(self.directory / "store")
        address = f"127.0.0.1:{self.port}"
        return (
            ["victoria-metrics", "-storageDataPath", store, "-httpListenAddr", address, "-retentionPeriod", "10y"],
            None,
        )

    def ready_path(self) -> str:
        return "/health"

    def encode(self, parts: Sequence[Readings]) -> list[bytes]:
        return json_lines(parts)

    def load(self, encoded: Sequence[bytes]) -> Loaded:
        seconds = post_all(self.port, "/api/v1/import", encoded)
        seconds += self._timed_flush()
        return Loaded(seconds, seconds)

    def _timed_flush(self) -> float:
        return post_all(self.port, "/internal/force_flush", [b""])

    def settle(self) -> None:
        request(self.port, "GET", "/internal/force_merge")
        wait_until_still(lambda: (self._merging(), self.stored_bytes()), still=3, limit=300)

    def _merging(self) -> int:
        return sum(map(int, _MERGES.findall(request(self.port, "GET", "/metrics"))))

    def stored_bytes(self) -> int:
        store = self.directory / "store"
        return tree_bytes(store / "data", store / "indexdb", store / "metadata")
