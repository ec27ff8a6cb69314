"""What every system in the comparison can do, and how the process of one is run."""

from __future__ import annotations

import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench.peers.http import CallFailed, request
from tests.bench.peers.questions import Latest, LatestAnswer, Question, WindowAnswer, Windows
from tests.bench.processes import START_SECONDS, free_port, stopped_at_the_end
from tests.bench.workload import Readings

STOP_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Loaded:
    """How long a load took, in seconds from its first byte."""

    durable: float
    """Until it would survive the end of the process, as far as the system promises that."""
    queryable: float
    """Until queries see all of it."""


class Peer(ABC):
    """A system with a store of its own in a directory; it is started, loaded, asked, and stopped."""

    name: str
    """For names of measurements."""
    title: str
    """For people."""
    in_time_order: bool = False
    """Takes all series together in the order of time, and not one after the other."""
    note: str
    """What is to be known of how it is measured."""

    @abstractmethod
    def start(self) -> float:
        """Starts it on what its directory holds; returns the seconds until it answers."""

    @abstractmethod
    def stop(self) -> None:
        """Ends its processes in the regular way."""

    @abstractmethod
    def encode(self, parts: Sequence[Readings]) -> Any:
        """Returns readings as what `load` takes. The clock does not run."""

    @abstractmethod
    def load(self, encoded: Any) -> Loaded:
        """Stores what `encode` has made."""

    @abstractmethod
    def settle(self) -> None:
        """Lets it compact, or makes it, and waits until that is done."""

    @abstractmethod
    def stored_bytes(self) -> int:
        """Returns the size of everything that it keeps on disk of the data, after `settle`."""

    @abstractmethod
    def peak_memory(self) -> int:
        """Returns the most memory that it has had resident since its start, in bytes."""

    @abstractmethod
    def windows(self, question: Windows) -> WindowAnswer:
        """Returns the answer to a question, to be compared with others."""

    @abstractmethod
    def latest(self, question: Latest) -> LatestAnswer:
        """Returns the answer to a question, to be compared with others."""

    @abstractmethod
    def latencies(self, question: Question, calls: int) -> list[float]:
        """Asks one call after the other; returns the seconds that each took."""


class HttpPeer(Peer):
    """A system that is one process which answers HTTP."""

    def __init__(self, directory: Path) -> None:
        """`directory` is empty, and its own."""
        self.directory = directory
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def command(self) -> tuple[list[str], Mapping[str, str] | None]:
        """Returns its command line, and its environment where it is told what to do by that."""

    @abstractmethod
    def ready_path(self) -> str:
        """Returns the path that answers with a success when it is ready."""

    def start(self) -> float:
        self.port = free_port()
        log = self.directory.with_suffix(".log")
        arguments, environment = self.command()
        begun = time.perf_counter()
        with log.open("ab") as output:
            self._process = subprocess.Popen(arguments, env=environment, stdout=output, stderr=subprocess.STDOUT)
        while self._process.poll() is None and time.perf_counter() - begun < START_SECONDS:
            with suppress(OSError, CallFailed):
                request(self.port, "GET", self.ready_path())
                return time.perf_counter() - begun
            time.sleep(0.002)
        self.stop()
        raise RuntimeError(f"{self.title} does not start:\n{log.read_text()[-2000:]}")

    def stop(self) -> None:
        if self._process is not None:
            with stopped_at_the_end(self._process, STOP_SECONDS):
                self._process = None

    def peak_memory(self) -> int:
        assert self._process is not None
        return peak_memory(self._process.pid)

    def url(self, path: str) -> str:
        """Returns the address of a path of it."""
        return f"http://127.0.0.1:{self.port}{path}"


def peak_memory(pid: int) -> int:
    """Returns the most memory that a process has had resident, in bytes (Linux)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"process {pid} does not tell its peak memory")


def tree_bytes(*directories: Path) -> int:
    """Returns what all files in directories and below take, those with holes without these."""
    found = (path.stat() for directory in directories for path in directory.rglob("*") if path.is_file())
    return sum(min(status.st_size, status.st_blocks * 512) for status in found)


def wait_until_still(measure: Any, *, still: float, limit: float) -> None:
    """Waits until what is measured has stayed the same for `still` seconds.

    Raises:
        TimeoutError: it still changes after `limit` seconds.
    """
    deadline = time.monotonic() + limit
    seen, since = measure(), time.monotonic()
    while time.monotonic() - since < still:
        if time.monotonic() > deadline:
            raise TimeoutError(f"not still after {limit:.0f} s")
        time.sleep(0.2)
        if (now := measure()) != seen:
            seen, since = now, time.monotonic()
