"""Stopping jobs: cancelled or with a savepoint, whatever the cluster, the network and the job itself do meanwhile."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest
from grpc import StatusCode
from streamgauge.v1 import job_service_pb2 as pb
from streamgauge_server.model.jobs import Stop
from structlog.testing import capture_logs

from tests.flink.fake import Answer, Request, drop, never_answer, send
from tests.flink.fake_jobs import START_MS, FakeJob
from tests.rpc.job_messages import (
    CLUSTER,
    DASHED,
    JID,
    OTHER_JID,
    OnCluster,
    changes_of,
    create,
    on_cluster,
    report,
    state_name,
    status,
    stop,
    tell,
)
from tests.rpc.serving import Start, Stubs, invalid, refused

SAVEPOINT = pb.STOP_MODE_SAVEPOINT
PENDING = {"status": {"id": "IN_PROGRESS"}, "operation": None}
FAILED = {
    "status": {"id": "COMPLETED"},
    "operation": {
        "failure-cause": {
            "class": "java.util.concurrent.CompletionException",
            "stack-trace": "java.util.concurrent.CompletionException: java.io.IOException: cannot write\n\tat a.B",
        }
    },
}


async def running(on: OnCluster) -> None:
    """Registers job `a` with the run that the cluster has."""
    await create(on.stubs, cluster=CLUSTER)
    await on.store()


async def stops(on: OnCluster) -> list[Stop]:
    app = on.stubs.app
    assert app is not None
    assert app.store is not None
    run = (await app.store.jobs.get("default", "a")).run
    assert run is not None
    return await app.store.job_stops.of_run(run.number)


def triggers(on: OnCluster) -> list[str]:
    return [request.target for request in on.flink.requests if request.method == "POST"]


class TestCancel:
    @pytest.mark.parametrize("name", ["jobs/a", "a", JID, DASHED])
    async def test_a_run_is_cancelled_and_told_as_it_is_then(self, start: Start, name: str) -> None:
        async with on_cluster(start, FakeJob(JID, "a")) as on:
            await running(on)
            answer = await stop(on.stubs, name)
            assert (answer.accepted, answer.already_stopped, answer.ended) == (True, False, True)
            assert (answer.run.run_id, state_name(answer.run.state)) == (JID, "CANCELED")
            assert on.requests("PATCH") == [f"/jobs/{JID}?mode=cancel"]
            (stored,) = await stops(on)
            assert stored.finish_time is not None
            again = await stop(on.stubs, name)
            assert (again.accepted, again.already_stopped, again.ended) == (False, True, True)
            assert len(on.requests("PATCH")) == 1

    async def test_without_wait_the_answer_comes_when_the_cluster_has_accepted(self, start: Start) -> None:
        async with on_cluster(start, FakeJob(JID, "a")) as on:
            await running(on)
            on.flink.answers["PATCH", f"/jobs/{JID}"] = Answer.of({}, 202)
            on.jobs.jobs[JID].state = "CANCELLING"
            answer = await stop(on.stubs)
            assert (answer.accepted, answer.ended, state_name(answer.run.state)) == (True, False, "CANCELLING")

    async def test_with_wait_it_comes_when_the_run_has_ended_or_the_time_is_over(self, start: Start) -> None:
        async with on_cluster(start, FakeJob(JID, "a")) as on:
            await running(on)
            on.flink.answers["PATCH", f"/jobs/{JID}"] = Answer.of({}, 202)
            begun = time.monotonic()
            answer = await stop(on.stubs, wait=0.3)
            assert time.monotonic() - begun >= 0.3
            assert (answer.accepted, answer.ended) == (True, False)
            waiting = asyncio.ensure_future(stop(on.stubs, wait=300))
            await on.flink.received(len(on.flink.requests) + 3)
            on.jobs.jobs[JID].state = "CANCELED"
            answer = await waiting
            assert (answer.accepted, answer.ended, state_name(answer.run.state)) == (True, True, "CANCELED")

    async def test_a_wait_is_cut_to_the_callers_deadline(self, start: Start) -> None:
        async with on_cluster(start, FakeJob(JID, "a")) as on:
            await running(on)
            on.flink.answers["PATCH", f"/jobs/{JID}"] = Answer.of({}, 202)
            answer = await stop(on.stubs, wait=300, timeout=2)
            assert (answer.accepted, answer.ended) == (True, False)

    async def test_a_wait_may_last_longer_than_calls_may(self, start: Start) -> None:
        async with on_cluster(start, FakeJob(JID, "a"), limits={"max_call_seconds": 1}) as on:
            await running(on)
            on.flink.answers["PATCH", f"/jobs/{JID}"] = Answer.of({}, 202)
            answer = await stop(on.stubs, wait=1.5)
            assert (answer.accepted, answer.ended) == (True, False)

    async def test_the_log_says_who_stopped_what(self, start: Start) -> None:
        async with on_cluster(start, FakeJob(JID, "a")) as on:
            await running(on)
            with capture_logs() as lines:
                await stop(on.stubs)
            told = [line for line in lines if line["event"] in ("stopping a job", "stopped a job")]
            assert [line["event"] for line in told] == ["stopping a job", "stopped a job"]
            for line in told:
                assert (line["tenant"], line["job"], line["run_id"], line["cluster"]) == (
                    "default",
                    "jobs/a",
                    JID,
                    CLUSTER,
                )
            assert (told[0]["mode"], told[1]["state"]) == ("CANCEL", "CANCELED")


class TestRaces:
    @pytest.mark.parametrize("state", ["FINISHED", "FAILED", "CANCELED"])
    async def test_a_run_that_ended_unnoticed_is_no_error(self, start: Start, state: str) -> None:
        async with on_cluster(start, FakeJob(JID, "a", state=state, end_ms=START_MS + 5_000)) as on:
            await running(on)
            answer = await stop(on.stubs)
            assert (answer.accepted, answer.already_stopped, answer.ended) == (False, True, True)
            assert state_name(answer.run.state) == state
            assert on.requests("PATCH") == []

    async def test_a_run_that_ends_just_then_is_no_error(self, start: Start) -> None:
        async with on_cluster(start, FakeJob(JID, "a")) as on:
            await running(on)
            respond = on.jobs.respond

            def faster(request: Request) -> Answer | None:
                if request.method == "PATCH":
                    on.jobs.jobs[JID].state, on.jobs.jobs[JID].end_ms = "FINISHED", START_MS + 5_000
                return respond(request)

            on.flink.respond = faster
            answer = await stop(on.stubs)
            assert (answer.accepted, answer.already_stopped, state_name(answer.run.state)) == (False, True, "FINISHED")

    async def test_a_run_that_its_cluster_does_not_know_is_not_found(self, start: Start) -> None:
        async with on_cluster(start) as on:
            await running(on)
            with refused(StatusCode.NOT_FOUND, "JOB_NOT_FOUND") as refusal:
                await stop(on.stubs)
            assert refusal.metadata["name"] == "jobs/a"
            assert on.requests() == [f"/jobs/{JID}/status", "/jobs/overview"]

    async def test_a_cancel_without_an_answer_is_repeated_only_for_a_run_that_goes_on(self, start: Start) -> None:
        for arrives in (True, False):
            async with on_cluster(start, FakeJob(JID, "a")) as on:
                await running(on)
                _lose_answers(on, "PATCH", times=1, carried_out=arrives)
                answer = await stop(on.stubs, wait=5)
                assert (answer.accepted, answer.ended, state_name(answer.run.state)) == (True, True, "CANCELED")
                assert len(on.requests("PATCH")) == (1 if arrives else 2)

    @pytest.mark.parametrize("how", [drop, never_answer])
    async def test_a_cluster_that_is_away_is_told_and_nothing_is_stopped(
        self, start: Start, how: Callable[..., Awaitable[None]]
    ) -> None:
        async with on_cluster(start, FakeJob(JID, "a")) as on:
            await running(on)
            on.flink.misbehave(how)
            with refused(StatusCode.UNAVAILABLE, "CLUSTER_UNREACHABLE") as refusal:
                await stop(on.stubs)
            assert refusal.metadata["cluster"] == CLUSTER
            assert on.requests("PATCH") == []


def _lose_answers(on: OnCluster, method: str, *, times: int, carried_out: bool) -> None:
    """Drops the connection instead of answering requests of a method, carried out or not."""
    left = times

    async def behave(request: Request, writer: asyncio.StreamWriter) -> None:
        nonlocal left
        if request.method == method and left:
            left -= 1
            if carried_out:
                on.jobs.respond(request)
            return
        await send(writer, on.jobs.respond(request) or Answer.error(404, "nothing"))

    on.flink.misbehave(behave)


class TestSavepoint:
    async def test_a_run_is_stopped_with_a_savepoint(self, start: Start) -> None:
        async with on_cluster(start, FakeJob(JID, "a")) as on:
            await running(on)
            answer = await stop(on.stubs, mode=SAVEPOINT, drain=True, savepoint_directory="file:///here", wait=10)
            assert (answer.accepted, answer.ended, state_name(answer.run.state)) == (True, True, "FINISHED")
            assert answer.savepoint_location == "file:/savepoints/savepoint-012345"
            (stored,) = await stops(on)
            assert (stored.location, stored.drain, stored.directory) == (
                answer.savepoint_location,
                True,
                "file:///here",
            )
            (post,) = [request for request in on.flink.requests if request.method == "POST"]
            assert stored.trigger_id.encode() in post.body
            assert b"file:///here" in post.body
            again = await stop(on.stubs, mode=SAVEPOINT)
            assert (again.already_stopped, again.savepoint_location) == (True, answer.savepoint_location)

    async def test_without_wait_its_outcome_is_stored_all_the_same(
        self, start: Start, eventually: Callable[[Callable[[], object]], Awaitable[object]]
    ) -> None:
        async with on_cluster(start, FakeJob(JID, "a")) as on:
            await running(on)
            answer = await stop(on.stubs, mode=SAVEPOINT)
            assert answer.accepted
            assert answer.messages == ["the savepoint is not complete yet"]

            async def is_stored() -> bool:
                return bool((await stops(on))[0].location)

            await eventually(is_stored)
            again = await stop(on.stubs, mode=SAVEPOINT)
            assert again.savepoint_location

    async def test_a_savepoint_that_fails_leaves_the_run_going(self, start: Start) -> None:
        async with on_cluster(start, FakeJob(JID, "a")) as on:
            await running(on)
            _answer_savepoints(on, FAILED)
            with refused(StatusCode.FAILED_PRECONDITION, "JOB_NOT_STOPPABLE") as refusal:
                await stop(on.stubs, mode=SAVEPOINT, wait=10)
            assert refusal.message.endswith("the savepoint failed, and the run goes on: cannot write")
            assert (refusal.metadata["name"], refusal.metadata["state"]) == ("jobs/a", "RUNNING")
            (stored,) = await stops(on)
            assert stored.failure == "cannot write"
            on.flink.respond = on.jobs.respond
            answer = await stop(on.stubs, mode=SAVEPOINT, wait=10)
            assert answer.ended, "the next one is a new one"
            assert len(await stops(on)) == 2

    async def test_asking_again_goes_on_with_the_stop_that_is_under_way(self, start: Start) -> None:
        async with on_cluster(start, FakeJob(JID, "a")) as on:
            await running(on)
            _answer_savepoints(on, PENDING)
            first = await stop(on.stubs, mode=SAVEPOINT, wait=0.2)
            assert (first.accepted, first.ended) == (True, False)
            assert first.messages == ["the savepoint is not complete yet"]
            second = await stop(on.stubs, mode=SAVEPOINT, drain=True)
            assert second.messages[0].startswith("a stop with a savepoint was under way already")
            assert len(await stops(on)) == 1
            assert len(triggers(on)) == 1
            on.flink.respond = on.jobs.respond
            trigger = (await stops(on))[0].trigger_id
            on.jobs.savepoints[trigger] = {"status": {"id": "COMPLETED"}, "operation": {"location": "file:/x"}}
            on.jobs.jobs[JID].state, on.jobs.jobs[JID].end_ms = "FINISHED", START_MS + 5_000
            third = await stop(on.stubs, mode=SAVEPOINT, wait=10)
            assert (third.already_stopped, third.ended) == (True, True)

    async def test_a_trigger_that_never_arrived_is_sent_again_under_its_id(self, start: Start) -> None:
        for arrives in (True, False):
            async with on_cluster(start, FakeJob(JID, "a")) as on:
                await running(on)
                _lose_answers(on, "POST", times=1, carried_out=arrives)
                answer = await stop(on.stubs, mode=SAVEPOINT, wait=10)
                assert (answer.ended, state_name(answer.run.state)) == (True, "FINISHED")
                assert answer.savepoint_location
                assert len(triggers(on)) == (1 if arrives else 2)
                assert len(await stops(on)) == 1

    async def test_a_server_that_was_restarted_goes_on_with_the_stored_trigger(self, start: Start) -> None:
        async with on_cluster(start, FakeJob(JID, "a")) as on:
            await running(on)
            _lose_answers(on, "POST", times=99, carried_out=False)
            with refused(StatusCode.UNAVAILABLE, "CLUSTER_UNREACHABLE"):
                await stop(on.stubs, mode=SAVEPOINT, wait=10)
            (begun,) = await stops(on)
            assert begun.finish_time is None
            on.flink.behave()
            answer = await stop(on.stubs, mode=SAVEPOINT, wait=10)
            assert answer.ended
            assert [one.trigger_id for one in await stops(on)] == [begun.trigger_id]

    async def test_another_request_than_the_one_that_never_arrived_is_a_new_one(self, start: Start) -> None:
        async with on_cluster(start, FakeJob(JID, "a")) as on:
            await running(on)
            _lose_answers(on, "POST", times=99, carried_out=False)
            with refused(StatusCode.UNAVAILABLE, "CLUSTER_UNREACHABLE"):
                await stop(on.stubs, mode=SAVEPOINT, drain=True)
            on.flink.behave()
            answer = await stop(on.stubs, mode=SAVEPOINT, wait=10)
            assert answer.ended
            assert sorted((one.drain, bool(one.location)) for one in await stops(on)) == [(False, True), (True, False)]

    async def test_a_cluster_without_a_directory_refuses(self, start: Start) -> None:
        async with on_cluster(start, FakeJob(JID, "a")) as on:
            await running(on)
            on.flink.answers["POST", f"/jobs/{JID}/stop"] = Answer.error(
                400, "Config key [state.savepoints.dir] is not set"
            )
            with refused(StatusCode.FAILED_PRECONDITION, "JOB_NOT_STOPPABLE") as refusal:
                await stop(on.stubs, mode=SAVEPOINT)
            assert "is not set" in refusal.message

    async def test_a_run_that_ended_before_the_stop_reached_it_is_no_error(self, start: Start) -> None:
        async with on_cluster(start, FakeJob(JID, "a")) as on:
            await running(on)
            respond = on.jobs.respond

            def faster(request: Request) -> Answer | None:
                if request.method == "POST":
                    on.jobs.jobs[JID].state, on.jobs.jobs[JID].end_ms = "FAILED", START_MS + 5_000
                return respond(request)

            on.flink.respond = faster
            answer = await stop(on.stubs, mode=SAVEPOINT, wait=10)
            assert (answer.already_stopped, state_name(answer.run.state)) == (True, "FAILED")


def _answer_savepoints(on: OnCluster, answer: object) -> None:
    """Answers whatever is asked about savepoints alike, and lets no stop end the run."""

    def respond(request: Request) -> Answer | None:
        if "/savepoints/" in request.path:
            return Answer.of(answer)
        if request.path.endswith("/stop"):
            return Answer.of({"request-id": "0" * 32}, 202)
        return on.jobs.respond(request)

    on.flink.respond = respond


class TestWhich:
    async def test_one_of_several_active_runs_must_be_named(self, start: Start) -> None:
        jobs = [FakeJob(JID, "a"), FakeJob(OTHER_JID, "a", start_ms=START_MS + 1_000)]
        async with on_cluster(start, *jobs) as on:
            await create(on.stubs, cluster=CLUSTER)
            with refused(StatusCode.FAILED_PRECONDITION, "JOB_AMBIGUOUS") as refusal:
                await stop(on.stubs)
            assert f"{OTHER_JID}, {JID}" in refusal.message
            assert on.requests("PATCH") == []
            answer = await stop(on.stubs, run_id=DASHED)
            assert answer.run.run_id == JID
            assert (await stop(on.stubs)).run.run_id == OTHER_JID

    async def test_a_job_that_was_never_seen_is_looked_for(self, start: Start) -> None:
        async with on_cluster(start, FakeJob(JID, "a")) as on:
            await create(on.stubs, cluster=CLUSTER)
            assert (await stop(on.stubs)).accepted

    async def test_what_cannot_be_stopped_here(self, stubs: Stubs) -> None:
        await create(stubs, "far", cluster="elsewhere")
        await create(stubs, "idle")
        await tell(stubs, report("jobs/own", run_id="r"))
        for job, state in (("jobs/far", ""), ("jobs/idle", ""), ("jobs/own", "RUNNING")):
            with refused(StatusCode.FAILED_PRECONDITION, "JOB_NOT_STOPPABLE") as refusal:
                await stop(stubs, job)
            assert (refusal.metadata["name"], refusal.metadata["state"]) == (job, state)
        await tell(stubs, report("jobs/own", "FINISHED"))
        assert (await stop(stubs, "jobs/own")).already_stopped
        with refused(StatusCode.NOT_FOUND, "JOB_NOT_FOUND"):
            await stop(stubs, "jobs/own", run_id="x")

    async def test_a_run_on_a_cluster_that_this_server_does_not_know(self, start: Start) -> None:
        async with on_cluster(start) as on:
            await running(on)
            await on.store(jid=OTHER_JID, cluster="elsewhere")
            with refused(StatusCode.FAILED_PRECONDITION, "JOB_NOT_STOPPABLE") as refusal:
                await stop(on.stubs, run_id=OTHER_JID)
            assert "'elsewhere'" in refusal.message


class TestRequests:
    async def test_all_that_is_wrong_is_told_at_once(self, stubs: Stubs) -> None:
        request = pb.StopJobRequest(
            job="jobs/a",
            run_id="\n",
            mode=7,  # type: ignore[arg-type]
            drain=True,
            savepoint_directory="x" * 1_025,
        )
        request.wait.seconds = 301
        with invalid() as refusal:
            await stubs.jobs.StopJob(request)
        assert refusal.violations.keys() == {"run_id", "mode", "drain", "savepoint_directory", "wait"}
        assert refusal.violations["wait"] == "must be 0 s to 300 s, is 301 s"
        request = pb.StopJobRequest(job="jobs/a")
        request.wait.seconds = -1
        with invalid() as refusal:
            await stubs.jobs.StopJob(request)
        assert refusal.violations == {"wait": "must be 0 s to 300 s, is -1 s"}


async def test_a_stopped_job_is_told_to_those_who_watch(start: Start) -> None:
    async with on_cluster(start, FakeJob(JID, "a")) as on:
        await running(on)
        stream = on.stubs.jobs.WatchJobs(pb.WatchJobsRequest())
        await stream.read()
        await stop(on.stubs)
        (change,) = await changes_of(stream)
        assert (change.job, state_name(change.previous_state), state_name(change.state)) == (
            *("jobs/a", "RUNNING", "CANCELED"),
        )
        stream.cancel()
        assert state_name((await status(on.stubs)).job.run.state) == "CANCELED"
