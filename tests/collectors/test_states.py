"""What becomes of the runs on a cluster, as the collector sees them."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from streamgauge_server.model.jobs import JobState, NewJob, TaskCounts, derived_id
from streamgauge_server.model.limits import Limits

from tests.collectors.conftest import CLUSTER, TENANT, Collecting, StartCollecting, jid
from tests.flink.fake_jobs import START_MS


async def test_a_new_job_is_registered_with_its_run_its_vertices_and_its_figures(collecting: Collecting) -> None:
    collecting.add(1, "orders-1", read=100, processed=50)
    polled = await collecting.poll()
    assert (polled.active_runs, polled.version, polled.problem) == (1, "2.3.0", "")
    job = await collecting.job("orders-1")
    assert (job.id, job.cluster, job.job_name) == ("orders-1", CLUSTER, "orders-1")
    run = await collecting.run(jid(1))
    assert (run.state, run.state_text, run.ordinal, run.start_time) == (
        JobState.RUNNING,
        "RUNNING",
        1,
        START_MS * 1_000,
    )
    assert run.tasks == TaskCounts(running=2, finished=0, total=2)
    assert [(v.name, v.read_records, v.write_records) for v in run.vertices] == [
        ("Source: Source", 0, 100),
        ("Sink: Writer", 50, 0),
    ]
    values = await collecting.values("orders-1")
    assert (values["numRecordsRead"], values["numRecordsProcessed"], values["numRestarts"]) == (100, 50, 0)


async def test_a_run_that_goes_on_is_written_once_and_its_figures_again(collecting: Collecting) -> None:
    job = collecting.add(1, "orders")
    await collecting.poll()
    first = await collecting.run(jid(1))
    job.read, job.processed = 500, 250
    await collecting.poll()
    second = await collecting.run(jid(1))
    assert second.observe_time > first.observe_time
    assert (await collecting.values("orders"))["numRecordsRead"] == 500
    assert len(await collecting.changes()) == 1


@pytest.mark.parametrize("state", ["FINISHED", "FAILED", "CANCELED"])
async def test_a_run_that_ends_leaves_its_last_figures(collecting: Collecting, state: str) -> None:
    job = collecting.add(1, "orders", read=10)
    await collecting.poll()
    collecting.advance()
    job.state, job.end_ms, job.read = state, collecting.flink.now_ms, 1_000
    polled = await collecting.poll()
    assert polled.active_runs == 0
    run = await collecting.run(jid(1))
    assert (run.state.name, run.final_figures, run.ended) == (state, True, True)
    assert run.end_time == job.end_ms * 1_000
    assert run.duration == (job.end_ms - job.start_ms) * 1_000
    assert (await collecting.values("orders"))["numRecordsRead"] == 1_000
    assert [(c.previous, c.state.name) for c in await collecting.changes()] == [
        (None, "RUNNING"),
        (JobState.RUNNING, state),
    ]


async def test_a_run_that_has_ended_is_left_alone(collecting: Collecting) -> None:
    collecting.add(1, "orders", state="FINISHED", end_ms=START_MS + 5_000)
    await collecting.poll()
    before = len(collecting.fake.requests)
    await collecting.poll()
    assert collecting.fake.targets()[before:] == ["/jobs/overview"]
    del collecting.flink.jobs[jid(1)]
    await collecting.poll(3)
    run = await collecting.run(jid(1))
    assert (run.state, run.lost) == (JobState.FINISHED, False)


async def test_last_figures_are_waited_for_until_they_are_complete(collecting: Collecting) -> None:
    job = collecting.add(1, "orders", state="FINISHED", end_ms=START_MS + 5_000, complete=False, read=7)
    await collecting.poll(2)
    assert not (await collecting.run(jid(1))).final_figures
    assert "numRecordsRead" not in await collecting.values("orders")
    job.complete = True
    await collecting.poll()
    assert (await collecting.run(jid(1))).final_figures
    assert (await collecting.values("orders"))["numRecordsRead"] == 7


async def test_last_figures_that_never_come_are_given_up_when_the_cluster_forgets_the_job(
    collecting: Collecting,
) -> None:
    collecting.add(1, "orders", state="FINISHED", end_ms=START_MS + 5_000, complete=False)
    await collecting.poll()
    del collecting.flink.jobs[jid(1)]
    await collecting.poll(2)
    run = await collecting.run(jid(1))
    assert (run.final_figures, run.lost) == (True, False)
    assert await collecting.store.job_runs.active(TENANT, CLUSTER) == []


async def test_a_resubmission_is_a_new_run_of_the_same_job(collecting: Collecting) -> None:
    first = collecting.add(1, "orders", read=100)
    await collecting.poll()
    collecting.advance()
    first.state, first.end_ms = "CANCELED", collecting.flink.now_ms
    collecting.advance()
    now = collecting.flink.now_ms
    collecting.add(2, "orders", start_ms=now, attempt_ms=now + 1, read=30)
    await collecting.poll()
    (job,) = await collecting.jobs()
    runs = await collecting.store.job_runs.of_job(job.number, limit=10)
    assert [(run.run_id, run.ordinal, run.state.name) for run in runs] == [
        (jid(2), 2, "RUNNING"),
        (jid(1), 1, "CANCELED"),
    ]
    assert job.run is not None
    assert job.run.run_id == jid(2)
    assert await collecting.total("orders", "numRecordsRead") == 130


async def test_of_two_runs_of_one_name_the_newer_one_speaks_for_the_job(collecting: Collecting) -> None:
    collecting.add(1, "twin", read=1_000)
    collecting.add(2, "twin", start_ms=START_MS + 5_000, attempt_ms=START_MS + 6_000, read=5)
    await collecting.poll(2)
    (job,) = await collecting.jobs()
    assert job.run is not None
    assert job.run.run_id == jid(2)
    assert await collecting.total("twin", "numRecordsRead") == 5
    assert {(await collecting.run(jid(n))).vertices[0].write_records for n in (1, 2)} == {5, 1_000}
    newer = collecting.flink.jobs[jid(2)]
    newer.state, newer.end_ms = "CANCELED", collecting.flink.now_ms
    await collecting.poll()
    assert (await collecting.job("twin")).run == await _plain(collecting, jid(1))


async def _plain(collecting: Collecting, run_id: str) -> object:
    ((_, run),) = (await collecting.store.job_runs.find(TENANT, CLUSTER, [run_id])).values()
    return run


async def test_a_state_that_nobody_knows_is_kept_as_text(collecting: Collecting) -> None:
    job = collecting.add(1, "orders", state="HIBERNATING")
    await collecting.poll()
    run = await collecting.run(jid(1))
    assert (run.state, run.state_text, run.active) == (JobState.OTHER, "HIBERNATING", True)
    job.state = "RUNNING"
    await collecting.poll()
    assert (await collecting.run(jid(1))).state == JobState.RUNNING


async def test_a_job_without_all_its_tasks_is_degraded(collecting: Collecting) -> None:
    job = collecting.add(1, "orders", tasks_running=1)
    await collecting.poll()
    assert (await collecting.run(jid(1))).degraded
    job.tasks_running = 2
    await collecting.poll()
    assert not (await collecting.run(jid(1))).degraded


NAMES = ["", " ", "a/b?c#d% &=+", "заказы 🚀", "x" * 300, "orders", "..", "with\ttab"]


async def test_jobs_may_be_called_anything(collecting: Collecting) -> None:
    for number, name in enumerate(NAMES):
        collecting.add(number, name, read=number)
    await collecting.poll(2)
    jobs = await collecting.jobs()
    assert len(jobs) == len(NAMES)
    assert {job.run.run_id for job in jobs if job.run} == {jid(number) for number in range(len(NAMES))}
    by_run = {job.run.run_id: job for job in jobs if job.run}
    for number, name in enumerate(NAMES):
        job = by_run[jid(number)]
        assert job.id == ("orders" if name == "orders" else derived_id(CLUSTER, name))
        assert job.job_name == (name[:255] or job.id)


async def test_new_runs_of_oddly_named_jobs_find_their_jobs(collecting: Collecting) -> None:
    for number, name in enumerate(NAMES):
        collecting.add(number, name, state="FINISHED", end_ms=START_MS + 5_000)
    await collecting.poll()
    for number, name in enumerate(NAMES):
        collecting.add(100 + number, name, start_ms=START_MS + 50_000)
    await collecting.poll()
    jobs = await collecting.jobs()
    assert len(jobs) == len(NAMES)
    assert {job.run.ordinal for job in jobs if job.run} == {2}


@pytest.mark.parametrize("dashed", [False, True])
async def test_a_job_whose_id_is_the_run_takes_it(collecting: Collecting, dashed: bool) -> None:
    id = "0b9b3a3e-1a3c-4f3b-9d1e-3f5a8c1b2d4e"
    known = NewJob(id if dashed else id.replace("-", ""), cluster=CLUSTER, job_name="mine")
    await collecting.store.jobs.create(TENANT, known, limits=Limits())
    run_id = id.replace("-", "")
    collecting.flink.jobs[run_id] = collecting.add(1, "whatever")
    del collecting.flink.jobs[jid(1)]
    collecting.flink.jobs[run_id].jid = run_id
    await collecting.poll()
    (job,) = await collecting.jobs()
    assert job.id == known.id
    assert job.run is not None
    assert job.run.run_id == run_id


async def test_a_registered_job_takes_the_runs_of_its_name(collecting: Collecting) -> None:
    known = NewJob("my-job", cluster=CLUSTER, job_name="Orders of today")
    await collecting.store.jobs.create(TENANT, known, limits=Limits())
    collecting.add(1, "Orders of today")
    await collecting.poll()
    (job,) = await collecting.jobs()
    assert (job.id, job.run is not None) == ("my-job", True)


@pytest.mark.parametrize("cluster", ["elsewhere", ""])
async def test_a_job_elsewhere_keeps_its_id_and_takes_no_run(collecting: Collecting, cluster: str) -> None:
    await collecting.store.jobs.create(TENANT, NewJob("orders", cluster=cluster), limits=Limits())
    collecting.add(1, "orders")
    await collecting.poll()
    assert (await collecting.store.jobs.get(TENANT, "orders")).run is None
    other = await collecting.store.jobs.get(TENANT, derived_id(CLUSTER, "orders"))
    assert (other.cluster, other.job_name, other.run is not None) == (CLUSTER, "orders", True)


async def test_known_jobs_only(start_collecting: StartCollecting) -> None:
    collecting = await start_collecting(register_all=False)
    collecting.add(1, "orders")
    collecting.add(2, "others")
    await collecting.poll()
    assert await collecting.jobs() == []
    await collecting.store.jobs.create(TENANT, NewJob("o", cluster=CLUSTER, job_name="orders"), limits=Limits())
    await collecting.poll()
    (job,) = await collecting.jobs()
    assert (job.id, job.run is not None) == ("o", True)


async def test_a_renamed_job_keeps_its_runs(start_collecting: StartCollecting) -> None:
    collecting = await start_collecting()
    collecting.add(1, "orders")
    collecting.add(2, "ended", state="FINISHED", end_ms=START_MS + 5_000)
    await collecting.poll()
    for id in ("orders", "ended"):
        await collecting.store.jobs.update(TENANT, id, {"job_name": "renamed " + id})
    await collecting.poll()
    again = await start_collecting()
    again.flink = collecting.flink
    await again.poll()
    assert sorted(job.id for job in await again.jobs()) == ["ended", "orders"]


async def test_a_job_that_was_deleted_is_found_again(collecting: Collecting) -> None:
    collecting.add(1, "orders")
    collecting.add(2, "others")
    await collecting.poll()
    await collecting.store.jobs.delete(TENANT, "orders")
    await collecting.poll()
    assert sorted(job.id for job in await collecting.jobs()) == ["orders", "others"]


async def test_a_run_that_the_cluster_forgot_twice_in_a_row_is_lost_and_may_be_found(collecting: Collecting) -> None:
    job = collecting.add(1, "orders")
    await collecting.poll()
    del collecting.flink.jobs[jid(1)]
    await collecting.poll()
    assert not (await collecting.run(jid(1))).lost
    await collecting.poll()
    run = await collecting.run(jid(1))
    assert (run.lost, run.state) == (True, JobState.RUNNING)
    collecting.flink.jobs[jid(1)] = job
    await collecting.poll()
    run = await collecting.run(jid(1))
    assert (run.lost, run.state, run.ordinal) == (False, JobState.RUNNING, 1)
    assert [change.lost for change in await collecting.changes()] == [False, True, False]


async def test_a_run_that_was_away_for_one_poll_is_not_lost(collecting: Collecting) -> None:
    job = collecting.add(1, "orders")
    await collecting.poll()
    for _ in range(3):
        del collecting.flink.jobs[jid(1)]
        await collecting.poll()
        collecting.flink.jobs[jid(1)] = job
        await collecting.poll()
    assert len(await collecting.changes()) == 1


async def test_a_cluster_restarted_with_other_jobs_loses_the_old_ones(collecting: Collecting) -> None:
    for number in range(3):
        collecting.add(number, f"old-{number}")
    await collecting.poll()
    collecting.flink.jobs.clear()
    collecting.add(7, "new")
    collecting.add(8, "old-1", start_ms=START_MS + 70_000)
    await collecting.poll(2)
    states = {job.job_name: (job.run.run_id, job.run.lost) for job in await collecting.jobs() if job.run}
    assert states == {
        "old-0": (jid(0), True),
        "old-1": (jid(8), False),
        "old-2": (jid(2), True),
        "new": (jid(7), False),
    }


async def test_a_collector_that_starts_again_goes_on_where_the_other_was(start_collecting: StartCollecting) -> None:
    first = await start_collecting()
    first.add(1, "orders", read=5)
    first.add(2, "done", state="FINISHED", end_ms=START_MS + 5_000)
    await first.poll()
    second = await start_collecting()
    second.flink = first.flink
    second.flink.jobs[jid(1)].read = 9
    await second.poll(2)
    assert len(await second.jobs()) == 2
    assert len(await second.changes()) == 2
    assert await second.total("orders", "numRecordsRead") == 9


@pytest.mark.parametrize("names", [["orders"], ["orders", "others", "third"]])
async def test_jobs_beyond_the_tenants_limit_are_told(start_collecting: StartCollecting, names: Sequence[str]) -> None:
    collecting = await start_collecting(limits=Limits(max_subjects_per_tenant=1))
    collecting.add(1, names[0])
    await collecting.poll()
    for number, name in enumerate(names[1:], 2):
        collecting.add(number, name)
    polled = await collecting.poll()
    assert ("cannot be registered" in polled.problem) == (len(names) > 1)
    assert [job.id for job in await collecting.jobs()] == ["orders"]
