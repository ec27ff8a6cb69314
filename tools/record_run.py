"""Turns recordings of a real Kafka Connect worker into the run that ships with the project.

    python tools/record_run.py RECORDINGS sdk/python/streamgauge/demo/debezium_run.jsonl.gz

RECORDINGS holds `timeline.json` (one reading of the worker's beans about every half second), `NN_phase.json` (Kafka
Connect's REST answers and a full Jolokia answer at chosen moments) and `NN_phase.metrics.prom.txt` (the same moments
through the Prometheus JMX exporter, which alone tells when each producer started). It is run once, by hand; the result
is committed and shipped, so nobody needs the recordings, and users of the package need no recorder: that is why it
lives beside the package and not in it. Equal recordings give equal bytes.

What it decides, in the order of a reading:

- A source is measured in parts, because its counters reset independently: Debezium's snapshot and streaming beans start
  again when Debezium reconnects, the task's and the producer's counters only when the task restarts.
- Every part carries the moment from which its counters count. Tasks and producers: the producer's `start-time-ms`.
  Debezium's beans have no such attribute: the first reading that shows the bean after it was missing, after the
  producer started anew, or, for snapshots, after another snapshot began.
- A missing bean gives no values. A topic's bean appears with the first record sent to the topic, so while a producer
  exists, a topic without a bean has sent nothing, and 0 is written. Without that 0 the first reading would have nothing
  to be compared with, and what was sent before it would be lost.
- -1 of the millisecond gauges means "no value" and is not written.
- A Debezium connector whose streaming bean is missing is `disconnected`, whatever Kafka Connect says: with its database
  down, connector and task go on to say RUNNING. Before a connector is seen for the first time nothing is said.
- `StreamingLastEvent` is kept although it holds the keys of rows: these rows are made up. A collector of real databases
  leaves it out or hashes it.
- Only named attributes are taken over. The recordings hold the connectors' configurations, with a password; nothing of
  them but the connector's class gets through.
"""

from __future__ import annotations

import argparse
import gzip
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from google.protobuf import json_format
from recordings import MAIN, Bean, Scrape, connectors, producer_starts, read
from streamgauge.v1 import common_pb2, source_service_pb2

Value = int | bool | str

TOPICS = {MAIN: tuple(f"{MAIN}.public.{table}" for table in ("customers", "orders", "dbz_signal"))}
"""The topics that a connector writes to in the course of the run."""
PARTS = {
    "snapshot": "family=debezium,context=snapshot,task=0",
    "streaming": "family=debezium,context=streaming,task=0",
    "task": "family=connect,task=0",
    "topic": "family=producer,task=0,topic=",
    "status": "family=debezium,context=snapshot,topic=",
}
"""The parts' names: `key=value` pairs; the family is whose counters they are, and so what resets together."""

SNAPSHOT = {
    "TotalNumberOfEventsSeen": "SnapshotTotalNumberOfEventsSeen",
    "MilliSecondsSinceLastEvent": "SnapshotMilliSecondsSinceLastEvent",
    "SnapshotRunning": "SnapshotRunning",
    "SnapshotCompleted": "SnapshotCompleted",
}
STREAMING = {
    "MilliSecondsBehindSource": "StreamingMilliSecondsBehindSource",
    "MilliSecondsSinceLastEvent": "StreamingMilliSecondsSinceLastEvent",
    "Connected": "StreamingConnected",
    "TotalNumberOfCreateEventsSeen": "StreamingTotalNumberOfCreateEventsSeen",
    "TotalNumberOfUpdateEventsSeen": "StreamingTotalNumberOfUpdateEventsSeen",
    "TotalNumberOfDeleteEventsSeen": "StreamingTotalNumberOfDeleteEventsSeen",
    "LastEvent": "StreamingLastEvent",
    "QueueRemainingCapacity": "StreamingQueueRemainingCapacity",  # not built in: sources may carry their own metrics
}
TASK = {"source-record-write-total": "sourceRecordWriteTotal"}
TOPIC = {"byte-total": "byteTotal", "record-send-total": "recordSendTotal", "record-retry-total": "recordRetryTotal"}
NO_VALUE_OF_GAUGES = {"MilliSecondsSinceLastEvent", "MilliSecondsBehindSource"}


@dataclass
class Rows:
    """The values of one part while its counters did not start anew."""

    start: int | None
    at: dict[int, dict[str, Value]] = field(default_factory=dict)


def snapshot_state(bean: Bean) -> str:
    """Returns the state that the snapshot bean's flags tell."""
    for flag, state in (
        ("SnapshotPaused", "paused"),
        ("SnapshotRunning", "running"),
        ("SnapshotAborted", "aborted"),
        ("SnapshotCompleted", "completed"),
        ("SnapshotSkipped", "skipped"),
    ):
        if bean[flag]:
            return state
    return "not_started"


def snapshot_status(connector: str, bean: Bean, topics: Mapping[str, Bean]) -> dict[str, str]:
    """Returns the snapshot's status of each topic whose table the snapshot captures.

    While it runs, Debezium lists the rows of finished tables and, of incremental snapshots, those of the table under
    way too: the listed tables are finished when there are as many as have left `RemainingTableCount`. That count alone
    says nothing about the end, as an empty table stays in it.
    """
    if bean["SnapshotCompleted"]:
        return {f"{connector}.{table}": "completed" for table in bean["CapturedTables"]}
    if not bean["SnapshotRunning"]:
        return {}
    scanned = bean["RowsScanned"]
    listed_are_finished = len(scanned) == bean["TotalTableCount"] - bean["RemainingTableCount"]
    statuses = {}
    for table in bean["CapturedTables"]:
        topic = f"{connector}.{table}"
        if table in scanned:
            statuses[topic] = "completed" if listed_are_finished else "running"
        else:
            statuses[topic] = "running" if topic in topics else "pending"
    return statuses


def values_of(bean: Bean, names: Mapping[str, str]) -> dict[str, Value]:
    """Returns the values of a bean's named attributes by metric, without those that mean "no value"."""
    values: dict[str, Value] = {}
    for attribute, metric in names.items():
        value = bean[attribute]
        if value is None or (attribute in NO_VALUE_OF_GAUGES and value == -1):
            continue
        values[metric] = int(value) if isinstance(value, float) else value  # Kafka's counters are doubles in JMX
    return values


class Recorder:
    """Collects the rows of one connector's parts."""

    def __init__(self, connector: str, producer_starts: Iterable[int], *, debezium: bool) -> None:
        self.connector = connector
        self.debezium = debezium
        self.parts: dict[str, list[Rows]] = {}
        self._producer_starts = list(producer_starts)
        self._before: Scrape | None = None
        self._exists = False
        self._epochs: dict[str, int] = {}

    def add(self, scrape: Scrape) -> None:
        """Adds a reading, the newest so far."""
        started = max((start for start in self._producer_starts if start <= scrape.time), default=None)
        self._exists |= scrape.task is not None
        if scrape.status is not None:
            self._put("", None, scrape.time, {"connector_status": scrape.status})
            if scrape.status == "Active":
                self._put("", None, scrape.time, {"state": "Streaming"})
        if scrape.task is not None:
            self._put(PARTS["task"], started, scrape.time, values_of(scrape.task, TASK))
        if scrape.topics is not None:
            self._add_topics(scrape.time, started, scrape.topics)
        if self.debezium and self._exists:
            self._add_debezium(scrape, started)
        self._before = scrape

    def _add_topics(self, time: int, started: int | None, topics: Mapping[str, Bean]) -> None:
        for topic in sorted({*TOPICS.get(self.connector, ()), *topics}):
            part = PARTS["topic"] + topic
            if topic in topics:
                values = values_of(topics[topic], TOPIC)
            else:
                values = dict.fromkeys(TOPIC.values(), 0)
                self._expect_nothing_sent(part, started, time)
            self._put(part, started, time, values)

    def _expect_nothing_sent(self, part: str, started: int | None, time: int) -> None:
        for rows in self.parts.get(part, []):
            if rows.start == started and any(any(values.values()) for values in rows.at.values()):
                raise ValueError(f"{part}: the bean vanished at {time} while its producer lived; 0 would be wrong")

    def _add_debezium(self, scrape: Scrape, started: int | None) -> None:
        self._add_streaming(scrape.time, started, scrape.streaming)
        if scrape.snapshot is None:
            self._epochs.pop("snapshot", None)
            return
        self._add_snapshot(scrape.time, started, scrape.snapshot)
        if "CapturedTables" in scrape.snapshot:  # only the phases' readings are that complete
            for topic, status in snapshot_status(self.connector, scrape.snapshot, scrape.topics or {}).items():
                self._put(PARTS["status"] + topic, None, scrape.time, {"snapshotStatus": status})

    def _add_streaming(self, time: int, started: int | None, bean: Bean | None) -> None:
        if bean is None:
            self._epochs.pop("streaming", None)
            self._put(PARTS["streaming"], None, time, {"streamingState": "disconnected"})
            return
        values = values_of(bean, STREAMING) | {"streamingState": "connected" if bean["Connected"] else "disconnected"}
        self._put(PARTS["streaming"], self._epoch("streaming", time, started), time, values)

    def _add_snapshot(self, time: int, started: int | None, bean: Bean) -> None:
        before = self._before.snapshot if self._before is not None else None
        if before is not None and bean["SnapshotRunning"] and not before["SnapshotRunning"]:
            self._epochs.pop("snapshot", None)  # another snapshot of the same task counts from zero
        values = values_of(bean, SNAPSHOT) | {"snapshotState": snapshot_state(bean)}
        self._put(PARTS["snapshot"], self._epoch("snapshot", time, started), time, values)

    def _epoch(self, context: str, time: int, started: int | None) -> int:
        """Returns since when the counters of a Debezium bean that is there count."""
        epoch = self._epochs.get(context)
        if epoch is None or (started is not None and epoch < started):
            self._epochs[context] = epoch = time
        return epoch

    def _put(self, part: str, start: int | None, time: int, values: Mapping[str, Value]) -> None:
        runs = self.parts.setdefault(part, [])
        if not runs or runs[-1].start != start:
            runs.append(Rows(start))
        runs[-1].at.setdefault(time, {}).update(values)


def frames(subject: str, recorder: Recorder) -> Iterator[common_pb2.Frame]:
    """Yields the frames of a connector: one per part and start of its counters, in order of part and time."""
    for part, runs in sorted(recorder.parts.items()):
        for rows in runs:
            times = sorted(rows.at)
            frame = common_pb2.Frame(subject=subject, part=part, time_unix_micros=times)
            if rows.start is not None:
                frame.start_time.FromMicroseconds(rows.start)
            for metric in sorted({metric for values in rows.at.values() for metric in values}):
                having = [index for index, time in enumerate(times) if metric in rows.at[time]]
                values = [rows.at[times[index]][metric] for index in having]
                column = frame.columns.add(metric=metric, rows=having if len(having) < len(times) else [])
                if isinstance(values[0], bool):
                    column.bools.values.extend(value is True for value in values)
                elif isinstance(values[0], int):
                    column.ints.values.extend(int(value) for value in values)
                else:
                    column.strings.values.extend(str(value) for value in values)
            yield frame


def source(connector: str, connector_class: str) -> source_service_pb2.CreateSourceRequest:
    """Returns the request that registers a connector as a source. Its id is the connector's name without `source_`."""
    technology = "debezium" if "debezium" in connector_class else "file"
    return source_service_pb2.CreateSourceRequest(
        source_id=connector.removeprefix("source_"),
        source=source_service_pb2.Source(
            display_name=f"Recorded {'Debezium' if technology == 'debezium' else 'file'} connector",
            connector_class=connector_class,
            labels={"demo": "recorded-run", "technology": technology},
        ),
    )


def record(recordings: Path) -> bytes:
    """Returns the run as gzipped JSON lines, each `{"source": CreateSourceRequest}` or `{"frame": Frame}`."""
    classes: dict[str, str] = {}
    for path in sorted(recordings.glob("[0-9][0-9]_*.json")):
        for connector, about in connectors(json.loads(path.read_text())).items():
            classes[connector] = about["info"]["config"]["connector.class"]
    starts = producer_starts(recordings)
    lines: list[dict[str, Any]] = []
    for connector, scrapes in sorted(read(recordings).items()):
        request = source(connector, classes[connector])
        lines.append({"source": json_format.MessageToDict(request)})
        recorder = Recorder(connector, starts[connector], debezium="debezium" in classes[connector])
        for scrape in scrapes:
            recorder.add(scrape)
        subject = f"sources/{request.source_id}"
        lines.extend({"frame": json_format.MessageToDict(frame)} for frame in frames(subject, recorder))
    text = "".join(json.dumps(line, sort_keys=True, separators=(",", ":")) + "\n" for line in lines)
    return gzip.compress(text.encode(), compresslevel=9, mtime=0)


def main() -> None:
    """Writes the run and says how large it is."""
    parser = argparse.ArgumentParser(description="Turn recordings of Kafka Connect into the bundled run.")
    parser.add_argument("recordings", type=Path, help="the folder of the recordings")
    parser.add_argument("output", type=Path, help="the file to write, *.jsonl.gz")
    arguments = parser.parse_args()
    packed = record(arguments.recordings)
    arguments.output.write_bytes(packed)
    print(f"{arguments.output}: {len(packed):,} bytes, {len(gzip.decompress(packed).splitlines())} lines")


if __name__ == "__main__":
    main()
