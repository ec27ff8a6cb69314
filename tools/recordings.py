"""Reads the recordings of a Kafka Connect worker: its beans and its REST answers, as one reading per moment."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Bean = Mapping[str, Any]

MAIN = "source_67ad6e0af08a2365c729ba79"
"""The connector that the timeline follows."""


@dataclass(frozen=True)
class Scrape:
    """What one reading says about one connector. None: the bean was missing, or the question was not asked."""

    time: int
    """Microseconds since the epoch."""
    streaming: Bean | None
    snapshot: Bean | None
    task: Bean | None
    topics: Mapping[str, Bean] | None
    """By topic; None without a producer."""
    status: str | None = None
    """The state of connector and tasks, from Kafka Connect's REST API."""


def scrape_of_timeline(entry: Bean) -> Scrape:
    """Returns the reading of an entry of the timeline, whose keys are `<bean>.<attribute>`."""

    def bean(prefix: str) -> Bean | None:
        return {key[len(prefix) :]: value for key, value in entry.items() if key.startswith(prefix)} or None

    topics = {key.removeprefix("prod."): value for key, value in entry.items() if key.startswith("prod.")}
    return Scrape(
        round(entry["t"] * 1_000_000),
        bean("strm."),
        bean("snap."),
        bean("task."),
        topics if "producer" in entry else None,
    )


def scrape_of_phase(phase: Bean, connector: str) -> Scrape:
    """Returns what a phase's Jolokia and REST answers say about a connector."""
    beans: dict[str, Bean] = {}
    for answer in phase["jolokia_response"]:
        if answer["status"] == 200:  # 404: no such bean, as when there is no connector or its database is down
            beans.update(answer["value"])
    client = f"connector-producer-{connector}-0"
    topics = {
        match[1]: bean
        for name, bean in beans.items()
        if (match := re.fullmatch(rf"kafka\.producer:client-id={client},topic=(.+),type=producer-topic-metrics", name))
    }
    return Scrape(
        phase["captured_at_ms"] * 1000,
        beans.get(f"debezium.postgres:context=streaming,server={connector},type=connector-metrics"),
        beans.get(f"debezium.postgres:context=snapshot,server={connector},type=connector-metrics"),
        beans.get(f"kafka.connect:connector={connector},task=0,type=source-task-metrics"),
        topics if f"kafka.producer:client-id={client},type=producer-metrics" in beans else None,
        connector_status(connectors(phase).get(connector)),
    )


def connectors(phase: Bean) -> Mapping[str, Bean]:
    """Returns what Kafka Connect said about each connector at a phase."""
    body: Mapping[str, Bean] = phase["connect"]["connectors_expanded"]["body"]
    return body


def connector_status(connector: Bean | None) -> str:
    """Returns one word for a connector and its tasks.

    A failed task makes a broken source: the connector itself goes on to say RUNNING.
    """
    if connector is None:
        return "Unknown"
    states = {task["state"] for task in connector["status"]["tasks"]}
    own = connector["status"]["connector"]["state"]
    if own == "STOPPED":
        return "Stopped"
    if own == "FAILED" or "FAILED" in states:
        return "Broken"
    if own == "PAUSED":
        return "Paused"
    if "UNASSIGNED" in states | {own}:
        return "Unassigned"
    if "RESTARTING" in states | {own} or (own == "RUNNING" and not states):
        return "Starting"
    return "Active" if own == "RUNNING" and states == {"RUNNING"} else "Unknown"


def producer_starts(recordings: Path) -> dict[str, list[int]]:
    """Returns when the producers of each connector started, in microseconds, rising."""
    found: dict[str, set[int]] = {}
    line = re.compile(
        r'kafka_producer_app_info_start_time_ms\{client_id="connector-producer-(.+)-0"\} ([0-9.E+]+)', re.M
    )
    for path in recordings.glob("*.metrics.prom.txt"):
        for connector, millis in line.findall(path.read_text()):
            found.setdefault(connector, set()).add(round(float(millis)) * 1000)
    return {connector: sorted(starts) for connector, starts in found.items()}


def read(recordings: Path) -> dict[str, list[Scrape]]:
    """Returns all readings by connector, in order of time."""
    phases = {
        phase["phase"]: phase
        for path in sorted(recordings.glob("[0-9][0-9]_*.json"))
        for phase in [json.loads(path.read_text())]
    }
    scrapes: dict[str, list[Scrape]] = {MAIN: []}
    for entry in json.loads((recordings / "timeline.json").read_text()):
        scrape = scrape_of_timeline(entry)
        if (phase := phases.pop(entry["phase"], None)) is not None:  # the same reading, in full
            full = scrape_of_phase(phase, MAIN)
            scrape = Scrape(scrape.time, full.streaming, full.snapshot, full.task, full.topics, full.status)
        scrapes[MAIN].append(scrape)
    for phase in phases.values():  # the phases that the timeline does not cover
        for connector in connectors(phase):
            scrapes.setdefault(connector, []).append(scrape_of_phase(phase, connector))
    return scrapes
