"""/healthz, /readyz and /metrics."""

from __future__ import annotations

from tests.gateway.serving import Gateway


def test_a_server_that_serves_is_alive_and_ready(gateway: Gateway) -> None:
    assert gateway.http.get("/healthz").json() == {"status": "ok"}
    assert gateway.http.get("/readyz").json() == {"status": "ready"}
