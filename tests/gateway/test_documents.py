"""/openapi.json and /docs of a running server: what it serves, and nothing that is switched off."""

from __future__ import annotations

from openapi_spec_validator import OpenAPIV31SpecValidator

from tests.gateway.serving import Gateway, running
from tests.gateway.test_docs_page import Page
from tests.gateway.test_openapi import operations, rules


def test_the_document_is_valid_and_has_both_surfaces(gateway: Gateway) -> None:
    answer = gateway.http.get("/openapi.json")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    served = answer.json()
    OpenAPIV31SpecValidator(served).validate()
    ids = [operation["operationId"] for _, _, operation in operations(served)]
    assert len(set(ids)) == len(ids) > len(rules())
    tags = [tag["name"] for tag in served["tags"]]
    assert {"SourceService", "MetricsService", "Legacy: sources", "Legacy: jobs"} < set(tags)
    assert {"Legacy: metric-types", "Legacy: assets"} < set(tags)
    legacy = [operation for _, _, operation in operations(served) if operation["tags"][0].startswith("Legacy")]
    assert all(operation["summary"] and operation["description"] for operation in legacy)


def test_apis_that_are_switched_off_are_not_in_it_and_prefixes_are() -> None:
    with running(http={"jobs": {"enabled": False}, "sources": {"prefix": "/streamkap"}}) as gateway:
        served = gateway.http.get("/openapi.json").json()
    assert "/streamkap/sources/{source_id}/metrics" in served["paths"]
    assert not any(path.startswith(("/job/", "/jobs/", "/metainfo/")) for path in served["paths"])
    assert "/v1/jobs" in served["paths"]


def test_the_page_shows_both_surfaces_and_forbids_everything_from_elsewhere(gateway: Gateway) -> None:
    answer = gateway.http.get("/docs")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert answer.headers["content-security-policy"].startswith("default-src 'none'; style-src 'sha256-")
    seen = Page(answer.text)
    assert {"SourceService_GetSourceMetrics", "legacyGetSourceMetrics"} <= set(seen.ids)
    assert {link[1:] for link in seen.links if link.startswith("#")} <= set(seen.ids)
    assert "/openapi.json" in seen.links
    assert gateway.http.get("/docs/").status_code == 200


def test_both_are_told_to_anybody_and_are_the_same_every_time(gateway: Gateway) -> None:
    for path in ("/openapi.json", "/docs"):
        first, again = gateway.http.get(path), gateway.http.get(path, headers={"Authorization": "Bearer nonsense"})
        assert first.content == again.content
        assert gateway.http.post(path).status_code == 405
