"""The bench's own arithmetic and its generator. Nothing here is timed."""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from itertools import repeat
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import numpy as np
import pytest

from tests.bench import http1, report, workload
from tests.bench.generator import read_bodies, write_bodies
from tests.bench.http2 import Load, drive
from tests.bench.report import Goal, Measurement, Pair

SERVICE = "test.Echo"
EMPTY = b"\0\0\0\0\0"


def measurement(goal: Goal | None = None, *pairs: Pair) -> Measurement:
    return Measurement("a_vs_b", "calls/s", "b", goal, pairs or (Pair(300, 400), Pair(200, 400), Pair(500, 1000)))


def test_the_ratio_is_the_median_of_the_rounds_not_the_ratio_of_the_medians() -> None:
    uneven = measurement(None, Pair(1, 10), Pair(90, 100), Pair(40, 50))
    assert uneven.ratio == 0.8
    assert (uneven.value, uneven.other) == (40, 50)
    assert uneven.spread == (0.1, 0.9)


@pytest.mark.parametrize(
    ("goal", "verdict"),
    [
        (Goal(0.5, at_least=True), "met"),
        (Goal(0.6, at_least=True), "not met"),
        (Goal(0.5, at_least=False), "met"),
        (Goal(0.4, at_least=False), "not met"),
        (None, ""),
    ],
)
def test_a_goal_is_a_bound_from_below_or_from_above(goal: Goal | None, verdict: str) -> None:
    assert measurement(goal).verdict == verdict


def test_the_file_is_a_list_of_entries_with_the_agreed_keys(tmp_path: Path) -> None:
    path = tmp_path / "build" / "bench.json"
    other = replace(measurement(), name="c_vs_d")
    report.write_json([measurement(), other], path)
    report.write_json([measurement(Goal(0.6, at_least=True))], path)  # an entry replaces the older one of its name
    with_goal, without = sorted(json.loads(path.read_text()), key=lambda entry: str(entry["name"]))
    assert with_goal == {
        "name": "a_vs_b",
        "value": 300,
        "unit": "calls/s",
        "ratio": 0.5,
        "against": "b: 400 calls/s",
        "goal": ">= 0.6",
        "rounds": 3,
        "spread": [0.5, 0.75],
    }
    assert without == with_goal | {"name": "c_vs_d", "goal": None}


def test_the_table_has_a_line_for_each_measurement_and_says_whether_its_goal_is_met() -> None:
    head, first, second = report.table([measurement(Goal(0.6, at_least=True)), measurement()]).splitlines()
    assert head.split() == ["name", "value", "against", "ratio", "spread", "goal"]
    assert first.endswith(">= 0.6  not met")
    assert second.endswith("0.5 .. 0.75 in 3")


def test_counters_of_the_workload_grow_and_begin_again_with_every_start_time() -> None:
    readings = workload.readings(3, 0, 12 * 5_760)
    restarted = np.diff(readings.starts) != 0
    assert restarted.sum() >= 2
    for metric in workload.COUNTERS:
        assert (np.diff(readings.columns[metric])[~restarted] >= 0).all()
    assert (readings.columns["byteTotal"][1:][restarted] < readings.columns["byteTotal"][:-1][restarted]).all()
    assert (readings.starts <= readings.times).all()


def test_frames_of_the_workload_hold_every_reading_and_never_two_days_or_two_tasks() -> None:
    readings = workload.readings(3, 5 * workload.DAY // 2, 12 * 5_760)
    frames = list(workload.frames(readings))
    assert [time for frame in frames for time in frame.time_unix_micros] == readings.times.tolist()
    assert all(len({time // workload.DAY for time in frame.time_unix_micros}) == 1 for frame in frames)
    begun = [frame.start_time.ToMicroseconds() for frame in frames for _ in frame.time_unix_micros]
    assert begun == readings.starts.tolist()
    assert [[column.metric for column in frame.columns] for frame in frames] == [list(workload.METRICS)] * len(frames)


def test_requests_are_read_as_they_were_written(tmp_path: Path) -> None:
    messages = [b"", b"a", bytes(10_000)]
    read = read_bodies(write_bodies(tmp_path / "bodies", messages))
    assert [body[5:] for body in read] == messages
    assert [int.from_bytes(body[1:5]) for body in read] == [0, 1, 10_000]


@pytest.fixture
async def target() -> AsyncIterator[str]:
    """A server with a method that answers with what it got, and one that fails."""

    async def echo(request: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        return request

    async def fail(request: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not today")
        raise AssertionError

    server = grpc.aio.server()
    handlers: dict[str, Any] = {
        "Echo": grpc.unary_unary_rpc_method_handler(echo),
        "Fail": grpc.unary_unary_rpc_method_handler(fail),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield f"127.0.0.1:{port}"
    await server.stop(None)


def load(bodies: list[bytes], *, minimum_bytes: int = 5) -> Load:
    return Load(iter(bodies), math.inf, minimum_bytes)


async def test_every_request_is_sent_once_whatever_the_number_of_callers_and_connections(target: str) -> None:
    for callers, connections in ((1, 1), (7, 3), (32, 4)):
        load_ = load([EMPTY] * 100)
        await drive(target, f"/{SERVICE}/Echo", load_, callers=callers, connections=connections)
        assert (len(load_.tally.latencies), load_.tally.failed) == (100, 0)


async def test_more_requests_than_the_connections_window_holds_are_sent_as_the_server_takes_them(target: str) -> None:
    body = b"\0" + (16_000).to_bytes(4) + bytes(16_000)
    load_ = load([body] * 200, minimum_bytes=len(body))
    await drive(target, f"/{SERVICE}/Echo", load_, callers=32, connections=1)
    assert (len(load_.tally.latencies), load_.tally.failed) == (200, 0)


async def test_calls_stop_when_the_time_is_over(target: str) -> None:
    load_ = Load(repeat(EMPTY), time.perf_counter(), 5)
    await drive(target, f"/{SERVICE}/Echo", load_, callers=4, connections=2)
    assert load_.tally.latencies == []


async def test_failed_calls_and_short_answers_are_counted_with_their_reason(target: str) -> None:
    failing, short = load([EMPTY] * 3), load([EMPTY] * 3, minimum_bytes=6)
    await drive(target, f"/{SERVICE}/Fail", failing, callers=2, connections=1)
    await drive(target, f"/{SERVICE}/Echo", short, callers=2, connections=1)
    assert (failing.tally.failed, failing.tally.latencies) == (3, [])
    assert "not today" in failing.tally.first_failure
    assert (short.tally.failed, short.tally.first_failure) == (3, "answer of 5 bytes")


@pytest.fixture
async def http_target() -> AsyncIterator[str]:
    """An HTTP server that answers with the length of the path as its body, in two pieces, or with 404."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := (await reader.readuntil(b"\r\n\r\n")).decode() if not reader.at_eof() else "":
            path = head.split()[1]
            status = "404 Not Found" if path == "/missing" else "200 OK"
            writer.write(f"HTTP/1.1 {status}\r\ncontent-type: text/plain\r\nContent-Le".encode())
            await writer.drain()
            writer.write(f"ngth: {len(path)}\r\n\r\n{path}".encode())
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    yield f"{host}:{port}"
    server.close()
    await server.wait_closed()


async def test_http_requests_are_sent_once_each_on_the_connections_of_the_callers(http_target: str) -> None:
    load_ = load([http1.request(http_target, f"/{number}") for number in range(100)], minimum_bytes=2)
    await http1.drive(http_target, load_, callers=7)
    assert (len(load_.tally.latencies), load_.tally.failed) == (100, 0)


async def test_failed_http_requests_and_short_answers_are_counted_with_their_reason(http_target: str) -> None:
    missing = load([http1.request(http_target, "/missing")] * 3)
    short = load([http1.request(http_target, "/1234")] * 3, minimum_bytes=6)
    await http1.drive(http_target, missing, callers=2)
    await http1.drive(http_target, short, callers=2)
    assert (missing.tally.failed, missing.tally.latencies) == (3, [])
    assert "404 Not Found" in missing.tally.first_failure
    assert (short.tally.failed, short.tally.first_failure) == (3, "answer of 5 bytes")
