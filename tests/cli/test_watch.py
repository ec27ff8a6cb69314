"""`streamgauge watch`: samples as they are written, until Ctrl-C."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from datetime import UTC, datetime

import pytest
from streamgauge import Client, Observation

from tests.cli.conftest import CommandLine

T0 = datetime(2026, 1, 1, 12, tzinfo=UTC)


def test_a_watch_prints_what_is_written_and_says_where_to_go_on(target: str, client: Client) -> None:
    with client.metrics.watch(["sources/watched"]) as watch:
        begin = next(watch.messages()).cursor
    command = [sys.executable, "-m", "streamgauge.cli", "watch", "sources/watched", "--target", target, "--cursor"]
    with subprocess.Popen([*command, begin], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        client.metrics.write([Observation("sources/watched", {"rows": 1_234, "state": "ok"}, time=T0)])
        assert process.stdout.readline().endswith("  sources/watched  rows=1,234 state=ok\n")
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
        cursor = process.stderr.read().split("--cursor ")[1].strip()
    client.metrics.write([Observation("sources/watched", {"rows": 5}, part="0", time=T0, start_time=T0)])
    arguments = [*command, cursor, "--output", "jsonl"]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        told = json.loads(process.stdout.readline())
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
    assert told.pop("time") == told.pop("start_time")
    assert told == {"subject": "sources/watched", "part": "0", "values": {"rows": 5}}


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("sources/a", "-o", "json"), "use --output table or jsonl"),
        ((), "name subjects, or kinds"),
        (("sources/a", "--kind", "sources"), "name subjects, or kinds"),
    ],
)
def test_wrong_usage_is_told(cli: CommandLine, arguments: tuple[str, ...], problem: str) -> None:
    result = cli("watch", *arguments)
    assert (result.exit_code, problem in result.stderr) == (2, True)


def test_the_line_for_grpcurl(cli: CommandLine) -> None:
    assert "MetricsService/WatchMetrics" in cli.ok("watch", "--kind", "sources", "--show-grpcurl")
