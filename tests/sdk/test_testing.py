"""The server that the SDK offers to other people's tests."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from streamgauge import (
    Client,
    NotFoundError,
    Observation,
    TooManyWindowsError,
    UnavailableError,
    testing,
)


def test_every_server_has_a_store_of_its_own_and_is_gone_afterwards() -> None:
    before = set(threading.enumerate())
    with testing.server() as one, testing.server() as two:
        assert one.target != two.target
        one.client().metrics.write([Observation("sources/orders", {"a": 1})]).raise_for_rejected()
        assert one.client().sources.get("orders").id == "orders"
        with pytest.raises(NotFoundError):
            two.client().sources.get("orders")
        target = one.target
    with Client(target, timeout=0.5) as client, pytest.raises(UnavailableError):
        client.server.info()
    left = set(threading.enumerate()) - before
    assert not [thread for thread in left if thread.name == "streamgauge-server"]


def test_clients_of_the_server_are_closed_with_it() -> None:
    with testing.server() as server:
        client = server.client()
        client.server.info()
    with pytest.raises(RuntimeError, match="closed"):
        client.server.info()


def test_settings_of_the_server_may_be_given(tmp_path: Path) -> None:
    with testing.server(
        limits={"max_windows": 10}, database=f"sqlite:///{tmp_path}/store.db", subject_registration="closed"
    ) as server:
        client = server.client()
        client.sources.create("orders")
        with pytest.raises(TooManyWindowsError):
            client.sources.timeseries("orders")
        refused = client.metrics.write([Observation("sources/unknown", {"a": 1})])
        assert refused.errors[0].reason == "SOURCE_NOT_FOUND"
    assert (tmp_path / "store.db").exists()


def test_a_server_that_cannot_start_says_why() -> None:
    with pytest.raises(Exception, match="database"), testing.server(database="mysql://nowhere"):
        raise AssertionError("it started")
    with pytest.raises(ValueError, match="listening"), testing.server(listening="127.0.0.1:0"):
        raise AssertionError("it started")


def test_the_servers_own_health_is_served() -> None:
    with testing.server() as server, grpc.insecure_channel(server.target) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        answer = stub.Check(health_pb2.HealthCheckRequest())
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_without_the_servers_dependencies_the_error_names_the_extra() -> None:
    program = """
    import sys
    sys.modules["sqlalchemy"] = None
    from streamgauge import testing
    try:
        with testing.server():
            pass
    except ImportError as error:
        print(error)
    """
    told = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=True, timeout=60
    )
    assert told.stdout == "testing.server() needs the server: pip install 'streamgauge[server]'\n"


def test_the_fixtures_serve_a_test_suite_of_somebody_else(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["streamgauge.testing.fixtures"]\n')
    (tmp_path / "test_theirs.py").write_text(
        textwrap.dedent("""
        from streamgauge import Observation

        def test_write(streamgauge_server, streamgauge_client):
            assert streamgauge_client.target == streamgauge_server.target
            streamgauge_client.metrics.write([Observation("sources/orders", {"byteTotal": 1})]).raise_for_rejected()
            assert streamgauge_client.sources.latest("orders")["byteTotal"].value == 1
        """)
    )
    told = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-W",
            "error",
            "-p",
            "no:cacheprovider",
            "-p",
            "no:asyncio",
            str(tmp_path),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert told.returncode == 0, told.stdout + told.stderr
    assert "1 passed" in told.stdout
