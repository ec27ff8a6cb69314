"""The processes that are measured: the server with a store of its own, and the ceiling."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.bench.machine import cpu_seconds

START_SECONDS = 60.0
STOP_SECONDS = 30.0
MAX_MESSAGE = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Served:
    """A server process that answers."""

    target: str
    pid: int

    def cpu(self) -> float:
        """Returns the processor time that it has used, in seconds."""
        return cpu_seconds(self.pid)

    @contextmanager
    def channel(self) -> Iterator[grpc.Channel]:
        """Opens an ordinary channel to it."""
        options = [
            ("grpc.max_receive_message_length", MAX_MESSAGE),
            ("grpc.use_local_subchannel_pool", 1),
            # A server that starts is asked again soon: by default a second later, which would be its time to start.
            ("grpc.initial_reconnect_backoff_ms", 20),
            ("grpc.min_reconnect_backoff_ms", 20),
            ("grpc.max_reconnect_backoff_ms", 20),
        ]
        with grpc.insecure_channel(self.target, options=options) as channel:
            yield channel


@contextmanager
def echo_server() -> Iterator[Served]:
    """Runs the ceiling as a process."""
    process = subprocess.Popen([sys.executable, "-m", "tests.bench.echo_server"], stdout=subprocess.PIPE, text=True)
    with stopped_at_the_end(process):
        assert process.stdout is not None
        target = process.stdout.readline().strip()
        if not target:
            raise RuntimeError("the echo server did not start")
        yield Served(target, process.pid)


@contextmanager
def streamgauge_server(url: str, log: Path, *, http_port: int | None = None) -> Iterator[Served]:
    """Runs the server as anybody would start it, with the defaults of its settings and an access log into a file.

    With `http_port` its gateway serves there.

    Raises:
        RuntimeError: it does not serve in time; with the end of its log.
    """
    target = f"127.0.0.1:{free_port()}"
    arguments = ["serve", "--listen", target, "--database", url, "--migrate"]
    if http_port is not None:
        arguments += ["--http-port", str(http_port)]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "streamgauge_server", *arguments], stdout=output, stderr=subprocess.STDOUT
        )
    with stopped_at_the_end(process):
        served = Served(target, process.pid)
        _wait_until_serving(served, process, log)
        yield served


@contextmanager
def fastapi_service(path: Path, log: Path) -> Iterator[Served]:
    """Runs the service that REST is compared with, on a SQLite file; its tables are there when it is.

    Raises:
        RuntimeError: it does not serve in time; with the end of its log.
    """
    port = free_port()
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.fastapi_service", str(path), str(port)],
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    with stopped_at_the_end(process):
        if not _listens(process, port):
            raise RuntimeError(f"the service does not serve:\n{log.read_text()[-2000:]}")
        yield Served(f"127.0.0.1:{port}", process.pid)


@dataclass(frozen=True, slots=True)
class Collecting(Served):
    """A collector's process; its target is none."""

    metrics_url: str


@contextmanager
def flink_cluster(jobs: int) -> Iterator[str]:
    """Runs a fake Flink cluster as a process; yields its address."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.bench.flink_cluster", str(jobs)], stdout=subprocess.PIPE, text=True
    )
    with stopped_at_the_end(process):
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        if not address:
            raise RuntimeError("the fake cluster did not start")
        yield address


@contextmanager
def collector(url: str, cluster: str, log: Path) -> Iterator[Collecting]:
    """Runs a collector of one cluster as anybody would start it, with its metrics.

    Raises:
        RuntimeError: its metrics are not served in time; with the end of its log.
    """
    port = free_port()
    arguments = ["collect", "flink", "--database", url, "--set", "migrate=always", "--cluster", f"bench={cluster}"]
    arguments += ["--metrics-port", str(port)]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "streamgauge_server", *arguments], stdout=output, stderr=subprocess.STDOUT
        )
    with stopped_at_the_end(process):
        if not _listens(process, port):
            raise RuntimeError(f"the collector does not start:\n{log.read_text()[-2000:]}")
        yield Collecting("", process.pid, f"http://127.0.0.1:{port}/metrics")


def _listens(process: subprocess.Popen[bytes], port: int) -> bool:
    """Waits until a process listens on its port; tells whether it does."""
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
        except OSError:
            time.sleep(0.1)
            continue
        return True
    return False


def _wait_until_serving(served: Served, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    with served.channel() as channel:
        health: Any = health_pb2_grpc.HealthStub(channel)
        while process.poll() is None and time.monotonic() < deadline:
            try:
                answer = health.Check(health_pb2.HealthCheckRequest(), timeout=5, wait_for_ready=True)
            except grpc.RpcError as error:
                if error.code() not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
                    raise
                continue
            if answer.status == health_pb2.HealthCheckResponse.SERVING:
                return
    raise RuntimeError(f"the server does not serve:\n{log.read_text()[-2000:]}")


def free_port() -> int:
    """Returns a port of loopback that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextmanager
def stopped_at_the_end(
    process: subprocess.Popen[bytes] | subprocess.Popen[str], seconds: float = STOP_SECONDS
) -> Iterator[None]:
    """Ends a process after the block, and kills it when it does not end in time."""
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
