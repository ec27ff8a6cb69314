"""What all measures of one run share: the ceiling, the generator, stores, profiles and the moment called now."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median

from tests.bench import profiles
from tests.bench.echo_server import PATH as ECHO_METHOD
from tests.bench.generator import PREFIX_BYTES, Command, Generator, Result, write_bodies
from tests.bench.machine import Noise
from tests.bench.postgres import DurableCluster, cluster
from tests.bench.processes import Served, echo_server, streamgauge_server
from tests.bench.report import number
from tests.bench.workload import MICROS

SQLITE, POSTGRESQL = "sqlite", "postgresql"
ENGINES = (SQLITE, POSTGRESQL)

PROFILE_SECONDS = 8.0


@dataclass(frozen=True, slots=True)
class Scale:
    """How much to measure."""

    call_rounds: int
    call_seconds: float
    """Of each side of a round with concurrent callers."""
    import_rounds: int
    import_sources: int
    """Sources in each round of the import, each with a day of readings."""
    read_rounds: int
    read_calls: int
    """Serial calls of each side of a round, unless they take longer than `read_seconds`."""
    read_seconds: float
    crowd_step: int
    """Microseconds between two readings of the sources that are stored beside the one that is read."""
    assets: int
    """Assets in each round of emits."""
    asset_rounds: int
    latest_calls: int
    """Serial calls for the newest values of many assets, in each round."""
    collector_polls: int
    """Polls of a collector, ten seconds each."""
    runs: int
    """Runs of jobs that plots are of."""
    report_batches: int
    """Requests with 1,000 reports of runs, in each round."""
    rest_readings: int
    """Readings of each source whose newest values are read by REST."""


FULL = Scale(
    call_rounds=15,
    call_seconds=2.0,
    import_rounds=5,
    import_sources=16,
    read_rounds=15,
    read_calls=100,
    read_seconds=2.0,
    crowd_step=15 * MICROS,
    assets=100_000,
    asset_rounds=3,
    latest_calls=20,
    collector_polls=6,
    runs=10_000_000,
    report_batches=10,
    rest_readings=240,
)
QUICK = Scale(
    call_rounds=5,
    call_seconds=1.0,
    import_rounds=3,
    import_sources=6,
    read_rounds=7,
    read_calls=30,
    read_seconds=0.5,
    crowd_step=120 * MICROS,
    assets=10_000,
    asset_rounds=3,
    latest_calls=10,
    collector_polls=2,
    runs=200_000,
    report_batches=3,
    rest_readings=60,
)


@dataclass(frozen=True, slots=True)
class Round:
    """One round of a load: on the ceiling, then on the server. Processor time in seconds a call."""

    echo: Result
    subject: Result
    echo_cpu: float
    subject_cpu: float


class Session:
    """One run of the harness: a context that ends every process it has started."""

    def __init__(
        self, scale: Scale, engine: str, noise: Noise, directory: Path, profile_directory: Path | None
    ) -> None:
        """Stores and requests go to `directory`; with `profile_directory` every measure leaves a profile there."""
        self.scale = scale
        self.engine = engine
        self.noise = noise
        self.directory = directory
        self.now = time.time_ns() // 1_000_000_000 * MICROS
        """The end of all data and of every range, in microseconds."""
        self._profile_directory = profile_directory
        self._processes = ExitStack()
        self._cluster: DurableCluster | None = None
        self._files = 0

    def __enter__(self) -> Session:
        with ExitStack() as processes:
            if self.engine == POSTGRESQL:
                self._cluster = processes.enter_context(cluster())
            self.generator = processes.enter_context(Generator())
            self.echo = processes.enter_context(echo_server())
            self._echo_bodies = self.bodies("echo", [b""])
            self._processes = processes.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._processes.close()

    def name(self, measure: str) -> str:
        """Returns the name under which a measure is reported: with the engine, unless it is SQLite."""
        return measure if self.engine == SQLITE else f"{measure}_{self.engine}"

    def bodies(self, name: str, messages: Sequence[bytes]) -> str:
        """Writes requests for the generator; returns their file."""
        return str(write_bodies(self.file(name), messages))

    def file(self, name: str) -> Path:
        """Returns a path for a new file."""
        self._files += 1
        return self.directory / f"{self._files}-{name}"

    @contextmanager
    def store(self) -> Iterator[str]:
        """Makes a place for a store, yields its URL, and clears it away."""
        if self._cluster is not None:
            with self._cluster.database() as url:
                yield url
        else:
            with tempfile.TemporaryDirectory(dir=self.directory) as place:
                yield f"sqlite:///{place}/store.db"

    @contextmanager
    def server(self, *, http_port: int | None = None) -> Iterator[Served]:
        """Runs the server on an empty store, with a gateway if that gets a port."""
        with self.store() as url, streamgauge_server(url, self.file("server.log"), http_port=http_port) as served:
            yield served

    def rounds(self, command: Command, served: Served, count: int) -> list[Round]:
        """Puts the same load on the ceiling and on the server in turns."""
        on_echo = replace(
            command,
            target=self.echo.target,
            method=ECHO_METHOD,
            bodies=self._echo_bodies,
            again=True,
            minimum_bytes=PREFIX_BYTES,
        )
        rounds = []
        for _ in range(count):
            self.noise.take()
            echo, echo_cpu = self.load(on_echo, self.echo)
            subject, subject_cpu = self.load(command, served)
            rounds.append(Round(echo, subject, echo_cpu, subject_cpu))
        return rounds

    def load(self, command: Command, served: Served) -> tuple[Result, float]:
        """Puts a load on a server; returns what it gave, and the processor time of a call in seconds."""
        before = served.cpu()
        result = self.generator.run(command)
        return result, (served.cpu() - before) / result.calls

    @property
    def profiling(self) -> bool:
        """Tells whether profiles are wanted."""
        return self._profile_directory is not None

    def profile_calls(self, measure: str, served: Served, command: Command) -> list[str]:
        """Makes calls for a while under the sampler, if profiles are wanted; returns what it found, as lines."""
        longer = replace(command, seconds=PROFILE_SECONDS, calls=0)
        return self.profile(measure, served, partial(self.generator.run, longer))

    def profile(self, measure: str, served: Served, load: Callable[[], object]) -> list[str]:
        """Runs a load under the sampler, if profiles are wanted; returns what it found, as lines."""
        if self._profile_directory is None:
            return []
        path = self._profile_directory / f"profile-{self.name(measure)}.txt"
        with profiles.sampled(served.pid, path):
            load()
        return profiles.summary(path)


def cost(rounds: Sequence[Round]) -> str:
    """Returns a line on what a call costs the processors of the server, and how long callers waited."""
    subject, echo = (
        median(values) * 1e6 for values in zip(*((r.subject_cpu, r.echo_cpu) for r in rounds), strict=True)
    )
    waits = [median(side) * 1e3 for side in zip(*((r.subject.median, r.subject.p99) for r in rounds), strict=True)]
    return (
        f"server processor time {number(subject)} us a call against {number(echo)} us of an echo "
        f"({echo / subject:.2f}); callers waited {number(waits[0])} ms (median), {number(waits[1])} ms (99 %)"
    )
