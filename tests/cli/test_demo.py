"""`streamgauge demo`: what a newcomer sees, from the first line to Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from streamgauge import Client, testing
from streamgauge.demo import loader, recorded_run
from streamgauge.demo import run as demo_run
from streamgauge.demo.local_server import LocalServer, ServerFailed, free_port
from streamgauge.v1 import source_service_pb2

from tests.cli.conftest import CommandLine

LAST_LINE = "Stop the server with Ctrl-C.\n"
NO_HTTP = "http://127.0.0.1:1"
SOURCE = "67ad6e0af08a2365c729ba79"


@dataclass
class Demo:
    """A running `python -m streamgauge.demo`."""

    process: subprocess.Popen[str]
    printed: str

    @property
    def block(self) -> str:
        """The lines that it says can be tried."""
        return self.printed.partition("What to try in another terminal:\n")[2].removesuffix(LAST_LINE)

    @property
    def target(self) -> str:
        return self.printed.partition("The server listens on ")[2].partition(";")[0]

    def stop(self, number: signal.Signals = signal.SIGINT) -> tuple[str, str]:
        """Sends a signal, waits, and returns the rest of what was printed."""
        self.process.send_signal(number)
        return self.process.communicate(timeout=60)


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Callable[..., Demo]]:
    """Starts a demo and waits until it has said all."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str, port: int = 20_000 + os.getpid() % 10_000) -> Demo:
        ports = ["--port", str(port), "--http-port", str(30_000 + os.getpid() % 10_000)]
        process = subprocess.Popen(
            [sys.executable, "-m", "streamgauge.demo", "--directory", str(tmp_path), *ports, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stdout is not None
        printed = ""
        while not printed.endswith(LAST_LINE):  # pytest's own timeout is the bound
            line = process.stdout.readline()
            assert line, (printed, process.communicate())
            printed += line
        return Demo(process, printed)

    yield start
    for process in started:
        if process.poll() is None:
            process.terminate()
            process.communicate(timeout=60)


def listens(target: str) -> bool:
    host, _, port = target.partition(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) == 0


def stopped_in_order(running: Demo, directory: Path, number: signal.Signals) -> str:
    """Stops a demo by a signal, checks that all is in order, and returns what it printed on standard error."""
    assert listens(running.target)
    out, errors = running.stop(number)
    assert running.process.returncode == 0
    assert "Stopping the server." in out
    assert not listens(running.target)
    last = (directory / "server.log").read_text().splitlines()[-1]
    assert json.loads(last)["event"] == "stopped"
    return errors


def in_a_shell(block: str, **variables: str) -> str:
    """Runs a block of lines as printed, every line of which must succeed, and returns what they print."""
    done = subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", block],
        capture_output=True,
        text=True,
        env={**os.environ, **variables},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Error" not in done.stderr
    return done.stdout


def test_a_newcomers_first_and_second_run(demo: Callable[..., Demo], tmp_path: Path) -> None:
    first = demo()
    out = in_a_shell(first.block)
    assert "streamgauge.v1.MetricsService" in out
    assert "rpc GetSourceMetrics" in out
    assert '"100340"' in out
    assert "4 windows of 1 minute" in out
    assert "78,111" in out
    assert "Snapshot of source_67ad6e0af08a2365c729ba79.public.orders: completed" in out
    assert '"rawValue":{"stringValue":"Unknown"}' in out
    assert '"sourceRecordWriteTotal":100340' in out
    assert "sourceRecordWriteTotal: 100,340 across 4 resets" in out
    assert "recordRetryTotal: 45 across 12 resets" in out
    with Client(first.target) as client:  # a question without a range is about the last 24 hours
        before = client.sources.timesummary(SOURCE)["sourceRecordWriteTotal"]
        client.sources.create("mine")
    assert before.value == 100_340
    assert "Importing the recorded run" in stopped_in_order(first, tmp_path, signal.SIGINT)

    second = demo()
    assert second.block.replace(second.target, first.target) == first.block
    with Client(second.target) as client:
        assert client.sources.timesummary(SOURCE)["sourceRecordWriteTotal"] == before
        assert client.sources.get("mine").id == "mine"
    assert stopped_in_order(second, tmp_path, signal.SIGTERM) == ""


def test_a_taken_port_gives_the_next_and_says_so(demo: Callable[..., Demo], tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        running = demo(port=port)
    assert running.target != f"127.0.0.1:{port}"
    assert f"Port {port} is taken, so the port is {running.target.partition(':')[2]}." in running.printed
    stopped_in_order(running, tmp_path, signal.SIGHUP)


def test_a_store_with_other_sources_is_left_as_it_is() -> None:
    with testing.server() as server:
        client = server.client()
        client.sources.create("mine")
        block = demo_run._prepare(client, NO_HTTP)
        assert [source.id for source in client.sources.list()] == ["mine"]
        assert "sources/mine" in in_a_shell(block)


def test_a_store_with_access_tokens_is_served_and_says_what_calls_need() -> None:
    with testing.server() as server:
        client = server.client()
        client.sources.create("mine")
        secret = client.tokens.create(["admin"]).secret
        assert "sources/mine" in in_a_shell(demo_run._prepare(client, NO_HTTP), STREAMGAUGE_TOKEN=secret)


def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    (tmp_path / "streamgauge.db").write_bytes(b"this is no database, whatever its name says" * 100)
    result = CommandLine(None)("demo", "run", "--directory", str(tmp_path), "--port", "21000")
    assert result.exit_code == 3
    assert f"the end of {tmp_path / 'server.log'}" in result.stderr
    assert "Traceback" not in result.stderr


def test_ports_are_tried_upwards() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert free_port(port) > port
    with pytest.raises(ServerFailed, match="no free port from 65536"):
        free_port(65_536)


def test_a_server_that_dies_ends_the_wait(tmp_path: Path) -> None:
    server = LocalServer(tmp_path, free_port(22_000), free_port(32_000))
    server.start()
    assert server._process is not None
    server._process.kill()
    with pytest.raises(ServerFailed, match="ended by itself with -9"):
        server.wait()
    server.stop()


def test_an_import_that_breaks_off_is_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken_off(client: Client, run: recorded_run.RecordedRun, console: object) -> int:
        loader.load(client, recorded_run.RecordedRun(run.sources[:2], run.frames[:3]))
        raise KeyboardInterrupt

    monkeypatch.setattr(loader, "load_with_progress", broken_off)
    with testing.server() as server, Client(server.target) as client:
        with pytest.raises(KeyboardInterrupt):
            demo_run._fill(client)
        assert list(client.sources.list()) == []


def test_a_frame_that_is_refused_is_an_error_and_not_a_gap() -> None:
    run = recorded_run.load()
    run.frames[0].subject = "nowhere"
    with testing.server() as server, Client(server.target) as client, pytest.raises(loader.RunRefused):
        loader.load(client, run)


def test_progress_counts_what_the_server_has_stored() -> None:
    run = recorded_run.load()
    stored: list[int] = []
    with testing.server() as server, Client(server.target) as client:
        total = loader.load(client, run, stored.append)
    assert len(stored) > 10
    assert sum(stored) == total == run.sample_count


def test_import_keeps_a_source_that_exists() -> None:
    run = recorded_run.load()
    with testing.server() as server, Client(server.target) as client:
        client.stubs.sources.CreateSource(
            source_service_pb2.CreateSourceRequest(
                source_id=SOURCE, source=source_service_pb2.Source(display_name="Mine")
            )
        )
        loader.load(client, run)
        assert client.sources.get(SOURCE).display_name == "Mine"


def test_the_command_imports_the_run_at_its_own_time_or_now(cli: CommandLine) -> None:
    run = recorded_run.load()
    result = cli("demo", "import", "-o", "json")
    assert result.exit_code == 0
    answer = json.loads(result.stdout)
    assert answer["samples"] == run.sample_count
    assert answer["first_time"] == "2026-11-22T00:14:54.479208Z"
    assert "Importing the recorded run" in result.stderr
    cli.ok("demo", "import", "--shift-to-now")
    assert "100,340" in cli.ok("sources", "metrics", SOURCE, "--type", "timesummary", "--from", "2026-11-22T00:14:00Z",
                               "--to", "2026-11-22T00:22:00Z")  # fmt: skip
