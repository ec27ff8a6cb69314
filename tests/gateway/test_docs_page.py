"""The page /docs: everything in the document, nothing from elsewhere, nothing that a text could smuggle in."""

from __future__ import annotations

import re
from collections.abc import Mapping
from html.parser import HTMLParser
from typing import Any

import pytest
from streamgauge_server.gateway.api import Api, Route
from streamgauge_server.gateway.openapi.document import contract, document
from streamgauge_server.gateway.openapi.examples import Examples
from streamgauge_server.gateway.openapi.page import page, policy, style
from streamgauge_server.gateway.openapi.prose import blocks, bounds, inline, kind

from tests.gateway.test_openapi import never, operations, rest, tell


class Page(HTMLParser):
    """What a browser would see: elements, ids, links, and whether every element is closed."""

    VOID = frozenset({"meta", "br", "wbr"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.open: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes.update(name for name, _ in attrs)
        self.ids += [str(value) for name, value in attrs if name == "id"]
        self.links += [str(value) for name, value in attrs if name in ("href", "src")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def whole() -> dict[str, Any]:
    return document([rest()], contract())


@pytest.fixture(scope="module")
def shown(whole: Mapping[str, Any]) -> str:
    return page(whole, style(), "openapi.json")


def test_the_page_has_every_operation_and_every_schema_and_its_links_lead_somewhere(
    whole: Mapping[str, Any], shown: str
) -> None:
    seen = Page(shown)
    assert seen.open == []
    assert len(set(seen.ids)) == len(seen.ids)
    assert {operation["operationId"] for _, _, operation in operations(whole)} <= set(seen.ids)
    assert {f"schema-{name}" for name in whole["components"]["schemas"]} <= set(seen.ids)
    inner = {link[1:] for link in seen.links if link.startswith("#")}
    assert inner <= set(seen.ids)
    assert "openapi.json" in seen.links


def test_the_page_loads_nothing_and_runs_nothing(shown: str) -> None:
    seen = Page(shown)
    assert seen.tags.isdisjoint({"script", "link", "img", "iframe", "object", "form", "base"})
    assert not any(name.startswith("on") or name == "style" for name in seen.attributes)
    assert "url(" not in style()
    assert "@import" not in style()


def test_the_policy_allows_the_style_sheet_of_the_page_and_nothing_else(shown: str) -> None:
    inside = re.findall(r"<style>(.*?)</style>", shown, re.DOTALL)
    assert inside == [style()]
    assert policy(style()).startswith("default-src 'none'; style-src 'sha256-")
    assert policy(style()) != policy(style() + " ")


def test_texts_are_escaped_wherever_they_stand() -> None:
    evil = "<script>alert(1)\"'&"
    operation = {
        "operationId": evil,
        "summary": evil,
        "description": evil,
        "parameters": [
            {"name": evil, "in": "query", "required": True, "description": evil, "schema": {"enum": [evil]}}
        ],
        "requestBody": {"content": {evil: {"schema": {"$ref": f"#/components/schemas/{evil}"}}}},
        "responses": {"200": {"description": evil, "content": {evil: {"schema": {"format": evil, "type": "string"}}}}},
    }
    old = Api(evil, [Route("POST", "/old", never, operation=operation)], ("old",), tell)
    made = document([old], contract())
    made["components"]["schemas"][evil] = {
        "type": "object",
        "properties": {evil: {"default": evil}},
        "description": evil,
    }
    assert Page(page(made, style(), "openapi.json")).tags.isdisjoint({"script"})


def test_curl_has_what_an_operation_requires(whole: Mapping[str, Any]) -> None:
    examples = Examples(whole)

    def curl(verb: str, path: str) -> str:
        return examples.curl(verb, path, whole["paths"][path][verb.lower()])

    assert curl("GET", "/v1/sources/{source}") == 'curl "$GATEWAY/v1/sources/SOURCE" -H "Authorization: Bearer $TOKEN"'
    assert '"$GATEWAY/v1/jobs:get?job=text"' in curl("GET", "/v1/jobs:get")
    written = curl("POST", "/v1/metrics:write")
    assert written.startswith("curl -X POST ")
    assert (
        """-d '{"observations": [{"subject": "sources/orders", "values": {"name": {"doubleValue": 0.5}}}]}'"""
        in written
    )


def test_an_example_of_a_schema_that_refers_to_itself_comes_to_an_end() -> None:
    loop = {"type": "object", "properties": {"next": {"$ref": "#/components/schemas/Loop"}}, "required": ["next"]}
    examples = Examples({"components": {"schemas": {"Loop": loop}}})
    assert "next" in examples.value({"$ref": "#/components/schemas/Loop"})


def test_types_and_bounds_are_told_in_words() -> None:
    assert kind({"type": "array", "items": {"type": "string", "format": "int64"}}) == "list of string (int64)"
    assert kind({"type": "object", "additionalProperties": {"type": "integer"}}) == "map of integer"
    assert kind({"type": ["number", "null"]}) == "number or null"
    assert kind({"$ref": "#/components/schemas/A"}) == '<a href="#schema-A">A</a>'
    assert bounds({"type": "integer", "format": "int32", "minimum": -(2**31)}) == ""
    assert (
        bounds({"minimum": 1, "maximum": 10_000, "default": 1}) == "default <code>1</code>; at least 1; at most 10,000"
    )


def test_backticks_paragraphs_and_lists_are_all_that_texts_mean() -> None:
    assert inline("`a < b` *c*") == "<code>a &lt; b</code> *c*"
    assert blocks("One\ntwo.\n\nKinds:\n- `a`: b\n- c") == (
        "<p>One two.</p><p>Kinds:</p><ul><li><code>a</code>: b</li><li>c</li></ul>"
    )
