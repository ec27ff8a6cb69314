"""A server of its own process on this machine, for as long as somebody wants to try it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2

HOST = "127.0.0.1"
PORTS_TO_TRY = 100
START_SECONDS = 60.0
STOP_SECONDS = 30.0


class ServerFailed(Exception):
    """The server did not start, or ended by itself. The message names its log."""


def free_port(wanted: int) -> int:
    """Returns the first free port from `wanted` on. ServerFailed when 100 in a row are taken."""
    last = min(wanted + PORTS_TO_TRY, 65_536)
    for port in range(wanted, last):
        with socket.socket() as probe:
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return port
    raise ServerFailed(f"no free port from {wanted} to {last - 1}")


class LocalServer:
    """`streamgauge-server serve` with an SQLite file in a directory."""

    def __init__(self, directory: Path, port: int, http_port: int) -> None:
        self.target = f"{HOST}:{port}"
        self.http_url = f"http://{HOST}:{http_port}"
        self.log = directory / "server.log"
        self._database = directory / "streamgauge.db"
        self._http_port = http_port
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts the server and waits until it is healthy. ServerFailed, with the end of its log."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        arguments = ["serve", "--listen", self.target, "--database", f"sqlite:///{self._database}"]
        arguments += ["--http-port", str(self._http_port)]
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "streamgauge_server", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # Ctrl-C in a terminal goes to the whole group: it is ours, and we stop the server in order.
                start_new_session=True,
                env={name: value for name, value in os.environ.items() if not name.startswith("STREAMGAUGE_")},
            )
        self._wait_until_healthy(time.monotonic() + START_SECONDS)

    def wait(self) -> None:
        """Returns when the server has ended by itself, which it should not: raises ServerFailed."""
        assert self._process is not None
        # Not Popen.wait: the kernel may give a signal to a thread of gRPC, and then nothing wakes the main thread,
        # which alone runs Python's handlers.
        while self._process.poll() is None:
            time.sleep(0.2)
        raise ServerFailed(f"the server ended by itself with {self._process.returncode}{self._end_of_log()}")

    def stop(self) -> None:
        """Stops the server in order: it drains what is under way. After 30 s, or a second Ctrl-C, at once."""
        if self._process is None or self._process.poll() is not None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            self._process.kill()
            self._process.wait()

    def _wait_until_healthy(self, deadline: float) -> None:
        assert self._process is not None
        # The server is not there yet: gRPC would wait a second and more between its tries to connect.
        options = [
            ("grpc.enable_http_proxy", 0),
            ("grpc.initial_reconnect_backoff_ms", 50),
            ("grpc.min_reconnect_backoff_ms", 50),
            ("grpc.max_reconnect_backoff_ms", 200),
        ]
        with grpc.insecure_channel(self.target, options) as channel:
            check = channel.unary_unary(
                "/grpc.health.v1.Health/Check",
                request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
                response_deserializer=health_pb2.HealthCheckResponse.FromString,
            )
            while time.monotonic() < deadline:
                if self._process.poll() is not None:
                    raise ServerFailed(f"the server ended with {self._process.returncode}{self._end_of_log()}")
                try:
                    answer = check(health_pb2.HealthCheckRequest(), timeout=0.5, wait_for_ready=True)
                except grpc.RpcError:
                    continue  # not listening yet; the loop has its own end
                if answer.status == health_pb2.HealthCheckResponse.SERVING:
                    return
                time.sleep(0.05)
        raise ServerFailed(f"the server did not become healthy within {START_SECONDS:g} s{self._end_of_log()}")

    def _end_of_log(self) -> str:
        tail = self.log.read_text("utf-8", "replace").splitlines()[-15:]
        return f"; the end of {self.log}:\n" + "\n".join(f"  {line}" for line in tail)
