"""/healthz, /readyz and /metrics."""

from __future__ import annotations

import asyncio

import pytest

from tests.gateway.serving import Gateway, running


def test_a_server_that_serves_is_alive_and_ready(gateway: Gateway) -> None:
    for path, status in (("/healthz", "ok"), ("/readyz", "ready")):
        answer = gateway.http.get(path)
        assert (answer.status_code, answer.json()) == (200, {"status": status})
        assert answer.headers["cache-control"] == "no-store"


def test_a_server_that_is_not_serving_is_alive_and_not_ready() -> None:
    with running() as gateway:
        health = gateway.app._health
        asyncio.run_coroutine_threadsafe(health.follow(serving=False), gateway.loop).result(10)
        answer = gateway.http.get("/readyz")
        assert answer.status_code == 503
        assert answer.json() == {"status": "not ready", "reason": "the gRPC server is NOT_SERVING"}
        assert gateway.http.get("/healthz").status_code == 200


def test_metrics_are_those_of_the_server_and_of_http(gateway: Gateway) -> None:
    gateway.http.get("/v1/sources/nobody")
    answer = gateway.http.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=1.0.0")
    for line in (
        'grpc_server_handled_total{grpc_code="NOT_FOUND",grpc_method="GetSource",',
        'http_server_requests_total{api="rest",method="GET",route="/v1/{name=sources/*}",status="404"} ',
        'http_server_request_duration_seconds_bucket{api="rest",le="0.001",method="GET",route="/v1/{name=sources/*}"} ',
        "http_server_active_requests 1.0",
        "streamgauge_build_info{version=",
        "process_resident_memory_bytes ",
    ):
        assert f"\n{line}" in answer.text


@pytest.mark.parametrize(("setting", "status"), [("off", 404), ("open", 200)])
def test_metrics_can_be_shown_or_hidden(setting: str, status: int) -> None:
    with running(http={"metrics": setting, "host": "127.0.0.1"}) as gateway:
        assert gateway.http.get("/metrics").status_code == status


def test_none_of_them_needs_a_token_while_calls_do() -> None:
    with running(auth="required") as gateway:
        for path in ("/healthz", "/readyz", "/metrics", "/openapi.json", "/docs"):
            assert gateway.http.get(path).status_code == 200, path
        for path, status in (("/v1/sources", 401), ("/sources/a/metrics", 401), ("/v7/metrics/", 403)):
            refused = gateway.http.get(path)
            assert (refused.status_code, "www-authenticate" in refused.headers) == (status, status == 401), path
