"""The jobs API over real HTTP: the document's examples, how jobs are found, stops, the overview, and every failure."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import ClassVar

import grpc.aio
import httpx
import pytest
from prometheus_client import CollectorRegistry
from streamgauge.v1 import job_service_pb2 as pb
from streamgauge_server.gateway.legacy import jobs, jobs_failures
from streamgauge_server.gateway.upstream import Passage, Upstream
from streamgauge_server.http_edge import HttpEdge
from streamgauge_server.http_settings import HttpSettings, LegacySettings
from streamgauge_server.model.clock import FixedClock
from streamgauge_server.model.jobs import ClusterStatus
from streamgauge_server.settings import Settings

from tests.flink.fake import never_answer
from tests.flink.fake_jobs import START_MS, FakeJob
from tests.gateway.jobs_http import JobsHttp, check_schema, client_at, client_of
from tests.gateway.serving import Gateway
from tests.rpc.job_messages import CLUSTER, DASHED, JID, OTHER_JID, OnCluster, create, get, on_cluster, report, tell
from tests.rpc.messages import NOW, SECOND
from tests.rpc.serving import Start, Stubs
from tests.rpc.test_asset_scopes import token

NO_SUCH_JOB = {"errorCode": 4006, "message": "No such job.", "errors": []}
OF_A_JOB = ("job/{}/status", "job/{}/statusAndMetrics", "job/{}/exceptions", "jobs/{}/exceptions", "job/{}/stop")
OTHERS = ("jobs/overview", "metainfo/getVersion")


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock(NOW)


@pytest.fixture
async def start(clock: FixedClock) -> AsyncIterator[Start]:
    """Starts servers with a gateway, whose stores are empty; they end with the test."""
    async with AsyncExitStack() as stack:
        yield Start(stack, clock, lambda: "sqlite://:memory:", http={"port": 0})


@pytest.fixture
async def stubs(start: Start) -> Stubs:
    return await start()


@pytest.fixture
async def http(stubs: Stubs) -> AsyncIterator[JobsHttp]:
    async with client_of(stubs) as http:
        yield http


@pytest.fixture
async def shared(gateway: Gateway) -> AsyncIterator[JobsHttp]:
    """A client of the module's own server, which knows no jobs."""
    async with grpc.aio.insecure_channel(gateway.app.address) as channel, client_at(gateway.port, channel) as http:
        yield http


@asynccontextmanager
async def running(start: Start, *jobs: FakeJob) -> AsyncIterator[tuple[OnCluster, JobsHttp]]:
    """Serves job `a` of a cluster, by default with a run that goes on, and that is known already."""
    found = jobs or (FakeJob(JID, "a"),)
    async with on_cluster(start, *found) as on, client_of(on.stubs) as http:
        await create(on.stubs, cluster=CLUSTER, job_name=found[0].name)
        await on.store()
        yield on, http


@asynccontextmanager
async def twins(start: Start) -> AsyncIterator[tuple[OnCluster, JobsHttp]]:
    """Serves job `a` with two runs that go on."""
    async with running(start, FakeJob(JID, "a"), FakeJob(OTHER_JID, "a", start_ms=START_MS + 1_000)) as (on, http):
        await on.store(jid=OTHER_JID)
        yield on, http


async def polled(on: OnCluster, status: ClusterStatus) -> None:
    """Tells what a collector found of the cluster."""
    app = on.stubs.app
    assert app is not None
    assert app.store is not None
    await app.store.collectors.report("default", status)


def invalid(*errors: str) -> dict[str, object]:
    return {"errorCode": 4005, "message": "Invalid request", "errors": list(errors)}


def malformed(*errors: str) -> dict[str, object]:
    return {"errorCode": 4002, "message": "Malformed query.", "errors": list(errors)}


def no_answer(*errors: str) -> dict[str, object]:
    return {"errorCode": 5005, "message": "Internal server error", "errors": list(errors)}


class TestTheDocument:
    """The examples of TSP's document, of the same jobs."""

    JOB = FakeJob(
        "ef2b95159960214b4f2753bafe91c7f2",
        "Albert_tests7",
        "FINISHED",
        start_ms=1_538_572_801_842,
        end_ms=1_538_572_801_842 + 22_372,
        attempt_ms=1_538_572_802_000,
        read=9_197,
    )
    DETAILS: ClassVar = {
        "duration": 22372,
        "name": "Albert_tests7",
        "state": "FINISHED",
        "start-time": 1538572801842,
        "jid": "ef2b95159960214b4f2753bafe91c7f2",
    }

    async def test_status_and_metrics_of_a_finished_job(self, start: Start) -> None:
        async with on_cluster(start, self.JOB) as on, client_of(on.stubs) as http:
            await create(on.stubs, cluster=CLUSTER, job_name="Albert_tests7")
            status, told = await http.get("/job/Albert_tests7/status/")
            vertices = told["response"].pop("vertices")
            added = {key: told["response"].pop(key) for key in ("read-records", "write-records")}
            assert (status, told) == (200, {"response": self.DETAILS, "messages": []})
            assert added == {"read-records": 9197, "write-records": 0}
            assert [vertex["metrics"] for vertex in vertices] == [
                {"read-records": 0, "write-records": 9197},
                {"read-records": 0, "write-records": 0},
            ]
            status, told = await http.get("/job/Albert_tests7/statusAndMetrics/")
            assert status == 200
            details = told["response"]["details"]
            assert {key: details[key] for key in self.DETAILS} == self.DETAILS
            assert told["response"]["metrics"] == {
                "numRecordsRead": "9197",
                "currentEventTs": "0",
                "numRecordsProcessed": "0",
            }
            assert told["messages"] == ["no value is known, and 0 stands for it: currentEventTs"]

    async def test_stop(self, start: Start) -> None:
        async with running(start) as (on, http):
            assert (await http.get("/job/a/stop/"))[1]["response"] == 1
            assert on.jobs.jobs[JID].state == "CANCELED"

    async def test_overview(self, http: JobsHttp, stubs: Stubs) -> None:
        assert await http.get("/jobs/overview/") == (200, {"response": [], "messages": []})
        await tell(stubs, report("Albert_tests7", run_id=JID))
        expected = {"response": [{"jid": JID, "name": "Albert_tests7"}], "messages": []}
        assert await http.get("/jobs/overview/") == (200, expected)

    async def test_exceptions(self, http: JobsHttp, stubs: Stubs) -> None:
        await tell(stubs, report("etl", "FAILED", exceptions=["java.io.IOException: no\n\tat A.b(A.java:1)"]))
        expected = {
            "response": {
                "timestamp": NOW // 1_000,
                "root-exception": "java.io.IOException: no\n\tat A.b(A.java:1)",
                "truncated": False,
            },
            "messages": [],
        }
        assert await http.get("/jobs/etl/exceptions") == (200, expected)
        assert await http.get("/job/etl/exceptions/") == (200, expected)

    async def test_a_healthy_job_has_an_empty_exception(self, http: JobsHttp, stubs: Stubs) -> None:
        await tell(stubs, report("etl"))
        response = {"timestamp": 0, "root-exception": "", "truncated": False}
        assert await http.get("/job/etl/exceptions") == (200, {"response": response, "messages": []})

    async def test_version(self, shared: JobsHttp) -> None:
        status, told = await shared.get("/metainfo/getVersion/")
        assert (status, told["messages"]) == (200, [])
        major, minor, patch = told["response"].split(".", 2)
        assert (major.isdigit(), minor.isdigit(), patch != "") == (True, True, True)


class TestPaths:
    async def test_the_slash_at_the_end_and_unknown_parameters_do_not_matter(
        self, http: JobsHttp, stubs: Stubs
    ) -> None:
        await tell(stubs, report("etl", "FINISHED"))
        for path in [*OF_A_JOB, *OTHERS]:
            bare = await http.get("/" + path.format("etl"))
            assert bare[0] == 200
            assert await http.get("/" + path.format("etl") + "/") == bare
            assert await http.get("/" + path.format("etl") + "?a=b&a=c") == bare

    async def test_a_job_is_found_by_id_run_and_name(self, start: Start) -> None:
        async with running(start, FakeJob(JID, "A name ü/?#%")) as (_, http):
            for spelling in ("a", JID, DASHED, JID.upper(), "A%20name%20%C3%BC%2F%3F%23%25"):
                status, told = await http.get(f"/job/{spelling}/status")
                assert (status, told["response"]["name"]) == (200, "A name ü/?#%")

    async def test_a_segment_is_decoded_once(self, http: JobsHttp, stubs: Stubs) -> None:
        await tell(stubs, report("a/b", run_id="slash"), report("a%2Fb", run_id="percent"))
        assert (await http.get("/job/a%2Fb/status"))[1]["response"]["jid"] == "slash"
        assert (await http.get("/job/a%252Fb/status"))[1]["response"]["jid"] == "percent"
        assert (await http.get("/job/a/b/status"))[0] == 404

    async def test_a_resource_name_is_not_taken_for_a_name(self, http: JobsHttp, stubs: Stubs) -> None:
        await tell(stubs, report("jobs/a"))
        for path in OF_A_JOB:
            status, told = await http.get("/" + path.format("jobs%2Fa"))
            assert (status, told["errorCode"]) == (400, 4006)
        assert (await get(stubs)).run.state == pb.JOB_STATE_RUNNING

    @pytest.mark.parametrize("path", OF_A_JOB)
    async def test_an_unknown_job(self, shared: JobsHttp, path: str) -> None:
        assert await shared.get("/" + path.format("nobody")) == (400, NO_SUCH_JOB)

    @pytest.mark.parametrize(
        ("name", "why"), [("a%00b", "must not hold NUL"), ("x" * 256, "must have at most 255 characters, has 256")]
    )
    @pytest.mark.parametrize("path", OF_A_JOB)
    async def test_what_cannot_be_a_name_is_no_job_either(
        self, shared: JobsHttp, path: str, name: str, why: str
    ) -> None:
        expected = {**NO_SUCH_JOB, "errors": [f"uuid: {why}"]}
        assert await shared.get("/" + path.format(name)) == (400, expected)

    async def test_a_job_without_a_run_is_none_here(self, http: JobsHttp, stubs: Stubs) -> None:
        await create(stubs)
        expected = {**NO_SUCH_JOB, "errors": ["the job is registered, but no run of it is known"]}
        for path in OF_A_JOB[:-1]:
            assert await http.get("/" + path.format("a")) == (400, expected)
        assert await http.get("/job/a/stop") == (400, invalid("jobs/a cannot be stopped: no run of it is known"))
        assert (await http.get("/jobs/overview"))[1]["response"] == []

    async def test_bytes_that_are_no_text(self, shared: JobsHttp) -> None:
        status, told = await shared.get("/job/%FF/status")
        assert (status, told["errorCode"], len(told["errors"])) == (400, 4005, 1)

    @pytest.mark.parametrize(
        "path", ["/job/", "/job", "/job//status", "/job/a/Status", "/job/a/status/b", "/jobs/a", "/metainfo/x%20%22"]
    )
    async def test_a_path_that_does_not_exist(self, shared: JobsHttp, path: str) -> None:
        expected = {"errorCode": 4004, "message": f"Path not found: `{path}`", "errors": []}
        assert await shared.get(path) == (404, expected)

    async def test_below_a_prefix(self, start: Start) -> None:
        stubs = await start(http={"port": 0, "jobs": {"prefix": "/tsp/v1"}})
        async with client_of(stubs) as http:
            assert await http.get("/tsp/v1/jobs/overview") == (200, {"response": [], "messages": []})
            assert (await http.client.get("/jobs/overview")).status_code == 404


class TestStatus:
    async def test_a_reported_run(self, http: JobsHttp, stubs: Stubs, clock: FixedClock) -> None:
        await tell(
            stubs, report("etl", run_id="night 7", start_time=NOW - 60 * SECOND - 1, metrics={"numRecordsRead": 7})
        )
        status, told = await http.get("/job/etl/statusAndMetrics")
        assert status == 200
        assert told["response"]["details"] == {
            "jid": "night 7",
            "name": "etl",
            "state": "RUNNING",
            "start-time": NOW // 1_000 - 60_001,
            "duration": 60_000,
            "vertices": [],
            "read-records": 0,
            "write-records": 0,
        }
        assert told["response"]["metrics"]["numRecordsRead"] == "7"

    async def test_metrics_are_those_of_the_newest_run(self, http: JobsHttp, stubs: Stubs, clock: FixedClock) -> None:
        await tell(stubs, report("etl", "FINISHED", run_id="1", metrics={"numRecordsRead": 2**63 - 1}))
        clock.micros += 60 * SECOND
        await tell(stubs, report("etl", run_id="2"))
        status, told = await http.get("/job/etl/statusAndMetrics")
        assert (status, told["response"]["details"]["jid"]) == (200, "2")
        assert told["response"]["metrics"]["numRecordsRead"] == "0", "it is the count of run 1"
        await tell(stubs, report("etl", run_id="2", metrics={"numRecordsRead": 3}))
        assert (await http.get("/job/etl/statusAndMetrics"))[1]["response"]["metrics"]["numRecordsRead"] == "3"

    async def test_metrics_are_those_of_the_current_attempt(self, start: Start, clock: FixedClock) -> None:
        clock.micros = (START_MS + 60_000) * 1_000
        async with running(start, FakeJob(JID, "a", read=100)) as (on, http):
            await http.get("/job/a/status")
            clock.micros += 60 * SECOND
            on.jobs.jobs[JID].read, on.jobs.jobs[JID].attempt_ms = 4, START_MS + 90_000
            on.jobs.jobs[JID].restarts = 1
            status, told = await http.get("/job/a/statusAndMetrics")
            assert (status, told["response"]["metrics"]["numRecordsRead"]) == (200, "4")

    async def test_a_cluster_that_is_away_leaves_a_stale_status_with_a_warning(
        self, start: Start, clock: FixedClock
    ) -> None:
        async with running(start) as (on, http):
            fresh = (await http.get("/job/a/status"))[1]
            assert fresh["messages"] == []
            await on.flink.stop()
            clock.micros += 60 * SECOND
            for path in OF_A_JOB[:-1]:
                status, told = await http.get("/" + path.format("a"))
                assert status == 200
                assert told["messages"][0].startswith("cluster 'prod' cannot be asked: ")
                assert "127.0.0.1" not in told["messages"][0]

    async def test_of_two_active_runs_the_newest_is_told_with_a_warning(self, start: Start) -> None:
        async with twins(start) as (_, http):
            status, told = await http.get("/job/a/status")
            assert (status, told["response"]["jid"]) == (200, OTHER_JID)
            assert told["messages"] == [f"2 runs are active; this is the newest: {OTHER_JID}, {JID}"]

    async def test_a_cluster_of_which_nothing_is_known(self, start: Start) -> None:
        async with on_cluster(start) as on, client_of(on.stubs) as http:
            await create(on.stubs, cluster=CLUSTER)
            await on.flink.stop()
            for path in OF_A_JOB:
                answer = await http.send("GET", "/" + path.format("a"))
                told = answer.json()
                assert (answer.status_code, told["errorCode"], told["message"]) == (500, 5005, "Internal server error")
                assert "cluster 'prod' cannot be asked" in told["errors"][0]
                assert answer.headers["retry-after"] == "1"

    async def test_two_jobs_of_one_name_are_not_told_apart(self, http: JobsHttp, stubs: Stubs) -> None:
        for id in ("a", "b"):
            await create(stubs, id, job_name="twin")
        for path in OF_A_JOB:
            status, told = await http.get("/" + path.format("twin"))
            assert (status, told) == (400, invalid("several jobs are called 'twin': jobs/a, jobs/b"))

    async def test_a_long_exception_is_cut_and_says_so(self, http: JobsHttp, stubs: Stubs) -> None:
        await tell(stubs, report("etl", "FAILED", exceptions=["boom\n" + "x" * 100_000]))
        response = (await http.get("/job/etl/exceptions"))[1]["response"]
        assert response["truncated"] is True
        assert response["root-exception"].startswith("boom\nxxx")
        assert len(response["root-exception"]) <= 65_536


class TestStop:
    @pytest.mark.parametrize("verb", ["GET", "POST"])
    async def test_it_says_what_has_come_of_it(self, start: Start, verb: str) -> None:
        async with running(start) as (on, http):
            answer = await http.send(verb, "/job/a/stop")
            assert on.requests("PATCH") == [f"/jobs/{JID}?mode=cancel"]
            # The fake cancels at once, which is seen right after.
            assert answer.json() == {"response": 1, "messages": [f"run {JID} has ended: it is CANCELED"]}
            again = {"response": 1, "messages": [f"run {JID} had ended already: it is CANCELED"]}
            assert (await http.send(verb, "/job/a/stop")).json() == again

    async def test_without_waiting_it_answers_when_the_cluster_has_accepted(self, start: Start) -> None:
        async with running(start, FakeJob(JID, "a", slow_to_cancel=True)) as (_, http):
            said = f"the cluster has accepted the request; run {JID} has not ended yet: it is CANCELLING"
            assert await http.get("/job/a/stop") == (200, {"response": 1, "messages": [said]})

    async def test_it_waits_for_the_end_if_asked_to(self, start: Start) -> None:
        async with running(start, FakeJob(JID, "a", slow_to_cancel=True)) as (on, http):
            asked = asyncio.create_task(http.post("/job/a/stop?wait=20.5"))
            while not on.requests("PATCH"):
                await on.flink.received(len(on.flink.requests) + 1)
            assert not asked.done()
            on.jobs.end(on.jobs.jobs[JID], "CANCELED")
            assert await asked == (200, {"response": 1, "messages": [f"run {JID} has ended: it is CANCELED"]})

    async def test_several_active_runs_are_refused_until_one_is_named(self, start: Start) -> None:
        async with twins(start) as (on, http):
            await http.get("/job/a/status")
            expected = invalid(f"jobs/a has 2 active runs, name one of them: {OTHER_JID}, {JID}")
            assert await http.get("/job/a/stop") == (400, expected)
            assert on.requests("PATCH") == []
            assert (await http.get(f"/job/a/stop?jid={DASHED}"))[0] == 200
            assert [job.state for job in on.jobs.jobs.values()] == ["CANCELED", "RUNNING"]

    async def test_an_unknown_run(self, start: Start) -> None:
        async with running(start) as (on, http):
            assert await http.get(f"/job/a/stop?jid={OTHER_JID}") == (400, NO_SUCH_JOB)
            assert on.requests("PATCH") == []

    async def test_a_run_that_its_cluster_has_forgotten(self, start: Start) -> None:
        async with running(start) as (on, http):
            on.jobs.jobs.clear()
            assert await http.get("/job/a/stop") == (400, NO_SUCH_JOB)

    async def test_a_run_that_only_its_runner_can_stop(self, http: JobsHttp, stubs: Stubs) -> None:
        await tell(stubs, report("etl", run_id="7"))
        status, told = await http.get("/job/etl/stop")
        assert (status, told["errorCode"]) == (400, 4005)
        assert told["errors"][0].endswith("cannot be stopped: its own runner reports it, and alone can stop it")

    async def test_a_cluster_that_is_away(self, start: Start) -> None:
        async with running(start) as (on, http):
            await on.flink.stop()
            status, told = await http.get("/job/a/stop")
            assert (status, told["errorCode"]) == (500, 5005)
            assert told["errors"][0].startswith("cluster 'prod' cannot be asked: ")

    async def test_a_malformed_query_stops_nothing(self, start: Start) -> None:
        async with running(start) as (on, http):
            for query, error in (
                ("wait=", "wait: must not be empty"),
                ("jid=", "jid: must not be empty"),
                ("wait=1&wait=2", "wait: must be given once, is given 2 times"),
                ("jid=a&jid=b", "jid: must be given once, is given 2 times"),
                ("wait=1e3", "wait: must be a number of seconds such as 30 or 0.5, is '1e3'"),
                ("wait=-1", "wait: must be a number of seconds such as 30 or 0.5, is '-1'"),
                ("wait=%D9%A3", "wait: must be a number of seconds such as 30 or 0.5, is '٣'"),
                ("wait=300.5", "wait: must be 0 s to 300 s, is 300.5 s"),
                ("jid=%C3%BC", "jid: must consist of printable ASCII characters"),
            ):
                assert await http.get(f"/job/a/stop?{query}") == (400, malformed(error))
            assert on.requests("PATCH") == []

    async def test_head_stops_nothing(self, start: Start) -> None:
        async with running(start) as (on, http):
            answer = await http.send("HEAD", "/job/a/stop")
            assert (answer.status_code, answer.headers["allow"]) == (405, "GET, POST")
            assert on.requests("PATCH") == []
            assert (await http.send("HEAD", "/job/a/status")).status_code == 200


class TestOverview:
    async def test_it_goes_on_until_the_last_page(
        self, http: JobsHttp, stubs: Stubs, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await tell(stubs, *(report(f"job {n}", run_id=f"run {n}", start_time=NOW - n * SECOND) for n in range(7)))
        expected = {"response": [{"jid": f"run {n}", "name": f"job {n}"} for n in range(7)], "messages": []}
        for size in (1, 2, 6, 7):
            monkeypatch.setattr(jobs, "PAGE_SIZE", size)
            answer = await http.send("GET", "/jobs/overview")
            assert (answer.status_code, answer.json()) == (200, expected)
            assert ("content-length" in answer.headers) == (size == 7), "longer ones are sent as they come"

    async def test_pages_without_a_run_leave_no_gap(
        self, http: JobsHttp, stubs: Stubs, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await tell(stubs, report("etl", run_id="1"))
        for id in "abc":
            await create(stubs, id)
        monkeypatch.setattr(jobs, "PAGE_SIZE", 1)
        expected = {"response": [{"jid": "1", "name": "etl"}], "messages": []}
        assert await http.get("/jobs/overview") == (200, expected)

    async def test_a_list_that_breaks_off_is_never_taken_for_a_whole_one(
        self, http: JobsHttp, stubs: Stubs, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await tell(stubs, *(report(f"job {n}") for n in range(3)))
        monkeypatch.setattr(jobs, "PAGE_SIZE", 1)
        call = Upstream.call
        pages = 0

        async def call_twice(self: Upstream, method: object, request: object, passage: Passage) -> object:
            nonlocal pages
            pages += 1
            if pages == 3:
                passage = Passage(passage.metadata, 0.0)  # the deadline has passed
            return await call(self, method, request, passage)  # type: ignore[arg-type]

        monkeypatch.setattr(Upstream, "call", call_twice)
        with pytest.raises(httpx.RemoteProtocolError):
            await http.send("GET", "/jobs/overview")

    async def test_clusters_that_are_away_are_named(self, start: Start) -> None:
        async with running(start) as (on, http):
            await polled(on, ClusterStatus(CLUSTER, False, NOW, NOW, "connection refused", "2.3.0", 1, 1))
            warning = "cluster 'prod' cannot be asked: connection refused"
            expected = {"response": [{"jid": JID, "name": "a"}], "messages": [warning]}
            assert await http.get("/jobs/overview") == (200, expected)
            assert (await http.get("/metainfo/getVersion"))[1]["messages"] == ["cluster 'prod' runs Flink 2.3.0"]

    async def test_no_answer_is_not_an_empty_list(self, start: Start) -> None:
        async with on_cluster(start) as on, client_of(on.stubs) as http:
            await polled(on, ClusterStatus(CLUSTER, False, None, NOW, "connection refused", "", 1, 0))
            expected = no_answer("cluster 'prod' cannot be asked: connection refused")
            assert await http.get("/jobs/overview") == (500, expected)
            await polled(on, ClusterStatus(CLUSTER, True, NOW, NOW, "", "2.3.0", 1, 0))
            assert await http.get("/jobs/overview") == (200, {"response": [], "messages": []})


class TestWhoMayAsk:
    async def test_a_token_with_the_scope_is_needed(self, start: Start, clock: FixedClock) -> None:
        stubs = await start(auth="required")
        reports = pb.ReportJobRequest(reports=[report("etl", "FINISHED")])
        await stubs.jobs.ReportJob(reports, metadata=await token(stubs, clock, "write:jobs"))
        scopes = ("read:jobs", "stop:jobs", "write:jobs")
        having = {scope: dict(await token(stubs, clock, scope)) for scope in scopes}
        lacking = {scope: dict(await token(stubs, clock, *({*scopes} - {scope}))) for scope in scopes}
        async with client_of(stubs) as http:
            for path in [*OF_A_JOB, *OTHERS]:
                url, needed = "/" + path.format("etl"), "stop:jobs" if path.endswith("stop") else "read:jobs"
                for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": "Basic YTpi"}):
                    answer = await http.send("GET", url, headers=headers)
                    assert (answer.status_code, answer.json()["errorCode"]) == (401, 4005)
                    assert answer.headers["www-authenticate"] == "Bearer"
                assert (await http.get(url, headers=having[needed]))[0] == 200
                status, told = await http.get(url, headers=lacking[needed])
                if path == "metainfo/getVersion":
                    assert status == 200, "any valid token may ask"
                else:
                    assert (status, told["errorCode"]) == (403, 4005)
                    assert needed in told["errors"][0]

    async def test_another_tenants_job_is_unknown(self, start: Start, clock: FixedClock) -> None:
        stubs = await start(auth="required")
        await stubs.jobs.ReportJob(
            pb.ReportJobRequest(reports=[report("etl", "FINISHED")]), metadata=await token(stubs, clock, "write:jobs")
        )
        stranger = dict(await token(stubs, clock, "read:jobs", "stop:jobs", tenant="other"))
        async with client_of(stubs) as http:
            for path in OF_A_JOB:
                assert await http.get("/" + path.format("etl"), headers=stranger) == (400, NO_SUCH_JOB)
            assert await http.get("/jobs/overview", headers=stranger) == (200, {"response": [], "messages": []})


class TestTrouble:
    @pytest.mark.parametrize(
        ("verb", "path", "allowed"),
        [
            *(("POST", path, "GET, HEAD, OPTIONS") for path in (*OF_A_JOB[:-1], *OTHERS)),
            ("DELETE", OF_A_JOB[-1], "GET, HEAD, OPTIONS, POST"),
            ("PUT", OF_A_JOB[0], "GET, HEAD, OPTIONS"),
        ],
    )
    async def test_a_wrong_verb(self, shared: JobsHttp, verb: str, path: str, allowed: str) -> None:
        answer = await shared.send(verb, "/" + path.format("a"))
        assert answer.status_code == 405
        assert answer.json() == invalid(f"{verb} is not a verb of this path")
        assert answer.headers["allow"] == allowed

    async def test_a_call_that_takes_too_long(self, start: Start) -> None:
        async with running(start) as (on, http):
            on.flink.misbehave(never_answer)
            status, told = await http.get("/job/a/stop", headers={"grpc-timeout": "300m"})
            assert (status, told["errorCode"]) == (500, 5005)

    async def test_a_cluster_that_hangs_does_not_hang_the_caller(self, start: Start, clock: FixedClock) -> None:
        async with running(start) as (on, http):
            on.flink.misbehave(never_answer)
            clock.micros += 60 * SECOND
            status, told = await http.get("/job/a/status", headers={"grpc-timeout": "800m"})
            assert (status, told["response"]["jid"]) == (200, JID)
            assert told["messages"][0].startswith("cluster 'prod' cannot be asked: it did not answer within ")

    async def test_a_server_that_is_away(self, clock: FixedClock) -> None:
        async with grpc.aio.insecure_channel("127.0.0.1:1") as channel:
            edge = HttpEdge(Settings(http=HttpSettings(port=0)), channel, CollectorRegistry(), clock)
            await edge.start(shared=False)
            async with client_at(edge.port, channel) as http:
                for path in [*OF_A_JOB, *OTHERS]:
                    status, told = await http.get("/" + path.format("a"))
                    assert (status, told["errorCode"], told["message"]) == (500, 5005, "Internal server error")
            await edge.stop(0)

    async def test_what_nobody_expects_is_told_without_its_inside(
        self, http: JobsHttp, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def broken(*_: object) -> None:
            raise RuntimeError("secret")

        monkeypatch.setattr(Upstream, "call", broken)
        expected = {"errorCode": 5008, "message": "Request handling failure", "errors": []}
        assert await http.get("/job/a/status") == (500, expected)


class TestDocuments:
    def test_the_page_has_every_route_and_every_error(self) -> None:
        text = (Path(__file__).resolve().parents[2] / "docs/legacy/jobs.md").read_text(encoding="utf-8")
        for path in (*OF_A_JOB, *OTHERS):
            assert f"`GET /{path.format('{uuid}')}`" in text
        for code, told in jobs_failures.TEXTS.items():
            assert re.search(rf"^\| {code} \| .*`{re.escape(told)}`", text, re.M)
        assert f"| {jobs_failures.PATH_NOT_FOUND} | 404 |" in text

    async def test_examples_are_as_their_schemas_say(self) -> None:
        async with grpc.aio.insecure_channel("127.0.0.1:1") as channel:
            api = jobs.api(Upstream(channel), LegacySettings())
        for route in api.routes:
            assert route.operation is not None
            answers = [answer for answer in route.operation["responses"].values() if "content" in answer]
            assert len(answers) >= 9
            for answer in answers:
                content = answer["content"]["application/json"]
                check_schema(api, content["schema"], content["example"])
