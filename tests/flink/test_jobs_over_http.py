"""The jobs API over HTTP in front of a real Flink cluster."""

from __future__ import annotations

import re

import grpc.aio
import httpx
import pytest
from streamgauge.v1 import job_service_pb2 as pb
from streamgauge.v1 import job_service_pb2_grpc
from streamgauge_server.app import App
from streamgauge_server.http_settings import HttpSettings
from streamgauge_server.services.clusters import ClusterConfig, Clusters
from streamgauge_server.settings import Settings

from tests.flink.cluster import FlinkCluster
from tests.flink.test_job_service import at_work, status, until

pytestmark = pytest.mark.flink


async def test_a_job_is_watched_and_stopped(flink_cluster: FlinkCluster) -> None:
    settings = Settings(listen="127.0.0.1:0", database="sqlite://:memory:", collect=False, http=HttpSettings(port=0))
    clusters = Clusters([ClusterConfig("real", "default", [flink_cluster.base_url])])
    async with (
        App(settings, clusters=clusters) as app,
        grpc.aio.insecure_channel(app.address) as channel,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{app.http_port}", timeout=60) as http,
    ):
        jobs = job_service_pb2_grpc.JobServiceStub(channel)
        jid = await at_work(jobs, flink_cluster, "over-http")
        await until(lambda: status(jobs, "over-http"), lambda answer: answer.job.run.vertices[0].write_records > 0)

        told = (await http.get("/job/over-http/statusAndMetrics/")).json()
        details, metrics = told["response"]["details"], told["response"]["metrics"]
        assert (details["jid"], details["name"], details["state"]) == (jid, "over-http", "RUNNING")
        assert details["start-time"] > 0
        assert details["duration"] > 0
        assert [list(vertex) for vertex in details["vertices"]] == [["id", "name", "metrics"]] * 3
        assert details["read-records"] == details["vertices"][0]["metrics"]["write-records"] > 0
        assert details["write-records"] == details["vertices"][-1]["metrics"]["read-records"]
        assert metrics["numRecordsRead"] == str(details["read-records"])
        assert re.fullmatch("[0-9]+", metrics["currentEventTs"])
        assert (await http.get(f"/job/{jid}/status")).json()["response"]["name"] == "over-http"
        assert {"jid": jid, "name": "over-http"} in (await http.get("/jobs/overview")).json()["response"]
        none = {"timestamp": 0, "root-exception": "", "truncated": False}
        assert (await http.get("/jobs/over-http/exceptions")).json() == {"response": none, "messages": []}

        stopped = (await http.post("/job/over-http/stop/?wait=30")).json()
        assert stopped == {"response": 1, "messages": [f"run {jid} has ended: it is CANCELED"]}
        assert (await http.get("/job/over-http/status")).json()["response"]["state"] == "CANCELED"

        await flink_cluster.submit("over-http-fails", rate=200, failAt=20)
        await jobs.CreateJob(pb.CreateJobRequest(job_id="over-http-fails", job=pb.Job(cluster="real")))
        await until(lambda: status(jobs, "over-http-fails"), lambda answer: answer.job.run.final_figures)
        failed = (await http.get("/job/over-http-fails/exceptions")).json()["response"]
        assert "demo failure at record 20" in failed["root-exception"]
        assert failed["timestamp"] >= details["start-time"]
        assert failed["truncated"] is False
        refused = await http.get("/job/nobody/stop")
        assert (refused.status_code, refused.json()["errorCode"]) == (400, 4006)
