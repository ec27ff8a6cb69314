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
        process = subprocess.Popen(
            [sys.executable, "-m", "streamgauge.demo", "--directory", str(tmp_path), "--port", str(port), *arguments],
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


def test_everything_that_is_printed_works_as_printed(demo: Callable[..., Demo]) -> None:
    running = demo()
    done = subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", running.block], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    out = done.stdout
    assert "streamgauge.v1.MetricsService" in out
    assert "rpc GetSourceMetrics" in out
    assert '"100340"' in out
    assert "4 windows of 1 minute" in out
    assert "78,111" in out
    assert "Snapshot of source_67ad6e0af08a2365c729ba79.public.orders: completed" in out
    assert "sourceRecordWriteTotal: 100,340 across 4 resets" in out
    assert "recordRetryTotal: 45 across 12 resets" in out
    assert "Error" not in done.stderr


def test_questions_without_a_range_have_an_answer_at_once(demo: Callable[..., Demo]) -> None:
    with Client(demo().target) as client:
        assert client.sources.timesummary(SOURCE)["sourceRecordWriteTotal"].value == 100_340


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_the_server_in_order(demo: Callable[..., Demo], tmp_path: Path, number: signal.Signals) -> None:
    running = demo()
    assert listens(running.target)
    out, _ = running.stop(number)
    assert running.process.returncode == 0
    assert "Stopping the server." in out
    assert not listens(running.target)
    last = (tmp_path / "server.log").read_text().splitlines()[-1]
    assert json.loads(last)["event"] == "stopped"


def test_the_second_start_finds_its_store_and_imports_nothing(demo: Callable[..., Demo]) -> None:
    first = demo()
    _, errors = first.stop()
    assert "Importing the recorded run" in errors
    second = demo()
    with Client(second.target) as client:
        client.sources.create("mine")
        summary = client.sources.timesummary(SOURCE)
        assert summary["sourceRecordWriteTotal"].value == 100_340
        assert summary["sourceRecordWriteTotal"].sample_count == 183
    assert second.block.replace(second.target, first.target) == first.block
    _, errors = second.stop()
    assert errors == ""


def test_a_store_with_other_sources_is_left_as_it_is(demo: Callable[..., Demo]) -> None:
    running = demo()
    with Client(running.target) as client:
        for source in client.sources.list():
            client.sources.delete(source.id)
        client.sources.create("mine")
    running.stop()
    again = demo()
    with Client(again.target) as client:
        assert [source.id for source in client.sources.list()] == ["mine"]
    assert SOURCE not in again.block
    subprocess.run(["bash", "-e", "-c", again.block], capture_output=True, timeout=60, check=True)


def test_a_store_with_access_tokens_is_served_and_says_what_calls_need(demo: Callable[..., Demo]) -> None:
    running = demo()
    with Client(running.target) as client:
        secret = client.tokens.create(["admin"]).secret
    running.stop()
    again = demo()
    environment = {**os.environ, "STREAMGAUGE_TOKEN": secret}
    done = subprocess.run(
        ["bash", "-e", "-c", again.block], capture_output=True, text=True, timeout=60, check=True, env=environment
    )
    assert f"sources/{SOURCE}" in done.stdout


def test_a_taken_port_gives_the_next_and_says_so(demo: Callable[..., Demo]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        running = demo(port=port)
    assert running.target != f"127.0.0.1:{port}"
    assert f"Port {port} is taken, so the port is {running.target.partition(':')[2]}." in running.printed


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
    server = LocalServer(tmp_path, free_port(22_000))
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
