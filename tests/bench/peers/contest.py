"""One store of every system, loaded and asked in turns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

from tests.bench.machine import Noise
from tests.bench.peers.peer import Peer
from tests.bench.peers.questions import Question
from tests.bench.workload import Readings, readings

MAX_CALLS = 200
SLOW_SECONDS, SLOW_ROUNDS = 2.0, 3
"""Who takes longer for a call is asked in so many rounds only."""


@dataclass(frozen=True, slots=True)
class DataSet:
    """Readings of sources, from `start` on, `count` of each, `step` apart; microseconds."""

    first_source: int
    sources: int
    start: int
    count: int
    step: int

    @property
    def end(self) -> int:
        """The first moment after it."""
        return self.start + self.count * self.step

    def of(self, number: int) -> Readings:
        """Returns the readings of one of its sources."""
        return readings(self.first_source + number, self.start, self.count, step=self.step)

    def parts(self, sources: int, rounds: int, *, in_time_order: bool) -> Iterator[list[Readings]]:
        """Yields the first sources in as many parts as there are rounds: some sources each, or some time of all."""
        if in_time_order:
            every = [self.of(number) for number in range(sources)]
        for turn in range(rounds):
            if in_time_order:
                rows = slice(self.count * turn // rounds, self.count * (turn + 1) // rounds)
                yield [cut(one, rows) for one in every]
            else:
                yield [self.of(number) for number in range(sources * turn // rounds, sources * (turn + 1) // rounds)]


def cut(whole: Readings, rows: slice) -> Readings:
    """Returns some of the readings of a source."""
    columns = {metric: values[rows] for metric, values in whole.columns.items()}
    return Readings(whole.source, whole.times[rows], columns, whole.starts[rows])


@dataclass(slots=True)
class Results:
    """What was measured of each system, by its name; a list has an entry per round."""

    durable_rates: dict[str, list[float]] = field(default_factory=dict)
    """Samples a second."""
    queryable_rates: dict[str, list[float]] = field(default_factory=dict)
    samples: dict[str, int] = field(default_factory=dict)
    stored: dict[str, int] = field(default_factory=dict)
    """Bytes."""
    peaks: dict[str, int] = field(default_factory=dict)
    """Bytes."""
    starts: dict[str, list[float]] = field(default_factory=dict)
    """Seconds."""


class Contest:
    """Systems that are measured one after the other in every round, so that what disturbs one disturbs all."""

    def __init__(self, peers: Sequence[Peer], noise: Noise) -> None:
        """The peers are started."""
        self.peers = peers
        self.results = Results()
        self._noise = noise

    def load(self, data: DataSet, rounds: int, sources: Mapping[str, int] | None = None) -> None:
        """Loads a data set, a part of it in every round; of `sources` given by a peer's name, only so many of them."""
        wanted = {peer.name: (sources or {}).get(peer.name, data.sources) for peer in self.peers}
        parts = {
            peer.name: data.parts(wanted[peer.name], rounds, in_time_order=peer.in_time_order) for peer in self.peers
        }
        for _ in range(rounds):
            self._noise.take()
            for peer in self.peers:
                part = next(parts[peer.name])
                samples = sum(one.sample_count for one in part)
                if not samples:  # fewer sources than rounds
                    continue
                loaded = peer.load(peer.encode(part))
                self.results.durable_rates.setdefault(peer.name, []).append(samples / loaded.durable)
                self.results.queryable_rates.setdefault(peer.name, []).append(samples / loaded.queryable)
                self.results.samples[peer.name] = self.results.samples.get(peer.name, 0) + samples
                del part

    def settle(self) -> None:
        """Notes the memory used until now, lets all compact, and measures what they keep on disk."""
        self.note_peaks()
        for peer in self.peers:
            peer.settle()
            self.results.stored[peer.name] = peer.stored_bytes()

    def note_peaks(self) -> None:
        """Notes the most memory that each has used since it was started."""
        for peer in self.peers:
            self.results.peaks[peer.name] = max(self.results.peaks.get(peer.name, 0), peer.peak_memory())

    def ask(self, question: Question, rounds: int, seconds: float) -> dict[str, list[float]]:
        """Asks all in turns, each for about so many seconds a round, at least once; returns each round's median."""
        calls: dict[str, int] = {}
        asked: dict[str, int] = {}
        for peer in self.peers:
            first, second = (peer.latencies(question, 1)[0] for _ in range(2))
            calls[peer.name] = min(MAX_CALLS, 1 + int(seconds / min(first, second)))
            asked[peer.name] = rounds if second < SLOW_SECONDS else min(rounds, SLOW_ROUNDS)
        found: dict[str, list[float]] = {peer.name: [] for peer in self.peers}
        for turn in range(rounds):
            self._noise.take()
            for peer in self.peers:
                if turn < asked[peer.name]:
                    found[peer.name].append(median(peer.latencies(question, calls[peer.name])))
        medians = (f"{peer.title} {median(found[peer.name]) * 1e3:.2f}" for peer in self.peers)
        print(f"  ms: {', '.join(medians)}", flush=True)
        return found

    def restart(self, rounds: int) -> None:
        """Measures how long each takes until it is ready, on what it has stored."""
        for _ in range(rounds):
            for peer in self.peers:
                peer.stop()
                self.results.starts.setdefault(peer.name, []).append(peer.start())
