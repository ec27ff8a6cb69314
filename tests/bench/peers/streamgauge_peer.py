"""streamgauge itself, on either engine."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from google.protobuf.message import Message
from streamgauge.v1 import common_pb2, metrics_service_pb2, metrics_service_pb2_grpc

from tests.bench.imports import import_all, messages
from tests.bench.peers.http import latencies
from tests.bench.peers.peer import Loaded, Peer, peak_memory, tree_bytes
from tests.bench.peers.questions import Latest, LatestAnswer, Question, WindowAnswer, Windows
from tests.bench.postgres import DurableCluster
from tests.bench.processes import Served, streamgauge_server
from tests.bench.workload import DAY, Readings, frames

QUERY = "/streamgauge.v1.MetricsService/QueryMetrics"
LATEST = "/streamgauge.v1.MetricsService/GetLatestMetrics"


class Streamgauge(Peer):
    """The server as anybody would start it: one process, the defaults of its settings, SQLite."""

    name = "streamgauge"
    title = "streamgauge"
    note = (
        "streamgauge: ImportMetrics, one stream; an answer means durable (synced) and visible; bytes of the store's "
        "file after a regular stop"
    )

    def __init__(self, directory: Path) -> None:
        """`directory` is empty, and its own."""
        self.directory = directory
        self._served: Served | None = None
        self._processes = ExitStack()

    def url(self) -> str:
        """Returns the store's URL."""
        return f"sqlite:///{self.directory}/store.db"

    def start(self) -> float:
        begun = time.perf_counter()
        log = self.directory.with_suffix(".log")
        self._served = self._processes.enter_context(streamgauge_server(self.url(), log))
        return time.perf_counter() - begun

    def stop(self) -> None:
        self._processes.close()
        self._served = None

    @property
    def served(self) -> Served:
        """The running server."""
        assert self._served is not None
        return self._served

    def encode(self, parts: Sequence[Readings]) -> list[bytes]:
        return list(messages(frame for one in parts for frame in frames(one)))

    def load(self, encoded: Sequence[bytes]) -> Loaded:
        begun = time.perf_counter()
        import_all(self.served, encoded)
        seconds = time.perf_counter() - begun
        return Loaded(seconds, seconds)

    def settle(self) -> None:
        """Imports of days that are over are stored as they stay."""

    def stored_bytes(self) -> int:
        self.stop()
        stored = tree_bytes(self.directory)
        self.start()
        return stored

    def peak_memory(self) -> int:
        return peak_memory(self.served.pid)

    def windows(self, question: Windows) -> WindowAnswer:
        with self.served.channel() as channel:
            answer = metrics_service_pb2_grpc.MetricsServiceStub(channel).QueryMetrics(_query(question), timeout=600)
        (series,) = answer.series
        found: dict[str, dict[int, float]] = {}
        for column in series.columns:
            values = getattr(column, column.WhichOneof("values") or "").values
            found[column.metric] = dict(zip(column.windows or range(len(values)), map(float, values), strict=True))
        return found

    def latest(self, question: Latest) -> LatestAnswer:
        with self.served.channel() as channel:
            answer = metrics_service_pb2_grpc.MetricsServiceStub(channel).GetLatestMetrics(
                _latest(question), timeout=600
            )
        return {
            (subject.subject, latest.metric): float(getattr(latest.value, latest.value.WhichOneof("kind") or ""))
            for subject in answer.subjects
            for latest in subject.values
        }

    def latencies(self, question: Question, calls: int) -> list[float]:
        method, request = (QUERY, _query(question)) if isinstance(question, Windows) else (LATEST, _latest(question))
        return latencies(f"http://{self.served.target}{method}", calls, body=_prefixed(request), grpc=True)


class StreamgaugeOnPostgres(Streamgauge):
    """The same on PostgreSQL."""

    name = "streamgauge_postgresql"
    title = "streamgauge on PostgreSQL"
    note = "streamgauge on PostgreSQL: bytes of all its tables after VACUUM; memory of the server without the database"

    def __init__(self, directory: Path, cluster: DurableCluster) -> None:
        """The cluster runs, and may have other databases."""
        super().__init__(directory)
        self._cluster = cluster
        self._url = cluster.create_database(migrated=False)

    def url(self) -> str:
        return self._url

    def stored_bytes(self) -> int:
        for statement in ("VACUUM ANALYZE", "CHECKPOINT"):
            self._cluster.execute(statement, self._url)
        ((stored,),) = self._cluster.execute(_TABLES_BYTES, self._url)
        return int(stored)


_TABLES_BYTES = (
    "SELECT sum(pg_total_relation_size(oid)) FROM pg_class "
    "WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
)


def _query(question: Windows) -> metrics_service_pb2.QueryMetricsRequest:
    request = metrics_service_pb2.QueryMetricsRequest(subjects=[question.source])
    request.time_range.start_time.FromMicroseconds(question.start)
    request.time_range.end_time.FromMicroseconds(question.end)
    request.window.count = 1
    request.window.unit = common_pb2.WINDOW_UNIT_DAY if question.width == DAY else common_pb2.WINDOW_UNIT_HOUR
    return request


def _latest(question: Latest) -> metrics_service_pb2.GetLatestMetricsRequest:
    # The value as reported, which is what the others can tell: not the total across resets.
    return metrics_service_pb2.GetLatestMetricsRequest(
        subjects=question.sources, counter_mode=common_pb2.COUNTER_MODE_RAW
    )


def _prefixed(message: Message) -> bytes:
    content = message.SerializeToString()
    return b"\0" + len(content).to_bytes(4) + content
