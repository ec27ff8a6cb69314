"""The process that makes calls, and its handle: one JSON command per line in, one JSON answer per line out."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType

from tests.bench import http1, http2
from tests.bench.http2 import MAX_FRAME, GeneratorError, Load

PREFIX_BYTES = 5


@dataclass(frozen=True, slots=True)
class Command:
    """Calls to make: until the time is over, or the requests are."""

    target: str
    method: str
    bodies: str
    """File of requests, as `write_bodies` writes it. Each run goes on where the one before ended."""
    callers: int
    connections: int
    seconds: float
    calls: int = 0
    """At most so many calls, 0 for no bound."""
    again: bool = False
    """Begin again with the first request after the last one."""
    minimum_bytes: int = PREFIX_BYTES
    """Smallest good answer, its prefix included."""
    http1: bool = False
    """Requests are whole ones of HTTP/1.1 instead of gRPC messages; every caller has a connection."""


@dataclass(frozen=True, slots=True)
class Result:
    """What the calls gave; times in seconds."""

    calls: int
    seconds: float
    median: float
    p99: float

    @property
    def rate(self) -> float:
        """Calls per second."""
        return self.calls / self.seconds


class Generator:
    """A generator process. A failed call is an error of the measurement, never left out of it."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.generator"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(self, command: Command) -> Result:
        """Makes calls and returns when all are answered.

        Raises:
            GeneratorError: a call failed, or a connection broke.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(asdict(command)) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline() or '{"error": "the generator died"}')
        if "error" in answer:
            raise GeneratorError(f"{command.method}: {answer['error']}")
        return Result(**answer)

    def __enter__(self) -> Generator:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def write_bodies(path: Path, messages: Iterable[bytes]) -> Path:
    """Writes encoded messages as gRPC sends them: one zero byte (not compressed), the length, the message."""
    with path.open("wb") as file:
        for message in messages:
            file.write(b"\0" + len(message).to_bytes(4) + message)
    return path


def read_bodies(path: Path) -> list[bytes]:
    """Reads what `write_bodies` wrote, each message with its prefix."""
    packed, at, bodies = path.read_bytes(), 0, []
    while at < len(packed):
        end = at + PREFIX_BYTES + int.from_bytes(packed[at + 1 : at + PREFIX_BYTES])
        bodies.append(packed[at:end])
        at = end
    if not bodies or max(map(len, bodies)) > MAX_FRAME:
        raise GeneratorError(f"{path.name}: {len(bodies)} requests, of which every one must fit into {MAX_FRAME} bytes")
    return bodies


class _Requests:
    """The requests of one file, and how far they are used up."""

    def __init__(self, path: Path) -> None:
        self._bodies = read_bodies(path)
        self._at = 0

    def take(self, count: int, *, again: bool) -> Iterator[bytes]:
        """Yields the next requests, at most `count` of them (0: no bound)."""
        taken = 0
        while not count or taken < count:
            if self._at == len(self._bodies):
                if not again:
                    return
                self._at = 0
            self._at += 1
            taken += 1
            yield self._bodies[self._at - 1]


def _run(command: Command, requests: _Requests) -> dict[str, object]:
    bodies = requests.take(command.calls, again=command.again)
    if command.http1:
        bodies = (body[PREFIX_BYTES:] for body in bodies)
    load = Load(bodies, time.perf_counter() + command.seconds, command.minimum_bytes)
    callers = command.callers
    try:
        seconds = asyncio.run(
            http1.drive(command.target, load, callers=callers)
            if command.http1
            else http2.drive(command.target, command.method, load, callers=callers, connections=command.connections)
        )
    except (GeneratorError, OSError) as error:
        return {"error": str(error)}
    tally = load.tally
    if tally.failed or not tally.latencies:
        return {"error": f"{tally.failed} failed, {len(tally.latencies)} went well: {tally.first_failure}"}
    return asdict(Result(len(tally.latencies), seconds, _rank(tally.latencies, 0.5), _rank(tally.latencies, 0.99)))


def _rank(values: Sequence[float], share: float) -> float:
    return sorted(values)[int(share * (len(values) - 1))]


def main() -> None:
    """Answers commands until the input ends."""
    by_path: dict[str, _Requests] = {}
    for line in sys.stdin:
        command = Command(**json.loads(line))
        if command.bodies not in by_path:
            by_path[command.bodies] = _Requests(Path(command.bodies))
        print(json.dumps(_run(command, by_path[command.bodies])), flush=True)


if __name__ == "__main__":
    main()
