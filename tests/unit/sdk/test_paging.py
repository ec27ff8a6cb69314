"""Lists page by page."""

from __future__ import annotations

from itertools import islice
from typing import Any

from streamgauge import AsyncClient, Page
from streamgauge.v1 import metrics_service_pb2, source_service_pb2, token_service_pb2

from tests.unit.sdk.scripts import TestingScript, scripted_server

LIST = "SourceService/ListSources"


def response(names: list[str], token: str, total: int = 3) -> source_service_pb2.ListSourcesResponse:
    sources = [source_service_pb2.Source(name=f"sources/{name}") for name in names]
    return source_service_pb2.ListSourcesResponse(sources=sources, next_page_token=token, total_size=total)


def test_iterating_asks_for_page_after_page_with_the_same_question() -> None:
    script = TestingScript()
    pager = script.client.sources.list(labels={"team": "shop", "a": "b"}, connector_class="pg", page_size=2)
    call = script.start(lambda: [source.id for source in pager])
    first = script.answer(LIST, response(["a", "b"], "more"))
    second = script.answer(LIST, response(["c"], ""))
    assert call.result(timeout=10) == ["a", "b", "c"]
    assert (first.page_size, first.page_token, first.connector_class) == (2, "", "pg")
    assert sorted(first.labels) == ["a=b", "team=shop"]
    assert second.page_token == "more"
    second.page_token = ""
    assert second == first


def test_nothing_is_asked_before_iteration_and_no_page_before_it_is_needed() -> None:
    script = TestingScript()
    pager = script.client.sources.list()
    call = script.start(lambda: [source.id for source in islice(pager, 2)])
    script.answer(LIST, response(["a", "b"], "more"))
    assert call.result(timeout=10) == ["a", "b"]
    assert len(script.timeouts) == 1


def test_an_empty_page_in_the_middle_does_not_end_the_list() -> None:
    script = TestingScript()
    call = script.start(lambda: [source.id for source in script.client.sources.list()])
    script.answer(LIST, response([], "more"))
    script.answer(LIST, response(["c"], ""))
    assert call.result(timeout=10) == ["c"]


def test_pages_tell_where_the_list_goes_on_and_a_list_can_begin_there() -> None:
    script = TestingScript()
    call = script.start(lambda: next(script.client.sources.list().pages()))
    script.answer(LIST, response(["a"], "more", total=7))
    page: Page[Any] = call.result(timeout=10)
    assert ([source.id for source in page.items], page.next_page_token, page.total_size) == (["a"], "more", 7)
    rest = script.start(lambda: list(script.client.sources.list(page_token=page.next_page_token)))
    assert script.answer(LIST, response(["b"], "")).page_token == "more"
    assert len(rest.result(timeout=10)) == 1


def test_every_iteration_asks_anew() -> None:
    script = TestingScript()
    pager = script.client.sources.list()
    for expected in ("a", "b"):
        call = script.start(lambda: [source.id for source in pager])
        script.answer(LIST, response([expected], ""))
        assert call.result(timeout=10) == [expected]


def test_tokens_and_descriptors_are_paged_as_well() -> None:
    script = TestingScript()
    tokens = script.start(lambda: [token.id for token in script.client.tokens.list(page_size=1)])
    made = token_service_pb2.Token(name="tokens/t")
    script.answer("TokenService/ListTokens", token_service_pb2.ListTokensResponse(tokens=[made], next_page_token="n"))
    assert script.answer("TokenService/ListTokens", token_service_pb2.ListTokensResponse()).page_token == "n"
    assert tokens.result(timeout=10) == ["t"]
    found = script.start(lambda: list(script.client.metrics.descriptors.list(subject_kind="sources")))
    asked = script.answer("MetricsService/ListMetricDescriptors", metrics_service_pb2.ListMetricDescriptorsResponse())
    assert asked.subject_kind == 1
    assert found.result(timeout=10) == []


async def test_the_asyncio_client_pages_in_the_same_way() -> None:
    pages = {"": response(["a", "b"], "more"), "more": response(["c"], "")}

    def answer(request: bytes, context: Any) -> Any:
        return pages[source_service_pb2.ListSourcesRequest.FromString(request).page_token]

    with scripted_server(ListSources=answer) as server:
        async with AsyncClient(server.target) as client:
            pager = client.sources.list(page_size=2)
            assert server.calls == []
            assert [source.id async for source in pager] == ["a", "b", "c"]
            assert [len(page.items) async for page in pager.pages()] == [2, 1]
