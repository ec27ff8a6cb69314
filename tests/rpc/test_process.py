"""The server as a process: started, stopped under load, doubled, and refused."""

from __future__ import annotations

import os
import signal
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.request import ProxyHandler, build_opener

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client.parser import text_string_to_metric_families
from streamgauge.v1 import (
    metrics_service_pb2,
    metrics_service_pb2_grpc,
    server_service_pb2,
    server_service_pb2_grpc,
    source_service_pb2,
    source_service_pb2_grpc,
)

from tests.rpc.processes import SECONDS, ServerProcess, run

ANY_PORT = ("--listen", "127.0.0.1:0")
SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


def _get(url: str) -> str:
    """Returns what a page on this machine says, whatever proxy the environment names."""
    with build_opener(ProxyHandler({})).open(url, timeout=SECONDS) as answer:
        text: str = answer.read().decode()
    return text


def write_request(value: int = 7) -> metrics_service_pb2.WriteMetricsRequest:
    request = metrics_service_pb2.WriteMetricsRequest()
    request.observations.add(subject="sources/orders").values["byteTotal"].int64_value = value
    return request


def write(channel: grpc.Channel) -> metrics_service_pb2.WriteMetricsResponse:
    return metrics_service_pb2_grpc.MetricsServiceStub(channel).WriteMetrics(write_request(), timeout=SECONDS)


def health(channel: grpc.Channel) -> Any:
    return health_pb2_grpc.HealthStub(channel)


def source_exists(channel: grpc.Channel) -> bool:
    request = source_service_pb2.ListSourcesRequest()
    answer = source_service_pb2_grpc.SourceServiceStub(channel).ListSources(request, timeout=SECONDS)
    return [source.name for source in answer.sources] == ["sources/orders"]


def metric(url: str, name: str, method: str, code: str = "") -> float | None:
    """Returns the value of a metric of a method on a Prometheus endpoint."""
    for family in text_string_to_metric_families(_get(url)):
        for sample in family.samples:
            labels = sample.labels
            if (sample.name, labels.get("grpc_method"), labels.get("grpc_code", "")) == (name, method, code):
                return sample.value
    return None


def wait_for_metric(url: str, name: str, method: str, value: float) -> None:
    deadline = time.monotonic() + SECONDS
    while metric(url, name, method) != value:
        assert time.monotonic() < deadline, f"{name} of {method} did not become {value}"
        time.sleep(0.01)


def test_a_stop_under_load_finishes_calls_commits_and_exits_with_0(tmp_path: Path) -> None:
    """SIGTERM while a write waits for the database and a watch is open."""
    with ServerProcess(*ANY_PORT, "--metrics-port", "0", cwd=tmp_path) as server, ThreadPoolExecutor(4) as pool:
        metrics = server.wait_for("serving metrics")["url"]
        with grpc.insecure_channel(server.address()) as channel:
            write(channel)
            watch = health(channel).Watch(health_pb2.HealthCheckRequest(), timeout=SECONDS)
            assert next(watch).status == SERVING
            # Another process holds the write lock: the next write waits inside of the server.
            lock = sqlite3.connect(tmp_path / "streamgauge.db", isolation_level=None)
            lock.execute("BEGIN IMMEDIATE")
            waiting = pool.submit(
                metrics_service_pb2_grpc.MetricsServiceStub(channel).WriteMetrics, write_request(8), timeout=SECONDS
            )
            wait_for_metric(metrics, "grpc_server_in_flight", "WriteMetrics", 1.0)
            server.terminate()
            assert next(watch).status == NOT_SERVING
            with pytest.raises(grpc.RpcError) as ended:
                next(watch)
            assert ended.value.code() is grpc.StatusCode.UNAVAILABLE
            assert not waiting.done()
            lock.execute("ROLLBACK")
            lock.close()
            assert waiting.result(SECONDS).accepted_count == 1
        assert server.wait() == 0
        events = server.events()
        assert events.index("stopping") < events.index("stopped") == len(events) - 1
    with sqlite3.connect(tmp_path / "streamgauge.db") as database:
        assert database.execute("SELECT count(*) FROM blocks").fetchone() == (2,)
    database.close()


def test_sigint_stops_it_too_and_new_calls_are_refused_meanwhile(tmp_path: Path) -> None:
    with ServerProcess(*ANY_PORT, "--set", "stop_delay_seconds=0", cwd=tmp_path) as server:
        address = server.address()
        server.process.send_signal(signal.SIGINT)
        assert server.wait() == 0
        with grpc.insecure_channel(address) as channel, pytest.raises(grpc.RpcError) as refused:
            write(channel)
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE


def test_while_it_delays_its_stop_it_still_answers(tmp_path: Path) -> None:
    with (
        ServerProcess(*ANY_PORT, "--set", "stop_delay_seconds=60", cwd=tmp_path) as server,
        grpc.insecure_channel(server.address()) as channel,
    ):
        write(channel)
        server.terminate()
        server.wait_for("stopping")
        assert health(channel).Check(health_pb2.HealthCheckRequest(), timeout=SECONDS).status == NOT_SERVING
        assert source_exists(channel)


def test_a_second_server_on_the_port_is_refused_with_a_reason(tmp_path: Path) -> None:
    with ServerProcess(*ANY_PORT, cwd=tmp_path) as server:
        address = server.address()
        for workers in ("1", "2"):
            second = run("serve", "--listen", address, "--workers", workers, cwd=tmp_path)
            assert second.returncode == 3
            assert f"cannot listen on {address}" in second.stderr
        with grpc.insecure_channel(address) as channel:
            write(channel)


def test_workers_share_the_port_are_restarted_and_stop_together(tmp_path: Path) -> None:
    with ServerProcess(*ANY_PORT, "--workers", "2", cwd=tmp_path) as server:
        first, second = server.wait_for("serving"), server.wait_for("serving", 2)
        address = first["address"]
        assert second["address"] == address
        assert {first["worker"], second["worker"]} == {0, 1}
        pids = {line["worker"]: line["pid"] for line in (first, second)}
        with grpc.insecure_channel(address) as channel:
            write(channel)
        os.kill(pids[1], signal.SIGKILL)
        died = server.wait_for("worker ended, starting another")
        assert (died["worker_index"], died["status"]) == (1, -signal.SIGKILL)
        again = server.wait_for("serving", 3)
        assert again["worker"] == 1
        assert again["pid"] != pids[1]
        # Connections go to either worker; all see the same store.
        for _ in range(8):
            with grpc.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
                assert source_exists(channel)
        server.terminate()
        assert server.wait() == 0
        assert server.events().count("stopped") == 2
        for pid in (pids[0], again["pid"]):
            with pytest.raises(ProcessLookupError):
                os.kill(pid, 0)


def test_workers_end_when_their_supervisor_is_killed(tmp_path: Path) -> None:
    with ServerProcess(*ANY_PORT, "--workers", "2", cwd=tmp_path) as server:
        server.wait_for("serving", 2)
        server.process.kill()
        server.wait_for("stopped", 2)


def test_workers_that_cannot_start_end_the_supervisor_with_their_reason(tmp_path: Path) -> None:
    done = run("serve", *ANY_PORT, "--workers", "2", "--tls-cert", "none.pem", "--tls-key", "none.key", cwd=tmp_path)
    assert done.returncode == 3
    assert "cannot read none.pem" in done.stderr


def test_metrics_are_served_to_prometheus_on_a_port_of_their_own(tmp_path: Path) -> None:
    with ServerProcess(*ANY_PORT, "--metrics-port", "0", cwd=tmp_path) as server:
        url = server.wait_for("serving metrics")["url"]
        with grpc.insecure_channel(server.address()) as channel:
            write(channel)
        assert metric(url, "grpc_server_handled_total", "WriteMetrics", "OK") == 1.0
        assert metric(url, "grpc_server_handling_seconds_count", "WriteMetrics") == 1.0
        assert metric(url, "grpc_server_started_total", "GetSource") == 0.0
        text = _get(url)
    assert "process_cpu_seconds_total" in text
    assert "streamgauge_build_info" in text


def test_postgresql_with_a_stale_schema_is_refused_and_migrated_when_told(tmp_path: Path, pg_cluster: object) -> None:
    url = pg_cluster.create_database(migrated=False)  # type: ignore[attr-defined]
    try:
        refused = run("serve", *ANY_PORT, "--database", url, cwd=tmp_path)
        assert refused.returncode == 3
        assert "migrate" in refused.stderr
        with ServerProcess(*ANY_PORT, "--database", url, "--migrate", cwd=tmp_path) as server:
            with grpc.insecure_channel(server.address()) as channel:
                answer = server_service_pb2_grpc.ServerServiceStub(channel).GetServerInfo(
                    server_service_pb2.GetServerInfoRequest(), timeout=SECONDS
                )
                assert answer.store.engine == "postgresql"
                write(channel)
                assert source_exists(channel)
            server.terminate()
            assert server.wait() == 0
    finally:
        pg_cluster.drop_database(url)  # type: ignore[attr-defined]


def test_an_sqlite_server_migrates_itself_unless_it_is_told_not_to(tmp_path: Path) -> None:
    refused = run("serve", *ANY_PORT, "--no-migrate", cwd=tmp_path)
    assert refused.returncode == 3
    with ServerProcess(*ANY_PORT, cwd=tmp_path) as server:
        server.address()
        server.terminate()
        assert server.wait() == 0
    with ServerProcess(*ANY_PORT, "--no-migrate", cwd=tmp_path) as server:
        server.address()
