"""`streamgauge-server` as a process of its own."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

SECONDS = 60.0
"""How long a process may take for what a test waits for: the machine may be busy."""


def environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("STREAMGAUGE_")}


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "streamgauge_server", *arguments]


def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end."""
    return subprocess.run(
        command(*arguments), cwd=cwd, env=environment(), capture_output=True, text=True, timeout=SECONDS, check=False
    )


class ServerProcess:
    """A running `serve`, with its log lines as they come. Use as a context manager: it is killed at the end."""

    def __init__(self, *arguments: str, cwd: Path, program: str = "serve") -> None:
        """`program` is another command that goes on like it."""
        self.lines: list[dict[str, Any]] = []
        self._queue: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self.process = subprocess.Popen(
            command(program, "--log-format", "json", *arguments),
            cwd=cwd,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def __enter__(self) -> ServerProcess:
        return self

    def __exit__(self, *error: object) -> None:
        if self.process.poll() is None:
            # Workers see the supervisor go by the end of their standard input.
            self.process.kill()
        self.process.wait()
        self._reader.join()
        assert self.process.stderr is not None
        self.process.stderr.close()

    def wait_for(self, event: str, count: int = 1, where: Callable[[dict[str, Any]], bool] = bool) -> dict[str, Any]:
        """Returns the `count`th log line of an event, as soon as it is there."""
        deadline = time.monotonic() + SECONDS
        while True:
            found = [line for line in self.lines if line["event"] == event and where(line)]
            if len(found) >= count:
                return found[count - 1]
            try:
                line = self._queue.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                line = None
            if line is None:
                raise AssertionError(f"the server ended or was too slow before {event!r}: {self.lines}")
            self.lines.append(line)

    def address(self) -> str:
        """Returns where the server listens, once it does."""
        return str(self.wait_for("serving")["address"])

    def terminate(self) -> None:
        """Sends SIGTERM."""
        self.process.send_signal(signal.SIGTERM)

    def wait(self) -> int:
        """Returns the exit status."""
        status = self.process.wait(SECONDS)
        self._reader.join()
        while (line := self._queue.get()) is not None:
            self.lines.append(line)
        self._queue.put(None)
        return status

    def events(self) -> list[str]:
        """Returns the events of all lines that were read, in their order."""
        return [line["event"] for line in self.lines]

    def _read(self) -> None:
        assert self.process.stderr is not None
        for text in self.process.stderr:
            try:
                self._queue.put(json.loads(text))
            except ValueError:
                self._queue.put({"event": text.rstrip(), "raw": True})
        self._queue.put(None)
