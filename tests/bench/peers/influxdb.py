"""InfluxDB 1, a field per metric."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from tests.bench.peers.encodings import line_protocol
from tests.bench.peers.http import CallFailed, asked, latencies, post_all, request
from tests.bench.peers.peer import HttpPeer, Loaded, tree_bytes, wait_until_still
from tests.bench.peers.questions import Latest, LatestAnswer, Question, WindowAnswer, Windows
from tests.bench.processes import free_port
from tests.bench.workload import COUNTERS, GAUGES, METRICS, MICROS, RATES, Readings

_DATABASE = "bench"
_LOOK_BACK = 300 * MICROS
"""How far newest values are searched: as far as PromQL does by itself."""
_SELECTED = {COUNTERS: 'NON_NEGATIVE_DIFFERENCE(LAST("{}"))', GAUGES: 'MAX("{}")', RATES: 'LAST("{}")'}


class InfluxDb(HttpPeer):
    """Loaded by line protocol; a write that was answered is in its log, synced, and visible."""

    name = "influxdb"
    title = "InfluxDB"
    note = (
        "InfluxDB: line protocol, a field per metric, 8,000 lines a request over 2 connections; increases are "
        "NON_NEGATIVE_DIFFERENCE(LAST()), which knows no resets; bytes after the full compaction of cold shards"
    )

    def __init__(self, directory: Path, shard_duration: str = "7d") -> None:
        super().__init__(directory)
        self._shard_duration = shard_duration
        self._settling = False

    def command(self) -> tuple[list[str], Mapping[str, str] | None]:
        environment = {
            "INFLUXDB_META_DIR": str(self.directory / "meta"),
            "INFLUXDB_DATA_DIR": str(self.directory / "data"),
            "INFLUXDB_DATA_WAL_DIR": str(self.directory / "wal"),
            "INFLUXDB_HTTP_BIND_ADDRESS": f"127.0.0.1:{self.port}",
            "INFLUXDB_BIND_ADDRESS": f"127.0.0.1:{free_port()}",
            "INFLUXDB_HTTP_LOG_ENABLED": "false",
            "INFLUXDB_DATA_QUERY_LOG_ENABLED": "false",
            "INFLUXDB_REPORTING_DISABLED": "true",
            "INFLUXDB_MONITOR_STORE_ENABLED": "false",
        }
        if self._settling:
            environment["INFLUXDB_DATA_CACHE_SNAPSHOT_WRITE_COLD_DURATION"] = "1s"
            environment["INFLUXDB_DATA_COMPACT_FULL_WRITE_COLD_DURATION"] = "1s"
        return ["influxd", "run", "-config", os.devnull], os.environ | environment

    def ready_path(self) -> str:
        return "/ping"

    def start(self) -> float:
        seconds = super().start()
        create = f"CREATE DATABASE {_DATABASE} WITH DURATION INF SHARD DURATION {self._shard_duration}"
        request(self.port, "POST", f"/query?{urlencode({'q': create})}")
        return seconds

    def encode(self, parts: Sequence[Readings]) -> list[bytes]:
        return line_protocol(parts)

    def load(self, encoded: Sequence[bytes]) -> Loaded:
        seconds = post_all(self.port, f"/write?db={_DATABASE}&precision=ms", encoded)
        return Loaded(seconds, seconds)

    def settle(self) -> None:
        """Starts it anew with the times after which shards count as cold cut to a second, and waits."""
        self._settling = True
        self.stop()
        self.start()
        wait_until_still(self._files, still=15, limit=600)

    def _files(self) -> list[tuple[str, int]]:
        found = chain((self.directory / "data").rglob("*"), (self.directory / "wal").rglob("*"))
        return sorted((str(path), path.stat().st_size) for path in found if path.is_file())

    def stored_bytes(self) -> int:
        # What is left of the log is in the data as well: its last file goes when the next one begins.
        return tree_bytes(self.directory / "data", self.directory / "meta")

    def windows(self, question: Windows) -> WindowAnswer:
        results = self._results(self._question(question))
        answer: dict[str, dict[int, float]] = {}
        for metrics, result in zip(_SELECTED, results, strict=True):
            rows = result["series"][0]["values"]
            for place, metric in enumerate(metrics, 1):
                answer[metric] = {
                    (row[0] * 1_000 - question.start) // question.width: float(row[place])
                    for row in rows
                    if row[place] is not None
                }
        return answer

    def latest(self, question: Latest) -> LatestAnswer:
        (result,) = self._results(self._question(question))
        return {
            (series["tags"]["source"], metric): float(series["values"][0][place])
            for series in result["series"]
            for place, metric in enumerate(METRICS, 1)
        }

    def latencies(self, question: Question, calls: int) -> list[float]:
        return latencies(self.url(f"/query?{urlencode(self._parameters(self._question(question)))}"), calls)

    def _question(self, question: Question) -> str:
        if isinstance(question, Latest):
            newest = ", ".join(f'LAST("{metric}")' for metric in METRICS)
            since = question.moment - _LOOK_BACK
            return f"SELECT {newest} FROM readings WHERE time >= {since * 1_000} GROUP BY source"
        end = question.end * 1_000
        windows = f"time < {end} AND source = '{question.source}' GROUP BY time({question.width}u)"
        statements = []
        for metrics, selector in _SELECTED.items():
            columns = ", ".join(selector.format(metric) for metric in metrics)
            # The first difference needs the last value of the window before.
            start = question.start - question.width if metrics == COUNTERS else question.start
            statements.append(f"SELECT {columns} FROM readings WHERE time >= {start * 1_000} AND {windows}")
        return "; ".join(statements)

    def _parameters(self, query: str) -> dict[str, str]:
        return {"db": _DATABASE, "epoch": "ms", "q": query}

    def _results(self, query: str) -> Any:
        results = asked(self.port, "/query", self._parameters(query))["results"]
        if wrong := [result["error"] for result in results if "error" in result]:
            raise CallFailed(f"InfluxDB: {wrong}")
        return results
