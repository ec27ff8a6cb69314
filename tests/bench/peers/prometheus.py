"""Prometheus, written to by remote write."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.bench.peers.encodings import remote_writes
from tests.bench.peers.http import CONNECTIONS, post_waves, request
from tests.bench.peers.peer import Loaded, tree_bytes
from tests.bench.peers.promql import PromQlPeer
from tests.bench.workload import Readings

_HEADERS = {
    "Content-Encoding": "snappy",
    "Content-Type": "application/x-protobuf",
    "X-Prometheus-Remote-Write-Version": "0.1.0",
}
_CONFIGURATION = "storage:\n  tsdb:\n    out_of_order_time_window: 1d\n"


class Prometheus(PromQlPeer):
    """Takes all series together in the order of time, as scrapes would bring them."""

    name = "prometheus"
    title = "Prometheus"
    in_time_order = True
    note = (
        "Prometheus: remote write over 2 connections, all series in the order of time (anything older than its head "
        "would go the slow way); answered when it is in the write-ahead log, which is not synced; bytes of a snapshot, "
        "which has the head as a block and no log"
    )

    def __init__(self, directory: Path, block_duration: str = "2h") -> None:
        """`block_duration` is that of the blocks that the head becomes."""
        super().__init__(directory)
        self._block_duration = block_duration
        (directory / "prometheus.yml").write_text(_CONFIGURATION)

    def command(self) -> tuple[list[str], Mapping[str, str] | None]:
        arguments = [
            "prometheus",
            f"--config.file={self.directory / 'prometheus.yml'}",
            f"--storage.tsdb.path={self.directory / 'store'}",
            f"--web.listen-address=127.0.0.1:{self.port}",
            "--web.enable-remote-write-receiver",
            "--web.enable-admin-api",
            "--storage.tsdb.retention.time=10y",
            "--log.level=warn",
        ]
        if self._block_duration != "2h":
            arguments.append(f"--storage.tsdb.min-block-duration={self._block_duration}")
            arguments.append(f"--storage.tsdb.max-block-duration={self._block_duration}")
        return arguments, None

    def ready_path(self) -> str:
        return "/-/ready"

    def encode(self, parts: Sequence[Readings]) -> list[list[bytes]]:
        return remote_writes(parts, CONNECTIONS)

    def load(self, encoded: Sequence[Sequence[bytes]]) -> Loaded:
        seconds = post_waves(self.port, "/api/v1/write", encoded, _HEADERS)
        return Loaded(seconds, seconds)

    def settle(self) -> None:
        """Waits until the head has become blocks as far as it does by itself."""
        while self._compacting():
            time.sleep(0.5)

    def _compacting(self) -> bool:
        """Tells whether the head is longer than one and a half blocks: then it is still being cut."""
        told = request(self.port, "GET", "/metrics").decode().splitlines()
        head = {
            name: float(value)
            for line in told
            if line.startswith(("prometheus_tsdb_head_min_time ", "prometheus_tsdb_head_max_time "))
            for name, value in [line.split()]
        }
        length = head["prometheus_tsdb_head_max_time"] - head["prometheus_tsdb_head_min_time"]
        return length > 1.5 * _MILLIS[self._block_duration]

    def stored_bytes(self) -> int:
        made = json.loads(request(self.port, "POST", "/api/v1/admin/tsdb/snapshot"))
        return tree_bytes(self.directory / "store" / "snapshots" / made["data"]["name"])


_MILLIS = {"2h": 7_200_000, "15d": 15 * 86_400_000}
