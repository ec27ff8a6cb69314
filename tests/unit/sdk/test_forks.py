"""The gate between forks and calls. `tests/sdk/test_processes.py` has real forks."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from streamgauge import _forks
from streamgauge._forks import Gate

SECONDS = 10.0


def test_calls_pass_the_gate_together() -> None:
    gate = Gate()
    inside = threading.Barrier(3, timeout=SECONDS)

    def call() -> None:
        with gate:
            inside.wait()

    with ThreadPoolExecutor(3) as threads:
        for future in [threads.submit(call) for _ in range(3)]:
            future.result(SECONDS)


def test_a_fork_waits_for_calls_under_way_and_holds_back_new_ones() -> None:
    gate = Gate()
    order: list[str] = []
    entered, finish, closing = threading.Event(), threading.Event(), threading.Event()

    def first() -> None:
        with gate:
            entered.set()
            assert finish.wait(SECONDS)
            order.append("call ends")

    def fork() -> None:
        closing.set()
        gate.close()
        order.append("fork")
        gate.open()

    def second() -> None:
        with gate:
            order.append("next call")

    with ThreadPoolExecutor(3) as threads:
        futures = [threads.submit(first)]
        assert entered.wait(SECONDS)
        futures.append(threads.submit(fork))
        assert closing.wait(SECONDS)
        while not gate._forks:  # the fork has closed the gate
            pass
        futures.append(threads.submit(second))
        finish.set()
        for future in futures:
            future.result(SECONDS)
    assert order == ["call ends", "fork", "next call"]


def test_a_fork_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_forks, "GATE_SECONDS", 0.01)
    gate = Gate()

    def fork() -> None:
        gate.close()
        gate.open()

    with gate, ThreadPoolExecutor(1) as threads:
        threads.submit(fork).result(SECONDS)
    with gate:
        pass


def test_in_the_child_nobody_is_inside() -> None:
    gate = Gate()
    gate.__enter__()  # a call of a thread that the child does not have
    gate.reset_after_fork()
    with gate:
        pass
    gate.close()
    gate.open()
