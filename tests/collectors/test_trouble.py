"""Clusters that answer badly or not at all, single runs that do, and databases that go away."""

from __future__ import annotations

import time

import pytest
from streamgauge_server.collectors import polling
from streamgauge_server.collectors.flink import LONGEST_PAUSE
from streamgauge_server.flink.credentials import Credentials
from streamgauge_server.flink.errors import Cause, Unreachable
from streamgauge_server.model.jobs import JobState
from streamgauge_server.storage.store import Store

from tests.collectors.conftest import TENANT, Collecting, StartCollecting, jid
from tests.flink.fake import HTML, LEADER_ELECTION, NOT_JSON, Answer, Behaviour, drop, half_a_body, never_answer
from tests.flink.fake_jobs import START_MS

SECRET = "s3cr3t-t0ken"


@pytest.mark.parametrize(
    ("behaviour", "cause"),
    [
        (NOT_JSON, "not-flink"),
        (HTML, "not-flink"),
        (LEADER_ELECTION, "status"),
        (drop, "connection"),
        (half_a_body, "connection"),
    ],
    ids=["not JSON", "HTML", "leader election", "drop", "half a body"],
)
async def test_a_cluster_that_does_not_answer_leaves_its_runs_alone(
    collecting: Collecting, behaviour: Behaviour, cause: str
) -> None:
    collecting.add(1, "orders")
    await collecting.turn()
    before = await collecting.run(jid(1))
    collecting.fake.misbehave(behaviour)
    pauses = [await collecting.turn() for _ in range(6)]
    assert await collecting.run(jid(1)) == before
    status = await collecting.status()
    assert (status.reachable, status.version, status.problem != "") == (False, "2.3.0", True)
    assert status.last_attempt_time != status.last_success_time
    assert collecting.metric("errors_total", cause=cause) == 6
    assert pauses[0] <= 10
    assert pauses[-1] > 40
    assert max(pauses) <= LONGEST_PAUSE
    collecting.fake.behave()
    assert await collecting.turn() == 10
    assert (await collecting.status()).reachable
    assert (await collecting.run(jid(1))).state == JobState.RUNNING
    assert len(await collecting.changes()) == 1


async def test_a_refused_connection_is_not_a_lost_job(collecting: Collecting) -> None:
    collecting.add(1, "orders")
    await collecting.turn()
    await collecting.fake.stop()
    for _ in range(3):
        await collecting.turn()
    assert not (await collecting.run(jid(1))).lost
    assert "no connection" in (await collecting.status()).problem
    await collecting.fake.start()
    await collecting.turn()
    assert (await collecting.status()).reachable


async def test_a_cluster_that_accepts_and_never_answers_is_given_up_in_time(collecting: Collecting) -> None:
    collecting.fake.misbehave(never_answer)
    begun = time.monotonic()
    await collecting.turn()
    assert time.monotonic() - begun < 8
    assert (await collecting.status()).problem == "the cluster did not answer in time"


async def test_the_status_never_tells_secrets(start_collecting: StartCollecting) -> None:
    collecting = await start_collecting(credentials=Credentials(lambda: SECRET))
    assert SECRET not in repr(collecting.config)
    await collecting.turn()
    assert collecting.fake.requests[0].headers["authorization"] == f"Bearer {SECRET}"
    await collecting.fake.stop()
    await collecting.turn()
    assert SECRET not in repr(await collecting.status())


@pytest.mark.parametrize(
    "answer",
    [Answer(b"{"), Answer.error(500, "Internal server error."), Answer.of([]), Answer(b"<html>", 200, "text/html")],
    ids=["not JSON", "500", "another shape", "HTML"],
)
async def test_one_bad_run_holds_up_no_other(collecting: Collecting, answer: Answer) -> None:
    for number in range(5):
        collecting.add(number, f"job-{number}", read=number)
    collecting.fake.answers["GET", f"/jobs/{jid(2)}"] = answer
    polled = await collecting.poll()
    assert polled.active_runs == 5
    assert [(await collecting.run(jid(n))).details_time is None for n in range(5)] == [n == 2 for n in range(5)]
    assert (await collecting.run(jid(2))).state == JobState.RUNNING
    assert collecting.metric("details_read_total") == 4
    before = len(collecting.fake.requests)
    await collecting.poll()
    assert f"/jobs/{jid(2)}" not in collecting.fake.targets()[before:]


async def test_a_run_that_nobody_can_foresee_holds_up_no_other(
    collecting: Collecting, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        collecting.add(number, f"job-{number}")
    reader = collecting.observer.reader(collecting.clusters[collecting.config.key])
    read = reader.read

    async def broken(cluster, job, run_id, *rest, **options):  # type: ignore[no-untyped-def]
        if run_id == jid(1):
            raise KeyError("unforeseen")
        return await read(cluster, job, run_id, *rest, **options)

    monkeypatch.setattr(reader, "read", broken)
    await collecting.poll()
    assert [(await collecting.run(jid(n))).details_time is None for n in range(3)] == [False, True, False]
    assert collecting.metric("errors_total", cause="internal") == 1


async def test_exceptions_that_cannot_be_had_are_asked_for_again(
    collecting: Collecting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamgauge_server.collectors.following.FIRST_PAUSE", 0.0)
    collecting.add(1, "orders", state="FAILED", end_ms=START_MS + 5_000, read=5)
    key = ("GET", f"/jobs/{jid(1)}/exceptions")
    collecting.fake.answers[key] = Answer.error(500, "Internal server error.")
    await collecting.poll()
    run = await collecting.run(jid(1))
    assert (run.final_figures, run.details_time is not None) == (False, True)
    del collecting.fake.answers[key]
    entry = collecting.poller._followed[jid(1)]
    entry.due = 0.0
    await collecting.poll()
    assert (await collecting.run(jid(1))).final_figures


async def test_a_cluster_that_falls_silent_amid_details_is_left_alone_for_this_poll(
    collecting: Collecting, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(20):
        collecting.add(number, f"job-{number}")
    asked = 0

    async def silent(*_: object, **__: object) -> None:
        nonlocal asked
        asked += 1
        raise Unreachable(Cause.TIMEOUT, "the cluster did not answer in time", may_have_arrived=True)

    monkeypatch.setattr(collecting.observer.reader(collecting.clusters[collecting.config.key]), "read", silent)
    await collecting.poll()
    assert asked <= polling.SILENCES + polling.CONCURRENCY
    assert collecting.metric("details_skipped_total") == 20 - asked
    assert len([job for job in await collecting.jobs() if job.run]) == 20


async def test_details_cost_no_more_than_their_budget_and_those_that_waited_longest_come_first(
    start_collecting: StartCollecting,
) -> None:
    collecting = await start_collecting(requests_per_second=2.0)
    for number in range(20):
        collecting.add(number, f"job-{number}")
    for _ in range(8):
        before = len(collecting.fake.requests)
        await collecting.poll()
        # The runs that were begun within the budget are read to their ends.
        assert len(collecting.fake.requests) - before <= 20 + 4 * polling.CONCURRENCY
    read = [(await collecting.run(jid(n))).details_time for n in range(20)]
    assert None not in read
    assert collecting.metric("details_skipped_total") > 0
    changed = collecting.flink.jobs[jid(7)]
    changed.state = "RESTARTING"
    before = len(collecting.fake.requests)
    await collecting.poll()
    assert f"/jobs/{jid(7)}" in collecting.fake.targets()[before : before + 6]


async def test_a_store_that_goes_away_is_survived(collecting: Collecting, monkeypatch: pytest.MonkeyPatch) -> None:
    collecting.add(1, "orders")
    await collecting.turn()
    store: Store = collecting.store

    async def broken(*_: object, **__: object) -> None:
        raise RuntimeError("no such thing")

    with monkeypatch.context() as patch:
        patch.setattr(store.collectors, "acquire", broken)
        assert await collecting.loop._survive() > 0
    assert collecting.metric("polls_total", outcome="error") == 1
    await collecting.turn()
    assert (await collecting.status()).reachable


async def test_the_clusters_status_tells_of_the_last_poll(collecting: Collecting) -> None:
    collecting.add(1, "orders")
    collecting.add(2, "done", state="FINISHED", end_ms=START_MS + 5_000)
    await collecting.turn()
    status = await collecting.status()
    assert (status.cluster, status.reachable, status.active_runs, status.problem) == ("orders", True, 1, "")
    assert status.last_success_time == status.last_attempt_time == collecting.clock.micros
    assert status.last_poll_duration > 0
    assert collecting.metric("polls_total", outcome="ok") == 1
    assert collecting.metric("last_success_timestamp_seconds") == collecting.clock.micros / 1e6
    assert collecting.metric("runs") == 1
    assert (await collecting.store.collectors.statuses(TENANT)) == [status]
