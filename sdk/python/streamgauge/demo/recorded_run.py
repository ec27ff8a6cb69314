"""The recorded run as messages of the contract, at its own time or moved to another."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib import resources

from google.protobuf import json_format

from streamgauge.v1 import common_pb2, source_service_pb2

MAIN_SOURCE = "sources/67ad6e0af08a2365c729ba79"
"""The source that was followed throughout; the others were seen at single moments."""

_FILE = "debezium_run.jsonl.gz"
_MINUTE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class RecordedRun:
    """Sources, and frames of what was measured, in the order in which to write them.

    A source is measured in parts, named by `key=value` pairs after what resets together:

    - `family=debezium,context=snapshot,task=0` and `family=debezium,context=streaming,task=0`: Debezium's beans,
    - `family=connect,task=0`: the counters of Kafka Connect's task,
    - `family=producer,task=0,topic=...`: the counters of the producer, by topic,
    - `family=debezium,context=snapshot,topic=...`: the snapshot's status, by topic,
    - the empty part: what Kafka Connect says about connector and tasks together.
    """

    sources: tuple[source_service_pb2.CreateSourceRequest, ...]
    frames: tuple[common_pb2.Frame, ...]

    @property
    def first_time(self) -> datetime:
        """The moment of the first reading, UTC."""
        return _to_datetime(min(min(frame.time_unix_micros) for frame in self.frames))

    @property
    def last_time(self) -> datetime:
        """The moment of the last reading, UTC."""
        return _to_datetime(max(max(frame.time_unix_micros) for frame in self.frames))

    @property
    def sample_count(self) -> int:
        """How many values the frames hold."""
        return sum(samples_of(frame) for frame in self.frames)

    def moved_to(self, end: datetime) -> RecordedRun:
        """Returns the run moved by whole minutes so that it ends within the minute before `end`.

        Whole minutes, so that every value stays in its place within the windows.
        """
        shift = (end - self.last_time) // _MINUTE * _MINUTE
        micros = shift // timedelta(microseconds=1)
        moved = []
        for frame in self.frames:
            copy = common_pb2.Frame()
            copy.CopyFrom(frame)
            copy.time_unix_micros[:] = [time + micros for time in frame.time_unix_micros]
            if frame.HasField("start_time"):
                copy.start_time.FromMicroseconds(frame.start_time.ToMicroseconds() + micros)
            moved.append(copy)
        return RecordedRun(self.sources, tuple(moved))


def samples_of(frame: common_pb2.Frame) -> int:
    """Returns how many values a frame holds."""
    return sum(len(column.rows) or len(frame.time_unix_micros) for column in frame.columns)


def load() -> RecordedRun:
    """Reads the run that ships with the package."""
    packed = resources.files("streamgauge.demo").joinpath(_FILE).read_bytes()
    return parse(gzip.decompress(packed).decode().splitlines())


def parse(lines: Iterable[str]) -> RecordedRun:
    """Returns the run of JSON lines, each `{"source": CreateSourceRequest}` or `{"frame": Frame}`.

    Raises ValueError for a line that is neither.
    """
    sources: list[source_service_pb2.CreateSourceRequest] = []
    frames: list[common_pb2.Frame] = []
    for line in lines:
        match json.loads(line):
            case {"source": source, **rest} if not rest:
                sources.append(json_format.ParseDict(source, source_service_pb2.CreateSourceRequest()))
            case {"frame": frame, **rest} if not rest:
                frames.append(json_format.ParseDict(frame, common_pb2.Frame()))
            case other:
                raise ValueError(f"neither a source nor a frame: {str(other)[:80]}")
    return RecordedRun(tuple(sources), tuple(frames))


def _to_datetime(micros: int) -> datetime:
    return datetime.fromtimestamp(0, UTC) + timedelta(microseconds=micros)
